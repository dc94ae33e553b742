//! kill -9 of the daemon, of the helper, of both, before every call of the kernel that a change is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::ground::{Asked, Blow, Ground, Job, within};
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

/// What was not as it should be.
#[derive(Debug, Default)]
struct Missing(Vec<&'static str>);

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
        let struck = strike(ground, victim, call, nth, &name);
        let Some((missing, journal)) = struck.with_context(|| name.clone())? else {
            return Ok(());
        };
        count.kills += 1;
        *count
            .by_call
            .entry(format!("{victim:?}:{call}"))
            .or_default() += 1;
        *count.journals.entry(journal).or_default() += 1;
        if missing.is_empty() {
            count.restored += 1;
        } else {
            count
                .failures
                .push(format!("{name}: {}", missing.join(", ")));
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

/// One kill and what follows; what was not as it should be then, and how long the journal was. None: the call was not made so often.
fn strike(
    ground: &Ground,
    victim: Victim,
    call: &'static str,
    nth: u32,
    name: &str,
) -> Result<Option<(Vec<&'static str>, u64)>> {
    let job = ground.job()?;
    let before = job.settings();
    let state = ground.state(name)?;
    let blow = Some(Blow { call, nth });
    let mut missing = Missing::default();
    let length = match victim {
        Victim::Helper => {
            if !helper_struck(ground, &job, &state, blow, &mut missing)? {
                return Ok(None);
            }
            length(&state)
        }
        Victim::Daemon | Victim::Both => {
            let helper = ground.helper()?;
            let mut daemon = ground.hands(&state, &job, blow)?;
            daemon.say("cycle")?;
            if !daemon.is_stopped()? {
                daemon.end()?;
                return Ok(None);
            }
            if victim == Victim::Both {
                helper.kill()?;
                daemon.kill()?;
                let length = length(&state);
                next_start(ground, &job, &state, nth, &mut missing)?;
                length
            } else {
                daemon.kill()?;
                let length = length(&state);
                // Nobody but the helper has put anything back so far, and it does so by itself.
                missing.unless(is_nice_back(&job), "by the helper");
                let next = ground.hands(&state, &job, None)?;
                missing.unless(recovered(next)?, "by the next daemon");
                missing.unless(helper.end()?, "the helper's end");
                length
            }
        }
    };
    missing.unless(job.is_as(&before), "not as before");
    Ok(Some((missing.0, length)))
}

impl Missing {
    fn unless(&mut self, is_so: bool, what: &'static str) {
        if !is_so {
            self.0.push(what);
        }
    }
}

fn is_nice_back(job: &Job) -> bool {
    within(|| job.settings().values().all(|it| it.nice == 0))
}

/// The helper is struck while a daemon works; another one is started at once, as its socket does. `false` = the call was not made.
fn helper_struck(
    ground: &Ground,
    job: &Job,
    state: &Path,
    blow: Option<Blow>,
    missing: &mut Missing,
) -> Result<bool> {
    let Some(helper) = ground.struck_helper(blow)? else {
        // Struck before it listened.
        missing.unless(ground.helper()?.end()?, "the next helper's end");
        return Ok(true);
    };
    let mut daemon = ground.hands(state, job, None)?;
    daemon.say("cycle")?;
    // Its first line is that it is open; what follows is its answer.
    let mut spoken = 0;
    let is_struck = loop {
        if daemon.has_spoken()? {
            daemon.hear()?;
            spoken += 1;
        } else if helper.is_held() {
            break true;
        }
        if spoken == 2 {
            break false;
        }
    };
    if !is_struck {
        daemon.end()?;
        drop(helper);
        return Ok(false);
    }
    helper.kill()?;
    let next = ground.helper()?;
    while spoken < 2 {
        daemon.hear()?.context("the daemon ended")?;
        spoken += 1;
    }
    let undone = daemon.ask("all")?;
    missing.unless(undone.as_deref() == Some("done"), "the daemon's undoing");
    daemon.end()?;
    missing.unless(next.end()?, "the next helper's end");
    Ok(true)
}

/// After both were killed: the helper's start puts back what it did, and the daemon's the rest; or, without a helper, a daemon that
/// has the right itself does all of it.
fn next_start(
    ground: &Ground,
    job: &Job,
    state: &Path,
    nth: u32,
    missing: &mut Missing,
) -> Result<()> {
    if nth.is_multiple_of(2) {
        let daemon = ground.entitled(state, job)?;
        missing.unless(recovered(daemon)?, "by the entitled daemon");
        let all = job.settings();
        let helper = ground.helper()?;
        missing.unless(helper.end()?, "the next helper's end");
        missing.unless(job.settings() == all, "the next helper changed something");
        return Ok(());
    }
    let helper = ground.helper()?;
    missing.unless(is_nice_back(job), "by the next helper");
    let daemon = ground.hands(state, job, None)?;
    missing.unless(recovered(daemon)?, "by the next daemon");
    missing.unless(helper.end()?, "the next helper's end");
    Ok(())
}

/// Whether the start of a daemon left nothing undone.
fn recovered(mut daemon: Asked) -> Result<bool> {
    let first = daemon.hear()?.unwrap_or_default();
    let is_clean = first.starts_with("open ") && first.ends_with(" 0");
    daemon.end()?;
    Ok(is_clean)
}

fn length(state: &Path) -> u64 {
    fs::metadata(state.join("journal")).map_or(0, |meta| meta.len())
}
