//! What this daemon itself costs: before it becomes what it is there to tame, it takes everything off and rests.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;

use crate::event_log::{Happening, OwnRail};
use crate::machine::trial::{WASH_OUT, WINDOW};
use crate::machine::window::real;
use crate::machine::{Machine, MachineEffect};
use crate::time::{Instant, Now, Span};

/// Both rails look at the last minute.
const MINUTE: Span = Span::from_secs(60);

/// This much of one core the daemon may use while something is under trial or on. The notes ask for a hundredth
/// (`research/optimizer.md` 7.5); with 1,000 processes a trial on a busy machine was measured at 0.036 (README, cost), so
/// that bound would end every trial there. Above this it is no price of a trial but a fault.
const LOAD_MAX: f64 = 0.05;

/// A trial switches twice per window at most: the one thing off, the next one on. Counted for windows without a pause.
const SWITCHES_MAX: usize = (2 * MINUTE.0 / (WINDOW.0 + WASH_OUT.0)) as usize;

/// The first rest after a rail fell; each further one is twice as long. A guess: whatever drove it, a compiler or a
/// disk that hangs, is over by then.
const REST: Span = Span::from_secs(600);

/// The rests stop doubling here: ten hours and 40 minutes. A guess.
const DOUBLINGS_MAX: u32 = 6;

/// What is remembered of the daemon itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Its processor time at the surveys of the last minute, and at one before; oldest first.
    used: VecDeque<(Instant, Span)>,
    /// When something was switched within the last minute.
    switches: VecDeque<Instant>,
    /// How often a rail fell.
    falls: u32,
    rest: Option<(OwnRail, Instant)>,
}

impl Own {
    /// Until when nothing is begun.
    pub(super) fn until(&self) -> Option<Instant> {
        self.rest.map(|(_, until)| until)
    }

    /// Time passed.
    pub(super) fn rested(&mut self, now: Instant) {
        self.rest = self.rest.filter(|(_, until)| now < *until);
    }

    /// A person wants it to go on.
    pub(super) fn rise(&mut self) {
        self.rest = None;
    }

    /// Takes the daemon's processor time, and tells its share of a core over the last minute once there is one.
    fn load(&mut self, now: Instant, used: Span) -> Option<f64> {
        self.used.push_back((now, used));
        let is_old = |at: Instant| now.since(at) >= MINUTE;
        while self.used.get(1).is_some_and(|(at, _)| is_old(*at)) {
            self.used.pop_front();
        }
        let (at, before) = self.used.front().filter(|(at, _)| is_old(*at))?;
        Some(real(used.0.saturating_sub(before.0)) / real(now.since(*at).0))
    }

    /// Counts a switch, and tells whether there were more within a minute than a trial needs.
    fn switch(&mut self, now: Instant) -> bool {
        self.switches.push_back(now);
        while self
            .switches
            .front()
            .is_some_and(|at| now.since(*at) >= MINUTE)
        {
            self.switches.pop_front();
        }
        self.switches.len() > SWITCHES_MAX
    }

    fn fall(&mut self, now: Instant, rail: OwnRail) {
        let long = Span(REST.0 << self.falls.min(DOUBLINGS_MAX));
        self.falls = self.falls.saturating_add(1);
        self.rest = Some((rail, now.after(long)));
        self.used.clear();
        self.switches.clear();
    }
}

impl Machine {
    /// A survey told how much processor time this daemon has used.
    pub(super) fn weigh_own(&mut self, now: Now, used: Span) {
        let load = self.own.load(now.boot, used);
        if self.run.is_some() && load.is_some_and(|load| load > LOAD_MAX) {
            self.fall(now, OwnRail::Load);
        }
    }

    /// The hands turned something on or off.
    pub(super) fn count_switch(&mut self, now: Now) {
        if self.own.switch(now.boot) {
            self.fall(now, OwnRail::Switches);
        }
    }

    /// What is on is put back at once, and nothing is begun for a while.
    fn fall(&mut self, now: Now, rail: OwnRail) {
        self.own.fall(now.boot, rail);
        self.end_run();
        self.out.extend(self.hands.release(now.boot));
        self.out
            .push_back(MachineEffect::Tell(Happening::OwnRail { rail }));
    }

    /// Says that nothing is begun, and why.
    pub(super) fn own_rest(&self, now: Now) -> Option<String> {
        let (rail, until) = self.own.rest?;
        let left = until.since(now.boot);
        Some(match rail {
            OwnRail::Load => format!(
                "this daemon itself used more than {:.0} % of a core for a minute: everything is off, and nothing is tried for {left}; \"hive resume\" ends that",
                LOAD_MAX * 100.0
            ),
            OwnRail::Switches => format!(
                "this daemon switched something more than {SWITCHES_MAX} times within a minute: everything is off, and nothing is tried for {left}; \"hive resume\" ends that"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Instant {
        Instant(second * 1_000_000)
    }

    #[test]
    fn the_load_is_that_of_the_last_minute() {
        let mut own = Own::default();
        assert_eq!(own.load(at(0), Span::from_ms(9_000)), None);
        assert_eq!(own.load(at(30), Span::from_ms(9_000)), None);
        let load = own.load(at(60), Span::from_ms(12_000)).expect("a minute");
        assert!((load - 0.05).abs() < 1e-9, "{load}");
        // The three seconds were used before the half; what is older than a minute is forgotten.
        let load = own.load(at(120), Span::from_ms(12_000)).expect("a minute");
        assert!(load < 1e-9, "{load}");
        assert_eq!(own.used.len(), 2);
    }

    #[test]
    fn a_trial_may_switch_as_often_as_it_needs_and_no_more() {
        let mut own = Own::default();
        assert_eq!(SWITCHES_MAX, 100);
        // Two switches per window and wash-out, for an hour.
        for nth in 0..3_000 {
            let now = Instant(nth * 1_200_000);
            assert!(!own.switch(now) && !own.switch(now), "{nth}");
        }
        let mut own = Own::default();
        let fell = (0..200).position(|nth| own.switch(Instant(nth * 250_000)));
        assert_eq!(fell, Some(SWITCHES_MAX));
    }

    #[test]
    fn each_rest_is_longer_than_the_one_before_up_to_a_bound() {
        let mut own = Own::default();
        let mut rest = || {
            own.fall(at(1), OwnRail::Switches);
            own.until().expect("at rest").since(at(1))
        };
        assert_eq!(rest(), REST);
        assert_eq!(rest(), Span(2 * REST.0));
        for _ in 0..70 {
            rest();
        }
        assert_eq!(rest(), Span(64 * REST.0));
        let until = own.until().expect("at rest");
        own.rested(until);
        assert_eq!(own.until(), None);
    }
}
