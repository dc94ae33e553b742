//! Whose key counts: machines that get a new one, thieves that go on with an old one, liars that are removed.

use hive_core::event::Command;
use hive_core::id::NodeId;
use hive_core::reply::Reply;
use hive_core::signed::KeyPair;

use super::{HOUR_MS, Life};
use crate::check::converged::{self, Shown};
use crate::dice::Dice;
use crate::host::Loot;
use crate::liar::{Forger, Liar, Lie};
use crate::net::HostId;
use crate::scenario::agenda::Deed;
use crate::stories::Failure;

/// What a thief says with the key that it has.
const OF_A_THIEF: [Lie; 6] = [
    Lie::ForkedState,
    Lie::TwoFaced,
    Lie::FarFuture,
    Lie::TopIncarnation,
    Lie::AdmitsSybils,
    Lie::RemovesSeniors,
];

/// Frames of a thief in 1,000 with which it lies: it has little time.
const OF_A_THIEF_PERMILLE: u64 = 300;

/// A person waits at most this long until others have heard of a new key: `HEARD` of `hive rotate`.
const HEARD_MS: u64 = 3_000;

impl Life<'_> {
    /// A machine hands its place over to a new key and is started anew. At times somebody has copied it just before.
    /// Whether anybody hears of it is chance: the others may be asleep, and it may die over it (decision 0054).
    pub(super) fn new_key(&mut self, nth: usize) -> Result<(), Failure> {
        let host = self.members[nth];
        if !self.world.host(host).is_awake() {
            return Ok(());
        }
        let dice = self.dice("new_key");
        let secret = dice.secret();
        let (heard_ms, away_ms) = (dice.below(HEARD_MS), dice.between(50, 5_000));
        let stolen = dice.permille(500);
        let loot = self.world.host(host).loot();
        let Some(key) = self.world.write_next_key(host, secret) else {
            return Ok(());
        };
        let new = KeyPair::from_secret(&secret).node();
        self.will_be_known(host, new);
        match self.world.ask(host, Command::Rotate { key }) {
            Ok(Reply::Rotated(_)) => {}
            Ok(Reply::Refused(_)) => {
                self.world.forget_next_key(host);
                return Ok(());
            }
            Ok(_) => return Err(Failure::unexpected("rotate", host)),
            // The next start finds out whether the new key has spoken.
            Err(Failure::Liveness(_)) if !self.world.host(host).is_on() => return Ok(()),
            Err(other) => return Err(other),
        }
        let members = self.members.clone();
        self.world.run_until(HEARD_MS, |world| {
            members.iter().any(|id| world.allows(*id, new))
        })?;
        self.world.run_ms(heard_ms)?;
        if self.world.host(host).is_on() {
            self.world.restart(host, away_ms);
        }
        if stolen && self.honest.contains(&host) && nth > 0 {
            self.steal(&loot)?;
        }
        Ok(())
    }

    /// A key that may come to belong, because a machine that belongs made it.
    fn will_be_known(&mut self, host: HostId, key: NodeId) {
        if let Some(known) = &mut self.world.witness.known {
            known.insert(key);
        }
        if self.liars.contains(&host) {
            self.world.witness.liars.insert(key.short());
        }
    }

    /// Somebody goes on with a copy of a machine, never the founder's: what its stolen key can do where nobody has heard
    /// of the new one yet is a known limit (decision 0037).
    fn steal(&mut self, loot: &Loot) -> Result<(), Failure> {
        let Some(thief) = self.thieves.pop() else {
            return Ok(());
        };
        self.world.go_on_as(thief, loot);
        let host = self.world.host(thief);
        let genesis = host.genesis();
        let genesis = genesis.ok_or_else(|| Failure::Liveness("a member without a hive".into()))?;
        let forger = Forger::new(host.stolen_key(), genesis.hive(), genesis.founder);
        let dice = Dice::new(self.world.seed(), &format!("thief {}", thief.0));
        let liar = Liar::new(OF_A_THIEF.to_vec(), OF_A_THIEF_PERMILLE, dice).with_key(forger);
        self.world.host_mut(thief).liar = Some(liar);
        Ok(())
    }

    /// A liar is removed, by the key that the founder knows of it.
    pub(super) fn remove(&mut self, nth: usize) -> Result<(), Failure> {
        let founder = self.members[0];
        let Some(liar) = self.liars.get(nth).copied() else {
            return Ok(());
        };
        if !self.world.host(founder).is_awake() {
            self.remove_later(nth);
            return Ok(());
        }
        let shown = match converged::shows(self.world, founder) {
            Ok(shown) => shown.members,
            // The daemon died while it answered: the person looks again later.
            Err(Failure::Liveness(_)) if !self.world.host(founder).is_on() => {
                self.remove_later(nth);
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let mut keys: Vec<NodeId> = self.world.host(liar).keys().collect();
        keys.retain(|key| shown.contains(&format!("{key}")));
        let Some(key) = keys.pop() else {
            self.remove_later(nth);
            return Ok(());
        };
        let command = Command::Remove {
            who: key.short(),
            compromised: self.dice("removed").permille(500),
        };
        match self.world.ask(founder, command) {
            Ok(Reply::Done(_)) => {}
            Ok(_) => return Err(Failure::unexpected("remove", founder)),
            // The founder's daemon died over it: the person asks again.
            Err(Failure::Liveness(_)) if !self.world.host(founder).is_on() => {
                self.remove_later(nth);
                return Ok(());
            }
            Err(other) => return Err(other),
        }
        self.removed += 1;
        self.world.witness.removed_at.insert((founder, key));
        Ok(())
    }

    fn remove_later(&mut self, nth: usize) {
        let at = self.world.now().after(HOUR_MS * 1_000);
        self.agenda.plan(at, Deed::Remove(nth));
    }

    /// No honest machine's old key is shown as a member. It is let in for a moment, to be told (decision 0052).
    pub(super) fn old_keys_are_out(&self, shown: &Shown) -> Result<(), Failure> {
        for owner in &self.honest {
            let host = self.world.host(*owner);
            let mut old = host.keys().filter(|key| *key != host.key);
            if let Some(key) = old.find(|key| shown.members.contains(&format!("{key}"))) {
                let what = format!(
                    "{}, an old key of machine {}, belongs",
                    key.short(),
                    owner.0
                );
                return Err(Failure::Correctness(what));
            }
        }
        Ok(())
    }
}
