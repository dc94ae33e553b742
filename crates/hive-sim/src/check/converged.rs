//! When all is quiet, all members show the same.

use std::collections::BTreeSet;

use hive_core::event::Command;
use hive_core::reply::{PatternsView, Reply, StatusView};

use crate::net::HostId;
use crate::stories::Failure;
use crate::world::World;

/// What a member shows of what the hive knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The hash over all maps.
    pub view: String,
    /// Members, by full id.
    pub members: BTreeSet<String>,
    /// Patterns, by full id: also those that only this machine knows of yet.
    pub patterns: BTreeSet<String>,
    /// Patterns that anybody has told the hive.
    pub shared: usize,
}

impl Shown {
    /// Whether two machines show the same of what was shared.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        (&self.view, &self.members, self.shared) == (&other.view, &other.members, other.shared)
    }
}

/// Waits until these machines show the same; fails after so many seconds of world time.
pub fn within(world: &mut World, hosts: &[HostId], seconds: u64) -> Result<Shown, Failure> {
    let end = world.now().after(seconds * 1_000_000);
    loop {
        let mut shown = Vec::new();
        for id in hosts {
            shown.push(shows(world, *id)?);
        }
        if shown.windows(2).all(|two| two[0].agrees(&two[1])) {
            return shown.pop().ok_or(Failure::Liveness("no members".into()));
        }
        if world.now() >= end {
            let parts: Vec<String> = shown
                .iter()
                .map(|s| format!("{} {}m {}p", &s.view[..8], s.members.len(), s.shared))
                .collect();
            let what = format!("not equal after {seconds} s: {}", parts.join(" "));
            return Err(Failure::Liveness(what));
        }
        world.run_ms(250)?;
    }
}

/// The same for longer waits: looks at one hash of each machine, less and less often, and asks for everything once
/// these agree.
pub fn equal(world: &mut World, hosts: &[HostId], seconds: u64) -> Result<Shown, Failure> {
    let end = world.now().after(seconds * 1_000_000);
    let mut pause_ms = 250;
    while world.now() < end {
        let mut views = BTreeSet::new();
        for id in hosts {
            views.insert(status(world, *id)?.view);
        }
        if views.len() == 1 {
            break;
        }
        world.run_ms(pause_ms)?;
        pause_ms = (2 * pause_ms).min(10_000);
    }
    within(world, hosts, 1)
}

/// What one machine shows.
pub fn shows(world: &mut World, host: HostId) -> Result<Shown, Failure> {
    let status = status(world, host)?;
    let Reply::Members(members) = world.ask(host, Command::Members)? else {
        return Err(Failure::unexpected("members", host));
    };
    let patterns = patterns(world, host)?.patterns;
    Ok(Shown {
        view: status.view,
        shared: status.patterns_shared,
        members: members.members.into_iter().map(|m| m.node).collect(),
        patterns: patterns.into_iter().map(|p| p.id).collect(),
    })
}

/// A machine's one screen.
pub fn status(world: &mut World, host: HostId) -> Result<StatusView, Failure> {
    match world.ask(host, Command::Status)? {
        Reply::Status(status) => Ok(*status),
        _ => Err(Failure::unexpected("status", host)),
    }
}

/// A machine's patterns.
pub fn patterns(world: &mut World, host: HostId) -> Result<PatternsView, Failure> {
    match world.ask(host, Command::Patterns)? {
        Reply::Patterns(patterns) => Ok(patterns),
        _ => Err(Failure::unexpected("patterns", host)),
    }
}
