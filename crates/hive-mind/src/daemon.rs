//! The daemon: a node, its socket, and the signals that end it.

use crate::api;
use crate::mind::HiveNode;
use crate::options::{Options, StartError};
use tokio::signal::unix::{SignalKind, signal};

/// Runs a node with its socket until SIGTERM or SIGINT; then puts every change back and returns.
pub async fn run(options: Options) -> Result<(), StartError> {
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
    served
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
        () = node.ended() => Ok(()),
    };
    if let Err(why) = std::fs::remove_file(node.socket()) {
        tracing::debug!(%why, "socket file already gone");
    }
    ended
}
