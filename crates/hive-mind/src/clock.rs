//! The only reader of clocks in this crate.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hive_core::time::{Instant, Now, Span, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// How the nodes of this process see time pass, when it is not as it does.
static HURRY: OnceLock<Hurry> = OnceLock::new();

/// A clock that runs faster from one moment on, so that the lab sees a day's traffic in minutes.
#[derive(Clone, Copy, Debug)]
struct Hurry {
    factor: u32,
    since: Now,
}

/// After this span the nodes of this process see time pass so many times faster. Only the first call counts.
pub(crate) fn hurry(factor: NonZeroU32, after: Duration) {
    let factor = factor.get();
    if factor > 1 {
        HURRY.get_or_init(|| Hurry::beginning(real(), after, factor));
    }
}

/// Both clocks, read together, as the nodes see them.
pub(crate) fn now() -> Now {
    HURRY.get().map_or_else(real, |hurry| hurry.seen(real()))
}

/// How long a span of the nodes' clock really takes.
pub(crate) fn really(span: Duration) -> Duration {
    HURRY
        .get()
        .map_or(span, |hurry| hurry.really(span, real().boot))
}

impl Hurry {
    fn beginning(now: Now, after: Duration, factor: u32) -> Self {
        let (ms, us) = (after.as_millis(), after.as_micros());
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        let since = Now {
            boot: Instant(now.boot.0.saturating_add(us)),
            wall: WallTime(now.wall.0.saturating_add(ms)),
        };
        Self { factor, since }
    }

    fn seen(&self, real: Now) -> Now {
        if real.boot < self.since.boot {
            return real;
        }
        let factor = u64::from(self.factor);
        let boot = real.boot.since(self.since.boot).0;
        let wall = real.wall.0.saturating_sub(self.since.wall.0);
        Now {
            boot: Instant(self.since.boot.0.saturating_add(boot * factor)),
            wall: WallTime(self.since.wall.0.saturating_add(wall * factor)),
        }
    }

    /// A part of it may pass before the hurry begins.
    fn really(&self, span: Duration, now: Instant) -> Duration {
        let before = Duration::from_micros(self.since.boot.since(now).0).min(span);
        before + span.saturating_sub(before) / self.factor
    }
}

/// What the boot clock really shows: the same on all members that the lab runs on one computer.
pub(crate) fn true_boot() -> Instant {
    Instant(micros(ClockId::Boottime))
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
fn slept_us() -> u64 {
    micros(ClockId::Boottime).saturating_sub(micros(ClockId::Monotonic))
}

fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000 + nanos / 1_000
}

/// Tells by two clocks whether this machine was away since it was last asked: asleep, or stopped as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Away {
    looked: Instant,
    slept_us: u64,
}

impl Away {
    /// Clocks are read one after the other, so a little difference is no sleep.
    const SLEEP_US: u64 = 1_000_000;

    /// From now on.
    pub(crate) fn since_now() -> Self {
        Self::since(real().boot, slept_us())
    }

    fn since(looked: Instant, slept_us: u64) -> Self {
        Self { looked, slept_us }
    }

    /// Whether it was, when it should have been asked `regularly`.
    pub(crate) fn ended(&mut self, regularly: Span) -> bool {
        self.ended_at(real().boot, slept_us(), regularly)
    }

    fn ended_at(&mut self, now: Instant, slept_us: u64, regularly: Span) -> bool {
        let slept = slept_us > self.slept_us + Self::SLEEP_US;
        // A stopped process or a stopped virtual machine is not asleep to its clocks; it only comes too late.
        let stopped = now.since(self.looked).0 > regularly.0 + regularly.0 / 2;
        *self = Self::since(now, slept_us);
        slept || stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_and_stand_still_are_told_from_a_late_look() {
        let minute = Span::from_secs(60);
        let at = |seconds: u64| Instant(seconds * 1_000_000);
        let mut away = Away::since(at(1_000), 0);
        assert!(!away.ended_at(at(1_060), 0, minute));
        assert!(!away.ended_at(at(1_130), 900_000, minute), "a little late");
        assert!(!away.ended_at(at(1_131), 1_000_000, minute), "asked sooner");
        // The lid was shut for ten seconds, right after a look.
        assert!(away.ended_at(at(1_141), 11_000_000, minute));
        assert!(!away.ended_at(at(1_142), 11_000_000, minute), "told once");
        // Stopped for two minutes by SIGSTOP: neither clock knows.
        assert!(away.ended_at(at(1_262), 11_000_000, minute));
        assert!(!away.ended_at(at(1_263), 11_000_000, minute));
    }

    #[test]
    fn clocks_that_go_back_are_no_sleep() {
        let mut away = Away::since(Instant(5_000_000), 4_000_000);
        assert!(!away.ended_at(Instant(4_000_000), 0, Span::from_secs(60)));
    }

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

    #[test]
    fn a_hurry_that_begins_later_leaves_what_is_before_alone() {
        let at = |boot, wall| Now {
            boot: Instant(boot),
            wall: WallTime(wall),
        };
        let hurry = Hurry::beginning(at(1_000_000, 50_000), Duration::from_secs(10), 100);
        for (real, seen) in [
            (at(10_999_999, 59_999), at(10_999_999, 59_999)),
            (at(11_000_000, 60_000), at(11_000_000, 60_000)),
            (at(11_000_010, 60_001), at(11_001_000, 60_100)),
        ] {
            let told = hurry.seen(real);
            assert_eq!((told.boot, told.wall), (seen.boot, seen.wall));
        }
        // Six seconds are left until then.
        let really = |seconds| hurry.really(Duration::from_secs(seconds), Instant(5_000_000));
        assert_eq!(really(6), Duration::from_secs(6));
        assert_eq!(really(206), Duration::from_secs(8));
        let later = hurry.really(Duration::from_secs(200), Instant(12_000_000));
        assert_eq!(later, Duration::from_secs(2));
    }
}
