//! What is on through the privileged helper: kept on by a heartbeat, and put back by its hand.

use std::io;

use hive_core::id::ChangeId;
use hive_core::machine::facts::Rights;

use super::Hands;
use crate::helper::Thread;
use crate::journal::Change;
use crate::linux::knob::Value;
use crate::linux::reach::Lease;

impl Hands {
    /// What can be undone, be it through the helper.
    pub(in crate::linux) fn rights(&self) -> Rights {
        self.facts.rights
    }

    /// Renews the helper's lease; tells which changes it has given up meanwhile.
    pub(in crate::linux) fn keep(&mut self) -> Vec<ChangeId> {
        if self.reach.keep() == Lease::Runs {
            return Vec::new();
        }
        let changes = self.on.values().rev();
        changes
            .filter(|change| self.reach.helps(self.knob(change.action)))
            .map(|change| change.id)
            .collect()
    }

    /// Writes an old value. Where the helper has put it back between our look and our word, that is as good.
    pub(super) fn put_back(&mut self, change: &Change, thread: Thread, old: i64) -> io::Result<()> {
        let knob = self.knob(change.action);
        match self.reach.restore(knob, thread, old) {
            Err(error) => match knob.value(thread.tid, change.new) {
                Ok(Value::Default) if self.reach.helps(knob) => Ok(()),
                _ => Err(error),
            },
            restored => restored,
        }
    }
}
