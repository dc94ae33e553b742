//! The recovery key: 24 words on paper that outrank the founder. Nothing of them is kept on any machine.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use zeroize::Zeroize;

use crate::hive::words;
use crate::signed::KeyPair;

/// How many words. 24 of the first 1,024 of the list are 240 bits: 224 secret ones and 16 that catch a
/// mistake. BIP-39 has 11 bits a word, for which a list of 2,048 words would be needed; ours has 1,296.
pub const RECOVERY_WORDS: usize = 24;

const WORD_BITS: usize = 10;
const SECRET_BYTES: usize = 28;

/// What the words stand for. It has no `Serialize`; dropping it wipes it.
pub struct RecoveryKey {
    secret: [u8; SECRET_BYTES],
}

/// Why a text is no recovery key. It never repeats a word of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Not 24 words.
    #[error("a recovery key has 24 words, not {0}")]
    Count(usize),
    /// This one, counted from 1, is in no recovery key.
    #[error("word {0} is in no recovery key")]
    Word(usize),
    /// All words exist, but they do not fit each other.
    #[error("the words do not fit each other: one is wrong, or two changed places")]
    Checksum,
}

impl RecoveryKey {
    /// The key of a secret.
    #[must_use]
    pub fn new(secret: [u8; SECRET_BYTES]) -> Self {
        Self { secret }
    }

    /// The words, to be shown once.
    #[must_use]
    pub fn words(&self) -> String {
        let mut bytes = self.secret.to_vec();
        bytes.extend_from_slice(&self.checksum());
        let mut picked = Vec::with_capacity(RECOVERY_WORDS);
        for place in 0..RECOVERY_WORDS {
            let bits = (0..WORD_BITS).map(|bit| place * WORD_BITS + bit);
            picked.push(bits.fold(0_u16, |word, bit| {
                word << 1 | u16::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
            }));
        }
        let line = words::line(&picked);
        bytes.zeroize();
        picked.zeroize();
        line
    }

    /// The pair that signs. Its public half stands in the genesis.
    #[must_use]
    pub fn pair(&self) -> KeyPair {
        let mut secret = blake3::derive_key("hive-mind/v1/recovery-key", &self.secret);
        let pair = KeyPair::from_secret(&secret);
        secret.zeroize();
        pair
    }

    fn checksum(&self) -> [u8; 2] {
        let hash = blake3::derive_key("hive-mind/v1/recovery-sum", &self.secret);
        [hash[0], hash[1]]
    }
}

impl Drop for RecoveryKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryKey(..)")
    }
}

impl FromStr for RecoveryKey {
    type Err = RecoveryError;

    fn from_str(text: &str) -> Result<Self, RecoveryError> {
        let count = text.split_whitespace().count();
        if count != RECOVERY_WORDS {
            return Err(RecoveryError::Count(count));
        }
        let mut bytes = [0_u8; RECOVERY_WORDS * WORD_BITS / 8];
        for (place, word) in text.split_whitespace().enumerate() {
            let index = words::find(word).filter(|index| *index < 1 << WORD_BITS);
            let index = index.ok_or(RecoveryError::Word(place + 1))?;
            for bit in 0..WORD_BITS {
                let at = place * WORD_BITS + bit;
                let one = index >> (WORD_BITS - 1 - bit) & 1 == 1;
                bytes[at / 8] |= u8::from(one) << (7 - at % 8);
            }
        }
        let mut secret = [0; SECRET_BYTES];
        secret.copy_from_slice(&bytes[..SECRET_BYTES]);
        let key = Self { secret };
        let fits = key.checksum()[..] == bytes[SECRET_BYTES..];
        secret.zeroize();
        bytes.zeroize();
        if fits {
            Ok(key)
        } else {
            Err(RecoveryError::Checksum)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RecoveryKey {
        let mut secret = [0; SECRET_BYTES];
        for (byte, n) in secret.iter_mut().zip(1..) {
            *byte = 37_u8.wrapping_mul(n);
        }
        RecoveryKey::new(secret)
    }

    #[test]
    fn the_words_lead_back_to_the_key_however_they_are_typed() {
        let words = key().words();
        assert_eq!(words.split(' ').count(), RECOVERY_WORDS);
        for typed in [
            words.clone(),
            words.to_uppercase(),
            alloc::format!("  {}\n", words.replace(' ', "\n ")),
        ] {
            let back: RecoveryKey = typed.parse().expect("the same words");
            assert_eq!(back.pair().node(), key().pair().node());
        }
        let all_ones = RecoveryKey::new([255; SECRET_BYTES]).words();
        assert!(all_ones.parse::<RecoveryKey>().is_ok());
    }

    #[test]
    fn mistakes_are_told_apart_and_no_word_is_repeated() {
        let words = key().words();
        let listed: Vec<&str> = words.split(' ').collect();
        let error = |text: &str| text.parse::<RecoveryKey>().expect_err("a mistake");
        assert_eq!(error(""), RecoveryError::Count(0));
        assert_eq!(error(&listed[1..].join(" ")), RecoveryError::Count(23));
        let mut odd = listed.clone();
        odd[4] = "qwertz";
        assert_eq!(error(&odd.join(" ")), RecoveryError::Word(5));
        assert!(!alloc::format!("{}", error(&odd.join(" "))).contains("qwertz"));
        let mut changed = listed.clone();
        changed.swap(0, 1);
        assert_ne!(changed, listed, "the test's first two words are equal");
        assert_eq!(error(&changed.join(" ")), RecoveryError::Checksum);
        // A word of the list that no recovery key uses.
        odd[4] = words::at(1_100).expect("listed");
        assert_eq!(error(&odd.join(" ")), RecoveryError::Word(5));
    }

    #[test]
    fn every_wrong_word_is_caught_but_for_one_in_thousands() {
        let words = key().words();
        let listed: Vec<&str> = words.split(' ').collect();
        let mut taken = 0;
        for place in 0..RECOVERY_WORDS {
            for index in (0..1_024).step_by(31) {
                let mut other = listed.clone();
                other[place] = words::at(index).expect("listed");
                let same = other[place] == listed[place];
                taken += u32::from(!same && other.join(" ").parse::<RecoveryKey>().is_ok());
            }
        }
        // 816 mistakes at one in 65,536.
        assert_eq!(taken, 0);
    }

    #[test]
    fn nothing_of_the_key_reaches_a_log() {
        assert_eq!(alloc::format!("{:?}", key()), "RecoveryKey(..)");
    }
}
