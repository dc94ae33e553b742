//! Five members are cut into two sides, some paths go one way only, and all of them write. The network heals: all five
//! show the same, and every result that any of them acknowledged is there.

#[test]
fn after_the_network_heals_all_five_agree_and_nothing_is_lost() {
    hive_sim::stories::must_end_well("five_write_at_once", 8);
}
