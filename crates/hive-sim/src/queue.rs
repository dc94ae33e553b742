//! What will happen, in order of world time; of two things at one moment the one planned first comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A moment of the world, in microseconds since it began. No node ever sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// So many microseconds later.
    #[must_use]
    pub const fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`; zero if that lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One queue for the whole world.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Planned<T>>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<T> {
    at: Moment,
    tie: u64,
    what: T,
}

impl<T> Queue<T> {
    /// An empty future.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// Plans something.
    pub fn plan(&mut self, at: Moment, what: T) {
        self.planned += 1;
        self.heap.push(Reverse(Planned {
            at,
            tie: self.planned,
            what,
        }));
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Moment> {
        self.heap.peek().map(|planned| planned.0.at)
    }

    /// Takes the next thing.
    pub fn take(&mut self) -> Option<(Moment, T)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.what))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_and_then_of_planning() {
        let mut queue = Queue::new();
        queue.plan(Moment(2), 'c');
        queue.plan(Moment(1), 'a');
        queue.plan(Moment(1), 'b');
        let order: String = std::iter::from_fn(|| queue.take().map(|(_, what)| what)).collect();
        assert_eq!(order, "abc");
    }
}
