//! Our own maps, by the code that the daemon runs: bytes of frames, and the time to check and join them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hive_core::hive::store::{Joined, Store, step};
use hive_core::id::{HiveId, PatternId, WorkloadKey};
use hive_core::pattern::{
    Action, Binding, Context as Mechanism, Cores, Evidence, PairStats, PatternDef, Verdict,
    WorkloadType,
};
use hive_core::signed::KeyPair;
use hive_core::statement::{Key, Statement, StrategyCell};
use hive_core::time::{Hlc, WallTime};
use hive_core::units::LogRatio;
use hive_core::wire::{Delta, Frame};
use serde_json::{Value, json};

use crate::report::Figures;
use crate::reports::store::workload::{Item, Workload};
use crate::stats;

/// Entries that an author says in one batch. A guess: what piles up during one write.
const BATCH: usize = 64;

/// A kind that no version knows: stores hash, check and relay it like any other.
const KIND: u8 = 200;

const HIVE: HiveId = HiveId([7; 32]);

/// 2026, in milliseconds since 1970: times are then as long on the wire as real ones.
const WALL: WallTime = WallTime(1_780_000_000_000);

/// Our row of the engines' table.
pub(super) fn measure(workload: &Workload, rounds: usize) -> Result<Value> {
    let keys: Vec<KeyPair> = (1..=workload.authors)
        .map(|author| KeyPair::from_secret(&[author; 32]))
        .collect();
    let mut full = Store::new(HIVE);
    for (author, key) in keys.iter().enumerate() {
        let own: Vec<&Item> = of_author(&workload.entries, author).collect();
        for batch in own.chunks(BATCH) {
            write(
                &mut full,
                key,
                batch.iter().map(|item| change(item)).collect(),
            )?;
        }
    }
    let whole: Vec<Vec<u8>> = full
        .maps()
        .flat_map(|(_, map)| [Frame::Delta(map.delta(None)).encode()])
        .collect();
    let mut merges = Vec::new();
    for _ in 0..rounds {
        merges.push(merge(&whole, &full)?);
    }
    let entries: usize = full.maps().map(|(_, map)| map.live()).sum();
    let seconds = median(&merges).context("no round")?;
    let (new_bytes, _) = say_each(&keys, &full, &workload.news)?;
    let (_, update_us) = say_each(&keys, &full, &workload.updates)?;
    #[expect(clippy::cast_precision_loss, reason = "entries of one run")]
    let per_s = entries as f64 / seconds;
    Ok(json!({
        "name": "hive",
        "new_pattern_bytes": stats::mean(&new_bytes).context("nothing new")?.round(),
        "noop_bytes": Frame::Probe { h: [0; 16] }.encode().len() + Frame::Same.encode().len(),
        "fresh_bytes": whole.iter().map(Vec::len).sum::<usize>(),
        "merge_entries_per_s": per_s.round(),
        "update_us": median(&update_us),
        "verified": true,
    }))
}

/// What real statements weigh on the wire, in the middle of an author's life.
pub(super) fn real_words(figures: &mut Figures) -> Result<()> {
    let key = KeyPair::from_secret(&[1; 32]);
    let mut store = Store::new(HIVE);
    let words = |number: u16| {
        let def = pattern(number);
        let evidence = Evidence {
            verdict: Verdict::Helps,
            trial: PairStats {
                pairs: 8,
                sum: -4_100_000,
                squares: 2_120_000,
            },
            low: LogRatio(-700_000),
            high: LogRatio(-300_000),
            ..Evidence::default()
        };
        let cell = StrategyCell { trials: 1, wins: 1 };
        [
            Statement::Pattern(def),
            Statement::Evidence(def.id(), evidence),
            Statement::Strategy(def.id(), cell),
        ]
    };
    for number in 0..200 {
        let said = words(number).iter().map(told).collect();
        write(&mut store, &key, said)?;
    }
    let mut weigh = |number: u16, count: usize| -> Result<usize> {
        let said = words(number).iter().take(count).map(told).collect();
        let delta = write(&mut store, &key, said)?;
        Ok(pushed(delta).len())
    };
    figures.put("new_pattern_definition_bytes", weigh(300, 1)?);
    figures.put("new_pattern_payload_bytes", weigh(301, 2)?);
    figures.put("share_batch_bytes", weigh(302, 3)?);
    figures.put(
        "new_pattern_note",
        "one signed batch as its author pushes it (32 bytes more when another member sends it on): \
         new_pattern_payload_bytes is a definition and its numbers, share_batch_bytes also the strategy counter that \
         every shared result moves",
    );
    Ok(())
}

fn pattern(number: u16) -> PatternDef {
    let mut workload = [0x5a; 16];
    workload[..2].copy_from_slice(&number.to_le_bytes());
    PatternDef {
        action: Action::BackgroundNice,
        workload: WorkloadKey(workload),
        role: WorkloadType::Interactive,
        context: Mechanism {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        },
    }
}

fn told(statement: &Statement) -> (Key, Option<Vec<u8>>) {
    (statement.key(), Some(statement.encode()))
}

fn change(item: &Item) -> (Key, Option<Vec<u8>>) {
    let key = Key {
        kind: KIND,
        id: PatternId(item.id).0,
    };
    (key, Some(item.value.clone()))
}

fn of_author(items: &[Item], author: usize) -> impl Iterator<Item = &Item> {
    items
        .iter()
        .filter(move |item| usize::from(item.author) == author)
}

/// Writes one batch of an author's own; what is pushed for it.
fn write(store: &mut Store, key: &KeyPair, changes: Vec<(Key, Option<Vec<u8>>)>) -> Result<Delta> {
    let before = store.map(key.node()).cloned();
    let hlc = before
        .as_ref()
        .map_or(Hlc::default(), |map| map.head().hlc)
        .next(WALL);
    let map = store.draft(key, 1, hlc, changes)?;
    let delta = step(before.as_ref(), &map);
    store.insert(map);
    Ok(delta)
}

/// The bytes of a delta as its author sends it. Sent on by another member it is 32 bytes longer.
fn pushed(delta: Delta) -> Vec<u8> {
    let author = delta.author;
    Frame::Delta(delta).without(author).encode()
}

/// Seconds to read, check and join all maps into an empty store.
fn merge(whole: &[Vec<u8>], full: &Store) -> Result<f64> {
    let mut fresh = Store::new(HIVE);
    let began = Instant::now();
    for bytes in whole {
        let Frame::Delta(delta) = Frame::decode_assembled(bytes)? else {
            anyhow::bail!("a delta is read as something else");
        };
        ensure!(fresh.join(&delta, None)? == Joined::Newer, "not taken");
    }
    let seconds = began.elapsed().as_secs_f64();
    let ids = |store: &Store| -> Vec<_> { store.maps().map(|(_, map)| map.id()).collect() };
    ensure!(ids(&fresh) == ids(full), "the joined store is another one");
    Ok(seconds)
}

/// Says each item by its author and joins it into a second store; the bytes of each and the microseconds of each.
fn say_each(keys: &[KeyPair], full: &Store, items: &[Item]) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut author = full.clone();
    let mut member = full.clone();
    let mut bytes = Vec::new();
    let mut us = Vec::new();
    for item in items {
        let key = &keys[usize::from(item.author)];
        let delta = write(&mut author, key, vec![change(item)])?;
        let frame = pushed(delta);
        let began = Instant::now();
        let Frame::Delta(delta) = Frame::decode(&frame)?.said_by(key.node()) else {
            anyhow::bail!("a delta is read as something else");
        };
        ensure!(member.join(&delta, None)? == Joined::Newer, "not taken");
        us.push(began.elapsed().as_secs_f64() * 1e6);
        #[expect(clippy::cast_precision_loss, reason = "a frame's bytes")]
        bytes.push(frame.len() as f64);
    }
    Ok((bytes, us))
}

fn median(values: &[f64]) -> Option<f64> {
    Some(stats::spread(values)?.p50)
}
