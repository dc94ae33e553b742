//! The report on undoing, short: every part of it runs and finds nothing left.

use hive_lab::reports::undo;
use hive_lab::testing;

#[tokio::test]
async fn what_is_killed_anywhere_is_put_back_and_a_hostile_daemon_gets_nothing() {
    if let Some(why) = undo::unavailable() {
        println!("SKIPPED: {why}");
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let plan = undo::Plan {
        kills: 20,
        storms: 4,
        requests: 20_000,
    };
    let report = undo::run(&tools, plan).await.expect("a report");
    assert!(report["kills"].as_u64() >= Some(20), "{report}");
    assert_eq!(report["restored"], 1.0, "{report}");
    assert_eq!(report["leaked_descendants"], 0, "{report}");
    assert!(report["fork_storm_applied"].as_u64() > Some(0), "{report}");
    assert_eq!(report["foreign_overwritten"], 0, "{report}");
    assert_eq!(report["pid_reuse_touched"], 0, "{report}");
    assert_eq!(report["other_boot_discarded"], true, "{report}");
    assert!(
        report["helper_requests"].as_u64() >= Some(20_000),
        "{report}"
    );
    assert_eq!(report["out_of_policy"], 0, "{report}");
    assert!(report["requests_done"].as_u64() > Some(500), "{report}");
    assert_eq!(report["hostile_restored"], true, "{report}");
}
