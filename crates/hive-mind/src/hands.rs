//! Eyes and hands: the host on its own thread, asked in order, so that a slow `/proc` never stops the loop.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hive_core::event::Input;
use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Receipt, Refusal, Step};
use hive_core::machine::facts::{MachineFacts, SampleRequest};

pub use hive_host::{Acting, Scope};
use hive_host::{Host, HostConfig, OpenError, Recovery, Roots};
use tokio::sync::oneshot;

use crate::options::StartError;

/// How long the guardian of a killed daemon may hold the journal. A guess: it waits up to 2 s for the journal itself,
/// and then restores some values.
const GUARDIAN_DONE: Duration = Duration::from_secs(5);

/// How often the journal is tried again meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The thread that owns the host.
pub(crate) struct Hands {
    facts: MachineFacts,
    /// How many changes of an earlier run could not be put back, as far as the host's thread knows.
    stuck: Arc<AtomicU32>,
    /// The state folder, if its journal was found damaged in this boot.
    damaged: Option<PathBuf>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Sample(SampleRequest),
    Act(Step),
    Undo(ChangeId),
    /// What an earlier run left on.
    Again(oneshot::Sender<Recovery>),
}

/// Jobs that were asked for and are not begun.
#[derive(Default)]
struct Waiting(VecDeque<Job>);

impl Waiting {
    /// The next job, in the order in which they were asked for; `None` when no more will come.
    fn next(&mut self, inbox: &mpsc::Receiver<Job>) -> Option<Job> {
        self.0.extend(inbox.try_iter());
        self.0.pop_front().or_else(|| inbox.recv().ok())
    }

    /// Whether the undoing of a change that is not begun was asked for already. A pause that is said while the
    /// host is slow finds its act still waiting; from then on nothing may be turned on.
    fn withdraws(&self, change: ChangeId) -> bool {
        let undoing = |job: &Job| matches!(job, Job::Undo(which) if *which == change);
        self.0.iter().any(undoing)
    }
}

/// Opens the host; waits while the guardian of a daemon that was killed puts its changes back. The store, which is
/// opened before, already shows that no other daemon runs.
fn patiently<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let start = Instant::now();
    loop {
        match open() {
            Err(OpenError::Busy) if start.elapsed() < GUARDIAN_DONE => {
                std::thread::sleep(LOOK_AGAIN);
            }
            opened => return opened,
        }
    }
}

fn withdrawn(change: ChangeId) -> Receipt {
    Receipt {
        change,
        outcome: Outcome::Refused(Refusal::Withdrawn),
    }
}

/// The processes may have ended since, or somebody may have put their values back.
fn try_again(host: &mut Host, stuck: &AtomicU32, tell: oneshot::Sender<Recovery>) {
    match host.recover_again() {
        Ok(recovery) => {
            stuck.store(recovery.failed, Ordering::Relaxed);
            if recovery.failed == 0 {
                tracing::info!(?recovery, "what an earlier run left on is put back");
            }
            if tell.send(recovery).is_err() {
                tracing::debug!("nobody waits to hear what was put back");
            }
        }
        Err(why) => tracing::warn!(%why, "what an earlier run left on could not be looked at"),
    }
}

/// Puts everything back at the end, and tells what became of it.
fn put_all_back(host: &mut Host) {
    let undone = host.undo_all();
    let back = |receipt: &&Receipt| matches!(receipt.outcome, Outcome::Restored { .. });
    let restored = undone.iter().filter(back).count();
    if restored == undone.len() {
        tracing::info!(changes = restored, "every change was put back");
    } else {
        let left = undone.len() - restored;
        tracing::warn!(
            changes = restored,
            left,
            "not every change could be put back"
        );
    }
}

impl Hands {
    /// Opens the host and starts its thread. `answer` is called for each job, in order.
    pub(crate) fn start(
        state: PathBuf,
        scope: Scope,
        act: Acting,
        answer: impl Fn(Input) + Send + 'static,
    ) -> Result<Self, StartError> {
        let folder = state.clone();
        let config = HostConfig {
            roots: Roots::default(),
            scope,
            state,
            act,
        };
        let (mut host, recovery) =
            patiently(|| Host::open(config.clone())).map_err(|error| match error {
                OpenError::Busy => StartError::AlreadyRunning(folder),
                why => StartError::Folder { path: folder, why },
            })?;
        if recovery.failed == 0 {
            tracing::info!(?recovery, "the machine is as we found it");
        } else {
            tracing::warn!(?recovery, "not everything could be put back");
        }
        if recovery.damaged > 0 {
            let kept = hive_host::damaged_journals(&config.roots, &config.state);
            tracing::warn!(
                ?kept,
                "the journal of what is on was damaged in this boot; what its lost part named may still be on"
            );
        }
        let facts = host.facts().clone();
        let stuck = Arc::new(AtomicU32::new(recovery.failed));
        let still = Arc::clone(&stuck);
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("hive-host".into())
            .spawn(move || {
                let mut waiting = Waiting::default();
                while let Some(job) = waiting.next(&inbox) {
                    // Looks are asked for every few seconds: often enough for the lease of what is on.
                    for lost in host.keep() {
                        tracing::warn!(
                            ?lost,
                            "the privileged helper was away and has put this back"
                        );
                        answer(Input::Acted(lost));
                    }
                    answer(match job {
                        Job::Sample(request) => Input::Sampled(host.sample(&request)),
                        Job::Act(step) if waiting.withdraws(step.change) => {
                            Input::Acted(withdrawn(step.change))
                        }
                        Job::Act(step) => Input::Acted(host.act(&step)),
                        Job::Undo(change) => Input::Acted(host.undo(change)),
                        Job::Again(tell) => {
                            try_again(&mut host, &still, tell);
                            continue;
                        }
                    });
                }
                put_all_back(&mut host);
            })
            .map_err(|why| StartError::Host(why.to_string()))?;
        Ok(Self {
            facts,
            stuck,
            damaged: (recovery.damaged > 0).then_some(config.state),
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// What does not change.
    pub(crate) fn facts(&self) -> &MachineFacts {
        &self.facts
    }

    /// How many changes of an earlier run could not be put back; they stay noted for the next one.
    pub(crate) fn stuck(&self) -> u32 {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Whether a journal that was found damaged in this boot is still kept: whoever knows better deletes it.
    pub(crate) fn has_damage(&self) -> bool {
        let kept = |state| hive_host::damaged_journals(&Roots::default(), state);
        self.damaged
            .as_deref()
            .is_some_and(|state| !kept(state).is_empty())
    }

    /// Tries again what an earlier run left on, and tells what came of it; none where nothing was.
    pub(crate) fn again(&self) -> Option<oneshot::Receiver<Recovery>> {
        if self.stuck() == 0 {
            return None;
        }
        let (tell, told) = oneshot::channel();
        self.give(Job::Again(tell));
        Some(told)
    }

    /// Looks at the machine.
    pub(crate) fn sample(&self, request: SampleRequest) {
        self.give(Job::Sample(request));
    }

    /// Changes something.
    pub(crate) fn act(&self, step: Step) {
        self.give(Job::Act(step));
    }

    /// Puts a change back.
    pub(crate) fn undo(&self, change: ChangeId) {
        self.give(Job::Undo(change));
    }

    /// Does what was asked, then puts everything back and ends. Blocks.
    pub(crate) fn finish(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the host thread panicked; `hive up` puts back what it left on");
        }
    }

    fn give(&self, job: Job) {
        let lost = self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err());
        if lost {
            tracing::error!("the host thread has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_core::pattern::Action;

    fn act(change: u64) -> Job {
        Job::Act(Step {
            change: ChangeId(change),
            action: Action::Placebo,
            targets: Vec::new(),
            units: Vec::new(),
        })
    }

    #[test]
    fn a_journal_that_a_guardian_still_holds_is_waited_for() {
        let mut tries = 0;
        let opened = patiently(|| {
            tries += 1;
            (tries > 3).then_some(tries).ok_or(OpenError::Busy)
        });
        assert!(matches!(opened, Ok(4)), "{opened:?}");
        let mut tries = 0;
        let refused: Result<(), OpenError> = patiently(|| {
            tries += 1;
            Err(OpenError::NotPrivate)
        });
        assert!(matches!(refused, Err(OpenError::NotPrivate)));
        assert_eq!(tries, 1, "only a busy journal becomes free");
    }

    #[test]
    fn an_act_whose_undoing_waits_behind_it_is_not_begun() {
        let (jobs, inbox) = mpsc::channel();
        for job in [act(1), act(2), Job::Undo(ChangeId(2))] {
            jobs.send(job).expect("the inbox is there");
        }
        drop(jobs);
        let mut waiting = Waiting::default();
        let mut told = Vec::new();
        while let Some(job) = waiting.next(&inbox) {
            told.push(match job {
                Job::Act(step) => (step.change.0, waiting.withdraws(step.change)),
                Job::Undo(change) => (change.0, false),
                Job::Sample(_) | Job::Again(_) => unreachable!("none was asked for"),
            });
        }
        assert_eq!(told, [(1, false), (2, true), (2, false)]);
    }
}
