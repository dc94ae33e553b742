//! How machines find and reach each other: sightings, dials, handshakes, pairing conversations.

use std::net::SocketAddr;

use hive_core::event::Input;
use hive_core::hive::outside::Sighting;
use hive_core::id::NodeId;

use super::{Event, World};
use crate::attacks::Attack;
use crate::net::{ConnId, HostId};
use crate::queue::Moment;

/// Round trips of a TLS 1.3 handshake over QUIC until both sides know the other, in one-way delays.
const HANDSHAKE_DELAYS: u64 = 3;

/// How long a dial waits for an answer: the application time-out of DESIGN section 5 is 1 s.
const DIAL_TIMEOUT_US: u64 = 1_000_000;

impl World {
    /// Dials and handshakes that are due.
    pub(super) fn reach(&mut self, event: Event) {
        match event {
            Event::Dialled {
                host,
                life,
                peer,
                addresses,
            } if self.lives(host, life) => {
                self.dialled(host, peer, &addresses);
            }
            Event::DialFailed { host, life, peer } if self.lives(host, life) => {
                self.feed(host, Input::DialFailed { peer });
            }
            Event::HandOver {
                host,
                life,
                peer,
                address,
                frames,
            } if self.lives(host, life) => {
                self.hand_over(host, peer, address, frames);
            }
            Event::LetGo { host, life, conn } if self.lives(host, life) => {
                self.break_off(conn, Some(host));
            }
            Event::PairDialled {
                host,
                life,
                address,
                expect,
            } if self.lives(host, life) => {
                self.pair_dialled(host, address, expect);
            }
            // What was under way for a daemon that has died since.
            _ => {}
        }
    }

    pub(super) fn seek(&mut self, id: HostId) {
        for other in self.ids() {
            let reachable = self.net.both_ways(id, other) && self.hosts[other.0].is_on();
            let beacon = self.hosts[other.0]
                .beacon
                .filter(|_| reachable && other != id);
            let Some(beacon) = beacon else {
                continue;
            };
            let address = self.hosts[other.0].address;
            let life = self.hosts[id.0].life;
            for wait in self.net.sightings(self.now) {
                let sighting = Sighting { beacon, address };
                let at = self.now.after(wait);
                self.queue.plan(
                    at,
                    Event::Found {
                        host: id,
                        life,
                        sighting,
                    },
                );
            }
        }
    }

    pub(super) fn after_handshake(&mut self) -> Moment {
        let wait: u64 = (0..HANDSHAKE_DELAYS).map(|_| self.net.delay()).sum();
        self.now.after(wait)
    }

    pub(super) fn at_address(&self, from: HostId, address: SocketAddr) -> Option<HostId> {
        let there = |other: &HostId| {
            let host = self.host(*other);
            *other != from
                && host.address == address
                && host.is_on()
                && self.net.both_ways(from, *other)
        };
        self.ids().find(there)
    }

    pub(super) fn dialled(&mut self, id: HostId, peer: NodeId, addresses: &[SocketAddr]) {
        let me = self.hosts[id.0].key;
        if self.host(id).liar.is_some() && self.witness.is_removed(me) {
            self.attacks.add(Attack::RemovedMember.name());
        }
        if let Some(conn) = self.hosts[id.0].conns.get(&peer)
            && self.net.ends(*conn).is_some()
        {
            return;
        }
        let there: Vec<HostId> = addresses
            .iter()
            .filter_map(|a| self.at_address(id, *a))
            .collect();
        // The handshake ends well only with the key that was wanted, and only if each side lists the other.
        let wanted = |other: &HostId| {
            self.host(*other).key == peer && self.hosts[id.0].allowed.contains(&peer)
        };
        let found = there.iter().copied().find(wanted);
        let lets_in = |other: &HostId| self.host(*other).allowed.contains(&me);
        if let Some(other) = found.filter(|other| !lets_in(other)) {
            let address = self.hosts[other.0].address;
            self.feed(id, Input::DialRefused { peer, address });
            return;
        }
        let Some(other) = found else {
            let address = self.hosts[id.0].address;
            for other in there {
                self.feed(other, Input::Misdialled { address });
            }
            let at = self.now.after(DIAL_TIMEOUT_US);
            let life = self.hosts[id.0].life;
            self.queue.plan(
                at,
                Event::DialFailed {
                    host: id,
                    life,
                    peer,
                },
            );
            return;
        };
        self.meet(id, other);
    }

    /// A handshake between these two ended well; of two connections the newer one stays.
    pub(super) fn meet(&mut self, id: HostId, other: HostId) {
        let conn = self.net.connect(id, other);
        for (end, far) in [(id, other), (other, id)] {
            let peer = self.hosts[far.0].key;
            let address = self.hosts[far.0].address;
            if self.hosts[end.0].conns.remove(&peer).is_some() {
                self.feed(end, Input::PeerDown { peer });
            }
            if !self.hosts[end.0].is_on() {
                continue;
            }
            self.hosts[end.0].conns.insert(peer, conn);
            self.note(b"up", end, &peer.0);
            self.feed(end, Input::PeerUp { peer, address });
            for (late, bytes) in self.net.ghosts(far, end) {
                let at = self.now.after(late);
                self.queue.plan(
                    at,
                    Event::Ghost {
                        conn,
                        from: far,
                        bytes,
                    },
                );
            }
        }
    }

    pub(super) fn pair_dialled(&mut self, id: HostId, address: SocketAddr, expect: Option<NodeId>) {
        let found = self.at_address(id, address).filter(|other| {
            let host = self.host(*other);
            host.pair_open && expect.is_none_or(|key| key == host.key)
        });
        let Some(other) = found else {
            self.feed(id, Input::PairDialFailed { address });
            return;
        };
        self.pair(id, other);
    }

    /// Begins a pairing conversation.
    pub(crate) fn pair(&mut self, dialler: HostId, other: HostId) -> ConnId {
        let conn = self.net.connect(dialler, other);
        let exporter = self.dice.secret();
        for (end, far) in [(dialler, other), (other, dialler)] {
            let link = self.hosts[end.0].next_link();
            self.hosts[end.0].pairs.insert(link, conn);
            let input = Input::PairUp {
                link,
                key: self.hosts[far.0].key,
                exporter,
                address: self.hosts[far.0].address,
                dialled: end == dialler,
            };
            self.note(b"pair up", end, &exporter);
            self.feed(end, input);
        }
        conn
    }
}
