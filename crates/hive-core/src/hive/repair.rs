//! The repair timer: asks a peer whether both hold the same, at first soon and then ever more rarely.

use crate::chance::Chance;
use crate::hive::Hive;
use crate::id::NodeId;
use crate::limits;
use crate::time::{Instant, Now, Span};

/// Whoever was given a whole map asks again this long after the last one, for what one answer had no room for. A
/// guess: above the time that one map takes to be checked, below what a person notices.
const CATCHING_UP: Span = Span::from_ms(50);

/// The Trickle timer (RFC 6206, k = 1). Differs from the RFC: it asks one member, not all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    interval: Span,
    at: Instant,
    /// Somebody was heard to hold the same in this interval.
    pub(super) agreed: bool,
    /// Gave whole maps lately, and may have more.
    giver: Option<NodeId>,
}

impl Repair {
    pub(super) fn new(now: Instant, chance: &mut Chance) -> Self {
        Self::with(limits::REPAIR_MIN, now, chance)
    }

    fn with(interval: Span, now: Instant, chance: &mut Chance) -> Self {
        let half = interval.0 / 2;
        Self {
            interval,
            at: now.after(Span(half + chance.below(half.max(1)))),
            agreed: false,
            giver: None,
        }
    }
}

impl Hive {
    pub(super) fn repair_wake(&self) -> Option<Instant> {
        self.links.any_connected().then_some(self.repair.at)
    }

    pub(super) fn on_repair_time(&mut self, now: Now) {
        if now.boot < self.repair.at {
            return;
        }
        let connected = self.links.connected();
        let count = u64::try_from(connected.len()).unwrap_or(0);
        let pick = usize::try_from(self.chance.below(count)).unwrap_or(0);
        let giver = self.repair.giver.filter(|peer| connected.contains(peer));
        if let Some(peer) = giver.or_else(|| connected.get(pick).copied())
            && !self.repair.agreed
        {
            self.probe(peer);
        }
        let interval = Span((self.repair.interval.0 * 2).min(limits::REPAIR_MAX.0));
        self.repair = Repair::with(interval, now.boot, &mut self.chance);
    }

    pub(super) fn reset_repair(&mut self, now: Now) {
        if self.repair.interval != limits::REPAIR_MIN || self.repair.at <= now.boot {
            self.repair = Repair::new(now.boot, &mut self.chance);
        }
        self.repair.agreed = false;
    }

    /// Asks the giver of a whole map again as soon as no more come: one answer has room for a few only.
    pub(super) fn catch_up(&mut self, now: Now, giver: NodeId) {
        self.repair.at = now.boot.after(CATCHING_UP);
        self.repair.giver = Some(giver);
    }
}
