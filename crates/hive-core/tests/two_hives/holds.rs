//! Stories of a hive that stays true over days: forks that nobody saw, clocks that are wrong, disks that rot.

use hive_core::event_log::Happening;
use hive_core::statement::Statement;
use hive_core::time::Span;
use hive_core::wire::Frame;

use crate::pattern;
use crate::world::World;

/// Three machines of one hive that are all connected: 0 founded it.
fn three() -> World {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(20));
    world
}

fn forks_told(world: &World, at: usize) -> usize {
    let forked = |happening: &&Happening| matches!(happening, Happening::Forked { .. });
    world.told[at].iter().filter(forked).count()
}

#[test]
fn a_fork_that_nobody_saw_arrive_is_found_by_the_daily_audit() {
    let mut world = three();
    let one = world.branch_of(1, &[Statement::Pattern(pattern(1))]);
    let others: Vec<Statement> = (2..5).map(|n| Statement::Pattern(pattern(n))).collect();
    let two = world.branch_of(1, &others);
    world.cut(0, 1);
    world.cut(1, 2);
    let now = world.now();
    let (zero, last) = (world.hives[0].me(), world.hives[2].me());
    for delta in one {
        world.hives[0].on_received(now, last, &Frame::Delta(delta).encode());
    }
    for delta in two {
        world.hives[2].on_received(now, zero, &Frame::Delta(delta).encode());
    }
    world.settle();
    world.run(Span::from_secs(300));
    assert_eq!(world.view(0), world.view(2), "equal, and nobody is wiser");
    assert_eq!((forks_told(&world, 0), forks_told(&world, 2)), (0, 0));
    assert_eq!(world.hives[0].advice().patterns.len(), 3);
    world.run(Span::from_secs(86_400));
    for at in [0, 2] {
        assert_eq!(forks_told(&world, at), 1, "machine {at}");
        assert!(world.hives[at].advice().patterns.is_empty());
    }
    assert_eq!(world.view(0), world.view(2));
    // It is not forgotten over a restart.
    world.restart(2);
    world.run(Span::from_secs(60));
    assert!(world.hives[2].advice().patterns.is_empty());
    assert_eq!(world.view(0), world.view(2));
}

#[test]
fn honest_machines_that_restart_and_lose_sight_of_each_other_are_never_accused() {
    let mut world = three();
    for day in 0..6_u8 {
        let at = usize::from(day % 3);
        world.cut(at, usize::from((day + 1) % 3));
        for n in 0..4 {
            world.publish(at, vec![Statement::Pattern(pattern(10 * day + n))]);
            world.run(Span::from_secs(60));
        }
        world.restart(usize::from((day + 2) % 3));
        world.heal(at, usize::from((day + 1) % 3));
        world.run(Span::from_secs(86_400));
    }
    for at in 0..3 {
        assert_eq!(forks_told(&world, at), 0, "machine {at}");
        assert_eq!(world.hives[at].advice().patterns.len(), 24);
        assert_eq!(world.view(at), world.view(0));
    }
}
