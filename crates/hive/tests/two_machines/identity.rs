//! A store or a key that is gone, or is another's: the start is refused, says what is known and what to type, and
//! nothing is made in its place.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::patience::ended;
use crate::{Machine, knock, members, said, told};

/// Everything that makes the machine who it is, with its contents. Of a whole store only that it is there: being opened
/// is noted in the file.
fn kept(state: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(state).expect("a folder") {
        let entry = entry.expect("readable");
        let name = entry.file_name();
        let mut bytes = fs::read(entry.path()).expect("readable");
        if name == "store.redb" {
            bytes.truncate(1);
        }
        if !name.to_string_lossy().starts_with("daemon.log") {
            all.push((name, bytes));
        }
    }
    all.sort();
    all
}

/// Both ways to start it are refused with that code and these words, and change nothing.
fn is_refused(machine: &Machine, code: &str, words: &[&str]) {
    let before = kept(&machine.state());
    for verb in [&["up", "--yes"][..], &["daemon", "--no-mdns"]] {
        let output = machine.hive(verb);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {told}");
        assert!(told.contains(&format!("[{code}]")), "{verb:?}: {told}");
        let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(line.contains(word), "{verb:?}: {word} is missing in {line}");
        }
        assert!(
            kept(&machine.state()) == before,
            "{verb:?} changed something"
        );
    }
    assert_eq!(machine.hive(&["status"]).status.code(), Some(3));
}

#[test]
fn a_store_that_is_gone_or_empty_beside_its_key_founds_no_hive() {
    let mut machine = Machine::start("desk");
    let before = machine.json(&["status", "--json"]);
    machine.stop();
    let store = machine.state().join("store.redb");
    let whole = fs::read(&store).expect("it is there");
    let words = [
        "store.redb is missing or empty, or nothing but zeros",
        "nothing was changed",
        "hive join CODE",
        "hive leave",
    ];
    fs::write(&store, "").expect("writable");
    is_refused(&machine, "store.lost", &words);
    fs::remove_file(&store).expect("it was there");
    is_refused(&machine, "store.lost", &words);
    assert!(!store.exists(), "a store was made");
    let doctor = said(&machine.hive(&["doctor"]));
    assert!(doctor.contains("its store is missing"), "{doctor}");
    // Put back, it is as before.
    fs::write(&store, whole).expect("writable");
    machine.go("desk");
    let after = machine.json(&["status", "--json"]);
    assert_eq!(
        (&after["node"], &after["hive"]),
        (&before["node"], &before["hive"])
    );
    machine.ends_in_order();
}

#[test]
fn a_damaged_store_names_the_way_that_keeps_the_place_and_it_leads_there() {
    let mut desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    lets_in(&desk, &laptop, &desk.json(&["invite", "--json"]), "");
    for machine in [&desk, &laptop] {
        machine.until("both are members", |machine| {
            (members(machine) == ["desk", "laptop"]).then_some(())
        });
    }
    loses_its_store_and_comes_back(&mut laptop, &desk);
    // The founder is let back in by whoever is left, too.
    loses_its_store_and_comes_back(&mut desk, &laptop);
    is_down(&laptop);
    is_down(&desk);
}

fn loses_its_store_and_comes_back(machine: &mut Machine, other: &Machine) {
    let before = machine.json(&["status", "--json"]);
    machine.stop();
    let state = machine.state();
    let store = state.join("store.redb");
    let (shown, aside) = (store.display(), state.join("store.damaged"));
    let way = format!("hive down; mv {shown} {}, then", aside.display());
    fs::write(&store, "no store at all. ".repeat(1_000)).expect("writable");
    let words = [way.as_str(), "damaged", "hive join CODE", "hive leave"];
    is_refused(machine, "store.damaged", &words);
    let doctor = machine.hive(&["doctor", "--json"]).stdout;
    let doctor: Value = serde_json::from_slice(&doctor).expect("json");
    let findings = doctor["findings"].as_array().expect("findings");
    let daemon = findings.iter().find(|it| it["check"] == "daemon");
    let advice = daemon.expect("it does not run")["try_next"].to_string();
    assert!(advice.contains(&way), "{advice}");
    fs::rename(&store, &aside).expect("it is there");
    let gone = told(&machine.hive(&["status"]));
    assert!(gone.contains("try: hive up"), "{gone}");
    let invite = other.json(&["invite", "--json"]);
    lets_in(
        other,
        machine,
        &invite,
        "this machine goes on under its key",
    );
    machine.until("it has its place back", |machine| {
        (members(machine) == ["desk", "laptop"]).then_some(())
    });
    let after = machine.json(&["status", "--json"]);
    for what in ["node", "hive"] {
        assert_eq!(after[what], before[what], "{what}");
    }
}

#[test]
fn a_key_that_is_gone_zero_or_anothers_beside_a_store_is_replaced_by_none() {
    let mut machine = Machine::start("desk");
    let before = machine.json(&["status", "--json"])["node"].clone();
    machine.stop();
    let key = machine.state().join("key");
    let own = fs::read(&key).expect("it is there");
    fs::write(&key, [7; 32]).expect("writable");
    // Only the store may be the older of the two.
    let store = machine.state().join("store.redb");
    let way_back = format!(
        "mv {} {}/store.before",
        store.display(),
        machine.state().display()
    );
    is_refused(
        &machine,
        "key.other",
        &["nothing was changed", "backup", "hive leave", &way_back],
    );
    fs::write(&key, [0; 32]).expect("writable");
    is_refused(&machine, "daemon.start", &["damaged", "hive leave"]);
    fs::remove_file(&key).expect("it was there");
    is_refused(
        &machine,
        "key.lost",
        &["nothing was changed", "backup", "hive leave"],
    );
    assert!(!key.exists(), "a key was made");
    fs::write(&key, own).expect("writable");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&key, private).expect("ours");
    machine.go("desk");
    assert_eq!(machine.json(&["status", "--json"])["node"], before);
    machine.ends_in_order();
}

/// A person lets the laptop in, or back in; what `hive join` says beside it has these words.
fn lets_in(desk: &Machine, laptop: &Machine, invite: &Value, words: &str) {
    let join = knock(laptop, invite);
    let who = desk.until("somebody waits", |desk| {
        let view = desk.json(&["pending", "--json"]);
        Some(
            view["pending"].as_array()?.first()?["node"]
                .as_str()?
                .to_owned(),
        )
    });
    let approved = desk.hive(&["approve", &who]);
    assert!(approved.status.success(), "{}", told(&approved));
    let joined = ended(join);
    assert!(joined.status.success(), "{}", told(&joined));
    assert!(told(&joined).contains(words), "{}", told(&joined));
    assert!(said(&joined).contains("2 machines."), "{}", said(&joined));
}

fn is_down(machine: &Machine) {
    let down = machine.hive(&["down"]);
    assert!(down.status.success(), "{}", told(&down));
}

#[test]
fn a_code_is_the_way_back_for_a_machine_that_kept_nothing_but_its_key() {
    let desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    lets_in(&desk, &laptop, &desk.json(&["invite", "--json"]), "");
    let before = laptop.json(&["status", "--json"])["node"].clone();
    laptop.stop();
    for left in [vec![], vec![0; 4_096]] {
        fs::write(laptop.state().join("store.redb"), left).expect("writable");
        is_refused(&laptop, "store.lost", &["hive join CODE"]);
        // The code starts it: that is what the person wants.
        let invite = desk.json(&["invite", "--json"]);
        lets_in(
            &desk,
            &laptop,
            &invite,
            "this machine goes on under its key",
        );
        let after = laptop.json(&["status", "--json"]);
        assert_eq!(after["node"], before);
        laptop.until("its name is back", |laptop| {
            let names = ["desk", "laptop"];
            (members(laptop) == names && members(&desk) == names).then_some(())
        });
        is_down(&laptop);
    }
    desk.ends_in_order();
}

#[test]
fn a_way_back_that_fails_leaves_nothing_and_a_backup_can_still_be_put_back() {
    let desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    let node = laptop.json(&["status", "--json"])["node"].clone();
    // Well formed, and not of the desk.
    let code = laptop.json(&["invite", "--json"])["code"].clone();
    let mut invite = desk.json(&["invite", "--json"]);
    invite["code"] = code;
    laptop.stop();
    let store = laptop.state().join("store.redb");
    let whole = fs::read(&store).expect("it is there");
    for answered in [true, false] {
        if answered {
            fs::write(laptop.state().join("consent"), "answered\n").expect("writable");
        } else {
            fs::remove_file(laptop.state().join("consent")).expect("it was put back");
        }
        fs::remove_file(&store).expect("it was there");
        let before = kept(&laptop.state());
        let failed = ended(knock(&laptop, &invite));
        let told = told(&failed);
        assert_eq!(failed.status.code(), Some(4), "{told}");
        assert!(told.contains("[join.wrong_code]"), "{told}");
        assert!(told.contains("the daemon is ended again"), "{told}");
        assert_eq!(laptop.hive(&["status"]).status.code(), Some(3));
        assert!(kept(&laptop.state()) == before, "something is left: {told}");
        fs::write(&store, &whole).expect("writable");
        for _ in 0..2 {
            laptop.go("laptop");
            assert_eq!(laptop.json(&["status", "--json"])["node"], node);
            laptop.stop();
        }
    }
    desk.ends_in_order();
}

/// The same words typed on a terminal, and these keys once something is asked; what the terminal shows.
fn on_a_terminal(machine: &Machine, args: &[&str], keys: &str) -> String {
    let own = machine.command(args);
    let words = [own.get_program()].into_iter().chain(own.get_args());
    let words: Vec<_> = words
        .map(|it| format!("'{}'", it.to_string_lossy()))
        .collect();
    let mut command = Command::new("script");
    command
        .args([
            "--quiet",
            "--return",
            "--command",
            &words.join(" "),
            "/dev/null",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.spawn().expect("it runs");
    let mut input = child.stdin.take().expect("asked for");
    let mut output = child.stdout.take().expect("asked for");
    let (mut shown, mut piece, mut is_typed) = (String::new(), [0; 1_024], false);
    loop {
        let length = output.read(&mut piece).expect("readable");
        if length == 0 {
            break;
        }
        shown.push_str(&String::from_utf8_lossy(&piece[..length]));
        if shown.contains("[Y/n]") && !is_typed {
            is_typed = true;
            input.write_all(keys.as_bytes()).expect("it listens");
        }
    }
    ended(child);
    shown
}

#[test]
fn what_may_be_done_is_asked_on_a_new_store_until_somebody_answers() {
    let mut laptop = Machine::start("laptop");
    laptop.hive(&["tune", "auto"]);
    laptop.stop();
    fs::remove_file(laptop.state().join("store.redb")).expect("it was there");
    let up = laptop.hive(&["up", "--without-store"]);
    assert!(up.status.success(), "{}", told(&up));
    // Nobody could answer, so the next one who can is asked; Ctrl-C is no answer.
    for (keys, is_asked) in [("\u{3}", true), ("y\n", true), ("", false)] {
        let shown = on_a_terminal(&laptop, &["up"], keys);
        assert_eq!(shown.contains("[Y/n]"), is_asked, "{keys:?}: {shown}");
    }
    assert_eq!(laptop.json(&["status", "--json"])["mode"], "auto");
    is_down(&laptop);
}

#[test]
fn a_first_join_that_fails_ends_the_daemon_that_it_started() {
    let desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    let mut invite = desk.json(&["invite", "--json"]);
    // Well formed, and not of the desk.
    invite["code"] = laptop.json(&["invite", "--json"])["code"].clone();
    laptop.stop();
    let fresh = Machine::new();
    for _ in 0..2 {
        let failed = ended(knock(&fresh, &invite));
        let words = told(&failed);
        assert_eq!(failed.status.code(), Some(4), "{words}");
        let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            line.contains("[join.wrong_code]") && line.contains("is ended again"),
            "{line}"
        );
        assert_eq!(fresh.hive(&["status"]).status.code(), Some(3));
    }
    desk.ends_in_order();
}

/// The laptop's place goes to a new key, the desk hears it, and the daemon ends.
fn hands_over(laptop: &mut Machine, desk: &Machine) {
    laptop.until("both are connected", |laptop| {
        (laptop.json(&["status", "--json"])["peers_online"] == 1).then_some(())
    });
    let rotated = laptop.json(&["rotate", "--yes", "--no-start", "--json"]);
    let new = rotated["new"].as_str().expect("an id");
    desk.until("the new key is known", |desk| {
        let id = desk.json(&["members", "--json"])["members"][1]["node"].clone();
        id.as_str()?.starts_with(new).then_some(())
    });
    let daemon = laptop.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());
}

#[test]
fn a_key_that_was_put_aside_by_an_older_store_is_named_where_the_person_looks() {
    let desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    lets_in(&desk, &laptop, &desk.json(&["invite", "--json"]), "");
    laptop.stop();
    let store = laptop.state().join("store.redb");
    let backup = fs::read(&store).expect("it is there");
    laptop.go("laptop");
    hands_over(&mut laptop, &desk);
    fs::write(&store, backup).expect("writable");
    laptop.go("laptop");
    laptop.until("it is told that its place went to another key", |laptop| {
        let needs = laptop.json(&["status", "--json"])["needs"].to_string();
        needs.contains("node.moved").then_some(())
    });
    let kept = laptop.state().join("key.unused").display().to_string();
    for verb in [
        &["status"][..],
        &["up"],
        &["doctor"],
        &["leave", "--dry-run"],
    ] {
        let words = said(&laptop.hive(verb));
        let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(line.contains(&kept), "{verb:?}: {words}");
    }
    laptop.stop();
    desk.ends_in_order();
}

#[test]
fn a_key_that_was_handed_over_is_told_so_and_the_new_one_beside_it_is_named() {
    let desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    lets_in(&desk, &laptop, &desk.json(&["invite", "--json"]), "");
    hands_over(&mut laptop, &desk);
    fs::remove_file(laptop.state().join("store.redb")).expect("it was there");
    let invite = desk.json(&["invite", "--json"]);
    let refused = ended(knock(&laptop, &invite));
    let told = told(&refused);
    assert_eq!(refused.status.code(), Some(4), "{told}");
    assert!(told.contains("[join.moved]"), "{told}");
    let (next, key) = (laptop.state().join("key.next"), laptop.state().join("key"));
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let typed = format!(
        "mv {} {}, then: hive join CODE",
        next.display(),
        key.display()
    );
    assert!(line.contains(&typed), "{line}");
    // As it says, with the same code.
    fs::rename(next, key).expect("it is there");
    lets_in(
        &desk,
        &laptop,
        &invite,
        "this machine goes on under its key",
    );
    laptop.until("its name is back", |laptop| {
        (members(laptop) == ["desk", "laptop"]).then_some(())
    });
    is_down(&laptop);
    desk.ends_in_order();
}

#[test]
fn a_new_key_that_nobody_has_heard_of_is_brought_in_by_the_old_one() {
    let mut desk = Machine::start("desk");
    let mut laptop = Machine::start("laptop");
    lets_in(&desk, &laptop, &desk.json(&["invite", "--json"]), "");
    for machine in [&desk, &laptop] {
        machine.until("both are connected", |machine| {
            (machine.json(&["status", "--json"])["peers_online"] == 1).then_some(())
        });
    }
    let port = fs::read_to_string(laptop.state().join("port")).expect("remembered");
    let old = fs::read(desk.state().join("key")).expect("a key");
    // The laptop falls asleep, and its battery is empty before it wakes: the word reaches nobody.
    let mut asleep = laptop.daemon.take().expect("it was started");
    let pid = i32::try_from(asleep.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), Signal::STOP).expect("it was ours to stop");
    let rotated = desk.json(&["rotate", "--yes", "--no-start", "--json"]);
    assert_eq!(rotated["told"], 1, "it seemed to be connected");
    asleep.kill().expect("it was ours to end");
    ended(asleep);
    let daemon = desk.daemon.take().expect("it was started");
    assert!(ended(daemon).status.success());

    laptop.go_at(port.trim(), "laptop", &[]);
    let founder = |machine: &Machine| {
        let view = machine.json(&["members", "--json"]);
        view["members"][0]["node"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let new = rotated["new"].as_str().expect("an id");
    assert!(!founder(&laptop).starts_with(new), "it has heard of it");
    desk.go("desk");
    assert_eq!(desk.json(&["status", "--json"])["node"], rotated["new"]);
    assert_eq!(
        fs::read(desk.state().join("key.before")).expect("kept"),
        old
    );
    for machine in [&desk, &laptop] {
        machine.until("they are connected again", |machine| {
            (machine.json(&["status", "--json"])["peers_online"] == 1).then_some(())
        });
        assert!(founder(machine).starts_with(new));
        assert_eq!(members(machine), ["desk", "laptop"]);
    }
    // The key before is forgotten with everything else.
    let left = desk.hive(&["leave", "--yes"]);
    assert!(left.status.success(), "{}", told(&left));
    assert!(!desk.state().join("key.before").exists());
    ended(desk.daemon.take().expect("it was started"));
    laptop.ends_in_order();
}
