//! One estimate from several machines' trials of one pattern: a random-effects mean, so that machines
//! that differ stay different. For choosing and showing only; nothing of it is hashed or merged.

use crate::id::NodeId;
use crate::pattern::Evidence;

/// 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Least variance of one machine's mean: below it a handful of equal pairs would count for certainty.
/// A guess: a standard error of 0.5 %.
const VARIANCE_MIN: f64 = 0.005 * 0.005;

/// What several machines say together, as natural log ratios: below zero is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combined {
    /// Machines with at least two pairs.
    pub machines: usize,
    /// The mean effect.
    pub mean: f64,
    /// Lower end of its 95 % range.
    pub low: f64,
    /// Upper end of its 95 % range.
    pub high: f64,
    /// Variance between machines.
    pub between: f64,
}

/// Combines trials by the method of `DerSimonian` and Laird (1986). `None` below two machines.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "at most 256 machines")]
pub fn combine(evidence: &[(NodeId, Evidence)]) -> Option<Combined> {
    let machines = || {
        evidence
            .iter()
            .map(|(_, said)| said.trial)
            .filter(|trial| trial.pairs >= 2)
            .map(|trial| {
                let variance = trial.variance() / f64::from(trial.pairs);
                (trial.mean(), variance.max(VARIANCE_MIN))
            })
    };
    let count = machines().count();
    if count < 2 {
        return None;
    }
    let sum = |weight: &dyn Fn(f64) -> f64, value: &dyn Fn(f64) -> f64| -> f64 {
        machines().map(|(y, v)| weight(v) * value(y)).sum()
    };
    let fixed = |v: f64| 1.0 / v;
    let total = sum(&fixed, &|_| 1.0);
    let mean = sum(&fixed, &|y| y) / total;
    let spread = sum(&fixed, &|y| (y - mean) * (y - mean));
    let squares = sum(&|v| 1.0 / (v * v), &|_| 1.0);
    let between = ((spread - (count as f64 - 1.0)) / (total - squares / total)).max(0.0);
    let random = |v: f64| 1.0 / (v + between);
    let total = sum(&random, &|_| 1.0);
    let mean = sum(&random, &|y| y) / total;
    let half = Z / libm::sqrt(total);
    Some(Combined {
        machines: count,
        mean,
        low: mean - half,
        high: mean + half,
        between,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::PairStats;

    fn machine(n: u8, values: &[f64]) -> (NodeId, Evidence) {
        let mut trial = PairStats::default();
        for value in values {
            trial.add(*value);
        }
        let evidence = Evidence {
            trial,
            ..Evidence::default()
        };
        (NodeId([n; 32]), evidence)
    }

    #[test]
    fn one_machine_is_no_collective() {
        assert_eq!(combine(&[machine(1, &[-0.5, -0.6])]), None);
        assert_eq!(
            combine(&[machine(1, &[-0.5, -0.6]), machine(2, &[-0.1])]),
            None
        );
    }

    #[test]
    fn machines_that_agree_narrow_the_range_and_those_that_differ_widen_it() {
        let alike = combine(&[
            machine(1, &[-0.5, -0.6, -0.7]),
            machine(2, &[-0.5, -0.6, -0.7]),
        ])
        .expect("two machines");
        assert!((alike.mean + 0.6).abs() < 1e-5);
        assert!(alike.between.abs() < 1e-12);
        let apart = combine(&[
            machine(1, &[-0.5, -0.6, -0.7]),
            machine(2, &[0.5, 0.6, 0.7]),
        ])
        .expect("two machines");
        assert!(apart.mean.abs() < 1e-5);
        // Textbook: Q = 2 * 0.36 / (0.01 / 3) = 216, tau^2 = (Q - 1) / 300 = 0.71667.
        assert!((apart.between - 0.716_67).abs() < 1e-3, "{}", apart.between);
        assert!(apart.low < -0.5 && apart.high > 0.5);
    }
}
