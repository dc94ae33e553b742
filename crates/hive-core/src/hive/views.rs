//! Views: pure functions of the authors' maps. Nothing here writes, and the order of arrival is not seen.

pub mod hive_time;
pub mod counter;
pub mod anomalies;

use alloc::vec::Vec;

use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};

/// The maps that data views are made of: those of members, and those of removed ones at the state that
/// counts, without the authors that are proven to contradict themselves.
#[must_use]
pub fn eligible<'a>(roster: &Roster, store: &'a Store) -> Vec<&'a AuthorMap> {
    store
        .maps()
        .map(|(_, map)| map)
        .filter(|map| roster.counts(map) && !roster.quarantines(map.head().author, store))
        .collect()
}

#[cfg(test)]
mod tests;
