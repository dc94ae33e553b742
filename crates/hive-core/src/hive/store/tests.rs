//! The laws of the join, tried on generated histories of real, signed maps.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::wire::Frame;

const HIVE: HiveId = HiveId([5; 32]);

/// One change: which author, which key, and what becomes of it.
type Change = (u8, u8, Option<u8>);

fn key_pair(author: u8) -> KeyPair {
    KeyPair::from_secret(&[author + 1; 32])
}

fn key(n: u8) -> Key {
    Key {
        kind: 200 + n % 3,
        id: [n.wrapping_mul(37); 16],
    }
}

/// All states that the changes lead through, author by author, each with its signature.
fn histories(changes: &[Change]) -> Vec<AuthorMap> {
    let mut store = Store::new(HIVE);
    let mut states = Vec::new();
    for (step, (author, at, value)) in changes.iter().enumerate() {
        let hlc = Hlc(1_000 + u64::try_from(step).expect("few"));
        let incarnation = 1 + u32::try_from(step / 5).expect("few");
        let change = (key(*at), value.map(|byte| alloc::vec![byte; 3]));
        let map = store
            .draft(&key_pair(author % 3), incarnation, hlc, alloc::vec![change])
            .expect("small");
        store.insert(map.clone());
        states.push(map);
    }
    states
}

fn joined<'a>(states: impl IntoIterator<Item = &'a AuthorMap>) -> Store {
    let mut store = Store::new(HIVE);
    for state in states {
        store.join(&state.delta(None), None).expect("signed");
    }
    store
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((0..3_u8, 0..8_u8, prop::option::of(any::<u8>())), 1..16)
}

fn versions(store: &Store) -> Vec<(NodeId, (u32, u64, HeadId))> {
    store
        .maps()
        .map(|(author, map)| (*author, rank(map)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_join_commutes_associates_repeats_and_only_grows(changes in changes(), cut in any::<prop::sample::Index>(), order in any::<u64>()) {
        let states = histories(&changes);
        let all = joined(&states);
        let mut shuffled: Vec<&AuthorMap> = states.iter().collect();
        shuffled.sort_by_key(|map| blake3::hash(&[&map.id.0[..], &order.to_le_bytes()].concat()).to_hex());
        prop_assert_eq!(versions(&joined(shuffled.iter().copied())), versions(&all));
        // In two halves, then together; and everything twice.
        let (left, right) = shuffled.split_at(cut.index(shuffled.len()));
        let (left, right) = (joined(left.iter().copied()), joined(right.iter().copied()));
        let halves: Vec<&AuthorMap> = right.maps().chain(left.maps()).map(|(_, map)| map).collect();
        prop_assert_eq!(versions(&joined(halves.iter().copied())), versions(&all));
        prop_assert_eq!(versions(&joined(states.iter().chain(&states))), versions(&all));
        let mut growing = Store::new(HIVE);
        for state in &shuffled {
            let before = versions(&growing);
            growing.join(&state.delta(None), None).expect("signed");
            for (author, version) in before {
                prop_assert!(versions(&growing).iter().any(|(a, v)| *a == author && *v >= version));
            }
        }
    }

    #[test]
    fn authors_that_say_two_things_are_joined_the_same_in_any_order(one in changes(), other in changes(), order in any::<u64>()) {
        // Both histories number their states alike, so that many numbers stand for two of them.
        let states: Vec<AuthorMap> = histories(&one).into_iter().chain(histories(&other)).collect();
        let mut shuffled: Vec<&AuthorMap> = states.iter().collect();
        shuffled.sort_by_key(|map| blake3::hash(&[&map.id.0[..], &order.to_le_bytes()].concat()).to_hex());
        let all = joined(shuffled.iter().copied());
        prop_assert_eq!(versions(&joined(states.iter().rev())), versions(&all));
        prop_assert_eq!(versions(&joined(&states)), versions(&all));
        for (author, version) in versions(&all) {
            let said = states.iter().filter(|map| map.head.author == author).map(|map| (map.head.incarnation, map.head.seq, map.id));
            prop_assert_eq!(said.max(), Some(version));
        }
    }

    #[test]
    fn a_delta_on_its_base_is_the_whole_state(changes in changes(), from in any::<prop::sample::Index>()) {
        let states = histories(&changes);
        let author = states[0].head.author;
        let own: Vec<&AuthorMap> = states.iter().filter(|map| map.head.author == author).collect();
        let last = own[own.len() - 1];
        let base = own[from.index(own.len())];
        let mut store = joined([base]);
        let version = (base.head.incarnation, base.head.seq);
        store.join(&last.delta(Some(version)), None).expect("signed");
        prop_assert_eq!(store.map(author), Some(last));
        // What a push carries leads from each state to the next, across restarts too.
        for pair in own.windows(2) {
            let mut store = joined([pair[0]]);
            store.join(&step(Some(pair[0]), pair[1]), None).expect("signed");
            prop_assert_eq!(store.map(author), Some(pair[1]));
        }
    }

    #[test]
    fn no_flipped_bit_of_a_delta_changes_anything(changes in changes(), bit in any::<prop::sample::Index>()) {
        let states = histories(&changes);
        let author = states[0].head.author;
        let own: Vec<&AuthorMap> = states.iter().filter(|map| map.head.author == author).collect();
        let last = own[own.len() - 1];
        let before = if own.len() > 1 { joined([own[own.len() - 2]]) } else { Store::new(HIVE) };
        for delta in [last.delta(None), step(before.map(author), last)] {
            let mut bytes = Frame::Delta(delta).encode();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut store = before.clone();
            if let Ok(Frame::Delta(flipped)) = Frame::decode(&bytes) {
                let outcome = store.join(&flipped, None);
                prop_assert!(outcome != Ok(Joined::Forked));
                if outcome == Ok(Joined::Newer) {
                    // A bit of what is not signed: which base it builds on. What it leads to is what was signed.
                    prop_assert_eq!(store.map(author), Some(last));
                    continue;
                }
            }
            prop_assert_eq!(&store, &before);
        }
    }

    #[test]
    fn what_lies_on_the_disk_comes_back(changes in changes()) {
        let states = histories(&changes);
        let mut records: BTreeMap<(crate::hive::outside::Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
        let mut store = Store::new(HIVE);
        for state in &states {
            let author = state.head.author;
            let before = store.map(author).cloned();
            store.join(&state.delta(None), None).expect("signed");
            for record in disk::records(before.as_ref(), store.map(author)) {
                match record.value {
                    Some(value) => records.insert((record.table, record.key), value),
                    None => records.remove(&(record.table, record.key)),
                };
            }
        }
        let lying: Vec<_> = records
            .into_iter()
            .map(|((table, key), value)| crate::hive::outside::Record { table, key, value: Some(value) })
            .collect();
        prop_assert_eq!(disk::restore(HIVE, &lying), (store, Vec::new()));
    }
}

#[test]
fn the_floor_drops_markers_of_removal_at_the_same_head_everywhere() {
    let mut store = Store::new(HIVE);
    let ann = key_pair(0);
    for value in [Some(alloc::vec![1]), None] {
        let map = store.draft(&ann, 1, Hlc(5), alloc::vec![(key(1), value)]);
        store.insert(map.expect("small"));
    }
    let marked = store.map(ann.node()).expect("a map").clone();
    assert_eq!((marked.live(), marked.size().0), (0, 1));
    let mut head = Head {
        seq: 3,
        floor: 2,
        prev: marked.id.0,
        ..marked.head
    };
    head.root = Entries::none().root();
    head.sig = ann.sign(&head.signed_bytes(HIVE));
    let clean = AuthorMap::restore(HIVE, head, Vec::new()).expect("signed");
    let mut other = joined([&marked]);
    assert_eq!(
        other.join(&step(Some(&marked), &clean), None),
        Ok(Joined::Newer)
    );
    assert_eq!(other.map(ann.node()), Some(&clean));
    // Who is below the floor is given everything.
    assert_eq!(clean.delta(Some((1, 1))).base, None);
}

#[test]
fn a_map_of_another_hive_is_not_ours() {
    let map = &histories(&[(0, 1, Some(1))])[0];
    let mut elsewhere = Store::new(HiveId([6; 32]));
    assert_eq!(
        elsewhere.join(&map.delta(None), None),
        Err(DeltaError::Signature)
    );
}

#[test]
fn a_map_beyond_its_limits_is_refused_by_its_author_and_by_everybody_else() {
    let mut store = Store::new(HIVE);
    let ann = key_pair(0);
    let long = alloc::vec![0; limits::VALUE_BYTES_MAX + 1];
    let refused = store.draft(&ann, 1, Hlc(5), alloc::vec![(key(1), Some(long))]);
    assert_eq!(refused.map(|_| ()), Err(DeltaError::TooLarge));
    let many: Vec<_> = (0..=limits::MAP_ENTRIES_MAX)
        .map(|n| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&u64::try_from(n).expect("few").to_le_bytes());
            (Key { kind: 1, id }, Some(Vec::new()))
        })
        .collect();
    let refused = store.draft(&ann, 1, Hlc(5), many);
    assert_eq!(refused.map(|_| ()), Err(DeltaError::TooLarge));
    // An entry later than its head.
    let map = store
        .draft(&ann, 1, Hlc(5), alloc::vec![(key(1), Some(Vec::new()))])
        .expect("small");
    let mut delta = map.delta(None);
    delta.entries[0].seq = 2;
    assert_eq!(store.join(&delta, None), Err(DeltaError::BadEntry));
    delta.entries[0].seq = 1;
    delta.entries[0].hlc = Hlc(6);
    assert_eq!(store.join(&delta, None), Err(DeltaError::BadEntry));
    delta.entries[0].hlc = Hlc(5);
    delta.entries.push(delta.entries[0].clone());
    assert_eq!(store.join(&delta, None), Err(DeltaError::BadEntry));
}

#[test]
fn a_removed_author_is_frozen_at_the_state_that_was_named() {
    let states = histories(&[(0, 1, Some(1)), (0, 2, Some(2)), (0, 3, Some(3))]);
    let keep = Some(states[1].head_ref());
    let mut store = Store::new(HIVE);
    assert_eq!(
        store.join(&states[2].delta(None), keep),
        Err(DeltaError::Sealed)
    );
    assert_eq!(store.join(&states[1].delta(None), keep), Ok(Joined::Newer));
    assert_eq!(
        store.join(&states[2].delta(None), keep),
        Err(DeltaError::Sealed)
    );
    let other = keep.map(|keep| HeadRef {
        id: HeadId([0; 32]),
        ..keep
    });
    assert_eq!(
        Store::new(HIVE).join(&states[1].delta(None), other),
        Err(DeltaError::Sealed)
    );
}

#[test]
fn two_heads_under_one_number_are_proof_and_the_greater_id_stays() {
    let one = histories(&[(0, 1, Some(1))]).remove(0);
    let two = histories(&[(0, 1, Some(2))]).remove(0);
    let greater = if one.id > two.id { &one } else { &two };
    for (first, second) in [(&one, &two), (&two, &one)] {
        let mut store = joined([first]);
        assert_eq!(store.join(&second.delta(None), None), Ok(Joined::Forked));
        assert_eq!(store.map(one.head.author), Some(greater));
        assert!(store.fork(one.head.author).is_some());
    }
    let mut told = joined([&one]);
    assert!(!told.join_proof(&one.head, &one.head));
    let mut forged = two.head;
    forged.hlc = Hlc(7);
    assert!(!told.join_proof(&one.head, &forged));
    assert!(told.join_proof(&one.head, &two.head));
    assert!(!told.join_proof(&one.head, &two.head), "known by now");
}
