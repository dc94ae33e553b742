//! The reports on maps and on a day's bytes, short: what they tell is there and fits together.

use hive_lab::reports::{bytes, store};
use hive_lab::testing;
use hive_lab::world::Tools;

#[tokio::test]
async fn maps_are_weighed_and_joined_by_the_code_of_the_daemon() {
    let tools = Tools {
        lab: "unused".into(),
        hive: "unused".into(),
    };
    let plan = store::Plan {
        patterns: 500,
        rounds: 3,
        daemons: false,
        ..store::Plan::default()
    };
    let report = store::run(&tools, plan).await.expect("a report");
    let engine = &report["engines"][0];
    assert_eq!(engine["name"], "hive", "{report}");
    assert_eq!(engine["verified"], true);
    let number = |key: &str| report[key].as_f64().unwrap_or_default();
    assert!(number("noop_payload_bytes") <= 20.0, "{report}");
    assert!(number("merge_entries_per_s") > 0.0 && number("update_us") > 0.0);
    let weights = [
        "new_pattern_definition_bytes",
        "new_pattern_payload_bytes",
        "share_batch_bytes",
    ];
    assert!(weights.map(number).is_sorted(), "{report}");
    // A head and 64 bytes of signature are in each of them.
    assert!(number(weights[0]) > 100.0, "{report}");
    assert!(report["fresh_member_ms"].is_null() && report["why"]["fresh_member_ms"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hours_pass_in_seconds_and_every_byte_has_a_kind() {
    if !testing::possible() {
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let plan = bytes::Plan {
        window_s: 7_200,
        ..bytes::Plan::day(2, 1_440)
    };
    let report = bytes::run(&tools, plan).await.expect("a report");
    assert!(report["window_s"].as_f64() >= Some(7_200.0), "{report}");
    assert_eq!(report["said"], 22, "{report}");
    assert_eq!(report["equal_at_the_end"], true, "{report}");
    let kinds = report["by_kind"].as_object().expect("kinds");
    let sum: f64 = kinds.values().filter_map(serde_json::Value::as_f64).sum();
    let whole = report["bytes_per_member_per_day"].as_f64().expect("bytes");
    // Packets that came between the two readings are in one of them only.
    assert!(whole > 0.0 && (sum / whole - 1.0).abs() < 0.1, "{report}");
    assert!(report["handshakes_seen"].as_u64() >= Some(1), "{report}");
    assert!(report["model_bytes_per_member_per_day"].as_f64() > Some(0.0));
}
