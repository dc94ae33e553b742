//! `cost`: what the daemon takes from a machine with many processes, at rest and during a trial, beside what two
//! well-known crates take for a full look at the same processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hive_core::machine::observe::LOOK_CALM;
use hive_mind::Client;
use hive_mind::reply::Mode;
use serde_json::{Value, json};

use crate::procs;
use crate::report::{Figures, Report};
use crate::reports::scene::{Layout, Names, Scene};
use crate::reports::store::peers;
use crate::world::daemon::{Daemon, Start, until};
use crate::world::{Machine, Tools, World};

/// How long the daemon and the processes are left alone before it is measured.
const SETTLE: Duration = Duration::from_secs(10);

/// How many scans by each crate; the median is told.
const SCANS: usize = 15;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Idle processes beside the daemon.
    pub processes: usize,
    /// Length of each window.
    pub window: Duration,
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: Plan) -> Result<Value> {
    let report = Report::begin("cost");
    let mut figures = Figures::new();
    let mut world = World::new(tools)?;
    let machine = world.machine("desk")?;
    let crowd = Crowd::gather(&machine, plan.processes).await?;
    figures.put("processes", machine.processes().len());
    let daemon = machine
        .start_daemon(Start {
            label: None,
            mode: Mode::Auto,
            log: "info",
        })
        .await?;
    tokio::time::sleep(SETTLE).await;
    let rest = spend(&machine, plan.window).await?;
    figures.put("cpu_percent_rest", rest.cpu_percent);
    figures.put("wakeups_per_s", rest.wakeups_per_s);
    trial(&machine, &daemon, plan.window, &mut figures).await?;
    figures.put("rss_mb", memory(&machine));
    figures.put("rss_mb_each", memory_of_each(&machine));
    let files = programs(&machine).into_iter().map(procs::open_proc_files);
    figures.put("open_proc_files", files.sum::<usize>());
    compare(&machine, rest.cpu_percent, &mut figures)?;
    figures.put(
        "note",
        "of one core; the daemon and its guardian together, whatever else ran on the machine. Beside rss_mb, each of \
         open_proc_files holds a page (4 KiB) of the kernel's memory",
    );
    daemon.stop().await?;
    drop(crowd);
    Ok(report.end(figures))
}

/// Idle processes, which end with this.
struct Crowd {
    shell: Child,
}

impl Crowd {
    async fn gather(machine: &Machine, count: usize) -> Result<Self> {
        ensure!(
            count <= 20_000,
            "a machine has at most 20000 processes here"
        );
        let before = machine.processes().len();
        let script =
            format!("n={count}; while [ $n -gt 0 ]; do sleep 1000000 & n=$((n-1)); done; wait");
        let mut command = machine.command(Path::new("sh"));
        command.args(["-c", &script]).stdin(Stdio::null());
        let shell = command.spawn().context("no shell")?;
        let crowd = Self { shell };
        until("all processes are there", async || {
            Ok((machine.processes().len() > before + count).then_some(()))
        })
        .await?;
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let mut all = BTreeSet::from([self.shell.id()]);
        let mut fresh: Vec<u32> = all.iter().copied().collect();
        while let Some(pid) = fresh.pop() {
            fresh.extend(procs::children(pid).unwrap_or_default());
            all.extend(&fresh);
        }
        procs::kill_all(&all.into_iter().collect::<Vec<u32>>());
        if let Err(error) = self.shell.wait() {
            eprintln!("hive-lab: the shell of the crowd: {error}");
        }
    }
}

/// What was used in a window.
struct Spent {
    cpu_percent: f64,
    wakeups_per_s: f64,
}

async fn spend(machine: &Machine, window: Duration) -> Result<Spent> {
    let before = used(machine)?;
    let began = Instant::now();
    tokio::time::sleep(window).await;
    let seconds = began.elapsed().as_secs_f64();
    let after = used(machine)?;
    ensure!(
        before.programs == after.programs,
        "the daemon or its guardian was replaced"
    );
    let gone = |(tid, count): (&u32, &u64)| {
        let before = before.wakeups.get(tid).copied().unwrap_or(0);
        count.saturating_sub(before)
    };
    #[expect(clippy::cast_precision_loss, reason = "wake-ups of a minute")]
    let woken = after.wakeups.iter().map(gone).sum::<u64>() as f64;
    Ok(Spent {
        cpu_percent: (after.cpu_s - before.cpu_s) / seconds * 100.0,
        wakeups_per_s: woken / seconds,
    })
}

/// What the daemon and its guardian have used so far.
struct Used {
    programs: Vec<u32>,
    cpu_s: f64,
    /// By thread. What a thread was woken that ended meanwhile is not seen.
    wakeups: BTreeMap<u32, u64>,
}

fn used(machine: &Machine) -> Result<Used> {
    let programs = programs(machine);
    let cpu: Option<Vec<f64>> = programs
        .iter()
        .map(|pid| procs::cpu_seconds(*pid))
        .collect();
    let wakeups = programs.iter().flat_map(|pid| procs::wakeups(*pid));
    Ok(Used {
        cpu_s: cpu.context("/proc told nothing")?.iter().sum(),
        wakeups: wakeups.collect(),
        programs,
    })
}

/// The processes of the program under test on this machine.
fn programs(machine: &Machine) -> Vec<u32> {
    let name = machine.tools().hive.file_name();
    let mut all = machine.processes();
    all.retain(|pid| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        exe.as_deref().and_then(Path::file_name) == name
    });
    all.sort_unstable();
    all
}

fn memory_of_each(machine: &Machine) -> Vec<f64> {
    let each = programs(machine).into_iter();
    each.filter_map(procs::resident_mb).collect()
}

/// Shared pages are counted for each.
fn memory(machine: &Machine) -> f64 {
    memory_of_each(machine).iter().sum()
}

/// The same while real programs compete and the daemon tries what helps.
async fn trial(
    machine: &Machine,
    daemon: &Daemon,
    window: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let scene = Scene::open(machine, Layout::SameSession, &Names::default())?;
    until("something is tried", async || {
        Ok((pairs(daemon.client()).await? > 0).then_some(()))
    })
    .await?;
    let before = pairs(daemon.client()).await?;
    let spent = spend(machine, window).await?;
    let pairs = pairs(daemon.client()).await?.saturating_sub(before);
    drop(scene);
    figures.put("cpu_percent_trial", spent.cpu_percent);
    figures.put("wakeups_per_s_trial", spent.wakeups_per_s);
    figures.put("pairs_in_the_trial_window", pairs);
    Ok(())
}

async fn pairs(client: &Client) -> Result<u64> {
    let patterns = client.patterns().await?.patterns;
    Ok(patterns
        .iter()
        .map(|pattern| u64::from(pattern.pairs))
        .sum())
}

fn compare(machine: &Machine, ours: f64, figures: &mut Figures) -> Result<()> {
    let program = peers::program();
    if !program.is_file() {
        let why = format!("the other crates are not built: {}", peers::BUILD);
        figures.missing("compare", &why);
        return Ok(());
    }
    let mut command = machine.command(&program);
    let output = command.args(["scan", &SCANS.to_string()]).output()?;
    ensure!(output.status.success(), "bench-peers failed");
    let scans: Value = serde_json::from_slice(&output.stdout)?;
    let percent = |ms: &str| {
        let ms = scans[ms].as_f64().context("no figure")?;
        // As often as the daemon looks at all processes while nothing is going on, the crates would.
        let every_s = Duration::from_micros(LOOK_CALM.0).as_secs_f64();
        anyhow::Ok(ms / 1_000.0 / every_s * 100.0)
    };
    figures.put(
        "compare",
        json!({
            "sysinfo_cpu_percent": percent("sysinfo_ms")?, "procfs_cpu_percent": percent("procfs_ms")?,
            "daemon_cpu_percent": ours, "scans": scans,
            "note": "one full look every 5 s, as often as the daemon looks at rest; theirs is the scan alone, one \
                     right after the other, the daemon's is everything it does, with 5 s in between",
        }),
    );
    Ok(())
}
