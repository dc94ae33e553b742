//! A machine whose every slice of time is given, and whose actions do exactly what the truth says: the real core tries
//! and judges on it, on a clock of its own.

use std::collections::BTreeMap;

use hive_core::id::{ChangeId, ProgramName};
use hive_core::machine::Machine;
use hive_core::machine::act::{Outcome, Receipt, Step};
use hive_core::machine::facts::{
    GroupCounters, GroupId, MachineFacts, Memory, Pressure, Process, Reading, Rights, Sample,
    SampleRequest, Survey, ThreadCounters, Tuners,
};
use hive_core::pattern::{Action, BACKGROUND_NICE};
use hive_core::time::{Instant, Now, Span, WallTime};

use super::drive::{self, Body, Ended};
use super::tape::Slice;

/// Where the clocks begin.
const BEGIN_US: u64 = 10_000_000;

/// The calendar then: some day of 2026, in milliseconds.
const BEGIN_WALL_MS: u64 = 1_790_000_000_000;

/// How long the host takes for a look or a step: a guess, of the order measured in `research/optimizer.md` 3.3.
const TAKES_US: u64 = 2_000;

/// A trial that has not ended by then never will: 60 pairs of windows, each with its change, are 150 s.
const PATIENCE_S: u64 = 900;

/// Only nice: the action whose trial is replayed.
pub const ONLY_NICE: Rights = Rights {
    nice: true,
    autogroup_nice: false,
    slice: false,
    advise: false,
    unit_weight: false,
};

const BACK: GroupId = GroupId {
    session: 20,
    group: 21,
};

/// The stage.
#[derive(Debug)]
pub struct Stage<S> {
    source: S,
    /// Natural logarithm of each action's true ratio; none is zero.
    pub truth: BTreeMap<Action, f64>,
    /// The program that is waited for.
    pub front: String,
    /// Its job: a new one for each program.
    pub group: GroupId,
    now_us: u64,
    now_part: Slice,
    on: BTreeMap<ChangeId, Action>,
    waited_ns: f64,
    ran_ns: f64,
    wakeups: f64,
    background_us: f64,
    stalled_us: f64,
}

/// What the stage's host says of itself.
pub fn facts() -> MachineFacts {
    MachineFacts {
        cores: 2,
        kernel: (6, 18),
        autogroup: false,
        pressure: true,
        rights: Rights {
            nice: true,
            autogroup_nice: true,
            slice: true,
            advise: false,
            unit_weight: false,
        },
        uid: 1_000,
    }
}

impl<S: Iterator<Item = Slice>> Stage<S> {
    /// A stage on which nothing has happened.
    pub fn new(source: S, truth: BTreeMap<Action, f64>) -> Self {
        Self {
            source,
            truth,
            front: "pacer".into(),
            group: GroupId {
                session: 10,
                group: 11,
            },
            now_us: BEGIN_US,
            now_part: Slice::default(),
            on: BTreeMap::new(),
            waited_ns: 0.0,
            ran_ns: 0.0,
            wakeups: 0.0,
            background_us: 0.0,
            stalled_us: 0.0,
        }
    }

    /// Another program comes to the front.
    pub fn bring(&mut self, front: String, number: u32) {
        self.front = front;
        self.group = GroupId {
            session: 10,
            group: 1_000 + number,
        };
    }

    /// Nothing runs for so long.
    pub fn sleep(&mut self, us: u64) {
        self.now_us += us;
    }

    /// Lets the machine work until something is so, or for so many seconds at most.
    pub fn run(
        &mut self,
        machine: &mut Machine,
        seconds: u64,
        done: impl Fn(&Machine, Now) -> bool,
    ) -> bool {
        let end = self.now_us + seconds * 1_000_000;
        loop {
            drive::drain(machine, self);
            if done(machine, self.now()) {
                return true;
            }
            if self.now_us >= end {
                return false;
            }
            let wake = machine.next_wake().map_or(end, |wake| wake.0);
            self.pass(wake.clamp(self.now_us + 100, end.max(self.now_us + 100)));
            machine.on_timeout(self.now());
        }
    }

    /// One trial of nice by a new machine; `None` if it never ended.
    pub fn trial(&mut self, seed: u64) -> Option<Ended> {
        let action = Action::BackgroundNice;
        let mut machine = drive::machine(&facts(), ONLY_NICE, &[], seed, self.now());
        self.run(&mut machine, PATIENCE_S, |machine, now| {
            drive::ended(machine, now, action).is_some()
        });
        drive::ended(&machine, self.now(), action)
    }

    /// Time passes, slice by slice.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of one slice"
    )]
    fn pass(&mut self, until: u64) {
        let effect: f64 = self
            .on
            .values()
            .filter_map(|action| self.truth.get(action))
            .sum();
        let ratio = effect.exp();
        while self.now_us < until {
            if self.now_part.us < 1.0 {
                let Some(next) = self.source.next() else {
                    self.now_us = until;
                    return;
                };
                self.now_part = next;
            }
            let us = ((until - self.now_us) as f64)
                .min(self.now_part.us)
                .max(1.0);
            let share = (us / self.now_part.us).min(1.0);
            let part = &mut self.now_part;
            for (sum, of, times) in [
                (&mut self.waited_ns, &mut part.waited_ns, ratio),
                (&mut self.ran_ns, &mut part.ran_ns, 1.0),
                (&mut self.wakeups, &mut part.wakeups, 1.0),
                (&mut self.background_us, &mut part.background_us, 1.0),
                (&mut self.stalled_us, &mut part.stalled_us, 1.0),
            ] {
                let taken = *of * share;
                *sum += taken * times;
                *of -= taken;
            }
            part.us -= us;
            self.now_us += us as u64;
        }
    }

    fn survey(&self) -> Survey {
        let process = |group: GroupId, name: &str| Process {
            pid: group.group,
            parent: 1,
            start: u64::from(group.group),
            group,
            uid: 1_000,
            name: ProgramName::new(name),
            ordinary: true,
            threads: 1,
            ..Process::default()
        };
        let niced = self.on.values().any(|on| *on == Action::BackgroundNice);
        Survey {
            at: Instant(self.now_us),
            pressure: self.pressure(),
            memory: Memory::default(),
            cgroups: BTreeMap::new(),
            tuners: Tuners::default(),
            own: Span::default(),
            processes: vec![
                Process {
                    foreground: true,
                    cpu: Span(whole(self.ran_ns / 1e3)),
                    ..process(self.group, &self.front)
                },
                Process {
                    cpu: Span(whole(self.background_us)),
                    nice: if niced { BACKGROUND_NICE } else { 0 },
                    ..process(BACK, "burner")
                },
            ],
        }
    }

    fn pressure(&self) -> Pressure {
        Pressure {
            cpu: Span(whole(self.stalled_us)),
            ..Pressure::default()
        }
    }

    fn watch(&self, protected: &[GroupId], background: &[GroupId]) -> Reading {
        let thread = ThreadCounters {
            tid: self.group.group,
            group: self.group,
            waited_ns: whole(self.waited_ns),
            ran_ns: whole(self.ran_ns),
            wakeups: whole(self.wakeups),
        };
        let burner = GroupCounters {
            group: BACK,
            cpu: Span(whole(self.background_us)),
            processes: 2,
        };
        let front = protected.contains(&self.group).then_some(thread);
        let back = background.contains(&BACK).then_some(burner);
        Reading {
            at: Instant(self.now_us),
            pressure: self.pressure(),
            threads: front.into_iter().collect(),
            background: back.into_iter().collect(),
        }
    }
}

impl<S: Iterator<Item = Slice>> Body for Stage<S> {
    fn now(&self) -> Now {
        Now {
            boot: Instant(self.now_us),
            wall: WallTime(BEGIN_WALL_MS + self.now_us / 1_000),
        }
    }

    fn sample(&mut self, request: &SampleRequest) -> Sample {
        self.pass(self.now_us + TAKES_US);
        match request {
            SampleRequest::Survey => Sample::Survey(self.survey()),
            SampleRequest::Watch {
                protected,
                background,
            } => Sample::Window(self.watch(protected, background)),
        }
    }

    fn act(&mut self, step: &Step) -> Receipt {
        self.pass(self.now_us + TAKES_US);
        self.on.insert(step.change, step.action);
        Receipt {
            change: step.change,
            outcome: Outcome::Applied { touched: 2 },
        }
    }

    fn undo(&mut self, change: ChangeId) -> Receipt {
        self.pass(self.now_us + TAKES_US);
        let restored = if self.on.remove(&change).is_some() {
            2
        } else {
            0
        };
        Receipt {
            change,
            outcome: Outcome::Restored {
                restored,
                left_alone: 0,
                gone: 0,
            },
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters of a short life, never negative"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
