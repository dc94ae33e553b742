//! Other engines on the workload of `hive-lab store`: reads it on standard input, prints one row per engine.
//! `bench-peers scan N` scans the process table N times with other crates instead, for `hive-lab cost`.
//!
//! None of them checks who wrote what: `verified` is false in each row.

mod automerge;
mod crdts;
mod loro;
mod scan;

use std::io::Read;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// What `hive-lab` sends.
#[derive(Deserialize)]
struct Order {
    rounds: usize,
    workload: Workload,
}

/// The same entries for every engine.
#[derive(Deserialize)]
struct Workload {
    authors: u8,
    entries: Vec<Item>,
    updates: Vec<Item>,
    news: Vec<Item>,
}

/// One entry.
#[derive(Clone, Deserialize)]
struct Item {
    author: u8,
    id: [u8; 16],
    value: Vec<u8>,
}

/// What one engine showed.
struct Row {
    name: &'static str,
    new_bytes: Vec<f64>,
    noop_bytes: usize,
    fresh_bytes: usize,
    /// Seconds of each merge into nothing.
    merges: Vec<f64>,
    update_us: Vec<f64>,
    note: &'static str,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("scan") {
        let rounds = words.next().context("how often?")?.parse()?;
        println!("{}", scan::measure(rounds)?);
        return Ok(());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Order = serde_json::from_str(&text)?;
    let rows = [
        automerge::measure(&order.workload, order.rounds)?,
        loro::measure(&order.workload, order.rounds)?,
        crdts::measure(&order.workload, order.rounds)?,
    ];
    let entries = order.workload.entries.len() as f64;
    let rows: Vec<Value> = rows.into_iter().map(|row| row.told(entries)).collect();
    println!("{}", Value::from(rows));
    Ok(())
}

impl Row {
    fn told(self, entries: f64) -> Value {
        let mean = self.new_bytes.iter().sum::<f64>() / self.new_bytes.len() as f64;
        json!({
            "name": self.name,
            "new_pattern_bytes": mean.round(),
            "noop_bytes": self.noop_bytes,
            "fresh_bytes": self.fresh_bytes,
            "merge_entries_per_s": (entries / median(self.merges)).round(),
            "update_us": median(self.update_us),
            "verified": false,
            "note": self.note,
        })
    }
}

impl Item {
    /// Engines that know only text keys get the id in hexadecimal digits.
    fn text_key(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The seconds that something takes.
fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed().as_secs_f64(), done)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
