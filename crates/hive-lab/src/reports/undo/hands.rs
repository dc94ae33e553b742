//! The processes that the report starts, kills and asks: a daemon's hands, a hostile daemon.

use std::io::{BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Step};
use hive_core::machine::facts::GroupId;
use hive_core::pattern::Action;
use hive_host::helper::{
    ANSWER_BYTES, Advice, Answer, Knob, REQUEST_BYTES, Request, Thread, Verb, socket,
};
use hive_host::{Acting, Host, HostConfig, OpenError, Recovery, Roots, Scope};

use crate::stats::Dice;

/// Requests that the hostile daemon sends between two looks at what became of them.
pub(super) const BATCH: usize = 500;

/// How long a daemon waits for the journal of a killed one (`hive-mind`, `hands.rs`).
const GUARDIAN_DONE: Duration = Duration::from_secs(5);

/// Where the hands work.
#[derive(clap::Args, Clone, Debug)]
pub struct HandsArgs {
    /// The state folder
    #[arg(long)]
    pub state: PathBuf,
    /// The folder with the helper's socket
    #[arg(long)]
    pub run: PathBuf,
    /// The leader of the session that may be touched
    #[arg(long)]
    pub tree: u32,
}

/// Opens a host as a daemon does, and does what it is told, line by line; it ends without a word when killed.
pub fn hands(args: &HandsArgs) -> Result<()> {
    let config = HostConfig {
        roots: Roots {
            run: args.run.clone(),
            ..Roots::default()
        },
        scope: Scope::Tree(args.tree),
        state: args.state.clone(),
        act: Acting::Yes,
    };
    let (mut host, recovery) = patiently(&config)?;
    say(&format!(
        "open {} {} {}",
        std::process::id(),
        u8::from(host.facts().rights.nice),
        recovery.failed
    ))?;
    let group = GroupId {
        session: args.tree,
        group: args.tree,
    };
    let step = |change, action| Step {
        change: ChangeId(change),
        action,
        units: Vec::new(),
        targets: vec![group],
    };
    for line in std::io::stdin().lock().lines() {
        let good = match line?.as_str() {
            "act" => is_on(&host.act(&step(1, Action::BackgroundNice)).outcome),
            "undo" => is_off(&host.undo(ChangeId(1)).outcome),
            "all" => host
                .undo_all()
                .iter()
                .all(|receipt| is_off(&receipt.outcome)),
            // Everything that a change goes through, of both kinds: by own rights and through the helper.
            "cycle" => {
                let on = is_on(&host.act(&step(2, Action::FinerSlice)).outcome)
                    && is_on(&host.act(&step(3, Action::BackgroundNice)).outcome);
                let off = is_off(&host.undo(ChangeId(3)).outcome)
                    && is_off(&host.undo(ChangeId(2)).outcome);
                on && off
            }
            other => bail!("no such order: {other}"),
        };
        say(if good { "done" } else { "failed" })?;
    }
    Ok(())
}

/// As a daemon does while the journal of a killed one is not free yet.
fn patiently(config: &HostConfig) -> Result<(Host, Recovery), OpenError> {
    let start = Instant::now();
    loop {
        match Host::open(config.clone()) {
            Err(OpenError::Busy) if start.elapsed() < GUARDIAN_DONE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn is_on(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. })
}

fn is_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Restored { .. })
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{line}")?;
    output.flush()?;
    Ok(())
}

/// Whom the hostile daemon asks about.
#[derive(clap::Args, Clone, Debug)]
pub struct HostileArgs {
    /// The folder with the helper's socket
    #[arg(long)]
    pub run: PathBuf,
    /// Where its chances come from
    #[arg(long)]
    pub seed: u64,
    /// Threads it knows of: PID:TID:START each
    #[arg(required = true)]
    pub threads: Vec<String>,
}

/// Asks for everything, allowed or not, in batches, one for each line it hears.
pub fn hostile(args: &HostileArgs) -> Result<()> {
    let threads: Vec<Thread> = args
        .threads
        .iter()
        .map(|text| thread(text))
        .collect::<Result<_>>()?;
    let path = socket(&args.run, rustix::process::geteuid().as_raw());
    let mut stream = UnixStream::connect(&path)?;
    let mut dice = Dice::new(args.seed);
    let (mut done, mut refused, mut failed) = (0_u64, 0_u64, 0_u64);
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut bytes = Vec::with_capacity(BATCH * REQUEST_BYTES);
        for _ in 0..BATCH {
            bytes.extend_from_slice(&request(&mut dice, &threads));
        }
        // In small lots: whoever does not read its answers is hung up on.
        for lot in bytes.chunks(REQUEST_BYTES * 50) {
            stream.write_all(lot)?;
            for _ in 0..lot.len() / REQUEST_BYTES {
                let mut answer = [0; ANSWER_BYTES];
                stream.read_exact(&mut answer)?;
                match Answer::decode(&answer)?.1 {
                    Answer::Done(_) => done += 1,
                    Answer::Refused(_) => refused += 1,
                    Answer::Failed(_) => failed += 1,
                }
            }
        }
        say(&format!("{done} {refused} {failed}"))?;
    }
    Ok(())
}

fn thread(text: &str) -> Result<Thread> {
    let numbers: Vec<u64> = text
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("PID:TID:START")?;
    ensure!(numbers.len() == 3, "PID:TID:START");
    Ok(Thread {
        pid: u32::try_from(numbers[0])?,
        tid: u32::try_from(numbers[1])?,
        start: numbers[2],
    })
}

/// Mostly well-formed, about threads that there are; now and then with a flipped bit, or noise.
fn request(dice: &mut Dice, threads: &[Thread]) -> [u8; REQUEST_BYTES] {
    const VALUES: [i64; 28] = [
        -20,
        -19,
        -5,
        -1,
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        10,
        11,
        19,
        20,
        39,
        50_000,
        99_999,
        100_000,
        3_000_000,
        20_000_000,
        20_000_001,
        50_000_000,
        1 << 13 | 4,
        2 << 13 | 3,
        2 << 13 | 7,
        3 << 13,
    ];
    let mut thread = threads[dice.below(threads.len())];
    match dice.below(20) {
        0 => thread.start += 1,
        1 => thread.pid = threads[dice.below(threads.len())].pid,
        2 => thread.tid = threads[dice.below(threads.len())].tid,
        _ => {}
    }
    let knob = Knob::ALL[dice.below(Knob::ALL.len())];
    let value = match dice.below(8) {
        0 => dice.next_u64().cast_signed(),
        _ => VALUES[dice.below(VALUES.len())],
    };
    let verb = match dice.below(40) {
        0 => Verb::Settle,
        1 | 2 => Verb::Renew,
        3 => Verb::Advise {
            advice: Advice::Cold,
            thread,
            bytes: value,
        },
        4..12 => Verb::Restore { knob, thread },
        _ => Verb::Set {
            knob,
            thread,
            value,
        },
    };
    let number = u32::try_from(dice.below(1 << 20)).unwrap_or(0);
    let mut bytes = Request { number, verb }.encode();
    match dice.below(16) {
        0 => bytes[dice.below(REQUEST_BYTES)] ^= 1 << dice.below(8),
        1 => bytes.fill_with(|| dice.next_u64().to_le_bytes()[0]),
        _ => {}
    }
    bytes
}
