//! Loro: one document, one map, one peer id per author.

use anyhow::{Result, ensure};
use loro::{ExportMode, LoroDoc, LoroValue};

use crate::{Item, Row, Workload, seconds};

const MAP: &str = "m";

pub fn measure(workload: &Workload, rounds: usize) -> Result<Row> {
    let full = LoroDoc::new();
    for author in 0..workload.authors {
        let own = LoroDoc::new();
        own.set_peer_id(u64::from(author) + 1)?;
        for item in workload.entries.iter().filter(|item| item.author == author) {
            put(&own, item)?;
        }
        own.commit();
        full.import(&own.export(ExportMode::all_updates())?)?;
    }
    let updates = full.export(ExportMode::all_updates())?;
    let mut merges = Vec::new();
    for _ in 0..rounds {
        let fresh = LoroDoc::new();
        let (time, imported) = seconds(|| fresh.import(&updates));
        imported?;
        ensure!(
            fresh.get_map(MAP).len() == workload.entries.len(),
            "not all there"
        );
        merges.push(time);
    }
    let noop_bytes = full.oplog_vv().encode().len();
    let (new_bytes, _) = say_each(&full, &workload.news)?;
    let (_, update_us) = say_each(&full, &workload.updates)?;
    Ok(Row {
        name: "loro",
        new_bytes,
        noop_bytes,
        fresh_bytes: updates.len(),
        merges,
        update_us,
        note: "no-op = one version vector; fresh and merge = all updates; ids as 32 characters of text",
    })
}

fn put(doc: &LoroDoc, item: &Item) -> Result<()> {
    let value = LoroValue::Binary(item.value.clone().into());
    Ok(doc.get_map(MAP).insert(&item.text_key(), value)?)
}

/// Each item is one update by its author, imported on another replica.
fn say_each(full: &LoroDoc, items: &[Item]) -> Result<(Vec<f64>, Vec<f64>)> {
    let author = full.fork();
    let member = full.fork();
    let (mut bytes, mut us) = (Vec::new(), Vec::new());
    for item in items {
        author.set_peer_id(u64::from(item.author) + 1_000)?;
        let before = author.oplog_vv();
        put(&author, item)?;
        author.commit();
        let update = author.export(ExportMode::updates(&before))?;
        bytes.push(update.len() as f64);
        let (time, imported) = seconds(|| member.import(&update));
        imported?;
        us.push(time * 1e6);
    }
    ensure!(author.oplog_vv() == member.oplog_vv(), "not equal");
    Ok((bytes, us))
}
