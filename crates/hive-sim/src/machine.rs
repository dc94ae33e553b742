//! A machine with programs, pressure and rights, whose true effect of every action is known to the world.
//!
//! Its counters run on in slices of a quarter second. Noise, outside load and biased measuring are laid over the truth,
//! so that a node sees only what a real one would see.

use std::collections::BTreeMap;

use hive_core::id::{ChangeId, ProgramName};
use hive_core::machine::act::{Outcome, Receipt, Refusal, Step};
use hive_core::machine::facts::{
    GroupCounters, GroupId, MachineFacts, Pressure, Process, Reading, Rights, Sample,
    SampleRequest, Survey, ThreadCounters,
};
use hive_core::pattern::{Action, BACKGROUND_NICE, Binding};
use hive_core::time::{Instant, Span};

use crate::dice::Dice;

/// What is true of a machine and told to nobody.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// What decides between its workloads.
    pub binding: Binding,
    /// Natural logarithm of wait per wake-up with an action over without it: below zero is better.
    pub finer_slice: f64,
    /// The same for autogroup nice; counts only where [`Binding::Autogroup`] decides.
    pub autogroup_nice: f64,
    /// The same for nice; counts only where [`Binding::Task`] decides.
    pub background_nice: f64,
    /// The same for the policy `SCHED_IDLE`; counts only where [`Binding::Task`] decides.
    pub background_idle: f64,
    /// Share of its work that the background keeps under an action that helps.
    pub background_keeps: f64,
    /// The same under `SCHED_IDLE`.
    pub idle_keeps: f64,
    /// What any change of ours, the placebo too, does to the *reading* and not to the wait.
    pub measuring_bias: f64,
    /// Standard deviation of the log of one slice's wait. Four slices make a one-second window; measured A/A
    /// deviations of windows are 0.09 to 0.41 (`research/optimizer.md` 5.1).
    pub noise: f64,
    /// How far the outside load wanders, as the deviation of its log per slice.
    pub drift: f64,
    /// Whether the machine can be looked at. Where it cannot (a system that the host does not know, a kernel without
    /// pressure), it belongs to the hive and never acts; months of its life cost little.
    pub eyes: bool,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What its host tells at the start.
    pub facts: MachineFacts,
    /// What is true of it.
    pub truth: Truth,
    /// Whether the build runs now.
    pub building: bool,
    /// What the names of its programs are; they must never leave it.
    pub names: Names,
    changes: BTreeMap<ChangeId, Step>,
    upto: Instant,
    load: f64,
    pressure: f64,
    waited: f64,
    ran: f64,
    wakeups: f64,
    built: f64,
    compilers: u32,
    dice: Dice,
    /// Steps that were applied, the placebo not counted.
    pub applied: u64,
    /// Whether the kernel refuses to put anything back.
    pub stuck: bool,
}

/// Names of programs on a machine.
#[derive(Clone, Debug)]
pub struct Names {
    /// What a person works with.
    pub editor: String,
    /// What runs the build.
    pub maker: String,
    /// What the build starts.
    pub compiler: String,
    /// What sits there and does little.
    pub idler: String,
}

/// How long one slice is: short against a window of one second.
const SLICE: Span = Span::from_ms(250);

/// Wake-ups of the person's program per second. An editor with a cursor and a language server: a guess.
const WAKEUPS_PER_S: f64 = 200.0;

/// Nanoseconds that it waits per wake-up under contention: of the size measured in `research/optimizer.md` 4.1.
const WAIT_NS: f64 = 1_800_000.0;

const EDITOR: GroupId = GroupId {
    session: 100,
    group: 101,
};
const BUILD: GroupId = GroupId {
    session: 200,
    group: 201,
};
const IDLER: GroupId = GroupId {
    session: 300,
    group: 301,
};

impl Truth {
    /// Nice helps much, as measured where tasks decide: the wait falls to 40 %. `SCHED_IDLE` makes it 30 % and takes
    /// more than half of the background's work (`research/optimizer.md` 4.1, run A), so it is no help.
    pub const NICE_HELPS: Self = Self {
        binding: Binding::Task,
        finer_slice: 0.0,
        autogroup_nice: 0.0,
        background_nice: -0.92,
        background_idle: -1.2,
        background_keeps: 0.9,
        idle_keeps: 0.39,
        measuring_bias: 0.0,
        noise: 0.25,
        drift: 0.03,
        eyes: true,
    };

    /// Nothing helps.
    pub const NOTHING_HELPS: Self = Self {
        background_nice: 0.0,
        background_idle: 0.0,
        background_keeps: 1.0,
        idle_keeps: 1.0,
        ..Self::NICE_HELPS
    };

    /// No eyes and no hands: what `hive-host` is on a system that it does not know.
    pub const BLIND: Self = Self {
        eyes: false,
        ..Self::NOTHING_HELPS
    };

    /// The true log ratio of an action here.
    #[must_use]
    pub fn effect(&self, action: Action) -> f64 {
        match action {
            Action::FinerSlice => self.finer_slice,
            Action::AutogroupNice if self.binding == Binding::Autogroup => self.autogroup_nice,
            Action::BackgroundNice if self.binding == Binding::Task => self.background_nice,
            Action::BackgroundIdle if self.binding == Binding::Task => self.background_idle,
            _ => 0.0,
        }
    }

    /// Whether an action helps here: the wait falls, and the background is not starved for it.
    #[must_use]
    pub fn helps(&self, action: Action) -> bool {
        self.effect(action) < 0.0 && self.keeps(action) >= STARVED
    }

    /// Share of its work that the background keeps under an action.
    #[must_use]
    pub fn keeps(&self, action: Action) -> f64 {
        match action {
            _ if self.effect(action) >= -0.05 => 1.0,
            Action::BackgroundIdle => self.idle_keeps,
            _ => self.background_keeps,
        }
    }
}

/// A background that keeps less of its work is starved, whatever the person gains: DESIGN section 9.
const STARVED: f64 = 0.5;

impl Names {
    /// Names that occur nowhere else, so that a leak is found wherever it is.
    #[must_use]
    pub fn canaries(dice: &mut Dice) -> Self {
        // The kernel keeps fifteen bytes of a name.
        let mut name = |what: &str| format!("{what}{:08x}", dice.below(1 << 32));
        Self {
            editor: name("edcnry"),
            maker: name("mkcnry"),
            compiler: name("cccnry"),
            idler: name("idcnry"),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&str; 4] {
        [&self.editor, &self.maker, &self.compiler, &self.idler]
    }
}

impl Machine {
    /// A machine with four cores on which a person edits and, at times, builds.
    #[must_use]
    pub fn new(truth: Truth, names: Names, dice: Dice) -> Self {
        let facts = MachineFacts {
            cores: 4,
            kernel: (6, 12),
            autogroup: truth.binding == Binding::Autogroup,
            pressure: truth.eyes,
            rights: Rights {
                nice: truth.eyes,
                autogroup_nice: truth.eyes,
                slice: truth.eyes,
                advise: truth.eyes,
                unit_weight: truth.eyes,
            },
            uid: 1_000,
        };
        Self {
            facts,
            truth,
            building: false,
            names,
            changes: BTreeMap::new(),
            upto: Instant::START,
            load: 0.0,
            pressure: 0.0,
            waited: 0.0,
            ran: 0.0,
            wakeups: 0.0,
            built: 0.0,
            compilers: 0,
            dice,
            applied: 0,
            stuck: false,
        }
    }

    /// What is on now, the placebo not counted.
    #[must_use]
    pub fn on(&self) -> Vec<Action> {
        let real = self.changes.values().map(|step| step.action);
        real.filter(|action| *action != Action::Placebo).collect()
    }

    /// Whether this is on now.
    #[must_use]
    pub fn carries(&self, action: Action) -> bool {
        self.changes.values().any(|step| step.action == action)
    }

    /// Carries out a step.
    pub fn act(&mut self, now: Instant, step: Step) -> Receipt {
        self.run_until(now);
        let change = step.change;
        let outcome = self.refusal(&step).unwrap_or_else(|| {
            self.applied += u64::from(step.action != Action::Placebo);
            self.changes.insert(change, step);
            Outcome::Applied { touched: 4 }
        });
        Receipt { change, outcome }
    }

    /// Puts a change back.
    pub fn undo(&mut self, now: Instant, change: ChangeId) -> Receipt {
        self.run_until(now);
        if self.stuck {
            let outcome = Outcome::Failed { errno: 1 };
            return Receipt { change, outcome };
        }
        let restored = if self.changes.remove(&change).is_some() {
            4
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

    /// What the host does from its journal when a daemon starts after a crash.
    pub fn restore_all(&mut self, now: Instant) {
        self.run_until(now);
        self.changes.clear();
    }

    /// The machine lost power: nothing of ours is on, and its counters begin again.
    pub fn reboot(&mut self) {
        self.changes.clear();
        self.upto = Instant::START;
        self.pressure = 0.0;
        self.waited = 0.0;
        self.ran = 0.0;
        self.wakeups = 0.0;
        self.built = 0.0;
    }

    /// Looks at the machine.
    pub fn sample(&mut self, now: Instant, request: &SampleRequest) -> Sample {
        self.run_until(now);
        match request {
            SampleRequest::Survey => Sample::Survey(self.survey()),
            SampleRequest::Watch {
                protected,
                background,
            } => Sample::Window(self.watch(protected, background)),
        }
    }

    fn refusal(&self, step: &Step) -> Option<Outcome> {
        let rights = self.facts.rights;
        let allowed = match step.action {
            Action::BackgroundNice | Action::BackgroundIdle => rights.nice,
            Action::AutogroupNice => rights.autogroup_nice,
            Action::FinerSlice => rights.slice,
            Action::BackgroundWeight => rights.unit_weight,
            _ => true,
        };
        if !allowed {
            return Some(Outcome::Refused(Refusal::NotReversible));
        }
        let alive = |group: &GroupId| *group == EDITOR || (*group == BUILD && self.building);
        if !step.targets.iter().any(alive) {
            return Some(Outcome::Refused(Refusal::Gone));
        }
        None
    }

    fn run_until(&mut self, now: Instant) {
        if !self.building && self.changes.is_empty() {
            self.rest_until(now);
        }
        while self.upto < now {
            let slice = now.since(self.upto).0.min(SLICE.0);
            self.run_slice(slice);
            self.upto = self.upto.after(Span(slice));
        }
    }

    /// A stretch in which nobody competes, in one step: nobody can tell how its slices differed, and idle machines
    /// must cost next to nothing.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 microseconds")]
    fn rest_until(&mut self, now: Instant) {
        if self.upto >= now {
            return;
        }
        let micros = now.since(self.upto).0;
        let (seconds, slices) = (micros as f64 / 1e6, micros as f64 / SLICE.0 as f64);
        // Where the pulled-back walk of `run_slice` is after so many steps at once.
        let stays = 0.98_f64.powf(slices);
        let spread = self.truth.drift * ((1.0 - stays * stays) / (1.0 - 0.98 * 0.98)).sqrt();
        self.load = stays * self.load + spread * self.dice.normal();
        self.wakeups += WAKEUPS_PER_S * seconds;
        self.ran += 0.05e9 * seconds;
        self.waited += WAKEUPS_PER_S * seconds * 20_000.0;
        self.pressure += 0.01 * seconds;
        self.upto = now;
    }

    #[expect(clippy::cast_precision_loss, reason = "a slice is short")]
    fn run_slice(&mut self, micros: u64) {
        let seconds = micros as f64 / 1e6;
        // The outside load wanders and is pulled back: an Ornstein-Uhlenbeck process.
        self.load += -0.02 * self.load + self.truth.drift * self.dice.normal();
        let noise = self.truth.noise * self.dice.normal();
        self.wakeups += WAKEUPS_PER_S * seconds;
        self.ran += 0.05e9 * seconds;
        if !self.building {
            self.waited += WAKEUPS_PER_S * seconds * 20_000.0 * noise.exp();
            self.pressure += 0.01 * seconds;
            return;
        }
        let on: Vec<Action> = self.changes.values().map(|step| step.action).collect();
        let effect: f64 = on.iter().map(|action| self.truth.effect(*action)).sum();
        let bias = if on.is_empty() {
            0.0
        } else {
            self.truth.measuring_bias
        };
        let wait = WAIT_NS * (self.load + noise + effect + bias).exp();
        self.waited += WAKEUPS_PER_S * seconds * wait;
        self.pressure += 0.9 * seconds;
        let keeps = on.iter().map(|action| self.truth.keeps(*action));
        let keeps = keeps.fold(1.0, f64::min);
        self.built += 3.6 * keeps * seconds * (0.02 * self.dice.normal()).exp();
        self.compilers = self.compilers.wrapping_add(1);
    }

    fn pressure(&self) -> Pressure {
        Pressure {
            cpu: seconds(self.pressure),
            ..Pressure::default()
        }
    }

    fn survey(&self) -> Survey {
        if !self.truth.eyes {
            return Survey {
                at: self.upto,
                ..Survey::default()
            };
        }
        let mut processes = vec![
            Process {
                pid: 101,
                foreground: true,
                cpu: seconds(self.ran / 1e9),
                threads: 2,
                ..self.process(EDITOR, &self.names.editor)
            },
            Process {
                pid: 301,
                cpu: seconds(1.0),
                ..self.process(IDLER, &self.names.idler)
            },
        ];
        if self.building {
            processes.push(Process {
                pid: 201,
                children_cpu: seconds(self.built),
                ..self.process(BUILD, &self.names.maker)
            });
            // Four compilers, each gone at the next survey.
            processes.extend((0..4).map(|nth| Process {
                pid: 1_000 + (self.compilers % 10_000) * 4 + nth,
                parent: 201,
                cpu: seconds(0.2),
                ..self.process(BUILD, &self.names.compiler)
            }));
        }
        Survey {
            at: self.upto,
            pressure: self.pressure(),
            processes,
            ..Survey::default()
        }
    }

    fn process(&self, group: GroupId, name: &str) -> Process {
        // Where tasks decide, all jobs share one session's group; where sessions decide, each has its own.
        let autogroup = match self.truth.binding {
            Binding::Autogroup => Some(u64::from(group.session)),
            _ => None,
        };
        let cpu_cgroup = match self.truth.binding {
            Binding::Cgroup => u64::from(group.session),
            _ => 0,
        };
        let idle = group == BUILD && self.carries(Action::BackgroundIdle);
        let niced = idle || (group == BUILD && self.carries(Action::BackgroundNice));
        Process {
            nice: if niced { BACKGROUND_NICE } else { 0 },
            pid: group.group,
            parent: 1,
            start: u64::from(group.group),
            group,
            uid: self.facts.uid,
            name: ProgramName::new(name),
            ordinary: !idle,
            idle,
            threads: 1,
            autogroup,
            cpu_cgroup,
            ..Process::default()
        }
    }

    fn watch(&self, protected: &[GroupId], background: &[GroupId]) -> Reading {
        let mut reading = Reading {
            at: self.upto,
            pressure: self.pressure(),
            ..Reading::default()
        };
        if protected.contains(&EDITOR) {
            for nth in 0..2 {
                reading.threads.push(ThreadCounters {
                    tid: 101 + nth,
                    group: EDITOR,
                    waited_ns: whole(self.waited / 2.0),
                    ran_ns: whole(self.ran / 2.0),
                    wakeups: whole(self.wakeups / 2.0),
                });
            }
        }
        if background.contains(&BUILD) && self.building {
            reading.background.push(GroupCounters {
                group: BUILD,
                cpu: seconds(self.built),
                processes: 5,
            });
        }
        reading
    }
}

fn seconds(value: f64) -> Span {
    Span(whole(value * 1e6))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters of a short life, never negative"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(truth: Truth) -> Machine {
        let mut dice = Dice::new(1, "machine");
        let names = Names::canaries(&mut dice);
        Machine::new(truth, names, dice)
    }

    fn step(action: Action) -> Step {
        Step {
            change: ChangeId(1),
            action,
            targets: vec![BUILD, EDITOR],
            units: vec![],
        }
    }

    /// The mean wait of many windows with and without an action.
    fn ratio(truth: Truth, action: Action) -> f64 {
        let mut machine = machine(truth);
        machine.building = true;
        let mut now = Instant::START;
        let mut sums = [0.0, 0.0];
        for nth in 0..800 {
            let before = machine.waited;
            if nth % 2 == 1 {
                machine.act(now, step(action));
            }
            now = now.after(Span::from_secs(1));
            machine.run_until(now);
            sums[nth % 2] += machine.waited - before;
            machine.undo(now, ChangeId(1));
        }
        sums[1] / sums[0]
    }

    #[test]
    fn an_action_does_what_the_truth_says_and_only_where_it_binds() {
        let truth = Truth::NICE_HELPS;
        assert!((ratio(truth, Action::BackgroundNice) - 0.40).abs() < 0.03);
        assert!((ratio(truth, Action::BackgroundIdle) - 0.30).abs() < 0.03);
        assert!((ratio(truth, Action::AutogroupNice) - 1.0).abs() < 0.06);
        let elsewhere = Truth {
            binding: Binding::Autogroup,
            ..truth
        };
        assert!((ratio(elsewhere, Action::BackgroundNice) - 1.0).abs() < 0.06);
    }

    #[test]
    fn a_biased_reading_flatters_the_placebo_too() {
        let truth = Truth {
            measuring_bias: -0.3,
            ..Truth::NOTHING_HELPS
        };
        assert!(ratio(truth, Action::Placebo) < 0.8);
    }

    #[test]
    fn without_the_right_to_undo_nothing_is_done() {
        let mut machine = machine(Truth::NICE_HELPS);
        machine.building = true;
        machine.facts.rights.nice = false;
        let receipt = machine.act(Instant(5), step(Action::BackgroundNice));
        assert_eq!(receipt.outcome, Outcome::Refused(Refusal::NotReversible));
        assert!(machine.on().is_empty());
    }
}
