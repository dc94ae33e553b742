//! Stories of machines that come by a ticket, from where no multicast reaches.

use hive_core::hive::ticket::Invitation;
use hive_core::reply::{CommandError, JoinStage};
use hive_core::statement::Statement;
use hive_core::time::Span;

use crate::pattern;
use crate::world::World;

/// Nobody is there.
const NOWHERE: [&str; 2] = ["192.0.2.7:4483", "[2001:db8::7]:4483"];

fn far_apart(count: usize) -> World {
    let mut world = World::new(count);
    world.no_multicast = true;
    world
}

fn refused(world: &mut World, at: usize, text: &str) -> CommandError {
    world.try_join(at, text).expect_err("it was taken")
}

fn failed(world: &mut World, at: usize, text: &str) -> CommandError {
    world.start_join(at, text);
    world.run(Span::from_secs(20));
    let state = world.join_state(at);
    assert_eq!(state.stage, JoinStage::Failed, "{state:?}");
    state.error.expect("a reason")
}

#[test]
fn a_ticket_leads_to_the_inviter_by_its_last_place_and_a_person_still_decides() {
    let mut world = far_apart(2);
    let ticket = world
        .ticket(0, &[&NOWHERE[..], &["10.0.0.1:4483"]].concat())
        .expect("places");
    world.start_join(1, &ticket.to_uppercase());
    world.run(Span::from_secs(1));
    let state = world.join_state(1);
    assert_eq!(state.stage, JoinStage::Waiting, "{state:?}");
    let pending = world.pending(0);
    assert_eq!(Some(&pending[0].words), state.words.as_ref());
    assert_eq!(world.members(0).len(), 1, "nobody was asked");
    world.approve(0, &pending[0].node).expect("it waits");
    world.run(Span::from_secs(5));
    assert_eq!(world.members(1), world.members(0));
    assert!(world.is_linked(0, 1));
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(5));
    assert_eq!(world.view(0), world.view(1));
}

#[test]
fn a_ticket_is_good_for_one_machine_as_its_code_is() {
    let mut world = far_apart(3);
    let ticket = world.ticket(0, &["10.0.0.1:4483"]).expect("a place");
    world.start_join(1, &ticket);
    world.run(Span::from_secs(1));
    let error = failed(&mut world, 2, &ticket);
    assert_eq!(error.code, "join.expired");
    assert_eq!(world.pending(0).len(), 1);
}

#[test]
fn a_code_and_its_ticket_end_together_and_a_longer_time_is_kept() {
    let mut world = far_apart(3);
    let ticket = world.ticket(0, &["10.0.0.1:4483"]).expect("a place");
    let now = world.now();
    let long = Invitation {
        ticket: true,
        seconds: Some(3_600),
        places: vec!["10.0.0.1:4483".parse().expect("an address")],
    };
    let view = world.hives[0].invite(now, &long).expect("an admin");
    assert_eq!(view.seconds, 3_600);
    let seconds = Some(86_401);
    let error = world.hives[0]
        .invite(now, &Invitation { seconds, ..long })
        .expect_err("too long");
    assert_eq!(error.code, "invite.too_long");
    world.settle();
    world.run(Span::from_secs(601));
    assert!(world.door(0), "the other one is still open");
    assert_eq!(failed(&mut world, 1, &ticket).code, "join.wrong_code");
    // That attempt made this address wait; the other machine has another one.
    world.start_join(2, &view.ticket.expect("it was asked for"));
    world.run(Span::from_secs(3));
    assert_eq!(world.join_state(2).stage, JoinStage::Waiting);
}

#[test]
fn a_ticket_needs_a_place() {
    let mut world = far_apart(1);
    let error = world
        .ticket(0, &["[fe80::1]:4483", "0.0.0.0:4483"])
        .expect_err("no place");
    assert_eq!(error.code, "invite.no_address");
    assert!(!world.door(0), "nothing was opened");
}

#[test]
fn only_the_machine_that_made_the_ticket_is_spoken_with() {
    let mut world = far_apart(3);
    // Another machine stands where the ticket leads, with its own door open.
    world.invite(1);
    let ticket = world.ticket(0, &["10.0.0.2:4483"]).expect("a place");
    let frames = world.pair_frames;
    let error = failed(&mut world, 2, &ticket);
    assert_eq!(error.code, "join.not_found");
    assert_eq!(error.known, "tried 10.0.0.2:4483");
    assert!(error.try_next.contains("hive doctor"), "{error:?}");
    assert_eq!(world.pair_frames, frames, "it spoke with a stranger");
    assert!(world.pending(1).is_empty() && world.pending(0).is_empty());
}

#[test]
fn a_ticket_whose_places_are_all_dead_says_which_were_tried() {
    let mut world = far_apart(2);
    let ticket = world.ticket(0, &NOWHERE).expect("places");
    let error = failed(&mut world, 1, &ticket);
    assert_eq!(error.code, "join.not_found");
    assert_eq!(error.known, "tried 192.0.2.7:4483, [2001:db8::7]:4483");
}

#[test]
fn a_ticket_that_cannot_be_meant_is_refused_before_anything_is_dialled() {
    let mut world = far_apart(3);
    let ticket = world.ticket(0, &["10.0.0.1:4483"]).expect("a place");
    let cut = refused(&mut world, 1, &ticket[..ticket.len() - 9]);
    assert_eq!(cut.code, "join.ticket_cut");
    let last = if ticket.ends_with('q') { "p" } else { "q" };
    let other = [&ticket[..ticket.len() - 1], last].concat();
    assert_eq!(refused(&mut world, 1, &other).code, "join.ticket");
    assert_eq!(refused(&mut world, 0, &ticket).code, "join.self");
    world.start_join(1, &ticket);
    world.run(Span::from_secs(1));
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("it waits");
    world.run(Span::from_secs(5));
    let again = world.ticket(0, &["10.0.0.1:4483"]).expect("a place");
    assert_eq!(refused(&mut world, 1, &again).code, "join.already");
    let foreign = world.ticket(2, &["10.0.0.3:4483"]).expect("a place");
    let error = refused(&mut world, 1, &foreign);
    assert_eq!(error.code, "join.not_alone");
    assert!(error.what.contains("another hive"), "{error:?}");
    let whole = world.join_state(1);
    assert_eq!(whole.stage, JoinStage::Member, "nothing was changed");
}
