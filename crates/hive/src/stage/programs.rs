//! What runs on stage: an editor being typed in, a job that calculates, a job that compiles.

use std::ffi::CStr;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::problem::{Exit, Problem};
use crate::stage::failed;

/// How often the editor wakes. Source: the workload of `research/optimizer.md` 5.
const WAKE: Duration = Duration::from_millis(5);

/// How much the editor works at each wake-up, in nanoseconds of its own processor time. Same source.
const WORK_NS: i64 = 500_000;

/// How often a failed compile is repeated before the job calculates instead. A guess.
const COMPILE_FAILURES_MAX: u32 = 3;

/// Wakes every 5 ms, works half a millisecond, like an editor being typed in.
pub(super) fn editor() -> Result<Exit, Problem> {
    name(c"stage-editor")?;
    let mut next = Instant::now() + WAKE;
    loop {
        // A late wake-up is not made up for: the next key press comes when it comes.
        let now = Instant::now();
        match next.checked_duration_since(now) {
            Some(rest) => std::thread::sleep(rest),
            None => next = now,
        }
        next += WAKE;
        let start = own_time_ns();
        while own_time_ns() - start < WORK_NS {
            calculate(200);
        }
    }
}

/// Works without end.
pub(super) fn job() -> Result<Exit, Problem> {
    name(c"stage-job")?;
    loop {
        calculate(100_000);
    }
}

/// Compiles one file over and over.
pub(super) fn compile(source: &Path) -> Result<Exit, Problem> {
    name(c"stage-build")?;
    let folder = source.parent().unwrap_or(Path::new("."));
    let object = folder.join(format!("job-{}.o", std::process::id()));
    let mut failures = 0;
    loop {
        let ended = Command::new("cc")
            .args(["-O2", "-pipe", "-c"])
            .arg(source)
            .arg("-o")
            .arg(&object)
            // What an interrupted compiler leaves lies in the demo's own folder.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .status()
            .map_err(failed)?;
        if !ended.success() {
            failures += 1;
            if failures >= COMPILE_FAILURES_MAX {
                return job();
            }
        }
    }
}

/// A C file that takes a compiler a noticeable while.
pub(crate) fn c_source() -> String {
    let mut out = String::from("typedef unsigned long u;\n");
    for n in 0..120 {
        let (factor, mask) = (n + 3, 1 << (n % 16));
        out.extend([format!(
            "u f{n}(u *a, u n) {{ u s = {n}; for (u i = 0; i < n; i++) {{ \
             s = s * 31 + a[i] * {factor}; if (s & {mask}) a[i] ^= s >> 7; \
             else s += a[n - 1 - i]; }} switch (s % 7) {{ case 0: return s; \
             case 1: return s * 3; case 2: return s ^ n; case 3: return a[s % n]; \
             default: return s + n; }} }}\n"
        )]);
    }
    out
}

/// What these processes are called: `hive` itself is not a person's program.
fn name(name: &CStr) -> Result<(), Problem> {
    rustix::thread::set_name(name).map_err(|why| failed(why.into()))
}

fn own_time_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn calculate(rounds: u32) {
    let mut value = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..rounds {
        value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (value >> 29);
    }
    black_box(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_file_is_big_enough_to_take_a_while() {
        let source = c_source();
        assert!(source.len() > 20_000);
        assert_eq!(source.matches("return s ^ n").count(), 120);
    }
}
