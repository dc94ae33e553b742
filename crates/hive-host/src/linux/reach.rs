//! How far the hands reach: with their own rights, or through the privileged helper where those are missing.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hive_core::machine::act::{Outcome, Refusal};
use hive_core::machine::facts::MachineFacts;

use super::knob::ThreadKnob;
use super::sys;
use crate::helper::{ANSWER_BYTES, Answer, Heard, Knob, LEASE, No, Request, Thread, Verb, socket};

/// The lease is renewed when so much of it is over: two renewals may fail. A guess.
const RENEW: Duration = Duration::from_secs(LEASE.as_secs() / 3);

/// How long an answer may take. A guess: the helper may be putting back what a killed daemon had on, pass after pass.
const ANSWERED: Duration = Duration::from_secs(5);

/// `SCHED_IDLE`.
const IDLE: i64 = 5;

/// Through whom values are written.
#[derive(Debug)]
pub(super) enum Reach {
    /// By ourselves.
    Own,
    /// What our rights cannot undo, by the helper.
    Helper(Line),
}

/// The line to the helper.
#[derive(Debug)]
pub(super) struct Line {
    socket: PathBuf,
    stream: Option<UnixStream>,
    number: u32,
    /// When the helper last answered.
    heard: Instant,
    /// Whether the helper holds something for us.
    holds: bool,
    /// Whether a helper that held something for us went away: it, or the next one, has put that back.
    lost: bool,
}

/// What became of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// It runs.
    Runs,
    /// The helper was away, or gave us up: what was on through it is off.
    Lost,
}

/// What became of a value that was to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// It is set.
    Done,
    /// The helper would not: it is not to be touched, or somebody was faster. Nothing is changed.
    Spared,
}

/// Why a value could not be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetError {
    /// The kernel said no, or the helper was not heard.
    #[error("it could not be set: {0}")]
    Failed(#[from] io::Error),
    /// The helper has no room for another old value.
    #[error("the helper's notes are full")]
    Full,
}

impl From<SetError> for Outcome {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Failed(why) => Self::Failed {
                errno: why.raw_os_error().unwrap_or(libc::EIO),
            },
            SetError::Full => Self::Refused(Refusal::HelperFull),
        }
    }
}

impl Reach {
    /// Finds the helper where our own rights do not let us undo a nice; the facts then say that it can be undone.
    pub(super) fn find(run: &Path, facts: &mut MachineFacts) -> Self {
        if facts.rights.nice {
            return Self::Own;
        }
        let mut line = Line::new(run, facts.uid);
        if !matches!(line.ask(Verb::Renew), Ok(Answer::Done(_))) {
            return Self::Own;
        }
        facts.rights.nice = true;
        Self::Helper(line)
    }

    /// Whether any of this user's processes can get its nice back, whatever its own limit.
    pub(super) fn is_helped(&self) -> bool {
        matches!(self, Self::Helper(_))
    }

    /// Whether this knob is written by the helper.
    pub(super) fn helps(&self, knob: ThreadKnob) -> bool {
        self.is_helped() && !of_helper(knob).is_empty()
    }

    /// Writes our value.
    pub(super) fn set(
        &mut self,
        knob: ThreadKnob,
        thread: Thread,
        value: i64,
    ) -> Result<Set, SetError> {
        let parts = of_helper(knob);
        let Self::Helper(line) = self else {
            knob.write(thread.tid, value)?;
            return Ok(Set::Done);
        };
        if parts.is_empty() {
            knob.write(thread.tid, value)?;
            return Ok(Set::Done);
        }
        for (at, &knob) in parts.iter().enumerate() {
            let value = if knob == Knob::Policy { IDLE } else { value };
            let set = Verb::Set {
                knob,
                thread,
                value,
            };
            if became(line.ask(set)?)? == Set::Spared {
                for &knob in parts[..at].iter().rev() {
                    told(line.ask(Verb::Restore { knob, thread })?)?;
                }
                return Ok(Set::Spared);
            }
            line.holds = true;
        }
        Ok(Set::Done)
    }

    /// Writes the old value, where ours was just seen.
    pub(super) fn restore(&mut self, knob: ThreadKnob, thread: Thread, old: i64) -> io::Result<()> {
        let Self::Helper(line) = self else {
            return knob.write(thread.tid, old);
        };
        let parts = of_helper(knob);
        if parts.is_empty() {
            return knob.write(thread.tid, old);
        }
        for &knob in parts.iter().rev() {
            // A step that was cut off between the two has set the mark only.
            if knob == Knob::Policy && i64::from(sys::scheduling(thread.tid)?.policy) != IDLE {
                continue;
            }
            told(line.ask(Verb::Restore { knob, thread })?)?;
        }
        Ok(())
    }

    /// Says that nothing is on any more. Where that is not heard, the lease ends by itself.
    pub(super) fn settle(&mut self) {
        if let Self::Helper(line) = self
            && line.holds
        {
            line.holds = line.ask(Verb::Settle).is_err();
            line.lost = false;
        }
    }

    /// Renews the lease when it is time.
    pub(super) fn keep(&mut self) -> Lease {
        let Self::Helper(line) = self else {
            return Lease::Runs;
        };
        if !line.holds {
            return Lease::Runs;
        }
        if std::mem::take(&mut line.lost) || line.has_hung_up() {
            line.stream = None;
            return Lease::Lost;
        }
        if line.heard.elapsed() < RENEW {
            return Lease::Runs;
        }
        match line.ask(Verb::Renew) {
            Ok(Answer::Done(held)) if held > 0 => Lease::Runs,
            _ => Lease::Lost,
        }
    }
}

/// Whether the helper of a user is there and answers. Nothing is changed; where the system's manager listens for it, it is started.
pub(super) fn heard(run: &Path, uid: u32) -> Heard {
    let mut line = Line::new(run, uid);
    let meta = std::fs::metadata(&line.socket);
    if !meta.is_ok_and(|meta| meta.file_type().is_socket()) {
        return Heard::NoSocket;
    }
    match line.ask(Verb::Renew) {
        Ok(Answer::Done(_)) => Heard::Answers,
        _ => Heard::Silent,
    }
}

impl Line {
    fn new(run: &Path, uid: u32) -> Self {
        Self {
            socket: socket(run, uid),
            stream: None,
            number: 0,
            heard: Instant::now(),
            holds: false,
            lost: false,
        }
    }

    /// Asks and waits for the answer. Where the helper has ended it is asked once more: its socket starts it anew, and it has then
    /// put back what it had on.
    fn ask(&mut self, verb: Verb) -> io::Result<Answer> {
        let was_open = self.stream.is_some();
        match self.ask_once(verb) {
            Err(why) if was_open && self.holds => {
                // What it held is back. A value set through the next one would hide that.
                self.lost = true;
                if matches!(verb, Verb::Set { .. }) {
                    return Err(why);
                }
                self.ask_once(verb)
            }
            Err(_) if was_open => self.ask_once(verb),
            asked => asked,
        }
    }

    /// Whether the helper has closed the line. It says nothing unasked, so there is nothing to read otherwise.
    fn has_hung_up(&self) -> bool {
        let Some(mut stream) = self.stream.as_ref() else {
            return true;
        };
        let looked = stream
            .set_nonblocking(true)
            .and_then(|()| stream.read(&mut [0]));
        let waits = matches!(&looked, Err(why) if why.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_err() || !waits
    }

    fn ask_once(&mut self, verb: Verb) -> io::Result<Answer> {
        let asked = self.exchange(verb);
        if asked.is_err() {
            self.stream = None;
        } else {
            self.heard = Instant::now();
        }
        asked
    }

    fn exchange(&mut self, verb: Verb) -> io::Result<Answer> {
        let mut stream = if let Some(stream) = &self.stream {
            stream
        } else {
            let stream = sys::connect(&self.socket)?;
            stream.set_read_timeout(Some(ANSWERED))?;
            stream.set_write_timeout(Some(ANSWERED))?;
            self.stream.insert(stream)
        };
        self.number = self.number.wrapping_add(1);
        let number = self.number;
        stream.write_all(&Request { number, verb }.encode())?;
        let mut bytes = [0; ANSWER_BYTES];
        stream.read_exact(&mut bytes)?;
        match Answer::decode(&bytes).map_err(io::Error::other)? {
            (of, answer) if of == number => Ok(answer),
            _ => Err(io::Error::other("an answer to something else")),
        }
    }
}

/// What the helper calls a knob, in the order of the deeds; nothing for those that everybody can undo. `SCHED_IDLE` comes after the
/// nice that marks it as ours, and goes before it.
fn of_helper(knob: ThreadKnob) -> &'static [Knob] {
    match knob {
        ThreadKnob::Nice => &[Knob::Nice],
        ThreadKnob::Idle { .. } => &[Knob::Nice, Knob::Policy],
        ThreadKnob::Slice { .. } | ThreadKnob::Io | ThreadKnob::Nothing => &[],
    }
}

/// What an answer to [`Verb::Set`] means. A no that is about one thread only spares that one.
fn became(answer: Answer) -> Result<Set, SetError> {
    match answer {
        Answer::Refused(No::NotYours | No::NotFair | No::Privileged | No::ByHand | No::NotLess) => {
            Ok(Set::Spared)
        }
        Answer::Refused(No::Full) => Err(SetError::Full),
        answer => Ok(told(answer).map(|()| Set::Done)?),
    }
}

/// An answer as an error of the kernel.
fn told(answer: Answer) -> io::Result<()> {
    let errno = match answer {
        Answer::Done(_) => return Ok(()),
        // Between our look and its deed the thread ended.
        Answer::Refused(No::Gone) => libc::ESRCH,
        Answer::Refused(_) => libc::EPERM,
        Answer::Failed(errno) => errno,
    };
    Err(io::Error::from_raw_os_error(errno))
}

#[cfg(test)]
#[path = "reach/tests.rs"]
mod tests;
