//! Bytes read as choices. Where they end, every choice is zero.

/// A place in an input.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number of two bytes.
    pub fn wide(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number of any size; mostly small, sometimes at an edge.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=247 => u64::from(small),
            248 => u64::from(self.wide()),
            249 => u64::from(u32::MAX),
            250 => u64::from(u32::MAX) + 1,
            251 => u64::MAX / 2,
            252 => u64::MAX - 1,
            253 => u64::MAX,
            _ => self
                .bytes(8)
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        }
    }

    /// A number below `bound`, which is at least one.
    pub fn below(&mut self, bound: usize) -> usize {
        let choice = if bound <= 256 {
            usize::from(self.byte())
        } else {
            usize::from(self.wide())
        };
        choice % bound
    }

    /// At most so many bytes; fewer at the end.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A run of bytes that says its own length first, at most 255.
    pub fn run(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte());
        self.bytes(count)
    }

    /// A copy of something valid with up to seven changes: each byte string next to a valid one is the most
    /// likely to pass the first checks and to fail at a later one.
    pub fn changed(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..self.byte() % 8 {
            let place = self.below(bytes.len() + 1);
            match self.byte() % 6 {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.byte()),
                2 if place < bytes.len() => drop(bytes.remove(place)),
                3 if place < bytes.len() => bytes[place] ^= 1 << (self.byte() % 8),
                4 => bytes.extend_from_slice(self.run()),
                _ if place < bytes.len() => bytes[place] = self.byte(),
                _ => {}
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_ends_reads_as_zeros() {
        let mut script = Script::new(&[7, 200]);
        assert_eq!(script.byte(), 7);
        assert_eq!(script.bytes(9), [200]);
        assert!(script.is_over());
        assert_eq!((script.number(), script.below(5)), (0, 0));
        assert_eq!(script.changed(b"abc"), b"abc");
    }
}
