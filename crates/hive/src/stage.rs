//! The demo's stage: programs that behave like an editor and a build, terminal sessions that run them,
//! and machines that hold sessions and a daemon. Hidden verbs of this same program.
//!
//! Every stage program ends when the one that started it ends, however that happened.

pub(crate) mod programs;
pub(crate) mod session;
pub(crate) mod machine;

use std::path::PathBuf;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::args::StageVerb;
use crate::problem::{Exit, Problem};

/// Plays a part.
pub(crate) fn run(verb: StageVerb) -> Result<Exit, Problem> {
    // A machine ends in order when its input ends; all others end with whoever started them.
    if !matches!(verb, StageVerb::Machine(_)) {
        end_with_parent()?;
    }
    match verb {
        StageVerb::Editor => programs::editor(),
        StageVerb::Job => programs::job(),
        StageVerb::Compile { source } => programs::compile(&source),
        StageVerb::Session(args) => session::run(&args),
        StageVerb::Machine(args) => machine::run(&args),
    }
}

/// This program, under its own name: a process's name is what the daemon knows it by.
fn program() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(failed)
}

/// Asks the kernel to kill this process with its parent; one whose parent is gone already ends now.
fn end_with_parent() -> Result<(), Problem> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|why| {
        Problem::system("the stage program cannot follow its parent", &why.into())
    })?;
    if getppid() != parent {
        return Err(Problem::new(
            Exit::Failed,
            "stage.alone",
            "the demo has ended",
        ));
    }
    Ok(())
}

/// A failure on stage.
#[expect(clippy::needless_pass_by_value, reason = "made to be given to map_err")]
fn failed(why: std::io::Error) -> Problem {
    Problem::system("the demo's stage failed", &why)
}
