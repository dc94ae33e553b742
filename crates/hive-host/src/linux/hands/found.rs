//! What a look at the target groups found: what may be changed, and what is left alone.

use crate::journal::{Change, Spared, Target};
use crate::linux::knob::Value;
use crate::linux::stat::Stat;
use hive_core::pattern::Action;

/// What a look at the target groups found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) targets: Vec<Target>,
    pub(super) spared: Vec<Spared>,
}

impl Found {
    /// Takes in a thread or group with the value that it has.
    pub(super) fn add(
        &mut self,
        change: &Change,
        stat: &Stat,
        tid: u32,
        born: u64,
        autogroup: u64,
        value: Value,
    ) {
        let pid = stat.pid;
        // Inherited from one of ours. At the first look nothing is ours yet.
        let heir = born >= change.ticks && !change.targets.is_empty();
        match value {
            // An heir of the real action would carry its value: the placebo passes it over likewise.
            Value::Default if heir && change.action == Action::Placebo => {}
            Value::Default => self.targets.push(Target {
                pid,
                tid,
                start: born,
                autogroup,
                old: 0,
            }),
            Value::Ours if heir => {}
            Value::Ours | Value::ByHand => self.spared.push(Spared {
                pid,
                tid,
                start: born,
            }),
            Value::Meaningless => {}
        }
    }
}

impl Change {
    /// Whether it was left alone, because somebody else had set it.
    pub(super) fn spares(&self, pid: u32, tid: u32, start: u64) -> bool {
        self.spared.contains(&Spared { pid, tid, start })
    }
}
