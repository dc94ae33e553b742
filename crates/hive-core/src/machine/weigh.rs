//! Which units of applications decide between the workload that somebody waits for and the background.
//!
//! A weight works between the children of one control group. So what is weighed is what the background is in just below
//! the group that it shares with the protected workload: another application, or another tab of the same terminal.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::machine::facts::{CgroupId, CgroupKind, GroupId};
use crate::machine::observe::{Group, Situation};

/// The units of the background must hold this share of its processor time, or weighing them is not offered: the rest
/// would go on as before. A guess.
const COVERED_MIN: f64 = 0.5;

/// Control groups inside each other; a table that was read over some time may hold a loop. Deeper than any desktop's.
const DEPTH_MAX: usize = 64;

/// Units of the background's applications that the user's own service manager can weigh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weighable {
    /// Of what uses the processor now.
    pub wanted: Vec<CgroupId>,
    /// Of all that may be acted on, hungry now or not.
    pub allowed: Vec<CgroupId>,
}

/// Finds them: units of applications in which nothing lives but what may be acted on, and none of the protected.
pub(crate) fn weighable<'a>(
    situation: &Situation,
    front: &Group,
    class: impl Iterator<Item = &'a Group>,
    alone: impl Fn(&GroupId, &Group) -> bool,
) -> Weighable {
    let line: BTreeSet<CgroupId> = front
        .homes
        .iter()
        .flat_map(|home| situation.line(*home))
        .collect();
    let others: Vec<&Group> = situation
        .groups
        .iter()
        .filter(|(id, group)| !alone(id, group))
        .map(|(_, group)| group)
        .collect();
    let taken: BTreeSet<CgroupId> = others
        .iter()
        .flat_map(|group| group.homes.iter())
        .flat_map(|home| situation.line(*home))
        .collect();
    let (mut wanted, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    let (mut hungry, mut covered) = (0.0, 0.0);
    for group in class {
        let units: Option<Vec<CgroupId>> = group
            .homes
            .iter()
            .map(|home| sibling(situation, *home, &line).filter(|unit| !taken.contains(unit)))
            .collect();
        if group.hungry {
            hungry += group.cores;
        }
        let Some(units) = units else {
            continue;
        };
        if group.hungry {
            covered += group.cores;
            wanted.extend(units.iter().copied());
        }
        allowed.extend(units);
    }
    if covered < COVERED_MIN * hungry {
        wanted.clear();
    }
    Weighable {
        wanted: wanted.into_iter().collect(),
        allowed: allowed.into_iter().collect(),
    }
}

/// The unit of an application that `home` is in, just below what it shares with the protected workload.
fn sibling(situation: &Situation, home: CgroupId, line: &BTreeSet<CgroupId>) -> Option<CgroupId> {
    let unit = situation
        .line(home)
        .take_while(|at| !line.contains(at))
        .last()?;
    let group = situation.cgroups.get(&unit)?;
    (group.kind == CgroupKind::Application && line.contains(&group.parent)).then_some(unit)
}

impl Situation {
    /// A control group and all that it is in, without the root.
    fn line(&self, home: CgroupId) -> impl Iterator<Item = CgroupId> + '_ {
        let above = |at: &CgroupId| Some(self.cgroups.get(at)?.parent);
        core::iter::successors(Some(home), above)
            .take(DEPTH_MAX)
            .take_while(|at| *at != CgroupId::default())
    }
}

#[cfg(test)]
mod tests;
