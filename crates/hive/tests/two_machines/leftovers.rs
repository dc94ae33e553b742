//! What a daemon left on that was killed together with its guardian: `hive down` puts it back, and where the rights for
//! that are missing, every verb that would hide it says so.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Step};
use hive_core::machine::facts::GroupId;
use hive_core::pattern::Action;
use hive_host::{Acting, Host, HostConfig, Roots, Scope};

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
        let session = self.0.id();
        let (mut host, _) = Host::open(HostConfig {
            roots: Roots::default(),
            scope: Scope::Tree(session),
            state: machine.state(),
            act: Acting::Yes,
        })
        .expect("nobody else uses it");
        let group = GroupId {
            session,
            group: session,
        };
        let receipt = host.act(&Step {
            change: ChangeId(1),
            action,
            targets: vec![group],
        });
        let done = matches!(receipt.outcome, Outcome::Applied { .. });
        if !done {
            eprintln!("not to be seen here: {:?}", receipt.outcome);
        }
        done
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ended with its input");
    }
}

#[test]
fn what_a_killed_daemon_left_on_is_put_back_by_down() {
    for action in [Action::FinerSlice, Action::BackgroundNice] {
        let machine = Machine::new();
        let job = Job::start();
        let before = job.nice();
        if !job.is_changed(&machine, action) {
            continue;
        }
        assert_eq!(machine.hive(&["status"]).status.code(), Some(3));
        let down = machine.hive(&["down"]);
        assert!(down.status.success(), "{}", told(&down));
        let words = said(&down);
        assert!(words.contains("no daemon runs; 1 "), "{words}");
        assert!(words.contains("of an earlier one put back"), "{words}");
        assert_eq!(job.nice(), before);
        let again = machine.hive(&["down"]);
        assert_eq!(again.status.code(), Some(3), "{}", said(&again));
        assert!(told(&again).contains("nothing to stop"), "{}", told(&again));
    }
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

#[test]
fn what_cannot_be_put_back_is_told_by_down_leave_and_status_and_kept() {
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
    let down = tries(&machine, &["down"]);
    assert_eq!(down.status.code(), Some(9), "{}", told(&down));
    assert!(
        said(&down).contains("1 change could not be put back"),
        "{}",
        said(&down)
    );
    let left = tries(&machine, &["leave", "--yes"]);
    assert_eq!(left.status.code(), Some(9), "{}", said(&left));
    assert!(told(&left).contains("[leave.restore]"), "{}", told(&left));
    assert!(machine.state().join("key").exists(), "it was deleted");

    let daemon = without_rights(&machine, &["daemon", "--bind", "127.0.0.1", "--port", "0"])
        .args(["--no-mdns", "--tree", &std::process::id().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    machine.daemon = Some(daemon);
    let needs = machine.until("the daemon answers", |machine| {
        let status = machine.hive(&["status", "--json"]);
        let view = || serde_json::from_slice::<serde_json::Value>(&status.stdout).ok();
        status.status.success().then(view)?
    });
    let needs = needs["needs"].to_string();
    assert!(needs.contains("undo.failed"), "{needs}");
    let down = tries(&machine, &["down"]);
    assert_eq!(down.status.code(), Some(9), "{}", told(&down));
    let mut daemon = machine.daemon.take().expect("it was started");
    assert!(daemon.wait().expect("ours").success());
    assert_eq!(job.nice(), 11, "who put that back?");

    // The journal was kept: with the rights it is put back.
    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
    assert_eq!(job.nice(), before);
}
