//! A disk that keeps what it has answered for and forgets the rest when the power goes.

use std::collections::{BTreeMap, VecDeque};

use hive_core::hive::outside::{Record, Table};
use hive_core::id::SaveId;

use crate::dice::Dice;
use crate::faults::{Fault, Faults};
use crate::queue::Moment;

/// One machine's store.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    durable: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    asked: VecDeque<(SaveId, Vec<Record>)>,
    /// When the last write that was asked for will be durable.
    pub(crate) busy_until: Moment,
}

/// What becomes of the writes that were not answered when the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// All are forgotten.
    Forgotten,
    /// All are found again, although nobody was told.
    Kept,
    /// The first few are found again: writes become durable in order.
    Some,
}

impl Disk {
    /// Takes in a write. It is not durable yet.
    pub fn ask(&mut self, id: SaveId, records: Vec<Record>) {
        self.asked.push_back((id, records));
    }

    /// Makes the oldest write durable and answers for it.
    pub fn answer(&mut self) -> Option<SaveId> {
        let (id, records) = self.asked.pop_front()?;
        self.write(records);
        Some(id)
    }

    /// Whether this write still waits.
    #[must_use]
    pub fn waits(&self, id: SaveId) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == id)
    }

    /// The daemon dies.
    pub fn crash(&mut self, unanswered: Unanswered, dice: &mut Dice, faults: &mut Faults) {
        let kept = match unanswered {
            Unanswered::Forgotten => 0,
            Unanswered::Kept => self.asked.len(),
            Unanswered::Some => dice.index(self.asked.len() + 1),
        };
        for nth in 0..self.asked.len() {
            let (_, records) = self.asked.pop_front().expect("counted just before");
            if nth < kept {
                self.write(records);
                faults.add(Fault::WriteUnheard);
            } else {
                faults.add(Fault::WriteLost);
            }
        }
    }

    /// What a starting node is given.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let record = |((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)| Record {
            table: *table,
            key: key.clone(),
            value: Some(value.clone()),
        };
        self.durable.iter().map(record).collect()
    }

    /// What a power cut would leave under this key.
    #[must_use]
    pub fn value(&self, table: Table, key: &[u8]) -> Option<&Vec<u8>> {
        self.durable.get(&(table, key.to_vec()))
    }

    fn write(&mut self, records: Vec<Record>) {
        for record in records {
            let place = (record.table, record.key);
            match record.value {
                Some(value) => self.durable.insert(place, value),
                None => self.durable.remove(&place),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u8) -> Vec<Record> {
        vec![Record {
            table: Table::Meta,
            key: vec![key],
            value: Some(vec![key]),
        }]
    }

    #[test]
    fn only_what_was_answered_is_sure_to_survive() {
        let mut dice = Dice::new(1, "disk");
        let mut faults = Faults::default();
        let mut disk = Disk::default();
        for key in 1..=3 {
            disk.ask(SaveId(u64::from(key)), record(key));
        }
        assert_eq!(disk.answer(), Some(SaveId(1)));
        disk.crash(Unanswered::Forgotten, &mut dice, &mut faults);
        assert_eq!(disk.records(), record(1));
        assert_eq!(faults.of(Fault::WriteLost), 2);
        assert_eq!(disk.answer(), None);
    }
}
