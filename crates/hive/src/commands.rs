//! One verb, one function: asks the daemon, prints what it says, and names the exit code.

mod bare;
mod daemon;
mod doctor;
mod down;
mod hive;
mod invite;
mod join;
mod leave;
mod rotate;
mod standing;
mod tuning;
mod up;

use serde::Serialize;

use crate::args::{Cli, Format, Verb};
use crate::problem::{Exit, Problem};
use crate::{demo, guard, render, stage};

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Result<Exit, Problem> {
    let place = &cli.place;
    match cli.verb {
        Verb::Up(args) => up::up(place, args),
        Verb::Down(rehearsal) => down::down(place, rehearsal),
        Verb::Daemon(args) => daemon::run(place, &args),
        Verb::Invite(args) => invite::run(place, &args),
        Verb::Join(args) => join::run(place, &args),
        Verb::Pending(format) => hive::pending(place, format),
        Verb::Approve(args) => hive::approve(place, &args),
        Verb::Deny(args) => hive::deny(place, &args),
        Verb::Members(format) => hive::members(place, format),
        Verb::Remove(args) => hive::remove(place, &args),
        Verb::Role(args) => standing::role(place, &args),
        Verb::Forgive(args) => standing::forgive(place, &args),
        Verb::RecoveryKey(args) => standing::recovery_key(place, args),
        Verb::Recover(args) => standing::recover(place, &args),
        Verb::Rotate(args) => rotate::run(place, args),
        Verb::Leave(args) => leave::run(place, args),
        Verb::Label(args) => hive::label(place, &args),
        Verb::Nearby(format) => hive::nearby(place, format),
        Verb::Status(args) => tuning::status(place, args),
        Verb::Patterns(format) => tuning::patterns(place, format),
        Verb::Why(args) => tuning::why(place, &args),
        Verb::Undo(args) => tuning::undo(place, &args),
        Verb::Tune(args) => tuning::tune(place, args),
        Verb::Pause(args) => tuning::pause(place, args),
        Verb::Resume(rehearsal) => tuning::resume(place, rehearsal),
        Verb::Doctor(format) => doctor::run(place, format),
        Verb::Demo(format) => demo::run(place, format),
        Verb::Guard { tree } => guard::watch(place, tree),
        Verb::Stage(verb) => stage::run(verb),
    }
}

/// Prints a view in the format that was asked for.
fn show<T: Serialize>(
    format: Format,
    schema: &str,
    view: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Problem> {
    if format.json {
        let json = render::json(schema, view).map_err(|why| {
            Problem::new(Exit::Failed, "json", "the answer could not be printed")
                .known(why.to_string())
        })?;
        print!("{json}");
    } else {
        print!("{}", text(view));
    }
    Ok(())
}
