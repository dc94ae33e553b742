//! `main-job`: machine A proves an action on real processes, machine B has it at once and needs fewer pairs than
//! alone, a machine under another mechanism is left alone, and everything is put back, also after `kill -9`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use hive_mind::Client;
use hive_mind::pattern::Verdict;
use hive_mind::reply::{Mode, PatternState, PatternView};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::report::{Figures, Report};
use crate::reports::offstage::tell_patterns;
use crate::reports::scene::{Alternation, Layout, Names, Scene};
use crate::reports::settle::{self, Learning, Patience};
use crate::world::daemon::{self, Daemon, Start};
use crate::world::{Machine, Tools, World};

/// The longest that a machine may learn.
const LEARN: Patience = Patience {
    at_most: Duration::from_secs(75),
    quiet: Duration::from_secs(4),
};

/// How long the machine under another mechanism is watched.
const WATCH_MISMATCH: Duration = Duration::from_secs(25);

/// The own clock of machine A: fewer and shorter windows than in `offstage`, which is the place to judge it.
const OWN_CLOCK: Alternation = Alternation {
    pairs: 6,
    window: Duration::from_millis(2_500),
};

/// How long restoring may take: `kill -9` is answered by a guardian or not at all.
const RESTORE_WITHIN: Duration = Duration::from_secs(5);

/// Runs the report.
pub async fn run(tools: &Tools) -> Result<Value> {
    let report = Report::begin("main-job");
    let mut figures = Figures::new();
    let mut world = World::new(tools)?;
    let desk = world.machine("desk")?;
    let laptop = world.machine("laptop")?;
    let tower = world.machine("tower")?;
    let a = start(&desk, "desk").await?;
    let b = start(&laptop, "laptop").await?;
    let other = start(&tower, "tower").await?;
    daemon::join(a.client(), b.client()).await?;
    daemon::join(a.client(), other.client()).await?;
    let told = (
        Told::follow(a.client()).await?,
        Told::follow(b.client()).await?,
    );
    let pattern = first_machine(&desk, &a, &mut figures).await?;
    synced(told, pattern.as_ref(), b.client(), &mut figures).await?;
    let alone = alone(&mut world).await?;
    second_machine(&laptop, &b, &alone, &mut figures).await?;
    mismatch(&tower, &other, pattern.as_ref(), &mut figures).await?;
    killed(&desk, a, &mut figures).await?;
    b.stop().await?;
    other.stop().await?;
    Ok(report.end(figures))
}

async fn start(machine: &Machine, label: &str) -> Result<Daemon> {
    let start = Start {
        label: Some(label),
        mode: Mode::Auto,
        log: "info",
    };
    machine.start_daemon(start).await
}

/// A learns; its verdict, and the loop's own clock beside it.
async fn first_machine(
    machine: &Machine,
    a: &Daemon,
    figures: &mut Figures,
) -> Result<Option<PatternView>> {
    let scene = Scene::open(machine, Layout::SameSession, &Names::default())?;
    let learning = settle::watch(a.client(), LEARN).await?;
    let own_clock = scene.own_clock(a.client(), OWN_CLOCK).await?;
    let patterns = a.client().patterns().await?.patterns;
    let pattern = settle::subject(&patterns, scene.layout().binding()).cloned();
    let mut own = Figures::new();
    let nothing = "no action was tried";
    let of = pattern.as_ref();
    own.put_or("action", of.map(settle::name), nothing);
    own.put_or("verdict", of.map(|pattern| pattern.verdict), nothing);
    own.put_or(
        "wait_ratio",
        of.and_then(|pattern| pattern.wait_ratio),
        nothing,
    );
    own.put_or(
        "ci",
        of.and_then(|pattern| pattern.ci),
        "the range is not finite yet",
    );
    own.put_or(
        "own_clock_ratio",
        own_clock.mean.map(|mean| mean.ratio),
        "too few windows",
    );
    own.put("own_clock", &own_clock);
    own.put_or("pairs", of.map(|pattern| pattern.pairs), nothing);
    own.put_or(
        "background_loss",
        of.and_then(|pattern| pattern.background_loss),
        nothing,
    );
    let placebo = of.and_then(|pattern| pattern.placebo);
    let why = "no placebo pairs were taken";
    own.put_or(
        "placebo_verdict",
        placebo.map(|placebo| placebo.verdict),
        why,
    );
    own.put_or("placebo", placebo, why);
    own.put_or(
        "contention_s",
        of.and_then(|pattern| pattern.contention_s),
        "no verdict was reached",
    );
    own.put("learning", &learning);
    tell_patterns(&mut own, &patterns);
    figures.put("a", own.into_value());
    drop(scene);
    Ok(pattern)
}

/// From A's verdict to B's knowing of the pattern; both moments are told by the daemons, on one boot clock.
async fn synced(
    told: (Told, Told),
    pattern: Option<&PatternView>,
    b: &Client,
    figures: &mut Figures,
) -> Result<()> {
    let Some(pattern) = pattern else {
        figures.missing("synced_ms", "machine A has no pattern");
        return Ok(());
    };
    let there = b.patterns().await?.patterns;
    let there = there.iter().find(|there| there.id == pattern.id);
    let of_a = told.0.end();
    let of_b = told.1.end();
    let said_at = of_a.iter().filter(|event| event["what"] == "trial_ended");
    let said_at: Vec<u64> = said_at
        .filter_map(|event| event["at_us"].as_u64())
        .collect();
    let arrived = of_b
        .iter()
        .filter(|event| event["what"] == "pattern_arrived");
    let arrived: Vec<u64> = arrived
        .filter_map(|event| event["at_us"].as_u64())
        .collect();
    figures.put(
        "events",
        json!({"a_trial_ended_us": said_at, "b_pattern_arrived_us": arrived}),
    );
    // The arrival is that of this pattern; what was said is the last trial that ended before it.
    let way = there.and_then(|there| {
        let said = said_at
            .iter()
            .filter(|said| **said <= there.known_at_us)
            .max()?;
        Some(ms_between(*said, there.known_at_us))
    });
    let definition = there.map(|there| ms_between(pattern.known_at_us, there.known_at_us));
    figures.put("b_heard", there.is_some());
    figures.put_or(
        "a_knew_to_b_knew_ms",
        definition,
        "machine B does not know the pattern",
    );
    figures.put_or(
        "synced_ms",
        way,
        "machine B did not hear of the pattern after a trial of A had ended",
    );
    Ok(())
}

fn ms_between(from_us: u64, until_us: u64) -> f64 {
    let us = i64::try_from(until_us).unwrap_or(i64::MAX) - i64::try_from(from_us).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one run")]
    let ms = us as f64 / 1_000.0;
    ms
}

/// `kill -9` of A's daemon while something is on; who puts it back?
async fn killed(machine: &Machine, a: Daemon, figures: &mut Figures) -> Result<()> {
    let scene = Scene::open(machine, Layout::SameSession, &Names::default())?;
    let on = wait_until_changed(&scene, Duration::from_secs(20)).await;
    if on == 0 {
        figures.missing(
            "kill9_restored",
            "nothing was on that could have been restored",
        );
        a.stop().await?;
        return Ok(());
    }
    a.kill_9()?;
    let began = Instant::now();
    let mut left = wait_until_restored(&scene).await;
    let mut by = "the guardian";
    if left > 0 {
        by = "the next start";
        let again = start(machine, "desk").await?;
        // Paused at once, so that what is seen is the recovery and not a new decision.
        again.client().pause(None).await?;
        left = wait_until_restored(&scene).await;
        again.stop().await?;
    }
    figures.put("kill9_restored", left == 0);
    figures.put(
        "kill9",
        json!({"threads_on": on, "threads_left": left, "by": by,
               "ms": began.elapsed().as_millis()}),
    );
    Ok(())
}

/// B under the same kind of contention: its own verdict, and undo by hand.
async fn second_machine(
    machine: &Machine,
    b: &Daemon,
    alone: &Learning,
    figures: &mut Figures,
) -> Result<()> {
    let scene = Scene::open(machine, Layout::SameSession, &Names::default())?;
    let learning = settle::watch(b.client(), LEARN).await?;
    let patterns = b.client().patterns().await?.patterns;
    let of = settle::subject(&patterns, scene.layout().binding());
    let mut own = Figures::new();
    own.put_or(
        "verdict",
        of.map(|pattern| pattern.verdict),
        "nothing was tried",
    );
    own.put_or(
        "wait_ratio",
        of.and_then(|pattern| pattern.wait_ratio),
        "no own pairs",
    );
    own.put_or(
        "ci",
        of.and_then(|pattern| pattern.ci),
        "the range is not finite yet",
    );
    let never = "its choice never became anything";
    let chose = |learning: &Learning| (learning.changes > 0).then_some(learning.pairs_to_settle);
    own.put_or("pairs_to_settle", chose(&learning), never);
    own.put_or("pairs_alone", chose(alone), never);
    own.put("learning", &learning);
    own.put("alone", alone);
    tell_patterns(&mut own, &patterns);
    figures.put("b", own.into_value());
    let on = wait_until_changed(&scene, Duration::from_secs(20)).await;
    if on == 0 {
        figures.missing(
            "undo_restored",
            "nothing was on that could have been undone",
        );
        return Ok(());
    }
    let undone = b.client().undo(None).await?;
    let left = wait_until_restored(&scene).await;
    figures.put("undo_restored", left == 0);
    figures.put(
        "undo",
        json!({"threads_on": on, "threads_left": left, "changes": undone.changes}),
    );
    Ok(())
}

/// A machine that is in no hive, under the same contention.
async fn alone(world: &mut World) -> Result<Learning> {
    let machine = world.machine("island")?;
    let daemon = start(&machine, "island").await?;
    let scene = Scene::open(&machine, Layout::SameSession, &Names::default())?;
    let learning = settle::watch(daemon.client(), LEARN).await?;
    drop(scene);
    daemon.stop().await?;
    Ok(learning)
}

/// A member whose sessions are apart: what A proved among the jobs of one session must not be used here.
async fn mismatch(
    machine: &Machine,
    other: &Daemon,
    pattern: Option<&PatternView>,
    figures: &mut Figures,
) -> Result<()> {
    let Some(pattern) = pattern.filter(|pattern| pattern.verdict == Verdict::Helps) else {
        figures.missing(
            "mismatch",
            "machine A has proven nothing that could be misused",
        );
        return Ok(());
    };
    let _scene = Scene::open(machine, Layout::OtherSession, &Names::default())?;
    let began = Instant::now();
    let mut used = false;
    let mut heard = false;
    let mut seen = BTreeSet::new();
    while began.elapsed() < WATCH_MISMATCH {
        let patterns = other.client().patterns().await?.patterns;
        for here in patterns {
            seen.insert(settle::name(&here));
            if here.id == pattern.id {
                heard = true;
                used |= here.on || here.state != PatternState::Heard;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let contended_s = other.client().status().await?.contended_s;
    let how = format!(
        "for {} s under contention between two sessions: A's pattern was known here, and was neither on nor \
         left the state `heard`",
        WATCH_MISMATCH.as_secs()
    );
    let mut own = Figures::new();
    let met = heard && contended_s > 0;
    let why =
        "the machine did not know A's pattern, or saw no contention: nothing was put to the test";
    own.put_or("harmed", met.then_some(used), why);
    own.put("how", how);
    own.put("heard", heard);
    own.put("contended_s", contended_s);
    own.put("patterns_seen", seen);
    figures.put("mismatch", own.into_value());
    Ok(())
}

async fn wait_until_changed(scene: &Scene, at_most: Duration) -> usize {
    let began = Instant::now();
    while began.elapsed() < at_most {
        let changed = scene.changed();
        if changed > 0 {
            return changed;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    0
}

async fn wait_until_restored(scene: &Scene) -> usize {
    let began = Instant::now();
    loop {
        let left = scene.changed();
        if left == 0 || began.elapsed() > RESTORE_WITHIN {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a daemon tells while it works, kept with its moments.
struct Told {
    following: JoinHandle<()>,
    heard: std::sync::mpsc::Receiver<Value>,
}

impl Told {
    async fn follow(client: &Client) -> Result<Self> {
        let mut events = client.events().await?;
        let (sender, heard) = std::sync::mpsc::channel();
        let following = tokio::spawn(async move {
            while let Ok(Some(event)) = events.next().await {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self { following, heard })
    }

    fn end(self) -> Vec<Value> {
        self.following.abort();
        self.heard.try_iter().collect()
    }
}
