//! A daemon that was started with nothing but the key, only to be let back in: if that fails, it is ended and what it
//! made is taken away, so that a store from a backup can still be put in the lost one's place.

use std::path::{Path, PathBuf};

use hive_mind::Running;

use crate::args::Place;
use crate::commands::down;
use crate::consent;
use crate::link::Link;
use crate::problem::{Exit, Problem};

/// What there was before such a start.
#[derive(Debug)]
pub(super) struct Bare {
    state: PathBuf,
    /// The question of consent had an answer.
    answered: bool,
}

impl Bare {
    /// Notes what there was. The mode that the answer set was in the store, so it is asked again.
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
        let known = match self.end(at) {
            Ok(()) => "the daemon is ended again, and of the new store nothing is left".to_owned(),
            Err(why) => format!(
                "a daemon without the lost store may still run ({}): hive down, before a backup is put back",
                why.what
            ),
        };
        let before = failed.known.trim_end_matches("; nothing was changed");
        let known = [before, &known].join(if before.is_empty() { "" } else { "; " });
        self.names_a_newer_key(failed).known(known)
    }

    fn end(&self, at: &Place) -> Result<(), Problem> {
        let (exit, words) = down::stop(at)?;
        if exit != Exit::Ok || Running::on(&self.state).is_some() {
            return Err(Problem::new(exit, "daemon.busy", words.trim()));
        }
        std::fs::remove_file(self.state.join("store.redb"))
            .map_err(|why| Problem::system("the new store could not be deleted", &why))?;
        self.put_answer_back()
    }

    /// The answer that there was belongs to the lost store, which may come back.
    pub(super) fn put_answer_back(&self) -> Result<(), Problem> {
        if self.answered {
            consent::note_answered(&self.state)
        } else {
            consent::forget_answered(&self.state)
        }
    }

    /// Where the key that took over may lie beside the one that was given up, that is the way back.
    fn names_a_newer_key(&self, failed: Problem) -> Problem {
        let kept = ["key.next", "key.unused"].map(|name| self.state.join(name));
        let newer = kept.into_iter().find(|path| path.exists());
        match newer.filter(|_| failed.code == "join.moved") {
            Some(newer) => {
                let key = self.state.join("key");
                failed.try_next(format!(
                    "a key that hive rotate made is kept: mv {} {}, then: hive join CODE",
                    newer.display(),
                    key.display()
                ))
            }
            None => failed,
        }
    }
}
