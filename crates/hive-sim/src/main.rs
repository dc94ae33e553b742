//! Runs all stories for many seeds and says how they ended: 0 well, 127 crash, 128 never finished, 129 wrong.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;
use hive_sim::report::Report;
use hive_sim::stories::{ALL, Failure, Outcome, Story};

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
    /// Only this story.
    #[arg(long)]
    story: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Lives are independent of each other, so two cores live them side by side.
const THREADS: usize = 2;

/// Of so many seeds one life is lived twice, the first of them always.
const REPEAT_EVERY: u64 = 10;

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    let wanted = |story: &&Story| args.story.as_deref().is_none_or(|name| name == story.name);
    let stories: Vec<&Story> = ALL.iter().filter(wanted).collect();
    if stories.is_empty() {
        let names: Vec<&str> = ALL.iter().map(|story| story.name).collect();
        eprintln!("there is no such story; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let seeds: Vec<u64> = match args.seed {
        Some(seed) => vec![seed],
        None => (1..=args.seeds).collect(),
    };
    let lives: Vec<(&Story, u64)> = seeds
        .iter()
        .flat_map(|seed| stories.iter().map(|story| (*story, *seed)))
        .collect();
    let told = live(&lives);
    let outcomes: Vec<Outcome> = told.iter().map(|(outcome, _)| outcome.clone()).collect();
    let twice: Vec<bool> = told.iter().filter_map(|(_, same)| *same).collect();
    let repeats = (twice.len() as u64, twice.iter().all(|same| *same));
    let seconds = began.elapsed().as_secs_f64();
    let report = Report::new(&outcomes, seeds.len() as u64, seconds, repeats);
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
    ExitCode::from(worst.chain(differs).max().unwrap_or_default())
}

/// Lives all lives, in the order of the list whatever thread lived which. With some: whether the second life was the
/// same as the first.
fn live(lives: &[(&Story, u64)]) -> Vec<(Outcome, Option<bool>)> {
    let next = AtomicUsize::new(0);
    let mut told = std::thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                let Some((story, seed)) = lives.get(nth) else {
                    return mine;
                };
                let outcome = story.run(*seed);
                let same =
                    (seed % REPEAT_EVERY == 1).then(|| story.run(*seed).trace == outcome.trace);
                mine.push((nth, outcome, same));
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let joined = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a life is caught when it panics"));
        joined.collect::<Vec<_>>()
    });
    told.sort_by_key(|(nth, _, _)| *nth);
    told.into_iter()
        .map(|(_, outcome, same)| (outcome, same))
        .collect()
}
