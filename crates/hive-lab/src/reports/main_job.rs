//! `main-job`: machine A proves an action on real processes, machine B has it at once and needs fewer pairs than
//! alone, a machine under another mechanism is left alone, and everything is put back, also after `kill -9`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use hive_mind::Client;
use hive_mind::pattern::{Action, Verdict};
use hive_mind::reply::{Mode, PatternState, PatternView};
use serde_json::{Value, json};

use crate::report::{Figures, Report};
use crate::reports::offstage::tell_patterns;
use crate::reports::scene::{Alternation, Layout, Names, Scene};
use crate::reports::settle::{self, Learning, Patience};
use crate::reports::told::Told;
use crate::stats::Sign;
use crate::world::daemon::{self, Daemon, Start};
use crate::world::{Machine, Tools, World};

/// The longest that a machine may learn.
const LEARN: Patience = Patience {
    at_most: Duration::from_secs(75),
    quiet: Duration::from_secs(4),
};

/// The longest that the second machine may take: on probation only one window in five is a control, so that its
/// own verdict takes several times as long as a trial's.
const LEARN_ON_PROBATION: Patience = Patience {
    at_most: Duration::from_secs(110),
    quiet: Duration::from_secs(4),
};

/// How long the machine under another mechanism is watched.
const WATCH_MISMATCH: Duration = Duration::from_secs(25);

/// The own clock of machine A: fewer and shorter windows than in `offstage`, which is the place to judge it.
const OWN_CLOCK: Alternation = Alternation {
    pairs: 6,
    window: Duration::from_millis(2_500),
};

/// How long nothing may be on after an undo: longer than a window of a pair (a pair takes 2.4 s).
const STAYS_UNDONE: Duration = Duration::from_millis(3_500);

/// How often is undone when the machine tries other actions afterwards: there are fewer actions than this.
const UNDOS_AT_MOST: usize = 8;

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
    let learning = settle::watch(b.client(), LEARN_ON_PROBATION).await?;
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
    undone(&scene, b.client(), on, figures).await
}

/// Undo by hand answers when the old values are back, and they stay back: nothing is given time to put itself
/// right, and a hold-out window, which would end within the watch, cannot pass for an undo. A machine may go on to
/// try an action that was not undone; then that is undone too, and the watch begins anew.
async fn undone(scene: &Scene, b: &Client, on: usize, figures: &mut Figures) -> Result<()> {
    let mut undos = Vec::new();
    let mut watched = Watched::default();
    let mut changes = 0;
    for _ in 0..UNDOS_AT_MOST {
        let undone = b.undo(None).await?;
        watched = stays_back(scene, b).await?;
        changes += undone.changes;
        undos.push(json!({
            "changes": undone.changes, "restored": undone.restored, "left_alone": undone.left_alone,
            "threads_left_at_reply": watched.at_reply, "threads_left_at_most": watched.most,
            "reads": watched.reads, "watched_s": watched.seconds, "tried_next": watched.tried_next,
        }));
        if watched.most > 0 || watched.tried_next.is_empty() {
            break;
        }
    }
    if changes == 0 {
        let why = "at the moment of the undo nothing was on: it had nothing to put back";
        figures.missing("undo_restored", why);
    } else {
        let told = watched.tried_next.is_empty() || watched.most > 0;
        let why = "other actions were tried after each undo, so that no watch was long enough";
        figures.put_or("undo_restored", told.then_some(watched.most == 0), why);
    }
    figures.put("undo", json!({"threads_on": on, "undos": undos}));
    Ok(())
}

/// What was seen of the old values after an undo.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// Threads with a value of the hive's when the undo had answered.
    at_reply: usize,
    /// The most of them in any read, this first one included, for which no other action accounts.
    most: usize,
    reads: u32,
    seconds: f64,
    /// Actions that were not undone and were on: they end the watch.
    tried_next: BTreeSet<String>,
}

/// Reads at once, and then again and again, until something that was not undone is tried.
async fn stays_back(scene: &Scene, b: &Client) -> Result<Watched> {
    let answered = Instant::now();
    let mut watched = Watched {
        at_reply: scene.changed(),
        ..Watched::default()
    };
    let mut left = watched.at_reply;
    let mut patterns = b.patterns().await?.patterns;
    let undone: BTreeSet<String> = patterns
        .iter()
        .filter(|pattern| pattern.state == PatternState::Undone)
        .map(|pattern| pattern.id.clone())
        .collect();
    loop {
        watched.reads += 1;
        let others = patterns.iter().filter(|pattern| {
            pattern.on && pattern.action != Action::Placebo && !undone.contains(&pattern.id)
        });
        watched.tried_next.extend(others.map(settle::name));
        if !watched.tried_next.is_empty() {
            break;
        }
        watched.most = watched.most.max(left);
        if answered.elapsed() >= STAYS_UNDONE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = scene.changed();
        patterns = b.patterns().await?.patterns;
    }
    watched.seconds = answered.elapsed().as_secs_f64();
    Ok(watched)
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

/// A member whose sessions are apart: what A proved among the jobs of one session must not be used here, or at
/// least do no harm.
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
    let scene = Scene::open(machine, Layout::OtherSession, &Names::default())?;
    let odd = Odd::watch(other.client(), &pattern.id).await?;
    let mut own = Figures::new();
    match odd.harmed_without_clock() {
        Ok(Some(harmed)) => own.put("harmed", harmed),
        Err(why) => own.missing("harmed", why),
        Ok(None) => {
            let clock = scene.own_clock(other.client(), OWN_CLOCK).await?;
            let harmed = clock.mean.map(|mean| mean.sign() == Sign::Worse);
            own.put_or("harmed", harmed, "too few windows of the own clock");
            own.put("own_clock", &clock);
        }
    }
    own.put("how", odd.how());
    own.put("heard", odd.heard > 0);
    own.put("checks", odd.checks);
    own.put("checks_on", odd.on);
    own.put("checks_state_beyond_heard", odd.beyond);
    own.put("contended_s", odd.contended_s);
    own.put("patterns_seen", odd.seen);
    figures.put("mismatch", own.into_value());
    Ok(())
}

/// What was seen of A's pattern on the machine under another mechanism.
#[derive(Clone, Debug, Default)]
struct Odd {
    /// How often the lab looked.
    checks: u32,
    /// In how many of the looks the pattern was known there.
    heard: u32,
    /// In how many it was on.
    on: u32,
    /// In how many its state was another than `heard`.
    beyond: u32,
    watched_s: f64,
    contended_s: u64,
    seen: BTreeSet<String>,
}

impl Odd {
    async fn watch(client: &Client, id: &str) -> Result<Self> {
        let mut odd = Self::default();
        let contended_before = client.status().await?.contended_s;
        let began = Instant::now();
        while began.elapsed() < WATCH_MISMATCH {
            odd.checks += 1;
            for here in client.patterns().await?.patterns {
                odd.seen.insert(settle::name(&here));
                if here.id == id {
                    odd.heard += 1;
                    odd.on += u32::from(here.on);
                    odd.beyond += u32::from(here.state != PatternState::Heard);
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        odd.watched_s = began.elapsed().as_secs_f64();
        let contended_s = client.status().await?.contended_s;
        odd.contended_s = contended_s.saturating_sub(contended_before);
        Ok(odd)
    }

    /// What was never used has harmed nobody; what was used must be measured (`None`); where the pattern was not
    /// known or nobody had to wait, nothing was put to the test.
    fn harmed_without_clock(&self) -> Result<Option<bool>, &'static str> {
        if self.heard == 0 {
            return Err("the machine never knew A's pattern: nothing was put to the test");
        }
        if self.contended_s == 0 {
            return Err("the machine saw no contention: nothing was put to the test");
        }
        Ok((self.on == 0 && self.beyond == 0).then_some(false))
    }

    fn how(&self) -> String {
        let Self {
            checks,
            heard,
            on,
            beyond,
            watched_s,
            ..
        } = self;
        if *heard == 0 {
            return format!(
                "A's pattern was not known there: checked {checks} times in {watched_s:.1} s"
            );
        }
        if *on == 0 && *beyond == 0 {
            return format!(
                "A's pattern was never on there: checked {checks} times in {watched_s:.1} s"
            );
        }
        format!(
            "checked {checks} times in {watched_s:.1} s: A's pattern was on in {on} and in another state than \
             `heard` in {beyond} of them; harmed is whether the loop's own clock was worse with the hive as a whole on than \
             paused (the whole range of the ratio of the means above 1)"
        )
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_odd_machine_follows_from_what_was_seen() {
        let never = Odd {
            checks: 9,
            heard: 9,
            watched_s: 2.0,
            contended_s: 1,
            ..Odd::default()
        };
        assert_eq!(never.harmed_without_clock(), Ok(Some(false)));
        assert_eq!(
            never.how(),
            "A's pattern was never on there: checked 9 times in 2.0 s"
        );
        let used = Odd {
            on: 3,
            beyond: 4,
            ..never.clone()
        };
        assert_eq!(used.harmed_without_clock(), Ok(None));
        assert!(
            used.how()
                .contains("was on in 3 and in another state than `heard` in 4")
        );
        let idle = Odd {
            contended_s: 0,
            ..used.clone()
        };
        assert!(idle.harmed_without_clock().is_err());
        let unheard = Odd {
            heard: 0,
            on: 0,
            beyond: 0,
            ..never
        };
        assert!(unheard.harmed_without_clock().is_err());
        assert!(unheard.how().contains("not known there"));
    }
}
