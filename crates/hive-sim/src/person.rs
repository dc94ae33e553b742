//! A person at a keyboard: invites, joins, compares the words on both screens, approves, undoes.

use hive_core::event::Command;
use hive_core::hive::ticket::Invitation;
use hive_core::reply::{JoinStage, JoinView, PendingMachine, Reply};
use hive_core::statement::Role;

use crate::net::HostId;
use crate::stories::Failure;
use crate::world::World;

/// How long a person waits for something to show on a screen.
const PATIENCE_MS: u64 = 60_000;

/// How often a person looks.
const LOOK_MS: u64 = 20;

/// Opens the door for one machine.
pub fn invite(world: &mut World, host: HostId) -> Result<String, Failure> {
    match world.ask(host, Command::Invite(Invitation::default()))? {
        Reply::Invite(invite) => Ok(invite.code),
        _ => Err(Failure::unexpected("invite", host)),
    }
}

/// Types a code.
pub fn join(world: &mut World, host: HostId, code: &str) -> Result<Reply, Failure> {
    let code = code.to_owned();
    world.ask(host, Command::Join { code, at: None })
}

/// How far a join has come.
pub fn join_state(world: &mut World, host: HostId) -> Result<JoinView, Failure> {
    match world.ask(host, Command::JoinState)? {
        Reply::Join(view) => Ok(view),
        _ => Err(Failure::unexpected("join", host)),
    }
}

/// Who waits.
pub fn pending(world: &mut World, host: HostId) -> Result<Vec<PendingMachine>, Failure> {
    match world.ask(host, Command::Pending)? {
        Reply::Pending(view) => Ok(view.pending),
        _ => Err(Failure::unexpected("pending", host)),
    }
}

/// The whole way in: a code, the same words on both screens, a yes, membership.
pub fn let_in(world: &mut World, inviter: HostId, joiner: HostId) -> Result<(), Failure> {
    let code = invite(world, inviter)?;
    if let Reply::Refused(error) = join(world, joiner, &code)? {
        return Err(Failure::Liveness(format!("join refused: {}", error.code)));
    }
    compare_and_approve(world, inviter, joiner)?;
    wait_for(world, joiner, JoinStage::Member)?;
    Ok(())
}

/// Waits until both screens show words, compares them and says yes.
pub fn compare_and_approve(
    world: &mut World,
    inviter: HostId,
    joiner: HostId,
) -> Result<(), Failure> {
    let there = wait_for(world, joiner, JoinStage::Waiting)?;
    let waiting = pending(world, inviter)?;
    let me = world.host(joiner).key.short();
    let mine = waiting.iter().find(|machine| machine.node == me);
    let Some(mine) = mine else {
        let what = "the joiner waits and the inviter shows nobody".to_owned();
        return Err(Failure::Liveness(what));
    };
    if there.words.as_ref() != Some(&mine.words) {
        let what = "the two screens show different words".to_owned();
        return Err(Failure::Correctness(what));
    }
    let who = mine.node.clone();
    match world.ask(
        inviter,
        Command::Approve {
            who,
            role: Role::Member,
            owner: None,
        },
    )? {
        Reply::Done(_) => Ok(()),
        _ => Err(Failure::unexpected("approve", inviter)),
    }
}

/// Looks at the screen until the join has come this far.
pub fn wait_for(world: &mut World, joiner: HostId, want: JoinStage) -> Result<JoinView, Failure> {
    for _ in 0..PATIENCE_MS / LOOK_MS {
        let view = join_state(world, joiner)?;
        if view.stage == want {
            return Ok(view);
        }
        if view.stage == JoinStage::Failed {
            let code = view.error.map(|error| error.code).unwrap_or_default();
            return Err(Failure::Liveness(format!("the join failed: {code}")));
        }
        world.run_ms(LOOK_MS)?;
    }
    Err(Failure::Liveness(format!(
        "the join never came to {want:?}"
    )))
}
