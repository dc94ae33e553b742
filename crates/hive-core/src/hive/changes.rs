//! Which authors' maps changed here since when, so that a difference can be told by what is new.

use alloc::collections::BTreeMap;

use crate::id::NodeId;

/// Which authors' maps changed here, and when, in steps of this run.
#[derive(Debug, Default)]
pub(super) struct Changes {
    revision: u64,
    at: BTreeMap<NodeId, u64>,
}

impl Changes {
    /// How often anything changed.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// An author's map, or what is held against it, is another now.
    pub(super) fn touch(&mut self, author: NodeId) {
        self.revision += 1;
        self.at.insert(author, self.revision);
    }

    /// The step at which an author's map changed last.
    pub(super) fn of(&self, author: NodeId) -> u64 {
        self.at.get(&author).copied().unwrap_or(0)
    }
}
