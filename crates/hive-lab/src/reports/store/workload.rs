//! The same entries for every engine: ids of 16 bytes, values of 60 to 100 of which half repeats, as in
//! `research/replication.md` 2.1.

use serde::Serialize;

use crate::reports::store::Plan;
use crate::stats::Dice;

/// Single overwrites that are timed, and new entries that are weighed.
const CHANGES: usize = 100;

/// What every engine is given.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Workload {
    pub(super) authors: u8,
    /// What is there.
    pub(super) entries: Vec<Item>,
    /// What changes then, one by one.
    pub(super) updates: Vec<Item>,
    /// What is new then, one by one.
    pub(super) news: Vec<Item>,
}

/// One entry.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Item {
    pub(super) author: u8,
    pub(super) id: [u8; 16],
    pub(super) value: Vec<u8>,
}

impl Workload {
    pub(super) fn of(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let authors = usize::from(plan.authors);
        let entries: Vec<Item> = (0..plan.patterns)
            .map(|number| Item {
                author: u8::try_from(number % authors).unwrap_or(0),
                id: id(&mut dice),
                value: value(&mut dice),
            })
            .collect();
        let updates = (0..CHANGES).map(|_| Item {
            value: value(&mut dice),
            ..entries[dice.below(entries.len())].clone()
        });
        let updates = updates.collect();
        let news = (0..CHANGES).map(|_| Item {
            author: u8::try_from(dice.below(authors)).unwrap_or(0),
            id: id(&mut dice),
            value: value(&mut dice),
        });
        Self {
            authors: plan.authors,
            updates,
            news: news.collect(),
            entries,
        }
    }
}

fn id(dice: &mut Dice) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&dice.next_u64().to_le_bytes());
    id[8..].copy_from_slice(&dice.next_u64().to_le_bytes());
    id
}

fn value(dice: &mut Dice) -> Vec<u8> {
    let length = 60 + dice.below(41);
    let mut value: Vec<u8> = std::iter::repeat_with(|| dice.next_u64().to_le_bytes())
        .take(length / 16)
        .flatten()
        .collect();
    value.resize(length, 7);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_workload_of_the_stated_shape() {
        let plan = Plan {
            patterns: 200,
            ..Plan::default()
        };
        let workload = Workload::of(plan);
        assert_eq!(workload.entries.len(), 200);
        assert!(
            workload
                .entries
                .iter()
                .all(|item| (60..=100).contains(&item.value.len()))
        );
        let again = Workload::of(plan);
        assert_eq!(workload.entries[199].value, again.entries[199].value);
        assert_eq!(workload.updates.len(), 100);
    }
}
