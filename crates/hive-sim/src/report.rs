//! What a run of many seeds says: a table for people, and the keys of `FIGURES.md` for machines.

use std::collections::BTreeSet;
use std::process::Command;

use serde::Serialize;

use crate::check::truthful::Judged;
use crate::faults::Faults;
use crate::stories::{ALL, Outcome};

/// `hive-sim --seeds N --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `hive-sim/1`.
    pub schema: &'static str,
    /// The commit that was run, if it can be told.
    pub commit: Option<String>,
    /// Why not, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_why: Option<String>,
    /// What it ran on.
    pub machine: String,
    /// How long it took.
    pub seconds: f64,
    /// Seeds per story.
    pub seeds: u64,
    /// Lives that did not end well.
    pub failed: u64,
    /// One line for each story.
    pub stories: Vec<StoryLine>,
    /// Years that all nodes together have lived.
    pub node_years: f64,
    /// Faults that befell a message.
    pub message_faults: u64,
    /// Kinds of faults that happened.
    pub fault_kinds: Vec<&'static str>,
    /// Attackers that were refused.
    pub attackers: Vec<&'static str>,
    /// Whether every tenth life, lived twice, was the same to the last byte.
    pub trace_repeats: bool,
    /// Lives that were lived twice.
    pub traces_compared: u64,
    /// Verdicts and ranges held against the truth.
    pub truth: TruthLine,
}

/// One story over all seeds.
#[derive(Debug, Serialize)]
pub struct StoryLine {
    /// Its name.
    pub name: &'static str,
    /// Seeds.
    pub seeds: u64,
    /// Those that did not end well.
    pub failed: u64,
    /// Days that its nodes together have lived.
    pub node_days: f64,
    /// Faults of all kinds.
    pub faults: u64,
    /// Bytes of frames per node and story.
    pub frame_bytes_per_seed: u64,
    /// What went wrong and how to see it again.
    pub failures: Vec<FailureLine>,
}

/// One life that did not end well.
#[derive(Debug, Serialize)]
pub struct FailureLine {
    /// With which seed.
    pub seed: u64,
    /// What happened.
    pub what: String,
    /// The command that plays it again.
    pub replay: String,
}

/// Verdicts and ranges against the truth.
#[derive(Debug, Serialize)]
pub struct TruthLine {
    /// Own verdicts that claimed something.
    pub verdicts: u64,
    /// Those that were false.
    pub false_verdicts: u64,
    /// Own ranges.
    pub ranges: u64,
    /// Share of the ranges that contain the truth.
    pub coverage: Option<f64>,
}

impl Report {
    /// Adds up what happened.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^53"
    )]
    pub fn new(outcomes: &[Outcome], seeds: u64, seconds: f64, repeats: (u64, bool)) -> Self {
        let (commit, commit_why) = commit();
        let mut faults = Faults::default();
        let mut judged = Judged::default();
        let mut attackers = BTreeSet::new();
        for outcome in outcomes {
            faults.plus(&outcome.faults);
            judged.plus(outcome.told.judged);
            attackers.extend(outcome.told.attackers.iter().copied());
        }
        let node_us: u64 = outcomes.iter().map(|outcome| outcome.node_us).sum();
        let names = ALL.iter().map(|story| story.name);
        Self {
            schema: "hive-sim/1",
            commit,
            commit_why,
            machine: machine(),
            seconds,
            seeds,
            failed: outcomes.iter().filter(|o| o.failure.is_some()).count() as u64,
            stories: names
                .filter_map(|name| StoryLine::new(name, outcomes))
                .collect(),
            node_years: node_us as f64 / 1e6 / 86_400.0 / 365.25,
            message_faults: faults.of_messages(),
            fault_kinds: faults.kinds().collect(),
            attackers: attackers.into_iter().collect(),
            trace_repeats: repeats.1,
            traces_compared: repeats.0,
            truth: TruthLine {
                verdicts: judged.verdicts,
                false_verdicts: judged.false_verdicts,
                ranges: judged.ranges,
                coverage: (judged.ranges > 0)
                    .then(|| judged.covering as f64 / judged.ranges as f64),
            },
        }
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<20} {:>6} {:>7} {:>10} {:>9}",
            "story", "seeds", "failed", "node days", "faults"
        )];
        for story in &self.stories {
            lines.push(format!(
                "{:<20} {:>6} {:>7} {:>10.3} {:>9}",
                story.name, story.seeds, story.failed, story.node_days, story.faults
            ));
        }
        lines.push(format!(
            "{} of {} verdicts false; {} of the ranges contain the truth; {} lives repeated {}; {:.1} s",
            self.truth.false_verdicts,
            self.truth.verdicts,
            self.truth
                .coverage
                .map_or("none".to_owned(), |share| format!("{:.1} %", share * 100.0)),
            self.traces_compared,
            if self.trace_repeats { "byte for byte" } else { "DIFFERENTLY" },
            self.seconds,
        ));
        for failure in self.stories.iter().flat_map(|story| &story.failures) {
            lines.push(format!("FAILED {}\n  {}", failure.what, failure.replay));
        }
        lines.join("\n")
    }
}

impl StoryLine {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^53"
    )]
    fn new(name: &'static str, outcomes: &[Outcome]) -> Option<Self> {
        let lives: Vec<&Outcome> = outcomes.iter().filter(|o| o.story == name).collect();
        if lives.is_empty() {
            return None;
        }
        let failures: Vec<FailureLine> = lives.iter().filter_map(|o| FailureLine::new(o)).collect();
        let node_us: u64 = lives.iter().map(|outcome| outcome.node_us).sum();
        let bytes: u64 = lives.iter().map(|outcome| outcome.bytes).sum();
        Some(Self {
            name,
            seeds: lives.len() as u64,
            failed: failures.len() as u64,
            node_days: node_us as f64 / 1e6 / 86_400.0,
            faults: lives.iter().map(|outcome| outcome.faults.total()).sum(),
            frame_bytes_per_seed: bytes / lives.len() as u64,
            failures,
        })
    }
}

impl FailureLine {
    fn new(outcome: &Outcome) -> Option<Self> {
        let failure = outcome.failure.as_ref()?;
        Some(Self {
            seed: outcome.seed,
            what: format!("{}: {}", outcome.story, failure.words()),
            replay: crate::stories::replay(outcome.story, outcome.seed),
        })
    }
}

/// What git says, or why it says nothing.
fn commit() -> (Option<String>, Option<String>) {
    match Command::new("git").args(["rev-parse", "HEAD"]).output() {
        Ok(output) if output.status.success() => {
            let hash = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (Some(hash), None)
        }
        Ok(_) => (None, Some("not run in a git checkout".to_owned())),
        Err(error) => (None, Some(format!("git cannot be run: {}", error.kind()))),
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{} {}, {cores} cores",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
