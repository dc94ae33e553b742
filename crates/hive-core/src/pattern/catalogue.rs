//! The catalogue: what each action may do by itself, what it needs, how far it may go, what it costs and how it ends.

use serde::{Deserialize, Serialize};

use crate::pattern::{Action, Side};
use crate::time::Span;

/// How much of a person's yes an action needs, besides the mode `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tier {
    /// Tried in random on/off pairs, kept where it was proven, and only there.
    Auto,
    /// It cannot be switched off within a window, so no pair can prove it here: done only after a person allowed
    /// this very action.
    AskOnce,
    /// Only ever said. A person does it, or does not.
    Suggest,
    /// This machine has no figure that could judge it. Only the lab does it, and puts it back.
    TrialOnly,
}

/// What a person should know of an action before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// Whose yes it needs.
    pub tier: Tier,
    /// When it is offered at all.
    pub when: &'static str,
    /// Which rights it takes.
    pub rights: &'static str,
    /// How far it may go.
    pub bound: &'static str,
    /// What it costs.
    pub cost: &'static str,
    /// How it is put back.
    pub undo: &'static str,
}

/// How long [`Action::Defer`] is suggested for at a time (`research/optimizer.md` 7.4).
pub const DEFER_LEASE: Span = Span::from_secs(60);

/// Bytes of one [`Action::ColdMemory`] step: 300 MB took 8 to 22 ms (`research/optimizer.md` 4.2).
pub const COLD_BYTES_MAX: u64 = 256 << 20;

/// Bytes of one [`Action::PageOut`] step: 300 MB took 2.1 to 3.1 s of processor time (`research/optimizer.md` 4.2), so
/// this takes about half a second.
pub const PAGE_OUT_BYTES_MAX: u64 = 64 << 20;

impl Action {
    /// All of them, in the order in which a machine without any knowledge tries those that it may try: the gentler of
    /// two that were measured alike comes first.
    pub const ALL: [Self; 10] = [
        Self::BackgroundNice,
        Self::BackgroundIdle,
        Self::AutogroupNice,
        Self::BackgroundWeight,
        Self::FinerSlice,
        Self::ColdMemory,
        Self::PageOut,
        Self::BackgroundIo,
        Self::Defer,
        Self::Placebo,
    ];

    /// On whose processes it acts.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::FinerSlice | Self::Placebo => Side::Protected,
            Self::AutogroupNice
            | Self::BackgroundNice
            | Self::BackgroundIdle
            | Self::BackgroundWeight
            | Self::BackgroundIo
            | Self::ColdMemory
            | Self::PageOut
            | Self::Defer => Side::Background,
        }
    }

    /// Whose yes it needs.
    #[must_use]
    pub const fn tier(self) -> Tier {
        match self {
            Self::Placebo
            | Self::FinerSlice
            | Self::AutogroupNice
            | Self::BackgroundNice
            | Self::BackgroundIdle
            | Self::BackgroundWeight => Tier::Auto,
            Self::ColdMemory | Self::PageOut => Tier::AskOnce,
            Self::Defer => Tier::Suggest,
            Self::BackgroundIo => Tier::TrialOnly,
        }
    }

    /// In a person's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Placebo => "placebo (nothing is changed)",
            Self::FinerSlice => "finer time slice for the interactive program",
            Self::AutogroupNice => "background sessions at autogroup nice 10",
            Self::BackgroundNice => "background at nice 11",
            Self::BackgroundIdle => "background on idle processors only",
            Self::BackgroundWeight => "background applications at processor weight 19",
            Self::BackgroundIo => "background in the idle class of the disk",
            Self::ColdMemory => "sleeping programs' memory goes first",
            Self::PageOut => "sleeping programs' memory to compressed swap",
            Self::Defer => "background waits",
        }
    }

    /// A stable name for machines to read, and for people to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placebo => "placebo",
            Self::FinerSlice => "finer_slice",
            Self::AutogroupNice => "autogroup_nice",
            Self::BackgroundNice => "background_nice",
            Self::BackgroundIdle => "background_idle",
            Self::BackgroundWeight => "background_weight",
            Self::BackgroundIo => "background_io",
            Self::ColdMemory => "cold_memory",
            Self::PageOut => "page_out",
            Self::Defer => "defer",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// What a person should know of it.
    #[must_use]
    pub const fn terms(self) -> Terms {
        let (when, rights, bound, cost, undo) = match self {
            Self::Placebo => (
                "beside every trial",
                "none",
                "changes nothing",
                "the looks that every action takes",
                "nothing to put back",
            ),
            Self::FinerSlice => (
                "Linux 6.12 or later",
                "none",
                "0.1 ms, on the interactive program's threads",
                "more switches between tasks",
                "the default slice is put back",
            ),
            Self::AutogroupNice => (
                "terminal sessions decide, and the session holds no program that somebody waits for",
                "none",
                "nice 10 per session, no further",
                "the sessions' work; not kept where more than half of it is lost",
                "the old nice is put back",
            ),
            Self::BackgroundNice => (
                "tasks decide",
                "CAP_SYS_NICE, or RLIMIT_NICE of 20: without them it could not be undone",
                "nice 11, no further",
                "the background's work; not kept where more than half of it is lost",
                "nice 0 is put back, on everything started meanwhile too",
            ),
            Self::BackgroundIdle => (
                "tasks decide",
                "CAP_SYS_NICE, or RLIMIT_NICE of 20: without them it could not be undone",
                "SCHED_IDLE at nice 11; threads with a policy or nice of somebody else's are left alone",
                "the background's work; not kept where more than half of it is lost",
                "SCHED_OTHER at nice 0 is put back, on everything started meanwhile too",
            ),
            Self::BackgroundWeight => (
                "the units of applications decide, or would if one had a weight (systemd 252 or later)",
                "none: the user's own service manager does it",
                "weight 19 for background units; units with a weight of somebody else's are left alone",
                "the background's work; not kept where more than half of it is lost",
                "the unit has no weight of its own again, and the processor controller goes where it was not before",
            ),
            _ => self.terms_beyond_the_processor(),
        };
        Terms {
            tier: self.tier(),
            when,
            rights,
            bound,
            cost,
            undo,
        }
    }

    /// When, rights, bound, cost and undo of what is not about the processor.
    const fn terms_beyond_the_processor(
        self,
    ) -> (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
    ) {
        match self {
            Self::BackgroundIo => (
                "the lab asks for it; a disk's scheduler honours it where it is bfq",
                "none",
                "the idle class, on threads without a class of their own",
                "the background's reads and writes",
                "no class of its own is put back",
            ),
            Self::ColdMemory => (
                "there is swap, and less than 20 % of memory is available or 5 % of the time is spent waiting for memory",
                "CAP_SYS_NICE",
                "256 MiB a minute, of jobs that have not run for 5 minutes, never of what is protected or debugged",
                "8 to 22 ms of processor time for 300 MB (measured)",
                "nothing to put back: the memory is the programs' own, and comes back when they use it",
            ),
            Self::PageOut => (
                "the swap is compressed memory, and 10 % of the time is spent waiting for memory",
                "CAP_SYS_NICE",
                "64 MiB a minute, of jobs that have not run for 30 minutes, never of what is protected or debugged",
                "2 to 3 s of processor time for 300 MB, and the program waits once when it comes back: 2.7 times as long for its memory (measured)",
                "nothing to put back: the memory is the programs' own, and comes back when they use it",
            ),
            _ => (
                "nothing that may be done by itself helps",
                "none: a person does it",
                "a minute at a time",
                "the background stands still meanwhile",
                "a person lets it go on",
            ),
        }
    }

    /// Bytes that one step of it may take in, for those that act on memory.
    #[must_use]
    pub const fn bytes_max(self) -> Option<u64> {
        match self {
            Self::ColdMemory => Some(COLD_BYTES_MAX),
            Self::PageOut => Some(PAGE_OUT_BYTES_MAX),
            _ => None,
        }
    }
}

impl Tier {
    /// In a person's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Auto => "tried in pairs, kept where it is proven",
            Self::AskOnce => "only after you allowed it",
            Self::Suggest => "only suggested",
            Self::TrialOnly => "only measured in the lab",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn every_action_has_its_own_name_and_is_found_by_it() {
        let names: BTreeSet<&str> = Action::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), Action::ALL.len());
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
        }
        assert_eq!(Action::named("renice_everything"), None);
    }

    #[test]
    fn later_actions_come_after_earlier_ones_on_the_wire() {
        // The place of a variant is what is stored, signed and sent: new ones go to the end (decision 0035).
        let in_order = [
            Action::Placebo,
            Action::FinerSlice,
            Action::AutogroupNice,
            Action::BackgroundNice,
            Action::BackgroundIdle,
            Action::BackgroundIo,
            Action::ColdMemory,
            Action::PageOut,
            Action::Defer,
        ];
        for (place, action) in in_order.into_iter().enumerate() {
            let bytes = postcard::to_allocvec(&action).expect("encodes");
            assert_eq!(usize::from(bytes[0]), place);
        }
    }

    #[test]
    fn only_what_acts_on_memory_is_bounded_in_bytes() {
        for action in Action::ALL {
            let is_memory = matches!(action, Action::ColdMemory | Action::PageOut);
            assert_eq!(action.bytes_max().is_some(), is_memory);
            assert_eq!(action.tier() == Tier::AskOnce, is_memory);
        }
    }
}
