//! Gain: what a person was spared while proven actions were on, told from the waiting that was left and from the hold-outs.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::{Record, Table};
use crate::id::PatternId;
use crate::machine::learn::{ALPHA_SHOWN, Ledger};
use crate::machine::sequence;
use crate::machine::window::{Window, real};
use crate::pattern::PairStats;
use crate::reply::GainView;

/// First byte of a record's key; the pattern's id follows.
const KEY: u8 = b'g';

/// What was measured while one proven action was on. The time between windows, about a tenth of it, is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gain {
    /// Microseconds of windows with it on.
    on_us: u64,
    /// Microseconds that the protected program waited in them.
    waited_us: u64,
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
    /// How much longer the waiting would have been without the action: the hold-outs tell the ratio of the two.
    /// `None` while their range is open.
    fn saved(&self, holdouts: &PairStats) -> Option<Saved> {
        let range = sequence::range(holdouts, ALPHA_SHOWN)?;
        let waited = real(self.waited_us) / 1e6;
        let without = |ln: f64| waited * (libm::exp(-ln) - 1.0);
        Some(Saved {
            best: without(holdouts.mean()),
            low: without(range.high),
            high: without(range.low),
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
        gain.waited_us = gain.waited_us.saturating_add(window.waited_ns / 1_000);
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
    pub fn view(&self, ledger: &Ledger) -> Option<GainView> {
        let mut view = GainView::default();
        for (id, gain) in &self.0 {
            let Some(entry) = ledger.get(*id) else {
                continue;
            };
            let Some(saved) = gain.saved(&entry.holdout) else {
                view.untold_s += gain.on_us / 1_000_000;
                continue;
            };
            view.on_s += gain.on_us / 1_000_000;
            view.holdouts += entry.holdout.pairs;
            view.saved_s += saved.best;
            view.range_s[0] += saved.low;
            view.range_s[1] += saved.high;
        }
        (view.on_s + view.untold_s > 0).then_some(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkloadKey;
    use crate::pattern::{Action, Binding, Context, Cores, PatternDef, WorkloadType};
    use crate::time::{Instant, Span};

    fn def(action: Action) -> PatternDef {
        PatternDef {
            action,
            workload: WorkloadKey([1; 16]),
            role: WorkloadType::Interactive,
            context: Context {
                binding: Binding::Task,
                cores: Cores::Few,
                eevdf_slices: true,
                background: WorkloadType::Batch,
            },
        }
    }

    fn minute(waited_s: u64) -> Window {
        Window {
            span: Span::from_secs(60),
            waited_ns: waited_s * 1_000_000_000,
            wakeups: 6_000,
            ..Window::default()
        }
    }

    #[test]
    fn what_was_spared_follows_from_the_waiting_that_was_left_and_the_hold_outs() {
        let def = def(Action::BackgroundNice);
        let mut ledger = Ledger::default();
        let mut gains = Gains::default();
        assert_eq!(gains.view(&ledger), None);
        ledger.know(def, true, Instant::START);
        gains.add(def.id(), &minute(10));
        let view = gains.view(&ledger).expect("something was on");
        // Without a hold-out nothing is known of it.
        assert_eq!((view.on_s, view.untold_s), (0, 60));
        let entry = ledger.get_mut(def.id()).expect("known");
        for turn in 0..40 {
            entry
                .holdout
                .add(libm::log(0.5) + if turn % 2 == 0 { 0.05 } else { -0.05 });
        }
        let view = gains.view(&ledger).expect("something was on");
        // Half the waiting: ten seconds waited, ten spared.
        assert!((view.saved_s - 10.0).abs() < 0.2, "{view:?}");
        assert!(view.range_s[0] > 8.0 && view.range_s[0] < view.saved_s);
        assert!(view.range_s[1] < 12.0 && view.range_s[1] > view.saved_s);
        assert_eq!((view.on_s, view.holdouts, view.untold_s), (60, 40, 0));
    }

    #[test]
    fn a_gain_that_is_none_is_told_as_such() {
        let def = def(Action::BackgroundNice);
        let mut ledger = Ledger::default();
        let mut gains = Gains::default();
        let entry = ledger.know(def, true, Instant::START);
        for turn in 0..40 {
            entry.holdout.add(if turn % 2 == 0 { 0.11 } else { -0.09 });
        }
        gains.add(def.id(), &minute(10));
        let view = gains.view(&ledger).expect("something was on");
        assert!(view.range_s[0] < 0.0 && view.range_s[1] > 0.0 && view.saved_s < 0.0);
    }

    #[test]
    fn it_is_kept_on_the_disk_and_moves_with_its_pattern() {
        let (old, new) = (
            def(Action::BackgroundNice).id(),
            def(Action::FinerSlice).id(),
        );
        let mut gains = Gains::default();
        gains.add(old, &minute(3));
        let kept = gains.record(old);
        assert_eq!(Gains::restore(&[kept]).0, gains.0);
        let moved = gains.rename(old, new);
        assert!(moved[0].value.is_none() && moved[1].value.is_some());
        assert_eq!(Gains::restore(&moved).0, gains.0);
        let gone = gains.forget(new).expect("it was there");
        assert!(gone.value.is_none() && gains.0.is_empty() && gains.forget(new).is_none());
        let short = Record {
            table: Table::Ledger,
            key: Vec::from(*b"gx"),
            value: Some(Vec::from([1, 2])),
        };
        assert!(Gains::restore(&[short]).0.is_empty());
    }
}
