//! Opening the door: a code that is good for one machine, and a ticket for a machine elsewhere.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::hive::Hive;
use crate::hive::commands::done;
use crate::hive::invite::InviteCode;
use crate::hive::pairing::Invite;
use crate::hive::ticket::{Invitation, Ticket};
use crate::hive::writer::Readiness;
use crate::limits;
use crate::reply::{CommandError, DoneView, ErrorKind, InviteView};
use crate::time::{Now, Span};

impl Hive {
    /// Opens the door for one machine.
    pub fn invite(&mut self, now: Now, wish: &Invitation) -> Result<InviteView, CommandError> {
        // A member that is no admin can let back in whoever belongs already, and nobody else.
        if !self.roster.has(self.me) || self.is_out() {
            self.check_admin()?;
        }
        // The first word may still wait: that is over before a person has typed the code.
        if !matches!(self.writer.readiness(now.boot), Readiness::Silent(_)) {
            self.check_writer(now)?;
        }
        let lifetime = lifetime(wish.seconds)?;
        self.door.invites.retain(|it| it.until > now.boot);
        self.check_room(now)?;
        let code = InviteCode::new(self.chance.bytes());
        let mut view = InviteView {
            code: code.to_string(),
            seconds: lifetime.as_ms() / 1_000,
            port: 0,
            only_back: self.check_admin().is_err(),
            ticket: None,
            places: Vec::new(),
        };
        if wish.ticket {
            let hive = self.genesis.hive();
            let ticket = Ticket::new(code.clone(), self.me, hive, &wish.places);
            if ticket.places().is_empty() {
                return Err(nowhere());
            }
            view.ticket = Some(ticket.to_string());
            view.places = ticket.places().to_vec();
        }
        self.door.invites.push(Invite {
            code,
            until: now.boot.after(lifetime),
            spent: false,
        });
        self.watch_door(now);
        Ok(view)
    }

    /// Ends every code that nobody has used yet. Who proved one waits for a person all the same.
    pub fn close_invites(&mut self, now: Now) -> DoneView {
        let is_open = |it: &Invite| !it.spent && it.until > now.boot;
        let closed = self.door.invites.iter().filter(|it| is_open(it)).count();
        self.door.invites.retain(|it| it.spent);
        self.watch_door(now);
        done(match closed {
            0 => "no code was open".into(),
            1 => "1 code is no longer good".into(),
            _ => alloc::format!("{closed} codes are no longer good"),
        })
    }

    fn check_room(&self, now: Now) -> Result<(), CommandError> {
        let open = self.door.invites.iter().filter(|it| !it.spent);
        if open.clone().count() < limits::INVITES_MAX {
            return Ok(());
        }
        let first = open.map(|it| it.until).min().unwrap_or(now.boot);
        let minutes = first.since(now.boot).as_ms().div_ceil(60_000);
        Err(CommandError {
            code: "invite.too_many".into(),
            kind: ErrorKind::Limit,
            what: alloc::format!("{} codes are open already", limits::INVITES_MAX),
            known: alloc::format!("the first of them to end is good for {minutes} min more"),
            try_next: "use one of them; or end them all: hive invite --close".into(),
        })
    }
}

fn lifetime(seconds: Option<u64>) -> Result<Span, CommandError> {
    let longest = limits::INVITE_LIFETIME_MAX.as_ms() / 1_000;
    match seconds {
        None => Ok(limits::INVITE_LIFETIME),
        Some(seconds) if (1..=longest).contains(&seconds) => Ok(Span::from_secs(seconds)),
        Some(_) => Err(CommandError {
            code: "invite.too_long".into(),
            kind: ErrorKind::Usage,
            what: "an invite stays good for one day at most".into(),
            known: "whoever finds a ticket can ask to be let in for as long".into(),
            try_next: "hive invite --for 24h".into(),
        }),
    }
}

/// A ticket that names no place is no more than the code.
fn nowhere() -> CommandError {
    CommandError {
        code: "invite.no_address".into(),
        kind: ErrorKind::Conflict,
        what: "this machine has no address that a ticket could name".into(),
        known: "it names those of the network cards, and those of [network] addresses".into(),
        try_next:
            "set [network] addresses = [\"IP:PORT\"] in config.toml, then: hive down, hive up"
                .into(),
    }
}
