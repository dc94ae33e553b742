//! What a person who types gets back: exit codes, words, and nothing done where nothing may be done.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Types a command in a place of its own, without a terminal.
fn hive(state: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hive"))
        .arg("--state")
        .arg(state.join("state"))
        .args(args)
        .env_remove("HIVE_STATE")
        .env_remove("HIVE_SOCKET")
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_daemon_every_verb_that_needs_one_says_so_and_ends_with_3() {
    let place = tempfile::tempdir().expect("a folder");
    for verb in [
        &["status"][..],
        &["status", "--json"],
        &["members"],
        &["pending"],
        &["patterns"],
        &["why", "p-1"],
        &["nearby"],
        &["invite"],
        &["approve", "lab-7"],
        &["deny", "lab-7"],
        &["remove", "lab-7", "--yes"],
        &["undo", "--all"],
        &["tune", "auto"],
        &["pause", "30m"],
        &["resume"],
        &["label", "desk"],
        &["down"],
    ] {
        let output = hive(place.path(), verb);
        assert_eq!(code(&output), 3, "{verb:?}: {}", told(&output));
        let words = told(&output);
        let mut lines = words.lines();
        let first = lines.next().unwrap_or_default();
        assert!(
            first.starts_with("error: the hive daemon is not running"),
            "{words}"
        );
        assert!(first.ends_with("[daemon.down]"), "{words}");
        assert!(words.contains("try: hive up"), "{words}");
        assert!(output.stdout.is_empty(), "{verb:?} printed something");
    }
    let left = std::fs::read_dir(place.path()).expect("readable").count();
    assert_eq!(left, 0, "asking left something in the state folder");
}

#[test]
fn a_text_that_is_no_invite_code_ends_with_2_and_starts_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    for wrong in ["HIVE", "HIVE-AAAAA-AAAAA-AAAAA-AAAAA", "hello"] {
        let output = hive(place.path(), &["join", wrong, "--yes"]);
        assert_eq!(code(&output), 2, "{wrong}: {}", told(&output));
        assert!(told(&output).contains("try: on the other machine: hive invite"));
    }
    let left = std::fs::read_dir(place.path()).expect("readable").count();
    assert_eq!(left, 0, "a wrong code started a daemon");
}

#[test]
fn words_that_are_off_end_with_2() {
    let place = tempfile::tempdir().expect("a folder");
    for wrong in [
        &["frobnicate"][..],
        &["undo"],
        &["undo", "p-1", "--all"],
        &["tune", "wild"],
        &["pause", "soon"],
        &["status", "--colour"],
        &[],
    ] {
        let output = hive(place.path(), wrong);
        assert_eq!(code(&output), 2, "{wrong:?}");
    }
}

#[test]
fn the_help_names_every_verb_that_people_see_and_the_exit_codes() {
    let place = tempfile::tempdir().expect("a folder");
    let output = hive(place.path(), &["--help"]);
    assert_eq!(code(&output), 0);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for verb in [
        "up", "down", "invite", "join", "pending", "approve", "deny", "members", "remove", "label",
        "status", "patterns", "why", "undo", "tune", "pause", "resume", "nearby", "demo",
    ] {
        assert!(
            text.contains(&format!("\n  {verb} ")),
            "{verb} is missing in\n{text}"
        );
    }
    assert!(text.contains("3 daemon not reachable"));
    for hidden in ["guard", "stage"] {
        assert!(
            !text.contains(&format!("\n  {hidden} ")),
            "{hidden} is shown"
        );
    }
}
