//! Keeping equal: push what is new, probe, tell the difference, repair on a timer that slows down.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::chance::Chance;
use crate::event_log::{Happening, Misdeed};
use crate::hive::Hive;
use crate::hive::outside::{HiveEffect, Lane};
use crate::hive::store::{DeltaError, Joined, disk};
use crate::hive::writer::AfterSave;
use crate::id::NodeId;
use crate::limits;
use crate::time::{Instant, Now, Span};
use crate::wire::{ASSEMBLED_BYTES_MAX, Delta, Frame, Have, Line};

/// What one question of a peer may queue before the rest waits for its next one: two whole maps, and
/// the one that goes beyond. A guess; at least one is always given, so every round brings something.
const GIVE_BYTES_MAX: usize = 2 * limits::MAP_BYTES_MAX;

/// Whoever was given a whole map asks again this long after the last one, for what one answer had no room for. A
/// guess: above the time that one map takes to be checked, below what a person notices.
const CATCHING_UP: Span = Span::from_ms(50);

/// The Trickle timer (RFC 6206, k = 1). Differs from the RFC: it asks one member, not all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    interval: Span,
    at: Instant,
    /// Somebody was heard to hold the same in this interval.
    agreed: bool,
    /// Gave whole maps lately, and may have more.
    giver: Option<NodeId>,
}

impl Repair {
    pub(super) fn new(now: Instant, chance: &mut Chance) -> Self {
        Self::with(limits::REPAIR_MIN, now, chance)
    }

    fn with(interval: Span, now: Instant, chance: &mut Chance) -> Self {
        let half = interval.0 / 2;
        Self {
            interval,
            at: now.after(Span(half + chance.below(half.max(1)))),
            agreed: false,
            giver: None,
        }
    }
}

impl Hive {
    /// A member whose key is proven is connected.
    pub fn on_peer_up(&mut self, now: Now, peer: NodeId, address: SocketAddr) {
        if !self.is_allowed(peer) || self.links.is_shunned(peer, now.boot) {
            self.outbox.push_back(HiveEffect::Close { peer });
            return;
        }
        self.link_up(now, peer, address);
        self.tell(Happening::PeerUp { node: peer.short() });
        self.thanks_by_link(now, peer);
        self.reset_repair(now);
        self.probe(peer);
    }

    /// That connection is gone.
    pub fn on_peer_down(&mut self, now: Now, peer: NodeId) {
        if self.link_down(now, peer) {
            self.tell(Happening::PeerDown { node: peer.short() });
        }
    }

    /// The transport refused something of this peer's.
    pub fn on_transport_refused(&mut self, now: Now, peer: NodeId, misdeed: Misdeed) {
        self.misbehaved(now, peer, misdeed);
    }

    /// A whole frame arrived from a connected member. Anybody else's is not even read.
    pub fn on_received(&mut self, now: Now, peer: NodeId, bytes: &[u8]) {
        if !self.is_allowed(peer) || !self.links.is_connected(peer) {
            return;
        }
        self.traffic.count(bytes);
        if self.links.floods(peer, now.boot) {
            self.misbehaved(now, peer, Misdeed::Flood);
            return;
        }
        match Frame::decode(bytes) {
            Ok(Frame::Part { last, bytes }) => self.on_part(now, peer, last, &bytes),
            Ok(frame) => self.on_frame(now, peer, frame),
            Err(_) => self.misbehaved(now, peer, Misdeed::BadFrame),
        }
    }

    /// Sends a frame, in parts if it is long; how many bytes that makes.
    pub(super) fn send(&mut self, peer: NodeId, lane: Lane, frame: &Frame) -> usize {
        let mut bytes = 0;
        for frame in frame.clone().without(self.me).encode_split() {
            bytes += frame.len();
            self.traffic.count(&frame);
            self.outbox
                .push_back(HiveEffect::Send { peer, lane, frame });
        }
        bytes
    }

    /// The hash over everything that all members must hold alike.
    pub(super) fn view_hash(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/view");
        for line in self.lines() {
            let id = self
                .store
                .map(line.author)
                .map_or([0; 32], |map| map.id().0);
            hasher.update(&line.author.0);
            hasher.update(&line.incarnation.to_le_bytes());
            hasher.update(&line.seq.to_le_bytes());
            hasher.update(&id);
            hasher.update(&self.store.fork_id(line.author));
        }
        for pin in self.held_pins() {
            hasher.update(&pin.author.0);
            hasher.update(&pin.state.id.0);
        }
        first_half(*hasher.finalize().as_bytes())
    }

    pub(super) fn repair_wake(&self) -> Option<Instant> {
        self.links.any_connected().then_some(self.repair.at)
    }

    pub(super) fn on_repair_time(&mut self, now: Now) {
        if now.boot < self.repair.at {
            return;
        }
        let connected = self.links.connected();
        let count = u64::try_from(connected.len()).unwrap_or(0);
        let pick = usize::try_from(self.chance.below(count)).unwrap_or(0);
        let giver = self.repair.giver.filter(|peer| connected.contains(peer));
        if let Some(peer) = giver.or_else(|| connected.get(pick).copied())
            && !self.repair.agreed
        {
            self.probe(peer);
        }
        let interval = Span((self.repair.interval.0 * 2).min(limits::REPAIR_MAX.0));
        self.repair = Repair::with(interval, now.boot, &mut self.chance);
    }

    pub(super) fn reset_repair(&mut self, now: Now) {
        if self.repair.interval != limits::REPAIR_MIN || self.repair.at <= now.boot {
            self.repair = Repair::new(now.boot, &mut self.chance);
        }
        self.repair.agreed = false;
    }

    /// Gives the own map to everybody who is connected: what was said before this machine knew itself a member
    /// was not in its digests.
    pub(super) fn show_own_map(&mut self) {
        let Some(own) = self.store.map(self.me) else {
            return;
        };
        let frame = Frame::Delta(own.delta(None));
        for peer in self.links.connected() {
            self.send(peer, Lane::Urgent, &frame);
        }
    }

    /// Asks the giver of a whole map again as soon as no more come: one answer has room for a few only.
    fn catch_up(&mut self, now: Now, giver: NodeId) {
        self.repair.at = now.boot.after(CATCHING_UP);
        self.repair.giver = Some(giver);
    }

    fn probe(&mut self, peer: NodeId) {
        let h = self.view_hash();
        self.send(peer, Lane::Urgent, &Frame::Probe { h });
    }

    fn on_part(&mut self, now: Now, peer: NodeId, last: bool, bytes: &[u8]) {
        let Some(buffer) = self.links.buffer(peer) else {
            return;
        };
        if buffer.len() + bytes.len() > ASSEMBLED_BYTES_MAX {
            *buffer = Vec::new();
            self.misbehaved(now, peer, Misdeed::FrameTooLong);
            return;
        }
        buffer.extend_from_slice(bytes);
        if !last {
            return;
        }
        let whole = core::mem::take(buffer);
        match Frame::decode_assembled(&whole) {
            Ok(Frame::Part { .. }) | Err(_) => self.misbehaved(now, peer, Misdeed::BadFrame),
            Ok(frame) => self.on_frame(now, peer, frame),
        }
    }

    fn on_frame(&mut self, now: Now, peer: NodeId, frame: Frame) {
        match frame.said_by(peer) {
            Frame::Probe { h } if h == self.view_hash() => {
                self.repair.agreed = true;
                self.send(peer, Lane::Urgent, &Frame::Same);
                self.free_to_speak(now);
            }
            Frame::Probe { .. } => {
                self.reset_repair(now);
                self.send_digest(peer);
            }
            Frame::Same => {
                self.repair.agreed = true;
                self.free_to_speak(now);
            }
            // Each author once, or one frame would make us pack one map again and again.
            Frame::Digest(lines) if !rises(lines.iter().map(|line| line.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Want(wants) if !rises(wants.iter().map(|want| want.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Digest(lines) => self.on_digest(now, peer, &lines),
            Frame::Want(wants) => self.on_want(peer, &wants),
            Frame::Delta(delta) => self.on_delta(now, peer, &delta),
            Frame::Proof(one, two) => self.on_proof(now, peer, &one, &two),
            Frame::Audit(traces) if !rises(traces.iter().map(|trace| trace.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Audit(traces) => self.on_audit(peer, &traces),
            Frame::Heads(heads) => self.on_heads(now, &heads),
            // Each state once, as above.
            Frame::WantPins(wants) if !wants.is_sorted_by(|a, b| a < b) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::WantPins(wants) => self.on_want_pins(peer, &wants),
            Frame::Pins { tell_back, held } => self.on_pins(peer, tell_back, &held),
            // What is in parts, and what says no author, is by now something else.
            Frame::Part { .. } | Frame::Own(_) => {}
        }
    }

    /// What is held, one line per author that everybody stores, the most senior first.
    fn lines(&self) -> Vec<Line> {
        self.authors()
            .into_iter()
            .filter_map(|author| self.store.map(author))
            .map(|map| Line {
                author: map.head().author,
                incarnation: map.head().incarnation,
                seq: map.head().seq,
                id: first_half(map.id().0),
                forked: self.store.fork(map.head().author).is_some(),
            })
            .collect()
    }

    /// In an order in which each admission comes before the map of the admitted: removed ones first,
    /// since members may rest on what they said.
    fn authors(&self) -> Vec<NodeId> {
        let removed = self.roster.all_removed();
        removed
            .chain(
                self.store
                    .maps()
                    .map(|(author, _)| *author)
                    .filter(|author| {
                        !self.roster.has(*author) && self.roster.removed(*author).is_none()
                    }),
            )
            .filter(|author| self.roster.stores(*author))
            .chain(self.roster.order().iter().copied())
            .take(crate::wire::LINES_MAX)
            .collect()
    }

    fn on_digest(&mut self, now: Now, peer: NodeId, lines: &[Line]) {
        self.reset_repair(now);
        let mut wants = Vec::new();
        let mut gives = Vec::new();
        let mut proofs = Vec::new();
        let mut own_is_newer_there = false;
        let mut tell_back = false;
        for line in lines {
            let version = (line.incarnation, line.seq);
            let held = self.store.map(line.author);
            let mine = held.map_or((0, 0), |map| (map.head().incarnation, map.head().seq));
            let other = held.is_some_and(|map| first_half(map.id().0) != line.id);
            if version > mine && !self.is_sealed_below(line.author, version) {
                own_is_newer_there |= line.author == self.me;
                wants.push(have(line.author, mine));
            } else if version < mine {
                gives.push((line.author, Some(version)));
            } else if version == mine && other {
                gives.push((line.author, None));
                wants.push(have(line.author, (0, 0)));
            }
            match (self.store.fork(line.author), line.forked) {
                // To those that know of one too: theirs may be another one, and all keep the same.
                (Some((one, two)), _) => proofs.push(Frame::Proof(*one, *two)),
                (None, true) if held.is_some() => tell_back = true,
                _ => {}
            }
        }
        for line in self.lines() {
            if !lines.iter().any(|theirs| theirs.author == line.author) {
                gives.push((line.author, None));
            }
        }
        self.give_all(peer, gives);
        for proof in proofs {
            self.send(peer, Lane::Urgent, &proof);
        }
        if !wants.is_empty() {
            wants.sort_by_key(|want| want.author);
            self.send(peer, Lane::Urgent, &Frame::Want(wants));
        } else if tell_back {
            self.send_digest(peer);
        }
        if !own_is_newer_there {
            self.free_to_speak(now);
        }
    }

    fn on_want(&mut self, peer: NodeId, wants: &[Have]) {
        let stored = wants
            .iter()
            .filter(|want| self.roster.stores(want.author))
            .map(|want| {
                let base = (want.seq > 0).then_some((want.incarnation, want.seq));
                (want.author, base)
            });
        let gives = stored.collect();
        self.give_all(peer, gives);
    }

    /// Gives up to [`GIVE_BYTES_MAX`]; the next probe finds what is still missing.
    fn give_all(&mut self, peer: NodeId, mut gives: Vec<(NodeId, Option<(u32, u64)>)>) {
        // The order of seniority: admissions before the maps of the admitted.
        let order = self.authors();
        gives.sort_by_key(|(author, _)| order.iter().position(|other| other == author));
        let mut given = 0_usize;
        for (author, base) in gives {
            let Some(map) = self.store.map(author).filter(|_| given < GIVE_BYTES_MAX) else {
                continue;
            };
            let frame = Frame::Delta(map.delta(base));
            given = given.saturating_add(self.send(peer, Lane::Bulk, &frame));
        }
    }

    fn send_digest(&mut self, peer: NodeId) {
        let mut lines = self.lines();
        lines.sort_by_key(|line| line.author);
        self.send(peer, Lane::Urgent, &Frame::Digest(lines));
        self.tell_pins(peer, true);
    }

    fn on_delta(&mut self, now: Now, peer: NodeId, delta: &Delta) {
        if self.takes_pin(now, delta) {
            return;
        }
        let author = delta.author;
        let sponsored = self.sponsor == Some(author);
        if !self.roster.stores(author) && !sponsored {
            // Its admission may be on the way: the next probe brings both in the right order.
            self.reset_repair(now);
            return;
        }
        let before = self.store.map(author).cloned();
        let known = self.store.forked_in(author);
        let keep = self.roster.removed(author).flatten();
        match self.store.join(delta, keep) {
            Ok(Joined::Nothing) | Err(DeltaError::Sealed) => {}
            Ok(outcome) => {
                let records = disk::records(before.as_ref(), self.store.map(author));
                self.save(records, AfterSave::Nothing);
                if outcome == Joined::Forked {
                    self.on_fork(now, author, known);
                }
                self.refresh(now);
                self.reset_repair(now);
                if delta.base.is_none() {
                    self.catch_up(now, peer);
                }
                if author == self.me {
                    self.on_own_map_moved(now);
                }
            }
            Err(DeltaError::OtherBase) => self.ask_whole(peer, author),
            // Two histories of one author look like this too, with entries of both in one map; only the whole
            // map can tell. Whoever passes it on is not to blame.
            Err(DeltaError::Signature | DeltaError::TooLarge | DeltaError::BadEntry)
                if delta.base.is_some() && author != peer =>
            {
                self.ask_whole(peer, author);
            }
            Err(DeltaError::Signature) => self.misbehaved(now, peer, Misdeed::BadSignature),
            Err(DeltaError::TooLarge) => self.misbehaved(now, peer, Misdeed::MapTooLarge),
            Err(DeltaError::BadEntry) => self.misbehaved(now, peer, Misdeed::BadEntry),
        }
    }

    fn ask_whole(&mut self, peer: NodeId, author: NodeId) {
        let want = Frame::Want(alloc::vec![have(author, (0, 0))]);
        self.send(peer, Lane::Urgent, &want);
    }

    /// Whether a state lies above the last one that counts of a removed author.
    fn is_sealed_below(&self, author: NodeId, version: (u32, u64)) -> bool {
        match self.roster.removed(author) {
            None => false,
            Some(None) => true,
            Some(Some(keep)) => version > (keep.incarnation, keep.seq),
        }
    }

    pub(super) fn misbehaved(&mut self, now: Now, peer: NodeId, misdeed: Misdeed) {
        let Some(count) = self.links.count_misdeed(peer) else {
            return;
        };
        self.tell(Happening::PeerMisbehaved {
            node: peer.short(),
            misdeed,
        });
        if count >= limits::MISDEEDS_MAX {
            self.links.shun(peer, now.boot);
            self.outbox.push_back(HiveEffect::Close { peer });
        }
    }
}

fn have(author: NodeId, (incarnation, seq): (u32, u64)) -> Have {
    Have {
        author,
        incarnation,
        seq,
    }
}

/// Whether each is greater than the one before.
fn rises(authors: impl Iterator<Item = NodeId>) -> bool {
    let mut last = None;
    for author in authors {
        if last.is_some_and(|last| last >= author) {
            return false;
        }
        last = Some(author);
    }
    true
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}
