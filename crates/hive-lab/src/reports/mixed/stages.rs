//! What the members of two builds go through together, one stage after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::report::Figures;
use crate::reports::entries;
use crate::reports::fleet::milliseconds;
use crate::reports::mixed::crew::{Crew, EQUAL, Ending, Restart};
use crate::reports::mixed::{Build, Plan};
use crate::stats;
use crate::world::daemon::{until, within};

/// Between two new entries: as in `lan`.
const PACE: Duration = Duration::from_millis(60);

/// How long an entry may take before it counts as missing. Whoever has no connection to an author for 20 s asks the
/// others, and one question may be lost on a connection that has just been cut.
const ARRIVES: Duration = Duration::from_mins(1);

/// How long is looked for maps that may never become equal. A guess: ten times what equal ones take.
const HOPELESS: Duration = Duration::from_secs(20);

/// From a stage to the count of what doing nothing costs. As in `lan`.
const SETTLE: Duration = Duration::from_secs(2);

/// Everybody says something in turn, and everybody reads it.
pub(super) async fn talk(crew: &mut Crew, plan: &Plan, figures: &mut Figures) -> Result<()> {
    let all = crew.all();
    let said = crew
        .fleet
        .say(&all, plan.entries, PACE, &mut crew.dice)
        .await?;
    let ways = crew.fleet.ways(&all, &said, ARRIVES).await?;
    figures.put_or("sync_ms", stats::spread(&ways.ms), "no entry arrived");
    figures.put("sync_missing", ways.missing);
    let ms = crew.equal_within(&all, EQUAL).await?;
    figures.put_or("equal_ms", ms, "not equal in time");
    let each = idle(crew, plan).await?;
    figures.put("idle_bytes_per_member_and_minute", each);
    Ok(())
}

/// New ones that are cut off from each other say something; it has to go through an old one.
pub(super) async fn through_an_old_one(
    crew: &mut Crew,
    plan: &Plan,
    figures: &mut Figures,
) -> Result<()> {
    let new = crew.of(Build::New);
    crew.part(&every_pair(&new))?;
    let said = crew
        .fleet
        .say(&new, plan.entries, PACE, &mut crew.dice)
        .await?;
    let ways = crew.fleet.ways(&new, &said, ARRIVES).await?;
    let equal = crew.equal_within(&crew.all(), EQUAL).await?;
    crew.part(&[])?;
    let mut part = Figures::new();
    part.put_or("sync_ms", stats::spread(&ways.ms), "no entry arrived");
    part.put("sync_missing", ways.missing);
    part.put_or("equal_ms", equal, "not equal in time");
    figures.put("through_old", part.into_value());
    crew.meshed(&crew.all()).await
}

/// One of each build is off while the others go on, in order and as in a power cut.
pub(super) async fn restart(crew: &mut Crew, figures: &mut Figures) -> Result<()> {
    let mut restarts = Vec::new();
    for index in [crew.cast.updated, crew.cast.far] {
        for how in [Ending::Stop, Ending::Kill] {
            let build = crew.builds[index];
            let client = crew.client(index).clone();
            let own = entries::say(&client, index, &mut crew.dice).await?;
            let machine = crew.switch_off(index, how).await?;
            let others = crew.all();
            let said = crew.fleet.say(&others, 4, PACE, &mut crew.dice).await?;
            crew.revive(index, build, machine).await?;
            let equal = crew.equal_within(&crew.all(), EQUAL).await?;
            let said = [said, vec![own]].concat();
            restarts.push(json!({
                "build": build,
                "how": how,
                "equal_ms": equal,
                "lost_writes": crew.fleet.lost(&said).await?,
            }));
        }
    }
    figures.put("restarts", restarts);
    Ok(())
}

/// The founder removes a member of the other build.
pub(super) async fn remove(crew: &mut Crew, figures: &mut Figures) -> Result<()> {
    let leaves = crew.cast.leaves;
    let node = crew.client(leaves).status().await?.node;
    crew.client(0).remove(&node, false).await?;
    let rest = crew.without(&[leaves]);
    for index in &rest {
        until("the removal is known", async || {
            let members = crew.client(*index).status().await?.members;
            Ok((members == rest.len()).then_some(()))
        })
        .await?;
    }
    let equal = crew.equal_within(&rest, EQUAL).await?;
    let told = within(HOPELESS, async || {
        let needs = crew.client(leaves).status().await?.needs;
        Ok(needs.into_iter().next().map(|need| need.code))
    })
    .await?;
    figures.put(
        "removal",
        json!({
            "by": crew.builds[0], "of": crew.builds[leaves], "equal_ms": equal, "told": told,
        }),
    );
    crew.dismiss(leaves);
    Ok(())
}

/// An old machine's folder is opened by the new program, then by the old one again, then by the new one.
pub(super) async fn update_and_go_back(crew: &mut Crew, figures: &mut Figures) -> Result<()> {
    let index = crew.cast.updated;
    figures.put("updated", change_build(crew, index, Build::New).await?);
    figures.put("gone_back", change_build(crew, index, Build::Old).await?);
    Ok(())
}

/// Starts a machine with the other build on the same folder.
async fn change_build(crew: &mut Crew, index: usize, build: Build) -> Result<Value> {
    let before = crew.client(index).status().await?;
    if let Restart::Refused(machine, said) = crew.restart_as(index, build).await? {
        let works = match build {
            Build::Old => Build::New,
            Build::New => Build::Old,
        };
        crew.revive(index, works, machine).await?;
        return Ok(json!({ "build": build, "runs": false, "said": said }));
    }
    let all = crew.all();
    crew.meshed(&all).await?;
    let equal = crew.equal_within(&all, EQUAL).await?;
    let after = crew.client(index).status().await?;
    let said = crew
        .fleet
        .say(&[index, crew.cast.near], 4, PACE, &mut crew.dice)
        .await?;
    let ways = crew.fleet.ways(&all, &said, ARRIVES).await?;
    Ok(json!({
        "build": build,
        "runs": true,
        "same_node": before.node == after.node,
        "patterns_before": before.patterns_shared,
        "patterns_after": after.patterns_shared,
        "equal_ms": equal,
        "sync_missing": ways.missing,
    }))
}

/// A new one changes its key, which the old ones cannot read; the far one hears of it through old ones only. Then the
/// old ones are updated.
pub(super) async fn rotate(crew: &mut Crew, plan: &Plan, figures: &mut Figures) -> Result<()> {
    let (near, far, turns) = (crew.cast.near, crew.cast.far, crew.cast.turns);
    crew.part(&[(far, near), (far, turns)])?;
    let mut part = Figures::new();
    let began = Instant::now();
    let view = crew.client(turns).rotate().await?;
    for (key, index) in [("known_ms", near), ("known_through_old_ms", far)] {
        let ms = knows(crew, index, &view.new, began).await?;
        part.put_or(key, ms, "not known in time");
    }
    let Restart::Runs = crew.restart_as(turns, Build::New).await? else {
        anyhow::bail!("the machine with the new key does not start");
    };
    crew.part(&[])?;
    let new = crew.of(Build::New);
    let equal = crew.equal_within(&new, EQUAL).await?;
    part.put_or("new_ones_equal_ms", equal, "not equal in time");
    let equal = crew.equal_within(&crew.all(), HOPELESS).await?;
    let why = format!("not equal after {} s", HOPELESS.as_secs());
    part.put_or("all_equal_ms", equal, &why);
    part.put("idle_bytes_per_member_and_minute", idle(crew, plan).await?);
    talk_after_the_change(crew, &mut part).await?;
    // Everybody is updated: what was kept unread is read.
    for index in crew.of(Build::Old) {
        if let Restart::Refused(_, said) = crew.restart_as(index, Build::New).await? {
            anyhow::bail!("an updated machine does not start: {said}");
        }
    }
    let equal = crew.equal_within(&crew.all(), EQUAL).await?;
    part.put_or("updated_equal_ms", equal, "not equal in time");
    figures.put("rotation", part.into_value());
    Ok(())
}

/// Who reads whom while some do not know of the new key.
async fn talk_after_the_change(crew: &mut Crew, part: &mut Figures) -> Result<()> {
    let turns = crew.cast.turns;
    let old = crew.of(Build::Old);
    let new: Vec<usize> = crew.of(Build::New);
    let own = crew.fleet.say(&[turns], 1, PACE, &mut crew.dice).await?;
    let of_old = crew.fleet.say(&old, 2, PACE, &mut crew.dice).await?;
    let missing = |ways: crate::reports::fleet::Ways| ways.missing;
    let fleet = &crew.fleet;
    part.put(
        "of_new_key_missing_at_new",
        missing(fleet.ways(&new, &own, ARRIVES).await?),
    );
    part.put(
        "of_new_key_missing_at_old",
        missing(fleet.ways(&old, &own, SETTLE).await?),
    );
    part.put(
        "of_old_missing",
        missing(fleet.ways(&crew.all(), &of_old, ARRIVES).await?),
    );
    Ok(())
}

/// Milliseconds until a machine counts this key among its members.
async fn knows(crew: &Crew, index: usize, node: &str, began: Instant) -> Result<Option<f64>> {
    let known = within(HOPELESS, async || {
        let members = crew.client(index).members().await?.members;
        let there = members.iter().any(|member| member.node.starts_with(node));
        Ok(there.then_some(()))
    })
    .await?;
    Ok(known.map(|()| milliseconds(began.elapsed())))
}

/// Bytes per member and minute while nobody says anything.
async fn idle(crew: &Crew, plan: &Plan) -> Result<f64> {
    let all = crew.all();
    tokio::time::sleep(SETTLE).await;
    let before = crew.bytes(&all)?;
    tokio::time::sleep(plan.watch).await;
    let bytes = crew.bytes(&all)? - before;
    let members = u32::try_from(all.len()).context("a few machines")?;
    let per = f64::from(members) * plan.watch.as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "bytes of one minute")]
    let each = bytes as f64 / per;
    Ok(each.round())
}

fn every_pair(these: &[usize]) -> Vec<(usize, usize)> {
    let pairs = these
        .iter()
        .flat_map(|one| these.iter().map(|two| (*one, *two)));
    pairs.filter(|(one, two)| one < two).collect()
}
