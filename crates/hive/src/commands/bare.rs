//! A daemon that was started with nothing but the key, only to be let back in: if that fails, it is ended and what it
//! made is taken away, so that a store from a backup can still be put in the lost one's place.

use std::path::{Path, PathBuf};

use hive_mind::reply::StatusView;
use hive_mind::{Paths, Running};

use crate::args::Place;
use crate::commands::down;
use crate::consent;
use crate::link::Link;
use crate::place;
use crate::problem::{Exit, Problem};

/// What is said once everything is as it was.
const TAKEN_BACK: &str = "the daemon is ended again, and of the new store nothing is left";

/// What there was before such a start.
#[derive(Debug)]
pub(super) struct Bare {
    state: PathBuf,
    /// The question of consent had an answer.
    answered: bool,
}

impl Bare {
    /// Notes what there was. The mode that the answer set was in the lost store, so whoever comes next with a terminal
    /// is asked again, even where this start is cut off.
    pub(super) fn begin(state: &Path) -> Result<Self, Problem> {
        let answered = consent::was_answered(state);
        consent::forget_answered(state)?;
        Ok(Self {
            state: state.to_path_buf(),
            answered,
        })
    }

    /// Puts everything back as it was, and says so beside what went wrong. Not where this machine found its place
    /// after all, or says otherwise that its store is worth something.
    pub(super) fn take_back(&self, at: &Place, link: &Link, failed: Problem) -> Problem {
        let is_bare = link.ask(link.client().status()).is_ok_and(|status| {
            status.members <= 1 && status.needs.iter().any(|need| need.code == "node.bare")
        });
        if !is_bare {
            return failed;
        }
        let known = match self.end(down::stop(at)) {
            Ok(Exit::Ok) => TAKEN_BACK.to_owned(),
            Ok(_) => format!(
                "{TAKEN_BACK}; not all that was on could be put back: hive down tries it again"
            ),
            Err(why) => format!(
                "a daemon without the lost store may still run ({}): hive down, before a backup is put back",
                why.what
            ),
        };
        names_a_newer_key(at, beside(failed, &known))
    }

    /// Deletes what the daemon made, once none runs any more, and says how its end went. A setting that stays on is
    /// in the journal, not in the store.
    fn end(&self, stopped: Result<(Exit, String), Problem>) -> Result<Exit, Problem> {
        if Running::on(&self.state).is_some() {
            let busy = |(exit, words): (Exit, String)| {
                Problem::new(
                    exit,
                    "daemon.busy",
                    words.lines().next().unwrap_or_default(),
                )
            };
            return Err(stopped.map_or_else(|why| why, busy));
        }
        std::fs::remove_file(self.state.join("store.redb"))
            .map_err(|why| Problem::system("the new store could not be deleted", &why))?;
        self.put_answer_back()?;
        Ok(stopped.map_or_else(|why| why.exit, |(exit, _)| exit))
    }

    /// The answer that there was belongs to the lost store, which may come back; one to a new store goes with it.
    pub(super) fn put_answer_back(&self) -> Result<(), Problem> {
        if self.answered {
            consent::note_answered(&self.state)
        } else {
            consent::forget_answered(&self.state)
        }
    }
}

/// Where the key that took over may lie beside the one that was given up, that is the way back.
fn names_a_newer_key(at: &Place, failed: Problem) -> Problem {
    if failed.code != "join.moved" {
        return failed;
    }
    match place::paths(at).ok().and_then(|paths| ways_to(&paths)) {
        Some(ways) => failed.try_next(ways),
        None => failed,
    }
}

/// Ends a daemon that was started only to enter a hive, if that failed, and says so beside what went wrong. What it made
/// stays, with what was answered. Not where this machine is a member all the same.
pub(super) fn end_again(at: &Place, link: &Link, failed: Problem) -> Problem {
    let status = link.ask(link.client().status());
    if !status.is_ok_and(|status| status.members <= 1) {
        return failed;
    }
    match down::stop(at) {
        Ok(_) => beside(failed, "the daemon that was started for it is ended again"),
        Err(why) => {
            let known = format!(
                "the daemon that was started for it may still run ({}): hive down",
                why.what
            );
            beside(failed, &known)
        }
    }
}

/// More that is known, after a failure that said it had changed nothing.
fn beside(failed: Problem, more: &str) -> Problem {
    let before = failed.known.trim_end_matches("; nothing was changed");
    let known = [before, more].join(if before.is_empty() { "" } else { "; " });
    failed.known(known)
}

/// The way on where the daemon says that this machine's key was given up. The words name the key that has its place: any
/// other one that lies here leads nowhere.
pub(super) fn way_of_the_moved(status: &StatusView, paths: &Paths) -> Option<String> {
    let mut needs = status.needs.iter();
    let need = needs.find(|need| need.code == "node.moved")?;
    let mut kept = paths.kept_keys().into_iter();
    let (newer, _) = kept.find(|(_, id)| need.words.contains(id.as_str()))?;
    let moves = moves_to(&paths.state, &newer);
    Some(format!(
        "the key that took its place is kept here: hive down; {moves}, then: hive join CODE"
    ))
}

/// The way to the keys that may have taken over, where nobody says which one did: that of each of them.
fn ways_to(paths: &Paths) -> Option<String> {
    let way = |(newer, id): (PathBuf, String)| {
        let moves = moves_to(&paths.state, &newer);
        format!(
            "if the others list this machine as {id} (there: hive members), its key is kept here: hive down; {moves}, then: \
             hive join CODE"
        )
    };
    let ways: Vec<String> = paths.kept_keys().into_iter().map(way).collect();
    (!ways.is_empty()).then(|| ways.join("; "))
}

/// What is typed to take that key into use. The one that this machine holds is kept too, under a name that is free.
fn moves_to(state: &Path, newer: &Path) -> String {
    let key = state.join("key");
    let before = free(state, "key.kept");
    let mut moves = vec![(key, before), (newer.to_path_buf(), state.join("key"))];
    let store = state.join("store.redb");
    if store.exists() {
        // It is the older key's, and the newer one says nothing in it.
        moves.push((store, free(state, "store.before")));
    }
    let words = moves.iter();
    let words = words.map(|(from, to)| format!("mv {} {}", from.display(), to.display()));
    words.collect::<Vec<_>>().join(" && ")
}

/// This name, or one with a number, under which nothing lies.
pub(super) fn free(state: &Path, name: &str) -> PathBuf {
    let mut path = state.join(name);
    let mut number = 1;
    while path.exists() {
        number += 1;
        path = state.join(format!("{name}{number}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use hive_mind::reply::NeedView;

    use super::*;

    #[test]
    fn a_daemon_that_ended_leaves_no_new_store_whatever_it_could_not_put_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path();
        consent::note_answered(state).expect("writable");
        let bare = Bare::begin(state).expect("begun");
        assert!(!consent::was_answered(state), "nobody is asked again");
        fs::write(state.join("store.redb"), "new").expect("writable");
        let partly = Ok((Exit::Partly, "stopped; 1 change\n".to_owned()));
        assert_eq!(bare.end(partly).expect("ended"), Exit::Partly);
        assert!(!state.join("store.redb").exists());
        assert!(consent::was_answered(state), "the answer is not back");
    }

    #[test]
    fn the_way_to_a_newer_key_overwrites_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path();
        let newer = state.join("key.unused");
        for (name, content) in [("key", "held"), ("key.kept", "old"), ("key.unused", "new")] {
            fs::write(state.join(name), content).expect("writable");
        }
        let advice = moves_to(state, &newer);
        let kept = format!("mv {0}/key {0}/key.kept2 && mv", state.display());
        assert!(advice.contains(&kept), "{advice}");
    }

    #[test]
    fn only_the_key_that_took_the_place_is_offered_where_it_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = Paths {
            state: folder.path().to_path_buf(),
            socket: folder.path().join("hive.sock"),
            config: None,
        };
        for (name, byte) in [("key.next", 7), ("key.unused", 8)] {
            let path = folder.path().join(name);
            fs::write(&path, [byte; 32]).expect("writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let kept = paths.kept_keys();
        let status = |heir: &str| StatusView {
            needs: vec![NeedView {
                code: "node.moved".to_owned(),
                words: format!("its place went to the key {heir}, and nobody talks with it"),
                fix: Vec::new(),
            }],
            ..StatusView::default()
        };
        for (path, id) in &kept {
            let way = way_of_the_moved(&status(id), &paths).expect("it is here");
            let others = kept.iter().filter(|(other, _)| other != path);
            assert!(way.contains(&format!("mv {} ", path.display())), "{way}");
            for (other, _) in others {
                assert!(!way.contains(&other.display().to_string()), "{way}");
            }
        }
        assert_eq!(way_of_the_moved(&status("00000000"), &paths), None);
        // A refusal names none: the person finds out which one it is.
        let ways = ways_to(&paths).expect("two are here");
        for (path, id) in &kept {
            let named = [id.as_str(), &format!("mv {} ", path.display())];
            assert!(named.iter().all(|it| ways.contains(it)), "{ways}");
        }
    }
}
