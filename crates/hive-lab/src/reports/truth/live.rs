//! Trials on the real machine: the real core decides, the real host acts, the kernel counts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hive_core::id::ChangeId;
use hive_core::machine::act::{Receipt, Step};
use hive_core::machine::facts::{Sample, SampleRequest};
use hive_core::pattern::Action;
use hive_core::time::Now;
use hive_host::Host;

use super::drive::{self, Body, Ended};
use super::stage::ONLY_NICE;

/// A trial of 40 real and 20 placebo pairs takes 150 s of contention; twice that and some for a machine whose pressure
/// comes and goes.
const PATIENCE: Duration = Duration::from_secs(400);

/// What the hands do when nice is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// All the steps of it, and no change: whatever the trial then says beside "no effect" and "undecided" is false.
    Placebo,
    /// Nice.
    Nice,
}

/// The real machine.
#[derive(Debug)]
pub struct Real<'a> {
    host: &'a mut Host,
    arm: Arm,
}

impl Body for Real<'_> {
    fn now(&self) -> Now {
        hive_host::now()
    }

    fn sample(&mut self, request: &SampleRequest) -> Sample {
        self.host.sample(request)
    }

    fn act(&mut self, step: &Step) -> Receipt {
        let action = match self.arm {
            Arm::Placebo => Action::Placebo,
            Arm::Nice => step.action,
        };
        self.host.act(&Step {
            action,
            ..step.clone()
        })
    }

    fn undo(&mut self, change: ChangeId) -> Receipt {
        self.host.undo(change)
    }
}

/// One trial of nice by a new machine that is told that tasks decide, wherever the jobs are. `None` if it did not end.
pub async fn trial(host: &mut Host, arm: Arm, seed: u64) -> Result<Option<Ended>> {
    let mut facts = host.facts().clone();
    // So that nice is tried across sessions too: the product knows that it does nothing there and never would.
    facts.autogroup = false;
    let mut body = Real { host, arm };
    let mut machine = drive::machine(&facts, ONLY_NICE, &[], seed, body.now());
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        drive::drain(&mut machine, &mut body);
        let now = body.now();
        let ended = drive::ended(&machine, now, Action::BackgroundNice);
        if ended.is_some() || Instant::now() > until {
            break ended;
        }
        let wake = machine.next_wake().context("the machine sleeps for ever")?;
        let wait = Duration::from_micros(wake.since(now.boot).0.clamp(500, 1_000_000));
        tokio::time::sleep(wait).await;
        machine.on_timeout(body.now());
    };
    machine.pause(body.now(), None);
    drive::drain(&mut machine, &mut body);
    body.host.undo_all();
    Ok(ended)
}
