//! What is weighed, told by a table of jobs in their units.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::machine::Containers;
use crate::machine::facts::{Cgroup, MachineFacts, Process, Rights, Survey};
use crate::machine::observe::{Contention, Observer, Yardstick};
use crate::machine::pace::Pace;
use crate::pattern::{Action, Binding};
use crate::time::{Instant, Span};

const APPS: u64 = 3;
const BROWSER: u64 = 4;
const TERMINAL: u64 = 5;
const TAB_ONE: u64 = 6;
const TAB_TWO: u64 = 7;
const SESSION: u64 = 8;

/// A desktop of one user: 1 is what the system gave it, 2 its service manager.
fn desktop() -> BTreeMap<CgroupId, Cgroup> {
    let app = CgroupKind::Application;
    [
        (1, 0, CgroupKind::Other),
        (2, 1, CgroupKind::Other),
        (APPS, 2, CgroupKind::Other),
        (BROWSER, APPS, app),
        (TERMINAL, APPS, app),
        (TAB_ONE, TERMINAL, app),
        (TAB_TWO, TERMINAL, app),
        (SESSION, 2, CgroupKind::Other),
    ]
    .into_iter()
    .map(|(id, parent, kind)| {
        let parent = CgroupId(parent);
        (CgroupId(id), Cgroup { parent, kind })
    })
    .collect()
}

/// One job of one process: its number, where it lives, how busy it is in thousandths, and whether it is in front.
#[derive(Clone, Copy)]
struct Job(u32, u64, u64, bool);

const EDITOR: Job = Job(11, TAB_ONE, 10, true);
const BUILD: Job = Job(21, TAB_TWO, 900, false);

fn at(seconds: u64, jobs: &[Job], change: impl Fn(&mut Process)) -> Survey {
    let process = |job: &Job| {
        let mut process = Process {
            pid: job.0,
            parent: 1,
            start: 5,
            group: GroupId {
                session: job.0,
                group: job.0,
            },
            uid: 1_000,
            foreground: job.3,
            cpu: Span::from_ms(seconds * job.2),
            ordinary: true,
            threads: 1,
            cgroup: CgroupId(job.1),
            cpu_cgroup: 1,
            ..Process::default()
        };
        change(&mut process);
        process
    };
    let mut survey = Survey {
        at: Instant(seconds * 1_000_000),
        processes: jobs.iter().map(process).collect(),
        cgroups: desktop(),
        ..Survey::default()
    };
    survey.pressure.cpu = Span::from_ms(seconds * 900);
    survey
}

fn contention(jobs: &[Job], change: impl Fn(&mut Process)) -> Option<Contention> {
    let facts = MachineFacts {
        cores: 2,
        kernel: (6, 1),
        autogroup: true,
        pressure: true,
        rights: Rights::default(),
        uid: 1_000,
    };
    let yardstick = Yardstick {
        facts: &facts,
        protect: &[],
        never: &[],
        containers: Containers::LeftAlone,
        worn: None,
    };
    let mut observer = Observer::default();
    assert!(
        observer
            .on_survey(at(10, jobs, &change), &yardstick)
            .is_none()
    );
    let situation = observer.on_survey(at(12, jobs, &change), &yardstick)?;
    let pace = Pace {
        wakeups_per_s: 50.0,
        interactive: true,
    };
    let front = jobs[0].0;
    let front = GroupId {
        session: front,
        group: front,
    };
    // Whoever else is in front was looked at too, and nobody waits for it.
    let others = situation.candidates().into_iter().map(|id| {
        let pace = Pace {
            wakeups_per_s: 1.0,
            interactive: false,
        };
        (id, pace)
    });
    let mut paces: BTreeMap<GroupId, Pace> = others.collect();
    paces.insert(front, pace);
    situation.contention(&paces, None, &facts)
}

/// What is weighed for the first of these jobs.
fn wanted(jobs: &[Job]) -> Vec<u64> {
    let found = contention(jobs, |_| {}).expect("contention");
    found.units.wanted.into_iter().map(|unit| unit.0).collect()
}

#[test]
fn between_two_tabs_the_tab_is_weighed_and_between_two_applications_the_application() {
    assert_eq!(wanted(&[EDITOR, BUILD]), [TAB_TWO]);
    let in_browser = Job(11, BROWSER, 10, true);
    assert_eq!(wanted(&[in_browser, BUILD]), [TERMINAL]);
    let found = contention(&[EDITOR, BUILD], |_| {}).expect("contention");
    // Tasks decide between them until a weight is set.
    assert_eq!(found.context.binding, Binding::Task);
    assert!(found.offers(Action::BackgroundWeight));
}

#[test]
fn a_unit_that_holds_anything_else_is_left_alone() {
    // The program that is waited for, in the very same tab.
    let beside = Job(21, TAB_ONE, 900, false);
    assert!(wanted(&[EDITOR, beside]).is_empty());
    // A shell at its prompt in the tab of the build: somebody may be typing there.
    let prompt = Job(31, TAB_TWO, 0, true);
    assert!(wanted(&[EDITOR, BUILD, prompt]).is_empty());
    // A shell that waits for its build is of the build's kind.
    let shell = Job(31, TAB_TWO, 0, false);
    assert_eq!(wanted(&[EDITOR, BUILD, shell]), [TAB_TWO]);
    // The server of the terminal's windows, whom somebody made nicer.
    let server = Job(41, TERMINAL, 1, false);
    let from_browser = [Job(11, BROWSER, 10, true), BUILD, server];
    assert_eq!(wanted(&from_browser), [TERMINAL]);
    let found = contention(&from_browser, |p| p.nice = if p.pid == 41 { 5 } else { 0 });
    assert!(found.expect("contention").units.wanted.is_empty());
}

#[test]
fn nothing_outside_of_applications_is_weighed() {
    // Against the desktop itself all applications are one, and their slice is not touched.
    let shell = Job(11, SESSION, 10, true);
    assert!(wanted(&[shell, BUILD]).is_empty());
    // A job of a login beside the desktop, and one of which nothing is known.
    for home in [1, 0, 99] {
        let elsewhere = Job(21, home, 900, false);
        assert!(wanted(&[EDITOR, elsewhere]).is_empty(), "{home}");
        let found = contention(&[EDITOR, elsewhere], |_| {}).expect("contention");
        assert!(!found.offers(Action::BackgroundWeight));
        assert!(found.offers(Action::BackgroundNice));
    }
}

#[test]
fn weights_are_for_most_of_the_background_or_for_none() {
    let beside = |busy| Job(51, TAB_ONE, busy, false);
    assert_eq!(wanted(&[EDITOR, BUILD, beside(300)]), [TAB_TWO]);
    assert!(wanted(&[EDITOR, BUILD, beside(1_900)]).is_empty());
    // What rests keeps what it has, and gets nothing.
    let idle = Job(61, BROWSER, 0, false);
    let found = contention(&[EDITOR, BUILD, idle], |_| {}).expect("contention");
    assert_eq!(found.units.wanted, vec![CgroupId(TAB_TWO)]);
    let allowed = vec![CgroupId(BROWSER), CgroupId(TAB_TWO)];
    assert_eq!(found.units.allowed, allowed);
}

#[test]
fn a_table_with_a_loop_ends() {
    let mut situation = Situation::default();
    for (id, parent) in [(8, 9), (9, 8)] {
        let group = Cgroup {
            parent: CgroupId(parent),
            kind: CgroupKind::Application,
        };
        situation.cgroups.insert(CgroupId(id), group);
    }
    assert_eq!(situation.line(CgroupId(8)).count(), DEPTH_MAX);
}
