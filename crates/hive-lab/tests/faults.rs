//! The fault report on real daemons, short: bad weather, a cut direction, a sleep, kills, and strangers.

use hive_lab::reports::faults::{self, Plan};
use hive_lab::testing;
use serde_json::Value;

/// One case, a few seconds long.
async fn run(only: &str) -> Option<Value> {
    if !testing::possible() {
        return None;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let plan = Plan {
        only: Some(only.into()),
        nodes: 4,
        entries: 15,
        sleep_s: 3,
        cut_s: 3,
        restarts: 6,
        restarts_with_peer: 3,
        flood_s: 5,
        ..Plan::default()
    };
    let report = faults::run(&tools, &plan).await;
    Some(report.expect("the report comes to its end"))
}

/// What one of the network's cases told; nothing acknowledged may be lost, and all are equal in the end.
async fn case(name: &str) -> Option<Value> {
    let report = run(name).await?;
    let case = report["cases"][0].clone();
    assert_eq!(case["name"], name, "{report}");
    assert_eq!(case["lost_writes"], 0, "{case}");
    assert!(case["heal_ms"].is_number(), "{case}");
    Some(case)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_travels_while_three_frames_in_ten_are_lost() {
    if let Some(case) = case("loss_30").await {
        assert!(case["frames"]["lost"].as_u64() > Some(0), "{case}");
        assert_eq!(case["sync_missing"], 0, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_nobody_hears_is_heard_again() {
    if let Some(case) = case("one_way_partition").await {
        assert!(case["frames"]["cut"].as_u64() > Some(0), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_slept_catches_up_and_one_that_moved_is_found() {
    case("sleep").await;
    case("ip_change").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    if let Some(report) = run("kill9").await {
        let kill9 = &report["kill9"];
        assert_eq!(kill9["restarts"], 6, "{kill9}");
        assert_eq!(kill9["lost_writes"], 0, "{kill9}");
        assert_eq!(kill9["recovery_ms"]["n"], 6, "{kill9}");
        assert_eq!(kill9["with_peer"]["lost_writes"], 0, "{kill9}");
        assert_eq!(
            kill9["with_peer"]["alarms"].as_array().map(Vec::len),
            Some(0),
            "{kill9}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_shout_and_nobody_joins() {
    if let Some(report) = run("flood").await {
        let flood = &report["flood"];
        assert!(flood["handshakes"].as_u64() > Some(500), "{flood}");
        assert!(flood["mdns_forged"].as_u64() > Some(500), "{flood}");
        assert_eq!(flood["joined"], 0, "{flood}");
        assert_eq!(flood["lost_writes"], 0, "{flood}");
        assert!(flood["sync_p99_ratio"].is_number(), "{flood}");
    }
}
