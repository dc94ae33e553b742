//! A delta's bytes: what follows from the connection, from the head or from what was just said is left out.
//!
//! | part | bytes | left out or shortened when |
//! |---|---|---|
//! | author | 32 | it is the sender ([`OwnDelta`]): the connection has proven its key |
//! | shape | 1 | |
//! | incarnation, batch number, time, floor | varints | |
//! | base | 2 varints | it is the batch before, or there is none |
//! | head before | 32 | it is the head of the base |
//! | signature | 64 | |
//! | number of entries | varint | |
//! | per entry: kind, shape | 2 | |
//! | its id | 16 | an earlier entry of the same delta has it: that one's place, a varint |
//! | its batch number and time | 2 varints, counted back from the head's | they are the head's |
//! | its value | varint and bytes | it is removed |

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::NodeId;
use crate::limits;
use crate::statement::Key;
use crate::time::Hlc;
use crate::wire::{Bytes, Delta, Entry};

/// A delta of the sender's own map. It says nothing of whose it is: the connection does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDelta(Delta);

/// The delta's shape: it builds on the batch before, in the same incarnation.
const BASE_BEFORE: u8 = 1;
/// It builds on a state that is named. Without either it is the whole map.
const BASE_NAMED: u8 = 2;
/// The id of the head before is said.
const PREV_SAID: u8 = 4;

/// An entry's shape: it is removed.
const REMOVED: u8 = 1;
/// Its batch is not the head's.
const OTHER_BATCH: u8 = 2;
/// Its id was said before, by the entry whose place follows.
const SAME_ID: u8 = 4;

/// Parts of a delta, beyond any that is allowed: the reader stops by itself.
const PARTS: usize = 16 + 6 * limits::MAP_ENTRIES_MAX;

impl OwnDelta {
    /// Leaves out whose it is.
    #[must_use]
    pub fn new(delta: Delta) -> Self {
        let author = NodeId::default();
        Self(Delta { author, ..delta })
    }

    /// What it says when this member sent it.
    #[must_use]
    pub fn said_by(self, sender: NodeId) -> Delta {
        let author = sender;
        Delta { author, ..self.0 }
    }
}

impl Serialize for Delta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_tuple(PARTS)?;
        parts.serialize_element(&self.author)?;
        write(self, &mut parts)?;
        parts.end()
    }
}

impl Serialize for OwnDelta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_tuple(PARTS)?;
        write(&self.0, &mut parts)?;
        parts.end()
    }
}

impl<'de> Deserialize<'de> for Delta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(PARTS, Reader { named: true })
    }
}

impl<'de> Deserialize<'de> for OwnDelta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reader = Reader { named: false };
        deserializer.deserialize_tuple(PARTS, reader).map(Self)
    }
}

fn write<T: SerializeTuple>(delta: &Delta, parts: &mut T) -> Result<(), T::Error> {
    let before = delta.seq.checked_sub(1).map(|seq| (delta.incarnation, seq));
    let base = match delta.base {
        None => 0,
        base if base == before => BASE_BEFORE,
        Some(_) => BASE_NAMED,
    };
    let prev = if delta.prev.is_some() { PREV_SAID } else { 0 };
    parts.serialize_element(&(base | prev))?;
    parts.serialize_element(&(delta.incarnation, delta.seq, delta.hlc, delta.floor))?;
    if let Some(named) = delta.base.filter(|_| base == BASE_NAMED) {
        parts.serialize_element(&named)?;
    }
    if let Some(prev) = &delta.prev {
        parts.serialize_element(prev)?;
    }
    let (left, right) = delta.sig.split_at(32);
    for half in [left, right] {
        parts.serialize_element(half.first_chunk::<32>().unwrap_or(&[0; 32]))?;
    }
    parts.serialize_element(&delta.entries.len())?;
    let mut places: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for (place, entry) in delta.entries.iter().enumerate() {
        let said = *places.entry(entry.key.id).or_insert(place);
        write_entry(delta, entry, (said < place).then_some(said), parts)?;
    }
    Ok(())
}

fn write_entry<T: SerializeTuple>(
    delta: &Delta,
    entry: &Entry,
    said: Option<usize>,
    parts: &mut T,
) -> Result<(), T::Error> {
    // Wrapping: whatever an entry claims, it is said exactly.
    let back = (
        delta.seq.wrapping_sub(entry.seq),
        delta.hlc.0.wrapping_sub(entry.hlc.0),
    );
    let shape = (if entry.value.is_none() { REMOVED } else { 0 })
        | (if back == (0, 0) { 0 } else { OTHER_BATCH })
        | (if said.is_some() { SAME_ID } else { 0 });
    parts.serialize_element(&(entry.key.kind, shape))?;
    match said {
        Some(place) => parts.serialize_element(&place)?,
        None => parts.serialize_element(&entry.key.id)?,
    }
    if back != (0, 0) {
        parts.serialize_element(&back)?;
    }
    if let Some(value) = &entry.value {
        parts.serialize_element(&Value(value))?;
    }
    Ok(())
}

/// A value as it is written: all of it at once.
struct Value<'a>(&'a [u8]);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A value as it is read.
struct ReadValue(Vec<u8>);

impl<'de> Deserialize<'de> for ReadValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::<{ limits::VALUE_BYTES_MAX }>;
        deserializer.deserialize_bytes(bytes).map(Self)
    }
}

struct Reader {
    /// Whether the author is said.
    named: bool,
}

impl<'de> Visitor<'de> for Reader {
    type Value = Delta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a delta")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Delta, A::Error> {
        let author = if self.named {
            next(&mut parts)?
        } else {
            NodeId::default()
        };
        let shape: u8 = next(&mut parts)?;
        let (incarnation, seq, hlc, floor): (u32, u64, Hlc, u64) = next(&mut parts)?;
        let base = match shape & !PREV_SAID {
            0 => None,
            BASE_BEFORE => {
                let before = seq.checked_sub(1);
                let before = before.ok_or_else(|| A::Error::custom("there is no batch before"))?;
                Some((incarnation, before))
            }
            BASE_NAMED => Some(next(&mut parts)?),
            _ => return Err(A::Error::custom("an unknown shape")),
        };
        let prev = match shape & PREV_SAID {
            0 => None,
            _ => Some(next(&mut parts)?),
        };
        let (left, right): ([u8; 32], [u8; 32]) = next(&mut parts)?;
        let mut sig = [0; 64];
        sig[..32].copy_from_slice(&left);
        sig[32..].copy_from_slice(&right);
        let mut delta = Delta {
            author,
            incarnation,
            base,
            seq,
            hlc,
            floor,
            prev,
            sig,
            entries: Vec::new(),
        };
        let count: usize = next(&mut parts)?;
        if count > limits::MAP_ENTRIES_MAX {
            return Err(A::Error::custom("too many entries"));
        }
        for _ in 0..count {
            // Grows only with entries that are really there.
            let entry = read_entry(&delta, &mut parts)?;
            delta.entries.push(entry);
        }
        Ok(delta)
    }
}

fn read_entry<'de, A: SeqAccess<'de>>(delta: &Delta, parts: &mut A) -> Result<Entry, A::Error> {
    let (kind, shape): (u8, u8) = next(parts)?;
    if shape & !(REMOVED | OTHER_BATCH | SAME_ID) != 0 {
        return Err(A::Error::custom("an unknown shape"));
    }
    let id = if shape & SAME_ID == 0 {
        next(parts)?
    } else {
        let place: usize = next(parts)?;
        let before = delta.entries.get(place);
        let before = before.ok_or_else(|| A::Error::custom("no entry before has that place"))?;
        before.key.id
    };
    let (seq_back, hlc_back): (u64, u64) = if shape & OTHER_BATCH == 0 {
        (0, 0)
    } else {
        next(parts)?
    };
    let value = if shape & REMOVED == 0 {
        Some(next::<ReadValue, A>(parts)?.0)
    } else {
        None
    };
    Ok(Entry {
        key: Key { kind, id },
        seq: delta.seq.wrapping_sub(seq_back),
        hlc: Hlc(delta.hlc.0.wrapping_sub(hlc_back)),
        value,
    })
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(parts: &mut A) -> Result<T, A::Error> {
    let part = parts.next_element()?;
    part.ok_or_else(|| A::Error::custom("it ends too early"))
}
