//! What a daemon left on that was killed together with its guardian: looked at, put back, and told.

use std::path::Path;
use std::time::{Duration, Instant};

use hive_mind::reply::UndoneView;
use hive_mind::{Acting, HostConfig, OpenError, Recovery, Roots, Running, Scope, recover};

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

/// How much is on that no daemon runs for any more, in words; none = nothing, as far as can be seen. Nothing is changed.
pub(crate) fn still_on(state: &Path) -> Option<String> {
    if Running::on(state).is_some() {
        return None;
    }
    // Where the journal is in use, somebody is just putting it back.
    let on = hive_mind::left_on(&host(state)).ok()?;
    (on > 0).then(|| places(on))
}

/// No daemon runs; puts back what one left on that was killed together with its guardian. None = nothing was on.
pub(crate) fn put_back(state: &Path) -> Result<Option<Recovery>, Problem> {
    if !state.join("journal").is_file() {
        return Ok(None);
    }
    let recovery = restored(state)?;
    Ok(Some(recovery).filter(|it| it.failed > 0 || it.restored > 0))
}

/// Puts back what the journal of this folder says is on, once no other process holds it.
pub(crate) fn restored(state: &Path) -> Result<Recovery, Problem> {
    let config = host(state);
    let start = Instant::now();
    loop {
        let is_early = start.elapsed() < GUARDIAN_DONE;
        match recover(&config) {
            Err(OpenError::Busy) if is_early => std::thread::sleep(LOOK),
            // The guardian may have rights that this process has not, and its turn.
            Ok(recovery) if recovery.failed > 0 && is_early => std::thread::sleep(LOOK),
            Ok(recovery) => return Ok(recovery),
            Err(why) => {
                return Err(Problem::new(
                    Exit::Partly,
                    "daemon.restore",
                    "the daemon has ended; what it had on could not be put back",
                )
                .known(why.to_string())
                .try_next("hive up   (puts back what is still noted as on)"));
            }
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
    (Exit::Ok, words)
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

fn places(on: u32) -> String {
    count(on as usize, "thread or session", "threads and sessions")
}
