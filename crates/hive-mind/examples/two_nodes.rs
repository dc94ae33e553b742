//! Two nodes in one process over loopback, by the public API only: invite, join, approve, share, see.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

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

    let mut times = Vec::new();
    for program in 0..ROUNDS {
        times.push(share_and_see(&desk, &lap, program).await?);
    }
    times.sort();
    println!(
        "seen       {:?} median, {:?} worst of {ROUNDS}, from the call on one machine to the pattern on the other",
        times[times.len() / 2],
        times[times.len() - 1]
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

/// How often a result is shared. A program may say 2,000 things a day; this is far below.
const ROUNDS: u8 = 100;

/// Shares a made-up result about made-up program number `program`, and waits until the other machine knows it.
async fn share_and_see(
    desk: &HiveMind,
    lap: &HiveMind,
    program: u8,
) -> Result<Duration, Box<dyn Error>> {
    let result = OptimizationResult {
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
            verdict: Verdict::Undecided,
            ..Evidence::default()
        },
    };
    let said = Instant::now();
    let shared = desk.node().share_success(&result).await?;
    loop {
        let known = lap.node().patterns().await?.patterns;
        if known.iter().any(|pattern| pattern.id == shared.id) {
            return Ok(said.elapsed());
        }
        tokio::task::yield_now().await;
    }
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
