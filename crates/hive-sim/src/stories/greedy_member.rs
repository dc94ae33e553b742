//! A member signs a map larger than a map may be: nobody stores it, and nobody else is worse off.

use hive_core::event_log::{Happening, Misdeed};

use super::{Failure, Told};
use crate::check::converged;
use crate::check::nothing_lost::{self, Acknowledged};
use crate::dice::Dice;
use crate::liar::{Forger, Liar, Lie};
use crate::machine::Truth;
use crate::person;
use crate::world::World;

/// How long the greedy one goes on: it is not spoken with for ten minutes at a time.
const ROUNDS: u64 = 12;

/// A round: a little more than a fifth of that.
const ROUND_MS: u64 = 150_000;

/// Tells it. That no disk holds too much is watched at every write.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let desk = world.add("desk", Truth::BLIND);
    let laptop = world.add("laptop", Truth::BLIND);
    let greedy = world.add("greedy", Truth::BLIND);
    world.run_ms(2_000)?;
    person::let_in(world, desk, laptop)?;
    person::let_in(world, desk, greedy)?;
    let honest = [desk, laptop];
    converged::within(world, &[desk, laptop, greedy], 30)?;

    let host = world.host(greedy);
    let Some(genesis) = host.genesis() else {
        return Err(Failure::Liveness("a member without a hive".into()));
    };
    let short = host.key.short();
    let forger = Forger::new(host.stolen_key(), genesis.hive(), genesis.founder);
    let lies = vec![Lie::TooManyEntries, Lie::TooManyBytes];
    let liar = Liar::new(lies, 300, Dice::new(world.seed(), "greedy")).with_key(forger);
    world.witness.liars.insert(short);
    world.host_mut(greedy).liar = Some(liar);

    let mut acknowledged = Acknowledged::default();
    for nth in 0..ROUNDS {
        for host in honest {
            acknowledged.share(world, host, nth)?;
        }
        nothing_lost::say(world, greedy, nth);
        world.run_ms(ROUND_MS)?;
    }
    let shown = converged::within(world, &honest, 60)?;
    acknowledged.all_shown(&shown)?;
    let refused = |happening: &Happening| {
        matches!(
            happening,
            Happening::PeerMisbehaved {
                misdeed: Misdeed::MapTooLarge,
                ..
            }
        )
    };
    if honest
        .iter()
        .any(|host| world.host(*host).was_told(refused))
    {
        return Ok(Told::default());
    }
    Err(Failure::Correctness(
        "a map that is too large was taken".into(),
    ))
}
