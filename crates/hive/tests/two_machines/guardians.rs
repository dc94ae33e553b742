//! A guardian that ends before its daemon: another one is started, or status and doctor say that there is none.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Machine, said, told};

/// The guardians of this folder that run.
fn guardians(state: &Path) -> Vec<Pid> {
    let state = state.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("a process table");
    let numbers = processes.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        (words.contains(&state.as_bytes()) && words.contains(&&b"guard"[..])).then_some(pid)
    });
    numbers.filter_map(Pid::from_raw).collect()
}

fn guardian(machine: &Machine) -> Pid {
    machine.until("it has one guardian", |machine| {
        match guardians(&machine.state()).as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    })
}

#[test]
fn a_guardian_that_was_killed_is_replaced_and_the_new_one_hears_the_goodbye() {
    let machine = Machine::start("desk");
    let first = guardian(&machine);
    kill_process(first, Signal::KILL).expect("it runs");
    machine.until("it has another guardian", |machine| {
        let _: () = machine.hive(&["status"]).status.success().then_some(())?;
        matches!(guardians(&machine.state()).as_slice(), [one] if *one != first).then_some(())
    });
    assert!(!said(&machine.hive(&["status"])).contains("guardian"));
    let state = machine.state();
    machine.ends_in_order();
    assert_eq!(guardians(&state), []);
}

#[test]
fn a_guardian_that_cannot_be_replaced_is_told_of() {
    let mut machine = Machine::new();
    // A program that is deleted while it runs, as by an update that breaks off, starts no second time.
    let program = machine.folder.path().join("hive");
    std::fs::copy(env!("CARGO_BIN_EXE_hive"), &program).expect("copied");
    let daemon = std::process::Command::new(&program)
        .arg("--state")
        .arg(machine.state())
        .args(["daemon", "--bind", "127.0.0.1", "--port", "0", "--no-mdns"])
        .args(["--tree", &std::process::id().to_string()])
        .env("XDG_CONFIG_HOME", machine.folder.path().join("settings"))
        .env_remove("HIVE_SOCKET")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    machine.daemon = Some(daemon);
    machine.until("the daemon answers", |machine| {
        machine.hive(&["status"]).status.success().then_some(())
    });
    std::fs::remove_file(&program).expect("there");
    kill_process(guardian(&machine), Signal::KILL).expect("it runs");
    let words = machine.until("status tells of it", |machine| {
        let words = said(&machine.hive(&["status"]));
        words.contains("guardian").then_some(words)
    });
    assert!(words.contains("hive down, then hive up"), "{words}");
    let doctor = machine.hive(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(7), "{}", told(&doctor));
    assert!(said(&doctor).contains("guardian"), "{}", said(&doctor));
    machine.ends_in_order();
}
