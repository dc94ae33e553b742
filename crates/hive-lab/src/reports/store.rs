//! `store`: what the maps cost to send, to check and to catch up with; beside other engines on the same workload.

mod fresh;
mod knowledge;
mod own;
pub(super) mod peers;
mod workload;

use anyhow::Result;
use serde_json::Value;

use crate::report::{Figures, Report};
use crate::reports::store::workload::Workload;
use crate::world::Tools;

/// How large the hive is, and where its chances come from.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Patterns that the hive knows.
    pub patterns: usize,
    /// Their authors.
    pub authors: u8,
    /// Where ids and values come from.
    pub seed: u64,
    /// How often each timing is repeated; the median is told.
    pub rounds: usize,
    /// Whether real daemons are started, which needs root.
    pub daemons: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            patterns: 10_000,
            authors: 10,
            seed: 1,
            rounds: 9,
            daemons: true,
        }
    }
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: Plan) -> Result<Value> {
    let report = Report::begin("store");
    let mut figures = Figures::new();
    figures.put("patterns", plan.patterns);
    figures.put("authors", plan.authors);
    let workload = Workload::of(plan);
    let engine = own::measure(&workload, plan.rounds)?;
    own::real_words(&mut figures)?;
    figures.put("merge_entries_per_s", &engine["merge_entries_per_s"]);
    figures.put("update_us", &engine["update_us"]);
    figures.put("noop_payload_bytes", &engine["noop_bytes"]);
    match peers::measure(&workload, plan.rounds)? {
        Ok(others) => {
            let engines: Vec<Value> = std::iter::once(engine).chain(others).collect();
            figures.put("engines", engines);
        }
        Err(why) => {
            figures.put("engines", [engine]);
            figures.missing("engines_beside", &why);
        }
    }
    if plan.daemons {
        fresh::measure(tools, plan, &mut figures).await?;
    } else {
        figures.missing("fresh_member_ms", "left out by --no-daemons");
    }
    Ok(report.end(figures))
}
