//! Machines with many programs and many useless actions, whose truth is known: what share of what they use is false, and
//! do the published ranges hold the truth?

use std::collections::BTreeMap;

use hive_core::machine::facts::Rights;
use hive_core::pattern::{Action, Verdict};
use hive_core::reply::{PatternState, PatternView};
use serde::Serialize;

use super::drive;
use super::made::Made;
use super::stage::{self, Stage};
use crate::stats::Dice;

/// Of so many actions one does something.
const ONE_WORKS_IN: usize = 10;

/// What an action that works does, in ratios that were measured (`research/optimizer.md` 4.1).
const RATIOS: [f64; 9] = [0.37, 0.40, 0.56, 0.60, 0.65, 0.75, 0.78, 0.83, 0.90];

/// A program that has everything tried sooner is left sooner.
const PROGRAM_S: u64 = 1_200;

/// How long what was found stays in use before the next program comes: hold-out pairs need that.
const USE_S: u64 = 120;

/// Days between two rounds: longer than the first back-off.
const DAY_US: u64 = 25 * 3_600 * 1_000_000;

/// What is tried.
const ACTIONS: [Action; 2] = [Action::BackgroundNice, Action::FinerSlice];

/// How large the world is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Machines.
    pub machines: u64,
    /// Programs on each.
    pub programs: u32,
    /// How often every program comes to the front, a day apart.
    pub rounds: u32,
    /// Where it all comes from.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Found {
    /// Machines.
    pub machines: u64,
    /// Trials that ended, retests included.
    pub trials: u64,
    /// Patterns in use at the end.
    pub active: u64,
    /// Of these, without any gain.
    pub false_active: u64,
    /// Share of them.
    pub false_share: f64,
    /// The mean over machines of each one's own share: what the control promises to hold.
    pub false_share_per_machine: f64,
    /// Share of the patterns in use whose published range holds the truth.
    pub coverage: f64,
    /// Actions that work.
    pub working: u64,
    /// Of these, in use.
    pub working_in_use: u64,
    /// Actions that work and are said to harm.
    pub working_said_to_harm: u64,
    /// Useless actions that are said to harm.
    pub useless_said_to_harm: u64,
}

/// Lets the world live.
pub fn run(size: Size) -> Found {
    let mut found = Found {
        machines: size.machines,
        ..Found::default()
    };
    let (mut shares, mut covered) = (0.0, 0_u64);
    for number in 0..size.machines {
        let known = life(size, number);
        let in_use = |(view, _): &&(PatternView, f64)| {
            view.state == PatternState::Proven && view.verdict == Verdict::Helps
        };
        let active: Vec<_> = known.iter().filter(in_use).collect();
        let wrong = active.iter().filter(|(_, truth)| *truth >= 0.0).count();
        let holds = |(view, truth): &&&(PatternView, f64)| {
            let ratio = truth.exp();
            view.ci
                .is_none_or(|[low, high]| (low..=high).contains(&ratio))
        };
        covered += active.iter().filter(holds).count() as u64;
        shares += share(wrong as u64, active.len() as u64);
        found.active += active.len() as u64;
        found.false_active += wrong as u64;
        for (view, truth) in &known {
            let works = *truth < 0.0;
            let harms = view.verdict == Verdict::Harms;
            found.working += u64::from(works);
            found.working_said_to_harm += u64::from(works && harms);
            found.useless_said_to_harm += u64::from(!works && harms);
            found.trials += u64::from(view.contention_s.is_some());
        }
    }
    found.working_in_use = found.active - found.false_active;
    found.false_share = share(found.false_active, found.active);
    found.false_share_per_machine = share_of(shares, size.machines);
    found.coverage = share(covered, found.active);
    found
}

/// One machine's life: its patterns at the end and the truth of each.
fn life(size: Size, number: u64) -> Vec<(PatternView, f64)> {
    let mut dice = Dice::new(size.seed.wrapping_mul(1_000_003).wrapping_add(number));
    let spread = 0.1 + 0.3 * Made::unit(&mut dice);
    let wander = 0.3 * Made::unit(&mut dice);
    let source = Made::new(dice.next_u64(), spread, wander);
    let mut stage = Stage::new(source, BTreeMap::new());
    let truths: Vec<BTreeMap<Action, f64>> = (0..size.programs).map(|_| truth(&mut dice)).collect();
    let rights = Rights {
        nice: true,
        autogroup_nice: false,
        slice: true,
        advise: false,
        unit_weight: false,
    };
    let now = drive::Body::now(&stage);
    let mut machine = drive::machine(&stage::facts(), rights, &[], dice.next_u64(), now);
    let mut owner: BTreeMap<String, f64> = BTreeMap::new();
    for round in 0..size.rounds {
        if round > 0 {
            stage.sleep(DAY_US);
        }
        for (program, truth) in (0..).zip(&truths) {
            stage.bring(format!("program{program}"), program + round * size.programs);
            stage.truth.clone_from(truth);
            stage.run(&mut machine, PROGRAM_S, |machine, now| {
                let running = machine.patterns(now).patterns;
                let of_this = running.iter().filter(|view| !owner.contains_key(&view.id));
                let settled = of_this.filter(|view| drive::end_of(view).is_some()).count();
                // In a later round nobody is new; whoever has nothing left to try is left after its time of use.
                round == 0 && settled == ACTIONS.len()
            });
            stage.run(&mut machine, USE_S, |_, _| false);
            for view in machine.patterns(drive::Body::now(&stage)).patterns {
                let effect = truth.get(&view.action).copied().unwrap_or(0.0);
                owner.entry(view.id).or_insert(effect);
            }
        }
    }
    let now = drive::Body::now(&stage);
    let all = machine.patterns(now).patterns.into_iter();
    all.map(|view| {
        let truth = owner.get(&view.id).copied().unwrap_or(0.0);
        (view, truth)
    })
    .collect()
}

/// What the actions do for one program.
fn truth(dice: &mut Dice) -> BTreeMap<Action, f64> {
    let mut effect = || {
        let works = dice.below(ONE_WORKS_IN) == 0;
        let ratio = RATIOS[dice.below(RATIOS.len())];
        if works { ratio.ln() } else { 0.0 }
    };
    ACTIONS.map(|action| (action, effect())).into()
}

/// A share; zero of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of trials")]
    let part = part as f64;
    share_of(part, whole)
}

fn share_of(part: f64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of machines")]
    let whole = whole.max(1) as f64;
    part / whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_of_what_a_small_world_uses_is_false_and_its_ranges_hold() {
        let size = Size {
            machines: 6,
            programs: 15,
            rounds: 1,
            seed: 3,
        };
        let found = run(size);
        assert!(found.trials >= 150 && found.active >= 8, "{found:?}");
        assert!(
            found.false_share <= 0.05 && found.coverage >= 0.93,
            "{found:?}"
        );
        assert_eq!(found, run(size), "a seed is a world");
    }
}
