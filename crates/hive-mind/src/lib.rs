//! Hive Mind as a library: runs `hive-core` against the real world and offers the public face others embed.
//!
//! Start with [`mind::HiveMind`] to embed a hive in a program, with [`client::Client`] to talk to a daemon
//! that already runs, and with [`daemon::run`] to be that daemon.
//!
//! Not there in this version: lending work to another machine. [`mind::HiveNode::request_assist`] always
//! answers `None`.

pub mod mind;
pub mod options;
pub mod client;
pub mod daemon;

pub mod address;
pub mod api;
mod driver;
mod clock;
mod config;
mod disk;
mod doctor;
mod hands;
mod identity;
mod key;
mod net;
mod paths;
mod running;

/// What fuzz targets reach; no part of the public face.
#[doc(hidden)]
pub mod fuzzed {
    pub use crate::net::pack::{UnpackError, pack, unpack};
    pub use crate::net::query::{Heard, answers as mdns_answers};
}

pub use client::{Client, ClientError};
pub use config::{Config, ConfigError};
pub use daemon::RunError;
pub use doctor::{KeepingView, NetworkInterface, NetworkView};
pub use mind::{
    AssistResult, ComputeTask, EndError, HiveError, HiveInvite, HiveMind, HiveNode, HiveStatus,
    InviteError, OptimizationDecision, OptimizationPattern, OptimizationResult, Peer,
    SharedPatternStore, StoreFault,
};
pub use options::{Acting, Options, Scope, StartError};
pub use paths::{Paths, default_socket};
pub use running::Running;

pub use hive_core::hive::invite::InviteCode;
pub use hive_core::hive::ticket::{Pass, PassError, Ticket, TicketError};
/// The views and the vocabulary of replies, for programs that read them.
pub use hive_core::reply;
pub use hive_core::statement::Role;

/// Others that tune the machine, for who looks at it from outside.
pub use hive_core::machine::neighbours::Neighbour;
/// Puts back what a killed daemon had left on, or only looks at it: for a guardian that outlives it, and for clients.
pub use hive_host::helper::{Heard, socket as helper_socket};
pub use hive_host::tuned;
pub use hive_host::{
    HostConfig, Left, OpenError, Recovery, Roots, damaged_journals, has_journal, helper_heard,
    left_on, recover,
};

pub use hive_core::id::{NodeId, WorkloadKey};
pub use hive_core::pattern::{self, WorkloadType};
pub use hive_core::reply::Mode;
