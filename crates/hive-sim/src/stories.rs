//! What the world is for: short stories with an end that can be checked, each told again for every seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hive_core::id::NodeId;

use crate::attacks::Attacks;
use crate::check::truthful::Judged;
use crate::faults::Faults;
use crate::net::HostId;
use crate::report::ShortestLine;
use crate::world::World;

pub mod five_write_at_once;
pub mod greedy_member;
pub mod hands_off;
pub mod lost_disk;
pub mod odd_machine;
pub mod placebo;
pub mod power_cut;
pub mod quiet_day;
pub mod stranger_knocks;
pub mod two_faces;
pub mod two_machines;

/// Why a story did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A node panicked.
    Crash(String),
    /// What should have happened never did.
    Liveness(String),
    /// What must never happen did.
    Correctness(String),
}

/// One story.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// What it is called.
    pub name: &'static str,
    /// What happens in it.
    pub tell: fn(&mut World) -> Result<Told, Failure>,
}

/// What a story that ended well has to report.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// How verdicts compared with the truth.
    pub judged: Judged,
    /// Times that all was healed and everything was checked.
    pub checks: u64,
    /// The longest that it took until all honest members showed the same.
    pub equal_after_ms: u64,
    /// What a day cost each member, in bytes.
    pub bytes_per_member_day: u64,
}

/// A story told once.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which story or scenario.
    pub story: String,
    /// With which seed.
    pub seed: u64,
    /// The command that plays it again.
    pub replay: String,
    /// The shortest life that fails in the same way, if it was looked for.
    pub shortest: Option<ShortestLine>,
    /// How long it lasted, in microseconds of the world.
    pub lasted_us: u64,
    /// Why it did not end well, if it did not.
    pub failure: Option<Failure>,
    /// What it reports.
    pub told: Told,
    /// What went wrong on purpose.
    pub faults: Faults,
    /// What strangers and liars did.
    pub attacks: Attacks,
    /// Microseconds that all its nodes together have run.
    pub node_us: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
    /// Hash over everything that happened.
    pub trace: [u8; 32],
}

/// All stories, in the order in which they are read.
pub const ALL: [Story; 11] = [
    Story {
        name: "two_machines",
        tell: two_machines::tell,
    },
    Story {
        name: "power_cut",
        tell: power_cut::tell,
    },
    Story {
        name: "placebo",
        tell: placebo::tell,
    },
    Story {
        name: "stranger_knocks",
        tell: stranger_knocks::tell,
    },
    Story {
        name: "odd_machine",
        tell: odd_machine::tell,
    },
    Story {
        name: "hands_off",
        tell: hands_off::tell,
    },
    Story {
        name: "quiet_day",
        tell: quiet_day::tell,
    },
    Story {
        name: "five_write_at_once",
        tell: five_write_at_once::tell,
    },
    Story {
        name: "greedy_member",
        tell: greedy_member::tell,
    },
    Story {
        name: "lost_disk",
        tell: lost_disk::tell,
    },
    Story {
        name: "two_faces",
        tell: two_faces::tell,
    },
];

impl Failure {
    /// A reply of another kind than the question asks for.
    #[must_use]
    pub fn unexpected(what: &str, host: HostId) -> Self {
        Self::Liveness(format!("unexpected answer to {what} on machine {}", host.0))
    }

    /// Exit code of a run in which this was the worst.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Crash(_) => 127,
            Self::Liveness(_) => 128,
            Self::Correctness(_) => 129,
        }
    }

    /// What happened.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Crash(words) | Self::Liveness(words) | Self::Correctness(words) => words,
        }
    }
}

impl Story {
    /// Tells it once.
    #[must_use]
    pub fn run(&self, seed: u64) -> Outcome {
        live(self.name, seed, self.tell)
    }
}

/// Lives one life. A node that panics is a failure, not the end of the run.
pub fn live(
    story: &str,
    seed: u64,
    tell: impl FnOnce(&mut World) -> Result<Told, Failure>,
) -> Outcome {
    let mut world = World::new(seed, crate::net::Quality::LAN);
    let told = catch_unwind(AssertUnwindSafe(|| tell(&mut world)));
    let (failure, told) = match told {
        Ok(Ok(told)) => (None, told),
        Ok(Err(failure)) => (Some(failure), Told::default()),
        Err(panic) => (Some(Failure::Crash(panic_words(&*panic))), Told::default()),
    };
    Outcome {
        story: story.to_owned(),
        seed,
        replay: replay(story, seed),
        shortest: None,
        lasted_us: world.now().0,
        failure,
        told,
        faults: world.all_faults(),
        attacks: world.attacks.clone(),
        node_us: world.node_us(),
        bytes: world.net.bytes,
        frames: world.net.frames,
        trace: world.trace(),
    }
}

/// Tells a story with the first seeds and panics with the command that plays the first failure again; what they
/// report.
pub fn must_end_well(name: &str, seeds: u64) -> Vec<Told> {
    let story = ALL.iter().find(|story| story.name == name);
    let story = story.expect("a story of this name");
    let tell = |seed| {
        let outcome = story.run(seed);
        if let Some(failure) = outcome.failure {
            panic!("{}\n  {}", failure.words(), replay(name, seed));
        }
        outcome.told
    };
    (1..=seeds).map(tell).collect()
}

/// The command that plays one life again.
#[must_use]
pub fn replay(story: &str, seed: u64) -> String {
    format!("cargo run --release -p hive-sim -- --story {story} --seed {seed}")
}

/// Fails unless this machine is connected to that key or not, as wanted.
pub fn connected(world: &World, host: HostId, peer: NodeId) -> bool {
    world.host(host).connected().any(|key| key == peer)
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(words) = panic.downcast_ref::<&str>() {
        return (*words).to_owned();
    }
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "a panic without words".to_owned())
}
