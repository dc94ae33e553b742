//! Stories of machines that get a new key.

use hive_core::hive::outside::HiveEffect;
use hive_core::id::{HeadId, HiveId, NodeId};
use hive_core::limits::KEYS_MAX;
use hive_core::pattern::Evidence;
use hive_core::reply::StatusView;
use hive_core::signed::KeyPair;
use hive_core::statement::{HeadRef, Role, Rotate, Statement, StrategyCell};
use hive_core::time::Span;
use hive_core::wire::Frame;

use crate::pattern;
use crate::world::{World, address};

fn evidence(pairs: u16) -> Evidence {
    Evidence {
        harms: pairs,
        ..Evidence::default()
    }
}

fn three() -> World {
    let mut world = World::new(3);
    world.join_as(1, 0, Role::Admin);
    world.join_as(2, 1, Role::Member);
    world.run(Span::from_secs(30));
    world
}

fn labels(world: &World, at: usize) -> Vec<String> {
    let members = world.hives[at].members(world.now()).members;
    members.into_iter().map(|member| member.label).collect()
}

fn agree(world: &World, machines: &[usize]) {
    for at in machines {
        assert_eq!(world.members(*at), world.members(0), "machine {at}");
        assert_eq!(world.view(*at), world.view(0), "machine {at}");
    }
}

#[test]
fn a_founder_with_a_new_key_keeps_its_rank_its_name_and_what_it_let_in() {
    let mut world = three();
    let (names, old) = (labels(&world, 0), world.hives[0].me());
    let view = world.rotate(0).expect("somebody hears it");
    assert_eq!(view.told, 2);
    let new = world.hives[0].me();
    assert_ne!(new, old);
    world.run(Span::from_secs(60));
    agree(&world, &[1, 2]);
    assert_eq!(labels(&world, 1), names, "names and order are the same");
    assert!(world.is_linked(0, 1) && world.is_linked(0, 2));
    // It still lets machines in, and removes them.
    let label = world.label(2);
    world.remove(0, &label).expect("it outranks it");
    world.run(Span::from_secs(60));
    assert_eq!(world.members(1).len(), 2);
    agree(&world, &[1]);
}

#[test]
fn a_machine_that_was_away_hears_of_the_new_key_from_another_one() {
    let mut world = three();
    world.cut(0, 2);
    world.cut(1, 2);
    world.run(Span::from_secs(60));
    world.rotate(0).expect("one hears it");
    world.run(Span::from_secs(60));
    world.heal(1, 2);
    world.run(Span::from_secs(4 * 3_600));
    agree(&world, &[1, 2]);
    world.heal(0, 2);
    world.run(Span::from_secs(4 * 3_600));
    assert!(world.is_linked(0, 2));
}

#[test]
fn what_was_measured_under_the_old_key_counts_once() {
    let mut world = three();
    let said = || {
        vec![
            Statement::Pattern(pattern(1)),
            Statement::Evidence(pattern(1).id(), evidence(20)),
        ]
    };
    world.publish(1, said());
    world.run(Span::from_secs(30));
    let heard = |world: &World, at: usize| {
        let advice = world.hives[at].advice();
        let of_it = advice.patterns.get(&pattern(1).id()).expect("known");
        of_it.evidence.clone()
    };
    assert_eq!(heard(&world, 0).len(), 1);
    let old = heard(&world, 0)[0].0;
    world.rotate(1).expect("somebody hears it");
    world.run(Span::from_secs(60));
    assert_eq!(heard(&world, 0).len(), 1, "it is still there");
    // The machine keeps what it measured beside its key, and says it again.
    world.publish(1, said());
    world.run(Span::from_secs(60));
    for at in 0..3 {
        let heard = heard(&world, at);
        assert_eq!(heard.len(), 1, "it counts twice at {at}");
        assert_eq!(heard[0].0, world.hives[1].me());
        assert_ne!(heard[0].0, old);
    }
    agree(&world, &[1, 2]);
}

#[test]
fn a_new_key_that_nobody_would_hear_of_is_refused_and_alone_it_is_fine() {
    let mut world = three();
    world.cut(0, 1);
    world.cut(0, 2);
    world.publish(0, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(60));
    world.restart(0);
    world.run(Span::from_secs(60));
    let error = world.rotate(0).expect_err("nobody hears it");
    assert_eq!(error.code, "rotate.alone");
    // Once may be a start that was quicker than the end before it.
    let doubled = |world: &World| world.needs(0).iter().any(|it| it.code == "node.double");
    let (now, peer) = (world.now(), world.hives[1].me());
    let stranger = NodeId([7; 32]);
    for (who, told) in [
        (stranger, false),
        (stranger, false),
        (peer, false),
        (peer, true),
    ] {
        world.hives[0].on_ousted(now, who);
        assert_eq!(doubled(&world), told);
    }
    world.publish(0, vec![Statement::Pattern(pattern(4))]);
    world.run(Span::from_secs(5));
    let known = &world.hives[0].advice().patterns;
    assert!(
        known.contains_key(&pattern(4).id()),
        "it does not speak any more"
    );

    let mut world = World::new(1);
    world.run(Span::from_secs(5));
    let before = labels(&world, 0);
    assert_eq!(world.rotate(0).expect("alone").told, 0);
    world.run(Span::from_secs(30));
    assert_eq!(labels(&world, 0), before);
    world.publish(0, vec![Statement::Pattern(pattern(5))]);
    world.run(Span::from_secs(30));
    let known = &world.hives[0].advice().patterns;
    assert!(known.contains_key(&pattern(5).id()));
}

#[test]
fn a_senior_admin_vouches_for_the_first_key_that_it_hears_of() {
    let mut world = three();
    let old = world.hives[1].me();
    world.rotate(1).expect("somebody hears it");
    world.run(Span::from_secs(60));
    let word = world.vouched(0, old).expect("the founder repeats it");
    assert_eq!(word.new, world.hives[1].me());
    let founder = world.hives[0].me();
    world.rotate(0).expect("somebody hears it");
    world.run(Span::from_secs(60));
    let word = world.vouched(1, founder);
    assert!(word.is_none(), "a junior has no say in its senior's place");
    assert!(world.vouched(2, old).is_none(), "a plain member need not");
    agree(&world, &[1, 2]);
}

#[test]
fn a_removed_machine_does_not_come_back_under_the_key_that_it_had_before() {
    let mut world = World::new(4);
    world.join_as(1, 0, Role::Admin);
    world.join_as(2, 1, Role::Member);
    world.run(Span::from_secs(30));
    world.rotate(0).expect("somebody hears it");
    world.run(Span::from_secs(60));
    let old = world.hives[2].me();
    world.rotate(2).expect("somebody hears it");
    world.run(Span::from_secs(60));
    assert_eq!(world.members(0).len(), 3);
    // Nothing is kept: the word with which the new key took over goes, too.
    let label = world.label(2);
    world.remove_compromised(0, &label);
    world.run(Span::from_secs(60));
    // Who comes later has never seen that word.
    world.join(3, 0);
    world.run(Span::from_secs(60));
    for at in [0, 1, 3] {
        assert_eq!(world.members(at).len(), 3, "machine {at}");
        let listed = world.hives[at].members(world.now()).members;
        let back = listed.iter().any(|it| it.node == format!("{old}"));
        assert!(!back, "the old key stands there again");
    }
    agree(&world, &[1, 3]);
}

#[test]
fn a_counter_counts_once_under_both_keys() {
    let mut world = three();
    let id = pattern(1).id();
    let said = |trials| {
        let cell = StrategyCell {
            trials,
            wins: trials,
        };
        vec![
            Statement::Pattern(pattern(1)),
            Statement::Evidence(id, evidence(20)),
            Statement::Strategy(id, cell),
        ]
    };
    world.publish(1, said(5));
    world.run(Span::from_secs(60));
    let wins = |world: &World| {
        let mut status = StatusView::default();
        world.hives[0].fill_status(world.now(), &mut status);
        status.collective_optimizations
    };
    assert_eq!(wins(&world), 5);
    world.rotate(1).expect("somebody hears it");
    world.run(Span::from_secs(60));
    assert_eq!(wins(&world), 5, "what the old key said counts");
    assert_eq!(
        world.hives[1].own_cell(id).wins,
        5,
        "and goes on from there"
    );
    world.publish(1, said(6));
    world.run(Span::from_secs(600));
    assert_eq!(wins(&world), 6, "it counts twice");
    agree(&world, &[1, 2]);
}

fn has_need(world: &World, at: usize, code: &str) -> bool {
    world.needs(at).iter().any(|need| need.code == code)
}

#[test]
fn a_machine_that_starts_with_a_key_that_was_handed_over_is_told() {
    for at in [0, 2] {
        let mut world = three();
        let (backup, key, old) = (world.backup(at), world.secret(at), world.hives[at].me());
        world.rotate(at).expect("somebody hears it");
        let new = world.hives[at].me();
        world.run(Span::from_secs(60));
        assert!(!has_need(&world, at, "node.moved"), "it did that itself");
        world.publish(1, vec![Statement::Pattern(pattern(6))]);
        world.run(Span::from_secs(10));
        world.put_back_with_key(at, &backup, key);
        assert_eq!(world.hives[at].me(), old);
        world.run(Span::from_secs(10));
        let needs = world.needs(at);
        let need = needs.iter().find(|need| need.code == "node.moved");
        let need = need.unwrap_or_else(|| panic!("nobody told machine {at}: {needs:?}"));
        assert!(need.words.contains(&new.short()), "{}", need.words);
        assert_eq!(need.fix, ["hive leave"]);
        assert!(!has_need(&world, at, "node.removed"));
        let out = world.hives[at].members(world.now()).out.expect("it is out");
        assert!(out.contains("went to another one"), "{out}");
        let error = world.rotate(at).expect_err("it has no place");
        assert_eq!(error.code, "rotate.out");
        // It learned nothing else, knocks nowhere any more, and knows so after a restart.
        assert!(world.hives[at].advice().patterns.is_empty());
        world.restart(at);
        assert!(has_need(&world, at, "node.moved"));
        world.run(Span::from_secs(60));
        let others = [0, 1, 2].into_iter().filter(|other| *other != at);
        for other in others {
            assert!(!world.is_linked(at, other));
            assert_eq!(world.members(other).len(), 3, "the new key has the place");
        }
    }
}

#[test]
fn nobody_is_made_to_give_up_its_key_by_a_word_that_it_did_not_sign() {
    let mut world = three();
    let (me, peer, hive) = (world.hives[1].me(), world.hives[0].me(), world.hive_id(0));
    let keep = HeadRef {
        incarnation: 1,
        seq: 1,
        id: HeadId([0; 32]),
    };
    let (own, other) = (World::key(1), World::key(0));
    // Genuine, but of another hive; then signed by somebody else's key; then about somebody else.
    let elsewhere = Rotate::new(&own, &other, HiveId([9; 32]), keep);
    let forged = Rotate {
        old: me,
        ..Rotate::new(&World::key(2), &other, hive, keep)
    };
    let strange = Rotate::new(&World::key(2), &other, hive, keep);
    for rotate in [elsewhere, forged, strange] {
        let frame = Frame::Moved(rotate).encode();
        let now = world.now();
        world.hives[1].on_received(now, peer, &frame);
        world.settle();
        assert!(!has_need(&world, 1, "node.moved"));
    }
    assert_eq!(world.members(0).len(), 3);
}

#[test]
fn a_machine_whose_key_was_removed_after_it_had_changed_is_told() {
    let mut world = three();
    world.rotate(2).expect("somebody hears it");
    world.run(Span::from_secs(60));
    let label = world.label(2);
    world.remove_compromised(0, &label);
    world.run(Span::from_secs(60));
    assert_eq!(world.members(0).len(), 2);
    assert!(has_need(&world, 2, "node.removed"), "{:?}", world.needs(2));
}

/// The removal of a machine with a new key is said again when its remover is removed, so that it stays out.
#[test]
fn a_removed_machine_with_a_new_key_stays_out_when_its_remover_goes() {
    let mut world = World::new(4);
    world.join_as(1, 0, Role::Admin);
    world.join_as(2, 0, Role::Admin);
    world.join_as(3, 2, Role::Member);
    world.run(Span::from_secs(30));
    let old = world.hives[3].me();
    world.rotate(3).expect("somebody hears it");
    world.run(Span::from_secs(60));
    assert!(world.vouched(0, old).is_some(), "the founder repeats it");
    let label = world.label(3);
    world.remove_compromised(1, &label);
    world.run(Span::from_secs(60));
    assert_eq!(world.members(0).len(), 3);
    let label = world.label(1);
    world.remove_compromised(0, &label);
    world.run(Span::from_secs(60));
    for at in [0, 2] {
        assert_eq!(world.members(at).len(), 2, "machine {at}");
    }
    agree(&world, &[2]);
}

/// Between the handing over and the start with the new key, nobody is advised to leave: that would delete the new key.
#[test]
fn whose_connections_a_copy_takes_gets_a_new_key_although_nobody_is_connected() {
    let mut world = three();
    world.cut(0, 2);
    world.cut(1, 2);
    world.run(Span::from_secs(60));
    let (now, peer) = (world.now(), world.hives[0].me());
    for _ in 0..2 {
        world.hives[2].on_ousted(now, peer);
    }
    assert_eq!(world.rotate(2).expect("the copy is shut out").told, 0);
    world.heal(0, 2);
    world.heal(1, 2);
    world.run(Span::from_secs(7 * 3_600));
    assert!(world.is_linked(0, 2) && world.is_linked(1, 2));
    assert!(world.needs(2).is_empty());
    agree(&world, &[1, 2]);
}

#[test]
fn a_machine_that_is_about_to_start_with_its_new_key_is_asked_for_nothing() {
    let mut world = three();
    world.hand_over(2).expect("somebody hears it");
    for code in ["node.moved", "node.removed", "node.left"] {
        assert!(!has_need(&world, 2, code), "{code}");
    }
    let out = world.hives[2].members(world.now()).out;
    assert!(out.is_some(), "the place has gone over");
}

/// A machine hands its place over, and nobody hears of it: its last connections were dead, and it starts anew.
fn rotates_unheard(world: &mut World, at: usize) {
    world.slow_disk = Some(at);
    let view = world.hand_over(at).expect("others seem to be connected");
    assert!(view.told > 0);
    let others: Vec<usize> = (0..world.hives.len()).filter(|it| *it != at).collect();
    for other in &others {
        world.cut(at, *other);
    }
    world.disk_answers();
    world.start_with_next_key(at);
    let new = format!("{}", world.hives[at].me());
    for other in others {
        let known = world.hives[other].members(world.now()).members;
        assert!(known.iter().all(|it| it.node != new), "{other} has heard");
    }
}

#[test]
fn a_new_key_that_nobody_has_heard_of_is_brought_in_by_the_old_one() {
    for at in [0, 1, 2] {
        let mut world = three();
        let old = world.hives[at].me();
        rotates_unheard(&mut world, at);
        world.run(Span::from_secs(60));
        for other in (0..3).filter(|other| *other != at) {
            world.heal(at, other);
        }
        world.run(Span::from_secs(120));
        agree(&world, &[1, 2]);
        for other in (0..3).filter(|other| *other != at) {
            assert!(world.is_linked(at, other), "{at} and {other}");
        }
        let members = world.hives[0].members(world.now()).members;
        assert!(members.iter().all(|it| it.node != format!("{old}")));
    }
}

#[test]
fn a_new_key_of_which_only_one_has_heard_that_is_gone_is_brought_in_by_the_old_one() {
    let mut world = three();
    world.cut(0, 1);
    world.cut(1, 2);
    world.run(Span::from_secs(60));
    world.rotate(0).expect("one hears it");
    world.run(Span::from_secs(60));
    assert!(world.is_linked(0, 2));
    world.cut(0, 2);
    world.heal(0, 1);
    world.run(Span::from_secs(7 * 3_600));
    assert!(world.is_linked(0, 1));
    agree(&world, &[1]);
}

#[test]
fn who_comes_back_and_wants_the_old_key_is_dialled_by_the_new_one() {
    let mut world = World::new(2);
    world.join(1, 0);
    world.no_multicast = true;
    rotates_unheard(&mut world, 0);
    // It dials the other one ever more rarely: the pause is an hour by now.
    world.run(Span::from_secs(36 * 3_600));
    world.heal(0, 1);
    let now = world.now();
    world.hives[1].on_network_changed(now);
    world.run(Span::from_secs(30));
    assert!(world.is_linked(0, 1));
    agree(&world, &[1]);
}

#[test]
fn the_old_key_of_a_removed_machine_brings_nothing_in() {
    for compromised in [false, true] {
        let mut world = three();
        rotates_unheard(&mut world, 2);
        let label = world.label(2);
        if compromised {
            world.remove_compromised(0, &label);
        } else {
            world.remove(0, &label).expect("it outranks it");
        }
        world.run(Span::from_secs(60));
        world.heal(0, 2);
        world.heal(1, 2);
        world.run(Span::from_secs(12 * 3_600));
        assert!(!world.is_linked(0, 2) && !world.is_linked(1, 2));
        assert_eq!(world.members(0).len(), 2);
        agree(&world, &[1]);
    }
}

#[test]
fn a_key_that_took_over_from_none_brings_nothing_to_those_that_do_not_let_it_in() {
    let mut world = three();
    let label = world.label(2);
    world.cut(0, 2);
    world.cut(1, 2);
    world.remove(0, &label).expect("it outranks it");
    let now = world.now();
    let founder = world.hives[0].me();
    world.hives[2].on_dial_refused(now, founder, address(0));
    while let Some(effect) = world.hives[2].poll() {
        assert!(!matches!(effect, HiveEffect::HandOver { .. }));
    }
}

#[test]
fn a_place_goes_to_a_new_key_only_so_often_and_it_is_said_why_no_more() {
    let mut world = World::new(1);
    world.run(Span::from_secs(5));
    for _ in 0..KEYS_MAX {
        world.rotate(0).expect("not too often yet");
        world.run(Span::from_secs(30));
    }
    let error = world.rotate(0).expect_err("once too often");
    assert_eq!(error.code, "rotate.too_often");
}

#[test]
fn two_keys_that_claim_the_founders_place_are_told_of() {
    let mut world = three();
    let (old, peer) = (World::key(0), world.hives[2].me());
    let held = world.disk_store(1);
    let map = held.map(old.node()).expect("held");
    let (keep, hlc) = (map.head_ref(), map.head().hlc);
    world.rotate(0).expect("somebody hears it");
    world.run(Span::from_secs(60));
    assert!(!has_need(&world, 1, "member.contested"));
    let rival = KeyPair::from_secret(&[77; 32]);
    let word = Statement::Rotate(Rotate::new(&old, &rival, held.hive(), keep));
    let change = vec![(word.key(), Some(word.encode()))];
    let claim = held.draft(&rival, 1, hlc, change).expect("small");
    let now = world.now();
    let frame = Frame::Delta(claim.delta(None)).encode();
    world.hives[1].on_received(now, peer, &frame);
    world.settle();
    assert!(has_need(&world, 1, "member.contested"));
}

/// The key that took the old one's place first, on the other machines.
fn another_key_was_first(world: &mut World, old: &KeyPair) -> KeyPair {
    let rival = KeyPair::from_secret(&[77; 32]);
    for (at, by) in [(1, 2), (2, 1)] {
        let peer = world.hives[by].me();
        let held = world.disk_store(at);
        let map = held.map(old.node()).expect("held");
        let (keep, hlc) = (map.head_ref(), map.head().hlc);
        let word = Statement::Rotate(Rotate::new(old, &rival, held.hive(), keep));
        let change = vec![(word.key(), Some(word.encode()))];
        let claim = held.draft(&rival, 1, hlc, change).expect("small");
        let frame = Frame::Delta(claim.delta(None)).encode();
        let now = world.now();
        world.hives[at].on_received(now, peer, &frame);
    }
    world.settle();
    rival
}

#[test]
fn of_two_copies_that_were_each_given_a_new_key_the_later_one_is_told_and_can_join_anew() {
    let mut world = three();
    let old = World::key(0);
    rotates_unheard(&mut world, 0);
    let rival = another_key_was_first(&mut world, &old);
    assert!(!has_need(&world, 1, "member.contested"), "it heard of one");
    world.run(Span::from_secs(60));
    assert!(!has_need(&world, 0, "node.outrun"), "nobody has told it");
    world.heal(0, 1);
    world.heal(0, 2);
    world.run(Span::from_secs(120));
    assert!(!world.is_linked(0, 1) && !world.is_linked(0, 2));
    let needs = world.needs(0);
    let need = needs.iter().find(|it| it.code == "node.outrun");
    let need = need.expect("it is told");
    for name in [rival.node().short(), old.node().short()] {
        assert!(need.words.contains(&name), "{}", need.words);
    }
    assert_eq!(need.fix, ["hive leave"]);
    // The members do not say it for ever.
    world.restart(0);
    world.run(Span::from_secs(12 * 3_600));
    assert!(has_need(&world, 0, "node.outrun"));
}

#[test]
fn a_key_whose_word_is_heard_is_not_told_of_a_rival() {
    let mut world = three();
    rotates_unheard(&mut world, 0);
    world.run(Span::from_secs(60));
    world.heal(0, 1);
    world.heal(0, 2);
    world.run(Span::from_secs(120));
    assert!(!has_need(&world, 0, "node.outrun"));
    // Nor does it believe what nobody signed, or what is about another's key.
    let (key, other) = (World::key(0), KeyPair::from_secret(&[78; 32]));
    let hive = world.disk_store(0).hive();
    let keep = HeadRef {
        incarnation: 1,
        seq: 1,
        id: HeadId([0; 32]),
    };
    world.cut(0, 1);
    world.cut(0, 2);
    world.run(Span::from_secs(60));
    let (now, peer) = (world.now(), world.hives[1].me());
    let forged = Rotate {
        new: NodeId([9; 32]),
        ..Rotate::new(&key, &other, hive, keep)
    };
    let strange = Rotate::new(&KeyPair::from_secret(&[79; 32]), &other, hive, keep);
    for (rotate, told) in [
        (forged, false),
        (strange, false),
        (Rotate::new(&key, &other, hive, keep), true),
    ] {
        let frame = Frame::Moved(rotate).encode();
        world.hives[0].on_told_old_key(now, peer, &frame);
        assert_eq!(has_need(&world, 0, "node.outrun"), told);
    }
}
