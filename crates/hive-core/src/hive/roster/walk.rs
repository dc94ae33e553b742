//! The walk from the most senior admin to the most junior one: each is heard once, in full.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::hive::roster::succession::{Claims, Heir};
use crate::hive::roster::{Path, Removal, Roster};
use crate::hive::store::{AuthorMap, Store};
use crate::id::NodeId;
use crate::limits;
use crate::statement::{Admit, Revoke, Role, Rotate, SetRole, Statement};
use crate::wire::Genesis;

/// What is known while walking.
pub(super) struct Walk<'a> {
    pub(super) store: &'a Store,
    /// Taken for its author's map instead of the stored one.
    pub(super) said: Option<&'a AuthorMap>,
    pub(super) recovery: Option<NodeId>,
    /// Everybody who was let in, removed ones included.
    pub(super) seats: BTreeMap<NodeId, Seat>,
    pub(super) removed: BTreeMap<NodeId, Removal>,
    pub(super) forgiven: BTreeMap<NodeId, u32>,
    /// What became of keys that were handed over.
    pub(super) handed: BTreeMap<NodeId, Heir>,
    claims: Claims,
    /// The most senior word on who took a key's place.
    decided: BTreeMap<NodeId, Rotate>,
    /// What the paths of those begin with that such a key lets in: behind all that the keys before it let in.
    stems: BTreeMap<NodeId, Path>,
    /// Admins that were heard.
    heard: BTreeSet<NodeId>,
    /// The most senior word on what a machine may do.
    roles: BTreeMap<NodeId, Role>,
    /// Admins not yet heard, the most senior first.
    waiting: BTreeMap<Path, Turn>,
}

/// A machine that was let in.
pub(super) struct Seat {
    pub(super) path: Path,
    pub(super) role: Role,
    pub(super) owner: NodeId,
}

/// An admin that waits to be heard, and how many it may have below it.
struct Turn {
    admin: NodeId,
    places: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn through(
        genesis: &Genesis,
        store: &'a Store,
        said: Option<&'a AuthorMap>,
    ) -> Roster {
        let mut walk = Self {
            store,
            said,
            recovery: genesis.recovery,
            seats: BTreeMap::new(),
            removed: BTreeMap::new(),
            forgiven: BTreeMap::new(),
            handed: BTreeMap::new(),
            claims: Claims::of(store, said),
            decided: BTreeMap::new(),
            stems: BTreeMap::new(),
            heard: BTreeSet::new(),
            roles: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        // One step below the recovery key, which has the empty path and is no member.
        let path = alloc::vec![(0, NodeId::default())];
        let founder = Seat {
            path,
            role: Role::Admin,
            owner: genesis.founder,
        };
        // What the recovery key says of the founder is heard before it takes its seat.
        walk.hear_decisions(genesis.recovery);
        let mut below = Vec::new();
        walk.take_seat(genesis.founder, founder, &mut below);
        match genesis.recovery {
            Some(key) => walk.hear(key, &Path::new(), limits::MEMBERS_MAX - 1, below),
            None => walk.hand_down(limits::MEMBERS_MAX - 1, below),
        }
        while let Some((path, turn)) = walk.waiting.pop_first() {
            walk.hear(turn.admin, &path, turn.places, Vec::new());
        }
        Roster::settle(walk)
    }

    /// Carries out what one admin says: removals first, so that they win over its own admissions.
    fn hear(&mut self, admin: NodeId, path: &Path, places: usize, mut below: Vec<(Path, NodeId)>) {
        if !self.heard.insert(admin) {
            self.hand_down(places, below);
            return;
        }
        self.hear_decisions_of_place(admin);
        let statements = self.counting_words(admin);
        self.hear_removals(&statements, admin, path);
        self.hear_roles(&statements, path, &mut below);
        for (_, statement) in &statements {
            match statement {
                Statement::Forgive(it) if it.author != admin => {
                    let through = self.forgiven.entry(it.author).or_insert(it.through);
                    *through = it.through.max(*through);
                }
                Statement::Farewell(it) => {
                    let removal = self.removed.get_mut(&it.node);
                    if let Some(removal) = removal.filter(|removal| removal.by == admin) {
                        removal.farewell = Some(*it);
                    }
                }
                _ => {}
            }
        }
        let stem = self.stems.get(&admin).unwrap_or(path).clone();
        let mut left = places;
        for (seq, statement) in &statements {
            if let Statement::Admit(admit) = statement {
                let mut step = stem.clone();
                step.push((*seq, admit.node));
                self.seat(admit, step, &mut left, &mut below);
            }
        }
        // The key that took its place goes on where it ended, with the places that are left.
        match self.heir_in_office(admin) {
            Some((heir, path)) => self.hear(heir, &path, left, below),
            None => self.hand_down(left, below),
        }
    }

    /// What an admin said up to the state that counts, in its order.
    fn counting_words(&self, admin: NodeId) -> Vec<(u64, Statement)> {
        let said = self.said.filter(|map| map.head().author == admin);
        let map = said.or_else(|| self.store.map(admin));
        let seal = self.removed.get(&admin).map(|removal| removal.keep);
        let map = map.filter(|map| seal.is_none_or(|keep| keep == Some(map.head_ref())));
        let mut statements: Vec<_> = map
            .into_iter()
            .flat_map(AuthorMap::member_statements)
            .map(|(entry, statement)| (entry.seq, entry.key, statement))
            .collect();
        statements.sort_by_key(|(seq, key, _)| (*seq, *key));
        let told = statements.into_iter();
        told.map(|(seq, _, statement)| (seq, statement)).collect()
    }

    fn hear_removals(&mut self, statements: &[(u64, Statement)], admin: NodeId, path: &Path) {
        let revokes = statements.iter().filter_map(|(_, it)| match it {
            Statement::Revoke(revoke) => Some(revoke),
            _ => None,
        });
        let revokes = revokes.take(limits::REMOVALS_MAX);
        for revoke in revokes.clone() {
            self.unseat(revoke, admin, path);
        }
        for revoke in revokes {
            if self.seats.contains_key(&revoke.node) {
                self.note_removed_heirs(revoke.node);
            }
        }
    }

    /// A word on a key's role holds for the keys that took its place too, unless one of them is named itself.
    fn hear_roles(
        &mut self,
        statements: &[(u64, Statement)],
        path: &Path,
        below: &mut Vec<(Path, NodeId)>,
    ) {
        let sets = statements.iter().filter_map(|(_, it)| match it {
            Statement::SetRole(set) => Some(*set),
            _ => None,
        });
        for set in sets.clone() {
            self.set_role(&set, path, below);
        }
        for set in sets {
            let mut node = set.node;
            for _ in 0..limits::KEYS_MAX {
                let Some(Heir::One(rotate)) = self.handed.get(&node) else {
                    break;
                };
                node = rotate.new;
                self.set_role(&SetRole { node, ..set }, path, below);
            }
        }
    }

    /// Which key took over from a junior's is decided before that junior is seated, also by those keys that stand in
    /// this admin's place after the one that let the junior in.
    fn hear_decisions_of_place(&mut self, admin: NodeId) {
        let mut key = Some(admin);
        for _ in 0..=limits::KEYS_MAX {
            self.hear_decisions(key);
            // A key that may not admit any more decides nothing either.
            let heir = key.and_then(|key| self.heir_in_office(key));
            key = heir.map(|(heir, _)| heir);
        }
    }

    fn hear_decisions(&mut self, by: Option<NodeId>) {
        let Some(key) = by else { return };
        for (_, statement) in self.counting_words(key) {
            if let Statement::Rotate(it) = statement
                && it.new != key
            {
                self.decided.entry(it.old).or_insert(it);
            }
        }
    }

    /// The key that took this one's place, if it is an admin, and its path.
    fn heir_in_office(&self, admin: NodeId) -> Option<(NodeId, Path)> {
        let Heir::One(rotate) = self.handed.get(&admin)? else {
            return None;
        };
        let seat = self.seats.get(&rotate.new)?;
        (seat.role == Role::Admin && self.stems.contains_key(&rotate.new))
            .then(|| (rotate.new, seat.path.clone()))
    }

    /// Gives each admin below an equal share of the places: none of them can take another one's.
    fn hand_down(&mut self, places: usize, below: Vec<(Path, NodeId)>) {
        let Some(share) = places.checked_div(below.len()) else {
            return;
        };
        for (path, admin) in below {
            let turn = Turn {
                admin,
                places: share,
            };
            self.waiting.insert(path, turn);
        }
    }

    /// The most senior sponsor's word counts; it was heard first.
    fn seat(
        &mut self,
        admit: &Admit,
        path: Path,
        places: &mut usize,
        below: &mut Vec<(Path, NodeId)>,
    ) {
        let removal = self.removed.get_mut(&admit.node);
        if let Some(removal) = removal.filter(|removal| removal.keep.is_none()) {
            // It takes no place, but it was let in once: its removal is to be told, and told again.
            removal.seated = true;
            return;
        }
        if *places == 0 || self.seats.contains_key(&admit.node) || self.recovery == Some(admit.node)
        {
            return;
        }
        *places -= 1;
        let role = self.roles.get(&admit.node).copied().unwrap_or(admit.role);
        let owner = admit.owner;
        self.take_seat(admit.node, Seat { path, role, owner }, below);
    }

    /// Gives a seat to a key, or to the last of the keys that took its place. Those take no place of their own:
    /// nobody is pushed out by them.
    fn take_seat(&mut self, node: NodeId, seat: Seat, below: &mut Vec<(Path, NodeId)>) {
        let (mut old, mut seat) = (node, seat);
        let mut stem = seat.path.clone();
        // A removed admin is heard too: what it said up to its last state that counts still holds.
        let mut heard_before = seat.role == Role::Admin;
        if heard_before {
            below.push((seat.path.clone(), node));
        }
        for _ in 0..limits::KEYS_MAX {
            let heir = match self.removed.get(&old) {
                // Who was removed by a senior has nothing to hand over.
                Some(_) => {
                    self.note_removed_heirs(old);
                    Heir::None
                }
                None => self.claims.heir(self.store, old, self.decided.get(&old)),
            };
            let next = match &heir {
                Heir::One(rotate) => Some((rotate.new, rotate.keep)),
                Heir::Several(keep, _) => Some((old, *keep)),
                Heir::None => None,
            };
            let Some((new, keep)) = next else { break };
            let taken = self.seats.contains_key(&new) || self.recovery == Some(new);
            let removal = Removal {
                by: new,
                keep: Some(keep),
                farewell: None,
                seated: true,
            };
            self.removed.insert(old, removal);
            self.handed.insert(old, heir);
            let mut path = seat.path.clone();
            path.push((0, new));
            let role = self.roles.get(&new).copied().unwrap_or(seat.role);
            let owner = seat.owner;
            self.seats.insert(old, seat);
            if new == old || taken {
                return;
            }
            stem.push((u64::MAX, new));
            self.stems.insert(new, stem.clone());
            if role == Role::Admin && !heard_before {
                below.push((path.clone(), new));
                heard_before = true;
            }
            seat = Seat { path, role, owner };
            old = new;
        }
        self.seats.insert(old, seat);
    }

    /// The keys that stood in the place of a removed one get no seat, but a senior has said that they had one: what is
    /// kept of them counts, and their removal is to be told, and told again.
    fn note_removed_heirs(&mut self, removed: NodeId) {
        let mut key = removed;
        for _ in 0..limits::KEYS_MAX {
            let next = self.decided.get(&key);
            let Some(next) = next.filter(|it| it.is_genuine(self.store.hive())) else {
                return;
            };
            key = next.new;
            if let Some(removal) = self.removed.get_mut(&key) {
                removal.seated = true;
            }
        }
    }

    fn unseat(&mut self, revoke: &Revoke, by: NodeId, path: &Path) {
        if self.is_senior(revoke.node, path) {
            return;
        }
        let removal = Removal {
            by,
            keep: revoke.keep,
            farewell: None,
            seated: false,
        };
        // A removal by a senior is stronger than a handing-over: whoever took the place goes with it.
        if self.handed.remove(&revoke.node).is_some() {
            self.removed.insert(revoke.node, removal);
            self.unseat_heirs(revoke.node, by);
        } else {
            let known = self.removed.entry(revoke.node).or_insert(removal);
            if known.by == by {
                // It went with a key before it, and is now named itself.
                known.keep = revoke.keep;
            }
        }
    }

    fn unseat_heirs(&mut self, node: NodeId, by: NodeId) {
        let prefix = self.stems_after(node);
        for heir in prefix {
            let removal = Removal {
                by,
                keep: None,
                farewell: None,
                seated: true,
            };
            // What was said of it by name holds: by somebody more senior, or by the same one.
            if self.handed.remove(&heir).is_some() {
                self.removed.insert(heir, removal);
            } else {
                self.removed.entry(heir).or_insert(removal);
            }
        }
    }

    /// The keys that stand where this one stood: their paths go on with nothing but handings-over.
    fn stems_after(&self, node: NodeId) -> Vec<NodeId> {
        let Some(seat) = self.seats.get(&node) else {
            return Vec::new();
        };
        let heirs = self.seats.iter().filter(|(heir, it)| {
            **heir != node
                && it.path.starts_with(&seat.path)
                && it.path[seat.path.len()..].iter().all(|(seq, _)| *seq == 0)
        });
        heirs.map(|(heir, _)| *heir).collect()
    }

    fn set_role(&mut self, set: &SetRole, path: &Path, below: &mut Vec<(Path, NodeId)>) {
        if self.is_senior(set.node, path) || self.roles.contains_key(&set.node) {
            return;
        }
        self.roles.insert(set.node, set.role);
        let Some(seat) = self.seats.get_mut(&set.node) else {
            return;
        };
        if core::mem::replace(&mut seat.role, set.role) == set.role {
            return;
        }
        match set.role {
            Role::Admin => below.push((seat.path.clone(), set.node)),
            Role::Member => {
                self.waiting.remove(&seat.path);
                below.retain(|(_, node)| *node != set.node);
            }
        }
    }

    /// Whether a machine is at least as senior as the one with this path.
    fn is_senior(&self, node: NodeId, path: &Path) -> bool {
        let seated = self.seats.get(&node);
        self.recovery == Some(node) || seated.is_some_and(|seat| seat.path <= *path)
    }
}
