//! Automerge: one document, one map, one actor per author.

use anyhow::{Context, Result, ensure};
use automerge::sync::{State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, Change, ROOT, ReadDoc};

use crate::{Item, Row, Workload, seconds};

pub fn measure(workload: &Workload, rounds: usize) -> Result<Row> {
    let mut full = AutoCommit::new();
    for author in 0..workload.authors {
        let mut own = AutoCommit::new().with_actor(ActorId::from([author; 16]));
        for item in workload.entries.iter().filter(|item| item.author == author) {
            put(&mut own, item)?;
        }
        own.commit();
        full.merge(&mut own)?;
    }
    let saved = full.save();
    let mut merges = Vec::new();
    for _ in 0..rounds {
        let (time, fresh) = seconds(|| AutoCommit::load(&saved));
        ensure!(
            fresh?.length(ROOT) == workload.entries.len(),
            "not all there"
        );
        merges.push(time);
    }
    let noop_bytes = noop(&mut full)?;
    let (new_bytes, _) = say_each(&mut full, &workload.news)?;
    let (_, update_us) = say_each(&mut full, &workload.updates)?;
    Ok(Row {
        name: "automerge",
        new_bytes,
        noop_bytes,
        fresh_bytes: saved.len(),
        merges,
        update_us,
        note: "new = one change; no-op = a new sync exchange until both are quiet; fresh and merge = save and load, \
               columnar and compressed; ids as 32 characters of text",
    })
}

fn put(doc: &mut AutoCommit, item: &Item) -> Result<()> {
    Ok(doc.put(ROOT, item.text_key(), item.value.clone())?)
}

/// Each item is one change by its author, applied on another replica.
fn say_each(full: &mut AutoCommit, items: &[Item]) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut author = full.fork();
    let mut member = full.fork();
    let (mut bytes, mut us) = (Vec::new(), Vec::new());
    for item in items {
        // A fresh actor for each replica that writes; the id's length is the same.
        author.set_actor(ActorId::from([100 + item.author; 16]));
        put(&mut author, item)?;
        author.commit();
        let change = author.get_last_local_change().context("no change")?;
        let raw = change.raw_bytes().to_vec();
        bytes.push(raw.len() as f64);
        let (time, applied) = seconds(|| -> Result<()> {
            let change = Change::from_bytes(raw)?;
            member.apply_changes([change])?;
            Ok(())
        });
        applied?;
        us.push(time * 1e6);
    }
    ensure!(author.get_heads() == member.get_heads(), "not equal");
    Ok((bytes, us))
}

/// Bytes both ways until two equal replicas that meet for the first time know that they are.
fn noop(full: &mut AutoCommit) -> Result<usize> {
    let mut other = full.fork();
    let (mut ours, mut theirs) = (State::new(), State::new());
    let mut bytes = 0;
    for _ in 0..10 {
        let there = full.sync().generate_sync_message(&mut ours);
        let quiet = there.is_none();
        if let Some(message) = there {
            bytes += message.clone().encode().len();
            other.sync().receive_sync_message(&mut theirs, message)?;
        }
        let back = other.sync().generate_sync_message(&mut theirs);
        if quiet && back.is_none() {
            break;
        }
        if let Some(message) = back {
            bytes += message.clone().encode().len();
            full.sync().receive_sync_message(&mut ours, message)?;
        }
    }
    Ok(bytes)
}
