//! A fresh member of a hive that knows more than one answer may hold.

use hive_core::time::Span;
use hive_core::wire::Frame;

use crate::world::World;

#[test]
fn what_one_answer_has_no_room_for_is_asked_for_at_once() {
    let mut world = World::new(6);
    for joiner in 1..5 {
        world.join(joiner, 0);
    }
    world.run(Span::from_secs(30));
    let now = world.now();
    for author in 1..5 {
        let peer = world.hives[author].me();
        // Two megabytes in all, and an answer holds little more than one.
        for frame in Frame::Delta(world.heavy(author, 60)).encode_split() {
            world.hives[0].on_received(now, peer, &frame);
        }
    }
    world.run(Span::from_secs(60));
    // Nobody else helps.
    for other in 1..5 {
        world.cut(5, other);
    }
    let code = world.invite(0);
    world.start_join(5, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("it waits");
    world.run(Span::from_ms(500));
    assert_eq!(world.view(5), world.view(0));
}

#[test]
fn what_a_newcomer_said_before_it_knew_itself_a_member_reaches_all_at_once() {
    let mut world = World::new(8);
    for joiner in 1..7 {
        world.join(joiner, 0);
    }
    world.run(Span::from_secs(30));
    let now = world.now();
    for author in 1..7 {
        let peer = world.hives[author].me();
        for frame in Frame::Delta(world.heavy(author, 20)).encode_split() {
            world.hives[0].on_received(now, peer, &frame);
        }
    }
    // Everybody is quiet: the next repair is half an hour away.
    world.run(Span::from_secs(7_200));
    let code = world.invite(0);
    world.start_join(7, &code);
    world.run(Span::from_secs(3));
    let who = world.pending(0)[0].node.clone();
    world.approve(0, &who).expect("it waits");
    world.run(Span::from_ms(900));
    for member in 0..7 {
        assert_eq!(world.view(member), world.view(7), "{member}");
        assert_eq!(world.members(member).len(), 8);
    }
}
