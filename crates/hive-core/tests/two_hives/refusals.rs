//! Stories of a hive that says no, says it later, or says nothing at all.

use hive_core::event_log::{Happening, Misdeed};
use hive_core::hive::ticket::Invitation;
use hive_core::id::PatternId;
use hive_core::reply::JoinStage;
use hive_core::statement::{Statement, StrategyCell};
use hive_core::time::Span;
use hive_core::wire::{Frame, Have, Line, PairFrame, Refusal};

use crate::world::World;
use crate::{misdeeds, pair, pattern};

fn counters(from: u16, to: u16) -> Vec<Statement> {
    (from..to)
        .map(|n| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_le_bytes());
            Statement::Strategy(PatternId(id), StrategyCell { trials: 1, wins: 1 })
        })
        .collect()
}

#[test]
fn a_machine_whose_key_runs_twice_says_that_it_writes_nothing() {
    let mut world = World::new(3);
    world.join(1, 0);
    let code = world.invite(0);
    world.start_join(2, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    let twin = world.fork_of(0, &Statement::Pattern(pattern(2)));
    let now = world.now();
    let peer = world.hives[1].me();
    for frame in Frame::Delta(twin).encode_split() {
        world.hives[0].on_received(now, peer, &frame);
    }
    let error = world.approve(0, &who).expect_err("it cannot write");
    assert_eq!(error.code, "member.not_now");
    let label = world.label(1);
    let error = world.remove(0, &label).expect_err("it cannot write");
    assert_eq!(error.code, "member.not_now");
    let now = world.now();
    let error = world.hives[0]
        .invite(now, &Invitation::default())
        .expect_err("nobody could be let in");
    assert_eq!(error.code, "member.not_now");
    assert!(world.is_linked(0, 1), "nothing was changed");
    assert_eq!(world.pending(0).len(), 1);
}

#[test]
fn before_its_first_word_a_machine_removes_nobody() {
    let mut world = pair();
    world.cut(0, 1);
    world.restart(0);
    let label = world.label(1);
    let error = world.remove(0, &label).expect_err("too early");
    assert_eq!(error.code, "member.not_now");
    assert!(error.known.contains("11 s"), "{error:?}");
    world.run(Span::from_secs(10));
    world.remove(0, &label).expect("now it may");
    assert_eq!(world.members(0).len(), 1);
}

#[test]
fn a_full_map_still_lets_machines_in_and_shows_what_waits() {
    let mut world = World::new(2);
    world.publish(0, counters(0, 4_000));
    world.publish(0, counters(4_000, 4_500));
    let held = world.hives[0].members(world.now()).members[0].statements;
    assert_eq!(held, 4_096 - 64);
    // All but one statement in the map, the profile, are counters.
    assert_eq!(world.waiting(0), 4_500 - (held - 1));
    world.join(1, 0);
    assert_eq!(world.members(1).len(), 2);
    let label = world.label(1);
    world.remove(0, &label).expect("there is room");
    assert_eq!(world.members(0).len(), 1);
}

#[test]
fn a_stranger_hears_nothing_when_the_invite_is_over() {
    let mut world = World::new(3);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    world.run(Span::from_secs(601));
    assert!(world.door(0), "its own guest may come back");
    let frames = world.pair_frames;
    for asked in [0, 1] {
        world.start_join_at(2, &code, asked);
        world.run(Span::from_secs(20));
        let error = world.join_state(2).error.expect("a reason");
        assert_eq!(error.code, "join.silent");
    }
    assert!(!world.told[0].contains(&Happening::WrongCode));
    assert_eq!(world.pair_frames, frames, "not a word");
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    world.run(Span::from_secs(24 * 3_600));
    assert!(!world.door(0) && !world.door(1));
}

#[test]
fn codes_that_nobody_uses_are_closed_and_then_others_can_be_made() {
    let mut world = World::new(3);
    let used = world.invite(0);
    world.start_join(1, &used);
    world.run(Span::from_secs(3));
    let codes = [0; 3].map(|_| world.invite(0));
    let now = world.now();
    let error = world.hives[0]
        .invite(now, &Invitation::default())
        .expect_err("three are open");
    assert_eq!(error.code, "invite.too_many");
    assert!(error.known.contains("10 min"), "{error:?}");
    assert!(error.try_next.contains("hive invite --close"), "{error:?}");

    let done = world.hives[0].close_invites(now);
    assert_eq!(done.words, "3 codes are no longer good");
    assert_eq!(world.hives[0].close_invites(now).words, "no code was open");
    world.settle();
    world.start_join(2, &codes[2]);
    world.run(Span::from_secs(20));
    assert!(world.join_state(2).error.is_some(), "its code was closed");
    assert_eq!(world.pending(0).len(), 1, "who proved one still waits");
    let code = world.invite(0);
    world.start_join(2, &code);
    world.run(Span::from_secs(3));
    assert_eq!(world.pending(0).len(), 2);
}

#[test]
fn the_door_closes_when_the_guest_is_in() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(700));
    assert!(world.door(0) && world.door(1), "both wait for a person");
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("it waits");
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
    assert!(!world.door(0) && !world.door(1));
}

#[test]
fn one_frame_names_each_author_once() {
    let mut world = pair();
    let (me, peer) = (world.hives[0].me(), world.hives[1].me());
    let sent = world.sent_to(0, peer).len();
    let want = Have {
        author: me,
        incarnation: 0,
        seq: 0,
    };
    let line = Line {
        author: me,
        incarnation: 0,
        seq: 0,
        id: [0; 16],
        forked: false,
    };
    let now = world.now();
    world.hives[0].on_received(now, peer, &Frame::Want(vec![want; 256]).encode());
    world.hives[0].on_received(now, peer, &Frame::Digest(vec![line; 2]).encode());
    world.settle();
    assert_eq!(world.sent_to(0, peer).len(), sent);
    assert_eq!(misdeeds(&world, 0), [Misdeed::BadFrame; 2]);
}

#[test]
fn one_question_queues_no_more_than_a_few_maps() {
    let mut world = World::new(5);
    for joiner in 1..5 {
        world.join(joiner, 0);
    }
    world.run(Span::from_secs(30));
    let now = world.now();
    for author in 1..5 {
        let peer = world.hives[author].me();
        for frame in Frame::Delta(world.heavy(author, 60)).encode_split() {
            world.hives[0].on_received(now, peer, &frame);
        }
    }
    world.settle();
    let peer = world.hives[1].me();
    let bytes = |world: &World| -> usize {
        let sent = world.sent_to(0, peer).into_iter();
        sent.map(Vec::len).sum()
    };
    let before = bytes(&world);
    let mut wants: Vec<Have> = (1..5)
        .map(|author| Have {
            author: world.hives[author].me(),
            incarnation: 0,
            seq: 0,
        })
        .collect();
    wants.sort_by_key(|want| want.author);
    world.hives[0].on_received(now, peer, &Frame::Want(wants).encode());
    while let Some(effect) = world.hives[0].poll() {
        world.note_sent(0, effect);
    }
    let given = bytes(&world) - before;
    assert!((1_400_000..1_500_000).contains(&given), "{given}");
}

#[test]
fn a_copied_locator_does_not_end_a_join() {
    let lies = [
        PairFrame::Refused(Refusal::Denied).encode(),
        PairFrame::Refused(Refusal::WrongCode).encode(),
        vec![0xff; 9],
        PairFrame::Proved {
            hive: hive_core::id::HiveId([1; 32]),
            mac: [1; 32],
        }
        .encode(),
        PairFrame::Thanks.encode(),
    ];
    for lie in lies {
        let mut world = World::new(4);
        let code = world.invite(0);
        world.copy_locator(1, 0);
        world.lie_to_strangers(1, lie.clone());
        world.cut(0, 2);
        world.start_join(2, &code);
        world.run(Span::from_secs(3));
        let state = world.join_state(2);
        assert_ne!(state.stage, JoinStage::Failed, "{lie:?} {state:?}");
        world.heal(0, 2);
        world.run(Span::from_secs(5));
        let state = world.join_state(2);
        assert_eq!(state.stage, JoinStage::Waiting, "{lie:?} {state:?}");
        assert_eq!(state.error, None);
    }
}

#[test]
fn every_open_code_lets_its_holder_find_the_inviter() {
    let mut world = World::new(4);
    let codes = [world.invite(0), world.invite(0), world.invite(0)];
    for (at, code) in (1..4).zip(&codes) {
        world.start_join(at, code);
        world.run(Span::from_secs(5));
        assert_eq!(world.join_state(at).stage, JoinStage::Waiting, "{at}");
    }
}

#[test]
fn a_newcomer_is_told_that_it_waits_when_that_would_survive_a_power_cut() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.hold_saves = true;
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    assert_eq!(world.join_state(1).stage, JoinStage::Proving);
    world.hold_saves = false;
    world.release_saves();
    world.settle();
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
}

#[test]
fn a_removed_machine_leaves_no_address_and_no_pattern_of_its_own() {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(10));
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.publish(2, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(2));
    for at in [0, 2] {
        assert!(world.disk_locates(at, 1));
        assert_eq!(world.hives[at].advice().patterns.len(), 2);
    }
    let others = (world.disk_locates(0, 2), world.disk_locates(2, 0));
    assert!(others.0 || others.1);
    let label = world.label(1);
    world.remove_compromised(0, &label);
    world.run(Span::from_secs(5));
    for at in [0, 2] {
        assert!(!world.disk_locates(at, 1), "machine {at}");
        let patterns = &world.hives[at].advice().patterns;
        assert!(!patterns.contains_key(&pattern(1).id()), "machine {at}");
        assert!(patterns.contains_key(&pattern(2).id()), "machine {at}");
    }
    assert_eq!((world.disk_locates(0, 2), world.disk_locates(2, 0)), others);
}
