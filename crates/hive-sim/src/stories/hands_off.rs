//! What the owner allows, and no more: observe, suggest, auto, pause, and a daemon that is killed with a change on.

use hive_core::event::Command;
use hive_core::pattern::Action;
use hive_core::reply::{Mode, PatternState, Reply};
use hive_core::time::Span;

use super::{Failure, Told, two_machines};
use crate::check::{converged, harmless};
use crate::disk::Unanswered;
use crate::machine::Truth;
use crate::net::HostId;
use crate::world::{Death, World};

/// Contention without consent.
const WATCHED_MS: u64 = 120_000;

/// How long a pause is asked for.
const PAUSE_S: u64 = 60;

/// Contention until a proven change is on again: a few looks at the machine.
const AGAIN_MS: u64 = 60_000;

/// A change goes off after ten seconds without contention, and the next look is some seconds later.
const CALM_MS: u64 = 30_000;

/// Longest time that a write takes on this world's disks, with room.
const DURABLE_MS: u64 = 1_500;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let desk = world.add("desk", Truth::NICE_HELPS);
    world.run_ms(1_000)?;
    for mode in [Mode::Observe, Mode::Suggest] {
        tune(world, desk, mode)?;
        world.host_mut(desk).machine.building = true;
        world.run_ms(WATCHED_MS)?;
        if world.host(desk).machine.applied > 0 {
            let what = format!("something was done in mode {mode:?}");
            return Err(Failure::Correctness(what));
        }
    }
    tune(world, desk, Mode::Auto)?;
    let proved = world.run_until(two_machines::PROOF_MS, |world| {
        world.host(desk).was_told(two_machines::nice_helps)
    })?;
    if !proved {
        return Err(Failure::Liveness("the desk proved nothing".into()));
    }
    killed_with_a_change_on(world, desk)?;
    pause_ends_by_itself(world, desk)?;
    comes_on(world, desk)?;
    world.host_mut(desk).machine.building = false;
    world.run_ms(CALM_MS)?;
    harmless::nothing_is_on(world, &[desk])?;
    a_pause_survives(world, desk)?;
    Ok(Told::default())
}

fn tune(world: &mut World, desk: HostId, mode: Mode) -> Result<(), Failure> {
    match world.ask(desk, Command::Tune { mode })? {
        Reply::Done(_) => Ok(()),
        _ => Err(Failure::unexpected("tune", desk)),
    }
}

fn comes_on(world: &mut World, desk: HostId) -> Result<(), Failure> {
    let nice = |world: &World| world.host(desk).machine.carries(Action::BackgroundNice);
    if world.run_until(AGAIN_MS, nice)? {
        return Ok(());
    }
    Err(Failure::Liveness("what was proven is not used".into()))
}

/// `kill -9` while nice is on: the journal puts it back at the next start, and what was proven is still known.
fn killed_with_a_change_on(world: &mut World, desk: HostId) -> Result<(), Failure> {
    world.run_ms(DURABLE_MS)?;
    comes_on(world, desk)?;
    world.crash(desk, Death::Kill, Unanswered::Some, 500);
    world.run_until(60_000, |world| world.host(desk).is_on())?;
    harmless::nothing_is_on(world, &[desk])?;
    let patterns = converged::patterns(world, desk)?.patterns;
    let proven = patterns
        .iter()
        .any(|pattern| pattern.state == PatternState::Proven);
    if !proven {
        return Err(Failure::Correctness("what was proven was forgotten".into()));
    }
    comes_on(world, desk)
}

fn pause_ends_by_itself(world: &mut World, desk: HostId) -> Result<(), Failure> {
    let span = Some(Span::from_secs(PAUSE_S));
    world.ask(desk, Command::Pause { span })?;
    world.run_ms(1_000)?;
    for _ in 0..PAUSE_S - 2 {
        harmless::nothing_is_on(world, &[desk])?;
        world.run_ms(1_000)?;
    }
    Ok(())
}

/// Paused without an end, and a power cut as soon as that is acknowledged: the owner's word holds after it.
fn a_pause_survives(world: &mut World, desk: HostId) -> Result<(), Failure> {
    world.ask(desk, Command::Pause { span: None })?;
    world.crash(desk, Death::PowerCut, Unanswered::Forgotten, 1_000);
    world.host_mut(desk).machine.building = true;
    let done = world.host(desk).machine.applied;
    world.run_ms(WATCHED_MS)?;
    if world.host(desk).machine.applied > done {
        return Err(Failure::Correctness("a pause was forgotten".into()));
    }
    if !converged::status(world, desk)?.paused {
        return Err(Failure::Correctness("a pause is not shown".into()));
    }
    Ok(())
}
