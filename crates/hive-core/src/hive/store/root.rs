//! The hash that one signature covers: leaves in 256 buckets under one root, each with its own domain.

use alloc::vec::Vec;

use crate::wire::Entry;

/// The root over a map's entries, given in the order of their keys.
pub(super) fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> [u8; 32] {
    let mut buckets: Vec<Option<blake3::Hasher>> = Vec::new();
    buckets.resize_with(256, || None);
    for entry in entries {
        buckets[usize::from(entry.key.id[0])]
            .get_or_insert_with(|| blake3::Hasher::new_derive_key("hive-mind/v1/bucket"))
            .update(&leaf(entry));
    }
    let mut root = blake3::Hasher::new_derive_key("hive-mind/v1/root");
    for bucket in buckets {
        let hash = bucket.map_or([0; 32], |hasher| *hasher.finalize().as_bytes());
        root.update(&hash);
    }
    *root.finalize().as_bytes()
}

fn leaf(entry: &Entry) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/leaf");
    hasher.update(&[entry.key.kind]);
    hasher.update(&entry.key.id);
    hasher.update(&entry.seq.to_le_bytes());
    hasher.update(&entry.hlc.0.to_le_bytes());
    match &entry.value {
        None => hasher.update(&[0]),
        Some(value) => hasher.update(&[1]).update(value),
    };
    *hasher.finalize().as_bytes()
}
