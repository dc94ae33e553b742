//! Who runs on a state folder: a file that its daemon keeps locked, with its process and where it answers.
//!
//! A client that looks in the wrong place finds the daemon by it, and a person is told which process it is.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The file in the state folder.
const NAME: &str = "running";

/// Its first line: what it is, and the version of what follows (a line with the process and its start, a line with the
/// socket).
const HEAD: &[u8] = b"hive.running/2\n";

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
    /// When the process started, in the kernel's ticks since the boot: a number is used again, a start is not.
    pub started: u64,
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
        let (process, started) = std::str::from_utf8(process).ok()?.split_once(' ')?;
        Some(Self {
            process: process.parse().ok()?,
            started: started.parse().ok()?,
            socket: OsString::from_vec(socket.get(1..)?.to_vec()).into(),
        })
    }

    /// A process by its number, with no socket that is known; none when there is none of that number.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        Some(Self {
            process,
            started: start_of(process)?,
            socket: PathBuf::new(),
        })
    }

    /// The process that answers on a socket, or should, as the kernel tells; for a daemon that could note nothing.
    #[must_use]
    pub fn behind(socket: &Path) -> Option<Self> {
        let peer = rustix::net::sockopt::socket_peercred(knock(socket).ok()?).ok()?;
        let process = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
        Some(Self {
            socket: socket.to_path_buf(),
            ..Self::of(process)?
        })
    }

    /// Whether somebody listens on a socket, be it that so many wait there already that nobody more is let in.
    #[must_use]
    pub fn listens(socket: &Path) -> bool {
        matches!(knock(socket), Ok(_) | Err(Errno::AGAIN))
    }

    /// Whether the process of that number is, here and now, the one that was meant.
    #[must_use]
    pub fn is_still_there(&self) -> bool {
        start_of(self.process) == Some(self.started)
    }
}

/// A connection, or why there is none, without waiting: a daemon that hangs lets callers wait for ever once some
/// thousands have knocked.
fn knock(socket: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let ours = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&ours, &SocketAddrUnix::new(socket)?)?;
    Ok(ours)
}

/// When a process started: field 22 of `/proc/PID/stat` (proc(5)), counted from behind the name, which may hold
/// anything.
fn start_of(process: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends + 2..)?).ok()?;
    rest.split(' ').nth(19)?.parse().ok()
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
        let process = std::process::id();
        // Where the start cannot be read, nobody is to end a process by its number alone.
        let started = start_of(process).unwrap_or_default();
        text.extend_from_slice(format!("{process} {started}\n").as_bytes());
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
                started: start_of(std::process::id()).expect("this is a process"),
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
    fn a_number_that_another_process_has_now_is_not_the_one_that_was_meant() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("it runs");
        let process = child.id();
        let meant = Running::of(process).expect("it runs");
        assert!(meant.is_still_there());
        let earlier = Running {
            started: meant.started - 1,
            ..meant.clone()
        };
        assert!(!earlier.is_still_there(), "the number was another's");
        child.kill().and_then(|()| child.wait()).expect("ours");
        assert!(!meant.is_still_there());
    }

    #[test]
    fn what_is_not_whole_is_not_believed() {
        let home = tempfile::tempdir().expect("a folder");
        let mut notice = Notice::write(home.path(), Path::new("/a")).expect("written");
        for text in [
            "",
            "hive.running/2\n",
            "hive.running/2\n12 7",
            "hive.running/2\n12 7\n/a",
            "hive.running/2\n12\n/a\n",
            "hive.running/2\nx 7\n/a\n",
            "hive.running/2\n12 x\n/a\n",
            "hive.running/1\n12 7\n/a\n",
        ] {
            notice.file.set_len(0).expect("ours");
            notice.file.rewind().expect("ours");
            notice.file.write_all(text.as_bytes()).expect("ours");
            assert_eq!(Running::on(home.path()), None, "{text:?}");
        }
    }
}
