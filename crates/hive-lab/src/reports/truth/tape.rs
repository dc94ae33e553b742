//! Counters of real programs, slice by slice, as they were recorded; and lives made of their blocks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hive_core::machine::window::Window;
use serde::{Deserialize, Serialize};

use crate::stats::Dice;

/// Length of a slice: the wash-out of a trial is two of them, so that a replay cuts windows where a trial would.
pub const SLICE_MS: u64 = 100;

/// Slices of a block: ten seconds, several pairs long, so that what wanders slowly wanders within a block. A guess.
const BLOCK: usize = 100;

/// Counters that were gained in one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Microseconds that it took.
    pub us: f64,
    /// Nanoseconds that the protected threads waited.
    pub waited_ns: f64,
    /// Nanoseconds that they ran.
    pub ran_ns: f64,
    /// How often they were woken.
    pub wakeups: f64,
    /// Microseconds of processor time that the background got.
    pub background_us: f64,
    /// Microseconds in which some task waited for a processor.
    pub stalled_us: f64,
}

/// One recorded scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tape {
    /// What ran, and where.
    pub name: String,
    /// Whether all of it ran in one session, where nice decides.
    pub one_session: bool,
    /// What was counted.
    pub slices: Vec<Slice>,
}

/// A file of tapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tapes {
    /// `hive-lab.tapes/2`.
    pub schema: String,
    /// The kernel that it was recorded under.
    pub kernel: String,
    /// Its processors.
    pub cores: usize,
    /// The scenes.
    pub tapes: Vec<Tape>,
}

const SCHEMA: &str = "hive-lab.tapes/2";

impl Slice {
    /// What the core's own subtraction of two readings says.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counters of a tenth of a second"
    )]
    pub fn of(window: &Window, stalled_us: u64) -> Self {
        Self {
            us: window.span.0 as f64,
            waited_ns: window.waited_ns as f64,
            ran_ns: window.ran_ns as f64,
            wakeups: window.wakeups as f64,
            background_us: window.background.0 as f64,
            stalled_us: stalled_us as f64,
        }
    }
}

impl Tapes {
    /// Tapes of this machine.
    pub fn of(tapes: Vec<Tape>) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            schema: SCHEMA.into(),
            kernel: kernel.trim().into(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            tapes,
        }
    }

    /// Writes them for others to replay.
    pub fn write(&self, file: &Path) -> Result<()> {
        fs::write(file, serde_json::to_vec(self)?)
            .with_context(|| format!("{} cannot be written", file.display()))
    }

    /// Reads what [`Tapes::write`] wrote.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let tapes: Self = serde_json::from_slice(&bytes).context("that is no file of tapes")?;
        ensure!(
            tapes.schema == SCHEMA,
            "tapes of another format: {}",
            tapes.schema
        );
        let long_enough = |tape: &Tape| tape.slices.len() >= BLOCK;
        ensure!(
            tapes.tapes.iter().all(long_enough),
            "a tape is shorter than a block of ten seconds"
        );
        ensure!(!tapes.tapes.is_empty(), "no tapes");
        Ok(tapes)
    }
}

/// A life made of a tape's blocks, drawn anew (moving blocks; Künsch, "The jackknife and the bootstrap for general
/// stationary observations", 1989): what neighbours in time have in common stays together.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    slices: &'a [Slice],
    at: usize,
    left: usize,
    dice: Dice,
}

impl<'a> Replay<'a> {
    /// A life by a seed.
    pub fn new(tape: &'a Tape, seed: u64) -> Self {
        Self {
            slices: &tape.slices,
            at: 0,
            left: 0,
            dice: Dice::new(seed),
        }
    }
}

impl Iterator for Replay<'_> {
    type Item = Slice;

    fn next(&mut self) -> Option<Slice> {
        if self.left == 0 {
            self.left = BLOCK.min(self.slices.len());
            self.at = self.dice.below(self.slices.len() + 1 - self.left);
        }
        self.left -= 1;
        let slice = self.slices.get(self.at).copied();
        self.at += 1;
        slice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(length: u32) -> Tape {
        Tape {
            name: "counted".into(),
            one_session: true,
            slices: (0..length)
                .map(|nth| Slice {
                    us: 100_000.0,
                    wakeups: f64::from(nth),
                    ..Slice::default()
                })
                .collect(),
        }
    }

    #[test]
    fn a_replay_keeps_neighbours_together_and_differs_by_its_seed() {
        let tape = tape(1_000);
        let life: Vec<f64> = Replay::new(&tape, 1)
            .take(400)
            .map(|slice| slice.wakeups)
            .collect();
        for block in life.chunks(BLOCK) {
            assert!(
                block
                    .windows(2)
                    .all(|pair| (pair[1] - pair[0] - 1.0).abs() < 1e-9)
            );
        }
        let starts = |seed| -> Vec<f64> {
            Replay::new(&tape, seed)
                .step_by(BLOCK)
                .take(9)
                .map(|slice| slice.wakeups)
                .collect()
        };
        assert_eq!(starts(1), starts(1));
        assert_ne!(starts(1), starts(2));
    }

    #[test]
    fn tapes_come_back_from_their_file_and_short_or_foreign_ones_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tapes.json");
        let tapes = Tapes::of(vec![tape(200)]);
        tapes.write(&file).expect("written");
        assert_eq!(Tapes::read(&file).expect("read"), tapes);
        Tapes::of(vec![tape(5)]).write(&file).expect("written");
        assert!(Tapes::read(&file).is_err());
        fs::write(&file, b"{}").expect("written");
        assert!(Tapes::read(&file).is_err());
    }
}
