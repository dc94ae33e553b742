//! Weights set and taken back through a manager made of files, on processes that live.

use std::fs;

use hive_core::pattern::Action;

use super::*;
use crate::linux::facts;
use crate::linux::tests::{Job, ONE, alone, config};
use crate::linux::units::tests::Made;
use crate::{HostConfig, Recovery};

const UNIT: &str = "app-back.scope";

struct World {
    made: Made,
    state: tempfile::TempDir,
    job: Job,
}

impl World {
    fn new() -> Self {
        let made = Made::new();
        let state = tempfile::tempdir().expect("a folder");
        let job = Job::start(ONE);
        made.unit(UNIT, &[job.pid()]);
        Self { made, state, job }
    }

    fn config(&self) -> HostConfig {
        HostConfig {
            roots: self.made.roots(),
            ..config(self.state.path())
        }
    }

    /// Hands as a daemon has them that starts now, and what it found.
    fn hands(&self) -> (Hands, Eyes, Recovery) {
        let config = self.config();
        let (facts, default_slice) = facts::read(&config.roots);
        let mut eyes = Eyes::new(config.roots.clone(), config.scope);
        let mut hands = Hands::open(&config, &facts, default_slice).expect("opened");
        let recovery = hands.recover(&mut eyes).expect("read");
        (hands, eyes, recovery)
    }

    fn step(&self, eyes: &mut Eyes, units: &[&str]) -> Step {
        let enter = |unit: &&str| eyes.cgroups.enter(&format!("0::{}\n", Made::path(unit)));
        Step {
            change: ChangeId(1),
            action: Action::BackgroundWeight,
            targets: vec![self.job.group()],
            units: units.iter().map(enter).collect(),
        }
    }

    fn act(&self, hands: &mut Hands, eyes: &mut Eyes) -> Outcome {
        let step = self.step(eyes, &[UNIT]);
        hands.act(eyes, &step)
    }

    /// Nothing of ours is anywhere.
    fn is_as_before(&self) -> bool {
        self.made.held(UNIT).is_empty()
            && self.made.kernel(UNIT).is_none()
            && !self.made.drop_in(UNIT).exists()
    }
}

fn restored(restored: u32, left_alone: u32, gone: u32) -> Outcome {
    Outcome::Restored {
        restored,
        left_alone,
        gone,
    }
}

#[test]
fn a_unit_is_weighed_and_everything_is_as_before_after_the_undo() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    assert_eq!(
        world.act(&mut hands, &mut eyes),
        Outcome::Applied { touched: 1 }
    );
    assert_eq!(
        (world.made.held(UNIT).as_str(), world.made.kernel(UNIT)),
        ("19", Some(19))
    );
    assert_eq!((hands.weights(), hands.still_on(&mut eyes)), (Ours::On, 1));
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(1, 0, 0));
    assert!(world.is_as_before());
    assert_eq!((hands.weights(), hands.on()), (Ours::Off, vec![]));
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(0, 0, 0));
}

#[test]
fn what_a_killed_daemon_left_is_taken_back_at_the_next_start() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    world.act(&mut hands, &mut eyes);
    drop((hands, eyes));
    let config = world.config();
    let (facts, slice) = facts::read(&config.roots);
    let looking = Hands::look_only(&config, &facts, slice).expect("looked");
    let mut eyes = Eyes::new(config.roots.clone(), config.scope);
    assert_eq!(looking.still_on(&mut eyes), 1);
    drop((looking, eyes));
    let (hands, _, recovery) = world.hands();
    assert_eq!((recovery.restored, recovery.failed), (1, 0));
    assert!(world.is_as_before() && hands.on().is_empty());
}

#[test]
fn killed_at_each_step_of_the_way_nothing_stays() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    world.act(&mut hands, &mut eyes);
    drop((hands, eyes));
    let journal = world.state.path().join("state/journal");
    let whole = fs::read(&journal).expect("there");
    // Cut after the intent, after its units and after the deed; and the manager at each of these moments.
    for (records, held) in [(1, ""), (2, ""), (2, "19"), (3, "19")] {
        fs::write(&journal, first(&whole, records)).expect("written");
        if held.is_empty() {
            world.made.unit(UNIT, &[world.job.pid()]);
            let weight = format!("fs/cgroup{}/cpu.weight", Made::path(UNIT));
            let weight = world.made.roots().sys.join(weight);
            if weight.exists() {
                fs::remove_file(weight).expect("removed");
            }
        } else {
            let mut manager = world.made.place().connect().expect("connected");
            manager.set_weight(UNIT, 19).expect("set");
        }
        let (hands, _, recovery) = world.hands();
        assert_eq!(recovery.failed, 0, "{records} {held}");
        assert_eq!(recovery.restored, u32::from(!held.is_empty()));
        assert!(world.made.held(UNIT).is_empty() && world.made.kernel(UNIT).is_none());
        assert!(hands.on().is_empty());
    }
}

/// The first records of a journal: each is its length, a checksum, and so many bytes.
fn first(journal: &[u8], records: usize) -> &[u8] {
    let mut end = 0;
    for _ in 0..records {
        let length = journal[end..end + 4].try_into().expect("four bytes");
        end += 8 + u32::from_le_bytes(length) as usize;
    }
    &journal[..end]
}

#[test]
fn a_weight_of_somebodys_own_is_never_touched() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    world.made.holds(UNIT, "100");
    let by_hand = Outcome::Refused(Refusal::SetByHand);
    assert_eq!(world.act(&mut hands, &mut eyes), by_hand);
    // Taken back by that person, which leaves a file that says so.
    world.made.holds(UNIT, "");
    let file = world.made.drop_in(UNIT);
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(&file, "[Scope]\nCPUWeight=\n").expect("written");
    assert_eq!(world.act(&mut hands, &mut eyes), by_hand);
    assert!(file.exists() && hands.on().is_empty());
    fs::remove_file(&file).expect("removed");
    // Set while ours is on.
    assert_eq!(
        world.act(&mut hands, &mut eyes),
        Outcome::Applied { touched: 1 }
    );
    world.made.holds(UNIT, "50");
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(0, 1, 0));
    assert_eq!(world.made.held(UNIT), "50");
}

#[test]
fn a_unit_in_which_a_stranger_lives_is_not_weighed() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    // Out of the tree that these hands are held to.
    world.made.unit(UNIT, &[world.job.pid(), 1]);
    let not_ours = Outcome::Refused(Refusal::NotOurs);
    assert_eq!(world.act(&mut hands, &mut eyes), not_ours);
    // In a group below it, and ourselves.
    world.made.unit(UNIT, &[world.job.pid()]);
    let below = format!("fs/cgroup{}/deep", Made::path(UNIT));
    let below = world.made.roots().sys.join(below);
    fs::create_dir_all(&below).expect("made");
    fs::write(below.join("cgroup.procs"), std::process::id().to_string()).expect("written");
    assert_eq!(world.act(&mut hands, &mut eyes), not_ours);
    assert!(world.is_as_before() && hands.on().is_empty());
}

#[test]
fn a_manager_that_does_not_get_it_done_is_told_to_leave_it() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    world.made.stalls();
    let errno = libc::ETIMEDOUT;
    assert_eq!(world.act(&mut hands, &mut eyes), Outcome::Failed { errno });
    assert!(world.is_as_before() && hands.on().is_empty());
}

#[test]
fn what_cannot_be_taken_back_stays_on_until_it_can() {
    let _alone = alone();
    let mut world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    world.act(&mut hands, &mut eyes);
    world.made.falls_silent();
    assert!(matches!(
        hands.undo(&mut eyes, ChangeId(1)),
        Outcome::Failed { .. }
    ));
    assert_eq!(hands.on(), [ChangeId(1)]);
    world.made.answers();
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(1, 0, 0));
    assert!(world.is_as_before());
}

#[test]
fn a_connection_on_which_nonsense_came_is_not_asked_about_the_next_unit() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    let second = Job::start(ONE);
    world.made.unit("app-next.scope", &[second.pid()]);
    let mut step = world.step(&mut eyes, &[UNIT, "app-next.scope"]);
    step.targets.push(second.group());
    assert_eq!(hands.act(&mut eyes, &step), Outcome::Applied { touched: 2 });
    world.made.garbles();
    let errno = libc::EPROTO;
    assert_eq!(
        hands.undo(&mut eyes, ChangeId(1)),
        Outcome::Failed { errno }
    );
    assert_eq!((world.made.garbled(), hands.on()), (1, vec![ChangeId(1)]));
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(2, 0, 0));
    assert!(world.is_as_before());
}

#[test]
fn what_ended_took_its_weight_along() {
    let _alone = alone();
    let mut world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    world.act(&mut hands, &mut eyes);
    let file = world.made.drop_in(UNIT);
    assert!(file.exists());
    world.made.ends(UNIT);
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(0, 0, 1));
    assert!(
        !file.exists(),
        "or the next of that name would have our weight"
    );
    // The whole log-in.
    world.made.unit(UNIT, &[world.job.pid()]);
    world.act(&mut hands, &mut eyes);
    world.made.log_in_ends();
    assert_eq!(hands.undo(&mut eyes, ChangeId(1)), restored(0, 0, 1));
}

#[test]
fn units_that_are_none_of_an_application_are_not_known_by_any_name() {
    let _alone = alone();
    let world = World::new();
    let (mut hands, mut eyes, _) = world.hands();
    let step = world.step(&mut eyes, &["app.slice"]);
    let gone = Outcome::Refused(Refusal::Gone);
    assert_eq!(hands.act(&mut eyes, &step), gone);
    assert!(world.made.held("app.slice").is_empty() && hands.on().is_empty());
}
