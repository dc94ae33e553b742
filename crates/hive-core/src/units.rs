//! Quantities that cross the wire or are merged: fixed point, so that every machine computes the same.

use serde::{Deserialize, Serialize};

/// A natural logarithm of a ratio, in millionths. `-693_147` is "half". Merged and hashed, hence integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogRatio(pub i64);

impl LogRatio {
    /// Rounds a natural logarithm; not-a-number becomes zero and infinities are cut at `e^±20`.
    #[must_use]
    pub fn from_ln(ln: f64) -> Self {
        if ln.is_nan() {
            return Self(0);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "clamped to ±20 million just before"
        )]
        Self(libm::round(ln.clamp(-20.0, 20.0) * 1e6) as i64)
    }

    /// The natural logarithm.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 20 million in use, exact in f64"
    )]
    pub fn ln(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The ratio itself: 1.0 is "no change".
    #[must_use]
    pub fn ratio(self) -> f64 {
        libm::exp(self.ln())
    }
}

/// A share between 0 and 1 in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permille(pub u16);

impl Permille {
    /// Rounds a share, cut to `0..=1`.
    #[must_use]
    pub fn from_share(share: f64) -> Self {
        if share.is_nan() {
            return Self(0);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1000 just before"
        )]
        Self(libm::round(share.clamp(0.0, 1.0) * 1e3) as u16)
    }

    /// The share as a number between 0 and 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_survives_fixed_point_to_six_digits() {
        let half = LogRatio::from_ln(libm::log(0.5));
        assert_eq!(half, LogRatio(-693_147));
        assert!((half.ratio() - 0.5).abs() < 1e-6);
        assert_eq!(LogRatio::from_ln(f64::NAN), LogRatio(0));
        assert_eq!(LogRatio::from_ln(f64::INFINITY), LogRatio(20_000_000));
    }
}
