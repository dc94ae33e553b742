//! The ground of the report: a user without rights, its helper with exactly one, its jobs, and whoever kills them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hive_host::helper::Thread;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::procs::{self, Setting, ThreadId};

/// Users that no system gives to anybody (systemd's `UIDS-GIDS`: 60578 to 61183), so that all that runs as one of them is ours.
const FIRST_UID: u32 = 60_600;
const UIDS: u32 = 500;

/// How often what is left is killed: what forks meanwhile is met in the next round.
const ROUNDS: u32 = 500;

/// Whoever is held is found so at this many looks in a row, 2 ms apart; at other calls what traces it holds it shortly. A guess.
const STEADY: u32 = 10;

/// How long values may take to be back. A guess for a busy machine: the helper needs some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The folder in which all of it lies, and the programs where that user can read them.
pub(super) struct Ground {
    folder: PathBuf,
    /// The user without rights.
    pub(super) uid: u32,
    lab: PathBuf,
    helper: PathBuf,
}

/// Ends whatever is left of it, whenever it is dropped: also when a person had enough in the middle.
pub(super) struct Sweeper {
    folder: TempDir,
    uid: u32,
}

/// At which call of the kernel a process is held, before the call is made: there it is killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blow {
    pub(super) call: &'static str,
    pub(super) nth: u32,
}

/// A process that is asked line by line.
pub(super) struct Asked {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    /// Its own number; the child may be what traces it.
    pub(super) pid: u32,
}

/// A session of that user.
pub(super) struct Job {
    child: Child,
    uid: u32,
}

/// The helper.
pub(super) struct Helper {
    child: Child,
    pub(super) pid: u32,
}

impl Ground {
    pub(super) fn new(lab: &Path) -> Result<(Self, Sweeper)> {
        let uid = FIRST_UID + std::process::id() % UIDS;
        let folder = tempfile::Builder::new().prefix("hive-undo-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let copy = |from: &Path| -> Result<PathBuf> {
            let to = folder
                .path()
                .join(from.file_name().context("a program has a name")?);
            fs::copy(from, &to).with_context(|| format!("{} is missing", from.display()))?;
            Ok(to)
        };
        let lab_there = copy(lab)?;
        let helper = copy(&lab.with_file_name("hive-helper"))?;
        let sockets = folder.path().join("run/hive-helper");
        fs::create_dir_all(&sockets)?;
        chown(&sockets, Some(uid), Some(uid))?;
        let sweeper = Sweeper { folder, uid };
        let ground = Self {
            folder: sweeper.folder.path().to_owned(),
            uid,
            lab: lab_there,
            helper,
        };
        Ok((ground, sweeper))
    }

    pub(super) fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join("helper.journal")
    }

    /// A state folder of its own for each daemon.
    pub(super) fn state(&self, name: &str) -> Result<PathBuf> {
        let state = self.folder.join(name);
        fs::create_dir(&state)?;
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700))?;
        chown(&state, Some(self.uid), Some(self.uid))?;
        Ok(state)
    }

    /// Starts the helper as its unit does: that user, one capability, a journal that only root can open.
    pub(super) fn helper(&self) -> Result<Helper> {
        let helper = self.struck_helper(None)?;
        helper.context("the helper ended at once")
    }

    /// One that is struck; none if that was before it listened.
    pub(super) fn struck_helper(&self, blow: Option<Blow>) -> Result<Option<Helper>> {
        let journal: File = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.journal())?;
        let path = hive_host::helper::socket(&self.run(), self.uid);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let mut command = struck(blow, "setpriv");
        command
            .args(self.user())
            .arg("--no-new-privs")
            .args(["--inh-caps=-all,+sys_nice", "--ambient-caps=-all,+sys_nice"])
            .args(["--bounding-set=-all,+sys_nice"])
            .arg(&self.helper)
            .args(["--uid", &self.uid.to_string(), "--socket"])
            .arg(&path)
            .stdin(journal)
            .stdout(Stdio::null());
        let mut child = command.spawn().context("setpriv is missing")?;
        let pid = struck_pid(&child, blow).context("strace is missing")?;
        let start = Instant::now();
        let is_open = |meta: fs::Metadata| meta.permissions().mode() & 0o777 == 0o600;
        while !fs::symlink_metadata(&path).is_ok_and(is_open) {
            if child.try_wait()?.is_some() {
                return Ok(None);
            }
            if is_held(pid) {
                slay(&mut child, pid)?;
                return Ok(None);
            }
            ensure!(start.elapsed() < PATIENCE, "the helper does not listen");
        }
        Ok(Some(Helper { child, pid }))
    }

    /// A daemon's hands; `rights` = with the capability of its own.
    pub(super) fn hands(&self, state: &Path, job: &Job, blow: Option<Blow>) -> Result<Asked> {
        let mut command = struck(blow, "setpriv");
        command.args(self.user());
        self.asked(command, state, &self.run(), job, blow)
    }

    /// The same with the right of its own and no helper.
    pub(super) fn entitled(&self, state: &Path, job: &Job) -> Result<Asked> {
        let mut command = Command::new("setpriv");
        command
            .args(self.user())
            .args(["--inh-caps=-all,+sys_nice", "--ambient-caps=-all,+sys_nice"]);
        self.asked(command, state, &self.folder.join("nowhere"), job, None)
    }

    /// Becoming that user.
    fn user(&self) -> [String; 3] {
        let uid = self.uid;
        [
            format!("--reuid={uid}"),
            format!("--regid={uid}"),
            "--clear-groups".to_owned(),
        ]
    }

    /// Three processes of that user in a session of their own.
    pub(super) fn job(&self) -> Result<Job> {
        Self::job_of(self.uid)
    }

    /// Of another one.
    pub(super) fn job_of(uid: u32) -> Result<Job> {
        // Whoever says that it is ready has made all its processes.
        let script = "(exec sleep 1000000) & (exec sleep 1000000) & echo ready; exec sleep 1000000";
        Self::run_job(uid, script)
    }

    /// One that forks as fast as it can: short lives, longer ones, and daemons of its own.
    pub(super) fn storm(&self) -> Result<Job> {
        Self::run_job(
            self.uid,
            "echo ready; while :; do (:) & (sleep 0.05) & setsid sh -c 'sleep 0.3 &' & wait $!; done",
        )
    }

    fn run_job(uid: u32, script: &str) -> Result<Job> {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", script])
            .uid(uid)
            .gid(uid)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "the job did not start");
        Ok(Job { child, uid })
    }

    fn asked(
        &self,
        mut command: Command,
        state: &Path,
        run: &Path,
        job: &Job,
        blow: Option<Blow>,
    ) -> Result<Asked> {
        command
            .arg(&self.lab)
            .arg("__undo-hands")
            .arg("--state")
            .arg(state);
        command
            .arg("--run")
            .arg(run)
            .arg("--tree")
            .arg(job.pid().to_string());
        let mut asked = Asked::spawn(command)?;
        asked.pid = struck_pid(&asked.child, blow).unwrap_or(0);
        Ok(asked)
    }

    pub(super) fn hostile(&self, seed: u64, threads: &[String]) -> Result<Asked> {
        let mut command = Command::new(&self.lab);
        command
            .uid(self.uid)
            .gid(self.uid)
            .arg("__undo-hostile")
            .arg("--run")
            .arg(self.run());
        command.arg("--seed").arg(seed.to_string()).args(threads);
        let mut asked = Asked::spawn(command)?;
        asked.pid = asked.child.id();
        Ok(asked)
    }
}

/// The number of what a command runs: where it is struck, of the child of what traces it.
fn struck_pid(child: &Child, blow: Option<Blow>) -> Option<u32> {
    if blow.is_none() {
        return Some(child.id());
    }
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        // At its start it has short-lived children of its own, to find out what the kernel can.
        let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let children = procs::children(child.id())?;
        if let Some(pid) = children
            .iter()
            .find(|pid| !["", "strace"].contains(&name(**pid).trim()))
        {
            return Some(*pid);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// A command, perhaps one that is struck down in the middle.
fn struck(blow: Option<Blow>, program: &str) -> Command {
    let Some(Blow { call, nth }) = blow else {
        return Command::new(program);
    };
    let mut command = Command::new("strace");
    command
        .args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"));
    command
        .arg("-e")
        // In microseconds: longer than anybody waits.
        .arg(format!("inject={call}:delay_enter=100000000:when={nth}"));
    command.arg(program);
    command
}

impl Asked {
    fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("strace or setpriv is missing")?;
        let lines = BufReader::new(child.stdout.take().context("piped")?);
        Ok(Self {
            input: child.stdin.take(),
            child,
            lines,
            pid: 0,
        })
    }

    /// Says a line.
    pub(super) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("it was ended")?;
        // One that was killed meanwhile hears nothing.
        match writeln!(input, "{line}") {
            Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            said => Ok(said?),
        }
    }

    /// The next line; none when it has ended.
    pub(super) fn hear(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim().to_owned()))
    }

    pub(super) fn ask(&mut self, line: &str) -> Result<Option<String>> {
        self.say(line)?;
        self.hear()
    }

    /// Waits until it says something or is stopped; whether it was stopped.
    pub(super) fn is_stopped(&mut self) -> Result<bool> {
        let start = Instant::now();
        loop {
            if self.has_spoken()? {
                match self.hear()? {
                    Some(first) if first.starts_with("open") => continue,
                    _ => return Ok(false),
                }
            }
            if is_held(self.pid) {
                return Ok(true);
            }
            ensure!(start.elapsed() < PATIENCE, "neither word nor stop");
        }
    }

    /// Whether it has said something by now.
    pub(super) fn has_spoken(&self) -> Result<bool> {
        let mut watched = [PollFd::new(self.lines.get_ref(), PollFlags::IN)];
        let soon = Timespec::try_from(Duration::from_millis(1))?;
        Ok(!self.lines.buffer().is_empty() || poll(&mut watched, Some(&soon))? > 0)
    }

    /// Kills it at once.
    pub(super) fn kill(mut self) -> Result<()> {
        self.input = None;
        slay(&mut self.child, self.pid)
    }

    /// Lets it end by itself.
    pub(super) fn end(mut self) -> Result<()> {
        self.input = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Helper {
    /// Kills it at once.
    pub(super) fn kill(mut self) -> Result<()> {
        slay(&mut self.child, self.pid)
    }

    /// Whether it is held.
    pub(super) fn is_held(&self) -> bool {
        is_held(self.pid)
    }

    /// Asks it to end, as its unit does.
    pub(super) fn end(mut self) -> Result<bool> {
        procs::signal(self.pid, Signal::TERM);
        Ok(self.child.wait()?.success())
    }
}

/// Kills a process and whoever holds it, and waits until it is gone with all that it had open.
fn slay(child: &mut Child, pid: u32) -> Result<()> {
    procs::signal(pid, Signal::KILL);
    if pid != child.id() {
        child.kill()?;
    }
    child.wait()?;
    ensure!(
        within(|| procs::stat(pid).is_none()),
        "a killed process is still there"
    );
    Ok(())
}

/// Whether one of its threads is held at a call, for longer than at others.
fn is_held(pid: u32) -> bool {
    (0..STEADY).all(|_| {
        std::thread::sleep(Duration::from_millis(2));
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return false;
        };
        let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status"));
        let statuses = threads
            .filter_map(Result::ok)
            .filter_map(|it| status(it).ok());
        let mut held = statuses.filter(|text| text.contains("State:\tt"));
        held.next().is_some()
    })
}

impl Drop for Helper {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(why) = slay(&mut self.child, self.pid)
        {
            eprintln!("hive-lab: a helper is left: {why}");
        }
    }
}

impl Job {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn settings(&self) -> BTreeMap<ThreadId, Setting> {
        procs::settings(&procs::session_members(self.pid()))
    }

    /// Whether all of it is as it was, within the time that it may take.
    pub(super) fn is_as(&self, before: &BTreeMap<ThreadId, Setting>) -> bool {
        within(|| self.settings() == *before)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        for _ in 0..ROUNDS {
            procs::kill_all(&of_user(self.uid));
            if of_user(self.uid).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Err(why) = self.child.wait() {
            eprintln!("hive-lab: a job is left: {why}");
        }
    }
}

/// Waits for something.
pub(super) fn within(is_so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        for _ in 0..ROUNDS {
            let left = all_of(self.uid);
            if left.is_empty() {
                return;
            }
            procs::kill_all(&left);
            std::thread::sleep(Duration::from_millis(2));
        }
        let folder = self.folder.path().display();
        eprintln!(
            "hive-lab: processes of user {} are left in {folder}",
            self.uid
        );
    }
}

/// All processes of that user, those included that hide themselves.
fn all_of(uid: u32) -> Vec<u32> {
    use hive_host::privileged::{look, start_of};
    let is_ours = |pid: &u32| {
        let (pid, tid) = (*pid, *pid);
        let start = start_of(pid, tid);
        let sight = start.and_then(|start| look(Thread { pid, tid, start }));
        sight.is_some_and(|sight| sight.uids[0] == uid)
    };
    numbers().into_iter().filter(is_ours).collect()
}

fn numbers() -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.collect()
}

/// The sleepers and shells of that user.
pub(super) fn of_user(uid: u32) -> Vec<u32> {
    let is_ours = |pid: &u32| {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid());
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        owner.is_ok_and(|owner| owner == uid)
            && ["sh", "sleep", "setsid", "dash", "bash"].contains(&name.trim())
            && procs::stat(*pid).is_some()
    };
    numbers().into_iter().filter(is_ours).collect()
}
