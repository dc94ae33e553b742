//! The eyes on process tables made of files: names, control groups and sessions of every kind, and
//! what is missing.

use std::fs;
use std::path::Path;

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Refusal, Step};
use hive_core::machine::facts::{GroupId, Reading, Sample, SampleRequest, Survey};
use hive_core::pattern::Action;
use hive_core::time::Span;
use hive_host::{Acting, Host, HostConfig, Roots, Scope};

/// One process of a made-up table.
struct Made {
    pid: u32,
    name: &'static str,
    parent: u32,
    group: u32,
    session: u32,
    terminal: u32,
    front: i32,
    state: char,
    start: u64,
    cgroup: &'static str,
    autogroup: &'static str,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            pid: 10,
            name: "sh",
            parent: 1,
            group: 10,
            session: 10,
            terminal: 0,
            front: -1,
            state: 'S',
            start: 500,
            cgroup: "1:cpu:/\n0::/\n",
            autogroup: "/autogroup-7 nice 0\n",
        }
    }
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = Self { folder };
        world.write("proc/sys/kernel/osrelease", "6.18.44-test\n");
        world.write("proc/sys/kernel/sched_autogroup_enabled", "1\n");
        for (resource, total) in [("cpu", 11), ("memory", 22), ("io", 33)] {
            let text = format!(
                "some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\nfull avg10=0.00 total=99\n"
            );
            world.write(&format!("proc/pressure/{resource}"), &text);
        }
        world
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn add(&self, made: &Made) {
        let Made {
            pid,
            parent,
            group,
            session,
            terminal,
            front,
            state,
            start,
            ..
        } = made;
        let name = made.name;
        let stat = format!(
            "{pid} ({name}) {state} {parent} {group} {session} {terminal} {front} 4194304 1 0 0 0 \
             100 50 30 20 20 0 1 0 {start} 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
        );
        self.write(&format!("proc/{pid}/stat"), &stat);
        self.write(&format!("proc/{pid}/task/{pid}/schedstat"), "7000 9000 5\n");
        self.write(
            &format!("proc/{pid}/task/{pid}/status"),
            "Name:\tx\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t8\n",
        );
        self.write(&format!("proc/{pid}/cgroup"), made.cgroup);
        self.write(&format!("proc/{pid}/autogroup"), made.autogroup);
    }

    fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.folder.path().join(format!("proc/{pid}"))).expect("removed");
    }

    fn host(&self, scope: Scope) -> Host {
        let root = self.folder.path();
        let config = HostConfig {
            roots: Roots {
                proc: root.join("proc"),
                sys: root.join("sys"),
                run: root.join("run"),
            },
            scope,
            state: root.join("state"),
            act: Acting::Yes,
        };
        Host::open(config).expect("opened").0
    }
}

fn survey(host: &mut Host) -> Survey {
    match host.sample(&SampleRequest::Survey) {
        Sample::Survey(survey) => survey,
        Sample::Window(_) => panic!("asked for a survey"),
    }
}

fn pids(host: &mut Host) -> Vec<u32> {
    survey(host).processes.iter().map(|one| one.pid).collect()
}

fn watch(host: &mut Host, protected: &[GroupId], background: &[GroupId]) -> Reading {
    let request = SampleRequest::Watch {
        protected: protected.to_vec(),
        background: background.to_vec(),
    };
    match host.sample(&request) {
        Sample::Window(reading) => reading,
        Sample::Survey(_) => panic!("asked for a window"),
    }
}

#[test]
fn a_survey_tells_name_job_time_foreground_and_bindings() {
    let world = World::new();
    world.write("sys/fs/cgroup/cgroup.subtree_control", "cpu memory");
    for (pid, cgroup) in [
        (10, "1:cpu:/\n0::/\n"),
        (11, "4:cpu,cpuacct:/a\n"),
        (12, "4:cpu,cpuacct:/b\n"),
        (13, "0::/apps/one\n"),
        (14, "0::/apps/two/deep\n"),
        (15, "0::/elsewhere\n"),
    ] {
        world.add(&Made {
            pid,
            cgroup,
            name: "a) S (b",
            terminal: 34_816,
            front: 10,
            ..Made::default()
        });
    }
    let mut host = world.host(Scope::OwnUser);
    let survey = survey(&mut host);
    assert_eq!(survey.pressure.cpu, Span(11));
    assert_eq!(survey.pressure.memory, Span(22));
    assert_eq!(survey.pressure.io, Span(33));
    let one = &survey.processes[0];
    assert_eq!(one.name.local(), "a) S (b");
    assert_eq!(
        one.group,
        GroupId {
            session: 10,
            group: 10
        }
    );
    assert_eq!(
        (one.cpu, one.children_cpu),
        (Span(1_500_000), Span(500_000))
    );
    assert!(one.foreground && one.ordinary);
    assert_eq!(one.autogroup, Some(7));
    let cgroups: Vec<u64> = survey.processes.iter().map(|one| one.cpu_cgroup).collect();
    assert_eq!(cgroups[0], 0);
    assert!(cgroups[1] != 0 && cgroups[1] != cgroups[2]);
    assert!(cgroups[3] != 0 && cgroups[3] == cgroups[4]);
    assert!(cgroups[5] != 0 && cgroups[5] != cgroups[4]);
    assert!(host.facts().pressure && host.facts().autogroup);
    assert_eq!(host.facts().kernel, (6, 18));
}

#[test]
fn the_superuser_is_told_which_sessions_are_services() {
    let world = World::new();
    // Number, parent, session, terminal, state; and whether root's daemon sees a service.
    let table = [
        (1, 0, 1, 0, 'S', true),
        (2, 1, 0, 0, 'S', true),
        // Started by init without a terminal, and what it started, at whatever depth.
        (20, 1, 20, 0, 'S', true),
        (21, 20, 20, 0, 'S', true),
        (22, 21, 20, 0, 'S', true),
        // A login: what init started has a terminal.
        (30, 1, 30, 34_816, 'S', false),
        (31, 30, 30, 34_816, 'S', false),
        // A service's session of its own, as for a terminal window or a connection from outside.
        (40, 20, 40, 0, 'S', false),
        (41, 1, 40, 0, 'S', false),
        // The leader has ended: init took in the one, with or without a terminal, and not the other.
        (51, 1, 50, 0, 'S', true),
        (52, 1, 50, 34_816, 'S', false),
        (53, 51, 50, 0, 'S', false),
        // A corpse is no leader: it has lost its terminal.
        (60, 1, 60, 0, 'Z', false),
        (61, 60, 60, 34_816, 'S', false),
    ];
    for (pid, parent, session, terminal, state, _) in table {
        world.add(&Made {
            pid,
            parent,
            group: session,
            session,
            terminal,
            state,
            ..Made::default()
        });
    }
    let mut host = world.host(Scope::OwnUser);
    let root = host.facts().uid == 0;
    let seen: Vec<(u32, bool)> = survey(&mut host)
        .processes
        .iter()
        .map(|one| (one.pid, one.service))
        .collect();
    let expected: Vec<(u32, bool)> = table
        .iter()
        .filter(|one| one.4 != 'Z')
        .map(|one| (one.0, root && one.5))
        .collect();
    assert_eq!(seen, expected);
    let mut host = world.host(Scope::Tree(1));
    let survey = survey(&mut host);
    assert!(!survey.processes.is_empty());
    assert!(survey.processes.iter().all(|one| !one.service));
}

#[test]
fn what_cannot_be_read_is_left_out_and_nothing_else() {
    let world = World::new();
    for pid in 10..16 {
        world.add(&Made {
            pid,
            ..Made::default()
        });
    }
    let mut host = world.host(Scope::OwnUser);
    assert_eq!(pids(&mut host), [10, 11, 12, 13, 14, 15]);
    world.write("proc/11/stat", "");
    world.write("proc/12/stat", "12 (cut");
    world.remove(13);
    fs::remove_file(world.folder.path().join("proc/14/autogroup")).expect("removed");
    fs::remove_file(world.folder.path().join("proc/14/cgroup")).expect("removed");
    world.add(&Made {
        pid: 15,
        state: 'Z',
        ..Made::default()
    });
    fs::remove_dir_all(world.folder.path().join("proc/pressure")).expect("removed");
    // A fresh host has not seen process 14 with its files.
    let mut host = world.host(Scope::OwnUser);
    let survey = survey(&mut host);
    let seen: Vec<u32> = survey.processes.iter().map(|one| one.pid).collect();
    assert_eq!(seen, [10, 14]);
    assert_eq!(
        (
            survey.processes[1].autogroup,
            survey.processes[1].cpu_cgroup
        ),
        (None, 0)
    );
    assert_eq!(
        survey.pressure,
        hive_core::machine::facts::Pressure::default()
    );
    assert!(!host.facts().pressure);
}

#[test]
fn a_reused_process_id_is_not_taken_for_the_old_process() {
    let world = World::new();
    world.add(&Made::default());
    let mut host = world.host(Scope::OwnUser);
    assert_eq!(survey(&mut host).processes[0].autogroup, Some(7));
    world.add(&Made {
        start: 900,
        autogroup: "/autogroup-8 nice 0\n",
        ..Made::default()
    });
    let survey = survey(&mut host);
    assert_eq!(
        (survey.processes[0].start, survey.processes[0].autogroup),
        (900, Some(8))
    );
}

#[test]
fn a_watch_counts_protected_threads_and_sums_the_background() {
    let world = World::new();
    let (front, back) = (
        GroupId {
            session: 10,
            group: 10,
        },
        GroupId {
            session: 20,
            group: 20,
        },
    );
    world.add(&Made::default());
    for (pid, state) in [(20, 'R'), (21, 'Z')] {
        world.add(&Made {
            pid,
            state,
            group: 20,
            session: 20,
            ..Made::default()
        });
    }
    let mut host = world.host(Scope::OwnUser);
    let reading = watch(&mut host, &[front], &[back]);
    assert_eq!(reading.threads.len(), 1);
    let thread = reading.threads[0];
    assert_eq!((thread.tid, thread.group), (10, front));
    assert_eq!(
        (thread.ran_ns, thread.waited_ns, thread.wakeups),
        (7_000, 9_000, 42)
    );
    assert_eq!(reading.background.len(), 1);
    // The corpse's time counts until it is collected, the corpse does not.
    assert_eq!(
        (reading.background[0].cpu, reading.background[0].processes),
        (Span(4_000_000), 1)
    );
    fs::remove_file(world.folder.path().join("proc/10/task/10/status")).expect("removed");
    assert!(watch(&mut host, &[front], &[]).threads.is_empty());
}

#[test]
fn a_tree_keeps_the_orphans_it_has_seen_and_takes_in_no_strangers() {
    let world = World::new();
    world.add(&Made {
        pid: 5,
        parent: 1,
        group: 5,
        session: 5,
        ..Made::default()
    });
    world.add(&Made {
        pid: 10,
        parent: 5,
        ..Made::default()
    });
    world.add(&Made {
        pid: 11,
        parent: 10,
        ..Made::default()
    });
    world.add(&Made {
        pid: 90,
        parent: 1,
        group: 5,
        session: 5,
        ..Made::default()
    });
    let mut host = world.host(Scope::Tree(10));
    assert_eq!(pids(&mut host), [10, 11]);
    world.add(&Made {
        pid: 11,
        parent: 1,
        ..Made::default()
    });
    // Born unseen of a process that has died, but in the session that the tree founded.
    world.add(&Made {
        pid: 12,
        parent: 1,
        group: 12,
        start: 600,
        ..Made::default()
    });
    assert_eq!(pids(&mut host), [10, 11, 12]);
    world.remove(10);
    assert_eq!(pids(&mut host), [11, 12]);
    // The root's number goes to a stranger.
    world.add(&Made {
        pid: 10,
        parent: 5,
        start: 700,
        ..Made::default()
    });
    world.add(&Made {
        pid: 13,
        parent: 10,
        start: 710,
        ..Made::default()
    });
    assert_eq!(pids(&mut host), [11, 12]);
}

#[test]
fn a_made_up_table_is_never_acted_on() {
    let world = World::new();
    world.add(&Made::default());
    let mut host = world.host(Scope::Tree(10));
    let step = Step {
        change: ChangeId(1),
        action: Action::BackgroundNice,
        targets: vec![GroupId {
            session: 10,
            group: 10,
        }],
        units: vec![],
    };
    assert_eq!(host.acting(), Acting::No);
    assert_eq!(
        host.act(&step).outcome,
        Outcome::Refused(Refusal::NotTheActor)
    );
    assert!(!Path::new(&world.folder.path().join("state")).exists());
}
