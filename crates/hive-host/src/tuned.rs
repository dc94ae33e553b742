//! Whether `tuned` sets the policy of processes: its profiles are read, for it tells nobody what is in them.
//!
//! Its scheduler plugin does that where a profile has rules `group.NAME = order:policy:priority:affinity:pattern`, for what
//! runs and for whatever starts later. Most profiles have none. Rules that only a variable tells, or that a later profile
//! replaces, count as set: who cannot tell leaves it to the other one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What the kernel calls it.
pub const PROGRAM: &str = "tuned";

/// A profile is not read beyond this. A guess: those that are delivered with it have some dozens of lines.
const BYTES_MAX: u64 = 64 << 10;

/// So many profiles are read at most, be they included by each other. A guess: two or three is usual.
const PROFILES_MAX: usize = 16;

/// Whether the profile that is active sets the policy of processes. `etc` is `/etc/tuned`, `lib` is `/usr/lib/tuned`.
#[must_use]
pub fn sets_policies(etc: &Path, lib: &Path) -> bool {
    let mut names: Vec<String> = Vec::new();
    for list in ["active_profile", "post_loaded_profile"] {
        // A machine without the second one has loaded nothing after the first.
        let text = text(&etc.join(list)).unwrap_or_default();
        names.extend(text.split_ascii_whitespace().map(str::to_owned));
    }
    let mut seen: Vec<PathBuf> = Vec::new();
    while let Some(name) = names.pop() {
        let Some(file) = find(&name, [etc, lib], &seen) else {
            continue;
        };
        if seen.len() >= PROFILES_MAX {
            return false;
        }
        let text = text(&file).unwrap_or_default();
        seen.push(file);
        if options(&text).any(|(key, value)| key.starts_with("group.") && is_policy(value)) {
            return true;
        }
        let included = options(&text).filter(|(key, _)| *key == "include");
        names.extend(included.flat_map(|(_, value)| {
            let names = value.split([',', ';']);
            names.map(|name| name.trim().to_owned())
        }));
    }
    false
}

/// The file of a profile: the owner's before the one that came with it. One that includes its own name means the other one.
fn find(name: &str, [etc, lib]: [&Path; 2], seen: &[PathBuf]) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return None;
    }
    let folders = [
        etc.join("profiles"),
        etc.into(),
        lib.join("profiles"),
        lib.into(),
    ];
    let files = folders.map(|folder| folder.join(name).join("tuned.conf"));
    { files.into_iter() }.find(|file| !seen.contains(file) && file.is_file())
}

/// What is set in a profile, comments apart.
fn options(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim);
    let told = lines.filter(|line| !line.starts_with(['#', ';', '[']));
    told.filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

/// Whether a rule sets the policy of what may be somebody's job. The kernel's own threads are shown in brackets.
fn is_policy(rule: &str) -> bool {
    let fields: Vec<&str> = rule.splitn(5, ':').collect();
    match fields.as_slice() {
        [_, policy, _, _, pattern] => {
            policy.trim() != "*" && !pattern.trim_start().starts_with(r"^\[")
        }
        _ => rule.contains("${"),
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine with these files under `etc` and `lib`.
    fn told(files: &[(&str, &str)]) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        }
        sets_policies(&folder.path().join("etc"), &folder.path().join("lib"))
    }

    const RULES: &str = "[scheduler]\n# by name\ngroup.indexers = 0:i:0:*:tracker.*\n";

    #[test]
    fn rules_of_the_active_profile_count_and_those_of_others_do_not() {
        let active = ("etc/active_profile", "quiet-desk\n");
        let profile = |text| ("etc/profiles/quiet-desk/tuned.conf", text);
        assert!(told(&[active, profile(RULES)]));
        assert!(!told(&[active, ("lib/other/tuned.conf", RULES)]));
        assert!(!told(&[profile(RULES)]), "none is active");
        for other in [
            "[scheduler]\nsched_min_granularity_ns = 10000000\nisolated_cores=2-4\n",
            "[scheduler]\n#group.indexers = 0:i:0:*:tracker.*\n",
            "[scheduler]\ngroup.ksoftirqd = 0:f:2:*:^\\[ksoftirqd\n",
            "[scheduler]\ngroup.placed = 0:*:*:3:tracker.*\n",
            "[scheduler]\ngroup.broken = i\n",
            "",
        ] {
            assert!(!told(&[active, profile(other)]), "{other}");
        }
        let variable = "[scheduler]\ngroup.indexers=${rule}\n";
        assert!(told(&[active, profile(variable)]), "that cannot be told");
    }

    #[test]
    fn what_a_profile_includes_counts_with_it() {
        let active = ("etc/active_profile", "desktop mine\n");
        let mine = (
            "etc/mine/tuned.conf",
            "[main]\nsummary=x\ninclude = base , desk\n",
        );
        let base = ("lib/profiles/base/tuned.conf", "[cpu]\ngovernor=x\n");
        assert!(told(&[active, mine, base, ("lib/desk/tuned.conf", RULES)]));
        assert!(!told(&[active, mine, base]));
        // One's own desk in the place of the delivered one, on top of which it is.
        let own = ("etc/desk/tuned.conf", "[main]\ninclude=desk\n");
        assert!(told(&[active, mine, own, ("lib/desk/tuned.conf", RULES)]));
        let after = ("etc/post_loaded_profile", "desk\n");
        assert!(told(&[after, ("lib/desk/tuned.conf", RULES)]));
    }

    #[test]
    fn odd_files_end_in_no_loop_and_lead_nowhere_else() {
        let active = ("etc/active_profile", "a ../b\n");
        let a = ("etc/a/tuned.conf", "include=a,b,../b,,${c}\n");
        let b = ("etc/b/tuned.conf", "include=a\n");
        assert!(!told(&[active, a, b]));
        assert!(!told(&[
            ("etc/active_profile", "../b\n"),
            ("b/tuned.conf", RULES)
        ]));
        let long = format!("{}{RULES}", "#\n".repeat(40_000));
        assert!(!told(&[active, ("etc/a/tuned.conf", &long)]), "not read on");
    }
}
