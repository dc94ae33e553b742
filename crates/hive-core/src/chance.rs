//! The one source of chance, seeded once by the world outside.

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

/// A reproducible stream of random numbers: the same seed gives the same life.
#[derive(Clone)]
pub struct Chance(ChaCha12Rng);

impl core::fmt::Debug for Chance {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Chance(..)")
    }
}

impl Chance {
    /// Starts a stream. Real nodes get their seed from the operating system, simulated ones from the world.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Fills an array with random bytes, fit for secrets when the seed was.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`, without bias; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Rejection sampling: throw away the incomplete last interval of 2^64 / bound.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return draw % bound;
            }
        }
    }

    /// `true` half of the time.
    pub fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_life() {
        let mut one = Chance::from_seed([7; 32]);
        let mut two = Chance::from_seed([7; 32]);
        assert_eq!(one.bytes::<40>(), two.bytes::<40>());
        assert_eq!(one.below(10), two.below(10));
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut chance = Chance::from_seed([1; 32]);
        let mut seen = [false; 7];
        for _ in 0..500 {
            seen[usize::try_from(chance.below(7)).expect("below seven")] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(chance.below(0), 0);
    }
}
