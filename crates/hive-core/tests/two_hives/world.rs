//! A tiny world: hives that share one loss-free network, a calendar, and a disk each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use hive_core::chance::Chance;
use hive_core::event_log::Happening;
use hive_core::hive::outside::{Beacon, HiveEffect, Record, Sighting, Table};
use hive_core::hive::roster::Roster;
use hive_core::hive::store::{Store, disk};
use hive_core::hive::ticket::Invitation;
use hive_core::hive::{Hive, HiveConfig};
use hive_core::id::{HiveId, LinkId, NodeId, SaveId};
use hive_core::reply::{CommandError, JoinView, NewKey, PendingMachine, RotatedView, StatusView};
use hive_core::signed::KeyPair;
use hive_core::statement::{Key, Label, Role, Rotate, Statement};
use hive_core::time::{Instant, Now, Span, WallTime};
use hive_core::vocabulary::Vocabulary;
use hive_core::wire::{Delta, Frame, Genesis, PairFrame};

/// What one machine saved.
type Disk = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A copy of one disk.
pub(crate) struct Backup(Disk);

pub(crate) struct World {
    pub(crate) hives: Vec<Hive>,
    pub(crate) told: Vec<Vec<Happening>>,
    pub(crate) hold_saves: bool,
    /// Whose disk does not answer.
    pub(crate) slow_disk: Option<usize>,
    slow_saves: Vec<(usize, SaveId, Vec<Record>)>,
    /// Whether all machines are seen at one address, as behind one router.
    pub(crate) one_address: bool,
    /// Whether nobody is heard by mDNS.
    pub(crate) no_multicast: bool,
    pub(crate) frames: u64,
    pub(crate) pair_frames: u64,
    /// By how much a machine's calendar is ahead.
    pub(crate) ahead_ms: Vec<i64>,
    /// Machines that run an older version, and what that knows.
    old: BTreeMap<usize, Vocabulary>,
    secrets: Vec<[u8; 32]>,
    /// Orders to dial, and to bring a word under an old key.
    pub(crate) dials: usize,
    /// The key that a machine had before the one in use.
    before: Vec<Option<NodeId>>,
    disks: Vec<Disk>,
    beacons: Vec<Beacon>,
    members: Vec<Vec<NodeId>>,
    doors: Vec<bool>,
    links: BTreeSet<(usize, usize)>,
    cuts: BTreeSet<(usize, usize)>,
    pairings: BTreeMap<LinkId, (usize, usize)>,
    held: Vec<(usize, SaveId, Vec<Record>)>,
    sent: Vec<(usize, NodeId, Vec<u8>)>,
    lie: Option<(usize, Vec<u8>)>,
    boot: u64,
    next_link: u64,
}

pub(crate) fn address(at: usize) -> SocketAddr {
    format!("10.0.0.{}:4483", at + 1)
        .parse()
        .expect("an address")
}

fn secret(at: usize) -> [u8; 32] {
    [u8::try_from(at).expect("few") + 1; 32]
}

fn ordered(one: usize, two: usize) -> (usize, usize) {
    (one.min(two), one.max(two))
}

impl World {
    pub(crate) fn new(count: usize) -> Self {
        let mut world = Self {
            hives: Vec::new(),
            told: vec![Vec::new(); count],
            hold_saves: false,
            slow_disk: None,
            slow_saves: Vec::new(),
            one_address: false,
            no_multicast: false,
            frames: 0,
            pair_frames: 0,
            ahead_ms: vec![0; count],
            old: BTreeMap::new(),
            secrets: (0..count).map(secret).collect(),
            dials: 0,
            before: vec![None; count],
            disks: vec![BTreeMap::new(); count],
            beacons: vec![Beacon::default(); count],
            members: vec![Vec::new(); count],
            doors: vec![false; count],
            links: BTreeSet::new(),
            cuts: BTreeSet::new(),
            pairings: BTreeMap::new(),
            held: Vec::new(),
            sent: Vec::new(),
            lie: None,
            boot: 1_000_000,
            next_link: 0,
        };
        for at in 0..count {
            let hive = world.load(at);
            world.hives.push(hive);
        }
        for at in 0..count {
            let now = world.now();
            world.hives[at].on_start(now);
            world.settle();
        }
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            boot: Instant(self.boot),
            wall: WallTime(1_700_000_000_000 + self.boot / 1_000),
        }
    }

    /// What a machine's clocks show: its calendar may be off.
    fn now_of(&self, at: usize) -> Now {
        let now = self.now();
        let wall = now.wall.0.saturating_add_signed(self.ahead_ms[at]);
        Now {
            wall: WallTime(wall),
            ..now
        }
    }

    fn load(&self, at: usize) -> Hive {
        let records: Vec<Record> = self.disks[at]
            .iter()
            .map(|((table, key), value)| Record {
                table: *table,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect();
        let mut seed = self.secrets[at];
        seed[..8].copy_from_slice(&self.boot.to_le_bytes());
        let config = HiveConfig {
            key: KeyPair::from_secret(&self.secrets[at]),
            label: Some(Label::new(&format!("machine {at}")).expect("a label")),
            peers: Vec::new(),
        };
        let mut hive = Hive::new(config, &records, Chance::from_seed(seed), self.now_of(at));
        if let Some(words) = self.old.get(&at) {
            hive.speak_only(self.now_of(at), *words);
        }
        hive
    }

    /// Another version is installed on a machine and started; none = this one.
    pub(crate) fn install(&mut self, at: usize, words: Option<Vocabulary>) {
        self.old.remove(&at);
        self.old.extend(words.map(|words| (at, words)));
        self.restart(at);
    }

    pub(crate) fn restart(&mut self, at: usize) {
        for other in 0..self.hives.len() {
            self.unlink(at, other);
        }
        self.hives[at] = self.load(at);
        self.members[at].clear();
        self.doors[at] = false;
        let now = self.now_of(at);
        self.hives[at].on_start(now);
        self.settle();
    }

    /// Carries out everything that is wanted, until nobody wants anything.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let wanting = (0..self.hives.len()).find_map(|at| Some((at, self.hives[at].poll()?)));
            let Some((at, effect)) = wanting else { return };
            self.carry_out(at, effect);
        }
        panic!("the world never settles");
    }

    /// Lets time pass, from one wish to be woken to the next.
    pub(crate) fn run(&mut self, span: Span) {
        let end = self.boot + span.0;
        self.settle();
        for _ in 0..1_000_000 {
            let next = self.hives.iter().filter_map(Hive::next_wake).min();
            let Some(next) = next.filter(|at| at.0 <= end) else {
                self.boot = end;
                return;
            };
            self.boot = self.boot.max(next.0);
            let now = self.now();
            for at in 0..self.hives.len() {
                if self.hives[at]
                    .next_wake()
                    .is_some_and(|wake| wake <= now.boot)
                {
                    let now = self.now_of(at);
                    self.hives[at].on_timeout(now);
                    let again = self.hives[at].next_wake();
                    self.settle();
                    assert!(
                        again.is_none_or(|wake| wake > now.boot)
                            || self.hives[at].next_wake() != Some(next),
                        "machine {at} does not go on"
                    );
                }
            }
        }
        panic!("the world is never quiet");
    }

    fn carry_out(&mut self, at: usize, effect: HiveEffect) {
        if self.is_for_nobody(at, &effect) {
            return;
        }
        match effect {
            HiveEffect::Save { id, records } if self.slow_disk == Some(at) => {
                self.slow_saves.push((at, id, records));
            }
            HiveEffect::Save { id, records } => {
                self.held.push((at, id, records));
                if !self.hold_saves {
                    self.release_saves();
                }
            }
            HiveEffect::Send { peer, frame, .. } => {
                self.frames += 1;
                let to = self.index(peer);
                let from = self.hives[at].me();
                self.sent.push((at, peer, frame.clone()));
                if self.links.contains(&ordered(at, to)) {
                    let now = self.now_of(to);
                    self.hives[to].on_received(now, from, &frame);
                }
            }
            HiveEffect::Dial { peer, addresses } => {
                self.dials += 1;
                self.dial(at, peer, &addresses);
            }
            HiveEffect::HandOver {
                peer,
                address,
                frames,
            } => {
                self.dials += 1;
                self.bring_under_old_key(at, peer, address, &frames);
            }
            HiveEffect::Close { peer } => {
                let other = self.index(peer);
                self.unlink(at, other);
            }
            HiveEffect::Members(members) => self.members[at] = members,
            HiveEffect::Seek if self.no_multicast => {}
            HiveEffect::Seek => {
                for other in 0..self.hives.len() {
                    if other != at && !self.cuts.contains(&ordered(at, other)) {
                        let sighting = Sighting {
                            beacon: self.beacons[other],
                            address: address(other),
                        };
                        let now = self.now_of(at);
                        self.hives[at].on_found(now, sighting);
                    }
                }
            }
            HiveEffect::Beacon(beacon) => self.beacons[at] = beacon,
            HiveEffect::PairOpen(open) => self.doors[at] = open,
            HiveEffect::PairDial { address, expect } => self.pair_dial(at, address, expect),
            HiveEffect::PairSend { link, frame } => self.pair_send(at, link, &frame),
            HiveEffect::PairClose { link } => {
                if let Some((a, b)) = self.pairings.remove(&link) {
                    let to = if a == at { b } else { a };
                    let now = self.now_of(to);
                    self.hives[to].on_pair_down(now, link);
                }
            }
            HiveEffect::Tell(happening) => self.told[at].push(happening),
        }
    }

    /// Whether an effect is meant for a key that no machine has any more: it is nowhere to be reached.
    fn is_for_nobody(&mut self, at: usize, effect: &HiveEffect) -> bool {
        let (peer, dials) = match effect {
            HiveEffect::Dial { peer, .. } => (*peer, true),
            HiveEffect::Send { peer, .. } | HiveEffect::Close { peer } => (*peer, false),
            _ => return false,
        };
        let nobody = self.find(peer).is_none();
        if let (true, HiveEffect::Send { frame, .. }) = (nobody, effect)
            && let Some(to) = self.before.iter().position(|it| *it == Some(peer))
        {
            let (from, now) = (self.hives[at].me(), self.now_of(to));
            self.hives[to].on_told_old_key(now, from, frame);
        }
        if let (true, HiveEffect::Dial { addresses, .. }) = (nobody, effect) {
            for other in 0..self.hives.len() {
                let there = addresses.contains(&address(other));
                if there && other != at && !self.cuts.contains(&ordered(at, other)) {
                    let now = self.now_of(other);
                    self.hives[other].on_misdialled(now, address(at));
                }
            }
        }
        if nobody && dials {
            let now = self.now_of(at);
            self.hives[at].on_dial_failed(now, peer);
        }
        nobody
    }

    fn pair_send(&mut self, at: usize, link: LinkId, frame: &[u8]) {
        let now = self.now();
        if let Some((a, b)) = self.pairings.get(&link).copied() {
            let to = if a == at { b } else { a };
            if PairFrame::decode(frame).is_ok_and(|it| !matches!(it, PairFrame::Hello { .. })) {
                self.pair_frames += 1;
            }
            match &self.lie {
                Some((liar, lie)) if *liar == to => {
                    let now = self.now_of(at);
                    self.hives[at].on_pair_received(now, link, lie);
                }
                _ => self.hives[to].on_pair_received(now, link, frame),
            }
        }
    }

    fn dial(&mut self, at: usize, peer: NodeId, addresses: &[SocketAddr]) {
        let other = self.index(peer);
        let me = self.hives[at].me();
        let reached = addresses.contains(&address(other))
            && !self.cuts.contains(&ordered(at, other))
            && self.members[at].contains(&peer);
        if reached && !self.members[other].contains(&me) {
            let now = self.now_of(at);
            self.hives[at].on_dial_refused(now, peer, address(other));
        } else if !reached {
            let now = self.now_of(at);
            self.hives[at].on_dial_failed(now, peer);
        } else if self.links.insert(ordered(at, other)) {
            let now = self.now_of(at);
            self.hives[at].on_peer_up(now, peer, address(other));
            let now = self.now_of(other);
            self.hives[other].on_peer_up(now, me, address(at));
        }
    }

    /// A machine connects under the key that it had before, says this and ends it.
    fn bring_under_old_key(
        &mut self,
        at: usize,
        peer: NodeId,
        there: SocketAddr,
        frames: &[Vec<u8>],
    ) {
        let other = self.index(peer);
        let old = self.before[at].filter(|old| self.members[other].contains(old));
        let reached = there == address(other) && !self.cuts.contains(&ordered(at, other));
        let Some(old) = old.filter(|_| reached) else {
            return;
        };
        let now = self.now_of(other);
        self.hives[other].on_peer_up(now, old, address(at));
        for frame in frames {
            self.hives[other].on_received(now, old, frame);
        }
        self.hives[other].on_peer_down(now, old);
    }

    fn pair_dial(&mut self, at: usize, target: SocketAddr, expect: Option<NodeId>) {
        let found = (0..self.hives.len()).find(|other| address(*other) == target);
        let open = found.filter(|other| {
            self.doors[*other] && expect.is_none_or(|key| key == self.hives[*other].me())
        });
        let Some(other) = open else {
            let now = self.now_of(at);
            self.hives[at].on_pair_dial_failed(now, target);
            return;
        };
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let mut exporter = [9; 32];
        exporter[..8].copy_from_slice(&self.next_link.to_le_bytes());
        let (me, them) = (self.hives[at].me(), self.hives[other].me());
        self.pairings.insert(link, (at, other));
        let now = self.now_of(at);
        self.hives[at].on_pair_up(now, link, them, exporter, target, true);
        let seen = address(if self.one_address { 0 } else { at });
        if self.lie.as_ref().is_none_or(|(liar, _)| *liar != other) {
            let now = self.now_of(other);
            self.hives[other].on_pair_up(now, link, me, exporter, seen, false);
        }
    }

    /// A disk that did not answer does so now.
    pub(crate) fn disk_answers(&mut self) {
        self.slow_disk = None;
        self.held.append(&mut self.slow_saves);
        self.release_saves();
        self.settle();
    }

    /// What a disk did not answer is lost.
    pub(crate) fn disk_forgets(&mut self) {
        self.slow_disk = None;
        self.slow_saves.clear();
    }

    pub(crate) fn release_saves(&mut self) {
        for (at, id, records) in std::mem::take(&mut self.held) {
            for record in records {
                match record.value {
                    Some(value) => self.disks[at].insert((record.table, record.key), value),
                    None => self.disks[at].remove(&(record.table, record.key)),
                };
            }
            let now = self.now_of(at);
            self.hives[at].on_saved(now, id);
        }
    }

    fn unlink(&mut self, one: usize, two: usize) {
        if self.links.remove(&ordered(one, two)) {
            let (a, b) = (self.hives[one].me(), self.hives[two].me());
            let now = self.now_of(one);
            self.hives[one].on_peer_down(now, b);
            let now = self.now_of(two);
            self.hives[two].on_peer_down(now, a);
        }
    }

    pub(crate) fn cut(&mut self, one: usize, two: usize) {
        self.cuts.insert(ordered(one, two));
        self.unlink(one, two);
        self.settle();
    }

    pub(crate) fn heal(&mut self, one: usize, two: usize) {
        self.cuts.remove(&ordered(one, two));
    }

    pub(crate) fn drop_pairings(&mut self) {
        for (link, (a, b)) in std::mem::take(&mut self.pairings) {
            let now = self.now_of(a);
            self.hives[a].on_pair_down(now, link);
            let now = self.now_of(b);
            self.hives[b].on_pair_down(now, link);
        }
        self.settle();
    }

    pub(crate) fn is_linked(&self, one: usize, two: usize) -> bool {
        self.links.contains(&ordered(one, two))
    }

    /// The whole of joining, with a person who approves.
    pub(crate) fn join(&mut self, joiner: usize, inviter: usize) {
        self.join_as(joiner, inviter, Role::Admin);
    }

    pub(crate) fn join_as(&mut self, joiner: usize, inviter: usize, role: Role) {
        let code = self.invite(inviter);
        self.start_join(joiner, &code);
        self.run(Span::from_secs(3));
        let who = self.pending(inviter)[0].node.clone();
        self.approve_as(inviter, &who, role).expect("it waits");
        self.run(Span::from_secs(5));
        assert!(self.is_linked(joiner, inviter));
        assert_eq!(self.view(joiner), self.view(inviter));
    }

    pub(crate) fn invite(&mut self, at: usize) -> String {
        let now = self.now_of(at);
        let code = self.hives[at]
            .invite(now, &Invitation::default())
            .expect("an admin")
            .code;
        self.settle();
        code
    }

    /// A new key for a machine, with which it starts anew.
    pub(crate) fn rotate(&mut self, at: usize) -> Result<RotatedView, CommandError> {
        let result = self.hand_over(at);
        if result.is_ok() {
            self.start_with_next_key(at);
        }
        result
    }

    /// After a handing over: the next start.
    pub(crate) fn start_with_next_key(&mut self, at: usize) {
        // The connections of the old key end with it.
        for other in 0..self.hives.len() {
            self.unlink(at, other);
        }
        self.settle();
        self.before[at] = Some(self.hives[at].me());
        self.secrets[at] = self.next_secret(at);
        self.restart(at);
    }

    /// The same, until just before it starts anew.
    pub(crate) fn hand_over(&mut self, at: usize) -> Result<RotatedView, CommandError> {
        let secret = self.next_secret(at);
        let now = self.now_of(at);
        let result = self.hives[at].rotate(now, &NewKey::new(secret));
        self.settle();
        result
    }

    fn next_secret(&self, at: usize) -> [u8; 32] {
        let mut secret = self.secrets[at];
        secret[31] ^= 0x80;
        secret[30] = secret[30].wrapping_add(1);
        secret
    }

    /// A backup is put back, with the key that was in it.
    pub(crate) fn put_back_with_key(&mut self, at: usize, backup: &Backup, key: [u8; 32]) {
        self.put_back(at, backup);
        self.secrets[at] = key;
        self.restart(at);
    }

    pub(crate) fn secret(&self, at: usize) -> [u8; 32] {
        self.secrets[at]
    }

    /// The word on a key's successor that a machine's own map repeats.
    pub(crate) fn vouched(&self, at: usize, old: NodeId) -> Option<Rotate> {
        let store = self.disk_store(at);
        let map = store.map(self.hives[at].me())?;
        map.member_statements().find_map(|(_, it)| match it {
            Statement::Rotate(rotate) if rotate.old == old && rotate.new != self.hives[at].me() => {
                Some(rotate)
            }
            _ => None,
        })
    }

    /// A ticket that names these places.
    pub(crate) fn ticket(&mut self, at: usize, places: &[&str]) -> Result<String, CommandError> {
        let places = places
            .iter()
            .map(|place| place.parse().expect("an address"));
        let wish = Invitation {
            ticket: true,
            places: places.collect(),
            ..Invitation::default()
        };
        let now = self.now_of(at);
        let result = self.hives[at].invite(now, &wish);
        self.settle();
        result.map(|view| view.ticket.expect("it was asked for"))
    }

    pub(crate) fn try_join(&mut self, at: usize, code: &str) -> Result<JoinView, CommandError> {
        let now = self.now_of(at);
        let result = self.hives[at].join(now, code, None);
        self.settle();
        result
    }

    pub(crate) fn start_join(&mut self, at: usize, code: &str) {
        self.try_join(at, code).expect("a code");
    }

    pub(crate) fn start_join_at(&mut self, at: usize, code: &str, inviter: usize) {
        let now = self.now_of(at);
        self.hives[at]
            .join(now, code, Some(address(inviter)))
            .expect("a code");
        self.settle();
    }

    pub(crate) fn join_state(&self, at: usize) -> JoinView {
        self.hives[at].join_state(self.now_of(at))
    }

    pub(crate) fn pending(&self, at: usize) -> Vec<PendingMachine> {
        self.hives[at].pending(self.now_of(at)).pending
    }

    pub(crate) fn approve(&mut self, at: usize, who: &str) -> Result<(), CommandError> {
        self.approve_as(at, who, Role::Admin)
    }

    fn approve_as(&mut self, at: usize, who: &str, role: Role) -> Result<(), CommandError> {
        let now = self.now_of(at);
        let result = self.hives[at].approve(now, who, role, None).map(|_| ());
        self.settle();
        result
    }

    /// Lets a machine in that belongs to somebody.
    pub(crate) fn join_for(&mut self, joiner: usize, inviter: usize, owner: &str) {
        let code = self.invite(inviter);
        self.start_join(joiner, &code);
        self.run(Span::from_secs(3));
        let who = self.pending(inviter)[0].node.clone();
        let now = self.now_of(inviter);
        let result = self.hives[inviter].approve(now, &who, Role::Admin, Some(owner));
        self.settle();
        result.expect("it waits");
        self.run(Span::from_secs(5));
    }

    pub(crate) fn deny(&mut self, at: usize, who: &str) {
        let now = self.now_of(at);
        self.hives[at].deny(now, who).expect("it waits");
        self.settle();
    }

    /// Only what the call itself wanted is carried out: saves may be held.
    pub(crate) fn remove(&mut self, at: usize, who: &str) -> Result<(), CommandError> {
        let now = self.now_of(at);
        let result = self.hives[at].remove(now, who, false).map(|_| ());
        self.settle();
        result
    }

    pub(crate) fn remove_compromised(&mut self, at: usize, who: &str) {
        let now = self.now_of(at);
        self.hives[at].remove(now, who, true).expect("a junior");
        self.settle();
    }

    /// Whether this machine lets strangers speak at all.
    pub(crate) fn door(&self, at: usize) -> bool {
        self.doors[at]
    }

    /// Whether the disk holds where another machine was.
    pub(crate) fn disk_locates(&self, at: usize, other: usize) -> bool {
        let key = [b"address/", &self.hives[other].me().0[..]].concat();
        self.disks[at].contains_key(&(Table::Meta, key))
    }

    /// What waits to be written into the own map.
    pub(crate) fn waiting(&self, at: usize) -> usize {
        let mut status = StatusView::default();
        self.hives[at].fill_status(self.now_of(at), &mut status);
        status.waiting
    }

    /// From now on this machine says that it has another one's open invite.
    pub(crate) fn copy_locator(&mut self, at: usize, from: usize) {
        self.beacons[at].locators = self.beacons[from].locators;
    }

    /// Everything that a conversation brings to this machine is answered so, by the machine `liar`.
    pub(crate) fn lie_to_strangers(&mut self, liar: usize, frame: Vec<u8>) {
        self.doors[liar] = true;
        self.lie = Some((liar, frame));
    }

    /// A state of a machine's own map with this many large values, as it would send it.
    pub(crate) fn heavy(&self, at: usize, values: u8) -> Delta {
        let key = KeyPair::from_secret(&self.secrets[at]);
        let (genesis, store) = self.stored(at);
        let held = store.map(key.node()).expect("a map").head();
        let changes = (0..values).map(|n| {
            let key = Key {
                kind: 200,
                id: [n; 16],
            };
            (key, Some(vec![n; 8_000]))
        });
        let hlc = hive_core::time::Hlc(held.hlc.0 + 1);
        let map = store.draft(&key, held.incarnation, hlc, changes.collect());
        assert_eq!(store.hive(), genesis.hive());
        map.expect("it fits").delta(None)
    }

    /// Notes a frame that is not carried.
    pub(crate) fn note_sent(&mut self, at: usize, effect: HiveEffect) {
        if let HiveEffect::Send { peer, frame, .. } = effect {
            self.sent.push((at, peer, frame));
        }
    }

    pub(crate) fn rename(&mut self, at: usize, label: &str) {
        let now = self.now_of(at);
        self.hives[at].label(now, label).expect("a label");
        self.settle();
    }

    pub(crate) fn publish(&mut self, at: usize, statements: Vec<Statement>) {
        let now = self.now_of(at);
        self.hives[at].publish(now, statements);
        if !self.hold_saves {
            self.settle();
        }
    }

    pub(crate) fn label(&self, at: usize) -> String {
        self.hives[at].label_of(self.hives[at].me())
    }

    /// Ids of the members, the most senior first.
    pub(crate) fn members(&self, at: usize) -> Vec<String> {
        let view = self.hives[at].members(self.now_of(at));
        view.members.into_iter().map(|member| member.node).collect()
    }

    pub(crate) fn view(&self, at: usize) -> String {
        let mut status = StatusView::default();
        self.hives[at].fill_status(self.now_of(at), &mut status);
        status.view
    }

    pub(crate) fn sent_to(&self, at: usize, peer: NodeId) -> Vec<&Vec<u8>> {
        let sent = self
            .sent
            .iter()
            .filter(|(from, to, _)| *from == at && *to == peer);
        sent.map(|(_, _, frame)| frame).collect()
    }

    /// Deltas of its own map that this machine sent.
    pub(crate) fn deltas_from(&self, at: usize) -> Vec<Delta> {
        let me = self.hives[at].me();
        let frames = self.sent.iter().filter(|(from, _, _)| *from == at);
        let deltas =
            frames.filter_map(
                |(_, _, frame)| match Frame::decode(frame).ok()?.said_by(me) {
                    Frame::Delta(delta) if delta.author == me => Some(delta),
                    _ => None,
                },
            );
        deltas.collect()
    }

    /// Turns one bit of the own head on the disk.
    pub(crate) fn damage_own_map(&mut self, at: usize) {
        let key = (Table::Heads, self.hives[at].me().0.to_vec());
        let head = self.disks[at].get_mut(&key).expect("a head");
        let last = head.len() - 1;
        head[last] ^= 1;
    }

    pub(crate) fn hive_id(&self, at: usize) -> HiveId {
        self.stored(at).0.hive()
    }

    /// The key of a machine: for those who stole it.
    pub(crate) fn key(at: usize) -> KeyPair {
        KeyPair::from_secret(&secret(at))
    }

    /// Whether these bytes stand anywhere on a machine's disk.
    pub(crate) fn disk_holds(&self, at: usize, bytes: &[u8]) -> bool {
        let holds = |value: &Vec<u8>| value.windows(bytes.len()).any(|it| it == bytes);
        self.disks[at].values().any(holds)
    }

    fn stored(&self, at: usize) -> (Genesis, Store) {
        let records: Vec<Record> = self.disks[at]
            .iter()
            .map(|((table, key), value)| Record {
                table: *table,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect();
        let genesis = &self.disks[at][&(Table::Meta, b"genesis".to_vec())];
        let genesis: Genesis = postcard::from_bytes(genesis).expect("a genesis");
        let (store, _) = disk::restore(genesis.hive(), &records);
        (genesis, store)
    }

    /// What a clone of a machine's disk would say next to, and under the number of, its last batch.
    pub(crate) fn fork_of(&self, at: usize, statement: &Statement) -> Delta {
        let (genesis, store) = self.stored(at);
        let key = KeyPair::from_secret(&self.secrets[at]);
        let held = store.map(key.node()).expect("a map");
        let mut shorter = Store::new(genesis.hive());
        let mut fork = None;
        // The same number of batches from nothing, the last one different.
        for batch in 1..=held.head().seq {
            let mut changes = vec![(statement.key(), Some(statement.encode()))];
            if batch == held.head().seq {
                let known = held.entries().map(|entry| (entry.key, entry.value.clone()));
                changes.splice(..0, known);
            }
            let hlc = hive_core::time::Hlc(held.head().hlc.0 + batch);
            let map = shorter
                .draft(&key, held.head().incarnation, hlc, changes)
                .expect("small");
            shorter.insert(map.clone());
            fork = Some(map);
        }
        fork.expect("at least one batch").delta(None)
    }

    /// What a machine's key would sign next, statement by statement, from what its disk holds.
    pub(crate) fn branch_of(&self, at: usize, statements: &[Statement]) -> Vec<Delta> {
        let (_, mut store) = self.stored(at);
        let key = KeyPair::from_secret(&self.secrets[at]);
        let mut deltas = Vec::new();
        for statement in statements {
            let held = *store.map(key.node()).expect("a map").head();
            let changes = vec![(statement.key(), Some(statement.encode()))];
            let hlc = hive_core::time::Hlc(held.hlc.0 + 1);
            let map = store.draft(&key, held.incarnation, hlc, changes);
            let map = map.expect("small");
            deltas.push(map.delta(None));
            store.insert(map);
        }
        deltas
    }

    /// What the disk of a machine holds of all maps.
    pub(crate) fn disk_store(&self, at: usize) -> Store {
        self.stored(at).1
    }

    /// Who belongs, as the disk of a machine tells it.
    pub(crate) fn disk_roster(&self, at: usize) -> Roster {
        let (genesis, store) = self.stored(at);
        Roster::of(&genesis, &store)
    }

    /// Turns one bit of every record of another machine's map on this disk.
    pub(crate) fn damage_map(&mut self, at: usize, author: usize) {
        let author = self.hives[author].me().0;
        for ((table, key), value) in &mut self.disks[at] {
            if *table == Table::Entries && key.starts_with(&author) {
                let last = value.len() - 1;
                value[last] ^= 1;
            }
        }
    }

    /// Everything on the disk is gone but which hive it was.
    pub(crate) fn lose_maps(&mut self, at: usize) {
        let kept = [&b"genesis"[..], b"secret"];
        self.disks[at].retain(|(_, key), _| kept.contains(&key.as_slice()));
    }

    /// Every map on the disk is gone; which hive it was, who was where and how often it ran is still there.
    pub(crate) fn lose_all_maps(&mut self, at: usize) {
        self.disks[at].retain(|(table, _), _| *table == Table::Meta);
    }

    /// The disk is a new one. The key was kept.
    pub(crate) fn lose_everything(&mut self, at: usize) {
        self.disks[at].clear();
    }

    /// How many named states a machine's disk holds beside the maps.
    pub(crate) fn disk_pins(&self, at: usize) -> usize {
        let keys = self.disks[at].keys();
        keys.filter(|(_, key)| key.starts_with(b"pin/")).count()
    }

    /// What a machine's disk holds, to be put back later.
    pub(crate) fn backup(&self, at: usize) -> Backup {
        Backup(self.disks[at].clone())
    }

    pub(crate) fn put_back(&mut self, at: usize, backup: &Backup) {
        self.disks[at].clone_from(&backup.0);
    }

    /// What a machine tells a person to do.
    pub(crate) fn needs(&self, at: usize) -> Vec<hive_core::reply::NeedView> {
        let mut status = StatusView::default();
        self.hives[at].fill_status(self.now_of(at), &mut status);
        status.needs
    }

    fn find(&self, peer: NodeId) -> Option<usize> {
        self.hives.iter().position(|hive| hive.me() == peer)
    }

    fn index(&self, peer: NodeId) -> usize {
        self.find(peer).expect("a machine of this world")
    }
}
