//! What `hive doctor` looks at: each check tries or reads something and says what it found; what it cannot tell, it
//! says so. Nothing is changed.

mod firewall;
mod machine;
mod network;
mod state;

use std::path::{Path, PathBuf};

use hive_mind::reply::{MembersView, StatusView};
use hive_mind::{NetworkView, Paths, Role};
use serde::Serialize;

use crate::problem::Problem;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing need be done.
    Note,
    /// Something a person should do.
    Problem,
    /// It could not be told.
    Unknown,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable name.
    pub(crate) check: &'static str,
    /// How it came out.
    pub(crate) outcome: Outcome,
    /// What was found, in one sentence.
    pub(crate) what: String,
    /// What to type or do; empty when there is nothing.
    pub(crate) try_next: String,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Whether no check found a problem.
    pub(crate) healthy: bool,
    /// In the order of the screen.
    pub(crate) findings: Vec<Finding>,
    /// What the daemon found out about its network; none when it does not run.
    pub(crate) network: Option<NetworkView>,
}

/// Where the system is looked at. Tests have folders of their own.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    proc: PathBuf,
    run: PathBuf,
    etc: PathBuf,
    /// What programs bring along.
    lib: PathBuf,
    /// Folders with programs.
    programs: Vec<PathBuf>,
}

impl Roots {
    /// This machine.
    pub(crate) fn real() -> Self {
        Self {
            proc: "/proc".into(),
            run: "/run".into(),
            etc: "/etc".into(),
            lib: "/usr/lib".into(),
            programs: ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .map(PathBuf::from)
                .into(),
        }
    }

    fn has_program(&self, name: &str) -> bool {
        self.programs
            .iter()
            .any(|folder| folder.join(name).is_file())
    }

    /// Short names of all processes, as the kernel keeps them (15 bytes).
    fn running(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.proc) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                path.file_name()?.to_str()?.parse::<u32>().ok()?;
                let name = std::fs::read_to_string(path.join("comm")).ok()?;
                Some(name.trim().to_owned())
            })
            .collect()
    }
}

impl Finding {
    fn new(check: &'static str, outcome: Outcome, what: impl Into<String>) -> Self {
        Self {
            check,
            outcome,
            what: what.into(),
            try_next: String::new(),
        }
    }

    #[must_use]
    fn try_next(mut self, what: impl Into<String>) -> Self {
        self.try_next = what.into();
        self
    }
}

impl Report {
    /// Adds what was found besides.
    pub(crate) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        let wrong = |finding: &Finding| finding.outcome == Outcome::Problem;
        self.healthy = !self.findings.iter().any(wrong);
    }
}

/// Looks at everything. `network` is what the running daemon says, or why it says nothing.
pub(crate) fn examine(
    roots: &Roots,
    paths: &Paths,
    network: Result<NetworkView, Problem>,
    members: Option<&MembersView>,
) -> Report {
    let mut findings = vec![daemon(network.as_ref().err())];
    let network = network.ok();
    findings.extend(members.and_then(admins));
    findings.extend(state::examine(paths));
    findings.extend(network::examine(roots, network.as_ref()));
    findings.extend(machine::examine(roots));
    Report {
        healthy: findings
            .iter()
            .all(|finding| finding.outcome != Outcome::Problem),
        findings,
        network,
    }
}

fn daemon(why: Option<&Problem>) -> Finding {
    let Some(why) = why else {
        return Finding::new("daemon", Outcome::Ok, "it runs and answers");
    };
    let what = match why.known.as_str() {
        "" => why.what.clone(),
        known => format!("{}: {known}", why.what),
    };
    Finding::new("daemon", Outcome::Problem, what).try_next(&why.try_next)
}

/// What the daemon says is wrong with this machine itself: its guardian, what is still on, its port, its place in its hive.
pub(crate) fn needs(status: &StatusView) -> impl Iterator<Item = Finding> {
    status.needs.iter().filter_map(|need| {
        let check = match need.code.as_str() {
            "guard.gone" => "guardian",
            "undo.failed" => "undo",
            "port.denied" => "port",
            code if code.starts_with("node.") => "place",
            _ => return None,
        };
        let finding = Finding::new(check, Outcome::Problem, need.words.as_str());
        Some(finding.try_next(need.fix.join(" or ")))
    })
}

/// A key that `hive rotate` made and no start uses: worth knowing, and where this machine's place went to another key,
/// `way` is what to type.
pub(crate) fn kept_key(state: &Path, way: Option<String>) -> Option<Finding> {
    if let Some(way) = way {
        let what = "this machine's place went to another key, which is kept here";
        return Some(Finding::new("kept key", Outcome::Problem, what).try_next(way));
    }
    let kept = state.join("key.unused");
    let what = format!(
        "a key that hive rotate made was put aside, as the store had no word of it: {}; keep it until others list this \
         machine as before",
        kept.display()
    );
    kept.exists()
        .then(|| Finding::new("kept key", Outcome::Note, what))
}

/// Who lets machines in and removes them. With one such machine, its loss leaves nobody who can.
fn admins(view: &MembersView) -> Option<Finding> {
    let admins = view.members.iter().filter(|it| it.role == Role::Admin);
    let count = admins.clone().count();
    if view.members.len() < 2 {
        return None;
    }
    if count > 1 {
        let what = format!("{count} machines may let others in and remove them");
        return Some(Finding::new("admins", Outcome::Ok, what));
    }
    let name = admins.map(|it| it.label.as_str()).next().unwrap_or("none");
    let what = format!(
        "only one machine may let others in and remove them: {name}; if it is lost, nobody can"
    );
    let finding = Finding::new("admins", Outcome::Note, what);
    Some(finding.try_next(format!("on {name}: hive role NAME admin")))
}

/// A small file, without its line end.
fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
