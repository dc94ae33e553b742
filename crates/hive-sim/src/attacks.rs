//! What was done on purpose by those who do not belong or who lie, counted by name.

use std::collections::BTreeMap;

/// What a stranger, a removed member or a spy on the network does. What members do to frames is
/// [`crate::liar::Lie`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// A handshake for members with a key that nobody let in.
    UnknownKey,
    /// A pairing conversation with bytes that are no frame, or a length of 4 GiB.
    Garbage,
    /// A code of another machine.
    WrongCode,
    /// A guessed proof of a code.
    GuessedProof,
    /// A code that has let somebody in already.
    UsedCode,
    /// A recorded pairing conversation, said once more.
    RecordedPairing,
    /// A pairing conversation in which nothing is said, so that the door stays taken.
    SilentAtTheDoor,
    /// An mDNS answer with a made-up tag.
    ForgedSighting,
    /// An mDNS answer with a member's tag, from the stranger's own address.
    StolenSighting,
    /// A member that was removed connects and writes on.
    RemovedMember,
    /// Somebody who copied a machine's disk and key runs on with them after that machine got a new key.
    StolenKey,
}

/// How often each attack was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attacks(BTreeMap<&'static str, u64>);

impl Attack {
    /// A stable name for machines to read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::Garbage => "stranger_with_garbage",
            Self::WrongCode => "stranger_with_wrong_code",
            Self::GuessedProof => "stranger_with_guessed_proof",
            Self::UsedCode => "stranger_with_used_code",
            Self::RecordedPairing => "stranger_with_recorded_pairing",
            Self::SilentAtTheDoor => "stranger_silent_at_the_door",
            Self::ForgedSighting => "forged_sighting",
            Self::StolenSighting => "stolen_sighting",
            Self::RemovedMember => "removed_member",
            Self::StolenKey => "stolen_key",
        }
    }
}

impl Attacks {
    /// Counts one.
    pub fn add(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    /// Takes in another count.
    pub fn plus(&mut self, other: &Self) {
        for (name, times) in &other.0 {
            *self.0.entry(name).or_default() += times;
        }
    }

    /// How often this one was made.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All of them, by name.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.0
    }
}
