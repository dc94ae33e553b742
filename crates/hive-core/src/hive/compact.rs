//! An author's own compaction: it takes back statements of its own that no view needs, and raises the
//! floor below which markers of removal are gone. It never touches another author's map.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::chance::Chance;
use crate::hive::Hive;
use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};
use crate::hive::views::{anomalies, eligible, hive_time};
use crate::id::{NodeId, PatternId};
use crate::statement::{Key, Mark, Statement};
use crate::time::{Hlc, Instant, Now, Span};

/// A mark that a newer one has overruled for this long is taken back. Source: `research/replication.md` 4.5.
const OVERRULED_AFTER: Span = Span::from_secs(7 * 86_400);

/// Markers, retractions and definitions without any numbers are dropped at this age: a member that was
/// away for longer is given whole maps. Source: `research/replication.md` 4.5 and 6.
const FORGOTTEN_AFTER: Span = Span::from_secs(30 * 86_400);

/// How often this machine looks through its map. A guess: the ages are in weeks.
const COMPACT_EVERY: Span = Span::from_secs(86_400);

/// When more was to be taken back than could be paid for, the rest is looked at after this. A guess: a few go at a
/// time, each batch with some others of its kind.
const COMPACT_AGAIN: Span = Span::from_secs(3_600);

/// When to look next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compact {
    at: Instant,
}

/// What an author may leave out of its next batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Statements to take back.
    pub drop: Vec<Key>,
    /// Markers up to this batch go.
    pub floor: u64,
}

impl Compact {
    pub(super) fn new(now: Instant, chance: &mut Chance) -> Self {
        // Not all machines of a house that lost its power at once.
        let wait = Span(COMPACT_EVERY.0 / 24 + chance.below(COMPACT_EVERY.0 / 24));
        Self {
            at: now.after(wait),
        }
    }
}

impl Plan {
    /// What `me` no longer needs to say. All ages are in hive time, so no machine's clock decides.
    #[must_use]
    pub fn of(me: NodeId, roster: &Roster, store: &Store) -> Self {
        let Some(own) = store.map(me) else {
            return Self::default();
        };
        let time = hive_time::of(roster, store);
        let maps = eligible(roster, store);
        let mut drop = overruled_marks(own, &maps, time);
        drop.extend(bare_definitions(own, &maps, time));
        drop.extend(reports_taken_back(own, roster, &maps));
        drop.extend(spent_retractions(own, roster, store, time));
        drop.sort_unstable();
        Self {
            drop,
            floor: floor(own, time),
        }
    }

    /// Whether there is nothing to gain.
    #[must_use]
    pub fn is_empty(&self, own: &AuthorMap) -> bool {
        self.drop.is_empty() && self.floor <= own.head().floor
    }
}

impl Hive {
    pub(super) fn compact_wake(&self) -> Instant {
        self.compact.at
    }

    /// Looks through the own map, and says what is left of it if that is less.
    pub(super) fn on_compact_time(&mut self, now: Now) {
        if now.boot < self.compact.at {
            return;
        }
        self.compact.at = now.boot.after(COMPACT_EVERY);
        let plan = Plan::of(self.me, &self.roster, &self.store);
        let needed = self
            .store
            .map(self.me)
            .is_some_and(|own| !plan.is_empty(own));
        if !needed || !self.may_sign(now) {
            return;
        }
        // As many as can be paid for. What is left over, and the floor with the last of them, waits for more.
        match self.pay_for_removals(now, plan.drop.len()) {
            Ok(paid) => {
                let all = paid == plan.drop.len();
                if !all {
                    self.compact.at = now.boot.after(COMPACT_AGAIN);
                }
                let own = self.store.map(self.me).map(AuthorMap::head);
                let before = own.map_or(0, |head| head.floor);
                let floor = if all { plan.floor } else { before };
                let drop = plan.drop.into_iter().take(paid);
                let changes = drop.map(|key| (key, None)).collect();
                self.sign(now, changes, floor, Vec::new());
            }
            Err(ready) => self.compact.at = ready,
        }
    }
}

/// Own marks that lost, long ago, to a newer one that still counts.
fn overruled_marks(own: &AuthorMap, maps: &[&AuthorMap], time: Hlc) -> Vec<Key> {
    let mut newest: BTreeMap<PatternId, (Hlc, NodeId, Mark)> = BTreeMap::new();
    for map in maps {
        for (entry, statement) in map.statements() {
            // One that claims to be later than hive time may yet lose.
            if let Statement::Mark(id, mark) = statement
                && entry.hlc <= time
            {
                let said = (entry.hlc, map.head().author, mark);
                let newest = newest.entry(id).or_insert(said);
                *newest = (*newest).max(said);
            }
        }
    }
    let lost = |(entry, statement): (&crate::wire::Entry, Statement)| {
        let Statement::Mark(id, _) = statement else {
            return None;
        };
        let (at, by, _) = newest.get(&id)?;
        let long_ago = hive_time::age(time, *at) > OVERRULED_AFTER;
        let overruled = *by != own.head().author && entry.hlc <= *at && long_ago;
        overruled.then_some(entry.key)
    };
    own.statements().filter_map(lost).collect()
}

/// Own definitions of patterns of which nothing else is said: here and anywhere, or here and defined by an
/// author that never gives way to this one.
fn bare_definitions(own: &AuthorMap, maps: &[&AuthorMap], time: Hlc) -> Vec<Key> {
    let about = |map: &AuthorMap| -> BTreeSet<PatternId> {
        let ids = map.statements().filter_map(|(_, it)| match it {
            Statement::Evidence(id, _) | Statement::Mark(id, _) | Statement::Strategy(id, _) => {
                Some(id)
            }
            _ => None,
        });
        ids.collect()
    };
    let here = about(own);
    let anywhere: BTreeSet<PatternId> = maps.iter().flat_map(|map| about(map)).collect();
    let bare = |(entry, statement): (&crate::wire::Entry, Statement)| {
        let Statement::Pattern(def) = statement else {
            return None;
        };
        let id = def.id();
        let age = hive_time::age(time, entry.hlc);
        let kept_by = |map: &&&AuthorMap| {
            map.head().author < own.head().author && map.value(&entry.key).is_some()
        };
        let kept = maps.iter().find(kept_by).is_some() && age > OVERRULED_AFTER;
        let useless = !anywhere.contains(&id) && age > FORGOTTEN_AFTER;
        (!here.contains(&id) && (kept || useless)).then_some(entry.key)
    };
    own.statements().filter_map(bare).collect()
}

/// Own reports of anomalies that somebody retracted who may.
fn reports_taken_back(own: &AuthorMap, roster: &Roster, maps: &[&AuthorMap]) -> Vec<Key> {
    let gone = anomalies::retracted(roster, maps);
    anomalies::added(own)
        .filter(|(dot, _)| gone.contains(dot))
        .map(|(_, anomaly)| Statement::Anomaly(anomaly).key())
        .collect()
}

/// Own retractions of reports that are gone from every map. One that names a removed author's report
/// stays: no author is there to take that report back, and a senior admin can bring its map back.
fn spent_retractions(own: &AuthorMap, roster: &Roster, store: &Store, time: Hlc) -> Vec<Key> {
    let standing = anomalies::all_dots(store);
    let spent = |(entry, statement): (&crate::wire::Entry, Statement)| {
        let Statement::Retract(_, retract) = statement else {
            return None;
        };
        let needed = retract
            .dots
            .iter()
            .any(|dot| standing.contains(dot) || roster.removed(dot.author).is_some());
        let old = hive_time::age(time, entry.hlc) > FORGOTTEN_AFTER;
        (old && !needed).then_some(entry.key)
    };
    own.statements().filter_map(spent).collect()
}

/// The greatest floor below which all markers are old.
fn floor(own: &AuthorMap, time: Hlc) -> u64 {
    let mut markers: Vec<(u64, Hlc)> = own
        .entries()
        .filter(|entry| entry.value.is_none())
        .map(|entry| (entry.seq, entry.hlc))
        .collect();
    markers.sort_unstable();
    let old = |(_, said): &(u64, Hlc)| hive_time::age(time, *said) > FORGOTTEN_AFTER;
    let last = markers.into_iter().take_while(old).last();
    last.map_or(own.head().floor, |(seq, _)| seq.max(own.head().floor))
}
