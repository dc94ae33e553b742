//! Learn from what a run measured: guard rails, pairs, verdicts.

use crate::event_log::Happening;
use crate::id::PatternId;
use crate::machine::epoch::Epoch;
use crate::machine::facts::Reading;
use crate::machine::pace::WAKEUPS_GATE;
use crate::machine::run::{Measured, Rail, Step};
use crate::machine::trial::{Arm, Purpose, RAILS_MAX, Regime, judge};
use crate::machine::window::{PairValue, pair_value};
use crate::machine::{Machine, MachineEffect};
use crate::pattern::{Action, Goal, Verdict};
use crate::reply::PatternState;
use crate::time::Now;

impl Machine {
    pub(super) fn on_reading(&mut self, now: Now, reading: Reading) {
        let Some(run) = &mut self.run else {
            return;
        };
        let step = run.on_reading(reading);
        let (id, action, protected) = (run.id, run.def.action, run.protected);
        let (regime, goal) = (run.regime, run.goal());
        let Some((arm, window)) = step.window else {
            return;
        };
        if window.is_over(goal) {
            // The program ended: there is nobody left to wait, and this window is half of no pair.
            self.situation.groups.remove(&protected);
            self.end_run();
            return;
        }
        if goal == Goal::Progress && self.somebody_waits(now, arm, &step) {
            self.end_run();
            return;
        }
        if arm == Arm::Control
            && goal == Goal::Wait
            && let Some(pace) = self.paces.get_mut(&protected)
        {
            pace.wakeups_per_s = window.wakeups_per_s();
            pace.interactive &= pace.wakeups_per_s >= WAKEUPS_GATE;
        }
        if arm == Arm::Treated && regime == Regime::Proven {
            self.held.0 = self.held.0.saturating_add(window.span.0);
            // What a build got is no waiting: it is not told in seconds that were spared.
            if goal == Goal::Wait {
                self.gains.add(id, &window);
            }
        }
        if let Some(rail) = step.railed {
            self.on_rail(now, id, action, rail);
        }
        if let Some(measured) = step.measured {
            // A block that starved and tripped a rail as well is one harm, not two.
            if measured.railed.is_none() && starved(goal, &measured) {
                self.on_starved(now, id, action);
            }
            self.on_measured(now, id, &measured);
        }
    }

    /// Whether somebody waits for a program in front, wake-up by wake-up: then the progress of another job comes second.
    /// The protected job itself may have become such a program (`cargo run`); as its pace depends on what is on, only
    /// windows without it tell.
    fn somebody_waits(&mut self, now: Now, arm: Arm, step: &Step) -> bool {
        let own = self.run.as_ref().map(|run| run.protected);
        let of_control = |(_, window)| own.filter(|_| arm == Arm::Control).map(|id| (id, window));
        let own = step.window.and_then(of_control);
        let mut waits = false;
        for (id, window) in own.iter().chain(&step.quiet) {
            waits |= self.note_pace(now, *id, window);
        }
        waits
    }

    /// A guard rail fell: off at once, counted, told.
    fn on_rail(&mut self, now: Now, id: PatternId, action: Action, rail: Rail) {
        self.out.extend(self.hands.release(now.boot));
        if let Some(entry) = self.ledger.get_mut(id) {
            entry.add_rail(rail);
        }
        self.out
            .push_back(MachineEffect::Tell(Happening::GuardRail { action }));
    }

    /// A treated window starved. It counts in the pair's value; two of them are no verdict, because a program that
    /// sleeps now and then by itself shows as many.
    fn on_starved(&mut self, now: Now, id: PatternId, action: Action) {
        self.out.extend(self.hands.release(now.boot));
        if let Some(entry) = self.ledger.get_mut(id) {
            entry.add_starved();
        }
        self.out
            .push_back(MachineEffect::Tell(Happening::GuardRail { action }));
    }

    /// A block is through: learn from it.
    fn on_measured(&mut self, now: Now, id: PatternId, measured: &Measured) {
        let asked = self.asked_of(id);
        let Some(entry) = self.ledger.get_mut(id) else {
            return;
        };
        let value = value(entry.def.role.goal(), measured);
        let ln = match value {
            PairValue::Ln(ln) | PairValue::Starved(ln) => Some(ln),
            PairValue::Idle => None,
        };
        let verdict = match measured.purpose {
            Purpose::Real | Purpose::Placebo => {
                if measured.purpose == Purpose::Placebo {
                    if let Some(ln) = ln {
                        entry.placebo.add(ln);
                    }
                } else if let Some(control) = &measured.control {
                    entry.add_pair(&measured.treated, control, value);
                }
                judge(entry, asked)
            }
            Purpose::HoldOut => {
                if let Some(ln) = ln {
                    entry.add_holdout(ln);
                }
                if let Some(control) = &measured.control
                    && entry.def.role.goal() == Goal::Wait
                {
                    self.gains.add_holdout(id, &measured.treated, control);
                }
                entry.denied()
            }
            Purpose::Rest => entry.denied(),
        };
        // Waits that doubled end what was let in without an own trial, or long ago; they prove no harm.
        let stopped = entry.rails >= RAILS_MAX && measured.railed == Some(Rail::Wait);
        let verdict = if stopped {
            Some(Verdict::Undecided)
        } else {
            verdict
        };
        if matches!(measured.purpose, Purpose::Real | Purpose::HoldOut) && ln.is_some() {
            let epoch = Epoch::new(now.wall, self.facts.kernel);
            self.ledger.taken(id, epoch);
        }
        if let Some(verdict) = verdict {
            self.conclude(now, id, verdict);
        } else if measured.purpose != Purpose::Rest {
            self.keep(id);
        }
    }

    /// Natural logarithm of the evidence that a pattern must bring.
    fn asked_of(&self, id: PatternId) -> f64 {
        let entry = self.ledger.get(id);
        entry.map_or(f64::INFINITY, |entry| self.ledger.asked_of(entry))
    }

    /// A verdict: kept, told, said to the hive.
    fn conclude(&mut self, now: Now, id: PatternId, verdict: Verdict) {
        let asked = self.asked_of(id);
        let Some(entry) = self.ledger.get_mut(id) else {
            return;
        };
        let action = entry.def.action;
        if entry.state == PatternState::Proven {
            entry.withdraw(verdict, now.wall);
        } else {
            entry.conclude(verdict, asked, now.wall);
        }
        self.out
            .push_back(MachineEffect::Tell(Happening::TrialEnded {
                action,
                verdict,
            }));
        self.keep(id);
        self.say(now, id);
        self.end_run();
        self.ask_for_more(now);
    }

    /// Patterns that were let in on account of others which are gone go on with their trials.
    pub(super) fn ask_for_more(&mut self, now: Now) {
        while let Some(id) = self.ledger.lacking() {
            let Some(entry) = self.ledger.get_mut(id) else {
                return;
            };
            entry.reopen(now.wall);
            if entry.state == PatternState::Trial {
                let action = entry.def.action;
                self.out
                    .push_back(MachineEffect::Tell(Happening::TrialBegan { action }));
            }
            self.keep(id);
            self.say(now, id);
        }
    }
}

fn value(goal: Goal, measured: &Measured) -> PairValue {
    let control = measured.control.as_ref();
    control.map_or(PairValue::Idle, |control| {
        pair_value(goal, &measured.treated, control)
    })
}

/// Whether the action took the program's wake-ups or its work away. A placebo takes nothing away.
fn starved(goal: Goal, measured: &Measured) -> bool {
    measured.purpose != Purpose::Placebo && matches!(value(goal, measured), PairValue::Starved(_))
}
