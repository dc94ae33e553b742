//! The host against the running kernel, on children of the test only. What needs a right or a kernel
//! that is not there says `SKIPPED` on stderr.

mod catalogue;
mod crash;
mod plain;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Refusal, Step};
use hive_core::machine::facts::{GroupId, Sample, SampleRequest, Survey};
use hive_core::pattern::Action;

use super::{Host, autogroup, scan, stat::Stat, sys};
use crate::{Acting, HostConfig, Recovery, Roots, Scope};

/// A shell in a session of its own; it ends when its input is closed.
pub(super) struct Job {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Job {
    /// Runs a shell script and waits for the line `ready`.
    pub(super) fn start(script: &str) -> Self {
        Self::wait_ready(Command::new("setsid").args(["sh", "-c", script]))
    }

    fn wait_ready(command: &mut Command) -> Self {
        // A child begins with the nice of the thread that starts it, and whoever runs these tests may have given them one.
        if let Err(why) = sys::set_nice(0, 0) {
            eprintln!("the jobs keep the nice of these tests: {why}");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert_ne!(lines.read_line(&mut line).expect("a line"), 0, "it ended");
        }
        Self { child, lines }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn group(&self) -> GroupId {
        GroupId {
            session: self.pid(),
            group: self.pid(),
        }
    }

    /// Says a line to the script and waits for its answer.
    fn ask(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{line}").expect("said");
        let mut answer = String::new();
        self.lines.read_line(&mut answer).expect("answered");
        assert_eq!(answer, "done\n");
    }

    /// Every thread of its session: process, thread, nice, slice.
    fn threads(&self) -> Vec<(u32, u32, i32, u64)> {
        let proc = Path::new("/proc");
        let table = scan::Scan::read(proc, &mut scan::Files::new(8));
        let of_job = |stat: &&Stat| stat.alive() && stat.session == self.pid();
        table
            .stats
            .iter()
            .filter(of_job)
            .flat_map(|stat| {
                let tids = scan::threads(proc, stat.pid);
                tids.into_iter().filter_map(|tid| {
                    let now = sys::scheduling(tid).ok()?;
                    Some((stat.pid, tid, now.nice, now.slice_ns))
                })
            })
            .collect()
    }

    fn nices(&self) -> Vec<i32> {
        self.threads().iter().map(|thread| thread.2).collect()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ended with its input");
    }
}

/// A script of one process that lives until its input is closed.
pub(super) const ONE: &str = "echo ready; read x";

/// And of two.
const PAIR: &str = "exec 3<&0; (read x <&3) & echo ready; read x; wait";

/// A script that forks on request, each child living until the input is closed.
const FORKS_WHEN_ASKED: &str =
    "echo ready; while read line; do (while read x; do :; done) <&3 & echo done; done";

pub(super) fn config(state: &Path) -> HostConfig {
    HostConfig {
        roots: Roots::default(),
        scope: Scope::Tree(std::process::id()),
        state: state.join("state"),
        act: Acting::Yes,
    }
}

fn open(state: &Path) -> (Host, Recovery) {
    Host::open(config(state)).expect("opened")
}

pub(super) fn step(change: u64, action: Action, targets: &[GroupId]) -> Step {
    Step {
        change: ChangeId(change),
        action,
        targets: targets.to_vec(),
        units: Vec::new(),
    }
}

fn survey(host: &mut Host) -> Survey {
    match host.sample(&SampleRequest::Survey) {
        Sample::Survey(survey) => survey,
        Sample::Window(_) => panic!("asked for a survey"),
    }
}

/// Tests that write our values one at a time: whatever was born meanwhile and carries them counts as an heir.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a test can run here; says so if not.
pub(super) fn can(what: &str, right: bool) -> bool {
    if !right {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: {what}").expect("stderr");
    }
    right
}

#[test]
fn nice_reaches_every_thread_and_comes_back() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no right to lower nice again", host.facts().rights.nice) {
        return;
    }
    let job = Job::start(PAIR);
    let receipt = host.act(&step(1, Action::BackgroundNice, &[job.group()]));
    let Outcome::Applied { touched } = receipt.outcome else {
        panic!("{receipt:?}");
    };
    assert!(touched >= 2);
    assert!(job.nices().iter().all(|&nice| nice == 11));
    let receipt = host.undo(ChangeId(1));
    assert!(matches!(
        receipt.outcome,
        Outcome::Restored { left_alone: 0, restored, .. } if restored >= touched
    ));
    assert!(job.nices().iter().all(|&nice| nice == 0));
}

#[test]
fn what_was_forked_meanwhile_is_restored_too() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no right to lower nice again", host.facts().rights.nice) {
        return;
    }
    let script = format!("exec 3<&0; {FORKS_WHEN_ASKED}");
    let mut job = Job::start(&script);
    host.act(&step(1, Action::BackgroundNice, &[job.group()]));
    let before = job.threads().len();
    job.ask("fork");
    let nices = job.nices();
    assert!(
        nices.len() > before && nices.iter().all(|&nice| nice == 11),
        "{nices:?}"
    );
    let Outcome::Restored { restored, .. } = host.undo(ChangeId(1)).outcome else {
        panic!("not restored");
    };
    assert_eq!(restored as usize, nices.len());
    assert!(job.nices().iter().all(|&nice| nice == 0));
}

/// Starts a daemon as daemons start themselves: in a session of its own, its parents ended.
const DAEMON_WHEN_ASKED: &str = "exec 3<&0; echo ready; while read line; do \
    setsid sh -c 'sh -c \"echo \\$\\$; while read x; do :; done\" <&3 >$FILE &' ; \
    while [ ! -s $FILE ]; do :; done; echo done; done";

#[test]
fn a_daemon_that_left_the_job_meanwhile_is_restored_and_one_niced_by_hand_is_not() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let whole = HostConfig {
        scope: Scope::OwnUser,
        ..config(state.path())
    };
    let (mut host, _) = Host::open(whole).expect("opened");
    let can_act = host.facts().rights.nice && host.acting() == Acting::Yes;
    if !can(
        "no right to lower nice again, or a daemon acts here",
        can_act,
    ) {
        return;
    }
    let file = state.path().join("pid");
    let script = DAEMON_WHEN_ASKED.replace("$FILE", &file.display().to_string());
    let mut job = Job::start(&script);
    let receipt = host.act(&step(1, Action::BackgroundNice, &[job.group()]));
    assert!(matches!(receipt.outcome, Outcome::Applied { .. }));
    job.ask("start");
    let by_hand = Job::start("exec nice sh -c 'echo ready; read x'");
    let daemon: u32 = fs::read_to_string(&file)
        .expect("written")
        .trim()
        .parse()
        .expect("a number");
    let table = scan::Scan::read(Path::new("/proc"), &mut scan::Files::new(8));
    let stat = table.get(daemon).expect("lives");
    let left = stat.session != job.pid() && !table.descends(daemon, &BTreeSet::from([job.pid()]));
    assert!(left, "{stat:?}");
    let nice = |pid: u32| sys::scheduling(pid).expect("lives").nice;
    assert_eq!((nice(daemon), nice(by_hand.pid())), (11, 10));
    host.undo(ChangeId(1));
    assert_eq!((nice(daemon), nice(by_hand.pid())), (0, 10));
}

#[test]
fn a_finer_slice_reaches_every_thread_keeps_nice_and_comes_back() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no slices before Linux 6.12", host.facts().rights.slice) {
        return;
    }
    let job = Job::start(PAIR);
    sys::set_nice(job.pid(), 3).expect("raised");
    let before: BTreeSet<_> = job.threads().into_iter().collect();
    let receipt = host.act(&step(1, Action::FinerSlice, &[job.group()]));
    assert!(
        matches!(receipt.outcome, Outcome::Applied { touched } if touched >= 2),
        "{receipt:?}"
    );
    assert!(
        job.threads()
            .iter()
            .all(|thread| thread.3 == super::FINE_SLICE_NS)
    );
    assert_eq!(sys::scheduling(job.pid()).expect("lives").nice, 3);
    host.undo(ChangeId(1));
    assert_eq!(job.threads().into_iter().collect::<BTreeSet<_>>(), before);
}

#[test]
fn a_sessions_autogroup_gets_nice_10_and_comes_back() {
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no autogroups here", host.facts().rights.autogroup_nice) {
        return;
    }
    let job = Job::start(PAIR);
    let nice = || {
        scan::autogroup(Path::new("/proc"), job.pid())
            .expect("in one")
            .1
    };
    let receipt = host.act(&step(1, Action::AutogroupNice, &[job.group()]));
    assert_eq!(receipt.outcome, Outcome::Applied { touched: 1 });
    assert_eq!(nice(), 10);
    assert_eq!(
        host.undo(ChangeId(1)).outcome,
        Outcome::Restored {
            restored: 1,
            left_alone: 0,
            gone: 0
        }
    );
    assert_eq!(nice(), 0);
}

/// A job beside the session's own: bash puts it into a group of its own, in the same autogroup.
fn beside(command: &str) -> Job {
    let inner = format!("{command} -c 'echo ready; read x <&3'");
    let script = format!("set -m; exec 3<&0; {inner} & read x; wait");
    Job::wait_ready(Command::new("setsid").args(["bash", "-c", &script]))
}

#[test]
fn an_autogroup_in_which_anything_is_spared_is_refused() {
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    let there = |name: &str| Command::new(name).arg("--version").output().is_ok();
    let right = host.facts().rights.autogroup_nice && there("bash");
    if !can("no autogroups here, or no bash", right) {
        return;
    }
    let number = |pid: u32| scan::autogroup(Path::new("/proc"), pid);
    // All of it is in scope; then only the job beside.
    let job = beside("sh");
    let table = scan::Scan::read(Path::new("/proc"), &mut scan::Files::new(8));
    let inner = |stat: &&Stat| stat.session == job.pid() && stat.group != job.pid();
    let inner = table.stats.iter().find(inner).expect("a job beside");
    assert_eq!(number(inner.pid), number(job.pid()));
    let only = [scan::job(inner)];
    let outcome = host.act(&step(1, Action::AutogroupNice, &only)).outcome;
    assert_eq!(outcome, Outcome::Applied { touched: 1 });
    host.undo(ChangeId(1));
    let other = tempfile::tempdir().expect("a folder");
    let (mut narrow, _) = Host::open(HostConfig {
        scope: Scope::Tree(inner.pid),
        ..config(other.path())
    })
    .expect("opened");
    let outcome = narrow.act(&step(1, Action::AutogroupNice, &only)).outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotOurs));
    let outcome = narrow.act(&step(2, Action::Placebo, &only)).outcome;
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    // Beside it another user's program.
    if !can("not root", sys::own_uid() == 0 && there("setpriv")) {
        return;
    }
    let mixed = beside("setpriv --reuid=65534 --clear-groups sh");
    let outcome = host
        .act(&step(3, Action::AutogroupNice, &[mixed.group()]))
        .outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotOurs));
    assert_eq!(number(mixed.pid()).map(|is| is.1), Some(0));
}

#[test]
fn an_autogroup_that_is_back_already_is_nobody_elses() {
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no autogroups here", host.facts().rights.autogroup_nice) {
        return;
    }
    let job = Job::start(PAIR);
    let proc = Path::new("/proc");
    let (number, _) = scan::autogroup(proc, job.pid()).expect("in one");
    host.act(&step(1, Action::AutogroupNice, &[job.group()]));
    // As when it was written through two processes, of which one has ended: the second finds it done.
    let start = scan::thread(proc, job.pid(), job.pid())
        .expect("lives")
        .start;
    let member = autogroup::Member {
        pid: job.pid(),
        start,
        number,
    };
    autogroup::write(proc, member, 0, autogroup::UNDOING).expect("ours to write");
    assert_eq!(
        host.undo(ChangeId(1)).outcome,
        Outcome::Restored {
            restored: 0,
            left_alone: 0,
            gone: 0
        }
    );
}

#[test]
fn what_somebody_changed_meanwhile_is_left_alone() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no right to lower nice again", host.facts().rights.nice) {
        return;
    }
    let job = Job::start(ONE);
    host.act(&step(1, Action::BackgroundNice, &[job.group()]));
    sys::set_nice(job.pid(), 5).expect("by hand");
    let receipt = host.undo(ChangeId(1));
    assert!(
        matches!(receipt.outcome, Outcome::Restored { left_alone: 1, .. }),
        "{receipt:?}"
    );
    assert_eq!(sys::scheduling(job.pid()).expect("lives").nice, 5);
}

#[test]
fn what_somebody_had_set_before_is_never_touched() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no right to lower nice again", host.facts().rights.nice) {
        return;
    }
    let job = Job::start(PAIR);
    for thread in job.threads() {
        sys::set_nice(thread.1, 11).expect("by hand");
    }
    let receipt = host.act(&step(1, Action::BackgroundNice, &[job.group()]));
    assert_eq!(receipt.outcome, Outcome::Refused(Refusal::SetByHand));
    assert!(job.nices().iter().all(|&nice| nice == 11));
}

#[test]
fn a_placebo_walks_and_journals_and_changes_nothing() {
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    let job = Job::start(ONE);
    let before = job.threads();
    let receipt = host.act(&step(1, Action::Placebo, &[job.group()]));
    assert!(matches!(receipt.outcome, Outcome::Applied { touched } if touched >= 1));
    assert!(
        fs::metadata(state.path().join("state/journal"))
            .expect("there")
            .len()
            > 0
    );
    assert_eq!(job.threads(), before);
    assert!(matches!(host.undo_all()[..], [ref only] if only.change == ChangeId(1)));
    assert_eq!(job.threads(), before);
}

#[test]
fn ourselves_our_ancestors_strangers_and_the_dead_are_refused() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    let table = scan::Scan::read(Path::new("/proc"), &mut scan::Files::new(8));
    let own = table.get(std::process::id()).expect("we live");
    let parent = table.get(own.parent).expect("it lives");
    let gone = GroupId {
        session: u32::MAX,
        group: u32::MAX,
    };
    for action in [
        Action::Placebo,
        Action::BackgroundNice,
        Action::AutogroupNice,
    ] {
        for stat in [own, parent] {
            let outcome = host.act(&step(1, action, &[scan::job(stat)])).outcome;
            assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        let outcome = host.act(&step(1, action, &[gone])).outcome;
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
    let outcome = host.act(&step(1, Action::Placebo, &[gone])).outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::Gone));
    let outcome = host
        .act(&step(1, Action::Placebo, &[scan::job(own)]))
        .outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotOurs));

    // A job outside the tree of this scope.
    let (inside, outside) = (Job::start(ONE), Job::start(ONE));
    let other = tempfile::tempdir().expect("a folder");
    let scope = Scope::Tree(inside.pid());
    let narrow = HostConfig {
        scope,
        ..config(other.path())
    };
    let (mut host, _) = Host::open(narrow).expect("opened");
    let outcome = host
        .act(&step(1, Action::Placebo, &[outside.group()]))
        .outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotOurs));
    let outcome = host
        .act(&step(2, Action::Placebo, &[inside.group()]))
        .outcome;
    assert!(matches!(outcome, Outcome::Applied { .. }));
    let seen: Vec<u32> = survey(&mut host)
        .processes
        .iter()
        .map(|one| one.pid)
        .collect();
    assert!(seen.contains(&inside.pid()) && !seen.contains(&outside.pid()));
}

#[test]
fn two_hosts_never_share_a_journal_and_an_observer_never_acts() {
    let state = tempfile::tempdir().expect("a folder");
    let (host, _) = open(state.path());
    assert!(matches!(
        Host::open(config(state.path())),
        Err(crate::OpenError::Busy)
    ));
    assert!(matches!(
        super::recover(&config(state.path())),
        Err(crate::OpenError::Busy)
    ));
    drop(host);
    let quiet = HostConfig {
        act: Acting::No,
        ..config(state.path())
    };
    let (mut host, _) = Host::open(quiet).expect("opened");
    assert_eq!(host.acting(), Acting::No);
    let outcome = host.act(&step(1, Action::Placebo, &[])).outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotTheActor));
}

#[test]
fn a_storm_of_forks_leaks_nothing_in_25_cycles() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can("no right to lower nice again", host.facts().rights.nice) {
        return;
    }
    let flag = state.path().join("storm");
    fs::write(&flag, "").expect("written");
    let storm = format!(
        "l() {{ while [ -e {0} ]; do sh -c '/bin/true; (/bin/true; /bin/true) & wait'; done; }}; \
         l & l & l & echo ready; cat; rm {0}; wait",
        flag.display()
    );
    let job = Job::start(&storm);
    let (mut leaks, mut missed, mut inherited) = (0, 0, 0);
    for cycle in 0..25 {
        let receipt = host.act(&step(cycle, Action::BackgroundNice, &[job.group()]));
        let Outcome::Applied { touched } = receipt.outcome else {
            panic!("{receipt:?}");
        };
        missed += job.nices().iter().filter(|&&nice| nice == 0).count();
        let receipt = host.undo(ChangeId(cycle));
        let Outcome::Restored {
            restored,
            gone,
            left_alone: 0,
        } = receipt.outcome
        else {
            panic!("{receipt:?}");
        };
        inherited += (restored + gone).saturating_sub(touched);
        leaks += job.nices().iter().filter(|&&nice| nice != 0).count();
        for _ in 0..200 {
            thread::yield_now();
        }
    }
    drop(job);
    assert_eq!((leaks, missed), (0, 0), "of {inherited} that inherited");
}

#[test]
fn files_that_are_kept_open_show_what_lives_now_and_only_that() {
    let proc = Path::new("/proc");
    let (mut kept, mut none) = (scan::Files::new(1_000), scan::Files::new(0));
    let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let mut job = Job::start(&format!(
        "echo ready; while read x; do {work}; echo done; done"
    ));
    let pid = job.pid();
    let read = |files: &mut scan::Files| scan::Scan::read(proc, files).get(pid).cloned();
    let first = read(&mut kept).expect("it lives");
    assert_eq!(read(&mut none).map(|stat| stat.start), Some(first.start));
    // Its processor time goes on in the file that is open already.
    let goes_on = (0..1_000).any(|_| {
        job.ask("work");
        read(&mut kept).expect("it lives").cpu_ticks > first.cpu_ticks
    });
    assert!(goes_on, "the file shows what was");
    assert!(kept.holds(pid) && !none.holds(pid));
    drop(job);
    assert_eq!((read(&mut kept), read(&mut none)), (None, None));
    assert!(!kept.holds(pid));
}
