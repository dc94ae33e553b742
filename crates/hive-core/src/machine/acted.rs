//! What the host did, or did not do, and what follows from it.

use crate::event_log::Happening;
use crate::machine::act::{Outcome, Receipt, Refusal};
use crate::machine::hands::News;
use crate::machine::{Machine, MachineEffect, OTHER_ACTS};
use crate::pattern::Action;
use crate::time::Now;

impl Machine {
    /// The host did something, or did not.
    pub fn on_acted(&mut self, now: Now, receipt: Receipt) {
        if self.on_advised(&receipt) {
            self.turn(now);
            return;
        }
        match self.hands.on_receipt(now.boot, receipt) {
            News::Off {
                action,
                restored,
                left_alone,
            } => {
                self.put_back = (restored, left_alone);
                if left_alone > 0 {
                    // Somebody set the value meanwhile. It is theirs; we do not fight.
                    self.refuse(now, action, Outcome::Refused(Refusal::SetByHand));
                }
            }
            News::Refused { action, outcome } => self.refuse(now, action, outcome),
            News::UndoFailed { action, first } => {
                if first {
                    self.out
                        .push_back(MachineEffect::Tell(Happening::UndoFailed { action }));
                }
            }
            News::On | News::Nothing => {}
        }
        self.turn(now);
    }

    /// The host would not, or somebody else holds the value: leave the pattern alone for a while.
    fn refuse(&mut self, now: Now, action: Action, outcome: Outcome) {
        let Some(run) = &self.run else {
            return;
        };
        if action != run.def.action && action != Action::Placebo {
            return;
        }
        let id = run.id;
        if outcome == Outcome::Refused(Refusal::Gone) {
            // Targets that ended a moment ago say nothing about the pattern. Look again first.
            self.situation.pressure = 0.0;
        } else if outcome == Outcome::Refused(Refusal::NotTheActor) {
            // That says nothing about the pattern either; the other daemon may end.
            self.other_acts_until = Some(now.boot.after(OTHER_ACTS));
        } else if let Some(entry) = self.ledger.get_mut(id) {
            entry.refused = Some(outcome);
            entry.drop_for_now(now.wall);
            self.keep(id);
            self.ask_for_more(now);
        }
        self.end_run();
    }
}
