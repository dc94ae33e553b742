//! Who is in front on a desktop: the process that is told, and the helpers that belong to its application.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::machine::facts::{CgroupKind, Front, Process, Survey};

/// Ancestors that are looked at; a table that was read over some time may hold a loop. Deeper than any desktop's.
const DEPTH_MAX: usize = 64;

/// Every process of an application that is in front.
///
/// A helper descends from the process that has the window and is in its session or, where it made itself a session without a
/// terminal, in the same unit of an application. What runs in a terminal's window has a session of its own with that
/// terminal, and is judged by itself.
pub(crate) fn applications(
    survey: &Survey,
    by_pid: &BTreeMap<u32, &Process>,
) -> BTreeMap<u32, Front> {
    if survey.processes.iter().all(|it| it.in_front.is_none()) {
        return BTreeMap::new();
    }
    let terminals: BTreeSet<u32> = survey
        .processes
        .iter()
        .filter(|process| process.foreground)
        .map(|process| process.group.session)
        .collect();
    let is_unit = |process: &Process| {
        let group = survey.cgroups.get(&process.cgroup);
        group.is_some_and(|group| group.kind == CgroupKind::Application)
    };
    let belongs = |helper: &Process, to: &Process| {
        let session = helper.group.session == to.group.session;
        let unit = helper.cgroup == to.cgroup && is_unit(to);
        session || (unit && !terminals.contains(&helper.group.session))
    };
    let mut found = BTreeMap::new();
    for process in &survey.processes {
        let mut at = Some(process);
        for _ in 0..DEPTH_MAX {
            let Some(here) = at else { break };
            if let Some(front) = here.in_front
                && (here.pid == process.pid || belongs(process, here))
            {
                let known = found.entry(process.pid).or_insert(front);
                *known = front.max(*known);
            }
            at = by_pid.get(&here.parent).copied();
        }
    }
    found
}
