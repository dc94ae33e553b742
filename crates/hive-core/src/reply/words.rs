//! Words for figures, the same wherever a person reads them.

use alloc::format;
use alloc::string::{String, ToString as _};

/// A ratio as a change in the waiting: "waits 60 % less [40-65 %]".
///
/// The range runs from its smaller to its greater change; where it reaches to the other side of "no
/// change", both ends say in which direction they lie.
#[must_use]
pub fn waits(ratio: f64, ci: Option<[f64; 2]>) -> String {
    let change = percent(ratio);
    let head = match change {
        0 => "waits as long as before".to_string(),
        less if less < 0 => format!("waits {} % less", -less),
        more => format!("waits {more} % more"),
    };
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
