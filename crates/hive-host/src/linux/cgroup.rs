//! Which control group's processor weight binds a process, as a fingerprint.

use std::path::Path;

/// The fingerprint of the binding group in the text of `/proc/PID/cgroup`; 0 is the root, where
/// autogroups and nice decide.
pub(super) fn fingerprint(text: &str, sys: &Path) -> u64 {
    let mut unified = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.split(',').any(|name| name == "cpu") {
            return hash(path);
        }
        if controllers.is_empty() {
            unified = Some(path);
        }
    }
    unified.map_or(0, |path| hash(binding(path, sys)))
}

/// The nearest group, from this one upwards, that has a weight.
fn binding<'a>(path: &'a str, sys: &Path) -> &'a str {
    let mut at = path;
    while at.len() > 1 {
        let below = at.trim_start_matches('/');
        let mounts = ["fs/cgroup", "fs/cgroup/unified"];
        // A path with `..` comes from another namespace and names nothing here.
        let weighted = !below.split('/').any(|part| part == "..")
            && mounts
                .iter()
                .any(|mount| sys.join(mount).join(below).join("cpu.weight").exists());
        if weighted {
            return at;
        }
        at = at.rfind('/').map_or("/", |cut| &at[..cut]);
    }
    "/"
}

/// FNV-1a, 64 bits: it only has to tell groups of one machine apart, and to be the same each time.
fn hash(path: &str) -> u64 {
    if path == "/" || path.is_empty() {
        return 0;
    }
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn in_version_1_the_cpu_line_decides() {
        let sys = Path::new("/nonexistent");
        let text = "9:name=systemd:/x\n2:cpuacct:/b\n1:cpu:/a\n0::/c\n";
        assert_eq!(fingerprint(text, sys), hash("/a"));
        assert_eq!(fingerprint("3:cpu,cpuacct:/\n0::/c\n", sys), 0);
        assert_eq!(fingerprint("3:cpuset:/a\n", sys), 0);
        assert_eq!(fingerprint("garbage", sys), 0);
    }

    #[test]
    fn in_version_2_the_nearest_weighted_ancestor_decides() {
        let sys = tempfile::tempdir().expect("a folder");
        let slice = sys.path().join("fs/cgroup/user.slice");
        fs::create_dir_all(slice.join("deep/deeper")).expect("made");
        assert_eq!(fingerprint("0::/user.slice/deep/deeper\n", sys.path()), 0);
        fs::write(slice.join("cpu.weight"), "100").expect("written");
        assert_eq!(
            fingerprint("0::/user.slice/deep/deeper\n", sys.path()),
            hash("/user.slice")
        );
        assert_eq!(
            fingerprint("0::/user.slice\n", sys.path()),
            fingerprint("0::/user.slice/deep\n", sys.path())
        );
        assert_eq!(fingerprint("0::/../../user.slice\n", sys.path()), 0);
        assert_eq!(fingerprint("0::/\n", sys.path()), 0);
    }
}
