//! Machines that get a new key, and others that go on with an old one.

use hive_core::id::NodeId;
use hive_core::reply::NewKey;

use super::{Event, World};
use crate::attacks::Attack;
use crate::faults::Fault;
use crate::host::Loot;
use crate::net::HostId;

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

    /// Whether what a machine says now reaches another one.
    #[must_use]
    pub fn is_heard(&self, id: HostId) -> bool {
        let reaches = |other: HostId| {
            other != id && self.host(other).is_awake() && self.net.both_ways(id, other)
        };
        let conns = self.hosts[id.0].conns.values();
        let ends = conns.filter_map(|conn| self.net.ends(*conn));
        ends.into_iter().any(|ends| ends.into_iter().any(reaches))
    }

    /// Whether a machine would let this key in.
    #[must_use]
    pub fn allows(&self, id: HostId, key: NodeId) -> bool {
        self.hosts[id.0].allowed.contains(&key)
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
