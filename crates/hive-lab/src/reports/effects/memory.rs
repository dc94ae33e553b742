//! Memory that sleeps, on compressed swap made for it: what advice on it costs, what it gains for a program that wants
//! memory at once, and what the sleeper pays when it comes back.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Step};
use hive_core::machine::facts::GroupId;
use hive_host::{Acting, Host, HostConfig, Roots, Scope};
use hive_mind::pattern::Action;
use serde_json::{Value, json};

use crate::clock;
use crate::procs;
use crate::stats::{self, Dice};
use crate::world::{Tools, on_path};

/// Sizes as in `research/optimizer.md` 4.2, in MiB: the group's limit, what sleeps, what is wanted at once, the swap.
const LIMIT_MB: u64 = 420;
/// See [`LIMIT_MB`].
const SLEEPER_MB: u64 = 300;
/// See [`LIMIT_MB`].
const BURST_MB: u64 = 220;
/// See [`LIMIT_MB`].
const SWAP_MB: u64 = 768;

/// Steps of one action until the whole sleeper was advised on: each is bounded in bytes.
const STEPS_MAX: u64 = 8;

/// What is done to the sleeper.
const ARMS: [Option<Action>; 3] = [None, Some(Action::ColdMemory), Some(Action::PageOut)];

/// One round's times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    advice: f64,
    advised_mb: f64,
    burst: f64,
    worst_stall: f64,
    pressure: f64,
    back: f64,
}

/// Runs the part; the reason where nothing can be set up here. Swap and group are gone afterwards.
pub fn run(tools: &Tools, blocks: usize) -> Result<Result<Value, String>> {
    if let Some(why) = unavailable() {
        return Ok(Err(why));
    }
    let place = Place::make()?;
    let mut dice = Dice::new(clock::boot_us());
    let mut rounds: Vec<[Taken; 3]> = Vec::new();
    for _ in 0..blocks {
        let mut round = [Taken::default(); 3];
        let mut order = [0, 1, 2];
        for last in (1..order.len()).rev() {
            order.swap(last, dice.below(last + 1));
        }
        for arm in order {
            round[arm] = place.round(tools, ARMS[arm])?;
        }
        rounds.push(round);
    }
    let seed = dice.next_u64();
    let arms: Vec<Value> = (0..ARMS.len())
        .map(|arm| told(arm, &rounds, seed))
        .collect();
    place.remove()?;
    Ok(Ok(json!({
        "arms": arms, "blocks": blocks, "limit_mb": LIMIT_MB, "sleeper_mb": SLEEPER_MB, "burst_mb": BURST_MB, "zram_mb": SWAP_MB,
        "note": "ratios to the round without advice in the same block; *_ms are means; worst stall: the slowest 64 KiB of the burst; retouch: the sleeper reads all of its memory again",
    })))
}

fn told(arm: usize, rounds: &[[Taken; 3]], seed: u64) -> Value {
    let mean = |of: fn(&Taken) -> f64| {
        let values: Vec<f64> = rounds.iter().map(|round| of(&round[arm])).collect();
        stats::mean(&values)
    };
    let ratio = |of: fn(&Taken) -> f64| {
        let pairs: Vec<(f64, f64)> = rounds
            .iter()
            .map(|round| (of(&round[arm]), of(&round[0])))
            .collect();
        stats::paired_ratio(&pairs, seed).map(|it| json!({"ratio": it.ratio, "ci": it.ci}))
    };
    json!({
        "action": ARMS[arm].map_or("nothing", Action::name),
        "advice_ms": mean(|it| it.advice), "advised_mb": mean(|it| it.advised_mb),
        "burst_ms": mean(|it| it.burst), "burst": ratio(|it| it.burst),
        "worst_stall_ms": mean(|it| it.worst_stall), "worst_stall": ratio(|it| it.worst_stall),
        "psi_memory_ms": mean(|it| it.pressure),
        "retouch_ms": mean(|it| it.back), "retouch": ratio(|it| it.back),
    })
}

fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("swap needs root".into());
    }
    let missing: Vec<&str> = ["mkswap", "swapon", "swapoff"]
        .into_iter()
        .filter(|tool| !on_path(tool))
        .collect();
    if !missing.is_empty() {
        return Some(format!("missing tools: {}", missing.join(", ")));
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        return Some("this machine has swap of its own, which is left alone".into());
    }
    let size = fs::read_to_string("/sys/block/zram0/disksize").unwrap_or_default();
    if size.trim() != "0" {
        return Some("there is no unused /sys/block/zram0".into());
    }
    group_root()
        .is_none()
        .then(|| "no memory controller of control groups (v1 or v2) can be used".into())
}

/// Where a group with a memory limit can be made, and the name of that limit's file.
fn group_root() -> Option<(PathBuf, &'static str)> {
    let one = Path::new("/sys/fs/cgroup/memory");
    if one.join("memory.limit_in_bytes").exists() {
        return Some((one.into(), "memory.limit_in_bytes"));
    }
    let two = Path::new("/sys/fs/cgroup");
    let control = fs::read_to_string(two.join("cgroup.subtree_control")).unwrap_or_default();
    control
        .split_whitespace()
        .any(|it| it == "memory")
        .then(|| (two.into(), "memory.max"))
}

/// The swap and the group, taken away when dropped.
#[derive(Debug)]
struct Place {
    group: PathBuf,
    swapping: bool,
    sized: bool,
}

impl Place {
    fn make() -> Result<Self> {
        let (root, limit) = group_root().context("no memory controller")?;
        let mut place = Self {
            group: root.join(format!("hive-lab-{}", std::process::id())),
            swapping: false,
            sized: false,
        };
        fs::create_dir(&place.group)?;
        fs::write(place.group.join(limit), (LIMIT_MB << 20).to_string())?;
        fs::write("/sys/block/zram0/disksize", (SWAP_MB << 20).to_string())?;
        place.sized = true;
        tool("mkswap", &["/dev/zram0"])?;
        tool("swapon", &["/dev/zram0"])?;
        place.swapping = true;
        Ok(place)
    }

    /// Takes everything away and says so if that fails.
    fn remove(mut self) -> Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> Result<()> {
        if std::mem::take(&mut self.swapping) {
            tool("swapoff", &["/dev/zram0"])?;
        }
        if std::mem::take(&mut self.sized) {
            fs::write("/sys/block/zram0/reset", "1")?;
        }
        if self.group.exists() {
            fs::remove_dir(&self.group)?;
        }
        Ok(())
    }

    /// One sleeper, one action on it, one program that wants memory, and the sleeper back.
    fn round(&self, tools: &Tools, action: Option<Action>) -> Result<Taken> {
        let mut sleeper = Program::start(tools, &self.group, SLEEPER_MB)?;
        let mut taken = Taken::default();
        if let Some(action) = action {
            let began = Instant::now();
            let bytes = advise(&sleeper, action)?;
            taken.advice = ms(began);
            #[expect(clippy::cast_precision_loss, reason = "some hundred megabytes")]
            let megabytes = bytes as f64 / f64::from(1 << 20);
            taken.advised_mb = megabytes;
        }
        let before = stalled_ms()?;
        let burst = Program::start(tools, &self.group, BURST_MB)?;
        (taken.burst, taken.worst_stall) = (burst.filled.0, burst.filled.1);
        taken.pressure = stalled_ms()? - before;
        burst.end()?;
        taken.back = sleeper.touch()?;
        sleeper.end()?;
        Ok(taken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("hive-lab: swap or group could not be taken away: {error}");
        }
    }
}

/// The product's own hands, until the whole sleeper was advised on.
fn advise(sleeper: &Program, action: Action) -> Result<u64> {
    let state = tempfile::tempdir_in("/var/tmp")?;
    let (mut host, _) = Host::open(HostConfig {
        roots: Roots::default(),
        scope: Scope::Tree(std::process::id()),
        state: state.path().join("hands"),
        act: Acting::Yes,
    })?;
    let stat = procs::stat(sleeper.child.id()).context("the sleeper has ended")?;
    let target = GroupId {
        session: stat.session,
        group: stat.group,
    };
    let mut advised = 0;
    // Cold memory stays where it is, and a second step would find the same: one has to do.
    let steps = if action == Action::ColdMemory {
        1
    } else {
        STEPS_MAX
    };
    for number in 0..steps {
        let receipt = host.act(&Step {
            change: ChangeId(number),
            action,
            units: Vec::new(),
            targets: vec![target],
        });
        match receipt.outcome {
            Outcome::Advised { bytes, .. } => advised += bytes,
            Outcome::Refused(_) if advised > 0 => break,
            other => anyhow::bail!("{}: {other:?}", action.name()),
        }
    }
    Ok(advised)
}

/// A program that holds memory in the group, and touches it when it is told to.
#[derive(Debug)]
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// How long it took to have it, and the slowest piece, in milliseconds.
    filled: (f64, f64),
}

impl Program {
    fn start(tools: &Tools, group: &Path, megabytes: u64) -> Result<Self> {
        let procs = group.join("cgroup.procs");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$1\"; exec \"$2\" __memory \"$3\"", "sh"]);
        command
            .arg(procs)
            .arg(&tools.lab)
            .arg(megabytes.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A job of its own: what is advised on is a job.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut program = Self {
            child,
            input,
            output,
            filled: (0.0, 0.0),
        };
        program.filled = program.answer()?;
        Ok(program)
    }

    /// Reads all of its memory again; tells how long that took.
    fn touch(&mut self) -> Result<f64> {
        self.input.write_all(b"touch\n")?;
        Ok(self.answer()?.0)
    }

    fn answer(&mut self) -> Result<(f64, f64)> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (all, worst) = line
            .trim()
            .split_once(' ')
            .context("the program ended early")?;
        Ok((all.parse()?, worst.parse()?))
    }

    fn end(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended and collected already, unless something failed before.
        if matches!(self.child.try_wait(), Ok(None)) {
            procs::kill_all(&[self.child.id()]);
            if let Err(error) = self.child.wait() {
                eprintln!("hive-lab: a program did not end: {error}");
            }
        }
    }
}

/// The program: fills so many MiB with what compresses about as well as real memory (half of it zeroes), tells how long
/// that took, and reads it all again at each line of input.
pub fn hold(megabytes: u64) -> Result<()> {
    let bytes = usize::try_from(megabytes << 20)?;
    let mut memory = Vec::with_capacity(bytes);
    let mut dice = Dice::new(megabytes);
    let mut piece = vec![0_u8; 64 << 10];
    let began = Instant::now();
    let mut worst = 0.0_f64;
    while memory.len() < bytes {
        for chunk in piece.chunks_mut(16) {
            chunk[..8].copy_from_slice(&dice.next_u64().to_le_bytes());
        }
        let at = Instant::now();
        memory.extend_from_slice(&piece);
        worst = worst.max(ms(at));
    }
    println!("{} {worst}", ms(began));
    for line in std::io::stdin().lines() {
        line?;
        let at = Instant::now();
        let sum = memory
            .iter()
            .step_by(4_096)
            .fold(0_u64, |sum, byte| sum + u64::from(*byte));
        std::hint::black_box(sum);
        println!("{} 0", ms(at));
    }
    Ok(())
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Time in which some task waited for memory, on the whole machine.
fn stalled_ms() -> Result<f64> {
    let text = fs::read_to_string("/proc/pressure/memory").context("no pressure figures")?;
    let total = text
        .lines()
        .find(|line| line.starts_with("some "))
        .and_then(|line| line.rsplit_once("total="));
    let micros: f64 = total.context("no total")?.1.trim().parse()?;
    Ok(micros / 1e3)
}

fn tool(name: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(name).args(arguments).output()?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
