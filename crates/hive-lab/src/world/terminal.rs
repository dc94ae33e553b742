//! A terminal session as a person has one: a pseudo terminal, a session leader, jobs in process groups of their
//! own, one of them in the foreground.
//!
//! The lab starts itself again (`__session`) as the leader, because a process must call `setsid` itself.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::procs;
use crate::world::Machine;

/// What runs in a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// The job in the foreground; without one the leader itself sits there like an idle shell.
    pub foreground: Option<Vec<String>>,
    /// A job started with `&`.
    pub background: Option<Vec<String>>,
}

/// A running session. Its processes are ended when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    enter: Child,
    leader: u32,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    /// Opens a terminal on a computer and starts its jobs there, with these variables besides the usual ones.
    pub fn open(machine: &Machine, jobs: &Jobs, variables: &[(&str, &str)]) -> Result<Self> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("no pseudo terminal")?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        let user = ioctl_tiocgptpeer(
            &controller,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?;
        let mut command = machine.command(&machine.tools().lab);
        command.arg("__session");
        if let Some(words) = &jobs.foreground {
            command
                .arg("--foreground")
                .arg(serde_json::to_string(words)?);
        }
        if let Some(words) = &jobs.background {
            command
                .arg("--background")
                .arg(serde_json::to_string(words)?);
        }
        command.env("TERM", "xterm").envs(variables.iter().copied());
        command.stdin(Stdio::from(user.try_clone()?));
        command.stdout(Stdio::from(user.try_clone()?));
        command.stderr(Stdio::from(user));
        let mut enter = command.spawn().context("nsenter cannot be started")?;
        // The command holds the user's end; while it lives, the terminal never hangs up.
        drop(command);
        let output = follow(controller)?;
        let name = machine
            .tools()
            .lab
            .file_name()
            .context("the lab has no name")?;
        let leader = name
            .to_str()
            .and_then(|name| procs::wait_for_child(enter.id(), name));
        let Some(leader) = leader else {
            let ended = enter.try_wait()?;
            enter.kill()?;
            enter.wait()?;
            bail!("the session did not start ({ended:?})");
        };
        Ok(Self {
            enter,
            leader,
            output,
            seen: Vec::new(),
        })
    }

    /// The leader, as the host numbers it.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Every process of the session, as the host numbers them.
    pub fn processes(&self) -> Vec<u32> {
        procs::session_members(self.leader)
    }

    /// Everything that the screen has shown so far.
    pub fn screen(&mut self) -> String {
        while let Ok(more) = self.output.try_recv() {
            self.seen.extend(more);
        }
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Whether the foreground job has ended, and if so whether it succeeded.
    pub fn ended(&mut self) -> Result<Option<bool>> {
        Ok(self.enter.try_wait()?.map(|status| status.success()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Jobs that fork while they are ended are caught by looking again; the bound only ends a hopeless case.
        for _ in 0..20 {
            let members = self.processes();
            if members.is_empty() {
                break;
            }
            procs::kill_all(&members);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if let Err(error) = self.enter.kill() {
            eprintln!("hive-lab: a session could not be ended: {error}");
        }
        if let Err(error) = self.enter.wait() {
            eprintln!("hive-lab: a session did not end: {error}");
        }
    }
}

/// Reads the screen until the terminal closes.
fn follow(controller: OwnedFd) -> Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = channel();
    let mut screen = std::fs::File::from(controller);
    std::thread::Builder::new()
        .name("terminal".into())
        .spawn(move || {
            let mut chunk = [0; 4096];
            // The last user's end closing reads as an error (EIO) on Linux.
            while let Ok(length @ 1..) = screen.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}
