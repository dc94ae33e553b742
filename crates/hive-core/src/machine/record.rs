//! Record: what is kept in the store and what is said to the hive.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::{Record, Table};
use crate::id::{PatternId, ProgramName, WorkloadKey};
use crate::machine::former::says_nothing;
use crate::machine::learn::Ledger;
use crate::machine::{Machine, MachineEffect, Pause};
use crate::pattern::Action;
use crate::reply::Mode;
use crate::statement::{Statement, StrategyCell};
use crate::time::{Instant, Now, Span, WallTime};

/// Evidence that only grew (hold-outs) is said again this often at most (the lead's figure; a guess
/// that keeps it to a hundred statements a day).
const SAY_AGAIN: Span = Span::from_secs(15 * 60);

const MODE_KEY: &[u8] = b"mode";
const PAUSE_KEY: &[u8] = b"pause";
const REST_KEY: &[u8] = b"rest";
const ALLOWED_KEY: &[u8] = b"allowed";

/// A pause, or the rest after an undo, as it is stored: the boot clock means nothing after a reboot, so its end is on the calendar.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct StoredPause {
    until: Option<WallTime>,
    /// How long it was to last from when it was stored: a calendar that was years ahead then does not
    /// make it longer.
    left_ms: u64,
}

impl StoredPause {
    fn new(until: Option<Instant>, now: Now) -> Self {
        let left = until.map(|until| until.since(now.boot).as_ms());
        Self {
            until: left.map(|left| WallTime(now.wall.0.saturating_add(left))),
            left_ms: left.unwrap_or_default(),
        }
    }

    /// When it is over, if it has an end and that is still to come.
    fn end(self, now: Now) -> Option<Instant> {
        let left_ms = self.until?.0.checked_sub(now.wall.0)?.min(self.left_ms);
        Some(now.boot.after(Span::from_ms(left_ms)))
    }
}

/// The mode that was set by a person, if one was.
pub(super) fn restored_mode(records: &[Record]) -> Option<Mode> {
    stored(records, MODE_KEY)
}

/// The actions that a person allowed. A list that names one which this version does not know allows none.
pub(super) fn restored_allowed(records: &[Record]) -> BTreeSet<Action> {
    stored(records, ALLOWED_KEY).unwrap_or_default()
}

/// The pause that was still on, if one was.
pub(super) fn restored_pause(records: &[Record], now: Now) -> Option<Pause> {
    let pause: StoredPause = stored(records, PAUSE_KEY)?;
    if pause.until.is_none() {
        return Some(Pause { until: None });
    }
    let until = pause.end(now)?;
    Some(Pause { until: Some(until) })
}

/// Until when nothing is begun because a person undid something, if that is not over.
pub(super) fn restored_rest(records: &[Record], now: Now) -> Option<Instant> {
    stored::<StoredPause>(records, REST_KEY)?.end(now)
}

pub(super) fn stored<'a, T: Deserialize<'a>>(records: &'a [Record], key: &[u8]) -> Option<T> {
    let of = |record: &&Record| record.table == Table::Ledger && record.key == key;
    let value = records.iter().find(of)?.value.as_deref()?;
    postcard::from_bytes(value).ok()
}

pub(super) fn record<T: Serialize>(key: &[u8], value: Option<&T>) -> Record {
    Record {
        table: Table::Ledger,
        key: key.to_vec(),
        value: value.map(|value| postcard::to_allocvec(value).unwrap_or_default()),
    }
}

impl Machine {
    /// Stores a pattern's entry.
    pub(super) fn keep(&mut self, id: PatternId) {
        if let Some(entry) = self.ledger.get(id) {
            let mut records = Vec::from([entry.record()]);
            if entry.holdout.pairs > 0 {
                records.push(self.gains.record(id));
            }
            records.extend(self.ledger.records_apart());
            self.out.push_back(MachineEffect::Keep(records));
        }
    }

    /// Stores the mode.
    pub(super) fn keep_mode(&mut self) {
        let records = Vec::from([record(MODE_KEY, Some(&self.mode))]);
        self.out.push_back(MachineEffect::Keep(records));
    }

    /// Stores what a person allowed.
    pub(super) fn keep_allowed(&mut self) {
        let records = Vec::from([record(ALLOWED_KEY, Some(&self.allowed))]);
        self.out.push_back(MachineEffect::Keep(records));
    }

    /// Sets, stores or ends the pause.
    pub(super) fn set_pause(&mut self, now: Now, pause: Option<Pause>) {
        self.pause = pause;
        let stored = pause.map(|pause| StoredPause::new(pause.until, now));
        let records = Vec::from([record(PAUSE_KEY, stored.as_ref())]);
        self.out.push_back(MachineEffect::Keep(records));
    }

    /// Sets, stores or ends the rest after an undo.
    pub(super) fn set_rest(&mut self, now: Now, until: Option<Instant>) {
        if self.rest_until == until {
            return;
        }
        self.rest_until = until;
        let stored = until.map(|until| StoredPause::new(Some(until), now));
        let records = Vec::from([record(REST_KEY, stored.as_ref())]);
        self.out.push_back(MachineEffect::Keep(records));
    }

    /// Says a pattern, this machine's evidence and its cell of the counter. Bad results are said too.
    pub(super) fn say(&mut self, now: Now, id: PatternId) {
        let Some(entry) = self.ledger.get(id) else {
            return;
        };
        if !entry.shared || entry.trials == 0 {
            return;
        }
        let evidence = entry.evidence();
        let cell = StrategyCell {
            trials: u64::from(entry.trials),
            wins: u64::from(entry.wins),
        };
        let statements = Vec::from([
            Statement::Pattern(entry.def),
            Statement::Evidence(id, evidence),
            Statement::Strategy(id, cell),
        ]);
        self.said.insert(id, (evidence, now.boot));
        self.out.push_back(MachineEffect::Publish(statements));
    }

    /// Says what changed since it was last said, if that was long enough ago.
    pub(super) fn say_changes(&mut self, now: Now) {
        let due: Vec<PatternId> = self
            .said
            .iter()
            .filter(|(id, (said, at))| {
                let changed = |entry: &crate::machine::learn::Entry| entry.evidence() != *said;
                now.boot.since(*at) >= SAY_AGAIN && self.ledger.get(**id).is_some_and(changed)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.say(now, id);
        }
    }

    /// This machine joined another hive, where programs' names have other keys. Own patterns whose program is in
    /// memory go on under their new key and are said there; the others wait until it is seen, unshared. What has no
    /// verdict yet begins anew.
    pub fn rekey(&mut self, now: Now, secret: [u8; 32]) {
        self.end_run();
        let names: alloc::collections::BTreeMap<WorkloadKey, ProgramName> =
            core::mem::take(&mut self.names);
        let before = core::mem::replace(&mut self.secret, secret);
        self.advice.clear();
        self.said.clear();
        let mut records = Vec::new();
        let ids: Vec<PatternId> = self
            .ledger
            .in_order()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let mut renewed = Vec::new();
        let mut is_behind = false;
        for id in ids {
            let Some(mut entry) = self.ledger.remove(id) else {
                continue;
            };
            if let Some(name) = names.get(&entry.def.workload) {
                records.push(Ledger::forget(id));
                entry.def.workload = name.key(&secret);
                records.extend(self.gains.rename(id, entry.def.id()));
                renewed.push(entry.def.id());
            } else if says_nothing(&entry, now.wall) {
                records.push(Ledger::forget(id));
                records.extend(self.gains.forget(id));
                continue;
            } else {
                is_behind |= entry.shared;
                entry.shared = false;
            }
            records.push(entry.record());
            self.ledger.insert(entry);
        }
        self.names = names
            .into_values()
            .map(|name| (name.key(&secret), name))
            .collect();
        records.extend(self.ledger.records_apart());
        self.out.push_back(MachineEffect::Keep(records));
        if is_behind {
            self.leave_behind(before);
        }
        for id in renewed {
            self.say(now, id);
        }
        // What stays behind is not in use any more, so the others' proofs must do without it (decision 0061).
        self.ask_for_more(now);
        self.turn(now);
    }
}
