//! What will befall a life, drawn before it begins: one stream of chance for each kind and member.

use std::collections::BTreeMap;

use super::{Scenario, Trouble, Unit};
use crate::dice::Dice;
use crate::queue::Moment;

/// Something planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A member publishes a result.
    Share(usize),
    /// Trouble of a kind for a member.
    Trouble(Trouble, usize),
    /// The paths between two members are open again.
    Open(usize, usize),
    /// The paths between two members are shut again: they flap.
    Shut(usize, usize),
    /// All paths are open again.
    OpenAll,
    /// A calendar that was wrong by a year is right again.
    SetClock(usize, i64),
    /// A person's build begins or ends.
    Build(usize, bool),
    /// A stranger comes by.
    Visit,
    /// A liar is removed.
    Remove(usize),
    /// All is healed and everything is checked.
    Check,
}

/// What is planned, in order of time; of two things at one moment the one planned first comes first.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    deeds: BTreeMap<(Moment, u64), Deed>,
    planned: u64,
}

const HOUR_US: u64 = 3_600_000_000;

/// Thirty days.
const MONTH_US: u64 = 30 * 24 * HOUR_US;

/// Builds of a person in 30 days: some on every day. A guess.
const BUILDS_PER_MONTH: u64 = 90;

impl Agenda {
    /// Everything that chance has for this life.
    pub(super) fn draw(scenario: &Scenario, seed: u64, begins: Moment) -> Self {
        let mut agenda = Self::default();
        let ends = begins.after(scenario.hours * HOUR_US);
        let members = usize::try_from(scenario.members).unwrap_or(usize::MAX);
        for nth in 0..members {
            for (trouble, rate) in &scenario.troubles {
                if trouble.unit() == Unit::PerMonth {
                    let mut dice = Dice::new(seed, &format!("{}/{nth}", trouble.name()));
                    let at = times(&mut dice, *rate, begins, ends);
                    agenda.plan_all(at, Deed::Trouble(*trouble, nth));
                }
            }
            let mut dice = Dice::new(seed, &format!("results/{nth}"));
            let at = times(&mut dice, scenario.results_per_month, begins, ends);
            agenda.plan_all(at, Deed::Share(nth));
        }
        let watching = usize::try_from(scenario.watching).unwrap_or(members);
        for nth in members.saturating_sub(watching)..members {
            let mut dice = Dice::new(seed, &format!("builds/{nth}"));
            for at in times(&mut dice, BUILDS_PER_MONTH, begins, ends) {
                agenda.plan(at, Deed::Build(nth, true));
                let lasts = dice.between(60_000_000, 900_000_000);
                agenda.plan(at.after(lasts), Deed::Build(nth, false));
            }
        }
        if scenario.attackers.strangers > 0 {
            let rate = scenario.attackers.visits_per_month;
            let at = times(&mut Dice::new(seed, "visits"), rate, begins, ends);
            agenda.plan_all(at, Deed::Visit);
        }
        for nth in 0..usize::try_from(scenario.attackers.removed).unwrap_or(0) {
            agenda.plan(
                begins.after(scenario.hours * HOUR_US / 2),
                Deed::Remove(nth),
            );
        }
        let mut at = begins.after(scenario.check_every_hours * HOUR_US);
        while at < ends {
            agenda.plan(at, Deed::Check);
            at = at.after(scenario.check_every_hours * HOUR_US);
        }
        agenda.plan(ends, Deed::Check);
        agenda
    }

    pub(super) fn plan(&mut self, at: Moment, deed: Deed) {
        self.planned += 1;
        self.deeds.insert((at, self.planned), deed);
    }

    fn plan_all(&mut self, at: Vec<Moment>, deed: Deed) {
        for at in at {
            self.plan(at, deed);
        }
    }

    /// The next thing.
    pub(super) fn take(&mut self) -> Option<(Moment, Deed)> {
        self.deeds.pop_first().map(|((at, _), deed)| (at, deed))
    }

    /// The healing that is planned happens now, in the order of its time; nothing is left to open later.
    pub(super) fn take_healing(&mut self) -> Vec<Deed> {
        let heals = |deed: &Deed| {
            matches!(
                deed,
                Deed::Open(..) | Deed::Shut(..) | Deed::OpenAll | Deed::SetClock(..)
            )
        };
        let taken: Vec<Deed> = self
            .deeds
            .values()
            .filter(|deed| heals(deed))
            .copied()
            .collect();
        self.deeds.retain(|_, deed| !heals(deed));
        taken
    }
}

/// Moments of a Poisson process with so many in 30 days.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds of a life, far below 2^53"
)]
fn times(dice: &mut Dice, per_month: u64, begins: Moment, ends: Moment) -> Vec<Moment> {
    let mut times = Vec::new();
    if per_month == 0 {
        return times;
    }
    let mean = MONTH_US as f64 / per_month as f64;
    let mut at = begins;
    loop {
        at = at.after(1 + (-(1.0 - dice.unit()).ln() * mean) as u64);
        if at >= ends {
            return times;
        }
        times.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_rate() {
        let ends = Moment(MONTH_US * 100);
        let drawn = times(&mut Dice::new(1, "x"), 50, Moment(0), ends).len();
        assert!((4_700..5_300).contains(&drawn), "{drawn}");
    }
}
