//! Reads of `/proc` as the lab sees it: trees, sessions, values that the hive may change, memory and time used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use hive_core::pattern::BACKGROUND_NICE;
use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks of `/proc/PID/stat` per second: `USER_HZ`, 100 on every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;

/// The slice that the hive sets, in nanoseconds (`Action::FinerSlice`).
const FINE_SLICE_NS: u64 = 100_000;

/// How long a process may take to appear or to end. A guess for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the hive may have changed on one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Nice.
    pub nice: i32,
    /// EEVDF slice in nanoseconds; `None` where the kernel does not tell.
    pub slice_ns: Option<u64>,
    /// Nice of its autogroup.
    pub autogroup_nice: Option<i32>,
}

/// One thread, told apart from a later one with its number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThreadId {
    /// Thread id.
    pub tid: u32,
    /// Start in ticks since boot.
    pub start: u64,
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Parent.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// User and system time of its own, in ticks.
    pub ticks: u64,
    /// Nice.
    pub nice: i32,
    /// Start in ticks since boot.
    pub start: u64,
    /// Scheduling policy, as `sched(7)` numbers it; 0 where the line ends before.
    pub policy: u32,
}

/// The direct children of a process (`None` once it is gone).
pub fn children(pid: u32) -> Option<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Some(numbers(&text))
}

/// Waits until `pid` has a child that runs `exe_name` (the file name of its executable).
pub fn wait_for_child(pid: u32, exe_name: &str) -> Option<u32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for child in children(pid)? {
            let exe = fs::read_link(format!("/proc/{child}/exe")).ok();
            let name = exe.as_deref().and_then(|exe| exe.file_name());
            if name.is_some_and(|name| name == exe_name) {
                return Some(child);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// Reads `/proc/PID/stat` (also of a thread id). What has ended and only waits to be reaped is gone.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name may hold anything, brackets and blanks included: fields count from the last bracket.
    let rest = text.rsplit_once(") ")?.1;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
    let unsigned = |index: usize| u64::try_from(number(index)?).ok();
    let pid = |index: usize| u32::try_from(number(index)?).ok();
    Some(Stat {
        parent: pid(1)?,
        group: pid(2)?,
        session: pid(3)?,
        ticks: unsigned(11)? + unsigned(12)?,
        nice: i32::try_from(number(16)?).ok()?,
        start: unsigned(19)?,
        policy: pid(38).unwrap_or(0),
    })
}

/// Processor seconds that a process has used itself.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "ticks stay far below 2^53")]
    let ticks = stat(pid)?.ticks as f64;
    Some(ticks / TICKS_PER_S)
}

/// How often each living thread of a process has gone to sleep and been woken.
pub fn wakeups(pid: u32) -> BTreeMap<u32, u64> {
    let of = |tid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse().ok()
    };
    let threads = threads(pid).into_iter();
    threads.filter_map(|tid| Some((tid, of(tid)?))).collect()
}

/// Files of `/proc` that a process keeps open; each holds a page of the kernel's memory.
pub fn open_proc_files(pid: u32) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return 0;
    };
    let is_proc = |file: &fs::DirEntry| {
        fs::read_link(file.path()).is_ok_and(|target| target.starts_with("/proc/"))
    };
    files.filter_map(Result::ok).filter(is_proc).count()
}

/// Resident memory of a process in MiB.
pub fn resident_mb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kb / 1024.0)
}

/// All live processes of a session.
pub fn session_members(session: u32) -> Vec<u32> {
    all()
        .into_iter()
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.session == session))
        .collect()
}

/// What the hive may have changed on every thread of these processes.
pub fn settings(pids: &[u32]) -> BTreeMap<ThreadId, Setting> {
    let mut found = BTreeMap::new();
    for pid in pids {
        let autogroup_nice = autogroup_nice(*pid);
        for tid in threads(*pid) {
            let Some(Stat { nice, start, .. }) = stat(tid) else {
                continue;
            };
            let setting = Setting {
                nice,
                slice_ns: slice_ns(*pid, tid),
                autogroup_nice,
            };
            found.insert(ThreadId { tid, start }, setting);
        }
    }
    found
}

/// The settings that differ from a new process's: nice 0, the usual slice, autogroup nice 0.
pub fn changed(settings: &BTreeMap<ThreadId, Setting>, usual_slice: Option<u64>) -> usize {
    settings
        .values()
        .filter(|setting| {
            setting.nice != 0
                || setting.autogroup_nice.unwrap_or(0) != 0
                || (setting.slice_ns.is_some()
                    && usual_slice.is_some()
                    && setting.slice_ns != usual_slice)
        })
        .count()
}

/// The settings that carry a value which only the hive writes. Programs set their own threads' nice too (browsers do).
pub fn of_the_hive(settings: &BTreeMap<ThreadId, Setting>) -> usize {
    settings
        .values()
        .filter(|setting| {
            setting.nice == i32::from(BACKGROUND_NICE)
                || setting.autogroup_nice.unwrap_or(0) != 0
                || setting.slice_ns == Some(FINE_SLICE_NS)
        })
        .count()
}

/// The EEVDF slice of a thread, from `/proc/PID/task/TID/sched`.
pub fn slice_ns(pid: u32, tid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/sched")).ok()?;
    let line = text.lines().find(|line| line.starts_with("se.slice"))?;
    line.rsplit_once(':')?.1.trim().parse().ok()
}

/// The nice of a process's autogroup.
pub fn autogroup_nice(pid: u32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/autogroup")).ok()?;
    text.trim().rsplit_once("nice ")?.1.parse().ok()
}

/// Ends these processes at once. Those that are gone already are fine.
pub fn kill_all(pids: &[u32]) {
    for pid in pids {
        signal(*pid, Signal::KILL);
    }
}

/// Sends a signal; `false` when the process is gone.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// All processes that can be seen.
fn all() -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The threads of a process; none of one that has ended.
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let number = |task: fs::DirEntry| task.file_name().to_str()?.parse().ok();
    tasks.filter_map(Result::ok).filter_map(number).collect()
}

/// All processes of a PID namespace, told by the link of `/proc/PID/ns/pid`.
pub fn in_namespace(of: u32) -> Vec<u32> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(of) else {
        return Vec::new();
    };
    all()
        .into_iter()
        .filter(|pid| namespace(*pid).as_ref() == Some(&wanted))
        .collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let text = "7 (a) b) c) S 3 5 5 34816 5 4194560 1 0 0 0 11 22 33 44 20 -4 1 0 9876 0 0";
        let stat = parse_stat(text).expect("a stat line");
        assert_eq!((stat.parent, stat.group, stat.session), (3, 5, 5));
        assert_eq!((stat.ticks, stat.nice, stat.start), (33, -4, 9876));
        assert_eq!(parse_stat("7 (a"), None);
        assert_eq!(parse_stat(&text.replace(" S ", " Z ")), None);
    }

    #[test]
    fn this_process_has_memory_time_and_settings() {
        let me = std::process::id();
        assert!(resident_mb(me) > Some(0.5));
        assert!(cpu_seconds(me).is_some());
        assert!(!settings(&[me]).is_empty());
        assert!(in_namespace(me).contains(&me));
    }
}
