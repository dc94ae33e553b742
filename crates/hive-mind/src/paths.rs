//! Where things lie: the state folder, the socket, the settings file.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use hive_core::signed::KeyPair;

use crate::key::{self, KEY, KeyError, NEXT, Secret, UNUSED};
use crate::options::{Options, StartError};

/// Where one node's things lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Key, store, journal and remembered port.
    pub state: PathBuf,
    /// The local API.
    pub socket: PathBuf,
    /// The settings file, if one was named or is there.
    pub config: Option<PathBuf>,
}

impl Paths {
    /// Settles where everything lies, from what was asked for and the environment.
    pub fn of(options: &Options) -> Result<Self, StartError> {
        let state = state_folder(options.state.as_deref()).ok_or(StartError::NoState)?;
        let socket = options
            .socket
            .clone()
            .or_else(|| default_socket(options.state.as_deref()))
            .ok_or(StartError::NoState)?;
        let config = options.config.clone().or_else(found_config);
        Ok(Self {
            state,
            socket,
            config,
        })
    }

    /// Whether a key is there whose store is gone, or is a file of no bytes or of nothing but zeros, as a power cut may
    /// leave. Files that cannot be looked at are told by whoever opens them.
    #[must_use]
    pub fn has_lost_store(&self) -> bool {
        let path = self.store();
        let is_gone = match path.metadata() {
            Ok(about) => about.is_file() && holds_nothing(&path),
            Err(why) => why.kind() == io::ErrorKind::NotFound,
        };
        is_gone && self.state.join(KEY).exists()
    }

    /// First digits of the ids under which others may know this machine: of its key, of one that is about to take over,
    /// of one that was put aside, and of the one before. Keys that cannot be read have none.
    #[must_use]
    pub fn own_ids(&self) -> Vec<String> {
        let id = |secret: Secret| KeyPair::from_secret(&secret).node().short();
        let held = key::load(&self.state).ok().flatten().map(id);
        let beside = self.kept_keys().into_iter().map(|(_, id)| id);
        let before = key::load_before(&self.state).map(id);
        held.into_iter().chain(beside).chain(before).collect()
    }

    /// Keys that a change of key made and that are not in use, each with the first digits of its id. Those that cannot
    /// be read are none.
    #[must_use]
    pub fn kept_keys(&self) -> Vec<(PathBuf, String)> {
        let beside = [
            (NEXT, key::load_next(&self.state)),
            (UNUSED, key::load_unused(&self.state)),
        ];
        let readable = |(name, read): (&str, Result<Option<Secret>, KeyError>)| {
            let secret = read.ok().flatten()?;
            let id = KeyPair::from_secret(&secret).node().short();
            Some((self.state.join(name), id))
        };
        beside.into_iter().filter_map(readable).collect()
    }

    /// The store's file.
    pub(crate) fn store(&self) -> PathBuf {
        self.state.join("store.redb")
    }

    /// Where the local API is when its own place cannot be used any more.
    pub(crate) fn spare_socket(&self) -> PathBuf {
        self.state.join("hive.sock")
    }

    /// The file that remembers the UDP port, so that a restarted node is found where it was.
    pub(crate) fn port(&self) -> PathBuf {
        self.state.join("port")
    }
}

/// Whether there is no byte but zeros in a file. A store begins with other ones: of a whole one, one piece is read.
fn holds_nothing(path: &Path) -> bool {
    let look = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        let mut piece = [0; 4_096];
        loop {
            let length = file.read(&mut piece)?;
            if length == 0 || piece[..length].iter().any(|byte| *byte != 0) {
                return Ok(length == 0);
            }
        }
    };
    look().unwrap_or(false)
}

/// The socket of the daemon that a client should talk to.
///
/// With a named state folder it lies in that folder, so that several nodes of one user keep apart; else it
/// is `$XDG_RUNTIME_DIR/hive/hive.sock`, or in the usual state folder. `None` without any home.
#[must_use]
pub fn default_socket(state: Option<&Path>) -> Option<PathBuf> {
    if state.is_none()
        && let Some(runtime) = folder_of("XDG_RUNTIME_DIR")
    {
        return Some(runtime.join("hive").join("hive.sock"));
    }
    state_folder(state).map(|folder| folder.join("hive.sock"))
}

fn state_folder(named: Option<&Path>) -> Option<PathBuf> {
    named
        .map(Path::to_path_buf)
        .or_else(|| folder_of("XDG_STATE_HOME").map(|folder| folder.join("hive")))
        .or_else(|| folder_of("HOME").map(|home| home.join(".local/state/hive")))
        .or_else(|| {
            rustix::process::geteuid()
                .is_root()
                .then(|| PathBuf::from("/var/lib/hive"))
        })
}

fn found_config() -> Option<PathBuf> {
    let own = folder_of("XDG_CONFIG_HOME")
        .or_else(|| folder_of("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("hive/config.toml"));
    [own, Some(PathBuf::from("/etc/hive/config.toml"))]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}

/// Only absolute paths count (XDG base directory specification); an empty variable is none.
fn folder_of(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
