//! A new member of a hive that knows a lot: how long until it holds the same, from the person's yes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hive_mind::reply::JoinStage;
use hive_mind::{Client, Role};

use crate::report::Figures;
use crate::reports::fleet::{Fleet, Member, is_meshed, milliseconds, observing};
use crate::reports::store::{Plan, knowledge};
use crate::stats::Dice;
use crate::world::daemon::{until, within};
use crate::world::{Machine, Tools, World};

/// How long the new member may take.
const EQUAL: Duration = Duration::from_mins(2);

/// Fills a hive with patterns, lets a new machine in, and times it.
pub(super) async fn measure(tools: &Tools, plan: Plan, figures: &mut Figures) -> Result<()> {
    if let Some(why) = crate::world::unavailable() {
        figures.missing("fresh_member_ms", &why);
        return Ok(());
    }
    let mut fleet = Fleet::start(World::new(tools)?, plan.authors).await?;
    let known = fill(&mut fleet, plan).await?;
    figures.put("fresh_patterns", known);
    ensure!(
        known >= plan.patterns,
        "the hive does not know what was written"
    );
    let machine = fleet.world.machine("fresh")?;
    let daemon = machine.start_daemon(observing(None)).await?;
    let ms = enter(fleet.client(0), daemon.client()).await?;
    figures.put_or("fresh_member_ms", ms, "not equal in time");
    let status = daemon.client().status().await?;
    figures.put("fresh_known", status.patterns_shared);
    figures.put("fresh_bytes_metered", status.bytes);
    figures.put(
        "fresh_note",
        "from the person's yes on the founder to equal maps on founder and new member; what the hive knows was written \
         into its members' stores while their daemons rested, signed by each author's key, because their byte budget \
         lets it in over days only; the new member gets all of it over its connections and checks all of it",
    );
    daemon.stop().await?;
    fleet.stop().await
}

/// Gives the hive what it knows while its daemons rest; how many patterns all know when they are back.
async fn fill(fleet: &mut Fleet, plan: Plan) -> Result<usize> {
    let mut machines = Vec::new();
    for Member { daemon, machine } in fleet.members.drain(..) {
        daemon.stop().await?;
        machines.push(machine);
    }
    let folders: Vec<PathBuf> = machines.iter().map(Machine::state).collect();
    let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    knowledge::write(&folders, plan.patterns, &mut Dice::new(plan.seed))?;
    for machine in machines {
        let daemon = machine.start_daemon(observing(None)).await?;
        fleet.members.push(Member { daemon, machine });
    }
    let equal = fleet.equal_within(EQUAL).await?;
    equal.context("the members are not equal")?;
    for member in &fleet.members {
        until("all members are connected again", async || {
            let meshed = is_meshed(member.daemon.client(), fleet.members.len());
            Ok(meshed.await?.then_some(()))
        })
        .await?;
    }
    Ok(fleet.client(0).status().await?.patterns_shared)
}

/// Joins and times it from the yes; `None` when it is not equal in time.
async fn enter(founder: &Client, joiner: &Client) -> Result<Option<f64>> {
    let invite = founder.invite().await.context("no invite")?;
    joiner.join(&invite.code, None).await.context("refused")?;
    let machine = until("the new member waits for a yes", async || {
        let waits = joiner.join_state().await?.stage == JoinStage::Waiting;
        let pending = founder.pending().await?.pending;
        Ok(pending.into_iter().next().filter(|_| waits))
    })
    .await?;
    let began = Instant::now();
    founder
        .approve(&machine.node, Role::Member)
        .await
        .context("not approved")?;
    let equal = within(EQUAL, async || {
        let (one, two) = (founder.status().await?, joiner.status().await?);
        let same = one.view == two.view && one.patterns_shared == two.patterns_shared;
        Ok((same && one.members == two.members).then_some(()))
    });
    Ok(equal.await?.map(|()| milliseconds(began.elapsed())))
}
