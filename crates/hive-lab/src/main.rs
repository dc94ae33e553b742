//! `hive-lab`: one command per report; `--json` for machines, a table for people.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use hive_lab::programs::{Front, browser, build, language};
use hive_lab::world::Tools;
use hive_lab::{hidden, report, reports, stranger, work};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// Measures the real program: real daemons, real networks (in namespaces), real workloads.
#[derive(Debug, Parser)]
#[command(name = "hive-lab", version, about)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Discovery, joining, sync and the cost of being idle on one network
    Lan(LanArgs),
    /// The network misbehaves, machines sleep and move, processes are killed, strangers shout
    Faults(FaultsArgs),
    /// Members of an older program and of this one in one hive, in both directions
    Mixed(MixedArgs),
    /// What the signed maps cost to send, to check and to catch up with, beside other engines
    Store(StoreArgs),
    /// A whole day's bytes of each member, with real daemons whose clocks run faster
    Bytes(BytesArgs),
    /// One machine proves an action, a second has it at once; undo and kill -9
    MainJob(FormatArgs),
    /// Programs the hive was not told of time themselves, hive on against paused
    Offstage(OffstageArgs),
    /// What the daemon takes from a machine with many processes
    Cost(CostArgs),
    /// Daemon, helper and both are killed at every step; a hostile daemon asks the helper for everything
    Undo(UndoArgs),
    /// What each action does, beside nothing, another tool's types, and the daemon's own choice
    Effects(EffectsArgs),
    /// Whether trials can fool themselves: recorded windows replayed, a seeded world, live trials of nothing
    Truth(TruthArgs),
    /// Searches packets, store, logs and answers for planted names
    Canary(FormatArgs),
    /// Keeps namespaces alive
    #[command(name = "__hold", hide = true)]
    Hold { host_name: Option<String> },
    /// Leads a terminal session
    #[command(name = "__session", hide = true)]
    Session {
        #[arg(long)]
        foreground: Option<String>,
        #[arg(long)]
        background: Option<String>,
    },
    /// Shouts at a hive it does not belong to
    #[command(name = "__stranger", hide = true)]
    Stranger {
        #[arg(long)]
        target: SocketAddr,
        #[arg(long)]
        handshakes: u64,
        #[arg(long)]
        records: u64,
        #[arg(long)]
        seconds: u64,
    },
    /// A daemon's hands, to be killed
    #[command(name = "__undo-hands", hide = true)]
    UndoHands(reports::undo::hands::HandsArgs),
    /// A daemon that asks the helper for everything
    #[command(name = "__undo-hostile", hide = true)]
    UndoHostile(reports::undo::hands::HostileArgs),
    /// Wakes every 5 ms and times itself
    #[command(name = "__ticker", hide = true)]
    Ticker { out: PathBuf },
    /// Works in two threads 60 times a second and times itself
    #[command(name = "__game", hide = true)]
    Game { out: PathBuf },
    /// Paints 60 pictures a second and times itself
    #[command(name = "__painter", hide = true)]
    Painter { out: PathBuf },
    /// Runs a browser whose page times itself
    #[command(name = "__browser", hide = true)]
    Browser { folder: PathBuf, out: PathBuf },
    /// Types to a language server and times its answers
    #[command(name = "__language_client", hide = true)]
    LanguageClient { folder: PathBuf, out: PathBuf },
    /// Builds again and again and times each build
    #[command(name = "__builder", hide = true)]
    Builder { folder: PathBuf, out: PathBuf },
    /// Holds memory, and touches it when told to
    #[command(name = "__memory", hide = true)]
    Memory { megabytes: u64 },
}

#[derive(Args, Clone, Copy, Debug)]
struct FormatArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Copy, Debug)]
struct LanArgs {
    /// How many machines
    #[arg(long, default_value_t = 5)]
    nodes: u8,
    /// How long nothing is done, in seconds. From 600 on, `idle_bytes_per_hour` is the measured bytes scaled to an
    /// hour (900 is a good choice); below, it is null and `idle_bytes_per_hour_model` is a model's estimate
    #[arg(long, default_value_t = 124)]
    idle_s: u64,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Debug)]
struct FaultsArgs {
    /// Only this case, or `kill9`, or `flood`
    #[arg(long)]
    only: Option<String>,
    /// Where the network's chances come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many machines
    #[arg(long, default_value_t = 5)]
    nodes: u8,
    /// New entries in each case
    #[arg(long, default_value_t = 60)]
    entries: usize,
    /// How long a daemon sleeps, in seconds
    #[arg(long, default_value_t = 120)]
    sleep_s: u64,
    /// How long one direction is cut, in seconds
    #[arg(long, default_value_t = 20)]
    cut_s: u64,
    /// How often a daemon is killed
    #[arg(long, default_value_t = 500)]
    restarts: usize,
    /// How often a daemon is killed that has a peer
    #[arg(long, default_value_t = 50)]
    restarts_with_peer: usize,
    /// How long strangers shout, in seconds
    #[arg(long, default_value_t = 60)]
    flood_s: u64,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Debug)]
struct MixedArgs {
    /// The older program: an executable `hive` of an earlier commit. Without it the report says how to get one
    #[arg(long, value_name = "PATH")]
    old_hive: Option<PathBuf>,
    /// New entries in each step that says any
    #[arg(long, default_value_t = 20)]
    entries: usize,
    /// How long the bytes of doing nothing are counted, in seconds
    #[arg(long, default_value_t = 60)]
    watch_s: u64,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Copy, Debug)]
struct StoreArgs {
    /// Patterns that the hive knows
    #[arg(long, default_value_t = 10_000)]
    patterns: usize,
    /// Their authors
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(2..))]
    authors: u8,
    /// Start no daemons: `fresh_member_ms` is then null
    #[arg(long)]
    no_daemons: bool,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Copy, Debug)]
struct BytesArgs {
    /// How many members
    #[arg(long, default_value_t = 5)]
    nodes: u8,
    /// How many times faster the members' clocks run
    #[arg(long, default_value_t = 144)]
    time_factor: u32,
    /// How many hours of the members' clocks
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=240))]
    hours: u64,
    #[command(flatten)]
    format: FormatArgs,
}

impl BytesArgs {
    fn plan(&self) -> reports::bytes::Plan {
        reports::bytes::Plan {
            window_s: self.hours * 3_600,
            ..reports::bytes::Plan::day(self.nodes, self.time_factor)
        }
    }
}

impl StoreArgs {
    fn plan(self) -> reports::store::Plan {
        reports::store::Plan {
            patterns: self.patterns,
            authors: self.authors,
            daemons: !self.no_daemons,
            ..reports::store::Plan::default()
        }
    }
}

impl MixedArgs {
    fn plan(&self) -> reports::mixed::Plan {
        reports::mixed::Plan {
            old_hive: self.old_hive.clone(),
            entries: self.entries,
            watch: Duration::from_secs(self.watch_s),
        }
    }
}

impl FaultsArgs {
    fn plan(&self) -> reports::faults::Plan {
        reports::faults::Plan {
            only: self.only.clone(),
            seed: self.seed,
            nodes: self.nodes,
            entries: self.entries,
            sleep_s: self.sleep_s,
            cut_s: self.cut_s,
            restarts: self.restarts,
            restarts_with_peer: self.restarts_with_peer,
            flood_s: self.flood_s,
        }
    }
}

#[derive(Args, Clone, Copy, Debug)]
struct CostArgs {
    /// Idle processes beside the daemon
    #[arg(long, default_value_t = 1_000)]
    processes: usize,
    /// Length of each window, in seconds
    #[arg(long, default_value_t = 60)]
    window_s: u64,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Debug)]
struct EffectsArgs {
    /// Blocks per case; each holds every arm once (about 30 s)
    #[arg(long, default_value_t = 12)]
    blocks: usize,
    /// Length of each window, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    window_ms: u64,
    /// How long the daemon may learn before, per case, in seconds: three candidates, a minute's rest between them
    #[arg(long, default_value_t = 420)]
    learn_s: u64,
    /// Only this case (`spinners_same_session`, `spinners_other_session`, `compile_same_session`,
    /// `compile_other_session`), or `memory`
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Debug)]
struct TruthArgs {
    /// Replayed trials of nothing; a quarter as many of strong and of weak actions
    #[arg(long, default_value_t = 2_000)]
    trials: u64,
    /// Live trials of nothing, up to 150 s each
    #[arg(long, default_value_t = 0)]
    live: u64,
    /// Live trials of nice across autogroups, up to 150 s each
    #[arg(long, default_value_t = 0)]
    cross: u64,
    /// How long each of four scenes is recorded, in seconds
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(15..))]
    record_s: u64,
    /// Write the recording to this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Replay this recording instead of making one
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Machines of the seeded world, with 30 programs and two rounds of trials each
    #[arg(long, default_value_t = 50)]
    machines: u64,
    /// Where all chance comes from but that of live trials
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    format: FormatArgs,
}

impl TruthArgs {
    fn plan(&self) -> reports::truth::Plan {
        reports::truth::Plan {
            trials: self.trials,
            live: self.live,
            cross: self.cross,
            record_for: Duration::from_secs(self.record_s),
            record: self.record.clone(),
            replay: self.replay.clone(),
            home: reports::truth::home::Size {
                machines: self.machines,
                programs: 30,
                rounds: 2,
                seed: self.seed,
            },
        }
    }
}

#[derive(Args, Clone, Copy, Debug)]
struct UndoArgs {
    /// At least so many kills
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Changes and restorations of a job that forks all the time
    #[arg(long, default_value_t = 100)]
    storms: usize,
    /// Hostile requests to the helper
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Clone, Debug)]
struct OffstageArgs {
    /// What somebody waits for: the paced loop beside a build of C files (and on a second machine after sync), the others
    /// beside `cargo build`, a build in front beside loops in the background (a window must hold a whole build: 6 s on two cores)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ticker")]
    programs: Vec<Front>,
    /// Alternations of hive on and paused, per case
    #[arg(long, default_value_t = 10)]
    alternations: usize,
    /// Length of each window, in seconds
    #[arg(long, default_value_t = 4)]
    window_s: u64,
    /// How long the hive may learn before, in seconds
    #[arg(long, default_value_t = 90)]
    learn_s: u64,
    #[command(flatten)]
    format: FormatArgs,
}

fn main() -> ExitCode {
    match run(Cli::parse().what) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hive-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<ExitCode> {
    match what {
        What::Hold { host_name } => hidden::hold(host_name.as_deref())?,
        What::Session {
            foreground,
            background,
        } => return hidden::session(foreground.as_deref(), background.as_deref()),
        What::Ticker { out } => work::tick(&out)?,
        What::Game { out } => work::play(&out)?,
        What::Painter { out } => work::paint(&out)?,
        What::Browser { folder, out } => browser::watch(&folder, &out)?,
        What::LanguageClient { folder, out } => language::type_on(&folder, &out)?,
        What::Builder { folder, out } => build::build_on(&folder, &out)?,
        What::UndoHands(args) => reports::undo::hands::hands(&args)?,
        What::UndoHostile(args) => reports::undo::hands::hostile(&args)?,
        What::Memory { megabytes } => reports::effects::memory::hold(megabytes)?,
        What::Stranger {
            target,
            handshakes,
            records,
            seconds,
        } => {
            let shout = stranger::Shout {
                target,
                handshakes,
                records,
                seconds,
            };
            return measure(
                async { Ok(serde_json::to_value(stranger::run(shout).await?)?) },
                FormatArgs { json: true },
            );
        }
        report => return tell(report),
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(report: What) -> Result<ExitCode> {
    let tools = Tools::beside_this_program()?;
    match report {
        What::Lan(args) => {
            let plan = reports::lan::Plan {
                nodes: args.nodes,
                idle_s: args.idle_s,
                entries: reports::lan::ENTRIES,
            };
            measure(reports::lan::run(&tools, plan), args.format)
        }
        What::Faults(args) => measure(reports::faults::run(&tools, &args.plan()), args.format),
        What::Mixed(args) => measure(reports::mixed::run(&tools, &args.plan()), args.format),
        What::Store(args) => measure(reports::store::run(&tools, args.plan()), args.format),
        What::Bytes(args) => measure(reports::bytes::run(&tools, args.plan()), args.format),
        What::MainJob(format) => measure(reports::main_job::run(&tools), format),
        What::Offstage(args) => {
            let plan = reports::offstage::Plan {
                alternations: args.alternations,
                window_s: args.window_s,
                learn_s: args.learn_s,
            };
            let told = reports::offstage::run(&tools, plan, &args.programs);
            measure(told, args.format)
        }
        What::Cost(args) => {
            let plan = reports::cost::Plan {
                processes: args.processes,
                window: Duration::from_secs(args.window_s),
            };
            measure(reports::cost::run(&tools, plan), args.format)
        }
        What::Undo(args) => {
            let plan = reports::undo::Plan {
                kills: args.kills,
                storms: args.storms,
                requests: args.requests,
            };
            measure(reports::undo::run(&tools, plan), args.format)
        }
        What::Effects(args) => {
            let plan = reports::effects::Plan {
                blocks: args.blocks,
                window: Duration::from_millis(args.window_ms),
                learn: Duration::from_secs(args.learn_s),
                only: args.only,
            };
            measure(reports::effects::run(&tools, &plan), args.format)
        }
        What::Truth(args) => measure(reports::truth::run(&tools, &args.plan()), args.format),
        What::Canary(format) => measure(reports::canary::run(&tools), format),
        What::Hold { .. }
        | What::Session { .. }
        | What::Ticker { .. }
        | What::Game { .. }
        | What::Painter { .. }
        | What::Browser { .. }
        | What::LanguageClient { .. }
        | What::Builder { .. }
        | What::UndoHands(_)
        | What::UndoHostile(_)
        | What::Memory { .. }
        | What::Stranger { .. } => {
            bail!("that is no report")
        }
    }
}

/// Runs a report to its end, or drops it (and with it everything it made) when the person has had enough.
fn measure(report: impl Future<Output = Result<Value>>, format: FormatArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let report = tokio::select! {
            report = report => report?,
            _ = terminate.recv() => return Ok(ExitCode::from(143)),
            _ = interrupt.recv() => return Ok(ExitCode::from(130)),
        };
        if format.json {
            println!("{report}");
        } else {
            println!("{}", report::table(&report));
        }
        Ok(ExitCode::SUCCESS)
    })
}
