//! Machines that the door knows already: what was decided about them, and how they hear of it.

use alloc::vec::Vec;

use crate::hive::Hive;
use crate::hive::meta::{self, Fate};
use crate::hive::writer::AfterSave;
use crate::id::{LinkId, NodeId};
use crate::limits;
use crate::time::Now;
use crate::wire::Refusal;

impl Hive {
    pub(in crate::hive) fn decide(&mut self, node: NodeId, fate: Fate) {
        if let Some(pending) = self.door.pending.get_mut(&node) {
            pending.fate = fate;
            let record = meta::pending(node, Some(pending));
            self.save(alloc::vec![record], AfterSave::Nothing);
        }
    }

    pub(in crate::hive) fn turn_away(&mut self, now: Now, node: NodeId) {
        self.decide(node, Fate::Denied);
        if let Some(link) = self.guest_of(node) {
            self.refuse(link, Refusal::Denied);
        }
        self.watch_door(now);
    }

    /// The oldest of those who were turned away makes room.
    pub(super) fn make_room(&mut self) {
        if self.door.pending.len() < limits::PENDING_MAX {
            return;
        }
        let denied = self
            .door
            .pending
            .iter()
            .filter(|(_, it)| it.fate == Fate::Denied);
        let oldest = denied.min_by_key(|(_, it)| it.since).map(|(node, _)| *node);
        if let Some(node) = oldest {
            self.forget_pending(node);
        }
    }

    /// A machine speaks on one connection: older ones of the same key are dead, or soon will be.
    pub(super) fn keep_newest(&mut self, link: LinkId) {
        let Some(key) = self.door.links.get(&link).map(|it| it.key) else {
            return;
        };
        let links = self.door.links.iter();
        let older: Vec<LinkId> = links
            .filter(|(other, guest)| guest.key == key && **other != link)
            .map(|(other, _)| *other)
            .collect();
        for other in older {
            self.end_pairing(other);
        }
    }

    pub(super) fn fate_of(&self, node: NodeId) -> Option<Fate> {
        self.door.pending.get(&node).map(|it| it.fate)
    }

    /// A machine that proved its code before is back, and asks what became of it.
    pub(super) fn on_waiting(&mut self, link: LinkId) {
        match self.guest_key(link).and_then(|key| self.fate_of(key)) {
            Some(Fate::Open | Fate::Approved) => {
                if let Some(guest) = self.door.links.get_mut(&link) {
                    guest.until = None;
                }
                self.keep_newest(link);
                self.welcome_if_approved(link);
            }
            Some(Fate::Denied) | None => self.refuse(link, Refusal::Denied),
        }
    }

    /// Its person thought better of it.
    pub(super) fn on_taken_back(&mut self, now: Now, link: LinkId) {
        let key = self.guest_key(link);
        if let Some(key) = key.filter(|key| self.fate_of(*key) == Some(Fate::Open)) {
            self.forget_pending(key);
        }
        self.end_pairing(link);
        self.watch_door(now);
    }

    pub(super) fn welcome_if_approved(&mut self, link: LinkId) {
        let key = self.guest_key(link);
        if let Some(key) = key.filter(|key| self.fate_of(*key) == Some(Fate::Approved)) {
            self.bring_welcome(link, key);
        }
    }

    /// As what a machine that proved a code waits, or why it may not. One that was let in, and started over
    /// before it had its welcome, is let in still: it is the same key.
    pub(super) fn fate_of_asker(&self, key: NodeId) -> Result<Fate, Refusal> {
        if self.roster.heir(key).is_some() {
            return Err(Refusal::HandedOver);
        }
        // Where several keys claim its place, none has it.
        if self.roster.handed().any(|(old, _)| old == key) || self.roster.is_gone(key) {
            return Err(Refusal::Gone);
        }
        let before = self.fate_of(key);
        let mine = usize::from(before.is_some_and(|fate| fate != Fate::Denied));
        let others = self.door.waiting().count() - mine;
        if others >= limits::PENDING_MAX {
            return Err(Refusal::Full);
        }
        match (self.roster.has(key), before) {
            (true, Some(Fate::Approved)) => Ok(Fate::Approved),
            // A member that lost its disk comes back: a person decides, and nobody needs to be an admin for it.
            (true, _) => Ok(Fate::Open),
            (false, _) if self.check_admin().is_ok() => Ok(Fate::Open),
            (false, _) => Err(Refusal::OnlyBack),
        }
    }

    fn guest_key(&self, link: LinkId) -> Option<NodeId> {
        self.door.links.get(&link).map(|guest| guest.key)
    }
}
