//! Looks: a survey of all processes, or the counters of a few watched groups.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hive_core::id::ProgramName;
use hive_core::machine::facts::{
    CgroupId, Front, GroupCounters, GroupId, Pressure, Process, Reading, Sample, SampleRequest,
    Survey, ThreadCounters,
};
use hive_core::time::{Instant, Span};

use super::cgroup::{Cgroups, Ours};
use super::front::Desk;
use super::scan::{self, Files, Scan, Tree};
use super::tuners::Asker;
use super::{boot_clock, memory, place, sys};
use crate::{Roots, Scope};

/// How long a process's control group is believed. Processes rarely move, and reading it for all
/// costs as much as the scan itself (`research/optimizer.md` 3.3).
const CGROUP_BELIEVED: Span = Span::from_secs(30);

/// `SCHED_IDLE` as `/proc/PID/stat` numbers it.
const SCHED_IDLE: u32 = 5;

/// What is remembered between two looks.
#[derive(Debug)]
pub(super) struct Eyes {
    roots: Roots,
    scope: Scope,
    ticks_per_second: u64,
    page_bytes: u64,
    tree: Tree,
    files: Files,
    known: BTreeMap<(u32, u64), Known>,
    pub(super) cgroups: Cgroups,
    asker: Asker,
    /// None for a process tree: what is in front belongs to whoever sits at the machine.
    desk: Option<Desk>,
    /// How often the table was read.
    #[cfg(test)]
    pub(super) looks: u32,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    session: u32,
    autogroup: Option<u64>,
    cgroup: CgroupId,
    cgroup_at: Instant,
}

impl Eyes {
    pub(super) fn new(roots: Roots, scope: Scope) -> Self {
        Self {
            cgroups: Cgroups::new(&roots.sys, sys::own_uid()),
            asker: Asker::new(&roots, sys::own_uid()),
            desk: matches!(scope, Scope::OwnUser).then(|| desk(&roots)),
            roots,
            scope,
            ticks_per_second: sys::ticks_per_second(),
            page_bytes: sys::page_bytes(),
            tree: Tree::default(),
            files: Files::new(sys::may_hold_open()),
            known: BTreeMap::new(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Looks; `ours` tells whether weights of our own are on.
    pub(super) fn sample(&mut self, request: &SampleRequest, ours: Ours) -> Sample {
        let at = boot_clock();
        let pressure = pressure(&self.roots.proc);
        let (scan, members) = self.look();
        match request {
            SampleRequest::Survey => {
                let tuners = self.asker.ask(at, &scan);
                let mut processes = self.processes(at, &scan, &members);
                self.bind(&mut processes, ours);
                self.face(at, &mut processes);
                Sample::Survey(Survey {
                    at,
                    pressure,
                    memory: memory::read(&self.roots),
                    processes,
                    cgroups: self.cgroups.seen(),
                    tuners,
                    own: scan
                        .get(std::process::id())
                        .map_or(Span::default(), |own| self.span(own.cpu_ticks)),
                })
            }
            SampleRequest::Watch {
                protected,
                background,
            } => Sample::Window(Reading {
                at,
                pressure,
                threads: self.protected(&scan, &members, protected),
                background: self.background(&scan, &members, background),
            }),
        }
    }

    /// Where the control groups are.
    pub(super) fn sys(&self) -> &Path {
        &self.roots.sys
    }

    /// The process table, and who of it is in scope.
    pub(super) fn look(&mut self) -> (Scan, BTreeSet<u32>) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let scan = Scan::read(&self.roots.proc, &mut self.files);
        let members = self.tree.members(&scan, self.scope);
        (scan, members)
    }

    fn processes(&mut self, at: Instant, scan: &Scan, members: &BTreeSet<u32>) -> Vec<Process> {
        let mut known = BTreeMap::new();
        let mut processes = Vec::with_capacity(members.len());
        // Another user's services are that user's own programs, and a tree is a demonstration's own.
        let services = sys::own_uid() == 0 && matches!(self.scope, Scope::OwnUser);
        for stat in &scan.stats {
            if !stat.alive() || !members.contains(&stat.pid) {
                continue;
            }
            let Some(uid) = scan::owner(&self.roots.proc, stat.pid) else {
                continue;
            };
            let key = (stat.pid, stat.start);
            let now = self.known(at, key, stat.session);
            known.insert(key, now);
            processes.push(Process {
                pid: stat.pid,
                parent: stat.parent,
                start: stat.start,
                group: scan::job(stat),
                uid,
                name: ProgramName::new(&stat.name),
                foreground: stat.foreground,
                in_front: None,
                cpu: self.span(stat.cpu_ticks),
                children_cpu: self.span(stat.children_ticks),
                nice: stat.nice,
                ordinary: stat.policy == 0,
                idle: stat.policy == SCHED_IDLE,
                resident: stat.pages.saturating_mul(self.page_bytes),
                threads: stat.threads,
                autogroup: now.autogroup,
                cgroup: now.cgroup,
                cpu_cgroup: 0,
                service: services && scan.is_service(stat),
            });
        }
        self.known = known;
        processes
    }

    /// Tells each process what binds it, as the groups are now.
    fn bind(&mut self, processes: &mut [Process], ours: Ours) {
        let living = processes.iter().map(|process| process.cgroup).collect();
        self.cgroups.refresh(&living, ours);
        for process in processes {
            process.cpu_cgroup = self.cgroups.binding(process.cgroup).0;
        }
    }

    /// Tells the processes that somebody is at, as far as the desktop knows.
    fn face(&mut self, at: Instant, processes: &mut [Process]) {
        let window = self.desk.as_mut().and_then(|desk| desk.ask(at));
        for process in processes {
            process.in_front = if self.asker.games().contains(&process.pid) {
                Some(Front::Game)
            } else {
                (window == Some(process.pid)).then_some(Front::Window)
            };
        }
    }

    fn known(&mut self, at: Instant, key: (u32, u64), session: u32) -> Known {
        let before = self.known.get(&key);
        let proc = &self.roots.proc;
        let autogroup = match before {
            Some(known) if known.session == session => known.autogroup,
            _ => scan::autogroup(proc, key.0).map(|(number, _)| number),
        };
        let (cgroup, cgroup_at) = match before {
            Some(known) if at.since(known.cgroup_at) < CGROUP_BELIEVED => {
                (known.cgroup, known.cgroup_at)
            }
            _ => {
                let text = fs::read_to_string(proc.join(format!("{}/cgroup", key.0)));
                (self.cgroups.enter(&text.unwrap_or_default()), at)
            }
        };
        Known {
            session,
            autogroup,
            cgroup,
            cgroup_at,
        }
    }

    fn protected(
        &self,
        scan: &Scan,
        members: &BTreeSet<u32>,
        groups: &[GroupId],
    ) -> Vec<ThreadCounters> {
        let mut counters = Vec::new();
        for stat in &scan.stats {
            let group = scan::job(stat);
            if !members.contains(&stat.pid) || !stat.alive() || !groups.contains(&group) {
                continue;
            }
            for tid in scan::threads(&self.roots.proc, stat.pid) {
                let folder = self.roots.proc.join(format!("{}/task/{tid}", stat.pid));
                counters.extend(thread_counters(&folder, tid, group));
            }
        }
        counters
    }

    /// Sums by clock tick. `schedstat` would be finer, but only for what lives: the time of a child
    /// that has ended is told in ticks only.
    fn background(
        &self,
        scan: &Scan,
        members: &BTreeSet<u32>,
        groups: &[GroupId],
    ) -> Vec<GroupCounters> {
        let mut sums: BTreeMap<GroupId, (u64, u32)> = BTreeMap::new();
        for stat in &scan.stats {
            let group = scan::job(stat);
            if !members.contains(&stat.pid) || !groups.contains(&group) {
                continue;
            }
            let (ticks, processes) = sums.entry(group).or_default();
            // A corpse still holds its time until its parent collects it.
            *ticks += stat.cpu_ticks + stat.children_ticks;
            *processes += u32::from(stat.alive());
        }
        sums.into_iter()
            .map(|(group, (ticks, processes))| GroupCounters {
                group,
                cpu: self.span(ticks),
                processes,
            })
            .collect()
    }

    fn span(&self, ticks: u64) -> Span {
        Span(ticks.saturating_mul(1_000_000) / self.ticks_per_second)
    }
}

/// What is known of this user's desktop at the start.
fn desk(roots: &Roots) -> Desk {
    let said = if place::is_our_proc(&roots.proc) {
        std::env::vars().collect()
    } else {
        BTreeMap::new()
    };
    Desk::new(roots, sys::own_uid(), said)
}

/// Pressure totals; zero where the kernel does not tell.
pub(super) fn pressure(proc: &Path) -> Pressure {
    let total = |name: &str, kind: &str| {
        let text = fs::read_to_string(proc.join("pressure").join(name)).ok()?;
        let line = text.lines().find(|line| line.starts_with(kind))?;
        let total = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("total="))?;
        total.parse().ok().map(Span)
    };
    Pressure {
        cpu: total("cpu", "some ").unwrap_or_default(),
        memory: total("memory", "some ").unwrap_or_default(),
        memory_full: total("memory", "full ").unwrap_or_default(),
        io: total("io", "some ").unwrap_or_default(),
    }
}

fn thread_counters(folder: &Path, tid: u32, group: GroupId) -> Option<ThreadCounters> {
    let schedstat = fs::read_to_string(folder.join("schedstat")).ok()?;
    let mut numbers = schedstat.split_whitespace();
    let ran_ns = numbers.next()?.parse().ok()?;
    let waited_ns = numbers.next()?.parse().ok()?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let wakeups = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
        .trim()
        .parse()
        .ok()?;
    Some(ThreadCounters {
        tid,
        group,
        waited_ns,
        ran_ns,
        wakeups,
    })
}
