//! What one measuring window says: two readings, subtracted.

use alloc::collections::BTreeMap;

use crate::machine::facts::{GroupId, Reading};
use crate::time::Span;

/// Fewer wake-ups than this in a treated window is starvation, if the control had [`WAKEUPS_LIVELY`].
/// Half of the gate's 20 (`research/optimizer.md` 7.5).
const WAKEUPS_STARVED: u64 = 10;

/// A window with this many wake-ups shows a program at work (`research/optimizer.md` 7.5).
const WAKEUPS_LIVELY: u64 = 20;

/// Waits below this are taken as this: nobody feels a microsecond, and its logarithm would rule the mean. A guess.
const WAIT_FLOOR_NS: f64 = 1_000.0;

/// Value given at least to a pair whose treated window starved: twice the wait, never a gain.
const STARVED_LN: f64 = core::f64::consts::LN_2;

/// Counters gained between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// How long it was.
    pub span: Span,
    /// Threads of the protected groups that were there at both ends.
    pub threads: u32,
    /// Nanoseconds those threads waited for a processor.
    pub waited_ns: u64,
    /// Nanoseconds they ran.
    pub ran_ns: u64,
    /// How often they were woken.
    pub wakeups: u64,
    /// Processor time that the background got.
    pub background: Span,
    /// Live processes of the background at the end.
    pub processes: u32,
    /// Time in which everything waited for memory.
    pub memory_stall: Span,
}

/// What a pair of arms is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairValue {
    /// `ln(treated / control)` of the wait per wake-up.
    Ln(f64),
    /// A treated window starved: harm, and the value at which it counts.
    Starved(f64),
    /// The program hardly woke at all, so there is nothing to compare with.
    Idle,
}

impl Window {
    /// The difference of two readings, over the threads and groups that are in both.
    #[must_use]
    pub fn between(first: &Reading, last: &Reading) -> Self {
        let mut window = Self {
            span: last.at.since(first.at),
            memory_stall: Span(
                last.pressure
                    .memory_full
                    .0
                    .saturating_sub(first.pressure.memory_full.0),
            ),
            ..Self::default()
        };
        let before: BTreeMap<_, _> = first
            .threads
            .iter()
            .map(|t| ((t.tid, t.group), t))
            .collect();
        for thread in &last.threads {
            let Some(old) = before.get(&(thread.tid, thread.group)) else {
                continue;
            };
            window.threads += 1;
            window.waited_ns += thread.waited_ns.saturating_sub(old.waited_ns);
            window.ran_ns += thread.ran_ns.saturating_sub(old.ran_ns);
            window.wakeups += thread.wakeups.saturating_sub(old.wakeups);
        }
        let before: BTreeMap<GroupId, Span> =
            first.background.iter().map(|g| (g.group, g.cpu)).collect();
        for group in &last.background {
            if let Some(old) = before.get(&group.group) {
                window.background.0 += group.cpu.0.saturating_sub(old.0);
                window.processes = window.processes.saturating_add(group.processes);
            }
        }
        window
    }

    /// Nanoseconds of waiting per actual wake-up: the figure that trials compare.
    ///
    /// Per wake-up and not per dispatch: pre-emptions count as dispatches too, and slicing finer then
    /// looks like a gain that the program's own clock does not show (`research/optimizer.md`, correction).
    #[must_use]
    pub fn wait(&self) -> f64 {
        (real(self.waited_ns) / real(self.wakeups.max(1))).max(WAIT_FLOOR_NS)
    }

    /// Wake-ups per second.
    #[must_use]
    pub fn wakeups_per_s(&self) -> f64 {
        real(self.wakeups) * 1e6 / real(self.span.0.max(1))
    }

    /// Share of the window in which everything waited for memory.
    #[must_use]
    pub fn memory_stalled(&self) -> f64 {
        real(self.memory_stall.0) / real(self.span.0.max(1))
    }

    /// Cores that the background used.
    #[must_use]
    pub fn background_cores(&self) -> f64 {
        real(self.background.0) / real(self.span.0.max(1))
    }
}

/// Compares the treated windows of a block with its control, one by one.
///
/// The mean of logarithms, not the logarithm of the mean: the latter lies above it the more the windows differ, and a
/// block of several treated windows would count harm where there is none.
#[must_use]
pub fn pair_value(treated: &[Window], control: &Window) -> PairValue {
    let values = || {
        treated
            .iter()
            .filter_map(|window| ln_ratio(window, control))
    };
    let count = values().fold(0.0, |n, _| n + 1.0);
    if count < 1.0 {
        return PairValue::Idle;
    }
    let value = values().sum::<f64>() / count;
    if treated.iter().any(|window| starves(window, control)) {
        PairValue::Starved(value)
    } else {
        PairValue::Ln(value)
    }
}

/// `ln(treated / control)` of two windows; exchanging them changes its sign and nothing else.
///
/// So what happens by itself, as a program that sleeps now and then, counts no harm: it hits either arm alike. A window
/// that starved is worth [`STARVED_LN`] at least, on whichever side it is.
fn ln_ratio(treated: &Window, control: &Window) -> Option<f64> {
    let idle = |window: &Window| window.wakeups < WAKEUPS_STARVED;
    let ln = libm::log(treated.wait()) - libm::log(control.wait());
    if starves(treated, control) {
        Some(ln.max(STARVED_LN))
    } else if starves(control, treated) {
        Some(ln.min(-STARVED_LN))
    } else {
        (!idle(treated) && !idle(control)).then_some(ln)
    }
}

/// Whether the one starved beside the other.
fn starves(one: &Window, other: &Window) -> bool {
    one.wakeups < WAKEUPS_STARVED && other.wakeups >= WAKEUPS_LIVELY
}

/// A count as a real number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counters of seconds to hours stay below 2^53"
)]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::machine::facts::{GroupCounters, ThreadCounters};
    use crate::time::Instant;

    fn reading(at_ms: u64, threads: &[(u32, u64, u64)]) -> Reading {
        Reading {
            at: Instant(at_ms * 1_000),
            threads: threads
                .iter()
                .map(|&(tid, waited_ns, wakeups)| ThreadCounters {
                    tid,
                    waited_ns,
                    wakeups,
                    ..ThreadCounters::default()
                })
                .collect(),
            background: vec![GroupCounters {
                cpu: Span::from_ms(at_ms * 2),
                processes: 3,
                ..GroupCounters::default()
            }],
            ..Reading::default()
        }
    }

    #[test]
    fn only_threads_of_both_ends_count() {
        let window = Window::between(
            &reading(0, &[(1, 100, 10), (2, 5, 5)]),
            &reading(1_000, &[(1, 400_100, 110), (3, 9_999_999, 1)]),
        );
        assert_eq!((window.threads, window.wakeups), (1, 100));
        assert!((window.wait() - 4_000.0).abs() < 1e-9);
        assert!((window.background_cores() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn blocks_in_which_nothing_differs_say_nothing_on_average() {
        let mut chance = crate::chance::Chance::from_seed([7; 32]);
        let mut window = || {
            // Sum of twelve uniform numbers: normal enough, with the spread that was measured at its worst.
            let mut uniform = || real(chance.below(1 << 32)) / 4_294_967_296.0;
            let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some hundred million"
            )]
            let waited_ns = (3e8 * libm::exp(0.4 * normal)) as u64;
            Window {
                waited_ns,
                wakeups: 100,
                ..Window::default()
            }
        };
        let blocks = 20_000;
        let mut sum = 0.0;
        for _ in 0..blocks {
            let treated = [window(), window(), window(), window()];
            let PairValue::Ln(value) = pair_value(&treated, &window()) else {
                panic!("nobody starves");
            };
            sum += value;
        }
        // The standard error is 0.003; the logarithm of the mean would say +0.06.
        let mean = sum / f64::from(blocks);
        assert!(mean.abs() < 0.02, "{mean}");
    }

    #[test]
    fn a_starved_window_is_never_a_gain() {
        let window = |wakeups, waited_ns| Window {
            waited_ns,
            wakeups,
            ..Window::default()
        };
        let control = window(100, 100_000_000);
        assert!(matches!(pair_value(&[window(3, 0)], &control), PairValue::Starved(v) if v > 0.6));
        assert_eq!(
            pair_value(&[window(3, 0)], &window(3, 9_000)),
            PairValue::Idle
        );
    }

    #[test]
    fn exchanging_the_arms_changes_the_sign_and_nothing_else() {
        let wakeups = [0, 3, 9, 10, 15, 20, 100];
        let windows = wakeups.map(|wakeups| Window {
            waited_ns: wakeups * wakeups * 50_000 + 700_000,
            wakeups,
            ..Window::default()
        });
        let value = |treated: &Window, control: &Window| match pair_value(&[*treated], control) {
            PairValue::Ln(ln) | PairValue::Starved(ln) => Some(ln),
            PairValue::Idle => None,
        };
        for one in &windows {
            for other in &windows {
                let (there, back) = (value(one, other), value(other, one));
                assert_eq!(there, back.map(|ln| 0.0 - ln), "{one:?} {other:?}");
            }
        }
    }
}
