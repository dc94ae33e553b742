//! Disks that are lost, copied and put back, with real daemons: what is said in `status`, what a person does, and
//! that everybody shows the same afterwards.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::patience::ended;
use crate::{Machine, knock, members, told};

fn pair() -> (Machine, Machine) {
    let (desk, laptop) = (Machine::start("desk"), Machine::start("laptop"));
    comes_in(&desk, &laptop);
    for machine in [&desk, &laptop] {
        shows(machine, &["desk", "laptop"]);
    }
    (desk, laptop)
}

/// An invite there, a join here, and a yes.
fn comes_in(inviter: &Machine, joiner: &Machine) {
    let join = knock(joiner, &inviter.json(&["invite", "--json"]));
    let who = inviter.until("somebody waits", |inviter| {
        let view = inviter.json(&["pending", "--json"]);
        Some(
            view["pending"].as_array()?.first()?["node"]
                .as_str()?
                .to_owned(),
        )
    });
    let approved = inviter.hive(&["approve", &who]);
    assert!(approved.status.success(), "{}", told(&approved));
    let joined = ended(join);
    assert!(joined.status.success(), "{}", told(&joined));
}

fn shows(machine: &Machine, labels: &[&str]) {
    let what = format!("the members are {labels:?}");
    machine.until(&what, |machine| (members(machine) == labels).then_some(()));
}

fn status(machine: &Machine) -> Value {
    machine.json(&["status", "--json"])
}

fn need(machine: &Machine, code: &str) -> Option<Value> {
    let needs = status(machine)["needs"].as_array()?.clone();
    needs.into_iter().find(|need| need["code"] == code)
}

fn is_called(machine: &Machine, label: &str) {
    // Just started, it first asks the others what it said before.
    machine.until("it may be called something", |machine| {
        machine
            .hive(&["label", label])
            .status
            .success()
            .then_some(())
    });
    // That is answered at once, and said when it has listened for ten seconds: three looks a turn last longer.
    machine.until("it has said so", |machine| {
        let mut looks = (0..3).map(|_| status(machine));
        looks.any(|it| it["waiting"] == 0).then_some(())
    });
}

/// The folder as it is, with its rights; what is no file or folder belongs to a running daemon.
fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("ours");
    }
    fs::create_dir(to).expect("writable");
    let rights = fs::metadata(from).expect("a folder").permissions();
    fs::set_permissions(to, rights).expect("ours");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("readable");
        let place = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &place);
        } else if kind.is_file() {
            fs::copy(entry.path(), place).expect("writable");
        }
    }
}

#[test]
fn a_founder_that_kept_nothing_but_its_key_is_let_back_by_a_plain_member() {
    let (mut desk, laptop) = pair();
    let before = status(&desk);
    desk.stop();
    fs::remove_file(desk.state().join("store.redb")).expect("it was there");
    desk.go_without_store("desk");
    let lost = status(&desk);
    assert_eq!(lost["node"], before["node"], "the key was kept");
    assert_ne!(lost["hive"], before["hive"]);
    // As long as it is alone it says why, also after a restart.
    assert!(need(&desk, "node.bare").is_some(), "{lost}");
    desk.stop();
    desk.go("desk");
    assert!(need(&desk, "node.bare").is_some());
    comes_in(&laptop, &desk);
    desk.until("it is alone no more", |desk| {
        need(desk, "node.bare").is_none().then_some(())
    });
    for machine in [&desk, &laptop] {
        shows(machine, &["desk", "laptop"]);
        let same = |machine: &Machine| status(machine)["view"] == status(&laptop)["view"];
        machine.until("both show the same", |machine| same(machine).then_some(()));
    }
    let after = status(&desk);
    assert_eq!(
        (&after["node"], &after["hive"]),
        (&before["node"], &before["hive"])
    );
    // Its word counts as before: it may rename itself, and is still the one who lets machines in.
    is_called(&desk, "desk again");
    shows(&laptop, &["desk again", "laptop"]);
    assert_eq!(desk.json(&["invite", "--json"])["only_back"], false);
    laptop.ends_in_order();
    desk.ends_in_order();
}

#[test]
fn a_copied_disk_is_told_and_healed_when_the_copy_is_gone() {
    let (desk, mut laptop) = pair();
    laptop.stop();
    let mut twin = Machine::new();
    copy(&laptop.state(), &twin.state());
    laptop.go("laptop");
    twin.go("laptop");
    is_called(&laptop, "one");
    is_called(&twin, "two");
    let alarmed = || [&laptop, &twin].map(|machine| need(machine, "node.twice"));
    let alarms = desk.until("one of them says that its key runs twice", |_| {
        let alarms = alarmed();
        alarms.iter().any(Option::is_some).then_some(alarms)
    });
    let first = alarms.iter().flatten().next().expect("one");
    assert!(
        first["words"]
            .as_str()
            .expect("words")
            .contains("copied disk")
    );
    // It says nothing more, and the desk keeps what it knew.
    let (mut halted, other) = if alarms[0].is_some() {
        (laptop, twin)
    } else {
        (twin, laptop)
    };
    assert!(!halted.hive(&["invite"]).status.success());
    assert_eq!(members(&desk).len(), 2);
    // The person ends the copy, and starts the machine again.
    other.ends_in_order();
    halted.stop();
    halted.go("laptop");
    is_called(&halted, "laptop");
    shows(&desk, &["desk", "laptop"]);
    assert!(need(&halted, "node.twice").is_none());
    assert!(need(&desk, "member.forked").is_none(), "nobody lied");
    halted.ends_in_order();
    desk.ends_in_order();
}

#[test]
fn a_backup_that_was_put_back_is_told_and_what_was_said_since_is_safe() {
    let (mut desk, mut laptop) = pair();
    laptop.stop();
    let backup = tempfile::tempdir().expect("a folder");
    let saved = backup.path().join("state");
    copy(&laptop.state(), &saved);
    for label in ["one", "two"] {
        laptop.go("laptop");
        is_called(&laptop, label);
        shows(&desk, &["desk", label]);
        laptop.stop();
    }
    // It is put back, and has something to say, while nobody can tell it better.
    desk.stop();
    copy(&saved, &laptop.state());
    laptop.go("laptop");
    is_called(&laptop, "three");
    desk.go("desk");
    let told = laptop.until("it says that its key was used", |laptop| {
        need(laptop, "node.twice")
    });
    assert!(told["words"].as_str().expect("words").contains("backup"));
    assert!(!told["fix"].as_array().expect("a list").is_empty());
    shows(&desk, &["desk", "two"]);
    // The person knows that no copy runs, and starts it again: it goes on from what it said last.
    laptop.stop();
    laptop.go("laptop");
    is_called(&laptop, "four");
    shows(&desk, &["desk", "four"]);
    assert!(need(&laptop, "node.twice").is_none());
    assert!(need(&desk, "member.forked").is_none(), "nobody lied");
    laptop.ends_in_order();
    desk.ends_in_order();
}
