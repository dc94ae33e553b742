//! One node: hands each input to its part, queues outputs. It routes and decides nothing itself.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::event::{Input, Output};
use crate::hive::outside::Record;
use crate::id::{NodeId, ProgramName};
use crate::machine::facts::MachineFacts;
use crate::reply::Mode;
use crate::signed::KeyPair;
use crate::statement::Label;
use crate::time::Now;

/// What a node is started with.
pub struct NodeConfig {
    /// This machine's key.
    pub key: KeyPair,
    /// What the host found.
    pub facts: MachineFacts,
    /// How much the optimizer may do, when the store does not say.
    pub mode: Mode,
    /// What to call this machine, when the store does not say; none = two generated words.
    pub label: Option<Label>,
    /// Programs to protect although they are in no terminal's foreground.
    pub protect: Vec<ProgramName>,
    /// Programs never to touch.
    pub never: Vec<ProgramName>,
    /// Fixed addresses of members, for networks without multicast.
    pub peers: Vec<SocketAddr>,
}

/// The state of one machine of a hive.
pub struct Node {
    me: NodeId,
    outputs: VecDeque<Output>,
}

impl Node {
    /// Starts a node from what its store held (all records, in any order; empty on a new machine).
    /// Two nodes made alike and fed the same inputs do the same things.
    #[must_use]
    pub fn new(config: NodeConfig, restored: Vec<Record>, seed: [u8; 32], now: Now) -> Self {
        let _unused = (restored, seed, now);
        Self {
            me: config.key.node(),
            outputs: VecDeque::new(),
        }
    }

    /// This machine's name.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Tells the node that something happened. Drain [`Node::poll`] before the next call.
    pub fn handle(&mut self, now: Now, input: Input) {
        debug_assert!(self.outputs.is_empty(), "outputs not drained");
        let _unused = (now, input);
    }

    /// The next thing the node wants done, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
