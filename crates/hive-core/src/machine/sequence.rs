//! An always-valid range for the mean of Gaussian values whose spread is not known.
//!
//! The test behind it may be looked at after every pair without spoiling its error rate. For the null
//! hypothesis `mean = m0` it is the Bayes factor of Gönen et al. ("The Bayesian two-sample t test",
//! 2005), with the right-Haar prior on the spread and `mean / spread ~ N(0, TAU²)`:
//!
//! `BF10 = g^(-1/2) · [(1 + t²/nu) / (1 + t²/(g·nu))]^(n/2)`, `g = 1 + n·TAU²`, `nu = n - 1`.
//!
//! With that prior it is a non-negative martingale under the null (Pérez-Ortiz et al., "E-statistics,
//! group invariance and anytime-valid testing"; Wang & Ramdas, "Anytime-valid t-tests"), so it ever
//! exceeds `1/alpha` with probability at most `alpha`. The range is the set of `m0` with `BF10 < 1/alpha`.

use crate::pattern::PairStats;

/// Square of the prior's width, in units of the spread. Chosen by `the_prior_is_the_quicker_of_two`:
/// 2² needs fewer pairs than 1² for the strong effects worth having; both are equally valid.
const TAU_SQUARED: f64 = 4.0;

/// Added to the variance, so that equal values do not make a range of width zero: a spread of 1 %.
/// A guess, well below every spread that was measured (0.02 to 0.41, `research/optimizer.md` 5.1).
const VARIANCE_FLOOR: f64 = 1e-4;

/// Where the true mean lies, at the stated error rate, however often one looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The range of the mean at error rate `alpha` (both sides together); `None` while it is infinite.
#[must_use]
pub fn range(stats: &PairStats, alpha: f64) -> Option<Range> {
    range_with(stats, alpha, TAU_SQUARED)
}

/// Natural logarithm of the Bayes factor against "the mean is `null`": evidence that is at most one in expectation if
/// that is true, whenever one stops. It is [`range`] read the other way: `null` lies outside where this is at least
/// `ln(1/alpha)`.
#[must_use]
pub fn log_bayes_factor(stats: &PairStats, null: f64) -> f64 {
    if stats.pairs < 2 {
        return 0.0;
    }
    let n = f64::from(stats.pairs);
    let g = 1.0 + n * TAU_SQUARED;
    let gain = stats.mean() - null;
    let x = n * gain * gain / (stats.variance() + VARIANCE_FLOOR) / (n - 1.0);
    (n * (libm::log1p(x) - libm::log1p(x / g)) - libm::log(g)) / 2.0
}

fn range_with(stats: &PairStats, alpha: f64, tau_squared: f64) -> Option<Range> {
    if stats.pairs < 2 {
        return None;
    }
    let n = f64::from(stats.pairs);
    let g = 1.0 + n * tau_squared;
    // BF10 < 1/alpha  <=>  (1 + x) / (1 + x/g) < k  with x = t²/nu and k = (sqrt(g)/alpha)^(2/n).
    let k = libm::pow(libm::sqrt(g) / alpha, 2.0 / n);
    if k >= g {
        return None;
    }
    let t_squared = (n - 1.0) * (k - 1.0) / (1.0 - k / g);
    let half = libm::sqrt(t_squared * (stats.variance() + VARIANCE_FLOOR) / n);
    let mean = stats.mean();
    Some(Range {
        low: mean - half,
        high: mean + half,
    })
}

#[cfg(test)]
mod tests;
