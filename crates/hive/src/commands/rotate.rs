//! `hive rotate`: a new key in the old one's place; the daemon is started anew with it.

use std::time::{Duration, Instant};

use crate::args::{Place, RotateArgs};
use crate::commands::up::Store;
use crate::commands::{down, show, up};
use crate::consent;
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::text::wrap;

/// How long the others may take to hear of the new key. A guess: on one network it takes milliseconds.
const HEARD: Duration = Duration::from_secs(3);

/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// Asks once, tells the others, starts anew.
pub(super) fn run(at: &Place, args: RotateArgs) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let status = link.ask(link.client().status())?;
    if args.rehearsal.dry_run {
        println!(
            "would give \"{}\" a new key with the same rank, role and name, and start the daemon anew",
            status.label
        );
        return Ok(Exit::Ok);
    }
    if !args.yes && !confirmed()? {
        println!("nothing was done");
        return Ok(Exit::Ok);
    }
    let view = link.ask(link.client().rotate())?;
    wait_until_heard(&link);
    let (exit, words) = down::stop(at)?;
    if exit != Exit::Ok {
        eprint!("{words}");
    }
    if !args.no_start {
        up::ensure(at, Store::Needed)?;
    }
    show(args.format, "hive.rotate/1", &view, |view| {
        let started = if args.no_start {
            "the daemon is stopped; started again, it uses the new key"
        } else {
            "the daemon runs with the new key"
        };
        let told = match view.told {
            0 => format!("No other machine has heard of it yet; {started}."),
            told => format!("{told} of the others heard of it; {started}."),
        };
        format!(
            "  This machine was {}, and is {} now.\n",
            view.old, view.new
        ) + &wrap(&format!("{}.", view.words), 2, 2)
            + &wrap(&told, 2, 2)
    })?;
    Ok(exit)
}

/// Whoever heard of the new key closes the connection to the old one.
fn wait_until_heard(link: &Link) {
    let start = Instant::now();
    while start.elapsed() < HEARD {
        match link.ask(link.client().status()) {
            Ok(status) if status.peers_online > 0 => std::thread::sleep(LOOK),
            _ => return,
        }
    }
}

/// The old key is of no use afterwards, so it is asked; a script says `--yes`.
fn confirmed() -> Result<bool, Problem> {
    consent::confirmed(
        "The old key is refused everywhere afterwards; backups of it are of no use any more.\n\
         Give this machine a new key?",
        Problem::new(Exit::Usage, "rotate.confirm", "a new key must be confirmed")
            .known("the old key is refused everywhere afterwards, and backups of it are of no use")
            .try_next("hive rotate --yes"),
    )
}
