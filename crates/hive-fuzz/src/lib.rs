//! What fuzzing calls: one target per place where bytes of strangers, members or disks are read.
//!
//! A target is a law about *any* bytes: it panics when the law is broken and else says what became of the
//! input. `fuzz/` hands the targets to `cargo fuzz`; `tests/targets.rs` runs each of them as an ordinary
//! test, over its kept corpus in `fuzz/corpus` and over 100,000 generated inputs.
//!
//! The machines (pairing, sync, records) read an input as a script: bytes choose steps, and steps choose
//! frames to send, change, cut or sign. Any bytes are a script, and two scripts one after the other are one.

pub mod script;
pub mod mutate;

mod forge;
mod stage;

pub mod frames;
pub mod maps;
pub mod codes;
pub mod pairing;
pub mod sync;
pub mod records;
pub mod mdns;

/// What became of an input. A test in which everything is refused says nothing, so this is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was told apart from what is meant, and changed nothing.
    Refused,
    /// It was read, or at least one of its steps had an effect.
    Taken,
}

/// One state that inputs are fed to, one after the other.
pub type Life = Box<dyn FnMut(&[u8]) -> Outcome>;

/// One law about any bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: the name of its corpus folder and of its `cargo fuzz` target.
    pub name: &'static str,
    /// A fresh state. Making one is the dear part, so tests feed many inputs to one.
    pub life: fn() -> Life,
    /// Small inputs that mean something, made anew from the current formats.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    frames::TARGET,
    maps::TARGET,
    codes::TARGET,
    pairing::TARGET,
    sync::TARGET,
    records::TARGET,
    mdns::TARGET,
];

impl Target {
    /// Feeds one input to a fresh state.
    pub fn run(&self, data: &[u8]) -> Outcome {
        (self.life)()(data)
    }
}
