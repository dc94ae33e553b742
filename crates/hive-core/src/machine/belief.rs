//! Believe: what this machine expects of an action before it tries it, and a draw from that belief.
//!
//! Bayesian linear regression on the context of a pattern, one per action, with the full precision matrix: what was learned
//! in one context is not forgotten by learning in another, which is what elastic weight consolidation approximates with the
//! matrix's diagonal (`research/learning.md`: error 0.20 after 14 tasks, diagonal 0.70). The next trial is that of the
//! action whose *draw* is best: Thompson sampling (Agrawal and Goyal, "Thompson sampling for contextual bandits with linear
//! payoffs", 2013), so that what is uncertain is tried now and then and what is known to be bad is not.
//!
//! Statistics are sums over pairs: own ones, what members say, and what the catalogue says of an action simply add up, each
//! with its weight, and whatever is taken out of a sum is forgotten without a trace.

use crate::chance::Chance;
use crate::pattern::{Binding, Context, Cores, PairStats};

/// Numbers that describe a context: a constant, binding by session and by group, some and many cores, custom slices.
const FEATURES: usize = 6;

/// Spread of one pair's value around its mean: between 0.09 and 0.41 was measured (`research/optimizer.md` 5.1).
const SPREAD: f64 = 0.3;

/// Precision of "nothing is known", in pairs (`research/optimizer.md` 7.6: ridge 1).
const RIDGE: f64 = 1.0;

/// How far pairs from elsewhere differ from here, as a weight of theirs (`research/optimizer.md` 7.6).
const HEARD_WEIGHT: f64 = 0.3;

/// Pairs that one source counts at most, be they a thousand (`research/optimizer.md` 7.6).
const HEARD_PAIRS_MAX: f64 = 10.0;

/// A pair's value beyond this counts as this: one freak pair does not rule (`research/optimizer.md` 7.5).
const VALUE_MAX: f64 = 1.0;

type Row = [f64; FEATURES];

/// What is believed of one action's natural log ratio of waits (below zero is better), given a context.
#[derive(Clone, Debug, PartialEq)]
pub struct Belief {
    precision: [Row; FEATURES],
    weighted: Row,
}

/// A belief in one context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// The mean of the natural log ratio.
    pub mean: f64,
    /// Its standard deviation: how little is known.
    pub spread: f64,
}

impl Default for Belief {
    fn default() -> Self {
        let mut precision = [[0.0; FEATURES]; FEATURES];
        for (place, row) in precision.iter_mut().enumerate() {
            row[place] = RIDGE;
        }
        Self {
            precision,
            weighted: [0.0; FEATURES],
        }
    }
}

impl Belief {
    /// Takes in this machine's own pairs, at their full weight.
    pub fn measured(&mut self, context: &Context, pairs: &PairStats) {
        self.add(&row(context), f64::from(pairs.pairs), pairs.mean());
    }

    /// Takes in what one other source says: a member's pairs, or the catalogue's.
    pub fn heard(&mut self, context: &Context, pairs: u32, mean: f64) {
        let weight = (HEARD_WEIGHT * f64::from(pairs)).min(HEARD_PAIRS_MAX);
        self.add(&row(context), weight, mean);
    }

    fn add(&mut self, features: &Row, weight: f64, value: f64) {
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        for (line, one) in self.precision.iter_mut().zip(features) {
            for (cell, other) in line.iter_mut().zip(features) {
                *cell += weight * one * other;
            }
        }
        for (cell, one) in self.weighted.iter_mut().zip(features) {
            *cell += weight * one * value;
        }
    }

    /// What is expected in a context.
    #[must_use]
    pub fn expects(&self, context: &Context) -> Expectation {
        let features = row(context);
        let root = cholesky(&self.precision);
        // x' A^-1 b and x' A^-1 x with A = L L'.
        let forward = solve_lower(&root, &features);
        let data = solve_lower(&root, &self.weighted);
        let mean = dot(&forward, &data);
        Expectation {
            mean,
            spread: SPREAD * libm::sqrt(dot(&forward, &forward)),
        }
    }
}

impl Expectation {
    /// One draw of the mean.
    #[must_use]
    pub fn draw(&self, chance: &mut Chance) -> f64 {
        self.mean + self.spread * normal(chance)
    }
}

fn row(context: &Context) -> Row {
    let is = |yes: bool| if yes { 1.0 } else { 0.0 };
    [
        1.0,
        is(context.binding == Binding::Autogroup),
        is(context.binding == Binding::Cgroup),
        is(context.cores == Cores::Some),
        is(context.cores == Cores::Many),
        is(context.eevdf_slices),
    ]
}

fn dot(one: &Row, other: &Row) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// The lower triangle `L` of a symmetric matrix that is positive definite, which the ridge makes sure of: `A = L L'`.
fn cholesky(matrix: &[Row; FEATURES]) -> [Row; FEATURES] {
    let mut root = [[0.0; FEATURES]; FEATURES];
    for i in 0..FEATURES {
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| root[i][k] * root[j][k]).sum();
            let left = matrix[i][j] - done;
            root[i][j] = if i == j {
                libm::sqrt(left)
            } else {
                left / root[j][j]
            };
        }
    }
    root
}

/// Solves `L y = b`.
fn solve_lower(root: &[Row; FEATURES], b: &Row) -> Row {
    let mut y = [0.0; FEATURES];
    for i in 0..FEATURES {
        let done: f64 = (0..i).map(|k| root[i][k] * y[k]).sum();
        y[i] = (b[i] - done) / root[i][i];
    }
    y
}

/// A normal number (Box and Muller, 1958).
fn normal(chance: &mut Chance) -> f64 {
    let mut uniform = || {
        let bits = u32::from_le_bytes(chance.bytes());
        (f64::from(bits) + 0.5) / 4_294_967_296.0
    };
    let (radius, turn) = (uniform(), uniform());
    libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(core::f64::consts::TAU * turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::WorkloadType;

    fn context(binding: Binding, cores: Cores) -> Context {
        Context {
            binding,
            cores,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        }
    }

    fn pairs(number: u32, value: f64) -> PairStats {
        let mut stats = PairStats::default();
        for _ in 0..number {
            stats.add(value);
        }
        stats
    }

    #[test]
    fn nothing_is_expected_of_what_nobody_tried() {
        let told = Belief::default().expects(&context(Binding::Task, Cores::Few));
        assert!(told.mean.abs() < 1e-12);
        // Two of the features are one: the prior's spread of their sum.
        assert!((told.spread - SPREAD * libm::sqrt(2.0)).abs() < 1e-9);
    }

    #[test]
    fn own_pairs_are_believed_and_the_order_does_not_matter() {
        let task = context(Binding::Task, Cores::Few);
        let session = context(Binding::Autogroup, Cores::Few);
        let mut one = Belief::default();
        one.measured(&task, &pairs(30, -0.9));
        one.measured(&session, &pairs(30, 0.0));
        let mut other = Belief::default();
        other.measured(&session, &pairs(30, 0.0));
        other.measured(&task, &pairs(30, -0.9));
        let (here, there) = (one.expects(&task), one.expects(&session));
        assert!((here.mean + 0.9).abs() < 0.05, "{here:?}");
        assert!(there.mean.abs() < 0.05, "{there:?}");
        assert!(here.spread < 0.1);
        assert!((other.expects(&task).mean - here.mean).abs() < 1e-9);
    }

    #[test]
    fn what_was_learned_in_one_context_is_not_forgotten_by_learning_in_others() {
        // The truth adds up: -0.8, by session +0.5, by group +0.9, some cores +0.2, many +0.4 (nearly).
        let first = context(Binding::Task, Cores::Few);
        let mut belief = Belief::default();
        belief.measured(&first, &pairs(20, -0.8));
        for (binding, cores, value) in [
            (Binding::Autogroup, Cores::Few, -0.3),
            (Binding::Cgroup, Cores::Some, 0.3),
            (Binding::Autogroup, Cores::Many, 0.1),
            (Binding::Cgroup, Cores::Many, 0.5),
        ] {
            belief.measured(&context(binding, cores), &pairs(200, value));
        }
        let kept = belief.expects(&first);
        assert!((kept.mean + 0.8).abs() < 0.1, "{kept:?}");
    }

    #[test]
    fn one_loud_source_counts_ten_pairs_and_one_freak_pair_counts_one() {
        let here = context(Binding::Task, Cores::Few);
        let mut loud = Belief::default();
        loud.heard(&here, 1_000_000, -0.5);
        let mut ten = Belief::default();
        ten.add(&row(&here), 10.0, -0.5);
        assert_eq!(loud, ten);
        let mut freak = Belief::default();
        freak.measured(&here, &pairs(1, -15.0));
        let mut plain = Belief::default();
        plain.measured(&here, &pairs(1, -1.0));
        assert_eq!(freak, plain);
        // Own pairs outweigh it.
        loud.measured(&here, &pairs(40, 0.2));
        assert!(loud.expects(&here).mean > 0.0);
    }

    #[test]
    fn draws_have_the_mean_and_the_spread_of_the_belief() {
        let told = Expectation {
            mean: -0.4,
            spread: 0.2,
        };
        let mut chance = Chance::from_seed([3; 32]);
        let draws = 20_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..draws {
            let draw = told.draw(&mut chance);
            sum += draw;
            squares += draw * draw;
        }
        let mean = sum / f64::from(draws);
        let spread = libm::sqrt(squares / f64::from(draws) - mean * mean);
        assert!(
            (mean + 0.4).abs() < 0.01 && (spread - 0.2).abs() < 0.01,
            "{mean} {spread}"
        );
    }

    #[test]
    fn the_better_of_two_is_tried_more_often_the_more_is_known() {
        let here = context(Binding::Task, Cores::Few);
        let share = |number: u32| {
            let (mut good, mut bad) = (Belief::default(), Belief::default());
            good.measured(&here, &pairs(number, -0.3));
            bad.measured(&here, &pairs(number, 0.0));
            let (good, bad) = (good.expects(&here), bad.expects(&here));
            let mut chance = Chance::from_seed([9; 32]);
            (0..2_000)
                .filter(|_| good.draw(&mut chance) < bad.draw(&mut chance))
                .count()
        };
        let (little, more, much) = (share(0), share(4), share(40));
        assert!((900..1_100).contains(&little), "{little}");
        assert!(more > 1_500 && much > more && much > 1_990, "{more} {much}");
    }
}
