//! `offstage`: an empty configuration, one consent, and programs that the hive neither started nor was told of.
//! They time themselves, hive on against `hive pause`; below 1 is better.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hive_mind::Client;
use hive_mind::Role;
use hive_mind::pattern::Verdict;
use hive_mind::reply::PatternState;
use serde_json::{Value, json};

use crate::programs::Front;
use crate::programs::load::Load;
use crate::report::{Figures, Report};
use crate::reports::scene::{Alternation, Cast, Layout, Names, OwnClock, Scene, is_used};
use crate::reports::settle::{self, Patience};
use crate::stats::{self, Sign};
use crate::world::daemon::until;
use crate::world::terminal::{Jobs, Terminal};
use crate::world::{Machine, Tools, World};

/// What `signs_agree` says, in the report itself.
const SIGNS_RULE: &str = "the side of 1 on which a 95 % range lies as a whole (better below, worse above, else \
     no_effect): signs_agree when the program's own clock with the hive on against paused (own_clock.ci, that of its mean; \
     a browser's p99_ci, its late pictures, as its mean is the screen's period whatever happens) and reward.ci, the \
     hive's own estimate of what it kept on, lie on the same side; a hive that kept nothing on claims no_effect";

/// Where the build runs.
const LAYOUTS: [(&str, Layout); 2] = [
    ("other_session", Layout::OtherSession),
    ("same_session", Layout::SameSession),
];

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pairs of windows per case.
    pub alternations: usize,
    /// Length of a window in seconds.
    pub window_s: u64,
    /// The longest time to learn before, in seconds.
    pub learn_s: u64,
}

/// One case with what decides which layout the second machine gets.
struct Case {
    value: Value,
    mean_ratio: f64,
    helped: bool,
}

/// Runs the report: the paced loop on two machines, each other program on a machine of its own.
pub async fn run(tools: &Tools, plan: Plan, programs: &[Front]) -> Result<Value> {
    let report = Report::begin("offstage");
    let mut world = World::new(tools)?;
    let (mut cases, mut missing) = (Vec::new(), Vec::new());
    for &front in programs {
        if let Some(why) = front.missing().or_else(|| load_of(front).missing()) {
            missing.push(json!({"program": front.name(), "why": why}));
        } else if front == Front::Ticker {
            cases.extend(of_the_loop(&mut world, plan).await?);
        } else {
            cases.extend(of_a_program(&mut world, front, plan).await?);
        }
    }
    let mut figures = Figures::new();
    figures.put("cases", cases);
    figures.put("missing", missing);
    figures.put("signs_rule", SIGNS_RULE);
    figures.put(
        "note",
        "own_clock.ci is the range of the ratio of the means; p50_ci and p99_ci are those of the others; a browser's \
         clock is the time from one picture to the next, of which 16.7 ms are the screen's; a build's own clock is the time of \
         a whole build, its load are loops in the background of its terminal or of one at whose prompt nothing runs, and its \
         reward is the time per work, told by the processor time that it got",
    );
    Ok(report.end(figures))
}

/// What competes with a program.
fn load_of(front: Front) -> Load {
    match front {
        Front::Ticker => Load::Make,
        Front::Build => Load::Spinners,
        _ => Load::Cargo,
    }
}

/// A program beside its load, in another terminal and in the same.
async fn of_a_program(world: &mut World, front: Front, plan: Plan) -> Result<Vec<Value>> {
    let machine = world.machine(front.name())?;
    consent(&machine, &["up", "--yes"], None).await?;
    let client = Client::new(machine.socket());
    let cast = Cast {
        front,
        load: load_of(front),
        names: Names::default(),
    };
    let mut cases = Vec::new();
    for (place, layout) in LAYOUTS {
        let scene = Scene::play(&machine, layout, &cast)?;
        scene.is_at_work(front.warm_up_s()).await?;
        let name = format!("{}_{place}", front.name());
        cases.push(case(&name, &client, front, &scene, plan).await?.value);
    }
    Ok(cases)
}

/// The paced loop: on a first machine in both layouts, then on a second one that joined, where it helped most.
async fn of_the_loop(world: &mut World, plan: Plan) -> Result<Vec<Value>> {
    let desk = world.machine("desk")?;
    consent(&desk, &["up", "--yes"], None).await?;
    let client = Client::new(desk.socket());
    let mut cases = Vec::new();
    for (name, layout) in LAYOUTS {
        let scene = Scene::open(&desk, layout, &Names::default())?;
        cases.push((
            layout,
            case(name, &client, Front::Ticker, &scene, plan).await?,
        ));
    }
    // What helped, and among that what helped the loop most.
    let best = cases.iter().min_by(|(_, one), (_, two)| {
        (!one.helped, one.mean_ratio)
            .partial_cmp(&(!two.helped, two.mean_ratio))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let (layout, _) = best.context("no case")?;
    let layout = *layout;
    let laptop = world.machine("laptop")?;
    enter(&laptop, &client).await?;
    let second = Client::new(laptop.socket());
    let scene = Scene::open(&laptop, layout, &Names::default())?;
    let name = match layout {
        Layout::OtherSession => "second_machine_other_session",
        Layout::SameSession => "second_machine_same_session",
    };
    cases.push((
        layout,
        case(name, &second, Front::Ticker, &scene, plan).await?,
    ));
    drop(scene);
    Ok(cases.into_iter().map(|(_, case)| case.value).collect())
}

/// Learns, then alternates. What is on stays on for the scene only.
async fn case(
    name: &str,
    client: &Client,
    front: Front,
    scene: &Scene,
    plan: Plan,
) -> Result<Case> {
    let patience = Patience {
        at_most: Duration::from_secs(plan.learn_s),
        quiet: Duration::from_secs(6),
    };
    let learning = settle::watch(client, patience).await?;
    let how = Alternation {
        pairs: plan.alternations,
        window: Duration::from_secs(plan.window_s),
    };
    let clock = scene.own_clock(client, how).await?;
    let patterns = client.patterns().await?.patterns;
    let subject = settle::subject(&patterns, scene.layout().binding());
    let used = subject.filter(|pattern| is_used(pattern));
    let mut figures = Figures::new();
    figures.put("name", name);
    own_clock(&mut figures, &clock);
    let reward = used.and_then(|pattern| Some((pattern.wait_ratio?, pattern.ci?)));
    let why = "nothing was kept on, so there is nothing that the hive would claim";
    let shown = reward.map(|(ratio, ci)| json!({"ratio": ratio, "ci": ci}));
    figures.put_or("reward", shown, why);
    let claimed = reward.map_or(Sign::NoEffect, |(_, ci)| stats::sign(ci));
    let telling = match front {
        Front::Browser => clock.p99,
        _ => clock.mean,
    };
    let measured = telling.map(|ratio| ratio.sign());
    figures.put_or(
        "signs_agree",
        measured.map(|measured| measured == claimed),
        "too few windows",
    );
    figures.put("signs", json!({"own_clock": measured, "reward": claimed}));
    figures.put("alternations", clock.alternations);
    figures.put("windows_acted", clock.windows_acted);
    let verdict = subject.map_or(Verdict::Undecided, |pattern| pattern.verdict);
    figures.put("verdict", verdict);
    figures.put_or("action", used.map(settle::name), "nothing was kept on");
    tell_patterns(&mut figures, &patterns);
    figures.put("learning", &learning);
    figures.put("left_on_when_paused", left_on(client, scene).await?);
    Ok(Case {
        value: figures.into_value(),
        mean_ratio: clock.mean.map_or(f64::INFINITY, |mean| mean.ratio),
        helped: used.is_some(),
    })
}

fn own_clock(figures: &mut Figures, clock: &OwnClock) {
    let shown = clock.p50.zip(clock.p99).zip(clock.mean);
    let shown = shown.map(|((p50, p99), mean)| {
        json!({
            "p50_ratio": p50.ratio, "p50_ci": p50.ci,
            "p99_ratio": p99.ratio, "p99_ci": p99.ci,
            "mean_ratio": mean.ratio, "ci": mean.ci,
            "on_ms": {"p50": clock.ms[0], "p99": clock.ms[1]},
            "paused_ms": {"p50": clock.ms[2], "p99": clock.ms[3]},
        })
    });
    figures.put_or("own_clock", shown, "fewer than three pairs of windows");
}

/// Everything that was tried, with its numbers: what is not used is a result too.
pub fn tell_patterns(figures: &mut Figures, patterns: &[hive_mind::reply::PatternView]) {
    let told: Vec<Value> = patterns
        .iter()
        .map(|pattern| {
            json!({
                "pattern": settle::name(pattern), "state": pattern.state, "verdict": pattern.verdict,
                "pairs": pattern.pairs, "wait_ratio": pattern.wait_ratio, "ci": pattern.ci,
                "background_loss": pattern.background_loss, "holdout": pattern.holdout,
                "placebo": pattern.placebo, "background": pattern.context.background,
            })
        })
        .collect();
    figures.put("patterns", told);
}

/// Threads that carry a value of the hive's when `pause` has answered: it answers when the old values are back.
async fn left_on(client: &Client, scene: &Scene) -> Result<usize> {
    client.pause(None).await?;
    let left = scene.of_the_hive();
    client.resume().await?;
    Ok(left)
}

/// What a person types, in a terminal, until the program says it is done.
async fn consent(machine: &Machine, words: &[&str], approver: Option<&Client>) -> Result<()> {
    machine.log_in()?;
    let mut typed = vec![machine.tools().hive.display().to_string()];
    typed.extend(words.iter().map(ToString::to_string));
    let jobs = Jobs {
        foreground: Some(typed),
        background: None,
    };
    let variables = machine.variables();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut terminal = Terminal::open(machine, &jobs, &variables)?;
    for _ in 0..300 {
        if let Some(good) = terminal.ended()? {
            if !good {
                bail!("`hive {}` failed:\n{}", words.join(" "), terminal.screen());
            }
            return Ok(());
        }
        if let Some(approver) = approver {
            for machine in approver.pending().await?.pending {
                approver.approve(&machine.node, Role::Member).await?;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!(
        "`hive {}` did not end:\n{}",
        words.join(" "),
        terminal.screen()
    )
}

/// The second machine joins with a code, consents, and is let in; it waits until it knows what the first knows.
async fn enter(machine: &Machine, first: &Client) -> Result<()> {
    let invite = first.invite().await?;
    consent(machine, &["join", &invite.code, "--yes"], Some(first)).await?;
    let client = Client::new(machine.socket());
    until(
        "the second machine knows what the first knows",
        async || {
            let theirs = first.patterns().await?.patterns;
            let ours = client.patterns().await?.patterns;
            let proven = theirs
                .iter()
                .filter(|pattern| pattern.state == PatternState::Proven);
            let all = proven
                .into_iter()
                .all(|proven| ours.iter().any(|pattern| pattern.id == proven.id));
            Ok(all.then_some(()))
        },
    )
    .await
}
