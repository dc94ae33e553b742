//! `faults`: real daemons while the network misbehaves, machines sleep and move, processes are killed, and
//! strangers shout. What arrived when, how fast all are equal again, what was lost.

mod flood;
mod kill9;
mod weather;

use anyhow::Result;
use serde_json::Value;

use crate::report::{Figures, Report};
use crate::world::Tools;

/// What is to be measured, and how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Only this case (or `kill9`, `flood`); none = everything.
    pub only: Option<String>,
    /// Where the network's chances come from.
    pub seed: u64,
    /// Machines in each case.
    pub nodes: u8,
    /// New entries in each case.
    pub entries: usize,
    /// How long a daemon sleeps, in seconds.
    pub sleep_s: u64,
    /// How long a direction is cut, in seconds.
    pub cut_s: u64,
    /// How often a daemon is killed.
    pub restarts: usize,
    /// How often a daemon is killed that has a peer.
    pub restarts_with_peer: usize,
    /// How long strangers shout, in seconds.
    pub flood_s: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            only: None,
            seed: 1,
            nodes: 5,
            entries: 60,
            sleep_s: 120,
            cut_s: 20,
            restarts: 500,
            restarts_with_peer: 50,
            flood_s: 60,
        }
    }
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: &Plan) -> Result<Value> {
    let report = Report::begin("faults");
    let mut figures = Figures::new();
    figures.put("nodes", plan.nodes);
    figures.put("seed", plan.seed);
    let mut cases = Vec::new();
    for case in weather::cases(plan) {
        if plan.wants(case.name) {
            cases.push(weather::run(tools, plan, &case).await?);
        }
    }
    figures.put("cases", cases);
    let left_out = "left out by --only";
    if plan.wants("kill9") {
        figures.put("kill9", kill9::run(tools, plan).await?);
    } else {
        figures.missing("kill9", left_out);
    }
    if plan.wants("flood") {
        figures.put("flood", flood::run(tools, plan).await?);
    } else {
        figures.missing("flood", left_out);
    }
    Ok(report.end(figures))
}
