//! Entries for the hive's maps, made by the lab: said on one machine, awaited on the others.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hive_mind::Client;
use hive_mind::pattern::{
    Action, Binding, Context as Mechanism, Cores, Evidence, PairStats, PatternDef, Verdict,
    WorkloadType,
};
use serde_json::json;

use crate::stats::Dice;

/// An entry that one machine said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Which of the machines.
    pub author: usize,
    /// The pattern's id.
    pub id: String,
    /// Boot clock, microseconds.
    pub at_us: u64,
}

impl Said {
    /// Milliseconds until another machine knew it.
    pub fn ms_until(&self, known_at_us: u64) -> f64 {
        let us = i64::try_from(known_at_us).unwrap_or(i64::MAX)
            - i64::try_from(self.at_us).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
        let ms = us as f64 / 1_000.0;
        ms
    }
}

/// Says something new: evidence for a pattern of a workload that no machine runs.
pub async fn say(client: &Client, author: usize, dice: &mut Dice) -> Result<Said> {
    let def = something_new(dice)?;
    tell(client, author, &def, 0).await
}

/// A pattern of a workload that no machine runs.
pub fn something_new(dice: &mut Dice) -> Result<PatternDef> {
    let key: Vec<u8> = (0..2).flat_map(|_| dice.next_u64().to_le_bytes()).collect();
    Ok(PatternDef {
        action: Action::BackgroundNice,
        workload: serde_json::from_value(json!(key))?,
        role: WorkloadType::Interactive,
        context: Mechanism {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        },
    })
}

/// Says the numbers of a pattern, other ones for each `round`.
pub async fn tell(client: &Client, author: usize, def: &PatternDef, round: u32) -> Result<Said> {
    let shared = client
        .share(def, &evidence(round)?)
        .await
        .context("a new entry was refused")?;
    Ok(Said {
        author,
        id: shared.id,
        at_us: shared.said_at_us,
    })
}

/// When a machine first knew each pattern that it knows.
pub async fn known(client: &Client) -> Result<BTreeMap<String, u64>> {
    let patterns = client.patterns().await?.patterns;
    Ok(patterns
        .into_iter()
        .map(|pattern| (pattern.id, pattern.known_at_us))
        .collect())
}

/// Numbers of a trial that helped, other ones for each `round`.
pub fn evidence(round: u32) -> Result<Evidence> {
    let mut trial = PairStats::default();
    for value in [-0.5, -0.6, -0.4, -0.5, -0.55, -0.45, -0.5, -0.5] {
        trial.add(value);
    }
    for _ in 0..round {
        trial.add(-0.5);
    }
    Ok(Evidence {
        verdict: Verdict::Helps,
        trial,
        low: serde_json::from_value(json!(-700_000))?,
        high: serde_json::from_value(json!(-300_000))?,
        ..Evidence::default()
    })
}
