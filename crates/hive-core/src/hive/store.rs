//! The authors' signed maps, and the one law that joins them: per author the greatest
//! `(incarnation, seq, head id)`. Nothing here depends on a clock or on the order of arrival.

pub mod disk;
mod root;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::id::{HeadId, HiveId, NodeId};
use crate::limits;
use crate::signed::{KeyPair, is_signed_by};
use crate::statement::{HeadRef, Key, Statement};
use crate::time::Hlc;
use crate::wire::{Delta, Entry, Head};

/// One author's map with the signature that covers all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorMap {
    head: Head,
    id: HeadId,
    entries: BTreeMap<Key, Entry>,
}

/// All maps of one hive, and the proofs that an author contradicted itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    hive: HiveId,
    maps: BTreeMap<NodeId, AuthorMap>,
    forks: BTreeMap<NodeId, (Head, Head)>,
}

/// Why a delta changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It does not build on the state that is held. Ask for the whole map.
    #[error("it builds on another state")]
    OtherBase,
    /// The signature does not cover what follows from the entries.
    #[error("the signature does not cover it")]
    Signature,
    /// The map would exceed its limits.
    #[error("the map would be too large")]
    TooLarge,
    /// An entry contradicts the head, or two stand under one key.
    #[error("an entry contradicts the head")]
    BadEntry,
    /// The author was removed and this state lies above the last one that counts.
    #[error("the author was removed before that")]
    Sealed,
}

/// What a delta did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// We hold this or something newer.
    Nothing,
    /// The map is newer now.
    Newer,
    /// The author is proven to contradict itself. The greater state is kept.
    Forked,
}

impl AuthorMap {
    /// The signed head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The head's id.
    #[must_use]
    pub fn id(&self) -> HeadId {
        self.id
    }

    /// The state, named exactly.
    #[must_use]
    pub fn head_ref(&self) -> HeadRef {
        HeadRef {
            incarnation: self.head.incarnation,
            seq: self.head.seq,
            id: self.id,
        }
    }

    /// All entries, markers of removal and unknown kinds included.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Statements of kinds that this version knows.
    pub fn statements(&self) -> impl Iterator<Item = (&Entry, Statement)> {
        self.entries.values().filter_map(|entry| {
            let value = entry.value.as_deref()?;
            Some((entry, Statement::decode(entry.key, value)?))
        })
    }

    /// Those of them that can matter for who belongs.
    pub fn member_statements(&self) -> impl Iterator<Item = (&Entry, Statement)> {
        let about = self.entries.values();
        let about = about.filter(|entry| entry.key.is_about_members());
        about.filter_map(|entry| {
            let value = entry.value.as_deref()?;
            Some((entry, Statement::decode(entry.key, value)?))
        })
    }

    /// The bytes under a key, if something stands there.
    #[must_use]
    pub fn value(&self, key: &Key) -> Option<&[u8]> {
        self.entries.get(key)?.value.as_deref()
    }

    /// How many live statements it holds.
    #[must_use]
    pub fn live(&self) -> usize {
        self.entries.values().filter(|e| e.value.is_some()).count()
    }

    /// Entries, and bytes as the limit counts them.
    pub(super) fn size(&self) -> (usize, usize) {
        let lengths = self.entries.values().map(value_length);
        (self.entries.len(), lengths.map(entry_bytes).sum())
    }

    /// What the entry under a key costs, if there is one.
    pub(super) fn entry_bytes(&self, key: &Key) -> Option<usize> {
        Some(entry_bytes(value_length(self.entries.get(key)?)))
    }

    /// What a holder of the state `base` lacks; `None` or an unfitting base gives the whole map.
    #[must_use]
    pub fn delta(&self, base: Option<(u32, u64)>) -> Delta {
        let fits = |&(incarnation, seq): &(u32, u64)| {
            incarnation == self.head.incarnation && seq >= self.head.floor && seq <= self.head.seq
        };
        self.delta_from(base.filter(fits), self.head.prev)
    }

    /// Rebuilds a map from parts read from the disk.
    pub fn restore(hive: HiveId, head: Head, entries: Vec<Entry>) -> Result<Self, DeltaError> {
        let delta = Delta {
            author: head.author,
            incarnation: head.incarnation,
            base: None,
            seq: head.seq,
            hlc: head.hlc,
            floor: head.floor,
            prev: Some(head.prev),
            sig: head.sig,
            entries,
        };
        let map = Self::build(hive, None, &delta)?;
        if map.head == head {
            Ok(map)
        } else {
            Err(DeltaError::Signature)
        }
    }

    fn delta_from(&self, base: Option<(u32, u64)>, prev: [u8; 32]) -> Delta {
        let from = base.map_or(0, |(_, seq)| seq);
        let direct = base.is_some_and(|(_, seq)| seq.checked_add(1) == Some(self.head.seq));
        Delta {
            author: self.head.author,
            incarnation: self.head.incarnation,
            base,
            seq: self.head.seq,
            hlc: self.head.hlc,
            floor: self.head.floor,
            prev: (!direct).then_some(prev),
            sig: self.head.sig,
            entries: self
                .entries
                .values()
                .filter(|entry| base.is_none() || entry.seq > from)
                .cloned()
                .collect(),
        }
    }

    /// The state that a delta leads to, checked in full; the state `before` is left alone.
    fn build(hive: HiveId, before: Option<&Self>, delta: &Delta) -> Result<Self, DeltaError> {
        let base = match delta.base {
            None => None,
            Some(base) => Some(
                before
                    .filter(|map| (map.head.incarnation, map.head.seq) == base)
                    .ok_or(DeltaError::OtherBase)?,
            ),
        };
        let prev = match (delta.prev, base) {
            (Some(prev), _) => prev,
            (None, Some(map)) => map.id.0,
            (None, None) => return Err(DeltaError::BadEntry),
        };
        let mut entries = base.map(|map| map.entries.clone()).unwrap_or_default();
        let mut last: Option<Key> = None;
        for entry in &delta.entries {
            // Strictly rising keys: no entry can hide behind another one.
            if last.is_some_and(|key| key >= entry.key) {
                return Err(DeltaError::BadEntry);
            }
            last = Some(entry.key);
            entries.insert(entry.key, entry.clone());
        }
        entries.retain(|_, entry| entry.value.is_some() || entry.seq > delta.floor);
        check_limits(&entries, delta)?;
        let mut head = Head {
            author: delta.author,
            incarnation: delta.incarnation,
            seq: delta.seq,
            hlc: delta.hlc,
            floor: delta.floor,
            prev,
            root: [0; 32],
            sig: delta.sig,
        };
        head.root = root::of(entries.values());
        if !is_signed_by(head.author, &head.signed_bytes(hive), &head.sig) {
            return Err(DeltaError::Signature);
        }
        let id = head.id(hive);
        Ok(Self { head, id, entries })
    }
}

impl Store {
    /// No maps yet.
    #[must_use]
    pub fn new(hive: HiveId) -> Self {
        Self {
            hive,
            maps: BTreeMap::new(),
            forks: BTreeMap::new(),
        }
    }

    /// The hive whose maps these are.
    #[must_use]
    pub fn hive(&self) -> HiveId {
        self.hive
    }

    /// An author's map.
    #[must_use]
    pub fn map(&self, author: NodeId) -> Option<&AuthorMap> {
        self.maps.get(&author)
    }

    /// All maps.
    pub fn maps(&self) -> impl Iterator<Item = (&NodeId, &AuthorMap)> {
        self.maps.iter()
    }

    /// The proof that an author contradicted itself.
    #[must_use]
    pub fn fork(&self, author: NodeId) -> Option<&(Head, Head)> {
        self.forks.get(&author)
    }

    /// Takes in a map from this machine's own disk; its root and signature have been checked.
    pub fn insert(&mut self, map: AuthorMap) {
        self.maps.insert(map.head.author, map);
    }

    /// Forgets an author's map.
    pub fn forget(&mut self, author: NodeId) -> Option<AuthorMap> {
        self.maps.remove(&author)
    }

    /// Joins a delta in: all of it, or nothing. `keep` is the last state of a removed author that counts.
    pub fn join(&mut self, delta: &Delta, keep: Option<HeadRef>) -> Result<Joined, DeltaError> {
        let held = self.maps.get(&delta.author);
        let version = (delta.incarnation, delta.seq);
        if held.is_some_and(|map| version < (map.head.incarnation, map.head.seq)) {
            return Ok(Joined::Nothing);
        }
        if keep.is_some_and(|keep| version > (keep.incarnation, keep.seq)) {
            return Err(DeltaError::Sealed);
        }
        let built = AuthorMap::build(self.hive, held, delta)?;
        if keep.is_some_and(|keep| version == (keep.incarnation, keep.seq) && built.id != keep.id) {
            return Err(DeltaError::Sealed);
        }
        let Some(held) = held else {
            self.maps.insert(delta.author, built);
            return Ok(Joined::Newer);
        };
        if built.id == held.id {
            return Ok(Joined::Nothing);
        }
        let contradiction = contradicts(self.hive, &held.head, &built.head);
        let proof = (held.head, built.head);
        let newer = rank(&built) > rank(held);
        if contradiction {
            self.note_fork(&proof);
        }
        if newer {
            self.maps.insert(delta.author, built);
        }
        Ok(match (contradiction, newer) {
            (true, _) => Joined::Forked,
            (false, true) => Joined::Newer,
            (false, false) => Joined::Nothing,
        })
    }

    /// Takes in a proof that an author contradicted itself; whether it is one and new.
    pub fn join_proof(&mut self, one: &Head, two: &Head) -> bool {
        let genuine =
            |head: &Head| is_signed_by(head.author, &head.signed_bytes(self.hive), &head.sig);
        self.is_later_fork(one)
            && contradicts(self.hive, one, two)
            && genuine(one)
            && genuine(two)
            && self.note_fork(&(*one, *two))
    }

    /// Keeps the proof of the latest incarnation: an earlier one may have been forgiven.
    fn note_fork(&mut self, proof: &(Head, Head)) -> bool {
        let later = self.is_later_fork(&proof.0);
        if later {
            self.forks.insert(proof.0.author, *proof);
        }
        later
    }

    fn is_later_fork(&self, head: &Head) -> bool {
        let held = self.forks.get(&head.author);
        held.is_none_or(|(one, _)| head.incarnation > one.incarnation)
    }

    /// The next state of the own map, signed but not yet in the store: it must be durable first.
    pub fn draft(
        &self,
        key: &KeyPair,
        incarnation: u32,
        hlc: Hlc,
        changes: Vec<(Key, Option<Vec<u8>>)>,
    ) -> Result<AuthorMap, DeltaError> {
        let author = key.node();
        let before = self.maps.get(&author);
        let seq = before.map_or(0, |map| map.head.seq).saturating_add(1);
        let mut entries = before.map(|map| map.entries.clone()).unwrap_or_default();
        for (key, value) in changes {
            entries.insert(
                key,
                Entry {
                    key,
                    seq,
                    hlc,
                    value,
                },
            );
        }
        let mut head = Head {
            author,
            incarnation,
            seq,
            hlc,
            floor: before.map_or(0, |map| map.head.floor),
            prev: before.map_or([0; 32], |map| map.id.0),
            root: root::of(entries.values()),
            sig: [0; 64],
        };
        head.sig = key.sign(&head.signed_bytes(self.hive));
        let id = head.id(self.hive);
        let map = AuthorMap { head, id, entries };
        check_limits(&map.entries, &map.delta(None))?;
        Ok(map)
    }
}

/// What a push carries: the difference between two states that follow each other, even across a restart.
#[must_use]
pub fn step(before: Option<&AuthorMap>, after: &AuthorMap) -> Delta {
    let base = before
        .filter(|map| map.head.seq >= after.head.floor)
        .map(|map| (map.head.incarnation, map.head.seq));
    after.delta_from(base, after.head.prev)
}

fn rank(map: &AuthorMap) -> (u32, u64, HeadId) {
    (map.head.incarnation, map.head.seq, map.id)
}

/// Whether two heads of one author cannot both come from one honest history.
fn contradicts(hive: HiveId, one: &Head, two: &Head) -> bool {
    let (low, high) = if one.seq <= two.seq {
        (one, two)
    } else {
        (two, one)
    };
    if one.author != two.author || one.incarnation != two.incarnation {
        return false;
    }
    let (low_id, high_id) = (low.id(hive), high.id(hive));
    (low.seq == high.seq && low_id != high_id)
        || (low.seq.checked_add(1) == Some(high.seq) && high.prev != low_id.0)
}

fn value_length(entry: &Entry) -> usize {
    entry.value.as_ref().map_or(0, Vec::len)
}

/// Key, batch number, time and value, at their widest.
pub(super) fn entry_bytes(length: usize) -> usize {
    (17 + 8 + 8 + 4_usize).saturating_add(length)
}

fn check_limits(entries: &BTreeMap<Key, Entry>, head: &Delta) -> Result<(), DeltaError> {
    if entries.len() > limits::MAP_ENTRIES_MAX {
        return Err(DeltaError::TooLarge);
    }
    let mut bytes = 0_usize;
    for entry in entries.values() {
        let length = value_length(entry);
        if length > limits::VALUE_BYTES_MAX {
            return Err(DeltaError::TooLarge);
        }
        bytes = bytes.saturating_add(entry_bytes(length));
        if entry.seq > head.seq || entry.hlc > head.hlc {
            return Err(DeltaError::BadEntry);
        }
    }
    if bytes > limits::MAP_BYTES_MAX || head.floor > head.seq {
        return Err(DeltaError::TooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
