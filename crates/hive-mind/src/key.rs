//! The machine's secret key: 32 random bytes in a file of 0600 in a folder of 0700, or no start at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// The secret half of this machine's key; wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// The file of the key in use.
pub(crate) const KEY: &str = "key";

/// The file of the key that shall take over.
pub(crate) const NEXT: &str = "key.next";

/// The key that the one in use took over from: members that have not heard of the new one let this one in.
const BEFORE: &str = "key.before";

/// A next key that the store had no word of. It is never read again, but a person can put it back.
pub(crate) const UNUSED: &str = "key.unused";

/// Why there is no key. Nothing was changed, except that a new folder may have been made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Others may enter the state folder.
    #[error("the state folder {0} is open to other users (chmod 700 {0} closes it)")]
    FolderTooWide(PathBuf),
    /// Others may read the key, so it is no secret any more.
    #[error(
        "the key {0} can be read by other users; if nobody has: chmod 600 {0}, else: hive leave (forgets it; start anew)"
    )]
    FileTooWide(PathBuf),
    /// The folder or the key belongs to somebody else.
    #[error("{0} belongs to another user (chown gives it to the user who runs the daemon)")]
    NotOurs(PathBuf),
    /// The key has another length than 32 bytes, or is nothing but zeros, as a file that a power cut left is.
    #[error(
        "the key {0} is damaged; restore it, or: hive leave (forgets it; start anew with hive up)"
    )]
    Damaged(PathBuf),
    /// The system could not give random bytes.
    #[error("the system gives no random bytes")]
    NoChance,
    /// A new key was made in this run, and the next start uses or forgets it.
    #[error("a new key was made already (hive down, then hive up ends that)")]
    NextWaits,
    /// The folder or file cannot be read or written.
    #[error("{path}: {why}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
}

/// Makes the state folder if it is new; refuses one that others can enter.
pub(crate) fn private_folder(folder: &Path) -> Result<(), KeyError> {
    private_folder_if_new(folder).map_err(|why| io_error(folder, why))?;
    let about = fs::metadata(folder).map_err(|why| io_error(folder, why))?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyError::NotOurs(folder.to_path_buf()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(KeyError::FolderTooWide(folder.to_path_buf()));
    }
    Ok(())
}

/// Makes a folder (and its parents) for this user only, unless it is there.
pub(crate) fn private_folder_if_new(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Reads the key of this state folder, if there is one.
pub(crate) fn load(folder: &Path) -> Result<Option<Secret>, KeyError> {
    load_from(&folder.join(KEY))
}

/// Reads the key that shall take over, if there is one.
pub(crate) fn load_next(folder: &Path) -> Result<Option<Secret>, KeyError> {
    load_from(&folder.join(NEXT))
}

/// Reads the key that was put aside, if there is one.
pub(crate) fn load_unused(folder: &Path) -> Result<Option<Secret>, KeyError> {
    load_from(&folder.join(UNUSED))
}

fn load_from(path: &Path) -> Result<Option<Secret>, KeyError> {
    match File::open(path) {
        Ok(file) => read(path, file).map(Some),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(io_error(path, why)),
    }
}

/// Makes the first key of this state folder. With it the folder itself is brought to the disk.
pub(crate) fn make_first(folder: &Path) -> Result<Secret, KeyError> {
    make(folder, &folder.join(KEY))
}

/// Makes the key that shall take over, beside the one in use. Every start settles what became of one that is there:
/// one that was made since may be about to take over, or have done so, and is not replaced.
pub(crate) fn make_next(folder: &Path) -> Result<Secret, KeyError> {
    make(folder, &folder.join(NEXT)).map_err(|error| match error {
        KeyError::Io { why, .. } if why.kind() == io::ErrorKind::AlreadyExists => {
            KeyError::NextWaits
        }
        other => other,
    })
}

/// The next key was not wanted after all, and was told to nobody.
pub(crate) fn forget_next(folder: &Path) -> Result<(), KeyError> {
    let path = folder.join(NEXT);
    match fs::remove_file(&path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(io_error(&path, why)),
        _ => Ok(()),
    }
}

/// The key to start with: the next one, once the store holds a word of it, and from then on nothing else. A next
/// key without a word there was told to nobody, as far as this store knows, and is put aside.
pub(crate) fn settle(
    folder: &Path,
    held: Secret,
    has_spoken: impl FnOnce(&Secret) -> bool,
) -> Result<Secret, KeyError> {
    let path = folder.join(NEXT);
    let next = match File::open(&path).map(|file| read(&path, file)) {
        // A power cut while it was made: it is on the disk before it says anything.
        Ok(Err(KeyError::Damaged(_))) => {
            forget_next(folder)?;
            return Ok(held);
        }
        Ok(read) => read?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(held),
        Err(why) => return Err(io_error(&path, why)),
    };
    if !has_spoken(&next) {
        // An older store, put back from a backup, does not know what was said since: no key is deleted for that.
        fs::rename(&path, folder.join(UNUSED)).map_err(|why| io_error(&path, why))?;
        return Ok(held);
    }
    if let Err(why) = keep_before(folder, &held) {
        tracing::warn!(%why, "the key before the new one is not kept");
    }
    let rename = || -> io::Result<()> {
        fs::rename(&path, folder.join(KEY))?;
        File::open(folder)?.sync_all()
    };
    rename().map_err(|why| io_error(&path, why))?;
    Ok(next)
}

/// The key before the one in use, if it is there and can be read. Without it the machine is as well off as all are that
/// never had another one.
pub(crate) fn load_before(folder: &Path) -> Option<Secret> {
    load_from(&folder.join(BEFORE)).unwrap_or_else(|why| {
        tracing::warn!(%why, "the key before this one is not used");
        None
    })
}

/// Keeps the key that is given up. It is on the disk before another one takes its place; what a start that was cut off
/// left of it is written anew.
fn keep_before(folder: &Path, held: &Secret) -> Result<(), KeyError> {
    let path = folder.join(BEFORE);
    match fs::remove_file(&path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, why)),
        _ => {}
    }
    write_new(folder, &path, held)
}

/// Random bytes from the operating system.
pub(crate) fn chance<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KeyError::NoChance)?;
    Ok(bytes)
}

fn read(path: &Path, file: File) -> Result<Secret, KeyError> {
    let about = file.metadata().map_err(|why| io_error(path, why))?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(KeyError::NotOurs(path.to_path_buf()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(KeyError::FileTooWide(path.to_path_buf()));
    }
    // One byte more than wanted, so that a longer file is seen.
    let mut bytes = Zeroizing::new(Vec::with_capacity(33));
    file.take(33)
        .read_to_end(&mut bytes)
        .map_err(|why| io_error(path, why))?;
    let secret = <[u8; 32]>::try_from(&bytes[..]).map(Zeroizing::new);
    match secret {
        Ok(secret) if *secret != [0; 32] => Ok(secret),
        _ => Err(KeyError::Damaged(path.to_path_buf())),
    }
}

fn make(folder: &Path, path: &Path) -> Result<Secret, KeyError> {
    let secret = Zeroizing::new(chance()?);
    write_new(folder, path, &secret)?;
    Ok(secret)
}

fn write_new(folder: &Path, path: &Path, secret: &Secret) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&secret[..])?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|why| {
        // Half a key would be told as a damaged one at the next start; one that was there before is not ours.
        if why.kind() != io::ErrorKind::AlreadyExists
            && let Err(left) = fs::remove_file(path)
        {
            tracing::debug!(%left, "no half of a key was left");
        }
        io_error(path, why)
    })
}

fn io_error(path: &Path, why: io::Error) -> KeyError {
    KeyError::Io {
        path: path.to_path_buf(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn a_key_is_made_once_and_is_nobody_elses_to_read() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("hive");
        private_folder(&folder).expect("made");
        assert_eq!(load(&folder).expect("read"), None);
        let first = make_first(&folder).expect("made");
        assert_eq!(load(&folder).expect("read"), Some(first));
        make_first(&folder).expect_err("one is there");
        let mode = fs::metadata(folder.join("key")).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_next_key_is_used_once_it_has_spoken_and_else_forgotten() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("hive");
        private_folder(&folder).expect("made");
        let first = make_first(&folder).expect("made");
        let next = make_next(&folder).expect("made");
        assert_ne!(first, next);
        let held = settle(&folder, first.clone(), |_| false).expect("settled");
        assert_eq!(held, first);
        assert!(!folder.join(NEXT).exists());
        // The store may be an older one: nothing is deleted that others may know.
        let aside = fs::read(folder.join(UNUSED)).expect("kept");
        assert_eq!(aside[..], next[..]);

        // One that a power cut left half made was told to nobody.
        for half in [&b""[..], &[7; 31], &[0; 32]] {
            fs::write(folder.join(NEXT), half).expect("written");
            chmod(&folder.join(NEXT), 0o600);
            let held = settle(&folder, first.clone(), |_| true).expect("settled");
            assert_eq!(held, first);
            assert!(!folder.join(NEXT).exists());
        }

        let next = make_next(&folder).expect("made");
        // It may have spoken by now: a second one must not take its place.
        let error = make_next(&folder).expect_err("one waits");
        assert!(matches!(error, KeyError::NextWaits), "{error}");
        let held = settle(&folder, first, |secret| *secret == next).expect("settled");
        assert_eq!(held, next);
        assert!(!folder.join(NEXT).exists());
        assert_eq!(load(&folder).expect("read"), Some(next));
    }

    #[test]
    fn the_key_that_was_given_up_is_kept_and_the_one_before_it_is_not() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("hive");
        private_folder(&folder).expect("made");
        let mut held = make_first(&folder).expect("made");
        assert_eq!(load_before(&folder), None);
        // What a start that was cut off left of it is no obstacle.
        fs::write(folder.join(BEFORE), [7; 31]).expect("written");
        assert_eq!(load_before(&folder), None);
        for _ in 0..2 {
            let next = make_next(&folder).expect("made");
            let settled = settle(&folder, held.clone(), |_| true).expect("settled");
            assert_eq!(settled, next);
            assert_eq!(load_before(&folder), Some(held));
            let mode = fs::metadata(folder.join(BEFORE)).expect("there").mode();
            assert_eq!(mode & 0o777, 0o600);
            held = settled;
        }
    }

    #[test]
    fn a_wide_folder_a_wide_key_and_a_short_key_are_refused_with_a_remedy() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("hive");
        private_folder(&folder).expect("made");
        make_first(&folder).expect("made");
        let key = folder.join("key");

        chmod(&folder, 0o750);
        let error = private_folder(&folder).expect_err("too wide");
        assert!(matches!(error, KeyError::FolderTooWide(_)), "{error}");
        assert!(error.to_string().contains("chmod 700"), "{error}");
        chmod(&folder, 0o700);

        chmod(&key, 0o640);
        let error = load(&folder).expect_err("too wide");
        assert!(matches!(error, KeyError::FileTooWide(_)), "{error}");
        chmod(&key, 0o600);

        for damaged in [&[7; 0][..], &[7; 31], &[7; 33], &[0; 32]] {
            fs::write(&key, damaged).expect("written");
            let error = load(&folder).expect_err("damaged");
            assert!(matches!(error, KeyError::Damaged(_)), "{error}");
            assert_eq!(fs::read(&key).expect("there"), damaged);
        }
    }
}
