//! Signatures: the only place that holds the key.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::id::NodeId;

/// This machine's Ed25519 key pair. It has no `Debug`, `Clone` or `Serialize`; dropping it wipes it.
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// The pair of a 32-byte secret.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The public half: this machine's name.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Whether `signature` is `author`'s over `message`.
///
/// Always the strict check, never batched: the two disagree on crafted signatures, and members that
/// disagree on what is signed never converge (`research/replication.md` 4.3).
#[must_use]
pub fn is_signed_by(author: NodeId, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(&author.0).is_ok_and(|key| {
        key.verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_author_and_only_this_message() {
        let ann = KeyPair::from_secret(&[1; 32]);
        let bob = KeyPair::from_secret(&[2; 32]);
        let signature = ann.sign(b"hello");
        assert!(is_signed_by(ann.node(), b"hello", &signature));
        assert!(!is_signed_by(ann.node(), b"hellp", &signature));
        assert!(!is_signed_by(bob.node(), b"hello", &signature));
        for bit in 0..512 {
            let mut forged = signature;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_signed_by(ann.node(), b"hello", &forged), "bit {bit}");
        }
    }

    #[test]
    fn a_small_order_key_signs_nothing() {
        let mut zero = [0; 64];
        zero[0] = 1;
        assert!(!is_signed_by(NodeId([0; 32]), b"anything", &zero));
    }
}
