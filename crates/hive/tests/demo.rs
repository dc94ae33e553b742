//! The demo's beginning and its end: two machines join, Ctrl-C ends it, and nothing is left. And a daemon
//! that is killed while a change is on: its guardian puts the values back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Looks at most this often for something to happen. A look takes about a millisecond, and a trial begins
/// within some seconds.
const LOOKS_MAX: usize = 20_000;

/// Looks through the process table at most this often.
const SCANS_MAX: usize = 1_000;

#[test]
fn an_interrupted_demo_has_joined_two_machines_and_leaves_nothing() {
    interrupted(|_, _| {});
}

#[test]
fn a_superuser_whose_kernel_makes_no_cable_plays_on_loopback() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: without root no cable is tried");
        return;
    }
    let story = interrupted(|folder, demo| {
        let tools = folder.join("tools");
        program(
            &tools.join("ip"),
            "#!/bin/sh\n[ \"$1\" = -V ] && exit 0\necho 'Error: Unknown device type.' >&2\nexit 2\n",
        );
        let path = std::env::var("PATH").expect("text");
        demo.env("PATH", format!("{}:{path}", tools.display()));
    });
    assert!(story.contains("Unknown device type"), "{story}");
    assert!(story.contains("both machines are on loopback"), "{story}");
}

/// `hive demo 2> >(tee log)`: the shell becomes the demo, and what it had started is a child of it.
#[test]
fn what_a_shell_had_started_before_it_became_the_demo_lives_on() {
    let home = tempfile::tempdir().expect("a folder");
    let (door, heard) = (home.path().join("door"), home.path().join("heard"));
    let made = Command::new("mkfifo").arg(&door).status();
    assert!(made.expect("it runs").success());
    interrupted(|_, demo| {
        let beside = "env -u TMPDIR sh -c 'read word < \"$DOOR\"; echo $word > \"$HEARD\"' > /dev/null 2>&1 &";
        *demo = Command::new("sh");
        demo.args(["-c", &format!("{beside} exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_hive"))
            .env("DOOR", &door)
            .env("HEARD", &heard);
    });
    // It waits for a word, or was ended and nobody ever opens the other end.
    let alive = std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&door);
    let mut word = alive.expect("nobody listens any more");
    word.write_all(b"still here\n").expect("it listens");
    drop(word);
    for _ in 0..LOOKS_MAX {
        if std::fs::read_to_string(&heard).is_ok_and(|text| text == "still here\n") {
            return;
        }
        std::thread::yield_now();
    }
    panic!("it heard nothing");
}

#[test]
fn a_demo_without_a_ground_fails_and_has_nothing_to_leave() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_hive"))
        .arg("demo")
        .env("TMPDIR", folder.path().join("not there"))
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let story = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{story}");
    assert!(story.contains("nothing left behind"), "{story}");
}

fn program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("ours");
    std::fs::write(path, text).expect("ours");
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, runs).expect("ours");
}

/// A demo that is interrupted when its machines have joined; its story.
fn interrupted(prepare: impl Fn(&Path, &mut Command)) -> String {
    let place = tempfile::tempdir().expect("a folder");
    // In the demo's folder for temporary things, so that whatever it leaves is found there.
    let folder = place.path().join("tmp");
    std::fs::create_dir(&folder).expect("ours");
    let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    for folder in [place.path(), &folder] {
        std::fs::set_permissions(folder, open.clone()).expect("ours");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
    prepare(place.path(), &mut command);
    let mut demo = command
        .arg("demo")
        .env("TMPDIR", &folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut story = String::new();
    for line in BufReader::new(demo.stdout.take().expect("asked for")).lines() {
        let line = line.expect("text");
        if line.starts_with("On desk an editor") {
            kill_process(Pid::from_child(&demo), Signal::INT).expect("it runs");
        }
        story.extend([line.as_str(), "\n"]);
    }
    let ended = demo.wait_with_output().expect("a child");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{story}{told}");
    assert!(story.contains("You are a member.  2 machines."), "{story}");
    assert!(story.contains("nothing left behind"), "{story}");
    assert!(told.contains("[demo.stopped]"), "{told}");
    assert!(
        story.lines().all(|line| line.chars().count() <= 80),
        "{story}"
    );
    let left = std::fs::read_dir(&folder).expect("readable").count();
    assert_eq!(left, 0, "files are left");
    assert!(no_process_of(&folder), "processes are left");
    story
}

#[test]
fn a_killed_daemons_values_are_put_back_by_its_guardian() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut machine = Machine::start(&folder.path().join("machine"));
    let daemon = [
        "--mode",
        "auto",
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
        "--no-mdns",
    ];
    let answer = machine.tell(&json!({ "do": "daemon", "args": daemon }));
    let pid = answer["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // In a session of its own the build can be held back and let go again by any user.
    machine.tell(&json!({ "do": "load", "jobs": 2 * cores, "source": null, "apart": true }));
    machine.until("a change is on", |values| changed(values) > 0);
    kill_process(pid.expect("a process"), Signal::KILL).expect("it runs");
    machine.until("all values are back", |values| changed(values) == 0);
    let threads = machine.tell(&json!({ "do": "values" }))["values"]["threads"].as_u64();
    assert!(threads > Some(2), "the load itself has ended: {threads:?}");
    machine.end();
    // The guardian ends by itself, moments after it has put the values back.
    let ended = (0..SCANS_MAX).any(|_| no_process_of(folder.path()));
    assert!(ended, "processes are left");
}

fn changed(values: &Value) -> u64 {
    ["niced", "sliced", "autogroups_niced"]
        .iter()
        .filter_map(|key| values[key].as_u64())
        .sum()
}

/// A machine of the demo, told what to do over its pipe. It takes everything down when the pipe closes, so
/// a panic leaves nothing either.
struct Machine {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Machine {
    fn start(folder: &Path) -> Self {
        std::fs::create_dir(folder).expect("writable");
        let mut process = Command::new(env!("CARGO_BIN_EXE_hive"))
            .args(["stage", "machine"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("asked for"));
        let mut machine = Self {
            process,
            orders,
            answers,
        };
        machine.answer();
        machine
    }

    fn tell(&mut self, order: &Value) -> Value {
        let orders = self.orders.as_mut().expect("not ended");
        writeln!(orders, "{order}").expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let answer: Value = serde_json::from_str(&line).expect("json");
        assert!(answer["error"].is_null(), "{answer}");
        answer
    }

    fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) {
        let came = (0..LOOKS_MAX).any(|_| fits(&self.tell(&json!({ "do": "values" }))["values"]));
        assert!(came, "it never came that {what}");
    }

    fn end(mut self) {
        drop(self.orders.take());
        assert!(
            self.process.wait().expect("a child").success(),
            "a machine did not end in order"
        );
    }
}

/// Whether no process was started with this folder among its arguments.
fn no_process_of(folder: &Path) -> bool {
    let folder = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("a process table");
    processes.flatten().all(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        !String::from_utf8_lossy(&line).contains(&folder)
    })
}
