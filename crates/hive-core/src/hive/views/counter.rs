//! The G-counter of strategies: every author has its own cell, and nobody else's.

use alloc::collections::BTreeMap;

use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};
use crate::hive::views::{eligible, hive_time};
use crate::id::{NodeId, PatternId};
use crate::statement::{Key, Role, Statement, StrategyCell};
use crate::time::{Hlc, Span};

/// Trials to a verdict that any member may have at once. A guess: an hour's worth, so that what a machine
/// measured on its own before it joined counts soon.
const CELL_BURST: u64 = 60;

/// Trials to a verdict that count per hour of membership. A guess, far above what a trial of at least six
/// pairs of two windows allows: one a minute.
const CELL_PER_HOUR: u64 = 60;

/// Most trials of one cell that ever count. A guess: one a minute for two years.
const CELL_MAX: u64 = 1_000_000;

/// Times each strategy was tried anywhere, and helped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<PatternId, StrategyCell>);

impl Counters {
    /// Sums the cells of all that count, each as far as its author's age as a member allows; of a machine's several
    /// keys the greatest cell, because the new one says it all again. Between changes of membership it only grows, as
    /// long as cells and head times do.
    #[must_use]
    pub fn of(roster: &Roster, store: &Store) -> Self {
        let time = hive_time::of(roster, store);
        Self::in_maps(&eligible(roster, store), roster, store, time)
    }

    /// The same, of the maps that count, at the hive's time.
    pub(crate) fn in_maps(maps: &[&AuthorMap], roster: &Roster, store: &Store, time: Hlc) -> Self {
        // Asked for by large cells alone, and these are rare: in a large hive it is most of the work.
        let mut admitted_since = None;
        let mut cells: BTreeMap<(PatternId, NodeId), StrategyCell> = BTreeMap::new();
        for map in maps {
            let author = map.head().author;
            let place = roster.heirs(author).last().unwrap_or(author);
            for (_, statement) in map.statements_of(Key::STRATEGY) {
                if let Statement::Strategy(id, cell) = statement {
                    let most = if cell.trials <= CELL_BURST {
                        CELL_BURST
                    } else {
                        let since = admitted_since.get_or_insert_with(|| admitted(roster, store));
                        let since = since.get(&place);
                        since.map_or(CELL_MAX, |since| cap(hive_time::age(time, *since)))
                    };
                    let trials = cell.trials.min(most);
                    let known = cells.entry((id, place)).or_default();
                    known.trials = known.trials.max(trials);
                    known.wins = known.wins.max(cell.wins.min(trials));
                }
            }
        }
        let mut sums: BTreeMap<PatternId, StrategyCell> = BTreeMap::new();
        for ((id, _), cell) in cells {
            let sum = sums.entry(id).or_default();
            sum.trials = sum.trials.saturating_add(cell.trials);
            sum.wins = sum.wins.saturating_add(cell.wins);
        }
        Self(sums)
    }

    /// One strategy's count.
    #[must_use]
    pub fn of_strategy(&self, id: PatternId) -> StrategyCell {
        self.0.get(&id).copied().unwrap_or_default()
    }

    /// All strategies together.
    #[must_use]
    pub fn total(&self) -> StrategyCell {
        let mut total = StrategyCell::default();
        for cell in self.0.values() {
            total.trials = total.trials.saturating_add(cell.trials);
            total.wins = total.wins.saturating_add(cell.wins);
        }
        total
    }
}

/// How many trials of one cell count at this age as a member.
#[must_use]
pub fn cap(age: Span) -> u64 {
    let earned = u128::from(CELL_PER_HOUR) * u128::from(age.0) / 3_600_000_000;
    let earned = u64::try_from(earned).unwrap_or(CELL_MAX);
    CELL_BURST.saturating_add(earned).min(CELL_MAX)
}

/// Since when members belong, by the earliest admission in force of any key of their place, by the key that has it now.
/// The founder belongs from the start and is not in it.
fn admitted(roster: &Roster, store: &Store) -> BTreeMap<NodeId, Hlc> {
    let mut since: BTreeMap<NodeId, Hlc> = BTreeMap::new();
    for admin in roster.order() {
        let is_admin = roster
            .member(*admin)
            .is_some_and(|member| member.role == Role::Admin);
        if !is_admin {
            continue;
        }
        // What it let in under its earlier keys is said nowhere else.
        let before = roster.keys_of(*admin).map(|(old, _)| old);
        let maps = before
            .chain([*admin])
            .filter_map(|key| store.map(key))
            .filter(|map| roster.counts(map));
        for (entry, statement) in maps.flat_map(|map| map.statements_of(Key::ADMIT)) {
            if let Statement::Admit(admit) = statement {
                let place = roster.heirs(admit.node).last().unwrap_or(admit.node);
                if roster.order().first() != Some(&place) {
                    let earliest = since.entry(place).or_insert(entry.hlc);
                    *earliest = (*earliest).min(entry.hlc);
                }
            }
        }
    }
    since
}
