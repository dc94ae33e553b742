//! Pace: whether a job in front behaves as if somebody waited for it.

use crate::machine::observe::Group;
use crate::machine::window::{Window, real};

/// Wake-ups per second of a workload that somebody may be waiting for (`research/optimizer.md` 7.5).
pub const WAKEUPS_GATE: f64 = 20.0;

/// An interactive program runs this long per wake-up at most: 40 frames a second that fill each frame.
/// A burner that is pre-empted does not sleep, so it stays far above. A guess.
const RUN_PER_WAKEUP_NS_MAX: f64 = 25e6;

/// An interactive program's threads use at most this much of a core each. A guess.
const CORES_PER_THREAD_MAX: f64 = 0.6;

/// New processes per second that make a job a build: even a slow compiler beats it. A guess.
pub const BUILD_FRESH_PER_S: f64 = 1.0;

/// How a foreground job runs, measured by a window on it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Wake-ups per second.
    pub wakeups_per_s: f64,
    /// Whether it behaves as if somebody waited for it.
    pub interactive: bool,
}

impl Pace {
    /// Judges a window on one job. A job that lives by forking is a build even where it wakes often.
    #[must_use]
    pub fn of(window: &Window, group: &Group) -> Self {
        let wakeups_per_s = window.wakeups_per_s();
        let run_per_wakeup = real(window.ran_ns) / real(window.wakeups.max(1));
        let cores = real(window.ran_ns) / 1e3 / real(window.span.0.max(1));
        let brief = run_per_wakeup <= RUN_PER_WAKEUP_NS_MAX
            && cores <= CORES_PER_THREAD_MAX * f64::from(window.threads.max(1));
        let build = group.fresh_per_s >= BUILD_FRESH_PER_S;
        Self {
            wakeups_per_s,
            interactive: wakeups_per_s >= WAKEUPS_GATE && (group.named || (brief && !build)),
        }
    }
}
