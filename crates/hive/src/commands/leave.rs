//! `hive leave`: stops the daemon and forgets who this machine was; the next start founds a hive of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hive_mind::reply::{NeedView, StatusView};
use hive_mind::{OpenError, Running};

use crate::args::{LeaveArgs, Place, Rehearsal};
use crate::commands::down;
use crate::consent;
use crate::left;
use crate::link::{Link, unreachable};
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::text::wrap;

/// What makes this machine who it is, the key last: while the key is there, leaving can be repeated. The
/// answer to the consent question goes too, because the mode that it set is in the store. The journal
/// stays: what is still open in it must be put back by whoever comes next.
const FORGOTTEN: [&str; 6] = [
    "consent",
    "store.redb",
    "key.next",
    "key.unused",
    "key.before",
    "key",
];

/// How long the others may take to hear that this machine leaves. A guess: on one network it takes milliseconds.
const HEARD: Duration = Duration::from_secs(3);

/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// Asks, tells the others, stops, forgets.
pub(super) fn run(at: &Place, args: LeaveArgs) -> Result<Exit, Problem> {
    let state = place::paths(at)?.state;
    let link = Link::new(at)?;
    let status = link.ask(link.client().status()).ok();
    if status.is_none() && there(&state).is_empty() {
        println!(
            "nothing to leave: no key and no store in {}",
            state.display()
        );
        return Ok(Exit::Ok);
    }
    if status.as_ref().is_some_and(has_left_something_on) {
        // Before anybody is told: a place that was given up is gone for good.
        return Err(left_on(
            "nobody was told and nothing was deleted; this machine is a member as before",
        ));
    }
    let rehearsal = args.rehearsal.dry_run;
    if !rehearsal && !args.yes && !confirmed()? {
        println!("nothing was done");
        return Ok(Exit::Ok);
    }
    let told = !rehearsal && status.as_ref().is_some_and(|it| goodbye(&link, it.members));
    let stopped = match &status {
        Some(_) => down::down(at, Rehearsal { dry_run: rehearsal })?,
        None => Exit::Ok,
    };
    if rehearsal {
        print!("{}", rehearsed(&state));
        return Ok(Exit::Ok);
    }
    put_back(&state, link.client().socket())?;
    let ids = place::paths(at)?.own_ids();
    for path in there(&state) {
        std::fs::remove_file(&path).map_err(|why| {
            Problem::system(&format!("{} could not be deleted", path.display()), &why)
                .try_next("hive leave --yes")
        })?;
    }
    println!("this machine has left; it starts anew with hive up, under a new key");
    // By its id: another machine there may have the same name.
    match status {
        Some(status) if !told && may_be_listed(&status) => println!(
            "others may still list it as \"{}\"; on one of them:  hive remove {}",
            status.label, status.node
        ),
        Some(_) => {}
        None => print!("{}", untold(&ids)),
    }
    Ok(stopped)
}

/// No daemon ran that could tell the others, or say whether there are any. Afterwards nobody here knows the id.
fn untold(ids: &[String]) -> String {
    let remove: Vec<_> = ids.iter().map(|id| format!("hive remove {id}")).collect();
    if remove.is_empty() {
        return String::new();
    }
    wrap(
        &format!(
            "its daemon was not running, so nobody was told; if it had company, the others still list it; \
             on one of them:  {}",
            remove.join(" or ")
        ),
        0,
        2,
    )
}

/// Whether the daemon could not put back what an earlier one left on.
fn has_left_something_on(status: &StatusView) -> bool {
    status.needs.iter().any(|need| need.code == "undo.failed")
}

fn left_on(known: &str) -> Problem {
    Problem::new(
        Exit::Partly,
        "leave.restore",
        "what is on could not be put back with the rights at hand",
    )
    .known(known)
    .try_next(
        "hive down, hive up with the rights that the daemon had, then: hive leave\n  \
         or restart this machine, which ends what is on, then: hive leave",
    )
}

/// Whether others list this machine, as far as it knows: not one that was removed, or whose place has another key.
fn may_be_listed(status: &StatusView) -> bool {
    let out = |need: &NeedView| {
        matches!(
            need.code.as_str(),
            "node.removed" | "node.left" | "node.moved"
        )
    };
    status.members > 1 && !status.needs.iter().any(out)
}

/// Tells the others, and waits a moment for them to close their connections: that is how they say that they
/// heard it. Whether everybody did who should.
fn goodbye(link: &Link, members: usize) -> bool {
    let Ok(status) = link.ask(link.client().status()) else {
        return false;
    };
    let online = status.peers_online;
    let start = Instant::now();
    if members <= 1 || link.ask(link.client().leave()).is_err() {
        return false;
    }
    while start.elapsed() < HEARD {
        match link.ask(link.client().status()) {
            Ok(status) if status.peers_online == 0 => return online > 0,
            Ok(_) => std::thread::sleep(LOOK),
            Err(_) => return false,
        }
    }
    false
}

/// What is there to forget.
fn there(state: &Path) -> Vec<PathBuf> {
    let paths = FORGOTTEN.iter().map(|name| state.join(name));
    paths
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

/// What would be deleted. A key beside the one in use is named: others may know this machine by it.
fn rehearsed(state: &Path) -> String {
    let kept = ["key.next", "key.unused"].map(|name| state.join(name));
    let kept = kept.iter().filter(|path| path.exists());
    let kept = kept.map(|path| {
        let shown = path.display();
        format!("  and a key that hive rotate made, under which others may know it: {shown}\n")
    });
    format!(
        "would delete the key, the store and the consent of this machine in\n  {}\n",
        state.display()
    ) + &kept.collect::<String>()
}

/// Puts back what a killed daemon may have left on, and makes sure that no daemon uses the folder: it would
/// write its store again.
fn put_back(state: &Path, asked: &Path) -> Result<(), Problem> {
    if let Some(running) = Running::on(state).filter(|it| it.socket != asked) {
        return Err(unreachable(asked, &running));
    }
    match hive_mind::recover(&left::host(state)) {
        Ok(recovery) if recovery.failed > 0 => Err(left_on(
            "nothing was deleted; the journal of what is on is kept",
        )),
        Ok(_) => Ok(()),
        Err(OpenError::Busy) => Err(Problem::new(
            Exit::Conflict,
            "leave.busy",
            "a daemon that does not answer uses the state folder",
        )
        .known(Running::on(state).map_or_else(
            || "nothing was deleted".to_owned(),
            |running| format!("pid {}; nothing was deleted", running.process),
        ))
        .try_next("hive down   (ends it; what is on is put back), then: hive leave")),
        Err(why) => Err(Problem::new(
            Exit::Failed,
            "leave.restore",
            "the state folder cannot be used",
        )
        .known(format!("{why}; nothing was deleted"))),
    }
}

/// Leaving cannot be taken back, so it is asked; a script says `--yes`.
fn confirmed() -> Result<bool, Problem> {
    consent::confirmed(
        "Key and store of this machine are deleted; that cannot be taken back.\nLeave?",
        Problem::new(Exit::Usage, "leave.confirm", "leaving must be confirmed")
            .known("key and store of this machine are deleted; that cannot be taken back")
            .try_next("hive leave --yes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_names_every_key_that_would_be_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path();
        assert_eq!(rehearsed(state).lines().count(), 2);
        std::fs::write(state.join("key.unused"), "").expect("writable");
        let words = rehearsed(state);
        assert!(words.contains("/key.unused\n"), "{words}");
    }

    #[test]
    fn a_machine_that_told_nobody_names_every_id_that_others_may_list() {
        assert_eq!(untold(&[]), "");
        let words = untold(&["3f9a0c12".to_owned(), "91ab22ff".to_owned()]);
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.ends_with("on one of them: hive remove 3f9a0c12 or hive remove 91ab22ff"),
            "{words}"
        );
    }
}
