//! The shortest life that still fails: shorter, with fewer members, and without every kind of trouble that it fails
//! without as well.

use std::collections::BTreeSet;

use super::{Cut, Scenario};
use crate::stories::{Failure, Outcome};

/// Lives that shrinking may cost. The shipped scenarios have up to 55 parts; halving leaves most of these out at once.
const TRIES_MAX: u32 = 120;

/// A failing life, made smaller.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What is left out.
    pub cut: Cut,
    /// How it ended in its smallest form.
    pub outcome: Outcome,
    /// Lives that were lived to find it.
    pub tries: u32,
}

/// Tries cuts as long as one is left to try, and keeps those that fail in the same way.
struct Shrinker<'a, L: FnMut(&Cut) -> Option<Outcome>> {
    live: L,
    scenario: &'a Scenario,
    best: Shrunk,
}

/// Makes a failing life smaller. `live` lives it with a cut, or not when there is no more time for it; `outcome` is how
/// it ended with `cut`.
pub fn shrink(
    scenario: &Scenario,
    cut: &Cut,
    outcome: Outcome,
    live: impl FnMut(&Cut) -> Option<Outcome>,
) -> Shrunk {
    let best = Shrunk {
        cut: cut.clone(),
        outcome,
        tries: 0,
    };
    let mut shrinker = Shrinker {
        live,
        scenario,
        best,
    };
    shrinker.shorten();
    shrinker.leave_out();
    shrinker.lose_members();
    shrinker.shorten();
    shrinker.leave_out();
    shrinker.best
}

impl<L: FnMut(&Cut) -> Option<Outcome>> Shrinker<'_, L> {
    /// Whether a life with this cut fails in the same way; if so, it is the best so far.
    fn fails(&mut self, cut: Cut) -> bool {
        if self.best.tries >= TRIES_MAX || cut == self.best.cut {
            return false;
        }
        let Some(outcome) = (self.live)(&cut) else {
            return false;
        };
        self.best.tries += 1;
        let same = alike(self.best.outcome.failure.as_ref(), outcome.failure.as_ref());
        if same {
            self.best.cut = cut;
            self.best.outcome = outcome;
        }
        same
    }

    /// Ends at the failure, then sooner and sooner.
    fn shorten(&mut self) {
        let now = self.scenario.cut(&self.best.cut).hours;
        let until_failure = self.best.outcome.lasted_us.div_ceil(3_600_000_000);
        let ended = until_failure.clamp(1, now);
        let mut hours = if self.fails(self.with_hours(ended)) {
            ended
        } else {
            now
        };
        while hours > 1 {
            let (half, less) = (hours / 2, hours - hours.div_ceil(8));
            if self.fails(self.with_hours(half)) {
                hours = half;
            } else if less > half && self.fails(self.with_hours(less)) {
                hours = less;
            } else {
                return;
            }
        }
    }

    fn with_hours(&self, hours: u64) -> Cut {
        Cut {
            hours: Some(hours),
            ..self.best.cut.clone()
        }
    }

    /// All parts at once, then halves of them, then ever smaller pieces, down to one by one.
    fn leave_out(&mut self) {
        let mut size = self.left().len();
        while size > 0 {
            for piece in self.left().chunks(size) {
                let mut without: BTreeSet<String> = self.best.cut.without.clone();
                without.extend(piece.iter().cloned());
                let cut = Cut {
                    without,
                    ..self.best.cut.clone()
                };
                self.fails(cut);
            }
            size /= 2;
        }
    }

    fn left(&self) -> Vec<String> {
        let mut parts = self.scenario.parts();
        parts.retain(|part| !self.best.cut.without.contains(part));
        parts
    }

    fn lose_members(&mut self) {
        let now = self.scenario.cut(&self.best.cut).members;
        for members in [2, 3, 4, now / 4, now / 2] {
            let cut = Cut {
                members: Some(members),
                ..self.best.cut.clone()
            };
            if members >= 2 && members < now && self.fails(cut) {
                return;
            }
        }
    }
}

/// Whether two lives failed in the same way: a crash, nothing happening, or something that must never happen.
fn alike(one: Option<&Failure>, two: Option<&Failure>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.exit_code() == two.exit_code(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::file;

    fn outcome(failure: Option<Failure>, hours: u64) -> Outcome {
        let mut outcome = crate::stories::live("shrunk", 1, |_| match failure {
            None => Ok(crate::stories::Told::default()),
            Some(failure) => Err(failure),
        });
        outcome.lasted_us = hours * 3_600_000_000;
        outcome
    }

    #[test]
    fn what_is_left_is_what_it_takes() {
        let scenarios = file::shipped().expect("the shipped file");
        let scenario = scenarios
            .iter()
            .find(|it| it.liars() > 0 && it.troubles.len() > 10 && it.members > 4)
            .expect("a rich scenario");
        // Fails in its fifth hour, with at least three members, when machines are killed and calendars jump.
        let live = |cut: &Cut| {
            let less = scenario.cut(cut);
            let kinds = ["kill", "clock_jump"];
            let troubled = kinds.iter().all(|kind| !cut.without.contains(*kind));
            let fails = troubled && less.members >= 3 && less.hours >= 5;
            let failure = Failure::Correctness("lost".into());
            Some(outcome(fails.then_some(failure), less.hours.min(9)))
        };
        let whole = Cut::default();
        let failed = live(&whole).expect("lived");
        let shrunk = shrink(scenario, &whole, failed.clone(), live);
        assert_eq!(shrunk.cut.hours, Some(5));
        assert_eq!(shrunk.cut.members, Some(3));
        let mut left = scenario.parts();
        left.retain(|part| !shrunk.cut.without.contains(part));
        assert_eq!(left, ["kill", "clock_jump"]);
        assert!(shrunk.tries <= TRIES_MAX);
        // When there is no more time, the best so far stands.
        let mut left = 1;
        let shrunk = shrink(scenario, &whole, failed, |cut: &Cut| {
            left -= 1;
            (left >= 0).then(|| live(cut)).flatten()
        });
        assert_eq!((shrunk.tries, shrunk.cut.members), (1, None));
    }

    #[test]
    fn another_way_of_failing_is_another_failure() {
        let scenario = &file::shipped().expect("the shipped file")[0];
        let crash = outcome(Some(Failure::Crash("x".into())), 3);
        // Everything smaller fails as well, but in another way.
        let live = |_: &Cut| Some(outcome(Some(Failure::Liveness("y".into())), 1));
        let shrunk = shrink(scenario, &Cut::default(), crash, live);
        assert_eq!(shrunk.cut, Cut::default());
    }
}
