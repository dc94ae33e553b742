//! What one measuring window says: two readings, subtracted.

use alloc::collections::BTreeMap;

use crate::machine::facts::{GroupId, Reading};
use crate::pattern::Goal;
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

/// A job that got fewer cores than this got nothing, if the other arm had [`CORES_LIVELY`]; less is counted as this,
/// or the logarithm of nothing would decide. What a job of the background must use to stay one; a guess.
const CORES_STARVED: f64 = 0.05;

/// A window with so many cores shows a job at work. What makes a job one of the background; a guess.
const CORES_LIVELY: f64 = 0.2;

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
    /// Time in which some task waited for a processor.
    pub cpu_stall: Span,
    /// Processor time that the protected job got as a whole, children that ended included; `None` where it was not
    /// asked for, or the job was not there at both ends.
    pub progress: Option<Span>,
}

/// What a pair of arms is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairValue {
    /// `ln(treated / control)` of the wait per wake-up, or of the time per work.
    Ln(f64),
    /// A treated window starved: harm, and the value at which it counts.
    Starved(f64),
    /// The program hardly woke or ran at all, so there is nothing to compare with.
    Idle,
}

impl Window {
    /// The difference of two readings, over the threads and groups that are in both.
    #[must_use]
    pub fn between(first: &Reading, last: &Reading) -> Self {
        Self::over(first, last, |_| true, None)
    }

    /// The same over the threads of one job only.
    #[must_use]
    pub fn of_threads(first: &Reading, last: &Reading, job: GroupId) -> Self {
        Self::over(first, last, |group| group == job, None)
    }

    /// The same where the readings hold the protected job among the background's: what it got is told apart.
    #[must_use]
    pub fn of_work(first: &Reading, last: &Reading, job: GroupId) -> Self {
        Self::over(first, last, |group| group == job, Some(job))
    }

    fn over(
        first: &Reading,
        last: &Reading,
        counts: impl Fn(GroupId) -> bool,
        worker: Option<GroupId>,
    ) -> Self {
        let mut window = Self {
            span: last.at.since(first.at),
            memory_stall: Span(
                last.pressure
                    .memory_full
                    .0
                    .saturating_sub(first.pressure.memory_full.0),
            ),
            cpu_stall: Span(last.pressure.cpu.0.saturating_sub(first.pressure.cpu.0)),
            ..Self::default()
        };
        let before: BTreeMap<_, _> = first
            .threads
            .iter()
            .map(|t| ((t.tid, t.group), t))
            .collect();
        for thread in last.threads.iter().filter(|t| counts(t.group)) {
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
            let Some(old) = before.get(&group.group) else {
                continue;
            };
            if worker == Some(group.group) {
                let got = Span(group.cpu.0.saturating_sub(old.0));
                window.progress = (group.processes > 0).then_some(got);
            } else {
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

    /// Cores that the protected job used as a whole.
    #[must_use]
    pub fn cores(&self) -> f64 {
        real(self.progress.unwrap_or_default().0) / real(self.span.0.max(1))
    }

    /// Whether the job wanted more than it got: those of its threads that lived through the window waited for a
    /// processor longer than they ran. A link step that has its core, or a read from the disk, wants no more.
    #[must_use]
    pub fn wanted_more(&self) -> bool {
        self.waited_ns > self.ran_ns
    }

    /// Whether the protected program ended.
    #[must_use]
    pub fn is_over(&self, goal: Goal) -> bool {
        match goal {
            Goal::Wait => self.threads == 0,
            Goal::Progress => self.progress.is_none(),
        }
    }

    /// What the goal asks to be less: nanoseconds of waiting per wake-up, or seconds per second of work.
    fn burden(&self, goal: Goal) -> f64 {
        match goal {
            Goal::Wait => self.wait(),
            Goal::Progress => 1.0 / self.cores().max(CORES_STARVED),
        }
    }

    fn is_idle(&self, goal: Goal) -> bool {
        match goal {
            Goal::Wait => self.wakeups < WAKEUPS_STARVED,
            Goal::Progress => self.cores() < CORES_STARVED,
        }
    }

    fn is_lively(&self, goal: Goal) -> bool {
        match goal {
            Goal::Wait => self.wakeups >= WAKEUPS_LIVELY,
            Goal::Progress => self.cores() >= CORES_LIVELY,
        }
    }

    /// Share of the window in which everything waited for memory.
    #[must_use]
    pub fn memory_stalled(&self) -> f64 {
        real(self.memory_stall.0) / real(self.span.0.max(1))
    }

    /// Share of the window in which some task waited for a processor.
    #[must_use]
    pub fn cpu_stalled(&self) -> f64 {
        real(self.cpu_stall.0) / real(self.span.0.max(1))
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
pub fn pair_value(goal: Goal, treated: &[Window], control: &Window) -> PairValue {
    let values = || {
        treated
            .iter()
            .filter_map(|window| ln_ratio(goal, window, control))
    };
    let count = values().fold(0.0, |n, _| n + 1.0);
    if count < 1.0 {
        return PairValue::Idle;
    }
    let value = values().sum::<f64>() / count;
    // What sleeps by itself was denied nothing; its value counts the same, so that either arm may meet it.
    let denied = |window: &Window| goal == Goal::Wait || window.wanted_more();
    if treated
        .iter()
        .any(|window| starves(goal, window, control) && denied(window))
    {
        PairValue::Starved(value)
    } else {
        PairValue::Ln(value)
    }
}

/// `ln(treated / control)` of two windows; exchanging them changes its sign and nothing else.
///
/// So what happens by itself, as a program that sleeps now and then, counts no harm: it hits either arm alike. A window
/// that starved is worth [`STARVED_LN`] at least, on whichever side it is.
fn ln_ratio(goal: Goal, treated: &Window, control: &Window) -> Option<f64> {
    let ln = libm::log(treated.burden(goal)) - libm::log(control.burden(goal));
    if starves(goal, treated, control) {
        Some(ln.max(STARVED_LN))
    } else if starves(goal, control, treated) {
        Some(ln.min(-STARVED_LN))
    } else {
        (!treated.is_idle(goal) && !control.is_idle(goal)).then_some(ln)
    }
}

/// Whether the one starved beside the other.
fn starves(goal: Goal, one: &Window, other: &Window) -> bool {
    one.is_idle(goal) && other.is_lively(goal)
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
            let PairValue::Ln(value) = pair_value(Goal::Wait, &treated, &window()) else {
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
        let value = |control| pair_value(Goal::Wait, &[window(3, 0)], control);
        assert!(matches!(value(&control), PairValue::Starved(v) if v > 0.6));
        assert_eq!(value(&window(3, 9_000)), PairValue::Idle);
    }

    #[test]
    fn exchanging_the_arms_changes_the_sign_and_nothing_else() {
        let wakeups = [0, 3, 9, 10, 15, 20, 100];
        let windows = wakeups.map(|wakeups| Window {
            span: Span::from_ms(1_000),
            waited_ns: wakeups * wakeups * 50_000 + 700_000,
            wakeups,
            progress: Some(Span::from_ms(wakeups * 15)),
            ..Window::default()
        });
        for goal in [Goal::Wait, Goal::Progress] {
            let value =
                |treated: &Window, control: &Window| match pair_value(goal, &[*treated], control) {
                    PairValue::Ln(ln) | PairValue::Starved(ln) => Some(ln),
                    PairValue::Idle => None,
                };
            for one in &windows {
                for other in &windows {
                    let (there, back) = (value(one, other), value(other, one));
                    assert_eq!(there, back.map(|ln| 0.0 - ln), "{goal:?} {one:?} {other:?}");
                }
            }
        }
    }

    fn work(cores_ms: u64, waited_ns: u64) -> Window {
        Window {
            span: Span::from_ms(1_000),
            progress: Some(Span::from_ms(cores_ms)),
            ran_ns: cores_ms * 1_000_000,
            waited_ns,
            ..Window::default()
        }
    }

    #[test]
    fn a_job_that_gets_a_third_more_takes_a_quarter_less_time() {
        let value = pair_value(Goal::Progress, &[work(1_200, 0)], &work(900, 0));
        let PairValue::Ln(ln) = value else {
            panic!("{value:?}");
        };
        assert!((libm::exp(ln) - 0.75).abs() < 1e-9);
    }

    #[test]
    fn a_job_that_got_nothing_is_harm_and_denied_only_if_it_wanted() {
        let value = |treated| pair_value(Goal::Progress, &[treated], &work(900, 0));
        assert!(matches!(value(work(3, 900_000_000)), PairValue::Starved(v) if v > 0.6));
        assert!(matches!(value(work(3, 0)), PairValue::Ln(v) if v > 0.6));
        let both = pair_value(Goal::Progress, &[work(3, 0)], &work(20, 0));
        assert_eq!(both, PairValue::Idle);
    }

    #[test]
    fn what_the_job_got_is_not_the_backgrounds_and_ends_with_the_job() {
        let [job, other] = [11, 21].map(|group| GroupId { session: 10, group });
        let reading = |at_ms: u64, processes: u32| {
            let of = |group, cpu, processes| GroupCounters {
                group,
                cpu: Span::from_ms(cpu),
                processes,
            };
            Reading {
                background: vec![of(job, at_ms, processes), of(other, at_ms * 3, 1)],
                ..reading(at_ms, &[])
            }
        };
        let window = Window::of_work(&reading(0, 4), &reading(1_000, 4), job);
        assert_eq!(window.progress, Some(Span::from_ms(1_000)));
        assert_eq!(window.background, Span::from_ms(3_000));
        assert!(!window.is_over(Goal::Progress));
        // Its corpse is still there.
        let window = Window::of_work(&reading(0, 4), &reading(1_000, 0), job);
        assert!(window.is_over(Goal::Progress));
    }
}
