//! When each frame was handed to the transport and when it came out at the other end, for whoever asks the log for it
//! (`hive_mind::ways=trace`). The laboratory learns from this how long frames are on their way.
//!
//! Nothing of what a frame says is told: a number stands for it, which the other end finds for the same bytes.

use std::hash::{DefaultHasher, Hasher as _};

use hive_core::id::NodeId;

use crate::clock;

const TARGET: &str = "hive_mind::ways";

/// A frame is on its way.
pub(crate) fn sent(from: NodeId, to: NodeId, frame: &[u8]) {
    if tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
        tell("sent", from, to, frame);
    }
}

/// A frame has come.
pub(crate) fn came(from: NodeId, to: NodeId, frame: &[u8]) {
    if tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
        tell("came", from, to, frame);
    }
}

fn tell(what: &str, from: NodeId, to: NodeId, frame: &[u8]) {
    let at_us = clock::true_boot().0;
    let (from, to, frame) = (from.short(), to.short(), number(frame));
    tracing::trace!(target: TARGET, "{what} at_us={at_us} from={from} to={to} frame={frame:016x}");
}

/// The same for the same bytes on every machine.
fn number(frame: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(frame);
    hasher.finish()
}
