//! Believe: what this machine expects of an action before it tries it, and a draw from that belief.
//!
//! Bayesian linear regression on the context of a pattern, one per action and pair of roles, with the full precision
//! matrix: what was learned in one context is not forgotten by learning in another, which is what elastic weight
//! consolidation approximates with the matrix's diagonal (DESIGN section 10: error 0.20 after 14 tasks, diagonal 0.70).
//! What is tried next has the best *draw*: Thompson sampling (Agrawal and Goyal, "Thompson sampling for contextual
//! bandits with linear payoffs", 2013), so that what is uncertain is tried now and then and what is known to be bad is not.
//!
//! Everything is a sum over pairs. Own pairs, the hive's and the catalogue's are kept apart and added when asked, so that
//! each can be bounded by itself, and whatever is taken out is forgotten without a trace.

use crate::chance::Chance;
use crate::pattern::{Binding, Context, Cores};

/// Numbers that describe where a pair was measured: a constant, binding by session and by group, some and many cores,
/// custom slices, and whether it was this very program.
const FEATURES: usize = 7;

/// Spread of one pair's value around its mean: between 0.09 and 0.41 was measured (`research/optimizer.md` 5.1).
const SPREAD: f64 = 0.3;

/// Precision of "nothing is known", in pairs (`research/optimizer.md` 7.6: ridge 1).
const RIDGE: f64 = 1.0;

/// How far programs differ from each other, in [`SPREAD`]s: nice took the wait to 0.40, 0.56 and 0.61 of what it was in
/// three set-ups (`research/optimizer.md` 4.1), whose logarithms spread by 0.22.
const PROGRAMS_DIFFER: f64 = 0.74;

/// A mean beyond this counts as this (`research/optimizer.md` 7.5).
pub const VALUE_MAX: f64 = 1.0;

type Row = [f64; FEATURES];

/// Where pairs were measured, or are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Under which mechanism.
    pub context: Context,
    /// Whether it is the very program that is asked about.
    pub same_program: bool,
}

/// What some pairs say: sums, so that any two add up to what they say together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    precision: [Row; FEATURES],
    weighted: Row,
    /// Pairs, each counted by its weight.
    pub pairs: f64,
}

/// What is expected somewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// The mean of the natural logarithm.
    pub mean: f64,
    /// Its standard deviation: how little is known.
    pub spread: f64,
}

impl Place {
    fn row(self) -> Row {
        let is = |yes: bool| if yes { 1.0 } else { 0.0 };
        let context = self.context;
        [
            1.0,
            is(context.binding == Binding::Autogroup),
            is(context.binding == Binding::Cgroup),
            is(context.cores == Cores::Some),
            is(context.cores == Cores::Many),
            is(context.eevdf_slices),
            PROGRAMS_DIFFER * is(self.same_program),
        ]
    }
}

impl Sums {
    /// Takes in pairs with this mean (a natural logarithm; below zero is better), together worth so many.
    pub fn add(&mut self, place: Place, pairs: f64, mean: f64) {
        let row = place.row();
        let mean = mean.clamp(-VALUE_MAX, VALUE_MAX);
        for (line, one) in self.precision.iter_mut().zip(row) {
            for (cell, other) in line.iter_mut().zip(row) {
                *cell += pairs * one * other;
            }
        }
        for (cell, one) in self.weighted.iter_mut().zip(row) {
            *cell += pairs * one * mean;
        }
        self.pairs += pairs;
    }

    /// What both say together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (line, more) in self.precision.iter_mut().zip(&other.precision) {
            for (cell, more) in line.iter_mut().zip(more) {
                *cell += more;
            }
        }
        for (cell, more) in self.weighted.iter_mut().zip(&other.weighted) {
            *cell += more;
        }
        self.pairs += other.pairs;
        self
    }

    /// The same, worth so many pairs at most.
    #[must_use]
    pub fn at_most(mut self, pairs: f64) -> Self {
        if self.pairs > pairs {
            let part = pairs / self.pairs;
            self.precision
                .iter_mut()
                .flatten()
                .chain(&mut self.weighted)
                .for_each(|cell| *cell *= part);
            self.pairs = pairs;
        }
        self
    }

    /// What is expected there.
    #[must_use]
    pub fn expects(&self, there: Place) -> Expectation {
        let mut precision = self.precision;
        for (place, line) in precision.iter_mut().enumerate() {
            line[place] += RIDGE;
        }
        let root = cholesky(&precision);
        // With A = L L': the mean is x' A^-1 b, the variance x' A^-1 x.
        let there = solve_lower(&root, &there.row());
        let data = solve_lower(&root, &self.weighted);
        Expectation {
            mean: dot(&there, &data),
            spread: SPREAD * libm::sqrt(dot(&there, &there)),
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

    fn place(binding: Binding, cores: Cores) -> Place {
        Place {
            context: Context {
                binding,
                cores,
                eevdf_slices: true,
                background: WorkloadType::Batch,
            },
            same_program: true,
        }
    }

    fn told(place: Place, pairs: f64, mean: f64) -> Sums {
        let mut sums = Sums::default();
        sums.add(place, pairs, mean);
        sums
    }

    #[test]
    fn nothing_is_expected_of_what_nobody_tried() {
        let told = Sums::default().expects(place(Binding::Task, Cores::Few));
        assert!(told.mean.abs() < 1e-12);
        // The constant, the slices and the program: the prior's spread of their sum.
        let features = 2.0 + PROGRAMS_DIFFER * PROGRAMS_DIFFER;
        assert!((told.spread - SPREAD * libm::sqrt(features)).abs() < 1e-9);
    }

    #[test]
    fn pairs_are_believed_where_they_were_measured_and_the_order_does_not_matter() {
        let task = place(Binding::Task, Cores::Few);
        let session = place(Binding::Autogroup, Cores::Few);
        let (good, useless) = (told(task, 30.0, -0.9), told(session, 30.0, 0.0));
        let sums = good.plus(&useless);
        let (here, there) = (sums.expects(task), sums.expects(session));
        assert!((here.mean + 0.9).abs() < 0.05, "{here:?}");
        assert!(there.mean.abs() < 0.05, "{there:?}");
        assert!(here.spread < 0.1);
        let other = useless.plus(&good);
        assert!((other.expects(task).mean - here.mean).abs() < 1e-9);
    }

    #[test]
    fn what_was_learned_in_one_context_is_not_forgotten_by_learning_in_others() {
        // The truth adds up: -0.8, by session +0.5, by group +0.9, some cores +0.2, many +0.4 (nearly).
        let first = place(Binding::Task, Cores::Few);
        let mut sums = told(first, 20.0, -0.8);
        for (binding, cores, value) in [
            (Binding::Autogroup, Cores::Few, -0.3),
            (Binding::Cgroup, Cores::Some, 0.3),
            (Binding::Autogroup, Cores::Many, 0.1),
            (Binding::Cgroup, Cores::Many, 0.5),
        ] {
            sums.add(place(binding, cores), 200.0, value);
        }
        let kept = sums.expects(first);
        assert!((kept.mean + 0.8).abs() < 0.1, "{kept:?}");
    }

    #[test]
    fn other_programs_say_much_and_this_very_one_says_more() {
        let here = place(Binding::Task, Cores::Few);
        let others = Place {
            same_program: false,
            ..here
        };
        let of_others = told(others, 40.0, -0.8).expects(here);
        let of_this = told(here, 40.0, -0.8).expects(here);
        assert!(of_others.mean < -0.7, "{of_others:?}");
        // However much is known of others, this one may differ from them as they do from each other.
        let many = told(others, 4_000.0, -0.8).expects(here);
        assert!(many.spread > PROGRAMS_DIFFER * SPREAD - 1e-9, "{many:?}");
        assert!(of_this.spread < 0.1, "{of_this:?}");
        let both = told(others, 40.0, -0.8).plus(&told(here, 40.0, 0.1));
        assert!(both.expects(here).mean > -0.1);
        assert!(both.expects(others).mean < -0.6);
    }

    #[test]
    fn what_is_bounded_says_the_same_and_is_outweighed_by_pairs() {
        let here = place(Binding::Task, Cores::Few);
        let loud = told(here, 1_000_000.0, -0.5).at_most(10.0);
        let ten = told(here, 10.0, -0.5);
        assert!((loud.expects(here).mean - ten.expects(here).mean).abs() < 1e-9);
        assert!((loud.pairs - 10.0).abs() < 1e-9);
        assert!(loud.plus(&told(here, 40.0, 0.2)).expects(here).mean > 0.0);
        assert_eq!(ten.at_most(11.0), ten);
        // One freak pair counts as one that is bad enough.
        assert_eq!(told(here, 1.0, -15.0), told(here, 1.0, -1.0));
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
    fn the_better_of_two_is_drawn_more_often_the_more_is_known() {
        let here = place(Binding::Task, Cores::Few);
        let share = |pairs: f64| {
            let (good, bad) = (told(here, pairs, -0.3), told(here, pairs, 0.0));
            let (good, bad) = (good.expects(here), bad.expects(here));
            let mut chance = Chance::from_seed([9; 32]);
            (0..2_000)
                .filter(|_| good.draw(&mut chance) < bad.draw(&mut chance))
                .count()
        };
        let (little, more, much) = (share(0.0), share(4.0), share(40.0));
        assert!((900..1_100).contains(&little), "{little}");
        assert!(more > 1_500 && much > more && much > 1_990, "{more} {much}");
    }
}
