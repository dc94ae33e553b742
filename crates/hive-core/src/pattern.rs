//! What is learned: which action helps which workload in which context, and the numbers that say so.

pub mod catalogue;
pub mod roles;

use serde::{Deserialize, Serialize};

use crate::id::{PatternId, WorkloadKey};
use crate::units::{LogRatio, Permille};

/// The closed catalogue of what may be tried on a machine. Every action is bounded and can be undone.
///
/// Source of the values: `research/optimizer.md` 4.1 and 7.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Nothing, through the very same steps as the others: shows whether measuring alone moves the figure.
    Placebo,
    /// EEVDF slice of 0.1 ms for every thread of the protected workload (Linux 6.12 and later).
    FinerSlice,
    /// Autogroup nice 10 for the terminal sessions of the background.
    AutogroupNice,
    /// Nice 11 for every thread of the background.
    BackgroundNice,
    /// `SCHED_IDLE` for every thread of the background.
    BackgroundIdle,
    /// The idle class of input and output for every thread of the background.
    BackgroundIo,
    /// Anonymous memory of jobs that have slept long is the first to be taken when memory runs short.
    ColdMemory,
    /// Anonymous memory of jobs that have slept very long goes to compressed swap at once.
    PageOut,
    /// The background waits, stopped by a person.
    Defer,
    /// Processor weight 19 for the units of the background's applications, through the user's own service manager.
    BackgroundWeight,
}

/// What [`Action::BackgroundNice`] sets, and what marks the threads of [`Action::BackgroundIdle`] as ours.
///
/// The measured effects are those of 10 (`research/optimizer.md` 7.4). Eleven weighs a fifth less and is a number that
/// nobody writes by hand as a rule (`nice` without a number adds ten), so that whatever
/// carries it and was born meanwhile has it from us, wherever it went (decision 0040).
pub const BACKGROUND_NICE: i8 = 11;

/// What [`Action::BackgroundWeight`] sets; a unit that nobody weighed has 100.
///
/// The notes ask for 20 (`research/optimizer.md` 7.4), which a person may write by hand. Nineteen weighs as much, and
/// what carries it has it from us.
pub const BACKGROUND_WEIGHT: u64 = 19;

/// On whose processes an action acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The workload that a person waits for.
    Protected,
    /// Everything of the same owner that competes with it, as one class.
    Background,
}

/// What decides between two workloads that want one core. Nice, for one, does nothing across autogroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The tasks' own weights.
    Task,
    /// The weights of their terminal sessions.
    Autogroup,
    /// The weights of their control groups.
    Cgroup,
}

/// What kind of work a program does, told by its behaviour and, where [`roles`] knows it, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkloadType {
    /// Wakes often, runs briefly, somebody waits.
    Interactive,
    /// Uses all the processor it gets through many short-lived processes.
    Build,
    /// Uses all the processor it gets.
    Batch,
    /// None of these.
    Other,
    /// Draws frame after frame for somebody who plays.
    Game,
    /// Plays or records pictures or sound.
    Media,
    /// Carries a conversation.
    Call,
    /// Shows pages of the web.
    Browser,
}

/// What a protected workload is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To wait less for a processor whenever it wakes up.
    Wait,
    /// To get more done per second: processor time of the whole job, children that ended included.
    Progress,
}

/// How many cores, coarsely: effects shrink with idle cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cores {
    /// Up to 4.
    Few,
    /// 5 to 16.
    Some,
    /// 17 or more.
    Many,
}

/// The mechanism a measurement was taken under. Evidence from another context is not evidence:
/// sharing without it made the second machine worse than not sharing (`research/optimizer.md` 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Context {
    /// What decides between the two.
    pub binding: Binding,
    /// How many cores they share.
    pub cores: Cores,
    /// Whether the kernel knows custom EEVDF slices (6.12 and later): the scheduler's generation.
    pub eevdf_slices: bool,
    /// What the background mostly is. This version says `Batch` of all that uses the processor it gets.
    pub background: WorkloadType,
}

/// The definition of a pattern. Its id is its hash, so definitions never conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PatternDef {
    /// What is done.
    pub action: Action,
    /// For which protected program (hashed with the hive's secret).
    pub workload: WorkloadKey,
    /// What kind of work that program does.
    pub role: WorkloadType,
    /// Under which mechanism.
    pub context: Context,
}

/// What a trial concluded.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not yet enough pairs, or the cap was reached without an answer.
    #[default]
    Undecided,
    /// The whole range lies beyond the margin on the good side, and the background keeps its floor.
    Helps,
    /// The whole range lies beyond the margin on the bad side, or a guard rail fell.
    Harms,
    /// The whole range lies inside the margin.
    NoEffect,
}

/// Sufficient statistics of paired log ratios, additive and in fixed point.
///
/// A pair's value is `ln(with the action / without it)` of the wait per wake-up, or of the time that a piece of work
/// takes ([`Goal`]): below zero is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PairStats {
    /// How many pairs.
    pub pairs: u32,
    /// Sum of the values, in millionths.
    pub sum: i64,
    /// Sum of their squares, in millionths.
    pub squares: u64,
}

/// One machine's own trials of one pattern, as it tells the hive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// What this machine concluded.
    pub verdict: Verdict,
    /// Randomised pairs of the trial.
    pub trial: PairStats,
    /// Hold-out pairs taken after the verdict, kept apart from the trial.
    pub holdout: PairStats,
    /// Placebo pairs taken in between.
    pub placebo: PairStats,
    /// Lower end of the always-valid 95 % range of the trial.
    pub low: LogRatio,
    /// Upper end of it.
    pub high: LogRatio,
    /// Share of its work that the background lost.
    pub background_loss: Permille,
    /// How often a guard rail had to restore at once.
    pub harms: u16,
}

impl Binding {
    /// In a person's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Task => "decided by task",
            Self::Autogroup => "decided by terminal session",
            Self::Cgroup => "decided by control group",
        }
    }
}

impl WorkloadType {
    /// What such a workload is judged by. The role is part of a pattern's id, so one pattern has one goal.
    #[must_use]
    pub const fn goal(self) -> Goal {
        match self {
            Self::Interactive
            | Self::Other
            | Self::Game
            | Self::Media
            | Self::Call
            | Self::Browser => Goal::Wait,
            Self::Build | Self::Batch => Goal::Progress,
        }
    }

    /// In a person's words, as in "while an interactive program runs".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Interactive => "an interactive program",
            Self::Build => "a build",
            Self::Batch => "a build or another batch job",
            Self::Other => "a program",
            Self::Game => "a game",
            Self::Media => "a player or recorder",
            Self::Call => "a call",
            Self::Browser => "a browser",
        }
    }
}

impl Cores {
    /// The bucket of a number of cores.
    #[must_use]
    pub const fn of(cores: u16) -> Self {
        match cores {
            0..=4 => Self::Few,
            5..=16 => Self::Some,
            _ => Self::Many,
        }
    }
}

impl PatternDef {
    /// The pattern's id: the first 16 bytes of BLAKE3 (domain `hive-mind/v1/pattern`) over its encoding.
    #[must_use]
    pub fn id(&self) -> PatternId {
        let bytes = postcard::to_allocvec(self).unwrap_or_default();
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/pattern");
        hasher.update(&bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        PatternId(id)
    }
}

impl Verdict {
    /// In a person's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Helps => "helps",
            Self::Harms => "harms",
            Self::NoEffect => "no effect",
        }
    }
}

impl PairStats {
    /// Takes in one pair's natural log ratio.
    pub fn add(&mut self, ln_ratio: f64) {
        self.add_millionths(LogRatio::from_ln(ln_ratio).0);
    }

    /// Takes in a value of any kind, in millionths of its unit.
    pub fn add_millionths(&mut self, value: i64) {
        let size = u128::from(value.unsigned_abs());
        let square = u64::try_from(size * size / 1_000_000).unwrap_or(u64::MAX);
        self.pairs = self.pairs.saturating_add(1);
        self.sum = self.sum.saturating_add(value);
        self.squares = self.squares.saturating_add(square);
    }

    /// Takes in another machine's pairs.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs.saturating_add(other.pairs),
            sum: self.sum.saturating_add(other.sum),
            squares: self.squares.saturating_add(other.squares),
        }
    }

    /// Mean of the values (natural logarithm); zero without pairs.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sums stay far below 2^53")]
    pub fn mean(&self) -> f64 {
        if self.pairs == 0 {
            0.0
        } else {
            self.sum as f64 / 1e6 / f64::from(self.pairs)
        }
    }

    /// Sample variance of the values; zero below two pairs.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sums stay far below 2^53")]
    pub fn variance(&self) -> f64 {
        if self.pairs < 2 {
            return 0.0;
        }
        let n = f64::from(self.pairs);
        let mean = self.mean();
        ((self.squares as f64 / 1e6 - n * mean * mean) / (n - 1.0)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_statistics_are_the_textbook_ones() {
        let mut stats = PairStats::default();
        for value in [-0.5, -0.7, -0.9] {
            stats.add(value);
        }
        assert!((stats.mean() + 0.7).abs() < 1e-5);
        assert!((stats.variance() - 0.04).abs() < 1e-5);
    }

    #[test]
    fn statistics_of_two_machines_add_up_in_any_order() {
        let mut one = PairStats::default();
        one.add(-0.3);
        let mut two = PairStats::default();
        two.add(0.8);
        assert_eq!(one.plus(two), two.plus(one));
        assert_eq!(one.plus(two).pairs, 2);
    }
}
