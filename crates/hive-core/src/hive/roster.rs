//! Who belongs: a pure function of the genesis and the authors' maps.
//!
//! Admins are walked from senior to junior (recovery key, founder, then by the path of admissions, never
//! by time). The most senior word about a machine counts: a junior never removes a senior and never
//! changes its role, a removal wins over every admission of the same key, and a removed author counts
//! exactly up to the state that its remover named. A key that took over from another one stands in its place. Places are handed down: an admin divides what it has
//! left among the admins below it, so that nobody's admissions can push out somebody else's.

mod succession;
mod walk;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::hive::roster::succession::Heir;
use crate::hive::roster::walk::Walk;
use crate::hive::store::fork::Proof;
use crate::hive::store::{AuthorMap, Store};
use crate::id::NodeId;
use crate::statement::{Farewell, HeadRef, Key, Label, Role, Rotate, Statement};
use crate::wire::Genesis;

/// The members of a hive, and those that were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// In order of seniority.
    order: Vec<NodeId>,
    members: BTreeMap<NodeId, Member>,
    /// Went by their own word.
    left: BTreeSet<NodeId>,
    removed: BTreeMap<NodeId, Removal>,
    /// Up to which incarnation contradictions of an author are forgiven.
    forgiven: BTreeMap<NodeId, u32>,
    /// Keys that are used no more, and what stands in their place.
    handed: BTreeMap<NodeId, Heir>,
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

/// How a machine was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Removal {
    by: NodeId,
    /// The last state of its map that counts.
    keep: Option<HeadRef>,
    farewell: Option<Farewell>,
    /// Whether it was let in at all: maps of keys that nobody let in are not stored, and those keys are told nothing.
    seated: bool,
}

/// Seniority: the smaller is senior. Each step is the sponsor's batch number and the admitted key.
type Path = Vec<(u64, NodeId)>;

impl Roster {
    /// Walks the maps.
    #[must_use]
    pub fn of(genesis: &Genesis, store: &Store) -> Self {
        Walk::through(genesis, store, None)
    }

    /// The same, as it would be if `said` were its author's map.
    #[must_use]
    pub fn if_said(genesis: &Genesis, store: &Store, said: &AuthorMap) -> Self {
        Walk::through(genesis, store, Some(said))
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
        self.removed.get(&node).map(|removal| removal.keep)
    }

    /// Whether it went by its own word.
    #[must_use]
    pub fn left(&self, node: NodeId) -> bool {
        self.left.contains(&node)
    }

    /// Whether it belonged once and does not any more.
    #[must_use]
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.left(node) || self.removed.contains_key(&node)
    }

    /// Everybody that was removed.
    pub fn all_removed(&self) -> impl Iterator<Item = NodeId> {
        self.removed.keys().copied()
    }

    /// Whether a removed machine ever belonged.
    #[must_use]
    pub fn was_in(&self, node: NodeId) -> bool {
        self.removed.get(&node).is_some_and(|it| it.seated)
    }

    /// What a removed machine is to be told, and by whom.
    #[must_use]
    pub fn farewell(&self, node: NodeId) -> Option<(NodeId, Farewell)> {
        let removal = self.removed.get(&node).filter(|it| it.seated)?;
        Some((removal.by, removal.farewell?))
    }

    /// Whether `one` may remove `other`.
    #[must_use]
    pub fn outranks(&self, one: NodeId, other: NodeId) -> bool {
        let Some(junior) = self.members.get(&other) else {
            return false;
        };
        let senior = |it: &Member| it.role == Role::Admin && it.path < junior.path;
        self.recovery == Some(one) || self.members.get(&one).is_some_and(senior)
    }

    /// The key that has taken the place of another one.
    #[must_use]
    pub fn heir(&self, old: NodeId) -> Option<&Rotate> {
        match self.handed.get(&old)? {
            Heir::One(rotate) => Some(rotate),
            _ => None,
        }
    }

    /// The keys that stood in a key's place after it, one after the other.
    pub fn heirs(&self, old: NodeId) -> impl Iterator<Item = NodeId> {
        let next = |node: &NodeId| self.heir(*node).map(|rotate| rotate.new);
        core::iter::successors(next(&old), next).take(crate::limits::KEYS_MAX)
    }

    /// Keys whose place went to another key, or is contested, with the last state of each that counts.
    pub fn handed(&self) -> impl Iterator<Item = (NodeId, HeadRef)> {
        self.handed.iter().filter_map(|(old, heir)| match heir {
            Heir::One(rotate) => Some((*old, rotate.keep)),
            Heir::Several(keep, _) => Some((*old, *keep)),
            Heir::None => None,
        })
    }

    /// Keys whose place several others claim, and those others.
    pub fn contested(&self) -> impl Iterator<Item = (NodeId, &[NodeId])> {
        self.handed.iter().filter_map(|(old, heir)| match heir {
            Heir::Several(_, claimants) => Some((*old, claimants.as_slice())),
            _ => None,
        })
    }

    /// Keys that claim a place which others claim too: their maps prove it, so they are stored.
    pub fn claimants(&self) -> impl Iterator<Item = NodeId> {
        self.contested()
            .flat_map(|(_, nodes)| nodes.iter().copied())
    }

    /// The keys that stood in this one's place before it, the last one first, with the states that count.
    pub(super) fn keys_of(&self, node: NodeId) -> impl Iterator<Item = (NodeId, HeadRef)> {
        let before = move |node: NodeId| {
            self.handed.iter().find_map(|(old, heir)| match heir {
                Heir::One(rotate) if rotate.new == node => Some((*old, rotate.keep)),
                _ => None,
            })
        };
        let keys = core::iter::successors(before(node), move |(old, _)| before(*old));
        keys.take(crate::limits::KEYS_MAX)
    }

    /// How many keys stood in this one's place before it.
    #[must_use]
    pub fn keys_before(&self, node: NodeId) -> usize {
        self.keys_of(node).count()
    }

    /// Whether a key before this one had left when it handed its place over: there was none any more.
    fn left_before(&self, node: NodeId, store: &Store) -> bool {
        self.keys_of(node).any(|(old, keep)| {
            let map = store.map(old).filter(|map| map.head_ref() == keep);
            map.is_some_and(says_goodbye)
        })
    }

    /// Whether maps of this author are stored, joined and probed.
    #[must_use]
    pub fn stores(&self, node: NodeId) -> bool {
        self.has(node)
            || self.left(node)
            || self.recovery == Some(node)
            || self.claimants().any(|it| it == node)
            || self
                .removed
                .get(&node)
                .is_some_and(|it| it.seated && it.keep.is_some())
    }

    /// Whether what this author says about patterns counts.
    #[must_use]
    pub fn counts(&self, map: &AuthorMap) -> bool {
        let author = map.head().author;
        match self.removed(author) {
            Some(keep) => keep == Some(map.head_ref()),
            None => self.has(author) || self.left(author),
        }
    }

    /// Whether an author is proven to contradict itself and no admin has forgiven it: its data does not count. What is
    /// signed with a key after its machine had handed it over is not that machine's word.
    #[must_use]
    pub fn quarantines(&self, author: NodeId, store: &Store) -> bool {
        self.held_against(author, store).is_some()
    }

    /// The proof for which an author is quarantined, the latest that counts.
    #[must_use]
    pub fn held_against<'a>(&self, author: NodeId, store: &'a Store) -> Option<&'a Proof> {
        let keep = self.heir(author).map(|rotate| rotate.keep);
        let keep = keep.map(|keep| (keep.incarnation, keep.seq));
        let through = self.forgiven.get(&author);
        store.proofs(author).find(|(one, two)| {
            keep.is_none_or(|keep| (two.incarnation, two.seq) <= keep)
                && through.is_none_or(|through| one.incarnation > *through)
        })
    }

    /// Takes over what a member calls itself now: all that an author's word on nothing but itself can change.
    pub(super) fn rename(&mut self, map: &AuthorMap) {
        if let Some(member) = self.members.get_mut(&map.head().author) {
            member.label = label_in(map).as_ref().map(shown);
        }
    }

    /// Puts together what the walk found.
    fn settle(walk: Walk<'_>) -> Self {
        let mut roster = Self {
            recovery: walk.recovery,
            forgiven: walk.forgiven,
            removed: walk.removed,
            handed: walk.handed,
            ..Self::default()
        };
        for (node, seat) in walk.seats {
            let map = walk.said.filter(|map| map.head().author == node);
            let map = map.or_else(|| walk.store.map(node));
            if let Some(removal) = roster.removed.get_mut(&node) {
                removal.seated = true;
            } else if map.is_some_and(says_goodbye) || roster.left_before(node, walk.store) {
                roster.left.insert(node);
            } else {
                let member = Member {
                    role: seat.role,
                    owner: roster.heirs(seat.owner).last().unwrap_or(seat.owner),
                    label: map.and_then(label_in).as_ref().map(shown),
                    path: seat.path,
                };
                roster.members.insert(node, member);
            }
        }
        let members = roster.members.iter();
        let mut order: Vec<_> = members.map(|(node, it)| (it.path.clone(), *node)).collect();
        order.sort();
        roster.order = order.into_iter().map(|(_, node)| node).collect();
        roster
    }
}

/// What an author calls itself.
pub(super) fn label_in(map: &AuthorMap) -> Option<Label> {
    let mut profiles = map.statements_of(Key::PROFILE);
    profiles.find_map(|(_, statement)| match statement {
        Statement::Profile(profile) => Some(profile.label),
        _ => None,
    })
}

fn shown(label: &Label) -> String {
    String::from(label.as_str())
}

/// Whether an author removes itself. What it said still counts.
fn says_goodbye(map: &AuthorMap) -> bool {
    let author = map.head().author;
    map.statements_of(Key::REVOKE).any(
        |(_, statement)| matches!(statement, Statement::Revoke(revoke) if revoke.node == author),
    )
}
