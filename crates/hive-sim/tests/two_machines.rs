//! **Read this first.** Two machines, one hive, one proven pattern: the main job, told in a world where the truth is known.
//!
//! `desk` and `laptop` are switched on. A person asks `desk` for a code, types it on `laptop`, compares the words on
//! both screens and says yes. On `desk` a build then takes the machine away from the editor in the foreground. What
//! nobody but the world knows: with the build at nice 11 the editor waits only 40 % as long.
//!
//! `desk` notices the contention, tries what its catalogue offers in random on/off pairs, and proves that nice helps.
//! Within a second the pattern is on `laptop`, which turns nothing on as long as nobody waits there. When a build runs
//! on `laptop`, too, the pattern is on probation from the first looks, and soon proven by `laptop`'s own pairs; its
//! evidence flows back to `desk`. Then a person undoes the pattern on `desk`, and it stays off; both are paused while
//! the builds still run, and nothing of ours is on.
//!
//! All the while witnesses watch: no program's name in any frame, record or answer; nothing said before it is durable;
//! nothing turned on without consent; no verdict against the truth. The code is `src/stories/two_machines.rs`.

/// Seeds per story here; `hive-sim --seeds 200` tells it with many more.
const SEEDS: u64 = 5;

#[test]
fn what_one_machine_proves_the_other_tries_at_once_and_proves_too() {
    hive_sim::stories::must_end_well("two_machines", SEEDS);
}

#[test]
fn the_same_seed_gives_the_same_life_to_the_last_byte_and_another_seed_another() {
    let story = hive_sim::stories::ALL[0];
    assert_eq!(story.run(7).trace, story.run(7).trace);
    assert_ne!(story.run(7).trace, story.run(8).trace);
}
