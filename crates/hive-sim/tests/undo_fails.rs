//! A kernel that does not let the daemon put back: the person hears so within seconds, the need stays on the screen,
//! and when the kernel lets it, everything is put back without being asked again.

use hive_core::event::Command;
use hive_core::event_log::Happening;
use hive_core::pattern::Action;
use hive_core::reply::Reply;
use hive_sim::machine::Truth;
use hive_sim::net::{HostId, Quality};
use hive_sim::world::World;

fn needs(world: &mut World, host: HostId) -> Vec<String> {
    match world.ask(host, Command::Status) {
        Ok(Reply::Status(view)) => view.needs.into_iter().map(|need| need.code).collect(),
        other => panic!("no status: {other:?}"),
    }
}

#[test]
fn an_undo_that_fails_is_answered_shown_and_made_good() {
    let mut world = World::new(3, Quality::LAN);
    let desk = world.add("desk", Truth::NICE_HELPS);
    world.host_mut(desk).machine.building = true;
    let told = |happening: &Happening| matches!(happening, Happening::TurnedOn { action } if *action == Action::BackgroundNice);
    let on = world.run_until(400_000, |world| {
        let host = world.host(desk);
        host.was_told(told) && host.machine.on().contains(&Action::BackgroundNice)
    });
    assert_eq!(on, Ok(true));

    world.host_mut(desk).machine.stuck = true;
    let id = world.say(desk, Command::Undo { pattern: None });
    let early = world.run_until(4_900, |world| world.host(desk).reply(id).is_some());
    assert_eq!(early, Ok(false), "not before it is known");
    let late = world.run_until(200, |world| world.host(desk).reply(id).is_some());
    assert_eq!(late, Ok(true), "a person does not wait for ever");
    match world.host(desk).reply(id) {
        Some(Reply::Undone(view)) => {
            assert_eq!((view.changes, view.failed, view.restored), (1, 1, 0));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(needs(&mut world, desk), ["undo.failed"]);

    world.host_mut(desk).machine.stuck = false;
    let back = world.run_until(31_000, |world| world.host(desk).machine.on().is_empty());
    assert_eq!(back, Ok(true));
    assert_eq!(world.run_ms(100), Ok(()));
    assert!(needs(&mut world, desk).is_empty());
}
