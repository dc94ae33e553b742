//! What a run of many seeds says: a table for people, and the keys of `FIGURES.md` for machines.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Serialize;

use crate::attacks::Attacks;
use crate::check::truthful::Judged;
use crate::faults::Faults;
use crate::scenario::Scenario;
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
    /// One line for each scenario.
    pub scenarios: Vec<ScenarioLine>,
    /// Years that all nodes together have run; a machine that sleeps does not run.
    pub node_years: f64,
    /// The same for each second that this run took.
    pub node_years_per_s: f64,
    /// Faults that befell a message.
    pub message_faults: u64,
    /// Kinds of faults that happened.
    pub fault_kinds: Vec<&'static str>,
    /// How often each kind of fault happened.
    pub fault_counts: BTreeMap<&'static str, u64>,
    /// Attackers that were refused.
    pub attackers: Vec<&'static str>,
    /// How often each of them attacked.
    pub attacker_counts: BTreeMap<&'static str, u64>,
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

/// One scenario over all its lives.
#[derive(Debug, Serialize)]
pub struct ScenarioLine {
    /// Its name.
    pub name: String,
    /// Members.
    pub members: u64,
    /// Lives.
    pub lives: u64,
    /// Those that did not end well.
    pub failed: u64,
    /// Days that its nodes together have run.
    pub node_days: f64,
    /// Faults that befell a message.
    pub message_faults: u64,
    /// Other faults.
    pub other_faults: u64,
    /// Attacks.
    pub attacks: u64,
    /// Times that all was healed and everything was checked.
    pub checks: u64,
    /// The longest that it took then until all honest members showed the same.
    pub equal_after_ms_max: u64,
    /// What a day cost a member at most, in bytes.
    pub bytes_per_member_day_max: u64,
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
    /// The command that plays the shortest life that fails in the same way, and how that fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortest: Option<ShortestLine>,
}

/// A failing life in its shortest form.
#[derive(Clone, Debug, Serialize)]
pub struct ShortestLine {
    /// The command that plays it.
    pub replay: String,
    /// What happens in it.
    pub what: String,
    /// Lives that were lived to find it.
    pub tries: u32,
}

/// Verdicts and ranges against the truth.
#[derive(Debug, Serialize)]
pub struct TruthLine {
    /// Own verdicts that claimed something.
    pub verdicts: u64,
    /// Those that were false.
    pub false_verdicts: u64,
    /// Trials of what helps nobody.
    pub nulls: u64,
    /// Those of them that ended with "helps".
    pub false_helps: u64,
    /// Whether that is more than the promised error rate and chance explain: then the run has failed.
    pub claims_too_much: bool,
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
    pub fn new(
        outcomes: &[Outcome],
        scenarios: &[Scenario],
        seeds: u64,
        seconds: f64,
        repeats: (u64, bool),
    ) -> Self {
        let (commit, commit_why) = commit();
        let mut faults = Faults::default();
        let mut judged = Judged::default();
        let mut attacks = Attacks::default();
        for outcome in outcomes {
            faults.plus(&outcome.faults);
            judged.plus(outcome.told.judged);
            attacks.plus(&outcome.attacks);
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
            scenarios: scenarios
                .iter()
                .filter_map(|scenario| ScenarioLine::new(scenario, outcomes))
                .collect(),
            node_years: years(node_us),
            node_years_per_s: years(node_us) / seconds.max(1e-3),
            message_faults: faults.of_messages(),
            fault_kinds: faults.kinds().collect(),
            fault_counts: faults.counts(),
            attackers: attacks.counts().keys().copied().collect(),
            attacker_counts: attacks.counts().clone(),
            trace_repeats: repeats.1,
            traces_compared: repeats.0,
            truth: TruthLine {
                verdicts: judged.verdicts,
                false_verdicts: judged.false_verdicts,
                nulls: judged.nulls,
                false_helps: judged.false_helps,
                claims_too_much: judged.claims_too_much(),
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
        self.push_scenarios(&mut lines);
        lines.push(format!(
            "{:.1} node years, {:.2} a second; {} faults of messages; {} kinds of faults, {} of attacks",
            self.node_years,
            self.node_years_per_s,
            self.message_faults,
            self.fault_kinds.len(),
            self.attackers.len(),
        ));
        lines.push(format!(
            "{} of {} trials of what helps nobody ended with \"helps\": {}",
            self.truth.false_helps,
            self.truth.nulls,
            if self.truth.claims_too_much {
                "TOO MANY"
            } else {
                "within the promised error rate"
            },
        ));
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
        let of_scenarios = self.scenarios.iter().flat_map(|it| &it.failures);
        for failure in self
            .stories
            .iter()
            .flat_map(|story| &story.failures)
            .chain(of_scenarios)
        {
            lines.push(format!("FAILED {}\n  {}", failure.what, failure.replay));
            if let Some(shortest) = &failure.shortest {
                lines.push(format!(
                    "  in its shortest form, found with {} lives: {}\n  {}",
                    shortest.tries, shortest.what, shortest.replay
                ));
            }
        }
        lines.join("\n")
    }

    fn push_scenarios(&self, lines: &mut Vec<String>) {
        if self.scenarios.is_empty() {
            return;
        }
        lines.push(format!(
            "\n{:<20} {:>6} {:>7} {:>10} {:>9} {:>8} {:>7} {:>8} {:>9}",
            "scenario",
            "lives",
            "failed",
            "node days",
            "faults",
            "attacks",
            "checks",
            "equal s",
            "B/day"
        ));
        for line in &self.scenarios {
            lines.push(format!(
                "{:<20} {:>6} {:>7} {:>10.1} {:>9} {:>8} {:>7} {:>8} {:>9}",
                line.name,
                line.lives,
                line.failed,
                line.node_days,
                line.message_faults + line.other_faults,
                line.attacks,
                line.checks,
                line.equal_after_ms_max.div_ceil(1_000),
                line.bytes_per_member_day_max
            ));
        }
        for (title, counts) in [
            ("faults", &self.fault_counts),
            ("attacks", &self.attacker_counts),
        ] {
            let words: Vec<String> = counts
                .iter()
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            lines.push(format!("{title}: {}", words.join(", ")));
        }
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

impl ScenarioLine {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^53"
    )]
    fn new(scenario: &Scenario, outcomes: &[Outcome]) -> Option<Self> {
        let lives = outcomes.iter().filter(|o| o.story == scenario.name);
        let lives: Vec<&Outcome> = lives.collect();
        if lives.is_empty() {
            return None;
        }
        let sum = |of: fn(&Outcome) -> u64| lives.iter().map(|outcome| of(outcome)).sum::<u64>();
        let most = |of: fn(&Outcome) -> u64| lives.iter().map(|outcome| of(outcome)).max();
        let failures: Vec<FailureLine> = lives.iter().filter_map(|o| FailureLine::new(o)).collect();
        let message_faults = sum(|outcome| outcome.faults.of_messages());
        Some(Self {
            name: scenario.name.clone(),
            members: scenario.members,
            lives: lives.len() as u64,
            failed: failures.len() as u64,
            node_days: sum(|outcome| outcome.node_us) as f64 / 1e6 / 86_400.0,
            message_faults,
            other_faults: sum(|outcome| outcome.faults.total()) - message_faults,
            attacks: sum(|outcome| outcome.attacks.counts().values().sum()),
            checks: sum(|outcome| outcome.told.checks),
            equal_after_ms_max: most(|outcome| outcome.told.equal_after_ms).unwrap_or_default(),
            bytes_per_member_day_max: most(|outcome| outcome.told.bytes_per_member_day)
                .unwrap_or_default(),
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
            replay: outcome.replay.clone(),
            shortest: outcome.shortest.clone(),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of a run are far below 2^53 thousand"
)]
fn years(node_us: u64) -> f64 {
    node_us as f64 / 1e6 / 86_400.0 / 365.25
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
