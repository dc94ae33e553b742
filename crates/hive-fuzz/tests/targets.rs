//! Every target as an ordinary test: over its kept corpus, and over 100,000 generated inputs.

use std::path::PathBuf;
use std::{fs, thread};

use hive_fuzz::mutate::Mutator;
use hive_fuzz::{Outcome, TARGETS, Target};

/// Generated inputs of one target. Source: issue 3, part 7.
const INPUTS: usize = 100_000;

/// Inputs that one state is fed before it is made anew. A guess: long enough for states to pile up, short
/// enough for a failure to be replayed from a file.
const LIFE: usize = 250;

fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.expect("a target")
}

fn corpus(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    PathBuf::from(root).join(name)
}

/// Writes down what led to a panic, as one input for `hive-fuzz` and for the corpus.
struct Note {
    name: &'static str,
    fed: Vec<u8>,
}

impl Drop for Note {
    fn drop(&mut self) {
        if thread::panicking() {
            let file =
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("found-{}", self.name));
            match fs::write(&file, &self.fed) {
                Ok(()) => eprintln!("the input is in {}", file.display()),
                Err(error) => eprintln!("the input could not be kept: {error}"),
            }
        }
    }
}

/// Runs a target over its corpus and over generated inputs; at least `share` of 1,000 must have an effect.
/// `machine`: whether one input after the other makes one longer script.
fn run(name: &str, machine: bool, share: usize) {
    let target = target(name);
    let mut kept: Vec<PathBuf> = fs::read_dir(corpus(name))
        .expect("a corpus folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    kept.sort();
    assert!(!kept.is_empty());
    let seeds = (target.seeds)();
    let mut base = seeds.clone();
    base.extend(kept.iter().map(|path| fs::read(path).expect("a file")));
    let mut note = Note {
        name: target.name,
        fed: Vec::new(),
    };
    let mut taken = 0;
    for input in &base {
        note.fed.clone_from(input);
        taken += usize::from(target.run(input) == Outcome::Taken);
    }
    assert!(taken > 0, "nothing of the corpus has an effect");
    let mut taken = 0;
    let mut mutator = Mutator::new(1, base);
    let mut life = (target.life)();
    for round in 0..INPUTS {
        if round % LIFE == 0 {
            life = (target.life)();
            note.fed.clear();
        }
        let input = mutator.input();
        if !machine {
            note.fed.clear();
        }
        note.fed.extend_from_slice(&input);
        taken += usize::from(life(&input) == Outcome::Taken);
    }
    println!(
        "{name}: {INPUTS} generated inputs, {taken} had an effect, {} kept",
        kept.len()
    );
    assert!(taken * 1_000 >= share * INPUTS, "{taken} of {INPUTS}");
    assert!(taken < INPUTS, "nothing was refused");
}

#[test]
fn frames() {
    run("frames", false, 50);
}

#[test]
fn maps() {
    run("maps", true, 50);
}

#[test]
fn codes() {
    run("codes", false, 20);
}

#[test]
fn pairing() {
    run("pairing", true, 50);
}

#[test]
fn sync() {
    run("sync", true, 50);
}

#[test]
fn records() {
    run("records", false, 50);
}

#[test]
fn mdns() {
    run("mdns", false, 20);
}
