//! A new member of a hive that knows a lot: how long until it holds the same, from the person's yes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hive_mind::reply::JoinStage;
use hive_mind::{Client, Role};
use tokio::task::JoinSet;

use crate::report::Figures;
use crate::reports::entries;
use crate::reports::fleet::{Fleet, Member, milliseconds, observing};
use crate::reports::store::Plan;
use crate::stats::Dice;
use crate::world::daemon::{until, within};
use crate::world::{Tools, World};

/// Results that one author shares at once; what comes while one is written goes into one batch.
const AT_ONCE: usize = 32;

/// A result that is not acknowledged by then waits for the byte budget. A guess, far above a busy machine's write.
const BUDGET_IS_SPENT: Duration = Duration::from_secs(4);

/// Lives without anything new before the lab gives up.
const IDLE_LIVES_MAX: usize = 2;

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
    if known < plan.patterns {
        figures.missing(
            "fresh_member_ms",
            "the members' byte budget did not let all patterns in, not even over several restarts",
        );
        return fleet.stop().await;
    }
    let machine = fleet.world.machine("fresh")?;
    let daemon = machine.start_daemon(observing(None)).await?;
    let ms = enter(fleet.client(0), daemon.client()).await?;
    figures.put_or("fresh_member_ms", ms, "not equal in time");
    figures.put("fresh_known", entries::known(daemon.client()).await?.len());
    figures.put("fresh_bytes_metered", daemon.client().status().await?.bytes);
    figures.put(
        "fresh_note",
        "from the person's yes on the founder to equal maps on founder and new member; the hive was filled over the \
         members' local API, with a restart whenever the byte budget of one life was spent",
    );
    daemon.stop().await?;
    fleet.stop().await
}

/// Lets all authors share until the hive knows enough; how many patterns all know.
async fn fill(fleet: &mut Fleet, plan: Plan) -> Result<usize> {
    let mut dice = Dice::new(plan.seed);
    let each = plan.patterns.div_ceil(usize::from(plan.authors));
    let mut left: Vec<usize> = vec![each; usize::from(plan.authors)];
    let mut idle_lives = 0;
    while left.iter().any(|left| *left > 0) && idle_lives < IDLE_LIVES_MAX {
        let mut sharing = JoinSet::new();
        for (author, left) in left.iter().enumerate().filter(|(_, left)| **left > 0) {
            let client = fleet.client(author).clone();
            let (own, left) = (Dice::new(dice.next_u64()), *left);
            sharing.spawn(
                async move { anyhow::Ok((author, share(client, author, left, own).await?)) },
            );
        }
        let mut shared_any = false;
        let mut spent = BTreeSet::new();
        while let Some(one) = sharing.join_next().await {
            let (author, shared) = one.context("a task panicked")??;
            left[author] -= shared;
            shared_any |= shared > 0;
            if left[author] > 0 {
                spent.insert(author);
            }
        }
        idle_lives = if shared_any { 0 } else { idle_lives + 1 };
        restart(fleet, &spent).await?;
    }
    let equal = fleet.equal_within(EQUAL).await?;
    equal.context("the members are not equal")?;
    Ok(fleet.client(0).status().await?.patterns_shared)
}

/// Shares results until all are said or the budget is spent; how many were acknowledged.
async fn share(client: Client, author: usize, left: usize, mut dice: Dice) -> Result<usize> {
    let mut shared = 0;
    while shared < left {
        let mut asking = JoinSet::new();
        for _ in 0..AT_ONCE.min(left - shared) {
            let (client, mut own) = (client.clone(), Dice::new(dice.next_u64()));
            asking.spawn(async move {
                let said = entries::say(&client, author, &mut own);
                tokio::time::timeout(BUDGET_IS_SPENT, said).await
            });
        }
        let asked = asking.len();
        let mut answered = 0;
        while let Some(one) = asking.join_next().await {
            if let Ok(said) = one? {
                said?;
                answered += 1;
            }
        }
        shared += answered;
        if answered < asked {
            break;
        }
    }
    Ok(shared)
}

async fn restart(fleet: &mut Fleet, who: &BTreeSet<usize>) -> Result<()> {
    let mut members = Vec::new();
    for (index, member) in fleet.members.drain(..).enumerate() {
        if !who.contains(&index) {
            members.push(member);
            continue;
        }
        let Member { daemon, machine } = member;
        daemon.stop().await?;
        let daemon = machine.start_daemon(observing(None)).await?;
        members.push(Member { daemon, machine });
    }
    fleet.members = members;
    Ok(())
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
