//! The joining side: find the inviter, prove the code, wait for a person, enter the other hive.

mod again;
mod errors;
mod seek;

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::hive::Hive;
use crate::hive::invite::{Handshake, InviteCode, same};
use crate::hive::joining::errors::{
    already_in, bad_pass, gone, made_here, not_alone, not_found, other_hive, refusal, refused,
    silent,
};
use crate::hive::joining::seek::Aim;
use crate::hive::meta::{self, Proved};
use crate::hive::ticket::Pass;
use crate::hive::words;
use crate::hive::writer::AfterSave;
use crate::id::{HiveId, LinkId, NodeId};
use crate::limits;
use crate::reply::{CommandError, JoinStage, JoinView};
use crate::time::{Instant, Now, Span, WallTime};
use crate::wire::{Genesis, PairFrame, Refusal};

/// How long the inviter is looked for and the code proved. Source: a guess; a person waits.
const FIND_PATIENCE: Span = Span::from_secs(15);

/// Pause between two questions or dials while looking. A little over the inviter's gap after a wrong code.
const RETRY: Span = Span::from_ms(1_100);

/// One attempt to join, in whatever stage.
#[derive(Debug)]
pub(super) struct Joining {
    stage: JoinStage,
    /// Unknown for a request of an earlier life.
    started: Option<Instant>,
    until: Option<Instant>,
    retry_at: Option<Instant>,
    code: Option<InviteCode>,
    aim: Aim,
    dialling: BTreeSet<SocketAddr>,
    /// Since when one machine is dialled or spoken with.
    busy_since: Instant,
    /// Heard of, but without a proof that they know the code.
    failed: BTreeSet<SocketAddr>,
    /// Dials to an inviter that was lost while this machine waits.
    asked_again: u32,
    talk: Option<Talk>,
    proved: Option<Proved>,
    /// When it came to nothing.
    failed_at: Option<Instant>,
    /// Kept after the welcome too: a person may look only then.
    words: Option<String>,
    found_ms: Option<f64>,
    proved_ms: Option<f64>,
    member_ms: Option<f64>,
    /// Somebody was heard to hold the same since this machine is a member.
    whole: bool,
    error: Option<CommandError>,
}

/// A conversation with the inviter.
#[derive(Clone, Copy, Debug)]
struct Talk {
    link: LinkId,
    key: NodeId,
    exporter: [u8; 32],
    address: SocketAddr,
    nonce: [u8; 16],
    theirs: Option<[u8; 16]>,
}

/// The other hive, on its way to the disk.
#[derive(Debug)]
pub(super) struct Adopted {
    genesis: Genesis,
    secret: [u8; 32],
    sponsor: NodeId,
    link: LinkId,
    addresses: Vec<(NodeId, SocketAddr)>,
}

impl Joining {
    fn new(code: InviteCode, aim: Aim, now: Instant) -> Self {
        Self {
            stage: JoinStage::Seeking,
            started: Some(now),
            until: Some(now.after(FIND_PATIENCE)),
            retry_at: Some(now),
            code: Some(code),
            aim,
            dialling: BTreeSet::new(),
            busy_since: now,
            failed: BTreeSet::new(),
            asked_again: 0,
            talk: None,
            proved: None,
            failed_at: None,
            words: None,
            found_ms: None,
            proved_ms: None,
            member_ms: None,
            whole: false,
            error: None,
        }
    }

    /// A request that was proved before a restart and still waits for a person.
    pub(super) fn restored(proved: Proved) -> Self {
        Self {
            stage: JoinStage::Waiting,
            started: None,
            until: None,
            retry_at: Some(Instant::START),
            code: None,
            aim: Aim::default(),
            dialling: BTreeSet::new(),
            busy_since: Instant::START,
            failed: BTreeSet::new(),
            asked_again: 0,
            talk: None,
            proved: Some(proved),
            failed_at: None,
            words: Some(words::line(&proved.words)),
            found_ms: None,
            proved_ms: None,
            member_ms: None,
            whole: false,
            error: None,
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.until.into_iter().chain(self.retry_at).min()
    }

    fn view(&self) -> JoinView {
        JoinView {
            stage: self.stage,
            words: self.words.clone(),
            found_ms: self.found_ms,
            proved_ms: self.proved_ms,
            member_ms: self.member_ms,
            whole: self.whole,
            // Before that, it is only what a machine without a proof said.
            error: self
                .error
                .clone()
                .filter(|_| self.stage == JoinStage::Failed),
        }
    }

    fn fail(&mut self, error: CommandError, now: Instant) {
        self.stage = JoinStage::Failed;
        self.failed_at = Some(now);
        self.error = Some(error);
        self.until = None;
        self.retry_at = None;
        self.talk = None;
        self.dialling.clear();
        self.proved = None;
        self.words = None;
    }

    /// Milliseconds since it began.
    fn took(&self, now: Instant) -> Option<f64> {
        Some(ms(now.since(self.started?)))
    }

    fn retry(&mut self, now: Instant) {
        self.stage = JoinStage::Seeking;
        self.aim.tried = 0;
        self.talk = None;
        self.dialling.clear();
        self.retry_at = Some(now.after(RETRY));
    }
}

impl Hive {
    /// Enters the hive that a code belongs to; possible only while alone.
    pub fn join(
        &mut self,
        now: Now,
        text: &str,
        at: Option<SocketAddr>,
    ) -> Result<JoinView, CommandError> {
        let pass: Pass = text.parse().map_err(|error| bad_pass(&error))?;
        self.check_may_join(&pass, at)?;
        let aim = Aim::of(&pass, at);
        let code = pass.code().clone();
        self.forget_request();
        self.joining = Some(Joining::new(code, aim, now.boot));
        self.watch_door(now);
        self.on_join_time(now);
        Ok(self.join_state(now))
    }

    fn check_may_join(&self, pass: &Pass, at: Option<SocketAddr>) -> Result<(), CommandError> {
        let count = self.roster.order().len();
        let others = count > 1 || self.sponsor.is_some();
        match pass {
            Pass::Ticket(ticket) if ticket.inviter() == self.me => Err(made_here()),
            Pass::Ticket(ticket) if others && ticket.leads_into(self.genesis.hive()) => {
                Err(already_in())
            }
            // Nobody else on the network has it open; who is named can say so.
            _ if at.is_none() && self.door.made(pass.code()) => Err(made_here()),
            _ if others && self.is_out() => Err(gone(self.out_words().unwrap_or_default())),
            _ if others => Err(not_alone(count.max(2), matches!(pass, Pass::Ticket(_)))),
            _ => Ok(()),
        }
    }

    /// How far a join has come.
    #[must_use]
    pub fn join_state(&self, _now: Now) -> JoinView {
        self.joining
            .as_ref()
            .map_or_else(JoinView::default, Joining::view)
    }

    pub(super) fn joiner_waits(&self) -> bool {
        self.joining
            .as_ref()
            .is_some_and(|joining| joining.stage == JoinStage::Waiting)
    }

    pub(super) fn joiner_waits_since(&self) -> Option<WallTime> {
        let joining = self.joining.as_ref().filter(|_| self.joiner_waits())?;
        Some(joining.proved?.since)
    }

    pub(super) fn on_join_time(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        if let Some(proved) = joining.proved
            && joining.stage == JoinStage::Waiting
            && now.wall.0.saturating_sub(proved.since.0) > limits::PENDING_LIFETIME.as_ms()
        {
            self.fail_join(
                now,
                refused("join.expired", "nobody approved within 24 hours"),
            );
            return;
        }
        if joining.until.is_some_and(|until| until <= now.boot) {
            let told = joining.error.take();
            let error = if let Some(told) = told {
                told
            } else if joining.found_ms.is_some() {
                silent()
            } else {
                not_found(&joining.aim)
            };
            self.fail_join(now, error);
            return;
        }
        if joining.retry_at.is_none_or(|at| at > now.boot) {
            return;
        }
        match joining.stage {
            JoinStage::Seeking | JoinStage::Proving => {}
            JoinStage::Waiting => {
                self.ask_again(now);
                return;
            }
            JoinStage::None | JoinStage::Member | JoinStage::Failed => return,
        }
        if joining.aim.places.is_empty() {
            self.seek_heard(now);
        } else {
            self.seek_named(now);
        }
    }

    /// Whether this conversation is the joiner's own.
    pub(super) fn joiner_takes(
        &mut self,
        now: Now,
        link: LinkId,
        key: NodeId,
        exporter: [u8; 32],
        address: SocketAddr,
        dialled: bool,
    ) -> bool {
        let nonce = self.chance.bytes();
        let Some(joining) = &mut self.joining else {
            return false;
        };
        let talk = Talk {
            link,
            key,
            exporter,
            address,
            nonce,
            theirs: None,
        };
        let expected = joining.proved.map(|proved| proved.inviter);
        if joining.stage == JoinStage::Waiting && expected == Some(key) {
            joining.talk = Some(talk);
            joining.retry_at = None;
            if dialled {
                self.pair_send(link, &PairFrame::Waiting);
            }
            return true;
        }
        if !dialled || joining.stage != JoinStage::Seeking || joining.dialling.is_empty() {
            return false;
        }
        // The transport has seen to it; a late answer of an earlier attempt may be somebody else's.
        if joining.aim.key.is_some_and(|wanted| wanted != key) {
            return false;
        }
        joining.talk = Some(talk);
        joining.dialling.clear();
        joining.stage = JoinStage::Proving;
        joining.found_ms = joining.found_ms.or(joining.took(now.boot));
        let label = self.label.clone();
        self.pair_send(link, &PairFrame::Hello { nonce, label });
        true
    }

    /// Whether this frame belongs to the joiner's conversation; if so, it is dealt with.
    pub(super) fn joiner_hears(&mut self, now: Now, link: LinkId, frame: &PairFrame) -> bool {
        let Some(joining) = &mut self.joining else {
            return false;
        };
        let Some(talk) = joining.talk.filter(|talk| talk.link == link) else {
            return false;
        };
        match (joining.stage, frame) {
            (JoinStage::Proving, PairFrame::Challenge { nonce }) if talk.theirs.is_none() => {
                joining.talk = Some(Talk {
                    theirs: Some(*nonce),
                    ..talk
                });
                self.send_proof(link);
            }
            (JoinStage::Proving, PairFrame::Proved { hive, mac }) => {
                self.on_inviter_proved(now, talk, *hive, mac);
            }
            (JoinStage::Proving, PairFrame::Refused(Refusal::Wait)) => joining.retry(now.boot),
            (JoinStage::Proving, PairFrame::Refused(why)) => {
                self.unproved(now, link, Some(refusal(*why)));
            }
            // It may pass; the request is kept there.
            (JoinStage::Waiting, PairFrame::Refused(Refusal::Wait | Refusal::Full)) => {
                self.end_pairing(link);
                self.joiner_link_down(now, link);
            }
            (JoinStage::Waiting, PairFrame::Refused(why)) => self.fail_join(now, refusal(*why)),
            (
                JoinStage::Waiting,
                PairFrame::Welcome {
                    genesis,
                    secret,
                    addresses,
                },
            ) => self.on_welcome(now, talk, *genesis, *secret, addresses.clone()),
            (JoinStage::Proving, _) => self.unproved(now, link, None),
            _ => self.end_pairing(link),
        }
        true
    }

    /// Whether something unreadable came in the joiner's own conversation.
    pub(super) fn joiner_hears_garbage(&mut self, now: Now, link: LinkId) -> bool {
        let joining = self.joining.as_ref();
        let mine = joining.is_some_and(|joining| {
            joining.stage == JoinStage::Proving && joining.talk.is_some_and(|it| it.link == link)
        });
        if mine {
            self.unproved(now, link, None);
        }
        mine
    }

    /// An answer of a machine that has not proved that it knows the code. It ends the attempt only if a
    /// person named that machine; a locator that was heard can be anybody's copy.
    fn unproved(&mut self, now: Now, link: LinkId, error: Option<CommandError>) {
        let named = self
            .joining
            .as_ref()
            .is_some_and(|it| !it.aim.places.is_empty());
        match error {
            Some(error) if named => self.fail_join(now, error),
            _ if named => {
                self.end_pairing(link);
                self.joiner_link_down(now, link);
            }
            error => self.try_another(now, error),
        }
    }

    pub(super) fn joiner_link_down(&mut self, now: Now, link: LinkId) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        if joining.talk.is_some_and(|talk| talk.link == link) {
            joining.talk = None;
            match joining.stage {
                JoinStage::Proving => joining.retry(now.boot),
                JoinStage::Waiting => joining.retry_at = Some(joining.asks_again_at(now.boot)),
                _ => {}
            }
        }
    }

    /// The other hive is durable: this machine is one of its members from now on.
    pub(super) fn on_adopted(&mut self, now: Now, adopted: &Adopted) {
        for (node, address) in &adopted.addresses {
            self.links.learn(*node, *address);
        }
        self.pair_send(adopted.link, &PairFrame::Thanks);
        if let Some(joining) = &mut self.joining {
            joining.stage = JoinStage::Member;
            joining.member_ms = joining.took(now.boot);
            joining.until = None;
            joining.retry_at = None;
            joining.dialling.clear();
            joining.talk = None;
            joining.code = None;
        }
        self.enter(now, adopted.genesis, adopted.secret, Some(adopted.sponsor));
    }

    /// A member holds the same as this machine.
    pub(super) fn joiner_is_whole(&mut self) {
        if let Some(joining) = &mut self.joining {
            joining.whole |= joining.stage == JoinStage::Member;
        }
    }

    fn send_proof(&mut self, link: LinkId) {
        if let Some((mac,)) = self.handshake(|it| (it.joiner_mac(),)) {
            self.pair_send(link, &PairFrame::Proof { mac });
        }
    }

    fn on_inviter_proved(&mut self, now: Now, talk: Talk, hive: HiveId, mac: &[u8; 32]) {
        let expected = self.handshake(|it| (it.inviter_mac(hive), it.words()));
        let Some((_, words)) = expected.filter(|(ours, _)| same(ours, mac)) else {
            let error = refused(
                "join.impostor",
                "the machine that answered does not know the code",
            );
            self.unproved(now, talk.link, Some(error));
            return;
        };
        let promised = self.joining.as_ref().and_then(|it| it.aim.hive);
        if promised.is_some_and(|mark| mark != hive.0[..8]) {
            self.unproved(now, talk.link, Some(other_hive()));
            return;
        }
        let proved = Proved {
            inviter: talk.key,
            hive,
            address: talk.address,
            words,
            since: now.wall,
        };
        if let Some(joining) = &mut self.joining {
            joining.stage = JoinStage::Waiting;
            joining.proved = Some(proved);
            joining.words = Some(words::line(&proved.words));
            joining.proved_ms = joining.took(now.boot);
            joining.until = None;
            joining.retry_at = None;
            joining.code = None;
            joining.error = None;
        }
        self.save(
            alloc::vec![meta::joining(Some(&proved))],
            AfterSave::Nothing,
        );
        self.watch_door(now);
    }

    fn on_welcome(
        &mut self,
        now: Now,
        talk: Talk,
        genesis: Genesis,
        secret: [u8; 32],
        mut addresses: Vec<(NodeId, SocketAddr)>,
    ) {
        let promised = self.joining.as_ref().and_then(|joining| joining.proved);
        let genuine =
            promised.is_some_and(|it| it.hive == genesis.hive() && it.inviter == talk.key);
        if !genuine || self.roster.order().len() > 1 {
            self.end_pairing(talk.link);
            self.fail_join(
                now,
                refused("join.impostor", "the welcome is for another hive"),
            );
            return;
        }
        if let Some(joining) = &mut self.joining {
            // One welcome is enough; a second one on this link is out of turn.
            joining.proved = None;
        }
        addresses.push((talk.key, talk.address));
        let mut records = self.records_to_leave(&genesis, &secret);
        records.push(meta::sponsor(Some(talk.key)));
        records.push(meta::joining(None));
        for (node, address) in &addresses {
            records.push(meta::addresses(*node, Some(&alloc::vec![*address])));
        }
        let adopted = Adopted {
            genesis,
            secret,
            sponsor: talk.key,
            link: talk.link,
            addresses,
        };
        self.save(records, AfterSave::Adopted(adopted));
    }

    fn handshake<T>(&self, with: impl FnOnce(&Handshake<'_>) -> T) -> Option<T> {
        let joining = self.joining.as_ref()?;
        let talk = joining.talk?;
        Some(with(&Handshake {
            code: joining.code.as_ref()?,
            exporter: &talk.exporter,
            inviter: talk.key,
            joiner: self.me,
            inviter_nonce: talk.theirs?,
            joiner_nonce: talk.nonce,
            label: &self.label,
        }))
    }

    fn fail_join(&mut self, now: Now, error: CommandError) {
        self.forget_request();
        if let Some(joining) = &mut self.joining {
            joining.fail(error, now.boot);
        }
        self.watch_door(now);
    }
}

fn ms(span: Span) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for showing only")]
    let us = span.0 as f64;
    us / 1e3
}
