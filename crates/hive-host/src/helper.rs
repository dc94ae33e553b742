//! What a daemon and the privileged `hive-helper` say to each other: fixed sizes, a closed list of verbs, numbers only.
//!
//! One request of [`REQUEST_BYTES`], then one answer of [`ANSWER_BYTES`], little-endian, over a stream socket. The helper believes
//! nothing of what it is asked: its own rules decide (`hive-helper`, `policy.rs`; decision 0060).

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first byte of each request and answer. Another one is answered with [`No::Version`].
pub const VERSION: u8 = 1;

/// Bytes of a request.
pub const REQUEST_BYTES: usize = 32;

/// Bytes of an answer.
pub const ANSWER_BYTES: usize = 16;

/// What is changed is put back when nothing was heard for this long. Source: DESIGN section 14.
pub const LEASE: Duration = Duration::from_secs(30);

/// A socket-activated helper ends this long after its last lease. Source: DESIGN section 14.
pub const LINGER: Duration = Duration::from_mins(1);

/// Where the helper of a user listens.
#[must_use]
pub fn socket(run: &Path, uid: u32) -> PathBuf {
    run.join(format!("hive-helper/{uid}.sock"))
}

/// What is heard of the helper of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There is no socket of one.
    NoSocket,
    /// There is a socket, and nobody answers there.
    Silent,
    /// It answers.
    Answers,
}

/// One thread, told apart from every other one of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thread {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// When the thread started, in ticks since boot.
    pub start: u64,
}

/// A value of a thread that the helper may change and put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Knob {
    /// Nice, 0 to 19.
    Nice = 1,
    /// Scheduling policy: 0 = OTHER, 3 = BATCH, 5 = IDLE.
    Policy = 2,
    /// EEVDF slice in nanoseconds.
    Slice = 3,
    /// Input and output priority as the kernel writes it: class << 13 | level.
    IoPriority = 4,
    /// Timer slack in nanoseconds.
    TimerSlack = 5,
}

/// What the kernel is told of memory that will not be used soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Advice {
    /// `MADV_COLD`: first to go when memory is needed.
    Cold = 1,
    /// `MADV_PAGEOUT`: out to swap now.
    PageOut = 2,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The heartbeat: the lease begins anew. Answered with the number of notes that are held for this connection: 0 after
    /// something was set = it was put back meanwhile.
    Renew,
    /// Changes a value. Answered with the old one.
    Set {
        /// Which value.
        knob: Knob,
        /// Whose.
        thread: Thread,
        /// To what.
        value: i64,
    },
    /// Puts a value back that is still as it was set here, or was inherited from such a one.
    Restore {
        /// Which value.
        knob: Knob,
        /// Whose.
        thread: Thread,
    },
    /// All that this connection set and that is still on is put back; what it set is forgotten.
    Settle,
    /// Advises the kernel on private anonymous memory of a process, up to so many bytes. Answered with the bytes that it took.
    Advise {
        /// What of it.
        advice: Advice,
        /// Its leading thread.
        thread: Thread,
        /// At most so many bytes.
        bytes: i64,
    },
}

/// A numbered [`Verb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the answer.
    pub number: u32,
    /// What is asked.
    pub verb: Verb,
}

/// Why the helper did not do it. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum No {
    /// The first byte is not [`VERSION`].
    Version = 1,
    /// No such verb or knob, or a byte that must be zero is not.
    Malformed = 2,
    /// There is no such thread, or its number has gone to another one.
    Gone = 3,
    /// Its real, effective or saved user is not the one that is served.
    NotYours = 4,
    /// It is process 1.
    Init = 5,
    /// It is a thread of the kernel.
    Kernel = 6,
    /// It is the helper.
    Helper = 7,
    /// It is not scheduled as OTHER, BATCH or IDLE.
    NotFair = 8,
    /// The value is outside of what may be set.
    OutOfBounds = 9,
    /// The value would give more than there is, or the same.
    NotLess = 10,
    /// Somebody with rights has given it more than the default.
    Privileged = 11,
    /// It is set already: to something else, or by another connection, with which it goes.
    SetAlready = 12,
    /// Nothing of this was set here.
    NotOurs = 13,
    /// Somebody has changed it since; it is theirs.
    ByHand = 14,
    /// The helper's notes are full.
    Full = 15,
    /// The helper's journal cannot be written, so nothing was done.
    NoJournal = 16,
}

/// What the helper answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; the number is told with each [`Verb`].
    Done(i64),
    /// Not done.
    Refused(No),
    /// The kernel said no, with this error number.
    Failed(i32),
}

impl From<No> for Answer {
    fn from(no: No) -> Self {
        Self::Refused(no)
    }
}

/// What is wrong with bytes that are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no answer of a hive-helper of version {VERSION}")]
pub struct NoAnswer;

impl Request {
    /// As bytes.
    #[must_use]
    pub fn encode(self) -> [u8; REQUEST_BYTES] {
        let nobody = Thread {
            pid: 0,
            tid: 0,
            start: 0,
        };
        let (verb, what, thread, value) = match self.verb {
            Verb::Renew => (1, 0, nobody, 0),
            Verb::Set {
                knob,
                thread,
                value,
            } => (2, knob as u8, thread, value),
            Verb::Restore { knob, thread } => (3, knob as u8, thread, 0),
            Verb::Settle => (4, 0, nobody, 0),
            Verb::Advise {
                advice,
                thread,
                bytes,
            } => (5, advice as u8, thread, bytes),
        };
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&[VERSION, verb, what, 0]);
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&thread.pid.to_le_bytes());
        bytes[12..16].copy_from_slice(&thread.tid.to_le_bytes());
        bytes[16..24].copy_from_slice(&thread.start.to_le_bytes());
        bytes[24..].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    /// The number in these bytes, and what they ask: [`No::Version`] or [`No::Malformed`] if that is nothing.
    pub fn decode(bytes: &[u8; REQUEST_BYTES]) -> (u32, Result<Verb, No>) {
        (four(bytes, 4), Self::verb(bytes))
    }

    fn verb(bytes: &[u8; REQUEST_BYTES]) -> Result<Verb, No> {
        let [version, verb, what, zero, ..] = *bytes;
        if version != VERSION {
            return Err(No::Version);
        }
        let thread = Thread {
            pid: four(bytes, 8),
            tid: four(bytes, 12),
            start: eight(bytes, 16),
        };
        let value = eight(bytes, 24).cast_signed();
        let knob = || Knob::from_byte(what).ok_or(No::Malformed);
        let decoded = match verb {
            1 => Verb::Renew,
            2 => Verb::Set {
                knob: knob()?,
                thread,
                value,
            },
            3 => Verb::Restore {
                knob: knob()?,
                thread,
            },
            4 => Verb::Settle,
            5 => Verb::Advise {
                advice: Advice::from_byte(what).ok_or(No::Malformed)?,
                thread,
                bytes: value,
            },
            _ => return Err(No::Malformed),
        };
        let again = Self {
            number: four(bytes, 4),
            verb: decoded,
        };
        // One request has one form: what a verb has no use for is zero.
        if zero == 0 && again.encode() == *bytes {
            Ok(decoded)
        } else {
            Err(No::Malformed)
        }
    }
}

impl Answer {
    /// As bytes.
    #[must_use]
    pub fn encode(self, number: u32) -> [u8; ANSWER_BYTES] {
        let (code, no, value) = match self {
            Self::Done(value) => (0, 0, value),
            Self::Refused(no) => (1, no as u8, 0),
            Self::Failed(errno) => (2, 0, i64::from(errno)),
        };
        let mut bytes = [0; ANSWER_BYTES];
        bytes[..4].copy_from_slice(&[VERSION, code, no, 0]);
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    /// From bytes, with the number of the request.
    pub fn decode(bytes: &[u8; ANSWER_BYTES]) -> Result<(u32, Self), NoAnswer> {
        let value = eight(bytes, 8).cast_signed();
        let answer = match bytes[..4] {
            [VERSION, 0, 0, 0] => Self::Done(value),
            [VERSION, 1, no, 0] => Self::Refused(No::from_byte(no).ok_or(NoAnswer)?),
            [VERSION, 2, 0, 0] => Self::Failed(i32::try_from(value).map_err(|_| NoAnswer)?),
            _ => return Err(NoAnswer),
        };
        Ok((four(bytes, 4), answer))
    }
}

impl Knob {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nice,
        Self::Policy,
        Self::Slice,
        Self::IoPriority,
        Self::TimerSlack,
    ];

    /// The knob of this number.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|knob| *knob as u8 == byte)
    }
}

impl Advice {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Cold, Self::PageOut]
            .into_iter()
            .find(|advice| *advice as u8 == byte)
    }
}

impl No {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Version,
        Self::Malformed,
        Self::Gone,
        Self::NotYours,
        Self::Init,
        Self::Kernel,
        Self::Helper,
        Self::NotFair,
        Self::OutOfBounds,
        Self::NotLess,
        Self::Privileged,
        Self::SetAlready,
        Self::NotOurs,
        Self::ByHand,
        Self::Full,
        Self::NoJournal,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|no| *no as u8 == byte)
    }
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_understood_has_one_form(
            head in any::<[u8; 4]>(),
            rest in any::<[u8; REQUEST_BYTES - 4]>(),
        ) {
            let mut bytes = [0; REQUEST_BYTES];
            // Small numbers, so that many are verbs.
            for (byte, of) in bytes.iter_mut().zip(head) {
                *byte = of % 7;
            }
            bytes[4..].copy_from_slice(&rest);
            if let (number, Ok(verb)) = Request::decode(&bytes) {
                prop_assert_eq!(Request { number, verb }.encode(), bytes);
            }
        }

        #[test]
        fn an_answer_comes_through(value in any::<i64>(), errno in any::<i32>(), number in any::<u32>()) {
            let refused = No::ALL.map(Answer::Refused);
            for answer in [Answer::Done(value), Answer::Failed(errno)].into_iter().chain(refused) {
                prop_assert_eq!(Answer::decode(&answer.encode(number)), Ok((number, answer)));
            }
        }
    }

    #[test]
    fn another_version_is_told_from_nonsense() {
        let mut bytes = Request {
            number: 7,
            verb: Verb::Renew,
        }
        .encode();
        bytes[0] = VERSION + 1;
        assert_eq!(Request::decode(&bytes), (7, Err(No::Version)));
        bytes[0] = VERSION;
        bytes[1] = 9;
        assert_eq!(Request::decode(&bytes), (7, Err(No::Malformed)));
    }
}
