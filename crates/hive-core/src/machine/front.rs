//! Who is in front on a desktop: the process that is told, and the helpers that belong to its application.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::machine::facts::{CgroupKind, Front, GroupId, Process, Survey};
use crate::machine::observe::{Group, Situation};
use crate::pattern::WorkloadType;
use crate::pattern::roles::{self, Gaming};

/// Terminals, and programs that show terminals in a terminal: they wake for whatever the jobs in them print, and who waits
/// waits for those. The kernel cuts names at 15 bytes. A list of what is common; another one counts as any window.
const SHOW_OTHERS: [&str; 36] = [
    "alacritty",
    "blackbox",
    "cool-retro-term",
    "deepin-terminal",
    "foot",
    "footclient",
    "ghostty",
    "gnome-terminal-",
    "guake",
    "hyper",
    "io.elementary.t",
    "kgx",
    "kitty",
    "konsole",
    "lxterminal",
    "mate-terminal",
    "ptyxis",
    "qterminal",
    "rio",
    "rxvt",
    "st",
    "tabby",
    "terminator",
    "terminology",
    "tilda",
    "tilix",
    "urxvt",
    "warp-terminal",
    "wezterm-gui",
    "xfce4-terminal",
    "xterm",
    "yakuake",
    "dtach",
    "screen",
    "tmux: client",
    "zellij",
];

/// Those of them whose client is no ancestor of what it shows: that runs under a server of the same name. What follows a
/// colon tells the one from the other, where anything does.
const MULTIPLEXERS: [&str; 4] = ["dtach", "screen", "tmux", "zellij"];

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

/// Makes the clients of a terminal multiplexer parents of its server: they show what it runs. Which of its jobs a client
/// shows right now nobody tells, so it may be any.
pub(crate) fn attach(groups: &mut BTreeMap<GroupId, Group>) {
    let mut clients: BTreeMap<&str, Vec<GroupId>> = BTreeMap::new();
    for (id, job) in groups.iter().filter(|(_, job)| job.foreground) {
        if let Some(program) = job.multiplexer() {
            clients.entry(program).or_default().push(*id);
        }
    }
    if clients.is_empty() {
        return;
    }
    for server in groups.values_mut().filter(|job| !job.foreground) {
        let program = server.multiplexer();
        let shown_by = program.and_then(|program| clients.get(program));
        server.parents.extend(shown_by.into_iter().flatten());
    }
}

impl Situation {
    /// Whether a job wakes for what others do: a terminal, while a job in some terminal's foreground burns. That job is what
    /// somebody may be waiting for then.
    pub(crate) fn only_shows(&self, id: GroupId) -> bool {
        let name = self.groups.get(&id).map(|job| job.name.local());
        let burns = |(other, job): (&GroupId, &Group)| *other != id && job.foreground && job.hungry;
        name.is_some_and(|name| SHOW_OTHERS.contains(&name)) && self.groups.iter().any(burns)
    }

    /// Whether somebody is at a job, or at the window that it runs in: a terminal's, for one.
    pub(crate) fn is_near(&self, id: GroupId) -> bool {
        let mut seen = BTreeSet::from([id]);
        let mut ahead = Vec::from([id]);
        while let Some(group) = ahead.pop().and_then(|id| self.groups.get(&id)) {
            if group.in_front.is_some() {
                return true;
            }
            ahead.extend(group.parents.iter().filter(|parent| seen.insert(**parent)));
        }
        false
    }
}

impl Group {
    /// The terminal multiplexer that it is a client or the server of.
    fn multiplexer(&self) -> Option<&'static str> {
        let program = self.name.local().split(':').next();
        MULTIPLEXERS.into_iter().find(|it| program == Some(*it))
    }

    /// What kind of work it does, by what does not change while it runs.
    pub(crate) fn role(&self) -> WorkloadType {
        let gaming = match self.in_front {
            Some(Front::Game) => Gaming::Asked,
            Some(Front::Window) | None => Gaming::No,
        };
        roles::of(&self.name, gaming)
    }
}

#[cfg(test)]
mod tests;
