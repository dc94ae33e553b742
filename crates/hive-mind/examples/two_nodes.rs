//! Two nodes in one process over loopback, by the public API only: invite, join, approve, share, see.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use hive_mind::pattern::{Action, Binding, Context, Cores, Evidence, PatternDef, Verdict};
use hive_mind::{
    Acting, HiveMind, HiveNode, OptimizationResult, Options, Scope, WorkloadKey, WorkloadType,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let desk = HiveMind::new(HiveNode::start(options(home.path(), "desk")).await?);
    let lap = HiveMind::new(HiveNode::start(options(home.path(), "lap")).await?);

    let mut invite = desk.create_hive().await?;
    invite.at = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, desk.node().port())));
    println!("invite     {invite}");

    let begun = Instant::now();
    let join = lap.join_hive(&invite).await?;
    let words = join.words.unwrap_or_default();
    println!(
        "proved     {:?}   words on both screens: {words}",
        begun.elapsed()
    );
    desk.approve("lap").await?;
    lap.membership().await?;
    println!(
        "member     {:?}   after the code was given",
        begun.elapsed()
    );
    lap.connect().await?;

    let result = OptimizationResult {
        pattern: PatternDef {
            action: Action::AutogroupNice,
            workload: WorkloadKey(*b"example workload"),
            role: WorkloadType::Interactive,
            context: Context {
                binding: Binding::Autogroup,
                cores: Cores::Few,
                eevdf_slices: true,
                background: WorkloadType::Build,
            },
        },
        evidence: Evidence {
            verdict: Verdict::Undecided,
            ..Evidence::default()
        },
    };
    let mut heard = lap.node().events();
    let said = Instant::now();
    let shared = desk.node().share_success(&result).await?;
    while !lap
        .node()
        .patterns()
        .await?
        .patterns
        .iter()
        .any(|p| p.id == shared.id)
    {
        heard.recv().await?;
    }
    println!(
        "seen       {:?}   after it was shared on the other machine",
        said.elapsed()
    );
    let status = lap.node().hive_status().await?;
    println!(
        "status     {} online, {} patterns, health {}",
        status.peers_online, status.patterns_shared, status.network_health
    );
    lap.node().shutdown().await;
    desk.node().shutdown().await;
    Ok(())
}

fn options(home: &Path, name: &str) -> Options {
    Options {
        state: Some(home.join(name)),
        port: Some(0),
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        interfaces: vec!["lo".into()],
        scope: Scope::Tree(std::process::id()),
        act: Acting::No,
        label: Some(name.into()),
        mdns: false,
        ..Options::default()
    }
}
