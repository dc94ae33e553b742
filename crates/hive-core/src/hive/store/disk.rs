//! How maps lie on the disk: one record per head, per head seen and per entry, so that a batch writes only
//! what changed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::outside::{Record, Table};
use crate::hive::store::entries::Entries;
use crate::hive::store::{AuthorMap, Store, fork};
use crate::id::{HiveId, NodeId};
use crate::limits;
use crate::wire::{Entry, Head};

/// The records that lead from one state of an author's map to another.
#[must_use]
pub fn records(before: Option<&AuthorMap>, after: Option<&AuthorMap>) -> Vec<Record> {
    let mut records = Vec::new();
    let Some(author) = after.or(before).map(|map| map.head.author) else {
        return records;
    };
    records.push(Record {
        table: Table::Heads,
        key: author.0.to_vec(),
        value: after.and_then(|map| postcard::to_allocvec(&map.head).ok()),
    });
    records.extend(ring_records(author, after));
    let none = Entries::none();
    let old = before.map_or(&none, |map| &map.entries);
    let new = after.map_or(&none, |map| &map.entries);
    for (was, is) in old.changes(new) {
        let Some(entry) = is.or(was) else { continue };
        records.push(Record {
            table: Table::Entries,
            key: entry_key(author, entry),
            value: is.and_then(|entry| postcard::to_allocvec(entry).ok()),
        });
    }
    records
}

/// What was read at start: the maps whose roots and signatures hold, and the authors of those that do not.
#[must_use]
pub fn restore(hive: HiveId, records: &[Record]) -> (Store, Vec<NodeId>) {
    let mut heads: BTreeMap<NodeId, Option<Head>> = BTreeMap::new();
    let mut entries: BTreeMap<NodeId, Vec<Entry>> = BTreeMap::new();
    let mut seen: Vec<Head> = Vec::new();
    let mut damaged = Vec::new();
    for record in records {
        let Some(value) = &record.value else { continue };
        let Some(author) = author_of(&record.key) else {
            continue;
        };
        match record.table {
            Table::Heads if record.key.len() == author.0.len() => {
                heads.insert(author, exact(value));
            }
            // Seen heads are no part of any map: a damaged one is only forgotten.
            Table::Heads => seen.extend(exact::<Head>(value)),
            // One that lies under another's key would outlive the next write to its own.
            Table::Entries => match exact::<Entry>(value) {
                Some(entry) if entry_key(author, &entry) == record.key => {
                    entries.entry(author).or_default().push(entry);
                }
                _ => damaged.push(author),
            },
            Table::Meta | Table::Ledger => {}
        }
    }
    let mut store = Store::new(hive);
    for (author, head) in heads {
        let mut held = entries.remove(&author).unwrap_or_default();
        held.sort_by_key(|entry| entry.key);
        let whole = head.filter(|head| head.author == author && !damaged.contains(&author));
        match whole.and_then(|head| AuthorMap::restore(hive, head, held).ok()) {
            Some(map) => store.insert(map),
            None => damaged.push(author),
        }
    }
    for head in seen {
        if store.map(head.author).is_some() {
            store.remember(head);
        }
    }
    damaged.extend(entries.into_keys());
    damaged.sort_unstable();
    damaged.dedup();
    (store, damaged)
}

/// The records that remove everything of an author, whatever state it is in.
#[must_use]
pub fn wipe(author: NodeId, held: &[Record]) -> Vec<Record> {
    held.iter()
        .filter(|record| matches!(record.table, Table::Heads | Table::Entries))
        .filter(|record| author_of(&record.key) == Some(author))
        .map(|record| Record {
            value: None,
            ..record.clone()
        })
        .collect()
}

/// Heads seen lie beside the head of the map, under the place in their ring.
fn ring_records(author: NodeId, after: Option<&AuthorMap>) -> Vec<Record> {
    let record = |place: u8, value: Option<Vec<u8>>| Record {
        table: Table::Heads,
        key: [&author.0[..], &[place]].concat(),
        value,
    };
    match after {
        Some(map) => {
            let value = postcard::to_allocvec(&map.head).ok();
            Vec::from([record(fork::place(&map.head), value)])
        }
        None => (0..limits::RING_HEADS)
            .map(|place| record(place, None))
            .collect(),
    }
}

fn entry_key(author: NodeId, entry: &Entry) -> Vec<u8> {
    let mut key = author.0.to_vec();
    key.push(entry.key.kind);
    key.extend_from_slice(&entry.key.id);
    key
}

fn author_of(key: &[u8]) -> Option<NodeId> {
    Some(NodeId(*key.first_chunk::<32>()?))
}

fn exact<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(value) {
        Ok((decoded, [])) => Some(decoded),
        _ => None,
    }
}
