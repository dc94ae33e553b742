//! No name leaves its machine: canaries are looked for raw, in hexadecimal, and under hashes that nobody keyed.

/// Planted names in all the shapes in which they might leak.
#[derive(Debug, Default)]
pub struct Canaries {
    shapes: Vec<(String, Vec<u8>)>,
    /// Which pairs of first bytes occur: most places are passed over with one look.
    firsts: Vec<bool>,
}

impl Canaries {
    /// Plants a name.
    pub fn plant(&mut self, name: &str) {
        let raw = name.as_bytes().to_vec();
        let hash = blake3::hash(&raw).as_bytes()[..16].to_vec();
        let empty_key = blake3::keyed_hash(&[0; 32], &raw).as_bytes()[..16].to_vec();
        let mut shapes = vec![
            raw.to_ascii_uppercase(),
            raw.iter().rev().copied().collect(),
            raw.iter().flat_map(|byte| [*byte, 0]).collect(),
            hex(&raw),
            hex(&hash),
            hash,
            empty_key,
        ];
        shapes.push(raw);
        self.firsts.resize(1 << 16, false);
        for shape in shapes {
            self.firsts[pair(&shape)] = true;
            self.shapes.push((name.to_owned(), shape));
        }
    }

    /// Whether a name is planted.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.shapes.iter().any(|(planted, _)| planted == name)
    }

    /// The first planted name that these bytes contain in some shape.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        if self.shapes.is_empty() {
            return None;
        }
        let mut places = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, two)| self.firsts[pair(two)]);
        places.find_map(|(at, _)| {
            let rest = &bytes[at..];
            let hit = self
                .shapes
                .iter()
                .find(|(_, shape)| rest.starts_with(shape));
            hit.map(|(name, _)| name.clone())
        })
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    };
    bytes.iter().flat_map(digits).collect()
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_a_planted_name_is_found_and_the_keyed_one_is_not() {
        let mut canaries = Canaries::default();
        canaries.plant("edcnry00112233");
        let hash = blake3::hash(b"edcnry00112233");
        for leak in [
            b"{\"name\":\"edcnry00112233\"}".to_vec(),
            b"xxEDCNRY00112233".to_vec(),
            hex(b"edcnry00112233"),
            hash.as_bytes().to_vec(),
            hex(hash.as_bytes()),
            b"33221100yrncde".to_vec(),
        ] {
            assert!(canaries.find(&leak).is_some(), "{leak:?}");
        }
        let keyed = blake3::keyed_hash(&[7; 32], b"edcnry00112233");
        assert_eq!(canaries.find(keyed.as_bytes()), None);
        assert_eq!(canaries.find(b"edcnry0011223"), None);
    }
}
