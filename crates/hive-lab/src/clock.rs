//! The boot clock: one for all network and PID namespaces of this machine, so that moments told by several
//! daemons can be subtracted.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds since boot.
pub fn boot_us() -> u64 {
    nanoseconds(ClockId::Boottime) / 1_000
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds that this thread has run.
pub fn thread_ran_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// A moment of the monotonic clock as the kernel wants it.
pub fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
