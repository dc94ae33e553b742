//! `hive-helper --uid NUMBER [--socket PATH] [--journal PATH]`: without a socket the one that the system's manager hands over, without a
//! journal the file that is its standard input.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use hive_helper::kernel::Running;
use hive_helper::notes::Notes;
use hive_helper::policy::Served;
use hive_helper::serve::{Ears, Started, serve};
use hive_helper::service::Service;
use hive_host::privileged;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The first file that a manager hands over (`sd_listen_fds(3)`).
const FIRST_HANDED: i32 = 3;

/// Why the helper does not run. Nothing was changed.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(
        "usage: hive-helper --uid NUMBER [--socket PATH] [--journal PATH]   (without --socket it takes the one of its systemd unit)"
    )]
    Usage,
    #[error("it does not serve the superuser, who needs no helper; give --uid of a person")]
    Superuser,
    #[error("no socket was handed over; give --socket PATH, or start hive-helper@UID.socket")]
    NoSocket,
    #[error("the socket {} cannot be used: {}", .0.display(), .1)]
    Socket(PathBuf, #[source] io::Error),
    #[error("the journal cannot be used: {0}")]
    Journal(#[source] io::Error),
    #[error(
        "the journal is to be a file that is open for reading and writing, is not the served user's, and that no other can write"
    )]
    OpenJournal,
    #[error("another helper uses this journal")]
    Busy,
    #[error(
        "this boot has no name in /proc/sys/kernel/random/boot_id, so the journal could not be trusted"
    )]
    NoBoot,
    #[error("the kernel does not let it: {0}")]
    System(#[source] io::Error),
}

/// What was asked for.
#[derive(Default)]
struct Order {
    uid: Option<u32>,
    socket: Option<PathBuf>,
    journal: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("hive-helper: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), StartError> {
    let order = Order::read(std::env::args().skip(1)).ok_or(StartError::Usage)?;
    let uid = order.uid.ok_or(StartError::Usage)?;
    if uid == 0 {
        return Err(StartError::Superuser);
    }
    let system = |why: rustix::io::Errno| StartError::System(why.into());
    // Its memory and files are nobody's to read, also where the served user runs it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(system)?;
    let endings = privileged::endings().map_err(StartError::System)?;
    let journal = journal(order.journal.as_deref(), uid)?;
    let boot = privileged::boot().ok_or(StartError::NoBoot)?;
    let notes = Notes::open(journal, &boot).map_err(StartError::Journal)?;
    let served = Served {
        uid,
        helper: std::process::id(),
    };
    let began = Instant::now();
    let mut service = Service::open(Running::find(), served, notes, began.elapsed());
    let (listener, started) = match &order.socket {
        Some(path) => (listen(path, uid)?, Started::ByHand),
        None => (handed()?, Started::BySocket),
    };
    let ears = Ears {
        listener,
        endings,
        started,
        uid,
    };
    serve(&ears, &mut service, began).map_err(StartError::System)
}

impl Order {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut order = Self::default();
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--uid" => order.uid = Some(value.parse().ok()?),
                "--socket" => order.socket = Some(value.into()),
                "--journal" => order.journal = Some(value.into()),
                _ => return None,
            }
        }
        Some(order)
    }
}

/// The journal: nobody but the helper may write it, for it says what is put back.
fn journal(path: Option<&Path>, uid: u32) -> Result<File, StartError> {
    let file = if let Some(path) = path {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        options.mode(0o600).custom_flags(no_link);
        options.open(path).map_err(StartError::Journal)?
    } else {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        File::from(stdin.map_err(StartError::Journal)?)
    };
    let flags = fcntl_getfl(&file).map_err(|why| StartError::Journal(why.into()))?;
    let meta = file.metadata().map_err(StartError::Journal)?;
    let is_closed = meta.is_file() && meta.uid() != uid && meta.mode() & 0o022 == 0;
    if !is_closed || flags & OFlags::RWMODE != OFlags::RDWR {
        return Err(StartError::OpenJournal);
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Busy),
        Err(TryLockError::Error(why)) => Err(StartError::Journal(why)),
    }
}

/// A socket at this path that the served user may connect to. One that an earlier helper left there is replaced.
fn listen(path: &Path, uid: u32) -> Result<UnixListener, StartError> {
    let failed = |why| StartError::Socket(path.to_path_buf(), why);
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    if fs::symlink_metadata(path).map_err(failed)?.uid() != uid {
        std::os::unix::fs::chown(path, Some(uid), None).map_err(failed)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// The socket that the manager made.
fn handed() -> Result<UnixListener, StartError> {
    let is_for_us =
        std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !is_for_us || std::env::var("LISTEN_FDS").as_deref() != Ok("1") {
        return Err(StartError::NoSocket);
    }
    let handed: OwnedFd = privileged::handed(FIRST_HANDED).map_err(StartError::System)?;
    Ok(UnixListener::from(handed))
}
