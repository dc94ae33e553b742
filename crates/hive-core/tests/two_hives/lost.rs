//! Machines that lost their disk and kept their key: nothing is said before it is known what was said.

use hive_core::event_log::Happening;
use hive_core::hive::ticket::Invitation;
use hive_core::reply::{CommandError, JoinStage};
use hive_core::statement::{Role, Statement};
use hive_core::time::Span;

use crate::pattern;
use crate::world::World;

/// A founder and a plain member, or two.
fn founder_and(members: usize) -> World {
    let mut world = World::new(members + 1);
    for at in 1..=members {
        world.join_as(at, 0, Role::Member);
    }
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    world
}

fn is_lost(world: &World, at: usize) -> bool {
    world.needs(at).iter().any(|need| need.code == "node.lost")
}

fn assert_whole(world: &World, machines: usize, patterns: usize) {
    for at in 0..machines {
        assert_eq!(world.members(at).len(), machines, "machine {at}");
        assert_eq!(world.hives[at].advice().patterns.len(), patterns, "{at}");
        assert_eq!(world.view(at), world.view(0), "machine {at}");
        assert!(world.needs(at).is_empty(), "{:?}", world.needs(at));
    }
}

#[test]
fn a_founder_that_lost_its_maps_expels_nobody_and_gets_its_own_back() {
    let mut world = founder_and(2);
    world.lose_all_maps(0);
    // For a day it meets nobody, and would have something to say.
    world.cut(0, 1);
    world.cut(0, 2);
    world.restart(0);
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(86_400));
    assert!(is_lost(&world, 0));
    let me = world.hives[0].me();
    assert!(world.disk_store(0).map(me).is_none(), "it signed something");
    // Not after another start either.
    world.restart(0);
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(3_600));
    assert!(is_lost(&world, 0) && world.disk_store(0).map(me).is_none());
    world.heal(0, 1);
    world.heal(0, 2);
    world.run(Span::from_secs(4 * 3_600));
    assert_whole(&world, 3, 2);
}

#[test]
fn a_founder_whose_own_map_alone_is_damaged_waits_for_it_too() {
    let mut world = founder_and(1);
    world.cut(0, 1);
    world.damage_own_map(0);
    world.restart(0);
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(86_400));
    assert!(is_lost(&world, 0));
    world.heal(0, 1);
    world.run(Span::from_secs(4 * 3_600));
    assert_whole(&world, 2, 2);
}

#[test]
fn a_founder_that_kept_nothing_but_its_key_is_let_back_by_a_plain_member() {
    let mut world = founder_and(1);
    let hive = world.hive_id(1);
    world.lose_everything(0);
    world.restart(0);
    world.run(Span::from_secs(60));
    assert_ne!(world.hive_id(0), hive, "it founded another one");
    let now = world.now();
    let invite = world.hives[1]
        .invite(now, &Invitation::default())
        .expect("a member");
    assert!(invite.only_back);
    world.settle();
    world.start_join(0, &invite.code);
    world.run(Span::from_secs(3));
    let who = world.pending(1)[0].node.clone();
    // A restart of the one who asks does not decide it, nor does one of the other.
    world.restart(1);
    world.run(Span::from_secs(30));
    assert_eq!(world.pending(1).len(), 1);
    assert_eq!(world.join_state(0).stage, JoinStage::Waiting);
    world.approve(1, &who).expect("it belongs already");
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(4 * 3_600));
    assert_eq!(world.hive_id(0), hive);
    // What it said while it was in a hive of its own is not carried over.
    assert!(world.pending(1).is_empty());
    world.publish(0, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(30));
    assert_whole(&world, 2, world.hives[0].advice().patterns.len());
    let me = world.hives[0].me();
    assert!(world.hives[1].members(world.now()).members[0].node == format!("{me}"));
    assert!(
        world.hives[1]
            .advice()
            .patterns
            .contains_key(&pattern(3).id())
    );
    assert!(
        world.hives[1]
            .advice()
            .patterns
            .contains_key(&pattern(1).id())
    );
}

#[test]
fn a_member_that_kept_nothing_but_its_key_comes_back_as_what_it_was() {
    let mut world = founder_and(2);
    world.publish(2, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(20));
    world.lose_everything(2);
    world.restart(2);
    world.join(2, 0);
    world.run(Span::from_secs(60));
    assert_whole(&world, 3, 2);
    // It goes on where it was.
    world.publish(2, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(30));
    assert_whole(&world, 3, 3);
}

#[test]
fn a_plain_member_lets_nobody_in_who_did_not_belong() {
    let mut world = World::new(3);
    world.join_as(1, 0, Role::Member);
    world.run(Span::from_secs(10));
    let code = world.invite(1);
    world.start_join(2, &code);
    world.run(Span::from_secs(20));
    assert_eq!(world.join_state(2).stage, JoinStage::Failed);
    let error = world.join_state(2).error.expect("a reason");
    assert_eq!(error.code, "join.only_back");
    assert!(world.pending(1).is_empty());
    assert_eq!(world.members(0).len(), 2);
}

/// A machine that kept nothing but its key proves a code of the founder's: what it is told, when it may not come in.
fn told_to_the_bare(world: &mut World, at: usize) -> CommandError {
    let code = world.invite(0);
    world.start_join_at(at, &code, 0);
    world.run(Span::from_secs(3));
    let node = world.hives[at].me().short();
    let in_vain = Happening::AsksInVain { node };
    assert!(world.told[0].contains(&in_vain), "the inviter says nothing");
    assert!(world.pending(0).is_empty());
    let state = world.join_state(at);
    assert_eq!(state.stage, JoinStage::Failed);
    // The code is still good for a machine that may.
    world.start_join_at(3, &code, 0);
    world.run(Span::from_secs(3));
    assert_eq!(world.join_state(3).stage, JoinStage::Waiting);
    state.error.expect("a reason")
}

#[test]
fn a_key_that_was_handed_over_or_removed_is_told_so_when_it_asks_to_come_back() {
    let mut world = World::new(4);
    world.join_as(1, 0, Role::Member);
    world.join_as(2, 0, Role::Member);
    world.run(Span::from_secs(30));
    let key = world.secret(2);
    world.rotate(2).expect("somebody hears it");
    world.run(Span::from_secs(60));
    world.lose_everything(2);
    let nothing = world.backup(2);
    world.put_back_with_key(2, &nothing, key);
    let error = told_to_the_bare(&mut world, 2);
    assert_eq!(error.code, "join.moved");
    assert!(error.try_next.contains("hive leave"), "{error:?}");

    let label = world.label(1);
    world.remove(0, &label).expect("it outranks it");
    world.lose_everything(1);
    world.restart(1);
    world.deny(0, &world.pending(0)[0].node.clone());
    let error = told_to_the_bare(&mut world, 1);
    assert_eq!(error.code, "join.was_out");
    assert!(error.try_next.contains("hive leave"), "{error:?}");
}

#[test]
fn a_member_that_is_let_back_before_its_request_is_durable_comes_in() {
    let mut world = founder_and(1);
    world.lose_everything(1);
    world.restart(1);
    let code = world.invite(0);
    world.hold_saves = true;
    world.start_join_at(1, &code, 0);
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("it belongs already");
    world.run(Span::from_secs(3));
    assert_eq!(world.join_state(1).stage, JoinStage::Proving);
    world.hold_saves = false;
    world.release_saves();
    world.settle();
    world.run(Span::from_secs(60));
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
    assert_whole(&world, 2, 1);
}

#[test]
fn the_name_that_a_person_gave_comes_back_with_the_key() {
    let mut world = founder_and(2);
    world.rename(2, "gamma");
    world.run(Span::from_secs(30));
    world.lose_everything(2);
    world.restart(2);
    assert_eq!(world.label(2), "machine 2", "the first one of a new store");
    world.join(2, 0);
    world.run(Span::from_secs(60));
    for at in 0..3 {
        let me = world.hives[2].me();
        assert_eq!(world.hives[at].label_of(me), "gamma", "machine {at}");
    }
    world.restart(2);
    assert_eq!(world.label(2), "gamma");

    // Whoever is named while it stands alone is called so, also when it was started anew meanwhile.
    world.lose_everything(2);
    world.restart(2);
    world.rename(2, "delta");
    world.run(Span::from_secs(60));
    world.restart(2);
    world.join(2, 0);
    world.run(Span::from_secs(60));
    let me = world.hives[2].me();
    assert_eq!(world.hives[0].label_of(me), "delta");
    // From now on others know it: a later loss gives back what they know.
    let backup = world.backup(2);
    world.rename(2, "epsilon");
    world.run(Span::from_secs(60));
    world.put_back(2, &backup);
    world.restart(2);
    world.run(Span::from_secs(60));
    assert_eq!(world.label(2), "epsilon");
    assert_eq!(world.hives[0].label_of(me), "epsilon");
}

#[test]
fn a_newcomer_says_that_it_knows_all_when_another_one_holds_the_same() {
    let mut world = founder_and(2);
    world.publish(2, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(20));
    let code = world.invite(0);
    world.lose_everything(2);
    world.restart(2);
    world.start_join(2, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    world.hold_saves = true;
    world.approve(0, &who).expect("it waits");
    assert!(!world.join_state(2).whole);
    world.hold_saves = false;
    world.release_saves();
    world.settle();
    world.run(Span::from_secs(5));
    let state = world.join_state(2);
    assert_eq!((state.stage, state.whole), (JoinStage::Member, true));
    assert_eq!(world.members(2).len(), 3);
    // With nobody to compare with, it does not know.
    world.lose_everything(2);
    world.restart(2);
    let code = world.invite(0);
    world.start_join(2, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    world.cut(1, 2);
    world.approve(0, &who).expect("it waits");
    assert_eq!(world.join_state(2).stage, JoinStage::Member);
}

#[test]
fn a_machine_that_was_always_alone_goes_on_when_its_map_is_damaged() {
    let mut world = World::new(1);
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    world.damage_own_map(0);
    world.restart(0);
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(30));
    assert!(world.needs(0).is_empty(), "{:?}", world.needs(0));
    assert_eq!(world.hives[0].advice().patterns.len(), 1);
}
