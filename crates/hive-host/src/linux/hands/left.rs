//! What an earlier run left on: it is put back at the start, tried again while that has failed, and looked at where no
//! hand is to be laid on it.

use std::collections::BTreeSet;

use hive_core::id::ChangeId;
use hive_core::machine::facts::MachineFacts;
use hive_core::pattern::Action;

use super::Hands;
use crate::journal::{Change, Journal};
use crate::linux::knob::Value;
use crate::linux::place;
use crate::linux::reach::Reach;
use crate::linux::scan::{self, Scan};
use crate::linux::stat::Stat;
use crate::linux::survey::Eyes;
use crate::{HostConfig, Left, OpenError, Recovery};

impl Hands {
    /// Only to look: nothing is made, locked against others who look, or written.
    pub(in crate::linux) fn look_only(
        config: &HostConfig,
        facts: &MachineFacts,
        default_slice: Option<u64>,
    ) -> Result<Self, OpenError> {
        place::state_folder(&config.state, facts.uid)?;
        let lock = place::journal_look(&config.state)?;
        let boot = place::boot(&config.roots);
        let opened = Journal::look(&config.state, &boot).map_err(OpenError::Journal)?;
        let (facts, reach) = (facts.clone(), Reach::Own);
        Ok(Self::with(
            config,
            facts,
            reach,
            default_slice,
            lock,
            (opened, boot),
        ))
    }

    /// Restores whatever the journal says is on. What cannot be restored stays on, for an undo or the
    /// next recovery.
    pub(in crate::linux) fn recover(&mut self, eyes: &mut Eyes) -> Result<Recovery, OpenError> {
        let mut recovery = Recovery {
            damaged: self.damaged,
            ..Recovery::default()
        };
        for id in self.on().into_iter().rev() {
            if self
                .on
                .get(&id)
                .is_some_and(|it| self.is_of_another_boot(it))
            {
                recovery.discarded += 1;
                self.close(id).map_err(OpenError::Journal)?;
                continue;
            }
            self.recover_one(eyes, id, &mut recovery)?;
        }
        Ok(recovery)
    }

    /// Tries again what the start could not put back: the rights may be others, or the processes may have ended.
    pub(in crate::linux) fn recover_again(
        &mut self,
        eyes: &mut Eyes,
    ) -> Result<Recovery, OpenError> {
        let mut recovery = Recovery::default();
        for id in self.stuck.clone().into_iter().rev() {
            let Some(action) = self.on.get(&id).map(|change| change.action) else {
                continue;
            };
            if self.is_on_elsewhere(id, action) {
                // What carries that value now may have it from the change of today.
                recovery.changes.push(id);
                recovery.failed += 1;
                continue;
            }
            self.recover_one(eyes, id, &mut recovery)?;
        }
        Ok(recovery)
    }

    fn recover_one(
        &mut self,
        eyes: &mut Eyes,
        id: ChangeId,
        recovery: &mut Recovery,
    ) -> Result<(), OpenError> {
        recovery.changes.push(id);
        let tally = self.restore(eyes, id);
        recovery.restored += tally.restored;
        recovery.left_alone += tally.left_alone;
        recovery.gone += tally.gone;
        // Until it is noted that all is back, it counts as on.
        self.stuck.insert(id);
        if tally.errno.is_some() {
            recovery.failed += 1;
            return Ok(());
        }
        self.close(id).map_err(OpenError::Journal)?;
        self.stuck.remove(&id);
        Ok(())
    }

    /// Whether this run has the same on in another change.
    fn is_on_elsewhere(&self, id: ChangeId, action: Action) -> bool {
        let mut others = self.on.values().filter(|change| change.id != id);
        others.any(|change| change.action == action && !self.stuck.contains(&change.id))
    }

    /// What is still on as far as the journal tells.
    pub(in crate::linux) fn left(&self, eyes: &mut Eyes) -> Left {
        Left {
            on: self.still_on(eyes),
            damaged: self.damaged,
        }
    }

    /// How many threads and sessions carry what the journal says is on.
    pub(super) fn still_on(&self, eyes: &mut Eyes) -> u32 {
        let (scan, members) = eyes.look();
        let of_this_boot = |change: &&Change| !self.boot.is_empty() && change.boot == self.boot;
        let mut found = BTreeSet::new();
        let mut units = BTreeSet::new();
        for change in self.on.values().filter(of_this_boot) {
            units.extend(self.units_on(change));
            if change.action == Action::AutogroupNice {
                found.extend(self.sessions_on(&scan, change).map(|number| (0, number)));
                continue;
            }
            if change.action == Action::BackgroundWeight {
                continue;
            }
            let knob = self.knob(change.action);
            let targets = change.targets.iter().filter(|target| {
                self.lives(target) && matches!(knob.value(target.tid, change.new), Ok(Value::Ours))
            });
            found.extend(targets.map(|target| (target.tid, 0)));
            let heirs = self.heirs(&scan, &members, change).into_iter();
            let heirs = heirs.filter(|(pid, tid)| self.inherited(change, *pid, *tid).is_some());
            found.extend(heirs.map(|(_, tid)| (tid, 0)));
        }
        u32::try_from(found.len() + units.len()).unwrap_or(u32::MAX)
    }

    /// The autogroups of a change in which anybody lives, and which carry its nice.
    fn sessions_on<'a>(
        &'a self,
        scan: &'a Scan,
        change: &'a Change,
    ) -> impl Iterator<Item = u64> + 'a {
        let ours = |stat: &&Stat| scan::owner(&self.proc, stat.pid) == Some(self.uid);
        let living = scan.stats.iter().filter(|stat| stat.alive()).filter(ours);
        let sessions = living.filter_map(|stat| scan::autogroup(&self.proc, stat.pid));
        sessions.filter_map(|(number, nice)| {
            let mut targets = change.targets.iter();
            let is_target = targets.any(|target| target.autogroup == number);
            (is_target && nice == change.new).then_some(number)
        })
    }

    /// Whether a change was made before this boot, so that nothing of it is left. Where the present
    /// boot has no name nobody can tell.
    fn is_of_another_boot(&self, change: &Change) -> bool {
        !self.boot.is_empty() && change.boot != self.boot
    }
}
