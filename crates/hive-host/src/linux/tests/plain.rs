//! A user without any rights: what could not be undone is refused, the rest works.

use std::os::unix::process::CommandExt;

use super::crash::helper;
use super::*;

/// In the environment: the state folder, the process whose tree is in scope, and a job of root in it.
const PLAIN: &str = "HIVE_HOST_TEST_PLAIN";

/// `nobody`.
const NOBODY: u32 = 65_534;

/// Not a test by itself: run by the test below as another user.
#[test]
fn helper_acts_without_rights() {
    let Ok(order) = std::env::var(PLAIN) else {
        return;
    };
    let words: Vec<&str> = order.split(' ').collect();
    let number = |at: usize| words[at].parse().expect("a number");
    let scope = Scope::Tree(number(1));
    let (mut host, _) = Host::open(HostConfig {
        scope,
        ..config(Path::new(words[0]))
    })
    .expect("opened");
    assert_eq!(host.facts().uid, NOBODY);
    assert!(!host.facts().rights.nice);
    let job = Job::start(PAIR);
    let before = job.threads();
    let foreign = GroupId {
        session: number(2),
        group: number(2),
    };
    for action in [
        Action::Placebo,
        Action::FinerSlice,
        Action::AutogroupNice,
        Action::BackgroundIo,
    ] {
        let possible = match action {
            Action::FinerSlice => host.facts().rights.slice,
            Action::AutogroupNice => host.facts().rights.autogroup_nice,
            _ => true,
        };
        if !possible {
            continue;
        }
        let receipt = host.act(&step(1, action, &[foreign]));
        assert_eq!(receipt.outcome, Outcome::Refused(Refusal::NotOurs));
        let receipt = host.act(&step(1, action, &[job.group()]));
        assert!(
            matches!(receipt.outcome, Outcome::Applied { .. }),
            "{receipt:?}"
        );
        let receipt = host.undo(ChangeId(1));
        assert!(
            matches!(
                receipt.outcome,
                Outcome::Restored {
                    left_alone: 0,
                    gone: 0,
                    ..
                }
            ),
            "{receipt:?}"
        );
        assert_eq!(job.threads(), before);
    }
    for action in [Action::BackgroundNice, Action::BackgroundIdle] {
        let receipt = host.act(&step(2, action, &[job.group()]));
        assert_eq!(receipt.outcome, Outcome::Refused(Refusal::NotReversible));
    }
    let receipt = host.act(&step(2, Action::ColdMemory, &[job.group()]));
    assert_eq!(receipt.outcome, Outcome::Unsupported);
    assert_eq!(job.threads(), before);
    println!("ready");
}

#[test]
fn a_plain_user_is_refused_what_it_could_not_undo() {
    let _alone = alone();
    if !can("only root can become another user", sys::own_uid() == 0) {
        return;
    }
    let state = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::chown(state.path(), Some(NOBODY), Some(NOBODY)).expect("given");
    let foreign = Job::start(ONE);
    let order = format!(
        "{} {} {}",
        state.path().display(),
        std::process::id(),
        foreign.pid()
    );
    let mut command = helper("linux::tests::plain::helper_acts_without_rights");
    command
        .env(PLAIN, order)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/");
    let exe = command.get_program().to_owned();
    let readable = Command::new("test")
        .arg("-r")
        .arg(exe)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .status()
        .is_ok_and(|status| status.success());
    if !can("the test binary cannot be read by another user", readable) {
        return;
    }
    let output = command.output().expect("ran");
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && said.contains("ready\n"),
        "{said}\n{complained}"
    );
}
