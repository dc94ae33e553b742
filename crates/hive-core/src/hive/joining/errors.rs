//! Why a join did not succeed, in words.

use alloc::string::String;
use core::net::SocketAddr;

use crate::hive::invite::ParseError;
use crate::reply::{CommandError, ErrorKind};
use crate::wire::Refusal;

pub(super) fn bad_code(error: &ParseError) -> CommandError {
    CommandError {
        code: "join.code".into(),
        kind: ErrorKind::Usage,
        what: alloc::format!("{error}"),
        known: "no attempt was spent".into(),
        try_next: "compare it with the other screen: HIVE-XXXXX-XXXXX-XXXXX-XXXXX".into(),
    }
}

pub(super) fn not_found(at: Option<SocketAddr>) -> CommandError {
    let (what, known, try_next): (&str, String, &str) = match at {
        Some(address) => (
            "nobody answered there within 15 s",
            alloc::format!("tried {address}"),
            "check the address, and that a firewall lets UDP through to it",
        ),
        None => (
            "no machine on this network has that invite open",
            "asked the network for 15 s; a code is good for 10 minutes".into(),
            "on the other machine: hive invite, then join with --at ADDRESS:PORT if the networks differ",
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
        Refusal::Full => refused("join.full", "the inviting machine takes nobody more"),
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
