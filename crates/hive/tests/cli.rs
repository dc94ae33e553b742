//! What a person who types gets back: exit codes, words, and nothing done where nothing may be done.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
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
        &["role", "lab-7", "admin"],
        &["forgive", "lab-7"],
        &["recovery-key", "--anywhere"],
        &["recover"],
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
        let advice = words.contains("try: hive up");
        assert_eq!(advice, verb != ["down"], "{words}");
        assert!(output.stdout.is_empty(), "{verb:?} printed something");
    }
    let left = std::fs::read_dir(place.path()).expect("readable").count();
    assert_eq!(left, 0, "asking left something in the state folder");
}

#[test]
fn a_daemon_that_ended_by_an_error_is_down_with_its_reason() {
    let place = tempfile::tempdir().expect("a folder");
    let state = place.path().join("state");
    std::fs::create_dir(&state).expect("writable");
    let log = |text: &str| std::fs::write(state.join("daemon.log"), text).expect("writable");
    log(
        "2026-01-01T00:00:00Z  INFO ready\nerror: the store could not be written    [daemon.store]\n  \
         the disk is full;\n  nothing that was saved is lost\n  try: free space, then: hive up\n",
    );
    let words = told(&hive(place.path(), &["status"]));
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        line.contains("the store could not be written: the disk is full; nothing that was saved"),
        "{words}"
    );
    log("2026-01-01T00:00:00Z  INFO ready\n");
    let words = told(&hive(place.path(), &["status"]));
    assert!(!words.contains("when it last ran"), "{words}");
}

#[test]
fn a_state_folder_that_cannot_be_made_is_named_with_what_to_type() {
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("state"), "in the way").expect("writable");
    let output = hive(&place.path().join("state"), &["up"]);
    assert_eq!(code(&output), 1);
    let words = told(&output).split_whitespace().collect::<String>();
    let folder = place.path().join("state/state").display().to_string();
    assert!(words.contains(&folder), "{words}");
    assert!(words.contains("hive--stateDIRup"), "{words}");
}

/// Words without the line breaks of the screen.
fn unwrapped(output: &Output) -> String {
    told(output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_lies_in_the_way_of_a_start_is_named_with_what_to_type() {
    let place = tempfile::tempdir().expect("a folder");
    let real = place.path().join("real");
    DirBuilder::new()
        .mode(0o700)
        .create(&real)
        .expect("writable");
    let state = place.path().join("state");
    std::os::unix::fs::symlink(&real, &state).expect("linked");
    let linked = hive(place.path(), &["up"]);
    assert_eq!(code(&linked), 1, "{}", told(&linked));
    let words = unwrapped(&linked);
    for part in [
        "/state: the state folder is a link",
        "readlink -f",
        "hive --state DIR up",
    ] {
        assert!(words.contains(part), "{words}");
    }

    let log = real.join("daemon.log");
    std::fs::remove_file(&log).expect("the last try's");
    std::fs::create_dir(&log).expect("made");
    let folder = hive(place.path(), &["up"]);
    assert_eq!(code(&folder), 1, "{}", told(&folder));
    let words = unwrapped(&folder);
    for part in [
        "/state/daemon.log cannot be written: Is a directory",
        "try: move it away",
    ] {
        assert!(words.contains(part), "{words}");
    }
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
        "up", "down", "leave", "invite", "join", "pending", "approve", "deny", "members", "remove",
        "label", "status", "patterns", "why", "undo", "tune", "pause", "resume", "nearby", "demo",
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

#[test]
fn leaving_without_a_terminal_needs_a_yes_and_a_damaged_store_can_be_left() {
    let place = tempfile::tempdir().expect("a folder");
    let nothing = hive(place.path(), &["leave", "--yes"]);
    assert_eq!(code(&nothing), 0, "{}", told(&nothing));
    let state = place.path().join("state");
    DirBuilder::new()
        .mode(0o700)
        .create(&state)
        .expect("writable");
    let store = state.join("store.redb");
    std::fs::write(&store, "no store at all").expect("writable");
    let up = hive(place.path(), &["up"]);
    assert_eq!(code(&up), 1, "{}", told(&up));
    let words = unwrapped(&up);
    assert!(
        words.contains("damaged") && words.contains("hive leave"),
        "{words}"
    );

    let asked = hive(place.path(), &["leave"]);
    assert_eq!(code(&asked), 2, "{}", told(&asked));
    let rehearsed = hive(place.path(), &["leave", "--dry-run"]);
    assert_eq!(code(&rehearsed), 0, "{}", told(&rehearsed));
    assert!(store.exists(), "it was deleted unasked");
    let left = hive(place.path(), &["leave", "--yes"]);
    assert_eq!(code(&left), 0, "{}", told(&left));
    assert!(!store.exists() && !state.join("key").exists());
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let place = tempfile::tempdir().expect("a folder");
    let output = hive(place.path(), &["members", "--json"]);
    assert_eq!(code(&output), 3);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("json");
    assert_eq!(error["schema"], "hive.error/1");
    assert_eq!(error["code"], "daemon.down");
    assert_eq!(error["kind"], "daemon_down");
    assert_eq!(error["try_next"], "hive up");
}

#[test]
fn an_undo_of_nothing_named_says_what_can_be_named() {
    let place = tempfile::tempdir().expect("a folder");
    assert!(told(&hive(place.path(), &["undo"])).contains("hive undo --all"));
    assert!(told(&hive(place.path(), &["pause", "31d"])).contains("at most 30d"));
}

#[test]
fn a_reader_that_left_and_a_full_disk_end_it_without_a_trace() {
    let place = tempfile::tempdir().expect("a folder");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    for (out, exit, words) in [
        (Stdio::from(writer), 141, ""),
        (Stdio::from(full), 1, "error: failed printing to stdout: "),
    ] {
        // Needs no daemon, and prints.
        let output = Command::new(env!("CARGO_BIN_EXE_hive"))
            .arg("--state")
            .arg(place.path().join("state"))
            .args(["leave", "--yes"])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .expect("the program runs");
        let told = told(&output);
        assert_eq!(code(&output), exit, "{told}");
        assert!(
            told.starts_with(words) && told.lines().count() <= 1,
            "{told}"
        );
    }
}

#[test]
fn the_help_fits_the_narrowest_screen() {
    let place = tempfile::tempdir().expect("a folder");
    let output = hive(place.path(), &["--help"]);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("hive join CODE\nSee it:"),
        "a line was broken"
    );
}
