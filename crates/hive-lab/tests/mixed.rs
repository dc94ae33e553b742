//! The report on two builds in one hive, with the same program twice: what may fail with an older one must hold here.

use std::time::Duration;

use hive_lab::reports::mixed::{self, Plan};
use hive_lab::testing;
use hive_lab::world::Tools;

#[tokio::test]
async fn without_an_older_program_it_says_how_to_get_one() {
    let tools = Tools {
        lab: "unused".into(),
        hive: "unused".into(),
    };
    let plan = Plan {
        old_hive: None,
        entries: 1,
        watch: Duration::ZERO,
    };
    let refused = mixed::run(&tools, &plan).await.expect_err("no older one");
    assert!(
        refused.to_string().contains("git worktree add"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_one_program_go_through_every_stage_and_end_equal() {
    if !testing::possible() {
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let plan = Plan {
        old_hive: Some(tools.hive.clone()),
        entries: 6,
        watch: Duration::from_secs(1),
    };
    let report = mixed::run(&tools, &plan).await.expect("a report");
    assert_eq!(report["same_program"], true, "{report}");
    let directions = report["directions"].as_array().expect("directions");
    let founders: Vec<_> = directions.iter().map(|it| &it["founder"]).collect();
    assert_eq!(founders, ["old", "new"]);
    for direction in directions {
        for missing in ["/sync_missing", "/through_old/sync_missing", "/misdeeds"] {
            assert_eq!(direction.pointer(missing), Some(&0.into()), "{direction}");
        }
        assert_eq!(direction["joined"].as_array().map(Vec::len), Some(5));
        assert!(
            direction["through_old"]["equal_ms"].is_number(),
            "{direction}"
        );
        for restart in direction["restarts"].as_array().expect("restarts") {
            assert!(restart["equal_ms"].is_number(), "{restart}");
            assert_eq!(restart["lost_writes"], 0, "{restart}");
        }
        assert!(direction["removal"]["told"].is_string(), "{direction}");
        for changed in ["updated", "gone_back"] {
            assert_eq!(direction[changed]["runs"], true, "{direction}");
            assert_eq!(direction[changed]["same_node"], true, "{direction}");
            assert_eq!(direction[changed]["sync_missing"], 0, "{direction}");
        }
        let rotation = &direction["rotation"];
        for ms in ["known_through_old_ms", "all_equal_ms", "updated_equal_ms"] {
            assert!(rotation[ms].is_number(), "{rotation}");
        }
        assert_eq!(rotation["of_new_key_missing_at_old"], 0, "{rotation}");
    }
}
