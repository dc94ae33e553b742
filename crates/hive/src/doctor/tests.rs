//! One fault at a time on a made-up machine: each is named, with its remedy, and a sound machine has none.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;

use hive_mind::reply::NeedView;
use hive_mind::{KeepingView, NetworkInterface};

use super::*;
use crate::problem::Exit;

/// A machine in a folder: everything as it should be.
struct Machine {
    folder: tempfile::TempDir,
    network: NetworkView,
}

impl Machine {
    fn sound() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let this = Self {
            folder,
            network: NetworkView {
                port: 4483,
                interfaces: vec![NetworkInterface {
                    name: "eth0".into(),
                    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
                }],
                mdns: true,
                own_answer: Some(true),
                others: 2,
                connected: 1,
                reachable: Some(true),
                asked: Some("3f2a11bc".into()),
                seen_as: "192.0.2.1:4483".parse().ok(),
                translated: Some(false),
                clock_ahead_ms: Some(-12),
                ..NetworkView::default()
            },
        };
        this.write("proc/pressure/cpu", "some avg10=0.00 avg60=0.00\n");
        this.write("proc/sys/kernel/sched_autogroup_enabled", "1\n");
        this.write(
            "proc/self/status",
            "Name:\thive\nCapEff:\t0000000000000000\n",
        );
        this.write(
            "proc/self/limits",
            "Max nice priority         20                   20\n",
        );
        this.runs(1, "systemd");
        this.write("state/key", "32 bytes");
        this.write("state/store.redb", "all that is known");
        this.chmod("state/key", 0o600);
        this.chmod("state", 0o700);
        this
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn chmod(&self, path: &str, mode: u32) {
        let path = self.folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn runs(&self, pid: u32, name: &str) {
        self.write(&format!("proc/{pid}/comm"), &format!("{name}\n"));
    }

    fn has(&self, program: &str) {
        self.write(&format!("bin/{program}"), "");
    }

    fn report(&self, daemon: bool) -> Report {
        let at = |path: &str| self.folder.path().join(path);
        let roots = Roots {
            proc: at("proc"),
            run: at("run"),
            etc: at("etc"),
            lib: at("lib"),
            programs: vec![at("bin")],
        };
        let paths = Paths {
            state: at("state"),
            socket: at("state/hive.sock"),
            config: None,
        };
        let network = if daemon {
            Ok(self.network.clone())
        } else {
            Err(Problem::new(
                Exit::DaemonDown,
                "daemon.down",
                "the hive daemon is not running",
            )
            .try_next("hive up"))
        };
        examine(&roots, &paths, network, None)
    }

    fn finding(&self, check: &str) -> Finding {
        let report = self.report(true);
        let found = report
            .findings
            .into_iter()
            .find(|finding| finding.check == check);
        found.expect("the check is made")
    }

    /// The one problem there is.
    fn problem(&self) -> Finding {
        let report = self.report(true);
        assert!(!report.healthy);
        let mut problems = report
            .findings
            .into_iter()
            .filter(|finding| finding.outcome == Outcome::Problem);
        let first = problems.next().expect("a problem");
        assert_eq!(problems.next(), None, "besides {first:?}");
        first
    }
}

#[test]
fn a_sound_machine_has_no_problem_and_nothing_unknown() {
    let report = Machine::sound().report(true);
    assert!(report.healthy, "{report:?}");
    for finding in &report.findings {
        // Room on the disk is this machine's own.
        if finding.check != "disk" {
            assert_eq!(finding.outcome, Outcome::Ok, "{finding:?}");
        }
    }
}

/// A fault, the check that must name it, and a part of what to type about it.
type Fault = (fn(&mut Machine), &'static str, &'static str);

const FAULTS: [Fault; 17] = [
    (|m| m.chmod("state", 0o755), "state", "chmod 700"),
    (|m| m.chmod("state/key", 0o644), "state", "chmod 600"),
    (|m| m.write("state/store.redb", ""), "store", "backup"),
    (
        |m| m.network.interfaces.clear(),
        "interfaces",
        "[network] interfaces",
    ),
    (
        |m| m.network.missing.push("eht0".into()),
        "interfaces",
        "correct [network] interfaces",
    ),
    (
        |m| (m.network.own_answer, m.network.others) = (Some(false), 0),
        "multicast",
        "5353",
    ),
    (|m| m.network.others = 0, "multicast", "[network] peers"),
    (
        |m| {
            m.network.reachable = Some(false);
            m.network.translated = Some(true);
        },
        "port",
        "forward UDP 4483",
    ),
    (
        |m| {
            m.network.reachable = Some(false);
            m.has("nft");
        },
        "port",
        "sudo nft insert rule inet filter input udp dport 4483 accept",
    ),
    (
        |m| m.network.reachable = Some(false),
        "port",
        "firewall between",
    ),
    (
        |m| {
            m.network.reachable = None;
            m.has("ufw");
            m.write("etc/ufw/ufw.conf", "ENABLED=yes\n");
            m.write("etc/ufw/user.rules", "*filter\nCOMMIT\n");
        },
        "firewall",
        "sudo ufw allow 4483/udp",
    ),
    (
        |m| {
            m.network.reachable = None;
            m.runs(7, "firewalld");
            m.write("etc/firewalld/zones/home.xml", "<zone></zone>\n");
        },
        "firewall",
        "--add-port=4483/udp",
    ),
    (
        |m| m.network.clock_ahead_ms = Some(7_200_000),
        "clock",
        "timedatectl",
    ),
    (
        |m| fs::remove_file(m.folder.path().join("proc/pressure/cpu")).expect("removed"),
        "pressure",
        "psi=1",
    ),
    (
        |m| m.runs(8, "ananicy-cpp"),
        "tuners",
        "systemctl disable --now ananicy-cpp",
    ),
    (
        |m| m.runs(8, "system76-schedu"),
        "tuners",
        "com.system76.Scheduler",
    ),
    (
        |m| m.runs(8, "and"),
        "tuners",
        "systemctl disable --now and",
    ),
];

#[test]
fn each_fault_is_named_alone_with_what_to_type() {
    for (fault, check, next) in FAULTS {
        let mut machine = Machine::sound();
        fault(&mut machine);
        let problem = machine.problem();
        assert_eq!(problem.check, check, "{problem:?}");
        assert!(problem.try_next.contains(next), "{problem:?}");
    }
}

#[test]
fn whoever_runs_beside_is_told_with_what_is_left_to_it() {
    let machine = Machine::sound();
    assert_eq!(machine.finding("tuners").outcome, Outcome::Ok);
    machine.runs(8, "tuned");
    machine.runs(9, "gamemoded");
    machine.write("etc/tuned/active_profile", "desk\n");
    machine.write("lib/tuned/desk/tuned.conf", "[cpu]\ngovernor=powersave\n");
    let told = machine.finding("tuners");
    assert_eq!(told.outcome, Outcome::Note);
    let words = "gamemoded (while a game runs, nice is left to it), tuned (other knobs)";
    assert!(told.what.ends_with(words), "{}", told.what);
    let rules = "[scheduler]\ngroup.indexers=0:i:0:*:tracker.*\n";
    machine.write("etc/tuned/desk/tuned.conf", rules);
    let told = machine.finding("tuners");
    assert_eq!(told.outcome, Outcome::Note);
    assert!(told.what.contains("sets the policy"), "{}", told.what);
}

#[test]
fn what_cannot_be_told_is_not_called_well_or_ill() {
    let mut machine = Machine::sound();
    machine.network.reachable = None;
    machine.network.connected = 0;
    machine.network.others = 0;
    machine.network.clock_ahead_ms = None;
    for check in ["port", "multicast", "clock"] {
        assert_eq!(machine.finding(check).outcome, Outcome::Unknown, "{check}");
    }
    assert!(machine.report(true).healthy);
    // ufw's rules are for root to read.
    machine.has("ufw");
    machine.write("etc/ufw/ufw.conf", "ENABLED=yes\n");
    let firewall = machine.finding("firewall");
    assert_eq!(firewall.outcome, Outcome::Unknown);
    assert_eq!(firewall.try_next, "sudo ufw allow 4483/udp");
    // Switched off it is none.
    machine.write("etc/ufw/ufw.conf", "ENABLED=no\n");
    assert_eq!(machine.finding("firewall").outcome, Outcome::Ok);
}

#[test]
fn rules_that_are_there_are_found() {
    let mut machine = Machine::sound();
    machine.network.reachable = None;
    machine.has("ufw");
    machine.write("etc/ufw/ufw.conf", "ENABLED=yes\n");
    machine.write(
        "etc/ufw/user.rules",
        "-A ufw-user-input -p udp --dport 4483 -j ACCEPT\n",
    );
    assert_eq!(machine.finding("firewall").outcome, Outcome::Ok);
    // Another port is another rule.
    machine.network.port = 448;
    assert_eq!(machine.finding("firewall").outcome, Outcome::Problem);
}

#[test]
fn a_shut_way_in_says_what_is_done_meanwhile() {
    let mut machine = Machine::sound();
    machine.network.reachable = Some(false);
    assert_eq!(machine.finding("kept open").outcome, Outcome::Unknown);
    machine.network.survived_ms = Some(115_000);
    machine.network.died_ms = Some(175_000);
    machine.network.keeping = Some(KeepingView {
        member: "3f2a11bc".into(),
        every_ms: 103_500,
        bytes_per_day: 129_425,
        words: 3,
    });
    let kept = machine.finding("kept open");
    assert_eq!(kept.outcome, Outcome::Note);
    assert_eq!(
        kept.what,
        "the way in stays open for 115 s, not for 2 min; a word goes to 3f2a11bc every 104 s, 129 kB a day"
    );
    machine.network.keeping = None;
    machine.network.survived_ms = None;
    assert_eq!(machine.finding("kept open").outcome, Outcome::Problem);
}

#[test]
fn without_a_daemon_the_machine_is_looked_at_all_the_same() {
    let report = Machine::sound().report(false);
    assert!(!report.healthy);
    let problems: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Problem)
        .collect();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].check, problems[0].try_next.as_str()),
        ("daemon", "hive up")
    );
    assert!(report.findings.iter().any(|one| one.check == "pressure"));
}

#[test]
fn rights_of_another_kind_count_as_well() {
    let machine = Machine::sound();
    machine.write(
        "proc/self/limits",
        "Max nice priority         0                    0\n",
    );
    let rights = machine.finding("rights");
    assert_eq!(rights.outcome, Outcome::Note);
    assert!(rights.try_next.contains("limits.conf"));
    assert!(rights.try_next.contains("install-helper"));
    let socket = hive_mind::helper_socket(
        &machine.folder.path().join("run"),
        rustix::process::geteuid().as_raw(),
    );
    fs::create_dir_all(socket.parent().expect("in a folder")).expect("made");
    fs::write(&socket, "").expect("written");
    assert_eq!(
        machine.finding("rights").outcome,
        Outcome::Note,
        "a file is no helper"
    );
    fs::remove_file(&socket).expect("removed");
    let listening = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let helper = std::thread::spawn(move || {
        let (mut line, _) = listening.accept().expect("it asks");
        let mut asked = [0; hive_host::helper::REQUEST_BYTES];
        line.read_exact(&mut asked).expect("a whole request");
        let (number, _) = hive_host::helper::Request::decode(&asked);
        let held = hive_host::helper::Answer::Done(0).encode(number);
        line.write_all(&held).expect("it waits");
    });
    let rights = machine.finding("rights");
    assert!(
        rights.outcome == Outcome::Ok && rights.what.contains("helper"),
        "{rights:?}"
    );
    helper.join().expect("it was asked");
    // Its socket outlives it.
    let rights = machine.finding("rights");
    assert!(
        rights.outcome == Outcome::Problem && rights.what.contains("does not answer"),
        "{rights:?}"
    );
    fs::remove_file(&socket).expect("removed");
    machine.write("proc/self/status", "CapEff:\t0000000000800000\n");
    assert_eq!(machine.finding("rights").outcome, Outcome::Ok);
}

#[test]
fn a_key_that_was_put_aside_is_told_and_the_way_to_it_where_it_is_wanted() {
    let machine = Machine::sound();
    let state = machine.folder.path().join("state");
    assert_eq!(kept_key(&state, None), None);
    machine.write("state/key.unused", "32 bytes");
    let note = kept_key(&state, None).expect("it is there");
    assert_eq!(note.outcome, Outcome::Note);
    assert!(note.what.contains("state/key.unused"), "{note:?}");
    let wanted = kept_key(&state, Some("hive down; mv a b".to_owned())).expect("it is there");
    assert_eq!(wanted.outcome, Outcome::Problem);
    assert_eq!(wanted.try_next, "hive down; mv a b");
}

/// Members with these roles.
fn hive_of(roles: &[&str]) -> MembersView {
    let members = roles.iter().enumerate().map(|(n, role)| {
        serde_json::json!({
            "node": "3f9a0c12", "label": format!("machine {n}"), "role": role, "here": n == 0,
            "online": true, "statements": 1, "forked": false, "address": null, "first_up_us": null,
        })
    });
    let members: Vec<serde_json::Value> = members.collect();
    serde_json::from_value(serde_json::json!({ "members": members })).expect("members")
}

#[test]
fn one_machine_that_alone_lets_others_in_is_told_with_the_remedy() {
    let found = |roles: &[&str]| admins(&hive_of(roles));
    assert_eq!(found(&["admin"]), None, "alone there is nobody to ask");
    let single = found(&["admin", "member", "member"]).expect("worth knowing");
    assert_eq!(single.outcome, Outcome::Note);
    assert!(single.what.contains("machine 0"), "{single:?}");
    assert_eq!(single.try_next, "on machine 0: hive role NAME admin");
    let two = found(&["admin", "admin"]).expect("two");
    assert_eq!(two.outcome, Outcome::Ok);
}

#[test]
fn what_the_daemon_needs_for_this_machine_is_a_problem_and_what_waits_for_a_person_is_none() {
    let need = |code: &str| NeedView {
        code: code.to_owned(),
        words: format!("{code} in words"),
        fix: vec!["hive leave".to_owned(), "hive up".to_owned()],
    };
    let codes = [
        "guard.gone",
        "join.pending",
        "node.removed",
        "node.bare",
        "undo.failed",
        "member.forked",
        "port.denied",
    ];
    let status = StatusView {
        needs: codes.map(need).into(),
        ..StatusView::default()
    };
    let found: Vec<_> = needs(&status).collect();
    let checks: Vec<_> = found.iter().map(|it| it.check).collect();
    assert_eq!(checks, ["guardian", "place", "place", "undo", "port"]);
    assert!(found.iter().all(|it| it.outcome == Outcome::Problem));
    assert_eq!(found[1].what, "node.removed in words");
    assert_eq!(found[1].try_next, "hive leave or hive up");
    let mut report = Machine::sound().report(true);
    assert!(report.healthy);
    report.extend(found);
    assert!(!report.healthy);
}
