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
    /// How much is stored of each author's statements.
    held: BTreeMap<Vec<u8>, Held>,
    /// When the last write that was asked for will be durable.
    pub(crate) busy_until: Moment,
}

/// How much is stored of one author.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Statements.
    pub entries: usize,
    /// Bytes of their values: less than what the limit counts.
    pub bytes: usize,
}

/// Bytes of an author's key at the front of a stored statement's.
const AUTHOR_BYTES: usize = 32;

/// A disk as it was at some moment.
#[derive(Clone, Debug)]
pub struct Backup(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

/// What becomes of the writes that were not answered when the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// All are forgotten.
    Forgotten,
    /// All are found again, although nobody was told.
    Kept,
    /// The first few are found again: writes become durable in order.
    Some,
    /// Half of the oldest is found again: the store below does not keep its word.
    Torn,
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
            Unanswered::Torn => self.tear(faults),
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

    /// Writes the first half of the oldest write; how many writes are whole: none.
    fn tear(&mut self, faults: &mut Faults) -> usize {
        if let Some((_, records)) = self.asked.front() {
            let half = records[..records.len().div_ceil(2)].to_vec();
            self.write(half);
            faults.add(Fault::TornWrite);
        }
        0
    }

    /// Flips a bit of a stored head or statement, if there is one. What else is stored has the checksums of the real
    /// store and of nobody else to defend it.
    pub fn rot(&mut self, dice: &mut Dice, faults: &mut Faults) {
        let of_maps =
            |(table, _): &(Table, Vec<u8>)| matches!(table, Table::Heads | Table::Entries);
        let places: Vec<_> = self.durable.keys().filter(|place| of_maps(place)).collect();
        let Some(place) = places.get(dice.index(places.len())).map(|it| (*it).clone()) else {
            return;
        };
        if let Some(value) = self.durable.get_mut(&place) {
            let at = dice.index(value.len());
            if let Some(byte) = value.get_mut(at) {
                *byte ^= 1 << dice.below(8);
                faults.add(Fault::BitRot);
            }
        }
    }

    /// What a backup would hold.
    #[must_use]
    pub fn backup(&self) -> Backup {
        Backup(self.durable.clone())
    }

    /// Brings a backup back.
    pub fn restore(&mut self, backup: &Backup, faults: &mut Faults) {
        self.durable.clone_from(&backup.0);
        self.recount();
        faults.add(Fault::DiskRollback);
    }

    /// Forgets a write that was answered for: what no disk may do. Checks are tried against it.
    pub fn forget_answered(&mut self, table: Table) {
        self.durable.retain(|(other, _), _| *other != table);
        self.recount();
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

    /// What is stored of the author with most, taken apart for statements and bytes.
    #[must_use]
    pub fn largest(&self) -> Held {
        let mut most = Held::default();
        for held in self.held.values() {
            most.entries = most.entries.max(held.entries);
            most.bytes = most.bytes.max(held.bytes);
        }
        most
    }

    /// Authors of whom anything is stored.
    #[must_use]
    pub fn authors(&self) -> usize {
        self.held.len()
    }

    fn write(&mut self, records: Vec<Record>) {
        for record in records {
            let (table, key, length) = (
                record.table,
                record.key.clone(),
                record.value.as_ref().map(Vec::len),
            );
            let place = (record.table, record.key);
            let old = match record.value {
                Some(value) => self.durable.insert(place, value),
                None => self.durable.remove(&place),
            };
            if table == Table::Entries {
                self.count(&key, old.map(|old| old.len()), length);
            }
        }
    }

    fn count(&mut self, key: &[u8], old: Option<usize>, new: Option<usize>) {
        let author = key[..AUTHOR_BYTES.min(key.len())].to_vec();
        let held = self.held.entry(author).or_default();
        held.entries += usize::from(new.is_some());
        held.entries -= usize::from(old.is_some());
        held.bytes = (held.bytes + new.unwrap_or_default()) - old.unwrap_or_default();
    }

    fn recount(&mut self) {
        self.held.clear();
        let lengths: Vec<_> = self
            .durable
            .iter()
            .filter(|((table, _), _)| *table == Table::Entries)
            .map(|((_, key), value)| (key.clone(), value.len()))
            .collect();
        for (key, length) in lengths {
            self.count(&key, None, Some(length));
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
