//! One report per file; each is one command of the lab.

pub mod entries;
pub mod scene;
pub mod settle;
pub mod told;
pub mod lan;
pub mod main_job;
pub mod offstage;
pub mod canary;
