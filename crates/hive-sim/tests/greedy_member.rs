//! A member with a valid key signs maps beyond every limit: the others refuse them and go on.

#[test]
fn nobody_is_made_to_store_more_than_a_map_may_hold() {
    hive_sim::stories::must_end_well("greedy_member", 3);
}
