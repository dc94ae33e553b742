//! One machine of the world with everything that surrounds its node: address, clocks, disk, programs, and a person.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use hive_core::event_log::Happening;
use hive_core::hive::outside::{Beacon, Table};
use hive_core::id::{ChangeId, CommandId, LinkId, NodeId};
use hive_core::node::{Node, NodeConfig};
use hive_core::reply::{Mode, NewKey, Reply};
use hive_core::signed::KeyPair;
use hive_core::statement::Label;
use hive_core::wire::Genesis;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::{Backup, Disk};
use crate::faults::Faults;
use crate::liar::Liar;
use crate::machine::Machine;
use crate::net::{ConnId, HostId};
use crate::queue::Moment;
use hive_core::machine::Containers;

/// One machine.
pub struct Host {
    /// Which.
    pub id: HostId,
    /// Its key's public half.
    pub key: NodeId,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its clocks.
    pub clock: Clock,
    /// Its store.
    pub disk: Disk,
    /// Its programs.
    pub machine: Machine,
    /// What its owner has allowed.
    pub consent: Consent,
    /// What its owner was told, and when.
    pub told: Vec<(Moment, Happening)>,
    /// When it loses its life.
    pub doom: Doom,
    /// Who changes its frames on their way out, when it is a liar's.
    pub liar: Option<Liar>,
    /// How often its daemon was started.
    pub life: u32,
    /// Microseconds that its daemon has run.
    pub ran_us: u64,
    /// Of these, microseconds that the machine slept.
    pub slept_us: u64,
    /// Until when it sleeps.
    pub(crate) asleep_until: Option<Moment>,
    /// Until when its disk is full.
    pub(crate) full_until: Option<Moment>,
    /// Whether its next write fails.
    pub(crate) write_fails: bool,
    /// After how many more outputs the kernel ends its daemon.
    pub(crate) oom_after: Option<u64>,
    pub(crate) node: Option<Node>,
    pub(crate) started: Moment,
    pub(crate) wake: u64,
    /// When the host has carried out what it was asked so far: it does one thing after the other.
    pub(crate) hands_busy_until: Moment,
    /// Changes whose undoing was asked for: their acts are not begun any more.
    pub(crate) withdrawn: BTreeSet<ChangeId>,
    pub(crate) allowed: BTreeSet<NodeId>,
    pub(crate) beacon: Option<Beacon>,
    pub(crate) pair_open: bool,
    pub(crate) conns: BTreeMap<NodeId, ConnId>,
    pub(crate) pairs: BTreeMap<LinkId, ConnId>,
    pub(crate) links: u64,
    pub(crate) commands: u64,
    pub(crate) replies: BTreeMap<CommandId, Reply>,
    secret: [u8; 32],
    /// Keys that it had before, the first one first.
    old_keys: Vec<NodeId>,
    /// The key that shall take over.
    next_secret: Option<[u8; 32]>,
    label: Label,
    dice: Dice,
}

/// What somebody has who copied a machine's disk and key.
pub struct Loot {
    secret: [u8; 32],
    disk: Backup,
}

/// What the owner of a machine has allowed. The world holds the node to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent {
    /// How much the optimizer may do.
    pub mode: Mode,
    /// Whether it is paused.
    pub paused: bool,
    /// When a pause ends by itself.
    pub paused_until: Option<Moment>,
}

/// When a daemon dies, counted in its writes: the moments at which durability matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doom {
    /// At this write of the machine's whole life, counted from one.
    pub at_save: Option<u64>,
    /// Or at one of so many in 1,000.
    pub permille: u64,
    /// Deaths that are left.
    pub deaths: u32,
    /// Writes so far.
    pub saves: u64,
    /// Whether half of the write under way is found again.
    pub torn: bool,
}

impl Consent {
    /// Whether something may be turned on now.
    #[must_use]
    pub fn allows(&self, now: Moment) -> bool {
        let over = self.paused_until.is_some_and(|until| now >= until);
        self.mode == Mode::Auto && (!self.paused || over)
    }
}

impl Host {
    /// A machine that is switched off.
    #[must_use]
    pub fn new(id: HostId, label: &str, machine: Machine, clock: Clock, mut dice: Dice) -> Self {
        let secret = dice.secret();
        let [high, low] = u16::try_from(id.0 + 1).expect("few machines").to_be_bytes();
        Self {
            id,
            key: KeyPair::from_secret(&secret).node(),
            address: SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 4_483)),
            clock,
            disk: Disk::default(),
            machine,
            consent: Consent {
                mode: Mode::Auto,
                paused: false,
                paused_until: None,
            },
            told: Vec::new(),
            doom: Doom::default(),
            liar: None,
            life: 0,
            ran_us: 0,
            slept_us: 0,
            asleep_until: None,
            full_until: None,
            write_fails: false,
            oom_after: None,
            node: None,
            started: Moment::default(),
            wake: 0,
            hands_busy_until: Moment::default(),
            withdrawn: BTreeSet::new(),
            allowed: BTreeSet::new(),
            beacon: None,
            pair_open: false,
            conns: BTreeMap::new(),
            pairs: BTreeMap::new(),
            links: 0,
            commands: 0,
            replies: BTreeMap::new(),
            secret,
            old_keys: Vec::new(),
            next_secret: None,
            label: Label::new(label).expect("a label"),
            dice,
        }
    }

    /// Whether its daemon runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.node.is_some()
    }

    /// Whether its daemon runs and the machine is awake.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.is_on() && self.asleep_until.is_none()
    }

    /// Its key again, for whoever took the machine over.
    #[must_use]
    pub fn stolen_key(&self) -> KeyPair {
        KeyPair::from_secret(&self.secret)
    }

    /// All keys that it ever had, the last one last.
    pub fn keys(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.old_keys.iter().copied().chain([self.key])
    }

    /// The key that it had before the one in use, if it had one.
    pub(crate) fn key_before(&self) -> Option<NodeId> {
        self.old_keys.last().copied()
    }

    /// The keys as which its daemon may speak now: its own, and the one that takes over.
    pub(crate) fn speaks_as(&self) -> impl Iterator<Item = NodeId> + use<> {
        let node = |secret: &[u8; 32]| KeyPair::from_secret(secret).node();
        [Some(self.key), self.next_secret.as_ref().map(node)]
            .into_iter()
            .flatten()
    }

    /// A copy of everything that makes it what it is.
    #[must_use]
    pub fn loot(&self) -> Loot {
        Loot {
            secret: self.secret,
            disk: self.disk.backup(),
        }
    }

    /// Becomes another machine's double; it must be off.
    pub(crate) fn pretend(&mut self, loot: &Loot) {
        self.secret = loot.secret;
        self.key = KeyPair::from_secret(&loot.secret).node();
        self.disk.restore(&loot.disk, &mut Faults::default());
    }

    /// Writes down the key that shall take over; none if one is written down already.
    pub(crate) fn write_next_key(&mut self, secret: [u8; 32]) -> Option<NewKey> {
        if self.next_secret.is_some() {
            return None;
        }
        self.next_secret = Some(secret);
        Some(NewKey::new(secret))
    }

    /// The next key was refused, and told to nobody.
    pub(crate) fn forget_next_key(&mut self) {
        self.next_secret = None;
    }

    /// Before a start: the next key is used once the disk holds a word of it, and else forgotten. Whether the key is
    /// another one now.
    pub(crate) fn settle_key(&mut self) -> bool {
        let Some(next) = self.next_secret.take() else {
            return false;
        };
        let node = KeyPair::from_secret(&next).node();
        let has_spoken = self.disk.value(Table::Heads, &node.0).is_some();
        if has_spoken {
            self.old_keys.push(self.key);
            self.secret = next;
            self.key = node;
        }
        has_spoken
    }

    /// The first record of the hive that its disk knows.
    #[must_use]
    pub fn genesis(&self) -> Option<Genesis> {
        let value = self.disk.value(Table::Meta, b"genesis")?;
        postcard::from_bytes(value).ok()
    }

    /// Members that it is connected to, as far as it knows.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.conns.keys().copied()
    }

    /// What it answered to a command that nobody waited for.
    #[must_use]
    pub fn reply(&self, id: CommandId) -> Option<&Reply> {
        self.replies.get(&id)
    }

    /// Whether something like this was told.
    pub fn was_told(&self, like: impl Fn(&Happening) -> bool) -> bool {
        self.told.iter().any(|(_, happening)| like(happening))
    }

    /// When something like this was told first.
    pub fn told_at(&self, like: impl Fn(&Happening) -> bool) -> Option<Moment> {
        let first = self.told.iter().find(|(_, happening)| like(happening));
        first.map(|(at, _)| *at)
    }

    /// Starts a daemon from what the disk holds.
    pub(crate) fn start(&mut self, now: Moment) {
        self.life += 1;
        self.started = now;
        let config = NodeConfig {
            key: KeyPair::from_secret(&self.secret),
            facts: self.machine.facts.clone(),
            mode: self.consent.mode,
            label: Some(self.label.clone()),
            protect: Vec::new(),
            never: Vec::new(),
            containers: Containers::default(),
            peers: Vec::new(),
        };
        let seed = self.dice.secret();
        let restored = self.disk.records();
        self.node = Some(Node::new(config, &restored, seed, self.clock.now(now)));
    }

    /// The daemon is gone, with everything that lived in its memory.
    pub(crate) fn stop(&mut self, now: Moment) {
        if self.node.take().is_some() {
            self.ran_us += now.since(self.started);
        }
        self.wake += 1;
        self.oom_after = None;
        self.withdrawn.clear();
        self.allowed.clear();
        self.beacon = None;
        self.pair_open = false;
        self.conns.clear();
        self.pairs.clear();
        self.replies.clear();
    }

    pub(crate) fn next_link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }
}
