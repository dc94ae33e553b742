//! Real work: a paced interactive loop that times itself, and builds of real C files.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::thread::{ClockId, clock_nanosleep_absolute};

use crate::clock;
use crate::stats::{self, Dice};

/// The loop wakes this often, like a program that paints or plays: `research/optimizer.md` 7.10.
const PERIOD_NS: u64 = 5_000_000;

/// It works this long each time.
const WORK_NS: u64 = 500_000;

/// A screen's period: 60 pictures a second.
const PICTURE_NS: u64 = 16_666_667;

/// A game's thread works this long each time: 60 % of a core, more than a fair half.
const GAME_WORK_NS: u64 = 10_000_000;

/// Samples are written out this often, so that the writing itself is rare.
const FLUSH_NS: u64 = 500_000_000;

/// Width and height of the painted picture: some milliseconds of work on the machine of `research/optimizer.md` 1.
const PICTURE: (u32, u32) = (480, 270);

/// Functions per C file: 0.6 s of `cc -O2` on the machine of `research/optimizer.md` 1 (170 took 1.9 s).
const FUNCTIONS_PER_FILE: usize = 60;

/// C files of one project: a few more than any sensible `-j`, so that compilers never wait for the last one.
const FILES_PER_PROJECT: usize = 12;

/// One turn of the paced loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// When it was due, on the boot clock in microseconds.
    pub due_us: u64,
    /// From the moment it was due until its work was done, in milliseconds.
    pub took_ms: f64,
}

/// The paced loop: never returns unless its file cannot be written. Prints its own p50/p99 each second.
pub fn tick(out: &Path) -> Result<()> {
    let rounds = rounds_for(WORK_NS);
    pace(out, PERIOD_NS, || spin(rounds))
}

/// Paints a moving picture 60 times a second, as a game without a graphics card does, and times each picture.
pub fn paint(out: &Path) -> Result<()> {
    let mut picture = Picture::new();
    pace(out, PICTURE_NS, || picture.paint())
}

/// Computes and paints 60 times a second in two threads that want more than half of two cores, as a game does: beside a
/// load it waits in every turn, whoever's session the load is in.
pub fn play(out: &Path) -> Result<()> {
    let rounds = rounds_for(GAME_WORK_NS);
    std::thread::spawn(move || pace(Path::new("/dev/null"), PICTURE_NS, || spin(rounds)));
    pace(out, PICTURE_NS, || spin(rounds))
}

/// Does some work each time it is due, and writes down how long after that moment it was done.
fn pace(out: &Path, period_ns: u64, mut work: impl FnMut()) -> Result<()> {
    let mut file = BufWriter::new(File::create(out)?);
    let flush_every = usize::try_from(FLUSH_NS / period_ns)?.max(1);
    let to_boot_us = clock::boot_us().wrapping_sub(clock::monotonic_ns() / 1_000);
    let mut due = clock::monotonic_ns() + period_ns;
    let mut unsaid = Vec::new();
    loop {
        clock_nanosleep_absolute(ClockId::Monotonic, &clock::timespec(due))?;
        work();
        let done = clock::monotonic_ns();
        let took_us = done.saturating_sub(due) / 1_000;
        writeln!(file, "{} {took_us}", (due / 1_000).wrapping_add(to_boot_us))?;
        unsaid.push(took_us);
        if unsaid.len() >= flush_every {
            file.flush()?;
            say(&mut unsaid);
        }
        // A turn that came too late does not make the next ones late too.
        due += period_ns * (done.saturating_sub(due) / period_ns + 1);
    }
}

fn say(unsaid: &mut Vec<u64>) {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one turn")]
    let values: Vec<f64> = unsaid.drain(..).map(|us| us as f64 / 1_000.0).collect();
    if let Some(spread) = stats::spread(&values) {
        println!("p50 {:.2} ms  p99 {:.2} ms", spread.p50, spread.p99);
    }
}

/// Turns of the loop that were due in `[from, until)` (boot clock, microseconds).
pub fn turns(out: &Path, from_us: u64, until_us: u64) -> Result<Vec<Turn>> {
    let text = fs::read_to_string(out).context("the paced loop has written nothing")?;
    Ok(text
        .lines()
        .filter_map(parse_turn)
        .filter(|turn| (from_us..until_us).contains(&turn.due_us))
        .collect())
}

fn parse_turn(line: &str) -> Option<Turn> {
    let (due, took) = line.split_once(' ')?;
    let took_us: u32 = took.parse().ok()?;
    Some(Turn {
        due_us: due.parse().ok()?,
        took_ms: f64::from(took_us) / 1_000.0,
    })
}

/// A picture of moving waves, painted point by point.
struct Picture {
    points: Vec<u32>,
    time: u32,
}

impl Picture {
    fn new() -> Self {
        Self {
            points: vec![0; (PICTURE.0 * PICTURE.1) as usize],
            time: 0,
        }
    }

    fn paint(&mut self) {
        self.time = self.time.wrapping_add(3);
        let time = self.time;
        let places = (0..PICTURE.1).flat_map(|y| (0..PICTURE.0).map(move |x| (x, y)));
        for (point, (x, y)) in self.points.iter_mut().zip(places) {
            let (dx, dy) = (x.abs_diff(PICTURE.0 / 2), y.abs_diff(PICTURE.1 / 2));
            let ring = (dx * dx + dy * dy).isqrt();
            let red = wave(ring * 4 + time);
            let green = wave(x * 3 + time * 2);
            let blue = wave(y * 5 + ring + time);
            *point = red << 16 | green << 8 | blue;
        }
        std::hint::black_box(&self.points);
    }
}

/// A triangle wave of period 512 between 0 and 255.
fn wave(phase: u32) -> u32 {
    (phase % 512).min(511 - phase % 512)
}

/// How many rounds of [`spin`] take this much processor time.
fn rounds_for(ns: u64) -> u64 {
    let trial = 2_000_000;
    let before = clock::thread_ran_ns();
    spin(trial);
    let took = clock::thread_ran_ns().saturating_sub(before).max(1);
    (trial * ns / took).max(1)
}

fn spin(rounds: u64) {
    let mut dice = Dice::new(rounds);
    for _ in 0..rounds {
        std::hint::black_box(dice.next_u64());
    }
}

/// A folder with C files, a Makefile, and no need for anything but `make` and `cc`.
#[derive(Clone, Debug)]
pub struct Project {
    folder: PathBuf,
}

impl Project {
    /// Writes the files.
    pub fn write(folder: &Path, seed: u64) -> Result<Self> {
        fs::create_dir_all(folder)?;
        for index in 0..FILES_PER_PROJECT {
            let source = source(seed.wrapping_add(index as u64), FUNCTIONS_PER_FILE);
            fs::write(folder.join(format!("unit{index}.c")), source)?;
        }
        fs::write(folder.join("Makefile"), MAKEFILE)?;
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// The words that build it again and again, two compilers more than there are cores.
    pub fn build_for_ever(&self, make: &str) -> Vec<String> {
        let jobs = jobs();
        let folder = self.folder.display();
        let script = format!(
            "while :; do {make} -s -C {folder} clean; {make} -s -C {folder} -j{jobs} all; done"
        );
        vec!["/bin/sh".into(), "-c".into(), script]
    }
}

/// How many jobs a build gets: two more than there are cores.
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) + 2
}

/// One C file that takes some tenths of a second to compile.
pub fn c_source(seed: u64) -> String {
    source(seed, FUNCTIONS_PER_FILE)
}

/// The words that start four loops which never sleep, in one job.
pub fn spinners() -> Vec<String> {
    let script = "for n in 1 2 3; do (while :; do :; done) & done; while :; do :; done";
    vec!["/bin/sh".into(), "-c".into(), script.into()]
}

/// Why nothing can be built here; `None` when it can.
pub fn no_build_tools() -> Option<String> {
    let missing: Vec<&str> = ["make", "cc"]
        .into_iter()
        .filter(|tool| !crate::world::on_path(tool))
        .collect();
    (!missing.is_empty()).then(|| format!("missing tools: {}", missing.join(", ")))
}

/// Builds every C file beside it.
pub const MAKEFILE: &str = "\
SOURCES := $(wildcard *.c)
all: $(SOURCES:.c=.o)
%.o: %.c
\tcc -O2 -c -o $@ $<
clean:
\trm -f *.o
.PHONY: all clean
";

/// One C file of many small functions with loops, branches and tables: what an optimiser has work with.
pub fn source(seed: u64, functions: usize) -> String {
    let mut dice = Dice::new(seed);
    let mut text = String::from("#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n");
    for index in 0..functions {
        let [a, b, c] = [0; 3].map(|_| dice.next_u64() % 9_973 + 3);
        let shift = dice.below(13) + 1;
        let size = dice.below(48) + 16;
        // Writing to a string cannot fail.
        let written = write!(
            text,
            "static uint32_t table{index}[{size}];\n\
             uint32_t work{index}(const uint8_t *p, size_t n) {{\n\
             uint32_t x = {a}u, y = {b}u; double z = {c}.5;\n\
             for (size_t i = 0; i < n; i++) {{\n\
             x = (x << {shift}) ^ (x >> 3) ^ p[i] * {b}u;\n\
             switch ((x ^ p[i]) % 7u) {{\n\
             case 0: y += table{index}[x % {size}u]; break;\n\
             case 1: y ^= x * {a}u; z = z * 1.25 + y; break;\n\
             case 2: table{index}[y % {size}u] = x + (uint32_t)i; break;\n\
             case 3: for (size_t k = 0; k < {size}u; k++) table{index}[k] += (uint32_t)(k * y); break;\n\
             case 4: if (n > i + 8) {{ uint64_t w; memcpy(&w, p + i, 8); y += (uint32_t)(w % {c}u); }} break;\n\
             case 5: z = z > 1e9 ? z / {c}.0 : z + x; break;\n\
             default: y = y * 31u + (uint32_t)z; }} }}\n\
             return x + y + (uint32_t)z; }}\n"
        );
        debug_assert!(written.is_ok());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_turns_that_were_due_in_the_window_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("turns");
        fs::write(&out, "1000 500\n2000 700\n3000 900\n40").expect("written");
        let turns = turns(&out, 2_000, 3_000).expect("read");
        assert_eq!(
            turns,
            [Turn {
                due_us: 2_000,
                took_ms: 0.7
            }]
        );
    }

    #[test]
    fn the_sources_compile_and_differ() {
        assert_ne!(source(1, 2), source(2, 2));
        if no_build_tools().is_some() {
            println!("SKIPPED: no C compiler here");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("unit.c");
        fs::write(&file, source(3, 4)).expect("written");
        let status = std::process::Command::new("cc")
            .args(["-O2", "-Wall", "-Werror", "-c", "-o", "/dev/null"])
            .arg(&file)
            .status()
            .expect("cc runs");
        assert!(status.success());
    }

    #[test]
    fn half_a_millisecond_of_work_takes_some_processor_time() {
        assert!(rounds_for(WORK_NS) > 1_000);
    }
}
