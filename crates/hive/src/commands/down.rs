//! `hive down`: asks the daemon to put everything back, and ends it; also one that does not answer any more.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hive_mind::reply::{StatusView, UndoneView};
use hive_mind::{ClientError, Recovery, Running};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::{Place, Rehearsal};
use crate::commands::tuning::{WouldUndo, exit_of};
use crate::left;
use crate::link::{Link, unreachable};
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::patterns::undone;
use crate::render::text::count;

/// How long an end in order may take. A guess: restoring thousands of threads takes well under a second.
const END: Duration = Duration::from_secs(20);

/// The same for a daemon that said nothing for 10 s before. A guess: one that was only stopped ends at once.
const END_MUTE: Duration = Duration::from_secs(5);

/// How long the pause before an end lasts at most, in seconds, should it not be taken back. A guess: the end is
/// asked for within milliseconds of the answer.
const LAST_PAUSE_S: u64 = 2;

/// How often is looked whether a daemon that is about to end has. A guess: a look takes a millisecond.
const LOOK: Duration = Duration::from_millis(20);

/// What is said once no daemon runs any more.
const STOPPED: &str = "stopped\n";

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// By itself, as it was told.
    InOrder,
    /// It had to be killed.
    Killed,
}

/// Stops the daemon and waits until everything is put back.
pub(super) fn down(at: &Place, rehearsal: Rehearsal) -> Result<Exit, Problem> {
    if rehearsal.dry_run {
        return rehearse(at, &Link::new(at)?);
    }
    let (exit, words) = stop(at)?;
    print!("{words}");
    Ok(exit)
}

fn rehearse(at: &Place, link: &Link) -> Result<Exit, Problem> {
    match link.try_ask(link.client().status()) {
        Ok(status) => {
            let on = WouldUndo::of(&status, None).settings();
            let on = count(on, "setting", "settings");
            println!("would stop the daemon and put {on} back");
        }
        Err(error) => match link.mute(&error) {
            Some(running) => println!(
                "would end the daemon (pid {}), which does not answer; what is on is put back",
                running.process
            ),
            None => match left::still_on(&place::paths(at)?.state)? {
                Some(left) => {
                    let on = left::places(left.on);
                    println!("no daemon runs; would put {on} back that an earlier one left on");
                }
                None => return Err(nothing(link, error)),
            },
        },
    }
    Ok(Exit::Ok)
}

/// The daemon of this folder runs and has the journal, but answers on another socket than the one that was asked.
fn elsewhere(state: &Path, link: &Link) -> Option<Problem> {
    let client = link.client();
    let asked = client.socket();
    let running = Running::on(state).filter(|running| running.socket != asked)?;
    Some(unreachable(asked, &running))
}

/// What to do where no daemon answered: where none runs, what one left on that was killed with its guardian is put
/// back, and what came of it is told. None = nothing was on, or a daemon runs all the same.
pub(super) fn without_daemon(
    at: &Place,
    link: &Link,
    error: &ClientError,
) -> Result<Option<Recovery>, Problem> {
    let state = place::paths(at)?.state;
    let is_down = matches!(error, ClientError::DaemonDown { .. });
    if !is_down || link.mute(error).is_some() || Running::on(&state).is_some() {
        return Ok(None);
    }
    left::put_back(&state)
}

/// Stops the daemon without printing: what it ended with, and what there is to tell.
pub(super) fn stop(at: &Place) -> Result<(Exit, String), Problem> {
    let link = Link::new(at)?;
    let status = match link.try_ask(link.client().status()) {
        Ok(status) => status,
        Err(error) => {
            let state = place::paths(at)?.state;
            return match link.mute(&error) {
                Some(running) => stop_mute(&running, &state),
                None => match elsewhere(&state, &link) {
                    Some(problem) => Err(problem),
                    None => left::put_back(&state)?
                        .map(|recovery| left::told(&recovery, STOPPED))
                        .ok_or_else(|| nothing(&link, error)),
                },
            };
        }
    };
    let undone = put_back(&link, &status);
    let running = Running::behind(link.client().socket()).ok_or_else(|| {
        // It ended between two words.
        let socket = link.client().socket().to_path_buf();
        link.problem(ClientError::DaemonDown { socket })
    })?;
    let exit = undone.as_ref().map_or(Exit::Ok, exit_of);
    let words = stopped(undone.as_ref());
    let state = place::paths(at)?.state;
    match end(&held(&running)?, END)? {
        Ended::InOrder => in_order(&state, exit, words),
        Ended::Killed => killed(&running, &state),
    }
}

/// Ends a daemon that does not answer. What it had on, it puts back as it ends; else its guardian does.
fn stop_mute(running: &Running, state: &Path) -> Result<(Exit, String), Problem> {
    match end(&held(running)?, END_MUTE)? {
        Ended::InOrder => {
            let words = format!(
                "the daemon (pid {}) had not answered; it ended in order\nstopped\n",
                running.process
            );
            in_order(state, Exit::Ok, words)
        }
        Ended::Killed => killed(running, state),
    }
}

/// What a killed daemon had on is put back by its guardian; whoever has the journal first.
fn killed(running: &Running, state: &Path) -> Result<(Exit, String), Problem> {
    let mut words = format!(
        "the daemon (pid {}) did not end by itself and was killed; ",
        running.process
    );
    let recovery = left::restored(state)?;
    if recovery.failed == 0 {
        words.push_str("what was on is put back\n");
        words.push_str(STOPPED);
        return Ok((Exit::Ok, words));
    }
    words.push_str(&left::stuck(&recovery, STOPPED));
    Ok((Exit::Partly, words))
}

/// A daemon that ended as it was told. It may have started without the rights to put back what an earlier one left on.
fn in_order(state: &Path, exit: Exit, words: String) -> Result<(Exit, String), Problem> {
    // Where the daemon could not put all back, what came of this last try is the news.
    let left = left::put_back(state)?;
    Ok(left.map_or((exit, words), |recovery| left::told(&recovery, STOPPED)))
}

/// That process and no other, whatever has its number later.
fn held(running: &Running) -> Result<OwnedFd, Problem> {
    let lost = |why: std::io::Error| Problem::system("the daemon could not be found", &why);
    let pid = i32::try_from(running.process).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| lost(std::io::ErrorKind::NotFound.into()))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|why| lost(why.into()))?;
    // Only now: from here on the number cannot become another's unnoticed.
    if running.is_still_there() {
        return Ok(process);
    }
    Err(Problem::new(
        Exit::Conflict,
        "daemon.other",
        format!("process {} is not the hive daemon", running.process),
    )
    .known("it started at another time than the daemon that noted itself in the state folder")
    .try_next("hive status"))
}

/// Tells a process to end, and kills one that does not within that time.
fn end(process: &OwnedFd, within: Duration) -> Result<Ended, Problem> {
    signal(process, Signal::TERM)?;
    // One that was stopped hears nothing before it goes on.
    signal(process, Signal::CONT)?;
    if has_ended(process, within)? {
        return Ok(Ended::InOrder);
    }
    signal(process, Signal::KILL)?;
    if has_ended(process, END)? {
        return Ok(Ended::Killed);
    }
    // Nothing ends a process that waits in the kernel, for a disk that does not answer.
    Err(
        Problem::new(Exit::Partly, "daemon.busy", "the daemon has not ended yet")
            .known("it was killed 20 s ago; the kernel still holds it")
            .try_next("hive status"),
    )
}

fn signal(process: &OwnedFd, signal: Signal) -> Result<(), Problem> {
    match pidfd_send_signal(process, signal) {
        // It has ended meanwhile.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(why) => Err(Problem::system(
            "the daemon could not be told to stop",
            &why.into(),
        )),
    }
}

/// Waits for a process's end, even where nobody has buried it yet.
fn has_ended(process: &OwnedFd, within: Duration) -> Result<bool, Problem> {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    let limit = Timespec::try_from(within).expect("seconds fit");
    let ready = poll(&mut watched, Some(&limit))
        .map_err(|why| Problem::system("the daemon could not be watched", &why.into()))?;
    Ok(ready > 0)
}

/// No daemon, so nothing to stop: the usual advice, to start one, would be none.
fn nothing(link: &Link, error: ClientError) -> Problem {
    let mut problem = link.problem(error);
    if problem.code == "daemon.down" {
        problem.known.push_str("; there is nothing to stop");
        problem.try_next.clear();
    }
    problem
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
    if let Err(why) = link.unpause() {
        eprintln!(
            "the next start may be paused for {LAST_PAUSE_S} s: {}",
            why.what
        );
    }
    undone
}

/// Whether a daemon is paused as [`stop`] pauses one that it is about to end; or a person's pause has seconds left.
pub(super) fn is_ending(status: &StatusView) -> bool {
    status.paused && status.pause_left_s.is_some_and(|left| left <= LAST_PAUSE_S)
}

/// Waits until a daemon ends that is about to; whether it did. One that was not ends its pause within the same time.
pub(super) fn ends(link: &Link) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(LAST_PAUSE_S) {
        if !link.is_up() {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

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

    fn a_shell(script: &str) -> (Child, Running) {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut ready = [0; 1];
        let mut out = child.stdout.take().expect("asked for");
        out.read_exact(&mut ready)
            .expect("it says that it is ready");
        let running = Running::of(child.id()).expect("it runs");
        (child, running)
    }

    #[test]
    fn a_process_that_does_not_hear_is_killed_and_a_stopped_one_ends_in_order() {
        let (mut deaf, running) = a_shell("trap '' TERM; echo; read word");
        let process = held(&running).expect("it runs");
        assert_eq!(end(&process, Duration::ZERO).expect("ended"), Ended::Killed);
        assert_eq!(deaf.wait().expect("ours").signal(), Some(9));

        let (mut still, running) = a_shell("echo; read word");
        let process = held(&running).expect("it runs");
        signal(&process, Signal::STOP).expect("ours");
        assert_eq!(end(&process, END).expect("ended"), Ended::InOrder);
        assert_eq!(still.wait().expect("ours").signal(), Some(15));
    }

    #[test]
    fn a_process_that_only_has_the_number_is_left_alone() {
        let (mut other, running) = a_shell("echo; read word");
        let noted = Running {
            started: running.started - 1,
            ..running
        };
        let refused = held(&noted).expect_err("another process");
        assert_eq!(
            (refused.exit, refused.code.as_str()),
            (Exit::Conflict, "daemon.other")
        );
        assert_eq!(other.try_wait().expect("ours"), None, "it runs on");
        other.kill().and_then(|()| other.wait()).expect("ours");
    }
}
