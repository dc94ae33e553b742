//! Stories of what a person is told: the gain of an hour, and a reason and a way back for everything that was tried.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a toy's counters"
)]

use hive_core::pattern::Action;
use hive_core::pattern::catalogue::Tier;
use hive_core::reply::{GainView, PatternState, StatusView};

#[path = "machine/toy.rs"]
mod toy;
use toy::{Plan, Truth, World};

fn gain(world: &World) -> Option<GainView> {
    let mut status = StatusView::default();
    world.machine.fill_status(world.clock(), &mut status);
    status.gain
}

#[test]
fn an_hour_of_contention_tells_how_much_waiting_was_spared() {
    let mut world = World::new(Plan::strong(1));
    world.run(20);
    assert_eq!(gain(&world), None, "nothing was proven yet");
    world.run(3_600);
    let told = gain(&world).expect("it was on for most of an hour");
    assert!(told.on_s > 2_000 && told.holdouts > 50, "{told:?}");
    let [low, high] = told.range_s;
    assert!(
        0.0 < low && low < told.saved_s && told.saved_s < high,
        "{told:?}"
    );
    // The toy's truth: 60 % less waiting, so what is spared is 1.5 times what is left.
    // Trials and the time between windows are left out, so it claims less than all of it.
    let truth = world.waited_while_on_ns * 1.5 / 1e9;
    assert!(
        low < truth && told.saved_s > 0.6 * truth,
        "{told:?}, truth {truth}"
    );

    let again = World::new(Plan {
        store: world.store.clone(),
        ..Plan::strong(2)
    });
    let kept = gain(&again).expect("it is on the disk");
    assert!(
        kept.on_s + 60 > told.on_s && kept.saved_s > 0.9 * told.saved_s,
        "{kept:?}"
    );
}

#[test]
fn every_pattern_that_is_listed_has_a_why_with_numbers_and_an_undo_that_works() {
    let slice = Truth {
        effect: 0.7_f64.ln(),
        ..Truth::default()
    };
    let mut seen = Vec::new();
    for across_sessions in [false, true] {
        let plan = Plan {
            across_sessions,
            ..Plan::strong(4)
        };
        let plan = plan
            .with(Action::FinerSlice, slice)
            .with(Action::AutogroupNice, slice);
        let mut world = World::new(plan);
        world.run(1_500);
        let clock = world.clock();
        for pattern in world.machine.patterns(clock).patterns {
            let why = world
                .machine
                .why(clock, &pattern.name)
                .expect("it is listed");
            let words = why.because.join(" ");
            let pairs = format!("{} pair", pattern.pairs);
            assert!(pattern.pairs > 0 && words.contains(&pairs), "{words}");
            assert!(words.contains("Effect: ") && words.contains('%'), "{words}");
            assert!(
                words.contains("Cost: ") && words.contains("Placebo: "),
                "{words}"
            );
            assert!(world.real_acts().contains(&pattern.action), "{words}");
            assert_eq!(why.undo, format!("hive undo {}", pattern.name));
            world
                .machine
                .undo(clock, Some(&pattern.name))
                .expect("it can be undone");
            world.drain();
            assert!(
                world.on.as_ref().is_none_or(|on| on.1 != pattern.action),
                "{words}"
            );
            let now = world.pattern(pattern.action).expect("listed");
            // What its own trial has dropped was not on, and stays dropped.
            let dropped = pattern.state == PatternState::Dropped;
            let undone = if dropped {
                PatternState::Dropped
            } else {
                PatternState::Undone
            };
            assert_eq!(now.state, undone);
            seen.push(pattern.action);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    // A unit's weight has stories of its own, in `machine_weight.rs`.
    let tried = |action: &Action| action.tier() == Tier::Auto && *action != Action::Placebo;
    let others = |action: &Action| *action != Action::BackgroundWeight;
    let real = Action::ALL.into_iter().filter(tried).filter(others);
    assert!({ real }.all(|action| seen.contains(&action)), "{seen:?}");
}
