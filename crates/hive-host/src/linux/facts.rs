//! What this machine is and what its rights allow, each right tried on a thread of our own.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::thread;

use hive_core::machine::facts::{MachineFacts, Rights};

use super::units::Place;
use super::{FINE_SLICE_NS, sys};
use crate::Roots;

/// `CAP_SYS_NICE` in the kernel's list of capabilities.
const CAP_SYS_NICE: u32 = 23;

/// The first kernel that takes advice on another process's memory (`process_madvise(2)`).
const FOREIGN_ADVICE: (u16, u16) = (5, 10);

/// The soft `RLIMIT_NICE` that reaches down to nice 0 (`setrlimit(2)`: 20 - nice).
const NICE_LIMIT_FOR_ZERO: u64 = 20;

/// The facts, and the slice a thread has that nobody gave one.
pub(super) fn read(roots: &Roots) -> (MachineFacts, Option<u64>) {
    let proc = &roots.proc;
    let kernel = kernel(proc);
    let autogroup = fs::read_to_string(proc.join("sys/kernel/sched_autogroup_enabled"))
        .is_ok_and(|text| text.trim() == "1");
    let default_slice = (kernel >= (6, 12)).then(try_slice).flatten();
    let facts = MachineFacts {
        cores: thread::available_parallelism()
            .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX)),
        kernel,
        autogroup,
        pressure: proc.join("pressure/cpu").exists(),
        rights: Rights {
            nice: (may_nice_all(proc) || sys::nice_limit() >= NICE_LIMIT_FOR_ZERO) && try_nice(),
            autogroup_nice: autogroup
                && OpenOptions::new()
                    .write(true)
                    .open(proc.join("self/autogroup"))
                    .is_ok(),
            slice: default_slice.is_some(),
            advise: kernel >= FOREIGN_ADVICE && may_nice_all(proc),
            unit_weight: Place::new(roots, sys::own_uid()).is_able(),
        },
        uid: sys::own_uid(),
    };
    (facts, default_slice)
}

/// Whether we hold `CAP_SYS_NICE`: then no process's own limit matters.
pub(super) fn may_nice_all(proc: &Path) -> bool {
    let Ok(text) = fs::read_to_string(proc.join("self/status")) else {
        return false;
    };
    text.lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|bits| bits & (1 << CAP_SYS_NICE) != 0)
}

/// Whether the nice of this process can be brought back to 0 by its own limit, which counts, not ours.
pub(super) fn limit_allows_zero(proc: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(proc.join(format!("{pid}/limits"))) else {
        return false;
    };
    text.lines()
        .find_map(|line| line.strip_prefix("Max nice priority"))
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|soft| {
            soft == "unlimited"
                || soft
                    .parse()
                    .is_ok_and(|soft: u64| soft >= NICE_LIMIT_FOR_ZERO)
        })
}

fn kernel(proc: &Path) -> (u16, u16) {
    let text = fs::read_to_string(proc.join("sys/kernel/osrelease")).unwrap_or_default();
    let mut numbers = text
        .split(|char: char| !char.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Gives a thread that ends at once our slice and takes it back; tells the slice it then has.
pub(super) fn try_slice() -> Option<u64> {
    let trial = || {
        let tid = sys::own_tid();
        let nice = sys::scheduling(tid).ok()?.nice;
        sys::set_slice(tid, nice, FINE_SLICE_NS).ok()?;
        if sys::scheduling(tid).ok()?.slice_ns != FINE_SLICE_NS {
            return None;
        }
        sys::set_slice(tid, nice, 0).ok()?;
        let default = sys::scheduling(tid).ok()?.slice_ns;
        (default != FINE_SLICE_NS && default != 0).then_some(default)
    };
    thread::spawn(trial).join().ok().flatten()
}

/// Raises the nice of a thread that ends at once and lowers it again.
fn try_nice() -> bool {
    let trial = || {
        let tid = sys::own_tid();
        let nice = sys::scheduling(tid).ok()?.nice;
        sys::set_nice(tid, nice + 1).ok()?;
        sys::set_nice(tid, nice).ok()?;
        (sys::scheduling(tid).ok()?.nice == nice).then_some(())
    };
    thread::spawn(trial).join().ok().flatten().is_some()
}
