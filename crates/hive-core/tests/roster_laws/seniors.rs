//! Laws of what seniors say of machines that change their keys, and of what the place of such a machine is worth.

use std::collections::BTreeSet;

use hive_core::hive::roster::Roster;
use hive_core::hive::views::counter::{Counters, cap};
use hive_core::id::PatternId;
use hive_core::limits::MEMBERS_MAX;
use hive_core::statement::{Role, SetRole, Statement, StrategyCell};
use hive_core::time::{Hlc, Span};
use hive_core::wire::Genesis;

use crate::authors::{Author, admit, genesis, node, revoke};
use crate::rotation::{HEIR, RIVAL, keeping, roster_of, small};
use crate::{names, store_of};

const ID: PatternId = PatternId([4; 16]);

/// More trials than any age allows.
fn boast() -> Statement {
    let cell = StrategyCell {
        trials: 1_000_000,
        wins: 1_000_000,
    };
    Statement::Strategy(ID, cell)
}

fn counted(genesis: &Genesis, authors: &[&Author]) -> u64 {
    let (store, roster) = roster_of(genesis, authors);
    Counters::of(&roster, &store).of_strategy(ID).trials
}

/// The founder lets in an admin and then another machine.
fn admin_and(role: Role) -> (Genesis, [Author; 3]) {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin)]);
    authors[0].say(vec![admit(2, role)]);
    authors[2].introduce(2);
    (genesis, authors)
}

/// The founder has seated the machine and its new keys when the admin is heard that removes it.
#[test]
fn a_removal_of_the_old_key_takes_all_keys_along_that_took_its_place() {
    for role in [Role::Member, Role::Admin] {
        let (genesis, mut authors) = admin_and(role);
        let mut heir = Author::new(HEIR, &genesis);
        heir.take_over(&authors[2]);
        let mut next = Author::new(RIVAL, &genesis);
        next.take_over(&heir);
        next.say(vec![admit(10, Role::Member)]);
        authors[1].say(vec![revoke(2)]);
        let all = [&authors[0], &authors[1], &authors[2], &heir, &next];
        let (_, roster) = roster_of(&genesis, &all);
        assert_eq!(names(&roster), BTreeSet::from([0, 1].map(node)), "{role:?}");
        for gone in [2, HEIR, RIVAL] {
            assert_eq!(roster.removed(node(gone)), Some(None), "{role:?} {gone}");
        }
    }
}

/// The recovery key is the only senior that a founder has.
#[test]
fn the_recovery_key_decides_who_took_the_founders_place() {
    let genesis = genesis(true);
    let mut authors = [0, 1].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin)]);
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[0]);
    let mut rival = Author::new(RIVAL, &genesis);
    rival.take_over(&authors[0]);
    let mut recovery = Author::recovery(&genesis);
    recovery.vouch(heir.map());
    let all = [&authors[0], &heir, &rival];
    let (_, roster) = roster_of(&genesis, &all);
    assert!(roster.order().iter().all(|it| *it == node(1)), "contested");
    let all = [&recovery, &authors[0], &heir, &rival];
    let (_, roster) = roster_of(&genesis, &all);
    assert_eq!(roster.order(), [HEIR, 1].map(node));
    assert!(!roster.stores(node(RIVAL)));
}

/// A plain member finds the key of an admin that came after it: it stays what it is.
#[test]
fn a_member_that_takes_the_place_of_an_admin_is_no_admin() {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Member)]);
    authors[0].say(vec![admit(2, Role::Admin)]);
    authors[2].say(vec![admit(3, Role::Member)]);
    let [_, member, admin] = &mut authors;
    member.take_over(admin);
    member.say(vec![admit(4, Role::Member), revoke(3)]);
    let (_, roster) = roster_of(&genesis, &[&authors[0], &authors[1], &authors[2]]);
    assert_eq!(roster.order(), [0, 1, 3].map(node));
    let role = roster.member(node(1)).map(|it| it.role);
    assert_eq!(role, Some(Role::Member));
    assert!(roster.outranks(node(0), node(1)) && !roster.outranks(node(1), node(3)));
}

/// The founder has seated the machine and its new key when the admin is heard that changes its role.
#[test]
fn a_word_on_the_role_of_an_old_key_holds_for_the_new_one_unless_that_is_named_itself() {
    for expected in [Role::Member, Role::Admin] {
        let (genesis, mut authors) = admin_and(Role::Admin);
        let mut heir = Author::new(HEIR, &genesis);
        heir.take_over(&authors[2]);
        let set = |n, role| {
            let node = node(n);
            Statement::SetRole(SetRole { node, role })
        };
        authors[1].say(vec![set(2, Role::Member)]);
        if expected == Role::Admin {
            authors[1].say(vec![set(HEIR, expected)]);
        }
        let all = [&authors[0], &authors[1], &authors[2], &heir];
        let (_, roster) = roster_of(&genesis, &all);
        let role = roster.member(node(HEIR)).map(|it| it.role);
        assert_eq!(role, Some(expected));
    }
}

/// Whom nobody let in nothing is kept of, whatever an admin says of it that nobody signed.
#[test]
fn a_forged_word_on_a_removed_machine_makes_nobody_a_former_member() {
    let (genesis, mut authors) = small();
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    let word = heir.map().member_statements().next().expect("one").1;
    let Statement::Rotate(genuine) = word else {
        panic!("it says nothing else");
    };
    let mut forged = genuine;
    forged.sigs[0][0] ^= 1;
    for (word, was_in) in [(genuine, true), (forged, false)] {
        let mut founder = Author::new(0, &genesis);
        founder.say(vec![admit(1, Role::Admin)]);
        founder.say(vec![Statement::Rotate(word), revoke(HEIR)]);
        founder.say(vec![keeping(&authors[1])]);
        let (_, roster) = roster_of(&genesis, &[&founder, &authors[1]]);
        assert_eq!(roster.was_in(node(HEIR)), was_in);
    }
    authors[0].say(vec![Statement::Rotate(forged)]);
    let all = [&authors[0], &authors[1], &authors[2]];
    let (_, roster) = roster_of(&genesis, &all);
    assert_eq!(roster.order(), [0, 1, 2].map(node));
}

/// Each admin has its share of the places, however often its machine, or another one, has changed its key.
#[test]
fn a_new_key_takes_no_places_from_anybody() {
    let (genesis, mut authors) = admin_and(Role::Admin);
    authors[1].introduce(1);
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[1]);
    heir.introduce(1);
    let mut next = Author::new(RIVAL, &genesis);
    next.take_over(&heir);
    let share = (MEMBERS_MAX - 3) / 2;
    let let_in = (0..share).map(|n| admit(1_000 + n, Role::Member));
    authors[2].say(let_in.collect());
    let all = [&authors[0], &authors[1], &authors[2], &heir, &next];
    let (_, roster) = roster_of(&genesis, &all);
    assert_eq!(roster.order().len(), 3 + share);
}

/// The old key's cell counts until the new one says it again: no further than the machine's age allows.
#[test]
fn an_old_key_that_is_used_no_more_may_not_claim_more_trials_than_before() {
    let (genesis, mut authors) = small();
    authors[2].say(vec![boast()]);
    let young = cap(Span(0));
    let all = [&authors[0], &authors[1], &authors[2]];
    assert_eq!(counted(&genesis, &all), young);
    let mut heir = Author::new(HEIR, &genesis);
    heir.take_over(&authors[2]);
    let all = [&authors[0], &authors[1], &authors[2], &heir];
    assert_eq!(counted(&genesis, &all), young, "its place has a new key");
}

#[test]
fn a_founder_does_not_become_young_by_an_admission_of_the_key_that_it_had() {
    let (genesis, mut authors) = small();
    authors[1].say(vec![admit(0, Role::Member)]);
    let mut founder = Author::new(HEIR, &genesis);
    founder.take_over(&authors[0]);
    founder.say(vec![boast()]);
    let all = [&authors[0], &authors[1], &authors[2], &founder];
    assert_eq!(counted(&genesis, &all), 1_000_000);
}

/// Who finds the old key of an admin may say that it let somebody in long ago.
#[test]
fn what_an_old_key_says_after_it_was_handed_over_makes_nobody_older() {
    let (genesis, mut authors) = small();
    let hours = |n: u64| Hlc((n * 3_600_000) << 16);
    let mut thief = Author::new(1, &genesis);
    thief.steal(true);
    thief.say_at(Hlc(1), vec![admit(3, Role::Member)]);
    let mut admin = Author::new(HEIR, &genesis);
    admin.take_over(&authors[1]);
    authors[0].say_at(hours(10), vec![admit(3, Role::Member)]);
    admin.introduce(1);
    let mut machine = Author::new(3, &genesis);
    machine.say_at(hours(10), vec![boast()]);
    let all = [&authors[0], &admin, &machine];
    let maps = all.iter().filter_map(|it| it.said());
    // The thief was heard before the new key.
    let store = store_of(&genesis, [thief.map()].into_iter().chain(maps));
    let roster = Roster::of(&genesis, &store);
    assert!(roster.has(node(3)) && roster.has(node(HEIR)));
    assert!(!roster.counts(thief.map()));
    let trials = Counters::of(&roster, &store).of_strategy(ID).trials;
    assert_eq!(trials, cap(Span(0)));
}
