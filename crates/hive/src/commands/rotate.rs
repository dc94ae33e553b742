//! `hive rotate`: a new key in the old one's place; the daemon is started anew with it.

use std::path::Path;
use std::time::{Duration, Instant};

use hive_mind::reply::RotatedView;

use crate::args::{Place, RotateArgs};
use crate::commands::up::Store;
use crate::commands::{down, show, up};
use crate::consent;
use crate::link::Link;
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::text::{bytes, wrap};

/// How long the others may take to hear of the new key. A guess: on one network it takes milliseconds.
const HEARD: Duration = Duration::from_secs(3);

/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// With less room than this no start gets far. A guess: the store writes whole pages of 4 KiB, several at a time.
const ROOM_MIN: u64 = 64 * 1024;

/// Asks once, tells the others, starts anew.
pub(super) fn run(at: &Place, args: RotateArgs) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let status = link.ask(link.client().status())?;
    if args.rehearsal.dry_run {
        println!(
            "would give \"{}\" a new key with the same rank, role and name, and start the daemon anew",
            status.label
        );
        return Ok(Exit::Ok);
    }
    if !args.yes && !confirmed()? {
        println!("nothing was done");
        return Ok(Exit::Ok);
    }
    let state = place::paths(at)?.state;
    let view = link.try_ask(link.client().rotate()).map_err(|error| {
        let waits = state.join("key.next").exists();
        unsure(
            &link.problem(error),
            waits,
            &status.node,
            room(&state).as_deref(),
        )
    })?;
    wait_until_heard(&link);
    let exit =
        anew(at, args.no_start).map_err(|why| changed(&why, &view, room(&state).as_deref()))?;
    show(args.format, "hive.rotate/1", &view, |view| {
        let started = if args.no_start {
            "the daemon is stopped; started again, it uses the new key"
        } else {
            "the daemon runs with the new key"
        };
        let told = match view.told {
            0 => format!("No other machine has heard of it yet; {started}."),
            told => format!("{told} of the others heard of it; {started}."),
        };
        format!(
            "  This machine was {}, and is {} now.\n",
            view.old, view.new
        ) + &wrap(&format!("{}.", view.words), 2, 2)
            + &wrap(&told, 2, 2)
    })?;
    Ok(exit)
}

/// Stops the daemon and starts it with the new key. One that has ended by itself is started all the same.
fn anew(at: &Place, no_start: bool) -> Result<Exit, Problem> {
    let exit = match down::stop(at) {
        Ok((exit, words)) => {
            if exit != Exit::Ok {
                eprint!("{words}");
            }
            exit
        }
        Err(gone) if gone.exit == Exit::DaemonDown && !no_start => Exit::Ok,
        Err(why) => return Err(why),
    };
    if !no_start {
        up::ensure(at, Store::Needed)?;
    }
    Ok(exit)
}

/// That a disk is full, where it is: a daemon that ended for it may not have found room to say so.
fn room(state: &Path) -> Option<String> {
    let about = rustix::fs::statvfs(state).ok()?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    (free < ROOM_MIN).then(|| {
        let (free, state) = (bytes(free), state.display());
        format!("the disk of {state} is full ({free} free)")
    })
}

/// What went wrong, with what is known of it.
fn cause(why: &Problem, full: Option<&str>) -> String {
    let parts = [why.what.as_str(), why.known.as_str(), full.unwrap_or("")];
    let told: Vec<&str> = parts.into_iter().filter(|it| !it.is_empty()).collect();
    told.join("; ")
}

/// No answer came, or a no. Where the new key `waits` beside the old one, only the next start can tell whether its word
/// was saved.
fn unsure(why: &Problem, waits: bool, node: &str, full: Option<&str>) -> Problem {
    let cause = cause(why, full);
    if !waits {
        // Without room it is no conflict: it failed.
        let (exit, next) = match full {
            Some(_) => (Exit::Failed, "make room, then: hive rotate"),
            None => (why.exit, why.try_next.as_str()),
        };
        let problem = Problem::new(exit, &why.code, why.what.as_str());
        let known = cause.strip_prefix(&format!("{}; ", why.what));
        let known = known.map_or_else(String::new, |known| format!("{known}; "));
        let known = format!("{known}the key was not changed");
        return problem.known(known).try_next(next);
    }
    let what = "whether this machine has its new key is known once it has started again";
    let first = if full.is_some() {
        "make room, then: "
    } else {
        ""
    };
    let next =
        format!("{first}hive up, then hive status   (another id than {node}: it has the new key)");
    let problem = Problem::new(Exit::Partly, "rotate.unsure", what);
    problem.known(cause).try_next(next)
}

/// The key was changed, and something after that went wrong.
fn changed(why: &Problem, view: &RotatedView, full: Option<&str>) -> Problem {
    let (old, new) = (&view.old, &view.new);
    let what = format!(
        "the key WAS changed: this machine was {old} and is {new}; its daemon does not run with it yet"
    );
    let next = match (full, why.try_next.as_str()) {
        (Some(_), _) => "make room, then: hive up",
        (None, "") => "hive up",
        (None, next) => next,
    };
    let problem = Problem::new(Exit::Partly, "rotate.unstarted", what);
    problem.known(cause(why, full)).try_next(next)
}

/// Whoever heard of the new key closes the connection to the old one.
fn wait_until_heard(link: &Link) {
    let start = Instant::now();
    while start.elapsed() < HEARD {
        match link.ask(link.client().status()) {
            Ok(status) if status.peers_online > 0 => std::thread::sleep(LOOK),
            _ => return,
        }
    }
}

/// The old key is of no use afterwards, so it is asked; a script says `--yes`.
fn confirmed() -> Result<bool, Problem> {
    consent::confirmed(
        "The old key is refused everywhere afterwards; backups of it are of no use any more.\n\
         Give this machine a new key?",
        Problem::new(Exit::Usage, "rotate.confirm", "a new key must be confirmed")
            .known("the old key is refused everywhere afterwards, and backups of it are of no use")
            .try_next("hive rotate --yes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Problem {
        Problem::new(
            Exit::DaemonDown,
            "daemon.down",
            "the hive daemon is not running",
        )
        .known("nothing listens")
        .try_next("hive up")
    }

    #[test]
    fn what_fails_after_the_key_was_changed_does_not_hide_that_it_was() {
        let view = RotatedView {
            old: "3f9a0c12".to_owned(),
            new: "91ab22ff".to_owned(),
            told: 1,
            words: String::new(),
        };
        let told = changed(&down(), &view, Some("the disk of /x is full"));
        assert_eq!(
            (told.exit, told.code.as_str()),
            (Exit::Partly, "rotate.unstarted")
        );
        assert!(
            told.what
                .contains("WAS changed: this machine was 3f9a0c12 and is 91ab22ff")
        );
        assert_eq!(
            told.known,
            "the hive daemon is not running; nothing listens; the disk of /x is full"
        );
        assert_eq!(told.try_next, "make room, then: hive up");
        assert_eq!(changed(&down(), &view, None).try_next, "hive up");
    }

    #[test]
    fn without_an_answer_it_is_said_what_is_sure() {
        let not = unsure(&down(), false, "3f9a0c12", None);
        assert_eq!(not.exit, Exit::DaemonDown);
        assert_eq!(not.known, "nothing listens; the key was not changed");
        let full = unsure(&down(), false, "3f9a0c12", Some("the disk is full"));
        assert_eq!(full.exit, Exit::Failed);
        assert_eq!(full.try_next, "make room, then: hive rotate");
        let maybe = unsure(&down(), true, "3f9a0c12", Some("the disk is full"));
        assert_eq!(
            (maybe.exit, maybe.code.as_str()),
            (Exit::Partly, "rotate.unsure")
        );
        assert!(maybe.try_next.starts_with("make room, then: hive up"));
        assert!(maybe.try_next.contains("another id than 3f9a0c12"));
    }

    #[test]
    fn a_disk_with_room_is_not_called_full() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(room(folder.path()), None);
    }
}
