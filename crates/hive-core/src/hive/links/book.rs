//! What is remembered of the other members' whereabouts and connections.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::hive::links::{AWAY_AFTER, BACKOFF_MAX, BACKOFF_MIN, HINT_PAUSE};
use crate::hive::neighbours::{MESH_MEMBERS_MAX, RINGS, Rings};
use crate::hive::outside::{Beacon, Locators};
use crate::hive::tree::Branch;
use crate::id::{HiveId, NodeId};
use crate::time::{Instant, Now, Span};

/// Addresses remembered per member; the newest first.
const ADDRESSES_MAX: usize = 4;

/// Machines remembered that were heard on the network.
const NEARBY_MAX: usize = 64;

/// How long somebody heard on the network counts as there. A guess: `hive nearby` asks before it shows, and whoever is
/// there answers in milliseconds; some questions may be lost.
const NEARBY_FOR: Span = Span::from_secs(120);

/// A member has several addresses if all of them answer one question. A guess with room: an answer takes milliseconds.
const TOGETHER: Span = Span::from_secs(10);

/// How long a member that misbehaved is not spoken with. Source: `research/security.md` 4.6.
const SHUNNED: Span = Span::from_secs(600);

/// Frames a peer may send at once, and one more per this span. Source: `research/security.md` 4.6 has
/// 200 at 50/s; this is more because catching up may take four frames for each of 256 authors.
const BURST: u64 = 1_024;
const FRAME_GAP: Span = Span::from_ms(10);

/// How long a connection to one who is no neighbour any more is kept, where this side once wanted it (who
/// stood in for a restarted machine), and where only the other side did. Guesses: a connection costs 4.4 kB.
const LINGER: Span = Span::from_secs(60);
const GUEST_STAY: Span = Span::from_secs(3_600);

/// Connections to members that this side did not choose: those that see the hive otherwise for a while. A
/// guess: as many as chosen ones, so that nobody carries more than twice the load.
const GUESTS_MAX: usize = 2 * RINGS;

/// Between two dials of one member for its answers. A guess: after a loss questions come seconds apart, a dial in vain
/// costs some kilobytes, and who is heard may be somebody that repeats its beacon.
const HASTEN_EVERY: Span = Span::from_secs(60);

/// With fewer connections than this a member of a large hive asks the network for more.
pub(super) const COMPANY_MIN: usize = 2;

#[derive(Debug)]
pub(in crate::hive) struct Links {
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) known: BTreeMap<NodeId, Known>,
    pub(in crate::hive) first_up: BTreeMap<NodeId, Instant>,
    pub(in crate::hive) nearby: BTreeMap<SocketAddr, Seen>,
    pub(super) asked: Option<Instant>,
    pub(super) seek_at: Option<Instant>,
    pub(super) seek_pause: Span,
    /// When a member last said that another run with this key has connected.
    pub(super) ousted: Option<Instant>,
    /// It was said often enough to be told.
    pub(in crate::hive) has_double: bool,
    pub(super) said: Option<Beacon>,
    /// When the beacon's day ends.
    pub(super) tomorrow: Option<Instant>,
    pub(super) rings: Rings,
    /// Whom to be connected with.
    pub(super) wanted: BTreeSet<NodeId>,
    pub(super) tags: Tags,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) misdeeds: u32,
    pub(super) parts: Vec<u8>,
    /// The moment up to which its frames are paid for.
    pub(super) paid_until: Instant,
    pub(super) up_at: Instant,
    /// Whether this side ever wanted the connection.
    pub(super) mine: bool,
    pub(super) unwanted_since: Option<Instant>,
    /// Whether it was told on this connection that both hold the same.
    pub(super) answered: bool,
    pub(super) branch: Branch,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) pause: Span,
    pub(super) dial_at: Option<Instant>,
    /// Since when it is wanted and not connected.
    pub(super) missing_since: Option<Instant>,
    pub(super) failures: u32,
    /// Stepped over until there is a sign of it.
    pub(super) away: bool,
    /// In a small hive: the others were asked for its news, because it is not connected.
    pub(super) asked_around: bool,
    /// The revision of the own store when it was asked whether it holds the same.
    pub(super) probed: Option<u64>,
    /// The revision of the own store when both held the same.
    pub(super) agreed: Option<u64>,
    /// It misbehaved: no word with it before this moment.
    pub(super) shunned_until: Option<Instant>,
    /// The question to the network for whose answer it was dialled.
    pub(super) hastened: Option<Instant>,
    /// It was told since it was last connected that this key took over from another one, because it did not let it in.
    pub(super) told_of_key: bool,
    /// No hint that nobody signed hastens its dial before.
    pub(super) no_hint_until: Option<Instant>,
    /// The pause between two hints that do.
    pub(super) hint_pause: Span,
}

/// What the members' beacons say on the days around one day: hashed once, because in a large hive a single
/// question brings an answer of each member.
#[derive(Debug, Default)]
pub(super) struct Tags {
    pub(super) of: Option<([u8; 32], u64)>,
    pub(super) nodes: BTreeMap<[u8; 8], NodeId>,
}

/// A machine heard on the network.
#[derive(Clone, Copy, Debug)]
pub(in crate::hive) struct Seen {
    pub(in crate::hive) member: Option<NodeId>,
    pub(in crate::hive) locators: Locators,
    pub(in crate::hive) at: Instant,
    pub(in crate::hive) after: Span,
}

impl Links {
    pub(in crate::hive) fn new(addresses: BTreeMap<NodeId, Vec<SocketAddr>>) -> Self {
        let known = addresses
            .into_iter()
            .map(|(node, addresses)| (node, Known::at(addresses)))
            .collect();
        Self {
            peers: BTreeMap::new(),
            known,
            first_up: BTreeMap::new(),
            nearby: BTreeMap::new(),
            asked: None,
            seek_at: None,
            seek_pause: BACKOFF_MIN,
            ousted: None,
            has_double: false,
            said: None,
            tomorrow: None,
            rings: Rings::default(),
            wanted: BTreeSet::new(),
            tags: Tags::default(),
        }
    }

    pub(in crate::hive) fn connected(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    pub(in crate::hive) fn any_connected(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(in crate::hive) fn is_connected(&self, peer: NodeId) -> bool {
        self.peers.contains_key(&peer)
    }

    pub(in crate::hive) fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        let now = self.peers.get(&peer).map(|peer| peer.address);
        now.or_else(|| self.known.get(&peer)?.addresses.first().copied())
    }

    pub(in crate::hive) fn drop_peer(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// Forgets a machine that was removed; whether its addresses were known.
    pub(in crate::hive) fn forget(&mut self, node: NodeId) -> bool {
        self.first_up.remove(&node);
        for seen in self.nearby.values_mut() {
            seen.member = seen.member.filter(|member| *member != node);
        }
        self.known.remove(&node).is_some()
    }

    /// Those whose addresses are known.
    pub(in crate::hive) fn located(&self) -> Vec<NodeId> {
        self.known.keys().copied().collect()
    }

    /// Forgets where those are who do not belong any more, and sets the rings anew.
    pub(in crate::hive) fn seat(&mut self, hive: HiveId, me: NodeId, allowed: &[NodeId]) {
        self.known
            .retain(|node, _| allowed.binary_search(node).is_ok());
        self.rings = if allowed.len() < MESH_MEMBERS_MAX {
            Rings::default()
        } else {
            Rings::of(hive, me, allowed)
        };
        self.tags = Tags::default();
    }

    /// Whether a connection that the other side made can be kept.
    pub(in crate::hive) fn has_room(&self, peer: NodeId) -> bool {
        let guests = self
            .peers
            .keys()
            .filter(|other| !self.wanted.contains(other));
        // One that was never here before may know nobody else.
        self.wanted.contains(&peer)
            || !self.first_up.contains_key(&peer)
            || guests.count() < GUESTS_MAX
    }

    /// Where a peer stands in the push tree.
    pub(in crate::hive) fn branch(&mut self, peer: NodeId) -> Option<&mut Branch> {
        Some(&mut self.peers.get_mut(&peer)?.branch)
    }

    /// Where every peer stands in the push tree.
    pub(in crate::hive) fn branches(&mut self) -> impl Iterator<Item = (NodeId, &mut Branch)> {
        self.peers
            .iter_mut()
            .map(|(node, peer)| (*node, &mut peer.branch))
    }

    /// A peer is asked whether it holds the same as this machine does at this revision.
    pub(in crate::hive) fn note_probe(&mut self, peer: NodeId, revision: u64) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.probed = Some(revision);
        }
    }

    /// Both hold the same: at a revision, or at that of the last question.
    pub(in crate::hive) fn note_agreement(&mut self, peer: NodeId, at: Option<u64>) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.agreed = at.or(known.probed.take()).or(known.agreed);
        }
    }

    /// Whether it was not yet told on this connection that both hold the same; from now on it was.
    pub(in crate::hive) fn answers_first(&mut self, peer: NodeId) -> bool {
        let peer = self.peers.get_mut(&peer);
        peer.is_some_and(|peer| !core::mem::replace(&mut peer.answered, true))
    }

    /// The revision at which both held the same, if that is known; from now on it is not.
    pub(in crate::hive) fn take_agreement(&mut self, peer: NodeId) -> Option<u64> {
        self.known.get_mut(&peer)?.agreed.take()
    }

    pub(super) fn missing(&self) -> impl Iterator<Item = (&NodeId, Option<&Known>)> {
        let missing = self
            .wanted
            .iter()
            .filter(|node| !self.peers.contains_key(*node));
        missing.map(|node| (node, self.known.get(node)))
    }

    /// Those whose news the others were asked for.
    pub(super) fn asked_around(&self) -> Vec<NodeId> {
        let asked = self.known.iter().filter(|(_, known)| known.asked_around);
        asked.map(|(node, _)| *node).collect()
    }

    /// Connections whose time is over, and when the next one's is.
    pub(super) fn surplus(&self, now: Instant) -> (Vec<NodeId>, Option<Instant>) {
        let company = self.peers.values().filter(|it| it.unwanted_since.is_none());
        if company.count() < COMPANY_MIN {
            return (Vec::new(), None);
        }
        let mut over = Vec::new();
        let mut next: Option<Instant> = None;
        for (node, peer) in &self.peers {
            let stay = if peer.mine { LINGER } else { GUEST_STAY };
            match peer.unwanted_since.map(|since| since.after(stay)) {
                Some(at) if at <= now => over.push(*node),
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        (over, next)
    }

    pub(in crate::hive) fn buffer(&mut self, peer: NodeId) -> Option<&mut Vec<u8>> {
        Some(&mut self.peers.get_mut(&peer)?.parts)
    }

    pub(in crate::hive) fn count_misdeed(&mut self, peer: NodeId) -> Option<u32> {
        let peer = self.peers.get_mut(&peer)?;
        peer.misdeeds += 1;
        Some(peer.misdeeds)
    }

    /// Whether a frame came faster than any honest member sends.
    pub(in crate::hive) fn floods(&mut self, peer: NodeId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&peer) else {
            return false;
        };
        peer.paid_until = peer.paid_until.max(now).after(FRAME_GAP);
        peer.paid_until.since(now).0 > FRAME_GAP.0 * BURST
    }

    /// Speaks no more with a member for a while.
    pub(in crate::hive) fn shun(&mut self, peer: NodeId, now: Instant) {
        self.peers.remove(&peer);
        let until = now.after(SHUNNED);
        let known = self
            .known
            .entry(peer)
            .or_insert_with(|| Known::at(Vec::new()));
        known.shunned_until = Some(until);
        known.dial_at = (!known.addresses.is_empty()).then_some(until);
    }

    pub(in crate::hive) fn is_shunned(&self, peer: NodeId, now: Instant) -> bool {
        let known = self.known.get(&peer);
        known.is_some_and(|known| known.shunned_until.is_some_and(|until| now < until))
    }

    /// Adds an address in front; whether anything changed.
    pub(in crate::hive) fn learn(&mut self, node: NodeId, address: SocketAddr) -> bool {
        let known = self
            .known
            .entry(node)
            .or_insert_with(|| Known::at(Vec::new()));
        if known.addresses.first() == Some(&address) {
            return false;
        }
        known.addresses.retain(|other| *other != address);
        known.addresses.insert(0, address);
        known.addresses.truncate(ADDRESSES_MAX);
        true
    }

    /// Who was heard with an open invite of this locator.
    pub(in crate::hive) fn inviters(&self, locator: [u8; 4]) -> Vec<SocketAddr> {
        let holds = |seen: &Seen| seen.locators.has(locator);
        let found = self.nearby.iter().filter(|(_, seen)| holds(seen));
        found.map(|(address, _)| *address).collect()
    }

    /// Who was heard lately. Of a member that moved only where it was heard last.
    pub(in crate::hive) fn heard(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (&SocketAddr, &Seen)> {
        let mut last: BTreeMap<NodeId, Instant> = BTreeMap::new();
        for seen in self.nearby.values() {
            if let Some(node) = seen.member {
                let at = last.entry(node).or_insert(seen.at);
                *at = seen.at.max(*at);
            }
        }
        self.nearby.iter().filter(move |(_, seen)| {
            let last = seen.member.and_then(|node| last.get(&node));
            let moved = last.is_some_and(|last| last.since(seen.at) > TOGETHER);
            now.since(seen.at) <= NEARBY_FOR && !moved
        })
    }

    pub(super) fn remember(&mut self, address: SocketAddr, seen: Seen) {
        if self.nearby.len() >= NEARBY_MAX && !self.nearby.contains_key(&address) {
            let oldest = self.nearby.iter().min_by_key(|(_, seen)| seen.at);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.nearby.remove(&oldest);
            }
        }
        self.nearby.insert(address, seen);
    }
}

impl Known {
    pub(super) fn at(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            pause: BACKOFF_MIN,
            dial_at: None,
            missing_since: None,
            failures: 0,
            away: false,
            asked_around: false,
            shunned_until: None,
            hastened: None,
            told_of_key: false,
            no_hint_until: None,
            hint_pause: HINT_PAUSE,
            probed: None,
            agreed: None,
        }
    }

    /// It answers a question to the network: that is why it was asked. It is dialled for it, once for a question and not
    /// more often than [`HASTEN_EVERY`]: what is heard may be another one's repetition, and several answers may come.
    /// What is heard unasked hastens nothing: who returns dials by itself.
    pub(super) fn hasten(&mut self, asked: Option<Instant>) {
        let Some(asked) = asked else { return };
        let is_early = |last: Instant| asked.since(last) < HASTEN_EVERY;
        if self.hastened.is_some_and(is_early) || self.pause <= AWAY_AFTER {
            return;
        }
        self.hastened = Some(asked);
        self.dial_at = None;
    }

    /// There is a sign of it.
    pub(super) fn is_back(&mut self) {
        self.missing_since = None;
        self.failures = 0;
        self.away = false;
    }

    /// Whether a hint that nobody signed may hasten the next dial. Two that each hint at the other, or somebody who
    /// makes such hints up, do so ever more rarely.
    pub(super) fn heeds_hint(&mut self, now: Now) -> bool {
        let is_over = |until: Option<Instant>| until.is_none_or(|until| until <= now.boot);
        if !is_over(self.no_hint_until) || !is_over(self.shunned_until) {
            return false;
        }
        self.no_hint_until = Some(now.boot.after(self.hint_pause));
        self.hint_pause = Span((self.hint_pause.0 * 2).min(BACKOFF_MAX.0));
        true
    }

    /// It is connected: the next loss is another story.
    pub(super) fn forget_hints(&mut self) {
        self.told_of_key = false;
        self.no_hint_until = None;
        self.hint_pause = HINT_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(links: &Links, now: u64) -> Vec<SocketAddr> {
        let heard = links.heard(Instant(now * 1_000_000));
        heard.map(|(address, _)| *address).collect()
    }

    #[test]
    fn who_is_heard_no_more_or_moved_is_forgotten() {
        let mut links = Links::new(BTreeMap::new());
        let [first, second, stranger] =
            [1, 2, 3].map(|host| SocketAddr::from(([192, 0, 2, host], 4_483)));
        let hear = |links: &mut Links, address, member: Option<u8>, second: u64| {
            let seen = Seen {
                member: member.map(|node| NodeId([node; 32])),
                locators: Locators::default(),
                at: Instant(second * 1_000_000),
                after: Span(0),
            };
            links.remember(address, seen);
        };
        // Two addresses that answer one question, and somebody else.
        hear(&mut links, first, Some(1), 100);
        hear(&mut links, second, Some(1), 101);
        hear(&mut links, stranger, None, 100);
        assert_eq!(heard(&links, 102), [first, second, stranger]);
        // A later question is answered by one of them alone.
        hear(&mut links, second, Some(1), 160);
        assert_eq!(heard(&links, 161), [second, stranger]);
        assert_eq!(heard(&links, 230), [second]);
        assert_eq!(heard(&links, 281), []);
    }
}
