//! What a node concludes is held against what is true: no help where there is none, signs that agree, ranges that
//! contain the truth as often as they promise.

use hive_core::pattern::Verdict;
use hive_core::reply::PatternView;

use crate::check::converged;
use crate::net::HostId;
use crate::stories::Failure;
use crate::world::World;

/// How verdicts and ranges compared with the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Own verdicts that claimed something.
    pub verdicts: u64,
    /// Verdicts of "helps" where nothing helps, or of any kind with the wrong sign.
    pub false_verdicts: u64,
    /// Trials of what helps nobody.
    pub nulls: u64,
    /// Those of them that ended with "helps".
    pub false_helps: u64,
    /// Own ranges that were shown.
    pub ranges: u64,
    /// Ranges that contain the true ratio.
    pub covering: u64,
}

/// What counts as an effect: `research/optimizer.md` 5.2.
const MARGIN: f64 = 0.05;

impl Judged {
    /// Takes in another count.
    pub fn plus(&mut self, other: Self) {
        self.verdicts += other.verdicts;
        self.false_verdicts += other.false_verdicts;
        self.nulls += other.nulls;
        self.false_helps += other.false_helps;
        self.ranges += other.ranges;
        self.covering += other.covering;
    }
}

/// How often the core may ever say "helps" of an action that does nothing: its trials run at an error rate of 0.02 for
/// both sides together and halve it at each retest, so all of them together stay below 0.04, and one side below half of it.
const FALSE_HELPS: f64 = 0.02;

/// So many standard deviations are chance: one run in a thousand. A single one is always chance.
const CHANCE: f64 = 3.0;

impl Judged {
    /// Whether more trials of nothing ended with "helps" than the promised error rate and chance explain.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^53"
    )]
    pub fn claims_too_much(&self) -> bool {
        let promised = self.nulls as f64 * FALSE_HELPS;
        let chance = CHANCE * (promised * (1.0 - FALSE_HELPS)).sqrt();
        self.false_helps as f64 > (promised + chance).max(1.0)
    }
}

/// Compares what a machine shows with its truth.
pub fn judge(world: &mut World, host: HostId) -> Result<Judged, Failure> {
    let mut judged = Judged::default();
    for pattern in converged::patterns(world, host)?.patterns {
        let truth = world.host(host).machine.truth;
        let bias = truth.measuring_bias;
        let effect = truth.effect(pattern.action);
        let helps = truth.helps(pattern.action);
        judged.plus(judge_one(&pattern, effect, helps, bias));
    }
    Ok(judged)
}

/// Compares and fails at the first false verdict.
pub fn hold_to_the_truth(world: &mut World, host: HostId) -> Result<Judged, Failure> {
    let judged = judge(world, host)?;
    if judged.false_verdicts > 0 {
        let what = format!("machine {} believes what is not true", host.0);
        return Err(Failure::Correctness(what));
    }
    Ok(judged)
}

fn judge_one(pattern: &PatternView, effect: f64, helps: bool, bias: f64) -> Judged {
    let mut judged = Judged::default();
    judged.nulls += u64::from(!helps && pattern.pairs > 0);
    judged.false_helps += u64::from(!helps && pattern.verdict == Verdict::Helps);
    let claims = match pattern.verdict {
        Verdict::Undecided => None,
        Verdict::Helps => Some(helps),
        Verdict::Harms => Some(effect > 0.0),
        // "No effect" is about the margin; what lies near its edge may be told either way.
        Verdict::NoEffect => Some(effect.abs() < 3.0 * MARGIN),
    };
    if let Some(right) = claims {
        judged.verdicts += 1;
        judged.false_verdicts += u64::from(!right);
    }
    if let Some([low, high]) = pattern.ci {
        judged.ranges += 1;
        let read = (effect + bias).exp();
        judged.covering += u64::from(low <= read && read <= high);
    }
    judged
}
