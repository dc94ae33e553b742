//! The owner's word. In the modes observe and suggest a machine under contention is only watched; in auto it proves that
//! nice helps and keeps it on. The daemon is killed while it is on: the next start puts the old values back first, and
//! still knows what it proved. A pause turns everything off within a second and ends by itself; when the build ends, the
//! change goes off; and a pause without an end holds after a power cut.

#[test]
fn nothing_is_done_that_the_owner_does_not_allow() {
    hive_sim::stories::must_end_well("hands_off", 5);
}
