//! The demo's clock and voice: its deadline, Ctrl-C, the steps with their times, and what is printed.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::problem::{Exit, Problem};
use crate::render::text::wrap;

/// Set by SIGINT or SIGTERM.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// How often things are looked at. A guess: finer than any figure that is read off by looking.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Watch {
    began: Instant,
    whole: Duration,
    aloud: bool,
}

impl Watch {
    /// Starts the clock and listens for Ctrl-C.
    pub(crate) fn start(whole: Duration, aloud: bool) -> Result<Self, Problem> {
        let failed = |why| Problem::system("the demo could not start its clock", &why);
        let began = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(listen()))
            .map_err(failed)?;
        Ok(Self {
            began,
            whole,
            aloud,
        })
    }

    /// Prints lines of the story; long ones are broken under their indent.
    pub(crate) fn say(&self, lines: &str) {
        if self.aloud {
            for line in lines.split('\n') {
                let indent = line.len() - line.trim_start().len();
                print!("{}", wrap(line.trim_start(), indent, indent + 2));
            }
            // A reader that has gone is no reason to leave the stage uncleaned.
            if std::io::stdout().flush().is_err() {
                STOPPED.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Looks again and again until there is something to see, at most until `until` after the start.
    /// `None` = the time ran out. Ctrl-C ends it with an error.
    pub(crate) fn until<T>(
        &self,
        until: Duration,
        mut look: impl FnMut() -> Result<Option<T>, Problem>,
    ) -> Result<Option<T>, Problem> {
        loop {
            if STOPPED.load(Ordering::Relaxed) {
                return Err(Problem::new(
                    Exit::Failed,
                    "demo.stopped",
                    "the demo was interrupted",
                ));
            }
            if let Some(seen) = look()? {
                return Ok(Some(seen));
            }
            if self.began.elapsed() >= until.min(self.whole) {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The moment this long from now, as a time after the start.
    pub(crate) fn in_(&self, span: Duration) -> Duration {
        self.began.elapsed() + span
    }

    /// The moment this long before the whole time is over.
    pub(crate) fn before_end(&self, span: Duration) -> Duration {
        self.whole.saturating_sub(span)
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() * 100.0).round() / 100.0
    }
}

async fn listen() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    STOPPED.store(true, Ordering::Relaxed);
}
