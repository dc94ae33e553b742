//! Two members that find each other at the same moment make one connection and not two.
//!
//! A handshake that is thrown away costs both sides what a good one costs. Members dial from the port they listen
//! on, so the first packet of a dial tells by its address alone whose it is, long before a key is shown. If this
//! machine is dialling just there, the dial of the smaller key goes on and the other one is refused at its first
//! packet, by both ends alike. And who is about to dial where a handshake comes from lets that end first.
//!
//! An address can be forged. That costs a member a refused dial, which it repeats, or half a second before its own;
//! no connection is made that would not be made otherwise, and which of two stays is decided by keys as before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hive_core::id::NodeId;
use tokio::sync::watch;
use tokio::time::Instant;

/// First packets that come so long after the own one may have crossed it: a round trip. A guess, that of a far-away
/// home connection. Later ones come from somebody whom the own dial does not reach.
const ROUND_TRIP: Duration = Duration::from_millis(250);

/// A handshake from where one wants to dial is waited for so long. A guess: on a LAN it takes some ten milliseconds.
const HANDSHAKE_TAKES: Duration = Duration::from_millis(500);

/// Dials and handshakes that are under way.
#[derive(Clone, Debug)]
pub(super) struct Crossing {
    me: NodeId,
    dials: Arc<watch::Sender<BTreeMap<SocketAddr, Dial>>>,
    knocks: Arc<watch::Sender<BTreeMap<SocketAddr, u32>>>,
}

#[derive(Clone, Copy, Debug)]
struct Dial {
    peer: NodeId,
    began: Instant,
}

/// A dial of this machine, until this is dropped.
#[derive(Debug)]
pub(super) struct Dialling {
    crossing: Crossing,
    address: SocketAddr,
}

/// A handshake that somebody else began, until this is dropped.
#[derive(Debug)]
pub(super) struct Knocking {
    crossing: Crossing,
    address: SocketAddr,
}

impl Crossing {
    pub(super) fn new(me: NodeId) -> Self {
        Self {
            me,
            dials: Arc::new(watch::Sender::new(BTreeMap::new())),
            knocks: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    /// A member is dialled at an address, from now on.
    pub(super) fn dial(&self, peer: NodeId, address: SocketAddr) -> Dialling {
        let began = Instant::now();
        self.dials.send_modify(|dials| {
            dials.insert(address, Dial { peer, began });
        });
        Dialling {
            crossing: self.clone(),
            address,
        }
    }

    /// Somebody began a handshake from an address.
    pub(super) fn knock(&self, address: SocketAddr) -> Knocking {
        self.knocks.send_modify(|knocks| {
            *knocks.entry(address).or_default() += 1;
        });
        Knocking {
            crossing: self.clone(),
            address,
        }
    }

    /// Whether a first packet from there has crossed one of this machine's, which goes on.
    pub(super) fn is_refused(&self, address: SocketAddr, now: Instant) -> bool {
        let dials = self.dials.borrow();
        let own = dials.get(&address);
        own.is_some_and(|own| self.me < own.peer && now < own.began + ROUND_TRIP)
    }

    /// Whether a handshake from any of these addresses is under way.
    pub(super) fn is_under_way(&self, addresses: &[SocketAddr]) -> bool {
        any(&self.knocks.borrow(), addresses)
    }

    /// Waits for the end of all handshakes from these addresses, but not for long.
    pub(super) async fn wait(&self, addresses: &[SocketAddr]) {
        let mut knocks = self.knocks.subscribe();
        let over = knocks.wait_for(|knocks| !any(knocks, addresses));
        if tokio::time::timeout(HANDSHAKE_TAKES, over).await.is_err() {
            tracing::trace!("a handshake takes long; its machine is dialled as well");
        }
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.crossing.dials.send_modify(|dials| {
            dials.remove(&self.address);
        });
    }
}

impl Drop for Knocking {
    fn drop(&mut self) {
        self.crossing.knocks.send_modify(|knocks| {
            if let Some(count) = knocks.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    knocks.remove(&self.address);
                }
            }
        });
    }
}

fn any(knocks: &BTreeMap<SocketAddr, u32>, addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| knocks.contains_key(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: SocketAddr = SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        4483,
    );

    fn node(first: u8) -> NodeId {
        NodeId([first; 32])
    }

    #[test]
    fn of_two_that_dial_each_other_one_is_refused() {
        let (small, large) = (Crossing::new(node(1)), Crossing::new(node(2)));
        let now = Instant::now();
        assert!(!small.is_refused(HERE, now));
        let dials = (small.dial(node(2), HERE), large.dial(node(1), HERE));
        assert!(small.is_refused(HERE, now), "its own dial goes on");
        assert!(!large.is_refused(HERE, now), "it takes the other's");
        let later = Instant::now() + ROUND_TRIP;
        assert!(!small.is_refused(HERE, later), "its own dial gets nowhere");
        drop(dials);
        assert!(!small.is_refused(HERE, now));
    }

    #[tokio::test]
    async fn who_wants_to_dial_lets_a_handshake_end_first() {
        let crossing = Crossing::new(node(1));
        assert!(!crossing.is_under_way(&[HERE]));
        let knocks = (crossing.knock(HERE), crossing.knock(HERE));
        drop(knocks.0);
        assert!(crossing.is_under_way(&[HERE]));
        // One that never ends is waited for, but not for ever.
        crossing.wait(&[HERE]).await;
        assert!(crossing.is_under_way(&[HERE]));
        drop(knocks.1);
        crossing.wait(&[HERE]).await;
        assert!(!crossing.is_under_way(&[HERE]));
    }
}
