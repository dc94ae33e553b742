//! Keeping equal: push what is new, probe, tell the difference, repair on a timer that slows down.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::event_log::{Happening, Misdeed};
use crate::hive::Hive;
use crate::hive::budget::meter::Keeps;
use crate::hive::outside::{HiveEffect, Lane};
use crate::hive::store::{AuthorMap, DeltaError, Joined, disk};
use crate::hive::writer::AfterSave;
use crate::id::NodeId;
use crate::limits;
use crate::time::Now;
use crate::wire::{ASSEMBLED_BYTES_MAX, Delta, Entry, Frame, Have, Line};

/// What one question of a peer may queue before the rest waits for its next one: two whole maps, and
/// the one that goes beyond. A guess; at least one is always given, so every round brings something.
const GIVE_BYTES_MAX: usize = 2 * limits::MAP_BYTES_MAX;

/// How much of what a peer holds its lines tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All: what is not named is not held there.
    Everything,
    /// What changed there lately.
    Changes,
}

impl Hive {
    /// A member whose key is proven is connected.
    pub fn on_peer_up(&mut self, now: Now, peer: NodeId, address: SocketAddr) {
        let welcome = self.is_allowed(peer) && self.links.has_room(peer);
        if !welcome || self.links.is_shunned(peer, now.boot) {
            self.say_farewell(peer);
            self.outbox.push_back(HiveEffect::Close { peer });
            self.announce_members();
            return;
        }
        self.link_up(now, peer, address);
        self.tell(Happening::PeerUp { node: peer.short() });
        self.thanks_by_link(now, peer);
        self.tree.changed(now);
        self.reset_repair(now);
        // In a large hive one of the two asks: who starts there meets six members within a second.
        if self.is_mesh() || self.me < peer {
            self.probe(peer);
        }
    }

    /// That connection is gone.
    pub fn on_peer_down(&mut self, now: Now, peer: NodeId) {
        let was_eager = self.is_eager(peer);
        if self.link_down(now, peer) {
            self.tell(Happening::PeerDown { node: peer.short() });
            self.regrow(now, was_eager);
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
        self.neighbours.pass(now.boot);
        self.neighbours.meet(peer, &mut self.traffic);
        if self.links.floods(peer, now.boot) {
            self.misbehaved(now, peer, Misdeed::Flood);
            return;
        }
        if self.is_of_a_later_version(bytes) {
            return;
        }
        match Frame::decode(bytes) {
            Ok(Frame::Part { last, bytes }) => self.on_part(now, peer, last, &bytes),
            Ok(frame) => self.on_frame(now, peer, frame),
            Err(_) => self.misbehaved(now, peer, Misdeed::BadFrame),
        }
    }

    /// Whether these bytes claim to be a kind of frame that this version does not know. It is passed over: what it
    /// would have told is found by the next probe.
    fn is_of_a_later_version(&self, bytes: &[u8]) -> bool {
        Frame::kind_of(bytes).is_some_and(|kind| !self.vocabulary.knows_frame(kind))
    }

    /// Sends a frame, in parts if it is long; how many bytes that makes.
    pub(super) fn send(&mut self, peer: NodeId, lane: Lane, frame: &Frame) -> usize {
        let mut bytes = 0;
        for frame in frame.clone().without(self.me).encode_split() {
            if self.is_of_a_later_version(&frame) {
                continue;
            }
            bytes += frame.len();
            self.traffic.count(&frame);
            self.neighbours.meet(peer, &mut self.traffic);
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

    pub(super) fn probe(&mut self, peer: NodeId) {
        let h = self.view_hash();
        self.links.note_probe(peer, self.changes.revision());
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
        if self.is_of_a_later_version(&whole) {
            return;
        }
        match Frame::decode_assembled(&whole) {
            Ok(Frame::Part { .. }) | Err(_) => self.misbehaved(now, peer, Misdeed::BadFrame),
            Ok(frame) => self.on_frame(now, peer, frame),
        }
    }

    fn on_frame(&mut self, now: Now, peer: NodeId, frame: Frame) {
        match frame.said_by(peer) {
            Frame::Probe { h } if h == self.view_hash() => {
                self.repair.agreed = true;
                self.joiner_is_whole();
                self.links
                    .note_agreement(peer, Some(self.changes.revision()));
                // Who asks again in a small hive needs no answer: what differs would be told.
                if self.links.answers_first(peer) || !self.is_mesh() {
                    self.send(peer, Lane::Urgent, &Frame::Same);
                }
                self.hears_nothing_newer(now);
            }
            Frame::Probe { .. } => {
                self.differs(now);
                self.tell_difference(peer);
            }
            Frame::Same => {
                self.repair.agreed = true;
                self.joiner_is_whole();
                self.links.note_agreement(peer, None);
                if self.writer.is_lost() {
                    // It says nothing of what is held there, and may be an answer of long ago: that is asked for.
                    let (answer, lines) = (false, Vec::new());
                    self.send(peer, Lane::Urgent, &Frame::Changed { answer, lines });
                } else {
                    self.hears_nothing_newer(now);
                }
            }
            // Each author once, or one frame would make us pack one map again and again.
            Frame::Digest(lines) if !rises(lines.iter().map(|line| line.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Want(wants) if !rises(wants.iter().map(|want| want.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Changed { lines, .. } if !rises(lines.iter().map(|line| line.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Graft(wants) if !rises(wants.iter().map(|want| want.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Digest(lines) => self.on_lines(now, peer, &lines, Extent::Everything),
            Frame::Changed { answer, lines } => self.on_changed(now, peer, answer, &lines),
            Frame::Want(wants) => self.on_want(peer, &wants),
            Frame::Delta(delta) => self.on_delta(now, peer, &delta),
            Frame::Proof(one, two) => self.on_proof(now, peer, &one, &two),
            Frame::Audit(traces) if !rises(traces.iter().map(|trace| trace.author)) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Audit(traces) => self.on_audit(peer, &traces),
            Frame::Rings { rings, .. } if !rings.is_sorted_by(|a, b| a < b) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::Rings { salt, rings } => self.on_rings(now, peer, salt, &rings),
            Frame::Heads(heads) => self.on_heads(now, &heads),
            Frame::IHave(hints) => self.on_hints(now, peer, &hints),
            Frame::Graft(wants) => self.on_graft(now, peer, &wants),
            Frame::Prune(authors) => self.on_prune(now, peer, &authors),
            // Each state once, as above.
            Frame::WantPins(wants) if !wants.is_sorted_by(|a, b| a < b) => {
                self.misbehaved(now, peer, Misdeed::BadFrame);
            }
            Frame::WantPins(wants) => self.on_want_pins(peer, &wants),
            Frame::Pins { tell_back, held } => self.on_pins(peer, tell_back, &held),
            Frame::Farewell { by, word } => self.on_farewell(now, peer, by, word),
            Frame::Moved(rotate) => self.on_moved(now, peer, rotate),
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

    /// Says what is held: only what changed since both held the same, if that is known. It is said once: if
    /// the two still differ after that, everything is.
    fn tell_difference(&mut self, peer: NodeId) {
        match self.links.take_agreement(peer) {
            Some(since) if !self.is_mesh() => {
                let lines = self.changed_since(since);
                let answer = false;
                self.send(peer, Lane::Urgent, &Frame::Changed { answer, lines });
            }
            _ => self.send_digest(peer),
        }
    }

    fn changed_since(&self, since: u64) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| self.changes.of(line.author) > since);
        lines.sort_by_key(|line| line.author);
        lines
    }

    fn on_changed(&mut self, now: Now, peer: NodeId, answer: bool, lines: &[Line]) {
        self.on_lines(now, peer, lines, Extent::Changes);
        if answer {
            return;
        }
        match self.links.take_agreement(peer) {
            None => self.send_digest(peer),
            Some(since) => {
                let mut mine = self.changed_since(since);
                let told = |author| {
                    lines
                        .binary_search_by_key(&author, |line| line.author)
                        .is_ok()
                };
                mine.retain(|line| !told(line.author));
                if !mine.is_empty() {
                    let (answer, lines) = (true, mine);
                    self.send(peer, Lane::Urgent, &Frame::Changed { answer, lines });
                }
            }
        }
    }

    /// Acts on what a peer holds: asks for what is newer there, gives what is newer here.
    fn on_lines(&mut self, now: Now, peer: NodeId, lines: &[Line], extent: Extent) {
        self.differs(now);
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
            // To those that know of one too: theirs may be another one, and all keep the same.
            let proven = self.store.proofs(line.author);
            proofs.extend(proven.map(|(one, two)| Frame::Proof(*one, *two)));
            let unknown = line.forked && self.store.fork(line.author).is_none();
            tell_back |= unknown && held.is_some();
        }
        if extent == Extent::Everything {
            let theirs = |author| lines.binary_search_by_key(&author, |line| line.author);
            let lacking = self.authors().into_iter();
            let lacking = lacking.filter(|author| theirs(*author).is_err());
            gives.extend(lacking.map(|author| (author, None)));
        }
        self.give_all(peer, gives);
        for proof in proofs {
            self.send(peer, Lane::Urgent, &proof);
        }
        if !wants.is_empty() {
            wants.sort_by_key(|want| want.author);
            self.ask(peer, wants);
        } else if tell_back {
            self.send_digest(peer);
        }
        // What changed lately says nothing of the rest to a machine that forgot.
        let tells = extent == Extent::Everything || !self.writer.is_lost();
        if !own_is_newer_there && tells {
            self.hears_nothing_newer(now);
        }
    }

    pub(super) fn on_want(&mut self, peer: NodeId, wants: &[Have]) {
        let news = |want: &&Have| {
            let version = (want.incarnation, want.seq);
            want.seq == 0 || self.held(want.author) > version
        };
        let stored = wants
            .iter()
            .filter(|want| self.roster.stores(want.author))
            .filter(news)
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
        if gives.len() > 1 {
            let order = self.authors().into_iter();
            let order: BTreeMap<NodeId, usize> = order.zip(0..).collect();
            gives.sort_by_key(|(author, _)| order.get(author).copied());
        }
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
        let own = author == self.me && self.writer.is_lost();
        let stranger = !self.roster.stores(author) && !sponsored && !own;
        if stranger && !self.takes_over(delta) {
            // Its admission may be on the way: the next probe brings both in the right order.
            self.differs(now);
            return;
        }
        let asked = self.note_delta(peer, delta);
        // The very head that is held, on whatever base: nothing is built or verified for it.
        let version = (delta.incarnation, delta.seq);
        let same = |map: &AuthorMap| map.head().sig == delta.sig && self.held(author) == version;
        if self.store.map(author).is_some_and(same) {
            if !asked {
                self.prune(now, peer, author);
            }
            return;
        }
        let before = self.store.map(author).cloned();
        let known = self.store.proven_in(author);
        let keep = self.roster.removed(author).flatten();
        match self.store.join(delta, keep) {
            Ok(Joined::Nothing) if asked => {}
            Ok(Joined::Nothing) => self.prune(now, peer, author),
            Err(DeltaError::Sealed) => {}
            Ok(outcome) => {
                self.changes.touch(author);
                let records = disk::records(before.as_ref(), self.store.map(author));
                self.save(records, AfterSave::Nothing);
                if outcome == Joined::Forked {
                    self.on_fork(now, author, &known);
                }
                self.note_news(now, peer, author, asked);
                self.refresh_after(now, author, before.as_ref());
                if stranger && !self.roster.stores(author) {
                    // Its claim came to nothing.
                    self.forget_claims(alloc::vec![author]);
                    return;
                }
                self.repair.agreed = false;
                if delta.base.is_none() {
                    self.catch_up(now, peer);
                }
                if author == self.me {
                    self.on_own_map_moved(now);
                } else if outcome == Joined::Newer && (asked || self.keeps_to_share(now, delta)) {
                    self.spread(now, delta, Some(peer));
                }
            }
            Err(DeltaError::OtherBase) => self.ask_since(peer, author, self.held(author)),
            // Two histories of one author look like this too, with entries of both in one map; only the whole
            // map can tell. Whoever passes it on is not to blame.
            Err(DeltaError::Signature | DeltaError::TooLarge | DeltaError::BadEntry)
                if delta.base.is_some() && author != peer =>
            {
                self.ask_since(peer, author, (0, 0));
            }
            Err(DeltaError::Signature) => self.misbehaved(now, peer, Misdeed::BadSignature),
            Err(DeltaError::TooLarge) => self.misbehaved(now, peer, Misdeed::MapTooLarge),
            Err(DeltaError::BadEntry) => self.misbehaved(now, peer, Misdeed::BadEntry),
        }
    }

    /// Charges an author for what was pushed. What goes beyond its share is kept and shown, but not sent on:
    /// the others get it by repair.
    fn keeps_to_share(&mut self, now: Now, delta: &Delta) -> bool {
        let data = |entry: &Entry| !entry.key.is_membership();
        if !delta.entries.iter().any(data) {
            return true;
        }
        let bytes = Frame::Delta(delta.clone()).encode().len();
        let members = self.roster.order().len();
        match self.audience.hear(delta.author, bytes, members, now.boot) {
            Keeps::ToIt => true,
            Keeps::NotToIt { news } => {
                if news {
                    let node = delta.author.short();
                    self.tell(Happening::OverShare { node });
                }
                false
            }
        }
    }

    /// Asks for what leads on from a state that is held; zeros = the whole map.
    fn ask_since(&mut self, peer: NodeId, author: NodeId, held: (u32, u64)) {
        self.ask(peer, alloc::vec![have(author, held)]);
    }

    fn ask(&mut self, peer: NodeId, wants: Vec<Have>) {
        if let Some(branch) = self.links.branch(peer) {
            for want in &wants {
                branch.ask(want.author);
            }
        }
        self.send(peer, Lane::Urgent, &Frame::Want(wants));
    }

    /// Whether a state lies above the last one that counts of a removed author.
    pub(super) fn is_sealed_below(&self, author: NodeId, version: (u32, u64)) -> bool {
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
        // What should have come instead may be missing here and held elsewhere.
        self.reset_repair(now);
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
