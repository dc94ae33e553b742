//! A toy machine whose true effects are known: it answers what the optimizer asks and does what it says.

#![expect(unreachable_pub, reason = "shared by two test programs")]

use std::collections::{BTreeMap, VecDeque};

use hive_core::chance::Chance;
use hive_core::event_log::Happening;
use hive_core::hive::outside::{Record, Table};
use hive_core::id::{ChangeId, PatternId, ProgramName};
use hive_core::machine::act::{Outcome, Receipt, Step};
use hive_core::machine::facts::{
    Cgroup, CgroupId, CgroupKind, GroupCounters, GroupId, MachineFacts, Memory, Pressure, Process,
    Reading, Rights, Sample, SampleRequest, Survey, Swap, ThreadCounters, Tuners,
};
use hive_core::machine::{Containers, Machine, MachineConfig, MachineEffect};
use hive_core::pattern::{Action, BACKGROUND_NICE, Evidence};
use hive_core::reply::{Mode, PatternView};
use hive_core::statement::Statement;
use hive_core::time::{Instant, Now, Span, WallTime};
use hive_core::units::Permille;

/// The interactive program's job.
pub const FRONT: GroupId = GroupId {
    session: 10,
    group: 11,
};
/// The job that burns.
/// What holds the units of both.
pub const APPS: CgroupId = CgroupId(30);
pub const FRONT_UNIT: CgroupId = CgroupId(31);
pub const BACK_UNIT: CgroupId = CgroupId(32);
pub const BACK: GroupId = GroupId {
    session: 20,
    group: 21,
};
/// A job that never runs.
pub const SLEEPER: GroupId = GroupId {
    session: 30,
    group: 31,
};
/// Another program in front, which somebody begins to use.
pub const EDITOR: GroupId = GroupId {
    session: 40,
    group: 41,
};
/// The hive's secret.
pub const SECRET: [u8; 32] = [3; 32];

/// What an action truly does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truth {
    /// Natural logarithm of the wait's ratio; for a build that of the time per work.
    pub effect: f64,
    /// Share of its work that the background loses.
    pub loss: f64,
    /// Share of its wake-ups, or of its work, that the protected program loses.
    pub starve: f64,
    /// Share of the time in which everything waits for memory.
    pub memory_stall: f64,
}

/// How the world is.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that a test sets one by one"
)]
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u8,
    pub mode: Mode,
    pub rights: Rights,
    /// Whether the protected program is a build: it burns and forks.
    pub builds: bool,
    pub across_sessions: bool,
    pub across_cgroups: bool,
    /// Whether both are applications of a desktop, each in its unit.
    pub applications: bool,
    /// Others that tune the machine.
    pub tuners: Tuners,
    /// Truth by action; a missing one does nothing.
    pub truth: BTreeMap<Action, Truth>,
    /// What any act does to the figure, the placebo's included.
    pub bias: f64,
    /// Spread of a window's logarithm.
    pub noise: f64,
    /// Whether memory is short, there is compressed swap, and a job sleeps that holds much.
    pub short_of_memory: bool,
    /// Cores that the daemon itself uses.
    pub own_load: f64,
    /// How often the interactive program wakes up in a second. It runs a twentieth of a core in all.
    pub wakeups_per_s: f64,
    /// Microseconds by which the clock of the windows' readings lags behind.
    pub readings_late: u64,
    /// What the host says to an act, when it does not do it.
    pub refuse: Option<Outcome>,
    /// The store of an earlier life.
    pub store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Wall clock at start, in milliseconds.
    pub wall: u64,
    /// The hive's secret.
    pub secret: [u8; 32],
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            mode: Mode::Auto,
            rights: Rights {
                nice: true,
                autogroup_nice: true,
                slice: true,
                advise: true,
                unit_weight: true,
            },
            builds: false,
            across_sessions: false,
            across_cgroups: false,
            applications: false,
            tuners: Tuners::default(),
            truth: BTreeMap::new(),
            bias: 0.0,
            noise: 0.2,
            short_of_memory: false,
            own_load: 0.0,
            wakeups_per_s: 100.0,
            readings_late: 0,
            refuse: None,
            store: BTreeMap::new(),
            wall: 1_000_000_000,
            secret: SECRET,
        }
    }
}

impl Plan {
    /// Background nice takes 60 % of the wait away for 17 % of the work (`research/optimizer.md`, run A).
    pub fn strong(seed: u8) -> Self {
        let truth = Truth {
            effect: 0.4_f64.ln(),
            loss: 0.17,
            ..Truth::default()
        };
        let plan = Self {
            seed,
            ..Self::default()
        };
        plan.with(Action::BackgroundNice, truth)
    }

    pub fn with(mut self, action: Action, truth: Truth) -> Self {
        self.truth.insert(action, truth);
        self
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that a test turns one by one"
)]
pub struct World {
    pub machine: Machine,
    pub plan: Plan,
    pub now: u64,
    /// Whether the burning job runs, and the interactive one.
    pub busy: bool,
    pub front: bool,
    /// Whether somebody works in an editor besides.
    pub editor: bool,
    /// Whether the build links: it wants one processor only, and has it.
    pub links: bool,
    pub on: Option<(ChangeId, Action, Vec<GroupId>)>,
    pub acts: Vec<Action>,
    /// The units of the latest step that had any.
    pub units: Vec<CgroupId>,
    /// When an undoing was asked for.
    pub undos: Vec<u64>,
    /// So many undoings fail from now on.
    pub undo_fails: u32,
    /// Whether the receipts of acts are late: they come with the next undoing's.
    pub late: bool,
    /// Whether the disk has not answered yet.
    pub slow_disk: bool,
    late_receipt: Option<Receipt>,
    /// The last act, if it failed half-way.
    failed: Option<ChangeId>,
    pub tells: Vec<Happening>,
    pub published: Vec<(PatternId, Evidence)>,
    pub store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Microseconds with a real action on / in all, while busy.
    pub on_time: u64,
    pub busy_time: u64,
    chance: Chance,
    stalled: u64,
    memory_stalled: f64,
    level: f64,
    waited_ns: f64,
    /// What the interactive program waited while the background was nice.
    pub waited_while_on_ns: f64,
    wakeups: f64,
    typed: f64,
    back_cpu: f64,
    build_cpu: f64,
    build_waited: f64,
}

fn config(plan: &Plan) -> MachineConfig {
    let facts = MachineFacts {
        cores: 2,
        kernel: (6, 18),
        autogroup: true,
        pressure: true,
        rights: plan.rights,
        uid: 1_000,
    };
    MachineConfig {
        facts,
        mode: plan.mode,
        protect: vec![],
        never: vec![],
        containers: Containers::default(),
    }
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let records: Vec<Record> = plan
            .store
            .iter()
            .map(|(key, value)| Record {
                table: Table::Ledger,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect();
        let now = 5_000_000;
        let clock = Now {
            boot: Instant(now),
            wall: WallTime(plan.wall),
        };
        let machine = Machine::new(
            config(&plan),
            plan.secret,
            &records,
            Chance::from_seed([plan.seed; 32]),
            clock,
        );
        let mut world = Self {
            machine,
            chance: Chance::from_seed([plan.seed ^ 0x80; 32]),
            store: plan.store.clone(),
            plan,
            now,
            busy: true,
            front: true,
            editor: false,
            links: false,
            on: None,
            acts: vec![],
            units: vec![],
            undos: vec![],
            undo_fails: 0,
            late: false,
            slow_disk: false,
            late_receipt: None,
            failed: None,
            tells: vec![],
            published: vec![],
            on_time: 0,
            busy_time: 0,
            stalled: 0,
            memory_stalled: 0.0,
            level: 1.0,
            waited_ns: 0.0,
            waited_while_on_ns: 0.0,
            wakeups: 0.0,
            typed: 0.0,
            back_cpu: 0.0,
            build_cpu: 0.0,
            build_waited: 0.0,
        };
        let clock = world.clock();
        world.machine.on_start(clock);
        world
    }

    pub fn clock(&self) -> Now {
        Now {
            boot: Instant(self.now),
            wall: WallTime(self.plan.wall + self.now / 1_000),
        }
    }

    /// Lets so many seconds pass.
    pub fn run(&mut self, seconds: u64) {
        self.run_until(seconds, |_| false);
    }

    /// Lets at most so many seconds pass, until something is so. Tells whether it came to be.
    pub fn run_until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + seconds * 1_000_000;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            let wake = self.machine.next_wake().map_or(end, |wake| wake.0);
            self.pass(wake.clamp(self.now + 100, end.max(self.now + 100)));
            self.machine.on_timeout(self.clock());
        }
    }

    /// Carries out all that the machine wants, each in a millisecond.
    pub fn drain(&mut self) {
        let mut work: VecDeque<MachineEffect> = VecDeque::new();
        for _ in 0..10_000 {
            while let Some(effect) = self.machine.poll() {
                work.push_back(effect);
            }
            match work.pop_front() {
                Some(effect) => self.carry_out(effect),
                // Whatever was to be kept is kept.
                None if !self.slow_disk && self.machine.on_durable(self.clock()) => {}
                None => return,
            }
        }
        panic!("the machine never comes to rest");
    }

    fn carry_out(&mut self, effect: MachineEffect) {
        match effect {
            MachineEffect::Sample(request) => {
                self.pass(self.now + 1_000);
                let sample = self.look(&request);
                self.machine.on_sampled(self.clock(), sample);
            }
            MachineEffect::Act(step) if step.action.bytes_max().is_some() => {
                self.advise(&step);
            }
            MachineEffect::Act(step) => {
                assert!(self.on.is_none(), "two changes at once");
                self.pass(self.now + 1_000);
                self.acts.push(step.action);
                if !step.units.is_empty() {
                    self.units.clone_from(&step.units);
                }
                let refused = self.plan.refuse.clone();
                let outcome = refused
                    .filter(|_| step.action != Action::Placebo)
                    .unwrap_or_else(|| {
                        self.on = Some((step.change, step.action, step.targets));
                        Outcome::Applied { touched: 4 }
                    });
                if matches!(outcome, Outcome::Failed { .. }) {
                    self.failed = Some(step.change);
                }
                let receipt = Receipt {
                    change: step.change,
                    outcome,
                };
                if self.late {
                    self.late_receipt = Some(receipt);
                } else {
                    self.machine.on_acted(self.clock(), receipt);
                }
            }
            MachineEffect::Undo(change) => {
                self.pass(self.now + 1_000);
                self.undos.push(self.now);
                if let Some(receipt) = self.late_receipt.take() {
                    self.machine.on_acted(self.clock(), receipt);
                }
                let outcome = self.undo(change);
                self.machine
                    .on_acted(self.clock(), Receipt { change, outcome });
            }
            MachineEffect::Publish(statements) => {
                for statement in statements {
                    if let Statement::Evidence(id, evidence) = statement {
                        self.published.push((id, evidence));
                    }
                }
            }
            MachineEffect::Keep(records) => {
                for record in records {
                    assert_eq!(record.table, Table::Ledger);
                    match record.value {
                        Some(value) => self.store.insert(record.key, value),
                        None => self.store.remove(&record.key),
                    };
                }
            }
            MachineEffect::Tell(happening) => {
                if matches!(happening, Happening::GuardRail { .. }) {
                    assert!(self.on.is_none(), "a guard rail puts back before it tells");
                }
                self.tells.push(happening);
            }
        }
    }

    fn advise(&mut self, step: &Step) {
        assert_eq!(step.targets, [SLEEPER]);
        self.acts.push(step.action);
        let outcome = Outcome::Advised {
            bytes: 200 << 20,
            processes: 1,
        };
        let change = step.change;
        self.machine
            .on_acted(self.clock(), Receipt { change, outcome });
    }

    fn undo(&mut self, change: ChangeId) -> Outcome {
        if self.undo_fails > 0 {
            self.undo_fails -= 1;
            return Outcome::Failed { errno: 1 };
        }
        let was = self.on.take().map(|was| was.0);
        let failed = self.failed.take();
        assert!(was.or(failed) == Some(change), "undo of what is not on");
        Outcome::Restored {
            restored: if was.is_some() { 4 } else { 0 },
            left_alone: 0,
            gone: 0,
        }
    }

    fn pass(&mut self, until: u64) {
        let span = until.saturating_sub(self.now);
        self.now += span;
        if !self.busy {
            return;
        }
        let seconds = span as f64 / 1e6;
        self.busy_time += span;
        let action = self.on.as_ref().map(|on| on.1);
        if action.is_some_and(|action| action != Action::Placebo) {
            self.on_time += span;
        }
        let truth = action
            .and_then(|a| self.plan.truth.get(&a))
            .copied()
            .unwrap_or_default();
        let bias = if action.is_some() {
            self.plan.bias
        } else {
            0.0
        };
        self.stalled += span * 9 / 10;
        let wakeups = self.plan.wakeups_per_s * seconds * (1.0 - truth.starve);
        self.wakeups += wakeups;
        let waited = wakeups * 3e6 * self.level * (truth.effect + bias).exp();
        self.waited_ns += waited;
        if action == Some(Action::BackgroundNice) {
            self.waited_while_on_ns += waited;
        }
        if self.front && self.links {
            self.build_cpu += span as f64 * 0.2;
        } else if self.front {
            let slower = self.level * (truth.effect + bias).exp();
            self.build_cpu += span as f64 * 0.8 * (1.0 - truth.starve) / slower;
            self.build_waited += span as f64 * 2.5;
        }
        if self.editor {
            self.typed += 100.0 * seconds;
        }
        self.memory_stalled += span as f64 * truth.memory_stall;
        self.back_cpu += span as f64 * 1.8 * (1.0 - truth.loss);
    }

    fn look(&mut self, request: &SampleRequest) -> Sample {
        let at = Instant(self.now);
        let pressure = Pressure {
            cpu: Span(self.stalled),
            memory_full: Span(self.memory_stalled as u64),
            ..Pressure::default()
        };
        let cpu = Span(self.back_cpu as u64);
        match request {
            SampleRequest::Survey => {
                let processes = self.processes(cpu);
                Sample::Survey(Survey {
                    at,
                    pressure,
                    processes,
                    memory: if self.plan.short_of_memory {
                        Memory {
                            available: Permille(100),
                            swap: Swap::Compressed,
                        }
                    } else {
                        Memory::default()
                    },
                    cgroups: Self::cgroups(),
                    tuners: self.plan.tuners,
                    own: Span((self.now as f64 * self.plan.own_load) as u64),
                })
            }
            SampleRequest::Watch {
                protected,
                background,
            } => {
                // Each window has its own level.
                self.level = (self.plan.noise * self.normal()).exp();
                let watched = |g: &GroupId, all: &[GroupId]| all.contains(g);
                let mut threads = vec![];
                if self.front && watched(&FRONT, protected) {
                    threads.push(self.front_thread());
                }
                if self.editor && watched(&EDITOR, protected) {
                    threads.push(ThreadCounters {
                        tid: 41,
                        group: EDITOR,
                        waited_ns: (self.typed * 3e6) as u64,
                        ran_ns: (self.typed * 5e5) as u64,
                        wakeups: self.typed as u64,
                    });
                }
                let work = (self.front && watched(&FRONT, background)).then_some(GroupCounters {
                    group: FRONT,
                    cpu: Span(self.build_cpu as u64),
                    processes: 5,
                });
                let back = (self.busy && watched(&BACK, background)).then_some(GroupCounters {
                    group: BACK,
                    cpu,
                    processes: 4,
                });
                Sample::Window(Reading {
                    at: Instant(self.now - self.plan.readings_late),
                    pressure,
                    threads,
                    background: back.into_iter().chain(work).collect(),
                })
            }
        }
    }

    fn front_thread(&self) -> ThreadCounters {
        let thread = ThreadCounters {
            tid: 11,
            group: FRONT,
            ..ThreadCounters::default()
        };
        if self.plan.builds {
            ThreadCounters {
                waited_ns: (self.build_waited * 1e3) as u64,
                ran_ns: (self.build_cpu * 1e3) as u64,
                ..thread
            }
        } else {
            ThreadCounters {
                waited_ns: self.waited_ns as u64,
                ran_ns: (self.wakeups * 5e7 / self.plan.wakeups_per_s) as u64,
                wakeups: self.wakeups as u64,
                ..thread
            }
        }
    }

    fn processes(&self, cpu: Span) -> Vec<Process> {
        let process = |pid: u32, group: GroupId, name: &str| Process {
            pid,
            parent: 1,
            start: u64::from(pid),
            group,
            uid: 1_000,
            name: ProgramName::new(name),
            ordinary: true,
            threads: 1,
            autogroup: Some(1),
            ..Process::default()
        };
        let mut all = vec![];
        if self.front {
            let front = process(11, FRONT, "canary-editor");
            all.push(Process {
                foreground: true,
                cpu: if self.plan.builds {
                    Span(self.build_cpu as u64)
                } else {
                    Span::default()
                },
                cgroup: self.home(FRONT_UNIT),
                ..front
            });
            for compiler in 0..if self.plan.builds { 4 } else { 0 } {
                let pid = 1_000 + (self.now / 1_000 % 1_000_000) as u32 * 4 + compiler;
                all.push(Process {
                    parent: 11,
                    foreground: true,
                    cgroup: self.home(FRONT_UNIT),
                    ..process(pid, FRONT, "canary-cc")
                });
            }
        }
        if self.editor {
            all.push(Process {
                foreground: true,
                ..process(41, EDITOR, "canary-words")
            });
        }
        if self.plan.short_of_memory {
            all.push(Process {
                resident: 400 << 20,
                ..process(31, SLEEPER, "canary-sleeper")
            });
        }
        let on = self.on.as_ref().map(|on| on.1);
        let idle = on == Some(Action::BackgroundIdle);
        if self.busy {
            let back = process(21, BACK, "canary-burner");
            let autogroup = Some(if self.plan.across_sessions { 2 } else { 1 });
            let cpu_cgroup = if self.plan.across_cgroups { 7 } else { 0 };
            all.push(Process {
                cpu,
                autogroup,
                cpu_cgroup,
                cgroup: self.home(BACK_UNIT),
                ordinary: !idle,
                idle,
                nice: if idle || on == Some(Action::BackgroundNice) {
                    BACKGROUND_NICE
                } else {
                    0
                },
                ..back
            });
        }
        all
    }

    fn home(&self, unit: CgroupId) -> CgroupId {
        if self.plan.applications {
            unit
        } else {
            CgroupId::default()
        }
    }

    /// Two applications of one user.
    fn cgroups() -> BTreeMap<CgroupId, Cgroup> {
        let slice = (
            APPS,
            Cgroup {
                parent: CgroupId::default(),
                kind: CgroupKind::Other,
            },
        );
        let unit = |id| {
            let kind = CgroupKind::Application;
            (id, Cgroup { parent: APPS, kind })
        };
        BTreeMap::from([slice, unit(FRONT_UNIT), unit(BACK_UNIT)])
    }

    fn normal(&mut self) -> f64 {
        let mut unit = || (self.chance.below(1 << 32) as f64 + 0.5) / 4_294_967_296.0;
        let (one, two) = (unit(), unit());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
    }

    pub fn pattern(&self, action: Action) -> Option<PatternView> {
        let all = self.machine.patterns(self.clock()).patterns;
        all.into_iter().find(|pattern| pattern.action == action)
    }

    pub fn real_acts(&self) -> Vec<Action> {
        self.acts
            .iter()
            .copied()
            .filter(|a| *a != Action::Placebo)
            .collect()
    }
}
