//! Strangers and liars: all are refused, and nothing is changed.
//!
//! Against a hive of three: a machine with an unknown key, garbage and 4-GiB lengths at the door, a wrong code, a code
//! that was used, a pairing conversation that was recorded and is played again. Then one of the three lies: forged
//! signatures, edited entries, somebody else's counter inflated, flipped bits, cut frames, 4-GiB lengths, replays,
//! garbage; the two others go on agreeing, believe none of it, and say who misbehaved. In the end it is removed: its
//! connections are closed at once, and nothing that it says afterwards is heard.

#[test]
fn nobody_gets_in_without_the_code_and_nobody_is_believed_without_the_key() {
    hive_sim::stories::must_end_well("stranger_knocks", 8);
}
