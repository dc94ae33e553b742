//! `hive up` and `hive down`: starts the daemon in a session of its own, settles consent once, stops it.

use std::fs::OpenOptions;
use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hive_mind::Running;
use hive_mind::reply::{Mode, StatusView, UndoneView};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::args::{ConsentFlags, Place, Rehearsal};
use crate::commands::daemon::NOT_STARTED;
use crate::commands::tuning::{WouldUndo, exit_of};
use crate::consent::{self, Consent};
use crate::link::{Link, last_error};
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::patterns::undone;
use crate::render::text::count;

/// How long a start may take. A guess: a slow disk needs seconds for the first key and store.
const START: Duration = Duration::from_secs(20);

/// How long is looked for another daemon after the own one ended for a reason of its own. A guess: two that
/// start at once are milliseconds apart.
const GRACE: Duration = Duration::from_millis(300);

/// How long an end may take. A guess: restoring thousands of threads takes well under a second.
const END: Duration = Duration::from_secs(20);

/// How long the pause before an end lasts at most, in seconds, should it not be taken back. A guess: the end is
/// asked for within milliseconds of the answer.
const LAST_PAUSE_S: u64 = 2;

/// Starts watching.
pub(super) fn up(at: &Place, flags: ConsentFlags) -> Result<Exit, Problem> {
    let link = ensure(at)?;
    introduce(at, &link, flags)?;
    let status = link.ask(link.client().status())?;
    println!("  {}", closing(&status));
    Ok(Exit::Ok)
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
        .map_err(|why| Problem::system("the answer could not be noted", &why))
}

/// A link to a daemon that runs: the one that is there, or a new one.
pub(super) fn ensure(at: &Place) -> Result<Link, Problem> {
    let link = Link::new(at)?;
    if link.is_up() {
        return Ok(link);
    }
    let paths = place::paths(at)?;
    place::private_folder(&paths.state)?;
    let log = paths.state.join("daemon.log");
    let failed = |why| Problem::system("the daemon could not be started", &why);
    let file = OpenOptions::new()
        .create(true)
        // Appending: where two start at once, neither writes over the other's words.
        .append(true)
        .mode(0o600)
        .open(&log)
        .map_err(failed)?;
    file.set_len(0).map_err(failed)?;
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .arg("--state")
        .arg(&paths.state)
        .arg("--socket")
        .arg(&paths.socket)
        .args(["daemon", "--detached"])
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(failed)?)
        .stderr(file)
        .spawn()
        .map_err(failed)?;
    if link.wait_up(START, || matches!(child.try_wait(), Ok(Some(_)))) {
        return Ok(link);
    }
    if let Some(link) = another_won(at, &mut child) {
        return Ok(link);
    }
    end_half_started(&mut child);
    if let Some(running) = Running::on(&paths.state) {
        return Err(silent(&running));
    }
    Err(
        Problem::new(Exit::Failed, "daemon.start", "the daemon did not start")
            .known(last_words(&log))
            .try_next("hive daemon   (runs it here, in sight)"),
    )
}

/// A link to the daemon that another `hive up` started at the same moment, so that this one's gave way.
fn another_won(at: &Place, child: &mut Child) -> Option<Link> {
    let Ok(Some(status)) = child.try_wait() else {
        return None;
    };
    let gave_way = status.code() == Some(Exit::Conflict as i32);
    Link::wait_for(at, if gave_way { START } else { GRACE })
}

/// A daemon that runs here and did not answer all the while.
fn silent(running: &Running) -> Problem {
    Problem::new(
        Exit::Conflict,
        "daemon.running",
        "a hive daemon already runs here and does not answer",
    )
    .known(format!(
        "process {}, whose socket is {}",
        running.process,
        running.socket.display()
    ))
    .try_next(format!(
        "kill {} (it puts everything back as it ends), then: hive up",
        running.process
    ))
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

/// Stops the daemon and waits until it has put everything back.
pub(super) fn down(at: &Place, rehearsal: Rehearsal) -> Result<Exit, Problem> {
    if rehearsal.dry_run {
        let link = Link::new(at)?;
        let status = link.ask(link.client().status())?;
        let on = WouldUndo::of(&status, None).settings();
        let on = count(on, "setting", "settings");
        println!("would stop the daemon and put {on} back");
        return Ok(Exit::Ok);
    }
    let (exit, words) = stop(at)?;
    print!("{words}");
    Ok(exit)
}

/// Stops the daemon without printing: what it ended with, and what there is to tell.
pub(super) fn stop(at: &Place) -> Result<(Exit, String), Problem> {
    let link = Link::new(at)?;
    let status = link.ask(link.client().status())?;
    let undone = put_back(&link, &status);
    let pid = daemon_pid(link.client().socket())?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|why| Problem::system("the daemon could not be found", &why.into()))?;
    rustix::process::kill_process(pid, Signal::TERM)
        .map_err(|why| Problem::system("the daemon could not be told to stop", &why.into()))?;
    if !ended(&process)? {
        return Err(
            Problem::new(Exit::Partly, "daemon.busy", "the daemon has not ended yet")
                .known("it was told to stop 20 s ago")
                .try_next("hive status"),
        );
    }
    let exit = undone.as_ref().map_or(Exit::Ok, exit_of);
    Ok((exit, stopped(undone.as_ref())))
}

/// Asks the daemon to put everything back while it can still tell what came of it. None = it could not be
/// asked; it puts everything back as it ends all the same.
fn put_back(link: &Link, status: &StatusView) -> Option<UndoneView> {
    if status.paused {
        // Everything was put back when the pause began, and that pause is to last.
        return Some(UndoneView::default());
    }
    let undone = link.ask(link.client().pause(Some(LAST_PAUSE_S))).ok();
    // A pause outlives its daemon, and the next one is to watch at once.
    if let Err(why) = link.ask(link.client().resume()) {
        eprintln!(
            "the next start may be paused for {LAST_PAUSE_S} s: {}",
            why.what
        );
    }
    undone
}

fn stopped(view: Option<&UndoneView>) -> String {
    match view {
        None => "stopped; it could not be asked what it put back\n".to_owned(),
        Some(view) if view.failed > 0 => format!(
            "stopped; {} could not be put back when asked and had a last try at the end\n  \
             try: hive up   (puts back what is still noted as on)\n",
            count(view.failed as usize, "change", "changes")
        ),
        Some(view) => format!("{}stopped\n", undone(view)),
    }
}

/// Waits for a process's end, even where nobody has buried it yet.
fn ended(process: &OwnedFd) -> Result<bool, Problem> {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    let limit = Timespec::try_from(END).expect("20 s fit");
    let ready = poll(&mut watched, Some(&limit))
        .map_err(|why| Problem::system("the daemon could not be watched", &why.into()))?;
    Ok(ready > 0)
}

/// The process at the other end of the socket, as the kernel tells.
fn daemon_pid(socket: &Path) -> Result<Pid, Problem> {
    let failed = |why: std::io::Error| Problem::system("the daemon could not be found", &why);
    let stream = UnixStream::connect(socket).map_err(failed)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|why| failed(why.into()))?;
    Ok(peer.pid)
}

fn closing(status: &StatusView) -> String {
    let doing = match (status.paused, status.mode) {
        (true, _) => "Paused (go on:  hive resume).",
        (false, Mode::Auto) => "Watching.",
        (false, Mode::Suggest) => "Watching; suggests only (let it try:  hive tune auto).",
        (false, Mode::Observe) => "Observing; changes nothing (let it try:  hive tune auto).",
    };
    if status.members <= 1 {
        format!("{doing}  Alone so far:  hive invite")
    } else {
        format!(
            "{doing}  {}, {} online.",
            count(status.members, "machine", "machines"),
            status.peers_online + 1
        )
    }
}

/// Why it ended, as it says itself; else its last line.
fn last_words(log: &Path) -> String {
    let said = last_error(log).unwrap_or_else(|| {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.trim().lines().last().unwrap_or_default().to_owned()
    });
    let said = said.trim_start_matches(NOT_STARTED);
    let said = said.trim_start_matches(':').trim();
    if said.is_empty() {
        format!("its log is empty: {}", log.display())
    } else {
        format!("its last words: {said}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_tells_what_was_really_put_back() {
        let mut view = UndoneView {
            changes: 1,
            restored: 9,
            ..UndoneView::default()
        };
        assert_eq!(
            stopped(Some(&view)),
            "1 change undone, 9 threads and sessions back to the old value\nstopped\n"
        );
        view.failed = 1;
        assert!(stopped(Some(&view)).contains("1 change could not be put back"));
        assert!(!stopped(None).contains("undone"));
        for line in stopped(Some(&view)).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn the_closing_line_says_what_is_done_and_what_to_type() {
        let alone = StatusView {
            mode: Mode::Auto,
            members: 1,
            ..StatusView::default()
        };
        assert_eq!(closing(&alone), "Watching.  Alone so far:  hive invite");
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
