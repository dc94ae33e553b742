//! The error rate and the speed of the range, by seeded simulation.

use super::{TAU_SQUARED, range, range_with};
use crate::chance::Chance;
use crate::pattern::PairStats;

/// A standard normal number (Box and Muller).
fn normal(chance: &mut Chance) -> f64 {
    let unit = |chance: &mut Chance| {
        let draw = u32::try_from(chance.below(1 << 32)).expect("below 2^32");
        (f64::from(draw) + 0.5) / 4_294_967_296.0
    };
    let (one, two) = (unit(chance), unit(chance));
    libm::sqrt(-2.0 * libm::log(one)) * libm::cos(core::f64::consts::TAU * two)
}

fn false_runs(runs: u32, alpha: f64, spread: f64, tau_squared: f64) -> u32 {
    let mut chance = Chance::from_seed([11; 32]);
    let mut wrong = 0;
    for _ in 0..runs {
        let mut stats = PairStats::default();
        let mut excluded = false;
        for _ in 0..40 {
            stats.add(spread * normal(&mut chance));
            if let Some(range) = range_with(&stats, alpha, tau_squared) {
                excluded |= range.low > 0.0 || range.high < 0.0;
            }
        }
        wrong += u32::from(excluded);
    }
    wrong
}

#[test]
fn forty_looks_err_no_more_often_than_stated() {
    for (alpha, spread) in [(0.02, 0.3), (0.05, 0.3), (0.05, 0.1)] {
        let wrong = false_runs(4_000, alpha, spread, TAU_SQUARED);
        assert!(
            f64::from(wrong) <= alpha * 4_000.0,
            "{wrong} of 4,000 at {alpha}"
        );
    }
}

/// Pairs until the upper end lies below 0.95, at least 6; sorted.
fn pairs_until_found(effect: f64, spread: f64, tau_squared: f64) -> [u32; 401] {
    let mut chance = Chance::from_seed([12; 32]);
    let mut all = [0; 401];
    for found in &mut all {
        let mut stats = PairStats::default();
        while *found < 200 {
            *found += 1;
            stats.add(effect + spread * normal(&mut chance));
            let below = range_with(&stats, 0.02, tau_squared)
                .is_some_and(|range| range.high < libm::log(0.95));
            if *found >= 6 && below {
                break;
            }
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn half_the_wait_is_found_within_about_eight_pairs() {
    let found = pairs_until_found(libm::log(0.5), 0.3, TAU_SQUARED);
    assert!(found[200] <= 8, "median {}", found[200]);
    assert!(found[380] <= 14, "95 % {}", found[380]);
}

#[test]
fn the_prior_is_the_quicker_of_two() {
    let wide = pairs_until_found(libm::log(0.5), 0.3, 4.0);
    let narrow = pairs_until_found(libm::log(0.5), 0.3, 1.0);
    assert!(wide[200] <= narrow[200], "{} {}", wide[200], narrow[200]);
    assert!(wide.iter().sum::<u32>() < narrow.iter().sum::<u32>());
}

#[test]
fn equal_values_do_not_make_a_range_of_width_zero() {
    let mut stats = PairStats::default();
    for _ in 0..8 {
        stats.add(-0.2);
    }
    let range = range(&stats, 0.05).expect("finite");
    assert!(range.low < -0.2 && range.high > -0.2);
    assert!(super::range(&PairStats::default(), 0.05).is_none());
}
