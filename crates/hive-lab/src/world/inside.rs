//! Work done by a thread that went into another process's network namespace, and ends there.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` in the network namespace of process `pid`. A socket made there stays there.
pub(crate) fn in_network_of<T: Send + 'static>(
    pid: u32,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let inside = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    });
    inside
        .join()
        .map_err(|_| anyhow!("a thread inside a namespace panicked"))?
}
