//! What other members say about a pattern, as the hive part tells it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::NodeId;
use crate::pattern::{Evidence, PairStats, PatternDef, Verdict};
use crate::time::Instant;
use crate::units::LogRatio;

/// One pattern, as the other members know it. This machine's own evidence is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardPattern {
    /// Its definition.
    pub def: PatternDef,
    /// Each other member's own trials: who, its label, the numbers.
    pub evidence: Vec<(NodeId, String, Evidence)>,
    /// What the members' trials say together, as a natural log ratio, where at least two say something.
    pub combined: Option<LogRatio>,
    /// Whether somebody asked that it not be used.
    pub paused: bool,
    /// When this machine first heard of it.
    pub first_seen: Instant,
}

impl HeardPattern {
    /// The label of a member whose own trial says that it helps, if any.
    #[must_use]
    pub fn proven_by(&self) -> Option<&str> {
        self.evidence
            .iter()
            .find(|(_, _, evidence)| evidence.verdict == Verdict::Helps)
            .map(|(_, label, _)| label.as_str())
    }

    /// The best guess at the natural log ratio here: a part of what the next trial is drawn from. It decides nothing. One
    /// machine's many pairs do not outvote the others: that is what [`Self::combined`] is for. Without it one machine at
    /// most has told enough, and its mean is all there is.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        let pooled = || {
            let trials = self.evidence.iter().map(|(_, _, evidence)| evidence.trial);
            trials.fold(PairStats::default(), PairStats::plus).mean()
        };
        self.combined.map_or_else(pooled, LogRatio::ln)
    }
}
