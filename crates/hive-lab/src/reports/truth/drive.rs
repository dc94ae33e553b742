//! Lets the real core's machine work on a body: carries out what it asks for, and tells how a trial ended.

use hive_core::chance::Chance;
use hive_core::id::{ChangeId, ProgramName};
use hive_core::machine::act::{Receipt, Step};
use hive_core::machine::facts::{MachineFacts, Rights, Sample, SampleRequest};
use hive_core::machine::{Machine, MachineConfig, MachineEffect};
use hive_core::pattern::{Action, Verdict};
use hive_core::reply::{Mode, PatternState, PatternView};
use hive_core::time::Now;

/// The hive's secret that keys names here; nothing of it is told to anybody.
const SECRET: [u8; 32] = [7; 32];

/// What a machine looks at and acts on.
pub trait Body {
    /// Both clocks.
    fn now(&self) -> Now;
    /// Looks.
    fn sample(&mut self, request: &SampleRequest) -> Sample;
    /// Takes a step.
    fn act(&mut self, step: &Step) -> Receipt;
    /// Puts it back.
    fn undo(&mut self, change: ChangeId) -> Receipt;
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// The verdict.
    pub verdict: Verdict,
    /// Real pairs.
    pub pairs: u32,
    /// The mean ratio.
    pub ratio: f64,
    /// The published range.
    pub ci: Option<[f64; 2]>,
}

/// A new machine of these facts, that may use these rights only and protects these programs.
pub fn machine(
    facts: &MachineFacts,
    rights: Rights,
    protect: &[&str],
    seed: u64,
    now: Now,
) -> Machine {
    let config = MachineConfig {
        containers: hive_core::machine::Containers::LeftAlone,
        facts: MachineFacts {
            rights,
            ..facts.clone()
        },
        mode: Mode::Auto,
        protect: protect.iter().map(|name| ProgramName::new(name)).collect(),
        never: Vec::new(),
    };
    let mut chance = [0; 32];
    chance[..8].copy_from_slice(&seed.to_le_bytes());
    let mut machine = Machine::new(config, SECRET, &[], Chance::from_seed(chance), now);
    machine.on_start(now);
    machine
}

/// Carries out all that the machine wants by now.
pub fn drain(machine: &mut Machine, body: &mut impl Body) {
    loop {
        while let Some(effect) = machine.poll() {
            match effect {
                MachineEffect::Sample(request) => {
                    let sample = body.sample(&request);
                    machine.on_sampled(body.now(), sample);
                }
                MachineEffect::Act(step) => {
                    let receipt = body.act(&step);
                    machine.on_acted(body.now(), receipt);
                }
                MachineEffect::Undo(change) => {
                    let receipt = body.undo(change);
                    machine.on_acted(body.now(), receipt);
                }
                MachineEffect::Publish(_) | MachineEffect::Keep(_) | MachineEffect::Tell(_) => {}
            }
        }
        if !machine.on_durable(body.now()) {
            return;
        }
    }
}

/// What the machine says of an action.
pub fn view(machine: &Machine, now: Now, action: Action) -> Option<PatternView> {
    let all = machine.patterns(now).patterns;
    all.into_iter().find(|pattern| pattern.action == action)
}

/// How the trial of an action ended, once it has.
pub fn ended(machine: &Machine, now: Now, action: Action) -> Option<Ended> {
    view(machine, now, action).and_then(|view| end_of(&view))
}

/// The same of a pattern.
pub fn end_of(view: &PatternView) -> Option<Ended> {
    let over = matches!(view.state, PatternState::Proven | PatternState::Dropped);
    // Only a trial that came to a verdict tells what contention it took.
    (over && view.contention_s.is_some()).then(|| Ended {
        verdict: view.verdict,
        pairs: view.pairs,
        ratio: view.wait_ratio.unwrap_or(f64::NAN),
        ci: view.ci,
    })
}
