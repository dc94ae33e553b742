//! Numbers with their ranges: percentiles, and the mean ratio of pairs with its 95 % range. No clock, no files.

use serde::Serialize;

/// How often pairs are drawn anew for a range. A guess: the ends then move by less than 1 % between seeds.
const RESAMPLES: usize = 4_000;

/// Median and 99th percentile of `n` values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// The 99th percentile (the greatest value where there are fewer than 100).
    pub p99: f64,
    /// How many values.
    pub n: usize,
}

/// A ratio with its 95 % range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The geometric mean of the pairs' ratios.
    pub ratio: f64,
    /// Its 95 % range.
    pub ci: [f64; 2],
    /// How many pairs.
    pub pairs: usize,
}

/// On which side of 1 a ratio lies, as far as its range can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The whole range is below 1.
    Better,
    /// The whole range is above 1.
    Worse,
    /// The range contains 1.
    NoEffect,
}

/// The `p`-th percentile (0 to 1) of sorted values by nearest rank; `None` of nothing.
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "lists are far shorter than 2^53"
    )]
    let rank = (p.clamp(0.0, 1.0) * sorted.len() as f64).ceil() - 1.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 0 and cut to the last index"
    )]
    let index = rank.max(0.0) as usize;
    sorted.get(index.min(last)).copied()
}

/// Median and 99th percentile; `None` of nothing.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Spread {
        p50: percentile(&sorted, 0.5)?,
        p99: percentile(&sorted, 0.99)?,
        n: sorted.len(),
    })
}

/// The arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "lists are far shorter than 2^53"
    )]
    let n = values.len() as f64;
    (n > 0.0).then(|| values.iter().sum::<f64>() / n)
}

/// The mean ratio of pairs `(with, without)` with its 95 % range, by a bootstrap over their log ratios.
/// `None` below three usable pairs: a range of two says nothing.
///
/// The percentile bootstrap is too narrow for few pairs; the percentiles are widened as in Hesterberg,
/// "What Teachers Should Know about the Bootstrap" (2014), section 5.4 ("expanded percentile").
pub fn paired_ratio(pairs: &[(f64, f64)], seed: u64) -> Option<Ratio> {
    let logs: Vec<f64> = pairs
        .iter()
        .filter(|(with, without)| *with > 0.0 && *without > 0.0)
        .map(|(with, without)| (with / without).ln())
        .collect();
    let (middle, [low, high]) = mean_with_range(&logs, seed)?;
    Some(Ratio {
        ratio: middle.exp(),
        ci: [low.exp(), high.exp()],
        pairs: logs.len(),
    })
}

/// The mean with its 95 % range by resampling; `None` below three values.
pub fn mean_with_range(values: &[f64], seed: u64) -> Option<(f64, [f64; 2])> {
    if values.len() < 3 {
        return None;
    }
    let mut dice = Dice::new(seed);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<f64> = (0..values.len())
                .map(|_| values[dice.below(values.len())])
                .collect();
            mean(&drawn)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let tail = expanded_tail(values.len());
    let range = [percentile(&means, tail)?, percentile(&means, 1.0 - tail)?];
    Some((mean(values)?, range))
}

impl Ratio {
    /// On which side of 1 it lies.
    pub fn sign(&self) -> Sign {
        sign(self.ci)
    }
}

/// On which side of 1 a range lies.
pub fn sign(ci: [f64; 2]) -> Sign {
    if ci[1] < 1.0 {
        Sign::Better
    } else if ci[0] > 1.0 {
        Sign::Worse
    } else {
        Sign::NoEffect
    }
}

/// Repeatable dice (splitmix64): for orders and resampling only.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall alike for one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the remainder is below a usize"
        )]
        let index = (self.next_u64() % (n.max(1) as u64)) as usize;
        index
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }
}

/// The tail share that makes a percentile bootstrap of `n` values as wide as Student's t.
fn expanded_tail(n: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful of pairs")]
    let n = n as f64;
    normal_below(-student_975(n - 1.0) * (n / (n - 1.0)).sqrt())
}

/// The 97.5th percentile of Student's t with `freedom` degrees, within 0.5 % from 2 degrees on:
/// Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5).
fn student_975(freedom: f64) -> f64 {
    let z: f64 = 1.959_964;
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    let g4 = (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1_482.0 * z.powi(5)
        - 1_920.0 * z.powi(3)
        - 945.0 * z)
        / 92_160.0;
    z + g1 / freedom + g2 / freedom.powi(2) + g3 / freedom.powi(3) + g4 / freedom.powi(4)
}

/// The share of a standard normal below `x`: Abramowitz and Stegun 26.2.17, error below 1e-7.
fn normal_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let sum = series
        .iter()
        .rev()
        .fold(0.0, |rest, factor| t * (factor + rest));
    let tail = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(dice: &mut Dice) -> f64 {
        // Twelve uniforms less six: variance 1, close to normal.
        (0..12)
            .map(|_| {
                f64::from(u32::try_from(dice.next_u64() >> 32).expect("32 bits")) / 4_294_967_296.0
            })
            .sum::<f64>()
            - 6.0
    }

    #[test]
    fn percentiles_go_by_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        let spread = spread(&values).expect("not empty");
        assert_eq!((spread.p50, spread.p99, spread.n), (100.0, 198.0, 200));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn student_and_normal_are_those_of_the_tables() {
        assert!((student_975(9.0) - 2.262).abs() < 0.003);
        assert!((student_975(4.0) - 2.776).abs() < 0.02);
        assert!((normal_below(-1.959_964) - 0.025).abs() < 1e-6);
    }

    #[test]
    fn a_halved_wait_is_found_and_its_sign_is_better() {
        let pairs: Vec<(f64, f64)> = (1..=12)
            .map(|k| (0.5 * f64::from(k) * 1.01, f64::from(k)))
            .collect();
        let ratio = paired_ratio(&pairs, 1).expect("twelve pairs");
        assert!((ratio.ratio - 0.505).abs() < 1e-9);
        assert_eq!(ratio.sign(), Sign::Better);
        assert!(paired_ratio(&pairs[..2], 1).is_none());
    }

    #[test]
    fn the_95_percent_range_of_ten_pairs_holds_the_truth_about_95_times_in_100() {
        let mut dice = Dice::new(7);
        let worlds = 1_000;
        let held = (0..worlds)
            .filter(|world| {
                let pairs: Vec<(f64, f64)> = (0..10)
                    .map(|_| ((0.3 * normal(&mut dice)).exp(), 1.0))
                    .collect();
                let ratio = paired_ratio(&pairs, *world).expect("ten pairs");
                ratio.sign() == Sign::NoEffect
            })
            .count();
        assert!((925..=975).contains(&held), "{held} of {worlds}");
    }
}
