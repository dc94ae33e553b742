//! Decide: which action, if any, for the contention at hand. It reads; it changes nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::id::PatternId;
use crate::machine::belief;
use crate::machine::choice::{self, Known, Outlook};
use crate::machine::epoch::Epoch;
use crate::machine::facts::{MachineFacts, Rights};
use crate::machine::heard::HeardPattern;
use crate::machine::learn::Ledger;
use crate::machine::leave::{Hold, Leave};
use crate::machine::neighbours::Neighbour;
use crate::machine::observe::Contention;
use crate::machine::trial::{MARGIN_HIGH, MARGIN_LOW, Regime};
use crate::pattern::catalogue::Tier;
use crate::pattern::{Action, Binding, Goal, PatternDef, Side, Verdict};
use crate::reply::PatternState;
use crate::time::{Span, WallTime};

/// A proven action stays on this long before another candidate gets its trial. A guess: the owner has
/// a minute of what was found, and a build of some minutes still sees every candidate tried.
pub const PROVEN_REST: Span = Span::from_secs(60);

/// Linux from which a program's own slice can be set (`sched_setattr(2)`).
const SLICES_SINCE: (u16, u16) = (6, 12);

/// What to do about a contention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    Leave(Leave),
    /// Run this.
    Run(Regime, PatternDef),
}

/// Everything a choice depends on, besides the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// The contention.
    pub contention: &'a Contention,
    /// The machine.
    pub facts: &'a MachineFacts,
    /// The hive's secret, which turns the program's name into its key.
    pub secret: &'a [u8; 32],
    /// What the other members say.
    pub advice: &'a BTreeMap<PatternId, HeardPattern>,
    /// The calendar, for back-offs.
    pub wall: WallTime,
    /// Whether the proven action has been on long enough to try another.
    pub rested: bool,
    /// What is being run now, if anything.
    pub running: Option<PatternId>,
}

impl<'a> Grounds<'a> {
    fn known(&self, ledger: &'a Ledger) -> Known<'a> {
        Known {
            ledger,
            advice: self.advice,
            secret: self.secret,
            today: Epoch::new(self.wall, self.facts.kernel),
        }
    }
}

/// What may be tried in pairs at all: what needs no further yes, does something under this binding, and can be undone.
///
/// Nice and policy do nothing across autogroups, and neither does anything across control groups (all
/// measured, `research/optimizer.md` 4.1), so those are not even tried. A slice says when a job runs, not how much, so it is
/// nothing to a job that is judged by its progress.
#[must_use]
pub fn offered(goal: Goal, binding: Binding, rights: Rights) -> Vec<Action> {
    Action::ALL
        .into_iter()
        .filter(|action| action.tier() == Tier::Auto)
        .filter(|action| match (action, binding) {
            (Action::BackgroundNice | Action::BackgroundIdle, Binding::Task) => rights.nice,
            (Action::AutogroupNice, Binding::Autogroup) => rights.autogroup_nice,
            // It makes the binding where there is none yet.
            (Action::BackgroundWeight, Binding::Task | Binding::Cgroup) => rights.unit_weight,
            (Action::FinerSlice, _) => rights.slice && goal == Goal::Wait,
            _ => false,
        })
        .collect()
}

/// The pattern that an action would be, here and now.
#[must_use]
pub fn pattern(action: Action, contention: &Contention, secret: &[u8; 32]) -> PatternDef {
    PatternDef {
        action,
        workload: contention.name.key(secret),
        role: contention.role,
        context: contention.context,
    }
}

/// The order: the best proven here; then what another member proved in this very context; then what is drawn from what is
/// known of the others. A proven action makes room for a trial now and then.
#[must_use]
pub fn choose(grounds: &Grounds<'_>, ledger: &Ledger) -> Choice {
    let contention = grounds.contention;
    let (goal, binding) = (contention.role.goal(), contention.context.binding);
    let candidates: Vec<PatternDef> = offered(goal, binding, grounds.facts.rights)
        .into_iter()
        .filter(|action| contention.offers(*action))
        .map(|action| pattern(action, contention, grounds.secret))
        .collect();
    if candidates.is_empty() {
        return Choice::Leave(nothing_offered(grounds));
    }
    let mut open = candidates.clone();
    open.retain(|def| is_open(grounds, ledger, def.id()));
    let proven = best_proven(grounds, ledger, &open);
    let next = next_trial(grounds, ledger, &open);
    match (proven, next) {
        (Some(_), Some((regime, def))) if grounds.rested => Choice::Run(regime, def),
        (Some(def), _) => Choice::Run(Regime::Proven, *def),
        (None, Some((regime, def))) => Choice::Run(regime, def),
        (None, None) => Choice::Leave(nothing_left(grounds, ledger, &candidates)),
    }
}

/// Why there is nothing to choose from.
fn nothing_offered(grounds: &Grounds<'_>) -> Leave {
    let contention = grounds.contention;
    let (goal, binding) = (contention.role.goal(), contention.context.binding);
    let offered = offered(goal, binding, grounds.facts.rights);
    let spared = !contention.plain
        && offered
            .iter()
            .any(|action| action.side() == Side::Protected);
    if let Some(neighbour) = claimed(contention, &offered) {
        Leave::Claimed(neighbour)
    } else if spared {
        Leave::Spared
    } else if lacks_rights(grounds) {
        Leave::NoRights(goal, binding)
    } else {
        Leave::NoMeans(goal, binding)
    }
}

/// Why none of these is used, proven or tried now. What would help more than was tried is told before what was tried.
fn nothing_left(grounds: &Grounds<'_>, ledger: &Ledger, candidates: &[PatternDef]) -> Leave {
    let contention = grounds.contention;
    let (goal, binding) = (contention.role.goal(), contention.context.binding);
    let mut holds = candidates
        .iter()
        .filter_map(|def| held_by(grounds, ledger, def.id()));
    let offered = offered(goal, binding, grounds.facts.rights);
    if let Some(hold) = holds.next() {
        Leave::HeldBack(hold)
    } else if let Some(neighbour) = claimed(contention, &offered) {
        Leave::Claimed(neighbour)
    } else if lacks_rights(grounds) {
        Leave::RightsEnd
    } else if candidates.iter().all(|def| was_tried(ledger, def.id())) {
        Leave::TriedInVain
    } else {
        Leave::NotExpected
    }
}

/// Who else sets what one of these would set.
fn claimed(contention: &Contention, actions: &[Action]) -> Option<Neighbour> {
    actions
        .iter()
        .find_map(|action| contention.claimed(*action))
}

/// Whether more could be done here with more rights. A slice that the kernel knows nothing of wants more than rights.
fn lacks_rights(grounds: &Grounds<'_>) -> bool {
    let contention = grounds.contention;
    let (goal, binding) = (contention.role.goal(), contention.context.binding);
    let facts = grounds.facts;
    let every = Rights {
        nice: true,
        autogroup_nice: true,
        slice: facts.rights.slice || facts.kernel >= SLICES_SINCE,
        unit_weight: true,
        advise: true,
    };
    let now = offered(goal, binding, facts.rights);
    offered(goal, binding, every)
        .iter()
        .any(|action| contention.offers(*action) && !now.contains(action))
}

/// The best of what was proven here. What is on stays on unless another one is better by more than the margin below
/// which nobody feels a difference: two that are as good must not take turns.
fn best_proven<'a>(
    grounds: &Grounds<'_>,
    ledger: &Ledger,
    open: &'a [PatternDef],
) -> Option<&'a PatternDef> {
    let proven = || open.iter().filter(|def| is_proven(ledger, def.id()));
    let best = proven().min_by(|a, b| burden(ledger, a).total_cmp(&burden(ledger, b)))?;
    let running = proven().find(|def| Some(def.id()) == grounds.running);
    let as_good =
        |def: &&PatternDef| burden(ledger, def) <= burden(ledger, best) + libm::log(MARGIN_HIGH);
    Some(running.filter(as_good).unwrap_or(best))
}

/// The next one to be proven or not: what was begun, else the best draw. A member's proof comes before what nobody has
/// proven.
fn next_trial(
    grounds: &Grounds<'_>,
    ledger: &Ledger,
    open: &[PatternDef],
) -> Option<(Regime, PatternDef)> {
    let known = grounds.known(ledger);
    let untried = || open.iter().filter(|def| !is_proven(ledger, def.id()));
    let is = |state: PatternState| {
        move |def: &&PatternDef| ledger.get(def.id()).is_some_and(|it| it.state == state)
    };
    let heard = || untried().filter(|def| may_be_on_probation(grounds, ledger, def.id()));
    let on_probation = heard().find(is(PatternState::Probation));
    if let Some(def) = on_probation.or_else(|| best_drawn(&known, heard(), |_, _| true)) {
        return Some((Regime::Probation, *def));
    }
    let begun = untried().find(is(PatternState::Trial));
    let bar = bar(ledger, open);
    let next = begun.or_else(|| {
        best_drawn(&known, untried(), |def, outlook| {
            outlook.draw < bar || !known.is_measured(def.id())
        })
    })?;
    Some((Regime::Trial, *next))
}

/// The one with the best draw of those that may be tried. Of equals the first, in the catalogue's order.
fn best_drawn<'a>(
    known: &Known<'_>,
    candidates: impl Iterator<Item = &'a PatternDef>,
    may: impl Fn(&PatternDef, &Outlook) -> bool,
) -> Option<&'a PatternDef> {
    candidates
        .map(|def| (def, known.outlook(def)))
        .filter(|(def, outlook)| may(def, outlook))
        .min_by(|(_, a), (_, b)| a.draw.total_cmp(&b.draw))
        .map(|(def, _)| def)
}

/// What a trial must be drawn better than, or nothing new is done: what is proven here, else nothing at all, each by as
/// much as somebody feels. What nobody measured yet needs no such draw: its first look is worth a minute. What is proven
/// counts no more than beliefs can hold, or nothing could ever be drawn better than a strong action.
fn bar(ledger: &Ledger, open: &[PatternDef]) -> f64 {
    let proven = open.iter().filter(|def| is_proven(ledger, def.id()));
    let best = proven.map(|def| burden(ledger, def)).fold(0.0, f64::min);
    best.max(-belief::VALUE_MAX) + libm::log(MARGIN_LOW)
}

/// Whether nobody and nothing speaks against using the pattern now.
fn is_open(grounds: &Grounds<'_>, ledger: &Ledger, id: PatternId) -> bool {
    let paused = grounds.advice.get(&id).is_some_and(|heard| heard.paused);
    let backs_off = ledger
        .get(id)
        .is_some_and(|entry| entry.backs_off(grounds.wall));
    !paused && !backs_off
}

/// What keeps a pattern from its use or its trial, if that is something else than its own trial.
fn held_by(grounds: &Grounds<'_>, ledger: &Ledger, id: PatternId) -> Option<Hold> {
    let paused = grounds.advice.get(&id).is_some_and(|heard| heard.paused);
    let rests = ledger
        .get(id)
        .filter(|entry| entry.backs_off(grounds.wall))
        .and_then(|entry| match entry.state {
            PatternState::Undone => Some(Hold::Undone),
            _ if entry.refused.is_some() => Some(Hold::Refused),
            PatternState::Dropped => None,
            _ => Some(Hold::Rests),
        });
    rests.or(paused.then_some(Hold::Paused))
}

/// Whether it had its trial here, which did not find that it helps.
fn was_tried(ledger: &Ledger, id: PatternId) -> bool {
    ledger
        .get(id)
        .is_some_and(|entry| entry.trials > 0 && entry.verdict != Verdict::Helps)
}

/// Proven here; a person's "no" for a day does not unprove it.
fn is_proven(ledger: &Ledger, id: PatternId) -> bool {
    ledger.get(id).is_some_and(|entry| {
        entry.verdict == Verdict::Helps
            && matches!(entry.state, PatternState::Proven | PatternState::Undone)
    })
}

/// Heard with a proof from another member, in exactly this context (the id covers it), and this machine
/// has no verdict of its own. The same role is not enough: it must be the same program.
fn may_be_on_probation(grounds: &Grounds<'_>, ledger: &Ledger, id: PatternId) -> bool {
    let proven = grounds.advice.get(&id).and_then(HeardPattern::proven_by);
    let untouched = ledger.get(id).is_none_or(|entry| {
        entry.trials == 0 && !matches!(entry.state, PatternState::Trial | PatternState::Undone)
    });
    proven.is_some() && untouched
}

/// The burden of a proven action. The hold-outs count as much as the trial, pair by pair: a trial that ended early on
/// lucky pairs is corrected by them.
fn burden(ledger: &Ledger, def: &PatternDef) -> f64 {
    ledger.get(def.id()).map_or(0.0, |entry| {
        let pairs = entry.trial.plus(entry.holdout);
        choice::burden(pairs.mean(), entry.work.loss())
    })
}

#[cfg(test)]
mod tests;
