//! Leave: why nothing is done about a contention, as a type and in a person's words.

use crate::machine::neighbours::Neighbour;
use crate::pattern::{Binding, Goal};

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Another program sets what could be set.
    Claimed(Neighbour),
    /// What is in front carries settings of its own, and nothing could be done to the rest.
    Spared,
    /// Nothing that does something under this binding can be set, or undone, with the rights at hand.
    NoMeans(Goal, Binding),
    /// All that could help had its trial here, and its verdict.
    TriedInVain,
    /// What could help is held back by something else than its trial: a person's word, the hive's pause mark, a refusal.
    HeldBack,
    /// All was measured, and none of it is expected to help today.
    NotExpected,
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
            Self::NoMeans(goal, binding) => no_means(goal, binding),
            Self::TriedInVain => "everything that could help here was tried and did not",
            Self::HeldBack => {
                "what could still help here is held back by an undo, a pause mark or a refusal (\"hive patterns\" tells which)"
            }
            Self::NotExpected => {
                "everything that could help here was measured, and none of it is expected to help today"
            }
        }
    }

    /// Whether nothing that may be done by itself helps, so that only a person can do more. Where something is held back, or
    /// left to another program, that is not known.
    #[must_use]
    pub const fn is_for_a_person(self) -> bool {
        !matches!(self, Self::HeldBack | Self::Claimed(_))
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
