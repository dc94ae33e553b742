//! Stories of belonging: roles, forgiveness, leaving, the last word to a removed machine, the recovery key.

use hive_core::event_log::Happening;
use hive_core::reply::{CommandError, NeedView, StatusView};
use hive_core::statement::{Farewell, Role, Statement};
use hive_core::time::Span;
use hive_core::wire::Frame;

use crate::pattern;
use crate::world::World;

/// Three machines of one hive: 0 founded it, 1 is an admin, 2 a plain member.
fn three() -> World {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join_as(2, 0, Role::Member);
    world.run(Span::from_secs(10));
    world
}

fn role_of(world: &World, at: usize, of: usize) -> Option<Role> {
    let id = format!("{}", world.hives[of].me());
    let view = world.hives[at].members(world.now());
    let member = view.members.iter().find(|it| it.node == id);
    member.map(|it| it.role)
}

fn needs(world: &World, at: usize) -> Vec<NeedView> {
    let mut status = StatusView::default();
    world.hives[at].fill_status(world.now(), &mut status);
    status.needs
}

fn has_need(world: &World, at: usize, code: &str) -> bool {
    needs(world, at).iter().any(|need| need.code == code)
}

fn set_role(world: &mut World, at: usize, of: usize, role: Role) -> Result<(), CommandError> {
    let (now, who) = (world.now(), world.label(of));
    let done = world.hives[at].set_role(now, &who, role);
    world.settle();
    world.run(Span::from_secs(2));
    done.map(|_| ())
}

#[test]
fn who_was_removed_is_told_where_it_stands_and_not_who_may() {
    let mut world = three();
    let error = set_role(&mut world, 2, 1, Role::Member).expect_err("a plain member");
    assert!(error.try_next.contains("hive members"), "{error:?}");
    let label = world.label(2);
    world.remove(0, &label).expect("it outranks it");
    world.run(Span::from_secs(30));
    let error = set_role(&mut world, 2, 1, Role::Member).expect_err("it is out");
    assert!(error.try_next.contains("hive status"), "{error:?}");
}

#[test]
fn a_role_is_changed_by_a_senior_and_seen_by_all() {
    let mut world = three();
    assert_eq!(role_of(&world, 0, 2), Some(Role::Member));
    let error = set_role(&mut world, 2, 1, Role::Member).expect_err("a plain member");
    assert_eq!(error.code, "member.not_admin");
    let error = set_role(&mut world, 1, 0, Role::Member).expect_err("the founder is senior");
    assert_eq!(error.code, "member.senior");
    set_role(&mut world, 1, 2, Role::Admin).expect("a senior");
    for at in 0..3 {
        assert_eq!(role_of(&world, at, 2), Some(Role::Admin), "machine {at}");
    }
    let error = set_role(&mut world, 0, 2, Role::Admin).expect_err("it is one");
    assert_eq!(error.code, "member.role_already");
    world.invite(2);
}

#[test]
fn who_was_let_in_by_an_admin_stays_when_that_admin_is_one_no_more() {
    let mut world = World::new(4);
    world.join(1, 0);
    world.join(2, 1);
    world.run(Span::from_secs(10));
    set_role(&mut world, 0, 1, Role::Member).expect("a junior");
    world.run(Span::from_secs(10));
    for at in 0..3 {
        assert_eq!(world.members(at).len(), 3, "machine {at}");
        assert_eq!(world.view(at), world.view(0));
    }
    assert_eq!(role_of(&world, 2, 1), Some(Role::Member));
    assert_eq!(
        role_of(&world, 1, 2),
        Some(Role::Admin),
        "its own role stays"
    );
}

#[test]
fn of_a_compromised_admin_nothing_counts_and_those_it_let_in_stay() {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 1);
    world.run(Span::from_secs(10));
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(2));
    let admin = world.label(1);
    world.remove_compromised(0, &admin);
    world.run(Span::from_secs(10));
    for at in [0, 2] {
        assert_eq!(world.members(at).len(), 2, "machine {at}");
        assert!(world.hives[at].advice().patterns.is_empty());
    }
    assert!(world.is_linked(0, 2));
}

#[test]
fn a_leaving_machine_disappears_from_every_list_and_what_it_said_stays() {
    let mut world = three();
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(2));
    let now = world.now();
    world.hives[1].leave(now).expect("it may");
    world.settle();
    world.run(Span::from_secs(10));
    for at in [0, 2] {
        assert_eq!(world.members(at).len(), 2, "machine {at}");
        assert!(!world.is_linked(at, 1), "machine {at}");
        let patterns = &world.hives[at].advice().patterns;
        assert!(patterns.contains_key(&pattern(1).id()));
        let left = Happening::Left {
            node: world.hives[1].me().short(),
        };
        assert!(world.told[at].contains(&left), "machine {at}");
    }
    assert!(has_need(&world, 1, "node.left"));
    // It says nothing more and knocks nowhere, even after a restart.
    world.publish(1, vec![Statement::Pattern(pattern(2))]);
    world.restart(1);
    world.run(Span::from_secs(400));
    assert_eq!(world.hives[0].advice().patterns.len(), 1);
    assert!(!world.is_linked(0, 1) && !world.is_linked(1, 2));
}

#[test]
fn a_removed_machine_hears_it_from_who_removed_it_and_believes_only_a_signature() {
    let mut world = three();
    let label = world.label(2);
    world.remove(1, &label).expect("a junior");
    world.run(Span::from_secs(5));
    assert!(
        has_need(&world, 2, "node.removed"),
        "{:?}",
        needs(&world, 2)
    );
    let need = needs(&world, 2)
        .into_iter()
        .find(|it| it.code == "node.removed");
    assert_eq!(need.expect("it is told").fix, ["hive leave"]);
    // Every verb that a person may try says the same.
    let out = world.hives[2].members(world.now()).out;
    assert_eq!(
        out.as_deref(),
        Some("this machine was removed from its hive")
    );
    assert_eq!(world.hives[1].members(world.now()).out, None);
    let code = world.invite(0);
    let error = world.try_join(2, &code).expect_err("its key is removed");
    assert_eq!(error.code, "join.gone");
    assert!(error.what.contains("removed") && error.try_next.contains("hive leave"));
    let gone = Happening::Removed {
        node: world.hives[2].me().short(),
    };
    assert!(world.told[2].contains(&gone));
    assert!(!world.is_linked(2, 0) && !world.is_linked(2, 1));
    // It knocks nowhere any more, and knows so after a restart.
    let before = world.frames;
    world.restart(2);
    assert!(has_need(&world, 2, "node.removed"));
    world.run(Span::from_secs(30));
    assert!(!world.is_linked(2, 0) && !world.is_linked(2, 1));
    let me = world.hives[2].me();
    assert!(world.frames < before + 200, "the other two go on");
    assert!(world.sent_to(0, me).len() + world.sent_to(1, me).len() < 100);
}

#[test]
fn a_compromised_machine_is_told_too_and_stays_out_when_its_remover_goes() {
    let mut world = three();
    let (remover, label) = (world.label(1), world.label(2));
    world.remove_compromised(1, &label);
    world.run(Span::from_secs(5));
    assert!(has_need(&world, 2, "node.removed"));
    let gone = world.hives[2].me();
    world.remove_compromised(0, &remover);
    world.run(Span::from_secs(30));
    assert!(has_need(&world, 1, "node.removed"));
    assert_eq!(world.members(0).len(), 1);
    assert!(world.disk_roster(0).was_in(gone), "it is said again");
}

#[test]
fn a_machine_that_was_away_when_it_was_removed_is_told_when_it_comes_back() {
    let mut world = three();
    world.cut(0, 2);
    world.cut(1, 2);
    let label = world.label(2);
    world.remove(0, &label).expect("a junior");
    world.publish(0, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(100));
    assert!(!has_need(&world, 2, "node.removed"), "nobody could tell it");
    world.heal(0, 2);
    world.heal(1, 2);
    world.run(Span::from_secs(700));
    assert!(has_need(&world, 2, "node.removed"));
    assert!(
        world.hives[2].advice().patterns.is_empty(),
        "it learned something"
    );
    assert_eq!(world.members(0).len(), 2);
}

#[test]
fn nobody_is_made_to_leave_by_a_word_without_the_right_to_it() {
    let mut world = three();
    let victim = world.hives[1].me();
    let junior = world.hives[2].me();
    let hive = world.hive_id(0);
    // Genuine, but by a junior; then one that claims to be the founder's.
    let word = Farewell::new(&World::key(2), hive, victim);
    let now = world.now();
    for by in [junior, world.hives[0].me()] {
        let frame = Frame::Farewell { by, word };
        world.hives[1].on_received(now, junior, &frame.encode());
        world.settle();
    }
    assert!(!has_need(&world, 1, "node.removed"));
    assert_eq!(world.view(1), world.view(0));
}

#[test]
fn a_removal_by_a_thief_is_void_when_the_thief_is_removed() {
    let mut world = three();
    // 1 is stolen and removes 2; then the founder removes 1 with all it said.
    let label = world.label(2);
    let thief = world.label(1);
    world.cut(0, 1);
    world.remove(1, &label).expect("a junior");
    world.run(Span::from_secs(5));
    assert!(has_need(&world, 2, "node.removed"));
    world.remove_compromised(0, &thief);
    world.heal(0, 1);
    world.run(Span::from_secs(600));
    assert!(
        !has_need(&world, 2, "node.removed"),
        "{:?}",
        needs(&world, 2)
    );
    assert_eq!(world.members(2).len(), 2);
    assert_eq!(world.view(2), world.view(0));
    assert!(world.is_linked(0, 2));
}

#[test]
fn a_forgiven_fork_counts_again_and_a_new_one_does_not() {
    let mut world = three();
    world.publish(2, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(2));
    let lie = world.fork_of(2, &Statement::Pattern(pattern(2)));
    let liar = world.hives[2].me();
    let now = world.now();
    world.hives[0].on_received(now, liar, &Frame::Delta(lie).encode());
    world.settle();
    world.run(Span::from_secs(30));
    assert!(world.hives[1].advice().patterns.is_empty());
    assert!(has_need(&world, 1, "member.forked"));
    let (now, label) = (world.now(), world.label(2));
    let error = world.hives[2].forgive(now, &label).expect_err("no admin");
    assert_eq!(error.code, "member.not_admin");
    world.hives[1].forgive(now, &label).expect("an admin");
    world.settle();
    world.run(Span::from_secs(30));
    for at in [0, 1] {
        // Of the two histories the one with the greater id counts: with one pattern, or with both.
        assert!(
            !world.hives[at].advice().patterns.is_empty(),
            "machine {at}"
        );
        assert!(!has_need(&world, at, "member.forked"), "machine {at}");
    }
    assert_eq!(
        world.hives[0].advice().patterns,
        world.hives[1].advice().patterns
    );
    assert_eq!(world.view(0), world.view(1));
    let now = world.now();
    let error = world.hives[1].forgive(now, &label).expect_err("it is");
    assert_eq!(error.code, "forgive.nothing");
}

#[test]
fn the_recovery_key_removes_a_stolen_founder_and_nobody_else() {
    let mut world = World::new(4);
    let now = world.now();
    let view = world.hives[0].recovery_key(now).expect("alone");
    let words = view.words.reveal().to_owned();
    world.settle();
    assert_eq!(words.split(' ').count(), 24);
    assert!(!format!("{view:?}").contains(words.split(' ').next().expect("a word")));
    world.join(1, 0);
    world.join_as(2, 0, Role::Member);
    world.join_as(3, 1, Role::Member);
    world.run(Span::from_secs(10));
    let now = world.now();
    let error = world.hives[0].recovery_key(now).expect_err("there is one");
    assert_eq!(error.code, "recovery.exists");
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(2));
    let founder = world.label(0);
    let error = world.hives[2].recover(now, "one two three", Some(&founder), false);
    assert_eq!(error.expect_err("no key").code, "recovery.words");
    // A plain member has the paper.
    let now = world.now();
    world.hives[2]
        .recover(now, &words, Some(&founder), true)
        .expect("the right words");
    world.settle();
    world.run(Span::from_secs(30));
    for at in 1..4 {
        assert_eq!(world.members(at).len(), 3, "machine {at}");
        assert!(!world.is_linked(at, 0), "machine {at}");
        assert_eq!(role_of(&world, at, 2), Some(Role::Admin));
        assert_eq!(role_of(&world, at, 1), Some(Role::Admin));
        assert_eq!(role_of(&world, at, 3), Some(Role::Member));
        assert_eq!(world.view(at), world.view(1));
        assert_eq!(world.hives[at].advice().patterns.len(), 1);
    }
    assert!(has_need(&world, 0, "node.removed"), "the thief may know");
    assert!(
        !world.disk_holds(2, words.as_bytes()),
        "the words are on a disk"
    );
    world.invite(2);
}

#[test]
fn the_words_of_another_hive_do_nothing_and_a_key_is_made_only_while_alone() {
    let mut world = World::new(3);
    let now = world.now();
    let view = world.hives[2].recovery_key(now).expect("alone");
    world.settle();
    world.join(1, 0);
    let now = world.now();
    let error = world.hives[1].recover(now, view.words.reveal(), None, false);
    assert_eq!(error.expect_err("another hive's").code, "recovery.other");
    let error = world.hives[0].recovery_key(now).expect_err("not alone");
    assert_eq!(error.code, "recovery.not_alone");
    let code = world.invite(2);
    let now = world.now();
    assert!(!code.is_empty() && world.hives[2].recovery_key(now).is_err());
}

#[test]
fn a_hive_founded_anew_with_a_recovery_key_is_the_same_after_a_restart() {
    let mut world = World::new(1);
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    let before = (world.hive_id(0), *world.hives[0].secret());
    let now = world.now();
    world.hives[0].recovery_key(now).expect("alone");
    world.settle();
    let after = (world.hive_id(0), *world.hives[0].secret());
    assert!(before.0 != after.0 && before.1 != after.1);
    world.restart(0);
    assert_eq!(after, (world.hive_id(0), *world.hives[0].secret()));
    assert_eq!(world.members(0).len(), 1);
}

/// A statement of a kind that this version does not know, as a later one may say it.
fn from_the_future(world: &World, at: usize) -> Frame {
    Frame::Delta(world.heavy(at, 3))
}

#[test]
fn what_a_newer_member_says_is_kept_and_passed_on_though_nobody_here_understands_it() {
    let mut world = three();
    world.cut(1, 2);
    let newer = world.hives[1].me();
    let now = world.now();
    // 1 runs a later version; 0 and 2 do not, and 2 hears it through 0 alone.
    let frame = from_the_future(&world, 1);
    world.hives[0].on_received(now, newer, &frame.encode());
    world.settle();
    world.run(Span::from_secs(60));
    assert_eq!(world.view(0), world.view(2), "not passed on");
    world.restart(0);
    world.run(Span::from_secs(60));
    assert_eq!(world.view(0), world.view(2), "not kept");
    // And the other way round: the newer one hears what the older ones say.
    world.publish(2, vec![Statement::Pattern(pattern(4))]);
    world.heal(1, 2);
    world.run(Span::from_secs(400));
    for at in 0..3 {
        assert_eq!(world.view(at), world.view(0), "machine {at}");
        assert!(
            world.hives[at]
                .advice()
                .patterns
                .contains_key(&pattern(4).id())
        );
    }
}

#[test]
fn a_machine_belongs_to_the_owner_of_the_one_that_lets_it_in_unless_it_is_said_otherwise() {
    let mut world = World::new(5);
    world.join(1, 0);
    world.join_for(2, 0, "new");
    // What the other owner's machine lets in is that owner's, and a member's name says whose.
    world.join(3, 2);
    let label = world.label(2);
    world.join_for(4, 0, &label);
    world.run(Span::from_secs(60));
    let ids: Vec<String> = (0..5)
        .map(|at| format!("{}", world.hives[at].me()))
        .collect();
    for at in 0..5 {
        let view = world.hives[at].members(world.now());
        let owner = |node: &String| {
            let found = view.members.iter().find(|it| it.node == *node);
            found.expect("a member").owner.clone()
        };
        let owners: Vec<String> = ids.iter().map(owner).collect();
        let expected = [0, 0, 2, 2, 2].map(|n: usize| ids[n].clone());
        assert_eq!(owners, expected, "seen by machine {at}");
    }
    // The owner goes over with the key.
    world.rotate(2).expect("somebody hears it");
    world.run(Span::from_secs(60));
    let heir = format!("{}", world.hives[2].me());
    let view = world.hives[0].members(world.now());
    let of_it = view.members.iter().filter(|it| it.owner == heir);
    assert_eq!(of_it.count(), 3);
}
