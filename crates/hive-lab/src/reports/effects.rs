//! `effects`: what each action of the catalogue does to a paced loop beside a load, beside doing nothing, beside what
//! another tool's types would set, and beside what a real daemon chose by itself. All arms in one run, in random blocks.

pub mod arms;
pub mod memory;
pub mod peer;

use std::time::Duration;

use anyhow::Result;
use hive_mind::pattern::Action;
use hive_mind::reply::Mode;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::clock;
use crate::programs::load::Load;
use crate::report::{Figures, Report};
use crate::reports::effects::arms::{Arm, Stage, Taken};
use crate::reports::offstage::tell_patterns;
use crate::reports::scene::{Layout, Names, Scene};
use crate::reports::settle::{self, Patience};
use crate::stats::{self, Dice, Ratio};
use crate::world::daemon::Start;
use crate::world::{Machine, Tools, World};

/// A background that keeps less of its work is no choice: the floor that the daemon holds to (DESIGN section 9).
const LOSS_MAX: f64 = 0.5;

/// Nothing new for so long is the end of learning: longer than a proven action rests before the next candidate's trial.
const QUIET: Duration = Duration::from_secs(75);

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Blocks per case; each holds every arm once, in random order.
    pub blocks: usize,
    /// Length of a window.
    pub window: Duration,
    /// The longest that the daemon may learn before, per case.
    pub learn: Duration,
    /// Only the case of this name.
    pub only: Option<String>,
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: &Plan) -> Result<Value> {
    let report = Report::begin("effects");
    let mut world = World::new(tools)?;
    let mut cases = Vec::new();
    for (name, layout, load) in [
        ("spinners_same_session", Layout::SameSession, Load::Spinners),
        (
            "spinners_other_session",
            Layout::OtherSession,
            Load::Spinners,
        ),
        ("compile_same_session", Layout::SameSession, Load::Make),
        ("compile_other_session", Layout::OtherSession, Load::Make),
    ] {
        if plan.only.as_deref().is_none_or(|only| only == name) {
            // A machine for each case, so that what it chose was learned there and nowhere else.
            let machine = world.machine(name.split('_').next().unwrap_or(name))?;
            cases.push(case(name, &machine, layout, load, plan).await?);
        }
    }
    let mut figures = Figures::new();
    figures.put("cases", cases);
    if plan.only.as_deref().is_none_or(|only| only == "memory") {
        match block_in_place(|| memory::run(tools, plan.blocks))? {
            Ok(value) => figures.put("memory", value),
            Err(why) => figures.missing("memory", &why),
        }
    } else {
        figures.missing("memory", "not asked for");
    }
    figures.put("notes", notes(plan));
    Ok(report.end(figures))
}

fn notes(plan: &Plan) -> Value {
    json!({
        "ratio": "wait per actual wake-up of the paced loop in a window, over that of the window without anything in the same block; geometric mean over blocks with its 95 % range; below 1 is better",
        "own_clock_ratio": "the same of the mean time of the loop's turns, told by the loop itself",
        "background_loss": "1 - processor time of the background with the arm over that without, over all blocks; below 0 is chance",
        "best_fixed": format!("the fixed arm with the lowest wait_ratio among those whose background loses at most {LOSS_MAX}, nothing included; it is chosen after the fact, which flatters it"),
        "ours": "a daemon with an empty configuration and consent, that learned in this scene before and was resumed for its windows. A window begins when the hold-out pair with which each resumption begins is through; later ones (5 % of the time) may fall into windows",
        "ours_vs_best_regret": "(wait of ours - wait of the best fixed) / wait with nothing, mean over blocks with its 95 % range: where both leave a hundredth of the wait, or less, the ratio of the two has no narrow range",
        "peer_rules": "the loop as type Game (nice -5), the background as type BG_CPUIO (nice 16, SCHED_IDLE, idle class); peer_rules_heavy: the background as Heavy_CPU (nice 9, best effort 7). The published rules give compilers and spinners no type; these are what their author would choose from",
        "blocks": plan.blocks, "window_ms": plan.window.as_millis(),
    })
}

/// Learns, then measures all arms, block by block.
async fn case(
    name: &str,
    machine: &Machine,
    layout: Layout,
    load: Load,
    plan: &Plan,
) -> Result<Value> {
    let start = Start {
        label: None,
        mode: Mode::Auto,
        log: "warn",
    };
    let daemon = machine.start_daemon(start).await?;
    let client = daemon.client();
    let scene = Scene::open_with(machine, layout, load, &Names::default())?;
    let patience = Patience {
        at_most: plan.learn,
        quiet: QUIET,
    };
    let learning = settle::watch(client, patience).await?;
    client.pause(None).await?;
    let mut stage = Stage::new(machine, &scene)?;
    let arms = Arm::all(layout);
    let mut dice = Dice::new(clock::boot_us());
    let mut blocks: Vec<Vec<(Arm, Taken)>> = Vec::new();
    for _ in 0..plan.blocks {
        let mut order = arms.clone();
        shuffle(&mut order, &mut dice);
        let mut block = Vec::new();
        for arm in order {
            block.push((arm, stage.measure(client, arm, plan.window).await?));
        }
        blocks.push(block);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    for (_, taken) in blocks.iter_mut().flatten() {
        taken.read_own_clock(&scene)?;
    }
    let left = stage.left_on();
    let mut figures = told(name, &arms, &blocks, dice.next_u64());
    figures.put("learning", &learning);
    figures.put("left_on", left);
    client.resume().await?;
    tell_patterns(&mut figures, &client.patterns().await?.patterns);
    drop(stage);
    drop(scene);
    daemon.stop().await?;
    Ok(figures.into_value())
}

fn shuffle(arms: &mut [Arm], dice: &mut Dice) {
    for last in (1..arms.len()).rev() {
        arms.swap(last, dice.below(last + 1));
    }
}

/// The figures of one case.
fn told(name: &str, arms: &[Arm], blocks: &[Vec<(Arm, Taken)>], seed: u64) -> Figures {
    let both = |arm, other| pairs(blocks, arm, other);
    let against = |arm, other, figure: fn(&Taken) -> f64| {
        let values = both(arm, other)
            .into_iter()
            .map(|(a, b)| (figure(a), figure(b)));
        stats::paired_ratio(&values.collect::<Vec<(f64, f64)>>(), seed)
    };
    let loss = |arm: Arm| -> Option<f64> {
        let both = both(arm, Arm::Nothing);
        let with: f64 = both.iter().map(|(taken, _)| taken.background).sum();
        let without: f64 = both.iter().map(|(_, taken)| taken.background).sum();
        (without > 0.0).then(|| 1.0 - with / without)
    };
    let figures_of = |arm: Arm| -> Value {
        let mut it = Figures::new();
        it.put("action", arm.name());
        let few = "fewer than three blocks in which it could be set";
        let wait = against(arm, Arm::Nothing, |taken| taken.wait_ns);
        it.put_or("wait_ratio", wait.map(|ratio| ratio.ratio), few);
        it.put_or("ci", wait.map(|ratio| ratio.ci), few);
        let own = against(arm, Arm::Nothing, |taken| taken.own_ms);
        it.put_or("own_clock_ratio", own.map(|ratio| ratio.ratio), few);
        it.put_or("own_clock_ci", own.map(|ratio| ratio.ci), few);
        it.put_or("background_loss", loss(arm), few);
        let blocks = of(blocks, arm);
        it.put("blocks", blocks.iter().filter(|taken| taken.was_on).count());
        it.into_value()
    };
    let fixed = || arms.iter().copied().filter(|arm| arm.is_fixed());
    let best = fixed()
        .filter(|arm| loss(*arm).is_some_and(|loss| loss <= LOSS_MAX))
        .filter_map(|arm| {
            Some((
                arm,
                against(arm, Arm::Nothing, |taken| taken.wait_ns)?.ratio,
            ))
        })
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let mut figures = Figures::new();
    figures.put("name", name);
    let values: Vec<Value> = fixed().map(figures_of).collect();
    figures.put("arms", values);
    let mut ours = figures_of(Arm::Ours);
    tell_chosen(&mut ours, &of(blocks, Arm::Ours));
    figures.put("ours", ours);
    let few = "fewer than three blocks";
    let best_told = best.map(|(arm, ratio)| json!({"action": arm.name(), "wait_ratio": ratio}));
    figures.put_or("best_fixed", best_told, few);
    let ratio = |ratio: Ratio| json!({"ratio": ratio.ratio, "ci": ratio.ci});
    let versus = |other| against(Arm::Ours, other, |taken| taken.wait_ns).map(ratio);
    let best = best.map(|(arm, _)| arm);
    figures.put_or("ours_vs_best", best.and_then(versus), few);
    figures.put_or("ours_vs_nothing", versus(Arm::Nothing), few);
    let own = best.and_then(|arm| against(Arm::Ours, arm, |taken| taken.own_ms));
    figures.put_or("ours_vs_best_own_clock", own.map(ratio), few);
    let regret = best.and_then(|arm| regret(blocks, arm, seed));
    figures.put_or("ours_vs_best_regret", regret, few);
    match peer::unavailable() {
        None => {
            figures.put("peer_rules", figures_of(Arm::Peer));
            figures.put("peer_rules_heavy", figures_of(Arm::PeerHeavy));
        }
        Some(why) => figures.missing("peer_rules", &why),
    }
    figures
}

/// An arm's windows.
fn of(blocks: &[Vec<(Arm, Taken)>], arm: Arm) -> Vec<&Taken> {
    let found = blocks
        .iter()
        .map(|block| block.iter().find(|(it, _)| *it == arm));
    found.flatten().map(|(_, taken)| taken).collect()
}

/// Two arms' windows, block by block, without those in which a fixed arm could not be set.
fn pairs(blocks: &[Vec<(Arm, Taken)>], arm: Arm, other: Arm) -> Vec<(&Taken, &Taken)> {
    let both = of(blocks, arm).into_iter().zip(of(blocks, other));
    let counts = |arm: Arm, taken: &Taken| taken.was_on || !arm.is_fixed();
    both.filter(|(a, b)| counts(arm, a) && counts(other, b))
        .collect()
}

/// How much more of the wait with nothing on our choice leaves than the best fixed one. Where both leave next to nothing
/// their ratio says nothing, and this is small.
fn regret(blocks: &[Vec<(Arm, Taken)>], best: Arm, seed: u64) -> Option<Value> {
    let each = blocks
        .iter()
        .filter_map(|block| {
            let of = |arm: Arm| block.iter().find(|(it, _)| *it == arm).map(|(_, it)| it);
            let (ours, best, nothing) = (of(Arm::Ours)?, of(best)?, of(Arm::Nothing)?);
            let share = (ours.wait_ns - best.wait_ns) / nothing.wait_ns;
            (best.was_on && nothing.wait_ns > 0.0).then_some(share)
        })
        .collect::<Vec<f64>>();
    let (share, ci) = stats::mean_with_range(&each, seed)?;
    Some(json!({"share": share, "ci": ci}))
}

/// What the daemon had on in most of its windows.
fn tell_chosen(ours: &mut Value, windows: &[&Taken]) {
    let chosen = windows.iter().filter_map(|taken| taken.action);
    let chosen: Vec<&str> = chosen.map(Action::name).collect();
    ours["action"] = most_frequent(&chosen).map_or(Value::Null, Value::from);
    if chosen.is_empty() {
        ours["why"] =
            json!({"action": "nothing was on in any of its windows: nothing was proven here"});
    }
}

fn most_frequent<'a>(names: &[&'a str]) -> Option<&'a str> {
    let count = |name: &str| names.iter().filter(|it| **it == name).count();
    names.iter().copied().max_by_key(|name| count(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_stands_once_in_a_block_whatever_the_dice_say() {
        let arms = Arm::all(Layout::OtherSession);
        for seed in 0..20 {
            let mut order = arms.clone();
            shuffle(&mut order, &mut Dice::new(seed));
            assert!(arms.iter().all(|arm| order.contains(arm)) && order.len() == arms.len());
        }
    }

    #[test]
    fn the_best_fixed_arm_keeps_half_of_the_background_and_ours_is_held_against_it() {
        let taken = |wait_ns: f64, background: f64| Taken {
            wait_ns,
            background,
            own_ms: wait_ns / 1e6,
            was_on: true,
            ..Taken::default()
        };
        let block = |noise: f64| {
            vec![
                (Arm::Nothing, taken(1e6 * noise, 1.0)),
                (Arm::Fixed(Action::BackgroundNice), taken(5e5 * noise, 0.8)),
                (Arm::Fixed(Action::BackgroundIdle), taken(2e5 * noise, 0.3)),
                (Arm::Ours, taken(5.5e5 * noise, 0.8)),
            ]
        };
        let blocks = vec![block(1.0), block(1.3), block(0.8), block(1.1)];
        let arms: Vec<Arm> = blocks[0].iter().map(|(arm, _)| *arm).collect();
        let told = told("a case", &arms, &blocks, 1).into_value();
        assert_eq!(told["best_fixed"]["action"], "background_nice", "{told}");
        let near =
            |value: &Value, expected: f64| (value.as_f64().unwrap_or(0.0) - expected).abs() < 1e-6;
        assert!(near(&told["ours_vs_best"]["ratio"], 1.1), "{told}");
        assert!(near(&told["ours_vs_nothing"]["ratio"], 0.55), "{told}");
        assert!(near(&told["arms"][2]["background_loss"], 0.7), "{told}");
        assert!(told["ours"]["action"].is_null());
    }
}
