//! A storm of forks, a person's own change, a number that is used again, another boot.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hive_core::pattern::BACKGROUND_NICE;
use hive_host::helper::Knob;
use hive_host::privileged;

use super::ground::{Asked, Ground, Helper, Job, of_user, within};
use crate::procs;
use crate::report::Figures;

/// Changes that a person makes in between. A guess: each takes some tenths of a second.
const PERSONS: usize = 30;

/// Another user that nobody is; below the first of the ground's.
const STRANGER: u32 = 60_599;

/// Numbers that are used again.
const REUSES: usize = 10;

/// So often a number is tried for: others start processes too.
const TRIES: usize = 50;

/// Acts and undoes while the job forks all the time; in every second cycle the daemon is killed instead and the helper undoes.
pub(super) fn storm(ground: &Ground, cycles: usize, figures: &mut Figures) -> Result<()> {
    let helper = ground.helper()?;
    let job = ground.storm()?;
    let state = ground.state("storm")?;
    let mut leaked = 0;
    let mut applied = 0;
    let mut seen = 0;
    let mut daemon = ready(ground, &state, &job)?;
    for cycle in 0..cycles {
        applied += usize::from(daemon.ask("act")?.as_deref() == Some("done"));
        seen += of_user(ground.uid).len();
        if cycle % 2 == 0 {
            daemon.ask("undo")?;
        } else {
            daemon.kill()?;
            daemon = ready(ground, &state, &job)?;
        }
        leaked += leaks(ground.uid);
    }
    drop(job);
    daemon.end()?;
    ensure!(helper.end()?, "the helper did not end in order");
    figures.put("fork_storm_cycles", cycles);
    figures.put("fork_storm_applied", applied);
    figures.put("fork_storm_processes_seen", seen);
    figures.put("leaked_descendants", leaked);
    Ok(())
}

/// A daemon that can put a nice back, through the helper.
fn ready(ground: &Ground, state: &Path, job: &Job) -> Result<Asked> {
    let mut daemon = ground.hands(state, job, None)?;
    let first = daemon.hear()?.unwrap_or_default();
    ensure!(
        first.contains(" 1 "),
        "the daemon does not reach the helper: {first}"
    );
    Ok(daemon)
}

/// How many of the user's processes still carry our nice, when all had time to be put back.
fn leaks(uid: u32) -> usize {
    let carrying = || {
        let nice = |pid: &u32| {
            procs::stat(*pid).is_some_and(|stat| stat.nice == i32::from(BACKGROUND_NICE))
        };
        of_user(uid).iter().filter(|pid| nice(pid)).count()
    };
    if within(|| carrying() == 0) {
        0
    } else {
        carrying()
    }
}

/// A person gives one process another nice while ours is on; then all is put back, by the daemon, by the helper whose daemon is
/// killed, or by the next helper.
pub(super) fn person(ground: &Ground, figures: &mut Figures) -> Result<()> {
    let mut overwritten = 0;
    for round in 0..PERSONS {
        let mut helper = ground.helper()?;
        let job = ground.job()?;
        let state = ground.state(&format!("person-{round}"))?;
        let mut daemon = ready(ground, &state, &job)?;
        ensure!(
            daemon.ask("act")?.as_deref() == Some("done"),
            "nothing is on"
        );
        privileged::write(Knob::Nice, job.pid(), 5, None)?;
        match round % 3 {
            0 => {
                daemon.ask("undo")?;
                daemon.end()?;
            }
            1 => daemon.kill()?,
            _ => {
                helper.kill()?;
                helper = ground.helper()?;
                daemon.ask("all")?;
                daemon.end()?;
            }
        }
        let others = || {
            let settings = job.settings();
            settings
                .iter()
                .filter(|(id, it)| id.tid != job.pid() && it.nice != 0)
                .count()
        };
        ensure!(
            within(|| others() == 0),
            "the rest of the job was not put back"
        );
        ensure!(helper.end()?, "the helper did not end in order");
        overwritten += usize::from(privileged::read(Knob::Nice, job.pid())? != 5);
    }
    figures.put("foreign_changes", PERSONS);
    figures.put("foreign_overwritten", overwritten);
    Ok(())
}

/// The helper is killed, its target ends, and another process gets the number and our nice by hand: it is not touched.
pub(super) fn reuse(ground: &Ground, figures: &mut Figures) -> Result<()> {
    let mut done = 0;
    let mut touched = 0;
    for round in 0..REUSES {
        let helper = ground.helper()?;
        let job = ground.job()?;
        let state = ground.state(&format!("reuse-{round}"))?;
        let mut daemon = ready(ground, &state, &job)?;
        ensure!(
            daemon.ask("act")?.as_deref() == Some("done"),
            "nothing is on"
        );
        let number = job.pid();
        helper.kill()?;
        daemon.kill()?;
        drop(job);
        // Another user's with exactly our nice, and this user's with another one: what was born since and carries exactly ours
        // counts as an heir (decision 0040).
        let (uid, nice) = match round % 2 {
            0 => (STRANGER, i64::from(BACKGROUND_NICE)),
            _ => (ground.uid, i64::from(BACKGROUND_NICE) + 1),
        };
        let Some(stranger) = numbered(uid, number)? else {
            continue;
        };
        privileged::write(Knob::Nice, number, nice, None)?;
        let notes = fs::metadata(ground.journal())?.len();
        ensure!(notes > 64, "the killed helper had noted nothing");
        let next: Helper = ground.helper()?;
        ensure!(next.end()?, "the helper did not end in order");
        done += 1;
        touched += usize::from(privileged::read(Knob::Nice, number)? != nice);
        drop(stranger);
    }
    figures.put_or(
        "pid_reuses",
        (done > 0).then_some(done),
        "no number could be had again",
    );
    figures.put("pid_reuse_touched", touched);
    Ok(())
}

/// A job with this number.
fn numbered(uid: u32, number: u32) -> Result<Option<Job>> {
    for _ in 0..TRIES {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string())?;
        let job = Ground::job_of(uid)?;
        if job.pid() == number {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// The notes are of another boot: what they name by number is not touched.
pub(super) fn boot(ground: &Ground, figures: &mut Figures) -> Result<()> {
    let helper = ground.helper()?;
    let job = ground.job()?;
    let state = ground.state("boot")?;
    let mut daemon = ready(ground, &state, &job)?;
    ensure!(
        daemon.ask("act")?.as_deref() == Some("done"),
        "nothing is on"
    );
    helper.kill()?;
    daemon.kill()?;
    let journal = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(ground.journal())?;
    let mut head = [0; 64];
    journal
        .read_exact_at(&mut head, 0)
        .context("the journal has a head")?;
    // One digit of the boot's name.
    head[20] = if head[20] == b'0' { b'1' } else { b'0' };
    journal.write_all_at(&head, 0)?;
    let next = ground.helper()?;
    ensure!(next.end()?, "the helper did not end in order");
    let ours = i64::from(BACKGROUND_NICE);
    let untouched = privileged::read(Knob::Nice, job.pid())? == ours;
    figures.put("other_boot_discarded", untouched);
    Ok(())
}
