//! Control groups: which one's processor weight binds a process, and which are units of applications.
//!
//! In version 2 a group weighs only where the group it is in has the processor controller enabled for its children
//! (`cgroup.subtree_control`); everything below that shares its weight. In version 1 each group of the `cpu` hierarchy weighs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hive_core::machine::facts::{Cgroup, CgroupId, CgroupKind};

/// Where version 2 is mounted: alone, or beside version 1.
const MOUNTS: [&str; 2] = ["fs/cgroup", "fs/cgroup/unified"];

/// The root, where autogroups and nice decide.
const ROOT: CgroupId = CgroupId(0);

/// What containers are told by: docker, containerd, podman, the cluster's agent, LXC, and what systemd calls a machine.
const CONTAINERS: [&str; 8] = [
    "docker",
    "libpod",
    "crio",
    "cri-containerd",
    "kubepods",
    "lxc",
    "lxc.payload",
    "machine.slice",
];

/// Of which hierarchy a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// One control group.
#[derive(Clone, Debug)]
struct Known {
    path: String,
    version: Version,
    seen: Cgroup,
    /// Whether its children share the processor by their weights.
    divides: bool,
}

/// The control groups that processes are in.
#[derive(Debug)]
pub(super) struct Cgroups {
    sys: PathBuf,
    uid: u32,
    known: BTreeMap<CgroupId, Known>,
}

impl Cgroups {
    pub(super) fn new(sys: &Path, uid: u32) -> Self {
        Self {
            sys: sys.to_path_buf(),
            uid,
            known: BTreeMap::new(),
        }
    }

    /// The group that a process is in, by the text of its `/proc/PID/cgroup`; the root if that says nothing.
    pub(super) fn enter(&mut self, text: &str) -> CgroupId {
        match place(text) {
            Some((version, path)) => self.know(version, path),
            None => ROOT,
        }
    }

    fn know(&mut self, version: Version, path: &str) -> CgroupId {
        let id = fingerprint(version, path);
        if id == ROOT || self.known.contains_key(&id) {
            return id;
        }
        // Top down, so that each knows what it is in. A path is no longer than the kernel lets one be.
        let mut parent = ROOT;
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
        for end in ends.chain([path.len()]) {
            let path = &path[..end];
            let id = fingerprint(version, path);
            let kind = kind(version, path, self.uid);
            let divides = self.divides(version, path);
            self.known.entry(id).or_insert_with(|| Known {
                path: path.to_owned(),
                version,
                seen: Cgroup { parent, kind },
                divides,
            });
            parent = id;
        }
        id
    }

    /// Looks again at which groups divide the processor, and forgets those in which nobody was seen. `Ours::On`
    /// keeps for each what was seen before: weights that we have on ourselves can make a group divide.
    pub(super) fn refresh(&mut self, living: &BTreeSet<CgroupId>, ours: Ours) {
        let mut used = BTreeSet::new();
        for home in living {
            let mut at = *home;
            while at != ROOT && used.insert(at) {
                at = self.known.get(&at).map_or(ROOT, |known| known.seen.parent);
            }
        }
        self.known.retain(|id, _| used.contains(id));
        if ours == Ours::On {
            return;
        }
        let sys = self.sys.clone();
        for known in self.known.values_mut() {
            known.divides = divides(&sys, known.version, &known.path);
        }
    }

    /// The nearest group, from this one upwards, whose own weight counts.
    pub(super) fn binding(&self, home: CgroupId) -> CgroupId {
        let mut at = home;
        while let Some(known) = self.known.get(&at) {
            let parent = known.seen.parent;
            let root = || self.divides(known.version, "/");
            let above = self.known.get(&parent).map_or_else(root, |up| up.divides);
            if above {
                return at;
            }
            at = parent;
        }
        ROOT
    }

    /// All that are known.
    pub(super) fn seen(&self) -> BTreeMap<CgroupId, Cgroup> {
        let known = self.known.iter();
        known.map(|(id, known)| (*id, known.seen)).collect()
    }

    /// The path of an application's unit.
    pub(super) fn unit(&self, id: CgroupId) -> Option<&str> {
        let known = self.known.get(&id)?;
        (known.seen.kind == CgroupKind::Application).then_some(known.path.as_str())
    }

    fn divides(&self, version: Version, path: &str) -> bool {
        divides(&self.sys, version, path)
    }
}

/// Whether weights of our own are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    On,
    Off,
}

/// The path that the processor controller goes by: of its own hierarchy in version 1, else that of version 2.
fn place(text: &str) -> Option<(Version, &str)> {
    let mut unified = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        // A path with `..` comes from another namespace and names nothing here.
        let named = path.starts_with('/') && !path.split('/').any(|part| part == "..");
        if controllers.split(',').any(|name| name == "cpu") {
            return named.then_some((Version::One, path));
        }
        if controllers.is_empty() && named {
            unified = Some((Version::Two, path));
        }
    }
    unified
}

/// Whether the children of a group share the processor by their weights.
fn divides(sys: &Path, version: Version, path: &str) -> bool {
    if version == Version::One {
        return true;
    }
    has(sys, path, "cgroup.subtree_control")
}

/// Whether the processor controller is in a list of a group of version 2: `cgroup.controllers` are those that it may hand
/// down, `cgroup.subtree_control` those that it does.
pub(super) fn has(sys: &Path, path: &str, list: &str) -> bool {
    let text = file(sys, path, list).and_then(|file| fs::read_to_string(file).ok());
    text.is_some_and(|text| text.split_whitespace().any(|name| name == "cpu"))
}

/// A file of a group of version 2, wherever that is mounted.
pub(super) fn file(sys: &Path, path: &str, name: &str) -> Option<PathBuf> {
    let below = path.trim_start_matches('/');
    let files = MOUNTS.map(|mount| sys.join(mount).join(below).join(name));
    files.into_iter().find(|file| file.exists())
}

/// All processes in a group of version 2 and in those below it.
pub(super) fn processes(sys: &Path, path: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let folder = file(sys, path, "cgroup.procs").and_then(|file| Some(file.parent()?.to_owned()));
    let mut ahead: Vec<PathBuf> = folder.into_iter().collect();
    while let Some(folder) = ahead.pop() {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        // One that ended meanwhile holds nobody.
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        ahead.extend(folders.map(|entry| entry.path()));
    }
    found
}

/// The path of this user's own service manager, whose units it weighs.
pub(super) fn manager(uid: u32) -> String {
    format!("/user.slice/user-{uid}.slice/user@{uid}.service")
}

fn kind(version: Version, path: &str, uid: u32) -> CgroupKind {
    let is_container = |part: &str| {
        CONTAINERS.iter().any(|name| {
            part.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
        })
    };
    if path.split('/').any(is_container) {
        return CgroupKind::Container;
    }
    // What an application makes below its own unit is not the manager's, whatever it calls it: only slices hold units.
    let is_one = |part: &str, kinds: &[&str]| {
        !part.starts_with('_') && kinds.iter().any(|kind| part.ends_with(kind))
    };
    let is_path = |below: &str| {
        let (above, last) = below.rsplit_once('/').unzip();
        let mut above = above.into_iter().flat_map(|above| above.split('/'));
        above.all(|part| is_one(part, &[".slice"]))
            && is_one(last.unwrap_or(below), &[".scope", ".service", ".slice"])
    };
    let below = path
        .strip_prefix(manager(uid).as_str())
        .and_then(|rest| rest.strip_prefix("/app.slice/"));
    match below {
        Some(below) if version == Version::Two && is_path(below) => CgroupKind::Application,
        _ => CgroupKind::Other,
    }
}

/// FNV-1a, 64 bits: it only has to tell groups of one machine apart, and to be the same each time.
fn fingerprint(version: Version, path: &str) -> CgroupId {
    if path == "/" || path.is_empty() {
        return ROOT;
    }
    let salt = match version {
        Version::One => 0xcbf2_9ce4_8422_2325_u64,
        Version::Two => 0x8422_2325_cbf2_9ce4,
    };
    let hash = path.bytes().fold(salt, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    CgroupId(hash.max(1))
}

#[cfg(test)]
#[path = "cgroup/tests.rs"]
mod tests;
