//! A daemon is killed again and again while it writes; what it had acknowledged must be there after the restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hive_mind::Client;
use serde_json::{Value, json};

use crate::report::Figures;
use crate::reports::entries::{self, Said};
use crate::reports::faults::Plan;
use crate::reports::fleet::{Fleet, milliseconds, observing};
use crate::stats::{self, Dice};
use crate::world::{Machine, Tools, World};

/// Acknowledged writes in each life.
const ACKNOWLEDGED: usize = 2;

/// The kill comes up to this long after a further write was begun: a durable write takes 1 to 8 ms
/// (`research/replication.md` section 3), so it falls before, into and after it.
const KILL_WITHIN_US: usize = 12_000;

/// Lives of one machine. Its map takes 4,096 entries and a shared result makes three; a fresh machine follows.
const LIVES_OF_ONE: usize = 400;

/// How long equal views may take after the last restart with a peer.
const HEALS: Duration = Duration::from_mins(1);

/// What many lives showed.
#[derive(Debug, Default)]
struct Lives {
    restarts: usize,
    acknowledged: usize,
    unanswered: usize,
    unanswered_but_kept: usize,
    lost: usize,
    recovery_ms: Vec<f64>,
}

/// Runs both kinds: alone, where only the disk can remember, and with a peer that must never be contradicted.
pub(super) async fn run(tools: &Tools, plan: &Plan) -> Result<Value> {
    let mut dice = Dice::new(plan.seed ^ 9);
    let mut lives = Lives::default();
    while lives.restarts < plan.restarts {
        let mut world = World::new(tools)?;
        let machine = world.machine("lab1")?;
        let count = LIVES_OF_ONE.min(plan.restarts - lives.restarts);
        live_alone(&machine, count, &mut lives, &mut dice).await?;
    }
    let mut figures = Figures::new();
    figures.put("restarts", lives.restarts);
    figures.put("lost_writes", lives.lost);
    let spread = stats::spread(&lives.recovery_ms);
    figures.put_or("recovery_ms", spread, "no restart was asked for");
    figures.put("acknowledged_writes", lives.acknowledged);
    figures.put("unanswered_writes", lives.unanswered);
    figures.put("unanswered_but_kept", lives.unanswered_but_kept);
    figures.put("with_peer", with_peer(tools, plan, &mut dice).await?);
    figures.put(
        "note",
        "a lone machine: no peer can give back what its disk forgot; each life ends by SIGKILL up to 12 ms after a \
         further write was begun; recovery is from the start of the process to its first answer",
    );
    Ok(figures.into_value())
}

async fn live_alone(
    machine: &Machine,
    count: usize,
    lives: &mut Lives,
    dice: &mut Dice,
) -> Result<()> {
    let mut daemon = machine.start_daemon(observing(None)).await?;
    let mut acknowledged: Vec<Said> = Vec::new();
    for _ in 0..count {
        let mut ids = Vec::new();
        for _ in 0..ACKNOWLEDGED {
            let said = entries::say(daemon.client(), 0, dice).await?;
            ids.push(said.id.clone());
            acknowledged.push(said);
        }
        let held = entries::known(daemon.client()).await?.len();
        let caught = begin_one_more(daemon.client().clone(), dice).await;
        daemon.kill_9()?;
        let in_time = caught.finish().await;
        let unanswered = in_time.is_none();
        acknowledged.extend(in_time);
        let began = Instant::now();
        daemon = machine.start_daemon(observing(None)).await?;
        lives.recovery_ms.push(milliseconds(began.elapsed()));
        let known = entries::known(daemon.client()).await?;
        let missing = acknowledged
            .iter()
            .filter(|said| !known.contains_key(&said.id))
            .count();
        lives.lost += missing;
        lives.acknowledged += missing;
        acknowledged.retain(|said| known.contains_key(&said.id));
        lives.restarts += 1;
        lives.unanswered += usize::from(unanswered);
        lives.unanswered_but_kept += usize::from(unanswered && known.len() > held);
    }
    lives.acknowledged += acknowledged.len();
    daemon.stop().await
}

/// A write that is under way when the daemon dies.
struct UnderWay(tokio::task::JoinHandle<Result<Said>>);

/// Begins a write, and returns at a moment at which the daemon is to be killed.
async fn begin_one_more(client: Client, dice: &mut Dice) -> UnderWay {
    let mut own = Dice::new(dice.next_u64());
    let write = tokio::spawn(async move { entries::say(&client, 0, &mut own).await });
    let us = dice.below(KILL_WITHIN_US) as u64;
    tokio::time::sleep(Duration::from_micros(us)).await;
    UnderWay(write)
}

impl UnderWay {
    /// What was acknowledged after all.
    async fn finish(self) -> Option<Said> {
        self.0.await.ok()?.ok()
    }
}

/// The same with a peer: what it heard before the kill must never be taken back, so no fork and equal maps.
async fn with_peer(tools: &Tools, plan: &Plan, dice: &mut Dice) -> Result<Value> {
    let mut fleet = Fleet::start(World::new(tools)?, 2).await?;
    let mut said = Vec::new();
    for _ in 0..plan.restarts_with_peer {
        said.push(entries::say(fleet.client(1), 1, dice).await?);
        let caught = begin_one_more(fleet.client(1).clone(), dice).await;
        let member = fleet.members.pop().context("two machines")?;
        member.daemon.kill_9()?;
        said.extend(caught.finish().await);
        let daemon = member.machine.start_daemon(observing(None)).await?;
        fleet.members.push(crate::reports::fleet::Member {
            daemon,
            machine: member.machine,
        });
    }
    let equal_ms = fleet.equal_within(HEALS).await?;
    let lost = fleet.lost(&said).await?;
    let mut needs = Vec::new();
    for member in &fleet.members {
        let status = member.daemon.client().status().await?;
        needs.extend(status.needs.into_iter().map(|need| need.code));
    }
    fleet.stop().await?;
    Ok(json!({
        "restarts": plan.restarts_with_peer,
        "acknowledged_writes": said.len(),
        "lost_writes": lost,
        "equal_ms": equal_ms,
        "alarms": needs,
    }))
}
