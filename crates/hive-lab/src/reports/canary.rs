//! `canary`: plants random tokens where a hive must not look or must not tell, lets it work, then searches every
//! packet, the store, the logs and all answers for them, in the encodings in which they might hide.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hive_mind::Client;
use hive_mind::reply::Mode;
use serde_json::{Value, json};

use crate::clock;
use crate::report::{Figures, Report};
use crate::reports::scene::{Layout, Names, Scene};
use crate::reports::told::Told;
use crate::stats::Dice;
use crate::work;
use crate::world::capture::{Capture, Keep};
use crate::world::daemon::{self, Daemon, Start};
use crate::world::terminal::{Jobs, Terminal};
use crate::world::{Machine, Tools, World};

/// Letters of a token: with 36^11 tokens a chance hit in a megabyte is out of the question, and as a program's
/// name it is not cut (15 bytes).
const TOKEN_LETTERS: usize = 11;

/// How long the hive works among the planted names. Trials begin after 10 s of contention
/// (`research/optimizer.md` 7.5).
const WORK: Duration = Duration::from_secs(25);

/// How much longer it may take until the first trial has begun. A guess for a busy machine.
const WORK_LONGER: Duration = Duration::from_secs(45);

/// What the search of the packets can show, in the report itself.
const PACKETS_NOTE: &str = "packets are searched as an eavesdropper sees them: multicast DNS and handshakes in plain, \
     frames as QUIC ciphertext, in which no token could be found. Frames in plain are searched by hive-sim's witness";

/// Where tokens are planted.
const WHERE: [&str; 7] = [
    "host name",
    "program name",
    "build program name",
    "project path",
    "argument",
    "user",
    "working folder",
];

/// What must not be found, and where it was planted.
struct Planted {
    what: &'static str,
    token: String,
}

/// What the machine with the planted names did meanwhile.
#[derive(Clone, Copy, Debug)]
struct Worked {
    contended_s: u64,
    patterns: usize,
    event_bytes: usize,
}

/// A place that is searched.
struct Place {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Runs the search with the usual length of work.
pub async fn run(tools: &Tools) -> Result<Value> {
    run_for(tools, WORK).await
}

/// Runs the search after so much work.
pub async fn run_for(tools: &Tools, work: Duration) -> Result<Value> {
    let report = Report::begin("canary");
    let mut dice = Dice::new(clock::boot_us());
    let mut plant = |what| Planted {
        what,
        token: token(&mut dice),
    };
    let planted: Vec<Planted> = WHERE.into_iter().map(&mut plant).collect();
    let control = plant("positive control");
    let of = |what: &str| -> Result<&str> {
        let found = planted.iter().find(|planted| planted.what == what);
        Ok(found.context("not planted")?.token.as_str())
    };
    let mut world = World::new(tools)?;
    let desk = world.machine(of("host name")?)?;
    let laptop = world.machine("laptop")?;
    let wires = [
        Capture::begin(desk.init(), Keep::Bytes)?,
        Capture::begin(laptop.init(), Keep::Bytes)?,
    ];
    let names = Names {
        pacer: of("program name")?.into(),
        project: of("project path")?.into(),
        make: renamed_make(&desk, of("build program name")?)?,
    };
    let daemons = [
        start(&desk, of("user")?).await?,
        start(&laptop, "root").await?,
    ];
    daemon::join(daemons[0].client(), daemons[1].client()).await?;
    let followed = [
        Told::follow(daemons[0].client()).await?,
        Told::follow(daemons[1].client()).await?,
    ];
    let scene = Scene::open(&desk, Layout::SameSession, &names)?;
    let argued = argued(&desk, of("argument")?, of("working folder")?)?;
    let worked = until_handled(daemons[0].client(), work).await?;
    let mut answers = Vec::new();
    for daemon in &daemons {
        answers.extend(all_answers(daemon.client()).await?);
    }
    let mut events = Vec::new();
    for event in followed.into_iter().flat_map(Told::end) {
        events.extend(event.to_string().into_bytes());
    }
    let worked = Worked {
        event_bytes: events.len(),
        ..worked
    };
    events.extend(control.token.as_bytes());
    send_control(&desk, laptop.address(), &control.token)?;
    fs::write(desk.state().join("control"), &control.token)?;
    answers.extend(control.token.as_bytes());
    drop((scene, argued));
    for daemon in daemons {
        daemon.stop().await?;
    }
    let mut places = collect([&desk, &laptop], wires, &control)?;
    places.push(Place {
        name: "answers",
        bytes: answers,
    });
    places.push(Place {
        name: "events",
        bytes: events,
    });
    Ok(report.end(told(&places, &planted, &control, worked)))
}

/// Lets the hive work for that long; longer, up to a limit, until it has met contention and knows a pattern.
async fn until_handled(client: &Client, work: Duration) -> Result<Worked> {
    tokio::time::sleep(work).await;
    let began = Instant::now();
    loop {
        let worked = Worked {
            contended_s: client.status().await?.contended_s,
            patterns: client.patterns().await?.patterns.len(),
            event_bytes: 0,
        };
        if worked.handled() || began.elapsed() > WORK_LONGER {
            return Ok(worked);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Worked {
    /// Whether planted names went through its hands: without contention between programs it looks at none.
    fn handled(&self) -> bool {
        self.contended_s > 0 && self.patterns > 0
    }
}

/// What is left when the daemons have ended: everything that was on the wires, in the stores and in the logs.
fn collect(machines: [&Machine; 2], wires: [Capture; 2], control: &Planted) -> Result<Vec<Place>> {
    let packets = wires.into_iter().flat_map(Capture::end).collect();
    let mut logs = Vec::new();
    let mut stores = Vec::new();
    for machine in machines {
        logs.extend(fs::read(machine.folder().join("daemon.log"))?);
        read_tree(&machine.state(), &mut stores)?;
    }
    logs.extend(control.token.as_bytes());
    let named = [("packets", packets), ("store", stores), ("logs", logs)];
    Ok(named
        .into_iter()
        .map(|(name, bytes)| Place { name, bytes })
        .collect())
}

fn told(places: &[Place], planted: &[Planted], control: &Planted, worked: Worked) -> Figures {
    let mut figures = Figures::new();
    let mut hits = Vec::new();
    let mut controls = 0;
    let mut sizes = serde_json::Map::new();
    for place in places {
        sizes.insert(place.name.into(), place.bytes.len().into());
        controls += usize::from(!search(&place.bytes, &control.token).is_empty());
        for planted in planted {
            for encoding in search(&place.bytes, &planted.token) {
                hits.push(json!({"place": place.name, "what": planted.what, "encoding": encoding}));
            }
        }
    }
    let clean = hits.is_empty() && controls == places.len();
    figures.put("ok", clean && worked.handled());
    figures.put("names_handled", worked.handled());
    figures.put("tokens", planted.len());
    figures.put("encodings", encodings("token").len());
    figures.put("bytes_searched", sizes);
    figures.put("controls_planted", places.len());
    figures.put("controls_found", controls);
    figures.put("contended_s", worked.contended_s);
    figures.put("patterns_known", worked.patterns);
    figures.put("event_bytes", worked.event_bytes);
    figures.put("packets_note", PACKETS_NOTE);
    figures.put("hits", hits);
    figures
}

async fn start(machine: &Machine, user: &str) -> Result<Daemon> {
    let start = Start {
        label: None,
        mode: Mode::Auto,
        log: "trace",
    };
    machine.start_daemon_as(start, user).await
}

/// The build's program under a planted name: a copy, so that the name is real wherever it is read.
fn renamed_make(machine: &Machine, name: &str) -> Result<String> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join("make"))
            .find(|make| make.is_file())
    });
    ensure!(work::no_build_tools().is_none(), "make or cc is missing");
    let copy = machine.folder().join(name);
    fs::copy(found.context("make is missing")?, &copy)?;
    Ok(copy.display().to_string())
}

/// A program that keeps a core busy with a planted argument, in a planted folder, in a terminal of its own.
fn argued(machine: &Machine, argument: &str, folder: &str) -> Result<Terminal> {
    let folder = machine.folder().join(folder);
    fs::create_dir(&folder)?;
    let script = format!("cd {} && while :; do :; done", folder.display());
    let jobs = Jobs {
        foreground: Some(
            ["/bin/sh", "-c", &script, argument]
                .map(Into::into)
                .to_vec(),
        ),
        background: None,
    };
    Terminal::open(machine, &jobs, &[("LOGNAME", argument)])
}

async fn all_answers(client: &Client) -> Result<Vec<u8>> {
    let mut answers = Vec::new();
    for route in [
        "/v1/status",
        "/v1/members",
        "/v1/pending",
        "/v1/patterns",
        "/v1/nearby",
        "/v1/join",
        "/v1/decision",
        "/healthz",
    ] {
        answers.extend(client.get_json(route).await?.to_string().into_bytes());
    }
    for pattern in client.patterns().await?.patterns {
        let why = client
            .get_json(&format!("/v1/why/{}", pattern.name))
            .await?;
        answers.extend(why.to_string().into_bytes());
    }
    Ok(answers)
}

/// Puts the control token on the wire, as plain bytes.
fn send_control(machine: &Machine, to: Ipv4Addr, token: &str) -> Result<()> {
    let script = format!("printf {token} > /dev/udp/{to}/9");
    let sent = machine
        .command("/bin/bash".as_ref())
        .args(["-c", &script])
        .status()?;
    ensure!(sent.success(), "the control packet could not be sent");
    Ok(())
}

fn read_tree(folder: &Path, into: &mut Vec<u8>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        into.extend(entry.file_name().as_encoded_bytes());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_tree(&entry.path(), into)?;
        } else if kind.is_file() {
            into.extend(fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// The encodings under which a token is found.
fn search(bytes: &[u8], token: &str) -> Vec<&'static str> {
    encodings(token)
        .into_iter()
        .filter(|(_, needle)| contains(bytes, needle))
        .map(|(name, _)| name)
        .collect()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, _)) = needle.split_first() else {
        return false;
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn encodings(token: &str) -> Vec<(&'static str, Vec<u8>)> {
    let raw = token.as_bytes();
    let hex = raw
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat();
    let wide =
        |bytes: fn(u16) -> [u8; 2]| token.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let mut all = vec![
        ("raw", raw.to_vec()),
        ("upper case", raw.to_ascii_uppercase()),
        ("reversed", raw.iter().rev().copied().collect()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("UTF-16 little endian", wide(u16::to_le_bytes)),
        ("UTF-16 big endian", wide(u16::to_be_bytes)),
    ];
    // Whatever stands before it shifts base64 by nothing, one or two bytes.
    for shift in 0..3 {
        all.push(("base64", base64_inside(raw, shift)));
    }
    all
}

/// The symbols of base64 that depend on nothing but `raw`, when `shift` bytes (modulo 3) stand before it.
/// Letters and digits only: tokens whose base64 has `+` or `/` differ between the alphabets (see [`token`]).
fn base64_inside(raw: &[u8], shift: usize) -> Vec<u8> {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |index: usize| {
        let byte = raw.get(index / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - index % 8) & 1)
    };
    let skip = (6 - shift * 8 % 6) % 6;
    (skip..raw.len() * 8)
        .step_by(6)
        .take_while(|begin| begin + 6 <= raw.len() * 8)
        .map(|begin| SYMBOLS[(begin..begin + 6).fold(0, |sum, index| sum << 1 | bit(index))])
        .collect()
}

/// Random lower-case letters: their base64 has neither `+` nor `/`, so that it is one in both alphabets.
fn token(dice: &mut Dice) -> String {
    (0..TOKEN_LETTERS)
        .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz"[dice.below(26)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_every_encoding() {
        assert_eq!(search(b"xx--planted--", "planted"), ["raw"]);
        assert_eq!(search(b"PLANTED", "planted"), ["upper case"]);
        assert_eq!(search(b"detnalp", "planted"), ["reversed"]);
        assert_eq!(search(b"706c616e746564", "planted"), ["hex"]);
        assert_eq!(
            search(b"p\0l\0a\0n\0t\0e\0d\0", "planted"),
            ["UTF-16 little endian"]
        );
        // printf 'planted' | base64; printf 'xplanted' | base64; printf 'xxplanted' | base64
        for text in ["cGxhbnRlZA==", "eHBsYW50ZWQ=", "eHhwbGFudGVk"] {
            assert_eq!(search(text.as_bytes(), "planted"), ["base64"], "{text}");
        }
        assert!(search(b"nothing of the kind", "planted").is_empty());
    }
}
