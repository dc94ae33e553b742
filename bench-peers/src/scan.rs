//! Full looks at the process table by two well-known crates: what a monitor would do that reads everything each time.

use std::hint::black_box;

use anyhow::{Context, Result};
use procfs::process::{Process, all_processes};
use serde_json::{Value, json};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// Scans before the measured ones: files and allocations are warm then.
const WARM: usize = 3;

/// Milliseconds of processor time of one scan by each crate, the median of so many.
pub fn measure(rounds: usize) -> Result<Value> {
    let mut system = System::new().context("sysinfo does not know this system")?;
    // Names, owners and processor time, as a process list shows them; no command lines, no threads.
    let what = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_user(UpdateKind::OnlyIfNotSet)
        .without_tasks();
    let sysinfo = timed(rounds, || {
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what)
    })?;
    let procfs = timed(rounds, || {
        let all = all_processes().map(|all| {
            all.filter_map(Result::ok)
                .filter_map(|process: Process| Some((process.uid().ok()?, process.stat().ok()?)))
                .count()
        });
        all.unwrap_or(0)
    })?;
    Ok(json!({
        "sysinfo_ms": sysinfo.0, "sysinfo_processes": sysinfo.1,
        "procfs_ms": procfs.0, "procfs_processes": procfs.1,
    }))
}

fn timed(rounds: usize, mut scan: impl FnMut() -> usize) -> Result<(f64, usize)> {
    let mut all = Vec::new();
    let mut seen = 0;
    for round in 0..WARM + rounds.max(1) {
        let before = processor_ms()?;
        seen = black_box(scan());
        if round >= WARM {
            all.push(processor_ms()? - before);
        }
    }
    Ok((super::median(all), seen))
}

/// Processor time of this process so far, all its threads.
fn processor_ms() -> Result<f64> {
    let mut ns = 0.0;
    for task in std::fs::read_dir("/proc/self/task").context("no /proc")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let ran = text.split(' ').next().context("no number")?;
        ns += ran.parse::<f64>()?;
    }
    Ok(ns / 1e6)
}
