//! A day of five members. Each publishes a dozen results; daemons restart, a machine gets another address, a calendar
//! jumps, the Wi-Fi is bad at times. In the evening all show the same, and each has paid less than a megabyte.

#[test]
fn a_day_costs_little_and_loses_nothing() {
    hive_sim::stories::must_end_well("quiet_day", 1);
}
