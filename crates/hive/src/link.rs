//! The way to the daemon: where its socket is, questions to it, and waiting for it to start.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hive_mind::{Client, ClientError, Running};

use crate::args::Place;
use crate::left;
use crate::log;
use crate::problem::{Exit, Problem};

/// How often a starting daemon is asked whether it is there. A guess: below what a person notices.
const POLL: Duration = Duration::from_millis(20);

/// How long a membership may take to be stored. A guess: it is one write to the disk.
const SETTLE: Duration = Duration::from_secs(3);

/// The daemon behind one socket, asked in turn: one question at a time, on this thread.
pub(crate) struct Link {
    runtime: tokio::runtime::Runtime,
    client: Client,
    /// The folder whose daemon it should be; none when only its socket is known.
    state: Option<PathBuf>,
}

impl Link {
    /// A link to the daemon of this place. Nothing is connected yet.
    pub(crate) fn new(place: &Place) -> Result<Self, Problem> {
        let paths = crate::place::paths(place)?;
        let mut link = Self::to(&crate::place::socket(place, &paths))?;
        link.state = Some(paths.state);
        Ok(link)
    }

    /// A link to whichever daemon this place has within that time: another start may just be making its own.
    pub(crate) fn wait_for(place: &Place, within: Duration) -> Option<Self> {
        let start = Instant::now();
        loop {
            let link = Self::new(place).ok().filter(Self::is_up);
            if link.is_some() || start.elapsed() > within {
                return link;
            }
            std::thread::sleep(POLL);
        }
    }

    /// A link to the daemon behind this socket. Nothing is connected yet.
    pub(crate) fn to(socket: &Path) -> Result<Self, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| Problem::system("the program could not start its clock", &why))?;
        Ok(Self {
            runtime,
            client: Client::new(socket),
            state: None,
        })
    }

    /// The client, to name a question with.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Problem> {
        self.runtime
            .block_on(question)
            .map_err(|error| self.problem(error))
    }

    /// Asks, and leaves what went wrong to the caller.
    pub(crate) fn try_ask<T>(
        &self,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        self.runtime.block_on(question)
    }

    /// Ends a pause, also that of an older daemon, which knows only the word that ends the rest after an undo as well.
    pub(crate) fn unpause(&self) -> Result<(), Problem> {
        match self.try_ask(self.client.unpause()) {
            Ok(_) => Ok(()),
            Err(ClientError::Refused(why)) if why.code == "api.route" => {
                self.ask(self.client.resume()).map(drop)
            }
            Err(error) => Err(self.problem(error)),
        }
    }

    /// The daemon that runs here although it did not answer this call, if that is so.
    pub(crate) fn mute(&self, error: &ClientError) -> Option<Running> {
        let (ClientError::Silent { socket } | ClientError::DaemonDown { socket }) = error else {
            return None;
        };
        let noted = self.state.as_deref().and_then(Running::on);
        noted
            .filter(|it| it.socket == *socket)
            .or_else(|| Running::behind(socket))
    }

    /// A failed call, in a person's words, with what the state folder knows of its daemon.
    pub(crate) fn problem(&self, error: ClientError) -> Problem {
        if let ClientError::Silent { .. } = &error {
            return silent(self.mute(&error).as_ref());
        }
        if let ClientError::DaemonDown { socket } = &error
            && let Some(running) = self.state.as_deref().and_then(Running::on)
        {
            return unreachable(socket, &running);
        }
        let last = match (&error, &self.state) {
            (ClientError::DaemonDown { .. }, Some(state)) => {
                log::last_error(&state.join(log::NAME))
            }
            _ => None,
        };
        let mut problem = problem(error);
        if let Some(mut last) = last {
            if last.code == "store.damaged" {
                // As long as that store lies there, the next start would only say the same.
                let ways = std::mem::take(&mut last.try_next);
                let mut state = self.state.iter();
                if state.any(|state| state.join("store.redb").exists()) {
                    problem.try_next = ways;
                }
            }
            let last = last.line();
            // A daemon that ended in order has no such words, and the next start wipes them.
            problem.known = format!("{}; when it last ran: {last}", problem.known);
        }
        match self.state.as_deref() {
            Some(state) if problem.code == "daemon.down" => left::beside(problem, state),
            _ => problem,
        }
    }

    /// Whether a daemon answers.
    pub(crate) fn is_up(&self) -> bool {
        self.try_ask(self.client.status()).is_ok()
    }

    /// How many members there are, once there are more than `before`: a membership counts when it is
    /// stored, moments after the daemon's answer.
    pub(crate) fn members_above(&self, before: usize) -> Result<usize, Problem> {
        let start = Instant::now();
        loop {
            let members = self.ask(self.client.status())?.members;
            if members > before || start.elapsed() > SETTLE {
                return Ok(members);
            }
            std::thread::sleep(POLL);
        }
    }

    /// How many members there are, once this newcomer holds what another one holds; and whether it does. Before that,
    /// those who left or were removed may still be among them.
    pub(crate) fn members_when_whole(&self) -> Result<(usize, bool), Problem> {
        let start = Instant::now();
        loop {
            let whole = self.ask(self.client.join_state())?.whole;
            if whole || start.elapsed() > SETTLE {
                return Ok((self.ask(self.client.status())?.members, whole));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the daemon answers; `gone` says whether its process has ended meanwhile.
    pub(crate) fn wait_up(&self, within: Duration, mut gone: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        loop {
            if self.is_up() {
                return true;
            }
            if gone() || start.elapsed() > within {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// A failed call, in a person's words.
pub(crate) fn problem(error: ClientError) -> Problem {
    match error {
        ClientError::DaemonDown { socket } => down(&socket),
        ClientError::Ended => Problem::new(
            Exit::DaemonDown,
            "daemon.ended",
            "the hive daemon ended before it answered",
        )
        .known("what was asked may have been done")
        .try_next("hive up, then hive status"),
        ClientError::Refused(refusal) => refusal.into(),
        other => Problem::new(
            Exit::Failed,
            "daemon.answer",
            "the daemon's answer was not understood",
        )
        .known(other.to_string())
        .try_next("hive --version, and restart the daemon: hive down, hive up"),
    }
}

/// A daemon that runs and says nothing.
pub(crate) fn silent(running: Option<&Running>) -> Problem {
    let who = running.map_or_else(String::new, |it| format!(" (pid {})", it.process));
    Problem::new(
        Exit::Silent,
        "daemon.silent",
        format!("the hive daemon{who} does not answer"),
    )
    .known("it runs, and said nothing for 10 s")
    .try_next("hive down   (ends it; what is on is put back), then: hive up")
}

/// A daemon that runs, but not where it was asked.
pub(crate) fn unreachable(asked: &Path, running: &Running) -> Problem {
    let Running {
        process, socket, ..
    } = running;
    let (known, try_next) = if asked == socket {
        (
            format!(
                "process {process} runs, but nobody answers on {}",
                socket.display()
            ),
            "again in 5 s; it makes its socket anew (hive down ends it all the same)".to_owned(),
        )
    } else {
        (
            format!(
                "nobody answers on {}; process {process} answers on {}",
                asked.display(),
                socket.display()
            ),
            format!("hive --socket {} ...", socket.display()),
        )
    };
    Problem::new(
        Exit::DaemonDown,
        "daemon.unreachable",
        "the hive daemon cannot be reached",
    )
    .known(known)
    .try_next(try_next)
}

fn down(socket: &Path) -> Problem {
    Problem::new(
        Exit::DaemonDown,
        "daemon.down",
        "the hive daemon is not running",
    )
    .known(format!("nobody answers on {}", socket.display()))
    .try_next("hive up")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers each caller with the next of these, and tells what they asked for.
    fn answering(
        socket: &Path,
        answers: &'static [&'static str],
    ) -> std::thread::JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(socket).expect("bound");
        std::thread::spawn(move || {
            let asked = answers.iter().map(|answer| {
                let (mut caller, _) = listener.accept().expect("a caller");
                let mut request = Vec::new();
                let mut piece = [0; 1_024];
                // The body is the last of it: an object without anything in it.
                while !request.ends_with(b"{}") {
                    let length = caller.read(&mut piece).expect("readable");
                    assert!(length > 0, "it was cut off");
                    request.extend_from_slice(&piece[..length]);
                }
                caller.write_all(answer.as_bytes()).expect("it listens");
                let words = String::from_utf8_lossy(&request).into_owned();
                words.lines().next().unwrap_or_default().to_owned()
            });
            asked.collect()
        })
    }

    #[test]
    fn the_pause_of_an_older_daemon_is_ended_by_the_word_that_it_knows() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("hive.sock");
        // As daemons answer that had no such route.
        let daemon = answering(
            &socket,
            &[
                "HTTP/1.1 404 Not Found\r\ncontent-length: 111\r\n\r\n\
                 {\"title\":\"no such route\",\"status\":404,\"code\":\"api.route\",\"kind\":\"not_found\",\"what\":\"\",\"known\":\"\",\
                 \"try_next\":\"\"}",
                "HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"done\":true,\"words\":\"\"}",
            ],
        );
        let link = Link::to(&socket).expect("a link");
        link.unpause().expect("ended");
        let asked = daemon.join().expect("it heard both");
        assert_eq!(
            asked,
            ["POST /v1/unpause HTTP/1.1", "POST /v1/resume HTTP/1.1"]
        );
    }
}
