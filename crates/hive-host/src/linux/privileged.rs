//! What the privileged helper asks of the kernel: one thread at a time, no policy here.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::{knob, scan, sys};
use crate::helper::{Advice, Knob, Thread};

/// The process table in which the helper's numbers mean what its client means.
const PROC: &str = "/proc";

/// `SCHED_IDLE` of the kernel's `linux/sched.h`.
const SCHED_IDLE: u32 = 5;

/// Ranges that are told to the kernel with one call. A guess: most processes have fewer.
const RANGES: usize = 64;

/// A line of `/proc/PID/maps` is cut here: the name at its end may be as long as a path, and is not needed.
const LINE_BYTES: usize = 256;

/// What the kernel says of a thread at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Real, effective and saved user.
    pub uids: [u32; 3],
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// Scheduling policy.
    pub policy: u32,
    /// Nice.
    pub nice: i32,
}

/// Hold on one process: never a later one of its number.
#[derive(Debug)]
pub struct Hold(OwnedFd);

impl Hold {
    /// Takes hold.
    pub fn on(pid: u32) -> io::Result<Self> {
        sys::process(pid).map(Self)
    }

    /// Tells the kernel how the private anonymous memory of this process will be used, up to so many bytes; how many it took.
    pub fn advise(&self, pid: u32, advice: Advice, bytes: u64) -> io::Result<u64> {
        let advice = match advice {
            Advice::Cold => sys::Advice::Cold,
            Advice::PageOut => sys::Advice::PageOut,
        };
        let mut left = bytes;
        let mut taken = 0;
        let mut ranges = Vec::with_capacity(RANGES);
        let mut tell = |ranges: &mut Vec<(usize, usize)>| -> io::Result<()> {
            if !ranges.is_empty() {
                taken += sys::advise(&self.0, ranges, advice)? as u64;
                ranges.clear();
            }
            Ok(())
        };
        let mut maps = BufReader::new(fs::File::open(format!("{PROC}/{pid}/maps"))?);
        let mut line = Vec::with_capacity(LINE_BYTES);
        while left > 0 && next_line(&mut maps, &mut line)? {
            let Some((start, end)) = anonymous(&line) else {
                continue;
            };
            let length = usize::try_from(left).map_or(end - start, |left| left.min(end - start));
            left -= length as u64;
            ranges.push((start, length));
            if ranges.len() == RANGES {
                tell(&mut ranges)?;
            }
        }
        tell(&mut ranges)?;
        Ok(taken)
    }
}

impl AsFd for Hold {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads a line; of a long one only its beginning. `false` at the end.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let part = from.fill_buf()?;
        if part.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = part.iter().position(|&byte| byte == b'\n');
        let length = end.unwrap_or(part.len());
        let room = LINE_BYTES.saturating_sub(line.len()).min(length);
        line.extend_from_slice(&part[..room]);
        from.consume(end.map_or(length, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The range of a line of `/proc/PID/maps`, if it is private, writable memory without a file.
fn anonymous(line: &[u8]) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let private = words.next()?.starts_with("rw-p");
    let inode = words.nth(2)?;
    let name = words.next().unwrap_or("");
    let plain = name.is_empty() || name == "[heap]";
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    (private && inode == "0" && plain && start < end).then_some((start, end))
}

/// Looks at a thread. None: it has ended, or its number means another one.
pub fn look(thread: Thread) -> Option<Sight> {
    let stat = scan::thread(Path::new(PROC), thread.pid, thread.tid)?;
    if stat.start != thread.start || !stat.alive() {
        return None;
    }
    let mut buffer = Vec::with_capacity(2_048);
    let path = format!("{PROC}/{}/task/{}/status", thread.pid, thread.tid);
    scan::read_into(Path::new(&path), &mut buffer)?;
    let scheduling = sys::scheduling(thread.tid).ok()?;
    Some(Sight {
        uids: uids(&buffer)?,
        kernel: stat.kernel,
        policy: scheduling.policy,
        nice: scheduling.nice,
    })
}

fn uids(status: &[u8]) -> Option<[u32; 3]> {
    let line = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut numbers = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut next = || numbers.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

/// Reads a value.
pub fn read(knob: Knob, tid: u32) -> io::Result<i64> {
    Ok(match knob {
        Knob::Nice => sys::scheduling(tid)?.nice.into(),
        Knob::Policy => sys::scheduling(tid)?.policy.into(),
        Knob::Slice => sys::scheduling(tid)?.slice_ns.cast_signed(),
        Knob::IoPriority => sys::io_class(tid)?.into(),
        Knob::TimerSlack => {
            let text = fs::read_to_string(slack(tid))?;
            text.trim().parse().map_err(io::Error::other)?
        }
    })
}

/// Writes a value. `default_slice` is the slice of a thread that nobody gave one: it stays the default.
pub fn write(knob: Knob, tid: u32, value: i64, default_slice: Option<u64>) -> io::Result<()> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let small = || i32::try_from(value).map_err(|_| invalid());
    let slice = |is: u64| if Some(is) == default_slice { 0 } else { is };
    match knob {
        Knob::Nice => sys::set_nice(tid, small()?),
        Knob::Policy => {
            let now = sys::scheduling(tid)?;
            let policy = u32::try_from(value).map_err(|_| invalid())?;
            let slice_ns = knob::own_slice(now.slice_ns, default_slice);
            let to = sys::Scheduling {
                policy,
                slice_ns,
                ..now
            };
            sys::set_policy(tid, to)
        }
        Knob::Slice => {
            let now = sys::scheduling(tid)?;
            if now.policy == SCHED_IDLE {
                // The kernel would say yes and leave the slice as it is (`fair_policy` in `kernel/sched/syscalls.c`).
                return Err(invalid());
            }
            let wanted = u64::try_from(value).map_err(|_| invalid())?;
            sys::set_slice(tid, now.nice, slice(wanted))
        }
        Knob::IoPriority => sys::set_io_class(tid, u16::try_from(value).map_err(|_| invalid())?),
        Knob::TimerSlack => {
            let mut file = OpenOptions::new().write(true).open(slack(tid))?;
            file.write_all(value.to_string().as_bytes())
        }
    }
}

/// The kernel shows it for any thread's number, though it lists processes only.
fn slack(tid: u32) -> String {
    format!("{PROC}/{tid}/timerslack_ns")
}

/// The slice of a thread that nobody gave one: tried on a thread that ends at once. None before Linux 6.12.
pub fn default_slice() -> Option<u64> {
    super::facts::try_slice()
}

/// Calls back with every thread of this user that was born since `ticks`.
pub fn born_since(uid: u32, ticks: u64, mut each: impl FnMut(Thread)) {
    for pid in scan::numbers(Path::new(PROC)) {
        if scan::owner(Path::new(PROC), pid) != Some(uid) {
            continue;
        }
        for tid in scan::threads(Path::new(PROC), pid) {
            let found = scan::thread(Path::new(PROC), pid, tid);
            if let Some(stat) = found.filter(|stat| stat.start >= ticks && stat.alive()) {
                each(Thread {
                    pid,
                    tid,
                    start: stat.start,
                });
            }
        }
    }
}

/// When a thread started, in ticks since boot; none when it has ended.
pub fn start_of(pid: u32, tid: u32) -> Option<u64> {
    let stat = scan::thread(Path::new(PROC), pid, tid)?;
    stat.alive().then_some(stat.start)
}

/// Ticks since boot: the unit of start times.
pub fn ticks_now() -> u64 {
    super::boot_clock()
        .0
        .saturating_mul(sys::ticks_per_second())
        / 1_000_000
}

/// The name of this boot; none where the kernel does not tell.
pub fn boot() -> Option<String> {
    let text = fs::read_to_string(format!("{PROC}/sys/kernel/random/boot_id")).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// From now on the signals that ask this process to end are read from this file, and end nothing by themselves. To be
/// called before any other thread is started.
pub fn endings() -> io::Result<OwnedFd> {
    sys::endings()
}

/// A file that the starter of this process handed to it under this number.
pub fn handed(number: i32) -> io::Result<OwnedFd> {
    sys::handed(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_memory_without_a_file_is_advised() {
        let line = |text: &str| anonymous(text.as_bytes());
        let plain = "7f0000000000-7f0000002000 rw-p 00000000 00:00 0 ";
        assert_eq!(line(plain), Some((0x7f00_0000_0000, 0x7f00_0000_2000)));
        let heap = "5500-5600 rw-p 00000000 00:00 0    [heap]";
        assert_eq!(line(heap), Some((0x5500, 0x5600)));
        for other in [
            "5500-5600 rw-s 00000000 00:00 0 ",
            "5500-5600 r--p 00000000 00:00 0 ",
            "5500-5600 rw-p 00000000 08:01 77    /usr/lib/x",
            "5500-5600 rw-p 00000000 00:00 0    [stack]",
            "5500-5600",
        ] {
            assert_eq!(line(other), None, "{other}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("{}\nshort\nlast", "x".repeat(5_000));
        let mut from = BufReader::with_capacity(100, text.as_bytes());
        let mut line = Vec::new();
        let mut found = Vec::new();
        while next_line(&mut from, &mut line).expect("read") {
            found.push(line.len());
        }
        assert_eq!(found, [LINE_BYTES, 5, 4]);
    }
}
