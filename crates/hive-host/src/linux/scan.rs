//! One pass over the process table: who lives, and who is in scope.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use hive_core::machine::facts::GroupId;

use super::stat::Stat;
use crate::Scope;

/// The process table at one moment, threads of the kernel left out.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By process id, in rising order; corpses included.
    pub(super) stats: Vec<Stat>,
}

/// The longest line of `/proc/PID/stat`: a name of 64 bytes and 52 numbers of at most 20 digits.
const LINE_MAX: usize = 2_048;

/// Open files of processes, kept from scan to scan: to read one again costs less than half of opening, reading and closing
/// it (`research/optimizer.md` 3.3). A file that was opened for a process never shows the next one with its number.
#[derive(Debug)]
pub(super) struct Files {
    held: BTreeMap<u32, File>,
    most: usize,
}

impl Files {
    /// Keeps at most so many open.
    pub(super) fn new(most: usize) -> Self {
        Self {
            held: BTreeMap::new(),
            most,
        }
    }

    fn line<'buffer>(
        &mut self,
        proc: &Path,
        pid: u32,
        buffer: &'buffer mut [u8; LINE_MAX],
    ) -> Option<&'buffer [u8]> {
        let held = self.held.get(&pid).map(|file| file.read_at(buffer, 0));
        let length = match held {
            Some(Ok(length)) if length > 0 => length,
            _ => self.opened(proc, pid, buffer).ok()?,
        };
        buffer.get(..length)
    }

    fn opened(&mut self, proc: &Path, pid: u32, buffer: &mut [u8]) -> io::Result<usize> {
        self.held.remove(&pid);
        let file = File::open(proc.join(format!("{pid}/stat")))?;
        let length = file.read_at(buffer, 0)?;
        if self.held.len() < self.most {
            self.held.insert(pid, file);
        }
        Ok(length)
    }

    /// Whether a process's file is kept.
    #[cfg(test)]
    pub(super) fn holds(&self, pid: u32) -> bool {
        self.held.contains_key(&pid)
    }

    /// Closes the files of all others than these, which are sorted.
    fn forget_others(&mut self, pids: &[u32]) {
        self.held.retain(|pid, _| pids.binary_search(pid).is_ok());
    }
}

impl Scan {
    /// Reads the table. What ends meanwhile is left out.
    pub(super) fn read(proc: &Path, files: &mut Files) -> Self {
        let mut pids = numbers(proc);
        pids.sort_unstable();
        files.forget_others(&pids);
        let mut buffer = [0; LINE_MAX];
        let stats = pids
            .into_iter()
            .filter_map(|pid| {
                let line = files.line(proc, pid, &mut buffer)?;
                Stat::parse(line).filter(|stat| stat.pid == pid && !stat.kernel)
            })
            .collect();
        Self { stats }
    }

    /// One process.
    pub(super) fn get(&self, pid: u32) -> Option<&Stat> {
        let at = self
            .stats
            .binary_search_by_key(&pid, |stat| stat.pid)
            .ok()?;
        self.stats.get(at)
    }

    /// Whether a process is of a session that init started without a terminal. Where the session's
    /// leader has ended, init has taken in who started on its own.
    pub(super) fn is_service(&self, stat: &Stat) -> bool {
        let by_init = |stat: &Stat| stat.parent == 1 && !stat.terminal;
        let leader = self.get(stat.session).filter(|leader| leader.alive());
        stat.session <= 1 || by_init(leader.unwrap_or(stat))
    }

    /// Whether `pid` is one of `ancestors` or descends from one.
    pub(super) fn descends(&self, pid: u32, ancestors: &BTreeSet<u32>) -> bool {
        let mut at = pid;
        // A table read over some time may hold a loop.
        for _ in 0..=self.stats.len() {
            if ancestors.contains(&at) {
                return true;
            }
            match self.get(at) {
                Some(stat) if stat.parent != 0 => at = stat.parent,
                _ => return false,
            }
        }
        false
    }
}

/// Who was seen in the tree: a process whose parent has died still belongs to it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root_start: Option<u64>,
    /// Start times by process id.
    seen: BTreeMap<u32, u64>,
}

impl Tree {
    /// The processes in scope.
    pub(super) fn members(&mut self, scan: &Scan, scope: Scope) -> BTreeSet<u32> {
        let Scope::Tree(root) = scope else {
            return scan.stats.iter().map(|stat| stat.pid).collect();
        };
        let mut members = BTreeSet::new();
        // Each round finds at least one generation; most tables need two or three.
        loop {
            let before = members.len();
            for stat in &scan.stats {
                if !members.contains(&stat.pid) && self.belongs(scan, &members, stat, root) {
                    members.insert(stat.pid);
                    self.seen.insert(stat.pid, stat.start);
                }
            }
            if members.len() == before {
                break;
            }
        }
        self.forget(scan, &members);
        members
    }

    fn belongs(&mut self, scan: &Scan, members: &BTreeSet<u32>, stat: &Stat, root: u32) -> bool {
        if stat.pid == root {
            return *self.root_start.get_or_insert(stat.start) == stat.start;
        }
        members.contains(&stat.parent)
            || self.seen.get(&stat.pid) == Some(&stat.start)
            || self.named_after(scan, stat.session, stat)
            || self.named_after(scan, stat.group, stat)
    }

    /// Whether a session or group is named after a process that was seen in the tree. A number that
    /// a living stranger carries by now names nobody of ours.
    fn named_after(&self, scan: &Scan, leader: u32, stat: &Stat) -> bool {
        let Some(&born) = self.seen.get(&leader) else {
            return false;
        };
        leader != stat.pid
            && born <= stat.start
            && scan.get(leader).is_none_or(|now| now.start == born)
    }

    fn forget(&mut self, scan: &Scan, members: &BTreeSet<u32>) {
        let named: BTreeSet<u32> = scan
            .stats
            .iter()
            .filter(|stat| members.contains(&stat.pid))
            .flat_map(|stat| [stat.session, stat.group])
            .collect();
        self.seen
            .retain(|pid, _| members.contains(pid) || named.contains(pid));
    }
}

/// The job of a process.
pub(super) fn job(stat: &Stat) -> GroupId {
    GroupId {
        session: stat.session,
        group: stat.group,
    }
}

/// The threads of a process; empty if it has ended.
pub(super) fn threads(proc: &Path, pid: u32) -> Vec<u32> {
    numbers(&proc.join(format!("{pid}/task")))
}

/// One thread's line.
pub(super) fn thread(proc: &Path, pid: u32, tid: u32) -> Option<Stat> {
    let mut buffer = Vec::with_capacity(512);
    read_into(&proc.join(format!("{pid}/task/{tid}/stat")), &mut buffer)?;
    Stat::parse(&buffer).filter(|stat| stat.pid == tid)
}

/// The user a process belongs to; root for one that hides itself, which is the safe error.
pub(super) fn owner(proc: &Path, pid: u32) -> Option<u32> {
    Some(fs::metadata(proc.join(pid.to_string())).ok()?.uid())
}

/// Number and nice of a process's autogroup: `/autogroup-12 nice 0`. The root's (number 0), which also an
/// ending process shows, is none.
pub(super) fn autogroup(proc: &Path, pid: u32) -> Option<(u64, i64)> {
    let text = fs::read_to_string(proc.join(format!("{pid}/autogroup"))).ok()?;
    let mut words = text.strip_prefix("/autogroup-")?.split_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number != 0)?;
    (words.next()? == "nice").then_some(())?;
    Some((number, words.next()?.parse().ok()?))
}

/// Reads a small file into a buffer that is used again.
pub(super) fn read_into(path: &Path, buffer: &mut Vec<u8>) -> Option<()> {
    buffer.clear();
    File::open(path).ok()?.read_to_end(buffer).ok()?;
    Some(())
}

/// The entries of a folder that are numbers.
pub(super) fn numbers(folder: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}
