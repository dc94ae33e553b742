//! A machine that differs joins: what was proven elsewhere under another mechanism is never turned on there unproven.

use hive_core::event_log::Happening;
use hive_core::pattern::{Action, Binding, Verdict};
use hive_core::reply::PatternState;

use super::{Failure, Told, two_machines};
use crate::check::{converged, truthful};
use crate::machine::Truth;
use crate::person;
use crate::world::World;

/// Contention on the odd machine: long enough for every action's trial.
const LONG_MS: u64 = 300_000;

/// Tells it.
pub fn tell(world: &mut World) -> Result<Told, Failure> {
    let desk = world.add("desk", Truth::NICE_HELPS);
    // Sessions decide there: nice does nothing, and the desk's pattern is about another mechanism.
    let odd = world.add(
        "odd",
        Truth {
            binding: Binding::Autogroup,
            ..Truth::NOTHING_HELPS
        },
    );
    world.run_ms(2_000)?;
    world.host_mut(desk).machine.building = true;
    let proved = world.run_until(two_machines::PROOF_MS, |world| {
        world.host(desk).was_told(two_machines::nice_helps)
    })?;
    if !proved {
        return Err(Failure::Liveness("the desk proved nothing".into()));
    }
    person::let_in(world, desk, odd)?;
    converged::within(world, &[desk, odd], 30)?;

    world.host_mut(odd).machine.building = true;
    let end = world.now().after(LONG_MS * 1_000);
    while world.now() < end {
        for pattern in converged::patterns(world, odd)?.patterns {
            let unproven = matches!(
                pattern.state,
                PatternState::Probation | PatternState::Proven
            );
            if unproven && pattern.context.binding != Binding::Autogroup {
                let what = format!(
                    "{} is used under a foreign mechanism",
                    pattern.action.name()
                );
                return Err(Failure::Correctness(what));
            }
        }
        world.run_ms(1_000)?;
    }
    let harmed = |happening: &Happening| matches!(happening, Happening::TurnedOn { action } if *action == Action::BackgroundNice);
    if world.host(odd).was_told(harmed) {
        return Err(Failure::Correctness(
            "nice was kept on where it does nothing".into(),
        ));
    }
    let mut told = Told::default();
    told.judged.plus(truthful::hold_to_the_truth(world, desk)?);
    told.judged.plus(truthful::hold_to_the_truth(world, odd)?);
    let claims = converged::patterns(world, odd)?.patterns;
    if claims
        .iter()
        .any(|pattern| pattern.verdict == Verdict::Helps)
    {
        return Err(Failure::Correctness("the odd machine claims a gain".into()));
    }
    two_machines::pause_restores(world, &[desk, odd])?;
    Ok(told)
}
