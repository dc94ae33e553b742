//! Finding out authors that say two things: what to do with a proof, and the daily comparison of heads
//! that finds the forks which comparing on arrival missed.
//!
//! One member tells another one hash of the heads it saw of each author. The other answers with the ids of its heads of
//! those authors where that differs, and is answered with the heads that contradict them, or may.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::chance::Chance;
use crate::event_log::Happening;
use crate::hive::outside::Lane;
use crate::hive::writer::AfterSave;
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::limits;
use crate::time::{Instant, Now, Span};
use crate::wire::{Frame, Head, RingMark, Trace};

/// The first comparison comes this long after a start, and up to as long again. A guess: a machine that
/// is switched off every night takes part, one that restarts in a loop does not fill the network.
const FIRST_AFTER: Span = Span::from_secs(600);

/// One member is answered with ids at most once in this time: somewhat less than an honest one leaves between two
/// comparisons even if it is started anew in between, because two clocks do not run alike.
const ANSWER_EVERY: Span = Span(FIRST_AFTER.0 / 10 * 9);

/// When the next comparison is due, and who was answered lately.
#[derive(Clone, Debug)]
pub(super) struct Audit {
    at: Instant,
    answered: BTreeMap<NodeId, Instant>,
}

impl Audit {
    pub(super) fn new(now: Instant, chance: &mut Chance) -> Self {
        let wait = Span(FIRST_AFTER.0 + chance.below(FIRST_AFTER.0));
        Self {
            at: now.after(wait),
            answered: BTreeMap::new(),
        }
    }

    /// Whether this member may be answered now; if so, that is noted.
    fn may_answer(&mut self, now: Instant, peer: NodeId) -> bool {
        self.answered.retain(|_, at| now.since(*at) < ANSWER_EVERY);
        if self.answered.contains_key(&peer) {
            return false;
        }
        self.answered.insert(peer, now);
        true
    }
}

impl Hive {
    pub(super) fn audit_wake(&self) -> Option<Instant> {
        self.links.any_connected().then_some(self.audit.at)
    }

    /// Tells one connected member, drawn by lot, what was seen here.
    pub(super) fn on_audit_time(&mut self, now: Now) {
        if now.boot < self.audit.at {
            return;
        }
        let connected = self.links.connected();
        let count = u64::try_from(connected.len()).unwrap_or(0);
        let pick = usize::try_from(self.chance.below(count)).unwrap_or(0);
        let Some(peer) = connected.get(pick).copied() else {
            return;
        };
        let salt = self.chance.bytes();
        let rings = self.store.ring_marks(salt, &self.stored());
        self.send(peer, Lane::Bulk, &Frame::Rings { salt, rings });
        self.audit.at = now.boot.after(limits::AUDIT_EVERY);
    }

    fn stored(&self) -> Vec<NodeId> {
        let authors = self.store.maps().map(|(author, _)| *author);
        let stored = authors.filter(|author| self.roster.stores(*author));
        stored.take(crate::wire::LINES_MAX).collect()
    }

    /// Answers with what was seen here of those authors of whom the sender saw something else. The answer may be forty
    /// times as long as the question, so a member that asks more often than a comparison is due is not answered.
    pub(super) fn on_rings(&mut self, now: Now, peer: NodeId, salt: [u8; 8], rings: &[RingMark]) {
        if !self.audit.may_answer(now.boot, peer) {
            return;
        }
        let differ = self.store.seen_otherwise(salt, &self.stored(), rings);
        let proofs: Vec<(Head, Head)> = differ
            .iter()
            .flat_map(|author| self.store.proofs(*author).copied())
            .collect();
        for (one, two) in proofs {
            self.send(peer, Lane::Urgent, &Frame::Proof(one, two));
        }
        let traces = self.store.traces(&differ);
        if !traces.is_empty() {
            self.send(peer, Lane::Bulk, &Frame::Audit(traces));
        }
    }

    /// Answers with the heads seen here that the sender did not see.
    pub(super) fn on_audit(&mut self, peer: NodeId, traces: &[Trace]) {
        let stored = traces
            .iter()
            .filter(|trace| self.roster.stores(trace.author));
        let heads: Vec<Head> = stored
            .filter_map(|trace| self.store.answer(trace).copied())
            .collect();
        let known: Vec<(Head, Head)> = traces
            .iter()
            .flat_map(|trace| self.store.proofs(trace.author).copied())
            .collect();
        for (one, two) in known {
            self.send(peer, Lane::Urgent, &Frame::Proof(one, two));
        }
        if !heads.is_empty() {
            self.send(peer, Lane::Bulk, &Frame::Heads(heads));
        }
    }

    /// Heads that another member saw.
    pub(super) fn on_heads(&mut self, now: Now, heads: &[Head]) {
        for head in heads {
            let known = self.store.proven_in(head.author);
            if self.roster.stores(head.author) && self.store.witness(head) {
                self.on_fork(now, head.author, &known);
            }
        }
    }

    /// A proof, held or not. Whoever sent one that goes after the held ones is told of those.
    pub(super) fn on_proof(&mut self, now: Now, peer: NodeId, one: &Head, two: &Head) {
        let author = one.author;
        if !self.roster.stores(author) {
            return;
        }
        let known = self.store.proven_in(author);
        if self.store.join_proof(one, two) {
            self.on_fork(now, author, &known);
            return;
        }
        let held: Vec<(Head, Head)> = self.store.proofs(author).copied().collect();
        if !held.contains(&(*one, *two)) && !held.contains(&(*two, *one)) {
            for (first, second) in held {
                self.send(peer, Lane::Urgent, &Frame::Proof(first, second));
            }
        }
    }

    /// Keeps a proof that was just taken in. The first one of an incarnation is told to everybody at once.
    pub(super) fn on_fork(&mut self, now: Now, author: NodeId, known: &[u32]) {
        self.changes.touch(author);
        let records = alloc::vec![
            meta::fork(author, self.store.fork(author)),
            meta::first_fork(author, self.store.first_fork(author)),
        ];
        self.save(records, AfterSave::Nothing);
        let held = self.store.proofs(author);
        let news: Vec<(Head, Head)> = held
            .filter(|(one, _)| !known.contains(&one.incarnation))
            .copied()
            .collect();
        if !news.is_empty() {
            self.tell(Happening::Forked {
                node: author.short(),
            });
            for peer in self.links.connected() {
                for (one, two) in &news {
                    self.send(peer, Lane::Urgent, &Frame::Proof(*one, *two));
                }
            }
            self.reset_repair(now);
        }
        self.refresh(now);
    }
}
