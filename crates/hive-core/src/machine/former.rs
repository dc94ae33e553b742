//! What was learned before this machine joined its hive. A program's key tells nobody its name, so a pattern can get its
//! new key only when that program is seen again. Until then it waits under its old key: a person's no counts as much
//! after a join as before it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::Record;
use crate::id::{PatternId, ProgramName, WorkloadKey};
use crate::machine::learn::{Entry, Ledger};
use crate::machine::{Machine, MachineEffect, record};
use crate::reply::PatternState;
use crate::time::{Now, WallTime};

/// Hives before this one whose patterns can still be recognised. Each was a hive of this machine alone: whoever has
/// company cannot join another one. A guess: people join once or twice.
const FORMER_MAX: usize = 4;

const FORMER_KEY: &[u8] = b"former";

/// The secrets that keyed names before, the latest last. They open nothing but this machine's own patterns.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Former(Vec<[u8; 32]>);

impl Former {
    pub(super) fn restored(records: &[Record]) -> Self {
        record::stored(records, FORMER_KEY).unwrap_or_default()
    }

    fn keys<'a>(&'a self, name: &'a ProgramName) -> impl Iterator<Item = WorkloadKey> + 'a {
        self.0.iter().map(|secret| name.key(secret))
    }
}

impl Machine {
    /// Some patterns stay behind under this secret.
    pub(super) fn leave_behind(&mut self, secret: [u8; 32]) {
        self.former.0.push(secret);
        let over = self.former.0.len().saturating_sub(FORMER_MAX);
        self.former.0.drain(..over);
        self.keep_former();
    }

    /// A program was seen: what was learned of it before the join goes on under its new key, and is said there.
    pub(super) fn recognise(&mut self, now: Now, name: &ProgramName) {
        let keys: Vec<WorkloadKey> = self.former.keys(name).collect();
        if keys.is_empty() {
            return;
        }
        let ids = self.left_behind(|entry| keys.contains(&entry.def.workload));
        for id in &ids {
            let Some(mut entry) = self.ledger.remove(*id) else {
                continue;
            };
            entry.def.workload = name.key(&self.secret);
            entry.shared = true;
            let renewed = entry.def.id();
            let here = self.ledger.remove(renewed).filter(has_numbers);
            let mut records = Vec::from([Ledger::forget(*id)]);
            if here.is_some() {
                records.extend(self.gains.forget(*id));
            } else {
                records.extend(self.gains.rename(*id, renewed));
            }
            let entry = joined(entry, here, now.wall);
            records.push(entry.record());
            self.ledger.insert(entry);
            records.extend(self.ledger.records_apart());
            self.out.push_back(MachineEffect::Keep(records));
            self.say(now, renewed);
        }
        if !ids.is_empty() {
            self.forget_former();
        }
    }

    /// Drops what was left behind and says nothing any more: without a verdict, and without a no that still holds.
    pub(super) fn forget_spent(&mut self, wall: WallTime) {
        let ids = self.left_behind(|entry| says_nothing(entry, wall));
        if ids.is_empty() {
            return;
        }
        let mut records = Vec::new();
        for id in ids {
            self.ledger.remove(id);
            records.push(Ledger::forget(id));
            records.extend(self.gains.forget(id));
        }
        self.out.push_back(MachineEffect::Keep(records));
        self.forget_former();
    }

    /// Those of the patterns that wait under an old key.
    fn left_behind(&self, which: impl Fn(&Entry) -> bool) -> Vec<PatternId> {
        let all = self.ledger.in_order().into_iter();
        let behind = all.filter(|(_, entry)| !entry.shared && which(entry));
        behind.map(|(id, _)| id).collect()
    }

    /// Without patterns of theirs the old secrets are of no use.
    fn forget_former(&mut self) {
        let all = self.ledger.in_order();
        if all.iter().all(|(_, entry)| entry.shared) {
            self.former.0.clear();
            self.keep_former();
        }
    }

    fn keep_former(&mut self) {
        let stored = Some(&self.former).filter(|former| !former.0.is_empty());
        let records = Vec::from([record::record(FORMER_KEY, stored)]);
        self.out.push_back(MachineEffect::Keep(records));
    }
}

/// What a pattern is worth that cannot be used before its program is seen again.
pub(super) fn says_nothing(entry: &Entry, wall: WallTime) -> bool {
    let denied = entry.state == PatternState::Undone && entry.backs_off(wall);
    entry.trials == 0 && !denied
}

/// Whether this machine measured anything of it.
fn has_numbers(entry: &Entry) -> bool {
    entry.trials > 0 || entry.trial.pairs > 0
}

/// One pattern from both: own numbers in this hive are the newer ones, and a no holds.
fn joined(before: Entry, here: Option<Entry>, wall: WallTime) -> Entry {
    let Some(mut here) = here else {
        return before;
    };
    here.backoff_until = here.backoff_until.max(before.backoff_until);
    // What its own trials, or a refusal, dropped here is no more in use by an old no than it was.
    if before.state == PatternState::Undone
        && before.backs_off(wall)
        && here.state != PatternState::Dropped
    {
        here.state = PatternState::Undone;
    }
    here
}
