//! The last word to a machine that was removed: it dials once more, is told with a signature that it can
//! check, and is shut out. It learns nothing else.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::event_log::{Happening, Misdeed};
use crate::hive::outside::{HiveEffect, Lane};
use crate::hive::writer::AfterSave;
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::statement::Farewell;
use crate::time::Now;
use crate::wire::Frame;

/// How often one removed machine is told while this daemon runs. A word can be lost with its connection, so
/// more than once; a hostile machine costs this many handshakes and no more. A guess.
const FAREWELLS_MAX: u32 = 3;

impl Hive {
    /// Tells the network who may connect: members, and those who have yet to hear that they are none.
    pub(super) fn announce_members(&mut self) {
        let mut list: BTreeSet<NodeId> = self.allowed.iter().copied().collect();
        list.extend(
            self.roster
                .all_removed()
                .filter(|node| self.owes_word(*node)),
        );
        list.remove(&self.me);
        let list: Vec<NodeId> = list.into_iter().collect();
        if list != self.announced {
            self.announced.clone_from(&list);
            self.outbox.push_back(HiveEffect::Members(list));
        }
    }

    /// Says the last word to a removed machine that dialled, if there is one to say.
    pub(super) fn say_farewell(&mut self, peer: NodeId) {
        if !self.owes_word(peer) {
            return;
        }
        if let Some((by, word)) = self.roster.farewell(peer) {
            *self.told_off.entry(peer).or_insert(0) += 1;
            self.send(peer, Lane::Urgent, &Frame::Farewell { by, word });
        }
    }

    /// A member says that this machine was removed. It is believed if a senior admin signed it.
    pub(super) fn on_farewell(&mut self, now: Now, peer: NodeId, by: NodeId, word: Farewell) {
        if word.node != self.me || !word.is_from(by, self.store.hive()) {
            self.misbehaved(now, peer, Misdeed::BadSignature);
            return;
        }
        if self.dismissed.is_some() || !self.may_dismiss(by) {
            return;
        }
        self.dismissed = Some((by, word));
        let record = meta::dismissed(self.dismissed.as_ref());
        self.save(alloc::vec![record], AfterSave::Nothing);
        let node = self.me.short();
        self.tell(Happening::Removed { node });
        self.look_for_missing(now);
    }

    /// A removal is void when its remover turns out to have had no right to it.
    pub(super) fn review_dismissal(&mut self) {
        let stands = |(by, word): (NodeId, Farewell)| {
            word.node == self.me && word.is_from(by, self.store.hive()) && self.may_dismiss(by)
        };
        if self.dismissed.is_some_and(|it| !stands(it)) {
            self.dismissed = None;
            self.save(alloc::vec![meta::dismissed(None)], AfterSave::Nothing);
        }
    }

    /// A senior admin; or the inviter, as long as it is all that this machine knows of its hive.
    fn may_dismiss(&self, by: NodeId) -> bool {
        let new_here = self.sponsor == Some(by) && !self.roster.has(self.me);
        new_here || self.roster.outranks(by, self.me)
    }

    fn owes_word(&self, node: NodeId) -> bool {
        let told = self.told_off.get(&node).copied().unwrap_or(0);
        told < FAREWELLS_MAX && self.roster.farewell(node).is_some()
    }
}
