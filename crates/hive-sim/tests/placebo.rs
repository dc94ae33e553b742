//! Machines on which nothing helps: nobody ever claims that something does.
//!
//! One machine is quiet and one noisy, and no action changes anything on either. A third one flatters: while anything of
//! ours is on, the placebo too, its counters read a quarter too low, so that every action *seems* to help; only the
//! placebo gives it away. On a fourth one nice does help the person who waits, and starves the build to a fifth: that is
//! no help either. After every action has had its trial on each of them, no pattern is said to help.

#[test]
fn nobody_claims_a_gain_where_there_is_none() {
    hive_sim::stories::must_end_well("placebo", 8);
}
