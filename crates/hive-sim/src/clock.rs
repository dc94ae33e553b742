//! One machine's clocks: a boot clock that runs a little fast or slow, and a calendar that may be wrong and jump.

use hive_core::time::{Instant, Now, WallTime};

use crate::queue::Moment;

/// The calendar of the world when it begins: 2026-11-22, in milliseconds since 1970.
const WORLD_BEGINS_MS: u64 = 1_795_305_600_000;

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct Clock {
    booted: Moment,
    /// Parts per million by which the boot clock runs fast. Real oscillators: within 100.
    drift_ppm: i64,
    skew_ms: i64,
}

impl Clock {
    /// A machine that boots now.
    #[must_use]
    pub const fn new(now: Moment, drift_ppm: i64, skew_ms: i64) -> Self {
        Self {
            booted: now,
            drift_ppm,
            skew_ms,
        }
    }

    /// Starts the boot clock anew.
    pub fn reboot(&mut self, now: Moment) {
        self.booted = now;
    }

    /// Moves the calendar.
    pub fn jump(&mut self, ms: i64) {
        self.skew_ms += ms;
    }

    /// What a node on this machine is told.
    #[must_use]
    pub fn now(&self, now: Moment) -> Now {
        let wall = (WORLD_BEGINS_MS + now.0 / 1_000).saturating_add_signed(self.skew_ms);
        Now {
            boot: self.boot(now),
            wall: WallTime(wall),
        }
    }

    /// The boot clock at a moment.
    #[must_use]
    pub fn boot(&self, now: Moment) -> Instant {
        let passed = i128::from(now.since(self.booted));
        let shown = passed + passed * i128::from(self.drift_ppm) / 1_000_000;
        Instant(u64::try_from(shown).unwrap_or_default())
    }

    /// The first moment at which the boot clock shows at least `instant`.
    #[must_use]
    pub fn moment(&self, instant: Instant) -> Moment {
        let shown = i128::from(instant.0);
        let passed = shown - shown * i128::from(self.drift_ppm) / 1_000_000;
        let mut moment = self.booted.after(u64::try_from(passed).unwrap_or(u64::MAX));
        for _ in 0..64 {
            if self.boot(moment) >= instant || moment.0 == u64::MAX {
                break;
            }
            moment = moment.after(1 + instant.since(self.boot(moment)).0);
        }
        moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_never_rings_early_however_wrong_the_clock() {
        for drift in [-100, 0, 100] {
            let clock = Clock::new(Moment(12_345), drift, 0);
            for asked in [0, 1, 999, 1_000_000, 86_400_000_000] {
                let at = clock.moment(Instant(asked));
                assert!(clock.boot(at) >= Instant(asked), "{drift} {asked}");
                assert!(clock.boot(at).0 < asked + 10_000, "{drift} {asked}");
            }
        }
    }
}
