//! Watches a machine learn: when its choice stops changing, and how many own pairs that took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use hive_mind::Client;
use hive_mind::pattern::{Action, Binding, Verdict};
use hive_mind::reply::{PatternState, PatternView};
use serde::Serialize;

use crate::reports::scene::{has_settled, is_used};

/// How often the lab looks: a pair takes 2.4 s.
const LOOK: Duration = Duration::from_millis(100);

/// What was seen while a machine learned.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Learning {
    /// Own pairs, of all actions, when the choice changed for the last time.
    pub pairs_to_settle: u32,
    /// Own pairs, of all actions, at the end.
    pub pairs_in_all: u32,
    /// Own pairs from earlier scenes; they are left out of the other numbers.
    pub pairs_before: u32,
    /// Seconds until the choice changed for the last time.
    pub settled_after_s: f64,
    /// Seconds watched.
    pub watched_s: f64,
    /// How often the choice changed.
    pub changes: u32,
    /// Whether everything that was begun has its verdict.
    pub concluded: bool,
    /// What is used at the end, `action@binding`: the same action for two workloads is one choice.
    pub choice: BTreeSet<String>,
    /// How long each action, `action@binding`, was seen in each state, in seconds; for two workloads both count.
    pub seconds_in: BTreeMap<String, BTreeMap<String, f64>>,
    /// Whether probation was seen, and how many own pairs there were then.
    pub probation_at_pairs: Option<u32>,
}

/// When to stop watching.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// At the latest.
    pub at_most: Duration,
    /// When everything has had its verdict, and no trial was running, for this long.
    pub quiet: Duration,
}

/// Watches until the machine is done or patience ends.
pub async fn watch(client: &Client, patience: Patience) -> Result<Learning> {
    let began = Instant::now();
    let mut seen = Learning {
        pairs_before: own_pairs(&client.patterns().await?.patterns),
        ..Learning::default()
    };
    let mut quiet_since = Instant::now();
    let mut looked = Instant::now();
    while began.elapsed() < patience.at_most {
        let patterns = client.patterns().await?.patterns;
        let trial = client.status().await?.trial;
        let passed_s = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        seen.note(&patterns, began.elapsed().as_secs_f64(), passed_s);
        if trial.is_some() || !seen.concluded {
            quiet_since = Instant::now();
        }
        if quiet_since.elapsed() > patience.quiet {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    for seconds in seen.seconds_in.values_mut().flat_map(BTreeMap::values_mut) {
        *seconds = (*seconds * 10.0).round() / 10.0;
    }
    seen.watched_s = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(seen)
}

impl Learning {
    fn note(&mut self, patterns: &[PatternView], after_s: f64, passed_s: f64) {
        self.pairs_in_all = own_pairs(patterns).saturating_sub(self.pairs_before);
        let used = patterns.iter().filter(|pattern| is_used(pattern));
        let choice: BTreeSet<String> = used.map(name).collect();
        if choice != self.choice {
            self.choice = choice;
            self.changes += 1;
            self.pairs_to_settle = self.pairs_in_all;
            self.settled_after_s = (after_s * 10.0).round() / 10.0;
        }
        self.concluded = has_settled(patterns);
        for pattern in patterns {
            let state = format!("{:?}", pattern.state).to_lowercase();
            let seconds = self.seconds_in.entry(name(pattern)).or_default();
            *seconds.entry(state).or_default() += passed_s;
            if pattern.state == PatternState::Probation {
                self.probation_at_pairs.get_or_insert(pattern.pairs);
            }
        }
    }
}

fn own_pairs(patterns: &[PatternView]) -> u32 {
    let real = patterns
        .iter()
        .filter(|pattern| pattern.action != Action::Placebo);
    real.map(|pattern| pattern.pairs).sum()
}

/// An action under its mechanism, for people who read reports.
pub fn name(pattern: &PatternView) -> String {
    format!("{}@{:?}", pattern.action.name(), pattern.context.binding).to_lowercase()
}

/// The pattern that a report should speak about, among those of one mechanism: what is used; else what was
/// tried most.
pub fn subject(patterns: &[PatternView], binding: Binding) -> Option<&PatternView> {
    let rank = |pattern: &&PatternView| {
        let used = match pattern.state {
            PatternState::Proven => 3,
            PatternState::Probation => 2,
            _ => u32::from(pattern.verdict != Verdict::Undecided),
        };
        (used, pattern.pairs)
    };
    patterns
        .iter()
        .filter(|pattern| pattern.action != Action::Placebo)
        .filter(|pattern| pattern.context.binding == binding)
        .max_by_key(rank)
}
