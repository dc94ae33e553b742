//! Machines on which nothing helps: nobody claims that something does more often than the trials' error rate allows.
//!
//! One machine is quiet and one noisy, and no action changes anything on either. A third one flatters: while anything of
//! ours is on, the placebo too, its counters read a quarter too low, so that every action *seems* to help; only the
//! placebo gives it away. On a fourth one nice does help the person who waits, and starves the build to a fifth: that is
//! no help either. A trial promises an error rate and not a miracle, so that one life may see an unlucky verdict; all
//! lives together may see no more of them than the promise and chance explain.

use hive_sim::check::truthful::Judged;

#[test]
fn nobody_claims_a_gain_where_there_is_none_more_often_than_promised() {
    let mut judged = Judged::default();
    for told in hive_sim::stories::must_end_well("placebo", 8) {
        judged.plus(told.judged);
    }
    assert!(judged.nulls >= 8 * 8, "{judged:?}");
    assert!(!judged.claims_too_much(), "{judged:?}");
}

#[test]
fn a_twelfth_of_false_claims_is_too_much_and_one_in_a_thousand_is_not() {
    let run = |nulls, false_helps| Judged {
        nulls,
        false_helps,
        ..Judged::default()
    };
    assert!(!run(1, 1).claims_too_much() && !run(8, 1).claims_too_much());
    assert!(run(8, 2).claims_too_much());
    assert!(!run(2_400, 3).claims_too_much());
    assert!(run(240, 20).claims_too_much());
    assert!(run(2_400, 200).claims_too_much());
    assert!(!Judged::default().claims_too_much());
}
