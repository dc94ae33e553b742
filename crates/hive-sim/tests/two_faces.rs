//! A member that says two things under one number, each to one of two machines that cannot reach each other. When they
//! can, both hold the same one of the two, the one with the greater id, and both know that the member lied.

#[test]
fn who_saw_what_first_does_not_matter() {
    hive_sim::stories::must_end_well("two_faces", 8);
}
