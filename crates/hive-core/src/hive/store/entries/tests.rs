//! States that share buckets against the same map kept plainly and hashed anew from the definition.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

type Plain = BTreeMap<Key, Entry>;

/// One batch: its changes by few enough keys that they meet, and what its author does besides.
#[derive(Clone, Debug)]
struct Batch {
    changes: Vec<(u8, u8, Option<Vec<u8>>)>,
    /// Markers up to this share of all batches go.
    floor: Option<u8>,
    /// The author's clock was put back by this much.
    back: Option<u8>,
}

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40));
    let change = (0..4_u8, 0..24_u8, value);
    let batch = (
        prop::collection::vec(change, 0..12),
        prop::option::weighted(0.2, any::<u8>()),
        prop::option::weighted(0.1, 0..6_u8),
    );
    let batch = batch.prop_map(|(changes, floor, back)| Batch {
        changes,
        floor,
        back,
    });
    prop::collection::vec(batch, 1..24)
}

/// Some ids share their first byte and some do not.
fn key(kind: u8, n: u8) -> Key {
    let mut id = [n; 16];
    id[0] = if n.is_multiple_of(3) {
        7
    } else {
        n.wrapping_mul(83)
    };
    Key {
        kind: kind * 60,
        id,
    }
}

/// The root from its definition in `research/replication.md` 4.3, without any shortcut.
fn root_of(map: &Plain) -> [u8; 32] {
    let mut root = blake3::Hasher::new_derive_key("hive-mind/v1/root");
    for first in 0..=255_u8 {
        let mut bucket = blake3::Hasher::new_derive_key("hive-mind/v1/bucket");
        let mut held = false;
        for entry in map.values().filter(|entry| entry.key.id[0] == first) {
            held = true;
            let mut leaf = blake3::Hasher::new_derive_key("hive-mind/v1/leaf");
            leaf.update(&[entry.key.kind]);
            leaf.update(&entry.key.id);
            leaf.update(&entry.seq.to_le_bytes());
            leaf.update(&entry.hlc.0.to_le_bytes());
            leaf.update(&[u8::from(entry.value.is_some())]);
            leaf.update(entry.value.as_deref().unwrap_or_default());
            bucket.update(leaf.finalize().as_bytes());
        }
        let hash = if held {
            *bucket.finalize().as_bytes()
        } else {
            [0; 32]
        };
        root.update(&hash);
    }
    *root.finalize().as_bytes()
}

fn agree(entries: &Entries, plain: &Plain) -> Result<(), TestCaseError> {
    prop_assert_eq!(entries.root(), root_of(plain));
    prop_assert!(
        entries.iter().eq(plain.values()),
        "other entries, or another order"
    );
    let weights = plain.values().map(Weight::of);
    prop_assert_eq!(
        entries.weight(),
        weights.fold(Weight::NOTHING, Weight::plus)
    );
    for kind in [0, 1, 60, 120, 180, 255] {
        let mine = plain.values().filter(|entry| entry.key.kind == kind);
        prop_assert!(entries.of_kind(kind).eq(mine));
    }
    for kind in 0..4 {
        for n in 0..25 {
            let key = key(kind, n);
            prop_assert_eq!(entries.get(&key), plain.get(&key));
        }
    }
    Ok(())
}

/// The next state, both ways.
fn next(entries: &Entries, plain: &Plain, batch: &Batch, seq: u64) -> (Entries, Plain) {
    let hlc = Hlc(seq.saturating_sub(u64::from(batch.back.unwrap_or(0))));
    let floor = batch.floor.map_or(0, |share| seq * u64::from(share) / 255);
    let said: BTreeMap<Key, Entry> = batch
        .changes
        .iter()
        .map(|(kind, n, value)| {
            let key = key(*kind, *n);
            let value = value.clone();
            (
                key,
                Entry {
                    key,
                    seq,
                    hlc,
                    value,
                },
            )
        })
        .collect();
    let changes: Vec<Entry> = said.values().cloned().collect();
    let mut edit = entries.with(&changes);
    edit.drop_markers(floor);
    edit.say_anew(seq, hlc);
    let mut plain = plain.clone();
    plain.extend(said);
    plain.retain(|_, entry| entry.value.is_some() || entry.seq > floor);
    for entry in plain.values_mut().filter(|entry| entry.hlc > hlc) {
        (entry.seq, entry.hlc) = (seq, hlc);
    }
    (edit.hashed(), plain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_root_that_grew_batch_by_batch_is_the_root_of_the_whole(batches in batches()) {
        let (mut entries, mut plain) = (Entries::none(), Plain::new());
        let mut states = Vec::new();
        for (batch, seq) in batches.iter().zip(1..) {
            states.push((entries.clone(), plain.clone()));
            (entries, plain) = next(&entries, &plain, batch, seq);
            agree(&entries, &plain)?;
            // The same entries said at once are the same map.
            let all: Vec<Entry> = plain.values().cloned().collect();
            prop_assert_eq!(&Entries::none().with(&all).hashed(), &entries);
        }
        // What is shared with later states was left alone by all of them.
        for (entries, plain) in &states {
            agree(entries, plain)?;
        }
    }

    #[test]
    fn the_differences_of_two_states_lead_from_one_to_the_other(batches in batches(), from in any::<prop::sample::Index>()) {
        let (mut entries, mut plain) = (Entries::none(), Plain::new());
        let mut states = Vec::from([(entries.clone(), plain.clone())]);
        for (batch, seq) in batches.iter().zip(1..) {
            (entries, plain) = next(&entries, &plain, batch, seq);
            states.push((entries.clone(), plain.clone()));
        }
        let at = from.index(states.len());
        let (old, mut led) = states[at].clone();
        for (was, is) in old.changes(&entries) {
            prop_assert_ne!(was, is);
            let replaced = match is {
                Some(entry) => led.insert(entry.key, entry.clone()),
                None => led.remove(&was.expect("one of both").key),
            };
            prop_assert_eq!(replaced.as_ref(), was);
        }
        prop_assert_eq!(&led, &plain);
        let seq = u64::try_from(at).expect("few");
        let later: Vec<Entry> = plain.values().filter(|entry| entry.seq > seq).cloned().collect();
        prop_assert_eq!(entries.since(seq), later);
    }
}

#[test]
fn a_batch_of_one_entry_leaves_all_buckets_shared_but_one() {
    let many: Vec<Entry> = (0..=255_u8)
        .flat_map(|first| (0..4_u8).map(move |n| (first, n)))
        .map(|(first, n)| {
            let mut id = [n; 16];
            id[0] = first;
            Entry {
                key: Key { kind: 200, id },
                seq: 1,
                hlc: Hlc(1),
                value: Some(Vec::from([n; 80])),
            }
        })
        .collect();
    let before = Entries::none().with(&many).hashed();
    let change = Entry {
        seq: 2,
        value: Some(Vec::new()),
        ..many[600].clone()
    };
    let after = before.with(&[change]).hashed();
    let pairs = before.buckets.iter().zip(&after.buckets);
    let shared = pairs.filter(|pair| matches!(pair, (Some(a), Some(b)) if Arc::ptr_eq(a, b)));
    assert_eq!(shared.count(), BUCKETS - 1);
    assert_ne!(before.root(), after.root());
}
