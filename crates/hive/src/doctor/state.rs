//! The state folder: is it there, is it this user's alone, is there room.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hive_mind::{Paths, Roots};

use super::{Finding, Outcome};
use crate::render::text;

/// Less room than this is a problem: the store is compacted by writing it anew, and maps may hold 64 MB
/// (`research/security.md` 4.6).
const ROOM_MIN: u64 = 128 * 1024 * 1024;

/// All checks.
pub(super) fn examine(paths: &Paths) -> Vec<Finding> {
    let folder = &paths.state;
    let lost = paths.has_lost_store().then(|| store_lost(folder));
    let mut findings = vec![rights(folder), room(folder)];
    findings.extend(lost);
    findings.extend(damaged(&hive_mind::damaged_journals(
        &Roots::default(),
        folder,
    )));
    findings
}

/// A journal that was found damaged in this boot.
fn damaged(kept: &[PathBuf]) -> Option<Finding> {
    let last = kept.last()?.display();
    let what = format!(
        "the journal of what was on was damaged; what could be read of it was put back, what the rest named may still be \
         on and cannot be put back by us; it is kept: {last}"
    );
    let finding = Finding::new("journal", Outcome::Problem, what);
    Some(finding.try_next(
        "log out, or restart this machine, which ends it; where you know that nothing is on, delete that file",
    ))
}

fn store_lost(folder: &Path) -> Finding {
    let what = format!(
        "the key of this machine is there, and its store is missing, empty or nothing but zeros: {}",
        folder.join("store.redb").display()
    );
    Finding::new("store", Outcome::Problem, what)
        .try_next("put it back from a backup; hive up names the other ways")
}

fn rights(folder: &Path) -> Finding {
    let finding = |outcome, what: String| Finding::new("state", outcome, what);
    let shown = folder.display();
    let about = match fs::metadata(folder) {
        Ok(about) => about,
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let what = "there is no state folder yet; the first start makes it".to_owned();
            return finding(Outcome::Note, what);
        }
        Err(why) => {
            let what = format!("the state folder {shown} cannot be looked at: {why}");
            return finding(Outcome::Unknown, what);
        }
    };
    let key = folder.join("key");
    for (path, about, wanted) in [
        (folder, Some(about), "700"),
        (&key, fs::metadata(&key).ok(), "600"),
    ] {
        let Some(about) = about else {
            continue;
        };
        let shown = path.display();
        if about.uid() != rustix::process::geteuid().as_raw() {
            let what = format!("{shown} belongs to another user than the one who asks");
            return finding(Outcome::Problem, what).try_next(format!("sudo chown $USER {shown}"));
        }
        if is_wide(&about) {
            let what = format!("{shown} is open to other users, so the daemon refuses to start");
            return finding(Outcome::Problem, what).try_next(format!("chmod {wanted} {shown}"));
        }
    }
    finding(
        Outcome::Ok,
        "folder and key belong to this user alone".to_owned(),
    )
}

fn is_wide(about: &Metadata) -> bool {
    about.mode() & 0o077 != 0
}

fn room(folder: &Path) -> Finding {
    // Before the first start, the place where it will be.
    let there = folder.ancestors().find(|place| place.exists());
    let about = there.map(rustix::fs::statvfs);
    let Some(Ok(about)) = about else {
        return Finding::new("disk", Outcome::Unknown, "free room cannot be read");
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let what = format!("{} free for the store", text::bytes(free));
    if free < ROOM_MIN {
        let next = format!("make room on the disk of {}", folder.display());
        return Finding::new("disk", Outcome::Problem, what).try_next(next);
    }
    Finding::new("disk", Outcome::Ok, what)
}
