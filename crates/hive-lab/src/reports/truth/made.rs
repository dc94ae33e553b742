//! Slices from a seed, with the spreads that were measured: windows that differ with heavier tails than normal ones, and
//! a load that wanders.

use super::tape::{SLICE_MS, Slice};
use crate::stats::Dice;

/// Nanoseconds of waiting per wake-up under contention, of the size measured in `research/optimizer.md` 4.1.
const WAIT_NS: f64 = 1_800_000.0;

/// Wake-ups per second, those of the lab's paced loop.
const WAKEUPS_PER_S: f64 = 200.0;

/// How fast the wandering load forgets, per slice: half of it in about seven seconds. A guess.
const FORGETS: f64 = 0.01;

/// A source of slices.
#[derive(Clone, Debug)]
pub struct Made {
    dice: Dice,
    spread: f64,
    wander: f64,
    load: f64,
    burst: f64,
    left: u32,
}

impl Made {
    /// Slices whose one-second windows make pairs with this spread of the log ratio (measured A/A spreads: 0.09 to
    /// 0.41, `research/optimizer.md` 5.1) before the load wanders; `wander` is how far that goes, as a spread.
    pub fn new(seed: u64, spread: f64, wander: f64) -> Self {
        Self {
            dice: Dice::new(seed),
            spread,
            wander,
            load: 0.0,
            burst: 0.0,
            left: 0,
        }
    }

    /// A number in `0..1`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub fn unit(dice: &mut Dice) -> f64 {
        ((dice.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(dice: &mut Dice) -> f64 {
        let radius = (-2.0 * Self::unit(dice).ln()).sqrt();
        radius * (std::f64::consts::TAU * Self::unit(dice)).cos()
    }

    /// Student's t with four degrees of freedom, scaled to variance one: its tails are those of a machine on which now
    /// and then something else happens.
    fn heavy(dice: &mut Dice) -> f64 {
        let z = Self::normal(dice);
        let chi: f64 = (0..4).map(|_| Self::normal(dice).powi(2)).sum();
        z / (chi / 4.0).sqrt() / 2.0_f64.sqrt()
    }
}

impl Iterator for Made {
    type Item = Slice;

    fn next(&mut self) -> Option<Slice> {
        if self.left == 0 {
            // What happens happens for about a window's length, so that it is not averaged away within one.
            self.left = 12;
            self.burst = self.spread / 2.0_f64.sqrt() * Self::heavy(&mut self.dice);
        }
        self.left -= 1;
        let step = self.wander * (2.0 * FORGETS).sqrt();
        self.load += step * Self::normal(&mut self.dice) - FORGETS * self.load;
        let us = 1_000.0 * f64::from(u32::try_from(SLICE_MS).unwrap_or(100));
        let wakeups = WAKEUPS_PER_S * us / 1e6;
        Some(Slice {
            us,
            waited_ns: wakeups * WAIT_NS * (self.load + self.burst).exp(),
            ran_ns: wakeups * 500_000.0,
            wakeups,
            background_us: 1.8 * us,
            stalled_us: 0.9 * us,
        })
    }
}
