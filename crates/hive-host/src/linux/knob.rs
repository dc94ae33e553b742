//! One value of one thread: read it, write it, and tell "default" from "set by hand".

use std::io;

use hive_core::pattern::{Action, BACKGROUND_NICE, BACKGROUND_WEIGHT};

use super::{FINE_SLICE_NS, sys};

/// The nice that the sessions of the background get. Source: `research/optimizer.md` 7.4.
const AUTOGROUP_NICE: i64 = 10;

/// `SCHED_OTHER` and `SCHED_BATCH`: only these share the processor by weight and slice.
const FAIR_POLICIES: [u32; 2] = [0, 3];

/// What is changed about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadKnob {
    /// Its EEVDF slice in nanoseconds; to be written as 0 to have the kernel's default back.
    Slice {
        /// What a thread reads that nobody gave a slice.
        default: u64,
    },
    /// Its nice; 0 unless somebody set it.
    Nice,
    /// Nothing.
    Nothing,
}

/// A thread's present value, as far as this crate is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nobody set it.
    Default,
    /// It carries what we write.
    Ours,
    /// Somebody set it by hand.
    ByHand,
    /// It is scheduled by other rules; the value means nothing.
    Meaningless,
}

/// How far a restoration has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Threads or sessions that have their old value back.
    pub(super) restored: u32,
    /// That somebody else had changed.
    pub(super) left_alone: u32,
    /// That had ended.
    pub(super) gone: u32,
    /// Why not all of them could be restored.
    pub(super) errno: Option<i32>,
}

/// What an action writes.
pub(super) const fn written(action: Action) -> i64 {
    match action {
        Action::FinerSlice => FINE_SLICE_NS.cast_signed(),
        Action::AutogroupNice => AUTOGROUP_NICE,
        Action::BackgroundNice => BACKGROUND_NICE as i64,
        Action::BackgroundWeight => BACKGROUND_WEIGHT.cast_signed(),
        _ => 0,
    }
}

impl ThreadKnob {
    /// Reads a thread. `new` is what we write.
    pub(super) fn value(self, tid: u32, new: i64) -> io::Result<Value> {
        let now = sys::scheduling(tid)?;
        let (is, default) = match self {
            Self::Nothing => return Ok(Value::Default),
            _ if !FAIR_POLICIES.contains(&now.policy) => return Ok(Value::Meaningless),
            Self::Slice { default } => (now.slice_ns.cast_signed(), default.cast_signed()),
            Self::Nice => (i64::from(now.nice), 0),
        };
        Ok(match is {
            is if is == default => Value::Default,
            is if is == new => Value::Ours,
            _ => Value::ByHand,
        })
    }

    /// Writes a thread.
    pub(super) fn write(self, tid: u32, value: i64) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Slice { .. } => {
                sys::set_slice(tid, sys::scheduling(tid)?.nice, value.cast_unsigned())
            }
            Self::Nice => sys::set_nice(
                tid,
                i32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            ),
        }
    }
}

/// Whether an error says that the target has ended.
pub(super) fn ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH) || error.kind() == io::ErrorKind::NotFound
}

impl Tally {
    /// Counts one attempt to restore.
    pub(super) fn count(&mut self, restored: io::Result<()>) {
        match restored {
            Ok(()) => self.restored += 1,
            Err(error) if ended(&error) => self.gone += 1,
            Err(error) => self.errno = Some(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}
