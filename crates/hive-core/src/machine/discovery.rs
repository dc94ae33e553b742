//! How much evidence a trial must bring, so that few of the patterns in use are false ones.
//!
//! A machine that tries enough will find something by chance. What bounds that is e-LOND (Xu & Ramdas, "Online
//! multiple testing with e-values", AISTATS 2024): the trial with number `t` of this machine may say "helps" only
//! when its evidence against "no gain at all" is at least `1 / (FALSE_SHARE * share(t) * n)`, where `n` is how many
//! patterns are in use together with it, and the shares of all numbers add up to one. The evidence of a pattern
//! without any gain exceeds one by chance no more often than its expectation, one, allows, whenever one stops;
//! hence of the patterns in use at most [`FALSE_SHARE`] are false on average, whatever depends on whatever.
//!
//! That holds for any set of patterns each of which has the evidence that the set's own size asks for (Wang & Ramdas,
//! "False discovery rate control with e-values", 2022). So when patterns are withdrawn, and the others were
//! let in on their account, these are asked for more ([`Ledger::lacking`]).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::{Record, Table};
use crate::id::PatternId;
use crate::machine::learn::{Entry, Ledger};
use crate::machine::{record, sequence};
use crate::pattern::{PairStats, Verdict};
use crate::reply::PatternState;

/// Share of the patterns in use that may be false, on average (DESIGN section 9; the bar of issue 4).
pub const FALSE_SHARE: f64 = 0.05;

/// The shares fall with this power of the trial's number. Compared in decision 0061: the usual 1.6 and 2 cost
/// a machine's two hundredth trial more, 1.2 its first.
const SHARE_POWER: f64 = 1.4;

/// Sum of `t^-1.4` over all `t` (the zeta function at 1.4).
const SHARE_SUM: f64 = 3.105_5;

const KEY: &[u8] = b"discovery";

/// What was asked of a pattern's latest trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The how-many-eth trial of this machine it is, from one; zero before the first.
    pub number: u32,
    /// The evidence that it had to bring when it said "helps", as odds to one; zero before that.
    pub odds: u32,
}

/// Everything about it that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    begun: u32,
    asked: BTreeMap<PatternId, Asked>,
}

/// The part of [`FALSE_SHARE`] that the trial with this number (from one) may use.
fn share(number: u32) -> f64 {
    libm::pow(f64::from(number.max(1)), -SHARE_POWER) / SHARE_SUM
}

/// Natural logarithm of the evidence that the trial with this number must bring to be one of `in_use`.
#[must_use]
pub fn asked(number: u32, in_use: u32) -> f64 {
    -libm::log((FALSE_SHARE * share(number) * f64::from(in_use.max(1))).min(1.0))
}

/// Natural logarithm of the evidence for a gain, however small.
#[must_use]
pub fn evidence(stats: &PairStats) -> f64 {
    if stats.mean() < 0.0 {
        sequence::log_bayes_factor(stats, 0.0)
    } else {
        f64::NEG_INFINITY
    }
}

impl Entry {
    /// Whether it is among the patterns in use: proven here, be it that a person wants it off for a day.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.shared
            && self.verdict == Verdict::Helps
            && matches!(self.state, PatternState::Proven | PatternState::Undone)
    }

    /// Everything that speaks for it: the hold-out pairs go on where the trial's ended.
    fn whole_evidence(&self) -> f64 {
        evidence(&self.trial.plus(self.holdout))
    }
}

impl Ledger {
    /// Patterns in use.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        let count = self
            .entries()
            .filter(|(_, entry)| entry.is_in_use())
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Natural logarithm of the evidence that a pattern's trial must bring to be in use beside the others.
    #[must_use]
    pub fn asked_of(&self, entry: &Entry) -> f64 {
        let others = self.in_use() - u32::from(entry.is_in_use());
        asked(entry.asked.number, others.saturating_add(1))
    }

    /// A pattern in use that has less evidence than the number of those in use asks for.
    #[must_use]
    pub fn lacking(&self) -> Option<PatternId> {
        let in_use = self.in_use();
        let lacks = |entry: &Entry| asked(entry.asked.number, in_use) - entry.whole_evidence();
        self.entries()
            .filter(|(_, entry)| entry.is_in_use() && lacks(entry) > 0.0)
            .max_by(|(_, a), (_, b)| lacks(a).total_cmp(&lacks(b)))
            .map(|(id, _)| *id)
    }

    /// What is to be stored, if it is not stored already.
    pub fn discovery_record(&mut self) -> Option<Record> {
        let now = Stored {
            begun: self.begun,
            asked: self
                .entries()
                .filter(|(_, entry)| entry.asked.number > 0)
                .map(|(id, entry)| (*id, entry.asked))
                .collect(),
        };
        if now == self.stored {
            return None;
        }
        self.stored = now;
        Some(record::record(KEY, Some(&self.stored)))
    }

    /// Brings back what was stored. The trials of a store that knows nothing of it are counted anew, in the order in
    /// which their patterns were met.
    pub(super) fn restore_discovery(&mut self, records: &[Record]) {
        let of = |record: &&Record| record.table == Table::Ledger && record.key == KEY;
        let value = records
            .iter()
            .find(of)
            .and_then(|record| record.value.as_deref());
        let stored = value.and_then(|value| postcard::from_bytes(value).ok());
        self.stored = stored.unwrap_or_default();
        self.begun = self.stored.begun;
        let ids: Vec<PatternId> = self.in_order().into_iter().map(|(id, _)| id).collect();
        for id in ids {
            let known = self.stored.asked.get(&id).copied();
            let begun = self.begun;
            let Some(entry) = self.get_mut(id) else {
                continue;
            };
            entry.asked = known.unwrap_or_default();
            if entry.asked.number == 0 && (entry.trials > 0 || entry.trial.pairs > 0) {
                // Its earlier trials came before; only the latest one's numbers are here.
                let number = begun.saturating_add(entry.trials.max(1));
                entry.asked.number = number;
                self.begun = number;
            }
        }
    }
}

/// Evidence as a person reads it: odds to one, rounded up.
#[must_use]
pub fn odds(log_evidence: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between one and four thousand million"
    )]
    let odds = libm::ceil(libm::exp(log_evidence.clamp(0.0, 22.0)) - 1e-9) as u32;
    odds
}

#[cfg(test)]
mod tests;
