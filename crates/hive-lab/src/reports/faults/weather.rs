//! One hive per case: entries are said in bad weather or trouble, then the weather clears.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::report::Figures;
use crate::reports::entries::Said;
use crate::reports::faults::Plan;
use crate::reports::fleet::{Fleet, Ways};
use crate::stats::{self, Dice};
use crate::world::switch::Faults;
use crate::world::{Tools, World};

/// Between two new entries: as in `lan`.
const PACE: Duration = Duration::from_millis(60);

/// How long an entry may take in bad weather before it counts as missing (it must still arrive after it).
const ARRIVES: Duration = Duration::from_mins(1);

/// How long being equal again may take. Far above the 10 s that are expected, so that a miss gets its number.
const HEALS: Duration = Duration::from_mins(2);

/// The machine that is cut off, moved or put to sleep: neither the founder nor the last.
const STRUCK: usize = 2;

/// The last byte of a machine's new address: none of the others has it.
const NEW_ADDRESS: u8 = 222;

/// One case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    faults: Faults,
    trouble: Trouble,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Only the weather.
    None,
    /// Nobody hears the struck machine, but it hears everybody.
    Unheard(Duration),
    /// The struck machine gets another address.
    Moves,
    /// The struck machine's daemon does not run.
    Sleeps(Duration),
}

/// What a case showed.
struct Outcome {
    said: Vec<Said>,
    ways: Ways,
    healed_ms: Option<f64>,
}

/// All cases.
pub(super) fn cases(plan: &Plan) -> Vec<Case> {
    let weather = |name, faults| Case {
        name,
        faults,
        trouble: Trouble::None,
    };
    let clear = Faults::default();
    let trouble = |name, trouble| Case {
        name,
        faults: clear,
        trouble,
    };
    let loss = |loss| Faults { loss, ..clear };
    vec![
        weather("clear", clear),
        weather("loss_1", loss(10)),
        weather("loss_10", loss(100)),
        weather("loss_30", loss(300)),
        weather(
            "duplicate_10",
            Faults {
                duplicate: 100,
                ..clear
            },
        ),
        weather(
            "reorder_30",
            Faults {
                reorder: 300,
                ..clear
            },
        ),
        weather(
            "delay_300",
            Faults {
                delay_us: 200_000,
                jitter_us: 200_000,
                ..clear
            },
        ),
        weather(
            "corrupt_1",
            Faults {
                corrupt: 10,
                ..clear
            },
        ),
        trouble(
            "one_way_partition",
            Trouble::Unheard(Duration::from_secs(plan.cut_s)),
        ),
        trouble("ip_change", Trouble::Moves),
        trouble("sleep", Trouble::Sleeps(Duration::from_secs(plan.sleep_s))),
    ]
}

/// Runs one case in a world of its own.
pub(super) async fn run(tools: &Tools, plan: &Plan, case: &Case) -> Result<Value> {
    ensure!(plan.nodes >= 4, "a case needs at least four machines");
    let world = World::with_switch(tools, plan.seed)?;
    let mut fleet = Fleet::start(world, plan.nodes).await?;
    let mut dice = Dice::new(plan.seed);
    fleet.world.switch()?.faults(case.faults)?;
    let outcome = match case.trouble {
        Trouble::None => bad_weather(&fleet, plan, &mut dice).await?,
        Trouble::Unheard(time) => unheard(&fleet, plan, time, &mut dice).await?,
        Trouble::Moves => moves(&mut fleet, plan, &mut dice).await?,
        Trouble::Sleeps(time) => sleeps(&fleet, plan, time, &mut dice).await?,
    };
    let mut figures = Figures::new();
    figures.put("name", case.name);
    figures.put_or(
        "sync_ms",
        stats::spread(&outcome.ways.ms),
        "no entry arrived",
    );
    figures.put("sync_missing", outcome.ways.missing);
    let why = format!("not equal after {} s", HEALS.as_secs());
    figures.put_or("heal_ms", outcome.healed_ms, &why);
    figures.put("acknowledged", outcome.said.len());
    figures.put("lost_writes", fleet.lost(&outcome.said).await?);
    figures.put("frames", fleet.world.switch()?.counts()?);
    fleet.stop().await?;
    Ok(figures.into_value())
}

/// Entries by all in bad weather; healed = all are equal after it has cleared.
async fn bad_weather(fleet: &Fleet, plan: &Plan, dice: &mut Dice) -> Result<Outcome> {
    let all = everybody(fleet);
    let said = fleet.say(&all, plan.entries, PACE, dice).await?;
    let ways = fleet.ways(&all, &said, ARRIVES).await?;
    // The last words of each come while it clears.
    let last = fleet.say(&all, all.len(), Duration::ZERO, dice).await?;
    clear(fleet)?;
    Ok(Outcome {
        healed_ms: fleet.equal_within(HEALS).await?,
        said: [said, last].concat(),
        ways,
    })
}

/// All say something while one is not heard; the times are those among the others.
async fn unheard(fleet: &Fleet, plan: &Plan, time: Duration, dice: &mut Dice) -> Result<Outcome> {
    let struck = fleet.members[STRUCK].machine.number();
    let others = fleet
        .members
        .iter()
        .map(|member| member.machine.number())
        .filter(|number| *number != struck);
    let cut: BTreeSet<(u8, u8)> = others.map(|other| (struck, other)).collect();
    fleet.world.switch()?.cut(cut)?;
    let began = tokio::time::Instant::now();
    let mut said = fleet.say(&[STRUCK], plan.entries / 5, PACE, dice).await?;
    let rest = rest(fleet);
    let theirs = fleet.say(&rest, plan.entries, PACE, dice).await?;
    let ways = fleet.ways(&rest, &theirs, ARRIVES).await?;
    tokio::time::sleep_until(began + time).await;
    said.extend(theirs);
    clear(fleet)?;
    Ok(Outcome {
        healed_ms: fleet.equal_within(HEALS).await?,
        said,
        ways,
    })
}

/// One gets another address, and both sides say something at once; the times are those of everything said after.
async fn moves(fleet: &mut Fleet, plan: &Plan, dice: &mut Dice) -> Result<Outcome> {
    let all = everybody(fleet);
    let before = fleet.say(&all, all.len(), PACE, dice).await?;
    fleet
        .equal_within(HEALS)
        .await?
        .context("not equal before the move")?;
    let machine = &mut fleet.members[STRUCK].machine;
    machine.readdress(NEW_ADDRESS)?;
    let mut said = fleet.say(&all, all.len(), Duration::ZERO, dice).await?;
    said.extend(fleet.say(&[STRUCK], 1, Duration::ZERO, dice).await?);
    let healed_ms = fleet.equal_within(HEALS).await?;
    said.extend(fleet.say(&all, plan.entries, PACE, dice).await?);
    let ways = fleet.ways(&all, &said, ARRIVES).await?;
    said.extend(before);
    Ok(Outcome {
        said,
        ways,
        healed_ms,
    })
}

/// One daemon stands still while the others go on; the times are those among them.
async fn sleeps(fleet: &Fleet, plan: &Plan, time: Duration, dice: &mut Dice) -> Result<Outcome> {
    let asleep = &fleet.members[STRUCK].daemon;
    asleep.freeze()?;
    let began = tokio::time::Instant::now();
    let rest = rest(fleet);
    let said = fleet.say(&rest, plan.entries, PACE, dice).await?;
    let ways = fleet.ways(&rest, &said, ARRIVES).await?;
    tokio::time::sleep_until(began + time).await;
    asleep.thaw()?;
    Ok(Outcome {
        healed_ms: fleet.equal_within(HEALS).await?,
        said,
        ways,
    })
}

fn clear(fleet: &Fleet) -> Result<()> {
    let switch = fleet.world.switch()?;
    switch.faults(Faults::default())?;
    switch.cut(BTreeSet::new())
}

fn everybody(fleet: &Fleet) -> Vec<usize> {
    (0..fleet.members.len()).collect()
}

/// Everybody but the struck machine.
fn rest(fleet: &Fleet) -> Vec<usize> {
    let all = everybody(fleet).into_iter();
    all.filter(|index| *index != STRUCK).collect()
}
