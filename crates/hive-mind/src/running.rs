//! Who runs on a state folder: a file that its daemon keeps locked, with its process and where it answers.
//!
//! A client that looks in the wrong place finds the daemon by it, and a person is told which process it is.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The file in the state folder.
const NAME: &str = "running";

/// Its first line: what it is, and the version of what follows (a line with the process, a line with the socket).
const HEAD: &[u8] = b"hive.running/1\n";

/// More is not read. A path is 4,096 bytes at most, of a socket even 107 (unix(7)).
const BYTES_MAX: u64 = 5_000;

/// How often a lock that a client holds for a moment, to see whether it is free, is tried. A guess: looking takes
/// microseconds.
const TRIES_MAX: usize = 1_000;

/// The daemon of a state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub process: u32,
    /// Where it answers, or should.
    pub socket: PathBuf,
}

/// The file, as its daemon holds it. The lock ends with the process, however that ends.
pub(crate) struct Notice {
    path: PathBuf,
    file: File,
}

impl Running {
    /// Who runs on this folder, if anybody does. The daemon itself is not asked, and nothing is changed.
    #[must_use]
    pub fn on(state: &Path) -> Option<Self> {
        let file = File::open(state.join(NAME)).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Self::read(file),
            // Nobody holds it: a daemon that was killed left it.
            _ => None,
        }
    }

    fn read(file: File) -> Option<Self> {
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text).ok()?;
        let rest = text.strip_prefix(HEAD)?.strip_suffix(b"\n")?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (process, socket) = rest.split_at(end);
        Some(Self {
            process: std::str::from_utf8(process).ok()?.parse().ok()?,
            socket: OsString::from_vec(socket.get(1..)?.to_vec()).into(),
        })
    }
}

impl Notice {
    /// Writes it. The store's lock is held by this process already, so nobody else can want to.
    pub(crate) fn write(state: &Path, socket: &Path) -> io::Result<Self> {
        let path = state.join(NAME);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        let mut tries = 0;
        while let Err(why) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            tries += 1;
            if why != Errno::WOULDBLOCK || tries == TRIES_MAX {
                return Err(why.into());
            }
            std::thread::yield_now();
        }
        let mut notice = Self { path, file };
        notice.moved(socket)?;
        Ok(notice)
    }

    /// The daemon answers somewhere else now.
    pub(crate) fn moved(&mut self, socket: &Path) -> io::Result<()> {
        let mut text = HEAD.to_vec();
        text.extend_from_slice(format!("{}\n", std::process::id()).as_bytes());
        text.extend_from_slice(socket.as_os_str().as_bytes());
        text.push(b'\n');
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)
    }

    /// Takes it away, while the store's lock is still held.
    pub(crate) fn remove(self) {
        if let Err(why) = std::fs::remove_file(&self.path) {
            tracing::debug!(%why, "the file that says who runs was already gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_believed_only_while_its_process_holds_it() {
        let home = tempfile::tempdir().expect("a folder");
        assert_eq!(Running::on(home.path()), None);
        let mut notice = Notice::write(home.path(), Path::new("/a\nb/hive.sock")).expect("written");
        let here = |socket: &str| {
            Some(Running {
                process: std::process::id(),
                socket: socket.into(),
            })
        };
        assert_eq!(Running::on(home.path()), here("/a\nb/hive.sock"));
        notice.moved(Path::new("/c")).expect("written");
        assert_eq!(Running::on(home.path()), here("/c"));
        drop(notice);
        assert!(home.path().join(NAME).exists(), "as a killed daemon does");
        assert_eq!(Running::on(home.path()), None);
        Notice::write(home.path(), Path::new("/d"))
            .expect("written again")
            .remove();
        assert!(!home.path().join(NAME).exists());
    }

    #[test]
    fn what_is_not_whole_is_not_believed() {
        let home = tempfile::tempdir().expect("a folder");
        let mut notice = Notice::write(home.path(), Path::new("/a")).expect("written");
        for text in [
            "",
            "hive.running/1\n",
            "hive.running/1\n12",
            "hive.running/1\n12\n/a",
            "hive.running/1\nx\n/a\n",
            "hive.running/2\n12\n/a\n",
        ] {
            notice.file.set_len(0).expect("ours");
            notice.file.rewind().expect("ours");
            notice.file.write_all(text.as_bytes()).expect("ours");
            assert_eq!(Running::on(home.path()), None, "{text:?}");
        }
    }
}
