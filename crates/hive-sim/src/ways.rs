//! How long frames really were on their way somewhere, as points that divide them into equal parts: what
//! `hive-lab bytes` measured, in the time of the nodes. A day is then lived on these ways and not on a wired LAN's.

use std::str::FromStr;

use crate::dice::Dice;

/// Points that divide all ways into equal parts, in microseconds, from the shortest to the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways(Vec<u64>);

/// Why something says no ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaysError {
    /// Something among it is no number.
    NoNumber,
    /// One point divides nothing.
    TooFew,
    /// The points do not rise.
    Falling,
}

impl Ways {
    /// One of them.
    pub fn draw(&self, dice: &mut Dice) -> u64 {
        let part = dice.index(self.0.len() - 1);
        let (from, to) = (self.0[part], self.0[part + 1]);
        from + dice.below(to - from + 1)
    }
}

impl FromStr for Ways {
    type Err = WaysError;

    fn from_str(text: &str) -> Result<Self, WaysError> {
        let points: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
        let points = points.map_err(|_| WaysError::NoNumber)?;
        if points.len() < 2 {
            return Err(WaysError::TooFew);
        }
        if !points.is_sorted() || points.iter().any(|us| *us > u64::MAX / 2) {
            return Err(WaysError::Falling);
        }
        Ok(Self(points))
    }
}

impl std::fmt::Display for WaysError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            Self::NoNumber => "ways are microseconds, with commas between them",
            Self::TooFew => "two points at least: the shortest way and the longest",
            Self::Falling => "the points rise from the shortest way to the longest",
        })
    }
}

impl std::error::Error for WaysError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_drawn_from_each_part_alike() {
        let ways: Ways = "10,20,20,1000".parse().expect("ways");
        let mut dice = Dice::new(1, "ways");
        let drawn: Vec<u64> = (0..3_000).map(|_| ways.draw(&mut dice)).collect();
        let of = |from: u64, to: u64| drawn.iter().filter(|us| (from..to).contains(us)).count();
        assert_eq!(of(10, 1_001), 3_000);
        assert!((900..1_100).contains(&of(21, 1_001)), "a third is longer");
        assert!(of(800, 1_001) > 100, "up to the longest");
        assert!((800..1_000).contains(&of(10, 20)), "a third is shorter");
    }

    #[test]
    fn what_is_no_ways_is_refused() {
        for (text, why) in [
            ("", WaysError::NoNumber),
            ("1,x", WaysError::NoNumber),
            ("7", WaysError::TooFew),
            ("2,1", WaysError::Falling),
            ("1,18446744073709551615", WaysError::Falling),
        ] {
            assert_eq!(text.parse::<Ways>(), Err(why), "{text}");
        }
    }
}
