//! What happens when nobody reads what is printed any more: a quiet end instead of a panic with its trace.
//!
//! `print!` panics when standard output cannot be written. The panic is kept, because it unwinds: what the
//! demo has set up is taken down on the way, whichever line failed. Only its message and its code change.
//! The standard library gives the failed line no type of its own, so it is told by its message; a test
//! holds both ends (a closed pipe, a full disk), so that a change there would show.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::process::ExitCode;

/// How the standard library's message begins; the error follows.
const FAILED: &str = "failed printing to std";

/// How the error of a pipe without a reader is told (EPIPE, on every Unix).
const CLOSED: &str = "(os error 32)";

/// What a shell reports of a program that SIGPIPE ended: 128 + 13.
const CLOSED_EXIT: u8 = 141;

/// Runs it; a failed line ends it quietly (closed) or with one line (anything else).
pub(crate) fn guarded(run: impl FnOnce() -> ExitCode) -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo| {
        if message(info.payload()).is_none() {
            usual(info);
        }
    }));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(exit) => exit,
        Err(payload) => match message(&*payload) {
            Some(why) if why.ends_with(CLOSED) => ExitCode::from(CLOSED_EXIT),
            Some(why) => {
                tell(&why);
                ExitCode::FAILURE
            }
            None => resume_unwind(payload),
        },
    }
}

/// One line of error; where even that cannot be written, the exit code alone tells.
fn tell(why: &str) {
    use std::io::Write as _;
    let written = writeln!(std::io::stderr(), "error: {why}");
    drop(written);
}

/// The message of a failed line, if that is what it was.
fn message(payload: &(dyn Any + Send)) -> Option<String> {
    let words = payload.downcast_ref::<String>()?;
    words.starts_with(FAILED).then(|| words.clone())
}
