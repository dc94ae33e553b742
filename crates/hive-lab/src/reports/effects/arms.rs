//! The arms of a block: how each is put on, measured and put back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Step};
use hive_core::machine::facts::{GroupId, Reading, Sample, SampleRequest};
use hive_core::machine::window::Window;
use hive_host::{Acting, Host, HostConfig, Roots, Scope};
use hive_mind::Client;
use hive_mind::pattern::{Action, Side};
use hive_mind::reply::PatternView;
use tokio::task::block_in_place;

use super::peer;
use crate::clock;
use crate::procs;
use crate::reports::scene::{Layout, Scene, is_used};
use crate::world::Machine;

/// Quiet after each change, as in `scene`: a trial needs 0.2 s, the daemon's survey may take longer to notice.
const WASH_OUT: Duration = Duration::from_secs(1);

/// How long the daemon may take to have its choice on again, its first hold-out pair (2.4 s) behind it.
const BACK_ON: Duration = Duration::from_secs(9);

/// How often the lab looks.
const LOOK: Duration = Duration::from_millis(100);

/// What is on during a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// Nothing.
    Nothing,
    /// This, by the hands of the product.
    Fixed(Action),
    /// Another tool's types.
    Peer,
    /// The same, with its gentler type for the background.
    PeerHeavy,
    /// What the daemon chose.
    Ours,
}

/// What one window gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Wait per wake-up of the loop, in nanoseconds.
    pub wait_ns: f64,
    /// Cores that the background used.
    pub background: f64,
    /// Mean time of the loop's turns, in milliseconds.
    pub own_ms: f64,
    /// Whether what the arm is about was on.
    pub was_on: bool,
    /// What the daemon had on, in its own arm.
    pub action: Option<Action>,
    /// When the window began, on the boot clock in microseconds.
    pub from_us: u64,
    /// When it ended.
    pub until_us: u64,
}

/// The hands of the product in the lab's own process, and whom they act on.
#[derive(Debug)]
pub struct Stage<'a> {
    scene: &'a Scene,
    host: Host,
    front: GroupId,
    back: Vec<GroupId>,
    changes: u64,
}

impl Arm {
    /// All that make sense where the load runs there. Nice and policy are measured where they can do nothing, too: that is
    /// a result. A session's weight is not, where the loop is in that session.
    pub fn all(layout: Layout) -> Vec<Self> {
        let mut arms = vec![
            Self::Nothing,
            Self::Fixed(Action::Placebo),
            Self::Fixed(Action::BackgroundNice),
            Self::Fixed(Action::BackgroundIdle),
            Self::Fixed(Action::FinerSlice),
            Self::Fixed(Action::BackgroundIo),
        ];
        if layout == Layout::OtherSession {
            arms.push(Self::Fixed(Action::AutogroupNice));
        }
        if peer::unavailable().is_none() {
            arms.extend([Self::Peer, Self::PeerHeavy]);
        }
        arms.push(Self::Ours);
        arms
    }

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Fixed(action) => action.name(),
            Self::Peer => "peer_rules",
            Self::PeerHeavy => "peer_rules_heavy",
            Self::Ours => "ours",
        }
    }

    /// Whether it is one of the choices that never change.
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::Nothing | Self::Fixed(_))
    }
}

impl Taken {
    /// Reads the loop's own times of the window, once it has written them.
    pub fn read_own_clock(&mut self, scene: &Scene) -> Result<()> {
        let took = scene.took_ms(self.from_us, self.until_us)?;
        let mean = crate::stats::mean(&took);
        self.own_ms = mean.context("the loop made no turn in a whole window")?;
        Ok(())
    }
}

impl<'a> Stage<'a> {
    /// Finds the jobs and opens the hands.
    pub fn new(machine: &Machine, scene: &'a Scene) -> Result<Self> {
        let (front, back) = jobs(scene)?;
        let state = machine.folder().join("hands");
        fs::create_dir(&state)?;
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
        let (host, _) = Host::open(HostConfig {
            roots: Roots::default(),
            scope: Scope::Tree(std::process::id()),
            state,
            act: Acting::Yes,
        })?;
        Ok(Self {
            scene,
            host,
            front,
            back,
            changes: 0,
        })
    }

    /// Puts an arm on, measures a window, and puts everything back. The daemon is paused before and after.
    pub async fn measure(&mut self, client: &Client, arm: Arm, window: Duration) -> Result<Taken> {
        let (was_on, action) = match arm {
            Arm::Nothing => (true, None),
            Arm::Fixed(action) => (block_in_place(|| self.act(action))?, None),
            Arm::Peer | Arm::PeerHeavy => {
                (block_in_place(|| self.be_peer(arm)).map(|()| true)?, None)
            }
            Arm::Ours => {
                client.resume().await?;
                let action = has_chosen(client).await?;
                (action.is_some(), action)
            }
        };
        tokio::time::sleep(WASH_OUT).await;
        let first = self.read()?;
        let from_us = clock::boot_us();
        tokio::time::sleep(window).await;
        let last = self.read()?;
        let until_us = clock::boot_us();
        match arm {
            Arm::Nothing => {}
            Arm::Fixed(_) => block_in_place(|| self.undo())?,
            Arm::Peer | Arm::PeerHeavy => block_in_place(|| self.end_peer())?,
            Arm::Ours => {
                client.pause(None).await?;
            }
        }
        let window = Window::between(&first, &last);
        ensure!(window.threads > 0, "the paced loop has ended");
        Ok(Taken {
            wait_ns: window.wait(),
            background: window.background_cores(),
            own_ms: 0.0,
            was_on,
            action,
            from_us,
            until_us,
        })
    }

    /// Threads that carry a value which is not a new process's, policy included.
    pub fn left_on(&self) -> usize {
        let idle = |pid: &u32| procs::stat(*pid).is_some_and(|stat| stat.policy != 0);
        let idle = self
            .scene
            .processes()
            .iter()
            .filter(|pid| idle(pid))
            .count();
        self.scene.changed() + idle
    }

    fn act(&mut self, action: Action) -> Result<bool> {
        self.changes += 1;
        let targets = match action.side() {
            Side::Protected => vec![self.front],
            Side::Background => self.back.clone(),
        };
        let receipt = self.host.act(&Step {
            change: ChangeId(self.changes),
            action,
            units: Vec::new(),
            targets,
        });
        match receipt.outcome {
            Outcome::Applied { .. } => Ok(true),
            Outcome::Refused(_) | Outcome::Unsupported => Ok(false),
            other => anyhow::bail!("{}: {other:?}", action.name()),
        }
    }

    fn undo(&mut self) -> Result<()> {
        for receipt in self.host.undo_all() {
            let good = matches!(receipt.outcome, Outcome::Restored { left_alone: 0, .. });
            ensure!(good, "not put back: {:?}", receipt.outcome);
        }
        Ok(())
    }

    fn be_peer(&self, arm: Arm) -> Result<()> {
        let kind = if arm == Arm::Peer {
            peer::BG_CPUIO
        } else {
            peer::HEAVY_CPU
        };
        peer::set(&|| self.of(&[self.front]), peer::GAME)?;
        peer::set(&|| self.of(&self.back), kind)
    }

    fn end_peer(&self) -> Result<()> {
        peer::put_back(&|| self.of(&[self.front]))?;
        peer::put_back(&|| self.of(&self.back))
    }

    /// The processes of these jobs.
    fn of(&self, groups: &[GroupId]) -> Vec<u32> {
        let all = self.scene.processes().into_iter();
        all.filter(|pid| group(*pid).is_some_and(|it| groups.contains(&it)))
            .collect()
    }

    fn read(&mut self) -> Result<Reading> {
        let request = SampleRequest::Watch {
            protected: vec![self.front],
            background: self.back.clone(),
        };
        match block_in_place(|| self.host.sample(&request)) {
            Sample::Window(reading) => Ok(reading),
            Sample::Survey(_) => anyhow::bail!("the host answered another question"),
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo().and_then(|()| self.end_peer()) {
            eprintln!("hive-lab: something is still set on the scene: {error}");
        }
    }
}

/// The loop's job, and the others but those of the sessions' leaders.
fn jobs(scene: &Scene) -> Result<(GroupId, Vec<GroupId>)> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut front = None;
        let mut back = BTreeSet::new();
        for pid in scene.processes() {
            let Some(id) = group(pid).filter(|id| id.group != id.session) else {
                continue;
            };
            if name(pid).as_deref() == Some("pacer") {
                front = Some(id);
            } else {
                back.insert(id);
            }
        }
        match front {
            Some(front) if !back.is_empty() => return Ok((front, back.into_iter().collect())),
            _ => ensure!(Instant::now() < deadline, "the scene has no two jobs"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn group(pid: u32) -> Option<GroupId> {
    let stat = procs::stat(pid)?;
    Some(GroupId {
        session: stat.session,
        group: stat.group,
    })
}

fn name(pid: u32) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).ok()?;
    Some(text.trim().to_owned())
}

/// Waits until the daemon has its choice on and is through with the hold-out pair that it begins with whenever it turns
/// something on; none where it has nothing to have on.
async fn has_chosen(client: &Client) -> Result<Option<Action>> {
    let before = client.patterns().await?.patterns;
    if !before.iter().any(is_used) {
        return Ok(None);
    }
    let pairs = |all: &[PatternView], name: &str| {
        let it = all.iter().find(|pattern| pattern.name == name);
        it.and_then(|pattern| pattern.holdout)
            .map_or(0, |it| it.pairs)
    };
    let began = Instant::now();
    let mut on = None;
    while began.elapsed() < BACK_ON {
        let status = client.status().await?;
        if let Some(active) = status.active.first() {
            on = Some(active.action);
            let now = client.patterns().await?.patterns;
            if pairs(&now, &active.pattern) > pairs(&before, &active.pattern) {
                break;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(on)
}
