//! One value of one thread: read it, write it, and tell "default" from "set by hand".

use std::io;

use hive_core::pattern::{Action, BACKGROUND_NICE, BACKGROUND_WEIGHT};

use super::{FINE_SLICE_NS, sys};

/// The nice that the sessions of the background get. Source: `research/optimizer.md` 7.4.
const AUTOGROUP_NICE: i64 = 10;

/// `SCHED_OTHER` and `SCHED_BATCH`: only these share the processor by weight and slice.
const FAIR_POLICIES: [u32; 2] = [0, 3];

/// `SCHED_OTHER`.
const OTHER: u32 = 0;

/// `SCHED_IDLE`.
const IDLE: u32 = 5;

/// The idle class of input and output (`ioprio_set(2)`: class 3) at level 5: the level means nothing there, `ionice`
/// writes 7, and a program that asks for the class itself 0 or 4, so this one is ours.
const IO_IDLE: u16 = 3 << 13 | 5;

/// What a thread reads that nobody gave a class: none at all, or what follows from nice 0 (best effort, level 4).
const IO_DEFAULTS: [u16; 2] = [0, 2 << 13 | 4];

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
    /// Its policy, and its nice as the mark that tells our `SCHED_IDLE` from everybody else's.
    Idle {
        /// The slice of a thread that nobody gave one, where threads have slices.
        slice: Option<u64>,
    },
    /// Its class of input and output.
    Io,
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
        Action::BackgroundNice | Action::BackgroundIdle => BACKGROUND_NICE as i64,
        Action::BackgroundIo => IO_IDLE as i64,
        Action::BackgroundWeight => BACKGROUND_WEIGHT.cast_signed(),
        _ => 0,
    }
}

impl ThreadKnob {
    /// Reads a thread. `new` is what we write.
    pub(super) fn value(self, tid: u32, new: i64) -> io::Result<Value> {
        let (is, default) = match self {
            Self::Nothing => return Ok(Value::Default),
            Self::Idle { .. } => return Ok(idle_value(sys::scheduling(tid)?, new)),
            Self::Io => {
                let class = sys::io_class(tid)?;
                let plain = IO_DEFAULTS.contains(&class);
                (if plain { 0 } else { i64::from(class) }, 0)
            }
            Self::Slice { .. } | Self::Nice => {
                let now = sys::scheduling(tid)?;
                match self {
                    _ if !FAIR_POLICIES.contains(&now.policy) => return Ok(Value::Meaningless),
                    Self::Slice { default } => (now.slice_ns.cast_signed(), default.cast_signed()),
                    _ => (i64::from(now.nice), 0),
                }
            }
        };
        Ok(match is {
            is if is == default => Value::Default,
            is if is == new => Value::Ours,
            _ => Value::ByHand,
        })
    }

    /// Writes a thread.
    pub(super) fn write(self, tid: u32, value: i64) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        match self {
            Self::Nothing => Ok(()),
            Self::Slice { .. } => {
                sys::set_slice(tid, sys::scheduling(tid)?.nice, value.cast_unsigned())
            }
            Self::Nice => sys::set_nice(tid, i32::try_from(value).map_err(|_| invalid())?),
            Self::Idle { slice } => write_idle(tid, value, slice),
            Self::Io => sys::set_io_class(tid, u16::try_from(value).map_err(|_| invalid())?),
        }
    }
}

/// Puts our mark and `SCHED_IDLE` on a thread, or the usual policy with another nice.
fn write_idle(tid: u32, nice: i64, default_slice: Option<u64>) -> io::Result<()> {
    let nice = i32::try_from(nice).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let now = sys::scheduling(tid)?;
    if nice == i32::from(BACKGROUND_NICE) {
        // The mark first, so that whatever is found half-way is known as ours.
        sys::set_nice(tid, nice)?;
        return sys::set_policy(
            tid,
            sys::Scheduling {
                policy: IDLE,
                ..now
            },
        );
    }
    // Policy and nice in one call: the way back has no half. Somebody's own slice stays what it is.
    let slice_ns = own_slice(now.slice_ns, default_slice);
    let policy = OTHER;
    let back = sys::Scheduling {
        policy,
        nice,
        slice_ns,
        ..now
    };
    sys::set_policy(tid, back)
}

/// What is written beside a policy, so that somebody's own slice stays what it is: 0 is the kernel's default. Where the default is
/// not known nobody's own can be told from it, and a written default would be one's own for good.
pub(super) fn own_slice(now: u64, default: Option<u64>) -> u64 {
    match default {
        Some(default) if now != default => now,
        _ => 0,
    }
}

/// What a thread carries of policy and mark. A step that was cut off between the two has set the mark only.
fn idle_value(now: sys::Scheduling, new: i64) -> Value {
    let marked = i64::from(now.nice) == new;
    match now.policy {
        OTHER if now.nice == 0 => Value::Default,
        OTHER | IDLE if marked => Value::Ours,
        policy if policy == IDLE || FAIR_POLICIES.contains(&policy) => Value::ByHand,
        _ => Value::Meaningless,
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

#[cfg(test)]
mod tests {
    use super::own_slice;

    #[test]
    fn only_a_slice_that_is_known_to_be_somebodys_own_is_written_again() {
        let default = 2_800_000;
        assert_eq!(own_slice(default, Some(default)), 0);
        assert_eq!(own_slice(100_000, Some(default)), 100_000);
        assert_eq!(own_slice(default, None), 0);
        assert_eq!(own_slice(100_000, None), 0);
    }
}
