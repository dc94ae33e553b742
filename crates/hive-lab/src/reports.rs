//! One report per file; each is one command of the lab.

pub mod entries;
pub mod scene;
pub mod settle;
pub mod told;
pub mod fleet;
pub mod lan;
pub mod faults;
pub mod mixed;
pub mod store;
pub mod bytes;
pub mod ways;
pub mod main_job;
pub mod offstage;
pub mod effects;
pub mod canary;
pub mod cost;
pub mod undo;
pub mod truth;
