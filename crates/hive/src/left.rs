//! What a daemon left on that was killed together with its guardian: looked at, put back, and told.

use std::path::Path;
use std::time::{Duration, Instant};

use hive_mind::reply::UndoneView;
use hive_mind::{Acting, HostConfig, Left, OpenError, Recovery, Roots, Running, Scope, recover};

use crate::problem::{Exit, Problem};
use crate::render::text::count;

/// How long the guardian of a killed daemon may hold its journal. A guess: it restores some values.
const GUARDIAN_DONE: Duration = Duration::from_secs(5);

/// How often the journal is tried meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// The settings with which a folder's journal is used.
pub(crate) fn host(state: &Path) -> HostConfig {
    HostConfig {
        roots: Roots::default(),
        scope: Scope::OwnUser,
        state: state.to_path_buf(),
        act: Acting::Yes,
    }
}

/// What is on that no daemon runs for any more; none = nothing. An error = it cannot be told. Nothing is changed.
pub(crate) fn still_on(state: &Path) -> Result<Option<Left>, Problem> {
    if Running::on(state).is_some() {
        return Ok(None);
    }
    match hive_mind::left_on(&host(state)) {
        Ok(left) => Ok(Some(left).filter(|it| *it != Left::default())),
        // Somebody is just putting it back.
        Err(OpenError::Busy) => Ok(None),
        Err(why) => Err(Problem::new(
            Exit::Partly,
            "daemon.restore",
            "what an earlier daemon may have left on cannot be told",
        )
        .known(format!("no daemon runs; {why}"))
        .try_next(way_to_journal(state))),
    }
}

/// The same beside a call that found no daemon.
pub(crate) fn beside(problem: Problem, state: &Path) -> Problem {
    let known = |more: String| format!("{}; {more}", problem.known);
    let (known, try_next) = match still_on(state) {
        Ok(None) => return problem,
        Ok(Some(Left { on: 0, .. })) => (known(LOST.to_owned()), way_of_the_lost()),
        Ok(Some(Left { on, damaged })) => {
            let mut words = format!("what an earlier one had on is still on: {}", places(on));
            let mut way = "hive down   (puts it back), or: hive up".to_owned();
            if damaged > 0 {
                words = format!("{words}; {LOST}");
                way = format!("{way}; then {}", way_of_the_lost());
            }
            (known(words), way)
        }
        Err(unseen) => (
            known(format!("{}: {}", unseen.what, unseen.known)),
            unseen.try_next,
        ),
    };
    problem.known(known).try_next(try_next)
}

/// What is known of a journal that was found damaged.
const LOST: &str = "the journal of what was on is damaged: what its lost part named may still be on, and nobody can put that back";

/// What to do about it.
fn way_of_the_lost() -> String {
    "log out, or restart this machine, which ends it; hive doctor names the file".to_owned()
}

/// What to do about a journal that cannot be read.
fn way_to_journal(state: &Path) -> String {
    format!(
        "ls -ld {0} {0}/journal*   (whose they are, and what); once you can read them, hive down puts back what is noted \
         there; a restart of this machine ends it too",
        state.display()
    )
}

/// No daemon runs; puts back what one left on that was killed together with its guardian. None = nothing was on.
pub(crate) fn put_back(state: &Path) -> Result<Option<Recovery>, Problem> {
    if !hive_mind::has_journal(state) {
        return Ok(None);
    }
    let known = hive_mind::damaged_journals(&Roots::default(), state).len();
    let recovery = restored(state)?;
    let is_news = recovery.damaged as usize > known;
    Ok(Some(recovery).filter(|it| it.failed > 0 || it.restored > 0 || is_news))
}

/// Puts back what the journal of this folder says is on, once no other process holds it.
pub(crate) fn restored(state: &Path) -> Result<Recovery, Problem> {
    // The guardian may have rights that this process has not, and its turn.
    let is_whole = |recovery: &Recovery| recovery.failed == 0;
    recovered(&host(state), GUARDIAN_DONE, is_whole).map_err(|why| {
        let next = match why {
            OpenError::Busy => "hive up   (puts back what is still noted as on)".to_owned(),
            _ => way_to_journal(state),
        };
        Problem::new(
            Exit::Partly,
            "daemon.restore",
            "the daemon has ended; what it had on could not be put back",
        )
        .known(why.to_string())
        .try_next(next)
    })
}

/// Puts back what the journal says is on, as soon as no other process holds it. Until that time has passed it is tried
/// again also where it was not enough.
pub(crate) fn recovered(
    config: &HostConfig,
    within: Duration,
    is_enough: impl Fn(&Recovery) -> bool,
) -> Result<Recovery, OpenError> {
    let start = Instant::now();
    loop {
        let is_early = start.elapsed() < within;
        match recover(config) {
            Err(OpenError::Busy) if is_early => std::thread::sleep(LOOK),
            Ok(recovery) if is_early && !is_enough(&recovery) => std::thread::sleep(LOOK),
            ended => return ended,
        }
    }
}

/// What came of it: how to end, and what to tell. `ending` is said before what to type.
pub(crate) fn told(recovery: &Recovery, ending: &str) -> (Exit, String) {
    if recovery.failed > 0 {
        let words = format!("no daemon runs; {}", stuck(recovery, ending));
        return (Exit::Partly, words);
    }
    let back = places(recovery.restored);
    let words = format!("no daemon runs; {back} of an earlier one put back\n{ending}");
    if recovery.damaged == 0 {
        return (Exit::Ok, words);
    }
    let way = way_of_the_lost();
    (Exit::Partly, format!("{words}{LOST}\n  try: {way}\n"))
}

/// The same as an answer of a daemon.
pub(crate) fn view(recovery: &Recovery) -> UndoneView {
    let failed = recovery.failed as usize;
    UndoneView {
        changes: recovery.changes.len().saturating_sub(failed),
        restored: recovery.restored,
        left_alone: recovery.left_alone,
        failed: recovery.failed,
    }
}

/// What could not be put back.
pub(crate) fn stuck(recovery: &Recovery, ending: &str) -> String {
    format!(
        "{} could not be put back with the rights at hand\n{ending}  \
         try: hive up   (with the rights that the daemon had; puts back what is still noted as on)\n",
        count(recovery.failed as usize, "change", "changes")
    )
}

pub(crate) fn places(on: u32) -> String {
    count(on as usize, "thread or session", "threads and sessions")
}
