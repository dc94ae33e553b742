//! The many machines: invite, roster, store, sync, budget, advise. This file holds the parts and routes.

pub mod outside;

pub mod store;
pub mod roster;
pub mod views;
pub mod words;
pub mod invite;
pub mod ticket;
pub mod recovery;
pub mod budget;
mod changes;
pub mod advise;
mod meta;
mod writer;
mod own;
pub mod owner;
mod sync;
mod repair;
pub mod neighbours;
mod tree;
mod audit;
pub mod compact;
pub mod anomaly_log;
pub mod pins;
mod links;
mod pairing;
mod joining;
mod entering;
mod farewell;
mod standing;
mod recover;
mod rotate;
mod commands;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::chance::Chance;
use crate::event_log::Happening;
use crate::hive::advise::Advice;
use crate::hive::anomaly_log::AnomalyLog;
use crate::hive::audit::Audit;
use crate::hive::budget::meter::{Audience, Neighbours, Traffic};
use crate::hive::changes::Changes;
use crate::hive::compact::Compact;
use crate::hive::joining::Joining;
use crate::hive::links::Links;
use crate::hive::meta::{Fate, Name, Pending};
use crate::hive::outside::{HiveEffect, Record};
use crate::hive::own::Past;
use crate::hive::pairing::Door;
use crate::hive::repair::Repair;
use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Seats, Store, disk};
use crate::hive::tree::Tree;
use crate::hive::writer::{AfterSave, Writer};
use crate::id::{NodeId, PatternId, SaveId};
use crate::signed::KeyPair;
use crate::statement::{Farewell, Label, Rotate};
use crate::time::{Instant, Now};
use crate::vocabulary::Vocabulary;
use crate::wire::{Entry, Genesis, Head};

/// What the hive part is started with.
pub struct HiveConfig {
    /// This machine's key.
    pub key: KeyPair,
    /// What to call this machine, when the store does not say; none = two generated words.
    pub label: Option<Label>,
    /// Fixed addresses of members, for networks without multicast.
    pub peers: Vec<SocketAddr>,
}

/// This machine's side of its hive.
pub struct Hive {
    key: KeyPair,
    me: NodeId,
    chance: Chance,
    fixed: Vec<SocketAddr>,
    genesis: Genesis,
    secret: [u8; 32],
    label: Label,
    name: Name,
    /// The inviter, trusted by the code until its admission of this machine arrives.
    sponsor: Option<NodeId>,
    vocabulary: Vocabulary,
    store: Store,
    roster: Roster,
    /// Removed by this machine, its word not yet durable.
    expelled: BTreeSet<NodeId>,
    /// By whom and how this machine was told that it was removed.
    dismissed: Option<(NodeId, Farewell)>,
    /// Nothing but the key was left when this hive was founded.
    bare: bool,
    /// To which key this one's place went, as this machine was told.
    moved: Option<Rotate>,
    /// The word that gave the place of a key before this one to another key.
    rival: Option<Rotate>,
    /// How often removed machines were told so.
    told_off: BTreeMap<NodeId, u32>,
    allowed: Vec<NodeId>,
    /// What the network was told last about who may connect.
    announced: Vec<NodeId>,
    advice: Advice,
    anomaly_log: AnomalyLog,
    changed: bool,
    writer: Writer,
    links: Links,
    repair: Repair,
    tree: Tree,
    changes: Changes,
    audit: Audit,
    compact: Compact,
    door: Door,
    joining: Option<Joining>,
    traffic: Traffic,
    neighbours: Neighbours,
    audience: Audience,
    /// Records to write when started: the new incarnation, a new hive, the wiping of damage.
    at_start: Vec<Record>,
    damaged: bool,
    past: Past,
    saves: u64,
    saved: u64,
    after_save: BTreeMap<SaveId, AfterSave>,
    outbox: VecDeque<HiveEffect>,
}

impl Hive {
    /// Starts from what the store held (all records, in any order; empty on a new machine).
    #[must_use]
    pub fn new(config: HiveConfig, restored: &[Record], mut chance: Chance, now: Now) -> Self {
        let me = config.key.node();
        let meta = meta::Meta::read(restored);
        let founded = meta.genesis.zip(meta.secret);
        let (genesis, secret) = founded.unwrap_or_else(|| found(me, &mut chance));
        let label = meta.label.or(config.label);
        let label = label.unwrap_or_else(|| words::label(&mut chance));
        let (store, damaged) = disk::restore(genesis.hive(), restored);
        // The own map knows it too, should the note be lost.
        let own = store.map(me).map_or(0, |map| map.head().incarnation);
        let before = meta.incarnation.unwrap_or(0).max(own);
        let incarnation = writer::next_incarnation(before, &mut chance);
        let wiped = damaged.iter().map(|author| disk::wipe(*author, restored));
        let mut at_start: Vec<Record> = wiped.flatten().collect();
        if founded.is_none() || meta.worn {
            at_start.extend(meta::hive(&genesis, &secret));
        }
        at_start.extend([meta::label(&label), meta::owner(me)]);
        let roster = Roster::of(&genesis, &store);
        let mut hive = Self {
            key: config.key,
            me,
            links: Links::new(meta.addresses),
            door: Door::new(decided(meta.pending, &roster), now),
            joining: meta.joining.map(Joining::restored),
            sponsor: meta.sponsor,
            fixed: config.peers,
            genesis,
            secret,
            label,
            name: meta.name,
            vocabulary: Vocabulary::CURRENT,
            store,
            roster,
            expelled: BTreeSet::new(),
            dismissed: meta.dismissed,
            bare: meta.bare,
            moved: meta.moved.filter(|rotate| rotate.old == me),
            rival: meta.moved.filter(|rotate| rotate.old != me),
            told_off: BTreeMap::new(),
            allowed: Vec::new(),
            announced: Vec::new(),
            advice: Advice::default(),
            anomaly_log: AnomalyLog::restored(meta.anomaly_log),
            changed: true,
            writer: Writer::new(incarnation, meta.bucket, now),
            repair: Repair::new(now.boot, &mut chance),
            tree: Tree::new(),
            changes: Changes::default(),
            audit: Audit::new(now.boot, &mut chance),
            compact: Compact::new(now.boot, &mut chance),
            chance,
            traffic: Traffic::default(),
            neighbours: Neighbours::default(),
            audience: Audience::default(),
            at_start,
            damaged: !damaged.is_empty() || meta.worn,
            past: Past {
                is_new: founded.is_none(),
                had_company: meta.company,
                counted_starts: meta.incarnation.is_some(),
            },
            saves: 0,
            saved: 0,
            after_save: BTreeMap::new(),
            outbox: VecDeque::new(),
        };
        hive.recall(&meta.forks, meta.pins);
        hive.advice = Advice::of(&hive.roster, &hive.store, &hive.advice, now.boot);
        hive
    }

    /// Makes it one of an older version, which knows these words alone. To be called before it is started.
    pub fn speak_only(&mut self, now: Now, words: Vocabulary) {
        self.vocabulary = words;
        self.store.read_as(words);
        self.roster = Roster::of(&self.genesis, &self.store);
        self.advice = Advice::of(&self.roster, &self.store, &self.advice, now.boot);
    }

    /// What the disk held beside the maps: proofs, and states that removals name.
    fn recall(&mut self, forks: &[(Head, Head)], pins: Vec<(Head, Vec<Entry>)>) {
        for (one, two) in forks {
            self.store.join_proof(one, two);
        }
        for (head, entries) in pins {
            // A damaged one is as good as missing: it is asked of the peers again.
            if let Ok(map) = AuthorMap::restore(self.store.hive(), head, entries) {
                self.store.insert_pin(map);
            }
        }
    }

    /// This machine's name.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The secret that keys program names. It changes when a join succeeds.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The daemon runs: makes the new incarnation durable, says its name, looks for the others.
    pub fn on_start(&mut self, now: Now) {
        if core::mem::take(&mut self.damaged) {
            self.tell(Happening::StoreDamaged);
        }
        let mut records = core::mem::take(&mut self.at_start);
        records.push(meta::incarnation(self.writer.incarnation()));
        self.save(records, AfterSave::Incarnation);
        self.begin_writing(now);
        self.refresh(now);
        self.start_links(now);
        self.watch_door(now);
    }

    /// A moment asked for by [`Hive::next_wake`] has come.
    pub fn on_timeout(&mut self, now: Now) {
        self.neighbours.pass(now.boot);
        self.flush(now);
        self.on_repair_time(now);
        self.on_tree_time(now);
        self.on_audit_time(now);
        self.on_compact_time(now);
        self.on_link_time(now);
        self.on_door_time(now);
        self.on_join_time(now);
    }

    /// Saves records of the machine part at once.
    pub fn keep(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            self.save(records, AfterSave::Nothing);
        }
    }

    /// What the hive tells this machine.
    #[must_use]
    pub fn advice(&self) -> &Advice {
        &self.advice
    }

    /// True once after the views changed.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// When this machine's own word on a pattern became durable and was sent.
    #[must_use]
    pub fn said_at(&self, pattern: PatternId) -> Option<Instant> {
        self.writer.said_at(pattern)
    }

    /// Whether something that a person was promised could still be lost with the power.
    #[must_use]
    pub fn owes_the_disk(&self) -> bool {
        self.saved < self.saves
    }

    /// Whether a word on who belongs is still to be written. Whoever is out says nothing more: it would owe it for ever.
    #[must_use]
    pub fn owes_a_word(&self) -> bool {
        !self.is_out() && self.writer.owes_membership()
    }

    /// What a member is called; the first digits of its id until its profile arrives.
    #[must_use]
    pub fn label_of(&self, node: NodeId) -> String {
        if node == self.me {
            return String::from(self.label.as_str());
        }
        self.roster
            .member(node)
            .and_then(|member| member.label.clone())
            .unwrap_or_else(|| node.short())
    }

    /// The next thing to be done outside, if any.
    pub fn poll(&mut self) -> Option<HiveEffect> {
        self.outbox.pop_front()
    }

    /// When to call [`Hive::on_timeout`], at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        [
            self.writer_wake(),
            self.repair_wake(),
            self.tree_wake(),
            self.audit_wake(),
            Some(self.compact_wake()),
            self.links_wake(),
            self.door.next_wake(),
            self.joining.as_ref().and_then(Joining::next_wake),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Recomputes what follows from one author's map, which was another before. Most batches say nothing of
    /// who belongs, or only what their author is called: then the walk over all admins, which grows with the
    /// hive, is not made.
    fn refresh_after(&mut self, now: Now, author: NodeId, before: Option<&AuthorMap>) {
        let after = self.store.map(author);
        let was_removed = self.roster.removed(author).is_some();
        let seats = Seats::between(before, after);
        if was_removed || self.sponsor.is_some() || seats == Seats::Moved {
            self.refresh(now);
            return;
        }
        if let (Seats::Renamed, Some(map)) = (seats, after) {
            self.roster.rename(map);
        }
        self.refresh_advice(now);
    }

    /// Recomputes every view after a map changed, and lets membership take effect at once.
    fn refresh(&mut self, now: Now) {
        self.reseat();
        let before: BTreeSet<NodeId> = self.roster.order().iter().copied().collect();
        let next = Roster::of(&self.genesis, &self.store);
        for node in next.order() {
            if !before.contains(node) && *node != self.me {
                self.tell(Happening::Joined { node: node.short() });
            }
        }
        for node in before {
            if next.left(node) {
                self.tell(Happening::Left { node: node.short() });
            } else if next.is_gone(node) && next.heir(node).is_none() {
                self.tell(Happening::Removed { node: node.short() });
            }
        }
        let outbid = self.outbid(&next);
        self.roster = next;
        self.forget_claims(outbid);
        self.vouch();
        self.note_company();
        self.review_dismissal();
        if self.sponsor.is_some() && self.roster.has(self.me) && !self.writer.is_lost() {
            self.sponsor = None;
            self.save(alloc::vec![meta::sponsor(None)], AfterSave::Nothing);
            self.show_own_map(now);
        }
        self.admit_only_members(now);
        self.refresh_advice(now);
    }

    fn refresh_advice(&mut self, now: Now) {
        let advice = Advice::of(&self.roster, &self.store, &self.advice, now.boot);
        if advice != self.advice {
            for (id, heard) in &advice.patterns {
                let foreign = heard.evidence.iter().all(|(author, _)| *author != self.me);
                if foreign && !self.advice.patterns.contains_key(id) {
                    let pattern = alloc::format!("{id}");
                    self.outbox
                        .push_back(HiveEffect::Tell(Happening::PatternArrived { pattern }));
                }
            }
            self.advice = advice;
            self.changed = true;
            self.log_anomalies();
        }
    }

    /// Forgets states that no longer count and brings back those that do, until nothing moves: each pass can
    /// reveal the next.
    fn reseat(&mut self) {
        for _ in 0..crate::limits::MEMBERS_MAX {
            let roster = Roster::of(&self.genesis, &self.store);
            self.hold_named(&roster);
            let void: Vec<NodeId> = roster
                .all_removed()
                .filter(|node| *node != self.me)
                .filter(
                    |node| match (self.store.map(*node), roster.removed(*node)) {
                        (Some(map), Some(Some(keep))) => {
                            let held = map.head_ref();
                            (held.incarnation, held.seq) > (keep.incarnation, keep.seq)
                                || ((held.incarnation, held.seq) == (keep.incarnation, keep.seq)
                                    && held.id != keep.id)
                        }
                        (Some(_), Some(None)) => true,
                        _ => false,
                    },
                )
                .collect();
            let settled = void.is_empty();
            for node in void {
                let old = self.store.forget(node);
                self.changes.touch(node);
                self.save(disk::records(old.as_ref(), None), AfterSave::Nothing);
            }
            if !self.bring_back(&roster) && settled {
                return;
            }
        }
    }

    /// Closes what must not be open any more and tells the network who may connect.
    fn admit_only_members(&mut self, now: Now) {
        // A machine that was removed itself dials nobody any more, but still listens to the members: its
        // removal may be void one day, when its remover turns out to be a thief.
        let mut allowed: BTreeSet<NodeId> = self.roster.order().iter().copied().collect();
        allowed.extend(self.sponsor);
        allowed.extend(self.remembered());
        allowed.remove(&self.me);
        allowed.retain(|node| !self.expelled.contains(node));
        let allowed: Vec<NodeId> = allowed.into_iter().collect();
        self.forget_addresses();
        if allowed == self.allowed {
            self.announce_members();
            return;
        }
        self.allowed = allowed;
        for peer in self.links.connected() {
            if self.allowed.binary_search(&peer).is_err() {
                self.links.drop_peer(peer);
                self.outbox.push_back(HiveEffect::Close { peer });
            }
        }
        self.announce_members();
        self.audience.retain(&self.allowed);
        self.links.seat(self.store.hive(), self.me, &self.allowed);
        self.look_for_missing(now);
    }

    /// Where a removed machine was is nobody's business any more. Of others that are not members (yet),
    /// the disk keeps what it knows.
    fn forget_addresses(&mut self) {
        for node in self.links.located() {
            let gone = self.roster.is_gone(node) || self.expelled.contains(&node);
            if gone && self.links.forget(node) {
                self.save(alloc::vec![meta::addresses(node, None)], AfterSave::Nothing);
            }
        }
    }

    fn is_allowed(&self, node: NodeId) -> bool {
        self.allowed.binary_search(&node).is_ok()
    }

    fn tell(&mut self, happening: Happening) {
        self.outbox.push_back(HiveEffect::Tell(happening));
    }

    fn save(&mut self, records: Vec<Record>, then: AfterSave) {
        self.saves += 1;
        let id = SaveId(self.saves);
        if !matches!(then, AfterSave::Nothing) {
            self.after_save.insert(id, then);
        }
        self.outbox.push_back(HiveEffect::Save { id, records });
    }
}

/// What was decided about those who wait. The note of a yes and the admission are two writes: without the
/// admission it was no yes.
fn decided(mut pending: BTreeMap<NodeId, Pending>, roster: &Roster) -> BTreeMap<NodeId, Pending> {
    for (node, waiting) in &mut pending {
        waiting.fate = match waiting.fate {
            Fate::Approved if !roster.has(*node) => Fate::Open,
            fate => fate,
        };
    }
    pending
}

/// A hive of one.
fn found(me: NodeId, chance: &mut Chance) -> (Genesis, [u8; 32]) {
    let genesis = Genesis {
        format: 1,
        founder: me,
        recovery: None,
        nonce: chance.bytes(),
    };
    (genesis, chance.bytes())
}
