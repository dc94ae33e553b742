//! The code that a person carries from one machine to the other, and what is proved with it.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::hive::words;
use crate::id::{HiveId, NodeId};
use crate::statement::Label;

/// An invite: 80 secret bits, shown as `HIVE-XXXXX-XXXXX-XXXXX-XXXXX` (version, secret, checksum).
#[derive(Clone, PartialEq, Eq)]
pub struct InviteCode {
    secret: [u8; 10],
}

/// Why a text is no invite code. No attempt was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has not 20 symbols.
    #[error("a code has 20 symbols after HIVE-, not {0}")]
    Length(usize),
    /// A character that no code contains.
    #[error("'{0}' is in no code")]
    Symbol(char),
    /// All symbols exist, but they do not fit each other: a typing mistake.
    #[error("the code has a typing mistake")]
    Checksum,
    /// Made by a newer or older program.
    #[error("the code is of another version")]
    Version,
}

/// What both sides know of one pairing conversation.
pub(super) struct Handshake<'a> {
    pub(super) code: &'a InviteCode,
    pub(super) exporter: &'a [u8; 32],
    pub(super) inviter: NodeId,
    pub(super) joiner: NodeId,
    pub(super) inviter_nonce: [u8; 16],
    pub(super) joiner_nonce: [u8; 16],
    pub(super) label: &'a Label,
}

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const VERSION: u8 = 1;

impl InviteCode {
    /// The code of a secret.
    #[must_use]
    pub fn new(secret: [u8; 10]) -> Self {
        Self { secret }
    }

    pub(super) fn secret(&self) -> [u8; 10] {
        self.secret
    }

    /// What an inviter says by mDNS while the code is open: four bytes that tell nothing of the rest.
    #[must_use]
    pub fn locator(&self) -> [u8; 4] {
        let hash = blake3::derive_key("hive-mind/v1/locator", &self.secret);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// 15 bits over version and secret: catches a typing mistake before it costs an attempt.
    fn checksum(&self, version: u8) -> u16 {
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/invite-sum");
        hasher.update(&[version]).update(&self.secret);
        let hash = *hasher.finalize().as_bytes();
        u16::from_le_bytes([hash[0], hash[1]]) & 0x7fff
    }
}

impl Drop for InviteCode {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteCode(..)")
    }
}

impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bits = u128::from(VERSION);
        for byte in self.secret {
            bits = bits << 8 | u128::from(byte);
        }
        bits = bits << 15 | u128::from(self.checksum(VERSION));
        let mut text = String::from("HIVE");
        for place in (0..20).rev() {
            if place % 5 == 4 {
                text.push('-');
            }
            text.push(char::from(SYMBOLS[(bits >> (place * 5)) as usize & 31]));
        }
        f.write_str(&text)
    }
}

impl FromStr for InviteCode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let prefixed = text
            .get(..4)
            .is_some_and(|p| p.eq_ignore_ascii_case("HIVE"));
        let body = if prefixed { &text[4..] } else { text };
        let mut bits = 0_u128;
        let mut count = 0;
        for symbol in body.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let folded = match symbol.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let value = SYMBOLS.iter().position(|s| char::from(*s) == folded);
            let value = value.ok_or(ParseError::Symbol(symbol))?;
            count += 1;
            if count <= 20 {
                bits = bits << 5 | value as u128;
            }
        }
        if count != 20 {
            return Err(ParseError::Length(count));
        }
        let wide = (bits >> 15).to_be_bytes();
        let mut secret = [0; 10];
        secret.copy_from_slice(&wide[6..]);
        let version = wide[5] & 31;
        let code = Self { secret };
        if u128::from(code.checksum(version)) != bits & 0x7fff {
            return Err(ParseError::Checksum);
        }
        if version != VERSION {
            return Err(ParseError::Version);
        }
        Ok(code)
    }
}

impl Handshake<'_> {
    /// The joiner's proof.
    pub(super) fn joiner_mac(&self) -> [u8; 32] {
        self.mac(b"joiner", HiveId::default())
    }

    /// The inviter's proof, which also vouches for the hive's id.
    pub(super) fn inviter_mac(&self, hive: HiveId) -> [u8; 32] {
        self.mac(b"inviter", hive)
    }

    /// What both screens must show.
    pub(super) fn words(&self) -> [u16; 4] {
        words::pick(&blake3::derive_key("hive-mind/v1/words", &self.key()))
    }

    fn mac(&self, side: &[u8], hive: HiveId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key());
        hasher.update(side);
        hasher.update(&hive.0);
        hasher.update(self.label.as_str().as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Bound to the code, this very connection, both keys and both nonces.
    fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/pair");
        hasher.update(&self.code.secret);
        hasher.update(self.exporter);
        hasher.update(&self.inviter.0);
        hasher.update(&self.joiner.0);
        hasher.update(&self.inviter_nonce);
        hasher.update(&self.joiner_nonce);
        *hasher.finalize().as_bytes()
    }
}

/// Whether two proofs are the same, in a time that does not tell where they differ.
pub(super) fn same(one: &[u8; 32], two: &[u8; 32]) -> bool {
    one.ct_eq(two).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_code_survives_being_read_aloud() {
        let code = InviteCode::new([0, 1, 2, 250, 4, 5, 99, 7, 8, 255]);
        let text = code.to_string();
        assert_eq!(text.len(), 28);
        assert!(text.starts_with("HIVE-"));
        assert_eq!(text.parse(), Ok(code.clone()));
        let sloppy = text
            .to_lowercase()
            .replace('0', "o")
            .replace('1', "l")
            .replace('-', " ");
        assert_eq!(sloppy.parse(), Ok(code.clone()));
        assert_eq!(text[5..].parse(), Ok(code));
    }

    #[test]
    fn typing_mistakes_are_told_apart() {
        let text = InviteCode::new([7; 10]).to_string();
        let last = text.len() - 1;
        let other = if text.ends_with('7') { "8" } else { "7" };
        let wrong = text[..last].to_string() + other;
        assert_eq!(wrong.parse::<InviteCode>(), Err(ParseError::Checksum));
        assert_eq!(
            text[..last].parse::<InviteCode>(),
            Err(ParseError::Length(19))
        );
        let odd = text[..last].to_string() + "U";
        assert_eq!(odd.parse::<InviteCode>(), Err(ParseError::Symbol('U')));
        assert_eq!("".parse::<InviteCode>(), Err(ParseError::Length(0)));
        assert_eq!(
            "\u{fc}\u{fc}\u{fc}".parse::<InviteCode>(),
            Err(ParseError::Symbol('\u{fc}'))
        );
    }
}
