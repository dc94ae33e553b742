//! The only reader of clocks in this crate.

use std::time::{SystemTime, UNIX_EPOCH};

use hive_core::time::{Instant, Now, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Both clocks, read together.
pub(crate) fn now() -> Now {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        boot: Instant(micros(ClockId::Boottime)),
        wall: WallTime(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Microseconds that this machine has slept since it booted: the boot clock counts sleep, the monotonic
/// clock (on which timers run) does not.
pub(crate) fn slept_us() -> u64 {
    micros(ClockId::Boottime).saturating_sub(micros(ClockId::Monotonic))
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000 + nanos / 1_000
}
