//! Whole nodes over loopback: find, pair, share, restart, remove.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hive_core::event::Command;
use hive_core::reply::Reply;
use hive_mind::Role;
use hive_mind::pattern::{
    Action, Binding, Context, Cores, Evidence, PairStats, PatternDef, Verdict,
};
use hive_mind::reply::JoinStage;
use hive_mind::{
    Acting, HiveMind, HiveNode, OptimizationResult, Options, Scope, WorkloadKey, WorkloadType,
};

/// Far longer than anything here takes, so that a failure ends; nothing is asserted about time.
const PATIENCE: Duration = Duration::from_secs(30);

fn options(home: &Path, name: &str, mdns: bool) -> Options {
    Options {
        state: Some(home.join(name)),
        port: Some(0),
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        interfaces: vec!["lo".into()],
        scope: Scope::Tree(std::process::id()),
        act: Acting::No,
        label: Some(name.into()),
        mdns,
        ..Options::default()
    }
}

async fn node(home: &Path, name: &str, mdns: bool) -> HiveMind {
    let node = HiveNode::start(options(home, name, mdns)).await;
    HiveMind::new(node.expect("starts"))
}

/// Two members, joined by address or (with mDNS) by the code alone.
async fn pair(home: &Path, mdns: bool) -> (HiveMind, HiveMind) {
    let (desk, lap) = (
        node(home, "desk", mdns).await,
        node(home, "lap", mdns).await,
    );
    let mut invite = desk.create_hive().await.expect("an invite");
    if !mdns {
        let port = desk.node().port();
        invite.at = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let join = patiently(lap.join_hive(&invite)).await.expect("proved");
    assert_eq!(join.stage, JoinStage::Waiting, "a person must approve");
    assert!(join.words.is_some_and(|words| !words.is_empty()));
    desk.approve("lap", Role::Member).await.expect("it waits");
    patiently(lap.membership()).await.expect("a member");
    online(&desk).await;
    online(&lap).await;
    (desk, lap)
}

fn result(program: u8) -> OptimizationResult {
    OptimizationResult {
        pattern: PatternDef {
            action: Action::AutogroupNice,
            workload: WorkloadKey([program; 16]),
            role: WorkloadType::Interactive,
            context: Context {
                binding: Binding::Autogroup,
                cores: Cores::Few,
                eevdf_slices: true,
                background: WorkloadType::Build,
            },
        },
        evidence: Evidence {
            verdict: Verdict::Helps,
            trial: PairStats {
                pairs: 6,
                sum: -4_200_000,
                squares: 3_000_000,
            },
            ..Evidence::default()
        },
    }
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

async fn online(mind: &HiveMind) {
    patiently(async {
        while mind
            .node()
            .hive_status()
            .await
            .expect("a status")
            .peers_online
            == 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until a node knows the members, itself included.
async fn sees_two(mind: &HiveMind) {
    patiently(async {
        let members = || async {
            mind.node()
                .hive_status()
                .await
                .expect("a status")
                .view
                .members
        };
        while members().await != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn knows(mind: &HiveMind, id: &str) {
    patiently(async {
        let known = || async { mind.node().patterns().await.expect("patterns").patterns };
        while !known().await.iter().any(|pattern| pattern.id == id) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_pair_by_address_and_what_one_says_the_other_sees() {
    let home = tempfile::tempdir().expect("a folder");
    let (desk, lap) = pair(home.path(), false).await;
    let said = desk.node().share_success(&result(1)).await.expect("shared");
    knows(&lap, &said.id).await;
    let said = lap.node().share_success(&result(2)).await.expect("shared");
    knows(&desk, &said.id).await;
    desk.node().shutdown().await;
    lap.node().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_find_each_other_by_the_code_alone() {
    let home = tempfile::tempdir().expect("a folder");
    let (desk, lap) = pair(home.path(), true).await;
    desk.node().shutdown().await;
    lap.node().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_comes_back_with_what_it_knew_and_hears_what_it_missed() {
    let home = tempfile::tempdir().expect("a folder");
    let (desk, lap) = pair(home.path(), false).await;
    let before = desk.node().share_success(&result(1)).await.expect("shared");
    knows(&lap, &before.id).await;
    lap.node().shutdown().await;
    let missed = desk.node().share_success(&result(2)).await.expect("shared");
    let lap = node(home.path(), "lap", false).await;
    knows(&lap, &before.id).await;
    knows(&lap, &missed.id).await;
    desk.node().shutdown().await;
    lap.node().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_cut_off() {
    let home = tempfile::tempdir().expect("a folder");
    let (desk, lap) = pair(home.path(), false).await;
    sees_two(&lap).await;
    // By its id: its label may not have arrived yet.
    desk.remove(&lap.node().id().short())
        .await
        .expect("removed");
    patiently(async {
        while lap
            .node()
            .hive_status()
            .await
            .expect("a status")
            .peers_online
            > 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The door shuts at once; the membership view follows when the removal is durable.
    patiently(async {
        let members = || async {
            desk.node()
                .hive_status()
                .await
                .expect("a status")
                .view
                .members
        };
        while members().await != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It dials once more, and is told with a signature that it was removed.
    patiently(async {
        let told = || async {
            let status = lap.node().hive_status().await.expect("a status");
            let mut needs = status.view.needs.into_iter();
            needs.any(|need| need.code == "node.removed")
        };
        while !told().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    desk.node().shutdown().await;
    lap.node().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_is_on_no_list_any_more() {
    let home = tempfile::tempdir().expect("a folder");
    let (desk, lap) = pair(home.path(), false).await;
    sees_two(&lap).await;
    let reply = lap.node().ask(Command::Leave).await;
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    patiently(async {
        let members = || async {
            let status = desk.node().hive_status().await.expect("a status");
            status.view.members
        };
        while members().await != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    desk.node().shutdown().await;
    lap.node().shutdown().await;
}
