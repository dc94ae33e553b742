//! The authors' signed maps, and the one law that joins them: per author the greatest
//! `(incarnation, seq, head id)`. Nothing here depends on a clock or on the order of arrival.

pub mod disk;
mod entries;
pub mod fork;
pub mod pins;
pub(super) mod quota;
mod root;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::store::entries::Entries;
use crate::hive::store::fork::{Proven, Ring};
use crate::hive::store::pins::Named;
use crate::id::{HeadId, HiveId, NodeId};
use crate::signed::{KeyPair, is_signed_by};
use crate::statement::{HeadRef, Key, Statement};
use crate::time::Hlc;
use crate::vocabulary::Vocabulary;
use crate::wire::{Delta, Entry, Head};

/// One author's map with the signature that covers all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorMap {
    head: Head,
    id: HeadId,
    entries: Entries,
    /// What is read of it.
    vocabulary: Vocabulary,
}

/// All maps of one hive, the heads last seen of each, the proofs that an author contradicted itself, and
/// the states that words of removal name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    hive: HiveId,
    maps: BTreeMap<NodeId, AuthorMap>,
    forks: BTreeMap<NodeId, Proven>,
    rings: BTreeMap<NodeId, Ring>,
    pins: BTreeMap<Named, AuthorMap>,
    vocabulary: Vocabulary,
}

/// What two states of one map say differently of who belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seats {
    /// Nothing.
    Same,
    /// What the author calls itself, and nothing else.
    Renamed,
    /// Anything.
    Moved,
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
    /// A new proof that the author contradicts itself. The greater state is kept.
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
        self.entries.iter()
    }

    /// Statements of kinds that this version knows.
    pub fn statements(&self) -> impl Iterator<Item = (&Entry, Statement)> {
        self.known(self.entries.iter())
    }

    /// Those of them that can matter for who belongs.
    pub fn member_statements(&self) -> impl Iterator<Item = (&Entry, Statement)> {
        let about = Key::ABOUT_MEMBERS;
        self.known(about.flat_map(|kind| self.entries.of_kind(kind)))
    }

    /// Statements of one kind, without looking at the others.
    pub(crate) fn statements_of(&self, kind: u8) -> impl Iterator<Item = (&Entry, Statement)> {
        self.known(self.entries.of_kind(kind))
    }

    /// Entries whose statements this version knows.
    fn known<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> impl Iterator<Item = (&'a Entry, Statement)> {
        let vocabulary = self.vocabulary;
        entries.filter_map(move |entry| {
            let value = entry.value.as_deref()?;
            let statement = vocabulary
                .knows_statement(entry.key.kind)
                .then(|| Statement::decode(entry.key, value))?;
            Some((entry, statement?))
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
        self.entries.weight().live
    }

    /// Entries, and bytes as the limit counts them.
    pub(super) fn size(&self) -> (usize, usize) {
        let weight = self.entries.weight();
        (weight.entries, weight.bytes)
    }

    /// What the entry under a key costs, if there is one.
    pub(super) fn entry_bytes(&self, key: &Key) -> Option<usize> {
        let entry = self.entries.get(key)?;
        Some(quota::entry_bytes(quota::value_length(entry)))
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
            entries: match base {
                None => self.entries.iter().cloned().collect(),
                Some((_, seq)) => self.entries.since(seq),
            },
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
        // Strictly rising keys: no entry can hide behind another one.
        if !delta.entries.is_sorted_by(|a, b| a.key < b.key) {
            return Err(DeltaError::BadEntry);
        }
        let none = Entries::none();
        let before = base.map_or(&none, |map| &map.entries);
        let mut edit = before.with(&delta.entries);
        edit.drop_markers(delta.floor);
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
        quota::check(edit.weight(), frame(&head))?;
        let entries = edit.hashed();
        head.root = entries.root();
        if !is_signed_by(head.author, &head.signed_bytes(hive), &head.sig) {
            return Err(DeltaError::Signature);
        }
        let id = head.id(hive);
        Ok(Self {
            head,
            id,
            entries,
            vocabulary: Vocabulary::CURRENT,
        })
    }
}

impl Seats {
    /// Looks at what is different alone. Kinds to come count as anything.
    pub(super) fn between(before: Option<&AuthorMap>, after: Option<&AuthorMap>) -> Self {
        let none = Entries::none();
        let old = before.map_or(&none, |map| &map.entries);
        let new = after.map_or(&none, |map| &map.entries);
        let mut seats = Self::Same;
        for (was, is) in old.changes(new) {
            match is.or(was) {
                Some(entry) if entry.key.kind == Key::PROFILE => seats = Self::Renamed,
                Some(entry) if entry.key.is_membership() => return Self::Moved,
                _ => {}
            }
        }
        seats
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
            rings: BTreeMap::new(),
            pins: BTreeMap::new(),
            vocabulary: Vocabulary::CURRENT,
        }
    }

    /// Reads all maps from now on as a version does that knows these words.
    pub fn read_as(&mut self, vocabulary: Vocabulary) {
        self.vocabulary = vocabulary;
        for map in self.maps.values_mut().chain(self.pins.values_mut()) {
            map.vocabulary = vocabulary;
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

    /// Takes in a map from this machine's own disk; its root and signature have been checked.
    pub fn insert(&mut self, mut map: AuthorMap) {
        self.remember(map.head);
        map.vocabulary = self.vocabulary;
        self.maps.insert(map.head.author, map);
    }

    /// Forgets an author's map and the heads seen of it.
    pub fn forget(&mut self, author: NodeId) -> Option<AuthorMap> {
        self.rings.remove(&author);
        self.maps.remove(&author)
    }

    fn remember(&mut self, head: Head) {
        let ring = self.rings.entry(head.author).or_default();
        ring.remember(self.hive, head);
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
        let mut built = AuthorMap::build(self.hive, held, delta)?;
        built.vocabulary = self.vocabulary;
        if keep.is_some_and(|keep| version == (keep.incarnation, keep.seq) && built.id != keep.id) {
            return Err(DeltaError::Sealed);
        }
        if held.is_some_and(|held| held.id == built.id) {
            return Ok(Joined::Nothing);
        }
        let newer = held.is_none_or(|held| rank(&built) > rank(held));
        let forked = self.witness(&built.head);
        self.remember(built.head);
        if newer {
            self.maps.insert(delta.author, built);
        }
        Ok(match (forked, newer) {
            (true, _) => Joined::Forked,
            (false, true) => Joined::Newer,
            (false, false) => Joined::Nothing,
        })
    }

    /// The next state of the own map, signed but not yet in the store: it must be durable first.
    pub fn draft(
        &self,
        key: &KeyPair,
        incarnation: u32,
        hlc: Hlc,
        changes: Vec<(Key, Option<Vec<u8>>)>,
    ) -> Result<AuthorMap, DeltaError> {
        let own = self.maps.get(&key.node());
        let floor = own.map_or(0, |map| map.head.floor);
        self.draft_above(key, incarnation, hlc, changes, floor)
    }

    /// The same, without the markers of removal up to the batch `floor`.
    pub fn draft_above(
        &self,
        key: &KeyPair,
        incarnation: u32,
        hlc: Hlc,
        changes: Vec<(Key, Option<Vec<u8>>)>,
        floor: u64,
    ) -> Result<AuthorMap, DeltaError> {
        let author = key.node();
        let before = self.maps.get(&author);
        let seq = before.map_or(0, |map| map.head.seq).saturating_add(1);
        let none = Entries::none();
        let held = before.map_or(&none, |map| &map.entries);
        let mut edit = held.with(&batch(changes, seq, hlc));
        edit.drop_markers(floor);
        // A new incarnation may start earlier, after a clock was put right. What claims to be later than
        // its head is said anew.
        edit.say_anew(seq, hlc);
        let mut head = Head {
            author,
            incarnation,
            seq,
            hlc,
            floor,
            prev: before.map_or([0; 32], |map| map.id.0),
            root: root::EMPTY,
            sig: [0; 64],
        };
        quota::check(edit.weight(), frame(&head))?;
        let entries = edit.hashed();
        head.root = entries.root();
        head.sig = key.sign(&head.signed_bytes(self.hive));
        let id = head.id(self.hive);
        Ok(AuthorMap {
            head,
            id,
            entries,
            vocabulary: self.vocabulary,
        })
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

/// The entries of one batch, each key once (the last word on it stands) and in order.
fn batch(changes: Vec<(Key, Option<Vec<u8>>)>, seq: u64, hlc: Hlc) -> Vec<Entry> {
    let last: BTreeMap<Key, Option<Vec<u8>>> = changes.into_iter().collect();
    let entry = |(key, value)| Entry {
        key,
        seq,
        hlc,
        value,
    };
    last.into_iter().map(entry).collect()
}

fn frame(head: &Head) -> quota::Frame {
    quota::Frame {
        seq: head.seq,
        hlc: head.hlc,
        floor: head.floor,
    }
}

#[cfg(test)]
mod tests;
