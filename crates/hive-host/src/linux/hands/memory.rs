//! Tells the kernel which memory of sleeping jobs to take first. Nothing is written to it, so nothing is put back
//! and nothing is journaled: a page that was taken comes back when its program touches it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use hive_core::machine::act::{Outcome, Refusal, Step};
use hive_core::pattern::Action;

use super::{Hands, targeted};
use crate::linux::scan::Scan;
use crate::linux::stat::Stat;
use crate::linux::survey::Eyes;
use crate::linux::sys::{self, Advice};

/// The longest `/proc/PID/smaps` that is read, in bytes: some ten thousand mappings. A guess; what follows is left out.
const SMAPS_MAX: usize = 16 << 20;

/// Bytes of `/proc/PID/pagemap` per page.
const ENTRY: usize = 8;

/// In the last byte of such an entry: the page is in memory (bit 63).
const PRESENT: u8 = 0x80;

/// The most that is read of a page map, in bytes: 4 GiB of address space. A guess; what follows is left out.
const PAGEMAP_MAX: usize = 8 << 20;

/// The advice that an action gives; none = it is about something else.
pub(super) fn advice(action: Action) -> Option<Advice> {
    match action {
        Action::ColdMemory => Some(Advice::Cold),
        Action::PageOut => Some(Advice::PageOut),
        _ => None,
    }
}

impl Hands {
    /// Advises on the targets' anonymous memory, up to the action's bound in bytes.
    pub(super) fn advise(&mut self, eyes: &mut Eyes, step: &Step, advice: Advice) -> Outcome {
        if !self.facts.rights.advise {
            return Outcome::Unsupported;
        }
        let (scan, members) = eyes.look();
        if let Err(refusal) = self.guard(&scan, &members, step) {
            return Outcome::Refused(refusal);
        }
        let mut left = step.action.bytes_max().unwrap_or(0);
        let (mut bytes, mut processes) = (0, 0);
        for stat in targeted(&scan, &step.targets) {
            if left == 0 {
                break;
            }
            let taken = self.advise_one(&scan, &members, stat, advice, left);
            left = left.saturating_sub(taken);
            bytes += taken;
            processes += u32::from(taken > 0);
        }
        if processes == 0 {
            return Outcome::Refused(Refusal::Gone);
        }
        Outcome::Advised { bytes, processes }
    }

    /// Bytes of one process; zero where it has ended, is being debugged, or hides its memory.
    fn advise_one(
        &self,
        scan: &Scan,
        members: &BTreeSet<u32>,
        stat: &Stat,
        advice: Advice,
        left: u64,
    ) -> u64 {
        let Ok(process) = sys::process(stat.pid) else {
            return 0;
        };
        // The handle is on whoever has the number now: it must be the one that was seen.
        let same = Stat::of(&self.proc, stat.pid).is_some_and(|now| now.start == stat.start);
        if !same || !self.is_ours(scan, members, stat) || is_traced(&self.proc, stat.pid) {
            return 0;
        }
        let Ok(file) = fs::File::open(self.proc.join(format!("{}/smaps", stat.pid))) else {
            return 0;
        };
        let mut smaps = Vec::new();
        let most = u64::try_from(SMAPS_MAX).unwrap_or(u64::MAX);
        if file.take(most).read_to_end(&mut smaps).is_err() {
            return 0;
        }
        let pagemap = self.proc.join(format!("{}/pagemap", stat.pid));
        let ranges = anonymous(&String::from_utf8_lossy(&smaps));
        let ranges = bounded(ranges, left, |range, left| {
            present(&pagemap, range, left).unwrap_or_default()
        });
        let mut taken = 0;
        for some in ranges.chunks(sys::RANGES_MAX) {
            let vectors: Vec<(usize, usize)> =
                some.iter().map(|it| (it.start, it.length)).collect();
            let wanted: usize = vectors.iter().map(|(_, length)| length).sum();
            let told = sys::advise(&process, &vectors, advice);
            // What was asked for counts, also where the kernel took only a part: the bound is never passed.
            if told.is_ok() {
                taken += some.iter().map(|it| it.resident).sum::<u64>();
            }
            // It has changed its memory meanwhile, or has ended.
            if told.ok() != Some(wanted) {
                break;
            }
        }
        taken
    }
}

/// A range of a process's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    length: usize,
    /// At most so many bytes of it are in memory.
    resident: u64,
}

/// Private, writable, anonymous mappings with something in memory. Stacks, locked memory and what the kernel maps for
/// itself are left out.
fn anonymous(smaps: &str) -> Vec<Range> {
    let mut found: Vec<Range> = Vec::new();
    let mut now: Option<(usize, usize)> = None;
    let mut resident = 0;
    for line in smaps.lines() {
        if let Some(range) = header(line) {
            now = Some(range);
            resident = 0;
        } else if let Some(rest) = line.strip_prefix("Anonymous:") {
            resident = kilobytes(rest);
        } else if let Some(flags) = line.strip_prefix("VmFlags:") {
            let Some((start, length)) = now.take() else {
                continue;
            };
            let mut flags = flags.split_whitespace();
            let spared = flags.any(|flag| matches!(flag, "lo" | "ht" | "pf"));
            if length > 0 && resident > 0 && !spared {
                found.push(Range {
                    start,
                    length,
                    resident,
                });
            }
        }
    }
    found
}

/// The mappings up to `left` bytes in memory; of the one that goes beyond, those of its pages that are there, as `there`
/// tells them: its first pages may have gone to swap long ago.
fn bounded(
    mappings: Vec<Range>,
    left: u64,
    there: impl Fn(Range, u64) -> Vec<Range>,
) -> Vec<Range> {
    let mut left = left;
    let mut found = Vec::new();
    for range in mappings {
        if range.resident > left {
            found.extend(there(range, left));
            break;
        }
        left -= range.resident;
        found.push(range);
    }
    found
}

/// Runs of pages of a mapping that are in memory, up to `left` bytes.
fn present(pagemap: &Path, range: Range, left: u64) -> io::Result<Vec<Range>> {
    let page = usize::try_from(sys::page_bytes()).map_err(io::Error::other)?;
    let file = File::open(pagemap)?;
    let mut entries = vec![0; (range.length / page * ENTRY).min(PAGEMAP_MAX)];
    let offset = u64::try_from(range.start / page * ENTRY).map_err(io::Error::other)?;
    file.read_exact_at(&mut entries, offset)?;
    Ok(runs(&entries, range.start, page, left))
}

/// The runs that a piece of a page map tells, up to `left` bytes.
fn runs(entries: &[u8], start: usize, page: usize, left: u64) -> Vec<Range> {
    let pages = usize::try_from(left).unwrap_or(usize::MAX) / page;
    let is_present = |entry: &[u8]| entry.last().is_some_and(|top| top & PRESENT != 0);
    let numbered = entries.chunks_exact(ENTRY).enumerate();
    let present = numbered.filter(|(_, entry)| is_present(entry)).take(pages);
    let mut found: Vec<Range> = Vec::new();
    for (number, _) in present {
        let at = start + number * page;
        match found.last_mut().filter(|run| run.start + run.length == at) {
            Some(run) => run.length += page,
            None => found.push(Range {
                start: at,
                length: page,
                resident: 0,
            }),
        }
    }
    for run in &mut found {
        run.resident = u64::try_from(run.length).unwrap_or(u64::MAX);
    }
    found
}

/// The first line of a mapping, its length zero where it is left alone; `None` = another line.
fn header(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let rights = words.next()?;
    let inode = words.nth(2)?;
    let name = words.next().unwrap_or("");
    let anonymous =
        inode == "0" && (name.is_empty() || name == "[heap]" || name.starts_with("[anon:"));
    let advisable = rights == "rw-p" && anonymous;
    let length = if advisable {
        end.saturating_sub(start)
    } else {
        0
    };
    Some((start, length))
}

fn kilobytes(text: &str) -> u64 {
    let number = text.split_whitespace().next();
    number
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |kb| kb.saturating_mul(1_024))
}

/// Whether a debugger holds the process, or nobody can tell.
fn is_traced(proc: &Path, pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(proc.join(format!("{pid}/status"))) else {
        return true;
    };
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_none_or(|tracer| tracer.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
Anonymous:             8 kB
VmFlags: rd ex mr mw me
01000000-01100000 rw-p 00000000 00:00 0           [heap]
Size:               1024 kB
Anonymous:           512 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000200000 rw-p 00000000 00:00 0
Anonymous:          2048 kB
VmFlags: rd wr mr mw me ac
7f1000000000-7f1000200000 rw-p 00000000 00:00 0
Anonymous:          2048 kB
VmFlags: rd wr mr mw me lo ac
7f2000000000-7f2000200000 rw-s 00000000 00:01 77  /memfd:x (deleted)
Anonymous:          2048 kB
VmFlags: rd wr sh mr mw me
7f3000000000-7f3000001000 rw-p 00000000 00:00 0   [anon:arena]
Anonymous:             0 kB
VmFlags: rd wr mr mw me ac
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0   [stack]
Anonymous:            16 kB
VmFlags: rd wr mr mw me gd ac
";

    #[test]
    fn only_private_anonymous_memory_that_is_there_is_advised_on() {
        let found = anonymous(SMAPS);
        let starts: Vec<usize> = found.iter().map(|range| range.start).collect();
        assert_eq!(starts, [0x0100_0000, 0x7f00_0000_0000]);
        let resident: u64 = found.iter().map(|range| range.resident).sum();
        assert_eq!(resident, (512 + 2048) * 1_024);
    }

    #[test]
    fn the_bound_cuts_within_a_mapping_and_takes_what_is_there() {
        let asked = |bound: u64| {
            bounded(anonymous(SMAPS), bound, |range, left| {
                vec![Range {
                    length: 4_096,
                    resident: left,
                    ..range
                }]
            })
        };
        let found = asked(1_024 * 1_024);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].length, found[1].resident), (4_096, 512 * 1_024));
        assert_eq!(asked(u64::MAX), anonymous(SMAPS));
        // Five pages: gone to swap, there, there, gone, there.
        let entry = |top: u8| [1, 0, 0, 0, 0, 0, 0, top];
        let map: Vec<u8> = [0x40, 0x80, 0x81, 0x40, 0x80]
            .into_iter()
            .flat_map(entry)
            .collect();
        let found = runs(&map, 0x1000_0000, 4_096, u64::MAX);
        let told: Vec<(usize, usize)> = found.iter().map(|run| (run.start, run.length)).collect();
        assert_eq!(told, [(0x1000_1000, 8_192), (0x1000_4000, 4_096)]);
        let one = runs(&map, 0x1000_0000, 4_096, 5_000);
        assert_eq!((one.len(), one[0].resident), (1, 4_096));
        assert!(runs(&map[..7], 0, 4_096, u64::MAX).is_empty());
    }

    #[test]
    fn what_a_debugger_holds_or_nobody_can_read_is_left_alone() {
        let proc = tempfile::tempdir().expect("a folder");
        for (pid, tracer, left_alone) in [(1, "0", false), (2, "77", true)] {
            let folder = proc.path().join(pid.to_string());
            fs::create_dir(&folder).expect("made");
            let text = format!("Name:\tx\nTracerPid:\t{tracer}\nUid:\t0\n");
            fs::write(folder.join("status"), text).expect("written");
            assert_eq!(is_traced(proc.path(), pid), left_alone);
        }
        assert!(is_traced(proc.path(), 3));
    }

    #[test]
    fn lines_of_nonsense_are_no_memory() {
        for text in [
            "",
            "zz-yy rw-p 0 0:0 0",
            "10-5 rw-p 0 0:0 0\nAnonymous: 9 kB\nVmFlags:",
            "-",
        ] {
            assert!(anonymous(text).is_empty(), "{text}");
        }
    }
}
