//! The lab: real daemons on real (namespaced) networks, real workloads, real clocks; reports as JSON.
//!
//! `stats`, `report` and `clock` are plain tools; `procs` reads the machine; `world` makes computers; `work` and
//! `programs` give them something to do; `stranger` is who does not belong; each file of `reports` is one command. Keys: `shared/design/FIGURES.md`.

pub mod stats;
pub mod report;
pub mod clock;
pub mod procs;
pub mod world;
pub mod work;
pub mod programs;
pub mod hidden;
pub mod stranger;
pub mod reports;
pub mod testing;
