//! Act: one pattern being run, window by window. It says what should be on and when to read.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::id::PatternId;
use crate::machine::facts::{GroupId, Reading, SampleRequest};
use crate::machine::hands::{Allowed, Wanted};
use crate::machine::observe::Contention;
use crate::machine::trial::{Arm, Block, Purpose, Regime, Slot, WASH_OUT};
use crate::machine::weigh::Weighable;
use crate::machine::window::{Window, real};
use crate::pattern::{Action, Goal, PatternDef, Side};
use crate::time::{Instant, Span};

/// Control windows whose mean the guard rails compare with. A guess: recent, but not one alone.
const CONTROLS_KEPT: usize = 5;

/// The wait may be this many times the control's mean (`research/optimizer.md` 7.5).
const WAIT_RAIL: f64 = 2.0;

/// ... and must be longer by this, per wake-up: less is not felt. A guess: a thirtieth of a frame at 60 a second.
const WAIT_FELT_NS: f64 = 5e5;

/// The job may get this share of the controls' mean, where it wants more: [`WAIT_RAIL`] for what is judged by its progress.
const PROGRESS_RAIL: f64 = 1.0 / WAIT_RAIL;

/// In so many treated windows in a row (`research/optimizer.md` 7.5).
const WAIT_RAIL_WINDOWS: u32 = 2;

/// The background must get this share of what it got without the action ...
const STARVED_SHARE: f64 = 0.05;

/// ... or the rail falls after this long (`research/optimizer.md` 7.5).
const STARVED_SPAN: Span = Span::from_secs(3);

/// ... while some task waited for a processor for this share of the time. One that is kept from running waits always;
/// a background that sleeps by itself was denied nothing. A guess between the two.
const STARVED_WAITING: f64 = 0.5;

/// Share of a treated window in which everything may wait for memory (`research/optimizer.md` 7.5) ...
const MEMORY_RAIL: f64 = 0.10;

/// ... and how many times the controls' mean it must be besides: a machine that is short of memory anyway says nothing
/// of the action. A guess, that of [`WAIT_RAIL`].
const MEMORY_RAIL_TIMES: f64 = 2.0;

/// A guard rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rail {
    /// The program waited twice as long. That comes about by itself, too, where waits are rare and long.
    Wait,
    /// The background got next to nothing, for seconds.
    Background,
    /// Everything waited for memory.
    Memory,
}

/// What a control window showed, for the guard rails to compare with.
#[derive(Clone, Copy, Debug)]
struct Calm {
    wait: f64,
    progress: f64,
    cores: f64,
    memory: f64,
}

/// One pattern being run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which pattern.
    pub id: PatternId,
    /// Its definition.
    pub def: PatternDef,
    /// Why.
    pub regime: Regime,
    /// For whom.
    pub protected: GroupId,
    /// When the contention was last seen.
    pub open_at: Instant,
    /// Whether the last survey showed it.
    pub open: bool,
    /// Whether the owner was told that it is on.
    pub told_on: bool,
    /// How long it was on in windows since it began.
    pub held: Span,
    /// Rest blocks left before the next hold-out.
    pub rests: u64,
    quiet: Vec<GroupId>,
    next_quiet: Vec<GroupId>,
    background: Vec<GroupId>,
    next_background: Vec<GroupId>,
    allowed: Vec<GroupId>,
    units: Weighable,
    block: Option<Progress>,
    phase: Phase,
    controls: VecDeque<Calm>,
    hard: u32,
    starved: Span,
}

#[derive(Clone, Debug)]
struct Progress {
    purpose: Purpose,
    ahead: VecDeque<Slot>,
    railed: Option<Rail>,
    done: Vec<(Arm, Window)>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The right thing is not on yet, or no block runs.
    Settle,
    /// It is on (or off); the effect of the change passes.
    WashOut(Instant),
    /// The first reading is due.
    First,
    /// The window runs until then.
    Measure(Reading, Instant),
    /// The second reading is due.
    Last(Reading),
}

/// A block that is through.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What it was for.
    pub purpose: Purpose,
    /// Windows with the action (or the placebo) on.
    pub treated: Vec<Window>,
    /// The window without.
    pub control: Option<Window>,
    /// The guard rail that fell in it.
    pub railed: Option<Rail>,
}

/// What a reading led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The window that ended, and what was on.
    pub window: Option<(Arm, Window)>,
    /// The same of other jobs in front, where the run looks at them.
    pub quiet: Vec<(GroupId, Window)>,
    /// A guard rail fell.
    pub railed: Option<Rail>,
    /// The block that ended.
    pub measured: Option<Measured>,
}

impl Run {
    /// Starts with nothing measured.
    #[must_use]
    pub fn new(def: PatternDef, regime: Regime, contention: &Contention, now: Instant) -> Self {
        Self {
            id: def.id(),
            def,
            regime,
            protected: contention.protected,
            open_at: now,
            open: true,
            told_on: false,
            held: Span::default(),
            rests: 0,
            quiet: contention.quiet.clone(),
            next_quiet: contention.quiet.clone(),
            background: contention.background.clone(),
            next_background: contention.background.clone(),
            allowed: contention.allowed.clone(),
            units: contention.units.clone(),
            block: None,
            phase: Phase::Settle,
            controls: VecDeque::new(),
            hard: 0,
            starved: Span::default(),
        }
    }

    /// What the protected job is judged by.
    #[must_use]
    pub fn goal(&self) -> Goal {
        self.def.role.goal()
    }

    /// Whether a contention is one for this pattern.
    #[must_use]
    pub fn fits(&self, contention: &Contention) -> bool {
        contention.context == self.def.context
            && contention.role == self.def.role
            && contention.offers(self.def.action)
    }

    /// The contention still holds; who takes part in it counts from the next block.
    pub fn renew(&mut self, contention: &Contention, now: Instant) {
        self.open = true;
        self.open_at = now;
        self.next_background.clone_from(&contention.background);
        self.next_quiet.clone_from(&contention.quiet);
        self.allowed.clone_from(&contention.allowed);
        self.units.clone_from(&contention.units);
    }

    /// Whether a new block may begin.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.block.is_none()
    }

    /// Whether the guard rails have something to compare with.
    #[must_use]
    pub fn has_reference(&self) -> bool {
        !self.controls.is_empty()
    }

    /// Begins a block.
    pub fn begin(&mut self, block: Block) {
        self.background.clone_from(&self.next_background);
        self.quiet.clone_from(&self.next_quiet);
        self.phase = Phase::Settle;
        self.block = Some(Progress {
            purpose: block.purpose,
            ahead: block.slots.into(),
            railed: None,
            done: Vec::new(),
        });
    }

    /// What should be on now.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        let between = match self.regime {
            Regime::Trial => Arm::Control,
            Regime::Probation | Regime::Proven => Arm::Treated,
        };
        let slot = self.block.as_ref().and_then(|block| block.ahead.front());
        let action = match slot.map_or(between, |slot| slot.arm) {
            Arm::Control => return None,
            Arm::Treated => self.def.action,
            Arm::Placebo => Action::Placebo,
        };
        // The placebo takes the very same steps, so it goes to the same jobs as what is under trial.
        let targets = match self.def.action.side() {
            Side::Protected => Vec::from([self.protected]),
            Side::Background => self.background.clone(),
        };
        let units = match action {
            Action::BackgroundWeight => self.units.wanted.clone(),
            _ => Vec::new(),
        };
        Some(Wanted {
            action,
            targets,
            units,
        })
    }

    /// Jobs and units that may keep a change although it is not wanted on them any more.
    #[must_use]
    pub fn allowed(&self) -> Allowed<'_> {
        match self.def.action.side() {
            Side::Protected => Allowed::default(),
            Side::Background => Allowed {
                jobs: &self.allowed,
                units: &self.units.allowed,
            },
        }
    }

    /// Time passed, and what is wanted on is on (or not).
    pub fn tick(&mut self, now: Instant, ready: bool) {
        if self.block.is_none() {
            return;
        }
        match &self.phase {
            Phase::Settle if ready => self.phase = Phase::WashOut(now.after(WASH_OUT)),
            Phase::WashOut(until) if now >= *until => self.phase = Phase::First,
            Phase::Measure(first, until) if now >= *until => {
                self.phase = Phase::Last(first.clone());
            }
            _ => {}
        }
    }

    /// Whether a reading is due.
    #[must_use]
    pub fn wants_reading(&self) -> bool {
        self.block.is_some() && matches!(self.phase, Phase::First | Phase::Last(_))
    }

    /// When time alone moves it on.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::WashOut(until) | Phase::Measure(_, until) => Some(until),
            Phase::Settle | Phase::First | Phase::Last(_) => None,
        }
    }

    /// What to read.
    #[must_use]
    pub fn request(&self) -> SampleRequest {
        let mut protected = Vec::from([self.protected]);
        let mut background = self.background.clone();
        if self.goal() == Goal::Progress {
            protected.extend(&self.quiet);
            background.push(self.protected);
        }
        SampleRequest::Watch {
            protected,
            background,
        }
    }

    /// Takes a reading that was asked for.
    pub fn on_reading(&mut self, reading: Reading) -> Step {
        let goal = self.goal();
        let Some(block) = &mut self.block else {
            return Step::default();
        };
        let Some(slot) = block.ahead.front().copied() else {
            return Step::default();
        };
        let first = match core::mem::replace(&mut self.phase, Phase::Settle) {
            Phase::First => {
                let until = reading.at.after(slot.span);
                self.phase = Phase::Measure(reading, until);
                return Step::default();
            }
            Phase::Last(first) => first,
            other => {
                self.phase = other;
                return Step::default();
            }
        };
        let window = match goal {
            Goal::Wait => Window::between(&first, &reading),
            Goal::Progress => Window::of_work(&first, &reading, self.protected),
        };
        let of_threads = |id: &GroupId| (*id, Window::of_threads(&first, &reading, *id));
        let quiet = self.quiet.iter().map(of_threads).collect();
        block.ahead.pop_front();
        block.done.push((slot.arm, window));
        let railed = match slot.arm {
            Arm::Control => {
                self.on_control(&window);
                None
            }
            Arm::Treated => self.on_treated(&window),
            Arm::Placebo => None,
        };
        Step {
            window: Some((slot.arm, window)),
            quiet,
            railed,
            measured: self.finish(railed),
        }
    }

    /// Ends the block when nothing is ahead. A fallen rail cuts the treated windows that are ahead and
    /// leaves the control, so that the windows that tripped it still count.
    fn finish(&mut self, railed: Option<Rail>) -> Option<Measured> {
        let block = self.block.as_mut()?;
        if railed.is_some() {
            block.railed = railed;
            block.ahead.retain(|slot| slot.arm == Arm::Control);
        }
        if !block.ahead.is_empty() {
            return None;
        }
        let block = self.block.take()?;
        let of = |control: bool| {
            let is = move |arm: Arm| (arm == Arm::Control) == control;
            block
                .done
                .iter()
                .filter(move |(arm, _)| is(*arm))
                .map(|(_, w)| *w)
        };
        Some(Measured {
            purpose: block.purpose,
            treated: of(false).collect(),
            control: of(true).next(),
            railed: block.railed,
        })
    }

    fn on_control(&mut self, window: &Window) {
        self.controls.push_back(Calm {
            wait: window.wait(),
            progress: window.cores(),
            cores: window.background_cores(),
            memory: window.memory_stalled(),
        });
        if self.controls.len() > CONTROLS_KEPT {
            self.controls.pop_front();
        }
    }

    /// The guard rails. Without a control there is nothing to compare with; the first comes within a block.
    fn on_treated(&mut self, window: &Window) -> Option<Rail> {
        self.held.0 = self.held.0.saturating_add(window.span.0);
        let count = real(self.controls.len() as u64);
        if self.controls.is_empty() {
            return None;
        }
        let mean = |of: fn(&Calm) -> f64| self.controls.iter().map(of).sum::<f64>() / count;
        let (wait, cores) = (mean(|calm| calm.wait), mean(|calm| calm.cores));
        let progress = mean(|calm| calm.progress);
        let memory = MEMORY_RAIL.max(MEMORY_RAIL_TIMES * mean(|calm| calm.memory));
        let hard = match self.goal() {
            Goal::Wait => window.wait() > WAIT_RAIL * wait && window.wait() - wait > WAIT_FELT_NS,
            // A link step is no harm: it gets less than the compilers did because it wants less.
            Goal::Progress => window.wanted_more() && window.cores() < PROGRESS_RAIL * progress,
        };
        self.hard = if hard { self.hard + 1 } else { 0 };
        let starved = window.processes > 0
            && window.background_cores() < STARVED_SHARE * cores
            && window.cpu_stalled() >= STARVED_WAITING;
        self.starved.0 = if starved {
            self.starved.0.saturating_add(window.span.0)
        } else {
            0
        };
        let rail = if window.memory_stalled() > memory {
            Rail::Memory
        } else if self.starved >= STARVED_SPAN {
            Rail::Background
        } else if self.hard >= WAIT_RAIL_WINDOWS {
            Rail::Wait
        } else {
            return None;
        };
        // The load may have changed since those controls: compare with new ones after this.
        self.controls.clear();
        self.hard = 0;
        self.starved = Span::default();
        self.rests = 0;
        Some(rail)
    }
}
