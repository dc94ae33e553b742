//! Machines that get a new key, and others that go on with an old one.

use std::net::SocketAddr;

use hive_core::event::Input;
use hive_core::hive::outside::Lane;
use hive_core::id::NodeId;
use hive_core::reply::NewKey;

use super::{Event, World};
use crate::attacks::Attack;
use crate::faults::Fault;
use crate::host::Loot;
use crate::net::{HostId, Parcel};

/// How long a connection for the last word of an old key is kept: `HEARD_FOR` of `hive-mind`'s `net/dial.rs`.
const HANDED_OVER_US: u64 = 5_000_000;

impl World {
    /// Writes down a machine's next key; none if one waits for the next start already.
    pub fn write_next_key(&mut self, id: HostId, secret: [u8; 32]) -> Option<NewKey> {
        self.hosts[id.0].write_next_key(secret)
    }

    /// A machine's next key was refused.
    pub fn forget_next_key(&mut self, id: HostId) {
        self.hosts[id.0].forget_next_key();
    }

    /// A daemon is ended in order and started again after so many milliseconds.
    pub fn restart(&mut self, id: HostId, away_ms: u64) {
        self.switch_off(id);
        let at = self.now.after(away_ms * 1_000);
        self.queue.plan(at, Event::Start(id));
    }

    /// A machine that is off becomes the double of another one, and is switched on.
    pub fn go_on_as(&mut self, id: HostId, loot: &Loot) {
        self.attacks.add(Attack::StolenKey.name());
        self.hosts[id.0].pretend(loot);
        let short = self.hosts[id.0].key.short();
        self.witness.liars.insert(short);
        self.switch_on(id);
    }

    /// Whether a machine would let this key in.
    #[must_use]
    pub fn allows(&self, id: HostId, key: NodeId) -> bool {
        self.hosts[id.0].allowed.contains(&key)
    }

    /// A machine connects once under the key that it had before, and says what its new key says.
    pub(super) fn hand_over(
        &mut self,
        id: HostId,
        peer: NodeId,
        there: SocketAddr,
        frames: Vec<Vec<u8>>,
    ) {
        let Some(old) = self.hosts[id.0].key_before() else {
            return;
        };
        let Some(other) = self.at_address(id, there).filter(|other| {
            let host = self.host(*other);
            host.key == peer && host.allowed.contains(&old)
        }) else {
            return;
        };
        self.faults.add(Fault::KeyUnheard);
        let conn = self.net.connect_under_old_key(id, other);
        if self.hosts[other.0].conns.remove(&old).is_some() {
            self.feed(other, Input::PeerDown { peer: old });
        }
        if !self.hosts[other.0].is_on() {
            return;
        }
        self.hosts[other.0].conns.insert(old, conn);
        self.note(b"old key up", other, &old.0);
        let address = self.hosts[id.0].address;
        self.feed(other, Input::PeerUp { peer: old, address });
        let honest = self.hosts[id.0].liar.is_none();
        for frame in frames {
            if honest {
                self.witness.saw_frame(&frame);
                self.witness.saw_sent(&self.hosts[id.0], peer, &frame);
            }
            self.post(conn, id, Lane::Urgent, Parcel::honest(frame));
        }
        let life = self.hosts[id.0].life;
        let let_go = Event::LetGo {
            host: id,
            life,
            conn,
        };
        self.queue.plan(self.now.after(HANDED_OVER_US), let_go);
    }

    /// Before a daemon starts: whether it has a new key.
    pub(super) fn settle_key(&mut self, id: HostId) {
        if !self.hosts[id.0].settle_key() {
            return;
        }
        self.faults.add(Fault::NewKey);
        let key = self.hosts[id.0].key;
        self.note(b"new key", id, &key.0);
        // Nobody takes what was said over another key's connection for its word.
        self.net.forget_ghosts(id);
    }
}
