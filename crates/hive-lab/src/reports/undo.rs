//! `undo`: a real daemon's hands and the real helper are killed at every call of the kernel that a change is made of; what they had
//! on must be off again. Then a storm of forks, a person, numbers that are used again, another boot, and a hostile daemon.

pub mod hands;
mod ground;
mod hostile;
mod kills;
mod others;

use anyhow::{Context, Result};
use rustix::process::geteuid;
use serde_json::Value;

use crate::report::{Figures, Report};
use crate::world::Tools;
use ground::Ground;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// At least so many kills.
    pub kills: usize,
    /// Changes and restorations under a storm of forks.
    pub storms: usize,
    /// Hostile requests.
    pub requests: u64,
}

/// All keys, for a machine on which it cannot be done.
const KEYS: [&str; 7] = [
    "kills",
    "restored",
    "leaked_descendants",
    "fork_storm_cycles",
    "foreign_overwritten",
    "helper_requests",
    "out_of_policy",
];

/// Why nothing can be measured here.
#[must_use]
pub fn unavailable() -> Option<String> {
    if !geteuid().is_root() {
        return Some("only root can become a user and hand over one capability".into());
    }
    let missing = |tool: &&&str| {
        let asked = std::process::Command::new(tool).arg("--version").output();
        !asked.is_ok_and(|asked| asked.status.success())
    };
    let tools = ["strace", "setpriv", "setsid"];
    let tool = tools.iter().find(missing)?;
    Some(format!("{tool} is missing"))
}

/// Runs all of it.
pub async fn run(tools: &Tools, plan: Plan) -> Result<Value> {
    let report = Report::begin("undo");
    let mut figures = Figures::new();
    if let Some(why) = unavailable() {
        for key in KEYS {
            figures.missing(key, &why);
        }
        return Ok(report.end(figures));
    }
    let (ground, sweeper) = Ground::new(&tools.lab)?;
    // Beside the others, so that a person who had enough in the middle is heard.
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if tell.send(all(&ground, plan, figures)).is_err() {
            eprintln!("hive-lab: nobody waits for the report any more");
        }
    });
    let figures = told.await.context("the report broke off")??;
    drop(sweeper);
    Ok(report.end(figures))
}

fn all(ground: &Ground, plan: Plan, mut figures: Figures) -> Result<Figures> {
    kills::run(ground, plan.kills, &mut figures)?;
    others::storm(ground, plan.storms, &mut figures)?;
    others::person(ground, &mut figures)?;
    others::reuse(ground, &mut figures)?;
    others::boot(ground, &mut figures)?;
    hostile::run(ground, plan.requests, &mut figures)?;
    Ok(figures)
}
