//! `crdts`: a map of multi-value registers, one actor per author, encoded with postcard.

use anyhow::{Result, ensure};
use crdts::{CmRDT, CvRDT, MVReg, Map};

use crate::{Item, Row, Workload, seconds};

type Hive = Map<[u8; 16], MVReg<Vec<u8>, u8>, u8>;

pub fn measure(workload: &Workload, rounds: usize) -> Result<Row> {
    let mut full = Hive::new();
    for item in &workload.entries {
        let op = write(&full, item);
        full.apply(op);
    }
    let state = postcard::to_allocvec(&full)?;
    let mut merges = Vec::new();
    for _ in 0..rounds {
        let mut fresh = Hive::new();
        let (time, merged) = seconds(|| -> Result<()> {
            fresh.merge(postcard::from_bytes(&state)?);
            Ok(())
        });
        merged?;
        ensure!(fresh.len().val == workload.entries.len(), "not all there");
        merges.push(time);
    }
    let (new_bytes, _) = say_each(&full, &workload.news)?;
    let (_, update_us) = say_each(&full, &workload.updates)?;
    Ok(Row {
        name: "crdts",
        new_bytes,
        // There is no protocol: whoever wants to know whether two replicas are equal compares them.
        noop_bytes: state.len(),
        fresh_bytes: state.len(),
        merges,
        update_us,
        note: "no-op = the whole state, for want of a protocol; operations and state encoded with postcard",
    })
}

type Op = <Hive as CmRDT>::Op;

fn write(map: &Hive, item: &Item) -> Op {
    let add = map.read_ctx().derive_add_ctx(item.author);
    map.update(item.id, add, |register, context| {
        register.write(item.value.clone(), context)
    })
}

/// Each item is one operation by its author, applied on another replica.
fn say_each(full: &Hive, items: &[Item]) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut author = full.clone();
    let mut member = full.clone();
    let (mut bytes, mut us) = (Vec::new(), Vec::new());
    for item in items {
        let op = write(&author, item);
        let sent = postcard::to_allocvec(&op)?;
        author.apply(op);
        bytes.push(sent.len() as f64);
        let (time, applied) = seconds(|| -> Result<()> {
            let op: Op = postcard::from_bytes(&sent)?;
            member.apply(op);
            Ok(())
        });
        applied?;
        us.push(time * 1e6);
    }
    ensure!(author == member, "not equal");
    Ok((bytes, us))
}
