//! The off-stage report on a small scale: it runs, every case has its figures, and nothing is left on.

use hive_lab::programs::Front;
use hive_lab::reports::offstage::{self, Plan};
use hive_lab::{testing, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_off_stage_run_has_all_its_figures_and_leaves_nothing_on() {
    if !testing::possible() {
        return;
    }
    if let Some(why) = work::no_build_tools() {
        println!("SKIPPED: {why}");
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let plan = Plan {
        alternations: 3,
        window_s: 1,
        learn_s: 2,
    };
    let report = offstage::run(&tools, plan, &[Front::Ticker, Front::Painter])
        .await
        .expect("a report");
    let cases = report["cases"].as_array().expect("cases");
    // The painter's two cases need cargo.
    assert_eq!(
        cases.len() + 2 * report["missing"].as_array().map_or(0, Vec::len),
        5
    );
    for case in cases {
        assert!(
            case["own_clock"]["p50_ratio"].as_f64() > Some(0.0),
            "{case}"
        );
        assert_eq!(case["left_on_when_paused"], 0, "{case}");
        assert!(case["signs_agree"].is_boolean() && case["verdict"].is_string());
        assert!(case["reward"].is_object() || case["why"]["reward"].is_string());
    }
}
