//! Secrets that an answer or a command carries: never in a log, wiped when dropped.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Words of a recovery key: no `Debug` output, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecoveryWords(String);

impl RecoveryWords {
    /// Takes them.
    #[must_use]
    pub fn new(words: String) -> Self {
        Self(words)
    }

    /// The words, to be shown or read once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RecoveryWords {
    /// They must not reach a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryWords(..)")
    }
}

impl Drop for RecoveryWords {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A new secret key on its way to where it is used: no `Debug` output, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NewKey([u8; 32]);

impl NewKey {
    /// Takes it.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The secret, to make the pair of.
    #[must_use]
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for NewKey {
    /// It must not reach a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKey(..)")
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
