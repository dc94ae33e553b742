//! What proves a fork, and that comparing the remembered heads finds those that comparing on arrival missed.

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::chance::Chance;
use crate::hive::store::{AuthorMap, Joined, step};
use crate::signed::KeyPair;
use crate::statement::Key;
use crate::time::Hlc;

const HIVE: HiveId = HiveId([5; 32]);

fn liar() -> KeyPair {
    KeyPair::from_secret(&[9; 32])
}

/// What an author says batch by batch from `start` on, and the next batch is never the same on two branches.
fn branch(start: &Store, batches: usize, flavour: u8) -> Vec<AuthorMap> {
    let mut store = start.clone();
    let mut states = Vec::new();
    for n in 0..batches {
        let key = Key {
            kind: 200,
            id: [u8::try_from(n % 7).expect("small"); 16],
        };
        let value = Some(alloc::vec![flavour, u8::try_from(n % 251).expect("small")]);
        let before = store.map(liar().node()).map_or(0, |map| map.head().hlc.0);
        let map = store
            .draft(&liar(), 1, Hlc(before + 1), alloc::vec![(key, value)])
            .expect("small");
        store.insert(map.clone());
        states.push(map);
    }
    states
}

fn after(states: &[AuthorMap]) -> Store {
    let mut store = Store::new(HIVE);
    for state in states {
        store.insert(state.clone());
    }
    store
}

/// Gives a state to a store as a push does, and whole if the push does not fit.
fn give(store: &mut Store, before: Option<&AuthorMap>, state: &AuthorMap) -> Option<Joined> {
    let pushed = store.join(&step(before, state), None);
    pushed
        .or_else(|_| store.join(&state.delta(None), None))
        .ok()
}

/// One comparison of heads: what the first tells, what the second answers, what comes of it.
fn audit(one: &mut Store, other: &mut Store) {
    for trace in one.traces(&[liar().node()]) {
        if let Some(head) = other.answer(&trace) {
            one.witness(&head.clone());
        }
    }
    if let Some((low, high)) = one.fork(liar().node()).copied() {
        other.join_proof(&low, &high);
    }
}

/// One run: two branches spread among honest members by pushes, some lost, and by members meeting.
struct Run {
    members: Vec<Store>,
    /// Whether comparing with the held state alone would have found it.
    found_by_held: bool,
}

fn run(seed: u64) -> Run {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut chance = Chance::from_seed(bytes);
    let common = branch(&Store::new(HIVE), 3, 0);
    let longest = |chance: &mut Chance| 1 + usize::try_from(chance.below(6)).expect("small");
    let (x, y) = (longest(&mut chance), longest(&mut chance));
    let branches = [branch(&after(&common), x, 1), branch(&after(&common), y, 2)];
    let mut members: Vec<Store> = (0..4).map(|_| after(&common)).collect();
    let mut found_by_held = false;
    let mut next = [0, 0];
    while next[0] < x || next[1] < y {
        let side = usize::from(chance.coin());
        if next[side] < branches[side].len() {
            let at = next[side];
            next[side] += 1;
            let before = at
                .checked_sub(1)
                .map_or(&common[2], |at| &branches[side][at]);
            // Each branch has its own audience, and a quarter of the pushes is lost.
            for member in [2 * side, 2 * side + 1] {
                if chance.below(4) > 0 {
                    let state = &branches[side][at];
                    found_by_held |= would_show(&members[member], state);
                    give(&mut members[member], Some(before), state);
                }
            }
        }
        if chance.below(6) == 0 {
            let from = usize::try_from(chance.below(4)).expect("small");
            let to = usize::try_from(chance.below(4)).expect("small");
            let state = members[from].map(liar().node()).expect("held").clone();
            found_by_held |= would_show(&members[to], &state);
            give(&mut members[to], None, &state);
        }
    }
    Run {
        members,
        found_by_held,
    }
}

fn would_show(member: &Store, state: &AuthorMap) -> bool {
    let held = member.map(liar().node()).expect("held");
    let arrives =
        (state.head().incarnation, state.head().seq) >= (held.head().incarnation, held.head().seq);
    arrives && contradicts(HIVE, held.head(), state.head())
}

#[test]
fn the_audit_finds_every_fork_of_which_honest_members_remember_two_sides() {
    let author = liar().node();
    let (mut forks, mut missed_by_held, mut missed_on_arrival) = (0, 0, 0);
    for seed in 0..400 {
        let Run {
            mut members,
            found_by_held,
        } = run(seed);
        let all: Vec<Head> = members
            .iter()
            .flat_map(|member| member.seen(author).copied())
            .collect();
        let proven = |members: &[Store]| members.iter().any(|it| it.fork(author).is_some());
        let two_sides = all
            .iter()
            .any(|one| all.iter().any(|two| contradicts(HIVE, one, two)));
        let on_arrival = proven(&members);
        forks += usize::from(two_sides || on_arrival);
        missed_by_held += usize::from(two_sides && !found_by_held);
        missed_on_arrival += usize::from(two_sides && !on_arrival);
        for one in 0..members.len() {
            for other in 0..members.len() {
                if one != other {
                    let mut answering = members[other].clone();
                    audit(&mut members[one], &mut answering);
                    members[other] = answering;
                }
            }
        }
        assert_eq!(proven(&members), two_sides || on_arrival, "seed {seed}");
    }
    // Seen: most runs fork before honest eyes, and comparing on arrival is not enough in some of them.
    assert!(forks > 300, "{forks}");
    assert!(missed_by_held >= missed_on_arrival);
    assert!(missed_on_arrival > 10, "{missed_on_arrival} of {forks}");
}

#[test]
fn a_batch_that_does_not_name_the_one_before_is_proof_although_newer_ones_came_between() {
    let common = branch(&Store::new(HIVE), 2, 0);
    let (x, y) = (branch(&after(&common), 1, 1), branch(&after(&common), 3, 2));
    // One saw the first branch, the other all but the first batch of the second one.
    let mut one = after(&common);
    give(&mut one, None, &x[0]);
    assert_eq!(give(&mut one, None, &y[2]), Some(Joined::Newer));
    assert!(one.fork(liar().node()).is_none(), "missed on arrival");
    let mut other = after(&y[1..]);
    audit(&mut one, &mut other);
    let proof = one.fork(liar().node()).expect("found");
    assert_eq!(*proof, (*x[0].head(), *y[1].head()));
    assert_eq!(other.fork(liar().node()), Some(proof));
}

#[test]
fn the_ring_remembers_the_last_batches_and_no_more() {
    let long = branch(&Store::new(HIVE), 40, 0);
    let store = after(&long);
    let mut seqs: Vec<u64> = store.seen(liar().node()).map(|head| head.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (25..=40).collect::<Vec<u64>>());
    let trace = store.traces(&[liar().node()]).remove(0);
    assert_eq!(trace.heads.len(), usize::from(limits::RING_HEADS));
    assert!(
        store.answer(&trace).is_none(),
        "who saw the same has nothing to add"
    );
}

#[test]
fn an_honest_author_is_never_proven_whatever_of_it_was_seen_and_in_any_order() {
    let states = branch(&Store::new(HIVE), 30, 0);
    for seed in 0..50_u64 {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut chance = Chance::from_seed(bytes);
        let mut pair = [Store::new(HIVE), Store::new(HIVE)];
        for _ in 0..60 {
            let at = usize::try_from(chance.below(30)).expect("small");
            let member = usize::from(chance.coin());
            give(&mut pair[member], None, &states[at]);
        }
        let [mut one, mut two] = pair;
        audit(&mut one, &mut two);
        audit(&mut two, &mut one);
        assert!(one.fork(liar().node()).is_none() && two.fork(liar().node()).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn proofs_join_to_the_same_one_in_any_order_and_only_genuine_ones_count(
        order in any::<u64>(), flip in any::<prop::sample::Index>(),
    ) {
        let common = branch(&Store::new(HIVE), 1, 0);
        let (x, y) = (branch(&after(&common), 3, 1), branch(&after(&common), 3, 2));
        let mut proofs: Vec<Proof> = Vec::new();
        for one in x.iter().chain(&common) {
            for two in &y {
                if contradicts(HIVE, one.head(), two.head()) {
                    proofs.push((*two.head(), *one.head()));
                }
            }
        }
        prop_assert!(proofs.len() >= 3);
        let mut straight = Store::new(HIVE);
        for (one, two) in &proofs {
            straight.join_proof(one, two);
        }
        let key = |proof: &Proof| blake3::hash(&[&proof.0.sig[..], &proof.1.sig[..], &order.to_le_bytes()].concat()).to_hex();
        proofs.sort_by_key(key);
        let mut shuffled = Store::new(HIVE);
        for (one, two) in proofs.iter().chain(&proofs) {
            shuffled.join_proof(two, one);
        }
        prop_assert_eq!(straight.fork(liar().node()), shuffled.fork(liar().node()));
        prop_assert_eq!(straight.fork_id(liar().node()), shuffled.fork_id(liar().node()));
        // One bit of a signature, and it is no proof.
        let (mut one, two) = proofs[0];
        let bit = flip.index(512);
        one.sig[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!Store::new(HIVE).join_proof(&one, &two));
    }
}

#[test]
fn a_later_lie_is_not_hidden_behind_an_old_one() {
    let author = liar().node();
    let mut store = Store::new(HIVE);
    let mut proofs = Vec::new();
    for incarnation in [1, 2] {
        let lie = |flavour: u8| {
            let key = Key {
                kind: 200,
                id: [7; 16],
            };
            let change = alloc::vec![(key, Some(alloc::vec![flavour]))];
            let map = store.draft(&liar(), incarnation, Hlc(u64::from(incarnation)), change);
            *map.expect("small").head()
        };
        proofs.push((lie(1), lie(2)));
    }
    for order in [[0, 1], [1, 0]] {
        let mut store = Store::new(HIVE);
        for at in order {
            store.join_proof(&proofs[at].0, &proofs[at].1);
        }
        assert_eq!(store.forked_in(author), Some(2));
        // Nor is the old one hidden behind it.
        let first = store.first_fork(author).expect("held, too");
        assert_eq!(first.0.incarnation, 1);
    }
    // What was said before the first proven one is compared, too.
    let mut early = Store::new(HIVE);
    early.join_proof(&proofs[1].0, &proofs[1].1);
    early.remember(proofs[0].0);
    assert_eq!(early.traces(&[author]).remove(0).heads.len(), 1);
    // What was said since is compared again.
    store.join_proof(&proofs[0].0, &proofs[0].1);
    store.remember(proofs[1].0);
    let trace = store.traces(&[author]).remove(0);
    assert_eq!(trace.heads.len(), 1);
    assert!(store.witness(&proofs[1].1));
    assert_eq!(store.forked_in(author), Some(2));
}

#[test]
fn equal_memories_have_equal_marks_and_only_what_differs_is_looked_at() {
    let author = liar().node();
    let head = |flavour: u8| {
        let key = Key {
            kind: 200,
            id: [7; 16],
        };
        let change = alloc::vec![(key, Some(alloc::vec![flavour]))];
        let map = Store::new(HIVE).draft(&liar(), 1, Hlc(1), change);
        *map.expect("small").head()
    };
    let seeing = |heads: &[Head]| {
        let mut store = Store::new(HIVE);
        for head in heads {
            store.remember(*head);
        }
        store
    };
    let (salt, authors) = ([3; 8], [author]);
    let (one, same, other) = (seeing(&[head(1)]), seeing(&[head(1)]), seeing(&[head(2)]));
    let marks = one.ring_marks(salt, &authors);
    assert_eq!(marks.len(), 1);
    assert_eq!(same.ring_marks(salt, &authors), marks);
    assert!(same.seen_otherwise(salt, &authors, &marks).is_empty());
    assert_eq!(other.seen_otherwise(salt, &authors, &marks), authors);
    // Another day's marks look otherwise, of the same memory.
    assert_ne!(one.ring_marks([4; 8], &authors), marks);
    assert_eq!(same.seen_otherwise([4; 8], &authors, &marks), authors);
    // Who saw nothing has nothing to compare, on either side.
    let nothing = seeing(&[]);
    assert!(nothing.ring_marks(salt, &authors).is_empty());
    assert!(nothing.seen_otherwise(salt, &authors, &marks).is_empty());
    assert!(one.seen_otherwise(salt, &authors, &[]).is_empty());
    // Of two whose names begin alike each is found by its own mark.
    let twin = RingMark {
        author: marks[0].author,
        check: [0; 4],
    };
    let mut both = alloc::vec![twin, marks[0]];
    both.sort_unstable();
    assert!(same.seen_otherwise(salt, &authors, &both).is_empty());
    assert_eq!(other.seen_otherwise(salt, &authors, &both), authors);
}
