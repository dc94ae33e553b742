//! What is named and was at hand is never lost, and two members that tell each other hold the same.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::id::HiveId;
use crate::signed::KeyPair;
use crate::statement::Key;
use crate::time::Hlc;

const HIVE: HiveId = HiveId([5; 32]);

/// Ten states of one author, each replacing the one before.
fn states() -> Vec<AuthorMap> {
    let mut store = Store::new(HIVE);
    let mut states = Vec::new();
    for n in 0..10_u8 {
        let key = Key {
            kind: 200,
            id: [n % 3; 16],
        };
        let change = alloc::vec![(key, Some(alloc::vec![n]))];
        let pair = KeyPair::from_secret(&[1; 32]);
        let map = store.draft(&pair, 1, Hlc(u64::from(n)), change);
        let map = map.expect("small");
        store.insert(map.clone());
        states.push(map);
    }
    states
}

fn name(map: &AuthorMap) -> Named {
    (map.head.author, map.head_ref())
}

/// A member hears of states and of names, in some order.
fn member(states: &[AuthorMap], heard: &[(bool, usize)]) -> (Store, BTreeSet<Named>) {
    let mut store = Store::new(HIVE);
    let mut named = BTreeSet::new();
    for (is_name, at) in heard {
        let state = &states[at % states.len()];
        if *is_name {
            named.insert(name(state));
        } else {
            store.join(&state.delta(None), None).expect("signed");
        }
        let before: Vec<Named> = held(&store, &named);
        store.pin(&named);
        assert_eq!(held(&store, &named), before);
    }
    (store, named)
}

fn held(store: &Store, named: &BTreeSet<Named>) -> Vec<Named> {
    let at_hand = named.iter().filter(|name| store.state(**name).is_some());
    at_hand.copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_named_and_at_hand_stays_and_members_that_meet_hold_the_same(
        one in prop::collection::vec((any::<bool>(), 0..10_usize), 0..20),
        two in prop::collection::vec((any::<bool>(), 0..10_usize), 0..20),
    ) {
        let states = states();
        let (mut one, names) = member(&states, &one);
        let (mut two, more) = member(&states, &two);
        let (ours, theirs) = (held(&one, &names), held(&two, &more));
        // The names travel in the admins' maps; each then gives what the other lacks.
        let named: BTreeSet<Named> = names.union(&more).copied().collect();
        one.pin(&named);
        two.pin(&named);
        let all: BTreeSet<Named> = held(&one, &named).into_iter().chain(held(&two, &named)).collect();
        for name in &all {
            let state = one.state(*name).or_else(|| two.state(*name)).expect("held").clone();
            for store in [&mut one, &mut two] {
                let lacks = store.state(*name).is_none();
                let joined = store.join_pin(&state.delta(None), &named);
                prop_assert_eq!(joined, Ok(lacks.then_some(*name)));
            }
        }
        prop_assert_eq!(held(&one, &named), held(&two, &named));
        prop_assert_eq!(held(&one, &named), all.iter().copied().collect::<Vec<_>>());
        prop_assert!(ours.iter().chain(&theirs).all(|name| all.contains(name)));
        // A newer map arrives, and another one; nothing of it is lost.
        for store in [&mut one, &mut two] {
            store.join(&states[9].delta(None), None).expect("signed");
            prop_assert_eq!(held(store, &all).len(), all.len());
        }
    }
}

#[test]
fn nothing_but_a_named_state_is_taken_as_one() {
    let states = states();
    let named = BTreeSet::from([name(&states[4])]);
    let mut store = Store::new(HIVE);
    assert_eq!(store.join_pin(&states[5].delta(None), &named), Ok(None));
    let mut forged = states[4].delta(None);
    forged.entries[0].value = Some(alloc::vec![99]);
    assert_eq!(store.join_pin(&forged, &named), Err(DeltaError::Signature));
    // Another state under the same number, rightly signed.
    let mut other = named.clone();
    other.clear();
    let mut elsewhere = name(&states[4]);
    elsewhere.1.id.0[0] ^= 1;
    other.insert(elsewhere);
    assert_eq!(store.join_pin(&states[4].delta(None), &other), Ok(None));
    assert!(store.state(name(&states[4])).is_none());
    assert_eq!(
        store.join_pin(&states[4].delta(None), &named),
        Ok(Some(name(&states[4])))
    );
}
