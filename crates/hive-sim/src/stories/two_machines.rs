//! The main job: one machine proves, the other has it at once, tries it, proves it too, and both can undo it.

use hive_core::event::Command;
use hive_core::event_log::Happening;
use hive_core::pattern::{Action, Verdict};
use hive_core::reply::{PatternState, PatternView, Reply};

use super::{Failure, Told};
use crate::check::{converged, harmless, truthful};
use crate::machine::Truth;
use crate::net::HostId;
use crate::person;
use crate::world::World;

/// A pattern must be on the other machine within this time from when its author may say it: DESIGN section 13.
const SYNC_US: u64 = 1_000_000;

/// Contention until a verdict: a trial takes 10 to 35 s (`research/optimizer.md` 5.2), and useless actions may be
/// tried first.
pub(super) const PROOF_MS: u64 = 400_000;

/// Contention until a machine that was told acts: two looks at it and at most one control window. Over 100 seeds: 3 s
/// in the middle, always under 10 s.
const PROBATION_MS: u64 = 10_000;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let desk = world.add("desk", Truth::NICE_HELPS);
    let laptop = world.add("laptop", Truth::NICE_HELPS);
    world.run_ms(2_000)?;
    person::let_in(world, desk, laptop)?;

    // A build on the desk takes the machine away from the person who works there.
    world.host_mut(desk).machine.building = true;
    let proved = world.run_until(PROOF_MS, |world| world.host(desk).was_told(nice_helps))?;
    if !proved {
        return Err(Failure::Liveness(
            "the desk never proved that nice helps".into(),
        ));
    }

    // It is said once the desk's disk has it. The laptop has it before the next blink, and has tried nothing itself.
    let flush_us = world.host(desk).disk.busy_until.since(world.now());
    world.run_until((flush_us + SYNC_US) / 1_000, |world| {
        has_heard(world, laptop)
    })?;
    if !has_heard(world, laptop) {
        let what = "the pattern was not on the laptop within a second".to_owned();
        return Err(Failure::Correctness(what));
    }
    must_be_off(world, laptop)?;

    // The same contention there: on probation from the first looks, then proven by the laptop itself.
    world.host_mut(laptop).machine.building = true;
    let on = world.run_until(PROBATION_MS, |world| {
        world
            .host(laptop)
            .machine
            .on()
            .contains(&Action::BackgroundNice)
    })?;
    if !on {
        return Err(Failure::Liveness(
            "the laptop never went on probation".into(),
        ));
    }
    let too = world.run_until(PROOF_MS, |world| world.host(laptop).was_told(nice_helps))?;
    if !too {
        return Err(Failure::Liveness("the laptop never proved it too".into()));
    }
    let own = nice(world, laptop)?;
    if own.state != PatternState::Proven || own.pairs < 6 {
        let what = format!("{:?} after {} own pairs", own.state, own.pairs);
        return Err(Failure::Correctness(what));
    }
    evidence_flows_back(world, desk)?;

    let mut told = Told::default();
    for host in [desk, laptop] {
        told.judged.plus(truthful::hold_to_the_truth(world, host)?);
    }
    undo_stays_undone(world, desk)?;
    pause_restores(world, &[desk, laptop])?;
    converged::within(world, &[desk, laptop], 60)?;
    Ok(told)
}

pub(super) fn nice_helps(happening: &Happening) -> bool {
    matches!(
        happening,
        Happening::TrialEnded {
            action: Action::BackgroundNice,
            verdict: Verdict::Helps
        }
    )
}

fn has_heard(world: &World, host: HostId) -> bool {
    let arrived = |happening: &Happening| matches!(happening, Happening::PatternArrived { .. });
    world.host(host).was_told(arrived)
}

fn must_be_off(world: &World, host: HostId) -> Result<(), Failure> {
    harmless::nothing_is_on(world, &[host])
}

fn nice(world: &mut World, host: HostId) -> Result<PatternView, Failure> {
    let patterns = converged::patterns(world, host)?.patterns;
    let mut nice = patterns.into_iter().filter(|pattern| {
        pattern.action == Action::BackgroundNice && pattern.verdict == Verdict::Helps
    });
    nice.next()
        .ok_or_else(|| Failure::Correctness("a proven pattern is not shown".into()))
}

fn evidence_flows_back(world: &mut World, desk: HostId) -> Result<(), Failure> {
    world.run_ms(SYNC_US / 1_000)?;
    let pattern = nice(world, desk)?;
    let agrees = |other: &hive_core::reply::OtherView| other.verdict == Verdict::Helps;
    if pattern.others.iter().any(agrees) {
        return Ok(());
    }
    Err(Failure::Liveness(
        "the laptop's evidence never came back".into(),
    ))
}

/// A person undoes it on the desk: the old values are back and stay back there.
fn undo_stays_undone(world: &mut World, desk: HostId) -> Result<(), Failure> {
    let pattern = nice(world, desk)?;
    let command = Command::Undo {
        pattern: Some(pattern.name),
    };
    if let Reply::Refused(error) = world.ask(desk, command)? {
        return Err(Failure::Liveness(format!("undo refused: {}", error.code)));
    }
    world.run_ms(1_000)?;
    for _ in 0..60 {
        if world
            .host(desk)
            .machine
            .on()
            .contains(&Action::BackgroundNice)
        {
            let what = "what a person undid was turned on again".to_owned();
            return Err(Failure::Correctness(what));
        }
        world.run_ms(1_000)?;
    }
    Ok(())
}

/// A person pauses everything while the builds still run: nothing of ours is on.
pub(super) fn pause_restores(world: &mut World, hosts: &[HostId]) -> Result<(), Failure> {
    for host in hosts {
        world.ask(*host, Command::Pause { span: None })?;
    }
    world.run_ms(1_000)?;
    harmless::nothing_is_on(world, hosts)?;
    world.run_ms(30_000)?;
    harmless::nothing_is_on(world, hosts)
}
