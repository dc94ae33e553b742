//! Why a join did not succeed, in words.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::hive::joining::Aim;
use crate::hive::ticket::{PassError, TicketError};
use crate::reply::{CommandError, ErrorKind};
use crate::wire::Refusal;

pub(super) fn bad_pass(error: &PassError) -> CommandError {
    let (code, try_next): (&str, &str) = match error {
        PassError::Code(_) => (
            "join.code",
            "compare it with the other screen: HIVE-XXXXX-XXXXX-XXXXX-XXXXX",
        ),
        PassError::Ticket(TicketError::Version(_)) => (
            "join.ticket_version",
            "install the same version of hive on both machines, then there: hive invite --ticket",
        ),
        PassError::Ticket(TicketError::Cut(_)) => {
            ("join.ticket_cut", "copy all of it, from hive1 to its end")
        }
        PassError::Ticket(_) => (
            "join.ticket",
            "copy it again, or scan its QR code; a new one: hive invite --ticket",
        ),
    };
    CommandError {
        code: code.into(),
        kind: ErrorKind::Usage,
        what: alloc::format!("{error}"),
        known: "no attempt was spent".into(),
        try_next: try_next.into(),
    }
}

pub(super) fn not_alone(members: usize, ticket: bool) -> CommandError {
    CommandError {
        code: "join.not_alone".into(),
        kind: ErrorKind::Conflict,
        what: if ticket {
            "the ticket is for another hive than the one this machine belongs to".into()
        } else {
            "this machine already belongs to a hive with others".into()
        },
        known: alloc::format!("its hive has {members} members"),
        try_next: "hive leave".into(),
    }
}

pub(super) fn already_in() -> CommandError {
    CommandError {
        code: "join.already".into(),
        kind: ErrorKind::Conflict,
        what: "this machine already belongs to the hive of that ticket".into(),
        known: String::new(),
        try_next: "hive members".into(),
    }
}

pub(super) fn made_here() -> CommandError {
    CommandError {
        code: "join.self".into(),
        kind: ErrorKind::Usage,
        what: "that code was made on this machine".into(),
        known: String::new(),
        try_next: "type it on the machine that is to be let in".into(),
    }
}

/// This machine belongs to a hive no more, and its key opens no other.
pub(super) fn gone(what: &str) -> CommandError {
    CommandError {
        code: "join.gone".into(),
        kind: ErrorKind::Conflict,
        what: what.into(),
        known: "to belong to a hive again it needs a new key".into(),
        try_next: "hive leave, then hive join again".into(),
    }
}

/// The machine that made the ticket proved itself, and is not where the ticket says.
pub(super) fn other_hive() -> CommandError {
    refused(
        "join.other_hive",
        "the machine that made the ticket is in another hive now",
    )
}

pub(super) fn not_found(aim: &Aim) -> CommandError {
    let tried: Vec<String> = aim.places.iter().map(ToString::to_string).collect();
    let tried = alloc::format!("tried {}", tried.join(", "));
    let (what, known, try_next): (&str, String, &str) = match (aim.key, aim.places.as_slice()) {
        (_, []) => (
            "no machine on this network has that invite open",
            "asked the network for 15 s; a code is good for 10 minutes".into(),
            "on the other machine: hive invite, then join with --at ADDRESS:PORT if the networks differ",
        ),
        (None, _) => (
            "nobody answered there within 15 s",
            tried,
            "check the address, and that a firewall lets UDP through to it",
        ),
        (Some(_), _) => (
            "at no address of the ticket did the machine answer that made it",
            tried,
            "on that machine: hive doctor (it says how to open its UDP port), then a new one: hive invite --ticket",
        ),
    };
    CommandError {
        code: "join.not_found".into(),
        kind: ErrorKind::NotFound,
        what: what.into(),
        known,
        try_next: try_next.into(),
    }
}

pub(super) fn silent() -> CommandError {
    CommandError {
        code: "join.silent".into(),
        kind: ErrorKind::Silent,
        what: "the inviting machine was found but did not finish".into(),
        known: "it may be pausing after wrong codes".into(),
        try_next: "wait ten minutes, or ask for a new code: hive invite".into(),
    }
}

pub(super) fn refusal(why: Refusal) -> CommandError {
    match why {
        Refusal::WrongCode | Refusal::Wait => refused(
            "join.wrong_code",
            "the inviting machine does not know that code",
        ),
        Refusal::Spent => refused("join.expired", "that code was already used"),
        Refusal::Full => CommandError {
            try_next: "there: hive pending (answer those who wait), then here: hive join again".into(),
            ..refused(
                "join.full",
                "too many machines wait for an answer of the inviting one",
            )
        },
        Refusal::HandedOver => CommandError {
            known: "it was given up by hive rotate, here or by a thief; nobody talks with it any more".into(),
            try_next: "put key and store from after hive rotate back, or begin anew under a new key: hive leave, then \
                       hive join"
                .into(),
            ..refused(
                "join.moved",
                "the place that this machine's key had in that hive went to another key",
            )
        },
        Refusal::Gone => CommandError {
            known: "a key that left or was removed is not let in again".into(),
            try_next: "hive leave (forgets the key), then hive join with a code that is still good".into(),
            ..refused(
                "join.was_out",
                "this machine left that hive before, or was removed from it",
            )
        },
        Refusal::OnlyBack => CommandError {
            try_next: "on a machine that may let machines in (see there: hive members): hive invite".into(),
            ..refused(
                "join.only_back",
                "the inviting machine lets nobody new in, only back in who belongs",
            )
        },
        Refusal::Denied => refused(
            "join.denied",
            "the other side said no, or keeps the request no longer",
        ),
    }
}

pub(super) fn refused(code: &str, what: &str) -> CommandError {
    CommandError {
        code: code.into(),
        kind: ErrorKind::NotAllowed,
        what: what.into(),
        known: "this machine is still on its own; nothing was changed".into(),
        try_next: "on the other machine: hive invite".into(),
    }
}
