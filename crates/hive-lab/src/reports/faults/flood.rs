//! Strangers shout: forged mDNS records and handshakes by the thousand, while members go on telling each other.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::procs;
use crate::report::Figures;
use crate::reports::faults::Plan;
use crate::reports::fleet::Fleet;
use crate::stats::{self, Dice};
use crate::stranger::Told;
use crate::world::{Machine, Tools, World};

/// Forged records and handshakes in a minute. Source: the issue this answers.
const A_MINUTE: u64 = 10_000;

/// Between two new entries, in the quiet time as in the flood.
const PACE: Duration = Duration::from_millis(500);

/// How long an entry may take before it counts as missing.
const ARRIVES: Duration = Duration::from_mins(1);

/// From the last join to the first entry: as in `lan`.
const SETTLE: Duration = Duration::from_secs(2);

/// The machine that is shouted at asks the network this often, so that forged answers find an open ear.
const ASKS: Duration = Duration::from_secs(2);

/// Runs quiet time and flood on the same hive.
pub(super) async fn run(tools: &Tools, plan: &Plan) -> Result<Value> {
    let mut world = World::new(tools)?;
    let stranger = world.machine("stranger")?;
    let fleet = Fleet::start(world, plan.nodes).await?;
    let all: Vec<usize> = (0..fleet.members.len()).collect();
    let mut dice = Dice::new(plan.seed ^ 0xf100d);
    let count = usize::try_from(plan.flood_s * 1_000 / 500)?;
    // Connections that were dialled from both sides at once have been sorted out by then.
    tokio::time::sleep(SETTLE).await;
    let quiet = fleet.say(&all, count, PACE, &mut dice).await?;
    let quiet_ways = fleet.ways(&all, &quiet, ARRIVES).await?;
    let memory = memory(&fleet);

    let target = fleet.members[1].machine.address();
    let shouting = shout(&stranger, target, plan)?;
    let asked = fleet.client(1).clone();
    let asking = tokio::spawn(async move {
        loop {
            if asked.seek().await.is_err() {
                return;
            }
            tokio::time::sleep(ASKS).await;
        }
    });
    let loud = fleet.say(&all, count, PACE, &mut dice).await?;
    let told = tokio::task::spawn_blocking(move || shouting.wait()).await??;
    asking.abort();
    let loud_ways = fleet.ways(&all, &loud, ARRIVES).await?;
    let after = self::memory(&fleet);

    let mut figures = Figures::new();
    figures.put("mdns_forged", told.forged);
    figures.put("handshakes", told.handshakes);
    let members = fleet.client(0).status().await?.members;
    figures.put(
        "joined",
        members.abs_diff(fleet.members.len()) as u64 + told.hellos,
    );
    let quiet_ms = stats::spread(&quiet_ways.ms);
    let loud_ms = stats::spread(&loud_ways.ms);
    let ratio = quiet_ms
        .zip(loud_ms)
        .map(|(quiet, loud)| loud.p99 / quiet.p99);
    figures.put_or("sync_p99_ratio", ratio, "no entry arrived");
    let grown = memory
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before);
    figures.put_or("rss_growth_mb", grown.reduce(f64::max), "no member");
    figures.put_or("quiet_sync_ms", quiet_ms, "no entry arrived");
    figures.put_or("flood_sync_ms", loud_ms, "no entry arrived");
    figures.put("missing", quiet_ways.missing + loud_ways.missing);
    figures.put("lost_writes", fleet.lost(&[quiet, loud].concat()).await?);
    figures.put("flood_s", plan.flood_s);
    figures.put("stranger", told);
    fleet.stop().await?;
    Ok(figures.into_value())
}

/// The stranger's own process, on its own machine.
struct Shouting(std::process::Child);

fn shout(stranger: &Machine, target: std::net::Ipv4Addr, plan: &Plan) -> Result<Shouting> {
    let count = (A_MINUTE * plan.flood_s / 60).to_string();
    let mut command = stranger.command(&stranger.tools().lab);
    command.args(["__stranger", "--target", &format!("{target}:4483")]);
    command.args(["--handshakes", &count, "--records", &count]);
    command.args(["--seconds", &plan.flood_s.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(Shouting(command.spawn().context("no stranger")?))
}

impl Shouting {
    fn wait(mut self) -> Result<Told> {
        let mut text = String::new();
        if let Some(mut output) = self.0.stdout.take() {
            output.read_to_string(&mut text)?;
        }
        ensure!(self.0.wait()?.success(), "the stranger failed");
        serde_json::from_str(&text).context("the stranger told nothing")
    }
}

fn memory(fleet: &Fleet) -> Vec<f64> {
    let each = fleet.members.iter();
    each.filter_map(|member| procs::resident_mb(member.daemon.pid()))
        .collect()
}
