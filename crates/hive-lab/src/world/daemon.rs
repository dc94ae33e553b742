//! A real `hive daemon` on one computer of the world, spoken to over its own socket.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hive_mind::Client;
use hive_mind::Role;
use hive_mind::reply::{JoinStage, JoinView, Mode};
use rustix::process::Signal;

use crate::procs;
use crate::world::Machine;
use crate::world::inside::in_network_of;

/// How long a daemon may take to answer, to join or to end before the lab gives up. A guess for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the lab looks again. Nothing that is measured depends on it where the daemons tell times themselves.
const LOOK: Duration = Duration::from_millis(5);

/// A running daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    enter: Child,
    pid: u32,
    client: Client,
    log: PathBuf,
}

/// How a daemon is started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// What to call it; none = what it chooses itself.
    pub label: Option<&'a str>,
    /// How much its optimizer may do.
    pub mode: Mode,
    /// What it logs, as in the variable `HIVE_LOG`.
    pub log: &'a str,
}

impl Machine {
    /// Variables that put everything of a user of this computer under its folder.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let runtime = self.folder().join("run");
        vec![("XDG_RUNTIME_DIR", runtime.display().to_string())]
    }

    /// Where the state of a daemon started without settings lies.
    pub fn state(&self) -> PathBuf {
        self.folder().join(".local/state/hive")
    }

    /// Where the socket of a daemon started without settings lies.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("run/hive/hive.sock")
    }

    /// Changes how its kernel deals with neighbours' addresses on its interface, as arp(7) names it.
    pub fn set_neighbours(&self, name: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/net/ipv4/neigh/eth0/{name}");
        let value = value.to_owned();
        in_network_of(self.init(), move || Ok(fs::write(file, value)?))
            .with_context(|| format!("{name} cannot be changed"))
    }

    /// Makes the folders that a login would have made.
    pub fn log_in(&self) -> Result<()> {
        let runtime = self.folder().join("run");
        if !runtime.is_dir() {
            DirBuilder::new().mode(0o700).create(runtime)?;
        }
        Ok(())
    }

    /// Starts a daemon and waits until it answers.
    pub async fn start_daemon(&self, start: Start<'_>) -> Result<Daemon> {
        self.start_daemon_as(start, "root").await
    }

    /// The same, by a user who is called `user` in the daemon's environment.
    pub async fn start_daemon_as(&self, start: Start<'_>, user: &str) -> Result<Daemon> {
        self.start_daemon_with(start, user, &[]).await
    }

    /// Starts a daemon whose node sees time pass `factor` times faster, once `true_for` is over.
    pub async fn start_daemon_in_a_hurry(
        &self,
        start: Start<'_>,
        factor: u32,
        true_for: Duration,
    ) -> Result<Daemon> {
        let (factor, ms) = (factor.to_string(), true_for.as_millis().to_string());
        let more = ["--lab-clock-factor", &factor, "--lab-clock-true-ms", &ms];
        self.start_daemon_with(start, "root", &more).await
    }

    async fn start_daemon_with(
        &self,
        start: Start<'_>,
        user: &str,
        more: &[&str],
    ) -> Result<Daemon> {
        self.log_in()?;
        let log = self.folder().join("daemon.log");
        let file = File::options().append(true).create(true).open(&log)?;
        let mut command = self.command(&self.tools().hive);
        command.args(["daemon", "--mode", word(start.mode)]);
        if let Some(label) = start.label {
            command.args(["--label", label]);
        }
        command.args(more);
        command.envs(self.variables()).env("HIVE_LOG", start.log);
        command.env("USER", user).env("LOGNAME", user);
        command.stdin(Stdio::null());
        command.stdout(Stdio::from(file.try_clone()?));
        command.stderr(Stdio::from(file));
        let enter = command.spawn().context("nsenter cannot be started")?;
        let mut daemon = Daemon {
            pid: 0,
            client: Client::new(self.socket()),
            enter,
            log,
        };
        let name = self.tools().hive.file_name().and_then(|name| name.to_str());
        let found = name.and_then(|name| procs::wait_for_child(daemon.enter.id(), name));
        let Some(pid) = found else {
            bail!("the daemon did not start:\n{}", daemon.last_words());
        };
        daemon.pid = pid;
        daemon.wait_until_it_answers().await?;
        Ok(daemon)
    }
}

impl Daemon {
    /// Its API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its process, as the host numbers it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it stand still, as a sleeping machine does.
    pub fn freeze(&self) -> Result<()> {
        ensure!(
            procs::signal(self.pid, Signal::STOP),
            "the daemon has ended"
        );
        Ok(())
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        ensure!(
            procs::signal(self.pid, Signal::CONT),
            "the daemon has ended"
        );
        // nsenter stands still with its child, as a shell's job would.
        procs::signal(self.enter.id(), Signal::CONT);
        Ok(())
    }

    /// Ends it as a power cut would.
    pub fn kill_9(mut self) -> Result<()> {
        procs::signal(self.pid, Signal::KILL);
        self.enter.wait()?;
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        procs::signal(self.pid, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while self.enter.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the daemon did not end on SIGTERM"
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The end of its log, to explain a failure.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.client.status().await.is_err() {
            if let Some(status) = self.enter.try_wait()? {
                bail!("the daemon ended ({status}):\n{}", self.last_words());
            }
            ensure!(
                Instant::now() < deadline,
                "the daemon does not answer:\n{}",
                self.last_words()
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.pid != 0 {
            procs::signal(self.pid, Signal::KILL);
        }
        // Without its process nsenter ends by itself; this only ends it where there never was one.
        if let Err(error) = self.enter.kill() {
            eprintln!("hive-lab: a daemon could not be ended: {error}");
        }
        if let Err(error) = self.enter.wait() {
            eprintln!("hive-lab: a daemon did not end: {error}");
        }
    }
}

/// Lets `joiner` into the founder's hive: invite, code, the words compared, approval. Returns the joiner's own
/// account of it.
pub async fn join(founder: &Client, joiner: &Client) -> Result<JoinView> {
    let invite = founder.invite().await.context("no invite")?;
    joiner
        .join(&invite.code, None)
        .await
        .context("the join was refused")?;
    let words = wait_for_stage(joiner, JoinStage::Waiting)
        .await?
        .words
        .context("the joiner shows no words")?;
    let machine = until("the joiner is pending", async || {
        let pending = founder.pending().await?.pending;
        Ok(pending.into_iter().find(|machine| machine.words == words))
    })
    .await?;
    founder
        .approve(&machine.node, Role::Member)
        .await
        .context("not approved")?;
    wait_for_stage(joiner, JoinStage::Member).await
}

/// Asks again until there is an answer.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    within(PATIENCE, ask)
        .await?
        .with_context(|| format!("waited in vain until {what}"))
}

/// Asks again until there is an answer, or the patience is over.
pub async fn within<T>(
    patience: Duration,
    ask: impl AsyncFn() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn wait_for_stage(joiner: &Client, wanted: JoinStage) -> Result<JoinView> {
    until("the join comes further", async || {
        let view = joiner.join_state().await?;
        if let Some(error) = &view.error {
            bail!("the join failed: {} ({})", error.what, error.code);
        }
        // Who was approved before the lab looked is a member already.
        let there = view.stage == wanted || view.stage == JoinStage::Member;
        Ok(there.then_some(view))
    })
    .await
}

/// As it is typed.
fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Suggest => "suggest",
        Mode::Auto => "auto",
    }
}
