//! What the optimizer needs of this machine: pressure, rights, and nobody else who turns the same knobs.

use std::os::unix::fs::MetadataExt;

use hive_mind::{Heard, Neighbour, tuned};

use super::{Finding, Outcome, Roots, read};

/// `CAP_SYS_NICE` in the kernel's list of capabilities.
const CAP_SYS_NICE: u32 = 23;

/// The `RLIMIT_NICE` that reaches down to nice 0 (`setrlimit(2)`: 20 - nice).
const NICE_BACK: u64 = 20;

/// Programs that tune other things, or this only now and then; both can run. Those that set nice values or policies
/// whenever they run are [`Neighbour`]'s. Source: `research/experience.md` 5.3 and the projects' own service files.
const BESIDE: [&str; 8] = [
    "gamemoded",
    tuned::PROGRAM,
    "tlp",
    "auto-cpufreq",
    "power-profiles-",
    "systemd-oomd",
    "earlyoom",
    "thermald",
];

/// All of them.
pub(super) fn examine(roots: &Roots) -> Vec<Finding> {
    vec![
        pressure(roots),
        autogroup(roots),
        rights(roots, helper(roots)),
        rivals(roots),
    ]
}

fn pressure(roots: &Roots) -> Finding {
    let text = read(&roots.proc.join("pressure/cpu"));
    if text.is_some_and(|text| text.starts_with("some avg10=")) {
        return Finding::new("pressure", Outcome::Ok, "the kernel tells it");
    }
    Finding::new(
        "pressure",
        Outcome::Problem,
        "the kernel tells no pressure (PSI), so nothing will ever be tried",
    )
    .try_next("add psi=1 to the kernel's command line and restart the machine")
}

fn autogroup(roots: &Roots) -> Finding {
    let finding = |outcome, what| Finding::new("autogroup", outcome, what);
    match read(&roots.proc.join("sys/kernel/sched_autogroup_enabled")).as_deref() {
        Some("1") => finding(
            Outcome::Ok,
            "on: nice counts within one terminal, whole sessions are tuned as such",
        ),
        Some("0") => finding(Outcome::Ok, "off: nice counts across the machine"),
        _ => finding(
            Outcome::Note,
            "this kernel has none: nice counts across the machine",
        ),
    }
}

/// Of the user who asks; a daemon of another user has other rights.
fn rights(roots: &Roots, helper: Heard) -> Finding {
    let finding = |outcome, what| Finding::new("rights", outcome, what);
    let Some(capable) = read(&roots.proc.join("self/status")).and_then(|text| capable(&text))
    else {
        return finding(Outcome::Unknown, "this program's rights cannot be read");
    };
    let limit = read(&roots.proc.join("self/limits")).and_then(|text| nice_limit(&text));
    if capable || limit.is_some_and(|limit| limit >= NICE_BACK) {
        return finding(
            Outcome::Ok,
            "this user may put nice values back, so they may be tried",
        );
    }
    match helper {
        Heard::Answers => {
            let what = "the privileged helper of this user answers: a daemon that is started now puts nice values back through it";
            return finding(Outcome::Ok, what);
        }
        Heard::Silent => {
            let what = "the privileged helper of this user is installed and does not answer, so no nice is ever raised";
            return finding(Outcome::Problem, what).try_next(
                "systemctl status 'hive-helper@*', which says why; once it answers: hive down, then hive up",
            );
        }
        Heard::NoSocket => {}
    }
    finding(
        Outcome::Note,
        "this user cannot lower a nice value again and has no privileged helper, so none is ever raised; time slices are tried all the same",
    )
    .try_next(
        "sudo packaging/install-helper UID, with the number that id -u prints; or add \"NAME - nice 0\", with this \
         user's name, to /etc/security/limits.conf and log in anew; then hive down and hive up",
    )
}

/// The helper of the user who asks. A socket without anybody behind it outlives a helper that ended.
fn helper(roots: &Roots) -> Heard {
    let own = std::fs::metadata(roots.proc.join("self"));
    own.map_or(Heard::NoSocket, |own| {
        hive_mind::helper_heard(&roots.run, own.uid())
    })
}

fn capable(status: &str) -> Option<bool> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let bits = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(bits & (1 << CAP_SYS_NICE) != 0)
}

fn nice_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max nice priority"))?;
    let soft = line.split_ascii_whitespace().next()?;
    match soft {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn rivals(roots: &Roots) -> Finding {
    let finding = |outcome, what: String| Finding::new("tuners", outcome, what);
    let running = roots.running();
    if running.is_empty() {
        let what = "the running programs cannot be listed".to_owned();
        return finding(Outcome::Unknown, what);
    }
    let mut rivals: Vec<&str> = running.iter().map(String::as_str).collect();
    rivals.retain(|name| Neighbour::of_program(name).is_some());
    rivals.sort_unstable();
    rivals.dedup();
    if let Some(first) = rivals.first() {
        let what = format!(
            "{} sets nice values too; they are left to it, so no nice is tried while it runs",
            rivals.join(", ")
        );
        // The kernel keeps only the first 15 letters of its name.
        let service = match *first {
            "system76-schedu" => "com.system76.Scheduler",
            name => name,
        };
        return finding(Outcome::Problem, what)
            .try_next(format!("sudo systemctl disable --now {service}"));
    }
    let beside: Vec<String> = { BESIDE.iter() }
        .filter(|name| running.iter().any(|comm| comm == *name))
        .map(|name| format!("{name} ({})", knobs(roots, name)))
        .collect();
    if beside.is_empty() {
        let what = "no other program that tunes this machine is running".to_owned();
        return finding(Outcome::Ok, what);
    }
    let what = format!("running beside: {}", beside.join(", "));
    finding(Outcome::Note, what)
}

/// What one that runs beside turns.
fn knobs(roots: &Roots, name: &str) -> &'static str {
    let policies = || tuned::sets_policies(&roots.etc.join("tuned"), &roots.lib.join("tuned"));
    match name {
        "gamemoded" => "while a game runs, nice is left to it",
        tuned::PROGRAM if policies() => {
            "its profile sets the policy of processes, which is left to it"
        }
        _ => "other knobs",
    }
}
