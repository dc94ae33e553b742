//! Stories of a build in front and a job that burns behind it, on a toy machine with known truth.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a toy's counters"
)]

use hive_core::event_log::Happening;
use hive_core::pattern::{Action, Verdict, WorkloadType};
use hive_core::reply::{PatternState, StatusView};

#[path = "machine/toy.rs"]
#[expect(dead_code, reason = "shared with other test programs")]
mod toy;
use toy::{BACK, Plan, Truth, World};

/// A build that gets twice as much done while the background is nice.
fn build(seed: u8) -> Plan {
    let truth = Truth {
        effect: 0.5_f64.ln(),
        loss: 0.3,
        ..Truth::default()
    };
    let plan = Plan {
        seed,
        builds: true,
        ..Plan::default()
    };
    plan.with(Action::BackgroundNice, truth)
}

fn is_proven(world: &World) -> bool {
    let nice = world.pattern(Action::BackgroundNice);
    nice.is_some_and(|pattern| pattern.state == PatternState::Proven && world.on.is_some())
}

#[test]
fn what_lets_a_build_get_more_done_is_found_and_told_in_these_words() {
    let mut missed = 0;
    for seed in 0..20 {
        let mut world = World::new(build(seed));
        let found = world.run_until(120, is_proven);
        assert!(
            found,
            "seed {seed}: {:?}",
            world.pattern(Action::BackgroundNice)
        );
        let on = world.on.as_ref().expect("on");
        assert_eq!(on.2, [BACK], "the background alone is touched");
        let pattern = world.pattern(Action::BackgroundNice).expect("proven");
        assert_eq!(pattern.role, WorkloadType::Build);
        let [low, high] = pattern.ci.expect("a range");
        missed += u32::from(low > 0.5 || 0.5 > high);
        let loss = pattern.background_loss.expect("measured");
        assert!((loss - 0.3).abs() < 0.05, "seed {seed}: loss {loss}");
        let why = world
            .machine
            .why(world.clock(), &pattern.name)
            .expect("known");
        let said = |words: &str| why.because.iter().any(|line| line.contains(words));
        assert!(said("% more done per second") && said("competes with a build"));
        assert!(!said("waits") && !said("per wake-up"), "{:?}", why.because);
        // What it got is no waiting that was spared.
        world.run(200);
        let mut status = StatusView::default();
        world.machine.fill_status(world.clock(), &mut status);
        assert_eq!(status.gain, None);
        assert!(
            world
                .pattern(Action::BackgroundNice)
                .expect("proven")
                .holdout
                .is_some()
        );
        // Only what can give it more of the processor was tried.
        assert!(!world.real_acts().contains(&Action::FinerSlice));
    }
    assert!(
        missed <= 2,
        "the 95 % range missed the truth {missed} times of 20"
    );
}

#[test]
fn across_terminal_sessions_nothing_is_claimed() {
    for seed in 0..10 {
        let plan = Plan {
            across_sessions: true,
            ..build(seed)
        };
        let mut world = World::new(plan);
        world.run(400);
        let acts = world.real_acts();
        assert!(!acts.contains(&Action::BackgroundNice) && acts.contains(&Action::AutogroupNice));
        for pattern in world.machine.patterns(world.clock()).patterns {
            assert!(
                matches!(pattern.verdict, Verdict::NoEffect | Verdict::Undecided),
                "seed {seed}: {pattern:?}"
            );
        }
    }
}

#[test]
fn where_nothing_helps_a_build_nothing_is_claimed() {
    let mut claims = 0;
    let mut trials = 0;
    for seed in 0..60 {
        let mut world = World::new(Plan {
            seed,
            noise: 0.3,
            builds: true,
            ..Plan::default()
        });
        world.run(400);
        for pattern in world.machine.patterns(world.clock()).patterns {
            trials += u32::from(pattern.pairs >= 6);
            claims += u32::from(matches!(pattern.verdict, Verdict::Helps | Verdict::Harms));
        }
    }
    assert!(trials >= 60);
    assert!(
        claims <= 3,
        "{claims} effects of nothing in {trials} trials"
    );
}

#[test]
fn measuring_that_is_biased_is_not_believed() {
    let mut claims = 0;
    for seed in 0..30 {
        let mut world = World::new(Plan {
            seed,
            noise: 0.1,
            bias: -0.3,
            builds: true,
            ..Plan::default()
        });
        world.run(300);
        for pattern in world.machine.patterns(world.clock()).patterns {
            claims += u32::from(pattern.verdict == Verdict::Helps);
        }
    }
    assert!(claims <= 1, "{claims} false gains");
}

#[test]
fn a_program_that_somebody_uses_comes_before_a_build() {
    let mut world = World::new(build(3));
    assert!(world.run_until(120, is_proven));
    let pairs = |world: &World, role: WorkloadType| -> u32 {
        let all = world.machine.patterns(world.clock()).patterns;
        let of = all.iter().filter(|pattern| pattern.role == role);
        of.map(|p| p.pairs + p.holdout.map_or(0, |holdout| holdout.pairs))
            .sum()
    };
    assert_eq!(pairs(&world, WorkloadType::Interactive), 0);
    world.editor = true;
    // Seen by the next survey, and in the next window that somebody uses it.
    world.run(6);
    let before = pairs(&world, WorkloadType::Build);
    world.run(60);
    assert_eq!(pairs(&world, WorkloadType::Build), before);
    assert!(pairs(&world, WorkloadType::Interactive) >= 6);
}

#[test]
fn a_build_that_ends_in_the_middle_of_a_pair_is_no_pair() {
    for seed in 0..10 {
        let mut world = World::new(build(seed));
        let treated = |w: &World| {
            let nice =
                w.on.as_ref()
                    .is_some_and(|on| on.1 == Action::BackgroundNice);
            nice && w
                .pattern(Action::BackgroundNice)
                .is_some_and(|p| p.pairs == 3)
        };
        assert!(world.run_until(120, treated), "seed {seed}");
        world.front = false;
        world.run(30);
        assert!(world.on.is_none(), "seed {seed}");
        let pattern = world.pattern(Action::BackgroundNice).expect("tried");
        assert_eq!((pattern.pairs, pattern.verdict), (3, Verdict::Undecided));
    }
}

#[test]
fn a_link_step_is_no_harm() {
    let mut world = World::new(build(5));
    assert!(world.run_until(120, is_proven));
    world.links = true;
    world.run(30);
    world.links = false;
    world.run(30);
    let nice = world.pattern(Action::BackgroundNice).expect("tried");
    assert_eq!(nice.state, PatternState::Proven);
    let rail = |told: &Happening| matches!(told, Happening::GuardRail { .. });
    assert!(!world.tells.iter().any(rail), "{:?}", world.tells);
}

#[test]
fn what_takes_the_work_away_from_a_build_is_found_harmful() {
    let harm = Truth {
        starve: 0.99,
        ..Truth::default()
    };
    let plan = build(4).with(Action::BackgroundNice, harm);
    let mut world = World::new(plan);
    let ended = |w: &World| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.verdict == Verdict::Harms)
    };
    assert!(world.run_until(120, ended));
    let rail = |told: &Happening| matches!(told, Happening::GuardRail { .. });
    assert!(world.tells.iter().any(rail), "restored at once, and told");
}
