//! A host that dies without a word: its successor, or a guardian, puts everything back.

use std::process::Command;

use super::*;
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
