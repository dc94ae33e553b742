//! The last word to a machine that was removed, or that runs with a key which was handed over: it dials once more, is
//! told with signatures that it can check, and is shut out. It learns nothing else.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::event_log::{Happening, Misdeed};
use crate::hive::outside::{HiveEffect, Lane};
use crate::hive::writer::AfterSave;
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::reply::NeedView;
use crate::statement::{Farewell, Rotate};
use crate::time::Now;
use crate::wire::Frame;

/// How often one removed machine is told while this daemon runs. A word can be lost with its connection, so
/// more than once; a hostile machine costs this many handshakes and no more. A guess.
const FAREWELLS_MAX: u32 = 3;

impl Hive {
    /// Tells the network who may connect: members, and those who have yet to hear that they are none.
    pub(super) fn announce_members(&mut self) {
        let mut list: BTreeSet<NodeId> = self.allowed.iter().copied().collect();
        let handed = self.roster.handed().map(|(node, _)| node);
        let out = self.roster.all_removed().chain(handed);
        list.extend(out.filter(|node| self.owes_word(*node)));
        list.remove(&self.me);
        let list: Vec<NodeId> = list.into_iter().collect();
        if list != self.announced {
            self.announced.clone_from(&list);
            self.outbox.push_back(HiveEffect::Members(list));
        }
    }

    /// Says the last word to a removed machine or key that dialled, if there is one to say.
    pub(super) fn say_farewell(&mut self, peer: NodeId) {
        if !self.owes_word(peer) {
            return;
        }
        let removed = self.roster.farewell(peer);
        let word = removed.map(|(by, word)| Frame::Farewell { by, word });
        let moved = || self.roster.heir(peer).copied().map(Frame::Moved);
        if let Some(frame) = word.or_else(moved) {
            *self.told_off.entry(peer).or_insert(0) += 1;
            self.send(peer, Lane::Urgent, &frame);
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

    /// A member says that this machine's place went to another key. Both keys signed that: whoever did it held this
    /// one. It cannot be taken back.
    pub(super) fn on_moved(&mut self, now: Now, peer: NodeId, rotate: Rotate) {
        if rotate.old != self.me || !rotate.is_genuine(self.store.hive()) {
            self.misbehaved(now, peer, Misdeed::BadSignature);
            return;
        }
        // Who did it here knows, and is about to start anew.
        if self.is_out() {
            return;
        }
        self.moved = Some(rotate);
        self.save(alloc::vec![meta::moved(Some(&rotate))], AfterSave::Nothing);
        let node = self.me.short();
        self.tell(Happening::Removed { node });
        self.look_for_missing(now);
    }

    /// A member answers the key that this machine had before: if another key has that one's place, both signed it, and
    /// the members talk with that other key. It is told, and nothing else follows: which of two is right nobody knows.
    pub fn on_told_old_key(&mut self, now: Now, peer: NodeId, bytes: &[u8]) {
        self.traffic.count(bytes);
        let Ok(Frame::Moved(rotate)) = Frame::decode(bytes) else {
            return;
        };
        if !rotate.is_genuine(self.store.hive()) {
            self.misbehaved(now, peer, Misdeed::BadSignature);
            return;
        }
        if self.is_rival(&rotate) && self.rival.replace(rotate) != Some(rotate) {
            self.save(alloc::vec![meta::moved(Some(&rotate))], AfterSave::Nothing);
        }
    }

    /// Whether it gives the place of a key before this one to a key that is none of this machine's.
    fn is_rival(&self, rotate: &Rotate) -> bool {
        let mut before = self.roster.keys_of(self.me).map(|(old, _)| old);
        let is_own = |node| node == self.me || self.roster.keys_of(self.me).any(|it| it.0 == node);
        before.any(|old| old == rotate.old) && !is_own(rotate.new)
    }

    /// What a person can do about a machine whose place went to another key while it took this one; as long as nobody
    /// lets this one in.
    pub(super) fn need_of_the_outrun(&self) -> Option<NeedView> {
        let rival = self.rival.filter(|it| self.is_rival(it))?;
        let beaten = self.roster.is_gone(rival.new) || self.links.any_connected() || self.is_out();
        (!beaten).then(|| NeedView {
            code: "node.outrun".into(),
            words: alloc::format!(
                "another key, {}, took the place of the key {} that this machine had before (two copies of it were each given \
                 a new key?): the others talk with that one and not with this machine. If both are yours, begin anew here: \
                 hive leave, then hive join with a code of the others; if that one is not yours, remove it there first: \
                 hive remove {}",
                rival.new.short(),
                rival.old.short(),
                rival.new.short()
            ),
            fix: Vec::from(["hive leave".into()]),
        })
    }

    /// What a person can do about a key that was handed over.
    pub(super) fn need_of_the_moved(&self) -> Option<NeedView> {
        let heir = self.heir_of_this_key()?;
        // Who did it here knows, and is about to start anew: leaving would delete the new key.
        if self.writer.is_moving() {
            return None;
        }
        Some(NeedView {
            code: "node.moved".into(),
            words: alloc::format!(
                "the key of this machine was given up: its place went to the key {}, and nobody talks with the old one. If that \
                 was you, put key and store from after hive rotate back; else the old key was stolen: remove {} on an older \
                 machine of the hive. To begin anew here: hive leave",
                heir.short(),
                heir.short()
            ),
            fix: Vec::from(["hive leave".into()]),
        })
    }

    pub(super) fn heir_of_this_key(&self) -> Option<NodeId> {
        let known = self.roster.heir(self.me).copied();
        self.moved.or(known).map(|rotate| rotate.new)
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
        let has_word = self.roster.farewell(node).is_some() || self.roster.heir(node).is_some();
        told < FAREWELLS_MAX && has_word
    }
}
