//! Everything that thinks: one node of a hive, without a clock, a disk, a socket or a thread.
//!
//! A [`node::Node`] is fed one [`event::Input`] at a time and answers with [`event::Output`]s;
//! the world around it (real in `hive-mind`, seeded in `hive-sim`) carries those out. The crate is
//! `no_std`, so reading a clock, opening a file or iterating a randomly ordered map does not compile.
//!
//! Reading order: [`event`] (the closed vocabulary), [`node`] (who gets which input), then the verb
//! you came for. Floors import only downwards:
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`time`] [`id`] [`units`] [`limits`] [`chance`] |
//! | 1 | [`pattern`] [`statement`] [`event_log`] [`reply`] [`signed`] [`wire`] [`vocabulary`] |
//! | 2 | [`machine`] (observe, learn, decide, act, record), [`hive`] (store, sync, roster, invite, budget, advise) |
//! | 3 | [`collective`] (evidence) |
//! | 4 | [`event`] [`node`] |
#![no_std]

extern crate alloc;

pub mod time;
pub mod id;
pub mod units;
pub mod limits;
pub mod chance;

pub mod pattern;
pub mod statement;
pub mod event_log;
pub mod reply;
pub mod signed;
pub mod wire;
pub mod vocabulary;

pub mod machine;
pub mod hive;

pub mod collective;

pub mod event;
pub mod node;
