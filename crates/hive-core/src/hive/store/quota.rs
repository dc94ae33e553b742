//! What a map may be, as a pure function of the map: nothing local, no clock, no order of arrival. Two
//! members that judged one map differently would never be equal again.

use crate::hive::store::DeltaError;
use crate::limits;
use crate::time::Hlc;
use crate::wire::Entry;

/// The numbers of a head that its entries must agree with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) seq: u64,
    pub(super) hlc: Hlc,
    pub(super) floor: u64,
}

/// What entries weigh, taken together. A sum: the order does not matter, and parts can be added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) entries: usize,
    pub(super) live: usize,
    pub(super) bytes: usize,
    /// The latest batch.
    pub(super) seq: u64,
    /// The latest time.
    pub(super) hlc: Hlc,
    /// The earliest batch of a marker of removal.
    pub(super) marker: Option<u64>,
    /// Whether a value is longer than its kind may be.
    pub(super) overlong: bool,
    /// Which kinds occur: a bit for each of the first 31, and one for all later ones.
    kinds: u32,
}

impl Weight {
    pub(super) const NOTHING: Self = Self {
        entries: 0,
        live: 0,
        bytes: 0,
        seq: 0,
        hlc: Hlc(0),
        marker: None,
        overlong: false,
        kinds: 0,
    };

    pub(super) fn of(entry: &Entry) -> Self {
        let length = value_length(entry);
        let live = entry.value.is_some();
        Self {
            entries: 1,
            live: usize::from(live),
            bytes: entry_bytes(length),
            seq: entry.seq,
            hlc: entry.hlc,
            marker: (!live).then_some(entry.seq),
            overlong: length > entry.key.value_bytes_max(),
            kinds: kind_bit(entry.key.kind),
        }
    }

    /// Whether an entry of this kind may be among them; of the first 31 kinds, whether one is.
    pub(super) fn has(&self, kind: u8) -> bool {
        self.kinds & kind_bit(kind) != 0
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            live: self.live.saturating_add(other.live),
            bytes: self.bytes.saturating_add(other.bytes),
            seq: self.seq.max(other.seq),
            hlc: self.hlc.max(other.hlc),
            marker: self.marker.into_iter().chain(other.marker).min(),
            overlong: self.overlong || other.overlong,
            kinds: self.kinds | other.kinds,
        }
    }
}

fn kind_bit(kind: u8) -> u32 {
    1 << kind.min(31)
}

/// Judges a whole map by what it weighs: how many entries, how many bytes, how long each value may be for
/// its kind, that no entry is later than its head, and that no marker of removal lies below the floor.
pub(super) fn check(map: Weight, head: Frame) -> Result<(), DeltaError> {
    if map.overlong || map.entries > limits::MAP_ENTRIES_MAX || map.bytes > limits::MAP_BYTES_MAX {
        return Err(DeltaError::TooLarge);
    }
    let marker_below_floor = map.marker.is_some_and(|seq| seq <= head.floor);
    if head.floor > head.seq || map.seq > head.seq || map.hlc > head.hlc || marker_below_floor {
        return Err(DeltaError::BadEntry);
    }
    Ok(())
}

/// Key, batch number, time and value, at their widest.
pub(crate) fn entry_bytes(length: usize) -> usize {
    (17 + 8 + 8 + 4_usize).saturating_add(length)
}

pub(super) fn value_length(entry: &Entry) -> usize {
    entry.value.as_ref().map_or(0, alloc::vec::Vec::len)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::statement::Key;

    const HEAD: Frame = Frame {
        seq: 9,
        hlc: Hlc(90),
        floor: 3,
    };

    fn entry(kind: u8, n: usize, seq: u64, hlc: u64, length: Option<usize>) -> Entry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&u64::try_from(n).expect("few").to_le_bytes());
        Entry {
            key: Key { kind, id },
            seq,
            hlc: Hlc(hlc),
            value: length.map(|length| alloc::vec![7; length]),
        }
    }

    fn weight(entries: &[Entry]) -> Weight {
        let weights = entries.iter().map(Weight::of);
        weights.fold(Weight::NOTHING, Weight::plus)
    }

    fn judged(entries: &[Entry]) -> Result<(), DeltaError> {
        check(weight(entries), HEAD)
    }

    #[test]
    fn each_kind_has_its_own_longest_value_and_unknown_kinds_share_one() {
        for kind in 0..=255_u8 {
            let most = Key { kind, id: [0; 16] }.value_bytes_max();
            assert!((32..=limits::VALUE_BYTES_MAX).contains(&most), "{kind}");
            assert_eq!(judged(&[entry(kind, 0, 1, 1, Some(most))]), Ok(()));
            let longer = entry(kind, 0, 1, 1, Some(most + 1));
            assert_eq!(judged(&[longer]), Err(DeltaError::TooLarge), "{kind}");
        }
        let unknown = Key {
            kind: 255,
            id: [0; 16],
        };
        assert_eq!(unknown.value_bytes_max(), limits::VALUE_BYTES_MAX);
    }

    #[test]
    fn a_map_is_full_at_its_entries_or_at_its_bytes() {
        let many = |count| -> Vec<Entry> {
            let entries = 0..count;
            entries.map(|n| entry(255, n, 1, 1, Some(0))).collect()
        };
        assert_eq!(judged(&many(limits::MAP_ENTRIES_MAX)), Ok(()));
        let over = many(limits::MAP_ENTRIES_MAX + 1);
        assert_eq!(judged(&over), Err(DeltaError::TooLarge));
        // Fewer entries, each as long as it may be.
        let each = entry_bytes(limits::VALUE_BYTES_MAX);
        let heavy = |count| -> Vec<Entry> {
            let entries = 0..count;
            let length = Some(limits::VALUE_BYTES_MAX);
            entries.map(|n| entry(255, n, 1, 1, length)).collect()
        };
        assert_eq!(judged(&heavy(limits::MAP_BYTES_MAX / each)), Ok(()));
        let over = heavy(limits::MAP_BYTES_MAX / each + 1);
        assert_eq!(judged(&over), Err(DeltaError::TooLarge));
    }

    #[test]
    fn nothing_is_later_than_its_head_and_no_marker_lies_below_the_floor() {
        for (bad, at) in [
            (entry(1, 0, 10, 1, Some(1)), HEAD),
            (entry(1, 0, 1, 91, Some(1)), HEAD),
            (entry(1, 0, 3, 1, None), HEAD),
            (entry(1, 0, 1, 1, Some(1)), Frame { floor: 10, ..HEAD }),
        ] {
            assert_eq!(check(weight(&[bad]), at), Err(DeltaError::BadEntry));
        }
        let fine = [entry(1, 0, 3, 90, Some(1)), entry(1, 1, 4, 1, None)];
        assert_eq!(judged(&fine), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_verdict_is_the_same_in_any_order_and_after_any_deletion(
            mut entries in prop::collection::vec(
                (any::<u8>(), 0..64_usize, 0..12_u64, 0..100_u64, prop::option::of(0..70_usize)), 0..12),
            gone in any::<prop::sample::Index>(),
        ) {
            let made = |entries: &[(u8, usize, u64, u64, Option<usize>)]| -> Vec<Entry> {
                entries.iter().map(|(kind, n, seq, hlc, length)| entry(*kind, *n, *seq, *hlc, *length)).collect()
            };
            let verdict = judged(&made(&entries)).is_ok();
            entries.reverse();
            prop_assert_eq!(judged(&made(&entries)).is_ok(), verdict);
            if verdict && !entries.is_empty() {
                entries.remove(gone.index(entries.len()));
                prop_assert_eq!(judged(&made(&entries)), Ok(()), "a part of a good map is good");
            }
        }
    }
}
