//! Where things are: a private state folder, and the lock that only one acting daemon holds.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::stat::Stat;
use crate::{OpenError, Roots};

/// Makes the state folder if need be, and insists that it is ours and closed to others (the lower
/// six bits of its mode are clear).
pub(super) fn state_folder(path: &Path, uid: u32) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(OpenError::State)?;
    let meta = fs::symlink_metadata(path).map_err(OpenError::State)?;
    if meta.is_symlink() {
        return Err(OpenError::Linked);
    }
    if meta.is_dir() && meta.uid() == uid && meta.mode().trailing_zeros() >= 6 {
        Ok(())
    } else {
        Err(OpenError::NotPrivate)
    }
}

/// Takes the lock of this state folder's journal.
pub(super) fn journal_lock(folder: &Path) -> Result<File, OpenError> {
    let file = lock_file(&folder.join("journal.lock")).map_err(OpenError::Journal)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy),
        Err(TryLockError::Error(error)) => Err(OpenError::Journal(error)),
    }
}

/// The same lock, held only against those who write, by somebody who looks.
pub(super) fn journal_look(folder: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let opened = options.open(folder.join("journal.lock"));
    let file = opened.map_err(OpenError::Journal)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy),
        Err(TryLockError::Error(error)) => Err(OpenError::Journal(error)),
    }
}

/// The name of this boot; empty where it has none.
pub(super) fn boot(roots: &Roots) -> String {
    let name = fs::read_to_string(roots.proc.join("sys/kernel/random/boot_id"));
    name.unwrap_or_default().trim().to_owned()
}

/// Whether `proc` is the process table in which our process ids mean us. Elsewhere (a test's fixture,
/// another namespace) a number would name a stranger.
pub(super) fn is_our_proc(proc: &Path) -> bool {
    fs::read(proc.join("self/stat"))
        .ok()
        .and_then(|line| Stat::parse(&line))
        .is_some_and(|stat| stat.pid == std::process::id())
}

/// Where a user's actor lock may be. All that can be used are taken: a daemon started outside a
/// login knows no runtime folder, and must still meet one that does.
pub(super) fn lock_folders(uid: u32) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .into_iter()
        .filter(|folder| folder.is_absolute())
        .collect();
    folders.push(PathBuf::from(format!("/run/user/{uid}")));
    folders.dedup();
    folders.push(PathBuf::from("/tmp"));
    folders
}

/// The right to act on this machine for this user, held until dropped.
#[derive(Debug)]
pub(super) struct ActorLock {
    /// An open file carries its lock.
    _files: Vec<File>,
}

impl ActorLock {
    /// Takes the lock in every folder that can be used; `None` if another holds one of them, or if
    /// there is no such folder.
    pub(super) fn take(folders: &[PathBuf], uid: u32) -> Option<Self> {
        let mut files = Vec::new();
        for folder in folders {
            // A file that is not ours, a link or a missing folder is no lock of this user's.
            let Ok(file) = lock_file(&folder.join(format!("hive-actor-{uid}"))) else {
                continue;
            };
            if file.metadata().ok()?.uid() != uid {
                continue;
            }
            file.try_lock().ok()?;
            files.push(file);
        }
        (!files.is_empty()).then_some(Self { _files: files })
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::sys::own_uid;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_one_holds_the_actor_lock_and_a_link_is_not_followed() {
        let (first, second) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        let both = [first.path().to_path_buf(), second.path().to_path_buf()];
        let uid = own_uid();
        let held = ActorLock::take(&both, uid).expect("free");
        assert!(ActorLock::take(&both, uid).is_none());
        assert!(ActorLock::take(&both[1..], uid).is_none());
        drop(held);
        assert!(ActorLock::take(&both, uid).is_some());

        let linked = tempfile::tempdir().expect("a folder");
        let victim = linked.path().join("victim");
        symlink(&victim, linked.path().join(format!("hive-actor-{uid}"))).expect("linked");
        assert!(ActorLock::take(&[linked.path().to_path_buf()], uid).is_none());
        assert!(!victim.exists());
    }

    #[test]
    fn a_state_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        state_folder(&path, own_uid()).expect("made private");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("opened");
        assert!(matches!(
            state_folder(&path, own_uid()),
            Err(OpenError::NotPrivate)
        ));
        assert!(matches!(
            state_folder(folder.path(), own_uid() + 1),
            Err(OpenError::NotPrivate)
        ));
        let link = folder.path().join("link");
        symlink(&path, &link).expect("linked");
        assert!(matches!(
            state_folder(&link, own_uid()),
            Err(OpenError::Linked)
        ));
    }
}
