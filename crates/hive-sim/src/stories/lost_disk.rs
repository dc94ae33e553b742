//! A member's disk is lost, in part or whole, and its key is kept: nobody loses a place or a result by it.

use super::{Failure, Told};
use crate::check::converged;
use crate::check::nothing_lost::{self, Acknowledged};
use crate::disk::Loss;
use crate::machine::Truth;
use crate::net::{HostId, Quality};
use crate::person;
use crate::world::World;

/// All show the same after a network heals that was cut for up to two minutes: a dial may have been put off for
/// as long again.
const HEALED_S: u64 = 400;

/// Tells it. The seed says who loses how much.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let hosts = ["desk", "laptop", "attic"].map(|label| world.add(label, Truth::NOTHING_HELPS));
    let victim = hosts[usize::try_from(world.seed() % 3).unwrap_or(0)];
    let loss = if (world.seed() / 3).is_multiple_of(2) {
        Loss::Maps
    } else {
        Loss::Everything
    };
    world.run_ms(3_000)?;
    for joiner in &hosts[1..] {
        person::let_in(world, hosts[0], *joiner)?;
    }
    world.net.set_quality(Quality::BAD_WIFI);
    let mut acknowledged = Acknowledged::default();
    for host in hosts {
        acknowledged.share(world, host, 0)?;
    }
    converged::within(world, &hosts, HEALED_S)?;

    world.switch_off(victim);
    world.lose(victim, loss);
    let others: Vec<HostId> = hosts.into_iter().filter(|host| *host != victim).collect();
    for other in &others {
        world.shut_both(victim, *other);
    }
    world.switch_on(victim);
    world.run_ms(2_000)?;
    nothing_lost::say(world, victim, 1);
    acknowledged.share(world, others[0], 1)?;
    let alone_ms = world.dice.between(1_000, 120_000);
    world.run_ms(alone_ms)?;
    world.net.heal();

    if loss == Loss::Everything {
        // Any member may let it back, the plain ones too.
        let inviter = others[world.dice.index(others.len())];
        person::let_in(world, inviter, victim)?;
    }
    let shown = converged::within(world, &hosts, HEALED_S)?;
    acknowledged.all_shown(&shown)?;
    // It goes on where it was, and is heard.
    acknowledged.share(world, victim, 2)?;
    let shown = converged::within(world, &hosts, HEALED_S)?;
    acknowledged.all_shown(&shown)?;
    if shown.members.len() != hosts.len() {
        return Err(Failure::Correctness("a member was lost".into()));
    }
    Ok(Told::default())
}
