//! One line of `/proc/PID/stat`, parsed by hand: a scan reads hundreds of them.

use std::fs;
use std::path::Path;

/// What this crate needs of the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// Process or thread id.
    pub(super) pid: u32,
    /// The name as the kernel tells it; it may hold spaces, parentheses and bytes that are not UTF-8.
    pub(super) name: String,
    /// `R`, `S`, `Z` and so on.
    pub(super) state: u8,
    /// Parent.
    pub(super) parent: u32,
    /// Process group.
    pub(super) group: u32,
    /// Session.
    pub(super) session: u32,
    /// Whether it has a controlling terminal.
    pub(super) terminal: bool,
    /// Whether its group is the foreground group of its terminal.
    pub(super) foreground: bool,
    /// Whether it is a thread of the kernel.
    pub(super) kernel: bool,
    /// Own processor time in ticks.
    pub(super) cpu_ticks: u64,
    /// Processor time of children that were waited for, in ticks.
    pub(super) children_ticks: u64,
    /// Nice.
    pub(super) nice: i8,
    /// Threads.
    pub(super) threads: u32,
    /// Start in ticks since boot.
    pub(super) start: u64,
    /// Pages in memory.
    pub(super) pages: u64,
    /// Scheduling policy.
    pub(super) policy: u32,
}

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    /// Reads one line; `None` if it is not one.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        // The name may hold parentheses; nothing after it does.
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let name = line.get(open + 1..close)?;
        let pid = number(line.get(..open)?.trim_ascii())?;
        let rest = line.get(close + 1..)?;
        let mut fields = [&b""[..]; 39];
        let mut found = rest
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        for field in &mut fields {
            *field = found.next()?;
        }
        // `proc(5)` counts from 1 and the state is its field 3.
        let text = |field: usize| fields[field - 3];
        let count = |field: usize| number(text(field));
        let group = id(count(5)?);
        let terminal = text(7) != b"0";
        Some(Self {
            pid: id(pid),
            name: String::from_utf8_lossy(name).into_owned(),
            state: *text(3).first()?,
            parent: id(count(4)?),
            group,
            session: id(count(6)?),
            terminal,
            foreground: terminal && count(8).is_some_and(|front| id(front) == group),
            kernel: count(9)? & KERNEL_THREAD != 0,
            cpu_ticks: count(14)?.saturating_add(count(15)?),
            children_ticks: count(16)?.saturating_add(count(17)?),
            nice: nice(text(19))?,
            threads: id(count(20)?),
            start: count(22)?,
            pages: count(24)?,
            policy: id(count(41)?),
        })
    }

    /// The line of a process.
    pub(super) fn of(proc: &Path, pid: u32) -> Option<Self> {
        let line = fs::read(proc.join(format!("{pid}/stat"))).ok()?;
        Self::parse(&line).filter(|stat| stat.pid == pid)
    }

    /// Whether it still runs: not a corpse that waits to be collected.
    pub(super) fn alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn id(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn nice(text: &[u8]) -> Option<i8> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 1 40 30 34816 40 4194304 1 0 0 0 11 22 33 44 20 -5 3 0 555 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 1 0 3 0 0 0";

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        for name in ["sh", "a b", ") S 1 2", "((", "x) R 0 0 (y", ""] {
            let line = format!("41 ({name}) {TAIL}\n");
            let stat = Stat::parse(line.as_bytes()).expect("a good line");
            assert_eq!(stat.name, name);
            assert_eq!((stat.pid, stat.parent), (41, 1));
            assert_eq!((stat.group, stat.session), (40, 30));
            assert_eq!((stat.cpu_ticks, stat.children_ticks), (33, 77));
            assert_eq!((stat.nice, stat.threads, stat.start), (-5, 3, 555));
            assert!(stat.terminal && stat.foreground && stat.alive() && !stat.kernel);
            assert_eq!(stat.policy, 3);
        }
    }

    #[test]
    fn a_cut_line_is_none_and_never_a_wrong_process() {
        let line = format!("41 (a) b) {TAIL}");
        let whole = Stat::parse(line.as_bytes());
        assert!(whole.is_some());
        // The last three fields are not read.
        let read = line.len() - " 0 0 0".len() - 1;
        for cut in 0..read {
            assert_eq!(Stat::parse(&line.as_bytes()[..cut]), None, "cut at {cut}");
        }
    }
}
