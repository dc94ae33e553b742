//! The guardian: a tiny process that outlives a killed daemon just long enough to put values back.
//!
//! The daemon holds one end of a pipe and says goodbye over it when it ends in order. When the pipe
//! closes without a goodbye, the daemon was killed: its journal says what was on, and that is undone.
//! The daemon starts another guardian when one ends before it.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use hive_mind::{Acting, HostConfig, OpenError, Roots, Scope};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::watch;

use crate::args::Place;
use crate::left;
use crate::place;
use crate::problem::{Exit, Problem};

/// What the daemon says when it ends in order, everything restored.
const GOODBYE: &[u8] = b"bye";

/// How long a dying daemon may hold its journal. A guess: its files close within the same exit.
const JOURNAL_FREE: Duration = Duration::from_secs(2);

/// How long is waited before another guardian is started in the place of one that ended. A guess: whatever ends them
/// again and again shall not keep the machine busy.
const GAP: Duration = Duration::from_secs(1);

/// How long after one that could not be started. A guess: a program that is replaced is back within seconds.
const GAP_LOST: Duration = Duration::from_secs(30);

/// The daemon's end: a thread that keeps a guardian running.
pub(crate) struct Guard {
    ending: PipeWriter,
    keeper: JoinHandle<io::Result<()>>,
    there: watch::Receiver<bool>,
}

/// A guardian that runs.
struct Ward {
    process: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts the guardian of this place.
    pub(crate) fn start(at: &Place, tree: Option<u32>) -> Result<Self, Problem> {
        let failed = |why| Problem::system("the guardian could not be started", &why);
        let state = place::paths(at)?.state;
        let program = std::env::current_exe().map_err(failed)?;
        let start = move || Ward::start(&program, &state, tree);
        let first = start().map_err(failed)?;
        let (over, ending) = io::pipe().map_err(failed)?;
        let (telling, there) = watch::channel(true);
        let keeper = std::thread::Builder::new()
            .name("hive-guard".into())
            .spawn(move || keep(first, start, &over, &telling))
            .map_err(failed)?;
        Ok(Self {
            ending,
            keeper,
            there,
        })
    }

    /// Whether a guardian is there, from now on.
    pub(crate) fn there(&self) -> watch::Receiver<bool> {
        self.there.clone()
    }

    /// Says goodbye and waits for the guardian's end.
    pub(crate) fn goodbye(mut self) -> io::Result<()> {
        self.ending.write_all(GOODBYE)?;
        drop(self.ending);
        let kept = self.keeper.join();
        kept.unwrap_or_else(|_| Err(io::Error::other("its keeper broke off")))
    }
}

impl Ward {
    fn start(program: &Path, state: &Path, tree: Option<u32>) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("--state").arg(state).arg("guard");
        if let Some(root) = tree {
            command.arg("--tree").arg(root.to_string());
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Apart from the daemon's job, so that Ctrl-C on its terminal leaves the guardian alone.
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take().expect("it was asked for above");
        Ok(Self { process, pipe })
    }

    /// Waits until it has ended or the daemon ends; whether it is still there then.
    fn outlives(&self, over: &PipeReader) -> io::Result<bool> {
        let process = pidfd_open(Pid::from_child(&self.process), PidfdFlags::empty())?;
        let mut watched = [
            PollFd::new(&process, PollFlags::IN),
            PollFd::new(over, PollFlags::IN),
        ];
        while let Err(why) = poll(&mut watched, None) {
            if why != Errno::INTR {
                return Err(why.into());
            }
        }
        Ok(watched[0].revents().is_empty())
    }
}

/// Keeps a guardian running until the daemon says goodbye, and passes that on; a daemon that breaks off says none.
fn keep(
    first: Ward,
    start: impl Fn() -> io::Result<Ward>,
    over: &PipeReader,
    telling: &watch::Sender<bool>,
) -> io::Result<()> {
    let mut ward = first;
    while !ward.outlives(over)? {
        let status = ward.process.wait()?;
        tracing::warn!(%status, "the guardian has ended; another one is started");
        let mut gap = GAP;
        ward = loop {
            if is_over(over, gap)? {
                // Everything is put back by the daemon itself; there is nobody to say goodbye to.
                return Ok(());
            }
            match start() {
                Ok(ward) => break ward,
                Err(why) => tracing::warn!(%why, "no guardian could be started"),
            }
            telling.send_replace(false);
            gap = GAP_LOST;
        };
        telling.send_replace(true);
    }
    let mut last = Vec::new();
    let mut over = over;
    over.read_to_end(&mut last)?;
    ward.pipe.write_all(&last)?;
    drop(ward.pipe);
    ward.process.wait().map(drop)
}

/// Whether the daemon ends within that time.
fn is_over(over: &PipeReader, within: Duration) -> io::Result<bool> {
    let mut watched = [PollFd::new(over, PollFlags::IN)];
    let limit = Timespec::try_from(within).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

/// The guardian's whole life.
pub(crate) fn watch(at: &Place, tree: Option<u32>) -> Result<Exit, Problem> {
    let mut heard = Vec::new();
    std::io::stdin()
        .take(GOODBYE.len() as u64 + 1)
        .read_to_end(&mut heard)
        .map_err(|why| Problem::system("the guardian lost its pipe", &why))?;
    if heard == GOODBYE {
        return Ok(Exit::Ok);
    }
    let config = HostConfig {
        roots: Roots::default(),
        scope: tree.map_or(Scope::OwnUser, Scope::Tree),
        state: place::paths(at)?.state,
        act: Acting::Yes,
    };
    match left::recovered(&config, JOURNAL_FREE, |_| true) {
        // Busy for so long: a new daemon has the journal, and puts everything back itself.
        Ok(_) | Err(OpenError::Busy) => Ok(Exit::Ok),
        Err(why) => Err(Problem::new(
            Exit::Failed,
            "guard.recover",
            "values could not be put back",
        )
        .known(why.to_string())
        .try_next("hive up: the daemon puts them back when it starts")),
    }
}
