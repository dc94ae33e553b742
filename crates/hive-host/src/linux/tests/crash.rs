//! A host that dies without a word: its successor, or a guardian, puts everything back.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use hive_core::pattern::BACKGROUND_NICE;

use crate::journal::{Change, Journal, Record, Target};
use crate::linux::recover;

/// In the environment: the folder, and which job's session a helper is to act on and die.
const ACT_AND_DIE: &str = "HIVE_HOST_TEST_ACT_AND_DIE";

/// Not a test by itself: run by the tests below as a process that is killed.
#[test]
fn helper_acts_and_waits_to_be_killed() {
    let Ok(order) = std::env::var(ACT_AND_DIE) else {
        return;
    };
    let (state, session) = order.rsplit_once(':').expect("an order");
    let session = session.parse().expect("a number");
    let group = GroupId {
        session,
        group: session,
    };
    let scope = Scope::Tree(session);
    let (mut host, _) = Host::open(HostConfig {
        scope,
        ..config(Path::new(state))
    })
    .expect("opened");
    let mut change = 0;
    for action in [
        Action::FinerSlice,
        Action::BackgroundNice,
        Action::AutogroupNice,
        Action::Placebo,
    ] {
        change += 1;
        let outcome = host.act(&step(change, action, &[group])).outcome;
        println!("{action:?}: {outcome:?}");
    }
    println!("ready");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("killed before");
}

pub(super) fn helper(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", name, "--nocapture"]);
    command
}

#[test]
fn a_killed_host_leaves_nothing_on_after_recovery() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let script = format!("exec 3<&0; {FORKS_WHEN_ASKED}");
    let mut job = Job::start(&script);
    let before: BTreeSet<_> = job.threads().into_iter().collect();
    let autogroup = || scan::autogroup(Path::new("/proc"), job.child.id());
    let autogroup_before = autogroup();
    let order = format!("{}:{}", state.path().display(), job.pid());
    let mut doomed = Job::wait_ready(
        helper("linux::tests::crash::helper_acts_and_waits_to_be_killed").env(ACT_AND_DIE, order),
    );
    let during: BTreeSet<_> = job.threads().into_iter().collect();
    let changed = during != before || autogroup() != autogroup_before;
    assert!(can("nothing can be changed here", changed) || before == during);
    doomed.child.kill().expect("killed");
    doomed.child.wait().expect("dead");
    job.ask("fork after the crash");
    let recovery = recover(&config(state.path())).expect("recovered");
    assert!(
        recovery.restored > 0 && recovery.left_alone == 0,
        "{recovery:?}"
    );
    let slice = before.first().expect("one").3;
    for (_, _, nice, slice_ns) in job.threads() {
        assert_eq!((nice, slice_ns), (0, slice));
    }
    assert_eq!(
        scan::autogroup(Path::new("/proc"), job.pid()),
        autogroup_before
    );
    let again = recover(&config(state.path())).expect("recovered");
    assert_eq!(again, Recovery::default());
}

/// A journal that says "this thread had nice `old` and gets 10".
fn write_journal(state: &Path, boot: &str, pid: u32, start: u64, old: i64) -> Vec<u8> {
    let folder = state.join("state");
    fs::create_dir_all(&folder).expect("made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("closed");
    let opened = Journal::open(&folder, boot).expect("opened");
    let mut journal = opened.journal;
    let target = Target {
        pid,
        tid: pid,
        start,
        autogroup: 0,
        old,
    };
    let change = Change {
        id: ChangeId(7),
        boot: boot.to_owned(),
        action: Action::BackgroundNice,
        groups: Vec::new(),
        ticks: u64::MAX,
        new: BACKGROUND_NICE.into(),
        targets: vec![target],
        spared: Vec::new(),
        units: vec![],
    };
    journal.append(&Record::Intent(change)).expect("written");
    fs::read(folder.join("journal")).expect("read")
}

#[test]
fn recovery_touches_no_other_process_than_the_one_in_the_journal() {
    let _alone = alone();
    let job = Job::start(ONE);
    let nice = || sys::scheduling(job.pid()).expect("lives").nice;
    let start = scan::thread(Path::new("/proc"), job.pid(), job.pid());
    let start = start.expect("lives").start;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
    let boot = boot.trim();
    let recovered = |boot: &str, start: u64| {
        let state = tempfile::tempdir().expect("a folder");
        sys::set_nice(job.pid(), BACKGROUND_NICE.into()).expect("set");
        write_journal(state.path(), boot, job.pid(), start, 0);
        recover(&config(state.path())).expect("recovered")
    };
    assert_eq!(recovered(boot, start + 1).gone, 1);
    assert_eq!(nice(), 11, "another process of the same number");
    assert_eq!(recovered("another boot", start).discarded, 1);
    assert_eq!(nice(), 11, "another boot");
    if can("no right to lower nice again", facts_nice()) {
        assert_eq!(recovered(boot, start).restored, 1);
        assert_eq!(nice(), 0);
    }
}

#[test]
fn what_a_recovery_cannot_restore_stays_on_for_the_next() {
    let _alone = alone();
    let job = Job::start(ONE);
    let start = scan::thread(Path::new("/proc"), job.pid(), job.pid());
    let start = start.expect("lives").start;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
    let state = tempfile::tempdir().expect("a folder");
    sys::set_nice(job.pid(), BACKGROUND_NICE.into()).expect("set");
    // No nice is as large: the write fails each time.
    write_journal(state.path(), boot.trim(), job.pid(), start, i64::MAX);
    let failed = Recovery {
        changes: vec![ChangeId(7)],
        failed: 1,
        ..Recovery::default()
    };
    assert_eq!(recover(&config(state.path())).expect("recovered"), failed);
    let (mut host, recovery) = open(state.path());
    assert_eq!(recovery, failed);
    let errno = libc::EIO;
    assert_eq!(host.undo(ChangeId(7)).outcome, Outcome::Failed { errno });
    drop(job);
    let gone = Outcome::Restored {
        restored: 0,
        left_alone: 0,
        gone: 1,
    };
    assert_eq!(host.undo(ChangeId(7)).outcome, gone);
    drop(host);
    let (_, recovery) = open(state.path());
    assert_eq!(recovery, Recovery::default());
}

#[test]
fn recovery_from_a_journal_cut_at_any_byte_restores_all_or_nothing() {
    let _alone = alone();
    if !can("no right to lower nice again", facts_nice()) {
        return;
    }
    let job = Job::start(ONE);
    let nice = || sys::scheduling(job.pid()).expect("lives").nice;
    let start = scan::thread(Path::new("/proc"), job.pid(), job.pid());
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
    let state = tempfile::tempdir().expect("a folder");
    let start = start.expect("lives").start;
    let whole = write_journal(state.path(), boot.trim(), job.pid(), start, 0);
    for cut in 0..=whole.len() {
        sys::set_nice(job.pid(), BACKGROUND_NICE.into()).expect("set");
        fs::write(state.path().join("state/journal"), &whole[..cut]).expect("cut");
        let recovery = recover(&config(state.path())).expect("recovered");
        let complete = cut == whole.len();
        assert_eq!(recovery.restored, u32::from(complete), "cut at {cut}");
        assert_eq!(nice(), if complete { 0 } else { 11 }, "cut at {cut}");
    }
}

fn facts_nice() -> bool {
    crate::linux::facts::read(&crate::Roots::default())
        .0
        .rights
        .nice
}
