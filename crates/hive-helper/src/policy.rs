//! The rules of the helper: whom it touches and which values it takes. They trust nobody, the daemon least.

use hive_host::helper::{Knob, No, Thread};
use hive_host::privileged::Sight;

/// `SCHED_OTHER`, `SCHED_BATCH`, `SCHED_IDLE`, from more to less of the processor.
const POLICIES: [i64; 3] = [0, 3, 5];

/// Nice, 0 to 19. Source: DESIGN section 14.
const NICE_MAX: i64 = 19;

/// Slices in nanoseconds, 0.1 to 20 ms. Source: DESIGN section 14.
const SLICES: std::ops::RangeInclusive<i64> = 100_000..=20_000_000;

/// Timer slack in nanoseconds: from the kernel's default to 50 ms. Source: `research/optimizer.md` 7.4.
const SLACKS: std::ops::RangeInclusive<i64> = 50_000..=50_000_000;

/// Input and output classes of the kernel's `linux/ioprio.h`, in the three highest of sixteen bits.
const IO_NONE: i64 = 0;
const IO_BEST_EFFORT: i64 = 2;
const IO_IDLE: i64 = 3;

/// Most bytes that one request may advise on. A guess: a browser with many tabs.
pub const ADVISED_MAX: i64 = 4 << 30;

/// Whom this helper serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The one user.
    pub uid: u32,
    /// The helper's own process.
    pub helper: u32,
}

/// Whether a thread may be touched at all.
pub fn target(served: Served, thread: Thread, sight: &Sight) -> Result<(), No> {
    if thread.pid == 1 {
        return Err(No::Init);
    }
    if thread.pid == served.helper {
        return Err(No::Helper);
    }
    if sight.kernel {
        return Err(No::Kernel);
    }
    // All three: a program that was given another user's rights (sudo, passwd) is not this user's to slow down.
    if sight.uids != [served.uid; 3] {
        return Err(No::NotYours);
    }
    if !POLICIES.contains(&i64::from(sight.policy)) {
        return Err(No::NotFair);
    }
    // Somebody with rights wanted it to go first; and putting such a nice back would ask for a negative one.
    if sight.nice < 0 {
        return Err(No::Privileged);
    }
    Ok(())
}

/// Whether a knob that is at `now` may be set to `value`; `nice` is the thread's nice.
pub fn value(knob: Knob, now: i64, value: i64, nice: i32) -> Result<(), No> {
    let less = |is_less: bool| if is_less { Ok(()) } else { Err(No::NotLess) };
    let within = |is_within: bool| {
        if is_within {
            Ok(())
        } else {
            Err(No::OutOfBounds)
        }
    };
    match knob {
        Knob::Nice => {
            within((0..=NICE_MAX).contains(&now) && (0..=NICE_MAX).contains(&value))?;
            less(value > now)
        }
        Knob::Policy => {
            within(value == POLICIES[1] || value == POLICIES[2])?;
            less(rank(value) > rank(now))
        }
        // A slice gives no more of the processor, only sooner or later turns.
        Knob::Slice => {
            within(SLICES.contains(&value))?;
            less(value != now)
        }
        Knob::IoPriority => {
            within(value == IO_IDLE << 13 || (4..=7).any(|level| value == best_effort(level)))?;
            let Some(now) = io_rank(now, nice) else {
                return Err(No::Privileged);
            };
            less(io_rank(value, nice).is_some_and(|value| value > now))
        }
        Knob::TimerSlack => {
            within(SLACKS.contains(&value))?;
            less(value > now)
        }
    }
}

/// Whether so many bytes of a process's memory may be advised on.
pub fn advice(thread: Thread, bytes: i64) -> Result<(), No> {
    if thread.pid != thread.tid {
        return Err(No::Gone);
    }
    if (1..=ADVISED_MAX).contains(&bytes) {
        Ok(())
    } else {
        Err(No::OutOfBounds)
    }
}

/// What is written to have an old value back.
#[must_use]
pub fn as_before(knob: Knob, old: i64) -> i64 {
    // Older kernels tell a level beside the class "none" and take only 0 for it.
    if knob == Knob::IoPriority && old >> 13 == IO_NONE {
        0
    } else {
        old
    }
}

fn rank(policy: i64) -> Option<usize> {
    POLICIES.iter().position(|known| *known == policy)
}

const fn best_effort(level: i64) -> i64 {
    IO_BEST_EFFORT << 13 | level
}

/// 0 to 7 as best effort, 8 as idle; none for real time.
fn io_rank(value: i64, nice: i32) -> Option<i64> {
    match value >> 13 {
        // Whoever has none gets a level by nice (the kernel's `task_nice_ioprio`).
        IO_NONE => Some((i64::from(nice) + 20) / 5),
        IO_BEST_EFFORT => Some(value & 7),
        IO_IDLE => Some(8),
        _ => None,
    }
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
