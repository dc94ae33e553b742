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
    /// What is known of a difference that stays.
    vain: Vain,
}

/// Members of different versions may differ for as long as one is not updated: one keeps what the other does not store.
/// RFC 6206 asks at its shortest interval as long as there is a difference, which cost such a hive 58 to 75 kB per member
/// and minute (`hive-lab mixed`, decision 0035). What is asked again and again without anything coming of it is asked ever more rarely.
#[derive(Clone, Copy, Debug, Default)]
struct Vain {
    /// What was held when a difference was met last.
    revision: u64,
    /// Whether one was met in this interval.
    met: bool,
    /// Intervals with a difference, one after the other, in which nothing new came.
    intervals: u32,
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
            vain: Vain::default(),
        }
    }
}

impl Vain {
    /// A difference was met. Whatever came since the last one gives hope again.
    fn meet(&mut self, revision: u64) {
        if self.revision != revision {
            *self = Self {
                revision,
                ..Self::default()
            };
        }
        self.met = true;
    }

    fn end_of_interval(&mut self) {
        if self.met {
            self.intervals = self.intervals.saturating_add(1);
        }
        self.met = false;
    }

    /// The interval that is worth asking in.
    fn interval(&self) -> Span {
        let doubled = 1_u64.checked_shl(self.intervals).unwrap_or(u64::MAX);
        let interval = limits::REPAIR_MIN.0.saturating_mul(doubled);
        Span(interval.min(limits::REPAIR_MAX.0))
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
        let mut vain = self.repair.vain;
        vain.end_of_interval();
        self.repair = Repair {
            vain,
            ..Repair::with(interval, now.boot, &mut self.chance)
        };
    }

    /// A peer holds something else: soon asked about, unless that has been in vain.
    pub(super) fn differs(&mut self, now: Now) {
        let mut vain = self.repair.vain;
        vain.meet(self.changes.revision());
        let interval = vain.interval();
        if self.repair.interval > interval || self.repair.at <= now.boot {
            self.repair = Repair::with(interval, now.boot, &mut self.chance);
        }
        self.repair.vain = vain;
        self.repair.agreed = false;
    }

    /// Something happened after which it is worth asking soon.
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
