//! Stories of large hives: whom members are connected with, how news travels, and what it costs.

#[path = "many_hives/world.rs"]
mod world;

use hive_core::chance::Chance;
use hive_core::id::WorkloadKey;
use hive_core::pattern::{Action, Binding, Context, Cores, PatternDef, WorkloadType};
use hive_core::statement::Statement;
use hive_core::time::Span;
use hive_core::wire::{Frame, Hint};

use world::World;

fn pattern(n: u64) -> Statement {
    let mut workload = [0; 16];
    workload[..8].copy_from_slice(&n.to_le_bytes());
    Statement::Pattern(PatternDef {
        action: Action::BackgroundNice,
        workload: WorkloadKey(workload),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Build,
        },
    })
}

/// Everybody found its neighbours and holds the same.
fn settled(count: usize, seed: u8) -> World {
    let mut world = World::new(count, seed);
    world.run(Span::from_secs(120));
    assert_eq!(world.views(), 1, "{count} members");
    world.read_meters();
    world
}

/// Connections of one's own choice, and as many again that others chose.
const DEGREE_MAX: usize = 12;

#[test]
fn the_graph_stays_connected_and_its_degree_bounded_while_members_come_and_go() {
    for (count, seed, rounds) in [(20, 1, 4), (50, 2, 2), (100, 3, 1)] {
        let mut world = settled(count, seed);
        let (least, most, whole) = world.graph();
        assert!(whole && least >= 2 && most <= 6, "{count}: {least} {most}");
        let mut chance = Chance::from_seed([seed; 32]);
        for round in 0..rounds {
            for at in 0..count {
                match (world.is_on(at), chance.below(100)) {
                    (true, 0..20) => world.switch_off(at),
                    (false, 0..60) => world.switch_on(at),
                    _ => {}
                }
            }
            world.run(Span::from_secs(90));
            let (least, most, whole) = world.graph();
            assert!(whole, "{count} members, round {round}: in pieces");
            assert!(least >= 2 && most <= DEGREE_MAX, "{count}: {least} {most}");
            assert_eq!(world.views(), 1, "{count} members, round {round}");
        }
        for at in 0..count {
            if !world.is_on(at) {
                world.switch_on(at);
            }
        }
        // Stand-ins are let go of when everybody is back.
        world.run(Span::from_secs(300));
        let (least, most, whole) = world.graph();
        assert!(whole && least >= 2 && most <= 7, "{count}: {least} {most}");
    }
}

#[test]
fn news_crosses_each_member_about_once_and_arrives_within_a_second() {
    let mut world = settled(50, 4);
    // The first few shape the tree.
    for n in 0..4 {
        world.publish(7, vec![pattern(n)]);
        world.run(Span::from_secs(5));
    }
    world.read_meters();
    for n in 4..8 {
        world.publish(11, vec![pattern(n)]);
        world.run(Span::from_secs(1));
        assert_eq!(world.views(), 1, "news takes more than a second");
        world.run(Span::from_secs(4));
    }
    let (meter, _) = world.read_meters();
    // 49 others, four times; a few more while the tree takes shape for another author.
    assert!(meter.deltas >= 196 && meter.deltas <= 225, "{meter:?}");
    assert_eq!(meter.digests + meter.changed, 0, "{meter:?}");
}

#[test]
fn a_member_that_vanishes_without_a_word_leaves_nobody_behind() {
    let mut world = settled(30, 5);
    for n in 0..3 {
        world.publish(3, vec![pattern(n)]);
        world.run(Span::from_secs(5));
    }
    // The way between one member and each of its neighbours breaks, one after the other; nobody is told.
    for nth in 0..3 {
        let other = world.neighbours(3)[0];
        world.block(3, other);
        world.publish(3, vec![pattern(100 + nth)]);
        world.publish(other, vec![pattern(200 + nth)]);
        world.run(Span::from_secs(60));
        assert_eq!(world.views(), 1, "after the loss of {nth}");
    }
}

#[test]
fn a_small_hive_never_relays_nor_names_news() {
    let mut world = settled(8, 6);
    let (least, most, _) = world.graph();
    assert_eq!((least, most), (7, 7));
    for at in 0..8 {
        world.publish(at, vec![pattern(at as u64)]);
        world.run(Span::from_secs(3));
    }
    assert_eq!(world.views(), 1);
    let (meter, _) = world.read_meters();
    assert_eq!(meter.deltas, 56, "{meter:?}");
    assert_eq!(meter.relayed + meter.hints + meter.grafts + meter.prunes, 0);
    assert_eq!(meter.changed, 0);
}

#[test]
fn names_of_news_that_does_not_exist_cost_a_few_questions() {
    let mut world = settled(12, 7);
    let liar = world.neighbours(0)[0];
    for seq in 1_000..1_100 {
        let hints = (0..12)
            .map(|at| {
                let node = world.hives[at].me();
                let mut author = [0; 4];
                author.copy_from_slice(&node.0[..4]);
                Hint {
                    author,
                    incarnation: 1_000,
                    seq,
                }
            })
            .collect();
        world.inject(0, liar, &Frame::IHave(hints));
        world.run(Span::from_secs(3));
    }
    let grafts = world.meters[0].grafts;
    assert!((1..=24).contains(&grafts), "{grafts} questions");
    world.publish(5, vec![pattern(1)]);
    world.run(Span::from_secs(60));
    assert_eq!(world.views(), 1);
}

/// Runs until everybody holds the same, up to a minute; how long that was.
fn equal_after(world: &mut World) -> Span {
    let step = Span::from_ms(20);
    for steps in 1..3_000 {
        world.run(step);
        if world.views() == 1 {
            return Span(step.0 * steps);
        }
    }
    Span::from_secs(60)
}

#[test]
fn who_writes_at_once_cuts_nobody_off_and_a_single_piece_of_news_shapes_the_tree_again() {
    for (seed, way_us) in [(1, 5_000), (2, 40_000), (3, 5_000)] {
        let count = 20;
        let mut world = settled(count, seed);
        world.way_us = way_us;
        // A fifth of the members is back after a while away: their links are all branches, and the tree has circles.
        for at in 0..4 {
            world.switch_off(at * 4);
        }
        world.run(Span::from_secs(30));
        for at in 0..4 {
            world.switch_on(at * 4);
        }
        world.run(Span::from_secs(3));
        for round in 0..3 {
            for at in 0..count {
                world.publish(at, vec![pattern(1_000 + round * 100 + at as u64)]);
            }
            let took = equal_after(&mut world);
            assert!(took <= Span::from_secs(1), "{seed}: {took:?}");
            world.run(Span::from_secs(3));
        }
        for n in 0..3 {
            world.publish(n, vec![pattern(n as u64)]);
            let took = equal_after(&mut world);
            assert!(took <= Span::from_secs(1), "{seed}: {took:?}");
            world.run(Span::from_secs(3));
        }
        world.read_meters();
        for n in 3..8 {
            world.publish(n, vec![pattern(n as u64)]);
            world.run(Span::from_secs(3));
        }
        assert_eq!(world.views(), 1);
        let (meter, _) = world.read_meters();
        // 19 others, five times; a few more while the tree takes shape.
        assert!(meter.deltas >= 95 && meter.deltas <= 110, "{meter:?}");
    }
}

#[test]
fn nobody_carries_the_news_of_a_large_hive_for_all_others() {
    for (count, seed) in [(20, 1), (20, 2), (50, 3), (100, 4)] {
        let mut world = settled(count, seed);
        let say = |world: &mut World, n: usize| {
            world.publish(n * 7 % count, vec![pattern(n as u64)]);
            let took = equal_after(world);
            // The first one cuts the circles; from then on nobody waits for a name, which takes half a
            // second, also not while branches are parted with.
            let bound = if n == 0 { 2_000 } else { 490 };
            assert!(took <= Span::from_ms(bound), "{count}, {n}: {took:?}");
            world.run(Span::from_secs(19));
        };
        // Whoever stands in the middle parts with a branch now and then.
        (0..60).for_each(|n| say(&mut world, n));
        world.read_meters();
        (60..80).for_each(|n| say(&mut world, n));
        let most = world.meters.iter().map(|meter| meter.deltas).max();
        // Without a bound it is six.
        let most = most.expect("members") / 20;
        assert!(most <= 4, "{count}, {seed}: {most} copies of each");
    }
}

#[test]
fn a_crowd_that_does_not_end_is_pruned_all_the_same() {
    let count = 20;
    let mut world = settled(count, 9);
    for n in 0..300 {
        world.publish(n % count, vec![pattern(n as u64)]);
        world.run(Span::from_ms(5));
    }
    world.run(Span::from_secs(5));
    world.read_meters();
    for n in 300..600 {
        world.publish(n % count, vec![pattern(n as u64)]);
        world.run(Span::from_ms(5));
    }
    let took = equal_after(&mut world);
    assert!(took <= Span::from_secs(2), "{took:?}");
    let (meter, _) = world.read_meters();
    let per_push = meter.deltas / (300 * (count as u64 - 1) / 10);
    assert!(per_push <= 15, "{per_push} tenths: {meter:?}");
}
