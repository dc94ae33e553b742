//! What a node is started with, and why it may not start.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hive_core::id::NodeId;
use hive_core::reply::Mode;
use hive_host::OpenError;
use tokio::sync::watch;

use crate::config::ConfigError;
use crate::key::KeyError;

pub use crate::hands::{Acting, Scope};

/// How to start a node. `Options::default()` is what `hive up` does.
#[derive(Clone, Debug)]
pub struct Options {
    /// State folder; none = `$XDG_STATE_HOME/hive`, `~/.local/state/hive`, or `/var/lib/hive`.
    pub state: Option<PathBuf>,
    /// Socket of the local API; none = `$XDG_RUNTIME_DIR/hive/hive.sock`, or in the state folder.
    pub socket: Option<PathBuf>,
    /// Settings file; none = `$XDG_CONFIG_HOME/hive/config.toml` or `/etc/hive/config.toml`, if it is there.
    pub config: Option<PathBuf>,
    /// UDP port; none = the settings', the remembered, or 4483. One that cannot be had gives way to another, and
    /// the status says so. `Some(0)` lets the system choose.
    pub port: Option<u16>,
    /// Address to listen on; none = all addresses of both families.
    pub bind: Option<IpAddr>,
    /// Interfaces to be found on; empty = the settings', or all but containers' and VPNs'. `lo` is possible.
    pub interfaces: Vec<String>,
    /// Fixed addresses of members, besides those in the settings.
    pub peers: Vec<SocketAddr>,
    /// Whose processes may be looked at and touched.
    pub scope: Scope,
    /// Whether this node may act on the machine at all.
    pub act: Acting,
    /// How much the optimizer may do, when the store does not say.
    pub mode: Mode,
    /// What to call this machine, when the store does not say.
    pub label: Option<String>,
    /// Whether to use mDNS (the settings may turn it off too).
    pub mdns: bool,
    /// How many times faster all nodes of this process see time pass. 1 is the truth, and what everybody wants
    /// but a lab that measures a day in minutes; the first node started decides.
    pub clock_factor: NonZeroU32,
    /// Whether a guardian is there that puts everything back should this process be killed; none = nobody was asked to,
    /// and nothing is said of it.
    pub guarded: Option<watch::Receiver<bool>>,
    /// Go on under the key that is there although the store is gone: alone, until another machine lets it back in.
    pub without_store: bool,
    /// How long after the start time begins to pass faster: a start in true time is what a day has.
    pub clock_true_for: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state: None,
            socket: None,
            config: None,
            port: None,
            bind: None,
            interfaces: Vec::new(),
            peers: Vec::new(),
            scope: Scope::OwnUser,
            act: Acting::Yes,
            mode: Mode::Observe,
            label: None,
            mdns: true,
            clock_factor: NonZeroU32::MIN,
            guarded: None,
            without_store: false,
            clock_true_for: Duration::ZERO,
        }
    }
}

/// Why a node did not start. Nothing was changed on the machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings file does not read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The secret key or its folder is not safe, or cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no home to keep state in: give a state folder.
    #[error("no state folder: set HOME or XDG_STATE_HOME, or give --state")]
    NoState,
    /// The label given is none.
    #[error("{0}")]
    Label(hive_core::statement::LabelError),
    /// Another daemon runs on this state folder or socket.
    #[error("a hive daemon already runs here ({0})")]
    AlreadyRunning(PathBuf),
    /// The key is there and the store is not: with a new one this machine would be alone, under the key of a member.
    #[error("the store of this machine is gone, and its key is there ({0})")]
    StoreLost(PathBuf),
    /// The store is there and the key is not: no other key can go on with it.
    #[error("the key of this machine is gone, and its store is there ({0})")]
    KeyLost(PathBuf),
    /// The key is another machine's, or an older one of this machine.
    #[error(
        "the key {path} is not the one of the store beside it: that of {key}, and the store is that of {store}"
    )]
    OtherKey {
        /// Of the key.
        path: PathBuf,
        /// Whose key it is.
        key: NodeId,
        /// Whose store it is.
        store: NodeId,
    },
    /// The store in the state folder is damaged, or is none.
    #[error("the store {path} cannot be opened: {why}")]
    StoreDamaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The store in the state folder is newer than this program, or cannot be written.
    #[error("the store cannot be opened: {0}")]
    Store(String),
    /// No UDP port could be opened.
    #[error("no UDP port could be opened: {0}")]
    Network(String),
    /// The machine cannot be looked at.
    #[error("this machine cannot be observed: {0}")]
    Host(String),
    /// The API's socket cannot be made.
    #[error("the socket {path} cannot be made: {why}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// Where the API's socket should be lies something else, which may be somebody's.
    #[error(
        "{path} is {found} and no socket; it was left as it is; give another place: hive --socket FILE up"
    )]
    NoSocket {
        /// Where.
        path: PathBuf,
        /// What lies there.
        found: &'static str,
    },
    /// The state folder, or the journal in it, cannot be used.
    #[error("{path}: {why}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        why: OpenError,
    },
    /// A state file cannot be read or written.
    #[error("{path}: {why}")]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
}
