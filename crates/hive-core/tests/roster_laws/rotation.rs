//! Laws of keys that took over from other keys: the place goes over whole, whoever finds the old key has nothing
//! of it, and all views agree.

use std::collections::BTreeSet;

use hive_core::hive::roster::Roster;
use hive_core::hive::store::{AuthorMap, DeltaError, Store};
use hive_core::hive::views::counter::{Counters, cap};
use hive_core::id::{NodeId, PatternId};
use hive_core::limits::KEYS_MAX;
use hive_core::statement::{Forgive, Revoke, Role, SetRole, Statement, StrategyCell};
use hive_core::time::Span;
use hive_core::wire::Genesis;
use proptest::prelude::*;

use crate::authors::{Author, Observer, admit, genesis, node, revoke};
use crate::{Theft, build, names, steal, store_of, theft};

/// The number of the new key: no honest machine's and no sybil's.
pub(crate) const HEIR: usize = 150;

/// The number of the key to which the thief hands the place.
pub(crate) const RIVAL: usize = 151;

/// A hive in which a key was handed over, and is then found by a thief.
struct Turned {
    genesis: Genesis,
    before: Roster,
    honest: Vec<AuthorMap>,
    old: NodeId,
    heir: AuthorMap,
    /// What the thief says under the old key, and its sybils.
    stolen: Vec<AuthorMap>,
    /// The thief hands the place over, too.
    rival: AuthorMap,
    /// The founder's map with its word on whose place it is.
    vouched: AuthorMap,
}

fn turn(theft: &Theft) -> Turned {
    let genesis = genesis(theft.by_recovery);
    let (mut authors, before) = build(theft, &genesis);
    let place = theft.thief % authors.len();
    let honest: Vec<AuthorMap> = authors.iter().map(|it| it.map().clone()).collect();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[place]);
    let heir = heir.map().clone();
    let stolen = steal(theft, &genesis, &mut authors[place], &honest);
    let mut rival = Author::new(RIVAL, &genesis);
    rival.take_over(&authors[place]);
    let old = authors[place].node();
    authors[0].vouch(&heir);
    Turned {
        genesis,
        before,
        honest,
        old,
        heir,
        stolen,
        rival: rival.map().clone(),
        vouched: authors[0].map().clone(),
    }
}

fn order_with(before: &Roster, old: NodeId, new: NodeId) -> Vec<NodeId> {
    let order = before.order().iter();
    let turned = order.map(|it| if *it == old { new } else { *it });
    turned.collect()
}

/// Everybody who is nobody's thief hears all of it, in several orders: who belongs, and the hash over what is held.
fn heard(theft: &Theft, told: &Turned, maps: &[&AuthorMap]) -> BTreeSet<(Vec<String>, String)> {
    let honest = told.honest.iter().map(|it| it.head().author);
    // The founder knows nobody at first, and would hear nothing.
    let watchers = honest.filter(|it| *it != told.old && *it != node(0));
    let watchers: Vec<NodeId> = watchers.collect();
    let mut relays: Vec<NodeId> = maps.iter().map(|it| it.head().author).collect();
    relays.sort_by_key(|it| !watchers.contains(it));
    let mut seen = BTreeSet::new();
    for (place, seed) in theft.orders.iter().enumerate() {
        let me = watchers[place % watchers.len()];
        let mut observer = Observer::new(me, &told.genesis);
        if told.old == node(0) {
            // Who has not heard of the new key believes whoever has the founder's: that is its known limit.
            let first: Vec<&AuthorMap> = told.honest.iter().collect();
            observer.hear_all(&first, &[node(0)], *seed);
            observer.hear_all(&[&told.heir], &relays, *seed);
        }
        observer.hear_all(maps, &relays, *seed);
        seen.insert((observer.members(), observer.view()));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn the_new_key_has_the_old_ones_place_and_the_thief_has_nothing(theft in theft()) {
        let told = turn(&theft);
        let mut store = store_of(&told.genesis, told.honest.iter().chain([&told.heir]));
        let roster = Roster::of(&told.genesis, &store);
        let new = told.heir.head().author;
        prop_assert_eq!(roster.order(), order_with(&told.before, told.old, new));
        for (was, is) in told.before.order().iter().zip(roster.order()) {
            let role = |roster: &Roster, node| roster.member(node).map(|it| it.role);
            prop_assert_eq!(role(&told.before, *was), role(&roster, *is));
            for (other_was, other_is) in told.before.order().iter().zip(roster.order()) {
                let before = told.before.outranks(*was, *other_was);
                prop_assert_eq!(before, roster.outranks(*is, *other_is));
            }
        }
        prop_assert!(roster.is_gone(told.old));
        let keep = roster.removed(told.old).expect("it is used no more");
        for map in &told.stolen {
            let sealed = keep.filter(|_| map.head().author == told.old);
            let joined = store.join(&map.delta(None), sealed);
            prop_assert!(sealed.is_none() || joined == Err(DeltaError::Sealed));
        }
        prop_assert_eq!(Roster::of(&told.genesis, &store), roster);
    }

    #[test]
    fn everybody_agrees_on_the_new_key_whatever_the_thief_says_and_in_whatever_order(theft in theft()) {
        let told = turn(&theft);
        let maps: Vec<&AuthorMap> =
            told.honest.iter().chain(&told.stolen).chain([&told.heir]).collect();
        let seen = heard(&theft, &told, &maps);
        prop_assert_eq!(seen.len(), 1, "the views differ");
        let expected = order_with(&told.before, told.old, told.heir.head().author);
        let expected: Vec<String> = expected.iter().map(|it| format!("{it}")).collect();
        prop_assert_eq!(&seen.first().expect("one").0, &expected);
    }

    #[test]
    fn a_place_that_two_keys_claim_is_nobodys_until_a_senior_has_said_whose(theft in theft()) {
        let told = turn(&theft);
        let (new, rival) = (told.heir.head().author, told.rival.head().author);
        let maps: Vec<&AuthorMap> = told.honest.iter().chain([&told.heir, &told.rival]).collect();
        let store = store_of(&told.genesis, maps.iter().copied());
        let roster = Roster::of(&told.genesis, &store);
        prop_assert!(![told.old, new, rival].iter().any(|it| roster.has(*it)));
        prop_assert!(roster.stores(new) && roster.stores(rival));
        prop_assert_eq!(heard(&theft, &told, &maps).len(), 1, "the views differ");
        if told.old != node(0) {
            let mut maps = maps.clone();
            maps.retain(|it| it.head().author != node(0));
            maps.push(&told.vouched);
            let store = store_of(&told.genesis, maps.iter().copied());
            let roster = Roster::of(&told.genesis, &store);
            prop_assert_eq!(roster.order(), order_with(&told.before, told.old, new));
            prop_assert!(!roster.stores(rival), "it is of no use to anybody");
            prop_assert_eq!(heard(&theft, &told, &maps).len(), 1, "the views differ");
        }
    }
}

pub(crate) fn small() -> (Genesis, [Author; 3]) {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin)]);
    authors[1].say(vec![admit(2, Role::Member)]);
    authors[2].introduce(2);
    (genesis, authors)
}

pub(crate) fn roster_of(genesis: &Genesis, authors: &[&Author]) -> (Store, Roster) {
    let maps = authors.iter().filter_map(|it| it.said());
    let store = store_of(genesis, maps);
    let roster = Roster::of(genesis, &store);
    (store, roster)
}

#[test]
fn a_place_goes_from_key_to_key_as_often_as_it_may_and_what_each_let_in_stays() {
    let (genesis, authors) = small();
    let mut chain = vec![Author::new(160, &genesis)];
    chain[0].take_over(&authors[1]);
    for step in 1..=KEYS_MAX {
        let last = &mut chain[step - 1];
        last.say(vec![admit(10 + step, Role::Member)]);
        let mut next = Author::new(160 + step, &genesis);
        next.take_over(last);
        chain.push(next);
    }
    let all: Vec<&Author> = authors.iter().chain(&chain).collect();
    let (_, roster) = roster_of(&genesis, &all);
    let holder = chain[KEYS_MAX - 1].node();
    assert_eq!(roster.keys_before(holder), KEYS_MAX);
    assert!(!roster.has(chain[KEYS_MAX].node()), "once too often");
    // What the earlier keys let in is senior to what the later ones did.
    let order = [0, 0, 2].map(node);
    let mut order = order.to_vec();
    order[1] = holder;
    order.extend((1..=KEYS_MAX).map(|step| node(10 + step)));
    assert_eq!(roster.order(), order);
    assert!(roster.outranks(holder, node(2)) && !roster.outranks(holder, node(0)));
}

#[test]
fn who_was_removed_by_a_senior_has_nothing_to_hand_over() {
    let (genesis, mut authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    authors[0].say(vec![revoke(1)]);
    let all = [&authors[0], &authors[1], &authors[2], &heir];
    let (_, roster) = roster_of(&genesis, &all);
    assert_eq!(names(&roster), BTreeSet::from([node(0)]));
}

#[test]
fn who_has_left_comes_back_by_no_new_key() {
    let (genesis, mut authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    authors[2].say(vec![revoke(2)]);
    heir.take_over(&authors[2]);
    let mut next = Author::new(RIVAL, &genesis);
    next.take_over(&heir);
    let all = [&authors[0], &authors[1], &authors[2], &heir, &next];
    let (_, roster) = roster_of(&genesis, &all);
    assert_eq!(roster.order(), [0, 1].map(node));
    assert!(roster.left(node(RIVAL)));
}

#[test]
fn a_key_that_belongs_already_takes_no_second_place() {
    let (genesis, mut authors) = small();
    let [_, admin, member] = &mut authors;
    member.take_over(admin);
    let (_, roster) = roster_of(&genesis, &[&authors[0], &authors[1], &authors[2]]);
    assert!(roster.is_gone(node(1)), "it signed its place away");
    assert!(roster.heir(node(1)).is_some());
    // The member was let in by that very key, after it gave up its place to it: it stands there.
    assert!(roster.has(node(2)));
}

#[test]
fn a_forged_word_hands_nothing_over() {
    let (genesis, authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    let word = heir.map().member_statements().next().expect("one").1;
    let Statement::Rotate(mut forged) = word else {
        panic!("it says nothing else");
    };
    forged.sigs[0][0] ^= 1;
    let mut thief = Author::new(HEIR, &genesis);
    thief.say(vec![Statement::Rotate(forged)]);
    let all = [&authors[0], &authors[1], &authors[2], &thief];
    let (_, roster) = roster_of(&genesis, &all);
    assert_eq!(roster.order(), [0, 1, 2].map(node));
    assert!(!roster.stores(node(HEIR)));
}

/// What the founder says with its own new key decides too, although its old key let the machine in.
#[test]
fn the_first_word_of_a_founder_that_has_a_new_key_itself_decides() {
    const FOUNDER: usize = 152;
    let (genesis, authors) = small();
    let mut founder = Author::new(FOUNDER, &genesis);
    founder.take_over(&authors[0]);
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    founder.vouch(heir.map());
    let mut rival = Author::new(RIVAL, &genesis);
    rival.take_over(&authors[1]);
    let all = [
        &authors[0],
        &authors[1],
        &authors[2],
        &founder,
        &heir,
        &rival,
    ];
    let (_, roster) = roster_of(&genesis, &all);
    assert!(roster.has(node(HEIR)), "{:?}", roster.order());
    assert!(!roster.has(node(RIVAL)) && !roster.has(node(1)));
    // A removal that keeps nothing takes the map away with which the new key took over, and leaves no old key behind.
    founder.say(vec![revoke(HEIR)]);
    let without = [&authors[0], &authors[1], &authors[2], &founder];
    let (_, roster) = roster_of(&genesis, &without);
    assert!(!roster.has(node(HEIR)) && !roster.has(node(1)));
}

/// A thief goes on with the old key and contradicts what was said with it: that is not the machine's word any more.
#[test]
fn a_contradiction_after_the_handing_over_is_not_held_against_what_was_said_before() {
    let (genesis, mut authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    let honest: Vec<AuthorMap> = authors.iter().map(|it| it.map().clone()).collect();
    let mut store = store_of(&genesis, honest.iter().chain([heir.map()]));
    let kept = *authors[1].map().head();
    authors[1].say(vec![admit(78, Role::Member)]);
    let mut twin = Author::new(1, &genesis);
    while twin.said().is_none_or(|map| map.head().seq < kept.seq) {
        twin.say(vec![admit(77, Role::Member)]);
    }
    let before = *twin.map().head();
    twin.say(vec![admit(77, Role::Member)]);
    let (one, two) = (*authors[1].map().head(), *twin.map().head());
    let quarantined = |store: &Store| Roster::of(&genesis, store).quarantines(node(1), store);
    let mut after = store.clone();
    assert!(after.join_proof(&one, &two), "it is a contradiction");
    assert!(!quarantined(&after));
    // Nor if only the later one of the two is from after it.
    let mut across = store.clone();
    assert!(across.join_proof(&kept, &two), "a contradiction as well");
    assert!(!quarantined(&across));
    // What it contradicted before is.
    assert!(
        store.join_proof(&kept, &before),
        "it is a contradiction, too"
    );
    assert!(quarantined(&store));
}

/// Nor by a contradiction that reaches over the handing over, whatever heads the old key makes up for it: of two that begin
/// with one number, the one that was complete first is kept.
#[test]
fn a_contradiction_from_before_is_not_hidden_behind_one_that_reaches_over_the_handing_over() {
    let (genesis, mut authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    let all = authors.iter().chain([&heir]).filter_map(|it| it.said());
    let store = store_of(&genesis, all);
    let kept = *authors[1].map().head();
    let other = |n: usize| {
        let mut twin = Author::new(1, &genesis);
        twin.say(vec![admit(n, Role::Member)]);
        *twin.map().head()
    };
    let before = other(77);
    assert_eq!(before.seq, kept.seq);
    let hive = genesis.hive();
    let least = kept.id(hive).min(before.id(hive));
    let made_up = (10..200).map(other).find(|it| it.id(hive) < least);
    let made_up = made_up.expect("one in three is");
    authors[1].say(vec![admit(78, Role::Member)]);
    let after = *authors[1].map().head();
    for before_first in [true, false] {
        let mut store = store.clone();
        let mut proofs = [(kept, before), (made_up, after)];
        if !before_first {
            proofs.reverse();
        }
        for (one, two) in proofs {
            store.join_proof(&one, &two);
        }
        let roster = Roster::of(&genesis, &store);
        assert!(roster.quarantines(node(1), &store), "{before_first}");
    }
}

/// A machine that contradicted itself does not get rid of that by handing its place over and contradicting itself again.
#[test]
fn a_contradiction_from_before_is_not_hidden_behind_one_after_the_handing_over() {
    let (genesis, mut authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    let kept = *authors[1].map().head();
    let mut twin = Author::new(1, &genesis);
    while twin.said().is_none_or(|map| map.head().seq < kept.seq) {
        twin.say(vec![admit(77, Role::Member)]);
    }
    let after = |n: usize| {
        let mut again = Author::in_incarnation(1, &genesis, 2);
        again.say(vec![admit(n, Role::Member)]);
        *again.map().head()
    };
    let (early, late) = ((kept, *twin.map().head()), (after(77), after(78)));
    let all = authors.iter().chain([&heir]).filter_map(|it| it.said());
    let store = store_of(&genesis, all);
    let quarantined = |store: &Store| Roster::of(&genesis, store).quarantines(node(1), store);
    let mut ids = BTreeSet::new();
    let mut held = Vec::new();
    for order in [[early, late], [late, early]] {
        let mut store = store.clone();
        for (one, two) in order {
            assert!(store.join_proof(&one, &two), "each says something new");
        }
        assert!(quarantined(&store), "the later one hides it");
        assert_eq!(store.proofs(node(1)).count(), 2);
        ids.insert(store.fork_id(node(1)));
        held.push(store);
    }
    assert_eq!(ids.len(), 1, "all members hold the same");
    let mut late_alone = store.clone();
    assert!(late_alone.join_proof(&late.0, &late.1));
    let id = late_alone.fork_id(node(1));
    assert!(!ids.contains(&id), "who lacks one of the two is told of it");
    // An admin may forgive it, which does not make the thief's word the machine's.
    let forgive = Forgive {
        author: node(1),
        through: 1,
    };
    authors[0].say(vec![Statement::Forgive(forgive)]);
    held[0].insert(authors[0].map().clone());
    assert!(!quarantined(&held[0]));
}

pub(crate) fn keeping(author: &Author) -> Statement {
    let keep = Some(author.map().head_ref());
    let node = author.node();
    Statement::Revoke(Revoke { node, keep })
}

/// A machine with its third key is removed, and nothing of that key is kept: what it said under the two before counts,
/// whether its remover is heard before or after it is seated, and whichever key it names first.
#[test]
fn what_a_removal_keeps_of_the_keys_before_counts() {
    for (remover, first) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let genesis = genesis(false);
        let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
        if remover == 0 {
            // The founder's removals are heard before the machine has a seat.
            authors[0].say(vec![admit(1, Role::Admin)]);
            authors[1].say(vec![admit(2, Role::Member)]);
        } else {
            authors[0].say(vec![admit(1, Role::Admin)]);
            authors[0].say(vec![admit(2, Role::Member)]);
        }
        authors[2].introduce(2);
        let mut second = Author::new(HEIR, &genesis);
        second.take_over(&authors[2]);
        second.introduce(2);
        let mut third = Author::new(RIVAL, &genesis);
        third.take_over(&second);
        authors[remover].vouch(second.map());
        authors[remover].vouch(third.map());
        let mut words = [keeping(&authors[2]), keeping(&second)];
        words.rotate_left(first);
        authors[remover].say(vec![revoke(RIVAL)]);
        for word in words {
            authors[remover].say(vec![word]);
        }
        let said = authors.iter().filter_map(|it| it.said());
        let store = store_of(&genesis, said.chain([second.map()]));
        let roster = Roster::of(&genesis, &store);
        let case = format!("{remover} {first}");
        assert_eq!(roster.order(), [0, 1].map(node), "{case}");
        for kept in [&authors[2], &second] {
            let node = kept.node();
            assert_eq!(
                roster.removed(node),
                Some(Some(kept.map().head_ref())),
                "{case}"
            );
            assert!(roster.stores(node) && roster.counts(kept.map()), "{case}");
        }
        assert_eq!(roster.removed(third.node()), Some(None), "{case}");
        assert!(
            roster.was_in(third.node()),
            "its removal is to be told: {case}"
        );
    }
}

/// What an admin vouches for decides as long as it is one.
#[test]
fn a_new_key_that_may_not_admit_any_more_decides_nothing() {
    for demoted in [false, true] {
        let (genesis, mut authors) = small();
        let mut admin = Author::new(152, &genesis);
        admin.take_over(&authors[1]);
        let mut heir = Author::new(HEIR, &genesis);
        heir.take_over(&authors[2]);
        let mut rival = Author::new(RIVAL, &genesis);
        rival.take_over(&authors[2]);
        admin.vouch(heir.map());
        if demoted {
            let (node, role) = (admin.node(), Role::Member);
            authors[0].say(vec![Statement::SetRole(SetRole { node, role })]);
        }
        let all = [&authors[0], &authors[1], &authors[2], &admin, &heir, &rival];
        let (_, roster) = roster_of(&genesis, &all);
        assert!(roster.has(admin.node()));
        assert_eq!(roster.has(heir.node()), !demoted);
        assert!(!roster.has(rival.node()));
    }
}

/// As many trials count as the machine's time as a member allows, whatever key it says them with, and whatever key let
/// it in.
#[test]
fn a_new_key_may_not_claim_more_trials_than_the_old_one() {
    let id = PatternId([4; 16]);
    let cell = StrategyCell {
        trials: 1_000_000,
        wins: 1_000_000,
    };
    let counted = |authors: &[&Author], genesis: &Genesis| {
        let (store, roster) = roster_of(genesis, authors);
        Counters::of(&roster, &store).of_strategy(id).trials
    };
    let young = cap(Span(0));
    let (genesis, authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[2]);
    heir.say(vec![Statement::Strategy(id, cell)]);
    let all = [&authors[0], &authors[1], &authors[2], &heir];
    assert_eq!(counted(&all, &genesis), young, "under its new key");
    let mut admin = Author::new(RIVAL, &genesis);
    admin.take_over(&authors[1]);
    let all = [&authors[0], &authors[1], &authors[2], &heir, &admin];
    assert_eq!(counted(&all, &genesis), young, "let in by an old key");
    // The founder was there from the start, also under a new key.
    let mut founder = Author::new(152, &genesis);
    founder.take_over(&authors[0]);
    founder.say(vec![Statement::Strategy(id, cell)]);
    let all = [&authors[0], &authors[1], &authors[2], &founder];
    assert_eq!(counted(&all, &genesis), cell.trials);
}
