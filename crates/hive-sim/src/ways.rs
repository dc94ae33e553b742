//! How long frames really were on their way somewhere, in the time of the nodes: what `hive-lab bytes` measured. A day is
//! then lived on these ways and not on a wired LAN's.
//!
//! Ways are long together: twenty daemons share two processors, and what one frame waits for, the next waits for too. So
//! they are drawn by busy periods, as queues are told about: from a moment when nothing was under way to the next one.
//! Whoever begins a busy period here gets one that was measured, and its frames in the order in which they were sent.

use std::str::FromStr;

use crate::dice::Dice;
use crate::queue::Moment;

/// Bytes of a text of ways that are read at most. A guess: a hundred times a day of twenty members.
pub const TEXT_MAX: u64 = 16 << 20;

/// No way is longer, in microseconds: a day.
const WAY_MAX_US: u64 = 86_400_000_000;

/// Measured ways, and which of them come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Microseconds, of one busy period in the order of sending; the longest periods first. None is empty.
    periods: Vec<Vec<u64>>,
    /// Of each period, the frames of it and of all longer ones.
    frames: Vec<usize>,
    /// The period that is being lived, and its next frame.
    at: (usize, usize),
    /// When nothing is under way any more.
    busy_until: Moment,
}

/// Why something says no ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaysError {
    /// Something among it is no number.
    NoNumber,
    /// More than a day.
    TooLong,
    /// There is no way in it.
    Empty,
}

impl Ways {
    /// How long a frame is under way that is sent now.
    pub fn draw(&mut self, now: Moment, dice: &mut Dice) -> u64 {
        let (period, nth) = self.at;
        if now >= self.busy_until {
            self.at = (self.one_longer_than(0, dice), 0);
        } else if nth >= self.periods[period].len() {
            let nth = if nth < self.periods[0].len() { nth } else { 0 };
            self.at = (self.one_longer_than(nth, dice), nth);
        }
        let (period, nth) = self.at;
        self.at.1 += 1;
        let way = self.periods[period][nth];
        self.busy_until = self.busy_until.max(now.after(way));
        way
    }

    /// One of the periods with more frames than so many; the more frames it has, the more often.
    fn one_longer_than(&self, nth: usize, dice: &mut Dice) -> usize {
        let longer = self.periods.partition_point(|period| period.len() > nth);
        let frame = dice.index(self.frames[longer - 1]);
        self.frames.partition_point(|frames| *frames <= frame)
    }
}

impl FromStr for Ways {
    type Err = WaysError;

    /// A busy period in each line: microseconds with commas between them.
    fn from_str(text: &str) -> Result<Self, WaysError> {
        let mut periods = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let ways: Result<Vec<u64>, _> = line.split(',').map(str::parse).collect();
            let ways = ways.map_err(|_| WaysError::NoNumber)?;
            if ways.iter().any(|us| *us > WAY_MAX_US) {
                return Err(WaysError::TooLong);
            }
            periods.push(ways);
        }
        if periods.is_empty() {
            return Err(WaysError::Empty);
        }
        periods.sort_by_key(|period| std::cmp::Reverse(period.len()));
        let sums = periods.iter().scan(0, |sum, period| {
            *sum += period.len();
            Some(*sum)
        });
        Ok(Self {
            frames: sums.collect(),
            periods,
            at: (0, 0),
            busy_until: Moment::default(),
        })
    }
}

impl std::fmt::Display for WaysError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            Self::NoNumber => "ways are microseconds, with commas between them",
            Self::TooLong => "no way is longer than a day",
            Self::Empty => "there is no way in it",
        })
    }
}

impl std::error::Error for WaysError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of one busy period after the other, `ms` apart.
    fn drawn(text: &str, frames: u64, ms: u64) -> Vec<u64> {
        let mut ways: Ways = text.parse().expect("ways");
        let mut dice = Dice::new(1, "ways");
        let at = |nth| Moment::default().after(nth * ms * 1_000);
        (0..frames)
            .map(|nth| ways.draw(at(nth), &mut dice))
            .collect()
    }

    #[test]
    fn what_is_long_together_is_drawn_together() {
        // One after the other while something is under way: the period is lived in its order.
        assert_eq!(
            drawn("5000,6000,7000\n", 4, 1),
            [5_000, 6_000, 7_000, 5_000]
        );
        // Nothing is under way any more: always a first one.
        let apart = drawn("10\n5000,6000,7000\n", 4_000, 10);
        let long = apart.iter().filter(|us| **us == 5_000).count();
        assert!(apart.iter().all(|us| [10, 5_000].contains(us)));
        assert!((2_900..3_100).contains(&long), "by its frames: {long}");
    }

    #[test]
    fn a_period_that_lasts_longer_goes_on_with_one_that_lasted_as_long() {
        let crowd = drawn("9000\n9000,1\n9000,2,8000,7000\n", 1_000, 0);
        assert_eq!(crowd[0], 9_000);
        assert!(crowd.chunks(4).all(|four| four[0] == 9_000));
        assert!(crowd.chunks(4).all(|four| four[2..] == [8_000, 7_000]));
        assert!(crowd.chunks(4).any(|four| four[1] == 1));
        assert!(crowd.chunks(4).any(|four| four[1] == 2));
    }

    #[test]
    fn what_is_no_ways_is_refused() {
        for (text, why) in [
            ("", WaysError::Empty),
            ("\n\n", WaysError::Empty),
            ("1,x", WaysError::NoNumber),
            ("1,,2", WaysError::NoNumber),
            ("1,86400000001", WaysError::TooLong),
        ] {
            assert_eq!(text.parse::<Ways>(), Err(why), "{text}");
        }
    }
}
