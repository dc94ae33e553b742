//! The report of effects on a small scale: every arm has its figures, and nothing is left on.

use std::time::Duration;

use hive_lab::reports::effects::{self, Plan};
use hive_lab::testing;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_run_has_all_arms_and_leaves_nothing_on() {
    if !testing::possible() {
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let plan = Plan {
        blocks: 3,
        window: Duration::from_millis(500),
        learn: Duration::from_secs(2),
        only: Some("spinners_other_session".into()),
    };
    let report = effects::run(&tools, &plan).await.expect("a report");
    let case = &report["cases"][0];
    assert_eq!(case["left_on"], 0, "{case}");
    let arms = case["arms"].as_array().expect("arms");
    assert!(arms.len() >= 7, "{case}");
    for arm in arms {
        assert!(arm["wait_ratio"].as_f64() > Some(0.0), "{arm}");
        assert!(arm["own_clock_ratio"].as_f64() > Some(0.0), "{arm}");
        assert!(arm["background_loss"].is_number(), "{arm}");
    }
    assert!(case["best_fixed"]["action"].is_string(), "{case}");
    assert!(case["ours_vs_best"]["ci"].is_array() && case["ours_vs_nothing"]["ci"].is_array());
    assert!(case["peer_rules"].is_object() || case["why"]["peer_rules"].is_string());
    assert!(report["why"]["memory"].is_string(), "{report}");
}
