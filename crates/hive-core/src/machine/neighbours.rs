//! Other programs that tune this machine. Where one of them sets a value, this one watches and leaves it to them: two that
//! set the same value fight, and neither can be measured (`research/optimizer.md` 2.1).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use crate::machine::facts::{Survey, Tuners};
use crate::pattern::Action;

/// Another program that tunes this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Neighbour {
    /// `ananicy-cpp` or its forerunner: nice, policy and input/output class by the program's name.
    Ananicy,
    /// `system76-scheduler`: the same, by name and by what is in front.
    System76Scheduler,
    /// Feral's `gamemoded` while a game has asked for it: nice and input/output class of the game.
    GameMode,
    /// A `sched_ext` scheduler: the kernel's own weights and slices mean what that one makes of them.
    SchedExt,
    /// A daemon that renices by processor time or by name: `and` ("auto nice daemon", and(8)), `verynice`.
    AutoNice,
    /// `tuned` with a profile whose scheduler plugin sets the policy of processes by name.
    Tuned,
}

impl Neighbour {
    /// The one whose program this is, if it acts whenever that runs. The kernel cuts names at 15 bytes.
    #[must_use]
    pub fn of_program(name: &str) -> Option<Self> {
        match name {
            "ananicy-cpp" | "ananicy" => Some(Self::Ananicy),
            "system76-schedu" => Some(Self::System76Scheduler),
            "and" | "auto-nice" | "verynice" => Some(Self::AutoNice),
            _ => None,
        }
    }

    /// Those that act now, as a survey shows them.
    #[must_use]
    pub fn seen(survey: &Survey) -> BTreeSet<Self> {
        let mut seen = BTreeSet::new();
        for process in &survey.processes {
            seen.extend(Self::of_program(process.name.local()));
        }
        let Tuners {
            sched_ext,
            games,
            policies,
        } = survey.tuners;
        if policies {
            seen.insert(Self::Tuned);
        }
        if sched_ext {
            seen.insert(Self::SchedExt);
        }
        if games > 0 {
            seen.insert(Self::GameMode);
        }
        seen
    }

    /// Whether it sets what this action would set.
    #[must_use]
    pub const fn claims(self, action: Action) -> bool {
        match action {
            // Ours comes with nice 11.
            Action::BackgroundIdle => true,
            Action::BackgroundNice => !matches!(self, Self::Tuned),
            Action::BackgroundIo => {
                matches!(
                    self,
                    Self::Ananicy | Self::System76Scheduler | Self::GameMode
                )
            }
            // Weights of units, slices and sessions' nice are a scheduler's own, and none of the others'.
            Action::BackgroundWeight | Action::FinerSlice | Action::AutogroupNice => {
                matches!(self, Self::SchedExt)
            }
            Action::Placebo | Action::ColdMemory | Action::PageOut | Action::Defer => false,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ananicy => "ananicy",
            Self::System76Scheduler => "system76-scheduler",
            Self::GameMode => "gamemode",
            Self::SchedExt => "a sched_ext scheduler",
            Self::AutoNice => "an auto-nice daemon",
            Self::Tuned => "tuned",
        }
    }

    /// What is left to it, in a person's words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::SchedExt => String::from(
                "a sched_ext scheduler decides who runs; everything is left to it, this daemon only watches",
            ),
            Self::GameMode => String::from(
                "gamemode has a game running and sets its nice; nice is left to it until the game ends",
            ),
            Self::AutoNice => String::from(
                "an auto-nice daemon sets nice here; it is left to that one, this daemon only watches it",
            ),
            Self::Tuned => String::from(
                "tuned's profile sets the policy of processes; policies are left to it",
            ),
            other => format!(
                "{} sets nice and policy here; those are left to it, this daemon only watches them",
                other.name()
            ),
        }
    }

    /// Why nothing is offered that would be, were it not for these.
    #[must_use]
    pub(crate) const fn leave(self) -> &'static str {
        match self {
            Self::Ananicy => {
                "ananicy sets nice here, and nothing else could help; it is left to it"
            }
            Self::System76Scheduler => {
                "system76-scheduler sets nice here, and nothing else could help; it is left to it"
            }
            Self::GameMode => {
                "gamemode sets nice for the game that runs, and nothing else could help; it is left to it"
            }
            Self::SchedExt => "a sched_ext scheduler decides who runs; everything is left to it",
            Self::AutoNice => {
                "an auto-nice daemon sets nice here, and nothing else could help; it is left to it"
            }
            Self::Tuned => {
                "tuned sets the policy of processes here, and nothing else could help; it is left to it"
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::id::ProgramName;
    use crate::machine::facts::Process;

    fn with(names: &[&str], tuners: Tuners) -> BTreeSet<Neighbour> {
        let process = |name: &&str| Process {
            name: ProgramName::new(name),
            ..Process::default()
        };
        Neighbour::seen(&Survey {
            processes: names.iter().map(process).collect(),
            tuners,
            ..Survey::default()
        })
    }

    #[test]
    fn a_neighbour_is_one_that_acts_and_not_one_that_is_only_installed() {
        let none = Tuners::default();
        assert!(with(&["gamemoded", "bash"], none).is_empty());
        let seen = with(&["ananicy-cpp", "system76-schedu"], none);
        let both = BTreeSet::from([Neighbour::Ananicy, Neighbour::System76Scheduler]);
        assert_eq!(seen, both);
        let busy = Tuners {
            sched_ext: true,
            games: 1,
            policies: true,
        };
        let all = BTreeSet::from([Neighbour::GameMode, Neighbour::SchedExt, Neighbour::Tuned]);
        assert_eq!(with(&["gamemoded", "tuned"], busy), all);
        assert!(
            with(&["tuned"], none).is_empty(),
            "its profile sets other things"
        );
        for name in ["and", "verynice"] {
            assert_eq!(with(&[name], none), BTreeSet::from([Neighbour::AutoNice]));
        }
    }

    #[test]
    fn each_is_left_what_it_sets_and_nothing_more() {
        let left = |neighbour: Neighbour| -> alloc::vec::Vec<Action> {
            let claims = |action: &Action| neighbour.claims(*action);
            Action::ALL.into_iter().filter(claims).collect()
        };
        for neighbour in [Neighbour::Ananicy, Neighbour::GameMode] {
            let theirs = [
                Action::BackgroundNice,
                Action::BackgroundIdle,
                Action::BackgroundIo,
            ];
            assert_eq!(left(neighbour), theirs);
        }
        let nice = [Action::BackgroundNice, Action::BackgroundIdle];
        assert_eq!(left(Neighbour::AutoNice), nice);
        assert_eq!(left(Neighbour::Tuned), [Action::BackgroundIdle]);
        let of_a_scheduler = [
            Action::BackgroundNice,
            Action::BackgroundIdle,
            Action::AutogroupNice,
            Action::BackgroundWeight,
            Action::FinerSlice,
        ];
        assert_eq!(left(Neighbour::SchedExt), of_a_scheduler);
    }
}
