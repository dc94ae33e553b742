//! Who is protected, who competes, and who is left alone.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::{Contention, Group, Observer, Situation, Yardstick};
use crate::id::ProgramName;
use crate::machine::Containers;
use crate::machine::facts::{
    Cgroup, CgroupId, CgroupKind, Front, GroupId, MachineFacts, Pressure, Process, Rights, Survey,
};
use crate::machine::pace::Pace;
use crate::machine::window::Window;
use crate::pattern::{Action, Binding, Goal, WorkloadType};
use crate::time::{Instant, Span};

const SHELL: GroupId = GroupId {
    session: 10,
    group: 10,
};
const EDITOR: GroupId = GroupId {
    session: 10,
    group: 11,
};
const MAKE: GroupId = GroupId {
    session: 20,
    group: 21,
};

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

fn process(pid: u32, parent: u32, group: GroupId, cpu_ms: u64) -> Process {
    Process {
        pid,
        parent,
        start: u64::from(pid),
        group,
        uid: 1_000,
        cpu: Span::from_ms(cpu_ms),
        ordinary: true,
        threads: 1,
        autogroup: Some(1),
        ..Process::default()
    }
}

/// Two seconds in which make and its compilers burn, seen from a shell with an editor.
fn two_seconds() -> (Survey, Survey) {
    let still = |make: Vec<Process>, at: u64| {
        let mut processes = vec![
            process(10, 1, SHELL, 50),
            Process {
                foreground: true,
                ..process(11, 10, EDITOR, 100 + at / 100)
            },
        ];
        processes.extend(make);
        Survey {
            at: Instant(at * 1_000),
            pressure: Pressure {
                cpu: Span::from_ms(at * 9 / 10),
                ..Pressure::default()
            },
            processes,
            ..Survey::default()
        }
    };
    let first = vec![process(21, 20, MAKE, 10), process(22, 21, MAKE, 900)];
    let mut make = process(21, 20, MAKE, 10);
    make.children_cpu = Span::from_ms(1_900);
    let second = vec![
        make,
        process(30, 21, MAKE, 800),
        process(31, 21, MAKE, 700),
        process(32, 21, MAKE, 300),
    ];
    (still(first, 10_000), still(second, 12_000))
}

fn seen(change: impl Fn(&mut Process), worn: Option<(Action, &[GroupId])>) -> Situation {
    let (mut first, mut second) = two_seconds();
    for process in first.processes.iter_mut().chain(&mut second.processes) {
        change(process);
    }
    let facts = facts();
    let yardstick = Yardstick {
        facts: &facts,
        protect: &[],
        never: &[],
        containers: Containers::LeftAlone,
        worn,
    };
    let mut observer = Observer::default();
    assert!(observer.on_survey(first, &yardstick).is_none());
    observer.on_survey(second, &yardstick).expect("two surveys")
}

fn contention(situation: &Situation) -> Option<Contention> {
    let pace = Pace {
        wakeups_per_s: 100.0,
        interactive: true,
    };
    situation.contention(&BTreeMap::from([(EDITOR, pace)]), None, &facts())
}

#[test]
fn a_build_in_the_background_competes_with_the_editor() {
    let situation = seen(|_| {}, None);
    // 1.9 s of ended children, of which 0.9 s were counted while they lived, and 1.8 s of live ones.
    let cores = situation.groups[&MAKE].cores;
    assert!((cores - 1.4).abs() < 0.01, "{cores}");
    let found = contention(&situation).expect("contention");
    assert_eq!((found.protected, found.background), (EDITOR, vec![MAKE]));
    assert_eq!(found.context.background, WorkloadType::Batch);
    assert_eq!(found.context.binding, Binding::Task);
}

#[test]
fn what_is_not_ours_to_touch_is_no_background() {
    type Change = fn(&mut Process);
    let cases: [(&str, Change); 6] = [
        ("another user's", |p| p.uid = 5),
        ("reniced by somebody", |p| p.nice = 11),
        ("not ordinarily scheduled", |p| p.ordinary = false),
        ("a display server", |p| p.name = ProgramName::new("Xorg")),
        ("a service of the system", |p| p.service = p.pid == 21),
        ("the daemon itself", |p| p.name = ProgramName::new("hive")),
    ];
    for (case, change) in cases {
        let situation = seen(
            |p| {
                if p.group == MAKE {
                    change(p);
                }
            },
            None,
        );
        assert_eq!(contention(&situation), None, "{case}");
    }
    let nice = |p: &mut Process| p.nice = if p.group == MAKE { 11 } else { 0 };
    let ours = seen(nice, Some((Action::BackgroundNice, &[MAKE])));
    assert!(contention(&ours).is_some(), "we ourselves made it nice");
}

#[test]
fn what_we_put_on_idle_processors_is_still_ours_and_what_others_put_there_is_theirs() {
    let idle = |nice: i8| {
        move |p: &mut Process| {
            if p.group == MAKE {
                (p.nice, p.ordinary, p.idle) = (nice, false, true);
            }
        }
    };
    let worn = Some((Action::BackgroundIdle, &[MAKE][..]));
    assert!(contention(&seen(idle(11), worn)).is_some());
    for (nice, worn) in [
        (0, worn),
        (16, worn),
        (11, None),
        (11, Some((Action::BackgroundNice, &[MAKE][..]))),
        (11, Some((Action::BackgroundIdle, &[EDITOR][..]))),
    ] {
        assert_eq!(contention(&seen(idle(nice), worn)), None, "{nice} {worn:?}");
    }
}

#[test]
fn a_burner_in_the_foreground_is_background_once_it_was_measured() {
    let situation = seen(|p| p.foreground |= p.group == MAKE, None);
    assert_eq!(contention(&situation), None, "not measured yet: shielded");
    let wakes = |wakeups, ran_ns| Window {
        span: Span::from_ms(1_000),
        threads: 1,
        wakeups,
        ran_ns,
        ..Window::default()
    };
    let pace = |window, group: &Group| Pace::of(&window, group);
    let make = pace(wakes(60, 900_000_000), &situation.groups[&MAKE]);
    let editor = pace(wakes(100, 50_000_000), &situation.groups[&EDITOR]);
    assert!(!make.interactive && editor.interactive);
    // A burner that is pre-empted gets little of a core, but runs long whenever it wakes.
    assert!(!pace(wakes(0, 300_000_000), &Group::default()).interactive);
    assert!(!pace(wakes(21, 590_000_000), &Group::default()).interactive);
    let paces = BTreeMap::from([(MAKE, make), (EDITOR, editor)]);
    let found = situation
        .contention(&paces, None, &facts())
        .expect("contention");
    assert_eq!((found.protected, found.background), (EDITOR, vec![MAKE]));
}

#[test]
fn what_shows_the_editor_is_never_its_background() {
    let situation = seen(
        |p| {
            if p.group == MAKE {
                // The editor's own parent burns.
                p.group = SHELL;
            }
        },
        None,
    );
    assert!(situation.groups[&SHELL].hungry);
    assert_eq!(contention(&situation), None);
}

#[test]
fn a_shell_is_not_busy_when_its_long_job_ends() {
    let job = GroupId {
        session: 10,
        group: 12,
    };
    let survey = |at: u64, processes| Survey {
        cgroups: BTreeMap::new(),
        at: Instant(at),
        processes,
        ..Survey::default()
    };
    let mut shell = process(10, 1, SHELL, 50);
    let first = survey(1_000_000, vec![shell.clone(), process(12, 10, job, 60_000)]);
    shell.children_cpu = Span::from_ms(60_010);
    let second = survey(3_000_000, vec![shell]);
    let facts = facts();
    let yardstick = Yardstick {
        facts: &facts,
        protect: &[],
        never: &[],
        containers: Containers::LeftAlone,
        worn: None,
    };
    let mut observer = Observer::default();
    observer.on_survey(first, &yardstick);
    let situation = observer.on_survey(second, &yardstick).expect("two");
    assert!(situation.groups[&SHELL].cores < 0.01);
}

#[test]
fn the_binding_follows_the_majority_and_a_shared_session_is_left_alone() {
    let across = seen(|p| p.autogroup = Some(u64::from(p.group.session)), None);
    let found = contention(&across).expect("contention");
    assert_eq!(found.context.binding, Binding::Autogroup);
    let cgroups = seen(|p| p.cpu_cgroup = u64::from(p.group.session), None);
    let found = contention(&cgroups).expect("contention");
    assert_eq!(found.context.binding, Binding::Cgroup);
    // Without autogroups, or below the root group, tasks decide.
    let below = seen(
        |p| {
            p.cpu_cgroup = 9;
            p.autogroup = Some(u64::from(p.group.session));
        },
        None,
    );
    assert_eq!(
        contention(&below).expect("contention").context.binding,
        Binding::Task
    );
}

#[test]
fn a_session_is_acted_on_only_when_nothing_in_it_must_be_left_alone() {
    type Change = fn(&mut Process);
    let other = GroupId {
        session: 20,
        group: 20,
    };
    let found = |change: Change| {
        let (mut first, mut second) = two_seconds();
        for survey in [&mut first, &mut second] {
            for process in &mut survey.processes {
                process.autogroup = Some(u64::from(process.group.session));
            }
            let mut shell = process(20, 1, other, 5);
            shell.autogroup = Some(20);
            change(&mut shell);
            survey.processes.push(shell);
        }
        let facts = facts();
        let yardstick = Yardstick {
            facts: &facts,
            protect: &[],
            never: &[ProgramName::new("precious")],
            containers: Containers::LeftAlone,
            worn: None,
        };
        let mut observer = Observer::default();
        observer.on_survey(first, &yardstick);
        let situation = observer.on_survey(second, &yardstick).expect("two");
        let pace = |interactive| Pace {
            wakeups_per_s: 100.0,
            interactive,
        };
        let paces = BTreeMap::from([(EDITOR, pace(true)), (other, pace(false))]);
        situation.contention(&paces, None, &facts)
    };
    let plain = found(|_| {}).expect("the shell that started the build does not block it");
    assert_eq!(plain.context.binding, Binding::Autogroup);
    assert_eq!(plain.background, vec![MAKE]);
    let cases: [(&str, Change); 5] = [
        ("typed in slowly", |p| p.foreground = true),
        ("named never to be touched", |p| {
            p.name = ProgramName::new("precious");
        }),
        ("spared", |p| p.name = ProgramName::new("postgres")),
        ("another user's", |p| p.uid = 0),
        ("reniced by somebody", |p| p.nice = 5),
    ];
    for (case, change) in cases {
        assert_eq!(found(change), None, "{case}");
    }
}

/// A browser whose window has the keyboard, a helper that made itself a session of its own, and a build, of a desktop.
fn desktop(change: impl Fn(&mut Process)) -> Situation {
    const UNIT: CgroupId = CgroupId(5);
    let (mut first, mut second) = two_seconds();
    for survey in [&mut first, &mut second] {
        let at = survey.at.0 / 1_000;
        survey.cgroups.insert(
            UNIT,
            Cgroup {
                kind: CgroupKind::Application,
                ..Cgroup::default()
            },
        );
        survey.processes.retain(|p| p.group == MAKE);
        survey.processes.push(Process {
            in_front: Some(Front::Window),
            name: ProgramName::new("firefox"),
            cgroup: UNIT,
            ..process(40, 1, BROWSER, at / 50)
        });
        survey.processes.push(Process {
            cgroup: UNIT,
            ..process(41, 40, BROWSER, at / 50)
        });
        survey.processes.push(Process {
            cgroup: UNIT,
            ..process(50, 40, HELPER, at)
        });
        for process in &mut survey.processes {
            change(process);
        }
    }
    let facts = facts();
    let yardstick = Yardstick {
        facts: &facts,
        protect: &[],
        never: &[ProgramName::new("precious")],
        containers: Containers::LeftAlone,
        worn: None,
    };
    let mut observer = Observer::default();
    observer.on_survey(first, &yardstick);
    observer.on_survey(second, &yardstick).expect("two")
}

const BROWSER: GroupId = GroupId {
    session: 40,
    group: 40,
};
const HELPER: GroupId = GroupId {
    session: 50,
    group: 50,
};

fn at_the_browser(situation: &Situation) -> Option<Contention> {
    let pace = |interactive| Pace {
        wakeups_per_s: 100.0,
        interactive,
    };
    let paces = BTreeMap::from([(BROWSER, pace(true)), (HELPER, pace(false))]);
    situation.contention(&paces, None, &facts())
}

#[test]
fn a_window_that_has_the_keyboard_is_protected_without_any_terminal() {
    let situation = desktop(|_| {});
    assert!(situation.candidates().contains(&BROWSER));
    let found = at_the_browser(&situation).expect("contention");
    assert_eq!(
        (found.protected, found.role),
        (BROWSER, WorkloadType::Browser)
    );
    assert!(found.plain);
    // Its helper burns, and is no background of it.
    assert!(situation.groups[&HELPER].hungry);
    assert_eq!(found.background, vec![MAKE]);
    let nobody = desktop(|p| p.in_front = None);
    assert_eq!(at_the_browser(&nobody), None);
    // What asked to be a game is one, whatever it is called.
    let game = desktop(|p| p.in_front = p.in_front.map(|_| Front::Game));
    let found = at_the_browser(&game).expect("contention");
    assert_eq!(found.role, WorkloadType::Game);
}

#[test]
fn what_runs_in_a_terminals_window_is_judged_by_itself() {
    // The helper is a job in a terminal that the window shows: it is the background of another window's job.
    let terminal = desktop(|p| p.foreground |= p.group == HELPER);
    let found = at_the_browser(&terminal).expect("contention");
    assert!(found.background.contains(&HELPER));
    // Without a unit of its own nobody knows that a session belongs to the application.
    let loose = desktop(|p| p.cgroup = CgroupId::default());
    let found = at_the_browser(&loose).expect("contention");
    assert!(found.background.contains(&HELPER));
}

/// The window's pace, that of what runs in it, and that of the build in another place.
fn paces(window: bool, inside: bool, elsewhere: bool) -> BTreeMap<GroupId, Pace> {
    let pace = |interactive| Pace {
        wakeups_per_s: 100.0,
        interactive,
    };
    BTreeMap::from([
        (BROWSER, pace(window)),
        (HELPER, pace(inside)),
        (MAKE, pace(elsewhere)),
    ])
}

#[test]
fn a_terminal_that_shows_a_build_is_not_what_somebody_waits_for() {
    let shown_by = |name: &'static str| {
        desktop(move |p| {
            p.foreground |= p.group == HELPER;
            if p.pid == 40 {
                p.name = ProgramName::new(name);
            }
        })
    };
    // The terminal wakes for every line that the build in it prints: the build is what somebody waits for.
    let found = shown_by("kitty").contention(&paces(true, false, false), None, &facts());
    let found = found.expect("contention");
    assert_eq!(found.protected, HELPER);
    assert_eq!(found.role.goal(), Goal::Progress);
    assert_eq!(found.background, vec![MAKE]);
    // An editor with a terminal of its own is waited for, whatever its terminal shows.
    let found = shown_by("code").contention(&paces(true, false, false), None, &facts());
    let found = found.expect("contention");
    assert_eq!(found.protected, BROWSER);
    assert!(found.background.contains(&HELPER));
    // While nothing burns in any terminal, the terminal is a window like others.
    let idle = desktop(|p| {
        if p.pid == 40 {
            p.name = ProgramName::new("kitty");
        }
    });
    assert_eq!(at_the_browser(&idle).map(|it| it.protected), Some(BROWSER));
}

#[test]
fn what_somebody_is_at_is_not_slowed_down_for_what_stands_behind_it() {
    let both = |near: bool| {
        desktop(move |p| {
            p.foreground |= p.group == HELPER || p.group == MAKE;
            p.in_front = p.in_front.filter(|_| near);
        })
    };
    // What plays in a terminal that is not in front, beside the build that the focused window shows.
    let found = both(true).contention(&paces(false, false, true), None, &facts());
    assert_eq!(found, None);
    // Where no desktop tells who somebody is at, the one that wakes comes first.
    let found = both(false).contention(&paces(false, false, true), None, &facts());
    assert_eq!(found.map(|it| it.background), Some(vec![HELPER]));
}

#[test]
fn a_run_ends_when_somebody_has_moved_on_to_another_program() {
    let situation = desktop(|p| p.foreground |= p.group == MAKE || p.group == HELPER);
    let paces = paces(true, false, true);
    let with = |keep| situation.contention(&paces, keep, &facts());
    let protected = |keep| with(keep).map(|it| it.protected);
    assert_eq!(protected(Some(MAKE)), None);
    assert_eq!(protected(None), Some(BROWSER));
    assert_eq!(protected(Some(BROWSER)), Some(BROWSER));
}

#[test]
fn a_browser_whose_helpers_renice_themselves_is_protected_and_never_changed() {
    type Change = fn(&mut Process);
    let situation = desktop(|p| {
        if p.pid == 41 {
            p.nice = 5;
        }
    });
    let found = at_the_browser(&situation).expect("contention");
    assert_eq!(found.background, vec![MAKE]);
    assert!(!found.offers(Action::FinerSlice));
    assert!(found.offers(Action::BackgroundNice));
    let plain = at_the_browser(&desktop(|_| {})).expect("contention");
    assert!(plain.offers(Action::FinerSlice));
    // A helper of another user is no reason either: a sandbox has one.
    let sandbox = desktop(|p| p.uid = if p.pid == 41 { 0 } else { p.uid });
    assert!(at_the_browser(&sandbox).is_some_and(|found| !found.plain));
    let barred: [(&str, Change); 4] = [
        ("lowered by somebody", |p| {
            p.nice = if p.pid == 40 { 5 } else { 0 }
        }),
        ("another user's", |p| {
            p.uid = if p.pid == 40 { 0 } else { 1_000 }
        }),
        ("under SCHED_IDLE", |p| p.idle = p.pid == 40),
        ("named never to be touched", |p| {
            if p.pid == 41 {
                p.name = ProgramName::new("precious");
            }
        }),
    ];
    for (case, change) in barred {
        assert_eq!(at_the_browser(&desktop(change)), None, "{case}");
    }
}

#[test]
fn who_somebody_is_at_comes_before_who_wakes_more_often() {
    let (mut first, mut second) = two_seconds();
    for survey in [&mut first, &mut second] {
        let game = GroupId {
            session: 40,
            group: 40,
        };
        survey.processes.push(Process {
            in_front: Some(Front::Window),
            ..process(40, 1, game, 0)
        });
    }
    let facts = facts();
    let yardstick = Yardstick {
        facts: &facts,
        protect: &[],
        never: &[],
        containers: Containers::LeftAlone,
        worn: None,
    };
    let mut observer = Observer::default();
    observer.on_survey(first, &yardstick);
    let situation = observer.on_survey(second, &yardstick).expect("two");
    let pace = |wakeups_per_s| Pace {
        wakeups_per_s,
        interactive: true,
    };
    let paces = BTreeMap::from([(EDITOR, pace(500.0)), (BROWSER, pace(60.0))]);
    let found = situation.contention(&paces, None, &facts);
    assert_eq!(found.expect("contention").protected, BROWSER);
}
