//! Which states admins' words of removal name, holding them, and getting those that are missing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::hive::outside::Lane;
use crate::hive::roster::Roster;
use crate::hive::store::pins::Named;
use crate::hive::store::{Store, disk};
use crate::hive::writer::AfterSave;
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::limits;
use crate::statement::{Key, Role, Statement};
use crate::time::Now;
use crate::wire::{Delta, Frame, Pin};

/// Every state that an admin names when it removes a machine, or named before it was removed itself. If
/// admins name more than can be held, the most senior ones' count.
#[must_use]
pub fn named(roster: &Roster, recovery: Option<NodeId>, store: &Store) -> BTreeSet<Named> {
    let is_admin = |node: &NodeId| {
        roster
            .member(*node)
            .is_some_and(|it| it.role == Role::Admin)
    };
    let admins = roster.order().iter().copied().filter(is_admin);
    let namers = recovery
        .into_iter()
        .chain(admins)
        .chain(roster.all_removed());
    let mut named = BTreeSet::new();
    let mut of_author: BTreeMap<NodeId, usize> = BTreeMap::new();
    for namer in namers {
        let Some(map) = store.map(namer) else {
            continue;
        };
        for (_, statement) in map.statements_of(Key::REVOKE) {
            let Statement::Revoke(revoke) = statement else {
                continue;
            };
            let count = of_author.entry(revoke.node).or_default();
            if let Some(keep) = revoke.keep
                && revoke.node != namer
                && *count < limits::PINS_PER_AUTHOR_MAX
                && named.len() < limits::PINS_MAX
            {
                *count += usize::from(named.insert((revoke.node, keep)));
            }
        }
    }
    for name in roster.handed() {
        if named.len() < limits::PINS_MAX {
            named.insert(name);
        }
    }
    named
}

impl Hive {
    fn named(&self, roster: &Roster) -> BTreeSet<Named> {
        named(roster, self.genesis.recovery, &self.store)
    }

    /// Holds on to what is named now, before anything is forgotten.
    pub(super) fn hold_named(&mut self, roster: &Roster) {
        let named = self.named(roster);
        let held = self.store.pin(&named);
        let state = |name: &Named| meta::pin(*name, self.store.state(*name));
        let new = held.new.iter().map(state);
        let gone = held.gone.iter().map(|name| meta::pin(*name, None));
        let records: Vec<_> = new.chain(gone).collect();
        if !records.is_empty() {
            self.save(records, AfterSave::Nothing);
        }
    }

    /// Puts the state that counts of each removed author in its place, where it is held; whether any moved.
    pub(super) fn bring_back(&mut self, roster: &Roster) -> bool {
        let (mut moved, me) = (false, self.me);
        for node in roster.all_removed().filter(|node| *node != me) {
            let Some(keep) = roster.removed(node).flatten() else {
                continue;
            };
            let before = self.store.map(node).cloned();
            let there = before.as_ref().is_some_and(|map| map.head_ref() == keep);
            if !there && let Some(map) = self.store.state((node, keep)).cloned() {
                let records = disk::records(before.as_ref(), Some(&map));
                self.store.insert(map);
                self.changes.touch(node);
                self.save(records, AfterSave::Nothing);
                moved = true;
            }
        }
        moved
    }

    /// The named states that are held, for the hash over what all members must hold alike.
    pub(super) fn held_pins(&self) -> Vec<Pin> {
        self.named(&self.roster)
            .into_iter()
            .filter(|name| self.store.state(*name).is_some())
            .map(|(author, state)| Pin { author, state })
            .collect()
    }

    /// Tells a peer which named states are held here.
    pub(super) fn tell_pins(&mut self, peer: NodeId, tell_back: bool) {
        let held = self.held_pins();
        // Who asks to be told back may hold none of what it names.
        if !tell_back || !self.named(&self.roster).is_empty() {
            self.send(peer, Lane::Urgent, &Frame::Pins { tell_back, held });
        }
    }

    /// A peer told which named states it holds.
    pub(super) fn on_pins(&mut self, peer: NodeId, tell_back: bool, theirs: &[Pin]) {
        let named = self.named(&self.roster);
        let lacks = |name: &Named| self.store.state(*name).is_none();
        let told = |(author, state): Named| Pin { author, state };
        let missing: Vec<Pin> = named
            .into_iter()
            .filter(lacks)
            .map(told)
            .filter(|pin| theirs.contains(pin))
            .collect();
        if !missing.is_empty() {
            self.send(peer, Lane::Urgent, &Frame::WantPins(missing));
        }
        let more = self.held_pins().iter().any(|pin| !theirs.contains(pin));
        if tell_back && more {
            self.tell_pins(peer, false);
        }
    }

    /// A peer lacks these. As with maps, one question queues only so much.
    pub(super) fn on_want_pins(&mut self, peer: NodeId, wants: &[Pin]) {
        let mut given = 0_usize;
        for want in wants {
            if given >= 2 * limits::MAP_BYTES_MAX {
                return;
            }
            if let Some(map) = self.store.state((want.author, want.state)) {
                let frame = Frame::Delta(map.delta(None));
                given = given.saturating_add(self.send(peer, Lane::Bulk, &frame));
            }
        }
    }

    /// Takes a state that is named and was missing; whether it was one.
    pub(super) fn takes_pin(&mut self, now: Now, delta: &Delta) -> bool {
        let named = self.named(&self.roster);
        // What is wrong with it is found, and counted, where maps are joined.
        let Ok(Some(name)) = self.store.join_pin(delta, &named) else {
            return false;
        };
        let record = meta::pin(name, self.store.state(name));
        self.save(alloc::vec![record], AfterSave::Nothing);
        self.refresh(now);
        self.reset_repair(now);
        true
    }
}
