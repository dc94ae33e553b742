//! Names of things: nodes, hives, patterns, workloads, changes. Newtypes, so that none is taken for another.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                write!(f, "..)")
            }
        }
    };
}

bytes_id!(
    /// A machine: its Ed25519 public key.
    NodeId,
    32
);
bytes_id!(
    /// A hive: BLAKE3 of its genesis.
    HiveId,
    32
);
bytes_id!(
    /// A signed head of an author's map: BLAKE3 of its signed bytes, signature left out.
    HeadId,
    32
);
bytes_id!(
    /// A pattern: the first 16 bytes of BLAKE3 over its definition, so that definitions never conflict.
    PatternId,
    16
);
bytes_id!(
    /// An anomaly: the first 16 bytes of BLAKE3 over what it looked like.
    AnomalyId,
    16
);
bytes_id!(
    /// A program's name, hashed with the hive's secret: an outsider cannot test names, a member can
    /// test a name it already knows.
    WorkloadKey,
    16
);

/// One applied action on this machine, from its intent to its restoration. Unique per state folder.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ChangeId(pub u64);

/// One save handed to the disk; the disk answers with the same number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SaveId(pub u64);

/// One question from a person or a program; its reply carries the same number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CommandId(pub u64);

/// One pairing conversation with a machine that is not a member yet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LinkId(pub u64);

/// A program's name as the kernel tells it (`comm`, at most 15 bytes). It stays on this machine:
/// it implements neither `Serialize` nor `Display` for the wire, only hashing and local printing.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramName(String);

impl ProgramName {
    /// Keeps at most 64 bytes of `name`, cut at a character.
    pub fn new(name: &str) -> Self {
        let mut end = name.len().min(64);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        Self(String::from(&name[..end]))
    }

    /// The name, to be shown to the owner of this machine only.
    pub fn local(&self) -> &str {
        &self.0
    }

    /// What may leave this machine: the first 16 bytes of BLAKE3 keyed with the hive's secret.
    pub fn key(&self, secret: &[u8; 32]) -> WorkloadKey {
        let hash = blake3::keyed_hash(secret, self.0.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        WorkloadKey(key)
    }
}

impl fmt::Debug for ProgramName {
    /// Names must not reach a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramName(..)")
    }
}

impl NodeId {
    /// The first eight hexadecimal digits, for people and logs.
    pub fn short(&self) -> String {
        let mut digits = alloc::format!("{self}");
        digits.truncate(8);
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_is_hidden_from_debug_output_and_keyed_by_the_secret() {
        let name = ProgramName::new("canary-program");
        assert!(!alloc::format!("{name:?}").contains("canary"));
        assert_ne!(name.key(&[1; 32]), name.key(&[2; 32]));
        assert_eq!(
            name.key(&[1; 32]),
            ProgramName::new("canary-program").key(&[1; 32])
        );
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let name = ProgramName::new(&"\u{fc}".repeat(40));
        assert_eq!(name.local().chars().count(), 32);
    }
}
