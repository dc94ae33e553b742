//! Leave: why nothing is done about a contention, as a type and in a person's words.

use crate::machine::neighbours::Neighbour;
use crate::pattern::{Binding, Goal};

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Another program sets what could be set, or what is left of it.
    Claimed(Neighbour),
    /// What is in front carries settings of its own, and nothing could be done to the rest.
    Spared,
    /// Nothing that does something under this binding can be set here, whatever the rights.
    NoMeans(Goal, Binding),
    /// Nothing that does something under this binding can be set, or undone, with the rights at hand.
    NoRights(Goal, Binding),
    /// What the rights at hand allow was measured in vain; there is more that they do not allow.
    RightsEnd,
    /// All that could help had its trial here, and its verdict.
    TriedInVain,
    /// What could help is held back by something else than its trial.
    HeldBack(Hold),
    /// All was measured, some of it by others only, and none of it is expected to help today.
    NotExpected,
}

/// What keeps an action from its use or its trial, its own trial apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A person's no, for a day.
    Undone,
    /// The hive's pause mark.
    Paused,
    /// The host would not do it, or somebody else has set the value.
    Refused,
    /// A rest from before a join, over what goes on since.
    Rests,
}

impl Leave {
    /// In a person's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Claimed(neighbour) => neighbour.leave(),
            Self::Spared => {
                "what is in front carries settings of its own or of others, so it is not changed, and nothing can be done to the rest"
            }
            Self::NoMeans(goal, binding) | Self::NoRights(goal, binding) => no_means(goal, binding),
            Self::RightsEnd => {
                "what the rights at hand allow was measured and does not help; \"hive doctor\" tells how to allow more"
            }
            Self::TriedInVain => "everything that could help here was tried and did not",
            Self::HeldBack(hold) => hold.words(),
            Self::NotExpected => {
                "everything that could help here was measured, and none of it is expected to help today"
            }
        }
    }

    /// Whether nothing that may be done by itself helps, so that only a person can do more: everything was tried here, or
    /// nothing can be done under this binding at all. Where something is held back, spared, left to another program or wants
    /// rights, that is not known.
    #[must_use]
    pub const fn is_for_a_person(self) -> bool {
        matches!(self, Self::TriedInVain | Self::NoMeans(..))
    }
}

impl Hold {
    const fn words(self) -> &'static str {
        match self {
            Self::Undone => {
                "what could still help here was undone by a person and is left alone for now (\"hive patterns\" tells which)"
            }
            Self::Paused => {
                "what could still help here bears the hive's pause mark (\"hive patterns\" tells which)"
            }
            Self::Refused => {
                "what could still help here was refused by the system or is set by somebody else (\"hive patterns\" tells which)"
            }
            Self::Rests => {
                "what could still help here rests after an earlier result (\"hive patterns\" tells which)"
            }
        }
    }
}

const fn no_means(goal: Goal, binding: Binding) -> &'static str {
    match (goal, binding) {
        (Goal::Progress, Binding::Task) => {
            "the build's background cannot be weighed less with the rights at hand (CAP_SYS_NICE or RLIMIT_NICE of 20)"
        }
        (Goal::Progress, Binding::Autogroup) => {
            "nice does nothing across terminal sessions, and their weights cannot be set by this user"
        }
        (Goal::Progress, Binding::Cgroup) => {
            "nice does nothing across control groups, and their weights belong to the service manager"
        }
        (Goal::Wait, Binding::Task) => {
            "nothing can be undone with the rights at hand (CAP_SYS_NICE or RLIMIT_NICE of 20; time slices need Linux 6.12)"
        }
        (Goal::Wait, Binding::Autogroup) => {
            "nice does nothing across terminal sessions, and this user can set neither their weights nor time slices"
        }
        (Goal::Wait, Binding::Cgroup) => {
            "nice does nothing across control groups, their weights belong to the service manager, and time slices cannot be set here"
        }
    }
}
