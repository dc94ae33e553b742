//! A machine that differs joins a hive with a proven pattern. Scheduling is decided by terminal session there, so nice
//! does nothing; the pattern's context says so, and it is neither put on probation nor believed there.

#[test]
fn what_was_proven_under_another_mechanism_is_not_used_here() {
    hive_sim::stories::must_end_well("odd_machine", 5);
}
