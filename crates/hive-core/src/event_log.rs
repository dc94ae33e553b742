//! What happened, for logs and screens: a closed list without names, paths or free text.

use alloc::string::String;

use serde::Serialize;

use crate::id::{ChangeId, NodeId, PatternId};
use crate::pattern::{Action, Verdict};

/// Something worth telling the owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happening {
    /// A member's connection came up.
    PeerUp {
        /// First digits of its id.
        node: String,
    },
    /// A member's connection went away.
    PeerDown {
        /// First digits of its id.
        node: String,
    },
    /// A peer sent something that it must not send; nothing was changed.
    PeerMisbehaved {
        /// First digits of its id.
        node: String,
        /// What it did.
        misdeed: Misdeed,
    },
    /// Someone presented a wrong code.
    WrongCode,
    /// A machine proved the code and waits for a person.
    AsksToJoin {
        /// What it calls itself.
        label: String,
    },
    /// A machine proved the code and cannot be let in: its key was handed over or removed, too many wait, or this
    /// machine lets nobody new in. The code stays good.
    AsksInVain {
        /// First digits of its id.
        node: String,
    },
    /// A machine became a member.
    Joined {
        /// First digits of its id.
        node: String,
    },
    /// A machine was removed.
    Removed {
        /// First digits of its id.
        node: String,
    },
    /// A machine left by its own word.
    Left {
        /// First digits of its id.
        node: String,
    },
    /// Two different states under one version: a cloned disk, a restored backup, or a liar.
    Forked {
        /// First digits of its id.
        node: String,
    },
    /// A member says more than its share of the hive's bytes: what goes beyond travels by repair only.
    OverShare {
        /// First digits of its id.
        node: String,
    },
    /// A pattern arrived from a member.
    PatternArrived {
        /// Which.
        pattern: String,
    },
    /// A trial began.
    TrialBegan {
        /// What is tried.
        action: Action,
    },
    /// A trial ended.
    TrialEnded {
        /// What was tried.
        action: Action,
        /// With which result.
        verdict: Verdict,
    },
    /// A guard rail restored a change at once.
    GuardRail {
        /// What was on.
        action: Action,
    },
    /// This daemon itself became too much: what it had on is off, and nothing is begun for a while.
    OwnRail {
        /// In what.
        rail: OwnRail,
    },
    /// A proven action is on from now.
    TurnedOn {
        /// What.
        action: Action,
    },
    /// It is off again.
    TurnedOff {
        /// What.
        action: Action,
    },
    /// The kernel was told whose memory to take first.
    MemoryAdvised {
        /// How.
        action: Action,
        /// Bytes that were in memory, at most.
        bytes: u64,
    },
    /// Old values could not be put back; the host is asked again until they are.
    UndoFailed {
        /// What is, or may be, still on.
        action: Action,
    },
    /// The store held something damaged; it was dropped and will be asked of the peers.
    StoreDamaged,
}

/// In what this daemon itself may become too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnRail {
    /// The processor time that it uses itself.
    Load,
    /// How often it switches something on or off.
    Switches,
}

/// What a peer did wrong. Each of them leaves everything as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Misdeed {
    /// A frame that cannot be decoded.
    BadFrame,
    /// A frame longer than the limit.
    FrameTooLong,
    /// A signature that does not verify over the root that follows from the entries.
    BadSignature,
    /// A map beyond its limits.
    MapTooLarge,
    /// A statement about an author that is not known.
    UnknownAuthor,
    /// An entry that contradicts its head.
    BadEntry,
    /// Too many messages.
    Flood,
    /// A pairing message out of turn.
    OutOfTurn,
}

/// Shortens an id for a happening.
#[must_use]
pub fn short_node(node: NodeId) -> String {
    node.short()
}

/// Prints a pattern's id for a happening.
#[must_use]
pub fn short_pattern(pattern: PatternId) -> String {
    alloc::format!("{pattern}")
}

/// Prints a change for a happening.
#[must_use]
pub fn short_change(change: ChangeId) -> String {
    alloc::format!("c-{}", change.0)
}
