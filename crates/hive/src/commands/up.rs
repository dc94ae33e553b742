//! `hive up`: starts the daemon in a session of its own, and settles consent once.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hive_mind::reply::{Mode, NeedView, StatusView};
use hive_mind::{ClientError, Paths, Running};

use crate::args::{ConsentFlags, Place, UpArgs};
use crate::commands::bare::{self, Bare};
use crate::commands::down;
use crate::consent::{self, Consent};
use crate::link::{Link, silent, unreachable};
use crate::log;
use crate::place::{self, OTHER_FOLDER};
use crate::problem::{Exit, Problem};
use crate::render::text::{count, wrap};

/// How long a start may take. A guess: a slow disk needs seconds for the first key and store.
const START: Duration = Duration::from_secs(20);

/// How long is looked for another daemon after the own one ended for a reason of its own. A guess: two that
/// start at once are milliseconds apart.
const GRACE: Duration = Duration::from_millis(300);

/// How long is waited for the daemon before which a new one gave way, until a new one is tried again: it may start, or
/// be about to end. A guess: both take less, where little is to be put back.
const GAVE_WAY: Duration = Duration::from_secs(1);

/// Whether a daemon is started where only the key was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// Then it is refused.
    Needed,
    /// The person knows, or is just about to be let back in.
    MayBeGone,
}

/// How the daemon came to run that a link leads to.
pub(super) enum Begun {
    /// It was there, or another start was faster.
    Found,
    /// It was started with what it needs, or for the first time.
    Started,
    /// It was started with nothing but the key.
    Bare(Bare),
}

/// Starts watching.
pub(super) fn up(at: &Place, args: UpArgs) -> Result<Exit, Problem> {
    let store = if args.without_store {
        Store::MayBeGone
    } else {
        Store::Needed
    };
    let link = ensure(at, store)?;
    introduce(at, &link, args.consent)?;
    let status = lasting(at, store, &link)?;
    println!("  {}", closing(&status));
    if let Some(way) = bare::way_of_the_moved(&status, &place::paths(at)?) {
        println!("  {way}");
    }
    Ok(Exit::Ok)
}

/// How the daemon is that stays: where the one that was found is just being ended, another one takes its place.
fn lasting(at: &Place, store: Store, link: &Link) -> Result<StatusView, Problem> {
    let asked = link.ask(link.client().status());
    let is_paused_to_end = asked.as_ref().is_ok_and(down::is_ending);
    let is_gone = asked.as_ref().is_err_and(|it| it.exit == Exit::DaemonDown);
    if is_gone || (is_paused_to_end && down::ends(link)) {
        let next = ensure(at, store)?;
        return next.ask(next.client().status());
    }
    if is_paused_to_end {
        // That pause is over.
        return link.ask(link.client().status());
    }
    asked
}

/// Says who this machine is, and settles what may be done on it.
pub(super) fn introduce(at: &Place, link: &Link, flags: ConsentFlags) -> Result<(), Problem> {
    let status = link.ask(link.client().status())?;
    println!(
        "  This machine is \"{}\" (change it: hive label desk).",
        status.label
    );
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    settle(at, link, flags, terminal)
}

/// Settles what may be done on this machine; asks only where a person can answer.
pub(super) fn settle(
    at: &Place,
    link: &Link,
    flags: ConsentFlags,
    terminal: bool,
) -> Result<(), Problem> {
    let state = place::paths(at)?.state;
    let mode = match consent::weigh(flags, consent::was_answered(&state), terminal) {
        Consent::Given(mode) => mode,
        Consent::Ask => {
            consent::ask().map_err(|why| Problem::system("the answer could not be read", &why))?
        }
        Consent::Answered | Consent::Nobody => return Ok(()),
    };
    link.ask(link.client().tune(mode))?;
    consent::note_answered(&state)
}

/// A link to a daemon that runs: the one that is there, or a new one.
pub(super) fn ensure(at: &Place, store: Store) -> Result<Link, Problem> {
    begun(at, store).map(|(link, _)| link)
}

/// The same, and what has to be taken back if the daemon was started only to be let in, and is not.
pub(super) fn begun(at: &Place, store: Store) -> Result<(Link, Begun), Problem> {
    let link = Link::new(at)?;
    match link.try_ask(link.client().status()) {
        Ok(status) if down::is_ending(&status) && down::ends(&link) => {}
        Ok(_) => return Ok((link, Begun::Found)),
        // Another one would only find that it runs.
        Err(error @ ClientError::Silent { .. }) => return Err(link.problem(error)),
        Err(_) => {}
    }
    let paths = place::paths(at)?;
    place::private_folder(&paths.state)?;
    if let Some(running) = Running::on(&paths.state).filter(|it| it.socket != paths.socket) {
        return Err(unreachable(&paths.socket, &running));
    }
    let is_bare = store == Store::MayBeGone && paths.has_lost_store();
    let log = paths.state.join(log::NAME);
    let failed = |why| Problem::system("the daemon could not be started", &why);
    let file = log::open(&log).map_err(|why| unlogged(&log, &why))?;
    // What the daemon that runs here, or the last one, had said stays.
    let before = file.metadata().map_err(failed)?.len();
    let bare = is_bare.then(|| Bare::begin(&paths.state)).transpose()?;
    if is_bare {
        eprintln!(
            "the store was gone; this machine goes on under its key, and has to be let back in"
        );
    }
    let start = Instant::now();
    loop {
        let mut child = spawned(&paths, is_bare, &file).or_else(|why| {
            bare.as_ref().map_or(Ok(()), Bare::put_answer_back)?;
            Err(failed(why))
        })?;
        if link.wait_up(START, || matches!(child.try_wait(), Ok(Some(_)))) {
            return Ok((link, bare.map_or(Begun::Started, Begun::Bare)));
        }
        if let Some(link) = another_won(at, &mut child) {
            return Ok((link, Begun::Found));
        }
        end_half_started(&mut child);
        // The one that it gave way to may have been about to end.
        if !gave_way(&mut child) || start.elapsed() > START {
            break;
        }
    }
    if let Some(bare) = bare {
        bare.put_answer_back()?;
    }
    if let Some(running) = Running::on(&paths.state) {
        return Err(silent(Some(&running)));
    }
    Err(not_started(&log, before))
}

/// A daemon in a session of its own, which talks into its log.
fn spawned(paths: &Paths, is_bare: bool, log: &File) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("--state")
        .arg(&paths.state)
        .arg("--socket")
        .arg(&paths.socket)
        .args(["daemon", "--detached"])
        .args(is_bare.then_some("--without-store"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
}

/// Without its log nobody would hear why it ends.
fn unlogged(log: &Path, why: &std::io::Error) -> Problem {
    Problem::system("the daemon could not be started", why)
        .known(format!(
            "its log {} cannot be written: {why}",
            log.display()
        ))
        .try_next(match why.kind() {
            std::io::ErrorKind::StorageFull => "free space, then: hive up".to_owned(),
            std::io::ErrorKind::IsADirectory => {
                format!("move it away, then: hive up   (ls -ld {})", log.display())
            }
            _ => format!(
                "ls -ld {}   (whose it is); or {OTHER_FOLDER}",
                log.display()
            ),
        })
}

/// Why it ended, as it says itself; else its last line.
fn not_started(log: &Path, before: u64) -> Problem {
    const IN_SIGHT: &str = "hive daemon   (runs it here, in sight)";
    let unsaid = Problem::new(Exit::Failed, "daemon.start", "the daemon did not start");
    if let Some(said) = log::last_error_since(log, before) {
        let or = |said: String, other: &str| {
            if said.is_empty() {
                other.to_owned()
            } else {
                said
            }
        };
        return Problem {
            exit: Exit::Failed,
            code: or(said.code, &unsaid.code),
            what: or(said.what, &unsaid.what),
            known: said.known,
            try_next: or(said.try_next, IN_SIGHT),
        };
    }
    let text = log::since(log, before);
    let last = text.trim().lines().last().unwrap_or_default();
    let known = if last.is_empty() {
        format!("its log is empty: {}", log.display())
    } else {
        format!("its last words: {last}")
    };
    unsaid.known(known).try_next(IN_SIGHT)
}

/// A link to the daemon that another `hive up` started at the same moment, so that this one's gave way.
fn another_won(at: &Place, child: &mut Child) -> Option<Link> {
    let Ok(Some(_)) = child.try_wait() else {
        return None;
    };
    Link::wait_for(at, if gave_way(child) { GAVE_WAY } else { GRACE })
}

/// Whether it ended because another daemon uses its folder.
fn gave_way(child: &mut Child) -> bool {
    let code = child.try_wait().ok().flatten().and_then(|it| it.code());
    code == Some(Exit::Conflict as i32)
}

/// A daemon that did not answer in time must not come to life after it was called failed.
fn end_half_started(child: &mut Child) {
    let ended = match child.try_wait() {
        Ok(Some(_)) => return,
        Ok(None) => child.kill().and_then(|()| child.wait().map(drop)),
        Err(why) => Err(why),
    };
    if let Err(why) = ended {
        eprintln!("the daemon that did not start may still run: {why}");
    }
}

fn closing(status: &StatusView) -> String {
    let out = |need: &&NeedView| {
        matches!(
            need.code.as_str(),
            "node.removed" | "node.left" | "node.moved" | "node.bare" | "undo.failed"
        )
    };
    if let Some(need) = status.needs.iter().find(out) {
        return needed(need);
    }
    let doing = match (status.paused, status.mode) {
        (true, _) => "Paused (go on:  hive resume).",
        (false, Mode::Auto) => "Watching.",
        (false, Mode::Suggest) => "Watching; suggests only (let it try:  hive tune auto).",
        (false, Mode::Observe) => "Observing; changes nothing (let it try:  hive tune auto).",
    };
    if status.unheard {
        format!("{doing}  Let into a hive; the others are not heard yet (why:  hive doctor).")
    } else if status.members <= 1 {
        format!("{doing}  Alone so far:  hive invite")
    } else {
        format!(
            "{doing}  {}, {} online.",
            count(status.members, "machine", "machines"),
            status.peers_online + 1
        )
    }
}

/// What needs a person: its one remedy beside it, if the words do not end with that; more of them one under the other,
/// as the words may tell what each of them is for.
fn needed(need: &NeedView) -> String {
    let words = match need.fix.as_slice() {
        [fix] if need.words.ends_with(fix.as_str()) => need.words.clone(),
        [fix] => format!("{}:  {fix}", need.words),
        _ => format!("{}:", need.words.trim_end_matches('.')),
    };
    let mut out = wrap(&words, 0, 2);
    if need.fix.len() > 1 {
        out.extend(need.fix.iter().map(|fix| wrap(fix, 4, 6)));
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_without_its_log_leaves_the_answer_of_the_lost_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        std::fs::create_dir_all(state.join(log::NAME)).expect("writable");
        std::fs::write(state.join("key"), "").expect("writable");
        consent::note_answered(&state).expect("writable");
        let at = Place {
            state: Some(state.clone()),
            socket: None,
        };
        begun(&at, Store::MayBeGone).err().expect("no log");
        assert!(consent::was_answered(&state));
    }

    #[test]
    fn the_closing_line_says_what_is_done_and_what_to_type() {
        let alone = StatusView {
            mode: Mode::Auto,
            members: 1,
            ..StatusView::default()
        };
        assert_eq!(closing(&alone), "Watching.  Alone so far:  hive invite");
        let unheard = StatusView {
            unheard: true,
            ..alone.clone()
        };
        assert!(closing(&unheard).contains("the others are not heard yet"));
        let removed = StatusView {
            members: 2,
            needs: vec![NeedView {
                code: "node.removed".to_owned(),
                words: "this machine was removed from its hive".to_owned(),
                fix: vec!["hive leave".to_owned()],
            }],
            ..StatusView::default()
        };
        assert_eq!(
            closing(&removed),
            "this machine was removed from its hive:  hive leave"
        );
        let needs = |words: &str, fix: &[&str]| {
            closing(&StatusView {
                needs: vec![NeedView {
                    code: "node.bare".to_owned(),
                    words: words.to_owned(),
                    fix: fix.iter().map(|&it| it.to_owned()).collect(),
                }],
                ..StatusView::default()
            })
        };
        assert_eq!(needs("or: hive leave", &["hive leave"]), "or: hive leave");
        assert_eq!(
            needs("one there, two here", &["hive invite", "hive join CODE"]),
            "one there, two here:\n    hive invite\n    hive join CODE"
        );
        let two = StatusView {
            members: 2,
            peers_online: 1,
            ..StatusView::default()
        };
        assert_eq!(
            closing(&two),
            "Observing; changes nothing (let it try:  hive tune auto).  2 machines, 2 online."
        );
    }
}
