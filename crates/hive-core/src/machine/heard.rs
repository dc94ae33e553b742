//! What other members say about a pattern, as the hive part tells it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::NodeId;
use crate::pattern::{Evidence, PairStats, PatternDef, Verdict};
use crate::time::Instant;

/// One pattern, as the other members know it. This machine's own evidence is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardPattern {
    /// Its definition.
    pub def: PatternDef,
    /// Each other member's own trials: who, its label, the numbers.
    pub evidence: Vec<(NodeId, String, Evidence)>,
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

    /// All members' trial pairs together: orders what is tried first, decides nothing.
    #[must_use]
    pub fn combined(&self) -> PairStats {
        self.evidence
            .iter()
            .fold(PairStats::default(), |sum, (_, _, evidence)| {
                sum.plus(evidence.trial)
            })
    }
}
