//! A step that the host is to take on this machine, and the receipt it gives for it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::ChangeId;
use crate::machine::facts::{CgroupId, GroupId};
use crate::pattern::Action;

/// One change to this machine. The host journals its intent durably before it touches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Names the change; to undo it later.
    pub change: ChangeId,
    /// What to do.
    pub action: Action,
    /// On which jobs: every process and thread in them, and those they fork meanwhile.
    pub targets: Vec<GroupId>,
    /// The units that are weighed; none but for [`Action::BackgroundWeight`].
    pub units: Vec<CgroupId>,
}

/// What became of a [`Step`] or of its undoing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which change.
    pub change: ChangeId,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a change. Nothing of ours is left on, except after `Applied`, and perhaps after `Failed`:
/// whoever reads that asks for an undoing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done and read back.
    Applied {
        /// Threads, sessions or units that now carry the new value.
        touched: u32,
    },
    /// It was not done: not allowed, or not reversible with the rights at hand.
    Refused(Refusal),
    /// This kernel or system cannot do it.
    Unsupported,
    /// The kernel said no half-way. What had been done was put back as far as the kernel let us.
    Failed {
        /// The kernel's error number.
        errno: i32,
    },
    /// The old values are back.
    Restored {
        /// Threads or sessions that got their old value back.
        restored: u32,
        /// Threads or sessions that somebody else had changed meanwhile: left alone.
        left_alone: u32,
        /// Threads that had ended.
        gone: u32,
    },
    /// The kernel took the advice on memory. There is nothing to put back.
    Advised {
        /// Bytes that were in memory, at most.
        bytes: u64,
        /// Of so many processes.
        processes: u32,
    },
}

/// Why a step was refused. Nothing was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// This user could do it but not undo it.
    NotReversible,
    /// The target is not this user's, or is a protected process.
    NotOurs,
    /// Somebody has set this value by hand; it is theirs.
    SetByHand,
    /// The targets have all ended.
    Gone,
    /// The journal could not be written, so nothing was done.
    NoJournal,
    /// Another daemon acts on this machine.
    NotTheActor,
    /// Its undoing was asked for before it was begun.
    Withdrawn,
    /// The privileged helper has no room to note so many old values.
    HelperFull,
}

impl Refusal {
    /// What a person can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NotReversible => {
                "this user cannot lower a nice value again; install the privileged helper (hive doctor says how), run the daemon with CAP_SYS_NICE, or raise RLIMIT_NICE to 20"
            }
            Self::NotOurs => "only this user's own, unprotected processes are touched",
            Self::SetByHand => "somebody set this value by hand; it is left alone",
            Self::Gone => "the program has ended",
            Self::NoJournal => {
                "the journal in the state folder cannot be written: is the disk full?"
            }
            Self::NotTheActor => {
                "another hive daemon already acts on this machine; this one observes"
            }
            Self::Withdrawn => "nothing: it was not wanted any more",
            Self::HelperFull => {
                "the job has more threads than the privileged helper can note (4,096; on idle processors 2,048); it is left alone"
            }
        }
    }
}
