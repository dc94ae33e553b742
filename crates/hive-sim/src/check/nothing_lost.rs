//! What was acknowledged survives every crash and reaches everybody.

use hive_core::event::Command;
use hive_core::id::PatternId;
use hive_core::id::WorkloadKey;
use hive_core::pattern::{
    Action, Binding, Context, Cores, Evidence, PairStats, PatternDef, Verdict, WorkloadType,
};
use hive_core::reply::Reply;

use crate::check::converged;
use crate::check::converged::Shown;
use crate::net::HostId;
use crate::stories::Failure;
use crate::world::World;

/// What a node acknowledged to its author.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    patterns: Vec<(HostId, String)>,
}

impl Acknowledged {
    /// Has a node publish the `nth` made-up result, and remembers it if the node says that it is shared.
    pub fn share(&mut self, world: &mut World, host: HostId, nth: u64) -> Result<(), Failure> {
        let def = definition(host, nth);
        let command = Command::Share {
            def,
            evidence: evidence(),
        };
        match world.ask(host, command) {
            Ok(Reply::Shared(shared)) => {
                self.patterns.push((host, shared.id));
                Ok(())
            }
            Ok(_) => Err(Failure::unexpected("share", host)),
            // A daemon that dies on the way has acknowledged nothing.
            Err(Failure::Liveness(_)) if !world.host(host).is_on() => Ok(()),
            // Nor has one that waits for its share of bytes, and says so: in the largest hive that takes a day.
            Err(Failure::Liveness(_)) if says_that_it_waits(world, host)? => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Forgets what other machines acknowledged.
    pub fn only_of(&mut self, hosts: &[HostId]) {
        self.patterns.retain(|(host, _)| hosts.contains(host));
    }

    /// How many results were acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Fails if something acknowledged is not shown.
    pub fn all_shown(&self, shown: &Shown) -> Result<(), Failure> {
        match self
            .patterns
            .iter()
            .find(|(_, id)| !shown.patterns.contains(id))
        {
            None => Ok(()),
            Some((host, id)) => Err(Failure::Correctness(format!(
                "pattern {id} was acknowledged on machine {} and is lost",
                host.0
            ))),
        }
    }
}

fn says_that_it_waits(world: &mut World, host: HostId) -> Result<bool, Failure> {
    Ok(!converged::status(world, host)?.waits.is_empty())
}

/// Has a node publish the `nth` made-up result, and nobody waits for the answer.
pub fn say(world: &mut World, host: HostId, nth: u64) {
    let def = definition(host, nth);
    let evidence = evidence();
    world.say(host, Command::Share { def, evidence });
}

/// The id of the `nth` made-up result of a machine.
#[must_use]
pub fn pattern_id(host: HostId, nth: u64) -> PatternId {
    definition(host, nth).id()
}

fn definition(host: HostId, nth: u64) -> PatternDef {
    let mut workload = [0xE0; 16];
    workload[..8].copy_from_slice(&nth.to_le_bytes());
    let machine = u16::try_from(host.0).expect("few machines");
    workload[8..10].copy_from_slice(&machine.to_le_bytes());
    PatternDef {
        action: Action::BackgroundNice,
        workload: WorkloadKey(workload),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Many,
            eevdf_slices: false,
            background: WorkloadType::Batch,
        },
    }
}

fn evidence() -> Evidence {
    let mut trial = PairStats::default();
    for value in [-0.8, -0.9, -1.0, -0.9, -0.8, -0.9, -1.0, -0.9] {
        trial.add(value);
    }
    Evidence {
        verdict: Verdict::Helps,
        trial,
        ..Evidence::default()
    }
}
