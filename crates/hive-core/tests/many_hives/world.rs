//! A crowd: many members of one hive on one network with small delays, machines that come and go, and meters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hive_core::chance::Chance;
use hive_core::event_log::Happening;
use hive_core::hive::outside::{Beacon, HiveEffect, Record, Sighting, Table};
use hive_core::hive::store::{Store, disk};
use hive_core::hive::{Hive, HiveConfig};
use hive_core::id::{NodeId, SaveId};
use hive_core::reply::StatusView;
use hive_core::signed::KeyPair;
use hive_core::statement::{Admit, Label, Role, Statement};
use hive_core::time::{Hlc, Instant, Now, Span, WallTime};
use hive_core::wire::{Frame, Genesis};

/// What one machine saved.
type Disk = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

enum Event {
    Frame(u64, usize, usize, Vec<u8>),
    Up(u64, usize, usize),
    Down(usize, usize),
    Found(usize, Sighting),
    DialFailed(usize, usize),
    Saved(usize, u64, SaveId),
}

/// Frames that one machine sent, by kind, and the bytes that it sent and received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) deltas: u64,
    pub(crate) hints: u64,
    pub(crate) grafts: u64,
    pub(crate) prunes: u64,
    pub(crate) changed: u64,
    pub(crate) digests: u64,
    pub(crate) probes: u64,
    pub(crate) bytes: u64,
    pub(crate) seeks: u64,
    pub(crate) dials: u64,
    pub(crate) links: u64,
    /// Deltas of others' maps that were sent on the urgent lane.
    pub(crate) relayed: u64,
}

pub(crate) struct World {
    pub(crate) hives: Vec<Hive>,
    pub(crate) meters: Vec<Meter>,
    pub(crate) told: Vec<Vec<Happening>>,
    on: Vec<bool>,
    life: Vec<u64>,
    index: BTreeMap<NodeId, usize>,
    disks: Vec<Disk>,
    beacons: Vec<Beacon>,
    conns: BTreeMap<(usize, usize), u64>,
    made: u64,
    /// Pairs between which nothing passes, and nobody is told.
    blocked: BTreeSet<(usize, usize)>,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    last: BTreeMap<(usize, usize), u64>,
    chance: Chance,
    boot: u64,
    /// The longest way of a frame, in microseconds; the shortest is one millisecond.
    pub(crate) way_us: u64,
}

fn ordered(one: usize, two: usize) -> (usize, usize) {
    (one.min(two), one.max(two))
}

fn address(at: usize) -> SocketAddr {
    let [.., high, low] = u32::try_from(at + 1).expect("few").to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 4483)
}

fn key(at: usize) -> KeyPair {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&u64::try_from(at).expect("few").to_le_bytes());
    KeyPair::from_secret(&secret)
}

fn put(disk: &mut Disk, records: Vec<Record>) {
    for record in records {
        match record.value {
            Some(value) => disk.insert((record.table, record.key), value),
            None => disk.remove(&(record.table, record.key)),
        };
    }
}

impl World {
    /// A hive of this many members, who were all let in by the first; everybody has just been switched on.
    pub(crate) fn new(count: usize, seed: u8) -> Self {
        let genesis = Genesis {
            format: 1,
            founder: key(0).node(),
            recovery: None,
            nonce: [seed; 16],
        };
        let admits = (1..count).map(|at| {
            let admit = Statement::Admit(Admit {
                node: key(at).node(),
                role: Role::Member,
                owner: key(0).node(),
            });
            (admit.key(), Some(admit.encode()))
        });
        let store = Store::new(genesis.hive());
        let founder = store
            .draft(&key(0), 1, Hlc(1), admits.collect())
            .expect("it fits");
        let mut disk = Disk::new();
        let meta = |key: &[u8], value: Vec<u8>| ((Table::Meta, key.to_vec()), value);
        disk.extend([
            meta(b"genesis", postcard::to_allocvec(&genesis).expect("memory")),
            meta(
                b"secret",
                postcard::to_allocvec(&[9_u8; 32]).expect("memory"),
            ),
            meta(
                b"incarnation",
                postcard::to_allocvec(&1_u32).expect("memory"),
            ),
        ]);
        put(&mut disk, disk::records(None, Some(&founder)));
        let mut world = Self {
            hives: Vec::new(),
            meters: vec![Meter::default(); count],
            told: vec![Vec::new(); count],
            on: vec![true; count],
            life: vec![0; count],
            index: (0..count).map(|at| (key(at).node(), at)).collect(),
            disks: vec![disk; count],
            beacons: vec![Beacon::default(); count],
            conns: BTreeMap::new(),
            made: 0,
            blocked: BTreeSet::new(),
            events: BTreeMap::new(),
            count: 0,
            last: BTreeMap::new(),
            chance: Chance::from_seed([seed; 32]),
            boot: 1_000_000,
            way_us: 5_000,
        };
        for at in 0..count {
            let hive = world.load(at);
            world.hives.push(hive);
        }
        for at in 0..count {
            let now = world.now();
            world.hives[at].on_start(now);
            world.drain(at);
        }
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            boot: Instant(self.boot),
            wall: WallTime(1_700_000_000_000 + self.boot / 1_000),
        }
    }

    fn load(&mut self, at: usize) -> Hive {
        let records: Vec<Record> = self.disks[at]
            .iter()
            .map(|((table, key), value)| Record {
                table: *table,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect();
        let config = HiveConfig {
            key: key(at),
            label: Some(Label::new(&format!("machine {at}")).expect("a label")),
            peers: Vec::new(),
        };
        let chance = Chance::from_seed(self.chance.bytes());
        Hive::new(config, &records, chance, self.now())
    }

    /// Switches a machine off. The others hear of it at once, or find out when they speak to it.
    pub(crate) fn switch_off(&mut self, at: usize) {
        self.on[at] = false;
        self.life[at] += 1;
        for other in 0..self.hives.len() {
            if self.conns.remove(&ordered(at, other)).is_some() {
                self.later(other, Event::Down(other, at));
            }
        }
    }

    pub(crate) fn switch_on(&mut self, at: usize) {
        self.on[at] = true;
        self.hives[at] = self.load(at);
        let now = self.now();
        self.hives[at].on_start(now);
        self.drain(at);
    }

    pub(crate) fn is_on(&self, at: usize) -> bool {
        self.on[at]
    }

    /// Nothing passes between two machines any more, and nobody tells them.
    pub(crate) fn block(&mut self, one: usize, two: usize) {
        self.blocked.insert(ordered(one, two));
    }

    pub(crate) fn run(&mut self, span: Span) {
        let end = self.boot + span.0;
        loop {
            let event = self.events.keys().next().copied();
            let wakes = (0..self.hives.len()).filter(|at| self.on[*at]);
            let wake = wakes
                .filter_map(|at| Some((self.hives[at].next_wake()?.0, at)))
                .min();
            let event_first = match (event, wake) {
                (Some((at, _)), Some((wake, _))) => at <= wake,
                (event, _) => event.is_some(),
            };
            let next = if event_first {
                event.map(|(at, _)| at)
            } else {
                wake.map(|(at, _)| at)
            };
            let Some(next) = next.filter(|next| *next <= end) else {
                self.boot = end;
                return;
            };
            self.boot = self.boot.max(next);
            if event_first {
                let event = self.events.pop_first();
                self.happen(event.expect("looked at").1);
            } else if let Some((_, at)) = wake {
                let now = self.now();
                self.hives[at].on_timeout(now);
                self.drain(at);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        let at = match event {
            Event::Frame(conn, from, to, bytes) => {
                if self.conns.get(&ordered(from, to)) != Some(&conn) {
                    return;
                }
                if self.blocked.contains(&ordered(from, to)) {
                    // The sender notices that nothing is acknowledged; the other side notices nothing.
                    self.conns.remove(&ordered(from, to));
                    self.later(from, Event::Down(from, to));
                    return;
                }
                self.meters[to].bytes += 210 + u64::try_from(bytes.len()).expect("few");
                let from = self.hives[from].me();
                self.hives[to].on_received(now, from, &bytes);
                to
            }
            Event::Up(conn, at, peer) => {
                if self.conns.get(&ordered(at, peer)) != Some(&conn) || !self.on[at] {
                    return;
                }
                self.meters[at].links += 1;
                let node = self.hives[peer].me();
                self.hives[at].on_peer_up(now, node, address(peer));
                at
            }
            Event::Down(at, peer) => {
                let node = self.hives[peer].me();
                self.hives[at].on_peer_down(now, node);
                at
            }
            Event::Found(at, sighting) => {
                self.hives[at].on_found(now, sighting);
                at
            }
            Event::DialFailed(at, peer) => {
                let node = self.hives[peer].me();
                self.hives[at].on_dial_failed(now, node);
                at
            }
            Event::Saved(at, life, id) => {
                if self.life[at] != life {
                    return;
                }
                self.hives[at].on_saved(now, id);
                at
            }
        };
        if self.on[at] {
            self.drain(at);
        }
    }

    /// Carries out what a machine wants.
    fn drain(&mut self, at: usize) {
        while let Some(effect) = self.hives[at].poll() {
            match effect {
                HiveEffect::Save { id, records } => {
                    put(&mut self.disks[at], records);
                    let life = self.life[at];
                    self.later(at, Event::Saved(at, life, id));
                }
                HiveEffect::Send { peer, frame, .. } => {
                    let to = self.index[&peer];
                    self.count(at, &frame);
                    if let Some(conn) = self.conns.get(&ordered(at, to)).copied() {
                        self.in_order(at, to, Event::Frame(conn, at, to, frame));
                    }
                }
                HiveEffect::Dial { peer, .. } => {
                    let to = self.index[&peer];
                    self.meters[at].dials += 1;
                    self.dial(at, to);
                }
                HiveEffect::Close { peer } => {
                    let other = self.index[&peer];
                    if self.conns.remove(&ordered(at, other)).is_some() {
                        self.later(at, Event::Down(at, other));
                        self.later(other, Event::Down(other, at));
                    }
                }
                HiveEffect::Seek => self.seek(at),
                HiveEffect::Beacon(beacon) => self.beacons[at] = beacon,
                HiveEffect::Tell(happening) => self.told[at].push(happening),
                _ => {}
            }
        }
    }

    fn dial(&mut self, at: usize, to: usize) {
        if !self.on[to] || self.blocked.contains(&ordered(at, to)) {
            self.after(Span::from_secs(5), Event::DialFailed(at, to));
        } else if !self.conns.contains_key(&ordered(at, to)) {
            self.made += 1;
            let conn = self.made;
            self.conns.insert(ordered(at, to), conn);
            self.in_order(to, at, Event::Up(conn, at, to));
            self.in_order(at, to, Event::Up(conn, to, at));
        }
    }

    fn seek(&mut self, at: usize) {
        self.meters[at].seeks += 1;
        for other in 0..self.hives.len() {
            let heard = self.on[other] && !self.blocked.contains(&ordered(at, other));
            if other != at && heard {
                let sighting = Sighting {
                    beacon: self.beacons[other],
                    address: address(other),
                };
                self.later(at, Event::Found(at, sighting));
            }
        }
    }

    fn count(&mut self, at: usize, frame: &[u8]) {
        let me = self.hives[at].me();
        let meter = &mut self.meters[at];
        meter.bytes += 210 + u64::try_from(frame.len()).expect("few");
        match Frame::decode(frame).expect("an honest frame").said_by(me) {
            Frame::Delta(delta) => {
                meter.deltas += 1;
                meter.relayed += u64::from(delta.author != me);
            }
            Frame::Own(_) => meter.deltas += 1,
            Frame::IHave(_) => meter.hints += 1,
            Frame::Graft(_) => meter.grafts += 1,
            Frame::Prune(_) => meter.prunes += 1,
            Frame::Changed { .. } => meter.changed += 1,
            Frame::Digest(_) => meter.digests += 1,
            Frame::Probe { .. } => meter.probes += 1,
            _ => {}
        }
    }

    fn after(&mut self, span: Span, event: Event) {
        self.count += 1;
        self.events.insert((self.boot + span.0, self.count), event);
    }

    /// Some 1 to 5 ms later.
    fn later(&mut self, _at: usize, event: Event) {
        let delay = 1_000 + self.chance.below(4_000);
        self.after(Span(delay), event);
    }

    /// The same, but never before what was sent earlier the same way.
    fn in_order(&mut self, from: usize, to: usize, event: Event) {
        let at = self.boot + 1_000 + self.chance.below(self.way_us - 1_000);
        let last = self.last.entry((from, to)).or_default();
        *last = at.max(*last + 1);
        let at = *last;
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    pub(crate) fn publish(&mut self, at: usize, statements: Vec<Statement>) {
        let now = self.now();
        self.hives[at].publish(now, statements);
        self.drain(at);
    }

    pub(crate) fn status(&self, at: usize) -> StatusView {
        let mut status = StatusView::default();
        self.hives[at].fill_status(self.now(), &mut status);
        status
    }

    /// Gives a machine a frame as if a connected peer had sent it.
    pub(crate) fn inject(&mut self, at: usize, from: usize, frame: &Frame) {
        let now = self.now();
        let node = self.hives[from].me();
        self.hives[at].on_received(now, node, &frame.encode());
        self.drain(at);
    }

    /// How many different views the machines that are on hold.
    pub(crate) fn views(&self) -> usize {
        let on = (0..self.hives.len()).filter(|at| self.on[*at]);
        let views: BTreeSet<String> = on.map(|at| self.status(at).view).collect();
        views.len()
    }

    pub(crate) fn neighbours(&self, at: usize) -> Vec<usize> {
        let pairs = self.conns.keys();
        pairs
            .filter_map(|(one, two)| match at {
                at if at == *one => Some(*two),
                at if at == *two => Some(*one),
                _ => None,
            })
            .collect()
    }

    /// Least and greatest number of connections of those that are on, and whether all of them are in one piece.
    pub(crate) fn graph(&self) -> (usize, usize, bool) {
        let on: Vec<usize> = (0..self.hives.len()).filter(|at| self.on[*at]).collect();
        let degrees = on.iter().map(|at| self.neighbours(*at).len());
        let mut seen = BTreeSet::from([on[0]]);
        let mut edge = vec![on[0]];
        while let Some(at) = edge.pop() {
            for next in self.neighbours(at) {
                if seen.insert(next) {
                    edge.push(next);
                }
            }
        }
        let least = degrees.clone().min().unwrap_or(0);
        let most = degrees.max().unwrap_or(0);
        (least, most, seen.len() == on.len())
    }

    /// The meters of all machines together, set back to zero.
    pub(crate) fn read_meters(&mut self) -> (Meter, u64) {
        let mut sum = Meter::default();
        let mut most = 0;
        for meter in &mut self.meters {
            let it = std::mem::take(meter);
            sum.deltas += it.deltas;
            sum.hints += it.hints;
            sum.grafts += it.grafts;
            sum.prunes += it.prunes;
            sum.changed += it.changed;
            sum.digests += it.digests;
            sum.probes += it.probes;
            sum.bytes += it.bytes;
            sum.seeks += it.seeks;
            sum.dials += it.dials;
            sum.links += it.links;
            sum.relayed += it.relayed;
            most = most.max(it.bytes);
        }
        (sum, most)
    }
}
