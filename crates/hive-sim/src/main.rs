//! Tells stories and lives scenarios for many seeds and says how they ended: 0 well, 127 crash, 128 never finished,
//! 129 wrong; 2 when it was asked for something that there is not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use hive_sim::day;
use hive_sim::report::{Report, ShortestLine};
use hive_sim::scenario::shrink::shrink;
use hive_sim::scenario::{self, Cut, Scenario, file, run};
use hive_sim::stories::{ALL, Failure, Outcome, Story};
use hive_sim::ways::Ways;

/// A seeded world for Hive Mind's core.
#[derive(Debug, Parser)]
#[command(name = "hive-sim", version)]
struct Args {
    /// How many seeds each story is told with.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this story, and no scenario.
    #[arg(long)]
    story: Option<String>,
    /// Only this scenario, and no story.
    #[arg(long, conflicts_with = "story")]
    scenario: Option<String>,
    /// All scenarios with all their lives: a thousand node-years. Without it the short ones are lived once.
    #[arg(long, conflicts_with_all = ["story", "scenario"])]
    full: bool,
    /// So many lives of each scenario.
    #[arg(long)]
    lives: Option<u64>,
    /// Scenarios of this file instead of the shipped ones.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Fewer members.
    #[arg(long)]
    members: Option<u64>,
    /// Fewer hours.
    #[arg(long)]
    hours: Option<u64>,
    /// Without these kinds of faults and lies, and of `strangers`, `thieves`, `liars`, `results`.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Do not look for the shortest life that fails in the same way.
    #[arg(long)]
    no_shrink: bool,
    /// Nothing of all that: the bytes of one day, in a hive of so many members
    #[arg(long, value_name = "MEMBERS", conflicts_with_all = ["story", "scenario", "full"], value_parser = clap::value_parser!(u64).range(2..=256))]
    day: Option<u64>,
    /// How long frames are on their way in that day: points that divide all ways into equal parts, in microseconds
    #[arg(long, value_name = "US,US,..", requires = "day")]
    ways_us: Option<Ways>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One life to be lived.
#[derive(Clone, Copy)]
enum Life<'a> {
    Story(&'a Story),
    Scenario(&'a Scenario),
}

/// Lives are independent of each other, so two cores live them side by side.
const THREADS: usize = 2;

/// Of so many seeds one life is lived twice, the first of them always: stories, which are short.
const REPEAT_EVERY: u64 = 10;

/// The same for scenarios: `research/security.md` 5.
const REPEAT_SCENARIO_EVERY: u64 = 50;

/// Members times hours above which a life is not lived twice: minutes for nothing new.
const REPEAT_MAX: u64 = 20_000;

/// After this time nothing more is tried to make failing lives shorter, and a life is begun for it only if it lasted
/// less than a tenth of that. A failing month of a hundred members held up a whole run for more than half an hour; the
/// command that is printed for it shrinks it alone, as long as it takes.
const SHRINKING: Duration = Duration::from_mins(2);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(nodes) = args.day {
        return a_day(nodes, args.seed.unwrap_or(1), args.ways_us);
    }
    let began = Instant::now();
    let scenarios = match scenarios(&args) {
        Ok(scenarios) => scenarios,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let cut = Cut {
        without: args.without.iter().cloned().collect(),
        members: args.members,
        hours: args.hours,
    };
    let lives = match lives(&args, &scenarios) {
        Ok(lives) => lives,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let mut told = live(&lives, &cut);
    if !args.no_shrink {
        shorten(&scenarios, &cut, args.scenario.is_some(), &mut told);
    }
    let twice: Vec<bool> = told.iter().filter_map(|lived| lived.same).collect();
    let outcomes: Vec<Outcome> = told.into_iter().map(|lived| lived.outcome).collect();
    let repeats = (twice.len() as u64, twice.iter().all(|same| *same));
    let seconds = began.elapsed().as_secs_f64();
    let seeds = if args.seed.is_some() { 1 } else { args.seeds };
    let report = Report::new(&outcomes, &scenarios, seeds, seconds, repeats);
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("the report cannot be printed: {error}"),
        }
    } else {
        println!("{}", report.table());
    }
    let worst = outcomes
        .iter()
        .filter_map(|o| o.failure.as_ref())
        .map(Failure::exit_code);
    // A life that differs from itself is wrong whatever its end.
    let differs = (!repeats.1).then_some(129);
    let claims = report.truth.claims_too_much.then_some(129);
    let worst = worst.chain(differs).chain(claims).max();
    ExitCode::from(worst.unwrap_or_default())
}

/// Lives one day and prints what it cost, as JSON: `hive-lab bytes` reads it.
fn a_day(nodes: u64, seed: u64, ways: Option<Ways>) -> ExitCode {
    match day::live(nodes, seed, ways) {
        Ok(day) => match serde_json::to_string_pretty(&day) {
            Ok(json) => {
                println!("{json}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("the report cannot be printed: {error}");
                ExitCode::FAILURE
            }
        },
        Err(failure) => {
            eprintln!("{}", failure.words());
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The scenarios that are asked for, or why there are none.
fn scenarios(args: &Args) -> Result<Vec<Scenario>, String> {
    if args.story.is_some() {
        return Ok(Vec::new());
    }
    let (place, found) = match &args.file {
        None => ("scenarios.toml".to_owned(), file::shipped()),
        Some(path) => {
            let place = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{place} cannot be read: {}", error.kind()))?;
            (place, file::read(&text))
        }
    };
    let mut found = found.map_err(|error| format!("{place}, {error}"))?;
    let names: Vec<String> = found.iter().map(|it| it.name.clone()).collect();
    match &args.scenario {
        Some(name) => found.retain(|it| it.name == *name),
        None => found.retain(|it| args.full || it.short),
    }
    if found.is_empty() && args.scenario.is_some() {
        let names = names.join(", ");
        return Err(format!("there is no such scenario; there are: {names}"));
    }
    let parts: Vec<String> = found.iter().flat_map(Scenario::parts).collect();
    match args.without.iter().find(|name| !parts.contains(name)) {
        Some(name) => Err(format!("there is no {name} to leave out")),
        None => Ok(found),
    }
}

/// All lives, the longest first, so that no core waits for the other at the end.
fn lives<'a>(args: &Args, scenarios: &'a [Scenario]) -> Result<Vec<(Life<'a>, u64)>, String> {
    let wanted = |story: &&'static Story| match &args.story {
        Some(name) => *name == story.name,
        None => args.scenario.is_none(),
    };
    let stories: Vec<&Story> = ALL.iter().filter(wanted).collect();
    if stories.is_empty() && args.story.is_some() {
        let names: Vec<&str> = ALL.iter().map(|story| story.name).collect();
        let names = names.join(", ");
        return Err(format!("there is no such story; there are: {names}"));
    }
    let seeds = |count: u64| match args.seed {
        Some(seed) => seed..=seed,
        None => 1..=count,
    };
    let mut lives = Vec::new();
    let mut long_first: Vec<&Scenario> = scenarios.iter().collect();
    // Coming together, everybody learns everybody's map and sees the hive anew at each: the cube of the members.
    let work = |it: &Scenario| it.members.pow(3) + it.members * it.hours;
    long_first.sort_by_key(|it| std::cmp::Reverse(work(it)));
    for scenario in long_first {
        let whole = args.full || args.scenario.is_some();
        let count = args.lives.unwrap_or(if whole { scenario.lives } else { 1 });
        lives.extend(seeds(count).map(|seed| (Life::Scenario(scenario), seed)));
    }
    for seed in seeds(args.seeds) {
        lives.extend(stories.iter().map(|story| (Life::Story(story), seed)));
    }
    Ok(lives)
}

impl Life<'_> {
    fn live(self, seed: u64, cut: &Cut) -> Outcome {
        match self {
            Self::Story(story) => story.run(seed),
            Self::Scenario(scenario) => run::live(scenario, seed, cut),
        }
    }

    /// Whether it is lived twice, to see that the second is the same.
    fn repeats(self, seed: u64) -> bool {
        match self {
            Self::Story(_) => seed % REPEAT_EVERY == 1,
            Self::Scenario(scenario) => {
                seed % REPEAT_SCENARIO_EVERY == 1 && scenario.members * scenario.hours <= REPEAT_MAX
            }
        }
    }
}

/// A life that was lived.
struct Lived {
    nth: usize,
    outcome: Outcome,
    /// If it was lived twice: whether the second life was the same as the first.
    same: Option<bool>,
    took: Duration,
}

/// Lives all lives, in the order of the list whatever thread lived which.
fn live(lives: &[(Life<'_>, u64)], cut: &Cut) -> Vec<Lived> {
    let next = AtomicUsize::new(0);
    let mut told = std::thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                let Some((life, seed)) = lives.get(nth) else {
                    return mine;
                };
                let began = Instant::now();
                let outcome = life.live(*seed, cut);
                let took = began.elapsed();
                let same = life
                    .repeats(*seed)
                    .then(|| life.live(*seed, cut).trace == outcome.trace);
                mine.push(Lived {
                    nth,
                    outcome,
                    same,
                    took,
                });
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let joined = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a life is caught when it panics"));
        joined.collect::<Vec<_>>()
    });
    told.sort_by_key(|lived| lived.nth);
    told
}

/// Looks for the shortest form of the first failing life of each scenario; `patient` = however long that takes.
fn shorten(scenarios: &[Scenario], cut: &Cut, patient: bool, told: &mut [Lived]) {
    let began = Instant::now();
    for scenario in scenarios {
        let failed = |it: &&mut Lived| {
            let it = &it.outcome;
            it.story == scenario.name && it.failure.is_some()
        };
        let Some(lived) = told.iter_mut().find(failed) else {
            continue;
        };
        if !patient && lived.took > SHRINKING / 10 {
            continue;
        }
        let outcome = &mut lived.outcome;
        let seed = outcome.seed;
        let again = |cut: &Cut| {
            let on = patient || began.elapsed() < SHRINKING;
            on.then(|| run::live(scenario, seed, cut))
        };
        let shrunk = shrink(scenario, cut, outcome.clone(), again);
        let what = shrunk.outcome.failure.as_ref().map_or("", Failure::words);
        outcome.shortest = Some(ShortestLine {
            replay: scenario::replay(&scenario.name, seed, &shrunk.cut),
            what: what.to_owned(),
            tries: shrunk.tries,
        });
    }
}
