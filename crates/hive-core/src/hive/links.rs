//! Finding and keeping the other members: who is connected, who is where, when to dial, when to ask.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::hive::Hive;
use crate::hive::meta;
use crate::hive::outside::{Beacon, HiveEffect, Sighting};
use crate::hive::writer::AfterSave;
use crate::id::NodeId;
use crate::time::{Instant, Now, Span, WallTime};

/// First and longest pause between two dials, and between two questions to the network. A guess, from
/// the prompt return of a machine that slept and the cost of a handshake (`research/transport.md` 3.1).
const BACKOFF_MIN: Span = Span::from_secs(1);
const BACKOFF_MAX: Span = Span::from_secs(300);

/// The greater key waits this long before it dials, so that mostly one connection is made.
const POLITE: Span = Span::from_ms(300);

/// A dial that was never answered is forgotten after this.
const DIAL_PATIENCE: Span = Span::from_secs(30);

/// Addresses remembered per member; the newest first.
const ADDRESSES_MAX: usize = 4;

/// Machines remembered that were heard on the network.
const NEARBY_MAX: usize = 64;

/// How long a member that misbehaved is not spoken with. Source: `research/security.md` 4.6.
const SHUNNED: Span = Span::from_secs(600);

/// Frames a peer may send at once, and one more per this span. Source: `research/security.md` 4.6 has
/// 200 at 50/s; this is more because catching up may take four frames for each of 256 authors.
const BURST: u64 = 1_024;
const FRAME_GAP: Span = Span::from_ms(10);

const DAY_MS: u64 = 86_400_000;

#[derive(Debug)]
pub(super) struct Links {
    peers: BTreeMap<NodeId, Peer>,
    known: BTreeMap<NodeId, Known>,
    pub(super) first_up: BTreeMap<NodeId, Instant>,
    pub(super) nearby: BTreeMap<SocketAddr, Seen>,
    asked: Option<Instant>,
    seek_at: Option<Instant>,
    seek_pause: Span,
    said: Option<Beacon>,
    /// When the beacon's day ends.
    tomorrow: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    misdeeds: u32,
    parts: Vec<u8>,
    /// The moment up to which its frames are paid for.
    paid_until: Instant,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<SocketAddr>,
    pause: Span,
    dial_at: Option<Instant>,
    /// It misbehaved: no word with it before this moment.
    shunned_until: Option<Instant>,
}

/// A machine heard on the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) member: Option<NodeId>,
    pub(super) locator: Option<[u8; 4]>,
    pub(super) at: Instant,
    pub(super) after: Span,
}

impl Links {
    pub(super) fn new(addresses: BTreeMap<NodeId, Vec<SocketAddr>>) -> Self {
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
            said: None,
            tomorrow: None,
        }
    }

    pub(super) fn connected(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    pub(super) fn any_connected(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(super) fn is_connected(&self, peer: NodeId) -> bool {
        self.peers.contains_key(&peer)
    }

    pub(super) fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        let now = self.peers.get(&peer).map(|peer| peer.address);
        now.or_else(|| self.known.get(&peer)?.addresses.first().copied())
    }

    pub(super) fn drop_peer(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// Forgets a machine that was removed; whether its addresses were known.
    pub(super) fn forget(&mut self, node: NodeId) -> bool {
        self.first_up.remove(&node);
        for seen in self.nearby.values_mut() {
            seen.member = seen.member.filter(|member| *member != node);
        }
        self.known.remove(&node).is_some()
    }

    /// Those whose addresses are known.
    pub(super) fn located(&self) -> Vec<NodeId> {
        self.known.keys().copied().collect()
    }

    /// Forgets where those are who do not belong any more.
    pub(super) fn retain(&mut self, allowed: &[NodeId]) {
        self.known.retain(|node, _| allowed.contains(node));
    }

    pub(super) fn buffer(&mut self, peer: NodeId) -> Option<&mut Vec<u8>> {
        Some(&mut self.peers.get_mut(&peer)?.parts)
    }

    pub(super) fn count_misdeed(&mut self, peer: NodeId) -> Option<u32> {
        let peer = self.peers.get_mut(&peer)?;
        peer.misdeeds += 1;
        Some(peer.misdeeds)
    }

    /// Whether a frame came faster than any honest member sends.
    pub(super) fn floods(&mut self, peer: NodeId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&peer) else {
            return false;
        };
        peer.paid_until = peer.paid_until.max(now).after(FRAME_GAP);
        peer.paid_until.since(now).0 > FRAME_GAP.0 * BURST
    }

    /// Speaks no more with a member for a while.
    pub(super) fn shun(&mut self, peer: NodeId, now: Instant) {
        self.peers.remove(&peer);
        let until = now.after(SHUNNED);
        let known = self
            .known
            .entry(peer)
            .or_insert_with(|| Known::at(Vec::new()));
        known.shunned_until = Some(until);
        known.dial_at = (!known.addresses.is_empty()).then_some(until);
    }

    pub(super) fn is_shunned(&self, peer: NodeId, now: Instant) -> bool {
        let known = self.known.get(&peer);
        known.is_some_and(|known| known.shunned_until.is_some_and(|until| now < until))
    }

    /// Adds an address in front; whether anything changed.
    pub(super) fn learn(&mut self, node: NodeId, address: SocketAddr) -> bool {
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
    pub(super) fn inviters(&self, locator: [u8; 4]) -> Vec<SocketAddr> {
        let holds = |seen: &Seen| seen.locator == Some(locator);
        let found = self.nearby.iter().filter(|(_, seen)| holds(seen));
        found.map(|(address, _)| *address).collect()
    }

    fn remember(&mut self, address: SocketAddr, seen: Seen) {
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
    fn at(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            pause: BACKOFF_MIN,
            dial_at: None,
            shunned_until: None,
        }
    }
}

impl Hive {
    /// None of the addresses answered with the right key.
    pub fn on_dial_failed(&mut self, now: Now, peer: NodeId) {
        if self.links.is_connected(peer) || !self.is_allowed(peer) {
            return;
        }
        if let Some(known) = self.links.known.get_mut(&peer) {
            let jitter = Span(self.chance.below(known.pause.0 / 4 + 1));
            known.dial_at = Some(now.boot.after(known.pause).after(jitter));
            known.pause = longer(known.pause);
        }
        self.look_for_missing(now);
    }

    /// Somebody was heard on the network: a hint where a member or an inviter is.
    pub fn on_found(&mut self, now: Now, sighting: Sighting) {
        let member = self.recognise(&sighting.beacon, now.wall);
        let after = self
            .links
            .asked
            .map_or(Span(0), |asked| now.boot.since(asked));
        let seen = Seen {
            member,
            locator: sighting.beacon.locator,
            at: now.boot,
            after,
        };
        self.links.remember(sighting.address, seen);
        if let Some(node) = member {
            self.links.learn(node, sighting.address);
            if !self.links.is_connected(node) {
                let wait = if self.me < node { Span(0) } else { POLITE };
                self.plan_dial(node, now.boot.after(wait));
                self.on_link_time(now);
            }
        }
        self.on_inviter_found(now, sighting);
    }

    /// An interface changed or the machine woke: everything may be elsewhere now.
    pub fn on_network_changed(&mut self, now: Now) {
        for (node, known) in &mut self.links.known {
            known.pause = BACKOFF_MIN;
            // A dial that was put off for minutes is due again, and one under way may be in vain.
            if !self.links.peers.contains_key(node) {
                known.dial_at = None;
            }
        }
        self.links.seek_pause = BACKOFF_MIN;
        self.links.seek_at = None;
        self.look_for_missing(now);
        self.on_link_time(now);
    }

    pub(super) fn start_links(&mut self, now: Now) {
        self.look_for_missing(now);
        self.say_beacon(now);
        self.on_link_time(now);
    }

    pub(super) fn link_up(&mut self, now: Now, peer: NodeId, address: SocketAddr) {
        let fresh = Peer {
            address,
            misdeeds: 0,
            parts: Vec::new(),
            paid_until: now.boot,
        };
        self.links.peers.insert(peer, fresh);
        self.links.first_up.entry(peer).or_insert(now.boot);
        let moved = self.links.learn(peer, address);
        if let Some(known) = self.links.known.get_mut(&peer) {
            known.pause = BACKOFF_MIN;
            known.dial_at = None;
            if moved {
                let record = meta::addresses(peer, Some(&known.addresses));
                self.save(alloc::vec![record], AfterSave::Nothing);
            }
        }
        self.look_for_missing(now);
    }

    /// Whether the connection was known.
    pub(super) fn link_down(&mut self, now: Now, peer: NodeId) -> bool {
        let known = self.links.peers.remove(&peer).is_some();
        if self.is_allowed(peer) {
            let wait = if self.me < peer { Span(0) } else { POLITE };
            self.plan_dial(peer, now.boot.after(BACKOFF_MIN).after(wait));
            self.look_for_missing(now);
        }
        known
    }

    /// Dials who is due and asks the network while somebody is missing.
    pub(super) fn on_link_time(&mut self, now: Now) {
        let mut due = Vec::new();
        for (node, known) in &mut self.links.known {
            if known.dial_at.is_some_and(|at| at <= now.boot) {
                known.dial_at = Some(now.boot.after(DIAL_PATIENCE).after(known.pause));
                due.push((*node, known.addresses.clone()));
            }
        }
        for (peer, mut addresses) in due {
            addresses.extend(self.fixed.iter().copied());
            let reachable =
                self.is_allowed(peer) && !self.links.is_connected(peer) && !self.is_out();
            if reachable && !addresses.is_empty() {
                self.outbox.push_back(HiveEffect::Dial { peer, addresses });
            } else if let Some(known) = self.links.known.get_mut(&peer) {
                known.dial_at = None;
            }
        }
        if self.links.seek_at.is_some_and(|at| at <= now.boot) {
            self.ask_network(now);
            self.links.seek_at = Some(now.boot.after(self.links.seek_pause));
            self.links.seek_pause = longer(self.links.seek_pause);
        }
        if self.links.said.is_some() {
            self.say_beacon(now);
        }
    }

    pub(super) fn links_wake(&self) -> Option<Instant> {
        let dials = self.links.known.values().filter_map(|known| known.dial_at);
        dials
            .chain(self.links.seek_at)
            .chain(self.links.tomorrow)
            .min()
    }

    /// Plans dials and questions for members that are not connected; nothing when all are.
    pub(super) fn look_for_missing(&mut self, now: Now) {
        let gone = self.is_out();
        let missing: Vec<NodeId> = self
            .allowed
            .iter()
            .filter(|node| !gone && !self.links.is_connected(**node))
            .copied()
            .collect();
        if missing.is_empty() {
            self.links.seek_at = None;
            self.links.seek_pause = BACKOFF_MIN;
            return;
        }
        if self.links.seek_at.is_none() {
            self.links.seek_at = Some(now.boot);
        }
        for node in missing {
            let wait = if self.me < node { Span(0) } else { POLITE };
            self.plan_dial(node, now.boot.after(wait));
        }
    }

    pub(super) fn ask_network(&mut self, now: Now) {
        self.links.asked = Some(now.boot);
        self.outbox.push_back(HiveEffect::Seek);
    }

    pub(super) fn say_beacon(&mut self, now: Now) {
        let beacon = Beacon {
            tag: tag(&self.secret, self.me, now.wall.0 / DAY_MS),
            locator: self.door.locator(now.boot),
        };
        let left = DAY_MS - now.wall.0 % DAY_MS;
        self.links.tomorrow = Some(now.boot.after(Span::from_ms(left)));
        if self.links.said != Some(beacon) {
            self.links.said = Some(beacon);
            self.outbox.push_back(HiveEffect::Beacon(beacon));
        }
    }

    /// Plans a dial unless one is planned or under way. Who was removed dials nobody.
    fn plan_dial(&mut self, node: NodeId, at: Instant) {
        if self.is_out() {
            return;
        }
        let fixed = !self.fixed.is_empty();
        let known = self
            .links
            .known
            .entry(node)
            .or_insert_with(|| Known::at(Vec::new()));
        if known.dial_at.is_none() && (fixed || !known.addresses.is_empty()) {
            let shunned = known.shunned_until.unwrap_or(Instant::START);
            known.dial_at = Some(at.max(shunned));
        }
    }

    /// Which member says this; clocks may be a day apart.
    fn recognise(&self, beacon: &Beacon, wall: WallTime) -> Option<NodeId> {
        let day = wall.0 / DAY_MS;
        let days = [day.saturating_sub(1), day, day + 1];
        let is = |node: &NodeId| {
            days.iter()
                .any(|day| tag(&self.secret, *node, *day) == beacon.tag)
        };
        self.allowed.iter().copied().find(is)
    }
}

fn tag(secret: &[u8; 32], node: NodeId, day: u64) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(b"mdns-tag");
    hasher.update(&node.0);
    hasher.update(&day.to_le_bytes());
    let mut tag = [0; 8];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    tag
}

fn longer(pause: Span) -> Span {
    Span((pause.0 * 2).min(BACKOFF_MAX.0))
}
