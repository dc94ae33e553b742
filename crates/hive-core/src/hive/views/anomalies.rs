//! The OR-set of anomalies: present while any report of it stands that no counting retraction has seen.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};
use crate::hive::views::eligible;
use crate::id::{AnomalyId, NodeId};
use crate::statement::{Anomaly, DOTS_MAX, Dot, Key, Retract, Role, Statement};

/// What odd behaviour stands reported, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anomalies(BTreeMap<AnomalyId, Report>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was seen.
    pub anomaly: Anomaly,
    /// The reports that stand: at most one per author.
    pub dots: BTreeSet<Dot>,
}

impl Anomalies {
    /// Takes every report that counts, less what was retracted by those who may.
    #[must_use]
    pub fn of(roster: &Roster, store: &Store) -> Self {
        Self::in_maps(&eligible(roster, store), roster)
    }

    /// The same, of the maps that count.
    pub(crate) fn in_maps(maps: &[&AuthorMap], roster: &Roster) -> Self {
        let gone = retracted(roster, maps);
        let mut present: BTreeMap<AnomalyId, Report> = BTreeMap::new();
        for (dot, anomaly) in maps.iter().flat_map(|map| added(map)) {
            if !gone.contains(&dot) {
                let report = present.entry(anomaly.id()).or_insert_with(|| Report {
                    anomaly,
                    dots: BTreeSet::new(),
                });
                report.dots.insert(dot);
            }
        }
        Self(present)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&AnomalyId, &Report)> {
        self.0.iter()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: AnomalyId) -> Option<&Report> {
        self.0.get(&id)
    }

    /// What `me` has to say to retract an anomaly as far as it may: its own report, or all of them if it is
    /// an admin. `None` if there is nothing that it may retract. What it retracted before stays retracted.
    #[must_use]
    pub fn retraction(
        &self,
        roster: &Roster,
        store: &Store,
        me: NodeId,
        id: AnomalyId,
    ) -> Option<Statement> {
        let report = self.get(id)?;
        let mine = |dot: &&Dot| is_admin(roster, me) || dot.author == me;
        let fresh: Vec<Dot> = report.dots.iter().filter(mine).copied().collect();
        if fresh.is_empty() {
            return None;
        }
        let before = store.map(me).into_iter().flat_map(AuthorMap::statements);
        let before = before.filter_map(|(_, statement)| match statement {
            Statement::Retract(about, retract) if about == id => Some(retract.dots),
            _ => None,
        });
        let standing = all_dots(store);
        let mut dots: BTreeSet<Dot> = before.flatten().filter(|d| standing.contains(d)).collect();
        dots.extend(fresh);
        let dots = dots.into_iter().take(DOTS_MAX).collect();
        Some(Statement::Retract(id, Retract { dots }))
    }
}

/// The reports in one map.
pub(crate) fn added(map: &AuthorMap) -> impl Iterator<Item = (Dot, Anomaly)> + '_ {
    let author = map.head().author;
    let reports = map.statements_of(Key::ANOMALY);
    reports.filter_map(move |(entry, statement)| {
        let Statement::Anomaly(anomaly) = statement else {
            return None;
        };
        let dot = Dot {
            author,
            seq: entry.seq,
            hlc: entry.hlc,
        };
        Some((dot, anomaly))
    })
}

/// The reports that somebody retracted who may: the reporter itself, or an admin.
pub(crate) fn retracted(roster: &Roster, maps: &[&AuthorMap]) -> BTreeSet<Dot> {
    let mut gone = BTreeSet::new();
    for map in maps {
        let author = map.head().author;
        let admin = is_admin(roster, author);
        for (_, statement) in map.statements_of(Key::RETRACT) {
            if let Statement::Retract(_, retract) = statement {
                let counts = |dot: &Dot| admin || dot.author == author;
                gone.extend(retract.dots.into_iter().filter(counts));
            }
        }
    }
    gone
}

/// Every report in every map at hand, whether it counts or not.
pub(crate) fn all_dots(store: &Store) -> BTreeSet<Dot> {
    let maps = store.maps().map(|(_, map)| map);
    maps.flat_map(added).map(|(dot, _)| dot).collect()
}

fn is_admin(roster: &Roster, node: NodeId) -> bool {
    roster
        .member(node)
        .is_some_and(|member| member.role == Role::Admin)
}
