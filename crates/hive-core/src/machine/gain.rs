//! Gain: how much less a person waited while proven actions were on, as their hold-outs tell it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::{Record, Table};
use crate::id::PatternId;
use crate::machine::learn::ALPHA_SHOWN;
use crate::machine::sequence;
use crate::machine::window::{Window, real};
use crate::pattern::PairStats;
use crate::reply::GainView;

/// First byte of a record's key; the pattern's id follows. (`g` was that of a record whose seconds were told from ratios.)
const KEY: u8 = b'h';

/// What was measured while one proven action was on. The time between windows, about a tenth of it, is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gain {
    /// Microseconds of windows with it on.
    on_us: u64,
    /// Of each hold-out pair: milliseconds waited per second without it, less those with it.
    spared: PairStats,
}

/// Those of all patterns.
#[derive(Clone, Debug, Default)]
pub struct Gains(BTreeMap<PatternId, Gain>);

/// Seconds of waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Saved {
    best: f64,
    low: f64,
    high: f64,
}

impl Gain {
    /// How much longer the waiting would have been without the action. `None` while the hold-outs' range is open.
    ///
    /// A difference of means and not the ratio that trials compare: that is a mean of logarithms, and where a wait is
    /// mostly nothing and now and then long, the waiting that was left times such a ratio is several times what was spared.
    fn saved(&self) -> Option<Saved> {
        let range = sequence::range(&self.spared, ALPHA_SHOWN)?;
        let on_s = real(self.on_us) / 1e6;
        let seconds = |ms_per_s: f64| ms_per_s / 1e3 * on_s;
        Some(Saved {
            best: seconds(self.spared.mean()),
            low: seconds(range.low),
            high: seconds(range.high),
        })
    }
}

impl Gains {
    /// Reads back what [`Self::record`] wrote; other records are not its business.
    #[must_use]
    pub fn restore(records: &[Record]) -> Self {
        let of = records
            .iter()
            .filter(|record| record.table == Table::Ledger);
        let read = |record: &Record| {
            let [KEY, id @ ..] = &*record.key else {
                return None;
            };
            let id = PatternId(id.try_into().ok()?);
            let gain = postcard::from_bytes(record.value.as_deref()?).ok()?;
            Some((id, gain))
        };
        Self(of.filter_map(read).collect())
    }

    /// Takes in a window in which a proven action was on.
    pub fn add(&mut self, id: PatternId, window: &Window) {
        let gain = self.0.entry(id).or_default();
        gain.on_us = gain.on_us.saturating_add(window.span.0);
    }

    /// Takes in a hold-out pair.
    pub fn add_holdout(&mut self, id: PatternId, treated: &[Window], control: &Window) {
        let count = i64::try_from(treated.len()).unwrap_or(i64::MAX);
        if count > 0 {
            let with = treated.iter().map(waited_ns_per_s).sum::<i64>() / count;
            let gain = self.0.entry(id).or_default();
            gain.spared
                .add_millionths(waited_ns_per_s(control).saturating_sub(with));
        }
    }

    /// A new trial decides anew: what an earlier proof was credited with is told no more. The record to write, if any.
    pub fn forget(&mut self, id: PatternId) -> Option<Record> {
        self.0.remove(&id)?;
        Some(self.record(id))
    }

    /// A pattern goes on under another id.
    pub fn rename(&mut self, old: PatternId, new: PatternId) -> Vec<Record> {
        let Some(gain) = self.0.remove(&old) else {
            return Vec::new();
        };
        self.0.insert(new, gain);
        [old, new].into_iter().map(|id| self.record(id)).collect()
    }

    /// How one is stored.
    #[must_use]
    pub fn record(&self, id: PatternId) -> Record {
        let mut key = Vec::from([KEY]);
        key.extend(id.0);
        let value = self
            .0
            .get(&id)
            .map(|gain| postcard::to_allocvec(gain).unwrap_or_default());
        Record {
            table: Table::Ledger,
            key,
            value,
        }
    }

    /// What all of them spared, as far as hold-outs tell. The range's ends are sums of ends: wider than they need be,
    /// never narrower.
    #[must_use]
    pub fn view(&self) -> Option<GainView> {
        let mut view = GainView::default();
        for gain in self.0.values() {
            let Some(saved) = gain.saved() else {
                view.untold_s += gain.on_us / 1_000_000;
                continue;
            };
            view.on_s += gain.on_us / 1_000_000;
            view.holdouts += gain.spared.pairs;
            view.saved_s += saved.best;
            view.range_s[0] += saved.low;
            view.range_s[1] += saved.high;
        }
        (view.on_s + view.untold_s > 0).then_some(view)
    }
}

/// How long the protected program's threads waited, in nanoseconds (millionths of a millisecond) per second. Bounded, so
/// that a few of them can be added: a thousand threads that did nothing else.
fn waited_ns_per_s(window: &Window) -> i64 {
    let rate = u128::from(window.waited_ns) * 1_000_000 / u128::from(window.span.0.max(1));
    i64::try_from(rate)
        .unwrap_or(i64::MAX)
        .min(1_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use crate::machine::window::{PairValue, pair_value};
    use crate::pattern::Goal;
    use crate::time::Span;

    const ONE: PatternId = PatternId([1; 16]);
    const TWO: PatternId = PatternId([2; 16]);

    fn second(waited_ms: u64) -> Window {
        Window {
            span: Span::from_secs(1),
            waited_ns: waited_ms * 1_000_000,
            wakeups: 100,
            ..Window::default()
        }
    }

    #[test]
    fn what_was_spared_follows_from_the_hold_outs_and_the_time_it_was_on() {
        let mut gains = Gains::default();
        assert_eq!(gains.view(), None);
        for _ in 0..60 {
            gains.add(ONE, &second(10));
        }
        let view = gains.view().expect("something was on");
        // Without a hold-out nothing is known of it.
        assert_eq!((view.on_s, view.untold_s), (0, 60));
        for turn in 0..40 {
            let control = second(100 + 4 * (turn % 2));
            gains.add_holdout(ONE, &[second(0), second(4)], &control);
        }
        let view = gains.view().expect("something was on");
        // A tenth of each of sixty seconds.
        assert!((view.saved_s - 6.0).abs() < 0.01, "{view:?}");
        assert!(view.range_s[0] > 5.8 && view.range_s[0] < view.saved_s);
        assert!(view.range_s[1] < 6.2 && view.range_s[1] > view.saved_s);
        assert_eq!((view.on_s, view.holdouts, view.untold_s), (60, 40, 0));
    }

    #[test]
    fn rare_long_waits_with_it_on_do_not_make_the_gain_larger_than_the_waiting_it_took_away() {
        let mut gains = Gains::default();
        let mut ratios = PairStats::default();
        let mut chance = Chance::from_seed([3; 32]);
        let (mut waited, mut without) = (0, 0);
        for _ in 0..400 {
            // Nothing in nine windows of ten, half of the usual wait in the tenth.
            let with = if chance.below(10) == 0 { 100 } else { 0 };
            let treated = [second(with)];
            gains.add(ONE, &treated[0]);
            gains.add_holdout(ONE, &treated, &second(200));
            if let PairValue::Ln(ln) = pair_value(Goal::Wait, &treated, &second(200)) {
                ratios.add(ln);
            }
            (waited, without) = (waited + with, without + 200);
        }
        let truth = real(without - waited) / 1e3;
        let view = gains.view().expect("something was on");
        assert!((view.saved_s - truth).abs() < 0.01, "{view:?} {truth}");
        // What the ratio would tell: the waiting that was left, times a ratio that the many windows without any rule.
        let told = real(waited) / 1e3 * (libm::exp(-ratios.mean()) - 1.0);
        assert!(told > 10.0 * truth, "{told} {truth}");
    }

    #[test]
    fn a_gain_that_is_none_is_told_as_such() {
        let mut gains = Gains::default();
        gains.add(ONE, &second(10));
        for turn in 0..40 {
            gains.add_holdout(
                ONE,
                &[second(100)],
                &second(if turn % 2 == 0 { 90 } else { 109 }),
            );
        }
        let view = gains.view().expect("something was on");
        assert!(view.range_s[0] < 0.0 && view.range_s[1] > 0.0 && view.saved_s < 0.0);
    }

    #[test]
    fn it_is_kept_on_the_disk_and_moves_with_its_pattern() {
        let mut gains = Gains::default();
        gains.add(ONE, &second(3));
        gains.add_holdout(ONE, &[second(3)], &second(5));
        let kept = gains.record(ONE);
        assert_eq!(Gains::restore(&[kept]).0, gains.0);
        let moved = gains.rename(ONE, TWO);
        assert!(moved[0].value.is_none() && moved[1].value.is_some());
        assert_eq!(Gains::restore(&moved).0, gains.0);
        let gone = gains.forget(TWO).expect("it was there");
        assert!(gone.value.is_none() && gains.0.is_empty() && gains.forget(TWO).is_none());
        let short = Record {
            table: Table::Ledger,
            key: Vec::from(*b"hx"),
            value: Some(Vec::from([1, 2])),
        };
        assert!(Gains::restore(&[short]).0.is_empty());
    }
}
