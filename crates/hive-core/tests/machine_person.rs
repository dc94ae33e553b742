//! Stories of a person, other members and restarts, on a toy machine with known truth.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a toy's counters"
)]

use std::collections::BTreeMap;

use hive_core::collective::evidence::combine;
use hive_core::event::{Command, Input, Output};
use hive_core::event_log::Happening;
use hive_core::hive::outside::{HiveEffect, Record, Table};
use hive_core::id::{CommandId, NodeId, PatternId, ProgramName, WorkloadKey};
use hive_core::machine::Containers;
use hive_core::machine::act::{Outcome, Refusal};
use hive_core::machine::discovery;
use hive_core::machine::facts::MachineFacts;
use hive_core::machine::heard::HeardPattern;
use hive_core::machine::learn::Ledger;
use hive_core::node::{Node, NodeConfig};
use hive_core::pattern::{
    Action, Binding, Context, Cores, Evidence, PatternDef, Verdict, WorkloadType,
};
use hive_core::reply::{ErrorKind, Mode, PatternState, PatternView, Reply, StatusView};
use hive_core::signed::KeyPair;
use hive_core::time::{Instant, Now, Span, WallTime};
use hive_core::units::LogRatio;

#[path = "machine/toy.rs"]
mod toy;
use toy::{Plan, SECRET, Truth, World};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

fn here(action: Action) -> PatternDef {
    PatternDef {
        action,
        workload: ProgramName::new("canary-editor").key(&SECRET),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        },
    }
}

fn advice(def: PatternDef, verdict: Verdict) -> BTreeMap<PatternId, HeardPattern> {
    let mut evidence = Evidence {
        verdict,
        ..Evidence::default()
    };
    for value in [-0.9, -1.0, -0.8, -0.9, -0.9, -1.0] {
        evidence.trial.add(value);
    }
    let heard = HeardPattern {
        def,
        evidence: vec![(NodeId([7; 32]), "desk".to_owned(), evidence)],
        combined: None,
        paused: false,
        first_seen: Instant(4_000_000),
    };
    BTreeMap::from([(def.id(), heard)])
}

fn proven(world: &mut World) {
    let found = world.run_until(90, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.state == PatternState::Proven && p.on)
            && w.on
                .as_ref()
                .is_some_and(|on| on.1 == Action::BackgroundNice)
    });
    assert!(found, "{:?}", world.pattern(Action::BackgroundNice));
}

#[test]
fn observe_and_suggest_never_act() {
    for mode in [Mode::Observe, Mode::Suggest] {
        let mut world = World::new(Plan {
            mode,
            ..Plan::strong(1)
        });
        world.run(120);
        assert_eq!(world.acts, []);
        let decision = world.machine.decide(world.clock());
        assert_eq!(decision.action, Some(Action::BackgroundNice));
        assert!(
            decision.because.contains("nothing is changed"),
            "{}",
            decision.because
        );
        let mut status = StatusView::default();
        world.machine.fill_status(world.clock(), &mut status);
        assert!(
            status.contended_s > 90 && status.busy_s > 90 && status.watched_s > 90,
            "{status:?}"
        );
    }
}

#[test]
fn undo_puts_it_back_at_once_and_leaves_it_for_a_day() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let clock = world.clock();
    let view = world.machine.undo(clock, Some("p-1")).expect("known");
    assert_eq!(view.changes, 1);
    world.drain();
    let why = world.machine.why(clock, "p-1").expect("known");
    assert_eq!(why.undo, "", "it is undone already");
    assert!(
        why.because
            .iter()
            .any(|s| s.starts_with("Used again by itself after")),
        "{:?}",
        why.because
    );
    assert!(
        world
            .on
            .as_ref()
            .is_none_or(|on| on.1 != Action::BackgroundNice)
    );
    let acts = world.acts.len();
    world.run(300);
    assert!(!world.acts[acts..].contains(&Action::BackgroundNice));
    assert_eq!(
        world.pattern(Action::BackgroundNice).expect("kept").state,
        PatternState::Undone
    );

    let clock = world.clock();
    let error = world
        .machine
        .undo(clock, Some("p-99"))
        .expect_err("unknown");
    assert_eq!(
        (error.kind, error.code.as_str()),
        (ErrorKind::NotFound, "pattern.unknown")
    );

    world.plan.wall += DAY_MS;
    assert!(world.run_until(700, |w| {
        w.on.as_ref()
            .is_some_and(|on| on.1 == Action::BackgroundNice)
    }));
}

#[test]
fn pause_puts_everything_back_and_survives_a_restart() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let clock = world.clock();
    let view = world.machine.pause(clock, Some(Span::from_secs(600)));
    assert_eq!(view.changes, 1);
    world.drain();
    assert!(world.on.is_none());
    let acts = world.acts.len();
    world.run(60);
    assert_eq!(world.acts.len(), acts);

    let store = world.store.clone();
    let wall = world.clock().wall.0;
    let mut again = World::new(Plan {
        store,
        wall,
        ..Plan::strong(1)
    });
    assert!(again.machine.is_paused());
    again.run(500);
    assert_eq!(again.acts, []);
    again.run(60);
    assert!(
        !again.machine.is_paused() && !again.acts.is_empty(),
        "the pause is over"
    );
}

#[test]
fn a_restart_keeps_the_ledger_and_the_mode() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let clock = world.clock();
    world.machine.set_mode(clock, Mode::Auto);
    world.drain();
    let before = world.pattern(Action::BackgroundNice).expect("proven");
    for value in world.store.values() {
        assert!(
            !value.windows(6).any(|w| w == b"canary"),
            "a name in the store"
        );
    }
    let store = world.store.clone();
    let mut again = World::new(Plan {
        store,
        mode: Mode::Observe,
        ..Plan::strong(2)
    });
    assert_eq!(again.machine.mode(), Mode::Auto);
    let after = again.pattern(Action::BackgroundNice).expect("kept");
    assert_eq!(
        (&after.name, &after.id, after.pairs),
        (&before.name, &before.id, before.pairs)
    );
    assert_eq!((after.state, after.on), (PatternState::Proven, false));
    assert!(again.run_until(15, |w| w.on.is_some()));
    assert_eq!(again.acts, [Action::BackgroundNice], "no second trial");
}

#[test]
fn a_pattern_proven_elsewhere_is_on_from_the_first_contended_second() {
    let mut world = World::new(Plan::strong(3));
    let clock = world.clock();
    world
        .machine
        .on_advice(clock, &advice(here(Action::BackgroundNice), Verdict::Helps));
    assert!(world.run_until(10, |w| w.on.is_some()));
    assert_eq!(world.acts, [Action::BackgroundNice]);
    let decided = world.run_until(120, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.verdict == Verdict::Helps)
    });
    let pattern = world.pattern(Action::BackgroundNice).expect("heard");
    assert!(decided, "{pattern:?}");
    assert!(pattern.pairs >= 6 && pattern.placebo.expect("taken").pairs >= 3 && !pattern.own);
    assert_eq!(
        world.published.last().expect("flows back").1.verdict,
        Verdict::Helps
    );
    let share = world.on_time as f64 / world.busy_time as f64;
    assert!(
        share > 0.5,
        "on for {share} of the time while it was under test"
    );
    let why = world.machine.why(world.clock(), "p-1").expect("known");
    assert!(
        why.because.iter().any(|s| s.contains("\"desk\"")),
        "{:?}",
        why.because
    );
    assert!(
        !format!("{why:?}").contains("canary"),
        "a name in an answer"
    );
}

#[test]
fn a_pattern_that_does_not_help_here_is_withdrawn_and_said_so() {
    let mut world = World::new(Plan {
        seed: 4,
        noise: 0.1,
        ..Plan::default()
    });
    let clock = world.clock();
    world
        .machine
        .on_advice(clock, &advice(here(Action::BackgroundNice), Verdict::Helps));
    let ended = world.run_until(600, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.state == PatternState::Dropped)
    });
    let pattern = world.pattern(Action::BackgroundNice).expect("heard");
    assert!(ended, "{pattern:?}");
    assert_ne!(pattern.verdict, Verdict::Helps);
    assert!(world.published.iter().any(|(id, e)| *id == here(Action::BackgroundNice).id()
        && e.verdict == pattern.verdict));
    let acts = world.acts.len();
    world.run(300);
    assert!(
        !world.acts[acts..].contains(&Action::BackgroundNice),
        "left alone"
    );
}

#[test]
fn another_context_program_or_a_pause_of_the_hive_is_not_used() {
    let mut context = here(Action::BackgroundNice);
    context.context.background = WorkloadType::Build;
    let mut program = here(Action::BackgroundNice);
    program.workload = ProgramName::new("another").key(&SECRET);
    for foreign in [context, program] {
        let mut world = World::new(Plan::strong(5));
        let clock = world.clock();
        world
            .machine
            .on_advice(clock, &advice(foreign, Verdict::Helps));
        world.run(12);
        assert!(world.run_until(60, |w| {
            w.machine
                .patterns(w.clock())
                .patterns
                .iter()
                .any(|p| p.state == PatternState::Trial)
        }));
        let views = world.machine.patterns(world.clock()).patterns;
        assert!(views.iter().all(|p| p.state != PatternState::Probation));
    }
    let mut paused = advice(here(Action::BackgroundNice), Verdict::Helps);
    for heard in paused.values_mut() {
        heard.paused = true;
    }
    let mut world = World::new(Plan::strong(5));
    let clock = world.clock();
    world.machine.on_advice(clock, &paused);
    world.run(200);
    assert!(!world.real_acts().contains(&Action::BackgroundNice));
}

#[test]
fn a_refusal_is_remembered_shown_and_not_repeated() {
    let refuse = Some(Outcome::Refused(Refusal::SetByHand));
    let mut world = World::new(Plan {
        refuse,
        ..Plan::strong(6)
    });
    world.run(200);
    // In which order is drawn (decision 0064).
    let mut acts = world.real_acts();
    acts.sort_unstable();
    assert_eq!(
        acts,
        [
            Action::FinerSlice,
            Action::BackgroundNice,
            Action::BackgroundIdle
        ],
        "each asked once"
    );
    let why = world.machine.why(world.clock(), "p-1").expect("known");
    assert!(
        why.because.iter().any(|s| s.contains("by hand")),
        "{:?}",
        why.because
    );
    assert_eq!(why.pattern.state, PatternState::Dropped);
}

#[test]
fn another_acting_daemon_is_told_and_counts_against_no_pattern() {
    let mut world = World::new(Plan {
        refuse: Some(Outcome::Refused(Refusal::NotTheActor)),
        ..Plan::strong(6)
    });
    world.run(20);
    let mut status = StatusView::default();
    world.machine.fill_status(world.clock(), &mut status);
    assert!(
        status
            .limits
            .iter()
            .any(|s| s.contains("another hive daemon")),
        "{:?}",
        status.limits
    );
    // The other one ends.
    world.plan.refuse = None;
    assert!(world.run_until(200, |w| {
        w.pattern(Action::BackgroundNice)
            .is_some_and(|p| p.verdict == Verdict::Helps)
    }));
}

#[test]
fn joining_another_hive_rekeys_what_is_known_by_name() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let said = world.published.len();
    let clock = world.clock();
    world.machine.rekey(clock, [8; 32]);
    world.drain();
    let pattern = world.pattern(Action::BackgroundNice).expect("kept");
    let mut def = here(Action::BackgroundNice);
    def.workload = ProgramName::new("canary-editor").key(&[8; 32]);
    assert_eq!(
        (pattern.id, pattern.name.as_str()),
        (def.id().to_string(), "p-1")
    );
    assert_eq!(world.published[said].0, def.id());
    let trials = world
        .tells
        .iter()
        .filter(|t| matches!(t, Happening::TrialBegan { .. }))
        .count();
    proven(&mut world);
    let now = world
        .tells
        .iter()
        .filter(|t| matches!(t, Happening::TrialBegan { .. }))
        .count();
    assert_eq!(trials, now, "no second trial");
}

#[test]
fn a_better_candidate_replaces_a_proven_one_after_its_own_trial() {
    let weak = Truth {
        effect: -0.5,
        loss: 0.1,
        ..Truth::default()
    };
    let better = Truth {
        effect: -1.6,
        loss: 0.1,
        ..Truth::default()
    };
    let plan = Plan {
        seed: 3,
        noise: 0.1,
        ..Plan::default()
    }
    .with(Action::BackgroundNice, weak)
    .with(Action::FinerSlice, better);
    let mut world = World::new(plan);
    // In between the policy is tried, which does nothing here: forty pairs.
    let replaced = world.run_until(600, |w| {
        w.pattern(Action::FinerSlice)
            .is_some_and(|p| p.state == PatternState::Proven && p.on)
    });
    assert!(replaced, "{:?}", world.machine.patterns(world.clock()));
    let both = world.machine.patterns(world.clock()).patterns;
    let idle = |p: &PatternView| p.action == Action::BackgroundIdle;
    assert!(
        both.iter()
            .all(|p| (p.verdict == Verdict::Helps) != idle(p))
    );
    assert_eq!(both.iter().filter(|p| p.on).count(), 1);
}

/// Carries out what a node wants of its disk and collects its replies.
fn obey(node: &mut Node, now: Now, replies: &mut Vec<Reply>) {
    while let Some(output) = node.poll() {
        match output {
            Output::Hive(HiveEffect::Save { id, .. }) => node.handle(now, Input::Saved(id)),
            Output::Reply { reply, .. } => replies.push(reply),
            _ => {}
        }
    }
}

fn ask(node: &mut Node, now: Now, command: Command) -> Reply {
    let mut replies = Vec::new();
    obey(node, now, &mut replies);
    let id = CommandId(1);
    node.handle(now, Input::Command { id, command });
    obey(node, now, &mut replies);
    replies.pop().expect("an answer")
}

#[test]
fn nobody_can_tell_the_hive_numbers_in_the_place_of_measured_ones() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let records: Vec<Record> = world
        .store
        .iter()
        .map(|(key, value)| Record {
            table: Table::Ledger,
            key: key.clone(),
            value: Some(value.clone()),
        })
        .collect();
    let now = world.clock();
    let config = NodeConfig {
        key: KeyPair::from_secret(&[1; 32]),
        facts: MachineFacts {
            cores: 2,
            kernel: (6, 18),
            autogroup: true,
            pressure: true,
            rights: world.plan.rights,
            uid: 1_000,
        },
        mode: Mode::Auto,
        label: None,
        protect: vec![],
        never: vec![],
        containers: Containers::default(),
        peers: vec![],
    };
    let mut node = Node::new(config, &records, [4; 32], now);
    let evidence = Evidence {
        verdict: Verdict::Helps,
        ..Evidence::default()
    };
    let share = |def| Command::Share { def, evidence };
    let measured = here(Action::BackgroundNice);
    match ask(&mut node, now, share(measured)) {
        Reply::Refused(error) => {
            assert_eq!(error.code, "share.measured");
            assert_eq!(error.kind, ErrorKind::Conflict);
        }
        other => panic!("{other:?}"),
    }
    let wins = |node: &mut Node| match ask(node, now, Command::Status) {
        Reply::Status(status) => status.collective_optimizations,
        other => panic!("{other:?}"),
    };
    let mut told = measured;
    told.workload = WorkloadKey([9; 16]);
    let before = wins(&mut node);
    for times in 1..=2 {
        let reply = ask(&mut node, now, share(told));
        assert!(matches!(reply, Reply::Shared(_)), "{reply:?}");
        assert_eq!(wins(&mut node), before + times);
    }
}

#[test]
fn a_failed_undo_is_never_told_as_done_and_is_asked_again() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    world.undo_fails = 4;
    let clock = world.clock();
    let view = world.machine.undo(clock, None).expect("everything");
    assert_eq!(view.changes, 1);
    let (acts, undos) = (world.acts.len(), world.undos.len());
    world.drain();
    assert!(world.on.is_some() && world.machine.putting_back());
    let told = Happening::UndoFailed {
        action: Action::BackgroundNice,
    };
    let tells = |world: &World| world.tells.iter().filter(|t| **t == told).count();
    assert_eq!(tells(&world), 1);
    let needs = |world: &World| {
        let mut status = StatusView::default();
        world.machine.fill_status(world.clock(), &mut status);
        status.needs
    };
    assert_eq!(needs(&world)[0].code, "undo.failed");
    let answer = world.machine.completed(view);
    assert_eq!((answer.failed, answer.restored), (1, 0), "{answer:?}");
    // Asked a second time: still counted as on.
    let clock = world.clock();
    let view = world.machine.undo(clock, Some("p-1")).expect("known");
    assert_eq!(view.changes, 1);

    assert!(world.run_until(60, |w| w.on.is_none()));
    assert!(!world.machine.putting_back() && needs(&world).is_empty());
    let gaps: Vec<u64> = world.undos[undos..]
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / 900_000)
        .collect();
    assert_eq!(gaps, [1, 2, 4, 8], "the wait doubles");
    assert_eq!(world.machine.completed(answer).restored, 4);
    assert_eq!((world.acts.len(), tells(&world)), (acts, 1));
}

#[test]
fn an_act_that_failed_is_undone_once_to_be_sure() {
    let refuse = Some(Outcome::Failed { errno: 1 });
    let mut world = World::new(Plan {
        refuse,
        ..Plan::strong(6)
    });
    assert!(world.run_until(60, |w| w.real_acts().len() == 1));
    assert_eq!(world.undos.len(), world.acts.len());
    assert!(!world.machine.putting_back());
    let why = world.machine.why(world.clock(), "p-1").expect("known");
    assert_eq!(why.pattern.state, PatternState::Dropped);
}

#[test]
fn what_is_only_being_turned_on_is_put_back_before_a_person_is_answered() {
    type Stop = fn(&mut World) -> usize;
    let stops: [Stop; 3] = [
        |w| w.machine.undo(w.clock(), None).expect("all").changes,
        |w| w.machine.pause(w.clock(), None).changes,
        |w| {
            w.machine.set_mode(w.clock(), Mode::Observe);
            1
        },
    ];
    for stop in stops {
        let mut world = World::new(Plan::strong(1));
        world.late = true;
        assert!(world.run_until(60, |w| w.on.is_some()));
        assert!(world.undos.is_empty());
        assert_eq!(stop(&mut world), 1);
        assert!(world.machine.putting_back(), "not back yet");
        world.drain();
        assert!(world.on.is_none() && !world.machine.putting_back());
        assert_eq!(world.undos.len(), 1);
    }
}

#[test]
fn after_an_undo_of_everything_nothing_is_begun_for_ten_minutes() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let acts = world.acts.len();
    let clock = world.clock();
    world.machine.undo(clock, None).expect("everything");
    world.run(590);
    assert_eq!(world.acts.len(), acts, "the next trial did not wait");
    let mut status = StatusView::default();
    world.machine.fill_status(world.clock(), &mut status);
    assert!(status.limits.iter().any(|s| s.contains("after an undo")));
    let decision = world.machine.decide(world.clock());
    assert!(decision.because.contains("at rest"), "{decision:?}");
    assert!(
        world.run_until(30, |w| w.acts.len() > acts),
        "and then it goes on"
    );

    // Whoever says "go on" does not wait.
    let clock = world.clock();
    world.machine.undo(clock, None).expect("everything");
    world.plan.wall += DAY_MS;
    let clock = world.clock();
    world.slow_disk = true;
    world.machine.resume(clock);
    let acts = world.acts.len();
    world.run(30);
    assert_eq!(
        world.acts.len(),
        acts,
        "a yes was used that a power cut would take back"
    );
    world.slow_disk = false;
    assert!(world.run_until(30, |w| w.acts.len() > acts));
}

#[test]
fn the_rest_after_an_undo_outlives_a_restart() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let clock = world.clock();
    world.machine.undo(clock, None).expect("everything");
    world.run(60);
    let restarted = |later: u64| {
        World::new(Plan {
            store: world.store.clone(),
            wall: world.clock().wall.0 + later,
            ..Plan::strong(1)
        })
    };
    let mut again = restarted(0);
    again.run(530);
    assert_eq!(again.acts, [], "a restart is no yes");
    assert!(again.run_until(60, |w| !w.acts.is_empty()));
    let mut much_later = restarted(600_000);
    assert!(much_later.run_until(60, |w| !w.acts.is_empty()));
    // Whoever said "go on" said it for the next start too.
    let clock = world.clock();
    world.machine.resume(clock);
    world.drain();
    let mut again = World::new(Plan {
        store: world.store.clone(),
        wall: clock.wall.0,
        ..Plan::strong(1)
    });
    assert!(again.run_until(60, |w| !w.acts.is_empty()));
}

#[test]
fn a_rest_outlives_a_pause_that_is_taken_back_and_one_resume_ends_both() {
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let clock = world.clock();
    world.machine.undo(clock, None).expect("everything");
    let left = |world: &World| {
        let mut status = StatusView::default();
        world.machine.fill_status(world.clock(), &mut status);
        assert_eq!(status.paused, status.pause_left_s.is_some());
        (status.pause_left_s, status.rest_left_s)
    };
    assert_eq!(left(&world), (None, Some(600)));
    // As a daemon that is told to end is paused, and not for longer.
    world.machine.pause(clock, Some(Span::from_secs(2)));
    assert_eq!(left(&world), (Some(2), Some(600)));
    world.machine.unpause(clock);
    world.drain();
    assert_eq!(left(&world), (None, Some(600)));
    let again = World::new(Plan {
        store: world.store.clone(),
        wall: clock.wall.0,
        ..Plan::strong(1)
    });
    assert_eq!(left(&again), (None, Some(600)), "a start ended it");
    // A person who is paused and at rest says "go on" once.
    world.machine.pause(clock, Some(Span::from_secs(1_800)));
    world.machine.resume(clock);
    world.drain();
    assert_eq!(left(&world), (None, None));
}

#[test]
fn an_undo_outlives_a_join_although_the_program_was_not_seen_meanwhile() {
    let joined = [8; 32];
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    let clock = world.clock();
    world.machine.undo(clock, Some("p-1")).expect("known");
    world.run(1);
    // A new start has seen no program yet.
    let mut world = World::new(Plan {
        store: world.store.clone(),
        wall: clock.wall.0,
        ..Plan::strong(1)
    });
    let clock = world.clock();
    world.machine.rekey(clock, joined);
    world.drain();
    let behind = world.pattern(Action::BackgroundNice).expect("kept");
    assert_eq!(behind.state, PatternState::Undone);
    assert!(behind.words.contains("before joining"), "{}", behind.words);
    // Nor has the next one, which knows the new secret alone.
    let mut world = World::new(Plan {
        store: world.store.clone(),
        wall: clock.wall.0,
        secret: joined,
        ..Plan::strong(1)
    });
    world.run(900);
    assert!(
        !world.acts.contains(&Action::BackgroundNice),
        "the no was forgotten"
    );
    let all = world.machine.patterns(world.clock()).patterns;
    let nice: Vec<_> = all
        .iter()
        .filter(|it| it.action == Action::BackgroundNice)
        .collect();
    let [nice] = nice.as_slice() else {
        panic!("told twice: {nice:?}");
    };
    let mut def = here(Action::BackgroundNice);
    def.workload = ProgramName::new("canary-editor").key(&joined);
    assert_eq!(
        (nice.name.as_str(), &nice.id, nice.state),
        ("p-1", &def.id().to_string(), PatternState::Undone)
    );
    assert!(!nice.words.contains("before joining"), "{}", nice.words);
    assert!(!world.store.contains_key(&b"former"[..]), "of no use now");
    // What was measured before is said in the new hive.
    assert_eq!(world.published[0].0, def.id());
}

#[test]
fn what_was_gained_moves_with_its_pattern_once_its_program_is_seen_again() {
    let joined = [8; 32];
    let gains = |world: &World| -> Vec<Vec<u8>> {
        let keys = world.store.keys().cloned();
        keys.filter(|key| key.starts_with(b"h") && key.len() > 16)
            .collect()
    };
    let of = |secret: &[u8; 32]| {
        let mut def = here(Action::BackgroundNice);
        def.workload = ProgramName::new("canary-editor").key(secret);
        [&b"h"[..], &def.id().0].concat()
    };
    let mut world = World::new(Plan::strong(1));
    proven(&mut world);
    assert!(world.run_until(60, |w| !gains(w).is_empty()), "hold-outs");
    assert_eq!(
        gains(&world),
        [[&b"h"[..], &here(Action::BackgroundNice).id().0].concat()]
    );
    let wall = world.clock().wall.0;
    let mut world = World::new(Plan {
        store: world.store.clone(),
        wall,
        ..Plan::strong(1)
    });
    let clock = world.clock();
    world.machine.rekey(clock, joined);
    world.drain();
    let mut world = World::new(Plan {
        store: world.store.clone(),
        wall,
        secret: joined,
        ..Plan::strong(1)
    });
    world.run(900);
    assert_eq!(gains(&world), [of(&joined)]);
}

#[test]
fn what_was_left_behind_without_a_verdict_is_not_in_trial_for_ever() {
    let mut world = World::new(Plan::strong(1));
    assert!(world.run_until(60, |w| {
        let trial = w.pattern(Action::BackgroundNice);
        trial.is_some_and(|it| it.state == PatternState::Trial && it.pairs > 0)
    }));
    let begun = world.clock();
    world.machine.undo(begun, Some("p-1")).expect("known");
    world.run(700);
    let others = world.machine.patterns(world.clock()).patterns.len();
    assert!(others > 1, "another one is in trial by now");
    let mut world = World::new(Plan {
        store: world.store.clone(),
        wall: world.clock().wall.0,
        ..Plan::strong(1)
    });
    let clock = world.clock();
    world.machine.rekey(clock, [8; 32]);
    world.drain();
    let left = world.machine.patterns(clock).patterns;
    let states: Vec<_> = left.iter().map(|it| it.state).collect();
    assert!(!states.contains(&PatternState::Trial), "{left:?}");
    assert!(states.contains(&PatternState::Undone), "{left:?}");
    // A no that is over, about a program that never came back, is forgotten, and the old secret with it.
    let mut restarted = World::new(Plan {
        store: world.store.clone(),
        wall: clock.wall.0 + DAY_MS,
        secret: [8; 32],
        ..Plan::strong(1)
    });
    restarted.drain();
    let left = restarted.machine.patterns(restarted.clock()).patterns;
    assert!(
        left.iter().all(|it| it.state != PatternState::Undone),
        "{left:?}"
    );
}

#[test]
fn one_machine_with_many_pairs_does_not_outvote_the_others() {
    let said = |node: u8, pairs: u32, ln: f64| {
        let mut evidence = Evidence::default();
        for _ in 0..pairs {
            evidence.trial.add(ln);
        }
        (NodeId([node; 32]), evidence)
    };
    let all = [said(1, 40, -1.0), said(2, 6, 0.2), said(3, 6, 0.2)];
    let with_label = |(node, evidence): &(NodeId, Evidence)| (*node, "desk".to_owned(), *evidence);
    let mut heard = HeardPattern {
        def: here(Action::BackgroundNice),
        evidence: all.iter().map(with_label).collect(),
        combined: None,
        paused: false,
        first_seen: Instant::START,
    };
    assert!(
        heard.estimate() < -0.7,
        "pooled where nothing better is told"
    );
    let together = combine(&all).expect("three machines");
    heard.combined = Some(LogRatio::from_ln(together.mean));
    assert!(
        (heard.estimate() + 0.2).abs() < 0.01,
        "{}",
        heard.estimate()
    );
}

#[test]
fn an_undo_neither_revives_what_its_trial_dropped_nor_shortens_its_rest() {
    let truth = Truth {
        effect: 0.8,
        ..Truth::default()
    };
    let mut world = World::new(Plan::default().with(Action::BackgroundNice, truth));
    let nice = |world: &World| world.pattern(Action::BackgroundNice);
    let dropped = |world: &World| nice(world).is_some_and(|it| it.state == PatternState::Dropped);
    assert!(world.run_until(600, dropped));
    let before = nice(&world).expect("tried");
    let clock = world.clock();
    let told = world
        .machine
        .undo(clock, Some(&before.name))
        .expect("known");
    assert_eq!(told.changes, 0);
    let after = nice(&world).expect("tried");
    assert_eq!((after.state, after.verdict), (before.state, before.verdict));
}

/// Proves one with just enough pairs to be in use beside those that are there already.
fn just_enough(ledger: &mut Ledger, def: PatternDef) -> PatternId {
    let id = def.id();
    ledger.know(def, true, Instant(1));
    assert!(ledger.begin(id, PatternState::Trial));
    let asked = ledger.asked_of(ledger.get(id).expect("known"));
    let entry = ledger.get_mut(id).expect("known");
    for value in [-0.3, 0.1, -0.4, 0.05, -0.25].into_iter().cycle() {
        if discovery::evidence(&entry.trial) >= asked {
            break;
        }
        entry.trial.add(value);
    }
    entry.conclude(Verdict::Helps, asked, WallTime(1));
    id
}

/// Nice for this program.
fn of(program: &str) -> PatternDef {
    PatternDef {
        workload: ProgramName::new(program).key(&SECRET),
        ..here(Action::BackgroundNice)
    }
}

/// A plan that starts with what this ledger holds.
fn with_ledger(ledger: &mut Ledger) -> Plan {
    let all = ledger.in_order().into_iter();
    let mut records: Vec<Record> = all.map(|(_, entry)| entry.record()).collect();
    records.extend(ledger.records_apart());
    let value = |record: Record| (record.key, record.value.expect("stored"));
    Plan {
        store: records.into_iter().map(value).collect(),
        ..Plan::strong(1)
    }
}

fn state(world: &World, id: PatternId) -> PatternState {
    let all = world.machine.patterns(world.clock()).patterns;
    let found = all.iter().find(|it| it.id == id.to_string());
    found.expect("listed").state
}

#[test]
fn whoever_was_let_in_on_account_of_a_refused_one_is_asked_for_more() {
    let mut ledger = Ledger::default();
    let refused = just_enough(&mut ledger, of("canary-editor"));
    let other = just_enough(&mut ledger, of("canary-mail"));
    let entry = ledger.get(other).expect("known");
    let evidence = discovery::evidence(&entry.trial);
    assert!(evidence < discovery::asked(entry.asked.number, 1), "alone");
    let plan = with_ledger(&mut ledger);
    let mut world = World::new(Plan {
        refuse: Some(Outcome::Refused(Refusal::SetByHand)),
        ..plan
    });
    world.drain();
    assert_eq!(state(&world, other), PatternState::Proven);
    let is_dropped = |world: &World| state(world, refused) == PatternState::Dropped;
    assert!(world.run_until(60, is_dropped));
    assert_eq!(state(&world, other), PatternState::Trial);
    // What was refused has its proof no more, and a no to it does not bring that back.
    let clock = world.clock();
    let word = refused.to_string();
    world.machine.undo(clock, Some(&word)).expect("known");
    world.plan.refuse = None;
    world.drain();
    assert_eq!(state(&world, refused), PatternState::Dropped);
}

#[test]
fn whoever_was_let_in_on_account_of_those_left_behind_is_asked_for_more() {
    let mut ledger = Ledger::default();
    for program in ["canary-mail", "canary-chat", "canary-game"] {
        just_enough(&mut ledger, of(program));
    }
    let last = just_enough(&mut ledger, of("canary-editor"));
    assert_eq!(ledger.lacking(), None);
    let mut world = World::new(with_ledger(&mut ledger));
    world.run(5);
    assert_eq!(state(&world, last), PatternState::Proven);
    // The other programs were not seen, so that what was proven of them is of no use in the hive that is joined.
    let joined = [8; 32];
    let clock = world.clock();
    world.machine.rekey(clock, joined);
    world.drain();
    let mut def = of("canary-editor");
    def.workload = ProgramName::new("canary-editor").key(&joined);
    assert_eq!(state(&world, def.id()), PatternState::Trial);
}

#[test]
fn a_no_shortens_no_longer_rest() {
    let mut ledger = Ledger::default();
    let id = of("canary-editor").id();
    ledger.know(of("canary-editor"), true, Instant(1));
    ledger.begin(id, PatternState::Trial);
    let plan = Plan::strong(1);
    let entry = ledger.get_mut(id).expect("known");
    // The seventh time it was of no use: 64 days.
    entry.backoffs = 6;
    entry.conclude(Verdict::NoEffect, 0.0, WallTime(plan.wall));
    let until = entry.backoff_until.0;
    assert_eq!(until, plan.wall + 64 * DAY_MS);
    let mut world = World::new(with_ledger(&mut ledger));
    let clock = world.clock();
    let word = id.to_string();
    world.machine.undo(clock, Some(&word)).expect("known");
    world.drain();
    let kept: Vec<Record> = { world.store.clone().into_iter() }
        .map(|(key, value)| Record {
            table: Table::Ledger,
            key,
            value: Some(value),
        })
        .collect();
    let kept = Ledger::restore(&kept);
    assert_eq!(kept.get(id).expect("kept").backoff_until.0, until);
}

#[test]
fn an_old_no_revives_nothing_that_was_refused_since() {
    let mut ledger = Ledger::default();
    let old = just_enough(&mut ledger, of("canary-editor"));
    let wall = Plan::strong(1).wall;
    let entry = ledger.get_mut(old).expect("known");
    entry.state = PatternState::Undone;
    entry.backoff_until = WallTime(wall + DAY_MS);
    let mut world = World::new(with_ledger(&mut ledger));
    // Joined before the program was seen; in the new hive the same was proven, and refused.
    let joined = [8; 32];
    let clock = world.clock();
    world.machine.rekey(clock, joined);
    world.drain();
    let mut def = of("canary-editor");
    def.workload = ProgramName::new("canary-editor").key(&joined);
    let mut since = Ledger::default();
    let id = just_enough(&mut since, def);
    let entry = since.get_mut(id).expect("known");
    entry.refused = Some(Outcome::Refused(Refusal::SetByHand));
    entry.drop_for_now(WallTime(wall));
    let record = since.get(id).expect("known").record();
    let mut store = world.store.clone();
    store.insert(record.key, record.value.expect("stored"));
    let mut world = World::new(Plan {
        store,
        secret: joined,
        ..Plan::strong(1)
    });
    world.run(30);
    let all = world.machine.patterns(world.clock()).patterns;
    assert!(all.iter().all(|it| it.id != old.to_string()), "recognised");
    assert_eq!(state(&world, id), PatternState::Dropped);
}
