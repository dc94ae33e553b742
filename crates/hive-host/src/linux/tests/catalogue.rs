//! Policies, classes of the disk and advice on memory, on children of the test.

use super::*;
use crate::journal::{Change, Journal, Record, Target};
use crate::linux::knob;
use crate::linux::recover;

/// Policy and nice of every thread of a job's session.
fn policies(job: &Job) -> BTreeSet<(u32, i32)> {
    let of = |tid: u32| {
        let now = sys::scheduling(tid).expect("lives");
        (now.policy, now.nice)
    };
    job.threads().iter().map(|thread| of(thread.1)).collect()
}

const PLAIN: (u32, i32) = (0, 0);
const IDLE_OF_OURS: (u32, i32) = (5, 11);

fn set_policy(job: &Job, policy: u32, nice: i32) {
    let now = sys::scheduling(job.pid()).expect("lives");
    let to = sys::Scheduling {
        policy,
        nice,
        slice_ns: 0,
        ..now
    };
    sys::set_policy(job.pid(), to).expect("set");
}

#[test]
fn idle_reaches_every_thread_and_what_was_forked_meanwhile_and_comes_back() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can(
        "no right to leave SCHED_IDLE again",
        host.facts().rights.nice,
    ) {
        return;
    }
    let script = format!("exec 3<&0; {FORKS_WHEN_ASKED}");
    let mut job = Job::start(&script);
    let slices: BTreeSet<u64> = job.threads().iter().map(|thread| thread.3).collect();
    let receipt = host.act(&step(1, Action::BackgroundIdle, &[job.group()]));
    assert_eq!(receipt.outcome, Outcome::Applied { touched: 1 });
    job.ask("fork");
    assert!(job.threads().len() > 1);
    assert_eq!(policies(&job), BTreeSet::from([IDLE_OF_OURS]));
    let seen = survey(&mut host);
    let seen = seen
        .processes
        .iter()
        .find(|it| it.pid == job.pid())
        .expect("seen");
    assert!(seen.idle && !seen.ordinary && seen.resident > 0);
    let outcome = host.undo(ChangeId(1)).outcome;
    let all = u32::try_from(job.threads().len()).expect("few");
    assert!(
        matches!(outcome, Outcome::Restored { restored, left_alone: 0, .. } if restored == all),
        "{outcome:?}"
    );
    assert_eq!(policies(&job), BTreeSet::from([PLAIN]));
    let after: BTreeSet<u64> = job.threads().iter().map(|thread| thread.3).collect();
    assert_eq!(after, slices);
}

#[test]
fn a_policy_that_somebody_else_chose_is_theirs() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    if !can(
        "no right to leave SCHED_IDLE again",
        host.facts().rights.nice,
    ) {
        return;
    }
    let job = Job::start(ONE);
    // SCHED_IDLE as chrt and as ananicy-cpp set it, SCHED_BATCH, and a nice of one's own.
    for (policy, nice) in [(5, 0), (5, 16), (3, 0), (0, 4)] {
        sys::set_nice(job.pid(), nice).expect("set");
        set_policy(&job, policy, nice);
        let before = policies(&job);
        assert_eq!(before, BTreeSet::from([(policy, nice)]));
        let receipt = host.act(&step(1, Action::BackgroundIdle, &[job.group()]));
        assert_eq!(
            receipt.outcome,
            Outcome::Refused(Refusal::SetByHand),
            "{policy} {nice}"
        );
        assert_eq!(policies(&job), before);
        set_policy(&job, 0, 0);
    }
    // And one that was chosen while ours was on.
    for (policy, nice) in [(5, 0), (3, 0), (0, 0), (5, 16)] {
        host.act(&step(1, Action::BackgroundIdle, &[job.group()]));
        set_policy(&job, 0, 0);
        sys::set_nice(job.pid(), nice).expect("set");
        set_policy(&job, policy, nice);
        let outcome = host.undo(ChangeId(1)).outcome;
        let default = (policy, nice) == PLAIN;
        let left = Outcome::Restored {
            restored: 0,
            left_alone: u32::from(!default),
            gone: 0,
        };
        assert_eq!(outcome, left, "{policy} {nice}");
        assert_eq!(policies(&job), BTreeSet::from([(policy, nice)]));
        set_policy(&job, 0, 0);
    }
}

#[test]
fn a_crash_before_between_and_after_mark_and_policy_is_put_right() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (host, _) = open(state.path());
    let right = host.facts().rights.nice;
    drop(host);
    if !can("no right to leave SCHED_IDLE again", right) {
        return;
    }
    let job = Job::start(ONE);
    let start = scan::thread(Path::new("/proc"), job.pid(), job.pid());
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
    for (half, restored) in [(PLAIN, 0), ((0, 11), 1), (IDLE_OF_OURS, 1)] {
        let opened = Journal::open(&state.path().join("state"), boot.trim()).expect("opened");
        let mut journal = opened.journal;
        let change = Change {
            id: ChangeId(7),
            boot: boot.trim().to_owned(),
            action: Action::BackgroundIdle,
            groups: Vec::new(),
            ticks: u64::MAX,
            new: knob::written(Action::BackgroundIdle),
            units: Vec::new(),
            targets: vec![Target {
                pid: job.pid(),
                tid: job.pid(),
                start: start.as_ref().expect("lives").start,
                autogroup: 0,
                old: 0,
            }],
            spared: Vec::new(),
        };
        journal.append(&Record::Intent(change)).expect("written");
        drop(journal);
        sys::set_nice(job.pid(), half.1).expect("set");
        if half.0 == 5 {
            set_policy(&job, 5, half.1);
        }
        assert_eq!(policies(&job), BTreeSet::from([half]));
        let recovery = recover(&config(state.path())).expect("recovered");
        assert_eq!(
            (recovery.restored, recovery.left_alone),
            (restored, 0),
            "{half:?}"
        );
        assert_eq!(policies(&job), BTreeSet::from([PLAIN]));
    }
}

#[test]
fn the_idle_class_of_the_disk_reaches_every_thread_and_comes_back_and_ones_own_class_stays() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    let job = Job::start(PAIR);
    let tids: Vec<u32> = job.threads().iter().map(|thread| thread.1).collect();
    let classes = || -> BTreeSet<u16> {
        let class = |tid: &u32| sys::io_class(*tid).expect("lives");
        tids.iter().map(class).collect()
    };
    let before = classes();
    let receipt = host.act(&step(1, Action::BackgroundIo, &[job.group()]));
    assert_eq!(receipt.outcome, Outcome::Applied { touched: 2 });
    assert_eq!(classes(), BTreeSet::from([3 << 13 | 5]));
    // The second one asks for a class of its own meanwhile.
    sys::set_io_class(tids[1], 2 << 13 | 6).expect("set");
    let outcome = host.undo(ChangeId(1)).outcome;
    let left = Outcome::Restored {
        restored: 1,
        left_alone: 1,
        gone: 0,
    };
    assert_eq!(outcome, left);
    assert_eq!(sys::io_class(tids[1]).expect("lives"), 2 << 13 | 6);
    sys::set_io_class(tids[1], 0).expect("set");
    assert_eq!(classes(), before);
}

#[test]
fn advice_on_memory_is_bounded_needs_its_right_and_leaves_nothing_to_undo() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut host, _) = open(state.path());
    let job = Job::start(ONE);
    for action in [Action::ColdMemory, Action::PageOut] {
        let outcome = host.act(&step(1, action, &[job.group()])).outcome;
        if !can("no right to advise on memory", host.facts().rights.advise) {
            assert_eq!(outcome, Outcome::Unsupported);
            return;
        }
        let Outcome::Advised { bytes, processes } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(processes, 1);
        assert!(bytes > 0 && Some(bytes) <= action.bytes_max(), "{bytes}");
        assert!(host.undo_all().is_empty(), "nothing is on");
    }
    let own = scan::Scan::read(Path::new("/proc"), &mut scan::Files::new(8));
    let own = scan::job(own.get(std::process::id()).expect("lives"));
    let outcome = host.act(&step(1, Action::ColdMemory, &[own])).outcome;
    assert_eq!(outcome, Outcome::Refused(Refusal::NotOurs));
}
