//! A paced loop in a terminal's foreground and what competes with it, in its own session or in another; and the jobs they
//! are to the host's eyes.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hive_core::machine::facts::{GroupId, Reading, Sample, SampleRequest};
use hive_core::machine::window::Window;
use hive_host::Host;

use super::tape::{SLICE_MS, Slice, Tape};
use crate::clock;
use crate::reports::scene::Layout;
use crate::work::{self, Project};
use crate::world::Machine;
use crate::world::terminal::{Jobs, Terminal};

/// Endless loops beside the paced one: those of `research/optimizer.md` 4.1.
const SPINNERS: u32 = 4;

/// How long the programs run before anything is counted. A guess: compilers and caches are warm then.
const WARM_UP: Duration = Duration::from_secs(5);

/// How long the programs may take to be there. A guess for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// The paced loop: a tenth of a core. Across sessions it hardly ever waits.
    Ticker,
    /// Two threads that want more than their sessions' fair share: it waits in every turn, across sessions too.
    Game,
}

/// What competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Loops that never sleep.
    Spinners,
    /// Compilers, again and again.
    Compile,
}

/// Who is waited for, what competes, and where.
pub type Cast = (Front, Load, Layout);

/// The programs at work.
#[derive(Debug)]
pub struct Play {
    name: String,
    layout: Layout,
    front: GroupId,
    back: Vec<GroupId>,
    _terminals: Vec<Terminal>,
}

impl Play {
    /// Starts them and waits until the host sees them.
    pub async fn open(
        machine: &Machine,
        host: &mut Host,
        (front, load, layout): Cast,
    ) -> Result<Self> {
        let out = machine.folder().join(format!("turns{}", clock::boot_us()));
        let lab = machine.tools().lab.display().to_string();
        let program = match front {
            Front::Ticker => "__ticker",
            Front::Game => "__game",
        };
        let foreground = vec![lab, program.into(), out.display().to_string()];
        let background = words(machine, load)?;
        let sessions = match layout {
            Layout::SameSession => vec![Jobs {
                foreground: Some(foreground),
                background: Some(background),
            }],
            Layout::OtherSession => vec![
                Jobs {
                    foreground: Some(foreground),
                    background: None,
                },
                Jobs {
                    foreground: Some(background),
                    background: None,
                },
            ],
        };
        let terminals: Result<Vec<Terminal>> = sessions
            .iter()
            .map(|jobs| Terminal::open(machine, jobs, &[]))
            .collect();
        let terminals = terminals?;
        let began = Instant::now();
        loop {
            let leaders: Vec<u32> = terminals.iter().map(Terminal::leader).collect();
            if let Some((job, back)) = jobs(host, &leaders) {
                tokio::time::sleep(WARM_UP).await;
                return Ok(Self {
                    name: name((front, load, layout)),
                    layout,
                    front: job,
                    back,
                    _terminals: terminals,
                });
            }
            if began.elapsed() > PATIENCE {
                bail!("the programs of a scene did not come up");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Counts for so long, slice by slice. Nothing is changed meanwhile.
    pub async fn record(&self, host: &mut Host, length: Duration) -> Result<Tape> {
        let mut slices = Vec::new();
        let mut last = self.read(host)?;
        let until = Instant::now() + length;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(SLICE_MS)).await;
            let next = self.read(host)?;
            let window = Window::between(&last, &next);
            if window.threads == 0 {
                bail!("the paced loop ended");
            }
            let stalled = next.pressure.cpu.0.saturating_sub(last.pressure.cpu.0);
            slices.push(Slice::of(&window, stalled));
            last = next;
        }
        Ok(Tape {
            name: self.name.clone(),
            one_session: self.layout == Layout::SameSession,
            slices,
        })
    }

    fn read(&self, host: &mut Host) -> Result<Reading> {
        let request = SampleRequest::Watch {
            protected: vec![self.front],
            background: self.back.clone(),
        };
        match host.sample(&request) {
            Sample::Window(reading) => Ok(reading),
            Sample::Survey(_) => bail!("the host answered another question"),
        }
    }
}

/// What a scene is called.
pub fn name((front, load, layout): Cast) -> String {
    let front = match front {
        Front::Ticker => "ticker",
        Front::Game => "game",
    };
    let load = match load {
        Load::Spinners => "spinners",
        Load::Compile => "compile",
    };
    let layout = match layout {
        Layout::SameSession => "same session",
        Layout::OtherSession => "across autogroups",
    };
    format!("{front} vs {load}, {layout}")
}

fn words(machine: &Machine, load: Load) -> Result<Vec<String>> {
    match load {
        Load::Spinners => {
            let one = "(while :; do :; done) & ".repeat(SPINNERS as usize);
            Ok(vec!["/bin/sh".into(), "-c".into(), format!("{one}wait")])
        }
        Load::Compile => {
            if let Some(why) = work::no_build_tools() {
                bail!(why);
            }
            let project = Project::write(&machine.folder().join("project"), 1)?;
            Ok(project.build_for_ever("make"))
        }
    }
}

/// The job in the foreground of the first terminal, and every other job that is no leader's.
fn jobs(host: &mut Host, leaders: &[u32]) -> Option<(GroupId, Vec<GroupId>)> {
    let Sample::Survey(survey) = host.sample(&SampleRequest::Survey) else {
        return None;
    };
    let first = leaders.first()?;
    let ours = |group: &GroupId| leaders.contains(&group.session) && group.group != group.session;
    let of = |process: &&hive_core::machine::facts::Process| ours(&process.group);
    let front = survey
        .processes
        .iter()
        .find(|process| {
            process.foreground && process.group.session == *first && ours(&process.group)
        })?
        .group;
    let mut back: Vec<GroupId> = survey
        .processes
        .iter()
        .filter(of)
        .map(|process| process.group)
        .collect();
    back.retain(|group| *group != front);
    back.sort_unstable();
    back.dedup();
    (!back.is_empty()).then_some((front, back))
}

/// A folder for a host's journal, closed to others.
pub fn state() -> Result<tempfile::TempDir> {
    let mut folder = tempfile::Builder::new();
    let closed = std::fs::Permissions::from_mode(0o700);
    Ok(folder.permissions(closed).tempdir()?)
}

/// Eyes and hands for this program's own descendants.
pub fn host(state: &std::path::Path) -> Result<Host> {
    let config = hive_host::HostConfig {
        roots: hive_host::Roots::default(),
        scope: hive_host::Scope::Tree(std::process::id()),
        state: state.to_path_buf(),
        act: hive_host::Acting::Yes,
    };
    let (host, _) = Host::open(config).context("the host cannot be opened")?;
    Ok(host)
}
