//! A map's entries in the 256 buckets of its root. States of one map share the buckets in which they are
//! alike, so that a batch costs what it changes and not what the map holds.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::hive::store::quota::Weight;
use crate::hive::store::root;
use crate::statement::Key;
use crate::time::Hlc;
use crate::wire::Entry;

/// How many buckets: one per first byte of an id.
pub(super) const BUCKETS: usize = 256;

/// All entries of one state of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entries {
    /// One place per bucket; none = it holds nothing.
    buckets: Vec<Option<Arc<Bucket>>>,
    /// What all of them weigh: most questions about a map are about kinds that it does not hold.
    weight: Weight,
}

/// The entries whose ids begin with one byte, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bucket {
    entries: Vec<Entry>,
    weight: Weight,
    hash: [u8; 32],
}

/// The next state of a map, not yet hashed: what it weighs is judged first.
#[derive(Debug)]
pub(super) struct Edit {
    next: Entries,
    /// Buckets whose hash does not hold yet.
    touched: [bool; BUCKETS],
}

impl Entries {
    pub(super) fn none() -> Self {
        let mut buckets = Vec::new();
        buckets.resize_with(BUCKETS, || None);
        Self {
            buckets,
            weight: Weight::NOTHING,
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        let entries = self.bucket(place(key));
        let at = entries.binary_search_by_key(key, |entry| entry.key);
        entries.get(at.ok()?)
    }

    /// All of them, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let mut all: Vec<&Entry> = self.held().flat_map(|bucket| &bucket.entries).collect();
        // Stable: buckets follow each other as ids do, so each kind's ids go on rising.
        all.sort_by_key(|entry| entry.key.kind);
        all.into_iter()
    }

    /// Those of one kind, in the order of their keys.
    pub(super) fn of_kind(&self, kind: u8) -> impl Iterator<Item = &Entry> {
        let buckets = if self.weight.has(kind) {
            self.buckets.as_slice()
        } else {
            &[]
        };
        let buckets = buckets.iter().filter_map(Option::as_deref);
        let buckets = buckets.filter(move |bucket| bucket.weight.has(kind));
        buckets.flat_map(move |bucket| {
            let entries = &bucket.entries;
            let from = entries.partition_point(|entry| entry.key.kind < kind);
            let mine = entries.get(from..).unwrap_or_default().iter();
            mine.take_while(move |entry| entry.key.kind == kind)
        })
    }

    /// Those of later batches than `seq`, in the order of their keys.
    pub(super) fn since(&self, seq: u64) -> Vec<Entry> {
        let buckets = self.held().filter(|bucket| bucket.weight.seq > seq);
        let entries = buckets.flat_map(|bucket| &bucket.entries);
        let mut later: Vec<Entry> = entries.filter(|entry| entry.seq > seq).cloned().collect();
        later.sort_unstable_by_key(|entry| entry.key);
        later
    }

    /// What is different in `next`: for each key what stood there, and what stands there now.
    pub(super) fn changes<'a>(
        &'a self,
        next: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a Entry>, Option<&'a Entry>)> {
        let pairs = self.buckets.iter().zip(&next.buckets);
        let other = pairs.filter(|pair| match pair {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (old, new) => old.is_some() || new.is_some(),
        });
        other.flat_map(|(old, new)| {
            let entries = |bucket: &'a Option<Arc<Bucket>>| -> &'a [Entry] {
                bucket.as_deref().map_or(&[], |bucket| &bucket.entries)
            };
            differences(entries(old), entries(new))
        })
    }

    /// What the whole map weighs.
    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    /// The hash that the head signs.
    pub(super) fn root(&self) -> [u8; 32] {
        let hash = |bucket: &Option<Arc<Bucket>>| match bucket {
            Some(bucket) => bucket.hash,
            None => root::EMPTY,
        };
        root::of_buckets(self.buckets.iter().map(hash))
    }

    /// Begins the next state: `changes`, whose keys rise, stand over what is held.
    pub(super) fn with(&self, changes: &[Entry]) -> Edit {
        let mut edit = Edit {
            next: self.clone(),
            touched: [false; BUCKETS],
        };
        let mut sorted: Vec<&Entry> = changes.iter().collect();
        // Stable: within a bucket keys go on rising.
        sorted.sort_by_key(|entry| place(&entry.key));
        for group in sorted.chunk_by(|a, b| place(&a.key) == place(&b.key)) {
            if let [first, ..] = group {
                let at = place(&first.key);
                edit.put(at, merged(self.bucket(at), group));
            }
        }
        edit
    }

    fn bucket(&self, at: usize) -> &[Entry] {
        let bucket = self.buckets.get(at).and_then(Option::as_deref);
        bucket.map_or(&[], |bucket| &bucket.entries)
    }

    fn held(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().filter_map(Option::as_deref)
    }
}

impl Edit {
    /// Leaves out the markers of removal up to the batch `floor`.
    pub(super) fn drop_markers(&mut self, floor: u64) {
        let low = |bucket: &Bucket| bucket.weight.marker.is_some_and(|seq| seq <= floor);
        for at in self.those(low) {
            let kept = self.next.bucket(at).iter();
            let kept = kept.filter(|entry| entry.value.is_some() || entry.seq > floor);
            self.put(at, kept.cloned().collect());
        }
    }

    /// Says anew, in the batch `seq`, what claims to be later than `hlc`.
    pub(super) fn say_anew(&mut self, seq: u64, hlc: Hlc) {
        for at in self.those(|bucket| bucket.weight.hlc > hlc) {
            let mut entries = self.next.bucket(at).to_vec();
            for entry in entries.iter_mut().filter(|entry| entry.hlc > hlc) {
                (entry.seq, entry.hlc) = (seq, hlc);
            }
            self.put(at, entries);
        }
    }

    pub(super) fn weight(&self) -> Weight {
        let weights = self.next.held().map(|bucket| bucket.weight);
        weights.fold(Weight::NOTHING, Weight::plus)
    }

    /// Hashes the buckets that are other ones now.
    pub(super) fn hashed(mut self) -> Entries {
        self.next.weight = self.weight();
        let hashes = root::Hashes::new();
        let touched = self.next.buckets.iter_mut().zip(self.touched);
        for (bucket, _) in touched.filter(|(_, touched)| *touched) {
            // Made by this edit and shared with nobody yet: nothing is copied.
            if let Some(bucket) = bucket.as_mut().map(Arc::make_mut) {
                bucket.hash = hashes.bucket(&bucket.entries);
            }
        }
        self.next
    }

    fn those(&self, wanted: impl Fn(&Bucket) -> bool) -> Vec<usize> {
        let buckets = self.next.buckets.iter().enumerate();
        let wanted = buckets.filter(|(_, bucket)| bucket.as_deref().is_some_and(&wanted));
        wanted.map(|(at, _)| at).collect()
    }

    fn put(&mut self, at: usize, entries: Vec<Entry>) {
        let bucket = (!entries.is_empty()).then(|| {
            let weights = entries.iter().map(Weight::of);
            Arc::new(Bucket {
                weight: weights.fold(Weight::NOTHING, Weight::plus),
                hash: root::EMPTY,
                entries,
            })
        });
        if let (Some(place), Some(touched)) =
            (self.next.buckets.get_mut(at), self.touched.get_mut(at))
        {
            (*place, *touched) = (bucket, true);
        }
    }
}

fn place(key: &Key) -> usize {
    usize::from(key.id[0])
}

/// Two runs with rising keys as one; under one key the change stands.
fn merged(held: &[Entry], changes: &[&Entry]) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(held.len() + changes.len());
    let mut held = held.iter().peekable();
    for change in changes {
        while let Some(before) = held.next_if(|entry| entry.key < change.key) {
            entries.push(before.clone());
        }
        held.next_if(|entry| entry.key == change.key);
        entries.push((*change).clone());
    }
    entries.extend(held.cloned());
    entries
}

/// The keys under which two runs differ, with what stands there in each.
fn differences<'a>(
    old: &'a [Entry],
    new: &'a [Entry],
) -> impl Iterator<Item = (Option<&'a Entry>, Option<&'a Entry>)> {
    let find = |entries: &'a [Entry], key: &Key| {
        let at = entries.binary_search_by_key(key, |entry| entry.key);
        at.ok().and_then(|at| entries.get(at))
    };
    let gone = old
        .iter()
        .filter(move |entry| find(new, &entry.key).is_none())
        .map(|entry| (Some(entry), None));
    let now = new
        .iter()
        .map(move |entry| (find(old, &entry.key), Some(entry)))
        .filter(|(before, now)| before != now);
    gone.chain(now)
}

#[cfg(test)]
mod tests;
