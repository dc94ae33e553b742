//! `hive invite`: prints a code; on a terminal it stays and asks whether the machine that comes may in.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use hive_mind::Role;
use hive_mind::reply::{InviteView, PendingMachine};

use crate::args::{InviteArgs, Place};
use crate::commands::hive::find_member;
use crate::commands::show;
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::members::{knock, quoted};
use crate::render::qr;
use crate::render::text::{count, span, wrap};

/// How often is looked whether somebody knocks. A guess: below what a person notices.
const LOOK: Duration = Duration::from_millis(200);

/// Opens the door for one machine.
pub(super) fn run(place: &Place, args: &InviteArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    if args.close {
        let done = link.ask(link.client().close_invites())?;
        show(args.format, "hive.done/1", &done, |done| {
            format!("{}\n", done.words)
        })?;
        return Ok(Exit::Ok);
    }
    if let Some(name) = args.owner.as_deref().filter(|name| *name != "new") {
        // Before anybody is asked to type a code.
        find_member(&link.ask(link.client().members())?, name)?;
    }
    let before = waiting(&link)?;
    let before: BTreeSet<String> = before.into_iter().map(|machine| machine.node).collect();
    let invite = link.ask(link.client().invite_with(args.ticket, args.span))?;
    show(args.format, "hive.invite/1", &invite, text)?;
    if let Some(ticket) = &invite.ticket
        && !args.format.json
        && std::io::stdout().is_terminal()
    {
        print!("{}", drawn(ticket)?);
    }
    let stay = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if args.format.json || args.no_wait || !stay {
        return Ok(Exit::Ok);
    }
    println!("  Waiting for it (Ctrl-C is safe, the code stays good) ...");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(invite.seconds) {
        std::thread::sleep(LOOK);
        let new = waiting(&link)?
            .into_iter()
            .find(|machine| !before.contains(&machine.node));
        if let Some(machine) = new {
            return decide(&link, &machine, args.owner.as_deref());
        }
    }
    println!("  Nobody came; the code is no longer good.  A new one:  hive invite");
    Ok(Exit::Silent)
}

fn decide(link: &Link, machine: &PendingMachine, owner: Option<&str>) -> Result<Exit, Problem> {
    print!("{}", knock(machine));
    let read = |why| Problem::system("the answer could not be read", &why);
    std::io::stdout().flush().map_err(read)?;
    let mut typed = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut typed)
        .map_err(read)?;
    if !matches!(typed.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        let name = quoted(&machine.label);
        println!("  Not now.  It waits for a day:  hive approve {name}   or   hive deny {name}");
        return Ok(Exit::Ok);
    }
    let before = link.ask(link.client().status())?.members;
    let client = link.client();
    link.ask(client.approve_for(&machine.node, Role::Member, owner))?;
    let members = link.members_above(before)?;
    println!(
        "  \"{}\" is in.  {}.",
        machine.label,
        count(members, "machine", "machines")
    );
    Ok(Exit::Ok)
}

fn waiting(link: &Link) -> Result<Vec<PendingMachine>, Problem> {
    Ok(link.ask(link.client().pending())?.pending)
}

/// What an invite of a plain member is good for.
const ONLY_BACK: &str = "  This machine lets nobody new in: the code is for a member that lost its disk and kept its key.\n";

fn text(invite: &InviteView) -> String {
    let mut out = format!(
        "  On the other machine:  hive join {}\n  Good for one machine, for {}.  No multicast there?  \
         Add  --at ADDRESS:{}\n",
        invite.code,
        span(invite.seconds),
        invite.port
    );
    if invite.only_back {
        out.push_str(ONLY_BACK);
    }
    if let Some(ticket) = &invite.ticket {
        let places: Vec<String> = invite.places.iter().map(ToString::to_string).collect();
        // The ticket stands on a line of its own, unbroken, so that it can be copied.
        out.extend([
            "\n  On a machine elsewhere:\n\n".to_owned(),
            format!("hive join {ticket}\n\n"),
            wrap(
                &format!("It looks for this machine at {}.", places.join(", ")),
                2,
                2,
            ),
            "  Nobody there can reach it?  hive doctor\n".to_owned(),
        ]);
    }
    out
}

/// The ticket as a picture, for a camera.
fn drawn(ticket: &str) -> Result<String, Problem> {
    qr::draw(ticket).map_err(|why| {
        Problem::new(Exit::Failed, "qr", "the QR code could not be drawn").known(why.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_printed_unbroken_with_its_places() {
        let ticket = format!("hive1{}", "q".repeat(190));
        let view = InviteView {
            code: "HIVE-AAAAA-AAAAA-AAAAA-AAAAA".to_owned(),
            seconds: 7_200,
            port: 4483,
            only_back: false,
            ticket: Some(ticket.clone()),
            places: vec!["192.0.2.7:4483".parse().expect("an address")],
        };
        let out = text(&view);
        assert!(out.contains("for 2 h"), "{out}");
        assert!(out.contains(&format!("\nhive join {ticket}\n")), "{out}");
        assert!(out.contains("at 192.0.2.7:4483."), "{out}");
        let plain = text(&InviteView {
            ticket: None,
            places: Vec::new(),
            ..view
        });
        assert_eq!(plain.lines().count(), 2);
    }
}
