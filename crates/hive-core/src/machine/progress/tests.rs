//! Which job in front is judged by its progress, and who is its background.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::machine::Containers;
use crate::machine::facts::{GroupId, MachineFacts, Pressure, Process, Rights, Survey};
use crate::machine::observe::{Contention, Observer, Situation, Yardstick};
use crate::machine::pace::Pace;
use crate::pattern::{Binding, WorkloadType};
use crate::time::{Instant, Span};

const fn job(session: u32, group: u32) -> GroupId {
    GroupId { session, group }
}

const SHELL: GroupId = job(10, 10);
const MAKE: GroupId = job(10, 11);
const SPINNER: GroupId = job(10, 12);
const OTHER_SHELL: GroupId = job(20, 20);
const OTHER_MAKE: GroupId = job(20, 21);
const INDEXER: GroupId = job(30, 30);

struct Seen {
    group: GroupId,
    parent: u32,
    foreground: bool,
    cores: f64,
    children: u32,
}

fn seen(group: GroupId, parent: u32, foreground: bool, cores: f64) -> Seen {
    Seen {
        group,
        parent,
        foreground,
        cores,
        children: 0,
    }
}

/// Two looks, two seconds apart.
fn situation(jobs: &[Seen]) -> Situation {
    let facts = facts();
    let yardstick = Yardstick {
        facts: &facts,
        protect: &[],
        never: &[],
        containers: Containers::LeftAlone,
        worn: None,
    };
    let mut observer = Observer::default();
    let looks = [0, 2, 4].map(|at| observer.on_survey(survey(jobs, at), &yardstick));
    looks.into_iter().flatten().last().expect("three looks")
}

fn survey(jobs: &[Seen], at_s: u32) -> Survey {
    let mut processes = Vec::new();
    for it in jobs {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few seconds"
        )]
        let cpu = Span::from_ms((it.cores * 1e3 * f64::from(at_s)) as u64);
        let leader = Process {
            pid: it.group.group,
            parent: it.parent,
            group: it.group,
            uid: 1_000,
            foreground: it.foreground,
            cpu,
            ordinary: true,
            threads: 1,
            autogroup: Some(u64::from(it.group.session)),
            ..Process::default()
        };
        for child in 0..it.children {
            processes.push(Process {
                pid: 1_000 + at_s * 100 + child,
                parent: leader.pid,
                cpu: Span::default(),
                ..leader.clone()
            });
        }
        processes.push(leader);
    }
    let at = u64::from(10 + at_s);
    Survey {
        at: Instant(at * 1_000_000),
        pressure: Pressure {
            cpu: Span::from_ms(at * 900),
            ..Pressure::default()
        },
        processes,
        ..Survey::default()
    }
}

fn facts() -> MachineFacts {
    MachineFacts {
        cores: 2,
        kernel: (6, 18),
        autogroup: true,
        pressure: true,
        rights: Rights::default(),
        uid: 1_000,
    }
}

fn contention(situation: &Situation, keep: Option<GroupId>) -> Option<Contention> {
    let still = Pace {
        wakeups_per_s: 2.0,
        interactive: false,
    };
    let measured = situation.candidates().into_iter().map(|id| (id, still));
    situation.contention(&measured.collect(), keep, &facts())
}

/// A shell with a build in front and a spinner behind; another with a build in front.
fn two_builds() -> Vec<Seen> {
    vec![
        seen(SHELL, 1, false, 0.0),
        Seen {
            children: 4,
            ..seen(MAKE, 10, true, 0.9)
        },
        seen(SPINNER, 10, false, 0.5),
        seen(OTHER_SHELL, 1, false, 0.0),
        seen(OTHER_MAKE, 20, true, 0.4),
    ]
}

#[test]
fn a_build_in_front_competes_with_what_burns_behind_it() {
    let found = contention(&situation(&two_builds()), None).expect("contention");
    assert_eq!((found.protected, found.role), (MAKE, WorkloadType::Build));
    assert_eq!(found.background, [SPINNER]);
    assert_eq!(found.context.binding, Binding::Task);
    assert_eq!(found.quiet, [OTHER_MAKE]);
}

#[test]
fn two_builds_in_front_do_not_compete() {
    let mut jobs = two_builds();
    jobs.remove(2);
    assert_eq!(contention(&situation(&jobs), None), None);
    assert_eq!(contention(&situation(&jobs), Some(OTHER_MAKE)), None);
}

#[test]
fn the_build_that_a_run_is_about_stays_the_one() {
    let mut jobs = two_builds();
    jobs[4].cores = 1.4;
    let it = situation(&jobs);
    let of = |keep| contention(&it, keep).map(|found| found.protected);
    assert_eq!(of(Some(MAKE)), Some(MAKE));
    // It is hungrier, but nothing burns in its session, and the spinner shares its own with the other build.
    assert_eq!(of(Some(OTHER_MAKE)), None);
    assert_eq!(of(None), Some(MAKE));
    assert_eq!(of(Some(SPINNER)), None);
    jobs[2].group = job(20, 22);
    let found = contention(&situation(&jobs), None).expect("contention");
    assert_eq!(found.protected, OTHER_MAKE);
    assert_eq!(found.role, WorkloadType::Batch, "it starts nothing");
}

#[test]
fn what_a_build_has_started_is_no_background_and_what_its_shell_has_is() {
    let mut jobs = two_builds();
    // Its own daemon, in a session of its own.
    jobs.push(seen(INDEXER, MAKE.group, false, 0.9));
    let found = contention(&situation(&jobs), None).expect("contention");
    assert_eq!(found.background, [SPINNER]);
    jobs.last_mut().expect("five").parent = 1;
    jobs[2].cores = 0.0;
    let found = contention(&situation(&jobs), None).expect("contention");
    assert_eq!(found.background, [INDEXER]);
    assert_eq!(found.context.binding, Binding::Autogroup);
}

#[test]
fn a_job_in_front_that_was_not_measured_or_does_not_burn_is_not_protected() {
    let it = situation(&two_builds());
    assert_eq!(it.contention(&BTreeMap::new(), None, &facts()), None);
    let mut jobs = two_builds();
    jobs[1].cores = 0.01;
    jobs[4].cores = 0.01;
    assert_eq!(contention(&situation(&jobs), None), None);
}

#[test]
fn somebody_who_waits_comes_before_any_build() {
    let it = situation(&two_builds());
    let pace = |interactive| Pace {
        wakeups_per_s: 100.0,
        interactive,
    };
    let paces = BTreeMap::from([(MAKE, pace(false)), (OTHER_MAKE, pace(true))]);
    let found = it.contention(&paces, None, &facts()).expect("contention");
    assert_eq!(
        (found.protected, found.role),
        (OTHER_MAKE, WorkloadType::Interactive)
    );
    assert!(found.quiet.is_empty());
    assert_eq!(it.contention(&paces, Some(MAKE), &facts()), None);
}
