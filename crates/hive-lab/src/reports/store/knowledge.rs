//! What a hive learned over days, written into its members' stores while their daemons rest: real statements,
//! signed by each author's own key, in batches as they would have been said. At their start the daemons check
//! all of it like any other store.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hive_core::hive::outside::{Record, Table};
use hive_core::hive::store::{Store, disk};
use hive_core::id::HiveId;
use hive_core::signed::KeyPair;
use hive_core::statement::{Key, Statement, StrategyCell};
use hive_core::time::WallTime;
use hive_core::wire::Genesis;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::reports::entries;
use crate::stats::Dice;

/// Results that an author says in one batch. A guess: what a busy quarter of an hour gives.
const AT_ONCE: usize = 8;

/// Between two batches of an author. Real ones lie further apart, but none may lie in the future; it costs one or
/// two bytes for each statement, before they are compressed.
const PACE_MS: u64 = 40;

/// The tables that maps lie in, as the daemon calls them.
const TABLES: [(Table, &str); 4] = [
    (Table::Meta, "meta"),
    (Table::Heads, "heads"),
    (Table::Entries, "entries"),
    (Table::Ledger, "ledger"),
];

/// Lets each author say its share of `patterns` and writes all of it into each store. The folders are those of
/// daemons that have ended, all of one hive and equal.
pub(super) fn write(folders: &[&Path], patterns: usize, dice: &mut Dice) -> Result<()> {
    let first = folders.first().context("no store")?;
    let records = read(first)?;
    let hive = hive_of(&records)?;
    let (before, damaged) = disk::restore(hive, &records);
    ensure!(damaged.is_empty(), "a store is damaged");
    let mut after = before.clone();
    for (number, folder) in folders.iter().enumerate() {
        let share = patterns / folders.len() + usize::from(number < patterns % folders.len());
        let secret = std::fs::read(folder.join("key")).context("no key")?;
        let secret = <[u8; 32]>::try_from(secret).ok().context("no key")?;
        say(&mut after, &KeyPair::from_secret(&secret), share, dice)?;
    }
    let changed: Vec<Record> = after
        .maps()
        .flat_map(|(author, map)| disk::records(before.map(*author), Some(map)))
        .collect();
    for folder in folders {
        commit(folder, &changed)?;
    }
    Ok(())
}

/// An author's results, batch by batch up to the present.
fn say(store: &mut Store, key: &KeyPair, share: usize, dice: &mut Dice) -> Result<()> {
    let own = store.map(key.node()).context("an author has no map")?;
    let incarnation = own.head().incarnation;
    let mut hlc = own.head().hlc;
    let batches = share.div_ceil(AT_ONCE);
    for batch in 0..batches {
        let mut changes: BTreeMap<Key, Option<Vec<u8>>> = BTreeMap::new();
        for _ in 0..AT_ONCE.min(share - batch * AT_ONCE) {
            let def = entries::something_new(dice)?;
            let evidence = entries::evidence(u32::try_from(dice.below(90))?)?;
            let cell = StrategyCell { trials: 1, wins: 1 };
            for statement in [
                Statement::Pattern(def),
                Statement::Evidence(def.id(), evidence),
                Statement::Strategy(def.id(), cell),
            ] {
                changes.insert(statement.key(), Some(statement.encode()));
            }
        }
        let wall = WallTime(hlc.wall().0.saturating_add(PACE_MS));
        hlc = hlc.next(wall);
        let map = store.draft(key, incarnation, hlc, changes.into_iter().collect())?;
        store.insert(map);
    }
    Ok(())
}

fn hive_of(records: &[Record]) -> Result<HiveId> {
    let first = records
        .iter()
        .find(|record| record.table == Table::Meta && record.key == b"genesis");
    let value = first.and_then(|record| record.value.as_ref());
    let genesis: Genesis = postcard::from_bytes(value.context("no hive")?)?;
    Ok(genesis.hive())
}

fn definition(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

fn read(folder: &Path) -> Result<Vec<Record>> {
    let database = Database::open(folder.join("store.redb"))?;
    let transaction = database.begin_read()?;
    let mut records = Vec::new();
    for (table, name) in TABLES {
        for row in transaction.open_table(definition(name))?.iter()? {
            let (key, value) = row?;
            records.push(Record {
                table,
                key: key.value().to_vec(),
                value: Some(value.value().to_vec()),
            });
        }
    }
    Ok(records)
}

fn commit(folder: &Path, records: &[Record]) -> Result<()> {
    let database = Database::open(folder.join("store.redb"))?;
    let transaction = database.begin_write()?;
    for (table, name) in TABLES {
        let mut rows = transaction.open_table(definition(name))?;
        for record in records.iter().filter(|record| record.table == table) {
            match &record.value {
                Some(value) => rows.insert(&record.key[..], &value[..])?,
                None => rows.remove(&record.key[..])?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}
