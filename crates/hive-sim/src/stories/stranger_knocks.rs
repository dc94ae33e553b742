//! Strangers, wrong codes, used codes, a removed member, a member that lies: all refused, and nothing is changed.

use hive_core::event::Command;
use hive_core::event_log::Happening;
use hive_core::reply::{JoinStage, Reply};

use super::{Failure, Told, connected};
use crate::attacks::Attack;
use crate::check::converged;
use crate::check::nothing_lost::Acknowledged;
use crate::dice::Dice;
use crate::liar::{Liar, Lie};
use crate::machine::Truth;
use crate::net::HostId;
use crate::person;
use crate::world::World;

/// Wins that the honest ones can have told: one for each of their published results. The liar claims 2^40.
const HONEST_WINS_MAX: u64 = 100;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let desk = world.add("desk", Truth::NOTHING_HELPS);
    let laptop = world.add("laptop", Truth::NOTHING_HELPS);
    let member = world.add("borrowed", Truth::NOTHING_HELPS);
    let stranger = world.add("stranger", Truth::NOTHING_HELPS);
    world.run_ms(2_000)?;
    person::let_in(world, desk, laptop)?;
    person::let_in(world, desk, member)?;
    let honest = [desk, laptop];
    let before = converged::within(world, &[desk, laptop, member], 30)?;

    world.shake_hands(stranger, desk);
    world.shake_hands(stranger, laptop);
    garbage_at_the_door(world, desk, stranger)?;
    wrong_code(world, desk, stranger)?;
    used_code(world, desk, laptop, stranger)?;
    replayed_conversation(world, desk, laptop, stranger)?;
    stays_as_it_was(world, &honest, &before)?;

    lying_member(world, &honest, member)?;
    removed_member(world, desk, laptop, member)?;
    Ok(Told::default())
}

/// Bytes that are no pairing frame, cut ones, and too long ones, with and without an open invite.
fn garbage_at_the_door(world: &mut World, desk: HostId, stranger: HostId) -> Result<(), Failure> {
    for _ in 0..6 {
        world.knock(stranger, desk);
        world.run_ms(200)?;
    }
    person::invite(world, desk)?;
    for _ in 0..6 {
        world.knock(stranger, desk);
        world.run_ms(200)?;
    }
    nobody_waits(world, desk)
}

fn wrong_code(world: &mut World, desk: HostId, stranger: HostId) -> Result<(), Failure> {
    let right = person::invite(world, desk)?;
    // A code of another machine has a right checksum and a wrong secret.
    let wrong = person::invite(world, stranger)?;
    if right == wrong {
        return Err(Failure::Correctness("two machines made one code".into()));
    }
    let address = world.host(desk).address;
    let command = Command::Join {
        code: wrong,
        at: Some(address),
    };
    world.attacks.add(Attack::WrongCode.name());
    world.ask(stranger, command)?;
    must_not_get_in(world, desk, stranger)
}

/// A code that has let one machine in lets in no second one.
fn used_code(
    world: &mut World,
    desk: HostId,
    laptop: HostId,
    stranger: HostId,
) -> Result<(), Failure> {
    let fourth = world.add("fourth", Truth::NOTHING_HELPS);
    world.run_ms(1_000)?;
    let code = person::invite(world, desk)?;
    person::join(world, fourth, &code)?;
    person::compare_and_approve(world, desk, fourth)?;
    person::wait_for(world, fourth, JoinStage::Member)?;
    let address = world.host(desk).address;
    let command = Command::Join {
        code,
        at: Some(address),
    };
    world.attacks.add(Attack::UsedCode.name());
    world.ask(stranger, command)?;
    must_not_get_in(world, desk, stranger)?;
    let who = world.host(fourth).key.short();
    remove(world, desk, &who)?;
    world.run_ms(3_000)?;
    if connected(world, laptop, world.host(fourth).key) {
        return Err(Failure::Correctness(
            "a removed machine is still connected".into(),
        ));
    }
    Ok(())
}

/// What a joiner once said proves nothing on another connection.
fn replayed_conversation(
    world: &mut World,
    desk: HostId,
    laptop: HostId,
    stranger: HostId,
) -> Result<(), Failure> {
    person::invite(world, desk)?;
    world.replay_pairing(stranger, desk, laptop);
    world.run_ms(2_000)?;
    nobody_waits(world, desk)
}

/// A member's frames are forged, edited, cut, repeated; what the honest ones say reaches each other all the same.
fn lying_member(world: &mut World, honest: &[HostId; 2], member: HostId) -> Result<(), Failure> {
    let dice = Dice::new(world.seed(), "liar");
    world.host_mut(member).liar = Some(Liar::new(Lie::PLAIN.to_vec(), 700, dice));
    let mut acknowledged = Acknowledged::default();
    for nth in 0..8 {
        acknowledged.share(world, honest[0], nth)?;
        acknowledged.share(world, honest[1], nth)?;
        acknowledged.share(world, member, nth)?;
        world.run_ms(2_000)?;
    }
    world.host_mut(member).liar = None;
    let shown = converged::within(world, honest, 60)?;
    let mut of_the_honest = acknowledged;
    of_the_honest.only_of(honest);
    of_the_honest.all_shown(&shown)?;
    for host in honest {
        if converged::status(world, *host)?.collective_optimizations > HONEST_WINS_MAX {
            return Err(Failure::Correctness("a liar's counter counts".into()));
        }
    }
    let lied = |happening: &Happening| matches!(happening, Happening::PeerMisbehaved { .. });
    if !honest.iter().any(|host| world.host(*host).was_told(lied)) {
        return Err(Failure::Liveness("nobody noticed the liar".into()));
    }
    Ok(())
}

fn removed_member(
    world: &mut World,
    desk: HostId,
    laptop: HostId,
    member: HostId,
) -> Result<(), Failure> {
    let who = world.host(member).key.short();
    remove(world, desk, &who)?;
    if connected(world, desk, world.host(member).key) {
        let what = "the connection outlived the removal".to_owned();
        return Err(Failure::Correctness(what));
    }
    world.run_ms(5_000)?;
    let before = converged::within(world, &[desk, laptop], 30)?;
    // It writes on, and knocks again and again.
    let mut unheard = Acknowledged::default();
    unheard.share(world, member, 900)?;
    for _ in 0..5 {
        world.attacks.add(Attack::RemovedMember.name());
        world.ask(member, Command::Seek)?;
        world.run_ms(2_000)?;
    }
    for host in [desk, laptop] {
        if connected(world, host, world.host(member).key) {
            return Err(Failure::Correctness("a removed member is connected".into()));
        }
    }
    stays_as_it_was(world, &[desk, laptop], &before)
}

fn remove(world: &mut World, host: HostId, who: &str) -> Result<(), Failure> {
    let command = Command::Remove {
        who: who.to_owned(),
        compromised: false,
    };
    match world.ask(host, command)? {
        Reply::Refused(error) => Err(Failure::Liveness(format!(
            "removal refused: {}",
            error.code
        ))),
        _ => Ok(()),
    }
}

fn must_not_get_in(world: &mut World, desk: HostId, stranger: HostId) -> Result<(), Failure> {
    world.run_ms(5_000)?;
    let view = person::join_state(world, stranger)?;
    if matches!(view.stage, JoinStage::Waiting | JoinStage::Member) {
        return Err(Failure::Correctness("a stranger got in".into()));
    }
    nobody_waits(world, desk)
}

fn nobody_waits(world: &mut World, desk: HostId) -> Result<(), Failure> {
    if person::pending(world, desk)?.is_empty() {
        return Ok(());
    }
    Err(Failure::Correctness("a stranger waits to be let in".into()))
}

fn stays_as_it_was(
    world: &mut World,
    hosts: &[HostId],
    before: &converged::Shown,
) -> Result<(), Failure> {
    let after = converged::within(world, hosts, 30)?;
    if after.members == before.members && after.patterns == before.patterns {
        return Ok(());
    }
    Err(Failure::Correctness(
        "a stranger changed what the hive knows".into(),
    ))
}
