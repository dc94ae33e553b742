//! Learn: the ledger of every pattern this machine knows, its own numbers and where it stands.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::{Record, Table};
use crate::id::PatternId;
use crate::machine::act::Outcome;
use crate::machine::discovery::{self, Asked};
use crate::machine::epoch::{self, Epoch};
use crate::machine::run::Rail;
use crate::machine::sequence;
use crate::machine::trial::{HOLDOUT_PAIRS_MAX, RAILS_MAX, holdouts_deny};
use crate::machine::window::{PairValue, Window, real};
use crate::pattern::{Evidence, PairStats, PatternDef, Verdict};
use crate::reply::PatternState;
use crate::time::{Instant, Span, WallTime};
use crate::units::{LogRatio, Permille};

/// First back-off after a result that is not "helps"; doubles each time (`research/optimizer.md` 7.5).
pub const BACKOFF_MS: u64 = 24 * 3_600 * 1_000;

/// The back-off stops doubling here: half a year. A guess.
const BACKOFF_DOUBLINGS_MAX: u32 = 7;

/// Format of a stored entry.
const VERSION: u8 = 1;

/// Error rate of a first trial; each retest halves it (`research/optimizer.md` 5.2).
const ALPHA: f64 = 0.02;

/// Error rate of the range that is published and shown.
pub const ALPHA_SHOWN: f64 = 0.05;

/// Work that the background got, arm by arm, in microseconds of processor time and of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    treated_cpu: u64,
    treated_time: u64,
    control_cpu: u64,
    control_time: u64,
}

/// One pattern on this machine. It holds no program name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub def: PatternDef,
    /// The N of `p-N`.
    pub number: u32,
    /// Where it stands.
    pub state: PatternState,
    /// This machine's verdict.
    pub verdict: Verdict,
    /// Randomised pairs of the latest trial.
    pub trial: PairStats,
    /// Hold-out pairs since the verdict.
    pub holdout: PairStats,
    /// The latest of them: what decides whether it stays on.
    pub recent: PairStats,
    /// Placebo pairs of the latest trial.
    pub placebo: PairStats,
    /// What the background got in the latest trial.
    pub work: Work,
    /// Guard rails that fell in the latest trial, or since the last good hold-out pair.
    pub rails: u16,
    /// Guard rails that ever fell.
    pub harms: u16,
    /// Trials that ended with a verdict.
    pub trials: u32,
    /// Those that said "helps".
    pub wins: u32,
    /// Back-offs so far.
    pub backoffs: u32,
    /// Not tried again before.
    pub backoff_until: WallTime,
    /// Why the machine would not do it, if so.
    pub refused: Option<Outcome>,
    /// When this machine first knew of it.
    pub known_at: Instant,
    /// Whether this machine said it first.
    pub own: bool,
    /// Contention spent on it until the verdict.
    pub contention: Span,
    /// Whether it may be told to the hive: false after its key's secret was left behind.
    pub shared: bool,
    /// What the latest trial was asked for. Stored apart, as older programs know nothing of it.
    #[serde(skip)]
    pub asked: Asked,
    /// When the latest of its pairs was taken, where that is known. Stored apart as well.
    #[serde(skip)]
    pub taken: Option<Epoch>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<PatternId, Entry>,
    last_number: u32,
    /// Trials begun in this machine's life.
    pub(super) begun: u32,
    pub(super) stored: discovery::Stored,
    pub(super) stored_epochs: epoch::Stored,
}

impl Work {
    fn add(&mut self, treated: &[Window], control: &Window) {
        for window in treated {
            self.treated_cpu = self.treated_cpu.saturating_add(window.background.0);
            self.treated_time = self.treated_time.saturating_add(window.span.0);
        }
        self.control_cpu = self.control_cpu.saturating_add(control.background.0);
        self.control_time = self.control_time.saturating_add(control.span.0);
    }

    /// Share of its work that the background lost while the action was on.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.treated_time == 0 || self.control_cpu == 0 {
            return 0.0;
        }
        let treated = real(self.treated_cpu) / real(self.treated_time);
        let control = real(self.control_cpu) / real(self.control_time.max(1));
        (1.0 - treated / control).clamp(0.0, 1.0)
    }
}

impl Entry {
    fn new(def: PatternDef, number: u32, own: bool, known_at: Instant) -> Self {
        Self {
            def,
            number,
            state: PatternState::Heard,
            verdict: Verdict::Undecided,
            trial: PairStats::default(),
            holdout: PairStats::default(),
            recent: PairStats::default(),
            placebo: PairStats::default(),
            work: Work::default(),
            rails: 0,
            harms: 0,
            trials: 0,
            wins: 0,
            backoffs: 0,
            backoff_until: WallTime::default(),
            refused: None,
            known_at,
            own,
            contention: Span::default(),
            shared: true,
            asked: Asked::default(),
            taken: None,
        }
    }

    /// Error rate of the trial that runs or comes next.
    #[must_use]
    pub fn alpha(&self) -> f64 {
        ALPHA / libm::pow(2.0, f64::from(self.trials))
    }

    /// Whether it must be left alone for now.
    #[must_use]
    pub fn backs_off(&self, wall: WallTime) -> bool {
        wall < self.backoff_until
    }

    /// Starts a trial (or a probation) from nothing under a new number, or goes on with one that was interrupted.
    fn begin(&mut self, state: PatternState, number: u32) -> bool {
        let fresh = self.state != state;
        if fresh {
            self.trial = PairStats::default();
            self.holdout = PairStats::default();
            self.placebo = PairStats::default();
            self.asked = Asked { number, odds: 0 };
            self.work = Work::default();
            self.rails = 0;
            self.contention = Span::default();
            self.verdict = Verdict::Undecided;
            self.refused = None;
        }
        self.state = state;
        fresh
    }

    /// Takes in a real pair of the trial.
    pub fn add_pair(&mut self, treated: &[Window], control: &Window, value: PairValue) {
        match value {
            PairValue::Ln(ln) | PairValue::Starved(ln) => self.trial.add(ln),
            PairValue::Idle => return,
        }
        self.work.add(treated, control);
    }

    /// Takes in a hold-out pair. A good one forgives a fallen rail: loads change, and a rail compares
    /// with the past.
    pub fn add_holdout(&mut self, ln: f64) {
        self.holdout.add(ln);
        if self.recent.pairs >= HOLDOUT_PAIRS_MAX {
            self.recent = PairStats::default();
        }
        self.recent.add(ln);
        if ln < 0.0 {
            self.rails = 0;
        }
    }

    /// Why a proven pattern must be taken back, if so.
    #[must_use]
    pub fn denied(&self) -> Option<Verdict> {
        if self.rails >= RAILS_MAX {
            return Some(Verdict::Harms);
        }
        holdouts_deny(&self.recent, &self.trial)
    }

    /// Counts a guard rail that fell. A wait that doubled in a trial counts by its pair's value only: where waits are
    /// rare and long it doubles by chance, and two of them would be a verdict that nothing bounds (decision 0067).
    pub fn add_rail(&mut self, rail: Rail) {
        if rail != Rail::Wait || self.state != PatternState::Trial {
            self.rails = self.rails.saturating_add(1);
        }
        self.harms = self.harms.saturating_add(1);
    }

    /// Counts a starved window: told to the hive as every rail, and judged by its value.
    pub fn add_starved(&mut self) {
        self.harms = self.harms.saturating_add(1);
    }

    /// Ends a trial, of which so much evidence (a natural logarithm) was asked.
    pub fn conclude(&mut self, verdict: Verdict, asked: f64, wall: WallTime) {
        self.verdict = verdict;
        self.trials = self.trials.saturating_add(1);
        self.rails = 0;
        if verdict == Verdict::Helps {
            self.wins = self.wins.saturating_add(1);
            self.state = PatternState::Proven;
            self.asked.odds = discovery::odds(asked);
            self.recent = PairStats::default();
            self.backoffs = 0;
        } else {
            self.drop_for_now(wall);
        }
    }

    /// Takes a proven pattern back.
    pub fn withdraw(&mut self, verdict: Verdict, wall: WallTime) {
        self.verdict = verdict;
        self.rails = 0;
        self.drop_for_now(wall);
    }

    /// Goes on with the trial that had proven it: what it brought is not enough any more. What a person does not want
    /// today stays undone, and is tried anew after that.
    pub fn reopen(&mut self, wall: WallTime) {
        self.verdict = Verdict::Undecided;
        self.asked.odds = 0;
        if self.state != PatternState::Undone || !self.backs_off(wall) {
            self.state = PatternState::Trial;
        }
    }

    /// Leaves it alone for a while, longer each time.
    pub fn drop_for_now(&mut self, wall: WallTime) {
        self.state = PatternState::Dropped;
        let wait = BACKOFF_MS << self.backoffs.min(BACKOFF_DOUBLINGS_MAX);
        self.backoffs = self.backoffs.saturating_add(1);
        self.backoff_until = WallTime(wall.0.saturating_add(wait));
    }

    /// What the hive is told. The range is the always-valid 95 % one of the latest trial.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let range = sequence::range(&self.trial, ALPHA_SHOWN);
        Evidence {
            verdict: self.verdict,
            trial: self.trial,
            holdout: self.holdout,
            placebo: self.placebo,
            low: LogRatio::from_ln(range.map_or(f64::NEG_INFINITY, |r| r.low)),
            high: LogRatio::from_ln(range.map_or(f64::INFINITY, |r| r.high)),
            background_loss: Permille::from_share(self.work.loss()),
            harms: self.harms,
        }
    }

    /// How it is stored: a version, then the entry.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut value = Vec::from([VERSION]);
        value.extend(postcard::to_allocvec(self).unwrap_or_default());
        Record {
            table: Table::Ledger,
            key: Ledger::key(self.def.id()),
            value: Some(value),
        }
    }
}

impl Ledger {
    /// Reads back what [`Entry::record`] wrote; other records are not its business.
    #[must_use]
    pub fn restore(records: &[Record]) -> Self {
        let mut ledger = Self::default();
        for record in records.iter().filter(|r| r.table == Table::Ledger) {
            let Some([VERSION, value @ ..]) = record.value.as_deref() else {
                continue;
            };
            let Ok((entry, [])) = postcard::take_from_bytes::<Entry>(value) else {
                continue;
            };
            if record.key == Self::key(entry.def.id()) {
                ledger.last_number = ledger.last_number.max(entry.number);
                ledger.entries.insert(entry.def.id(), entry);
            }
        }
        ledger.restore_discovery(records);
        ledger.restore_epochs(records);
        ledger
    }

    /// What is stored apart from the entries and is not stored already.
    pub fn records_apart(&mut self) -> impl Iterator<Item = Record> + use<> {
        let (discovery, epochs) = (self.discovery_record(), self.epochs_record());
        discovery.into_iter().chain(epochs)
    }

    /// Begins a trial or a probation of a pattern, or goes on with one. Tells whether it began.
    pub fn begin(&mut self, id: PatternId, state: PatternState) -> bool {
        let number = self.begun.saturating_add(1);
        let begins = |entry: &mut Entry| entry.begin(state, number);
        let fresh = self.entries.get_mut(&id).is_some_and(begins);
        if fresh {
            self.begun = number;
        }
        fresh
    }

    /// All, by their ids.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&PatternId, &Entry)> {
        self.entries.iter()
    }

    /// The record's key of a pattern.
    #[must_use]
    pub fn key(id: PatternId) -> Vec<u8> {
        let mut key = Vec::from(*b"p");
        key.extend(id.0);
        key
    }

    /// What takes a pattern's record out of the store.
    #[must_use]
    pub fn forget(id: PatternId) -> Record {
        Record {
            table: Table::Ledger,
            key: Self::key(id),
            value: None,
        }
    }

    /// The entry of a pattern, made if it is new.
    pub fn know(&mut self, def: PatternDef, own: bool, at: Instant) -> &mut Entry {
        let number = self.last_number + 1;
        let last = &mut self.last_number;
        self.entries.entry(def.id()).or_insert_with(|| {
            *last = number;
            Entry::new(def, number, own, at)
        })
    }

    /// How many patterns are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of a pattern.
    #[must_use]
    pub fn get(&self, id: PatternId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// The entry of a pattern, to change it.
    pub fn get_mut(&mut self, id: PatternId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// All, in the order of their numbers.
    #[must_use]
    pub fn in_order(&self) -> Vec<(PatternId, &Entry)> {
        let mut all: Vec<_> = self.entries.iter().map(|(id, e)| (*id, e)).collect();
        all.sort_by_key(|(_, entry)| entry.number);
        all
    }

    /// Finds `p-N` or the id's first digits.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<PatternId> {
        let number = word.strip_prefix("p-").and_then(|n| n.parse::<u32>().ok());
        let digits = word.len() >= 4;
        let mut hits = self.entries.iter().filter(|(id, entry)| {
            number.map_or_else(
                || digits && alloc::format!("{id}").starts_with(word),
                |number| entry.number == number,
            )
        });
        match (hits.next(), hits.next()) {
            (Some((id, _)), None) => Some(*id),
            _ => None,
        }
    }

    /// Takes a pattern out: it goes on under another id.
    pub fn remove(&mut self, id: PatternId) -> Option<Entry> {
        self.entries.remove(&id)
    }

    /// Puts a pattern in under its own id.
    pub fn insert(&mut self, entry: Entry) {
        self.last_number = self.last_number.max(entry.number);
        self.entries.insert(entry.def.id(), entry);
    }
}
