//! The world's chance: one seed, split into streams by name so that one part's draws do not shift another's.

use hive_core::chance::Chance;

/// A named stream of random numbers.
#[derive(Clone, Debug)]
pub struct Dice(Chance);

impl Dice {
    /// The stream called `name` of the world with this seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("hive-sim/v1/dice");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Self(Chance::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Thirty-two bytes: a seed or a secret.
    pub fn secret(&mut self) -> [u8; 32] {
        self.0.bytes()
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A place in a list of `len` things.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.0.below(len as u64)).expect("below a usize")
    }

    /// A number of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high.saturating_sub(low) + 1)
    }

    /// True in `permille` of 1,000 cases.
    pub fn permille(&mut self, permille: u64) -> bool {
        self.0.below(1_000) < permille
    }

    /// A number in `0..1`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub fn unit(&mut self) -> f64 {
        self.0.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    /// A draw of the standard normal distribution (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (core::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_name_and_its_seed_only() {
        assert_eq!(Dice::new(1, "a").secret(), Dice::new(1, "a").secret());
        assert_ne!(Dice::new(1, "a").secret(), Dice::new(1, "b").secret());
        assert_ne!(Dice::new(1, "a").secret(), Dice::new(2, "a").secret());
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut dice = Dice::new(1, "normal");
        let draws: Vec<f64> = (0..20_000).map(|_| dice.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05);
    }
}
