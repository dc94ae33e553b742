//! One machine of the demo: holds a daemon and its user's terminal sessions, does what it is told line
//! by line, answers each line with one line of JSON, and takes everything down when its input ends.
//!
//! As root it is the first process of its own PID namespace, so nothing can outlive it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, getpriority_process, kill_process, kill_process_group, setpriority_process,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde::{Deserialize, Serialize};

use crate::args::MachineArgs;
use crate::problem::{Exit, Problem};
use crate::stage::{self, failed};

/// How long a daemon may take to put everything back and end. A guess: it takes milliseconds.
const DAEMON_END: Duration = Duration::from_secs(5);

/// How the demo's folder begins.
pub(crate) const DEMO_FOLDER: &str = "hive-demo-";

/// What a machine can be told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Bring this interface up with this address.
    Network {
        /// The interface.
        interface: String,
        /// Address and prefix length.
        address: String,
    },
    /// Start the daemon with these arguments after `--state` and `--socket`.
    Daemon {
        /// Further arguments of `hive daemon`.
        args: Vec<String>,
    },
    /// The user starts an editor, and a build beside it.
    Load {
        /// Jobs of the build.
        jobs: u32,
        /// The file to compile; none = calculate.
        source: Option<PathBuf>,
        /// Whether the build runs in a terminal session of its own.
        apart: bool,
    },
    /// The user ends what was started.
    Unload,
    /// Tell the scheduling values of the load's processes.
    Values,
    /// End the daemon in order.
    EndDaemon,
}

/// What a machine answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Why it was not done.
    pub(crate) error: Option<String>,
    /// The started daemon.
    pub(crate) pid: Option<i32>,
    /// Scheduling values as the kernel tells them.
    pub(crate) values: Option<Values>,
}

/// Scheduling values of the load's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Values {
    /// Threads looked at.
    pub(crate) threads: usize,
    /// Threads whose nice is not the usual one: what this machine's own processes begin with.
    pub(crate) niced: usize,
    /// Threads whose time slice is not the usual one; none where this kernel does not tell slices.
    pub(crate) sliced: Option<usize>,
    /// Sessions whose autogroup nice is not the usual 0.
    pub(crate) autogroups_niced: usize,
}

impl Values {
    /// Everything that is not as usual, as far as the kernel tells.
    pub(crate) fn changed(&self) -> usize {
        self.niced + self.sliced.unwrap_or(0) + self.autogroups_niced
    }
}

struct Machine {
    folder: PathBuf,
    daemon: Option<Child>,
    sessions: Vec<Session>,
}

struct Session {
    leader: Child,
    groups: Vec<Pid>,
    /// Held so that the terminal exists; dropping it hangs up.
    _master: OwnedFd,
}

/// Obeys until the input ends.
pub(super) fn run(args: &MachineArgs) -> Result<Exit, Problem> {
    if let Err(why) = at_nice_0() {
        tracing::debug!(%why, "this machine's programs have the nice value of the terminal");
    }
    let mut machine = Machine {
        folder: args.folder.clone(),
        daemon: None,
        sessions: Vec::new(),
    };
    let mut out = std::io::stdout();
    say(&mut out, &Answer::default())?;
    for line in std::io::stdin().lock().lines() {
        let answer = match line {
            Ok(line) => machine.obey(&line),
            Err(why) => Err(failed(why)),
        };
        say(
            &mut out,
            &answer.unwrap_or_else(|why| Answer {
                error: Some(format!("{}: {}", why.what, why.known)),
                ..Answer::default()
            }),
        )?;
    }
    // The daemon first: it puts back what it has on.
    machine.end_daemon()?;
    machine.unload()?;
    leave(&args.folder).map_err(failed)?;
    Ok(Exit::Ok)
}

/// Removes the machine's folder, and the demo's when this was the last machine in it: the demo itself may
/// have been killed.
fn leave(folder: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(folder)?;
    let Some(whole) = folder.parent() else {
        return Ok(());
    };
    let ours = whole
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(DEMO_FOLDER));
    let empty = std::fs::read_dir(whole)?
        .flatten()
        .all(|entry| !entry.path().is_dir());
    if !ours || !empty {
        return Ok(());
    }
    match std::fs::remove_dir_all(whole) {
        // The demo or the other machine was faster.
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn say(out: &mut impl std::io::Write, answer: &Answer) -> Result<(), Problem> {
    let line = serde_json::to_string(answer).map_err(|why| failed(why.into()))?;
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(failed)
}

impl Machine {
    fn obey(&mut self, line: &str) -> Result<Answer, Problem> {
        let order: Order = serde_json::from_str(line).map_err(|why| failed(why.into()))?;
        let mut answer = Answer::default();
        match order {
            Order::Network { interface, address } => network(&interface, &address)?,
            Order::Daemon { args } => answer.pid = Some(self.start_daemon(&args)?),
            Order::Load {
                jobs,
                source,
                apart,
            } => self.load(jobs, source, apart)?,
            Order::Unload => self.unload()?,
            Order::Values => answer.values = Some(self.values()),
            Order::EndDaemon => self.end_daemon()?,
        }
        Ok(answer)
    }

    fn start_daemon(&mut self, args: &[String]) -> Result<i32, Problem> {
        let log = File::create(self.folder.join("daemon.log")).map_err(failed)?;
        let child = Command::new(stage::program()?)
            .arg("--state")
            .arg(self.folder.join("state"))
            .arg("--socket")
            .arg(self.folder.join("hive.sock"))
            .arg("daemon")
            .args(["--tree", &std::process::id().to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let pid = Pid::from_child(&child).as_raw_nonzero().get();
        self.daemon = Some(child);
        Ok(pid)
    }

    fn load(&mut self, jobs: u32, source: Option<PathBuf>, apart: bool) -> Result<(), Problem> {
        let mut build = vec!["--jobs".to_owned(), jobs.to_string()];
        if let Some(source) = source {
            build.extend(["--source".to_owned(), source.to_string_lossy().into_owned()]);
        }
        let mut front = vec!["--editor".to_owned()];
        if apart {
            self.sessions.push(Session::start(&front)?);
            self.sessions.push(Session::start(&build)?);
        } else {
            front.extend(build);
            self.sessions.push(Session::start(&front)?);
        }
        Ok(())
    }

    fn unload(&mut self) -> Result<(), Problem> {
        for session in std::mem::take(&mut self.sessions) {
            session.end()?;
        }
        Ok(())
    }

    fn end_daemon(&mut self) -> Result<(), Problem> {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        // It may have ended by itself; then there is nobody to tell.
        if daemon.try_wait().map_err(failed)?.is_none() {
            kill_process(Pid::from_child(&daemon), Signal::TERM)
                .map_err(|why| failed(why.into()))?;
        }
        let start = Instant::now();
        while daemon.try_wait().map_err(failed)?.is_none() {
            if start.elapsed() > DAEMON_END {
                daemon.kill().and_then(|()| daemon.wait()).map_err(failed)?;
                return Err(Problem::new(
                    Exit::Failed,
                    "stage.daemon",
                    "a daemon had to be killed",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn values(&self) -> Values {
        let groups: Vec<i32> = self
            .sessions
            .iter()
            .flat_map(|session| &session.groups)
            .map(|group| group.as_raw_nonzero().get())
            .collect();
        values_of(&groups)
    }
}

impl Session {
    fn start(args: &[String]) -> Result<Self, Problem> {
        let broken = |why: rustix::io::Errno| failed(why.into());
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .map_err(broken)?;
        grantpt(&master).map_err(broken)?;
        unlockpt(&master).map_err(broken)?;
        let path = ptsname(&master, Vec::new()).map_err(broken)?;
        let path = path
            .to_str()
            .map_err(|why| failed(std::io::Error::other(why)))?;
        let slave = rustix::fs::open(
            path,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(broken)?;
        let mut leader = Command::new(stage::program()?)
            .args(["stage", "session"])
            .args(args)
            .stdin(slave)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let told = leader.stdout.take().expect("it was asked for above");
        let mut groups = Vec::new();
        for line in BufReader::new(told).lines() {
            let line = line.map_err(failed)?;
            match line.parse().ok().and_then(Pid::from_raw) {
                Some(group) => groups.push(group),
                None => break,
            }
        }
        if groups.is_empty() {
            leader.kill().and_then(|()| leader.wait()).map_err(failed)?;
            return Err(Problem::new(
                Exit::Failed,
                "stage.session",
                "a terminal session did not start",
            ));
        }
        Ok(Self {
            leader,
            groups,
            _master: master,
        })
    }

    /// Kills the jobs first, so that nobody is left without a leader.
    fn end(mut self) -> Result<(), Problem> {
        for group in &self.groups {
            // A group whose processes have all ended is what we want.
            if let Err(why) = kill_process_group(*group, Signal::KILL)
                && why != rustix::io::Errno::SRCH
            {
                return Err(failed(why.into()));
            }
        }
        self.leader
            .kill()
            .and_then(|()| self.leader.wait())
            .map_err(failed)?;
        Ok(())
    }
}

fn network(interface: &str, address: &str) -> Result<(), Problem> {
    for words in [
        vec!["link", "set", "lo", "up"],
        vec!["address", "add", address, "dev", interface],
        vec!["link", "set", interface, "up"],
        // Multicast needs a way out; this network leads nowhere else.
        vec!["route", "add", "default", "dev", interface],
    ] {
        let output = Command::new("ip").args(&words).output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(
                Problem::new(Exit::Failed, "stage.network", "the demo's network failed")
                    .known(said),
            );
        }
    }
    Ok(())
}

/// The programs of a person's terminal begin at nice 0, and so do those that are started here, wherever the rights are
/// there for it: a nice value that somebody set is left alone by the hive.
fn at_nice_0() -> rustix::io::Result<()> {
    if getpriority_process(None)? == 0 {
        return Ok(());
    }
    setpriority_process(None, 0)
}

/// Reads `/proc` for every thread of these process groups.
fn values_of(groups: &[i32]) -> Values {
    let own = Path::new("/proc/thread-self");
    let usual = slice(own);
    let usual_nice = Stat::of(own).map_or(0, |stat| stat.nice);
    let mut values = Values {
        sliced: usual.map(|_| 0),
        ..Values::default()
    };
    let mut sessions = std::collections::BTreeMap::new();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return values;
    };
    for entry in processes.flatten() {
        let Some(stat) = Stat::of(&entry.path()).filter(|stat| groups.contains(&stat.group)) else {
            continue;
        };
        sessions.insert(stat.session, entry.path());
        let Ok(threads) = std::fs::read_dir(entry.path().join("task")) else {
            continue;
        };
        for thread in threads.flatten() {
            if let Some(stat) = Stat::of(&thread.path()) {
                values.threads += 1;
                values.niced += usize::from(stat.nice != usual_nice);
                if let (Some(sliced), Some(usual)) = (&mut values.sliced, usual) {
                    // A thread that tells no slice while this one does has just ended.
                    let its = slice(&thread.path()).unwrap_or(usual);
                    *sliced += usize::from(its != usual);
                }
            }
        }
    }
    for process in sessions.values() {
        let text = std::fs::read_to_string(process.join("autogroup")).unwrap_or_default();
        values.autogroups_niced +=
            usize::from(!text.is_empty() && !text.trim_end().ends_with("nice 0"));
    }
    values
}

/// The few fields of a `stat` file that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    group: i32,
    session: i32,
    nice: i32,
}

impl Stat {
    fn of(folder: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(folder.join("stat")).ok()?)
    }

    /// The fields after the name, which may itself hold brackets and spaces (proc(5)).
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        Some(Self {
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            nice: fields.get(16)?.parse().ok()?,
        })
    }
}

/// A thread's time slice: `se.slice` of its `sched` file, which not every kernel has.
fn slice(thread: &Path) -> Option<u64> {
    parse_slice(&std::fs::read_to_string(thread.join("sched")).ok()?)
}

fn parse_slice(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("se.slice"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_that_is_not_told_is_unknown_and_not_usual() {
        let told = "hive (7, #threads: 1)\nse.vruntime : 1.5\nse.slice       :    2800000\n";
        assert_eq!(parse_slice(told), Some(2_800_000));
        assert_eq!(parse_slice("se.vruntime : 1.5\n"), None);
        let values = values_of(&[]);
        assert_eq!(
            values.sliced.is_some(),
            slice(Path::new("/proc/thread-self")).is_some()
        );
    }

    #[test]
    fn a_stat_line_is_read_behind_a_name_with_brackets() {
        let line = "42 (a) b (c)) S 1 40 39 34816 40 4194304 1 2 3 4 5 6 7 8 20 10 1 0 99 1 1\n";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                group: 40,
                session: 39,
                nice: 10
            })
        );
        assert_eq!(Stat::parse("nothing"), None);
    }
}
