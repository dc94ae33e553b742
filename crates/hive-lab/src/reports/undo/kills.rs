//! kill -9 of the daemon, of the helper, of both, before every call of the kernel that a change is made of.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use super::ground::{Asked, Blow, Ground, Helper, Job};
use crate::report::Figures;

/// The daemon's calls: its journal, its word to the helper and the answer, its own deeds.
const OF_DAEMON: [&str; 5] = ["write", "fdatasync", "read", "recvfrom", "sched_setattr"];

/// The helper's: its notes, its hold and look, its deeds, its answer.
const OF_HELPER: [&str; 5] = [
    "pwrite64",
    "pidfd_open",
    "setpriority",
    "sched_getattr",
    "write",
];

/// No cycle makes a call more often. A guess; a run that comes here is an error, not an end.
const NTH_MAX: u32 = 2_000;

/// Of long runs of the same call only every so manyth is struck after the first ones.
const DENSE: u32 = 16;

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Daemon,
    Helper,
    Both,
}

/// What came of it.
#[derive(Debug, Default)]
struct Count {
    kills: usize,
    restored: usize,
    by_call: BTreeMap<String, usize>,
    /// Lengths of the daemon's journal at a kill: its steps.
    journals: BTreeMap<u64, usize>,
    failures: Vec<String>,
    round: usize,
}

/// Kills until there were enough, and the last round is whole.
pub(super) fn run(ground: &Ground, at_least: usize, figures: &mut Figures) -> Result<()> {
    let mut count = Count::default();
    while count.kills < at_least {
        for (victim, calls) in [
            (Victim::Daemon, OF_DAEMON),
            (Victim::Helper, OF_HELPER),
            (Victim::Both, OF_DAEMON),
        ] {
            for call in calls {
                along(ground, victim, call, at_least, &mut count)?;
            }
        }
        count.round += 1;
    }
    figures.put("kills", count.kills);
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let share = count.restored as f64 / count.kills as f64;
    figures.put("restored", share);
    figures.put("kills_restored", count.restored);
    figures.put("kills_by_call", &count.by_call);
    figures.put("rounds", count.round);
    let steps: Vec<u64> = count.journals.keys().copied().collect();
    figures.put("journal_lengths_at_kill", json!(steps));
    figures.put("kill_failures", &count.failures);
    Ok(())
}

/// Strikes before the first, second, ... time that this call is made, until a cycle makes no more.
fn along(
    ground: &Ground,
    victim: Victim,
    call: &'static str,
    enough: usize,
    count: &mut Count,
) -> Result<()> {
    let mut nth = 1;
    while nth < NTH_MAX {
        let name = format!("{victim:?}-{call}-{nth}-{}", count.round);
        let Some((is_restored, journal)) = strike(ground, victim, call, nth, &name)? else {
            return Ok(());
        };
        count.kills += 1;
        *count
            .by_call
            .entry(format!("{victim:?}:{call}"))
            .or_default() += 1;
        *count.journals.entry(journal).or_default() += 1;
        if is_restored {
            count.restored += 1;
        } else {
            count.failures.push(name);
        }
        nth += if nth < DENSE { 1 } else { 1 + nth / 8 };
        // A short run, as in the tests, need not go all the way.
        if enough < 50 && nth > 3 {
            return Ok(());
        }
    }
    ensure!(nth < NTH_MAX, "{call} never ends");
    Ok(())
}

/// One kill and what follows; whether all was as before then, and how long the journal was. None: the call was not made so often.
fn strike(
    ground: &Ground,
    victim: Victim,
    call: &'static str,
    nth: u32,
    name: &str,
) -> Result<Option<(bool, u64)>> {
    let job = ground.job()?;
    let before = job.settings();
    let state = ground.state(name)?;
    let blow = |signal| Some(Blow { call, nth, signal });
    let is_back = match victim {
        Victim::Daemon => {
            let helper = ground.helper()?;
            let mut daemon = ground.hands(&state, &job, blow("KILL"))?;
            if daemon.hear()?.is_some() && daemon.ask("cycle")?.is_some() {
                daemon.end()?;
                return Ok(None);
            }
            daemon.end()?;
            let length = length(&state);
            // Nobody but the helper has put anything back so far, and it does so by itself.
            let by_helper =
                super::ground::within(|| job.settings().values().all(|it| it.nice == 0));
            let next = ground.hands(&state, &job, None)?;
            let is_clean = recovered(next)?;
            drop(helper);
            (by_helper && is_clean && job.is_as(&before), length)
        }
        Victim::Helper => match helper_struck(ground, &job, &state, blow("KILL"))? {
            Some(is_clean) => (is_clean && job.is_as(&before), length(&state)),
            None => return Ok(None),
        },
        Victim::Both => {
            let helper = ground.helper()?;
            let mut daemon = ground.hands(&state, &job, blow("STOP"))?;
            daemon.say("cycle")?;
            if !daemon.is_stopped()? {
                daemon.end()?;
                return Ok(None);
            }
            helper.kill()?;
            daemon.kill()?;
            let length = length(&state);
            (
                next_start(ground, &job, &state, nth)? && job.is_as(&before),
                length,
            )
        }
    };
    Ok(Some(is_back))
}

/// The helper is struck while a daemon works; another one is started at once, as its socket does.
fn helper_struck(
    ground: &Ground,
    job: &Job,
    state: &std::path::Path,
    blow: Option<Blow>,
) -> Result<Option<bool>> {
    let Some(mut helper) = ground.struck_helper(blow)? else {
        // Struck before it listened.
        let next = ground.helper()?;
        return Ok(next.end()?.then_some(true));
    };
    let mut daemon = ground.hands(state, job, None)?;
    daemon.hear()?;
    daemon.ask("cycle")?;
    if !helper.has_ended()? {
        daemon.end()?;
        // At its end it makes some more calls; those are struck too.
        let ended = helper.end()?;
        if ended {
            return Ok(None);
        }
        let next = ground.helper()?;
        return Ok(Some(next.end()?));
    }
    let next = ground.helper()?;
    let is_undone = daemon.ask("all")?.as_deref() == Some("done");
    daemon.end()?;
    Ok(Some(is_undone && next.end()?))
}

/// After both were killed: the helper's start puts back what it did, and the daemon's the rest; or, without a helper, a daemon that
/// has the right itself does all of it.
fn next_start(ground: &Ground, job: &Job, state: &std::path::Path, nth: u32) -> Result<bool> {
    if nth.is_multiple_of(2) {
        let is_clean = recovered(ground.entitled(state, job)?)?;
        let all = job.settings();
        let helper: Helper = ground.helper()?;
        let is_quiet = helper.end()? && job.settings() == all;
        return Ok(is_clean && is_quiet);
    }
    let helper = ground.helper()?;
    let by_helper = super::ground::within(|| job.settings().values().all(|it| it.nice == 0));
    let is_clean = recovered(ground.hands(state, job, None)?)?;
    Ok(by_helper && is_clean && helper.end()?)
}

/// Whether the start of a daemon left nothing undone.
fn recovered(mut daemon: Asked) -> Result<bool> {
    let first = daemon.hear()?.unwrap_or_default();
    let is_clean = first.starts_with("open ") && first.ends_with(" 0");
    daemon.end()?;
    Ok(is_clean)
}

fn length(state: &std::path::Path) -> u64 {
    fs::metadata(state.join("journal")).map_or(0, |meta| meta.len())
}
