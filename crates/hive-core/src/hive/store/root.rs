//! The hash that one signature covers: leaves in 256 buckets under one root, each with its own domain.

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

use crate::wire::Entry;

/// What stands for a bucket without entries.
pub(super) const EMPTY: [u8; 32] = [0; 32];

/// The domains of leaves and buckets, worked out once for many of them.
pub(super) struct Hashes {
    leaf: ContextKey,
    bucket: ContextKey,
}

impl Hashes {
    pub(super) fn new() -> Self {
        Self {
            leaf: hash_derive_key_context("hive-mind/v1/leaf"),
            bucket: hash_derive_key_context("hive-mind/v1/bucket"),
        }
    }

    /// The hash over the entries of one bucket, given in the order of their keys.
    pub(super) fn bucket(&self, entries: &[Entry]) -> [u8; 32] {
        if entries.is_empty() {
            return EMPTY;
        }
        let mut hasher = Hasher::new_from_context_key(&self.bucket);
        for entry in entries {
            hasher.update(&self.leaf(entry));
        }
        *hasher.finalize().as_bytes()
    }

    fn leaf(&self, entry: &Entry) -> [u8; 32] {
        let mut fixed = [0; 17 + 8 + 8 + 1];
        fixed[0] = entry.key.kind;
        fixed[1..17].copy_from_slice(&entry.key.id);
        fixed[17..25].copy_from_slice(&entry.seq.to_le_bytes());
        fixed[25..33].copy_from_slice(&entry.hlc.0.to_le_bytes());
        fixed[33] = u8::from(entry.value.is_some());
        let mut hasher = Hasher::new_from_context_key(&self.leaf);
        hasher.update(&fixed);
        hasher.update(entry.value.as_deref().unwrap_or_default());
        *hasher.finalize().as_bytes()
    }
}

/// The root over all buckets' hashes, in the order of their places.
pub(super) fn of_buckets(hashes: impl Iterator<Item = [u8; 32]>) -> [u8; 32] {
    let mut root = Hasher::new_derive_key("hive-mind/v1/root");
    let mut whole = [EMPTY; 256];
    for (place, hash) in whole.iter_mut().zip(hashes) {
        *place = hash;
    }
    // In one piece, so that its chunks are hashed side by side.
    root.update(whole.as_flattened());
    *root.finalize().as_bytes()
}
