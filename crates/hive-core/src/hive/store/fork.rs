//! Authors that contradict themselves: the last heads seen of each, and proofs that anybody can check.
//!
//! Comparing a head with the one held finds a fork only if both branches meet at the same batch. So the
//! heads of the last [`limits::RING_HEADS`] batches are kept, and members compare them once a day: first one hash
//! for each author, then the ids of those that differ.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::store::Store;
use crate::id::{HeadId, HiveId, NodeId};
use crate::limits;
use crate::signed::is_signed_by;
use crate::wire::{Head, HeadMark, RingMark, Trace};

/// The heads of an author's last batches, as far as they were seen: one place per batch number, modulo
/// the size, so that a head makes way only for one that is a whole ring newer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring(BTreeMap<u8, Head>);

/// Two signed heads of one author that no honest history holds both, the smaller first.
pub type Proof = (Head, Head);

/// What is held of an author that contradicted itself: two proofs, or one that is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// The earliest of all.
    first: Proof,
    /// The earliest of the latest incarnation.
    latest: Proof,
}

impl Ring {
    pub(super) fn remember(&mut self, hive: HiveId, head: Head) {
        let held = self.0.entry(place(&head)).or_insert(head);
        if rank(hive, &head) > rank(hive, held) {
            *held = head;
        }
    }

    fn heads(&self) -> impl Iterator<Item = &Head> {
        self.0.values()
    }
}

impl Store {
    /// The proof that an author contradicted itself: of those that were seen, the earliest of the latest
    /// incarnation, so that all members who saw the same hold the same, and a later lie is not hidden
    /// behind an old one.
    #[must_use]
    pub fn fork(&self, author: NodeId) -> Option<&Proof> {
        self.forks.get(&author).map(|it| &it.latest)
    }

    /// The earliest proof of all, if it is another one than [`Self::fork`]: an old lie is not hidden behind a later
    /// one, which may be that of a thief.
    #[must_use]
    pub fn first_fork(&self, author: NodeId) -> Option<&Proof> {
        let held = self.forks.get(&author);
        held.filter(|it| it.first != it.latest).map(|it| &it.first)
    }

    /// Both of them, the later one first.
    pub fn proofs(&self, author: NodeId) -> impl Iterator<Item = &Proof> {
        self.fork(author).into_iter().chain(self.first_fork(author))
    }

    /// The id of the proofs; zeros without one.
    #[must_use]
    pub fn fork_id(&self, author: NodeId) -> [u8; 32] {
        if self.fork(author).is_none() {
            return [0; 32];
        }
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/fork");
        for (one, two) in self.proofs(author) {
            hasher.update(&one.id(self.hive).0);
            hasher.update(&two.id(self.hive).0);
        }
        *hasher.finalize().as_bytes()
    }

    /// The last incarnation in which an author is proven to have contradicted itself.
    #[must_use]
    pub fn forked_in(&self, author: NodeId) -> Option<u32> {
        self.fork(author).map(|(one, _)| one.incarnation)
    }

    /// In which incarnations it is proven.
    pub(crate) fn proven_in(&self, author: NodeId) -> Vec<u32> {
        let held = self.proofs(author);
        held.map(|(one, _)| one.incarnation).collect()
    }

    /// Takes in a proof that an author contradicted itself; whether it is one, and goes before a held one.
    pub fn join_proof(&mut self, one: &Head, two: &Head) -> bool {
        if !contradicts(self.hive, one, two) {
            return false;
        }
        let proof = in_order(self.hive, *one, *two);
        // By the later head of the two: if any was complete at some state, the earliest is.
        let age = |(one, two): &Proof| (rank(self.hive, two), rank(self.hive, one));
        let order = |it: &Proof| (core::cmp::Reverse(it.0.incarnation), age(it));
        let mut held = Proven {
            first: proof,
            latest: proof,
        };
        let known = self.forks.get(&one.author);
        if let Some(known) = known {
            held.first = core::cmp::min_by_key(known.first, proof, age);
            held.latest = core::cmp::min_by_key(known.latest, proof, order);
        }
        if known == Some(&held) || !is_genuine(self.hive, one) || !is_genuine(self.hive, two) {
            return false;
        }
        self.forks.insert(one.author, held);
        true
    }

    /// Compares one head with those seen before; whether that gave a proof that goes before the held one. A head that its
    /// author did not sign gives none.
    pub fn witness(&mut self, head: &Head) -> bool {
        let against = |seen: &&Head| contradicts(self.hive, seen, head);
        let seen: Vec<Head> = self.seen(head.author).filter(against).copied().collect();
        // Every contradiction is tried: which of them was seen first must not matter.
        let mut found = false;
        for other in seen {
            found |= self.join_proof(&other, head);
        }
        found
    }

    /// One hash of what was seen of each author that no proof covers, in rising order; of whom nothing was
    /// seen there is none.
    #[must_use]
    pub fn ring_marks(&self, salt: [u8; 8], authors: &[NodeId]) -> Vec<RingMark> {
        let mut marks: Vec<RingMark> = authors
            .iter()
            .filter_map(|author| self.ring_mark(salt, *author))
            .collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    /// Of which of these authors something was seen here and something else there, in rising order. `theirs` is
    /// sorted, as [`Self::ring_marks`] gives it.
    #[must_use]
    pub fn seen_otherwise(
        &self,
        salt: [u8; 8],
        authors: &[NodeId],
        theirs: &[RingMark],
    ) -> Vec<NodeId> {
        let mut others: Vec<NodeId> = authors
            .iter()
            .copied()
            .filter(|author| {
                let hint = hint_of(*author);
                let of_it = |mark: &RingMark| mark.author.cmp(&hint);
                theirs.binary_search_by(of_it).is_ok()
                    && self
                        .ring_mark(salt, *author)
                        .is_some_and(|mine| theirs.binary_search(&mine).is_err())
            })
            .collect();
        others.sort_unstable();
        others
    }

    fn ring_mark(&self, salt: [u8; 8], author: NodeId) -> Option<RingMark> {
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/ring");
        hasher.update(&salt);
        let mut any = false;
        for head in self.unproven(author) {
            hasher.update(&head.id(self.hive).0);
            any = true;
        }
        let mut check = [0; 4];
        hasher.finalize_xof().fill(&mut check);
        let author = hint_of(author);
        any.then_some(RingMark { author, check })
    }

    /// What was seen of every author that no proof covers, for another member to compare.
    #[must_use]
    pub fn traces(&self, authors: &[NodeId]) -> Vec<Trace> {
        let mut authors = authors.to_vec();
        authors.sort_unstable();
        authors.dedup();
        authors
            .into_iter()
            .filter_map(|author| {
                let marks = |head: &Head| HeadMark {
                    incarnation: head.incarnation,
                    seq: head.seq,
                    id: first_half(head.id(self.hive).0),
                };
                let heads: Vec<HeadMark> = self.unproven(author).map(marks).collect();
                (!heads.is_empty()).then_some(Trace { author, heads })
            })
            .collect()
    }

    /// The head, if any, that the sender of a trace should see: it contradicts, or may contradict, one of
    /// those that it told of.
    #[must_use]
    pub fn answer(&self, trace: &Trace) -> Option<&Head> {
        let told = |incarnation: u32, seq: u64| {
            let same = |mark: &&HeadMark| (mark.incarnation, mark.seq) == (incarnation, seq);
            trace.heads.iter().find(same)
        };
        self.unproven(trace.author).find(|mine| {
            let id = first_half(mine.id(self.hive).0);
            let same = told(mine.incarnation, mine.seq);
            let other = same.is_some_and(|mark| mark.id != id);
            let before = mine.seq.checked_sub(1);
            let before = before.and_then(|seq| told(mine.incarnation, seq));
            let unchained = before.is_some_and(|mark| mark.id != first_half(mine.prev));
            // Only the sender knows what its next head was built on.
            let after = mine.seq.checked_add(1);
            let after = after.and_then(|seq| told(mine.incarnation, seq));
            other || unchained || (same.is_none() && after.is_some())
        })
    }

    /// The heads of an author that a proof at hand does not cover.
    fn unproven(&self, author: NodeId) -> impl Iterator<Item = &Head> {
        let proven = self.proven_in(author);
        // What lies between would change nothing.
        let (first, latest) = (proven.last().copied(), proven.first().copied());
        self.seen(author).filter(move |head| {
            latest.is_none_or(|it| head.incarnation > it)
                || first.is_none_or(|it| head.incarnation < it)
        })
    }

    /// Every head of an author that is at hand.
    fn seen(&self, author: NodeId) -> impl Iterator<Item = &Head> {
        let ring = self.rings.get(&author).into_iter();
        ring.flat_map(Ring::heads)
    }
}

/// Whether two heads of one author cannot both come from one honest history: one number for two of them,
/// or two that follow each other without the second naming the first.
pub(super) fn contradicts(hive: HiveId, one: &Head, two: &Head) -> bool {
    let (low, high) = if one.seq <= two.seq {
        (one, two)
    } else {
        (two, one)
    };
    if one.author != two.author || one.incarnation != two.incarnation {
        return false;
    }
    match high.seq - low.seq {
        0 => low.id(hive) != high.id(hive),
        1 => high.prev != low.id(hive).0,
        _ => false,
    }
}

/// Where a head stands in the ring.
pub(super) fn place(head: &Head) -> u8 {
    u8::try_from(head.seq % u64::from(limits::RING_HEADS)).unwrap_or(0)
}

fn is_genuine(hive: HiveId, head: &Head) -> bool {
    is_signed_by(head.author, &head.signed_bytes(hive), &head.sig)
}

fn in_order(hive: HiveId, one: Head, two: Head) -> Proof {
    if rank(hive, &one) <= rank(hive, &two) {
        (one, two)
    } else {
        (two, one)
    }
}

fn rank(hive: HiveId, head: &Head) -> (u32, u64, HeadId) {
    (head.incarnation, head.seq, head.id(hive))
}

fn hint_of(author: NodeId) -> [u8; 4] {
    let [a, b, c, d, ..] = author.0;
    [a, b, c, d]
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

#[cfg(test)]
mod tests;
