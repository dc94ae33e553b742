//! Answers heard by mDNS: any packet is read within bounds, a true one reads as it was written, and nothing
//! that is heard makes a node call anybody whom it does not know.

use hive_core::event::{Command, Input, Output};
use hive_core::hive::outside::{Beacon, HiveEffect, Locators, Sighting};
use hive_core::reply::Reply;
use hive_mind::fuzzed::{Heard, mdns_answers};

use crate::forge::Who;
use crate::script::Script;
use crate::stage::{Disk, Player, address};
use crate::{Outcome, Target};

/// Answers of the network.
pub const TARGET: Target = Target {
    name: "mdns",
    life: || {
        let (mut node, _) = Player::start(Who::Victim, Disk::default(), 60_000_000);
        Box::new(move |data| check(&mut node, data))
    },
    seeds,
};

/// Records that one packet is read for, and so the most machines that it can tell of.
const RECORDS_MAX: usize = 64;

/// Machines that a node remembers to have heard (`hive/links.rs`).
const NEARBY_MAX: usize = 64;

fn check(node: &mut Player, data: &[u8]) -> Outcome {
    let heard = mdns_answers(data);
    assert_eq!(heard, mdns_answers(data));
    assert!(heard.len() <= RECORDS_MAX);
    for one in &heard {
        assert!((1..=63).contains(&one.instance.len()));
        assert!(!one.instance.iter().any(u8::is_ascii_uppercase));
        assert_ne!(one.port, 0);
        let mut place = address(7);
        place.set_port(one.port);
        let outputs = node.feed(Input::Found(Sighting {
            beacon: one.beacon,
            address: place,
        }));
        let called = outputs.iter().any(|output| {
            matches!(
                output,
                Output::Hive(HiveEffect::Dial { .. } | HiveEffect::PairDial { .. })
            )
        });
        assert!(!called, "a node alone called somebody it heard of");
    }
    if !heard.is_empty() {
        let (reply, _) = node.ask(Command::Nearby);
        assert!(matches!(reply, Some(Reply::Nearby(view)) if view.seen.len() <= NEARBY_MAX));
    }
    check_written(data);
    if heard.is_empty() {
        Outcome::Refused
    } else {
        Outcome::Taken
    }
}

/// A true answer made from the input's choices reads as what it was made of.
fn check_written(data: &[u8]) {
    let mut script = Script::new(data);
    let told = told(&mut script);
    let packet = answer(&mut script, &told);
    assert_eq!(mdns_answers(&packet), [told]);
}

fn told(script: &mut Script<'_>) -> Heard {
    let instance = script.bytes(63);
    Heard {
        instance: if instance.is_empty() {
            b"a".to_vec()
        } else {
            instance.to_ascii_lowercase()
        },
        port: script.wide().max(1),
        beacon: Beacon {
            tag: [script.byte(); 8],
            locators: Locators::of((0..script.byte() & 3).map(|_| [script.byte(); 4])),
        },
    }
}

/// PTR, SRV and TXT as a responder lays them out, names compressed or not.
fn answer(script: &mut Script<'_>, told: &Heard) -> Vec<u8> {
    let short = script.byte() & 1 == 0;
    let mut packet = vec![0x12, 0x34, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    packet.extend_from_slice(SERVICE);
    let name = |packet: &mut Vec<u8>| {
        packet.push(u8::try_from(told.instance.len()).expect("a label"));
        packet.extend_from_slice(&told.instance);
        if short {
            packet.extend_from_slice(&[0xc0, 12]);
        } else {
            packet.extend_from_slice(SERVICE);
        }
    };
    let record = |packet: &mut Vec<u8>, kind: u8, body: &[u8]| {
        packet.extend_from_slice(&[0, kind, 0x80, 1, 0, 0, 0, 120]);
        packet.extend_from_slice(&u16::try_from(body.len()).expect("short").to_be_bytes());
        packet.extend_from_slice(body);
    };
    let mut pointer = Vec::new();
    name(&mut pointer);
    record(&mut packet, 12, &pointer);
    name(&mut packet);
    let port = told.port.to_be_bytes();
    record(&mut packet, 33, &[0, 0, 0, 0, port[0], port[1], 1, b'h', 0]);
    name(&mut packet);
    let mut text = b"\x03v=1\x12t=".to_vec();
    text.extend(hex(&told.beacon.tag));
    let names: [&[u8]; 3] = [b"\x0al=", b"\x0bl2=", b"\x0bl3="];
    for (name, locator) in names.into_iter().zip(told.beacon.locators.iter()) {
        text.extend_from_slice(name);
        text.extend(hex(&locator));
    }
    record(&mut packet, 16, &text);
    packet
}

fn hex(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    bytes
        .iter()
        .flat_map(move |byte| [byte >> 4, byte & 15].map(digit))
}

const SERVICE: &[u8] = b"\x0a_hive-mind\x04_udp\x05local\x00";

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for choices in [&b"abc"[..], b"\x01", b"0123456789abcdef0123456789abcdef"] {
        for rest in [&[0x11, 0x83, 1, 0, 9, 0][..], &[0xff, 0xff, 7, 1, 1]] {
            let padded = [choices, &[b'x'; 63][choices.len().min(63)..], rest].concat();
            let mut script = Script::new(&padded);
            let told = told(&mut script);
            seeds.push(answer(&mut script, &told));
        }
    }
    let whole = seeds[0].clone();
    // A goodbye, a question instead of an answer, one cut in the middle.
    let seconds = |byte: &u8| if *byte == 120 { 0 } else { *byte };
    seeds.push(whole.iter().map(seconds).collect());
    let mut question = whole.clone();
    question[2] = 0;
    seeds.push(question);
    seeds.push(whole[..whole.len() / 2].to_vec());
    // More records than are read; pointers that run in a circle, ahead, and past the end.
    seeds.push(
        [
            &[0, 0, 0x84, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0][..],
            &[0; 400],
        ]
        .concat(),
    );
    for pointer in [[0xc0, 12], [0xc0, 14], [0xff, 0xff]] {
        let head = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        seeds.push([&head[..], &pointer, &[0xc0, 12], &[0; 10]].concat());
    }
    seeds
}
