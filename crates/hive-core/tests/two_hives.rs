//! Stories of two and three machines in a tiny world in memory: joining, telling, removing, lying.

#[path = "two_hives/catch_up.rs"]
mod catch_up;
#[path = "two_hives/world.rs"]
mod world;

#[path = "two_hives/refusals.rs"]
mod refusals;

#[path = "two_hives/belonging.rs"]
mod belonging;

#[path = "two_hives/holds.rs"]
mod holds;

#[path = "two_hives/lost.rs"]
mod lost;

#[path = "two_hives/rotating.rs"]
mod rotating;

#[path = "two_hives/tickets.rs"]
mod tickets;

#[path = "two_hives/mixed.rs"]
mod mixed;

use std::collections::BTreeSet;

use hive_core::event_log::{Happening, Misdeed};
use hive_core::id::WorkloadKey;
use hive_core::pattern::{
    Action, Binding, Context, Cores, Evidence, PatternDef, Verdict, WorkloadType,
};
use hive_core::reply::{JoinStage, StatusView};
use hive_core::signed::KeyPair;
use hive_core::statement::{Statement, StrategyCell};
use hive_core::time::Span;
use hive_core::wire::{Delta, Frame, Line};

use world::{World, address};

fn pattern(n: u8) -> PatternDef {
    PatternDef {
        action: Action::BackgroundNice,
        workload: WorkloadKey([n; 16]),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Build,
        },
    }
}

/// Two machines of one hive: 0 founded it.
fn pair() -> World {
    let mut world = World::new(2);
    world.join(1, 0);
    world
}

fn misdeeds(world: &World, at: usize) -> Vec<Misdeed> {
    let told = world.told[at]
        .iter()
        .filter_map(|happening| match happening {
            Happening::PeerMisbehaved { misdeed, .. } => Some(*misdeed),
            _ => None,
        });
    told.collect()
}

#[test]
fn a_machine_joins_by_code_and_hears_what_is_known() {
    let mut world = World::new(2);
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    let state = world.join_state(1);
    assert_eq!(state.stage, JoinStage::Waiting, "{state:?}");
    let pending = world.pending(0);
    assert_eq!(pending.len(), 1);
    assert_eq!(Some(&pending[0].words), state.words.as_ref());
    assert_eq!(pending[0].words.split(' ').count(), 4);
    assert_ne!(world.hives[0].secret(), world.hives[1].secret());
    assert!(world.hives[1].advice().patterns.is_empty());

    world.approve(0, &pending[0].label).expect("waiting");
    world.run(Span::from_secs(3));
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
    assert_eq!(world.hives[0].secret(), world.hives[1].secret());
    assert_eq!(world.members(0).len(), 2);
    assert_eq!(world.members(0), world.members(1));
    assert!(
        world.hives[1]
            .advice()
            .patterns
            .contains_key(&pattern(1).id())
    );
    assert_eq!(world.view(0), world.view(1));
    assert!(world.join_state(1).member_ms.is_some());
}

#[test]
fn news_reaches_the_other_machine_at_once_and_only_after_it_is_durable() {
    let mut world = pair();
    world.hold_saves = true;
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    world.settle();
    assert!(world.hives[1].advice().patterns.is_empty());
    assert_eq!(world.hives[0].said_at(pattern(1).id()), None);
    world.hold_saves = false;
    world.release_saves();
    world.settle();
    assert!(
        world.hives[1]
            .advice()
            .patterns
            .contains_key(&pattern(1).id())
    );
    assert!(world.hives[0].said_at(pattern(1).id()).is_some());
    assert!(world.hives[1].take_changed());
    assert!(!world.hives[1].take_changed());
}

#[test]
fn what_is_said_anew_counts_as_said_only_when_the_new_word_is_durable() {
    let mut world = pair();
    let id = pattern(1).id();
    let evidence = |harms| Evidence {
        harms,
        ..Evidence::default()
    };
    world.publish(0, vec![Statement::Evidence(id, evidence(0))]);
    world.settle();
    assert!(world.hives[0].said_at(id).is_some());
    // Followers wait for each other.
    world.run(Span::from_secs(1));
    world.hold_saves = true;
    world.publish(0, vec![Statement::Evidence(id, evidence(1))]);
    world.settle();
    assert_eq!(world.hives[0].said_at(id), None);
    world.hold_saves = false;
    world.release_saves();
    world.settle();
    assert!(world.hives[0].said_at(id).is_some());
}

#[test]
fn everybody_ends_with_the_same_view_after_writing_at_once() {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 1);
    world.run(Span::from_secs(10));
    for at in 0..3 {
        let n = u8::try_from(at).expect("small");
        world.publish(
            at,
            vec![
                Statement::Pattern(pattern(n)),
                Statement::Evidence(
                    pattern(0).id(),
                    Evidence {
                        verdict: Verdict::Helps,
                        ..Evidence::default()
                    },
                ),
            ],
        );
    }
    world.run(Span::from_secs(60));
    let views: BTreeSet<String> = (0..3).map(|at| world.view(at)).collect();
    assert_eq!(views.len(), 1);
    for hive in &world.hives {
        assert_eq!(hive.advice().patterns.len(), 3);
        assert_eq!(hive.advice().patterns[&pattern(0).id()].evidence.len(), 3);
    }
}

#[test]
fn writes_on_both_sides_of_a_cut_are_joined_after_it() {
    let mut world = pair();
    world.cut(0, 1);
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    world.publish(1, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(30));
    assert_ne!(world.view(0), world.view(1));
    world.heal(0, 1);
    world.run(Span::from_secs(330));
    assert_eq!(world.view(0), world.view(1));
    assert_eq!(world.hives[0].advice().patterns.len(), 2);
}

#[test]
fn a_wrong_code_lets_nobody_in_and_does_not_burn_the_invite() {
    let mut world = World::new(2);
    let code = world.invite(0);
    let other = world.invite(1);
    assert_ne!(code, other);
    world.start_join_at(1, &other, 0);
    world.run(Span::from_secs(3));
    let state = world.join_state(1);
    assert_eq!(state.stage, JoinStage::Failed);
    assert_eq!(state.error.expect("a reason").code, "join.wrong_code");
    assert!(world.told[0].contains(&Happening::WrongCode));
    assert!(world.pending(0).is_empty());
    world.start_join_at(1, &code, 0);
    world.run(Span::from_secs(5));
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
}

#[test]
fn three_wrong_codes_pause_that_address_and_no_other() {
    let mut world = World::new(3);
    let code = world.invite(0);
    let wrong = world.invite(1);
    for _ in 0..3 {
        world.start_join_at(1, &wrong, 0);
        world.run(Span::from_secs(5));
    }
    let wrongs = |world: &World| {
        world.told[0]
            .iter()
            .filter(|h| **h == Happening::WrongCode)
            .count()
    };
    assert_eq!(wrongs(&world), 3);
    world.start_join_at(1, &code, 0);
    world.run(Span::from_secs(20));
    assert_eq!(world.join_state(1).stage, JoinStage::Failed);
    assert_eq!(wrongs(&world), 3);
    world.start_join_at(2, &code, 0);
    world.run(Span::from_secs(5));
    assert_eq!(world.join_state(2).stage, JoinStage::Waiting);
}

#[test]
fn a_code_that_was_used_lets_nobody_else_in() {
    let mut world = World::new(3);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    world.start_join_at(2, &code, 0);
    world.run(Span::from_secs(5));
    let state = world.join_state(2);
    assert_eq!(state.stage, JoinStage::Failed);
    assert_eq!(state.error.expect("a reason").code, "join.expired");
    assert_eq!(world.pending(0).len(), 1);
}

#[test]
fn a_code_that_nobody_has_open_is_not_found() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.run(Span::from_secs(601));
    world.start_join(1, &code);
    world.run(Span::from_secs(20));
    let error = world.join_state(1).error.expect("a reason");
    assert_eq!(error.code, "join.not_found");
}

#[test]
fn a_failed_join_is_told_in_the_status_while_it_can_matter_and_no_longer() {
    let limits = |world: &World| {
        let mut status = StatusView::default();
        world.hives[1].fill_status(world.now(), &mut status);
        status.limits
    };
    let mut world = World::new(2);
    let code = world.invite(0);
    world.run(Span::from_secs(601));
    let fails = |world: &mut World| {
        world.start_join(1, &code);
        world.run(Span::from_secs(20));
        let told = limits(world);
        assert_eq!(
            told,
            ["this machine could not join: no machine on this network has that invite open"]
        );
    };
    fails(&mut world);
    // Its invite is over by now, whoever made it.
    world.run(Span::from_secs(600));
    assert_eq!(limits(&world), [""; 0]);
    fails(&mut world);
    world.join(1, 0);
    assert_eq!(limits(&world), [""; 0]);
}

#[test]
fn a_code_typed_on_the_machine_that_made_it_is_told_at_once() {
    let mut world = World::new(1);
    let code = world.invite(0);
    let error = world.try_join(0, &code).expect_err("its own");
    assert_eq!(error.code, "join.self");
}

#[test]
fn a_mistyped_code_is_told_without_asking_anybody() {
    let mut world = World::new(2);
    let error = world
        .try_join(1, "HIVE-AAAAA-AAAAA-AAAAA-AAAAA")
        .expect_err("a typo");
    assert_eq!(error.code, "join.code");
    let code = world.invite(0);
    world.join(1, 0);
    let error = world.try_join(1, &code).expect_err("not alone");
    assert_eq!(error.code, "join.not_alone");
    assert_eq!(error.try_next, "hive leave");
}

#[test]
fn a_denied_machine_stays_on_its_own() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    world.deny(0, &who);
    world.run(Span::from_secs(3));
    let state = world.join_state(1);
    assert_eq!(state.error.expect("a reason").code, "join.denied");
    assert_eq!(world.members(0).len(), 1);
    assert_eq!(world.members(1).len(), 1);
    assert_ne!(world.hives[0].secret(), world.hives[1].secret());
}

#[test]
fn a_machine_denied_while_it_was_away_hears_of_it_when_it_is_back() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    world.drop_pairings();
    let who = world.pending(0)[0].node.clone();
    world.deny(0, &who);
    assert!(
        world.pending(0).is_empty(),
        "a denied machine is still shown"
    );
    world.restart(0);
    world.restart(1);
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    world.run(Span::from_secs(60));
    let state = world.join_state(1);
    assert_eq!(state.error.expect("a reason").code, "join.denied");
    // It is no life sentence: a new code is a new request.
    world.join(1, 0);
    assert_eq!(world.members(1).len(), 2);
}

#[test]
fn a_person_who_starts_a_join_over_is_not_kept_out_by_the_first_one() {
    for same_code in [true, false] {
        let mut world = World::new(2);
        let first = world.invite(0);
        world.start_join(1, &first);
        world.run(Span::from_secs(3));
        assert_eq!(world.pending(0).len(), 1);
        let second = if same_code { first } else { world.invite(0) };
        world.start_join(1, &second);
        world.run(Span::from_secs(3));
        if same_code {
            world.run(Span::from_secs(20));
            let error = world.join_state(1).error.expect("a code is good once");
            assert_eq!(error.code, "join.expired");
            assert!(world.pending(0).is_empty(), "nobody waits any more");
        } else {
            let who = world.pending(0)[0].node.clone();
            world.approve(0, &who).expect("it waits");
            world.run(Span::from_secs(3));
            assert_eq!(world.join_state(1).stage, JoinStage::Member);
        }
    }
}

#[test]
fn a_machine_that_starts_over_after_the_yes_is_let_in_by_it() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    let another = world.invite(0);
    // The welcome comes, but is lost in a power cut.
    world.slow_disk = Some(1);
    world.approve(0, &who).expect("it waits");
    world.drop_pairings();
    world.disk_forgets();
    world.restart(1);
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    world.start_join(1, &another);
    world.run(Span::from_secs(10));
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
    assert_eq!(world.view(0), world.view(1));
}

#[test]
fn wrong_codes_of_a_neighbour_do_not_end_what_another_machine_waits_for() {
    let mut world = World::new(3);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    world.invite(0);
    let wrong = world.invite(2);
    world.one_address = true;
    for _ in 0..3 {
        world.start_join_at(2, &wrong, 0);
        world.run(Span::from_secs(5));
    }
    world.drop_pairings();
    world.run(Span::from_secs(60));
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    assert_eq!(world.pending(0).len(), 1);
}

#[test]
fn who_is_in_looks_for_nobody_any_more() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    world.slow_disk = Some(1);
    world.approve(0, &who).expect("it waits");
    world.run(Span::from_ms(200));
    world.drop_pairings();
    world.disk_answers();
    world.run(Span::from_secs(120));
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
    assert_eq!(world.members(1).len(), 2);
}

#[test]
fn a_waiting_machine_that_lost_the_inviter_for_a_moment_waits_on() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    for _ in 0..5 {
        world.drop_pairings();
        world.run(Span::from_secs(20));
    }
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("still waiting");
    world.run(Span::from_secs(1));
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
}

#[test]
fn a_machine_approved_later_is_called_back() {
    let mut world = World::new(2);
    let code = world.invite(0);
    world.start_join(1, &code);
    world.run(Span::from_secs(3));
    world.drop_pairings();
    world.restart(0);
    world.restart(1);
    world.run(Span::from_secs(3_600));
    assert_eq!(world.join_state(1).stage, JoinStage::Waiting);
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("still waiting");
    world.run(Span::from_secs(30));
    assert_eq!(world.join_state(1).stage, JoinStage::Member);
    assert_eq!(world.view(0), world.view(1));
    assert_eq!(world.members(1).len(), 2);
}

#[test]
fn frames_of_a_stranger_are_not_even_read() {
    let mut world = World::new(2);
    let before = world.view(0);
    let stranger = world.hives[1].me();
    let now = world.now();
    world.hives[0].on_received(now, stranger, &Frame::Probe { h: [0; 16] }.encode());
    world.hives[0].on_received(now, stranger, &[1, 2, 3]);
    world.settle();
    assert_eq!(world.view(0), before);
    assert!(world.sent_to(0, stranger).is_empty());
    assert!(misdeeds(&world, 0).is_empty());
    world.hives[0].on_peer_up(now, stranger, address(1));
    world.settle();
    assert!(!world.is_linked(0, 1));
}

#[test]
fn a_removed_machine_is_cut_off_in_the_same_call_and_its_later_words_do_not_count() {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(10));
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(1));
    let label = world.label(1);
    world.hold_saves = true;
    world.remove(0, &label).expect("a junior");
    assert!(!world.is_linked(0, 1), "closed before anything was saved");
    world.hold_saves = false;
    world.release_saves();
    world.settle();
    world.run(Span::from_secs(5));
    assert!(!world.is_linked(2, 1), "the third machine heard of it");
    world.publish(1, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(60));
    for at in [0, 2] {
        assert_eq!(world.members(at).len(), 2);
        let patterns = &world.hives[at].advice().patterns;
        assert!(
            patterns.contains_key(&pattern(1).id()),
            "said before: stays"
        );
        assert!(!patterns.contains_key(&pattern(2).id()), "said after: void");
    }
    assert_eq!(world.view(0), world.view(2));
}

#[test]
fn a_junior_cannot_remove_a_senior() {
    let mut world = pair();
    let founder = world.label(0);
    let error = world.remove(1, &founder).expect_err("refused");
    assert_eq!(error.code, "member.senior");
    assert_eq!(world.members(0).len(), 2);
    let error = world.remove(0, &founder).expect_err("refused");
    assert_eq!(
        (error.code.as_str(), error.try_next.as_str()),
        ("member.self", "hive leave")
    );
    let error = world.remove(0, "nobody").expect_err("refused");
    assert_eq!(error.code, "member.unknown");
}

#[test]
fn a_forged_signature_changes_nothing_and_three_close_the_link() {
    let mut world = pair();
    let before = world.view(0);
    let liar = world.hives[1].me();
    let forged = Frame::Delta(Delta {
        author: world.hives[0].me(),
        incarnation: u32::MAX,
        base: None,
        seq: 99,
        hlc: hive_core::time::Hlc(u64::MAX),
        floor: 0,
        prev: Some([0; 32]),
        sig: [7; 64],
        entries: Vec::new(),
    });
    for round in 1..=3 {
        assert!(world.is_linked(0, 1));
        let now = world.now();
        world.hives[0].on_received(now, liar, &forged.encode());
        world.settle();
        assert_eq!(misdeeds(&world, 0), vec![Misdeed::BadSignature; round]);
    }
    assert_eq!(world.view(0), before);
    assert!(!world.is_linked(0, 1));
}

#[test]
fn nobody_can_inflate_another_ones_counter() {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(10));
    let id = pattern(1).id();
    world.publish(
        1,
        vec![Statement::Strategy(id, StrategyCell { trials: 5, wins: 3 })],
    );
    world.run(Span::from_secs(2));
    assert_eq!(world.hives[0].advice().wins, 3);
    // Machine 2 holds the genuine map of 1, raises the cell, and sends it on.
    let victim = world.hives[1].me();
    let genuine = world.deltas_from(1).pop().expect("a push");
    let mut inflated = genuine.clone();
    inflated.seq += 1;
    inflated.base = None;
    inflated.prev = Some([0; 32]);
    let statement = Statement::Strategy(
        id,
        StrategyCell {
            trials: 900,
            wins: 900,
        },
    );
    inflated.entries[0].value = Some(statement.encode());
    assert_eq!(genuine.author, victim);
    let liar = world.hives[2].me();
    let now = world.now();
    world.hives[0].on_received(now, liar, &Frame::Delta(inflated).encode());
    world.settle();
    assert_eq!(world.hives[0].advice().wins, 3);
    assert_eq!(misdeeds(&world, 0), vec![Misdeed::BadSignature]);
}

#[test]
fn truncated_and_monstrous_frames_are_counted_and_nothing_else() {
    let mut world = pair();
    let before = world.view(0);
    let peer = world.hives[1].me();
    let line = Line {
        author: peer,
        incarnation: 1,
        seq: 1,
        id: [0; 16],
        forked: false,
    };
    let good = Frame::Digest(vec![line]).encode();
    let now = world.now();
    world.hives[0].on_received(now, peer, &good[..good.len() - 1]);
    // A digest that claims four billion lines.
    world.hives[0].on_received(now, peer, &[1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    world.settle();
    assert_eq!(misdeeds(&world, 0), vec![Misdeed::BadFrame; 2]);
    assert_eq!(world.view(0), before);
}

#[test]
fn a_machine_that_lost_its_disk_gets_its_own_map_back() {
    let mut world = pair();
    world.publish(1, vec![Statement::Pattern(pattern(4))]);
    world.run(Span::from_secs(2));
    world.damage_own_map(1);
    world.restart(1);
    world.run(Span::from_secs(15));
    assert!(world.told[1].contains(&Happening::StoreDamaged));
    assert!(
        world.hives[1]
            .advice()
            .patterns
            .contains_key(&pattern(4).id())
    );
    assert_eq!(world.view(0), world.view(1));
    world.publish(1, vec![Statement::Pattern(pattern(5))]);
    world.run(Span::from_secs(5));
    assert_eq!(world.view(0), world.view(1));
    assert_eq!(world.hives[0].advice().patterns.len(), 2);
    assert!(misdeeds(&world, 0).is_empty() && misdeeds(&world, 1).is_empty());
}

#[test]
fn a_restart_keeps_everything_and_says_new_things_under_a_new_incarnation() {
    let mut world = pair();
    world.publish(0, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(2));
    world.restart(0);
    world.run(Span::from_secs(15));
    assert_eq!(world.view(0), world.view(1));
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(2));
    assert_eq!(world.hives[1].advice().patterns.len(), 2);
    let last = world.deltas_from(0).pop().expect("a push");
    assert_eq!(
        last.incarnation >> 8,
        2,
        "a count of starts, and a byte of chance"
    );
}

#[test]
fn two_states_under_one_number_take_the_author_out_of_every_view() {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(10));
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(2));
    assert_eq!(world.hives[0].advice().patterns.len(), 1);
    // A second machine with the same key says something else under the same number.
    let lie = world.fork_of(1, &Statement::Pattern(pattern(2)));
    let now = world.now();
    let liar = world.hives[1].me();
    world.hives[0].on_received(now, liar, &Frame::Delta(lie).encode());
    world.settle();
    world.run(Span::from_secs(30));
    for at in [0, 2] {
        assert!(world.hives[at].advice().patterns.is_empty(), "machine {at}");
        assert!(
            world.told[at]
                .iter()
                .any(|h| matches!(h, Happening::Forked { .. }))
        );
        assert_eq!(world.members(at).len(), 3);
    }
    assert_eq!(world.view(0), world.view(2));
}

#[test]
fn a_renamed_machine_is_known_by_its_new_name() {
    let mut world = pair();
    world.rename(1, "laptop");
    world.run(Span::from_secs(2));
    let laptop = world.hives[1].me();
    assert_eq!(world.hives[0].label_of(laptop), "laptop");
    let key = KeyPair::from_secret(&[77; 32]).node();
    assert_eq!(world.hives[0].label_of(key), key.short());
}

#[test]
fn who_comes_to_another_network_dials_at_once_and_not_when_the_pause_is_over() {
    let mut world = pair();
    world.cut(0, 1);
    world.run(Span::from_secs(3_600));
    world.heal(0, 1);
    world.run(Span::from_secs(1));
    assert!(!world.is_linked(0, 1), "pauses have grown to minutes");
    let now = world.now();
    world.hives[0].on_network_changed(now);
    world.settle();
    world.run(Span::from_secs(1));
    assert!(world.is_linked(0, 1));
}

/// Questions come in a quarter of the time that the other one was missing, and who answers one is dialled for it.
#[test]
fn who_is_heard_again_is_dialled_for_it_and_not_when_the_pause_is_over() {
    for minutes in [40, 60, 80, 100, 120, 150, 180, 240] {
        let mut world = pair();
        world.cut(0, 1);
        world.run(Span::from_secs(minutes * 60));
        world.heal(0, 1);
        world.run(Span::from_secs(minutes * 15 + 10));
        assert!(world.is_linked(0, 1), "after {minutes} min");
    }
}

#[test]
fn who_was_lost_lately_is_looked_for_soon_although_another_one_is_missing_for_long() {
    for minutes in [4, 6, 8, 10, 12, 15, 18, 24] {
        let mut world = World::new(3);
        world.join(1, 0);
        world.join(2, 0);
        world.run(Span::from_secs(60));
        world.cut(2, 0);
        world.cut(2, 1);
        world.run(Span::from_secs(20 * 3_600));
        world.cut(0, 1);
        world.run(Span::from_secs(minutes * 60));
        world.heal(0, 1);
        world.run(Span::from_secs(minutes * 15 + 10));
        assert!(world.is_linked(0, 1), "after {minutes} min");
    }
}

#[test]
fn a_quiet_pair_is_quiet() {
    let mut world = pair();
    world.run(Span::from_secs(7_200));
    let before = world.frames;
    world.run(Span::from_secs(86_400));
    let frames = world.frames - before;
    // Each machine asks at most every 15 minutes on average: a probe and an answer.
    assert!((40..=500).contains(&frames), "{frames} frames a day");
}
