//! The one change that may be on: turned on, waited for, turned off, waited for.

use alloc::vec::Vec;

use crate::chance::Chance;
use crate::id::ChangeId;
use crate::machine::MachineEffect;
use crate::machine::act::{Outcome, Receipt, Step};
use crate::machine::facts::GroupId;
use crate::pattern::Action;
use crate::time::{Instant, Span};

/// How long a receipt may take before the change is taken back (or taken back again). A guess: the
/// host's journal is one fsync, and a slow disk needs a second.
const RECEIPT_WAIT: Span = Span::from_secs(10);

/// What is wanted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub action: Action,
    /// On whom.
    pub targets: Vec<GroupId>,
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
    /// Asked to be put back, no receipt yet.
    TurningOff(ChangeId, Wanted, Instant),
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
        allowed: &[GroupId],
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
                };
                self.hold = Hold::TurningOn(name, wanted.clone(), now);
                (false, Some(MachineEffect::Act(step)))
            }
            (Hold::On(_, is), Some(wanted)) if is.covers(wanted, allowed) => (true, None),
            (Hold::On(..), _) => (false, self.put_back(now)),
            (Hold::TurningOn(_, _, since) | Hold::TurningOff(_, _, since), _) => {
                if now.since(*since) < RECEIPT_WAIT {
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
        match core::mem::take(&mut self.hold) {
            Hold::Off => None,
            Hold::TurningOn(change, what, _)
            | Hold::On(change, what)
            | Hold::TurningOff(change, what, _) => {
                self.hold = Hold::TurningOff(change, what, now);
                Some(MachineEffect::Undo(change))
            }
        }
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

    /// Takes the host's answer.
    pub fn on_receipt(&mut self, receipt: Receipt) -> News {
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
            // The application that was overtaken by its undoing: its own receipt is still to come.
            (hold @ Hold::TurningOff(..), Outcome::Applied { .. }) => (News::Nothing, hold),
            (Hold::TurningOn(change, what, _) | Hold::TurningOff(change, what, _), outcome)
                if change == receipt.change =>
            {
                let action = what.action;
                (News::Refused { action, outcome }, Hold::Off)
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

    /// Whether old values are on their way back.
    #[must_use]
    pub fn putting_back(&self) -> bool {
        matches!(self.hold, Hold::TurningOff(..))
    }

    /// When a missing receipt is to be given up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.hold {
            Hold::TurningOn(_, _, since) | Hold::TurningOff(_, _, since) => {
                Some(since.after(RECEIPT_WAIT))
            }
            Hold::Off | Hold::On(..) => None,
        }
    }
}

impl Wanted {
    fn covers(&self, wanted: &Self, allowed: &[GroupId]) -> bool {
        self.action == wanted.action
            && wanted.targets.iter().all(|g| self.targets.contains(g))
            && self
                .targets
                .iter()
                .all(|g| wanted.targets.contains(g) || allowed.contains(g))
    }
}
