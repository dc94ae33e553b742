//! A helper that says no to one thread, or to all that come later; it writes as we would.

use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use hive_core::id::ChangeId;
use hive_core::machine::act::Refusal;
use hive_core::pattern::Action;

use super::*;
use crate::linux::facts;
use crate::linux::hands::Hands;
use crate::linux::survey::Eyes;
use crate::linux::tests::{Job, ONE, alone, can, config, step};
use crate::{HostConfig, Roots, privileged};

/// What it says no to.
type Refuses = fn(Verb, u32) -> Option<No>;

/// What was asked about one thread: whether it was to be set or put back, and what.
type Asked = Vec<(bool, Knob)>;

/// Serves one connection to its end; tells what was set and put back on the thread that it refuses something.
fn serve(socket: &Path, spared: u32, refuses: Refuses) -> JoinHandle<Asked> {
    std::fs::create_dir_all(socket.parent().expect("a folder")).expect("made");
    let listener = UnixListener::bind(socket).expect("bound");
    let answer = move |verb: Verb| match verb {
        Verb::Set {
            knob,
            thread,
            value,
        } => {
            if let Some(no) = refuses(verb, spared) {
                return no.into();
            }
            privileged::write(knob, thread.tid, value, None).expect("written");
            Answer::Done(0)
        }
        Verb::Restore { knob, thread } => {
            privileged::write(knob, thread.tid, 0, None).expect("written");
            Answer::Done(0)
        }
        _ => Answer::Done(1),
    };
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("connected");
        let mut asked = Vec::new();
        let mut bytes = [0; crate::helper::REQUEST_BYTES];
        while stream.read_exact(&mut bytes).is_ok() {
            let (number, verb) = Request::decode(&bytes);
            let verb = verb.expect("a verb");
            match verb {
                Verb::Set { knob, thread, .. } if thread.tid == spared => {
                    asked.push((true, knob));
                }
                Verb::Restore { knob, thread } if thread.tid == spared => {
                    asked.push((false, knob));
                }
                _ => {}
            }
            stream
                .write_all(&answer(verb).encode(number))
                .expect("heard");
        }
        asked
    })
}

/// What became of going to idle with two jobs, of which the helper refuses the second something.
fn with_a_no(refuses: Refuses) -> Option<(Outcome, [u32; 2], Asked)> {
    let state = tempfile::tempdir().expect("a folder");
    let config = HostConfig {
        roots: Roots {
            run: state.path().join("run"),
            ..Roots::default()
        },
        ..config(state.path())
    };
    let (mut facts, slice) = facts::read(&config.roots);
    if !can("no right to lower nice again", facts.rights.nice) {
        return None;
    }
    facts.rights.nice = false;
    let jobs = [Job::start(ONE), Job::start(ONE)];
    let socket = socket(&config.roots.run, facts.uid);
    let helper = serve(&socket, jobs[1].pid(), refuses);
    let mut eyes = Eyes::new(config.roots.clone(), config.scope);
    let mut hands = Hands::open(&config, &facts, slice).expect("opened");
    let groups = [jobs[0].group(), jobs[1].group()];
    let outcome = hands.act(&mut eyes, &step(1, Action::BackgroundIdle, &groups));
    let policy = |job: &Job| sys::scheduling(job.pid()).expect("lives").policy;
    let policies = [policy(&jobs[0]), policy(&jobs[1])];
    let undone = hands.undo(&mut eyes, ChangeId(1));
    assert!(matches!(undone, Outcome::Restored { .. }), "{undone:?}");
    for job in &jobs {
        let now = sys::scheduling(job.pid()).expect("lives");
        assert_eq!((now.policy, now.nice), (0, 0));
    }
    drop(hands);
    Some((outcome, policies, helper.join().expect("ended")))
}

#[test]
fn a_thread_that_the_helper_refuses_is_spared_and_the_others_are_not() {
    let _alone = alone();
    // Somebody was faster with this one, before the mark or between mark and policy.
    let at_once: Refuses = |verb, tid| match verb {
        Verb::Set { thread, .. } if thread.tid == tid => Some(No::ByHand),
        _ => None,
    };
    let half_way: Refuses = |verb, tid| match verb {
        Verb::Set {
            knob: Knob::Policy,
            thread,
            ..
        } if thread.tid == tid => Some(No::NotLess),
        _ => None,
    };
    let set = |knob| (true, knob);
    let half = vec![set(Knob::Nice), set(Knob::Policy), (false, Knob::Nice)];
    for (refuses, asked) in [(at_once, vec![set(Knob::Nice)]), (half_way, half)] {
        let Some((outcome, policies, told)) = with_a_no(refuses) else {
            return;
        };
        assert_eq!(outcome, Outcome::Applied { touched: 1 });
        assert_eq!(policies, [5, 0]);
        assert_eq!(told, asked);
    }
}

#[test]
fn a_helper_without_room_refuses_the_whole_step_by_name() {
    let _alone = alone();
    let full: Refuses = |verb, tid| match verb {
        Verb::Set { thread, .. } if thread.tid == tid => Some(No::Full),
        _ => None,
    };
    if let Some((outcome, policies, _)) = with_a_no(full) {
        assert_eq!(outcome, Outcome::Refused(Refusal::HelperFull));
        assert_eq!(policies, [0, 0]);
    }
}

#[test]
fn a_helper_with_too_many_that_wait_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = socket(folder.path(), 4242);
    assert_eq!(heard(folder.path(), 4242), Heard::NoSocket);
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    let listening = UnixListener::bind(&path).expect("bound");
    // The kernel lets some hundreds wait, or some thousands.
    let mut waiting = Vec::new();
    let full = loop {
        match sys::connect(&path) {
            Ok(stream) => waiting.push(stream),
            Err(why) => break why,
        }
    };
    if full.raw_os_error() == Some(libc::EMFILE) {
        eprintln!("SKIPPED: this process may not open so many files");
        return;
    }
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(heard(folder.path(), 4242), Heard::Silent);
    drop((waiting, listening));
    assert_eq!(heard(folder.path(), 4242), Heard::Silent);
}
