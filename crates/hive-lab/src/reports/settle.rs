//! Watches a machine learn: when its choice stops changing, and how many own pairs that took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hive_mind::Client;
use hive_mind::pattern::{Action, Verdict};
use hive_mind::reply::{PatternState, PatternView};
use serde::Serialize;

use crate::reports::scene::{chosen, has_settled};

/// How often the lab looks: a pair takes 2.4 s.
const LOOK: Duration = Duration::from_millis(100);

/// What was seen while a machine learned.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Learning {
    /// Own pairs, of all actions, when the choice changed for the last time.
    pub pairs_to_settle: u32,
    /// Own pairs, of all actions, at the end.
    pub pairs_in_all: u32,
    /// Seconds until the choice changed for the last time.
    pub settled_after_s: f64,
    /// Seconds watched.
    pub watched_s: f64,
    /// How often the choice changed.
    pub changes: u32,
    /// Whether everything that was begun has its verdict.
    pub concluded: bool,
    /// Ids of what is used at the end.
    pub choice: Vec<String>,
    /// Every state that each pattern was seen in, in order: `action@binding`.
    pub states: BTreeMap<String, Vec<PatternState>>,
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
    let mut seen = Learning::default();
    let mut quiet_since = Instant::now();
    while began.elapsed() < patience.at_most {
        let patterns = client.patterns().await?.patterns;
        let trial = client.status().await?.trial;
        seen.note(&patterns, began.elapsed().as_secs_f64());
        if trial.is_some() || !seen.concluded {
            quiet_since = Instant::now();
        }
        if quiet_since.elapsed() > patience.quiet {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    seen.watched_s = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    Ok(seen)
}

impl Learning {
    fn note(&mut self, patterns: &[PatternView], after_s: f64) {
        let real = patterns
            .iter()
            .filter(|pattern| pattern.action != Action::Placebo);
        self.pairs_in_all = real.map(|pattern| pattern.pairs).sum();
        let choice = chosen(patterns);
        if choice != self.choice {
            self.choice = choice;
            self.changes += 1;
            self.pairs_to_settle = self.pairs_in_all;
            self.settled_after_s = (after_s * 10.0).round() / 10.0;
        }
        self.concluded = has_settled(patterns);
        for pattern in patterns {
            let states = self.states.entry(name(pattern)).or_default();
            if states.last() != Some(&pattern.state) {
                states.push(pattern.state);
            }
            if pattern.state == PatternState::Probation {
                self.probation_at_pairs.get_or_insert(pattern.pairs);
            }
        }
    }
}

/// An action under its mechanism, for people who read reports.
pub fn name(pattern: &PatternView) -> String {
    format!("{}@{:?}", pattern.action.name(), pattern.context.binding).to_lowercase()
}

/// The pattern that a report should speak about: what is used; else what was tried most.
pub fn subject(patterns: &[PatternView]) -> Option<&PatternView> {
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
        .max_by_key(rank)
}
