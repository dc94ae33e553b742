//! The witnesses see: what is planted where it must be found, is found. Without this a silent witness would pass for
//! a clean life.

use hive_sim::machine::Truth;
use hive_sim::net::Quality;
use hive_sim::stories::{ALL, Failure, live};
use hive_sim::world::World;

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

/// A node that is never asked anything has nothing to hide, and nothing is blamed on it.
#[test]
fn an_idle_machine_is_blamed_for_nothing() {
    let mut world = World::new(1, Quality::LAN);
    world.add("alone", Truth::NOTHING_HELPS);
    assert_eq!(world.run_ms(600_000), Ok(()));
}
