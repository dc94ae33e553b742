//! The daemon: a node, its socket, and the signals that end it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::api;
use crate::mind::{EndError, HiveNode};
use crate::options::{Options, StartError};
use crate::paths::Paths;
use crate::running::Notice;

/// How often is looked whether the socket's file is still there. A guess between the seconds that a person waits
/// and wake-ups of an idle processor; a look is one `stat`.
const LOOK: Duration = Duration::from_secs(5);

/// Why a daemon did not run, or not until it was told to end. Every change was put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It ran, and then could not go on.
    #[error(transparent)]
    End(#[from] EndError),
}

/// Runs a node with its socket until SIGTERM or SIGINT; then puts every change back and returns. A node that
/// cannot go on, because its store cannot be written, ends in the same order and is an error.
pub async fn run(options: Options) -> Result<(), RunError> {
    let paths = Paths::of(&options)?;
    // Before anything is started: what lies in the socket's place may not be ours to replace.
    api::is_abandoned(&paths.socket)?;
    let node = HiveNode::start(options).await?;
    let served = match Door::open(&paths) {
        Ok((door, listener)) => serve_until_signal(&node, door, listener)
            .await
            .map_err(|why| StartError::Socket {
                path: paths.socket,
                why,
            }),
        Err(error) => Err(error),
    };
    node.shutdown().await;
    served?;
    Ok(node.ended().await?)
}

async fn serve_until_signal(
    node: &HiveNode,
    mut door: Door,
    listener: UnixListener,
) -> Result<(), io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(port = node.port(), node = %node.id().short(), "ready");
    let mut serving = Box::pin(api::serve(listener, node.clone()));
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            ended = &mut serving => break ended,
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            // Why it ended is told when everything is put back.
            _ = node.ended() => break Ok(()),
            _ = look.tick() => if let Some(listener) = door.made_again() {
                // Nobody can come by the old one any more.
                serving = Box::pin(api::serve(listener, node.clone()));
            },
        }
    };
    door.close();
    ended
}

/// The socket's file, which somebody may delete: a log-out wipes `/run/user/N`, and the daemon lives on.
struct Door {
    wanted: PathBuf,
    /// In the state folder, for when the wanted place cannot be used any more.
    spare: PathBuf,
    at: PathBuf,
    mark: Option<Mark>,
    /// None where it could not be written; then only this way to the daemon is missing.
    notice: Option<Notice>,
}

/// What makes a file this one and no other of the same name.
type Mark = (u64, u64);

impl Door {
    fn open(paths: &Paths) -> Result<(Self, UnixListener), StartError> {
        let listener = api::listen(&paths.socket)?;
        let notice = Notice::write(&paths.state, &paths.socket);
        if let Err(why) = &notice {
            tracing::warn!(%why, "where the socket is could not be noted in the state folder");
        }
        let door = Self {
            wanted: paths.socket.clone(),
            spare: paths.spare_socket(),
            at: paths.socket.clone(),
            mark: mark(&paths.socket),
            notice: notice.ok(),
        };
        Ok((door, listener))
    }

    /// A new listener when the socket's file is gone, or is not ours any more.
    fn made_again(&mut self) -> Option<UnixListener> {
        if self.is_there() {
            return None;
        }
        for place in [&self.wanted, &self.spare] {
            match api::listen(place) {
                Ok(listener) => {
                    tracing::warn!("the socket's file was gone; it was made again");
                    self.at.clone_from(place);
                    self.mark = mark(place);
                    if let Some(Err(why)) = self.notice.as_mut().map(|it| it.moved(&self.at)) {
                        tracing::warn!(%why, "where the socket is could not be noted");
                    }
                    return Some(listener);
                }
                Err(why) => tracing::debug!(%why, "the socket's file is gone"),
            }
        }
        None
    }

    fn is_there(&self) -> bool {
        self.mark.is_some() && mark(&self.at) == self.mark
    }

    fn close(self) {
        // What lies there now may be somebody else's.
        if self.is_there()
            && let Err(why) = std::fs::remove_file(&self.at)
        {
            tracing::debug!(%why, "socket file already gone");
        }
        if let Some(notice) = self.notice {
            notice.remove();
        }
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let about = path.symlink_metadata().ok()?;
    Some((about.dev(), about.ino()))
}
