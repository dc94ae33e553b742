//! Daemons die at their writes, machines lose power, disks forget: what was acknowledged is still there afterwards.

use hive_core::reply::JoinStage;

use super::{Failure, Told};
use crate::check::converged;
use crate::check::nothing_lost::Acknowledged;
use crate::disk::Unanswered;
use crate::host::Doom;
use crate::machine::Truth;
use crate::net::{HostId, Quality};
use crate::person;
use crate::world::{Death, World};

/// Results that are published while the power fails.
const ROUNDS: u64 = 12;

/// Deaths of one machine in one story.
const DEATHS: u32 = 8;

/// Tells it: every seed dies at one write of its own, counted through, and at others by chance.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let nth = 1 + world.seed() % (3 * ROUNDS);
    tell_dying_at(world, nth, 150)
}

/// The story in which both machines die at their `nth` write, and at no other by chance.
pub fn dying_at(nth: u64) -> impl FnOnce(&mut World) -> Result<Told, Failure> {
    move |world| tell_dying_at(world, nth, 0)
}

fn tell_dying_at(world: &mut World, nth: u64, permille: u64) -> Result<Told, Failure> {
    world.net.set_quality(Quality::BAD_WIFI);
    let desk = world.add("desk", Truth::NICE_HELPS);
    let laptop = world.add("laptop", Truth::NICE_HELPS);
    let hosts = [desk, laptop];
    world.run_ms(5_000)?;
    a_yes_survives(world, desk, laptop)?;

    for host in hosts {
        let saves = world.host(host).doom.saves;
        world.host_mut(host).doom = Doom {
            at_save: Some(saves + nth),
            permille,
            deaths: DEATHS,
            saves,
            torn: false,
        };
    }
    let mut acknowledged = Acknowledged::default();
    for nth in 0..ROUNDS {
        for host in hosts {
            live_through(world, &mut acknowledged, host, nth)?;
        }
    }
    for host in hosts {
        world.host_mut(host).doom.deaths = 0;
    }
    // One last cut of both at once, and then quiet.
    for host in hosts {
        if world.host(host).is_on() {
            world.crash(host, Death::PowerCut, Unanswered::Forgotten, 1_000);
        }
    }
    wait_until_on(world, desk)?;
    wait_until_on(world, laptop)?;
    let shown = converged::within(world, &hosts, 60)?;
    acknowledged.all_shown(&shown)?;
    if shown.members.len() != 2 {
        return Err(Failure::Correctness("a member was lost".into()));
    }
    Ok(Told::default())
}

/// A person says yes, is told that it is done, and the machine loses power in the same breath: the yes counts.
fn a_yes_survives(world: &mut World, desk: HostId, laptop: HostId) -> Result<(), Failure> {
    let code = person::invite(world, desk)?;
    person::join(world, laptop, &code)?;
    person::compare_and_approve(world, desk, laptop)?;
    let passed_us = world.dice.below(40_000);
    world.run_ms(passed_us / 1_000)?;
    let away_ms = world.dice.between(50, 5_000);
    world.crash(desk, Death::PowerCut, Unanswered::Some, away_ms);
    wait_until_on(world, desk)?;
    person::wait_for(world, laptop, JoinStage::Member).map(|_| ())
}

fn live_through(
    world: &mut World,
    acknowledged: &mut Acknowledged,
    host: HostId,
    nth: u64,
) -> Result<(), Failure> {
    wait_until_on(world, host)?;
    acknowledged.share(world, host, nth)?;
    // At times the power goes between two writes, with some of them on their way.
    if world.dice.permille(100) && world.host(host).is_on() {
        let away_ms = world.dice.between(50, 5_000);
        world.crash(host, Death::PowerCut, Unanswered::Some, away_ms);
    }
    if world.dice.permille(100) {
        world.jump(
            host,
            3_600_000 - 7_200_000 * i64::from(world.seed().is_multiple_of(2)),
        );
    }
    let pause = world.dice.between(1, 1_500);
    world.run_ms(pause)
}

fn wait_until_on(world: &mut World, host: HostId) -> Result<(), Failure> {
    // It may die again at every start, each time away for up to 20 s.
    let patience_ms = 25_000 * u64::from(DEATHS);
    let on = world.run_until(patience_ms, |world| world.host(host).is_on())?;
    if on {
        return Ok(());
    }
    Err(Failure::Liveness("a machine never came back".into()))
}
