//! When and under which kernel a pattern's pairs were taken: what is old, or of another kernel, counts less for a choice.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::{Record, Table};
use crate::id::PatternId;
use crate::machine::learn::Ledger;
use crate::machine::record;
use crate::time::WallTime;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// After so many days pairs count half: programs, loads and habits change. A guess, of the size of the longest back-off
/// (128 days).
const HALF_LIFE_DAYS: f64 = 90.0;

const KEY: &[u8] = b"epochs";

/// A day of the calendar, and the kernel that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Days since 1970.
    pub day: u32,
    /// The kernel's version, major and minor.
    pub kernel: (u16, u16),
}

/// What is stored of all patterns. Older programs do not read it and need not.
pub(super) type Stored = BTreeMap<PatternId, Epoch>;

impl Epoch {
    /// The day of this time.
    #[must_use]
    pub fn new(wall: WallTime, kernel: (u16, u16)) -> Self {
        Self {
            day: u32::try_from(wall.0 / DAY_MS).unwrap_or(u32::MAX),
            kernel,
        }
    }

    /// What a pair of this epoch counts now, by its age alone. A calendar that was ahead makes nothing newer than new.
    #[must_use]
    pub fn freshness(self, now: Self) -> f64 {
        let age = f64::from(now.day.saturating_sub(self.day));
        libm::exp2(-age / HALF_LIFE_DAYS)
    }
}

impl Ledger {
    /// The latest pairs of a pattern are of this epoch.
    pub fn taken(&mut self, id: PatternId, epoch: Epoch) {
        if let Some(entry) = self.get_mut(id) {
            entry.taken = Some(epoch);
        }
    }

    /// What is to be stored, if it is not stored already.
    pub(super) fn epochs_record(&mut self) -> Option<Record> {
        let epochs = self.entries();
        let now: Stored = epochs
            .filter_map(|(id, entry)| Some((*id, entry.taken?)))
            .collect();
        if now == self.stored_epochs {
            return None;
        }
        self.stored_epochs = now;
        Some(record::record(KEY, Some(&self.stored_epochs)))
    }

    /// Brings back what was stored.
    pub(super) fn restore_epochs(&mut self, records: &[Record]) {
        let of = |record: &&Record| record.table == Table::Ledger && record.key == KEY;
        let value = records
            .iter()
            .find(of)
            .and_then(|record| record.value.as_deref());
        let stored = value.and_then(|value| postcard::from_bytes(value).ok());
        self.stored_epochs = stored.unwrap_or_default();
        let epochs: Vec<(PatternId, Epoch)> = self
            .stored_epochs
            .iter()
            .map(|(id, epoch)| (*id, *epoch))
            .collect();
        for (id, epoch) in epochs {
            self.taken(id, epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_counts_less_and_a_calendar_that_was_ahead_counts_as_new() {
        let on = |day| Epoch {
            day,
            kernel: (6, 18),
        };
        assert!((on(200).freshness(on(200)) - 1.0).abs() < 1e-12);
        assert!((on(200).freshness(on(290)) - 0.5).abs() < 1e-12);
        assert!((on(200).freshness(on(380)) - 0.25).abs() < 1e-12);
        assert!((on(300).freshness(on(200)) - 1.0).abs() < 1e-12);
        assert_eq!(
            Epoch::new(WallTime(3 * DAY_MS - 1), (6, 1)),
            Epoch {
                day: 2,
                kernel: (6, 1)
            }
        );
    }
}
