//! No planted name is in any packet, file, log line or answer; and the search would have found it.

use std::time::Duration;

use hive_lab::{reports, testing, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_planted_name_leaves_the_machine_or_is_kept() {
    if !testing::possible() {
        return;
    }
    if let Some(why) = work::no_build_tools() {
        println!("SKIPPED: {why}");
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let report = reports::canary::run_for(&tools, Duration::from_secs(14))
        .await
        .expect("a report");
    assert_eq!(
        report["controls_found"], report["controls_planted"],
        "{report}"
    );
    assert_eq!(report["hits"].as_array().map(Vec::len), Some(0), "{report}");
    // Names were really handled: there was contention, something was learned, and it was told.
    for figure in ["contended_s", "patterns_known", "event_bytes"] {
        assert!(report[figure].as_u64() > Some(0), "{figure}: {report}");
    }
    assert_eq!(report["controls_planted"], 5, "{report}");
    assert!(report["packets_note"].is_string());
    assert_eq!(report["ok"], true, "{report}");
}
