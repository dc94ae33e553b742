//! Machines on which nothing helps, and machines that only seem to be helped: nobody claims that something helps more
//! often than the trial's error rate allows.

use super::{Failure, Told, two_machines};
use crate::check::truthful;
use crate::machine::Truth;
use crate::world::World;

/// Contention until every action has had its trial: four trials of up to 40 pairs and their placebos.
const LONG_MS: u64 = 500_000;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let quiet = world.add("quiet", Truth::NOTHING_HELPS);
    let noisy = world.add(
        "noisy",
        Truth {
            noise: 0.6,
            drift: 0.08,
            ..Truth::NOTHING_HELPS
        },
    );
    // Measuring itself makes the figure fall by a quarter, whatever is done: the placebo must give it away.
    let flattered = world.add(
        "flattered",
        Truth {
            measuring_bias: -0.3,
            ..Truth::NOTHING_HELPS
        },
    );
    // Nice does help the person there, and starves the build: that is no help either.
    let starving = world.add(
        "starving",
        Truth {
            background_keeps: 0.2,
            ..Truth::NICE_HELPS
        },
    );
    let hosts = [quiet, noisy, flattered, starving];
    world.run_ms(2_000)?;
    for host in hosts {
        world.host_mut(host).machine.building = true;
    }
    world.run_ms(LONG_MS)?;

    let mut told = Told::default();
    for host in hosts {
        told.judged.plus(truthful::judge(world, host)?);
    }
    if told.judged.claims_too_much() {
        let judged = told.judged;
        let what = format!(
            "{} of {} trials of what helps nobody ended with \"helps\"",
            judged.false_helps, judged.nulls
        );
        return Err(Failure::Correctness(what));
    }
    if told.judged.nulls == 0 {
        return Err(Failure::Liveness("nothing was tried at all".into()));
    }
    two_machines::pause_restores(world, &hosts)?;
    Ok(told)
}
