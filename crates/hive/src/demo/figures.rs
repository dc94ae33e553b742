//! What the demo measured, as `FIGURES.md` promises it: `null` with a `why` where nothing was measured.

use std::collections::BTreeMap;
use std::time::Instant;

use hive_mind::pattern::Verdict;
use hive_mind::reply::{PatternState, PatternView};
use serde::Serialize;

/// Everything, in the order in which it is printed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) commit: &'static str,
    pub(crate) machine: Machine,
    pub(crate) seconds: f64,
    /// Every step ran, an undo that was shown did undo, and everything was cleaned up.
    pub(crate) ok: bool,
    pub(crate) discovery_ms: Option<f64>,
    pub(crate) join_ms: Option<f64>,
    pub(crate) pattern: Option<Proof>,
    pub(crate) synced_ms: Option<f64>,
    pub(crate) second: Option<Proof>,
    /// From the beginning of the work on the second machine until the pattern was on there.
    pub(crate) probation_on_s: Option<f64>,
    pub(crate) undo_restored: Option<bool>,
    pub(crate) clean: bool,
    /// What could not be shown with the rights and tools at hand.
    pub(crate) missing: Vec<String>,
    pub(crate) steps: Vec<Step>,
    /// Why a figure is `null`.
    pub(crate) why: BTreeMap<&'static str, String>,
}

/// Where it was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) root: bool,
    /// "namespaces" or "loopback".
    pub(crate) network: &'static str,
}

/// One machine's own result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Proof {
    pub(crate) action: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) state: PatternState,
    pub(crate) wait_ratio: Option<f64>,
    pub(crate) ci: Option<[f64; 2]>,
    pub(crate) pairs: u32,
    pub(crate) background_loss: Option<f64>,
    /// Seconds of contention from the first one to the verdict.
    pub(crate) contention_s: Option<f64>,
}

/// One step and how long it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) ms: f64,
}

/// The commit this program was built from, where the build could tell.
pub(crate) const COMMIT: &str = match option_env!("HIVE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

impl Figures {
    /// Nothing measured yet, on this machine.
    pub(crate) fn here() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            commit: COMMIT,
            machine: Machine {
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                kernel: kernel.trim().to_owned(),
                root: rustix::process::geteuid().is_root(),
                network: "loopback",
            },
            ..Self::default()
        }
    }

    /// Runs a step and notes how long it took.
    pub(crate) fn step<T>(&mut self, name: &'static str, play: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = play();
        self.note(name, began);
        result
    }

    /// Notes a step that began then and ends now.
    pub(crate) fn note(&mut self, name: &'static str, began: Instant) {
        let ms = (began.elapsed().as_secs_f64() * 100_000.0).round() / 100.0;
        self.steps.push(Step { name, ms });
    }

    /// Gives every figure that stayed `null` a reason.
    pub(crate) fn explain(&mut self, otherwise: &str) {
        let nulls = [
            ("discovery_ms", self.discovery_ms.is_none()),
            ("join_ms", self.join_ms.is_none()),
            ("pattern", self.pattern.is_none()),
            ("synced_ms", self.synced_ms.is_none()),
            ("second", self.second.is_none()),
            ("probation_on_s", self.probation_on_s.is_none()),
            ("undo_restored", self.undo_restored.is_none()),
        ];
        for (name, _) in nulls.into_iter().filter(|(_, null)| *null) {
            self.why.entry(name).or_insert_with(|| otherwise.to_owned());
        }
    }
}

impl Proof {
    /// What a machine says of one of its patterns.
    pub(crate) fn of(pattern: &PatternView) -> Self {
        Self {
            action: pattern.action.name(),
            verdict: pattern.verdict,
            state: pattern.state,
            wait_ratio: pattern.wait_ratio,
            ci: pattern
                .ci
                .filter(|ends| ends.iter().all(|end| end.is_finite())),
            pairs: pattern.pairs,
            background_loss: pattern.background_loss,
            contention_s: pattern.contention_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_every_promised_key_and_a_reason_for_each_null() {
        let mut figures = Figures::here();
        figures.join_ms = Some(1.5);
        figures.explain("the demo was interrupted");
        let text = crate::render::json("hive.demo/1", &figures).expect("plain data");
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        for key in [
            "schema",
            "commit",
            "machine",
            "seconds",
            "ok",
            "discovery_ms",
            "join_ms",
            "pattern",
            "synced_ms",
            "second",
            "undo_restored",
            "clean",
            "missing",
            "steps",
        ] {
            assert!(value.get(key).is_some(), "{key} is missing");
            if value[key].is_null() {
                assert_eq!(value["why"][key], "the demo was interrupted");
            }
        }
        assert!(value["why"].get("join_ms").is_none());
    }
}
