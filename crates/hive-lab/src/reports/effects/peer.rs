//! What ananicy-cpp would set on the same processes: nice, policy and class of input and output by its published
//! types. Only the types' numbers are here (CachyOS/ananicy-rules, `00-types.types`, as of 18e9d206); which type a
//! program gets is said in the report.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, setpriority_process};
use serde::Serialize;

use crate::procs;
use crate::world::on_path;

/// What one type sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Type {
    /// As its table calls it.
    pub name: &'static str,
    /// Nice.
    pub nice: i32,
    /// Whether the policy is `SCHED_IDLE`.
    pub sched_idle: bool,
    /// Class and level of input and output, as `ionice` takes them.
    pub io: (&'static str, &'static str),
}

/// What somebody waits for: a program that paints.
pub const GAME: Type = Type {
    name: "Game",
    nice: -5,
    sched_idle: false,
    io: ("2", "4"),
};

/// "As silent as possible".
pub const BG_CPUIO: Type = Type {
    name: "BG_CPUIO",
    nice: 16,
    sched_idle: true,
    io: ("3", "7"),
};

/// "Fast enough, without much noise".
pub const HEAVY_CPU: Type = Type {
    name: "Heavy_CPU",
    nice: 9,
    sched_idle: false,
    io: ("2", "7"),
};

/// Passes over processes that fork meanwhile; two clean ones in a row end it. A guess.
const PASSES_MAX: usize = 24;

/// Why the types cannot be set here; `None` when they can.
pub fn unavailable() -> Option<String> {
    let missing: Vec<&str> = ["chrt", "ionice"]
        .into_iter()
        .filter(|tool| !on_path(tool))
        .collect();
    (!missing.is_empty()).then(|| format!("missing tools: {}", missing.join(", ")))
}

/// Sets a type on every thread of the processes that `who` tells, until two looks find nothing left to do.
pub fn set(who: &dyn Fn() -> Vec<u32>, kind: Type) -> Result<()> {
    everywhere(who, kind.nice, kind.sched_idle, kind.io)
}

/// Puts a new process's values back.
pub fn put_back(who: &dyn Fn() -> Vec<u32>) -> Result<()> {
    everywhere(who, 0, false, ("0", "0"))
}

fn everywhere(who: &dyn Fn() -> Vec<u32>, nice: i32, idle: bool, io: (&str, &str)) -> Result<()> {
    let mut clean = 0;
    for _ in 0..PASSES_MAX {
        let tids: Vec<u32> = who().into_iter().flat_map(procs::threads).collect();
        let is_set = |tid: &u32| {
            procs::stat(*tid).is_none_or(|now| now.nice == nice && (now.policy == 5) == idle)
        };
        let open: Vec<u32> = tids.into_iter().filter(|tid| !is_set(tid)).collect();
        if open.is_empty() {
            clean += 1;
            if clean == 2 {
                return Ok(());
            }
            continue;
        }
        clean = 0;
        for tid in open {
            one(tid, nice, idle, io)?;
        }
    }
    bail!("the processes fork faster than they can be set")
}

/// One thread; one that has ended is fine.
fn one(tid: u32, nice: i32, idle: bool, io: (&str, &str)) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(tid)?).context("a thread has a number")?;
    let tid = tid.to_string();
    run("chrt", &[if idle { "-i" } else { "-o" }, "-p", "0", &tid])?;
    let class: &[&str] = match io {
        ("0" | "3", _) => &["-c", io.0, "-p", &tid],
        (class, level) => &["-c", class, "-n", level, "-p", &tid],
    };
    run("ionice", class)?;
    match setpriority_process(Some(pid), nice) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("a nice cannot be set"),
    }
}

fn run(tool: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(tool);
    command.args(arguments).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ended = said.contains("No such process");
    ensure!(
        output.status.success() || ended,
        "{tool} {}: {}",
        arguments.join(" "),
        said.trim()
    );
    Ok(())
}
