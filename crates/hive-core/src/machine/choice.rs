//! Choose: what is known of an action here before it is tried, and today's draw from that. It reads; it changes nothing.
//!
//! The draw orders what is tried. Whether an effect is true is decided by own pairs alone (`trial`, `discovery`).

use alloc::collections::BTreeMap;

use crate::chance::Chance;
use crate::id::PatternId;
use crate::machine::belief::{Expectation, Place, Sums};
use crate::machine::epoch::Epoch;
use crate::machine::heard::HeardPattern;
use crate::machine::learn::{Entry, Ledger};
use crate::machine::trial::LOSS_MAX;
use crate::pattern::{Action, Binding, Context, Cores, Goal, PatternDef, WorkloadType};

/// What the background's loss weighs against the gain, both as logarithms: a taste (`research/optimizer.md` 6.2, 7.5).
const LOSS_WEIGHT: f64 = 0.15;

/// A background is counted as keeping at least this much, or the logarithm of nothing would decide. A guess.
const LEAST_KEPT: f64 = 0.01;

/// What a pair counts that was measured elsewhere: on another machine, or here under another kernel
/// (`research/optimizer.md` 7.6).
const ELSEWHERE_WEIGHT: f64 = 0.3;

/// Pairs that what was measured elsewhere is worth at most, be they a thousand (`research/optimizer.md` 7.6).
const ELSEWHERE_PAIRS_MAX: f64 = 10.0;

/// What is known today.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// This machine's own pairs.
    pub ledger: &'a Ledger,
    /// The hive's.
    pub advice: &'a BTreeMap<PatternId, HeardPattern>,
    /// The hive's secret: nobody outside can tell what is drawn.
    pub secret: &'a [u8; 32],
    /// The day and the kernel.
    pub today: Epoch,
}

/// What is expected of a pattern, from what, and what was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// The natural logarithm of the wait's ratio, with what it takes from the background ([`burden`]).
    pub expected: Expectation,
    /// Today's draw of it.
    pub draw: f64,
    /// Pairs of this machine's own behind it, by their weight.
    pub own: f64,
    /// What the hive's pairs are worth in it.
    pub hive: f64,
    /// What the catalogue's pairs are worth in it.
    pub catalogue: f64,
}

/// What is left of the wait, as a natural log ratio, and what that takes from the background: the least is the best.
#[must_use]
pub fn burden(wait: f64, loss: f64) -> f64 {
    let kept = (1.0 - loss).max(LEAST_KEPT);
    wait - LOSS_WEIGHT * libm::log(kept)
}

/// The same for what is not in use yet: a gain that would be refused for its cost is none.
fn prospect(wait: f64, loss: f64) -> f64 {
    let burden = burden(wait, loss);
    if loss > LOSS_MAX {
        burden.max(0.0)
    } else {
        burden
    }
}

/// What was measured of an action before there was any hive: a natural log ratio with its cost, and pairs.
///
/// Nice, alone and in longer windows: 0.40 for 17 % and 0.56 for 49 % of the background's work, 14 and 5 pairs.
/// `SCHED_IDLE`: 0.30 for 61 % in 14 pairs, which is too much to be kept. A finer slice: no job was done sooner in 20
/// pairs, whatever its threads waited (all `research/optimizer.md`, 4.1 and its correction). Autogroup nice: 0.22 in ten
/// alternations (README, off stage), counted as much as a mean may count. Of a unit's weight nothing is known.
fn catalogue(action: Action, binding: Binding) -> Option<(f64, f64)> {
    let of = |wait: f64, loss: f64, pairs: f64| (prospect(libm::log(wait), loss), pairs);
    match (action, binding) {
        (Action::BackgroundNice, Binding::Task) => {
            let (one, other) = (of(0.40, 0.17, 14.0), of(0.56, 0.49, 5.0));
            let pairs = one.1 + other.1;
            Some(((one.0 * one.1 + other.0 * other.1) / pairs, pairs))
        }
        (Action::BackgroundIdle, Binding::Task) => Some(of(0.30, 0.61, 14.0)),
        (Action::AutogroupNice, Binding::Autogroup) => Some(of(0.22, 0.0, 10.0)),
        (Action::FinerSlice, _) => Some(of(1.0, 0.0, 20.0)),
        _ => None,
    }
}

impl Known<'_> {
    /// What is expected of a pattern, and today's draw.
    #[must_use]
    pub fn outlook(&self, def: &PatternDef) -> Outlook {
        let (own, hive, catalogue) = (self.own(def), self.hive(def), from_catalogue(def));
        let here = Place {
            context: def.context,
            same_program: true,
        };
        let expected = own.plus(&hive).plus(&catalogue).expects(here);
        Outlook {
            expected,
            draw: expected.draw(&mut self.chance(def)),
            own: own.pairs,
            hive: hive.pairs,
            catalogue: catalogue.pairs,
        }
    }

    /// Whether anybody measured this very pattern: this machine, or a member under the same mechanism.
    #[must_use]
    pub fn is_measured(&self, id: PatternId) -> bool {
        let here = self
            .ledger
            .get(id)
            .is_some_and(|entry| entry.trials > 0 || entry.trial.pairs > 0);
        here || self.advice.get(&id).is_some_and(|heard| pairs(heard) > 0.0)
    }

    /// Own pairs of this action between these roles: of today's kernel in full, less as they grow old; those of another
    /// kernel as if from another machine.
    fn own(&self, def: &PatternDef) -> Sums {
        let (mut sums, mut of_another_kernel) = (Sums::default(), Sums::default());
        for (_, entry) in self.ledger.entries() {
            let (mean, pairs) = own_pairs(entry);
            if !is_akin(&entry.def, def) || pairs <= 0.0 {
                continue;
            }
            let place = place(&entry.def, def);
            let taken = entry.taken;
            let fresh = taken.map_or(1.0, |taken| taken.freshness(self.today));
            if taken.is_some_and(|taken| taken.kernel == self.today.kernel) {
                sums.add(place, pairs * fresh, mean);
            } else {
                of_another_kernel.add(place, ELSEWHERE_WEIGHT * pairs * fresh, mean);
            }
        }
        sums.plus(&of_another_kernel.at_most(ELSEWHERE_PAIRS_MAX))
    }

    /// What the members' pairs of this very pattern are worth, and those of all that is akin to it.
    fn hive(&self, def: &PatternDef) -> Sums {
        let (mut same, mut akin) = (Sums::default(), Sums::default());
        let id = def.id();
        for heard in self.advice.values() {
            if !is_akin(&heard.def, def) {
                continue;
            }
            let sums = if heard.def.id() == id {
                &mut same
            } else {
                &mut akin
            };
            let value = prospect(heard.estimate(), loss(heard));
            sums.add(
                place(&heard.def, def),
                ELSEWHERE_WEIGHT * pairs(heard),
                value,
            );
        }
        let most = ELSEWHERE_PAIRS_MAX;
        same.at_most(most).plus(&akin.at_most(most))
    }

    /// Chance for one pattern's draw: the same as long as the day is, and what was concluded of it here and elsewhere.
    /// Pairs that come in meanwhile move the draw with the belief; they do not cast it anew.
    fn chance(&self, def: &PatternDef) -> Chance {
        let id = def.id();
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/choice");
        hasher.update(self.secret);
        hasher.update(&self.today.day.to_le_bytes());
        hasher.update(&id.0);
        let trials = self.ledger.get(id).map_or(0, |entry| entry.trials);
        hasher.update(&trials.to_le_bytes());
        let heard = self.advice.get(&id);
        for (member, _, evidence) in heard.into_iter().flat_map(|heard| &heard.evidence) {
            hasher.update(&member.0);
            hasher.update(&[evidence.verdict as u8]);
        }
        Chance::from_seed(*hasher.finalize().as_bytes())
    }
}

/// Whether both are the same action between the same roles.
fn is_akin(one: &PatternDef, other: &PatternDef) -> bool {
    let roles =
        |def: &PatternDef| -> (WorkloadType, WorkloadType) { (def.role, def.context.background) };
    one.action == other.action && roles(one) == roles(other)
}

/// Where pairs of one pattern were taken, seen from another.
fn place(taken: &PatternDef, wanted: &PatternDef) -> Place {
    Place {
        context: taken.context,
        same_program: taken.workload == wanted.workload,
    }
}

/// What the latest trial and the hold-outs after it say, and how many pairs they are.
fn own_pairs(entry: &Entry) -> (f64, f64) {
    let pairs = entry.trial.plus(entry.holdout);
    (
        prospect(pairs.mean(), entry.work.loss()),
        f64::from(pairs.pairs),
    )
}

/// Pairs that members took of a pattern.
fn pairs(heard: &HeardPattern) -> f64 {
    let all = heard.evidence.iter();
    all.map(|(_, _, evidence)| f64::from(evidence.trial.pairs))
        .sum()
}

/// The mean share of its work that members' backgrounds lost.
fn loss(heard: &HeardPattern) -> f64 {
    let all = heard.evidence.iter();
    let lost: f64 = all
        .map(|(_, _, evidence)| evidence.background_loss.share() * f64::from(evidence.trial.pairs))
        .sum();
    lost / pairs(heard).max(1.0)
}

/// What the catalogue says of an action, under the same binding on a small machine with custom slices. It was measured for
/// programs that wait: of a job that is judged by its progress it says nothing.
fn from_catalogue(def: &PatternDef) -> Sums {
    let mut sums = Sums::default();
    let told = (def.role.goal() == Goal::Wait)
        .then(|| catalogue(def.action, def.context.binding))
        .flatten();
    if let Some((mean, pairs)) = told {
        let there = Place {
            context: Context {
                cores: Cores::Few,
                eevdf_slices: true,
                ..def.context
            },
            same_program: false,
        };
        sums.add(there, ELSEWHERE_WEIGHT * pairs, mean);
    }
    sums.at_most(ELSEWHERE_PAIRS_MAX)
}
