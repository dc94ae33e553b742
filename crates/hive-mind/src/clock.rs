//! The only reader of clocks in this crate.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hive_core::time::{Instant, Now, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// How the nodes of this process see time pass, when it is not as it does.
static HURRY: OnceLock<Hurry> = OnceLock::new();

/// A clock that runs faster from one moment on, so that the lab sees a day's traffic in minutes.
#[derive(Clone, Copy, Debug)]
struct Hurry {
    factor: u32,
    since: Now,
}

/// From now on the nodes of this process see time pass this many times faster. Only the first call counts.
pub(crate) fn hurry(factor: NonZeroU32) {
    let factor = factor.get();
    if factor > 1 {
        HURRY.get_or_init(|| Hurry {
            factor,
            since: real(),
        });
    }
}

/// Both clocks, read together, as the nodes see them.
pub(crate) fn now() -> Now {
    HURRY.get().map_or_else(real, |hurry| hurry.seen(real()))
}

/// How long a span of the nodes' clock really takes.
pub(crate) fn really(span: Duration) -> Duration {
    HURRY.get().map_or(span, |hurry| span / hurry.factor)
}

impl Hurry {
    fn seen(&self, real: Now) -> Now {
        let factor = u64::from(self.factor);
        let boot = real.boot.since(self.since.boot).0;
        let wall = real.wall.0.saturating_sub(self.since.wall.0);
        Now {
            boot: Instant(self.since.boot.0.saturating_add(boot * factor)),
            wall: WallTime(self.since.wall.0.saturating_add(wall * factor)),
        }
    }
}

fn real() -> Now {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_hurry_both_clocks_run_faster_from_the_moment_on() {
        let at = |boot, wall| Now {
            boot: Instant(boot),
            wall: WallTime(wall),
        };
        let hurry = Hurry {
            factor: 144,
            since: at(5_000, 1_000),
        };
        for (real, seen) in [
            (at(5_000, 1_000), at(5_000, 1_000)),
            (at(5_010, 1_002), at(6_440, 1_288)),
            // The calendar was set back: it stands still.
            (at(5_010, 900), at(6_440, 1_000)),
        ] {
            let told = hurry.seen(real);
            assert_eq!((told.boot, told.wall), (seen.boot, seen.wall));
        }
    }
}
