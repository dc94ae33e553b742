//! Where the daemon's folder and socket are, as the options and the environment say.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hive_mind::{Options, Paths, Running};

use crate::args::Place;
use crate::problem::{Exit, Problem};

/// Both, settled.
pub(crate) fn paths(place: &Place) -> Result<Paths, Problem> {
    let options = Options {
        state: absolute(place.state.as_deref())?,
        socket: absolute(place.socket.as_deref())?,
        ..Options::default()
    };
    Paths::of(&options).map_err(|why| {
        Problem::new(Exit::Failed, "state.none", why.to_string()).try_next("hive --state DIR ...")
    })
}

/// The socket to ask on: the named one; else the usual one; else, when nobody answers there, that of the daemon which
/// runs on the state folder. It may have been started with another `XDG_RUNTIME_DIR`.
pub(crate) fn socket(place: &Place, paths: &Paths) -> PathBuf {
    if place.socket.is_none()
        && !Running::listens(&paths.socket)
        && let Some(running) = Running::on(&paths.state)
    {
        return running.socket;
    }
    paths.socket.clone()
}

/// What to type where the state folder cannot be used.
pub(crate) const OTHER_FOLDER: &str = "hive --state DIR up   (a folder of your own)";

/// Makes a folder that only its owner can enter; one that is there stays as it is.
pub(crate) fn private_folder(path: &Path) -> Result<(), Problem> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|why| {
            let what = format!("the state folder {} could not be made", path.display());
            Problem::system(&what, &why).try_next(OTHER_FOLDER)
        })
}

/// The daemon may run in another folder than this program, so relative paths are settled here.
fn absolute(path: Option<&Path>) -> Result<Option<PathBuf>, Problem> {
    path.map(std::path::absolute)
        .transpose()
        .map_err(|why| Problem::system("the path could not be read", &why))
}
