//! One value of one thread or session: read it, write it, and tell "default" from "set by hand".

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hive_core::pattern::Action;

use super::{FINE_SLICE_NS, scan, sys};

/// The nice that the background gets, and its sessions. Source: `research/optimizer.md` 7.4.
const BACKGROUND_NICE: i64 = 10;

/// `SCHED_OTHER` and `SCHED_BATCH`: only these share the processor by weight and slice.
const FAIR_POLICIES: [u32; 2] = [0, 3];

/// The kernel takes one autogroup nice per 100 ms and user (`proc_sched_autogroup_set_nice`); these
/// waits outlast that.
const AUTOGROUP_WAITS: [Duration; 3] = [Duration::from_millis(50); 3];

/// What is changed about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadKnob {
    /// Its EEVDF slice in nanoseconds; to be written as 0 to have the kernel's default back.
    Slice {
        /// What a thread reads that nobody gave a slice.
        default: u64,
    },
    /// Its nice; 0 unless somebody set it.
    Nice,
    /// Nothing.
    Nothing,
}

/// A thread's present value, as far as this crate is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nobody set it.
    Default,
    /// It carries what we write.
    Ours,
    /// Somebody set it by hand.
    ByHand,
    /// It is scheduled by other rules; the value means nothing.
    Meaningless,
}

/// What an action writes.
pub(super) const fn written(action: Action) -> i64 {
    match action {
        Action::FinerSlice => FINE_SLICE_NS.cast_signed(),
        Action::AutogroupNice | Action::BackgroundNice => BACKGROUND_NICE,
        _ => 0,
    }
}

impl ThreadKnob {
    /// Reads a thread. `new` is what we write.
    pub(super) fn value(self, tid: u32, new: i64) -> io::Result<Value> {
        let now = sys::scheduling(tid)?;
        let (is, default) = match self {
            Self::Nothing => return Ok(Value::Default),
            _ if !FAIR_POLICIES.contains(&now.policy) => return Ok(Value::Meaningless),
            Self::Slice { default } => (now.slice_ns.cast_signed(), default.cast_signed()),
            Self::Nice => (i64::from(now.nice), 0),
        };
        Ok(match is {
            is if is == default => Value::Default,
            is if is == new => Value::Ours,
            _ => Value::ByHand,
        })
    }

    /// Writes a thread.
    pub(super) fn write(self, tid: u32, value: i64) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Slice { .. } => {
                sys::set_slice(tid, sys::scheduling(tid)?.nice, value.cast_unsigned())
            }
            Self::Nice => sys::set_nice(
                tid,
                i32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            ),
        }
    }
}

/// Writes the nice of a process's autogroup and reads it back.
pub(super) fn write_autogroup(proc: &Path, pid: u32, number: u64, value: i64) -> io::Result<()> {
    let path = proc.join(format!("{pid}/autogroup"));
    let mut waits = AUTOGROUP_WAITS.iter();
    loop {
        match fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, value.to_string().as_bytes()))
        {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                let Some(&wait) = waits.next() else {
                    return Err(error);
                };
                thread::sleep(wait);
            }
            // An ending process has left its autogroup for the root's, whose nice cannot be set.
            Err(_) if !is_member(proc, pid, number) => {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    match scan::autogroup(proc, pid) {
        Some((found, is)) if found == number && is == value => Ok(()),
        Some((found, _)) if found == number => Err(io::Error::from_raw_os_error(libc::EIO)),
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

fn is_member(proc: &Path, pid: u32, number: u64) -> bool {
    scan::autogroup(proc, pid).is_some_and(|(found, _)| found == number)
}

/// Whether an error says that the target has ended.
pub(super) fn ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH) || error.kind() == io::ErrorKind::NotFound
}
