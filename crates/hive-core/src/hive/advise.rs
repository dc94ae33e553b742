//! What the hive tells this machine: a pure function of the maps, apart from when it was first heard.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};
use crate::hive::views::anomalies::Anomalies;
use crate::hive::views::counter::Counters;
use crate::hive::views::{eligible, hive_time};
use crate::id::{NodeId, PatternId};
use crate::pattern::{Evidence, PatternDef};
use crate::statement::{Key, Mark, Statement};
use crate::time::{Hlc, Instant};

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
    /// Odd behaviour that stands reported.
    pub anomalies: Anomalies,
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
        let maps = eligible(roster, store);
        let time = hive_time::of(roster, store);
        let total = Counters::in_maps(&maps, roster, store, time).total();
        let mut advice = Self {
            members: roster.order().len(),
            wins: total.wins,
            trials: total.trials,
            anomalies: Anomalies::in_maps(&maps, roster),
            ..Self::default()
        };
        for map in &maps {
            advice.define(map, before, now);
        }
        let latest = hive_time::latest(time);
        let mut marks: BTreeMap<PatternId, (Hlc, NodeId, Mark)> = BTreeMap::new();
        for map in maps {
            let author = map.head().author;
            for (_, statement) in map.statements_of(Key::EVIDENCE) {
                if let Statement::Evidence(id, evidence) = statement
                    && let Some(heard) = advice.patterns.get_mut(&id)
                {
                    heard.evidence.push((author, evidence));
                }
            }
            for (entry, statement) in map.statements_of(Key::MARK) {
                if let Statement::Mark(id, mark) = statement {
                    let said = (entry.hlc.min(latest), author, mark);
                    let newest = marks.entry(id).or_insert(said);
                    *newest = (*newest).max(said);
                }
            }
        }
        // Of a machine's several keys the newest that speaks of a pattern counts: it says it all again.
        for heard in advice.patterns.values_mut() {
            let authors: Vec<NodeId> = heard.evidence.iter().map(|(author, _)| *author).collect();
            let said_again = |author: NodeId| {
                let mut heirs = roster.heirs(author);
                heirs.any(|heir| authors.contains(&heir))
            };
            heard.evidence.retain(|(author, _)| !said_again(*author));
        }
        for (id, (_, _, mark)) in marks {
            if let Some(heard) = advice.patterns.get_mut(&id) {
                heard.paused = mark == Mark::Paused;
            }
        }
        advice
    }

    fn define(&mut self, map: &AuthorMap, before: &Self, now: Instant) {
        for (entry, statement) in map.statements_of(Key::PATTERN) {
            if let Statement::Pattern(def) = statement {
                // Its key is its id, or it would not have been read.
                let id = PatternId(entry.key.id);
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
