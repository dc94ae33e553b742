//! What a daemon left on that was killed together with its guardian: `hive down` puts it back, and where the rights for
//! that are missing, every verb that would hide it says so.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Step};
use hive_core::machine::facts::GroupId;
use hive_core::pattern::Action;
use hive_host::{Acting, Host, HostConfig, Roots, Scope};

use rustix::process::{Pid, Signal, kill_process, setpriority_process};

use crate::patience::ended;
use crate::{Machine, said, told};

/// A job in a session of its own; it ends with its input.
struct Job(Child);

impl Job {
    fn start() -> Self {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", "echo ready; read x"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let out = child.stdout.take().expect("asked for");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        // Whoever runs the tests may have given them a nice, which would be a person's.
        if let Err(why) = setpriority_process(Some(Pid::from_child(&child)), 0) {
            eprintln!("it keeps the nice of these tests: {why}");
        }
        Self(child)
    }

    /// Its nice value: the 19th field, the 17th after the name.
    fn nice(&self) -> i32 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let (_, after) = stat.rsplit_once(") ").expect("a name");
        let nice = after.split(' ').nth(16).expect("many fields");
        nice.parse().expect("a number")
    }

    /// Turns something on as a daemon of this machine does, and is gone without a word. Tells whether it could be done.
    fn is_changed(&self, machine: &Machine, action: Action) -> bool {
        are_changed(&[self], machine, action)
    }
}

/// The same for several jobs, each by a change of its own.
fn are_changed(jobs: &[&Job], machine: &Machine, action: Action) -> bool {
    // Who was born within the same tick of the clock as a change counts as born after it, and so as an heir.
    let hundredths = || {
        let text = std::fs::read_to_string("/proc/uptime").expect("readable");
        let seconds: f64 = text
            .split(' ')
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a number");
        seconds * 100.0
    };
    let born = hundredths();
    while hundredths() < born + 2.0 {
        std::thread::yield_now();
    }
    let (mut host, _) = Host::open(HostConfig {
        roots: Roots::default(),
        scope: Scope::Tree(std::process::id()),
        state: machine.state(),
        act: Acting::Yes,
    })
    .expect("nobody else uses it");
    (1..).zip(jobs).all(|(number, job)| {
        let session = job.0.id();
        let group = GroupId {
            session,
            group: session,
        };
        let receipt = host.act(&Step {
            change: ChangeId(number),
            action,
            targets: vec![group],
            units: vec![],
        });
        let done = matches!(receipt.outcome, Outcome::Applied { .. });
        if !done {
            eprintln!("not to be seen here: {:?}", receipt.outcome);
        }
        done
    })
}

impl Drop for Job {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ended with its input");
    }
}

/// One at a time: whatever was born meanwhile and carries our values counts as an heir.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_a_killed_daemon_left_on_is_put_back_by_down() {
    let _alone = alone();
    for action in [Action::FinerSlice, Action::BackgroundNice] {
        let machine = Machine::new();
        let job = Job::start();
        let before = job.nice();
        if !job.is_changed(&machine, action) {
            continue;
        }
        let carry = "what an earlier one had on is still on: 1 thread or session";
        for verb in [&["status"][..], &["undo", "p-1"], &["pause", "--dry-run"]] {
            let output = machine.hive(verb);
            assert_eq!(output.status.code(), Some(3));
            let words = flat(&told(&output));
            assert!(
                words.contains(carry) && words.contains("try: hive down"),
                "{words}"
            );
        }
        let doctor = flat(&said(&machine.hive(&["doctor"])));
        assert!(doctor.contains(carry), "{doctor}");
        let rehearsed = machine.hive(&["down", "--dry-run"]);
        assert!(rehearsed.status.success(), "{}", told(&rehearsed));
        assert!(said(&rehearsed).contains("would put 1 thread or session back"));
        let down = machine.hive(&["down"]);
        assert!(down.status.success(), "{}", told(&down));
        let words = said(&down);
        assert!(words.contains("no daemon runs; 1 "), "{words}");
        assert!(words.contains("of an earlier one put back"), "{words}");
        assert_eq!(job.nice(), before);
        let again = machine.hive(&["down"]);
        assert_eq!(again.status.code(), Some(3), "{}", said(&again));
        assert!(told(&again).contains("nothing to stop"), "{}", told(&again));
        let status = told(&machine.hive(&["status"]));
        assert!(!status.contains("earlier one"), "{status}");
    }
}

#[test]
fn what_a_killed_daemon_left_on_is_put_back_by_undo_and_by_pause() {
    let _alone = alone();
    for verb in ["undo", "pause"] {
        let machine = Machine::new();
        let job = Job::start();
        let before = job.nice();
        if !job.is_changed(&machine, Action::BackgroundNice) {
            continue;
        }
        assert_eq!(job.nice(), 11);
        if verb == "undo" {
            let undone = machine.json(&["undo", "--all", "--json"]);
            assert_eq!(
                (&undone["restored"], &undone["failed"]),
                (&1.into(), &0.into())
            );
        } else {
            // Nothing runs that could keep still.
            let paused = machine.hive(&["pause"]);
            assert_eq!(paused.status.code(), Some(3), "{}", said(&paused));
            let words = said(&paused);
            assert!(words.contains("of an earlier one put back"), "{words}");
            let words = flat(&told(&paused));
            assert!(words.contains("try: hive up, then: hive pause"), "{words}");
            assert!(!words.contains("still on"), "{words}");
        }
        assert_eq!(job.nice(), before);
    }
}

/// In one line, however it was broken.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The program without the right to lower a nice value.
fn without_rights(machine: &Machine, args: &[&str]) -> Command {
    let own = machine.command(args);
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice"])
        .arg(own.get_program())
        .args(own.get_args())
        .stdin(Stdio::null());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn tries(machine: &Machine, args: &[&str]) -> Output {
    let mut command = without_rights(machine, args);
    command.output().expect("the program runs")
}

/// A daemon that cannot put back what only its rights forbid.
fn goes_without_rights(machine: &mut Machine) {
    let daemon = without_rights(machine, &["daemon", "--bind", "127.0.0.1", "--port", "0"])
        .args(["--no-mdns", "--tree", &std::process::id().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    machine.daemon = Some(daemon);
    machine.until("the daemon answers", |machine| {
        machine.hive(&["status"]).status.success().then_some(())
    });
}

/// What status says that needs a person.
fn needs(machine: &Machine) -> String {
    machine.json(&["status", "--json"])["needs"].to_string()
}

#[test]
fn what_could_not_be_put_back_is_told_only_while_it_is_on() {
    let _alone = alone();
    let may = rustix::process::geteuid().is_root();
    for is_ended in [true, false] {
        let mut machine = Machine::new();
        let mut jobs = vec![Job::start(), Job::start(), Job::start()];
        let all: Vec<&Job> = jobs.iter().collect();
        if !may || !are_changed(&all, &machine, Action::BackgroundNice) {
            return;
        }
        goes_without_rights(&mut machine);
        // One after the other, the newest last.
        while !jobs.is_empty() {
            let left = format!("the rights at hand: {}", jobs.len());
            // A busy machine's daemon may answer before it has looked again.
            machine.until(&left, |machine| {
                needs(machine).contains(&left).then_some(())
            });
            let job = jobs.remove(0);
            if is_ended {
                drop(job);
            } else {
                setpriority_process(Some(Pid::from_child(&job.0)), 0).expect("this test may");
            }
        }
        machine.until("nothing is left", |machine| {
            (needs(machine) == "[]").then_some(())
        });
        let undone = machine.json(&["undo", "--all", "--json"]);
        assert_eq!(undone["failed"], 0);
        let output = tries(&machine, &["down"]);
        assert!(output.status.success(), "{}", told(&output));
        let daemon = machine.daemon.take().expect("it was started");
        assert!(ended(daemon).status.success());
        let down = machine.hive(&["down"]);
        assert_eq!(down.status.code(), Some(3), "{}", said(&down));
    }
}

#[test]
fn what_cannot_be_put_back_is_told_by_down_leave_and_status_and_kept() {
    let _alone = alone();
    let mut machine = Machine::start("desk");
    machine.stop();
    let job = Job::start();
    let before = job.nice();
    // Only who has the right can take it away here.
    let may = rustix::process::geteuid().is_root();
    if !may || !job.is_changed(&machine, Action::BackgroundNice) {
        return;
    }
    assert_eq!(job.nice(), 11);
    for verb in [&["down"][..], &["undo", "--all"], &["pause"]] {
        let output = tries(&machine, verb);
        assert_eq!(output.status.code(), Some(9), "{verb:?} {}", told(&output));
        let words = said(&output);
        assert!(words.contains("1 change could not be put back"), "{words}");
        let is_pause = verb[0] == "pause";
        assert_eq!(
            words.contains("nobody keeps still now"),
            is_pause,
            "{words}"
        );
    }
    let left = tries(&machine, &["leave", "--yes"]);
    assert_eq!(left.status.code(), Some(9), "{}", said(&left));
    assert!(told(&left).contains("[leave.restore]"), "{}", told(&left));
    assert!(machine.state().join("key").exists(), "it was deleted");

    goes_without_rights(&mut machine);
    assert!(needs(&machine).contains("undo.failed"));
    // A daemon that runs says it as well, and a place is not given up for it.
    for verb in [&["undo", "--all"][..], &["pause"]] {
        let output = tries(&machine, verb);
        assert_eq!(output.status.code(), Some(9), "{verb:?} {}", said(&output));
        let words = said(&output);
        assert!(words.contains("1 change could NOT be put back"), "{words}");
    }
    let left = tries(&machine, &["leave", "--yes"]);
    assert_eq!(left.status.code(), Some(9), "{}", said(&left));
    assert!(told(&left).contains("nobody was told"), "{}", told(&left));
    assert!(needs(&machine).contains("undo.failed"), "it runs on");
    let rotated = tries(&machine, &["rotate", "--yes", "--no-start"]);
    assert_eq!(rotated.status.code(), Some(9), "{}", said(&rotated));
    let words = told(&rotated);
    assert!(words.contains("1 change could not be put back"), "{words}");
    let daemon = machine.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());
    goes_without_rights(&mut machine);
    let down = tries(&machine, &["down"]);
    assert_eq!(down.status.code(), Some(9), "{}", told(&down));
    let daemon = machine.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());
    assert_eq!(job.nice(), 11, "who put that back?");
    // A daemon that hangs ends in order, and that is not all there is to tell.
    goes_without_rights(&mut machine);
    let daemon = machine.daemon.take().expect("it was started");
    kill_process(Pid::from_child(&daemon), Signal::STOP).expect("it runs");
    let down = tries(&machine, &["down"]);
    assert_eq!(down.status.code(), Some(9), "{}", said(&down));
    assert!(ended(daemon).status.success());

    is_put_back_by_the_last_try(machine);
    assert_eq!(job.nice(), before);
}

fn is_put_back_by_the_last_try(mut machine: Machine) {
    // The journal was kept: with the rights it is put back, also by the last try beside a daemon that has none.
    goes_without_rights(&mut machine);
    // The pause from above outlived its daemon; without it, this one tries before it ends.
    assert!(machine.hive(&["resume"]).status.success());
    let down = machine.hive(&["down"]);
    let words = said(&down);
    assert!(down.status.success(), "{words}");
    assert!(
        words.contains("1 thread or session of an earlier one put back"),
        "{words}"
    );
    let daemon = machine.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());
}

#[test]
fn a_journal_that_cannot_be_read_is_not_taken_for_nothing_on() {
    let mut machine = Machine::start("desk");
    machine.stop();
    let journal = machine.state().join("journal");
    std::fs::remove_file(&journal).expect("it was made");
    std::fs::create_dir(&journal).expect("writable");
    for (verb, exit) in [("status", 3), ("doctor", 7), ("down", 9)] {
        let output = machine.hive(&[verb]);
        let words = flat(&(said(&output) + &told(&output)));
        assert_eq!(output.status.code(), Some(exit), "{verb}: {words}");
        assert!(
            words.contains("the journal cannot be used"),
            "{verb}: {words}"
        );
        assert!(words.contains("try: ls -ld"), "{verb}: {words}");
    }
    let rehearsed = machine.hive(&["down", "--dry-run"]);
    let words = told(&rehearsed);
    assert_eq!(rehearsed.status.code(), Some(9), "{words}");
    assert!(words.contains("[daemon.restore]"), "{words}");
}

/// The files in the state folder that a damaged journal was kept as.
fn kept(machine: &Machine) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(machine.state()).expect("a folder");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let is_kept = |path: &std::path::PathBuf| path.to_string_lossy().contains("journal.damaged-");
    paths.filter(is_kept).collect()
}

#[test]
fn a_damaged_journal_is_kept_and_told_until_somebody_deletes_it() {
    let mut machine = Machine::start("desk");
    machine.stop();
    let garbage = b"neither a record nor the start of one";
    std::fs::write(machine.state().join("journal"), garbage).expect("writable");
    let lost = "what its lost part named may still be on";
    let words = flat(&told(&machine.hive(&["status"])));
    assert!(
        words.contains(lost) && words.contains("restart this machine"),
        "{words}"
    );
    assert_eq!(kept(&machine).len(), 0, "a look changes nothing");
    let down = machine.hive(&["down"]);
    let words = flat(&said(&down));
    assert_eq!(down.status.code(), Some(9), "{words}");
    assert!(words.contains(lost), "{words}");
    assert_eq!(machine.hive(&["down"]).status.code(), Some(3), "no news");

    machine.go("desk");
    let kept = kept(&machine);
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(&kept[0]).expect("readable"), garbage);
    assert!(needs(&machine).contains("journal.damaged"));
    let doctor = machine.hive(&["doctor", "--json"]);
    assert_eq!(doctor.status.code(), Some(7), "{}", told(&doctor));
    let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("json");
    let findings = doctor["findings"].as_array().expect("a list");
    let of_journal = |it: &&serde_json::Value| it["check"] == "journal";
    let found = findings.iter().find(of_journal).expect("a finding");
    let name = kept[0].to_string_lossy();
    assert!(
        found["outcome"] == "problem" && found["what"].to_string().contains(&*name),
        "{found}"
    );
    std::fs::remove_file(&kept[0]).expect("ours");
    assert_eq!(needs(&machine), "[]");
    machine.ends_in_order();
}
