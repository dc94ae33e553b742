//! Inputs for the ordinary tests: valid ones, changed where formats are known to be fragile.

use hive_core::chance::Chance;

/// Longest input that is made. A guess: a little over one mDNS packet; the longest seeds are shorter.
const LENGTH_MAX: usize = 12_000;

/// Bytes that formats stumble over: zero, one, the ends of signed and unsigned bytes, a varint's end.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// A seeded stream of inputs.
pub struct Mutator {
    chance: Chance,
    base: Vec<Vec<u8>>,
}

impl Mutator {
    /// A stream over these valid inputs; the same seed gives the same stream.
    #[must_use]
    pub fn new(seed: u64, base: Vec<Vec<u8>>) -> Self {
        let mut wide = [0; 32];
        wide[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            chance: Chance::from_seed(wide),
            base,
        }
    }

    /// The next input: one in sixteen valid as it is, one in eight nothing but noise, the others with up to
    /// four changes.
    pub fn input(&mut self) -> Vec<u8> {
        match self.below(16) {
            0 => self.valid(),
            1 | 2 => self.noise(200),
            _ => {
                let mut bytes = self.valid();
                for _ in 0..=self.below(4) {
                    self.change(&mut bytes);
                }
                bytes.truncate(LENGTH_MAX);
                bytes
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.chance.below(bound)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.chance.bytes();
        byte
    }

    fn valid(&mut self) -> Vec<u8> {
        let pick = self.below(self.base.len());
        self.base.get(pick).cloned().unwrap_or_default()
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        let mut noise = Vec::with_capacity(count);
        while noise.len() < count {
            noise.extend_from_slice(&self.chance.bytes::<32>());
        }
        noise.truncate(count);
        noise
    }

    /// Two places in order, both at most `length`.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        (a.min(b), a.max(b))
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let place = self.below(bytes.len() + 1);
        let (from, to) = self.range(bytes.len());
        match self.below(11) {
            0 if place < bytes.len() => bytes[place] ^= 1 << self.below(8),
            1 if place < bytes.len() => bytes[place] = self.byte(),
            2 if place < bytes.len() => bytes[place] = EDGES[self.below(EDGES.len())],
            // A length, a tag or a count, one off.
            3 if place < bytes.len() => bytes[place] = bytes[place].wrapping_add(1),
            4 if place < bytes.len() => bytes[place] = bytes[place].wrapping_sub(1),
            5 => bytes.truncate(place),
            6 => drop(bytes.drain(from..to)),
            7 => {
                let copy = bytes[from..to].to_vec();
                drop(bytes.splice(place..place, copy));
            }
            // The head of this one and the tail of another.
            8 => {
                let other = self.valid();
                let (tail, _) = self.range(other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[tail..]);
            }
            // A varint that goes on and on.
            9 => {
                let deep = vec![0x80 | self.byte(); 1 + self.below(12)];
                drop(bytes.splice(place..place, deep));
            }
            _ => {
                let noise = self.noise(16);
                drop(bytes.splice(place..place, noise));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_most_are_new() {
        let base = vec![b"one valid input".to_vec(), b"another".to_vec()];
        let mut one = Mutator::new(1, base.clone());
        let mut two = Mutator::new(1, base.clone());
        let inputs: Vec<_> = (0..1_000).map(|_| one.input()).collect();
        assert!(inputs.iter().all(|input| *input == two.input()));
        let untouched = inputs.iter().filter(|input| base.contains(input)).count();
        assert!((20..300).contains(&untouched), "{untouched}");
    }
}
