//! The inviting side: open codes, machines that prove one, machines that wait for a person.

mod known;
mod opening;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::event_log::Happening;
use crate::hive::Hive;
use crate::hive::invite::{Handshake, InviteCode, same};
use crate::hive::meta::{self, Fate, Pending};
use crate::hive::outside::{HiveEffect, Locators};
use crate::hive::writer::AfterSave;
use crate::id::{LinkId, NodeId};
use crate::limits;
use crate::statement::Label;
use crate::time::{Instant, Now, Span, WallTime};
use crate::wire::{ADDRESSES_MAX, PairFrame, Refusal};

/// How long a stranger may take to prove a code. Source: `research/security.md` 4.6 (frame 15 s).
const PROVE_PATIENCE: Span = Span::from_secs(15);

/// Pairing conversations at once. A guess: an invite is for one machine.
const LINKS_MAX: usize = 32;

/// Addresses whose wrong codes are remembered. A guess; the oldest are forgotten first.
const OFFENDERS_MAX: usize = 256;

/// One wrong code a second in all. Source: DESIGN section 14.
const WRONG_CODE_GAP: Span = Span::from_secs(1);

/// Pause between two attempts to bring an approved machine its welcome. A guess.
const REDIAL: Span = Span::from_secs(10);

#[derive(Debug)]
pub(super) struct Door {
    invites: Vec<Invite>,
    links: BTreeMap<LinkId, Guest>,
    pub(super) pending: BTreeMap<NodeId, Pending>,
    offenders: BTreeMap<IpAddr, Offender>,
    deaf_until: Instant,
    redial_at: Option<Instant>,
    /// When the oldest request, here or of this machine, has waited too long.
    over_at: Option<Instant>,
    /// Whether strangers may speak: an invite is open, or somebody waits.
    pub(super) open: bool,
}

#[derive(Debug)]
struct Invite {
    code: InviteCode,
    until: Instant,
    spent: bool,
}

/// A machine in a pairing conversation that it began.
#[derive(Debug)]
struct Guest {
    key: NodeId,
    exporter: [u8; 32],
    address: SocketAddr,
    until: Option<Instant>,
    hello: Option<(Label, [u8; 16], [u8; 16])>,
    /// Its request is on its way to the disk, and it waits for this machine's proof: a welcome before that would be
    /// that of a stranger.
    awaits_proof: bool,
}

#[derive(Debug)]
struct Offender {
    wrong: u32,
    last: Instant,
}

impl Door {
    pub(super) fn new(mut pending: BTreeMap<NodeId, Pending>, now: Now) -> Self {
        pending.retain(|_, it| !is_over(it, now.wall));
        Self {
            invites: Vec::new(),
            links: BTreeMap::new(),
            pending,
            offenders: BTreeMap::new(),
            deaf_until: Instant::START,
            redial_at: Some(now.boot),
            over_at: None,
            open: false,
        }
    }

    /// What open invites say by mDNS.
    pub(super) fn locators(&self, now: Instant) -> Locators {
        let newest_first = self.invites.iter().rev();
        let open = newest_first.filter(|invite| !invite.spent && invite.until > now);
        Locators::of(open.map(|invite| invite.code.locator()))
    }

    /// Whether a code is one of this machine's own.
    pub(super) fn made(&self, code: &InviteCode) -> bool {
        self.invites.iter().any(|invite| invite.code == *code)
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let invites = self.invites.iter().map(|invite| invite.until);
        let guests = self.links.values().filter_map(|guest| guest.until);
        let approved = self.pending.values().any(|it| it.fate == Fate::Approved);
        let redial = self.redial_at.filter(|_| approved);
        let others = redial.into_iter().chain(self.over_at);
        invites.chain(guests).chain(others).min()
    }

    /// Machines that wait for a person, or for their welcome.
    fn waiting(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values().filter(|it| it.fate != Fate::Denied)
    }

    /// Whether a machine that is no member has any business here: a code that is good or was, within its
    /// time, or a request of its own. (The inviter that this machine waits for is dealt with before.)
    fn serves(&self, key: NodeId, now: Instant) -> bool {
        self.pending.contains_key(&key) || self.invites.iter().any(|invite| invite.until > now)
    }

    fn is_paused(&self, address: SocketAddr, now: Instant) -> bool {
        self.offenders.get(&address.ip()).is_some_and(|it| {
            it.wrong >= limits::WRONG_CODES_MAX && now.since(it.last) < limits::WRONG_CODE_PAUSE
        })
    }

    fn count_wrong(&mut self, address: SocketAddr, now: Instant) {
        self.deaf_until = now.after(WRONG_CODE_GAP);
        self.offenders
            .retain(|_, it| now.since(it.last) < limits::WRONG_CODE_PAUSE);
        if self.offenders.len() >= OFFENDERS_MAX {
            let oldest = self.offenders.iter().min_by_key(|(_, it)| it.last);
            if let Some(ip) = oldest.map(|(ip, _)| *ip) {
                self.offenders.remove(&ip);
            }
        }
        let offender = self.offenders.entry(address.ip()).or_insert(Offender {
            wrong: 0,
            last: now,
        });
        offender.wrong += 1;
        offender.last = now;
    }
}

impl Hive {
    /// A pairing conversation began.
    pub fn on_pair_up(
        &mut self,
        now: Now,
        link: LinkId,
        key: NodeId,
        exporter: [u8; 32],
        address: SocketAddr,
        dialled: bool,
    ) {
        if self.joiner_takes(now, link, key, exporter, address, dialled) {
            return;
        }
        if dialled {
            self.bring_welcome(link, key);
            return;
        }
        // Whoever has asked already is no stranger, whatever others at its address did.
        if self.fate_of(key).is_some() {
            self.add_guest(now, link, key, exporter, address);
            return;
        }
        if !self.door.serves(key, now.boot) {
            self.end_pairing(link);
            return;
        }
        // Either passes, and a newcomer tries again.
        if self.door.links.len() >= LINKS_MAX || self.door.is_paused(address, now.boot) {
            self.refuse(link, Refusal::Wait);
            return;
        }
        self.add_guest(now, link, key, exporter, address);
    }

    /// A frame in a pairing conversation.
    pub fn on_pair_received(&mut self, now: Now, link: LinkId, bytes: &[u8]) {
        self.traffic.count_pairing(bytes);
        let Ok(frame) = PairFrame::decode(bytes) else {
            if !self.joiner_hears_garbage(now, link) {
                self.end_pairing(link);
            }
            return;
        };
        if self.joiner_hears(now, link, &frame) {
            return;
        }
        match frame {
            PairFrame::Hello { nonce, label } => self.on_hello(link, label, nonce),
            PairFrame::Proof { mac } => self.on_code_proof(now, link, &mac),
            PairFrame::Thanks => self.on_thanks(now, link),
            PairFrame::Waiting => self.on_waiting(link),
            PairFrame::TakenBack => self.on_taken_back(now, link),
            _ => self.end_pairing(link),
        }
    }

    /// A pairing conversation ended.
    pub fn on_pair_down(&mut self, now: Now, link: LinkId) {
        self.door.links.remove(&link);
        self.joiner_link_down(now, link);
    }

    /// A pairing dial reached nobody.
    pub fn on_pair_dial_failed(&mut self, now: Now, address: SocketAddr) {
        self.joiner_dial_failed(now, address);
    }

    pub(super) fn on_door_time(&mut self, now: Now) {
        let late: Vec<LinkId> = self
            .door
            .links
            .iter()
            .filter(|(_, guest)| guest.until.is_some_and(|until| until <= now.boot))
            .map(|(link, _)| *link)
            .collect();
        for link in late {
            self.end_pairing(link);
        }
        if self.door.redial_at.is_some_and(|at| at <= now.boot) {
            self.door.redial_at = Some(now.boot.after(REDIAL));
            let approved: Vec<NodeId> = self
                .door
                .pending
                .iter()
                .filter(|(_, it)| it.fate == Fate::Approved)
                .map(|(node, _)| *node)
                .collect();
            for node in approved {
                if self.roster.has(node) && self.guest_of(node).is_none() {
                    self.dial_back(node);
                }
            }
        }
        self.watch_door(now);
    }

    /// Tells the network whether strangers may speak, and what this machine says by mDNS.
    pub(super) fn watch_door(&mut self, now: Now) {
        self.door.invites.retain(|it| it.until > now.boot);
        let over: Vec<NodeId> = self
            .door
            .pending
            .iter()
            .filter(|(_, it)| is_over(it, now.wall))
            .map(|(node, _)| *node)
            .collect();
        for node in over {
            self.forget_pending(node);
        }
        let requests = self.door.pending.values().map(|it| it.since);
        let oldest = requests.chain(self.joiner_waits_since()).min();
        self.door.over_at = oldest.map(|since| {
            let waited = now.wall.0.saturating_sub(since.0);
            let left = limits::PENDING_LIFETIME.as_ms().saturating_sub(waited);
            now.boot.after(Span::from_ms(left.saturating_add(1)))
        });
        let open =
            !self.door.invites.is_empty() || !self.door.pending.is_empty() || self.joiner_waits();
        if open != self.door.open {
            self.door.open = open;
            self.outbox.push_back(HiveEffect::PairOpen(open));
        }
        self.say_beacon(now);
    }

    /// An admission is durable: bring the newcomer in, on its link or by dialling back.
    pub(super) fn welcome(&mut self, now: Now, node: NodeId) {
        if !self.door.pending.contains_key(&node) {
            return;
        }
        self.door.redial_at = Some(now.boot.after(REDIAL));
        match self.guest_of(node) {
            // It follows the proof.
            Some(link) if self.door.links.get(&link).is_some_and(|it| it.awaits_proof) => {}
            Some(link) => self.bring_welcome(link, node),
            None => self.dial_back(node),
        }
    }

    /// A member that is connected needs no welcome any more.
    pub(super) fn thanks_by_link(&mut self, now: Now, node: NodeId) {
        if matches!(self.fate_of(node), Some(Fate::Open | Fate::Approved)) {
            self.forget_pending(node);
            self.watch_door(now);
        }
    }

    /// Invites and requests belong to the hive that is left.
    pub(super) fn leave_door(&mut self) {
        self.door.invites.clear();
        let waiting: Vec<NodeId> = self.door.pending.keys().copied().collect();
        for node in waiting {
            self.forget_pending(node);
        }
    }

    pub(super) fn pair_send(&mut self, link: LinkId, frame: &PairFrame) {
        let frame = frame.encode();
        self.traffic.count_pairing(&frame);
        self.outbox.push_back(HiveEffect::PairSend { link, frame });
    }

    /// Says no and hangs up.
    pub(super) fn refuse(&mut self, link: LinkId, why: Refusal) {
        self.pair_send(link, &PairFrame::Refused(why));
        self.end_pairing(link);
    }

    pub(super) fn end_pairing(&mut self, link: LinkId) {
        self.door.links.remove(&link);
        self.outbox.push_back(HiveEffect::PairClose { link });
    }

    fn add_guest(
        &mut self,
        now: Now,
        link: LinkId,
        key: NodeId,
        exporter: [u8; 32],
        address: SocketAddr,
    ) {
        let guest = Guest {
            key,
            exporter,
            address,
            until: Some(now.boot.after(PROVE_PATIENCE)),
            hello: None,
            awaits_proof: false,
        };
        self.door.links.insert(link, guest);
    }

    fn on_hello(&mut self, link: LinkId, label: Label, theirs: [u8; 16]) {
        let ours = self.chance.bytes();
        match self.door.links.get_mut(&link) {
            Some(guest) if guest.hello.is_none() => {
                guest.hello = Some((label, theirs, ours));
                self.pair_send(link, &PairFrame::Challenge { nonce: ours });
            }
            _ => self.end_pairing(link),
        }
    }

    fn on_code_proof(&mut self, now: Now, link: LinkId, mac: &[u8; 32]) {
        let Some(guest) = self.door.links.get(&link) else {
            self.end_pairing(link);
            return;
        };
        let (key, address) = (guest.key, guest.address);
        let Some((label, _, _)) = guest.hello.clone() else {
            self.end_pairing(link);
            return;
        };
        if now.boot < self.door.deaf_until || self.door.is_paused(address, now.boot) {
            self.refuse(link, Refusal::Wait);
            return;
        }
        let found = self.match_code(now.boot, link, mac);
        let Some((index, words, mac)) = found else {
            self.door.count_wrong(address, now.boot);
            self.tell(Happening::WrongCode);
            self.refuse(link, Refusal::WrongCode);
            return;
        };
        if self.door.invites[index].spent {
            self.refuse(link, Refusal::Spent);
            return;
        }
        let fate = match self.fate_of_asker(key) {
            Ok(fate) => fate,
            Err(why) => {
                self.tell(Happening::AsksInVain { node: key.short() });
                self.refuse(link, why);
                return;
            }
        };
        self.door.invites[index].spent = true;
        let pending = Pending {
            label,
            words,
            address,
            since: now.wall,
            fate,
        };
        self.let_wait(now, link, key, pending, mac);
    }

    /// The code is proved: prove it back once the request is durable, and let a person decide.
    fn let_wait(&mut self, now: Now, link: LinkId, key: NodeId, pending: Pending, mac: [u8; 32]) {
        if let Some(guest) = self.door.links.get_mut(&link) {
            guest.until = None;
            guest.awaits_proof = true;
        }
        self.keep_newest(link);
        let record = meta::pending(key, Some(&pending));
        self.save(alloc::vec![record], AfterSave::Request { link, mac });
        if pending.fate == Fate::Open {
            self.tell(Happening::AsksToJoin {
                label: pending.label.as_str().into(),
            });
        }
        self.make_room();
        self.door.pending.insert(key, pending);
        self.watch_door(now);
    }

    /// The request would survive a power cut: the newcomer may rely on it.
    pub(super) fn on_request_durable(&mut self, link: LinkId, mac: [u8; 32]) {
        if let Some(guest) = self.door.links.get_mut(&link) {
            guest.awaits_proof = false;
            let hive = self.genesis.hive();
            self.pair_send(link, &PairFrame::Proved { hive, mac });
            self.welcome_if_approved(link);
        }
    }

    /// The code that a proof was made with: its place, the words, and the proof to answer with.
    fn match_code(
        &self,
        now: Instant,
        link: LinkId,
        mac: &[u8; 32],
    ) -> Option<(usize, [u16; 4], [u8; 32])> {
        let guest = self.door.links.get(&link)?;
        let (label, joiner_nonce, inviter_nonce) = guest.hello.as_ref()?;
        let mut matching = None;
        // Every code is tried, so that the time taken tells nothing.
        for (index, invite) in self.door.invites.iter().enumerate() {
            let handshake = Handshake {
                code: &invite.code,
                exporter: &guest.exporter,
                inviter: self.me,
                joiner: guest.key,
                inviter_nonce: *inviter_nonce,
                joiner_nonce: *joiner_nonce,
                label,
            };
            if same(&handshake.joiner_mac(), mac) && invite.until > now {
                let answer = handshake.inviter_mac(self.genesis.hive());
                matching = Some((index, handshake.words(), answer));
            }
        }
        matching
    }

    fn on_thanks(&mut self, now: Now, link: LinkId) {
        let Some(key) = self.door.links.get(&link).map(|guest| guest.key) else {
            self.end_pairing(link);
            return;
        };
        if self.fate_of(key) == Some(Fate::Approved) {
            self.forget_pending(key);
        }
        self.end_pairing(link);
        self.watch_door(now);
    }

    fn bring_welcome(&mut self, link: LinkId, key: NodeId) {
        let approved = self
            .door
            .pending
            .get(&key)
            .filter(|it| it.fate == Fate::Approved);
        if approved.is_none() || !self.roster.has(key) {
            self.end_pairing(link);
            return;
        }
        let address = approved.map(|it| it.address);
        if let Some(address) = address {
            self.door.links.entry(link).or_insert(Guest {
                key,
                exporter: [0; 32],
                address,
                until: None,
                hello: None,
                awaits_proof: false,
            });
        }
        let mut addresses = Vec::new();
        for node in &self.allowed {
            let address = self.links.address(*node).filter(|_| *node != key);
            addresses.extend(address.map(|address| (*node, address)));
        }
        addresses.truncate(ADDRESSES_MAX);
        let welcome = PairFrame::Welcome {
            genesis: self.genesis,
            secret: self.secret,
            addresses,
        };
        self.pair_send(link, &welcome);
    }

    fn dial_back(&mut self, node: NodeId) {
        if let Some(pending) = self.door.pending.get(&node) {
            self.outbox.push_back(HiveEffect::PairDial {
                address: pending.address,
                expect: Some(node),
            });
        }
    }

    fn guest_of(&self, node: NodeId) -> Option<LinkId> {
        let mut links = self.door.links.iter();
        let found = links.find(|(_, guest)| guest.key == node);
        found.map(|(link, _)| *link)
    }

    fn forget_pending(&mut self, node: NodeId) {
        if self.door.pending.remove(&node).is_some() {
            self.save(alloc::vec![meta::pending(node, None)], AfterSave::Nothing);
        }
    }
}

/// Whether a request waited too long. A calendar that was set back does not end it.
fn is_over(pending: &Pending, now: WallTime) -> bool {
    now.0.saturating_sub(pending.since.0) > limits::PENDING_LIFETIME.as_ms()
}
