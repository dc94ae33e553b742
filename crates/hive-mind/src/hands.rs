//! Eyes and hands: the host on its own thread, asked in order, so that a slow `/proc` never stops the loop.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use hive_core::event::Input;
use hive_core::id::ChangeId;
use hive_core::machine::act::Step;
use hive_core::machine::facts::{MachineFacts, SampleRequest};

pub use hive_host::{Acting, Scope};
use hive_host::{Host, HostConfig, OpenError, Roots};

use crate::options::StartError;

/// The thread that owns the host.
pub(crate) struct Hands {
    facts: MachineFacts,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Sample(SampleRequest),
    Act(Step),
    Undo(ChangeId),
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
        let (mut host, recovery) = Host::open(config).map_err(|error| match error {
            OpenError::Busy => StartError::AlreadyRunning(folder),
            other => StartError::Host(other.to_string()),
        })?;
        tracing::info!(?recovery, "the machine is as we found it");
        let facts = host.facts().clone();
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("hive-host".into())
            .spawn(move || {
                while let Ok(job) = inbox.recv() {
                    answer(match job {
                        Job::Sample(request) => Input::Sampled(host.sample(&request)),
                        Job::Act(step) => Input::Acted(host.act(&step)),
                        Job::Undo(change) => Input::Acted(host.undo(change)),
                    });
                }
                let undone = host.undo_all();
                tracing::info!(changes = undone.len(), "every change was put back");
            })
            .map_err(|why| StartError::Host(why.to_string()))?;
        Ok(Self {
            facts,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// What does not change.
    pub(crate) fn facts(&self) -> &MachineFacts {
        &self.facts
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
