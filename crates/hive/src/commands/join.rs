//! `hive join CODE`: starts the daemon if needed, settles consent, knocks, shows the words, waits.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::time::Duration;

use hive_mind::InviteCode;
use hive_mind::reply::{JoinStage, JoinView};

use crate::args::{JoinArgs, Place};
use crate::commands::{show, up};
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::text::count;

/// How often is looked how far it has come. A guess: below what a person notices.
const LOOK: Duration = Duration::from_millis(100);

/// Enters the hive that the code belongs to.
pub(super) fn run(place: &Place, args: &JoinArgs) -> Result<Exit, Problem> {
    let (code, at) = read_code(&args.code)?;
    let link = up::ensure(place)?;
    if args.format.json {
        up::settle(place, &link, args.consent, false)?;
    } else {
        up::introduce(place, &link, args.consent)?;
    }
    link.ask(link.client().join(&code, args.at.or(at)))?;
    let view = follow(&link, !args.format.json)?;
    if view.stage == JoinStage::Failed {
        return Err(failed(view));
    }
    let members = link.members_above(1)?;
    show(args.format, "hive.join/1", &view, |_| {
        // Its inviter may be gone for a moment, and with it what it would tell.
        let how_many = if members > 1 {
            format!("{}.", count(members, "machine", "machines"))
        } else {
            "The others are not reached yet.".to_owned()
        };
        format!("  You are a member.  {how_many}\n")
    })?;
    Ok(Exit::Ok)
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
    let wrong = |why: String| {
        Problem::new(Exit::Usage, "join.code", "this is no invite code")
            .known(why)
            .try_next("on the other machine: hive invite")
    };
    let (code, at) = match word.split_once('@') {
        Some((code, at)) => (
            code,
            Some(
                at.parse()
                    .map_err(|_| wrong(format!("`{at}` is no address")))?,
            ),
        ),
        None => (word, None),
    };
    match code.parse::<InviteCode>() {
        Ok(_) => Ok((code.to_owned(), at)),
        Err(why) => Err(wrong(why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
