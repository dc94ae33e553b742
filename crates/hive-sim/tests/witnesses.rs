//! The witnesses see: what is planted where it must be found, is found. Without this a silent witness would pass for
//! a clean life.

use std::collections::BTreeSet;

use hive_core::hive::outside::{Record, Table};
use hive_core::id::{NodeId, SaveId};
use hive_core::limits::MAP_ENTRIES_MAX;
use hive_core::time::Hlc;
use hive_core::wire::{Delta, Frame, Head, Line};
use hive_sim::check::durable::Signed;
use hive_sim::check::monotone::Ranks;
use hive_sim::check::nothing_lost::Acknowledged;
use hive_sim::check::{bounded, converged};
use hive_sim::disk::Unanswered;
use hive_sim::machine::Truth;
use hive_sim::net::{HostId, Quality};
use hive_sim::stories::{ALL, Failure, live};
use hive_sim::world::{Death, World};

/// Labels do travel; so a label planted as if it were a secret must be seen on its way.
#[test]
fn a_word_that_travels_is_seen() {
    let outcome = live("leak", 1, |world| {
        world.witness.plant_word("borrowed");
        (ALL[3].tell)(world)
    });
    let Some(Failure::Correctness(what)) = outcome.failure else {
        panic!("a planted word passed unseen");
    };
    assert!(what.contains("borrowed"), "{what}");
}

/// A disk that forgets what it has answered for keeps no promise, and the check of what was acknowledged says so.
#[test]
fn a_disk_that_forgets_is_found_out() {
    let mut world = World::new(1, Quality::LAN);
    let alone = world.add("alone", Truth::BLIND);
    assert_eq!(world.run_ms(2_000), Ok(()));
    let mut acknowledged = Acknowledged::default();
    assert_eq!(acknowledged.share(&mut world, alone, 1), Ok(()));
    for table in [Table::Heads, Table::Entries, Table::Ledger] {
        world.host_mut(alone).disk.forget_answered(table);
    }
    world.crash(alone, Death::Kill, Unanswered::Forgotten, 100);
    assert_eq!(world.run_ms(20_000), Ok(()));
    let shown = converged::shows(&mut world, alone).expect("it answers");
    let lost = acknowledged.all_shown(&shown);
    assert!(matches!(lost, Err(Failure::Correctness(_))), "{lost:?}");
}

fn head(incarnation: u32, seq: u64) -> Record {
    let head = Head {
        author: NodeId([7; 32]),
        incarnation,
        seq,
        hlc: Hlc(1),
        floor: 0,
        prev: [0; 32],
        root: [0; 32],
        sig: [0; 64],
    };
    Record {
        table: Table::Heads,
        key: head.author.0.to_vec(),
        value: postcard::to_allocvec(&head).ok(),
    }
}

#[test]
fn a_step_backwards_is_seen_unless_all_was_forgotten_between() {
    let mut ranks = Ranks::default();
    let here = HostId(0);
    assert_eq!(ranks.saw_write(here, &head(1, 5)), None);
    assert_eq!(ranks.saw_write(here, &head(1, 6)), None);
    assert_eq!(ranks.saw_write(HostId(1), &head(1, 4)), None);
    assert!(ranks.saw_write(here, &head(1, 5)).is_some());
    assert_eq!(ranks.saw_write(here, &head(2, 1)), None);
    let nothing = Record {
        value: None,
        ..head(2, 1)
    };
    assert_eq!(ranks.saw_write(here, &nothing), None);
    assert_eq!(ranks.saw_write(here, &head(1, 1)), None);
}

fn delta(author: NodeId, seq: u64, sig: u8) -> Vec<u8> {
    let delta = Delta {
        author,
        incarnation: 1,
        seq,
        hlc: Hlc(1),
        floor: 0,
        prev: None,
        base: None,
        entries: Vec::new(),
        sig: [sig; 64],
    };
    Frame::Delta(delta).encode()
}

fn digest(author: NodeId, seq: u64) -> Vec<u8> {
    let line = Line {
        author,
        incarnation: 1,
        seq,
        id: [0; 16],
        forked: false,
    };
    Frame::Digest(vec![line]).encode()
}

#[test]
fn a_state_that_the_disk_could_forget_is_seen_unless_it_was_said_before() {
    let mut world = World::new(1, Quality::LAN);
    let alone = world.add_off("alone", Truth::BLIND);
    let key = world.host(alone).key;
    let none = BTreeSet::new();
    let mut signed = Signed::default();
    let mut sends = |world: &World, frame: &[u8]| signed.saw_sent(world.host(alone), frame, &none);
    assert!(sends(&world, &delta(key, 3, 1)).is_some());
    let disk = &mut world.host_mut(alone).disk;
    disk.ask(
        SaveId(1),
        vec![Record {
            key: key.0.to_vec(),
            ..head(1, 3)
        }],
    );
    disk.answer();
    assert_eq!(sends(&world, &delta(key, 3, 1)), None);
    // A backup was put back: others know the state that it lacks, and nobody the one after it.
    world.host_mut(alone).disk.forget_answered(Table::Heads);
    assert_eq!(sends(&world, &digest(key, 3)), None);
    assert!(sends(&world, &digest(key, 4)).is_some());
    assert!(sends(&world, &delta(key, 3, 2)).is_some());
}

#[test]
fn one_statement_too_many_on_a_disk_is_seen() {
    let mut world = World::new(1, Quality::LAN);
    let alone = world.add_off("alone", Truth::BLIND);
    let disk = &mut world.host_mut(alone).disk;
    let entry = |nth: usize| {
        let mut key = vec![7; 32];
        key.extend_from_slice(&nth.to_le_bytes());
        Record {
            table: Table::Entries,
            key,
            value: Some(vec![0]),
        }
    };
    disk.ask(SaveId(1), (0..MAP_ENTRIES_MAX).map(entry).collect());
    disk.answer();
    assert_eq!(bounded::exceeds(world.host(alone)), None);
    let disk = &mut world.host_mut(alone).disk;
    disk.ask(SaveId(2), vec![entry(MAP_ENTRIES_MAX)]);
    disk.answer();
    assert!(bounded::exceeds(world.host(alone)).is_some());
}

#[test]
fn whom_nobody_approved_is_seen() {
    let mut world = World::new(1, Quality::LAN);
    world.witness.known = Some([NodeId([1; 32])].into());
    world.witness.saw_members(HostId(0), &[NodeId([1; 32])]);
    assert_eq!(world.witness.verdict(), Ok(()));
    world
        .witness
        .saw_members(HostId(0), &[NodeId([1; 32]), NodeId([2; 32])]);
    assert!(world.witness.verdict().is_err());
}

/// A node that is never asked anything has nothing to hide, and nothing is blamed on it.
#[test]
fn an_idle_machine_is_blamed_for_nothing() {
    let mut world = World::new(1, Quality::LAN);
    world.add("alone", Truth::NOTHING_HELPS);
    assert_eq!(world.run_ms(600_000), Ok(()));
}
