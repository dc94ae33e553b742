//! Eyes and hands on this machine: measures processes, takes the few reversible steps of the
//! catalogue, and puts everything back, also after a crash.
//!
//! It decides nothing. [`Host::sample`] answers what it can read; [`Host::act`] journals its intent
//! durably, acts, reads back; [`Host::undo`] restores a value only where it is still ours.

pub mod helper;
pub mod tuned;

#[cfg(target_os = "linux")]
mod journal;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{
    Host, boot_clock, damaged_journals, has_journal, helper_heard, left_on, now, privileged,
    recover,
};

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(not(target_os = "linux"))]
pub use fallback::{
    Host, boot_clock, damaged_journals, has_journal, helper_heard, left_on, now, recover,
};

use std::io;
use std::path::PathBuf;

use hive_core::id::ChangeId;

/// Where the kernel's files are; elsewhere only in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The process file system.
    pub proc: PathBuf,
    /// The device and control-group file system.
    pub sys: PathBuf,
    /// The folder of what lives as long as the machine runs; users' runtime folders are in it.
    pub run: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            sys: PathBuf::from("/sys"),
            run: PathBuf::from("/run"),
        }
    }
}

/// Whose processes are looked at and acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Looks at all processes, acts on those of this user.
    OwnUser,
    /// Looks at and acts on this process and its descendants only: for demonstrations and the lab.
    /// Such a host does not take the machine's actor lock.
    Tree(u32),
}

/// Whether this host may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acting {
    /// It acts, if it gets the machine's actor lock.
    Yes,
    /// It only observes.
    No,
}

/// How to open a [`Host`].
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where the kernel's files are.
    pub roots: Roots,
    /// Whose processes.
    pub scope: Scope,
    /// The state folder: it holds the journal, belongs to this user, and is closed to others.
    pub state: PathBuf,
    /// Whether to act.
    pub act: Acting,
}

/// What a crashed predecessor had left on, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Changes that had not been restored.
    pub changes: Vec<ChangeId>,
    /// Threads or sessions that got their old value back.
    pub restored: u32,
    /// Threads or sessions that somebody else had changed meanwhile: left alone.
    pub left_alone: u32,
    /// Threads or sessions that had ended.
    pub gone: u32,
    /// Changes of an earlier boot: nothing of them is left.
    pub discarded: u32,
    /// Changes that could not be restored: they stay in the journal for the next try.
    pub failed: u32,
    /// Journals that were found damaged in this boot: what the lost part of them named may still be on.
    pub damaged: u32,
}

/// What is still on although no daemon runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Threads and sessions that carry what the journal says is on.
    pub on: u32,
    /// Journals that were found damaged in this boot: what the lost part of them named may be on besides.
    pub damaged: u32,
}

/// Why a host could not be opened. Nothing was changed on the machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The state folder could not be made or read.
    #[error("the state folder cannot be used: {0}")]
    State(#[source] io::Error),
    /// The state folder is another user's, or open to others. Make it `0700` and your own.
    #[error("the state folder must belong to this user and be closed to others (mode 0700)")]
    NotPrivate,
    /// The state folder is a link, which may lead elsewhere at the next start. Give the folder that it leads to.
    #[error(
        "the state folder is a link; give the folder itself, which this names: readlink -f FOLDER"
    )]
    Linked,
    /// Another process is using this state folder's journal. Stop it first.
    #[error("another process is using this state folder")]
    Busy,
    /// The journal could not be read or written.
    #[error("the journal cannot be used: {0}")]
    Journal(#[source] io::Error),
}
