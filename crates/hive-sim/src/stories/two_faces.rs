//! A member shows one face to one machine and another to the other, under one number, while these two cannot reach each
//! other. Then it is gone. The two that are left agree on the greater of both, whichever each of them saw first.

use hive_core::event_log::Happening;
use hive_core::hive::outside::Table;
use hive_core::id::{HeadId, NodeId};
use hive_core::wire::Head;

use super::{Failure, Told};
use crate::check::converged;
use crate::check::nothing_lost::{self, Acknowledged};
use crate::dice::Dice;
use crate::liar::{Forger, Liar, Lie};
use crate::machine::Truth;
use crate::net::HostId;
use crate::person;
use crate::world::World;

/// All show the same after the network heals: a dial may have been put off for minutes.
const HEALED_S: u64 = 400;

/// What arrived is on the disk, a slow one too.
const STORED_MS: u64 = 5_000;

/// A member that has something to say says it to everybody within this time.
const SAID_MS: u64 = 120_000;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let two = ["desk", "laptop"].map(|label| world.add(label, Truth::NOTHING_HELPS));
    let forker = world.add("borrowed", Truth::NOTHING_HELPS);
    world.run_ms(2_000)?;
    person::let_in(world, two[0], two[1])?;
    person::let_in(world, two[0], forker)?;
    let mut acknowledged = Acknowledged::default();
    for host in two {
        acknowledged.share(world, host, 0)?;
    }
    converged::within(world, &[two[0], two[1], forker], 60)?;

    world.shut_both(two[0], two[1]);
    arm(world, forker)?;
    let key = world.host(forker).key;
    nothing_lost::say(world, forker, 0);
    let differ = |world: &World| faces(world, two, key).is_some_and(|ids| ids[0] != ids[1]);
    if !world.run_until(SAID_MS, differ)? {
        let what = "the two were never shown different faces".to_owned();
        return Err(Failure::Liveness(what));
    }
    world.switch_off(forker);
    // What was on its way arrives.
    world.run_ms(STORED_MS)?;
    let Some(shown) = faces(world, two, key) else {
        let what = "the two hold states of different numbers".to_owned();
        return Err(Failure::Liveness(what));
    };

    world.open_both(two[0], two[1]);
    agree(world, two, key, shown[0].max(shown[1]))?;
    // What they agreed on is on their disks.
    for host in two {
        world.switch_off(host);
        world.switch_on(host);
    }
    world.run_ms(2_000)?;
    agree(world, two, key, shown[0].max(shown[1]))?;
    let known = |happening: &Happening| matches!(happening, Happening::Forked { .. });
    if !two.iter().all(|host| world.host(*host).was_told(known)) {
        let what = "somebody was not told of the fork".to_owned();
        return Err(Failure::Correctness(what));
    }
    let all = converged::within(world, &two, HEALED_S)?;
    acknowledged.all_shown(&all)?;
    Ok(Told::default())
}

/// Both show the same, and hold the greater of the two states.
fn agree(world: &mut World, two: [HostId; 2], key: NodeId, greater: HeadId) -> Result<(), Failure> {
    converged::within(world, &two, HEALED_S)?;
    world.run_ms(STORED_MS)?;
    match faces(world, two, key) {
        Some(held) if held == [greater; 2] => Ok(()),
        _ => Err(Failure::Correctness(
            "the two do not hold the greater state".into(),
        )),
    }
}

fn arm(world: &mut World, id: HostId) -> Result<(), Failure> {
    let host = world.host(id);
    let genesis = host.genesis();
    let genesis = genesis.ok_or_else(|| Failure::Liveness("a member without a hive".into()))?;
    let forger = Forger::new(host.stolen_key(), genesis.hive(), genesis.founder);
    let dice = Dice::new(world.seed(), "two faces");
    let short = world.host(id).key.short();
    world.witness.liars.insert(short);
    world.host_mut(id).liar = Some(Liar::new(vec![Lie::TwoFaced], 1_000, dice).with_key(forger));
    Ok(())
}

/// What both have stored of an author, if it is of one number.
fn faces(world: &World, two: [HostId; 2], author: NodeId) -> Option<[HeadId; 2]> {
    let [one, other] = two.map(|id| stored(world, id, author));
    let (one, other) = (one?, other?);
    let version = |head: &Head| (head.incarnation, head.seq);
    let hive = world.host(two[0]).genesis()?.hive();
    (version(&one) == version(&other)).then(|| [one.id(hive), other.id(hive)])
}

fn stored(world: &World, id: HostId, author: NodeId) -> Option<Head> {
    let value = world.host(id).disk.value(Table::Heads, &author.0)?;
    postcard::from_bytes(value).ok()
}
