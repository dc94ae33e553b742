//! The kinds of time, kept apart: since boot, since 1970, a span, and the hive's logical clock.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A moment on this machine's boot clock, in microseconds. It never steps back and means nothing on
/// another machine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(pub u64);

/// A span of time, in microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span(pub u64);

/// A moment on the calendar, in milliseconds since 1970. It may be wrong, step, or lie.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WallTime(pub u64);

/// Both clocks of this machine, read together by the shell before each input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Boot clock: timers and measuring windows.
    pub boot: Instant,
    /// Calendar: only to stamp statements and to print dates.
    pub wall: WallTime,
}

/// Hybrid logical clock: 48 bits of milliseconds since 1970, then a 16-bit counter.
///
/// Source: Kulkarni et al., "Logical Physical Clocks" (2014); the layout is `research/replication.md` 4.2.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hlc(pub u64);

impl Instant {
    /// The moment the machine booted.
    pub const START: Self = Self(0);

    /// This moment plus a span; saturates at the end of time.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// A span of so many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// A span of so many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_ms(seconds.saturating_mul(1_000))
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        match seconds {
            0 => write!(f, "{} ms", self.as_ms()),
            1..=119 => write!(f, "{seconds} s"),
            120..=7_199 => write!(f, "{} min", seconds / 60),
            7_200..=172_799 => write!(f, "{} h", seconds / 3_600),
            _ => write!(f, "{} d", seconds / 86_400),
        }
    }
}

impl Hlc {
    /// The calendar part, in milliseconds since 1970.
    #[must_use]
    pub const fn wall(self) -> WallTime {
        WallTime(self.0 >> 16)
    }

    /// The least logical time that is later than `self` and not before `wall`.
    #[must_use]
    pub const fn next(self, wall: WallTime) -> Self {
        let physical = Self(wall.0.saturating_mul(1 << 16));
        if physical.0 > self.0 {
            physical
        } else {
            Self(self.0.saturating_add(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logical_clock_moves_even_when_the_calendar_does_not() {
        let first = Hlc::default().next(WallTime(1_000));
        let second = first.next(WallTime(1_000));
        let third = second.next(WallTime(5));
        assert!(first < second && second < third);
        assert_eq!(third.wall(), WallTime(1_000));
    }

    #[test]
    fn a_future_moment_is_zero_ago() {
        assert_eq!(Instant(5).since(Instant(9)), Span(0));
    }
}
