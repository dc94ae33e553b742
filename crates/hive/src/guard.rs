//! The guardian: a tiny process that outlives a killed daemon just long enough to put values back.
//!
//! The daemon holds one end of a pipe and says goodbye over it when it ends in order. When the pipe
//! closes without a goodbye, the daemon was killed: its journal says what was on, and that is undone.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use hive_mind::{Acting, HostConfig, OpenError, Roots, Scope};

use crate::args::Place;
use crate::place;
use crate::problem::{Exit, Problem};

/// What the daemon says when it ends in order, everything restored.
const GOODBYE: &[u8] = b"bye";

/// How long a dying daemon may hold its journal. A guess: its files close within the same exit.
const JOURNAL_FREE: Duration = Duration::from_secs(2);

/// The daemon's end.
pub(crate) struct Guard {
    process: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts the guardian of this place.
    pub(crate) fn start(at: &Place, tree: Option<u32>) -> Result<Self, Problem> {
        let failed = |why| Problem::system("the guardian could not be started", &why);
        let paths = place::paths(at)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("--state").arg(&paths.state).arg("guard");
        if let Some(root) = tree {
            command.arg("--tree").arg(root.to_string());
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Apart from the daemon's job, so that Ctrl-C on its terminal leaves the guardian alone.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let pipe = process.stdin.take().expect("it was asked for above");
        Ok(Self { process, pipe })
    }

    /// Says goodbye and waits for the guardian's end.
    pub(crate) fn goodbye(mut self) -> std::io::Result<()> {
        self.pipe.write_all(GOODBYE)?;
        drop(self.pipe);
        self.process.wait().map(|_| ())
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
    let start = Instant::now();
    loop {
        match hive_mind::recover(&config) {
            Err(OpenError::Busy) if start.elapsed() < JOURNAL_FREE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Busy for so long: a new daemon has the journal, and puts everything back itself.
            Ok(_) | Err(OpenError::Busy) => return Ok(Exit::Ok),
            Err(why) => {
                return Err(Problem::new(
                    Exit::Failed,
                    "guard.recover",
                    "values could not be put back",
                )
                .known(why.to_string())
                .try_next("hive up: the daemon puts them back when it starts"));
            }
        }
    }
}
