//! How much this machine may say in a day and when: statements beyond the allowance wait outside the map,
//! because a signed root cannot leave anything out. The most valuable go first, and what waits is told.
//!
//! | kind | waits at least | of a full bucket stay kept for what is above |
//! |---|---|---|
//! | who belongs, how it is called | never; it may leave a debt | - |
//! | a person's wish | never | 0 % |
//! | something unusual was seen, or is taken back | never | 2 % |
//! | pattern | 200 ms after the last batch | 5 % |
//! | evidence | 200 ms after the last batch | 10 % |
//! | counters | 15 min × members / 8 after the last counters | 50 % |
//!
//! Evidence goes with its pattern, and a counter with either of them: then it waits for nothing.
//!
//! A first word goes out at once; its followers wait for each other. When seven eighths of a bucket are spent,
//! batches of patterns and evidence wait for as long as it takes to earn three: what is said together costs least.

pub mod meter;
pub mod share;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::hive::budget::share::{
    ARP_LASTS, Allowance, DELTA_BYTES, ENTRY_BYTES, MESSAGE_BYTES, RELAYED_BYTES, SAME_ID_BYTES,
    arp_bytes_of_a_copy,
};
use crate::hive::neighbours::MESH_MEMBERS_MAX;
use crate::reply::WaitView;
use crate::statement::{Key, Statement};
use crate::time::{Instant, Span};

/// Statements waiting at most: an author's whole map. Beyond it the least valuable is given up, and counted.
const WAITING_MAX: usize = crate::limits::MAP_ENTRIES_MAX;

/// Patterns and evidence wait for each other so long. Source: `research/replication.md` 4.7.
const NEWS_GAP: Span = Span::from_ms(200);

/// Counters wait so long in a small hive, and longer in a larger one. Source: `research/replication.md` 4.7.
const COUNTERS_GAP: Span = Span::from_secs(900);

/// The least batch: one small entry.
const BATCH_BYTES: u64 = MESSAGE_BYTES + DELTA_BYTES + 2 * ENTRY_BYTES;

/// When bytes are scarce, a batch waits until so many could be paid. A guess: about ten statements then share what
/// each batch costs beyond them.
const SCARCE_BATCHES: u64 = 3;

/// Statements taken back in one batch at most. A guess: some 5 kB, which the members' own batches leave room for.
const REMOVALS_MAX: usize = 256;

/// What kind of statement it is, the most valuable first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Membership,
    Wish,
    Anomaly,
    Pattern,
    Evidence,
    Counter,
}

/// Own statements that are not in the map yet: the newest per key.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    held: BTreeMap<Key, Held>,
    order: u64,
    given_up: u64,
    said_at: Option<Instant>,
    /// Before this moment nothing of these kinds is said.
    news_from: Instant,
    counters_from: Instant,
}

/// What the statements of one batch cost.
#[derive(Debug)]
struct Price {
    /// What the batch costs before anything is in it; paid with the first statement.
    start: u64,
    said: BTreeSet<[u8; 16]>,
}

#[derive(Clone, Debug)]
struct Held {
    statement: Statement,
    /// Its place in the queue of its kind; kept when a newer statement takes it over.
    turn: u64,
}

/// What [`Waiting::take`] took.
#[derive(Clone, Debug)]
pub struct Taken {
    /// To be said now.
    pub batch: Vec<Statement>,
    /// When more may be said; none = nothing waits, or it waits for room alone.
    pub again: Option<Instant>,
}

impl Waiting {
    /// Adds a statement; a newer one replaces an older one under the same key.
    pub fn push(&mut self, statement: Statement) {
        self.order += 1;
        let key = statement.key();
        let turn = self.held.get(&key).map_or(self.order, |held| held.turn);
        self.held.insert(key, Held { statement, turn });
        if self.held.len() > WAITING_MAX {
            let value = |held: &Held| (class(&held.statement), held.turn);
            let least = self.held.iter().max_by_key(|(_, held)| value(held));
            if let Some(key) = least.map(|(key, _)| *key) {
                self.held.remove(&key);
                self.given_up += 1;
            }
        }
    }

    /// What waits under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Statement> {
        self.held.get(key).map(|held| &held.statement)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many were given up because more waited than a map can hold.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Whether something waits that is never held back.
    #[must_use]
    pub fn has_membership(&self) -> bool {
        self.held
            .values()
            .any(|held| is_membership(&held.statement))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes out what may be said now and `fits`, the most valuable first, and pays for it.
    pub fn take(
        &mut self,
        now: Instant,
        members: usize,
        allowance: &mut Allowance,
        mut fits: impl FnMut(&Statement) -> bool,
    ) -> Taken {
        let mut queue: Vec<_> = self
            .held
            .iter()
            .map(|(key, held)| (class(&held.statement), held.turn, *key))
            .collect();
        queue.sort_unstable();
        let mut batch = Vec::new();
        let mut again: Option<Instant> = None;
        let (mut said_counters, mut spent) = (false, false);
        // Of these patterns the definition or the numbers are in the batch.
        let mut told: BTreeSet<[u8; 16]> = BTreeSet::new();
        // A hive of one has nobody to spare.
        let alone = members <= 1;
        let mut price = Price::of_a_batch(self.said_at, now, members);
        for (class, _, key) in queue {
            let Some(statement) = self.get(&key) else {
                continue;
            };
            let cost = price.of(&key, statement);
            // A pattern without its numbers says nothing. Beside them a counter costs a few bytes, by itself later a
            // whole message; and until it is said, a crash forgets it.
            let rides = class > Class::Pattern && told.contains(&key.id);
            let from = self.not_before(class);
            if now < from && !alone && !rides {
                again = Some(again.map_or(from, |again| again.min(from)));
                continue;
            }
            let kept = class.kept_percent();
            let free = alone || class == Class::Membership || rides;
            if !free && spent {
                continue;
            }
            if !free && !allowance.affords(cost, kept) {
                // Nothing that is worth less overtakes it.
                spent = true;
                let ready = allowance.ready_at(cost, kept, now);
                again = Some(again.map_or(ready, |again| again.min(ready)));
                continue;
            }
            if !fits(statement) {
                continue;
            }
            if !alone {
                allowance.pay(cost);
            }
            price.took(&key);
            said_counters |= class == Class::Counter && now >= from;
            if matches!(class, Class::Pattern | Class::Evidence) {
                told.insert(key.id);
            }
            batch.extend(self.held.remove(&key).map(|held| held.statement));
        }
        self.pace(now, members, allowance, &batch, said_counters);
        Taken { batch, again }
    }

    /// Pays for a batch of removals alone: how many there are bytes for, or when there are for one.
    pub fn pay_for_removals(
        &mut self,
        now: Instant,
        members: usize,
        allowance: &mut Allowance,
        count: usize,
    ) -> Result<usize, Instant> {
        let start = Price::of_a_batch(self.said_at, now, members).start;
        let cost = |count: usize| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            count.saturating_mul(ENTRY_BYTES).saturating_add(start)
        };
        // A full bucket pays anything, so that nothing waits for ever; a batch is no larger for that.
        let least = cost(count.min(1));
        if !allowance.affords(least, 0) {
            return Err(allowance.ready_at(least, 0, now));
        }
        let paid = (1..=count).take_while(|count| allowance.has(cost(*count)));
        let paid = paid.last().unwrap_or(count.min(1));
        let paid = paid.min(REMOVALS_MAX);
        allowance.pay(cost(paid));
        self.said_at = Some(now);
        Ok(paid)
    }

    /// What waits, by kind, and why.
    #[must_use]
    pub fn view(
        &self,
        now: Instant,
        silent: Option<Instant>,
        allowance: &Allowance,
    ) -> Vec<WaitView> {
        let mut counts: BTreeMap<Class, (usize, u64)> = BTreeMap::new();
        for held in self.held.values() {
            let (count, least) = counts
                .entry(class(&held.statement))
                .or_insert((0, u64::MAX));
            *count += 1;
            *least = (*least).min(length(&held.statement));
        }
        let view = |(class, (count, least)): (Class, (usize, u64))| {
            let cost = least.saturating_add(ENTRY_BYTES + MESSAGE_BYTES + DELTA_BYTES);
            let kept = class.kept_percent();
            let from = self.not_before(class);
            let (why, until) = if let Some(silent) = silent.filter(|until| now < *until) {
                (
                    "this machine first asks the others what it said before",
                    Some(silent),
                )
            } else if class != Class::Membership && !allowance.affords(cost, kept) {
                let ready = allowance.ready_at(cost, kept, now);
                ("today's bytes are spent", Some(ready))
            } else if now < from {
                ("they are said together with others", Some(from))
            } else {
                (
                    "the own map has no room, or the disk has not answered",
                    None,
                )
            };
            WaitView {
                kind: String::from(class.name()),
                count,
                why: String::from(why),
                ready_s: until.map(|until| until.since(now).as_ms() / 1_000),
            }
        };
        counts.into_iter().map(view).collect()
    }

    fn not_before(&self, class: Class) -> Instant {
        match class {
            Class::Membership | Class::Wish | Class::Anomaly => Instant::START,
            Class::Pattern | Class::Evidence => self.news_from,
            Class::Counter => self.counters_from,
        }
    }

    /// After a batch, its followers wait for each other.
    fn pace(
        &mut self,
        now: Instant,
        members: usize,
        allowance: &Allowance,
        batch: &[Statement],
        said_counters: bool,
    ) {
        if batch.is_empty() {
            return;
        }
        self.said_at = Some(now);
        let gap = if allowance.is_scarce() {
            let some = SCARCE_BATCHES * BATCH_BYTES;
            allowance.time_to_earn(some.min(allowance.worth_waiting_for()))
        } else {
            NEWS_GAP
        };
        self.news_from = now.after(gap.max(NEWS_GAP));
        if said_counters {
            let eighths = u64::try_from(members).unwrap_or(u64::MAX).max(8);
            let gap = (COUNTERS_GAP.0 / 8).saturating_mul(eighths);
            self.counters_from = now.after(Span(gap));
        }
    }
}

impl Price {
    fn of_a_batch(last: Option<Instant>, now: Instant, members: usize) -> Self {
        let known = last.is_some_and(|last| now.since(last) < ARP_LASTS);
        let arp = if known {
            0
        } else {
            arp_bytes_of_a_copy(members)
        };
        let relayed = if members > MESH_MEMBERS_MAX {
            RELAYED_BYTES
        } else {
            0
        };
        Self {
            start: MESSAGE_BYTES + arp + DELTA_BYTES + relayed,
            said: BTreeSet::new(),
        }
    }

    fn of(&self, key: &Key, statement: &Statement) -> u64 {
        let entry = if self.said.contains(&key.id) {
            SAME_ID_BYTES
        } else {
            ENTRY_BYTES
        };
        length(statement).saturating_add(self.start + entry)
    }

    fn took(&mut self, key: &Key) {
        self.start = 0;
        self.said.insert(key.id);
    }
}

impl Class {
    /// How much of a full bucket this kind leaves for those that are worth more. A guess, but for the order.
    fn kept_percent(self) -> u64 {
        match self {
            Self::Membership | Self::Wish => 0,
            Self::Anomaly => 2,
            Self::Pattern => 5,
            Self::Evidence => 10,
            Self::Counter => 50,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::Wish => "wish",
            Self::Anomaly => "anomaly",
            Self::Pattern => "pattern",
            Self::Evidence => "evidence",
            Self::Counter => "counter",
        }
    }
}

/// Whether a statement tells who belongs, or how it is called.
#[must_use]
pub fn is_membership(statement: &Statement) -> bool {
    class(statement) == Class::Membership
}

fn class(statement: &Statement) -> Class {
    match statement {
        Statement::Admit(_)
        | Statement::Revoke(_)
        | Statement::Profile(_)
        | Statement::SetRole(_)
        | Statement::Forgive(_)
        | Statement::Farewell(_)
        | Statement::Rotate(_) => Class::Membership,
        Statement::Anomaly(_) | Statement::Retract(..) => Class::Anomaly,
        Statement::Mark(..) => Class::Wish,
        Statement::Pattern(_) => Class::Pattern,
        Statement::Evidence(..) => Class::Evidence,
        Statement::Strategy(..) => Class::Counter,
    }
}

fn length(statement: &Statement) -> u64 {
    u64::try_from(statement.encode().len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
