//! Daemons die at their writes, machines lose power, disks forget what they have not answered for.
//!
//! Two members publish results over bad Wi-Fi while each of them dies again and again, at a write of its own: before the
//! write is durable, or after it is and before anybody heard so. Calendars jump by an hour in between. In the end both
//! lose power at once and come back. Every result that a node acknowledged to its author is shown by both, both show
//! the same, and at no moment did a node tell the other of a state that its own disk could still forget.

use hive_sim::stories::power_cut;
use hive_sim::stories::{live, must_end_well};

#[test]
fn what_was_acknowledged_survives_every_power_cut() {
    must_end_well("power_cut", 12);
}

/// Not by chance but one after the other: death at the first write of the life, at the second, and so on.
#[test]
fn no_write_is_a_bad_moment_to_die() {
    for nth in 1..=40 {
        let outcome = live("power_cut", nth, power_cut::dying_at(nth));
        assert_eq!(outcome.failure, None, "when dying at write {nth}");
    }
}
