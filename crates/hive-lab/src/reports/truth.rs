//! `truth`: can the trials fool themselves? Recorded windows replayed through the real core, a seeded world of mostly
//! useless actions, and live trials of nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use hive_core::pattern::{Action, Verdict};
use serde_json::{Value, json};

use crate::clock;
use crate::procs;
use crate::report::{Figures, Report};
use crate::reports::scene::Layout;
use crate::stats::{Dice, percentile};
use crate::world::{Tools, World};

pub mod drive;
pub mod tape;
pub mod made;
pub mod stage;
pub mod home;
pub mod scene;
pub mod live;

use drive::Ended;
use home::share;
use live::Arm;
use scene::{Cast, Front, Load, Play};
use stage::Stage;
use tape::{Replay, Tape, Tapes};

/// Strong actions as measured (`research/optimizer.md` 4.1): nice 19, nice 10 in two runs, and the weakest that is strong.
const STRONG: [f64; 4] = [0.37, 0.40, 0.56, 0.65];

/// A strong action is to be decided within so many pairs (issue 4).
const STRONG_PAIRS: u32 = 12;

/// The weak action that must never be reversed.
const TEN_PERCENT: f64 = 0.90;

/// How it is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Replayed trials of nothing; as many of strong and of weak actions together.
    pub trials: u64,
    /// Live trials of nothing.
    pub live: u64,
    /// Live trials of nice across autogroups.
    pub cross: u64,
    /// How long each scene is recorded.
    pub record_for: Duration,
    /// Where the recording is written.
    pub record: Option<PathBuf>,
    /// A recording to use instead of a new one.
    pub replay: Option<PathBuf>,
    /// The seeded world.
    pub home: home::Size,
}

/// Verdicts of some trials.
#[derive(Clone, Debug, Default)]
struct Verdicts {
    /// Of live trials, those that did not end included.
    scenes: Vec<(String, Option<Ended>)>,
    all: Vec<Ended>,
    unended: u64,
}

/// Measures.
pub async fn run(tools: &Tools, plan: &Plan) -> Result<Value> {
    let report = Report::begin("truth");
    // The hive leaves programs alone that somebody has made nicer, and these would be.
    let nice = procs::stat(std::process::id()).map_or(0, |stat| stat.nice);
    ensure!(
        nice == 0,
        "start it at nice 0, not {nice}: its programs inherit that, and are then left alone"
    );
    let mut figures = Figures::new();
    let tapes = match &plan.replay {
        Some(file) => Tapes::read(file)?,
        None => record(tools, plan.record_for).await?,
    };
    if let Some(file) = &plan.record {
        tapes.write(file)?;
    }
    let (size, seed, trials) = (plan.home, plan.home.seed, plan.trials);
    let scenes: Vec<Value> = tapes.tapes.iter().map(described).collect();
    let replayed = tokio::task::spawn_blocking(move || replays(&tapes.tapes, trials, seed)).await?;
    let found = tokio::task::spawn_blocking(move || home::run(size)).await?;
    figures.put("tapes", scenes);
    for (key, value) in replayed {
        figures.put(key, value);
    }
    figures.put("discovery", found);
    live_figures(tools, plan, &mut figures).await?;
    Ok(report.end(figures))
}

async fn live_figures(tools: &Tools, plan: &Plan, figures: &mut Figures) -> Result<()> {
    if plan.live == 0 {
        figures.missing("live_aa", "not asked for: --live 20");
    } else {
        let verdicts = lived(tools, plan.live, Arm::Placebo, &Layouts::InTurn).await?;
        let wrong = verdicts.count(is_false);
        let trials = verdicts.all.len() as u64;
        figures.put(
            "live_aa",
            json!({
                "trials": trials,
                "false_verdicts": wrong,
                "upper_bound": upper_bound(wrong, trials),
                "confidence": 0.95,
                "unended": verdicts.unended,
                "verdicts": verdicts.counts(),
            }),
        );
    }
    if plan.cross == 0 {
        figures.missing("cross_autogroup", "not asked for: --cross 4");
    } else {
        let verdicts = lived(tools, plan.cross, Arm::Nice, &Layouts::Across).await?;
        let trials = verdicts.all.len() as u64;
        let honest = trials - verdicts.count(is_false);
        figures.put(
            "cross_autogroup",
            json!({
                "trials": trials,
                "honest_rate": share(honest, trials),
                "no_effect": verdicts.count(|ended| ended.verdict == Verdict::NoEffect),
                "unended": verdicts.unended,
                "each": verdicts.each(),
                "verdicts": verdicts.counts(),
            }),
        );
    }
    Ok(())
}

/// Which scenes live trials take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layouts {
    /// All four, one after the other.
    InTurn,
    /// Those with two sessions.
    Across,
}

const SCENES: [Cast; 4] = [
    (Front::Ticker, Load::Spinners, Layout::OtherSession),
    (Front::Ticker, Load::Compile, Layout::OtherSession),
    (Front::Ticker, Load::Spinners, Layout::SameSession),
    (Front::Ticker, Load::Compile, Layout::SameSession),
];

/// Beside the paced loop, whose rare waits across sessions differ too much from one second to the next for a verdict, a
/// program that waits in every turn.
const ACROSS: [Cast; 4] = [
    (Front::Ticker, Load::Spinners, Layout::OtherSession),
    (Front::Game, Load::Spinners, Layout::OtherSession),
    (Front::Ticker, Load::Compile, Layout::OtherSession),
    (Front::Game, Load::Compile, Layout::OtherSession),
];

async fn record(tools: &Tools, length: Duration) -> Result<Tapes> {
    let mut world = World::new(tools)?;
    let machine = world.machine("desk")?;
    let state = scene::state()?;
    let mut host = scene::host(state.path())?;
    let mut tapes = Vec::new();
    for cast in SCENES {
        let play = Play::open(&machine, &mut host, cast).await?;
        tapes.push(play.record(&mut host, length).await?);
    }
    Ok(Tapes::of(tapes))
}

async fn lived(tools: &Tools, trials: u64, arm: Arm, layouts: &Layouts) -> Result<Verdicts> {
    let mut world = World::new(tools)?;
    let machine = world.machine("desk")?;
    let state = scene::state()?;
    let mut host = scene::host(state.path())?;
    let scenes = match layouts {
        Layouts::InTurn => SCENES,
        Layouts::Across => ACROSS,
    };
    let mut verdicts = Verdicts::default();
    let mut dice = Dice::new(clock::boot_us());
    for (_, cast) in (0..trials).zip(scenes.iter().cycle()) {
        let play = Play::open(&machine, &mut host, *cast).await?;
        let ended = live::trial(&mut host, arm, dice.next_u64()).await?;
        eprintln!("hive-lab: {arm:?}, {}: {ended:?}", scene::name(*cast));
        verdicts.scenes.push((scene::name(*cast), ended));
        verdicts.add(ended);
        drop(play);
    }
    Ok(verdicts)
}

/// Trials on recorded windows: of nothing, of strong actions, of a weak one.
fn replays(tapes: &[Tape], trials: u64, seed: u64) -> Vec<(&'static str, Value)> {
    let mut each = Vec::new();
    let mut nothing = Verdicts::default();
    for (nth, tape) in tapes.iter().enumerate() {
        let of_this = Verdicts::replayed(
            tape,
            &[1.0],
            trials.div_ceil(tapes.len() as u64),
            seed + nth as u64,
        );
        let wrong = of_this.count(is_false);
        each.push(json!({
            "name": tape.name,
            "trials": of_this.all.len(),
            "false_verdicts": wrong,
            "rate": share(wrong, of_this.all.len() as u64),
            "verdicts": of_this.counts(),
        }));
        nothing.all.extend(of_this.all);
        nothing.unended += of_this.unended;
    }
    let few = (trials / 4).div_ceil(tapes.len() as u64);
    let (mut strong, mut weak) = (Vec::new(), Verdicts::default());
    for (nth, tape) in tapes.iter().enumerate() {
        let seed = seed.wrapping_add(0x1_0000 * (nth as u64 + 1));
        strong.push((tape, Verdicts::replayed(tape, &STRONG, few, seed)));
        weak.all
            .extend(Verdicts::replayed(tape, &[TEN_PERCENT], few, !seed).all);
    }
    let wrong = nothing.count(is_false);
    let count = nothing.all.len() as u64;
    vec![
        (
            "aa",
            json!({
                "trials": count,
                "false_verdicts": wrong,
                "rate": share(wrong, count),
                "upper_bound": upper_bound(wrong, count),
                "unended": nothing.unended,
                "verdicts": nothing.counts(),
                "tapes": each,
            }),
        ),
        ("strong", told_of_strong(&strong)),
        (
            "ten_percent",
            json!({
                "trials": weak.all.len(),
                "found": weak.count(|ended| ended.verdict == Verdict::Helps),
                "reversed": weak.count(|ended| ended.verdict == Verdict::Harms),
                "verdicts": weak.counts(),
            }),
        ),
    ]
}

/// Strong actions, where such were measured: nice decides within one session. Between sessions it does nothing at all; what
/// the trials would make of such ratios there, where a wait is rare and long, is told for each tape and counts for nothing.
fn told_of_strong(strong: &[(&Tape, Verdicts)]) -> Value {
    let helps = |ended: &Ended| ended.verdict == Verdict::Helps;
    let right_rate = |of: &Verdicts| {
        let right = of.count(|ended| helps(ended) && ended.pairs <= STRONG_PAIRS);
        share(right, of.all.len() as u64)
    };
    let mut counted = Verdicts::default();
    for (_, verdicts) in strong.iter().filter(|(tape, _)| tape.one_session) {
        counted.all.extend(verdicts.all.iter().copied());
    }
    let trials = counted.all.len() as u64;
    let mut pairs: Vec<f64> = counted
        .all
        .iter()
        .map(|ended| f64::from(ended.pairs))
        .collect();
    pairs.sort_by(f64::total_cmp);
    let each = strong.iter().map(|(tape, verdicts)| {
        json!({"name": tape.name, "counted": tape.one_session, "right_rate": right_rate(verdicts)})
    });
    json!({
        "trials": trials,
        "right_rate": right_rate(&counted),
        "right_ever_rate": share(counted.count(helps), trials),
        "pairs_p50": percentile(&pairs, 0.5),
        "pairs_p95": percentile(&pairs, 0.95),
        "verdicts": counted.counts(),
        "tapes": each.collect::<Vec<Value>>(),
    })
}

/// What a trial of nothing must not say.
fn is_false(ended: &Ended) -> bool {
    matches!(ended.verdict, Verdict::Helps | Verdict::Harms)
}

impl Verdicts {
    fn add(&mut self, ended: Option<Ended>) {
        match ended {
            Some(ended) => self.all.push(ended),
            None => self.unended += 1,
        }
    }

    /// So many trials on lives made of a tape's blocks, the true ratios in turn.
    fn replayed(tape: &Tape, ratios: &[f64], trials: u64, seed: u64) -> Self {
        let mut verdicts = Self::default();
        let mut dice = Dice::new(seed);
        for (_, ratio) in (0..trials).zip(ratios.iter().cycle()) {
            let truth = BTreeMap::from([(Action::BackgroundNice, ratio.ln())]);
            let mut stage = Stage::new(Replay::new(tape, dice.next_u64()), truth);
            verdicts.add(stage.trial(dice.next_u64()));
        }
        verdicts
    }

    fn count(&self, like: impl Fn(&Ended) -> bool) -> u64 {
        self.all.iter().filter(|ended| like(ended)).count() as u64
    }

    fn each(&self) -> Vec<Value> {
        let told = |(scene, ended): &(String, Option<Ended>)| match ended {
            Some(it) => {
                json!({"scene": scene, "verdict": it.verdict, "pairs": it.pairs, "ratio": it.ratio, "ci": it.ci})
            }
            None => {
                json!({"scene": scene, "verdict": null, "why": {"verdict": "the trial did not end"}})
            }
        };
        self.scenes.iter().map(told).collect()
    }

    fn counts(&self) -> Value {
        let of = |verdict| self.count(|ended| ended.verdict == verdict);
        json!({
            "helps": of(Verdict::Helps),
            "harms": of(Verdict::Harms),
            "no_effect": of(Verdict::NoEffect),
            "undecided": of(Verdict::Undecided),
        })
    }
}

/// A tape in figures: its length, and the spread of the pairs that its windows make.
fn described(tape: &Tape) -> Value {
    let seconds: f64 = tape.slices.iter().map(|slice| slice.us / 1e6).sum();
    // Ten slices are a window; two of them are left out after each as a wash-out.
    let waits: Vec<f64> = tape
        .slices
        .chunks(12)
        .filter_map(|chunk| {
            let window = chunk.get(2..12)?;
            let waited: f64 = window.iter().map(|slice| slice.waited_ns).sum();
            let wakeups: f64 = window.iter().map(|slice| slice.wakeups).sum();
            (wakeups > 0.0 && waited > 0.0).then(|| (waited / wakeups).ln())
        })
        .collect();
    let pairs: Vec<f64> = waits
        .chunks_exact(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    json!({
        "name": tape.name,
        "seconds": seconds,
        "wait_ms": crate::stats::mean(&waits).map(|ln| ln.exp() / 1e6),
        "pair_spread": deviation(&pairs),
    })
}

fn deviation(values: &[f64]) -> Option<f64> {
    let squares: Vec<f64> = values.iter().map(|value| value * value).collect();
    crate::stats::mean(&squares).map(f64::sqrt)
}

/// The exact upper bound (Clopper and Pearson 1934, one side, 95 %) of a rate of which `hits` of `trials` were seen.
fn upper_bound(hits: u64, trials: u64) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(hits, trials, middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability of at most `hits` of `trials` at this rate.
#[expect(clippy::cast_precision_loss, reason = "counts of trials")]
fn at_most(hits: u64, trials: u64, rate: f64) -> f64 {
    let mut term = trials as f64 * (1.0 - rate).ln();
    let mut sum = 0.0;
    for k in 0..=hits {
        sum += term.exp();
        term += ((trials - k) as f64 / (k + 1) as f64).ln() + (rate / (1.0 - rate)).ln();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_bound_is_that_of_the_tables() {
        // The rule of three, exactly: 1 - 0.05^(1/20).
        assert!((upper_bound(0, 20) - 0.139_1).abs() < 1e-4);
        assert!((upper_bound(1, 20) - 0.216_1).abs() < 1e-4);
        assert!((upper_bound(100, 2_000) - 0.058_8).abs() < 3e-4);
        assert!((upper_bound(3, 3) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_program_that_sleeps_now_and_then_by_itself_is_not_said_to_be_harmed() {
        let mut dice = Dice::new(9);
        let (mut left, mut asleep) = (0, false);
        let paced = made::Made::new(6, 0.2, 0.1).map(|slice| {
            if left == 0 {
                (left, asleep) = (10 + dice.below(30), dice.below(3) == 0);
            }
            left -= 1;
            let awake = if asleep { 0.0 } else { 1.0 };
            tape::Slice {
                wakeups: awake * slice.wakeups,
                waited_ns: awake * slice.waited_ns,
                ran_ns: awake * slice.ran_ns,
                ..slice
            }
        });
        let tape = Tape {
            name: "paced by a person".into(),
            one_session: true,
            slices: paced.take(3_000).collect(),
        };
        let nothing = Verdicts::replayed(&tape, &[1.0], 60, 4);
        assert!(nothing.all.len() >= 50, "{nothing:?}");
        // Three of sixty are the stated five per cent; without the exchange of arms (`ln_ratio`) almost all are harm.
        assert!(nothing.count(is_false) <= 3, "{:?}", nothing.counts());
    }

    #[test]
    fn rare_long_waits_are_not_taken_for_harm() {
        let mut dice = Dice::new(3);
        // As between two sessions: mostly no wait at all, and now and then one of some milliseconds.
        let bursts = made::Made::new(7, 0.2, 0.1).map(|slice| {
            let waited_ns = match dice.below(10) {
                0 => 4e6,
                _ => 3e4,
            };
            tape::Slice { waited_ns, ..slice }
        });
        let tape = Tape {
            name: "bursts".into(),
            one_session: false,
            slices: bursts.take(3_000).collect(),
        };
        let nothing = Verdicts::replayed(&tape, &[1.0], 60, 4);
        assert!(nothing.all.len() >= 50, "{nothing:?}");
        assert!(nothing.count(is_false) <= 3, "{:?}", nothing.counts());
    }

    #[test]
    fn a_replayed_strong_action_is_found_and_nothing_is_not() {
        let slices: Vec<tape::Slice> = made::Made::new(5, 0.2, 0.1).take(1_200).collect();
        let tape = Tape {
            name: "made".into(),
            one_session: true,
            slices,
        };
        let strong = Verdicts::replayed(&tape, &[0.4], 20, 1);
        assert!(
            strong.count(|ended| ended.verdict == Verdict::Helps) >= 19,
            "{strong:?}"
        );
        let nothing = Verdicts::replayed(&tape, &[1.0], 40, 2);
        assert_eq!(nothing.all.len(), 40);
        assert!(nothing.count(is_false) <= 4, "{:?}", nothing.counts());
    }
}
