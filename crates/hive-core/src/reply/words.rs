//! Words for figures, the same wherever a person reads them.

use alloc::format;
use alloc::string::{String, ToString as _};

use crate::pattern::{Goal, WorkloadType};

/// A ratio as a change in the waiting: "waits 60 % less [40-65 %]".
///
/// The range runs from its smaller to its greater change; where it reaches to the other side of "no
/// change", both ends say in which direction they lie.
#[must_use]
pub fn waits(ratio: f64, ci: Option<[f64; 2]>) -> String {
    let head = match percent(ratio) {
        0 => "waits as long as before".to_string(),
        less if less < 0 => format!("waits {} % less", -less),
        more => format!("waits {more} % more"),
    };
    with_range(head, percent(ratio), ci)
}

/// A ratio of times per work as a change in the work: "gets 31 % more done per second [12-40 %]".
#[must_use]
pub fn gets_done(ratio: f64, ci: Option<[f64; 2]>) -> String {
    let rate = 1.0 / ratio;
    let head = match percent(rate) {
        0 => "gets as much done per second as before".to_string(),
        less if less < 0 => format!("gets {} % less done per second", -less),
        more => format!("gets {more} % more done per second"),
    };
    let ends = ci.filter(|[low, high]| *low > 0.0 && high.is_finite());
    with_range(
        head,
        percent(rate),
        ends.map(|[low, high]| [1.0 / high, 1.0 / low]),
    )
}

/// What a ratio means to a workload of this kind.
#[must_use]
pub fn effect(role: WorkloadType, ratio: f64, ci: Option<[f64; 2]>) -> String {
    match role.goal() {
        Goal::Wait => waits(ratio, ci),
        Goal::Progress => gets_done(ratio, ci),
    }
}

fn with_range(head: String, change: i32, ci: Option<[f64; 2]>) -> String {
    let Some([low, high]) = ci.filter(|ends| ends.iter().all(|end| end.is_finite())) else {
        return head;
    };
    let (low, high) = (percent(low), percent(high));
    let range = if low <= 0 && high <= 0 {
        format!("[{}-{} %]", -high, -low)
    } else if low >= 0 && high >= 0 {
        format!("[{low}-{high} %]")
    } else {
        format!("[{} % less to {high} % more]", -low)
    };
    if change == 0 || (change < 0) == (low <= 0 && high <= 0) || range.contains("less") {
        format!("{head} {range}")
    } else {
        format!("{head} [{low:+} to {high:+} %]")
    }
}

/// Whether a person who types `who` means the machine of this id and label.
#[must_use]
pub fn is_called(who: &str, id: &str, label: &str) -> bool {
    let who = who.trim();
    // Four digits: fewer name a machine by accident.
    let by_id = who.len() >= 4 && id.starts_with(&who.to_ascii_lowercase());
    by_id || label.eq_ignore_ascii_case(who)
}

/// A ratio as a change in percent, rounded: 0.4 is -60. Beyond ten times it stays at ten times.
fn percent(ratio: f64) -> i32 {
    let change = libm::round((ratio - 1.0) * 100.0).clamp(-100.0, 900.0);
    #[expect(clippy::cast_possible_truncation, reason = "clamped just before")]
    let whole = change as i32;
    whole
}
