//! A small world on one machine: computers with their own network, processes and name, on one Ethernet.
//!
//! Nothing here has a name on the host: every namespace lives only as long as its `__hold` process, and that
//! ends when its standard input closes, so the kernel takes everything away even if the lab is killed.
//! Built as in `research/transport.md`, appendix C.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::procs;
use crate::world::switch::Switch;

pub mod capture;
pub mod daemon;
mod inside;
pub mod switch;
pub mod terminal;

/// How many computers one world may have: the last byte of their addresses is their number.
const MACHINES_MAX: u8 = 200;

/// Where a world's folder is made: not in `/tmp` or `/run`, of which every computer has its own.
const FOLDERS: &str = "/var/tmp";

/// How the names of all worlds' folders begin.
const FOLDER_PREFIX: &str = "hive-lab-";

/// The file in a world's folder that tells whose it is: process id and start, in ticks since boot.
const OWNER: &str = "owner";

/// Where the programs are that the lab starts.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The lab itself: it starts itself again as namespace holder, terminal session and workload.
    pub lab: PathBuf,
    /// The program under test.
    pub hive: PathBuf,
}

/// An Ethernet without a way out.
#[derive(Debug)]
pub struct World {
    tools: Tools,
    switch: Option<Switch>,
    hub: Holder,
    machines: u8,
    folder: TempDir,
}

/// One computer of the world. It ends, with everything that runs on it, when this is dropped.
#[derive(Debug)]
pub struct Machine {
    tools: Tools,
    holder: Holder,
    folder: PathBuf,
    address: Ipv4Addr,
    number: u8,
}

/// Bytes that went over an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

impl Tools {
    /// The hive program beside the lab's own, built with the same profile.
    pub fn beside_this_program() -> Result<Self> {
        let lab = std::env::current_exe().context("this program's own file cannot be found")?;
        let hive = lab.with_file_name("hive");
        ensure!(
            hive.is_file(),
            "the program under test is missing: {} (build it with: cargo build{} -p hive)",
            hive.display(),
            if cfg!(debug_assertions) {
                ""
            } else {
                " --release"
            }
        );
        Ok(Self { lab, hive })
    }

    /// The same programs where every computer of a world can see them.
    fn moved_to(&self, folder: &Path) -> Result<Self> {
        let move_one = |program: &Path| -> Result<PathBuf> {
            let name = program.file_name().context("a program has a name")?;
            let there = folder.join(name);
            if !there.exists() {
                copy_or_link(program, &there)?;
            }
            Ok(there)
        };
        Ok(Self {
            lab: move_one(&self.lab)?,
            hive: move_one(&self.hive)?,
        })
    }
}

/// Why no world can be made here; `None` when it can.
pub fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    let missing: Vec<&str> = ["ip", "unshare", "nsenter"]
        .into_iter()
        .filter(|tool| !on_path(tool))
        .collect();
    (!missing.is_empty()).then(|| format!("missing tools: {}", missing.join(", ")))
}

/// Whether a tool can be found.
pub fn on_path(tool: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

/// How long the bridge remembers where an address is, in hundredths of a second: a day. What it forgot it sends to all,
/// and a veth counts that, where a real card drops what is for somebody else.
const REMEMBERS: u32 = 8_640_000;

impl World {
    /// A world without computers yet.
    pub fn new(tools: &Tools) -> Result<Self> {
        if let Some(why) = unavailable() {
            bail!(why);
        }
        remove_orphans(Path::new(FOLDERS));
        let folder = tempfile::Builder::new()
            .prefix(FOLDER_PREFIX)
            .tempdir_in(FOLDERS)
            .context("no temporary folder")?;
        let me = std::process::id();
        let start = procs::stat(me).context("no own process")?.start;
        std::fs::write(folder.path().join(OWNER), format!("{me} {start}"))?;
        let tools = tools.moved_to(folder.path())?;
        let hub = Holder::start(&tools.lab, &["--net"], None)?;
        hub.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
        hub.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
        hub.ip(&format!(
            "link set lo up\n\
                 link add br0 type bridge stp_state 0 mcast_snooping 0 ageing_time {REMEMBERS}\n\
                 link set br0 up\n"
        ))?;
        Ok(Self {
            tools,
            switch: None,
            hub,
            machines: 0,
            folder,
        })
    }

    /// A world whose Ethernet is a switch that can be told to misbehave; what it does comes from the seed.
    pub fn with_switch(tools: &Tools, seed: u64) -> Result<Self> {
        let mut world = Self::new(tools)?;
        world.switch = Some(Switch::start(seed)?);
        Ok(world)
    }

    /// The switch, where the world was made with one.
    pub fn switch(&self) -> Result<&Switch> {
        self.switch.as_ref().context("this world has no switch")
    }

    /// A folder that goes away with the world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts another build of the program under test, called `name`, where every computer can see it.
    pub fn bring(&self, program: &Path, name: &str) -> Result<PathBuf> {
        let there = self.folder.path().join(name);
        copy_or_link(program, &there)?;
        Ok(there)
    }

    /// One more computer on the Ethernet, called `host_name` in its own eyes.
    pub fn machine(&mut self, host_name: &str) -> Result<Machine> {
        ensure!(
            self.machines < MACHINES_MAX,
            "a world has at most {MACHINES_MAX} computers"
        );
        self.machines += 1;
        let number = self.machines;
        let namespaces = [
            "--net",
            "--pid",
            "--mount",
            "--uts",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        let holder = Holder::start(&self.tools.lab, &namespaces, Some(host_name))?;
        holder.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
        holder.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
        let to = if self.switch.is_some() {
            ""
        } else {
            "master br0 "
        };
        self.hub.ip(&format!(
            "link add h{number} type veth peer name eth0 netns {pid}\n\
             link set h{number} {to}gso_max_segs 1 up\n",
            pid = holder.pid
        ))?;
        if let Some(switch) = &self.switch {
            switch.plug(self.hub.pid, number, &format!("h{number}"))?;
        }
        let address = address_of(number);
        holder.ip("link set lo up\nlink set eth0 gso_max_segs 1 up\n")?;
        holder.ip(&addressed(address))?;
        let folder = self.folder.path().join(format!("m{number}"));
        std::fs::create_dir(&folder)?;
        Ok(Machine {
            tools: self.tools.clone(),
            holder,
            folder,
            address,
            number,
        })
    }

    /// Pulls or plugs a computer's cable.
    pub fn cable(&self, machine: &Machine, plugged: bool) -> Result<()> {
        let number = machine.number;
        let state = if plugged { "up" } else { "down" };
        self.hub.ip(&format!("link set h{number} {state}\n"))
    }
}

impl Machine {
    /// Its folder on the host: home, state and socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its address on the Ethernet.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its number in the world, from 1: its port on the switch.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Gives it another address, as a network that leases them does.
    pub fn readdress(&mut self, last: u8) -> Result<()> {
        let address = address_of(last);
        let old = self.address;
        self.holder.ip(&format!("addr del {old}/24 dev eth0\n"))?;
        self.holder.ip(&addressed(address))?;
        self.address = address;
        Ok(())
    }

    /// The programs that the lab starts on it.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// From its next start on, this computer's daemon is that build.
    pub fn install(&mut self, hive: &Path) {
        self.tools.hive = hive.to_path_buf();
    }

    /// The host's number of its first process.
    pub fn init(&self) -> u32 {
        self.holder.pid
    }

    /// A program to be started on it, in an environment without anything of the lab's.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.holder.enter();
        command.arg(program);
        command.current_dir(&self.folder).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("HOME", &self.folder).env("LANG", "C.UTF-8");
        command
    }

    /// What went over its interface since it was made. Ethernet headers are included, FCS and preamble are not.
    pub fn counters(&self) -> Result<Counters> {
        let text = std::fs::read_to_string(format!("/proc/{}/net/dev", self.holder.pid))?;
        parse_counters(&text, "eth0").context("no eth0 on this computer")
    }

    /// All processes on it, as the host numbers them.
    pub fn processes(&self) -> Vec<u32> {
        procs::in_namespace(self.holder.pid)
    }
}

fn address_of(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// Lines of `ip` that give `eth0` an address; the routes of an interface go with its last one.
fn addressed(address: Ipv4Addr) -> String {
    format!("addr add {address}/24 brd + dev eth0\nroute add 224.0.0.0/4 dev eth0\n")
}

/// Removes what a lab that was killed has left: folders that name an owner which no longer lives, nothing else.
/// A folder without that file may be one that another lab is just making.
fn remove_orphans(folders: &Path) {
    let Ok(entries) = std::fs::read_dir(folders) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(FOLDER_PREFIX));
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !(ours && folder && is_orphan(&entry.path())) {
            continue;
        }
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            eprintln!(
                "hive-lab: {} cannot be removed: {error}",
                entry.path().display()
            );
        }
    }
}

/// Whether a world's folder says whose it is and that process, told by number and start, has ended.
fn is_orphan(folder: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(folder.join(OWNER)) else {
        return false;
    };
    let owner = text
        .split_once(' ')
        .and_then(|(pid, start)| Some((pid.parse::<u32>().ok()?, start.parse::<u64>().ok()?)));
    owner.is_some_and(|(pid, start)| procs::stat(pid).is_none_or(|stat| stat.start != start))
}

/// Gives a program one more name; a copy where the file system cannot.
pub fn copy_or_link(program: &Path, there: &Path) -> Result<()> {
    if std::fs::hard_link(program, there).is_err() {
        std::fs::copy(program, there)
            .with_context(|| format!("{} cannot be copied", program.display()))?;
    }
    Ok(())
}

fn parse_counters(text: &str, interface: &str) -> Option<Counters> {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    Some(Counters {
        received: *numbers.first()?,
        sent: *numbers.get(8)?,
    })
}

/// The process that keeps a set of namespaces alive.
#[derive(Debug)]
struct Holder {
    unshare: Child,
    pid: u32,
    forked: bool,
}

impl Holder {
    fn start(lab: &Path, namespaces: &[&str], host_name: Option<&str>) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(namespaces).arg("--").arg(lab).arg("__hold");
        command.args(host_name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut unshare = command.spawn().context("unshare cannot be started")?;
        let mut first = String::new();
        if let Some(output) = unshare.stdout.take() {
            BufReader::new(output).read_line(&mut first)?;
        }
        let forked = namespaces.contains(&"--fork");
        let mut holder = Self {
            pid: unshare.id(),
            unshare,
            forked,
        };
        ensure!(
            first.trim() == "up",
            "namespaces cannot be made here (unshare {})",
            namespaces.join(" ")
        );
        if forked {
            let children = procs::children(holder.pid).unwrap_or_default();
            holder.pid = *children.first().context("the namespace has no process")?;
        }
        Ok(holder)
    }

    /// The start of a command line that runs something inside.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.pid.to_string())
            .arg("--net");
        if self.forked {
            command.args(["--pid", "--mount", "--uts"]);
        }
        command.arg("--");
        command
    }

    /// Runs lines of `ip` inside.
    fn ip(&self, lines: &str) -> Result<()> {
        let mut command = self.enter();
        command.args(["ip", "-batch", "-"]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("ip cannot be started")?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Writes a file that depends on the network namespace. Where IPv6 is not built in, there is none.
    fn write(&self, path: &str, value: &str) -> Result<()> {
        let mut command = self.enter();
        let script = format!("if [ -e {path} ]; then echo {value} > {path}; fi");
        let status = command.args(["sh", "-c", &script]).status()?;
        ensure!(status.success(), "{path} cannot be written");
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        // It ends by itself now; the first process of a PID namespace takes all the others with it.
        for _ in 0..1_000 {
            if !matches!(self.unshare.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        procs::kill_all(&[self.pid]);
        if let Err(error) = self.unshare.wait() {
            eprintln!("hive-lab: a namespace did not end: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_whose_owner_has_ended_are_removed() {
        let place = tempfile::tempdir().expect("a folder");
        let me = std::process::id();
        let start = procs::stat(me).expect("this process").start;
        let make = |name: &str, owner: Option<String>| {
            let folder = place.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            if let Some(owner) = owner {
                std::fs::write(folder.join(OWNER), owner).expect("written");
            }
            folder
        };
        let ended = make("hive-lab-a", Some(format!("{} 1", u32::MAX)));
        let reused = make("hive-lab-b", Some(format!("{me} {}", start + 1)));
        let kept = [
            make("hive-lab-c", Some(format!("{me} {start}"))),
            make("hive-lab-d", None),
            make("hive-lab-e", Some("no numbers".into())),
            make("other-f", Some(format!("{} 1", u32::MAX))),
        ];
        remove_orphans(place.path());
        assert!(!ended.exists() && !reused.exists());
        assert!(kept.iter().all(|folder| folder.exists()));
    }

    #[test]
    fn counters_are_found_by_the_whole_name_of_the_interface() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  \
                    eth0: 120 2 0 0 0 0 0 0 345 3 0 0 0 0 0 0\n";
        let expected = Counters {
            received: 120,
            sent: 345,
        };
        assert_eq!(parse_counters(text, "eth0"), Some(expected));
        assert_eq!(parse_counters(text, "eth"), None);
    }
}
