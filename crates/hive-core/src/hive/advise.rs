//! What the hive tells this machine: a pure function of the maps, apart from when it was first heard.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};
use crate::id::{NodeId, PatternId};
use crate::limits;
use crate::pattern::{Evidence, PatternDef};
use crate::statement::{Mark, Statement};
use crate::time::{Hlc, Instant};

/// Most wins of one counter cell that count. A guess: one per minute for two years.
const CELL_MAX: u64 = 1_000_000;

/// The views that the optimizer needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// All patterns that any counting author defines.
    pub patterns: BTreeMap<PatternId, Heard>,
    /// Members, this machine included.
    pub members: usize,
    /// Times an action was tried to a verdict anywhere and helped: sum of the authors' own cells.
    pub wins: u64,
    /// Times an action was tried to a verdict anywhere.
    pub trials: u64,
}

/// One pattern, as all members together tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it is.
    pub def: PatternDef,
    /// Each author's own trials, this machine's included.
    pub evidence: Vec<(NodeId, Evidence)>,
    /// Whether the newest mark says that it must not be used.
    pub paused: bool,
    /// When this machine first knew of it.
    pub first_seen: Instant,
}

impl Advice {
    /// Computes the views. Patterns of `before` keep their first moment.
    #[must_use]
    pub fn of(roster: &Roster, store: &Store, before: &Self, now: Instant) -> Self {
        let maps: Vec<&AuthorMap> = store
            .maps()
            .map(|(_, map)| map)
            .filter(|map| roster.counts(map) && !roster.quarantines(map.head().author, store))
            .collect();
        let mut advice = Self {
            members: roster.order().len(),
            ..Self::default()
        };
        for map in &maps {
            advice.define(map, before, now);
        }
        let hive_time = hive_time(&maps, advice.members);
        let mut marks: BTreeMap<PatternId, (Hlc, NodeId, Mark)> = BTreeMap::new();
        for map in maps {
            let author = map.head().author;
            for (entry, statement) in map.statements() {
                match statement {
                    Statement::Evidence(id, evidence) => {
                        if let Some(heard) = advice.patterns.get_mut(&id) {
                            heard.evidence.push((author, evidence));
                        }
                    }
                    Statement::Mark(id, mark) => {
                        let said = (entry.hlc.min(hive_time), author, mark);
                        let newest = marks.entry(id).or_insert(said);
                        *newest = (*newest).max(said);
                    }
                    Statement::Strategy(_, cell) => {
                        let trials = cell.trials.min(CELL_MAX);
                        advice.trials = advice.trials.saturating_add(trials);
                        advice.wins = advice.wins.saturating_add(cell.wins.min(trials));
                    }
                    _ => {}
                }
            }
        }
        for (id, (_, _, mark)) in marks {
            if let Some(heard) = advice.patterns.get_mut(&id) {
                heard.paused = mark == Mark::Paused;
            }
        }
        advice
    }

    fn define(&mut self, map: &AuthorMap, before: &Self, now: Instant) {
        for (_, statement) in map.statements() {
            if let Statement::Pattern(def) = statement {
                let id = def.id();
                let first_seen = before.patterns.get(&id).map_or(now, |old| old.first_seen);
                self.patterns.entry(id).or_insert(Heard {
                    def,
                    evidence: Vec::new(),
                    paused: false,
                    first_seen,
                });
            }
        }
    }
}

/// The latest time that counts: the k-th greatest head time, k = members / 3 + 1, and a minute. No
/// third of the members can push it (DESIGN section 7).
fn hive_time(maps: &[&AuthorMap], members: usize) -> Hlc {
    let mut times: Vec<Hlc> = maps.iter().map(|map| map.head().hlc).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let time = times.get(members / 3).or(times.last());
    let ahead = limits::HLC_AHEAD_MS << 16;
    Hlc(time.map_or(0, |time| time.0).saturating_add(ahead))
}
