//! The daemon: a node, its socket, and the signals that end it.

use crate::api;
use crate::mind::{EndError, HiveNode};
use crate::options::{Options, StartError};
use crate::paths::Paths;
use tokio::signal::unix::{SignalKind, signal};

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
    // Before anything is started: what lies in the socket's place may not be ours to replace.
    api::is_abandoned(&Paths::of(&options)?.socket)?;
    let node = HiveNode::start(options).await?;
    let path = node.socket().to_path_buf();
    let wrong = |why| StartError::Socket {
        path: path.clone(),
        why,
    };
    let served = match api::listen(&path) {
        Ok(listener) => serve_until_signal(&node, listener).await.map_err(wrong),
        Err(error) => Err(error),
    };
    node.shutdown().await;
    served?;
    Ok(node.ended().await?)
}

async fn serve_until_signal(
    node: &HiveNode,
    listener: tokio::net::UnixListener,
) -> Result<(), std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(port = node.port(), node = %node.id().short(), "ready");
    let ended = tokio::select! {
        ended = api::serve(listener, node.clone()) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        // Why it ended is told when everything is put back.
        _ = node.ended() => Ok(()),
    };
    if let Err(why) = std::fs::remove_file(node.socket()) {
        tracing::debug!(%why, "socket file already gone");
    }
    ended
}
