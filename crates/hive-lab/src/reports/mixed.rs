//! `mixed`: real daemons of an older program and of this one in one hive. Each founds a hive once; do both read
//! each other, pass on what the old one cannot read, survive restarts and updates, and end with equal maps?

mod crew;
mod stages;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::report::{Figures, Report, commit_of};
use crate::reports::mixed::crew::Crew;
use crate::world::Tools;

/// How to get an older program. The commit is a person's choice: the last one that was given to anybody.
const HOW: &str = "an older program is needed: git worktree add --detach ../hive-old COMMIT, then cargo build \
                   --release -p hive in that folder, then hive-lab mixed --old-hive ../hive-old/target/release/hive";

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The older program.
    pub old_hive: Option<PathBuf>,
    /// New entries in each step that says any.
    pub entries: usize,
    /// How long the bytes of doing nothing are counted.
    pub watch: Duration,
}

/// Which of the two programs a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Build {
    /// The older one.
    Old,
    /// The one under test.
    New,
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: &Plan) -> Result<Value> {
    let Some(old) = &plan.old_hive else {
        bail!(HOW);
    };
    ensure!(old.is_file(), "{} is no file; {HOW}", old.display());
    let report = Report::begin("mixed");
    let mut figures = Figures::new();
    let folder = old.parent().context("a program is in a folder")?;
    figures.put_or(
        "old_commit",
        commit_of(folder),
        "the old program lies in no tree of git",
    );
    figures.put("old_version", version(old)?);
    figures.put("new_version", version(&tools.hive)?);
    let same = std::fs::read(old)? == std::fs::read(&tools.hive)?;
    figures.put("same_program", same);
    let mut directions = Vec::new();
    for founder in [Build::Old, Build::New] {
        directions.push(direction(tools, plan, old, founder).await?);
    }
    figures.put("directions", directions);
    figures.put(
        "note",
        "old_commit is where the tree around the old program stands now; the program is as old as its build",
    );
    Ok(report.end(figures))
}

/// One hive, founded by one of the two.
async fn direction(tools: &Tools, plan: &Plan, old: &Path, founder: Build) -> Result<Value> {
    let mut figures = Figures::new();
    figures.put("founder", founder);
    let mut crew = Crew::gather(tools, old, founder, &mut figures).await?;
    stages::talk(&mut crew, plan, &mut figures).await?;
    stages::through_an_old_one(&mut crew, plan, &mut figures).await?;
    stages::restart(&mut crew, &mut figures).await?;
    stages::remove(&mut crew, &mut figures).await?;
    stages::update_and_go_back(&mut crew, &mut figures).await?;
    stages::rotate(&mut crew, plan, &mut figures).await?;
    figures.put("misdeeds", crew.misdeeds());
    figures.put("needs", crew.needs().await?);
    crew.stop().await?;
    Ok(figures.into_value())
}

/// What a program calls itself.
fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
