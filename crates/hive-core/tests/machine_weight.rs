//! The weight of a desktop's applications: tried, proven, kept and taken back like any other action, by a plain user.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a toy's counters"
)]

#[path = "machine/toy.rs"]
mod toy;

use hive_core::machine::facts::{Rights, Tuners};
use hive_core::pattern::{Action, Binding, Verdict};
use toy::{BACK_UNIT, Plan, Truth, World};

/// All that a plain user of a stock desktop with an older kernel has.
fn plain_user(seed: u8) -> Plan {
    let truth = Truth {
        effect: 0.4_f64.ln(),
        loss: 0.2,
        starve: 0.0,
        ..Truth::default()
    };
    let plan = Plan {
        rights: Rights {
            unit_weight: true,
            ..Rights::default()
        },
        applications: true,
        // Nice would help as well, and this user cannot take it back.
        ..Plan::strong(seed)
    };
    plan.with(Action::BackgroundWeight, truth)
}

#[test]
fn a_plain_user_proves_the_weight_where_tasks_decide() {
    let mut world = World::new(plain_user(3));
    world.run(200);
    let pattern = world.pattern(Action::BackgroundWeight).expect("tried");
    assert_eq!(pattern.verdict, Verdict::Helps);
    assert_eq!(pattern.context.binding, Binding::Task);
    assert!(pattern.on, "kept while the contention lasts");
    assert_eq!(world.units, [BACK_UNIT]);
    assert!(!world.real_acts().contains(&Action::BackgroundNice));
    // A build that ends takes its weight along.
    world.busy = false;
    world.run(30);
    assert!(world.on.is_none());
}

#[test]
fn without_units_or_without_a_manager_it_is_not_offered() {
    let nowhere = Plan {
        applications: false,
        ..plain_user(3)
    };
    let unable = Plan {
        rights: Rights::default(),
        ..plain_user(3)
    };
    let beyond_reach = Plan {
        rights: Rights {
            unit_weight: true,
            ..Rights::default()
        },
        across_sessions: true,
        ..plain_user(3)
    };
    for plan in [nowhere, unable, beyond_reach] {
        let mut world = World::new(plan);
        world.run(60);
        assert_eq!(world.acts, []);
    }
}

#[test]
fn what_another_scheduler_decides_is_left_to_it_and_said() {
    let mut world = World::new(Plan {
        tuners: Tuners {
            sched_ext: true,
            ..Tuners::default()
        },
        ..plain_user(3)
    });
    world.run(60);
    assert_eq!(world.acts, []);
    let decision = world.machine.decide(world.clock());
    assert!(
        decision.because.contains("sched_ext"),
        "{}",
        decision.because
    );
    // It ends, and with it the reason; it comes back, and what is on is taken off.
    world.plan.tuners.sched_ext = false;
    world.run(200);
    let pattern = world.pattern(Action::BackgroundWeight).expect("tried");
    assert!(pattern.on && pattern.verdict == Verdict::Helps);
    world.plan.tuners.sched_ext = true;
    world.run(30);
    assert!(world.on.is_none());
    let why = world
        .machine
        .why(world.clock(), &pattern.name)
        .expect("known");
    assert!(why.because.iter().any(|line| line.contains("sched_ext")));
}

#[test]
fn policies_that_tuned_sets_are_left_to_it_and_the_rest_is_tried() {
    let mut world = World::new(Plan {
        tuners: Tuners {
            policies: true,
            ..Tuners::default()
        },
        ..Plan::strong(3)
    });
    world.run(900);
    let tried = world.real_acts();
    assert!(tried.contains(&Action::BackgroundNice));
    assert!(!tried.contains(&Action::BackgroundIdle), "{tried:?}");
    let mut status = hive_core::reply::StatusView::default();
    world.machine.fill_status(world.clock(), &mut status);
    let said = status.limits.iter().any(|limit| limit.contains("tuned"));
    assert!(said, "{:?}", status.limits);
    // Another profile is switched to, and its turn comes.
    world.plan.tuners.policies = false;
    assert!(world.run_until(900, |w| w.acts.contains(&Action::BackgroundIdle)));
}
