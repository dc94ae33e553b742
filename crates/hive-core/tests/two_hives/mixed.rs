//! Versions mix: half of the members run an older one, which knows neither all kinds of statements nor all kinds of
//! frames. It reads with the same code, told to know less; what it does not know it cannot decode.

use hive_core::event_log::Happening;
use hive_core::id::{HeadId, NodeId, WorkloadKey};
use hive_core::pattern::Evidence;
use hive_core::statement::{Anomaly, Farewell, HeadRef, Mark, Rotate, Statement};
use hive_core::time::Span;
use hive_core::vocabulary::Vocabulary;
use hive_core::wire::FRAME_KINDS;

use crate::pattern;
use crate::world::World;

fn anomaly(n: u8) -> Statement {
    Statement::Anomaly(Anomaly {
        metrics: 1,
        hour: 480_000,
        workload: WorkloadKey([n; 16]),
        ..Anomaly::default()
    })
}

fn mark(n: u8) -> Statement {
    Statement::Mark(pattern(n).id(), Mark::Paused)
}

/// As it was before wishes, reports of anomalies and last words, and before the frames of the push tree.
fn older() -> Vocabulary {
    let last_word = Statement::Farewell(Farewell {
        node: NodeId([1; 32]),
        sig: [[0; 32]; 2],
    });
    let later = [anomaly(0), mark(0), last_word].map(|it| it.key().kind);
    Vocabulary::older(&later, 12)
}

/// Members of which every second one is old: the founder and its like, or the others.
fn mixed(count: usize, founder_is_old: bool) -> World {
    let mut world = World::new(count);
    for at in (0..count).filter(|at| is_old(*at, founder_is_old)) {
        world.install(at, Some(older()));
    }
    for joiner in 1..count {
        world.join(joiner, joiner - 1);
    }
    world
}

fn is_old(at: usize, founder_is_old: bool) -> bool {
    at.is_multiple_of(2) == founder_is_old
}

fn say(world: &mut World, at: usize, n: u8) {
    let words = vec![
        Statement::Pattern(pattern(n)),
        Statement::Evidence(pattern(n).id(), Evidence::default()),
        mark(n),
        anomaly(n),
    ];
    world.publish(at, words);
}

fn all_equal(world: &World, members: &[usize]) {
    for at in members {
        assert_eq!(world.view(*at), world.view(members[0]), "machine {at}");
        assert_eq!(world.members(*at), world.members(members[0]));
        let blamed = |it: &Happening| matches!(it, Happening::PeerMisbehaved { .. });
        assert!(!world.told[*at].iter().any(blamed), "machine {at}");
    }
}

fn anomalies(world: &World, at: usize) -> usize {
    world.hives[at].advice().anomalies.iter().count()
}

#[test]
fn old_and_new_end_with_the_same_roots_whichever_founded_the_hive() {
    for founder_is_old in [false, true] {
        let mut world = mixed(4, founder_is_old);
        let all = [0, 1, 2, 3];
        for at in all {
            say(&mut world, at, u8::try_from(at).expect("few"));
        }
        world.run(Span::from_secs(60));
        all_equal(&world, &all);
        for at in all {
            // The old ones did not say what they have no words for, and do not see what they cannot read.
            let seen = if is_old(at, founder_is_old) { 0 } else { 2 };
            assert_eq!(anomalies(&world, at), seen, "machine {at}");
            assert_eq!(world.hives[at].advice().patterns.len(), 4);
        }
        // A removal, with a last word that half of them cannot read.
        let who = world.members(0)[3].clone();
        world.remove(0, &who).expect("a junior");
        world.run(Span::from_secs(60));
        all_equal(&world, &[0, 1, 2]);
        assert_eq!(world.members(1).len(), 3);
    }
}

#[test]
fn the_old_one_passes_on_what_it_cannot_read_and_keeps_it_through_a_restart() {
    for founder_is_old in [false, true] {
        let mut world = mixed(3, founder_is_old);
        let new: Vec<usize> = (0..3).filter(|at| !is_old(*at, founder_is_old)).collect();
        let old: Vec<usize> = (0..3).filter(|at| is_old(*at, founder_is_old)).collect();
        // Whatever two new ones say to each other goes through old ones.
        if let [one, two] = new[..] {
            world.cut(one, two);
        }
        say(&mut world, new[0], 7);
        world.run(Span::from_secs(120));
        all_equal(&world, &[0, 1, 2]);
        for at in &new {
            assert_eq!(anomalies(&world, *at), 1);
        }
        for at in &old {
            world.install(*at, Some(older()));
        }
        world.run(Span::from_secs(120));
        all_equal(&world, &[0, 1, 2]);
        // A newer version is installed: it reads what the older one kept.
        for at in &old {
            assert_eq!(anomalies(&world, *at), 0);
            world.install(*at, None);
            assert_eq!(anomalies(&world, *at), 1);
        }
        // And back again.
        world.install(new[0], Some(older()));
        world.run(Span::from_secs(120));
        all_equal(&world, &[0, 1, 2]);
        assert_eq!(anomalies(&world, new[0]), 0);
    }
}

#[test]
fn a_large_hive_with_a_push_tree_and_members_that_do_not_know_it_ends_equal() {
    for founder_is_old in [false, true] {
        let mut world = mixed(11, founder_is_old);
        let all: Vec<usize> = (0..11).collect();
        for at in &all {
            say(&mut world, *at, u8::try_from(*at).expect("few"));
        }
        world.run(Span::from_secs(600));
        all_equal(&world, &all);
    }
}

#[test]
fn a_frame_of_a_later_version_is_passed_over_and_garbage_is_not() {
    let mut world = mixed(2, false);
    let (now, peer) = (world.now(), world.hives[1].me());
    for kind in [FRAME_KINDS, 40, 127] {
        world.hives[0].on_received(now, peer, &[1, kind, 1, 2, 3]);
    }
    world.settle();
    all_equal(&world, &[0, 1]);
    world.hives[0].on_received(now, peer, &[1, 200, 200, 200]);
    world.settle();
    assert_eq!(crate::misdeeds(&world, 0).len(), 1);
}

/// As it was before keys could be changed.
fn before_new_keys() -> Vocabulary {
    let rotate = Statement::Rotate(Rotate {
        old: NodeId([1; 32]),
        new: NodeId([2; 32]),
        keep: HeadRef {
            incarnation: 1,
            seq: 1,
            id: HeadId([3; 32]),
        },
        sigs: [[0; 32]; 4],
    });
    Vocabulary::older(&[rotate.key().kind], u8::MAX)
}

#[test]
fn members_that_stay_unequal_ask_each_other_ever_more_rarely_and_are_equal_after_an_update() {
    let mut world = World::new(4);
    for at in [1, 3] {
        world.install(at, Some(before_new_keys()));
    }
    for joiner in 1..4 {
        world.join(joiner, 0);
    }
    world.run(Span::from_secs(60));
    all_equal(&world, &[0, 1, 2, 3]);
    // The old ones do not know who this is, and store nothing of it: they cannot hold what the new ones hold.
    world.rotate(2).expect("somebody hears it");
    world.run(Span::from_secs(3_600));
    all_equal(&world, &[0, 2]);
    all_equal(&world, &[1, 3]);
    assert_ne!(world.view(0), world.view(1));
    let (before, dials) = (world.frames, world.dials);
    world.run(Span::from_secs(3_600));
    // At the shortest interval four members ask up to 9,600 times an hour, and each question has answers.
    let frames = world.frames - before;
    assert!(frames < 500, "{frames} frames in an hour");
    let dials = world.dials - dials;
    assert!(dials < 30, "{dials} dials in an hour");
    // News is not slower for it.
    say(&mut world, 1, 9);
    assert_eq!(world.hives[0].advice().patterns.len(), 1);
    for at in [1, 3] {
        world.install(at, None);
    }
    world.run(Span::from_secs(120));
    all_equal(&world, &[0, 1, 2, 3]);
}
