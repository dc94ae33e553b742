//! Where the demo plays: a folder, two machines, and a network that leads nowhere.
//!
//! As root each machine has its own PID and network namespace, joined by one cable (a veth pair). Without,
//! both live on the loopback interface. No packet reaches a real interface either way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open};
use tempfile::TempDir;

use crate::problem::{Exit, Problem};
use crate::stage::machine::{Answer, DEMO_FOLDER, Order};
use crate::stage::programs::c_source;

/// How long a machine may take for what it is told. A guess: ending a daemon is given 5 s there.
const ANSWER: Duration = Duration::from_secs(8);

/// How long a machine may take to end. A guess: it ends its daemon first, which is given 5 s there.
const END: Duration = Duration::from_secs(8);

/// How long processes that were killed may take to end. A guess: on a machine that has no processor to spare.
const DYING: Duration = Duration::from_secs(5);

/// The name of the cable's plug on both machines. Names of containers' and VPNs' interfaces are not looked at.
const CABLE: &str = "lan0";

/// The two addresses; TEST-NET-1 (RFC 5737) belongs to nobody.
const ADDRESSES: [&str; 2] = ["192.0.2.1/24", "192.0.2.2/24"];

/// The two machines and what they stand on. Dropping it takes everything down.
pub(crate) struct Ground {
    pub(crate) desk: Machine,
    pub(crate) laptop: Machine,
    /// The file that the build compiles; none without a compiler.
    pub(crate) source: Option<PathBuf>,
    pub(crate) network: &'static str,
    folder: TempDir,
    before: Before,
}

/// What was there before the demo, and is none of its business.
#[derive(Clone, Debug)]
struct Before {
    interfaces: Vec<String>,
    /// Processes of a shell that became this program, such as what reads its output.
    children: Vec<Pid>,
}

/// One machine, told what to do over a pipe.
pub(crate) struct Machine {
    process: Child,
    orders: Option<ChildStdin>,
    answers: mpsc::Receiver<Answer>,
    folder: PathBuf,
}

/// A ground that could not be built.
pub(crate) struct Unbuilt {
    /// Why not.
    pub(crate) why: Problem,
    /// What of it is still there; nothing, as a rule.
    pub(crate) left: Vec<String>,
}

impl Ground {
    /// Builds it with the best that the rights at hand allow; tells what is missing.
    pub(crate) fn build(missing: &mut Vec<String>) -> Result<Self, Box<Unbuilt>> {
        let before = Before {
            interfaces: interfaces(),
            children: children(),
        };
        let mut folders = Vec::new();
        Self::build_in(&mut folders, missing, before.clone()).map_err(|why| {
            Box::new(Unbuilt {
                why,
                left: remains(&folders, before),
            })
        })
    }

    /// The same, in folders whose paths it leaves behind.
    fn build_in(
        folders: &mut Vec<PathBuf>,
        missing: &mut Vec<String>,
        before: Before,
    ) -> Result<Self, Problem> {
        let mut folder = new_folder(folders)?;
        let (network, [desk, laptop]) = match apart(folder.path()) {
            Ok(machines) => ("namespaces", machines),
            Err(why) => {
                missing.push(format!(
                    "own network and process namespaces ({why}): both machines are on loopback"
                ));
                // Machines that had started before it failed took the whole folder with them as they ended.
                folder = new_folder(folders)?;
                (
                    "loopback",
                    [
                        Machine::start(folder.path(), "desk", &[])?,
                        Machine::start(folder.path(), "laptop", &[])?,
                    ],
                )
            }
        };
        let source = if Command::new("cc")
            .arg("--version")
            .output()
            .is_ok_and(|run| run.status.success())
        {
            let path = folder.path().join("unit.c");
            std::fs::write(&path, c_source()).map_err(broken)?;
            Some(path)
        } else {
            missing.push(
                "a C compiler (cc): the build is played by processes that only calculate"
                    .to_owned(),
            );
            None
        };
        Ok(Self {
            desk,
            laptop,
            source,
            network,
            folder,
            before,
        })
    }

    /// Takes everything down and looks whether something is left; names what is.
    pub(crate) fn clear(mut self) -> Vec<String> {
        let mut left = Vec::new();
        for machine in [&mut self.desk, &mut self.laptop] {
            left.extend(machine.end());
        }
        let path = self.folder.path().to_path_buf();
        let before = self.before.clone();
        drop(self);
        left.extend(remains(&[path], before));
        left
    }
}

impl Machine {
    fn start(folder: &Path, name: &str, before: &[&str]) -> Result<Self, Problem> {
        let folder = folder.join(name);
        let program = std::env::current_exe().map_err(broken)?;
        let mut command = match before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        // In a group of its own, so that Ctrl-C reaches the demo alone, which then ends in order.
        let mut process = command
            .args(["stage", "machine"])
            .arg(&folder)
            // What programs of the machine leave in a folder for temporary things goes with its own.
            .env("TMPDIR", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(broken)?;
        let orders = process.stdin.take();
        let output = process.stdout.take().expect("it was asked for above");
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(answer) = serde_json::from_str(&line) else {
                    return;
                };
                if sender.send(answer).is_err() {
                    return;
                }
            }
        });
        let machine = Self {
            process,
            orders,
            answers,
            folder,
        };
        machine.answer()?;
        Ok(machine)
    }

    /// Tells it to do something, and waits until it has.
    pub(crate) fn tell(&mut self, order: &Order) -> Result<Answer, Problem> {
        let mut line = serde_json::to_vec(order).map_err(|why| broken(why.into()))?;
        line.push(b'\n');
        let Some(orders) = &mut self.orders else {
            return Err(gone());
        };
        orders
            .write_all(&line)
            .and_then(|()| orders.flush())
            .map_err(broken)?;
        self.answer()
    }

    /// The socket of its daemon.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("hive.sock")
    }

    /// The last line of its daemon's log.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default();
        text.lines().last().unwrap_or("nothing").to_owned()
    }

    fn answer(&self) -> Result<Answer, Problem> {
        let answer = self.answers.recv_timeout(ANSWER).map_err(|_| gone())?;
        match answer.error {
            None => Ok(answer),
            Some(error) => {
                Err(
                    Problem::new(Exit::Failed, "demo.machine", "a machine of the demo failed")
                        .known(error),
                )
            }
        }
    }

    /// Ends it: its input ends, and it takes down what it holds. Names what was left, if anything.
    fn end(&mut self) -> Option<String> {
        drop(self.orders.take());
        let start = Instant::now();
        loop {
            match self.process.try_wait() {
                Ok(Some(_)) => return None,
                Ok(None) if start.elapsed() < END => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) => {
                    let killed = self.process.kill().and_then(|()| self.process.wait());
                    return Some(format!("a machine that had to be killed ({killed:?})"));
                }
                Err(why) => return Some(format!("a machine that cannot be waited for ({why})")),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(left) = self.end() {
            eprintln!("the demo left {left}");
        }
    }
}

/// A folder for the demo with one for each machine.
fn new_folder(folders: &mut Vec<PathBuf>) -> Result<TempDir, Problem> {
    let folder = tempfile::Builder::new()
        .prefix(DEMO_FOLDER)
        .tempdir()
        .map_err(broken)?;
    folders.push(folder.path().to_path_buf());
    for name in ["desk", "laptop"] {
        crate::place::private_folder(&folder.path().join(name))?;
    }
    Ok(folder)
}

/// What is still there of a ground that was taken down.
fn remains(folders: &[PathBuf], before: Before) -> Vec<String> {
    let mut left: Vec<String> = folders
        .iter()
        .filter(|path| path.exists())
        .map(|path| format!("the folder {}", path.display()))
        .collect();
    if interfaces() != before.interfaces {
        left.push("a network interface".to_owned());
    }
    left.extend(orphans(before.children));
    left
}

/// Two machines in namespaces of their own with a cable between them, or why not.
fn apart(folder: &Path) -> Result<[Machine; 2], String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".to_owned());
    }
    for tool in ["unshare", "ip"] {
        if Command::new(tool).arg("-V").output().is_err() {
            return Err(format!("needs the program `{tool}`"));
        }
    }
    let words = |problem: Problem| format!("{}: {}", problem.what, problem.known);
    // Killing `unshare` kills the first process of the namespace, and with it everything inside.
    let around = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let mut desk = Machine::start(folder, "desk", &around).map_err(words)?;
    let mut laptop = Machine::start(folder, "laptop", &around).map_err(words)?;
    // Both plugs are made inside the namespaces; nothing of the cable ever shows on this machine.
    let (here, there) = (
        desk.process.id().to_string(),
        laptop.process.id().to_string(),
    );
    let output = Command::new("ip")
        .args(["link", "add", CABLE, "netns", &here, "type", "veth"])
        .args(["peer", "name", CABLE, "netns", &there])
        .output()
        .map_err(|why| why.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    for (machine, address) in [&mut desk, &mut laptop].into_iter().zip(ADDRESSES) {
        let order = Order::Network {
            interface: CABLE.to_owned(),
            address: address.to_owned(),
        };
        machine.tell(&order).map_err(words)?;
    }
    Ok([desk, laptop])
}

/// Processes of the demo that are still there: orphans come to this process, which adopted them. They are killed. One
/// that was killed before may not have got as far as its end yet: it is waited for.
fn orphans(before: Vec<Pid>) -> Vec<String> {
    let mut left = Vec::new();
    let mut met = before;
    let start = Instant::now();
    loop {
        bury();
        // Those that the dead leave behind come to this process too.
        let Some(pid) = children().into_iter().find(|pid| !met.contains(pid)) else {
            return left;
        };
        met.push(pid);
        if ends(pid, DYING.saturating_sub(start.elapsed())) {
            continue;
        }
        left.push(format!("process {}", pid.as_raw_nonzero()));
        if let Err(why) = kill_process(pid, Signal::KILL) {
            left.push(format!("which cannot be killed ({why})"));
        }
    }
}

/// Takes note of the ends of all children that have ended.
fn bury() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

fn children() -> Vec<Pid> {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pids = children.split_whitespace().map(str::parse);
    pids.filter_map(|pid| Pid::from_raw(pid.ok()?)).collect()
}

/// Whether a child is dead by then, buried or not.
fn ends(pid: Pid, within: Duration) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let limit = Timespec::try_from(within).ok();
    let mut watched = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut watched, limit.as_ref()).is_ok_and(|ready| ready > 0)
}

fn interfaces() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[expect(clippy::needless_pass_by_value, reason = "made to be given to map_err")]
fn broken(why: std::io::Error) -> Problem {
    Problem::system("the demo's ground could not be built", &why)
}

fn gone() -> Problem {
    Problem::new(
        Exit::Failed,
        "demo.machine",
        "a machine of the demo does not answer",
    )
}
