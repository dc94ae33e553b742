//! `hive join CODE`: starts the daemon if needed, settles consent, knocks, shows the words, waits.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::time::Duration;

use hive_mind::reply::{JoinStage, JoinView};
use hive_mind::{Pass, PassError, TicketError};

use crate::args::{JoinArgs, Place};
use crate::commands::bare;
use crate::commands::up::{Begun, Store};
use crate::commands::{show, up};
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::text::count;

/// How often is looked how far it has come. A guess: below what a person notices.
const LOOK: Duration = Duration::from_millis(100);

/// Enters the hive that the code belongs to.
pub(super) fn run(place: &Place, args: &JoinArgs) -> Result<Exit, Problem> {
    let (code, at) = read_code(&args.code)?;
    // Where only the key was left of an older store, a code is the way back.
    let (link, begun) = up::begun(place, Store::MayBeGone)?;
    let entered = enter(place, &link, args, &code, args.at.or(at));
    let mut view = entered.map_err(|failed| match &begun {
        Begun::Found => failed,
        Begun::Started => bare::end_again(place, &link, failed),
        Begun::Bare(bare) => bare.take_back(place, &link, failed),
    })?;
    let (members, whole) = link.members_when_whole()?;
    view.whole = whole;
    show(args.format, "hive.join/1", &view, |_| {
        format!("  You are a member.  {}\n", how_many(members, whole))
    })?;
    Ok(Exit::Ok)
}

/// Settles consent, asks to be let in and waits for the answer.
fn enter(
    place: &Place,
    link: &Link,
    args: &JoinArgs,
    code: &str,
    at: Option<SocketAddr>,
) -> Result<JoinView, Problem> {
    if args.format.json {
        up::settle(place, link, args.consent, false)?;
    } else {
        up::introduce(place, link, args.consent)?;
    }
    link.ask(link.client().join(code, at))?;
    let view = follow(link, !args.format.json)?;
    if view.stage == JoinStage::Failed {
        return Err(failed(view));
    }
    Ok(view)
}

/// Its inviter may be gone for a moment, and with it what it would tell.
fn how_many(members: usize, whole: bool) -> String {
    match (members, whole) {
        (0 | 1, _) => "The others are not reached yet.".to_owned(),
        (_, true) => format!("{}.", count(members, "machine", "machines")),
        (_, false) => "What the others know is still on its way:  hive members".to_owned(),
    }
}

/// Waits until it is decided, telling each stage once. The words are told even when the other side was
/// faster than this one looked.
fn follow(link: &Link, tell: bool) -> Result<JoinView, Problem> {
    let mut told = JoinStage::None;
    let mut told_words = !tell;
    loop {
        let view = link.ask(link.client().join_state())?;
        if tell && view.stage != told && view.stage == JoinStage::Seeking {
            println!("  Looking for the other machine ...");
        }
        if let Some(words) = view.words.as_ref().filter(|_| !told_words) {
            println!("  Both screens must show:  {words}");
            told_words = true;
        }
        if matches!(view.stage, JoinStage::Member | JoinStage::Failed) {
            return Ok(view);
        }
        if tell && view.stage != told && view.stage == JoinStage::Waiting {
            println!("  Waiting for the other machine to let you in ...");
        }
        told = view.stage;
        std::thread::sleep(LOOK);
    }
}

fn failed(view: JoinView) -> Problem {
    view.error.map_or_else(
        || {
            Problem::new(
                Exit::Failed,
                "join.failed",
                "the other machine did not let this one in",
            )
        },
        Problem::from,
    )
}

/// A code from the command line, or from standard input for `-`.
fn read_code(word: &str) -> Result<(String, Option<SocketAddr>), Problem> {
    let code = if word == "-" {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|why| Problem::system("the code could not be read", &why))?;
        line
    } else {
        word.to_owned()
    };
    check(code.trim())
}

/// Checked before anything is started: a typing mistake shall not found a hive. `CODE@ADDRESS` is taken too.
fn check(word: &str) -> Result<(String, Option<SocketAddr>), Problem> {
    let (pass, at) = match word.split_once('@') {
        Some((pass, at)) => {
            let address = hive_mind::address::dialled(at).map_err(|why| {
                Problem::new(Exit::Usage, "join.code", "this is no invite code")
                    .known(why)
                    .try_next("hive join CODE@IP:PORT")
            })?;
            (pass, Some(address))
        }
        None => (word, None),
    };
    match pass.parse::<Pass>() {
        Ok(_) => Ok((pass.to_owned(), at)),
        Err(why) => Err(no_pass(&why)),
    }
}

fn no_pass(why: &PassError) -> Problem {
    let (code, what, fix) = match why {
        PassError::Code(_) => (
            "join.code",
            "this is no invite code",
            "on the other machine: hive invite",
        ),
        PassError::Ticket(TicketError::Version(_)) => (
            "join.ticket_version",
            "this ticket is of another version of hive",
            "install the same version on both machines, then there: hive invite --ticket",
        ),
        PassError::Ticket(TicketError::Cut(_)) => (
            "join.ticket_cut",
            "this ticket has lost its end",
            "copy all of it, from hive1 to its end, in quotes if it has spaces",
        ),
        PassError::Ticket(_) => (
            "join.ticket",
            "this is no ticket",
            "copy it again, or on the other machine: hive invite --ticket",
        ),
    };
    Problem::new(Exit::Usage, code, what)
        .known(why.to_string())
        .try_next(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_that_lost_its_end_is_told_apart_from_a_mistyped_one() {
        let code = |word: &str| check(word).expect_err("no ticket").code;
        assert_eq!(code(&format!("hive1{}", "q".repeat(60))), "join.ticket_cut");
        assert_eq!(code(&format!("hive1{}", "q".repeat(150))), "join.ticket");
        assert_eq!(code(&format!("hive1b{}", "q".repeat(90))), "join.ticket");
    }

    #[test]
    fn a_mistyped_code_is_a_usage_error_before_anything_starts() {
        for wrong in [
            "",
            "HIVE",
            "hello",
            "HIVE-AAAAA-AAAAA-AAAAA-AAAAA",
            "HIVE@nowhere",
        ] {
            let problem = check(wrong).expect_err("no code");
            assert_eq!(
                (problem.exit, problem.code.as_str()),
                (Exit::Usage, "join.code")
            );
        }
    }
}
