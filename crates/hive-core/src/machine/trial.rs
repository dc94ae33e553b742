//! What is measured in which order, and when the numbers are a verdict.

use alloc::vec::Vec;

use crate::chance::Chance;
use crate::machine::learn::{ALPHA_SHOWN, Entry, Work};
use crate::machine::{discovery, sequence};
use crate::pattern::{PairStats, Verdict};
use crate::time::Span;

/// Time between a change and the window that measures it (`research/optimizer.md` 7.5).
pub const WASH_OUT: Span = Span::from_ms(200);

/// A measuring window: longer ones were not quieter (`research/optimizer.md` 5.2).
pub const WINDOW: Span = Span::from_ms(1_000);

/// A window that only watches the guard rails while a proven action stays on. Two seconds, so that a
/// proven action costs one cheap reading every two seconds and a rail still falls within four.
const REST_WINDOW: Span = Span::from_ms(2_000);

/// Own pairs before any verdict (`research/optimizer.md` 5.2).
pub const PAIRS_MIN: u32 = 6;

/// Pairs after which a trial ends undecided (`research/optimizer.md` 5.2).
pub const PAIRS_MAX: u32 = 40;

/// Placebo pairs without which nothing "helps": half of [`PAIRS_MIN`].
const PLACEBO_PAIRS_MIN: u32 = 3;

/// Ratios between these are no effect in practice (`research/optimizer.md` 5.2).
pub const MARGIN_LOW: f64 = 0.95;
/// See [`MARGIN_LOW`].
pub const MARGIN_HIGH: f64 = 1.05;

/// "Harms" asks for this many times less error than the other verdicts. Nothing is lost by it: what is not proven is not
/// kept on, and what harms badly is restored by the rails at once. But others hear of it, and a true gain must not be called
/// a harm. A guess: at the other verdicts' rate one of 500 gains of a tenth was, in replays (`hive-lab truth`).
const HARM_STRICTER: f64 = 10.0;

/// Share of its work that the background may lose (DESIGN section 9).
pub const LOSS_MAX: f64 = 0.5;

/// Own pairs after which a gain that costs too much ends its trial: twice [`PAIRS_MIN`], a guess.
const COST_PAIRS_MIN: u32 = 2 * PAIRS_MIN;

/// Guard rails that make a trial end with harm.
pub const RAILS_MAX: u16 = 2;

/// Hold-out pairs before a proven action can be withdrawn for them.
const HOLDOUT_PAIRS_MIN: u32 = 6;

/// The hold-out pairs that are judged start anew after this many, or a thousand good ones would hide a
/// change for hours.
pub const HOLDOUT_PAIRS_MAX: u32 = 120;

/// Error rate of withdrawing a proven action, per [`HOLDOUT_PAIRS_MAX`] pairs.
const ALPHA_HOLDOUT: f64 = 0.02;

/// Windows of a probation block, one of them control: 20 % (DESIGN section 10).
const PROBATION_WINDOWS: u64 = 5;

/// In a probation's first block the control is among the first so many windows, so that a guard rail can
/// fall within the next ones. Two, so that chance still decides.
const CONTROL_SOON: u64 = 2;

/// Rest windows between two hold-out windows of half their length: the action is off for one window
/// in twenty, about 5 % of the time (DESIGN section 9).
const REST_WINDOWS: u64 = 10;

/// What is on during a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// Nothing.
    Control,
    /// The action.
    Treated,
    /// The placebo.
    Placebo,
}

/// One window to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What is on.
    pub arm: Arm,
    /// For how long it is measured.
    pub span: Span,
}

/// What a block of slots is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A pair of the trial.
    Real,
    /// A placebo pair.
    Placebo,
    /// A pair after the verdict.
    HoldOut,
    /// Only the guard rails.
    Rest,
}

/// Why a pattern is being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regime {
    /// Nobody has proven it in this context.
    Trial,
    /// Another member has.
    Probation,
    /// This machine has.
    Proven,
}

impl Regime {
    /// What comes next, and in which (random) order. `soon` asks for a control window early, because the
    /// guard rails have nothing to compare with yet.
    #[must_use]
    pub fn next_block(
        self,
        entry: &Entry,
        soon: bool,
        rests: &mut u64,
        chance: &mut Chance,
    ) -> Block {
        // After every two real pairs one placebo pair.
        if self != Self::Proven && entry.placebo.pairs < entry.trial.pairs / 2 {
            return Block::pair(Purpose::Placebo, Arm::Placebo, chance);
        }
        match self {
            Self::Trial => Block::pair(Purpose::Real, Arm::Treated, chance),
            Self::Probation => Block::probation(soon, chance),
            Self::Proven => {
                let Some(left) = rests.checked_sub(1) else {
                    // The hold-outs keep their mean distance and lie at random.
                    *rests = REST_WINDOWS / 2 + chance.below(REST_WINDOWS + 1);
                    return Block::pair(Purpose::HoldOut, Arm::Treated, chance);
                };
                *rests = left;
                Block {
                    purpose: Purpose::Rest,
                    slots: Vec::from([Slot {
                        arm: Arm::Treated,
                        span: REST_WINDOW,
                    }]),
                }
            }
        }
    }
}

/// Slots that are measured together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What for.
    pub purpose: Purpose,
    /// In this order.
    pub slots: Vec<Slot>,
}

impl Block {
    fn pair(purpose: Purpose, other: Arm, chance: &mut Chance) -> Self {
        let mut arms = [Arm::Control, other];
        if chance.coin() {
            arms.reverse();
        }
        Self {
            purpose,
            slots: arms.map(|arm| Slot { arm, span: WINDOW }).to_vec(),
        }
    }

    fn probation(soon: bool, chance: &mut Chance) -> Self {
        let places = if soon {
            CONTROL_SOON
        } else {
            PROBATION_WINDOWS
        };
        let control = chance.below(places);
        let slots = (0..PROBATION_WINDOWS).map(|place| Slot {
            arm: if place == control {
                Arm::Control
            } else {
                Arm::Treated
            },
            span: WINDOW,
        });
        Self {
            purpose: Purpose::Real,
            slots: slots.collect(),
        }
    }
}

/// What the pairs so far say; `None` while more are needed. "Helps" needs evidence of `asked` (a natural logarithm)
/// against "no gain at all" ([`discovery`]) besides a range beyond the margin.
#[must_use]
pub fn judge(entry: &Entry, asked: f64) -> Option<Verdict> {
    if entry.rails >= RAILS_MAX {
        return Some(Verdict::Harms);
    }
    if entry.trial.pairs < PAIRS_MIN {
        return None;
    }
    let capped = (entry.trial.pairs >= PAIRS_MAX).then_some(Verdict::Undecided);
    let Some(range) = sequence::range(&entry.trial, entry.alpha()) else {
        return capped;
    };
    let (good, bad) = (libm::log(MARGIN_LOW), libm::log(MARGIN_HIGH));
    let stricter = sequence::range(&entry.trial, entry.alpha() / HARM_STRICTER);
    let beyond = range.high < good && discovery::evidence(&entry.trial) >= asked;
    if beyond && stands_the_placebo_check(range.high, &entry.placebo) {
        // What it costs is known less well at first than what it gains.
        if too_costly(&entry.work) {
            (entry.trial.pairs >= COST_PAIRS_MIN).then_some(Verdict::Undecided)
        } else {
            Some(Verdict::Helps)
        }
    } else if stricter.is_some_and(|range| range.low > bad) {
        Some(Verdict::Harms)
    } else if range.low >= good && range.high <= bad {
        Some(Verdict::NoEffect)
    } else {
        capped
    }
}

/// Whether the background loses more of its work than any gain is worth.
#[must_use]
pub fn too_costly(work: &Work) -> bool {
    work.loss() > LOSS_MAX
}

/// Whether what was measured is a gain, and is not kept for what it costs.
#[must_use]
pub fn helps_at_too_high_a_cost(entry: &Entry) -> bool {
    let range = sequence::range(&entry.trial, entry.alpha());
    too_costly(&entry.work)
        && entry.trial.pairs >= PAIRS_MIN
        && range.is_some_and(|range| range.high < libm::log(MARGIN_LOW))
}

/// The placebo check: a gain counts only beyond what the placebo "gained" through the very same steps.
///
/// `high` is the upper end of the trial's range. Where measuring itself makes the figure fall, the
/// placebo falls with it, and the range is moved up by as much, and by one standard error more because
/// a few placebo pairs do not tell the drift exactly.
#[must_use]
pub fn stands_the_placebo_check(high: f64, placebo: &PairStats) -> bool {
    if placebo.pairs < PLACEBO_PAIRS_MIN {
        return false;
    }
    let error = libm::sqrt(placebo.variance() / f64::from(placebo.pairs));
    let drift = placebo.mean();
    let shift = if drift < 0.0 { error - drift } else { 0.0 };
    high + shift < libm::log(MARGIN_LOW)
}

/// Whether the latest hold-out pairs deny the gain that was proven.
///
/// The rule: withdraw when their range's *lower* end lies above the upper end of the published range, so
/// that even the least gain ever claimed is excluded. While the truth does not change, one of two
/// always-valid ranges has to miss it for that. (Withdrawing as soon as the hold-outs' range is not
/// wholly below the margin would withdraw good patterns because a few pairs were noisy; waiting until a
/// gain of 5 % is excluded would take hundreds of pairs at the spread that was measured.)
#[must_use]
pub fn holdouts_deny(recent: &PairStats, trial: &PairStats) -> Option<Verdict> {
    if recent.pairs < HOLDOUT_PAIRS_MIN {
        return None;
    }
    let range = sequence::range(recent, ALPHA_HOLDOUT)?;
    let (good, bad) = (libm::log(MARGIN_LOW), libm::log(MARGIN_HIGH));
    let claimed = sequence::range(trial, ALPHA_SHOWN).map_or(good, |claimed| claimed.high);
    if range.low <= claimed.min(good) {
        return None;
    }
    Some(if range.low > bad {
        Verdict::Harms
    } else if range.low >= good && range.high <= bad {
        Verdict::NoEffect
    } else {
        Verdict::Undecided
    })
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_probation_block_has_its_control_early() {
        let mut chance = Chance::from_seed([1; 32]);
        let mut places = |soon| -> BTreeSet<Option<usize>> {
            let blocks = (0..100).map(|_| Block::probation(soon, &mut chance));
            let control = |slot: &Slot| slot.arm == Arm::Control;
            blocks
                .map(|block| block.slots.iter().position(control))
                .collect()
        };
        assert_eq!(places(true), BTreeSet::from([Some(0), Some(1)]));
        assert_eq!(places(false).len(), 5);
    }
}
