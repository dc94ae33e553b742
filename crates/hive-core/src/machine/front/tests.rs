//! What somebody at a desktop waits for: the window, or what it shows.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::id::ProgramName;
use crate::machine::Containers;
use crate::machine::facts::{Front, GroupId, MachineFacts, Pressure, Process, Rights, Survey};
use crate::machine::observe::{Contention, Observer, Situation, Yardstick};
use crate::machine::pace::Pace;
use crate::time::{Instant, Span};

const fn job(session: u32, group: u32) -> GroupId {
    GroupId { session, group }
}

const TERMINAL: GroupId = job(10, 10);
const SHELL: GroupId = job(20, 20);
const MAKE: GroupId = job(20, 21);
const OTHER_SHELL: GroupId = job(30, 30);
const EDITOR: GroupId = job(30, 31);
const INDEXER: GroupId = job(50, 50);
const CLIENT: GroupId = job(60, 61);
const SERVER: GroupId = job(70, 70);

#[derive(Clone)]
struct Seen {
    group: GroupId,
    parent: u32,
    name: &'static str,
    foreground: bool,
    in_front: bool,
    cores: f64,
    pace: Option<Pace>,
}

impl Seen {
    fn new(name: &'static str, group: GroupId, parent: GroupId) -> Self {
        Self {
            group,
            parent: parent.group,
            name,
            foreground: false,
            in_front: false,
            cores: 0.0,
            pace: None,
        }
    }

    /// The foreground job of its terminal.
    fn foreground(mut self) -> Self {
        self.foreground = true;
        self.wakes(1.0, false)
    }

    /// Its window has the keyboard.
    fn in_front(mut self) -> Self {
        self.in_front = true;
        self
    }

    fn burns(mut self, cores: f64) -> Self {
        self.cores = cores;
        self
    }

    fn wakes(mut self, wakeups_per_s: f64, interactive: bool) -> Self {
        self.pace = Some(Pace {
            wakeups_per_s,
            interactive,
        });
        self
    }
}

const INIT: GroupId = job(1, 1);

/// A terminal's window that somebody is at and that wakes by what it shows, a shell in it, and an indexer elsewhere.
fn terminal() -> Vec<Seen> {
    vec![
        Seen::new("foot", TERMINAL, INIT)
            .in_front()
            .burns(0.1)
            .wakes(60.0, true),
        Seen::new("bash", SHELL, TERMINAL),
        Seen::new("indexer", INDEXER, INIT).burns(0.9),
    ]
}

fn make() -> Seen {
    Seen::new("make", MAKE, SHELL).foreground().burns(0.8)
}

fn editor(shell: GroupId) -> Seen {
    Seen::new("vim", EDITOR, shell)
        .foreground()
        .wakes(100.0, true)
}

fn facts() -> MachineFacts {
    MachineFacts {
        cores: 2,
        kernel: (6, 18),
        autogroup: false,
        pressure: true,
        rights: Rights::default(),
        uid: 1_000,
    }
}

fn survey(jobs: &[Seen], at_s: u32) -> Survey {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few seconds"
    )]
    let cpu = |cores: f64| Span::from_ms((cores * 1e3 * f64::from(at_s)) as u64);
    let processes = jobs.iter().map(|it| Process {
        pid: it.group.group,
        parent: it.parent,
        group: it.group,
        name: ProgramName::new(it.name),
        uid: 1_000,
        foreground: it.foreground,
        in_front: it.in_front.then_some(Front::Window),
        cpu: cpu(it.cores),
        ordinary: true,
        threads: 1,
        ..Process::default()
    });
    let at = u64::from(10 + at_s);
    Survey {
        at: Instant(at * 1_000_000),
        pressure: Pressure {
            cpu: Span::from_ms(at * 900),
            ..Pressure::default()
        },
        processes: processes.collect(),
        ..Survey::default()
    }
}

fn seen(jobs: &[Seen], protect: &[ProgramName]) -> (Situation, BTreeMap<GroupId, Pace>) {
    let facts = facts();
    let yardstick = Yardstick {
        facts: &facts,
        protect,
        never: &[],
        containers: Containers::LeftAlone,
        worn: None,
    };
    let mut observer = Observer::default();
    observer.on_survey(survey(jobs, 0), &yardstick);
    let situation = observer.on_survey(survey(jobs, 2), &yardstick);
    let paces = jobs.iter().filter_map(|it| Some((it.group, it.pace?)));
    (situation.expect("two looks"), paces.collect())
}

fn contention(jobs: &[Seen]) -> Option<Contention> {
    let (situation, paces) = seen(jobs, &[]);
    situation.contention(&paces, None, &facts())
}

/// The terminal's shell runs a multiplexer's client, and make's shell is one of its server's.
fn multiplexed(client: &'static str, server: &'static str) -> Vec<Seen> {
    let mut jobs = terminal();
    jobs[1].parent = SERVER.group;
    jobs.extend([
        Seen::new("bash", job(60, 60), TERMINAL),
        Seen::new(client, CLIENT, job(60, 60))
            .foreground()
            .wakes(80.0, true),
        Seen::new(server, SERVER, INIT),
        make(),
    ]);
    jobs
}

const MULTIPLEXERS: [(&str, &str); 4] = [
    ("tmux: client", "tmux: server"),
    ("screen", "screen"),
    ("zellij", "zellij"),
    ("dtach", "dtach"),
];

#[test]
fn a_build_that_somebody_watches_under_a_multiplexer_is_no_background_of_what_is_elsewhere() {
    for (client, server) in MULTIPLEXERS {
        let mut jobs = multiplexed(client, server);
        let found = contention(&jobs).expect("contention");
        assert_eq!(found.protected, MAKE, "{client}");
        assert_eq!(found.background, [INDEXER]);
        // Something wakes in a terminal that nobody is at.
        jobs.push(editor(OTHER_SHELL));
        let found = contention(&jobs).expect("contention");
        assert_eq!((found.protected, found.background), (EDITOR, vec![INDEXER]));
        // The client is gone, and nobody watches.
        jobs.retain(|it| it.group != CLIENT);
        let found = contention(&jobs).expect("contention");
        assert_eq!(found.background, [MAKE, INDEXER], "{client}");
    }
}

#[test]
fn somebody_who_types_under_a_multiplexer_comes_before_what_wakes_elsewhere() {
    let player = Seen::new("player", job(80, 81), job(80, 80));
    for (client, server) in MULTIPLEXERS {
        let mut jobs = multiplexed(client, server);
        jobs.extend([
            editor(SHELL),
            player.clone().foreground().wakes(500.0, true),
        ]);
        let found = contention(&jobs).expect("contention");
        assert_eq!(found.protected, EDITOR, "{client}");
    }
}

#[test]
fn a_terminal_that_burns_by_showing_a_build_brings_nothing_else_of_its_shell_to_the_front() {
    let mut jobs = terminal();
    jobs[0].cores = 0.5;
    let spinner = Seen::new("spin", job(20, 22), SHELL).burns(0.5);
    jobs.extend([make(), spinner]);
    let found = contention(&jobs).expect("contention");
    assert_eq!(found.protected, MAKE);
    assert_eq!(found.background, [job(20, 22), INDEXER]);
}

#[test]
fn a_client_that_burns_by_showing_a_build_is_not_protected_in_its_place() {
    let mut jobs = multiplexed("tmux: client", "tmux: server");
    let client = jobs.iter_mut().find(|it| it.group == CLIENT);
    let client = client.expect("there");
    *client = client.clone().burns(0.95).wakes(900.0, false);
    let found = contention(&jobs).expect("contention");
    assert_eq!((found.protected, found.background), (MAKE, vec![INDEXER]));
}
