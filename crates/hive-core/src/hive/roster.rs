//! Who belongs: a pure function of the genesis and the authors' maps.
//!
//! Admins are walked from senior to junior (recovery key, founder, then by the path of admissions, never
//! by time). A junior never removes a senior, a removal wins over every admission of the same key, and a
//! removed author counts exactly up to the state that the most senior remover named.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::hive::store::{AuthorMap, Store};
use crate::id::NodeId;
use crate::limits;
use crate::statement::{Admit, HeadRef, Revoke, Role, Statement};
use crate::wire::Genesis;

/// The members of a hive, and those that were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// In order of seniority.
    order: Vec<NodeId>,
    members: BTreeMap<NodeId, Member>,
    removed: BTreeMap<NodeId, Option<HeadRef>>,
    recovery: Option<NodeId>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it may do.
    pub role: Role,
    /// The member that stands for its owner.
    pub owner: NodeId,
    /// What it calls itself, once its map arrived.
    pub label: Option<String>,
    path: Path,
}

/// Seniority: the smaller is senior. Each step is the sponsor's batch number and the admitted key.
type Path = Vec<(u64, NodeId)>;

impl Roster {
    /// Walks the maps.
    #[must_use]
    pub fn of(genesis: &Genesis, store: &Store) -> Self {
        let mut walk = Walk {
            store,
            roster: Self {
                recovery: genesis.recovery,
                ..Self::default()
            },
            waiting: BTreeMap::new(),
        };
        if let Some(recovery) = genesis.recovery {
            walk.hear(recovery, &Path::new());
        }
        if !walk.roster.removed.contains_key(&genesis.founder) {
            let founder = Admit {
                node: genesis.founder,
                role: Role::Admin,
                owner: genesis.founder,
            };
            // One step below the recovery key, which has the empty path and is no member.
            walk.seat(&founder, alloc::vec![(0, NodeId::default())]);
        }
        walk.run();
        let mut roster = walk.roster;
        let mut order: Vec<_> = roster
            .members
            .iter()
            .map(|(node, member)| (member.path.clone(), *node))
            .collect();
        order.sort();
        roster.order = order.into_iter().map(|(_, node)| node).collect();
        for (node, member) in &mut roster.members {
            member.label = store.map(*node).and_then(label_in);
        }
        roster
    }

    /// Members in order of seniority.
    #[must_use]
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// A member.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// Whether this node belongs.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// The state up to which a removed author counts: `None` = it was not removed.
    #[must_use]
    pub fn removed(&self, node: NodeId) -> Option<Option<HeadRef>> {
        self.removed.get(&node).copied()
    }

    /// Everybody that was removed.
    pub fn all_removed(&self) -> impl Iterator<Item = NodeId> {
        self.removed.keys().copied()
    }

    /// Whether `one` may remove `other`.
    #[must_use]
    pub fn outranks(&self, one: NodeId, other: NodeId) -> bool {
        match (self.members.get(&one), self.members.get(&other)) {
            (Some(a), Some(b)) => a.role == Role::Admin && a.path < b.path,
            _ => false,
        }
    }

    /// Whether maps of this author are stored, joined and probed.
    #[must_use]
    pub fn stores(&self, node: NodeId) -> bool {
        self.has(node)
            || self.recovery == Some(node)
            || matches!(self.removed.get(&node), Some(Some(_)))
    }

    /// Whether what this author says about patterns counts.
    #[must_use]
    pub fn counts(&self, map: &AuthorMap) -> bool {
        let author = map.head().author;
        match self.removed.get(&author) {
            Some(keep) => *keep == Some(map.head_ref()),
            None => self.has(author),
        }
    }
}

struct Walk<'a> {
    store: &'a Store,
    roster: Roster,
    /// Admins not yet heard, the most senior first.
    waiting: BTreeMap<Path, NodeId>,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut heard = BTreeSet::new();
        while let Some((path, admin)) = self.waiting.pop_first() {
            if heard.insert(admin) && heard.len() <= limits::MEMBERS_MAX {
                self.hear(admin, &path);
            }
        }
    }

    /// Carries out what one admin says: removals first, so that they win over its own admissions.
    fn hear(&mut self, admin: NodeId, path: &Path) {
        let Some(map) = self.store.map(admin) else {
            return;
        };
        if let Some(keep) = self.roster.removed.get(&admin)
            && *keep != Some(map.head_ref())
        {
            return;
        }
        for (_, statement) in map.statements() {
            if let Statement::Revoke(revoke) = statement {
                self.unseat(&revoke, path);
            }
        }
        for (entry, statement) in map.statements() {
            if let Statement::Admit(admit) = statement {
                let mut below = path.clone();
                below.push((entry.seq, admit.node));
                self.seat(&admit, below);
            }
        }
    }

    /// The most senior sponsor's word counts; it was heard first.
    fn seat(&mut self, admit: &Admit, path: Path) {
        let known = self.roster.members.len() + self.roster.removed.len();
        if self.roster.members.contains_key(&admit.node)
            || self.roster.removed.contains_key(&admit.node)
            || known >= limits::MEMBERS_MAX
        {
            return;
        }
        if admit.role == Role::Admin {
            self.waiting.insert(path.clone(), admit.node);
        }
        self.roster.members.insert(
            admit.node,
            Member {
                role: admit.role,
                owner: admit.owner,
                label: None,
                path,
            },
        );
    }

    fn unseat(&mut self, revoke: &Revoke, by: &Path) {
        let senior = match self.roster.members.get(&revoke.node) {
            Some(member) => member.path <= *by,
            None => self.roster.recovery == Some(revoke.node),
        };
        if senior
            || self.roster.removed.contains_key(&revoke.node)
            || self.roster.removed.len() >= limits::MEMBERS_MAX
        {
            return;
        }
        self.roster.members.remove(&revoke.node);
        self.roster.removed.insert(revoke.node, revoke.keep);
    }
}

fn label_in(map: &AuthorMap) -> Option<String> {
    map.statements().find_map(|(_, statement)| match statement {
        Statement::Profile(profile) => Some(String::from(profile.label.as_str())),
        _ => None,
    })
}
