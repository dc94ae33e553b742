//! The one change that may be on: turned on, waited for, turned off, waited for.

use alloc::vec::Vec;

use crate::chance::Chance;
use crate::id::ChangeId;
use crate::machine::MachineEffect;
use crate::machine::act::{Outcome, Receipt, Refusal, Step};
use crate::machine::facts::{CgroupId, GroupId};
use crate::pattern::Action;
use crate::time::{Instant, Span};

/// How long a receipt may take before the change is taken back (or taken back again). A guess: the
/// host's journal is one fsync, and a slow disk needs a second.
const RECEIPT_WAIT: Span = Span::from_secs(10);

/// After a failed undoing it is asked for again so much later, then after twice as long, and so on. A guess:
/// what fails for a moment is over by then.
const UNDO_AGAIN: Span = Span::from_secs(1);

/// The wait between two undoings stops doubling here: five times double, cut to 30 s. A guess.
const UNDO_AGAIN_MAX: Span = Span::from_secs(30);

/// What is wanted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub action: Action,
    /// On whom.
    pub targets: Vec<GroupId>,
    /// Through which units, for a weight.
    pub units: Vec<CgroupId>,
}

/// What a change may stay on although it is not wanted there any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed<'a> {
    /// Jobs.
    pub jobs: &'a [GroupId],
    /// Units.
    pub units: &'a [CgroupId],
}

/// The state of the one change.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    hold: Hold,
}

#[derive(Clone, Debug, Default)]
enum Hold {
    /// Nothing of ours is on.
    #[default]
    Off,
    /// Asked for, no receipt yet.
    TurningOn(ChangeId, Wanted, Instant),
    /// On.
    On(ChangeId, Wanted),
    /// Asked to be put back, not known to be back.
    TurningOff(ChangeId, Wanted, Undoing),
}

/// How far an undoing has come.
#[derive(Clone, Copy, Debug)]
struct Undoing {
    /// When it is asked for again.
    again: Instant,
    /// How often the host said that it could not.
    failed: u32,
    /// Whether the receipt of the turning on is still to come: it was overtaken.
    overtook: bool,
}

/// What a receipt meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is on.
    On,
    /// It is off; so many threads or sessions were somebody else's by then.
    Off {
        /// What had been on.
        action: Action,
        /// Got their old value back.
        restored: u32,
        /// Left alone.
        left_alone: u32,
    },
    /// It was not done.
    Refused {
        /// What was asked.
        action: Action,
        /// Why not.
        outcome: Outcome,
    },
    /// The old values could not be put back; it is asked for again.
    UndoFailed {
        /// What is, or may be, still on.
        action: Action,
        /// Whether this is the first time.
        first: bool,
    },
    /// A receipt for something that is not ours any more.
    Nothing,
}

impl Hands {
    /// Moves towards `wanted` and tells whether it is reached. A change with more targets than wanted
    /// is good enough while all of them are among `allowed`: jobs come and go, and re-applying
    /// whenever one pauses would disturb more than it helps.
    pub fn reach(
        &mut self,
        now: Instant,
        wanted: Option<&Wanted>,
        allowed: Allowed<'_>,
        chance: &mut Chance,
    ) -> (bool, Option<MachineEffect>) {
        match (&self.hold, wanted) {
            (Hold::Off, None) => (true, None),
            (Hold::Off, Some(wanted)) => {
                // 53 bits, so that every JSON reader can hold it.
                let name = ChangeId(u64::from_le_bytes(chance.bytes()) >> 11);
                let step = Step {
                    change: name,
                    action: wanted.action,
                    targets: wanted.targets.clone(),
                    units: wanted.units.clone(),
                };
                self.hold = Hold::TurningOn(name, wanted.clone(), now);
                (false, Some(MachineEffect::Act(step)))
            }
            (Hold::On(_, is), Some(wanted)) if is.covers(wanted, allowed) => (true, None),
            (Hold::TurningOn(_, is, since), Some(wanted)) if is.covers(wanted, allowed) => {
                if now.since(*since) < RECEIPT_WAIT {
                    return (false, None);
                }
                (false, self.put_back(now))
            }
            // Wanted no longer: the undoing is not kept waiting for the receipt of the turning on.
            (Hold::On(..) | Hold::TurningOn(..), _) => (false, self.put_back(now)),
            (Hold::TurningOff(_, _, undoing), _) => {
                if now < undoing.again {
                    return (false, None);
                }
                (false, self.put_back(now))
            }
        }
    }

    /// Puts back whatever is on, or may be on; nothing to do while that is under way.
    pub fn release(&mut self, now: Instant) -> Option<MachineEffect> {
        match self.hold {
            Hold::Off | Hold::TurningOff(..) => None,
            Hold::TurningOn(..) | Hold::On(..) => self.put_back(now),
        }
    }

    fn put_back(&mut self, now: Instant) -> Option<MachineEffect> {
        let (change, what, failed, overtook) = match core::mem::take(&mut self.hold) {
            Hold::Off => return None,
            Hold::TurningOn(change, what, _) => (change, what, 0, true),
            Hold::On(change, what) => (change, what, 0, false),
            Hold::TurningOff(change, what, old) => (change, what, old.failed, old.overtook),
        };
        let undoing = Undoing {
            again: now.after(RECEIPT_WAIT),
            failed,
            overtook,
        };
        self.hold = Hold::TurningOff(change, what, undoing);
        Some(MachineEffect::Undo(change))
    }

    /// Whatever is, or may still be, on.
    #[must_use]
    pub fn held(&self) -> Option<&Wanted> {
        match &self.hold {
            Hold::On(_, what) | Hold::TurningOn(_, what, _) | Hold::TurningOff(_, what, _) => {
                Some(what)
            }
            Hold::Off => None,
        }
    }

    /// Takes the host's answer. Only the host's word that the old values are back ends an undoing.
    pub fn on_receipt(&mut self, now: Instant, receipt: Receipt) -> News {
        let (news, hold) = match (core::mem::take(&mut self.hold), receipt.outcome) {
            (Hold::TurningOn(change, what, _), Outcome::Applied { .. })
                if change == receipt.change =>
            {
                (News::On, Hold::On(change, what))
            }
            (
                Hold::TurningOff(change, what, _) | Hold::On(change, what),
                Outcome::Restored {
                    restored,
                    left_alone,
                    ..
                },
            ) if change == receipt.change => {
                let news = News::Off {
                    action: what.action,
                    restored,
                    left_alone,
                };
                (news, Hold::Off)
            }
            (Hold::TurningOn(change, what, _), outcome) if change == receipt.change => {
                let action = what.action;
                let hold = if matches!(outcome, Outcome::Failed { .. }) {
                    // It may have failed in the putting back: undone once more, to be sure, at once.
                    Hold::TurningOff(change, what, Undoing::due(now))
                } else {
                    Hold::Off
                };
                (News::Refused { action, outcome }, hold)
            }
            (Hold::TurningOff(change, what, undoing), outcome) if change == receipt.change => {
                undoing.on_no(now, change, what, outcome)
            }
            (hold, _) => (News::Nothing, hold),
        };
        self.hold = hold;
        news
    }

    /// What is on, or on its way on.
    #[must_use]
    pub fn on(&self) -> Option<&Wanted> {
        match &self.hold {
            Hold::On(_, what) | Hold::TurningOn(_, what, _) => Some(what),
            Hold::Off | Hold::TurningOff(..) => None,
        }
    }

    /// Whether old values are on their way back. What is wanted no longer while it is being turned on is
    /// among them: [`Self::reach`] and [`Self::release`] ask for its undoing at once.
    #[must_use]
    pub fn putting_back(&self) -> bool {
        matches!(self.hold, Hold::TurningOff(..))
    }

    /// What should be off and could not be put back so far.
    #[must_use]
    pub fn stuck(&self) -> Option<Action> {
        match &self.hold {
            Hold::TurningOff(_, what, undoing) if undoing.failed > 0 => Some(what.action),
            _ => None,
        }
    }

    /// When a missing receipt is to be given up, or an undoing asked for again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.hold {
            Hold::TurningOn(_, _, since) => Some(since.after(RECEIPT_WAIT)),
            Hold::TurningOff(_, _, undoing) => Some(undoing.again),
            Hold::Off | Hold::On(..) => None,
        }
    }
}

impl Undoing {
    /// One that is still to be asked for.
    fn due(again: Instant) -> Self {
        Self {
            again,
            failed: 0,
            overtook: false,
        }
    }

    /// Takes an answer that is not "the old values are back".
    fn on_no(
        mut self,
        now: Instant,
        change: ChangeId,
        what: Wanted,
        outcome: Outcome,
    ) -> (News, Hold) {
        let action = what.action;
        let news = match outcome {
            Outcome::Applied { .. } | Outcome::Refused(Refusal::Withdrawn) => {
                self.overtook = false;
                News::Nothing
            }
            // The answer to the turning on; the one to the undoing is still to come.
            outcome if self.overtook => {
                self.overtook = false;
                News::Refused { action, outcome }
            }
            _ => {
                let wait = UNDO_AGAIN.0 << self.failed.min(5);
                self.again = now.after(Span(wait.min(UNDO_AGAIN_MAX.0)));
                self.failed = self.failed.saturating_add(1);
                let first = self.failed == 1;
                News::UndoFailed { action, first }
            }
        };
        (news, Hold::TurningOff(change, what, self))
    }
}

impl Wanted {
    fn covers(&self, wanted: &Self, allowed: Allowed<'_>) -> bool {
        self.action == wanted.action
            && cover(&self.targets, &wanted.targets, allowed.jobs)
            && cover(&self.units, &wanted.units, allowed.units)
    }
}

/// Whether `is` holds all that is wanted, and nothing beyond it that is not allowed.
fn cover<T: PartialEq>(is: &[T], wanted: &[T], allowed: &[T]) -> bool {
    wanted.iter().all(|one| is.contains(one))
        && is
            .iter()
            .all(|one| wanted.contains(one) || allowed.contains(one))
}
