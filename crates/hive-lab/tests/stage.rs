//! The stage itself, without any hive: computers, cables, packet counts, terminal sessions, workloads.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hive_lab::world::capture::{Capture, Keep, Kind};
use hive_lab::world::terminal::{Jobs, Terminal};
use hive_lab::world::{Tools, World, unavailable};
use hive_lab::{procs, work};

/// The lab's own program; no hive is needed here.
fn tools() -> Tools {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_hive-lab"));
    Tools {
        hive: lab.clone(),
        lab,
    }
}

fn world() -> Option<World> {
    if let Some(why) = unavailable() {
        println!("SKIPPED: {why}");
        return None;
    }
    Some(World::new(&tools()).expect("a world"))
}

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Goal: two computers see each other's packets, own processes only, and are gone afterwards.
#[test]
fn two_computers_share_a_cable_and_nothing_else() {
    let Some(mut world) = world() else { return };
    let one = world.machine("one").expect("a computer");
    let two = world.machine("two").expect("a computer");
    let capture = Capture::begin(two.init(), Keep::Bytes).expect("a capture");
    let before = two.counters().expect("counters");
    let script = format!(
        "exec 3<>/dev/udp/{}/5353; printf planted-token >&3; exec 3<>/dev/udp/{0}/4483; printf '\\100abc' >&3",
        two.address()
    );
    let sent = one
        .command("/bin/bash".as_ref())
        .args(["-c", &script])
        .status()
        .expect("bash runs");
    assert!(sent.success());
    until("both packets were captured", || {
        let tally = capture.tally().expect("it runs");
        tally.of(Kind::Mdns) > 0 && tally.of(Kind::Established) > 0
    });
    let tally = capture.tally().expect("it runs");
    assert_eq!(tally.of(Kind::Mdns), 14 + 20 + 8 + 13);
    let after = two.counters().expect("counters");
    let counted = after.received + after.sent - before.received - before.sent;
    assert_eq!(counted, tally.total(), "{tally:?}");
    let kept = capture.end();
    assert!(kept.windows(13).any(|bytes| bytes == b"planted-token"));

    let seen = one
        .command("/bin/sh".as_ref())
        .args([
            "-c",
            "hostname; ls -d /proc/[0-9]* | wc -l; ip -6 addr | wc -l",
        ])
        .stdout(Stdio::piped())
        .output()
        .expect("sh runs");
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("one", "0"), "{seen}");
    assert!(words[1].parse::<u32>().expect("a count") < 6, "{seen}");

    let gone = [one.init(), two.init()];
    let folder = world.folder().to_path_buf();
    drop((one, two, world));
    assert!(gone.iter().all(|pid| procs::stat(*pid).is_none()));
    assert!(!folder.exists());
}

/// Goal: jobs are where a shell would have put them, the loop times itself, the build builds, nothing survives.
#[test]
fn a_session_has_a_foreground_job_and_a_background_job() {
    let Some(mut world) = world() else { return };
    if let Some(why) = work::no_build_tools() {
        println!("SKIPPED: {why}");
        return;
    }
    let machine = world.machine("desk").expect("a computer");
    let out = machine.folder().join("turns");
    let project = work::Project::write(&machine.folder().join("project"), 1).expect("sources");
    let lab = machine.tools().lab.display().to_string();
    let jobs = Jobs {
        foreground: Some(vec![lab, "__ticker".into(), out.display().to_string()]),
        background: Some(project.build_for_ever("make")),
    };
    let mut terminal = Terminal::open(&machine, &jobs, &[]).expect("a session");
    until("the loop has said its times", || {
        terminal.screen().contains("p99")
    });
    until("an object file is there", || {
        std::fs::read_dir(machine.folder().join("project"))
            .expect("the project")
            .filter_map(Result::ok)
            .any(|file| file.path().extension().is_some_and(|end| end == "o"))
    });
    let turns = work::turns(&out, 0, u64::MAX).expect("turns");
    assert!(turns.len() >= 100 && turns.iter().all(|turn| turn.took_ms > 0.1));
    let members = terminal.processes();
    let groups: std::collections::BTreeSet<u32> = members
        .iter()
        .filter_map(|pid| procs::stat(*pid))
        .map(|stat| stat.group)
        .collect();
    assert!(groups.len() >= 3, "leader, loop and build: {groups:?}");
    let settings = procs::settings(&members);
    assert_eq!(
        procs::changed(&settings, procs::slice_ns(members[0], members[0])),
        0
    );
    let leader = terminal.leader();
    drop(terminal);
    assert!(procs::session_members(leader).is_empty());
}
