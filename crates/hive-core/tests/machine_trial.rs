//! Stories of one machine that tries, proves, keeps and takes back, on a toy machine with known truth.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a toy's counters"
)]

use hive_core::event_log::{Happening, OwnRail};
use hive_core::machine::facts::Rights;
use hive_core::pattern::{Action, Verdict};
use hive_core::reply::words::waits;
use hive_core::reply::{PatternState, StatusView};

#[path = "machine/toy.rs"]
mod toy;
use toy::{Plan, Truth, World};

#[test]
fn a_strong_action_is_found_within_twelve_pairs_and_stays_on() {
    let (mut late, mut missed) = (0, 0);
    for seed in 0..20 {
        let mut world = World::new(Plan::strong(seed));
        let found = world.run_until(60, |w| {
            w.pattern(Action::BackgroundNice)
                .is_some_and(|p| p.verdict == Verdict::Helps)
        });
        let pattern = world.pattern(Action::BackgroundNice).expect("tried first");
        assert!(found, "seed {seed}: {pattern:?}");
        // The spread of a pair is 0.28 here: within twelve pairs nineteen times of twenty.
        late += u32::from(pattern.pairs > 12);
        let [low, high] = pattern.ci.expect("a range");
        missed += u32::from(low > 0.4 || 0.4 > high);
        let loss = pattern.background_loss.expect("measured");
        assert!((loss - 0.17).abs() < 0.05, "seed {seed}: loss {loss}");
        assert!(pattern.placebo.expect("taken").pairs >= 3);
        world.run(5);
        assert!(world.on.is_some(), "seed {seed}");
        let said = world.published.last().expect("said at once").1;
        assert_eq!(
            (said.verdict, said.trial.pairs),
            (Verdict::Helps, pattern.pairs)
        );
        assert!(world.tells.contains(&Happening::TurnedOn {
            action: Action::BackgroundNice
        }));
        assert_eq!(pattern.state, PatternState::Proven);
        let why = world.machine.why(world.clock(), "p-1").expect("known");
        let said = |words: &str| why.because.iter().any(|s| s.contains(words));
        let ratio = why.pattern.wait_ratio.expect("measured");
        assert!(said(&waits(ratio, why.pattern.ci)), "{:?}", why.because);
        assert!(said("% less") && said("proven here") && said("Placebo") && said("keeps 8"));
    }
    assert!(
        missed <= 2,
        "the 95 % range missed the truth {missed} times of 20"
    );
    assert!(late <= 1, "{late} of 20 needed more than twelve pairs");
}

#[test]
fn a_world_where_nothing_helps_is_never_claimed_to_be_helped() {
    let mut claims = 0;
    for seed in 0..100 {
        let mut world = World::new(Plan {
            seed,
            noise: 0.3,
            ..Plan::default()
        });
        world.run(400);
        for pattern in world.machine.patterns(world.clock()).patterns {
            assert!(pattern.pairs >= 6, "seed {seed}: {pattern:?}");
            claims += u32::from(pattern.verdict == Verdict::Helps);
        }
        let said = |v: Verdict| {
            world
                .published
                .iter()
                .filter(|(_, e)| e.verdict == v)
                .count()
        };
        assert!(
            said(Verdict::NoEffect) + said(Verdict::Undecided) > 0,
            "seed {seed}"
        );
    }
    // Two candidates in each of 100 worlds at a stated error of 1 % for false gains.
    assert!(claims <= 4, "{claims} false gains in 200 trials");
}

#[test]
fn a_world_whose_measuring_is_biased_is_not_believed() {
    let mut claims = 0;
    for seed in 0..60 {
        let mut world = World::new(Plan {
            seed,
            bias: -0.3,
            noise: 0.1,
            ..Plan::default()
        });
        world.run(300);
        for pattern in world.machine.patterns(world.clock()).patterns {
            claims += u32::from(pattern.verdict == Verdict::Helps);
        }
    }
    assert!(claims <= 2, "{claims} false gains in 120 trials");
}

#[test]
fn a_true_gain_is_still_found_where_measuring_is_biased() {
    let plan = Plan {
        bias: -0.2,
        ..Plan::strong(4)
    };
    let mut world = World::new(plan);
    world.run(90);
    let pattern = world.pattern(Action::BackgroundNice).expect("tried");
    assert_eq!(pattern.verdict, Verdict::Helps);
}

#[test]
fn across_terminal_sessions_and_control_groups_nice_is_not_even_tried() {
    let plan = Plan {
        across_sessions: true,
        ..Plan::strong(2)
    };
    let mut world = World::new(plan);
    world.run(300);
    let acts = world.real_acts();
    assert!(!acts.contains(&Action::BackgroundNice));
    assert!(acts.contains(&Action::AutogroupNice) && acts.contains(&Action::FinerSlice));

    let plan = Plan {
        across_cgroups: true,
        ..Plan::strong(2)
    };
    let mut world = World::new(plan);
    world.run(300);
    assert!(!world.real_acts().is_empty());
    assert!(world.real_acts().iter().all(|a| *a == Action::FinerSlice));
    let why = world.machine.why(world.clock(), "p-1").expect("known");
    assert!(
        why.because.iter().any(|s| s.contains("control group")),
        "{:?}",
        why.because
    );
}

#[test]
fn what_cannot_be_undone_is_not_offered() {
    let rights = Rights {
        nice: false,
        ..Plan::default().rights
    };
    let mut world = World::new(Plan {
        rights,
        ..Plan::strong(2)
    });
    world.run(200);
    assert!(!world.real_acts().contains(&Action::BackgroundNice));

    let mut world = World::new(Plan {
        rights: Rights::default(),
        ..Plan::strong(2)
    });
    world.run(200);
    assert_eq!(world.acts, []);
    let decision = world.machine.decide(world.clock());
    assert_eq!(decision.action, None);
    assert!(
        decision.because.contains("CAP_SYS_NICE"),
        "{}",
        decision.because
    );
}

#[test]
fn a_treatment_that_starves_the_program_is_harm_whatever_its_wait_says() {
    let truth = Truth {
        effect: -2.0,
        loss: 0.0,
        starve: 0.97,
        ..Truth::default()
    };
    let mut world = World::new(
        Plan {
            seed: 5,
            ..Plan::default()
        }
        .with(Action::BackgroundNice, truth),
    );
    world.run(60);
    let pattern = world.pattern(Action::BackgroundNice).expect("tried");
    assert_eq!(pattern.verdict, Verdict::Harms);
    assert!(pattern.wait_ratio.expect("pairs") > 1.5);
    let fell = world
        .tells
        .iter()
        .filter(|t| matches!(t, Happening::GuardRail { .. }))
        .count();
    // Each starved window restores and is told; the verdict is that of the pairs, and needs as many as any.
    assert_eq!(fell, 6);
    assert!(
        world
            .published
            .iter()
            .any(|(_, e)| e.verdict == Verdict::Harms && e.harms == 6)
    );
}

#[test]
fn an_action_that_makes_everything_wait_for_memory_is_taken_off_at_once() {
    let truth = Truth {
        effect: -0.9,
        memory_stall: 0.3,
        ..Truth::default()
    };
    let plan = Plan {
        seed: 5,
        ..Plan::default()
    };
    let mut world = World::new(plan.with(Action::BackgroundNice, truth));
    world.run(60);
    let pattern = world.pattern(Action::BackgroundNice).expect("tried");
    assert_eq!(pattern.verdict, Verdict::Harms, "{pattern:?}");
    let said = world.published.iter().rev();
    let harms = said.map(|(_, evidence)| evidence.harms).max();
    assert_eq!(harms, Some(2));
}

#[test]
fn why_says_what_evidence_was_asked_for_and_later_trials_are_asked_for_more() {
    let mut world = World::new(Plan::strong(3));
    let proof = |world: &World, of: &str| {
        let views = world.machine.patterns(world.clock()).patterns;
        let whys = views.iter().map(|view| {
            let why = world.machine.why(world.clock(), &view.name);
            why.expect("known").because
        });
        let mut lines = whys.flatten().filter(|line| line.starts_with("Proof"));
        lines.find(|line| line.contains(of))
    };
    // In which order is drawn (decision 0064).
    assert!(world.run_until(90, |w| proof(w, "trial 1 of").is_some()));
    let first = proof(&world, "trial 1 of").expect("just seen");
    assert!(first.contains("odds of 63 to 1"), "{first}");
    assert!(world.run_until(300, |w| proof(w, "trial 2 of").is_some()));
    let second = proof(&world, "trial 2 of").expect("just seen");
    assert!(!second.contains("odds of 63 to 1"), "{second}");
}

#[test]
fn a_wait_that_doubles_trips_the_guard_rail_within_a_few_windows() {
    let truth = Truth {
        effect: 1.5,
        loss: 0.0,
        ..Truth::default()
    };
    let mut world = World::new(
        Plan {
            seed: 6,
            ..Plan::default()
        }
        .with(Action::BackgroundNice, truth),
    );
    assert!(world.run_until(30, |w| {
        w.tells
            .iter()
            .any(|t| matches!(t, Happening::GuardRail { .. }))
    }));
    world.run(30);
    assert_eq!(
        world
            .pattern(Action::BackgroundNice)
            .expect("tried")
            .verdict,
        Verdict::Harms
    );
}

#[test]
fn a_gain_that_takes_all_from_the_background_is_stopped() {
    let truth = Truth {
        effect: -1.5,
        loss: 0.98,
        ..Truth::default()
    };
    let mut world = World::new(
        Plan {
            seed: 7,
            ..Plan::default()
        }
        .with(Action::BackgroundNice, truth),
    );
    world.run(60);
    assert_eq!(
        world
            .pattern(Action::BackgroundNice)
            .expect("tried")
            .verdict,
        Verdict::Harms
    );

    let truth = Truth {
        effect: -1.5,
        loss: 0.7,
        ..Truth::default()
    };
    let mut world = World::new(
        Plan {
            seed: 7,
            ..Plan::default()
        }
        .with(Action::BackgroundNice, truth),
    );
    world.run(200);
    let pattern = world.pattern(Action::BackgroundNice).expect("tried");
    assert_eq!(
        (pattern.verdict, pattern.state),
        (Verdict::Undecided, PatternState::Dropped)
    );
    // As soon as the cost is known, and not after forty pairs; and a person is told that it was the cost.
    assert!((12..20).contains(&pattern.pairs), "{} pairs", pattern.pairs);
    let why = world.machine.why(world.clock(), "p-1").expect("known");
    let said = |words: &str| why.because.iter().any(|line| line.contains(words));
    assert!(
        said("costs the background too much") && said("less than half, so it is not kept"),
        "{:?}",
        why.because
    );
}

#[test]
fn when_the_contention_ends_nothing_is_left_on() {
    let mut world = World::new(Plan::strong(8));
    assert!(world.run_until(90, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.state == PatternState::Proven)
            && w.on.is_some()
    }));
    world.busy = false;
    world.run(25);
    assert!(world.on.is_none());
    assert!(world.tells.contains(&Happening::TurnedOff {
        action: Action::BackgroundNice
    }));
    // And on again, without a trial, when it is back.
    let acts = world.acts.len();
    world.busy = true;
    assert!(world.run_until(15, |w| w.on.is_some()));
    assert_eq!(world.acts[acts], Action::BackgroundNice);

    let mut world = World::new(Plan::strong(8));
    world.run(7);
    world.front = false;
    world.run(10);
    assert!(world.on.is_none(), "the program ended during its trial");
}

#[test]
fn a_proven_action_that_stops_helping_is_withdrawn() {
    let mut world = World::new(Plan::strong(9));
    assert!(world.run_until(60, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.state == PatternState::Proven)
    }));
    let (before_on, before_busy) = (world.on_time, world.busy_time);
    world.run(50);
    let share = (world.on_time - before_on) as f64 / (world.busy_time - before_busy) as f64;
    assert!((0.88..0.99).contains(&share), "on for {share} of the time");
    world.plan.truth.clear();
    let withdrawn = world.run_until(3_600, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.state == PatternState::Dropped)
    });
    let pattern = world.pattern(Action::BackgroundNice).expect("known");
    assert!(withdrawn, "{pattern:?}");
    assert_ne!(pattern.verdict, Verdict::Helps);
    assert_eq!(
        world.published.last().expect("said").1.verdict,
        pattern.verdict
    );
}

#[test]
fn the_placebo_goes_to_the_same_jobs_as_what_is_tried() {
    let mut world = World::new(Plan {
        noise: 0.1,
        ..Plan::default()
    });
    let mut last = None;
    let mut seen = Vec::new();
    for _ in 0..20 {
        let at = |w: &World| w.on.as_ref().map(|on| on.0);
        let before = last;
        world.run_until(30, |w| w.on.is_some() && at(w) != before);
        last = at(&world);
        let Some((_, action, targets)) = world.on.clone() else {
            continue;
        };
        let tried = world.real_acts();
        if action == Action::Placebo && tried.last() == Some(&Action::BackgroundNice) {
            assert_eq!(targets, [toy::BACK]);
            seen.push(targets);
        }
    }
    assert!(seen.len() > 2, "{} placebos", seen.len());
}

/// Background nice as measured, and `SCHED_IDLE` with this effect and loss.
fn nice_and_idle(seed: u8, effect: f64, loss: f64) -> Plan {
    let idle = Truth {
        effect,
        loss,
        starve: 0.0,
        ..Truth::default()
    };
    let plan = Plan {
        noise: 0.15,
        ..Plan::strong(seed)
    };
    plan.with(Action::BackgroundIdle, idle)
}

#[test]
fn idle_processors_only_is_refused_where_it_takes_more_than_half_of_the_work() {
    let mut world = World::new(nice_and_idle(1, 0.3_f64.ln(), 0.61));
    let judged = world.run_until(400, |w| {
        w.pattern(Action::BackgroundIdle)
            .is_some_and(|p| p.state == PatternState::Dropped)
    });
    let idle = world.pattern(Action::BackgroundIdle).expect("tried");
    assert!(judged, "{idle:?}");
    assert_eq!(idle.verdict, Verdict::Undecided);
    let why = world.machine.why(world.clock(), &idle.name).expect("known");
    let said = |words: &str| why.because.iter().any(|s| s.contains(words));
    assert!(said("costs the background too much"), "{:?}", why.because);
    assert!(said("less than half"), "{:?}", why.because);
    world.run(20);
    let on = world.on.as_ref().map(|on| on.1);
    assert!(on != Some(Action::BackgroundIdle), "{on:?}");
    let nice = world.pattern(Action::BackgroundNice).expect("tried");
    assert_eq!((nice.state, nice.on), (PatternState::Proven, true));
}

#[test]
fn the_proven_better_one_wins_and_what_is_on_is_no_obstacle_to_its_own_trial() {
    let mut world = World::new(nice_and_idle(2, 0.15_f64.ln(), 0.2));
    let replaced = world.run_until(400, |w| {
        w.pattern(Action::BackgroundIdle)
            .is_some_and(|p| p.state == PatternState::Proven && p.on)
    });
    assert!(replaced, "{:?}", world.machine.patterns(world.clock()));
    // The survey shows SCHED_IDLE on the background meanwhile: it is ours, and stays background.
    world.run(120);
    let idle = world.pattern(Action::BackgroundIdle).expect("known");
    assert!(idle.on || world.on.is_none(), "{idle:?}");
    assert_eq!(idle.state, PatternState::Proven);
    let nice = world.pattern(Action::BackgroundNice).expect("known");
    assert_eq!((nice.verdict, nice.on), (Verdict::Helps, false));
}

#[test]
fn two_that_are_as_good_do_not_take_turns() {
    let mut world = World::new(nice_and_idle(3, 0.4_f64.ln(), 0.17));
    world.run(400);
    let proven = |action| {
        world
            .pattern(action)
            .is_some_and(|p| p.verdict == Verdict::Helps)
    };
    assert!(proven(Action::BackgroundNice) && proven(Action::BackgroundIdle));
    let told = world.tells.len();
    world.run(1_200);
    let turned = world.tells[told..]
        .iter()
        .filter(|it| matches!(it, Happening::TurnedOn { .. }))
        .count();
    assert!(turned <= 2, "turned on {turned} times in twenty minutes");
}

#[test]
fn memory_is_advised_on_only_after_a_person_allowed_it_and_once_per_sleep() {
    let mut world = World::new(Plan {
        short_of_memory: true,
        ..Plan::default()
    });
    world.busy = false;
    world.run(900);
    assert!(world.acts.is_empty(), "{:?}", world.acts);
    let mut status = hive_core::reply::StatusView::default();
    world.machine.fill_status(world.clock(), &mut status);
    let need = status.needs.iter().find(|need| need.code == "tune.allow");
    assert_eq!(need.expect("asked").fix, ["hive tune allow cold_memory"]);

    let clock = world.clock();
    for (action, code) in [
        (Action::BackgroundNice, "tune.no_question"),
        (Action::BackgroundIo, "tune.no_question"),
        (Action::Defer, "tune.no_question"),
    ] {
        let refused = world
            .machine
            .allow(clock, action, true)
            .expect_err("no question");
        assert_eq!(refused.code, code);
    }
    let placebo = world.machine.allow(clock, Action::Placebo, true);
    let known = placebo.expect_err("it is none to allow").known;
    assert!(known.contains("it changes nothing"), "{known}");
    world
        .machine
        .allow(clock, Action::ColdMemory, true)
        .expect("allowed");
    world.run(600);
    assert_eq!(world.acts, [Action::ColdMemory]);
    let told = |it: &Happening| matches!(it, Happening::MemoryAdvised { bytes, .. } if *bytes == 200 << 20);
    assert!(world.tells.iter().any(told));

    // Taken back, and kept over a restart.
    let clock = world.clock();
    world
        .machine
        .allow(clock, Action::ColdMemory, false)
        .expect("taken back");
    let mut status = hive_core::reply::StatusView::default();
    world.machine.fill_status(world.clock(), &mut status);
    assert!(status.memory.expect("told").contains("200 MiB"));
}

#[test]
fn where_nothing_helps_a_person_is_told_what_they_could_do() {
    let suggested = |world: &World| {
        let decision = world.machine.decide(world.clock());
        let all: Vec<Action> = decision.suggestions.iter().map(|it| it.action).collect();
        (all, decision.because)
    };
    // No action of this world does anything.
    let mut world = World::new(Plan::default());
    world.run(30);
    assert_eq!(suggested(&world).0, [], "nothing was tried yet");
    let tried = world.run_until(3_600, |world| !suggested(world).0.is_empty());
    let (actions, because) = suggested(&world);
    assert!(tried && actions == [Action::Defer], "{because}");
    assert!(because.contains("was tried and did not"), "{because}");

    // With more rights something might help, so nobody is sent to stop their own work.
    let mut poor = World::new(Plan {
        rights: Rights {
            autogroup_nice: true,
            ..Rights::default()
        },
        ..Plan::default()
    });
    poor.run(30);
    let (actions, because) = suggested(&poor);
    assert!(actions.is_empty() && poor.acts.is_empty(), "{actions:?}");
    assert!(because.contains("with the rights at hand"), "{because}");
}

#[test]
fn a_daemon_that_uses_too_much_takes_its_hands_off_and_says_so() {
    let mut world = World::new(Plan {
        own_load: 0.2,
        ..Plan::strong(3)
    });
    let load = Happening::OwnRail {
        rail: OwnRail::Load,
    };
    assert!(world.run_until(90, |world| world.tells.contains(&load)));
    world.drain();
    assert_eq!(world.on, None, "what was on is off");
    let said = |world: &World| {
        let mut status = StatusView::default();
        world.machine.fill_status(world.clock(), &mut status);
        let mut limits = status.limits.iter();
        let said = limits.any(|it| it.contains("this daemon itself"));
        assert_eq!(said, status.own_rest_left_s.is_some());
        assert!(status.own_rest_left_s.is_none_or(|left| left <= 600));
        said
    };
    assert!(said(&world));
    let acts = world.acts.len();
    world.run(500);
    assert_eq!(world.acts.len(), acts, "it rests for ten minutes");
    // What drove it is over; after the rest the trial goes on and comes to its end.
    world.plan.own_load = 0.0;
    world.run(700);
    assert!(world.acts.len() > acts && !said(&world));
    assert_eq!(world.tells.iter().filter(|it| **it == load).count(), 1);
}

#[test]
fn a_daemon_below_its_own_bound_is_not_disturbed() {
    let mut world = World::new(Plan {
        own_load: 0.04,
        ..Plan::strong(3)
    });
    world.run(600);
    let rail = |it: &Happening| matches!(it, Happening::OwnRail { .. });
    assert!(!world.tells.iter().any(rail));
    assert!(!world.acts.is_empty());
}

#[test]
fn a_daemon_that_switches_more_often_than_a_trial_needs_stops_itself() {
    // A host whose readings are four seconds old ends every window the moment it begins.
    let mut world = World::new(Plan {
        readings_late: 4_000_000,
        wakeups_per_s: 50_000.0,
        noise: 0.6,
        ..Plan::default()
    });
    let switches = Happening::OwnRail {
        rail: OwnRail::Switches,
    };
    assert!(world.run_until(120, |world| world.tells.contains(&switches)));
    world.drain();
    assert_eq!(world.on, None, "what was on is off");
    let acts = world.acts.len();
    world.run(500);
    assert_eq!(world.acts.len(), acts, "it rests for ten minutes");
    world.machine.resume(world.clock());
    world.run(60);
    assert!(world.acts.len() > acts, "a person may end the rest");
}
