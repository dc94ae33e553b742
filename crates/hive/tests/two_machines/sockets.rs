//! A daemon whose socket is not where it is looked for: every verb finds it all the same, or names its process.

use rustix::process::{Pid, Signal, kill_process};

use crate::{Machine, said, told};

/// A machine whose daemon answers in a folder that its clients do not know of.
fn elsewhere() -> Machine {
    let mut machine = Machine::new();
    let socket = machine.folder.path().join("elsewhere/hive.sock");
    let daemon = machine
        .command(&["--socket", &socket.to_string_lossy(), "daemon"])
        .args(["--bind", "127.0.0.1", "--port", "0", "--no-mdns"])
        .args(["--tree", &std::process::id().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the program runs");
    machine.daemon = Some(daemon);
    machine.until("the daemon answers", |machine| {
        machine.hive(&["status"]).status.success().then_some(())
    });
    machine
}

#[test]
fn a_daemon_with_another_socket_is_found_asked_and_ended() {
    let machine = elsewhere();
    assert!(!machine.state().join("hive.sock").exists());
    let up = machine.hive(&["up", "--yes"]);
    assert!(up.status.success(), "{}", told(&up));
    // Where a socket is named, only that one is asked; who runs is said.
    let wrong = machine.folder.path().join("wrong.sock");
    let output = machine.hive(&["--socket", &wrong.to_string_lossy(), "status"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(
        told(&output).contains("[daemon.unreachable]"),
        "{}",
        told(&output)
    );
    assert!(
        told(&output).contains("elsewhere/hive.sock"),
        "{}",
        told(&output)
    );
    // Nor is it taken for one that hangs.
    let up = machine.hive(&["--socket", &wrong.to_string_lossy(), "up", "--yes"]);
    assert_eq!(up.status.code(), Some(3), "{}", told(&up));
    assert!(told(&up).contains("[daemon.unreachable]"), "{}", told(&up));
    // Nor for one that has ended and left something on.
    for verb in [&["down"][..], &["undo", "--all"], &["pause"]] {
        let socket = wrong.to_string_lossy();
        let typed = [&["--socket", &*socket], verb].concat();
        let output = machine.hive(&typed);
        assert_eq!(output.status.code(), Some(3), "{verb:?} {}", told(&output));
        let words = told(&output);
        assert!(words.contains("[daemon.unreachable]"), "{words}");
        assert!(words.contains("elsewhere/hive.sock"), "{words}");
    }
    assert!(machine.hive(&["status"]).status.success(), "it runs on");
    machine.ends_in_order();
}

#[test]
fn a_daemon_without_any_socket_is_named_and_ended() {
    let mut machine = elsewhere();
    let process = held(&machine);
    std::fs::remove_file(machine.folder.path().join("elsewhere/hive.sock")).expect("there");
    for (words, code) in [(&["status"][..], 3), (&["leave", "--yes"], 8)] {
        names(&machine, words, code, &process);
    }
    assert!(machine.state().join("key").exists(), "nothing was deleted");
    machine.stop();
}

#[test]
fn a_daemon_that_hangs_is_told_of_by_every_verb_and_ended_by_down() {
    let mut machine = Machine::start("desk");
    let process = held(&machine);
    let told = names(&machine, &["up", "--yes"], 6, &process);
    assert!(
        told.contains("[daemon.silent]") && told.contains("hive down"),
        "{told}"
    );
    let told = names(&machine, &["status", "--json"], 6, &process);
    let error: serde_json::Value = serde_json::from_str(&told).expect("json");
    assert_eq!(
        (&error["code"], &error["kind"]),
        (&"daemon.silent".into(), &"silent".into())
    );
    let doctor = machine.hive(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(7));
    assert!(said(&doctor).contains(&process), "{}", said(&doctor));
    // Ends with a check that the daemon ended by itself, its values put back.
    machine.stop();
}

/// Its daemon, stopped as one that hangs is; its number.
fn held(machine: &Machine) -> String {
    let child = machine.daemon.as_ref().expect("it runs");
    kill_process(Pid::from_child(child), Signal::STOP).expect("it runs");
    child.id().to_string()
}

/// A verb that cannot be done, and says by which process.
fn names(machine: &Machine, words: &[&str], code: i32, process: &str) -> String {
    let output = machine.hive(words);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
    assert!(told.contains(process), "{words:?}: {told}");
    told
}
