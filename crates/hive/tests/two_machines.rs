//! Two real daemons on the loopback interface, spoken to only through what a person types.

#[path = "two_machines/patience.rs"]
mod patience;

#[path = "two_machines/disks.rs"]
mod disks;

#[path = "two_machines/guardians.rs"]
mod guardians;

#[path = "two_machines/sockets.rs"]
mod sockets;

#[path = "two_machines/identity.rs"]
mod identity;

#[path = "two_machines/leftovers.rs"]
mod leftovers;

#[path = "two_machines/endings.rs"]
mod endings;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::patience::ended;

/// Looks at most this often for something to happen; each look is a whole run of the program.
const LOOKS_MAX: usize = 2_000;

/// One machine: a folder, and the daemon in it, which is killed by its id when the test ends in a panic.
struct Machine {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("settings/hive");
        std::fs::create_dir_all(&settings).expect("writable");
        // Nothing of a test leaves the loopback interface.
        std::fs::write(
            settings.join("config.toml"),
            "[network]\ninterfaces = [\"lo\"]\n",
        )
        .expect("writable");
        Self {
            folder,
            daemon: None,
        }
    }

    fn start(label: &str) -> Self {
        let mut machine = Self::new();
        machine.go(label);
        machine
    }

    /// Starts the daemon in this folder.
    fn go(&mut self, label: &str) {
        self.go_with(label, &[]);
    }

    /// The same where only the key was left.
    fn go_without_store(&mut self, label: &str) {
        self.go_with(label, &["--without-store"]);
    }

    fn go_with(&mut self, label: &str, flags: &[&str]) {
        self.go_at("0", label, flags);
    }

    fn go_at(&mut self, port: &str, label: &str, flags: &[&str]) {
        let daemon = self
            .command(&[
                "daemon",
                "--bind",
                "127.0.0.1",
                "--port",
                port,
                "--no-mdns",
                "--label",
                label,
            ])
            .args(["--tree", &std::process::id().to_string()])
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        self.daemon = Some(daemon);
        self.until("the daemon answers", |machine| {
            machine.hive(&["status"]).status.success().then_some(())
        });
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
        command
            .arg("--state")
            .arg(self.state())
            .args(args)
            .env("XDG_CONFIG_HOME", self.folder.path().join("settings"))
            .env_remove("HIVE_STATE")
            .env_remove("HIVE_SOCKET")
            .stdin(Stdio::null());
        command
    }

    fn hive(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.hive(args);
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout).expect("json")
    }

    fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let seen = (0..LOOKS_MAX).find_map(|_| look(self));
        seen.unwrap_or_else(|| panic!("it never came that {what}"))
    }

    fn ends_in_order(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let output = self.hive(&["down"]);
        assert!(output.status.success(), "{}", told(&output));
        let daemon = self.daemon.take().expect("it was started");
        assert!(
            ended(daemon).status.success(),
            "the daemon did not end in order"
        );
        assert_eq!(self.hive(&["status"]).status.code(), Some(3));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A verb of the test that failed may have started one, which is nobody's child.
            self.hive(&["down"]);
        }
        if let Some(mut daemon) = self.daemon.take() {
            daemon
                .kill()
                .and_then(|()| daemon.wait())
                .expect("it was ours to end");
        }
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn members(machine: &Machine) -> Vec<String> {
    let view = machine.json(&["members", "--json"]);
    assert_eq!(view["schema"], "hive.members/1");
    let members = view["members"].as_array().expect("a list").clone();
    members
        .iter()
        .map(|member| member["label"].as_str().expect("a label").to_owned())
        .collect()
}

/// Knocks at the desk; returns the running `hive join`.
fn knock(laptop: &Machine, invite: &Value) -> Child {
    let code = invite["code"].as_str().expect("a code").to_owned();
    let at = format!("127.0.0.1:{}", invite["port"]);
    laptop
        .command(&["join", &code, "--at", &at])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

#[test]
fn two_machines_join_by_code_words_and_approval_and_one_is_removed_again() {
    let desk = Machine::start("desk");
    let laptop = Machine::start("laptop");
    assert_eq!(members(&desk), ["desk"]);

    let join = knock(&laptop, &desk.json(&["invite", "--json"]));
    let waiting = desk.until("somebody waits", |desk| {
        let view = desk.json(&["pending", "--json"]);
        view["pending"]
            .as_array()
            .and_then(|list| list.first().cloned())
    });
    let words = waiting["words"].as_str().expect("words").to_owned();
    assert_eq!(words.split(' ').count(), 4);
    assert!(
        said(&desk.hive(&["status"])).contains("hive approve"),
        "status does not say who waits"
    );
    assert_eq!(desk.hive(&["status", "--check"]).status.code(), Some(7));
    assert_eq!(desk.hive(&["approve", "nobody"]).status.code(), Some(5));
    assert_eq!(
        desk.hive(&["approve", "laptop", "--dry-run"]).status.code(),
        Some(0)
    );
    assert_eq!(members(&desk), ["desk"], "a rehearsal let somebody in");

    let approved = desk.hive(&["approve", "laptop"]);
    assert!(approved.status.success(), "{}", told(&approved));
    let joined = ended(join);
    assert!(joined.status.success(), "{}", told(&joined));
    let story = said(&joined);
    assert!(
        story.contains(&format!("Both screens must show:  {words}")),
        "{story}"
    );
    assert!(story.contains("You are a member.  2 machines."), "{story}");
    for machine in [&desk, &laptop] {
        machine.until("both are members", |machine| {
            (members(machine) == ["desk", "laptop"]).then_some(())
        });
    }

    let unconfirmed = desk.hive(&["remove", "laptop"]);
    assert_eq!(unconfirmed.status.code(), Some(2));
    assert!(told(&unconfirmed).contains("hive remove laptop --yes"));
    let removed = desk.hive(&["remove", "laptop", "--yes"]);
    assert!(removed.status.success(), "{}", told(&removed));
    desk.until("the laptop is gone", |desk| {
        (members(desk) == ["desk"]).then_some(())
    });
    // It has nothing more to say there, and is its person's as before.
    laptop.until("the laptop knows", |laptop| {
        let needs = laptop.json(&["status", "--json"])["needs"].clone();
        let removed = |it: &Value| it["code"] == "node.removed";
        needs.as_array()?.iter().any(removed).then_some(())
    });
    for args in [["label", "attic"].as_slice(), &["pause"], &["resume"]] {
        let done = laptop.hive(args);
        assert!(done.status.success(), "{}", told(&done));
    }
    leaves_and_starts_anew(laptop);
    desk.ends_in_order();
}

#[test]
fn a_machine_joins_with_a_ticket_alone_and_a_damaged_one_starts_nothing() {
    let desk = Machine::start("desk");
    let laptop = Machine::start("laptop");
    let invite = desk.json(&["invite", "--ticket", "--for", "2h", "--json"]);
    assert_eq!(invite["schema"], "hive.invite/1");
    assert_eq!(invite["seconds"], 7_200);
    let ticket = invite["ticket"].as_str().expect("a ticket");
    let place = format!("127.0.0.1:{}", invite["port"]);
    assert_eq!(invite["places"], serde_json::json!([place]));
    for (damaged, code) in [
        (ticket[..ticket.len() - 3].to_owned(), "join.ticket_cut"),
        (format!("{ticket}q"), "join.ticket"),
    ] {
        let refused = laptop.hive(&["join", &damaged]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(told(&refused).contains(code), "{}", told(&refused));
    }
    let own = desk.hive(&["join", ticket]);
    assert!(told(&own).contains("join.self"), "{}", told(&own));
    let long = desk.hive(&["invite", "--for", "3d"]);
    assert!(told(&long).contains("invite.too_long"), "{}", told(&long));

    let join = laptop
        .command(&["join", ticket])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let words = desk.until("somebody waits", |desk| {
        let view = desk.json(&["pending", "--json"]);
        Some(view["pending"].get(0)?["words"].as_str()?.to_owned())
    });
    assert!(desk.hive(&["approve", "laptop"]).status.success());
    let joined = ended(join);
    assert!(joined.status.success(), "{}", told(&joined));
    assert!(said(&joined).contains(&words), "{}", said(&joined));
    for machine in [&desk, &laptop] {
        machine.until("both are members", |machine| {
            (members(machine) == ["desk", "laptop"]).then_some(())
        });
    }
    let again = laptop.hive(&["join", ticket]);
    assert!(told(&again).contains("join.already"), "{}", told(&again));
    desk.ends_in_order();
    laptop.ends_in_order();
}

#[test]
fn a_founder_with_a_new_key_keeps_its_place_and_its_old_key_opens_nothing() {
    let mut desk = Machine::start("desk");
    let laptop = Machine::start("laptop");
    let join = knock(&laptop, &desk.json(&["invite", "--json"]));
    desk.until("somebody waits", |desk| {
        let view = desk.json(&["pending", "--json"]);
        (view["pending"].as_array()?.len() == 1).then_some(())
    });
    assert!(desk.hive(&["approve", "laptop"]).status.success());
    assert!(ended(join).status.success());
    desk.until("both are connected", |desk| {
        (desk.json(&["status", "--json"])["peers_online"] == 1).then_some(())
    });
    let unconfirmed = desk.hive(&["rotate"]);
    assert_eq!(unconfirmed.status.code(), Some(2));
    assert!(desk.hive(&["rotate", "--dry-run"]).status.success());
    let before = desk.json(&["status", "--json"])["node"].clone();
    let old_key = std::fs::read(desk.state().join("key")).expect("a key");

    let view = desk.json(&["rotate", "--yes", "--no-start", "--json"]);
    assert_eq!(view["schema"], "hive.rotate/1");
    assert_eq!(
        (&view["old"], &view["told"]),
        (&before, &serde_json::json!(1))
    );
    let daemon = desk.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());
    // The laptop has heard of it already.
    let founder = |machine: &Machine| machine.json(&["members", "--json"])["members"][0].clone();
    laptop.until("the laptop knows the new key", |laptop| {
        let id = founder(laptop)["node"].as_str()?.to_owned();
        id.starts_with(view["new"].as_str()?).then_some(())
    });

    desk.go("another name");
    assert_ne!(
        std::fs::read(desk.state().join("key")).expect("a key"),
        old_key
    );
    assert!(!desk.state().join("key.next").exists());
    assert_eq!(desk.json(&["status", "--json"])["node"], view["new"]);
    for machine in [&desk, &laptop] {
        machine.until("they are connected again", |machine| {
            (machine.json(&["status", "--json"])["peers_online"] == 1).then_some(())
        });
        assert_eq!(members(machine), ["desk", "laptop"]);
        assert_eq!(founder(machine)["role"], "admin");
    }
    // It still lets machines in and removes them.
    let removed = desk.hive(&["remove", "laptop", "--yes"]);
    assert!(removed.status.success(), "{}", told(&removed));
    laptop.until("the laptop is out", |laptop| {
        (laptop.json(&["status", "--json"])["peers_online"] == 0).then_some(())
    });
    desk.ends_in_order();
}

/// Leaves, and comes back as somebody else, alone.
fn leaves_and_starts_anew(mut machine: Machine) {
    let before = machine.json(&["status", "--json"])["node"].clone();
    let left = machine.hive(&["leave", "--yes"]);
    assert!(left.status.success(), "{}", told(&left));
    assert!(said(&left).contains("it starts anew with hive up"));
    let daemon = machine.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());
    let up = machine.hive(&["up"]);
    assert!(up.status.success(), "{}", told(&up));
    let after = machine.json(&["status", "--json"]);
    assert_ne!(after["node"], before, "it came back under its old key");
    assert_eq!(after["members"], 1);
    assert_eq!(after["mode"], "observe");
    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
}

#[test]
fn a_demo_pauses_the_users_own_daemon_and_ends_the_pause_when_interrupted() {
    let desk = Machine::start("desk");
    let demo = desk
        .command(&["demo", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let paused = |machine: &Machine| machine.json(&["status", "--json"])["paused"] == true;
    desk.until("it is paused", |desk| paused(desk).then_some(()));
    let pid = i32::try_from(demo.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::INT).expect("it was ours to end");
    ended(demo);
    assert!(!paused(&desk), "the pause outlived the demo");
    desk.ends_in_order();
}

#[test]
fn a_denied_machine_stays_outside_and_is_told() {
    let desk = Machine::start("desk");
    let laptop = Machine::start("laptop");
    let join = knock(&laptop, &desk.json(&["invite", "--json"]));
    desk.until("somebody waits", |desk| {
        let view = desk.json(&["pending", "--json"]);
        (view["pending"].as_array()?.len() == 1).then_some(())
    });
    let denied = desk.hive(&["deny", "laptop"]);
    assert!(denied.status.success(), "{}", told(&denied));
    let joined = ended(join);
    assert!(
        !joined.status.success(),
        "a denied machine believes it is a member"
    );
    assert!(told(&joined).starts_with("error: "), "{}", told(&joined));
    assert_eq!(members(&desk), ["desk"]);
    assert_eq!(members(&laptop), ["laptop"]);
}

#[test]
fn two_who_start_it_at_once_both_find_it_running() {
    let machine = Machine::new();
    let both = [(), ()].map(|()| {
        machine
            .command(&["up", "--mode", "observe"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs")
    });
    for up in both {
        let output = ended(up);
        assert!(output.status.success(), "{}", told(&output));
    }
    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
    assert!(
        no_process_of(&machine.state()),
        "a process of the daemon is left"
    );
}

#[test]
fn up_without_a_terminal_only_observes_and_says_how_to_change_that() {
    let machine = Machine::new();
    let up = machine.hive(&["up"]);
    assert!(up.status.success(), "{}", told(&up));
    let story = said(&up);
    assert!(
        story.contains("Observing; changes nothing (let it try:  hive tune auto)."),
        "{story}"
    );
    assert!(
        !story.contains("[Y/n]"),
        "it asked although nobody can answer"
    );
    assert_eq!(machine.json(&["status", "--json"])["mode"], "observe");
    assert!(said(&machine.hive(&["status"])).contains("hive tune auto"));

    // A second `up` finds the daemon that runs; a flag is an answer.
    let again = machine.hive(&["up", "--mode", "suggest"]);
    assert!(again.status.success(), "{}", told(&again));
    assert_eq!(machine.json(&["status", "--json"])["mode"], "suggest");

    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
    assert_eq!(machine.hive(&["status"]).status.code(), Some(3));
    assert!(
        no_process_of(&machine.state()),
        "a process of the daemon is left"
    );
}

#[test]
fn the_log_has_a_bound_and_a_start_that_fails_takes_nothing_from_it() {
    let machine = Machine::new();
    let (log, old) = ["daemon.log", "daemon.log.1"]
        .map(|name| machine.state().join(name))
        .into();
    let full = "long ago\n".repeat(120_000);
    std::fs::create_dir(machine.state()).expect("writable");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(machine.state(), private).expect("ours");
    std::fs::write(&log, &full).expect("writable");
    let up = machine.hive(&["up", "--mode", "observe"]);
    assert!(up.status.success(), "{}", told(&up));
    assert_eq!(std::fs::read_to_string(&old).expect("it was kept"), full);
    let words = std::fs::read_to_string(&log).expect("a new one");
    assert!(words.contains("ready"), "{words}");

    let elsewhere = machine.folder.path().join("elsewhere.sock");
    let second = machine.hive(&["--socket", &elsewhere.to_string_lossy(), "up"]);
    assert!(!second.status.success(), "a second one started");
    let now = std::fs::read_to_string(&log).expect("there");
    assert!(now.starts_with(&words), "its words are lost: {now}");
    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
    let words = told(&machine.hive(&["status"]));
    assert!(!words.contains("when it last ran"), "{words}");
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
