//! A daemon that ends: what outlives it, what is told of it, and another verb at the same moment.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::patience::ended;
use crate::{Machine, said, told};

#[test]
fn a_rest_after_an_undo_outlives_down_and_up_and_one_resume_ends_it() {
    let mut machine = Machine::start("desk");
    machine.json(&["undo", "--all", "--json"]);
    machine.stop();
    machine.go("desk");
    let left = |machine: &Machine| machine.json(&["status", "--json"])["rest_left_s"].as_u64();
    let rest = left(&machine);
    assert!(rest.is_some(), "the end of a daemon ended it");
    let paused = machine.hive(&["pause", "30m"]);
    assert!(paused.status.success(), "{}", told(&paused));
    let rehearsed = machine.hive(&["resume", "--dry-run"]);
    assert!(said(&rehearsed).contains("the pause, and the rest"));
    assert!(left(&machine).is_some(), "only said");
    let resumed = machine.hive(&["resume"]);
    assert!(resumed.status.success(), "{}", told(&resumed));
    let status = machine.json(&["status", "--json"]);
    assert_eq!(status["paused"], false);
    assert!(status["rest_left_s"].is_null(), "{status}");
    machine.ends_in_order();
}

#[test]
fn a_machine_that_leaves_while_its_daemon_is_down_names_the_id_that_others_list() {
    let mut machine = Machine::start("desk");
    let status = machine.json(&["status", "--json"]);
    let id = status["node"].as_str().expect("its id").to_owned();
    machine.stop();
    let left = machine.hive(&["leave", "--yes"]);
    assert!(left.status.success(), "{}", told(&left));
    let words = said(&left).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("nobody was told"), "{words}");
    assert!(words.ends_with(&format!("hive remove {id}")), "{words}");
    assert!(!machine.state().join("key").exists());
}

#[test]
fn a_start_beside_an_end_does_not_take_the_one_that_ends_for_paused() {
    let mut machine = Machine::start("desk");
    for is_ended in [false, true] {
        // As `hive down` begins.
        let paused = machine.hive(&["pause", "2s"]);
        assert!(paused.status.success(), "{}", told(&paused));
        let up = machine
            .command(&["up", "--mode", "observe"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        if is_ended {
            let daemon = machine.daemon.take().expect("it was started");
            kill_process(Pid::from_child(&daemon), Signal::TERM).expect("it runs");
            assert!(ended(daemon).status.success());
        }
        let up = ended(up);
        assert!(up.status.success(), "{}", told(&up));
        assert!(said(&up).contains("Observing"), "{}", said(&up));
    }
    // It is another one that runs now.
    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
}
