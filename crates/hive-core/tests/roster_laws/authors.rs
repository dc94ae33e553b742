//! Authors who say what a test wants, and a real hive that hears it in any order.

use std::net::SocketAddr;

use hive_core::chance::Chance;
use hive_core::hive::outside::{Record, Table};
use hive_core::hive::store::{AuthorMap, Store};
use hive_core::hive::{Hive, HiveConfig};
use hive_core::id::NodeId;
use hive_core::reply::StatusView;
use hive_core::signed::KeyPair;
use hive_core::statement::{Admit, Label, Profile, Revoke, Role, Rotate, Statement};
use hive_core::time::{Hlc, Instant, Now, WallTime};
use hive_core::wire::{Frame, Genesis};

/// The recovery key's number: no machine has it.
const RECOVERY: usize = 60_000;

pub(crate) struct Author {
    key: KeyPair,
    incarnation: u32,
    own: Store,
}

fn secret(n: usize) -> [u8; 32] {
    let mut secret = [3; 32];
    secret[..8].copy_from_slice(&(n as u64).to_le_bytes());
    secret
}

pub(crate) fn node(n: usize) -> NodeId {
    KeyPair::from_secret(&secret(n)).node()
}

pub(crate) fn genesis(recovery: bool) -> Genesis {
    Genesis {
        format: 1,
        founder: node(0),
        recovery: recovery.then(|| node(RECOVERY)),
        nonce: [5; 16],
    }
}

pub(crate) fn admit(n: usize, role: Role) -> Statement {
    Statement::Admit(Admit {
        node: node(n),
        role,
        owner: node(0),
    })
}

pub(crate) fn revoke(n: usize) -> Statement {
    let (node, keep) = (node(n), None);
    Statement::Revoke(Revoke { node, keep })
}

impl Author {
    pub(crate) fn new(n: usize, genesis: &Genesis) -> Self {
        Self::in_incarnation(n, genesis, 1)
    }

    pub(crate) fn in_incarnation(n: usize, genesis: &Genesis, incarnation: u32) -> Self {
        Self {
            key: KeyPair::from_secret(&secret(n)),
            incarnation,
            own: Store::new(genesis.hive()),
        }
    }

    pub(crate) fn recovery(genesis: &Genesis) -> Self {
        Self::new(RECOVERY, genesis)
    }

    pub(crate) fn node(&self) -> NodeId {
        self.key.node()
    }

    /// Its map; it has said something.
    pub(crate) fn map(&self) -> &AuthorMap {
        self.said().expect("it said something")
    }

    /// Its map, if it has said anything.
    pub(crate) fn said(&self) -> Option<&AuthorMap> {
        self.own.map(self.key.node())
    }

    /// One batch.
    pub(crate) fn say(&mut self, statements: Vec<Statement>) {
        let before = self.said();
        let hlc = Hlc(before.map_or(1, |map| map.head().hlc.0 + 1));
        self.say_at(hlc, statements);
    }

    /// One batch at this time.
    pub(crate) fn say_at(&mut self, hlc: Hlc, statements: Vec<Statement>) {
        let changes = statements
            .into_iter()
            .map(|it| (it.key(), Some(it.encode())))
            .collect();
        let map = self.own.draft(&self.key, self.incarnation, hlc, changes);
        self.own.insert(map.expect("small"));
    }

    pub(crate) fn introduce(&mut self, n: usize) {
        let label = Label::new(&format!("machine {n}")).expect("a label");
        self.say(vec![Statement::Profile(Profile { label })]);
    }

    /// Takes the place of another key, which signs it too.
    pub(crate) fn take_over(&mut self, old: &Self) {
        let keep = old.map().head_ref();
        let word = Rotate::new(&old.key, &self.key, self.own.hive(), keep);
        self.say(vec![Statement::Rotate(word)]);
    }

    /// Repeats another key's word on whose place it has.
    pub(crate) fn vouch(&mut self, heir: &AuthorMap) {
        let word = heir.member_statements().map(|(_, statement)| statement);
        let word = word.filter(|it| matches!(it, Statement::Rotate(_)));
        self.say(word.collect());
    }

    /// Somebody else has the key now, and goes on under a new incarnation; or starts anew under the lowest
    /// numbers, as if everything had been said long ago.
    pub(crate) fn steal(&mut self, backdated: bool) {
        self.incarnation = 900;
        if backdated {
            self.own = Store::new(self.own.hive());
        }
    }
}

/// A real hive that is fed by whoever is a member in its own eyes.
pub(crate) struct Observer {
    hive: Hive,
    now: Now,
}

impl Observer {
    pub(crate) fn new(me: NodeId, genesis: &Genesis) -> Self {
        let now = Now {
            boot: Instant(1_000_000),
            wall: WallTime(1_700_000_000_000),
        };
        let n = (0..200).find(|n| node(*n) == me).expect("a machine");
        let config = HiveConfig {
            key: KeyPair::from_secret(&secret(n)),
            label: Some(Label::new("watcher").expect("a label")),
            peers: Vec::new(),
        };
        let bytes = |value: &[u8]| value.to_vec();
        let record = |key: &[u8], value: Vec<u8>| Record {
            table: Table::Meta,
            key: key.to_vec(),
            value: Some(value),
        };
        let records = [
            record(
                b"genesis",
                postcard::to_allocvec(genesis).expect("in memory"),
            ),
            record(b"secret", bytes(&[7; 32])),
        ];
        let mut hive = Hive::new(config, &records, Chance::from_seed(secret(n)), now);
        hive.on_start(now);
        Self { hive, now }
    }

    /// Hears every map several times, each time in another order, as probes would bring them.
    pub(crate) fn hear_all(&mut self, maps: &[&AuthorMap], relays: &[NodeId], seed: u64) {
        let address: SocketAddr = "10.0.0.1:4483".parse().expect("an address");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut chance = Chance::from_seed(bytes);
        let me = self.hive.me();
        for _ in 0..6 {
            let mut left: Vec<&AuthorMap> = maps.to_vec();
            while !left.is_empty() {
                let members = self.members();
                let relay = relays
                    .iter()
                    .find(|it| **it != me && members.contains(&format!("{it}")))
                    .expect("never alone");
                let relay = *relay;
                self.hive.on_peer_up(self.now, relay, address);
                let pick = usize::try_from(chance.below(left.len() as u64)).expect("small");
                let frame = Frame::Delta(left.swap_remove(pick).delta(None));
                self.hive.on_received(self.now, relay, &frame.encode());
            }
        }
        while self.hive.poll().is_some() {}
    }

    /// Ids of the members, the most senior first.
    pub(crate) fn members(&self) -> Vec<String> {
        let view = self.hive.members(self.now);
        view.members.into_iter().map(|it| it.node).collect()
    }

    /// The hash over everything that members must hold alike.
    pub(crate) fn view(&self) -> String {
        let mut status = StatusView::default();
        self.hive.fill_status(self.now, &mut status);
        status.view
    }
}
