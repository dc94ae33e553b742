//! A day in the life of five members: some results, a restart each, a new address, a calendar that jumps; and few bytes.

use super::{Failure, Told};
use crate::check::converged;
use crate::check::nothing_lost::Acknowledged;
use crate::disk::Unanswered;
use crate::machine::Truth;
use crate::net::{HostId, Quality};
use crate::person;
use crate::world::{Death, World};

/// Results that each member publishes in the day.
const RESULTS: u64 = 12;

/// What a member may send and receive in a day, everything counted: the spec's 1 MB.
const BYTES_PER_MEMBER_MAX: u64 = 1_000_000;

/// What a frame costs beyond its own bytes: `research/transport.md` 3.1 (283 + 77 for 200).
const OVERHEAD_BYTES: u64 = 160;

const DAY_MS: u64 = 86_400_000;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let labels = ["ada", "bob", "cyn", "dan", "eve"];
    let hosts: Vec<HostId> = labels
        .iter()
        .map(|label| world.add(label, Truth::NOTHING_HELPS))
        .collect();
    world.run_ms(3_000)?;
    for joiner in &hosts[1..] {
        person::let_in(world, hosts[0], *joiner)?;
    }
    let paid = (world.net.bytes, world.net.frames);
    let mut acknowledged = Acknowledged::default();
    for nth in 0..RESULTS {
        for host in &hosts {
            let pause_ms = world.dice.below(2 * DAY_MS / RESULTS / 5);
            world.run_ms(pause_ms)?;
            acknowledged.share(world, *host, nth)?;
            if world.dice.permille(1_000 / RESULTS) {
                something_happens(world, *host)?;
            }
        }
    }
    let shown = converged::within(world, &hosts, 60)?;
    acknowledged.all_shown(&shown)?;
    few_bytes(world, hosts.len() as u64, paid)?;
    Ok(Told::default())
}

fn something_happens(world: &mut World, host: HostId) -> Result<(), Failure> {
    match world.dice.below(4) {
        0 => world.crash(host, Death::Kill, Unanswered::Some, 2_000),
        1 => world.crash(host, Death::PowerCut, Unanswered::Some, 60_000),
        2 => world.move_away(host),
        _ => {
            let ms = world.dice.between(0, 7_200_000);
            world.jump(host, i64::try_from(ms).unwrap_or_default() - 3_600_000);
        }
    }
    // An evening on bad Wi-Fi, too.
    world.net.set_quality(Quality::BAD_WIFI);
    world.run_ms(600_000)?;
    world.net.set_quality(Quality::LAN);
    Ok(())
}

fn few_bytes(world: &World, members: u64, before: (u64, u64)) -> Result<(), Failure> {
    let bytes = world.net.bytes - before.0 + OVERHEAD_BYTES * (world.net.frames - before.1);
    // Every frame costs its sender and its receiver.
    let each = 2 * bytes / members;
    if each <= BYTES_PER_MEMBER_MAX {
        return Ok(());
    }
    let what = format!("a quiet day cost each member {each} bytes");
    Err(Failure::Correctness(what))
}
