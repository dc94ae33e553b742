//! The walk from the most senior admin to the most junior one: each is heard once, in full.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::roster::{Path, Removal, Roster};
use crate::hive::store::{AuthorMap, Store};
use crate::id::NodeId;
use crate::limits;
use crate::statement::{Admit, Revoke, Role, SetRole, Statement};
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
            roles: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        // One step below the recovery key, which has the empty path and is no member.
        let path = alloc::vec![(0, NodeId::default())];
        let founder = Seat {
            path: path.clone(),
            role: Role::Admin,
            owner: genesis.founder,
        };
        walk.seats.insert(genesis.founder, founder);
        let below = alloc::vec![(path, genesis.founder)];
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
        let revokes = statements.iter().filter_map(|(_, _, it)| match it {
            Statement::Revoke(revoke) => Some(revoke),
            _ => None,
        });
        for revoke in revokes.take(limits::REMOVALS_MAX) {
            self.unseat(revoke, admin, path);
        }
        for (_, _, statement) in &statements {
            match statement {
                Statement::SetRole(set) => self.set_role(set, path, &mut below),
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
        let mut left = places;
        for (seq, _, statement) in &statements {
            if let Statement::Admit(admit) = statement {
                let mut step = path.clone();
                step.push((*seq, admit.node));
                self.seat(admit, step, &mut left, &mut below);
            }
        }
        self.hand_down(left, below);
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
        // A removed admin is heard too: what it said up to its last state that counts still holds.
        if role == Role::Admin {
            below.push((path.clone(), admit.node));
        }
        let owner = admit.owner;
        self.seats.insert(admit.node, Seat { path, role, owner });
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
        self.removed.entry(revoke.node).or_insert(removal);
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
