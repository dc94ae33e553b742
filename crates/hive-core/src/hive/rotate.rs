//! A new key for this machine: it takes the old one's place, with its rank, its role and everything it said.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::hive::outside::{HiveEffect, Lane};
use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, disk, step};
use crate::hive::writer::AfterSave;
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::limits;
use crate::reply::{CommandError, ErrorKind, NeedView, NewKey, RotatedView};
use crate::signed::KeyPair;
use crate::statement::{Key, Profile, Role, Rotate, Statement};
use crate::time::{Hlc, Now};
use crate::wire::{Delta, Frame};

impl Hive {
    /// Hands this machine's place to a new key. It is the new key that says so, in its first word, and both have
    /// signed it; this run says nothing more of its own, and the next start is made with the new key.
    pub fn rotate(&mut self, now: Now, key: &NewKey) -> Result<RotatedView, CommandError> {
        if self.is_out() || !self.roster.has(self.me) {
            return Err(refused(
                "rotate.out",
                "this machine does not belong to its hive any more",
                "a key that was removed, or handed over before, has nothing to hand over",
                "hive status",
            ));
        }
        // Where the old key runs twice, a new one is the cure.
        if !self.writer.halted() {
            self.check_writer(now)?;
        }
        let told = self.links.connected().len();
        // A copy of this machine may hold its connections: the old key brings the word later (decision 0054).
        let doubled = self.writer.halted() || self.links.has_double;
        if told == 0 && self.roster.order().len() > 1 && !doubled {
            return Err(refused(
                "rotate.alone",
                "no other machine of the hive is connected, and one must hear of the new key",
                "nobody would let the new key in",
                "switch another machine on, then: hive rotate",
            ));
        }
        if self.roster.keys_before(self.me) >= limits::KEYS_MAX {
            return Err(refused(
                "rotate.too_often",
                "this machine has changed its key as often as it may",
                "each key leaves a map that everybody stores",
                "hive leave, then join anew",
            ));
        }
        let pair = KeyPair::from_secret(key.reveal());
        let draft = self.first_word_of(now, &pair)?;
        if !Roster::if_said(&self.genesis, &self.store, &draft).has(pair.node())
            || !self.end_words()
        {
            return Err(not_now());
        }
        let mut records = disk::records(None, Some(&draft));
        // With the word, not after it: from then on this store is the new key's.
        records.push(meta::owner(pair.node()));
        self.save(records, AfterSave::Rotated(draft));
        Ok(RotatedView {
            old: self.me.short(),
            new: pair.node().short(),
            told,
            words: String::from(
                "the new key has this machine's rank, role and name; what the old one said still counts, \
                 and whoever has the old key is refused from now on",
            ),
        })
    }

    fn first_word_of(&self, now: Now, pair: &KeyPair) -> Result<AuthorMap, CommandError> {
        let own = self.store.map(self.me).ok_or_else(not_now)?;
        let hive = self.store.hive();
        let rotate = Rotate::new(&self.key, pair, hive, own.head_ref());
        let profile = Profile {
            label: self.label.clone(),
        };
        let statements = [Statement::Rotate(rotate), Statement::Profile(profile)];
        let changes = statements.iter().map(|it| (it.key(), Some(it.encode())));
        let hlc: Hlc = own.head().hlc.next(now.wall);
        let draft = self.store.draft(pair, 1, hlc, changes.collect());
        draft.map_err(|_| not_now())
    }

    /// The new key's first word is durable: it takes effect and is told.
    pub(super) fn on_rotated(&mut self, now: Now, map: AuthorMap) {
        let delta = step(None, &map);
        let peers = self.links.connected();
        self.store.insert(map);
        self.refresh(now);
        let frame = Frame::Delta(delta);
        for peer in peers {
            self.send(peer, Lane::Urgent, &frame);
        }
    }

    /// Whether an unknown author proves that it took over from a key that belongs or belonged.
    pub(super) fn takes_over(&self, delta: &Delta) -> bool {
        if !self.vocabulary.knows_statement(Key::ROTATE) {
            return false;
        }
        let rotates = delta.entries.iter().filter(|it| it.key.kind == Key::ROTATE);
        let known = rotates.filter_map(|it| Statement::decode(it.key, it.value.as_deref()?));
        let mut claims = known.filter_map(|it| match it {
            Statement::Rotate(rotate) if rotate.new == delta.author => Some(rotate),
            _ => None,
        });
        let Some(rotate) = claims.next() else {
            return false;
        };
        let old = rotate.old;
        let handed = || self.roster.handed().any(|(node, _)| node == old);
        // A goodbye may be the word of somebody who found the old key.
        let belonged = self.roster.has(old) || self.roster.left(old) || handed();
        belonged && rotate.is_genuine(self.store.hive())
    }

    /// A member that is there does not let this key in. If the key took over from another one, the member may not have
    /// heard of that, and nobody else may either: the old key is let in, and brings the word.
    pub fn on_dial_refused(&mut self, now: Now, peer: NodeId, address: SocketAddr) {
        let is_missing = self.is_allowed(peer) && !self.links.is_connected(peer);
        self.on_dial_failed(now, peer);
        if !is_missing || !self.took_over() {
            return;
        }
        self.on_telling_of_key(now, peer);
        let Some(own) = self.store.map(self.me) else {
            return;
        };
        // With the author's name: it is said over another key's connection.
        let frames = Frame::Delta(own.delta(None)).encode_split();
        for frame in &frames {
            self.traffic.count(frame);
        }
        let order = HiveEffect::HandOver {
            peer,
            address,
            frames,
        };
        self.outbox.push_back(order);
    }

    /// Somebody wanted another key where this machine is. If it had another one, that may be a member which has come
    /// back and does not know of the new one: it is told when it is dialled.
    pub fn on_misdialled(&mut self, now: Now, address: SocketAddr) {
        if self.took_over() && self.dial_who_is_at(now, address) {
            self.on_link_time(now);
        }
    }

    /// Whether the own map says that its key took over from another one, and is still to be told to anybody.
    fn took_over(&self) -> bool {
        if self.is_out() || self.writer.is_moving() {
            return false;
        }
        let own = self.store.map(self.me).into_iter();
        let mut said = own.flat_map(|own| own.statements_of(Key::ROTATE));
        said.any(|(_, it)| matches!(it, Statement::Rotate(it) if it.new == self.me))
    }

    /// Claimants that would be looked at no more: there are too many, and these come last.
    pub(super) fn outbid(&self, next: &Roster) -> Vec<NodeId> {
        let before = self.roster.claimants();
        before.filter(|node| !next.stores(*node)).collect()
    }

    pub(super) fn forget_claims(&mut self, outbid: Vec<NodeId>) {
        for node in outbid {
            let old = self.store.forget(node);
            self.changes.touch(node);
            self.save(disk::records(old.as_ref(), None), AfterSave::Nothing);
        }
    }

    /// An admin repeats in its own map which key took over from one that is its junior, the first that it hears
    /// of: whoever finds the old key later comes too late.
    pub(super) fn vouch(&mut self) {
        let admin = self
            .roster
            .member(self.me)
            .is_some_and(|it| it.role == Role::Admin);
        if !admin || self.writer.is_lost() {
            return;
        }
        let own = self.store.map(self.me);
        let handed: Vec<Rotate> = self
            .roster
            .handed()
            .filter_map(|(old, _)| self.roster.heir(old))
            .filter(|rotate| self.roster.outranks(self.me, rotate.new))
            .filter(|rotate| {
                let key = Statement::Rotate(**rotate).key();
                own.is_none_or(|map| map.value(&key).is_none())
            })
            .copied()
            .collect();
        for rotate in handed {
            self.writer.push(Statement::Rotate(rotate));
        }
    }

    /// What a person can do about a place that two keys claim.
    pub(super) fn need_of_the_contested(&self) -> Vec<NeedView> {
        let contested = self.roster.contested();
        let need = |(old, claimants): (NodeId, &[NodeId])| NeedView {
            code: "member.contested".into(),
            words: alloc::format!(
                "{} keys claim the place of the machine {}: its key was stolen. None of them has it. Give the right \
                 machine a new key (there: hive leave) and let it in again",
                claimants.len(),
                old.short()
            ),
            fix: alloc::vec!["hive invite".into()],
        };
        contested.map(need).collect()
    }
}

fn refused(code: &str, what: &str, known: &str, try_next: &str) -> CommandError {
    CommandError {
        code: code.into(),
        kind: ErrorKind::Conflict,
        what: what.into(),
        known: known.into(),
        try_next: try_next.into(),
    }
}

fn not_now() -> CommandError {
    refused(
        "rotate.not_now",
        "this machine is just saying something, or has not said anything yet",
        "nothing was changed",
        "wait a moment, then: hive rotate",
    )
}
