//! A daemon whose socket is not where it is looked for: every verb finds it all the same, or names its process.

use rustix::process::{Pid, Signal, kill_process};

use crate::{Machine, told};

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
    machine.ends_in_order();
}

#[test]
fn a_daemon_without_any_socket_is_named_and_found_again() {
    let machine = elsewhere();
    let child = machine.daemon.as_ref().expect("it runs");
    let (process, pid) = (child.id().to_string(), Pid::from_child(child));
    // Held, so that it cannot make its socket again while it is looked for.
    kill_process(pid, Signal::STOP).expect("it runs");
    std::fs::remove_file(machine.folder.path().join("elsewhere/hive.sock")).expect("there");
    for (words, code) in [(&["down"][..], 3), (&["leave", "--yes"], 8)] {
        let output = machine.hive(words);
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        assert!(
            told(&output).contains(&process),
            "{words:?}: {}",
            told(&output)
        );
    }
    assert!(machine.state().join("key").exists(), "nothing was deleted");
    kill_process(pid, Signal::CONT).expect("it runs");
    machine.until("it answers again", |machine| {
        machine.hive(&["status"]).status.success().then_some(())
    });
    machine.ends_in_order();
}
