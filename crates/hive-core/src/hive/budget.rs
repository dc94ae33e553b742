//! How much this machine may say in a day, and what it said: statements beyond the allowance wait
//! outside the map, because a signed root cannot leave anything out.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::statement::{Key, Statement};
use crate::time::{Instant, Span};

/// Payload bytes a day that all authors together may cost one node. Source: `research/replication.md` 4.7.
const PAYLOAD_BYTES_PER_DAY: u64 = 800_000;

/// What a message costs beyond its own bytes. Source: `research/transport.md` 3.1 (283 + 77 for 200).
const MESSAGE_OVERHEAD_BYTES: u64 = 160;

/// A delta's fixed part: author, numbers, signature. Counted from the encoding, rounded up.
const DELTA_BYTES: u64 = 130;

/// Key, batch number and time of an entry on the wire, rounded up.
const ENTRY_BYTES: u64 = 36;

/// Statements waiting at most: an author's whole map. Beyond it the least valuable go.
const WAITING_MAX: usize = crate::limits::MAP_ENTRIES_MAX;

const DAY: Span = Span::from_secs(86_400);

/// A token bucket that holds a day's worth of bytes.
#[derive(Clone, Debug)]
pub struct Allowance {
    tokens: u64,
    members: u64,
    filled: Instant,
}

/// Own statements that are not in the map yet: the newest per key.
#[derive(Clone, Debug, Default)]
pub struct Waiting(BTreeMap<Key, Statement>);

/// What [`Waiting::take`] took.
#[derive(Clone, Debug)]
pub struct Taken {
    /// To be said now.
    pub batch: Vec<Statement>,
    /// Whether more waits for the allowance, and not for room alone.
    pub starved: bool,
}

/// Bytes of frames with the transport's share estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All of them.
    pub bytes: u64,
}

impl Allowance {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            tokens: PAYLOAD_BYTES_PER_DAY / 2,
            members: 1,
            filled: now,
        }
    }

    /// Fills up for the time gone by. A hive of `members` shares the day's bytes.
    pub fn fill(&mut self, members: usize, now: Instant) {
        self.members = u64::try_from(members).unwrap_or(u64::MAX).max(1);
        let gone = now.since(self.filled).0;
        let earned = u128::from(self.capacity()) * u128::from(gone) / u128::from(DAY.0);
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned > 0 {
            self.filled = now;
        }
        self.tokens = self.tokens.saturating_add(earned).min(self.capacity());
    }

    /// When a batch of one statement may be said again.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Instant {
        let missing = (DELTA_BYTES + 4 * ENTRY_BYTES).saturating_sub(self.tokens);
        let wait = u128::from(missing) * u128::from(DAY.0) / u128::from(self.capacity().max(1));
        now.after(Span(u64::try_from(wait).unwrap_or(u64::MAX).max(1_000_000)))
    }

    fn capacity(&self) -> u64 {
        PAYLOAD_BYTES_PER_DAY / (2 * self.members)
    }
}

impl Waiting {
    /// Adds a statement; a newer one replaces an older one under the same key.
    pub fn push(&mut self, statement: Statement) {
        self.0.insert(statement.key(), statement);
        if self.0.len() > WAITING_MAX {
            let least = self.0.iter().max_by_key(|(_, held)| class(held));
            if let Some(key) = least.map(|(key, _)| *key) {
                self.0.remove(&key);
            }
        }
    }

    /// What waits under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Statement> {
        self.0.get(key)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something waits that is never held back.
    #[must_use]
    pub fn has_membership(&self) -> bool {
        self.0.values().any(is_membership)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes out what may be said now and `fits`, the most valuable first, and pays for it.
    pub fn take(
        &mut self,
        allowance: &mut Allowance,
        mut fits: impl FnMut(&Statement) -> bool,
    ) -> Taken {
        let mut keys: Vec<_> = self
            .0
            .iter()
            .map(|(key, held)| (class(held), *key))
            .collect();
        keys.sort_unstable();
        let mut batch = Vec::new();
        let mut starved = false;
        for (class, key) in keys {
            let Some(statement) = self.0.get(&key) else {
                continue;
            };
            let length = u64::try_from(statement.encode().len()).unwrap_or(u64::MAX);
            let start = if batch.is_empty() { DELTA_BYTES } else { 0 };
            let cost = length.saturating_add(ENTRY_BYTES + start);
            if class > 0 && cost > allowance.tokens {
                starved = true;
                break;
            }
            if !fits(statement) {
                continue;
            }
            allowance.tokens = allowance.tokens.saturating_sub(cost);
            batch.extend(self.0.remove(&key));
        }
        Taken { batch, starved }
    }
}

impl Traffic {
    /// Counts one frame.
    pub fn count(&mut self, frame: &[u8]) {
        let length = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.bytes = self
            .bytes
            .saturating_add(length)
            .saturating_add(MESSAGE_OVERHEAD_BYTES);
    }
}

/// Whether a statement tells who belongs, or how it is called.
#[must_use]
pub fn is_membership(statement: &Statement) -> bool {
    class(statement) == 0
}

/// The most valuable first: membership is never held back.
fn class(statement: &Statement) -> u8 {
    match statement {
        Statement::Admit(_)
        | Statement::Revoke(_)
        | Statement::Profile(_)
        | Statement::SetRole(_)
        | Statement::Forgive(_)
        | Statement::Farewell(_) => 0,
        Statement::Anomaly(_)
        | Statement::Retract(..)
        | Statement::Pattern(_)
        | Statement::Mark(..) => 1,
        Statement::Evidence(..) => 2,
        Statement::Strategy(..) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, PatternId};
    use crate::statement::{Admit, Role, StrategyCell};

    fn strategy(n: u8) -> Statement {
        Statement::Strategy(PatternId([n; 16]), StrategyCell::default())
    }

    fn take(waiting: &mut Waiting, allowance: &mut Allowance) -> Vec<Statement> {
        waiting.take(allowance, |_| true).batch
    }

    #[test]
    fn an_empty_bucket_holds_back_everything_but_membership() {
        let mut allowance = Allowance::new(Instant(0));
        allowance.fill(256, Instant(0));
        let mut waiting = Waiting::default();
        for n in 0..100 {
            waiting.push(strategy(n));
        }
        let said = take(&mut waiting, &mut allowance).len();
        assert!(said > 5 && said < 100, "{said}");
        assert!(take(&mut waiting, &mut allowance).is_empty());
        let node = NodeId([1; 32]);
        waiting.push(Statement::Admit(Admit {
            node,
            role: Role::Member,
            owner: node,
        }));
        assert_eq!(take(&mut waiting, &mut allowance).len(), 1);
        let before = waiting.len();
        allowance.fill(256, Instant(DAY.0));
        assert_eq!(take(&mut waiting, &mut allowance).len(), said);
        assert_eq!(waiting.len(), before - said);
    }

    #[test]
    fn patterns_go_before_counters() {
        use crate::statement::Mark;
        let mut allowance = Allowance::new(Instant(0));
        let mut waiting = Waiting::default();
        waiting.push(strategy(1));
        waiting.push(Statement::Mark(PatternId([2; 16]), Mark::Paused));
        let batch = take(&mut waiting, &mut allowance);
        assert!(matches!(batch[0], Statement::Mark(..)));
        assert_eq!(batch.len(), 2);
    }
}
