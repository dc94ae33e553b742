//! What the lab is when it starts itself again: holder of namespaces, leader of a terminal session.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, ioctl_tiocsctty, kill_process_group, setpriority_process, setsid,
    wait,
};
use rustix::termios::tcsetpgrp;

/// Keeps the namespaces it was started in alive until standard input closes, and reaps what is orphaned there.
pub fn hold(host_name: Option<&str>) -> Result<()> {
    if let Some(name) = host_name {
        std::fs::write("/proc/sys/kernel/hostname", name)
            .context("the computer cannot be named")?;
        // Sockets, locks and scratch files of a whole machine lie there: every computer has its own.
        for folder in ["/run", "/tmp"] {
            let mount = Command::new("mount")
                .args(["-t", "tmpfs", "-o", "mode=1777", "hive-lab", folder])
                .status()?;
            ensure!(mount.success(), "the computer cannot have its own {folder}");
        }
    }
    std::thread::spawn(reap);
    let mut output = std::io::stdout();
    writeln!(output, "up")?;
    output.flush()?;
    let mut nothing = [0; 64];
    while std::io::stdin().read(&mut nothing)? > 0 {}
    Ok(())
}

fn reap() {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            // No children now; orphans of other computers' programs may come.
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Becomes the leader of a new session on the terminal at standard input, starts the jobs as a shell would, and
/// ends when the one in the foreground does.
pub fn session(foreground: Option<&str>, background: Option<&str>) -> Result<ExitCode> {
    setsid().context("this process already leads a group")?;
    let terminal = std::io::stdin();
    ioctl_tiocsctty(&terminal).context("standard input is no terminal")?;
    // A person's terminal begins at nice 0, whatever the lab was started with.
    if let Err(error) = setpriority_process(None, 0) {
        eprintln!("hive-lab: the session keeps the lab's nice: {error}");
    }
    let background = background.map(start).transpose()?;
    let foreground = foreground.map(start).transpose()?;
    let code = if let Some(mut job) = foreground {
        tcsetpgrp(&terminal, group(&job)?)?;
        let status = job.wait()?;
        status.code().and_then(|code| u8::try_from(code).ok())
    } else {
        idle();
        Some(0)
    };
    if let Some(mut job) = background {
        kill_process_group(group(&job)?, Signal::TERM).ok();
        job.wait()?;
    }
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// An idle shell: waits for input that never comes.
fn idle() {
    let mut nothing = [0; 64];
    while let Ok(1..) = std::io::stdin().read(&mut nothing) {}
}

/// Starts a job in a process group of its own.
fn start(words: &str) -> Result<Child> {
    let words: Vec<String> =
        serde_json::from_str(words).context("a job is a JSON list of words")?;
    ensure!(!words.is_empty(), "a job has at least one word");
    Command::new(&words[0])
        .args(&words[1..])
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be started", words[0]))
}

fn group(job: &Child) -> Result<Pid> {
    let raw = i32::try_from(job.id())?;
    Pid::from_raw(raw).context("a process has a number")
}
