//! Acts and undoes: intent first, then the deed, then a look at what became of it.
//!
//! Our values are inherited, and numbers that nobody writes by hand: whatever was born since the intent and
//! carries exactly ours has it from us, even when it left its job and its parents have ended (a daemon that
//! a build starts for itself). All of it gets the default back.
//!
//! A nice that is given relative to the starter's (`nice make`, `nice -n 5 make`) adds to what is
//! inherited. Started inside a background that carries our 11 it becomes a number of its own, which
//! is none of ours: it counts as set by hand, is left as it is by undo, and so stays higher than it
//! would have been without us, until that program ends. Inside a background that carries our `SCHED_IDLE` it stays
//! on idle processors as well.

mod found;
mod kept;
mod left;
mod memory;
mod weigh;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Refusal, Step};
use hive_core::machine::facts::{GroupId, MachineFacts};
use hive_core::pattern::Action;

use found::Found;

use super::autogroup::{self, Member};
use super::knob::{self, Tally, ThreadKnob, Value};
use super::reach::{Reach, Set, SetError};
use super::scan::{self, Scan};
use super::stat::Stat;
use super::survey::Eyes;
use super::units::Place;
use super::{boot_clock, facts, place, sys};
use crate::helper::Thread;
use crate::journal::{Change, Journal, Opened, Record, Target};
use crate::{HostConfig, OpenError};

/// A pass that finds nothing new is clean; after two in a row a tree counts as done. One pass left
/// a forked descendant behind in 28-36 % of the cycles (`research/optimizer.md` 6.1).
const CLEAN_PASSES: u32 = 2;

/// A storm that forks faster than this many passes is left to the next undo or recovery. A guess.
const PASSES_MAX: u32 = 24;

/// Between two passes: a fork under way, which no table shows yet, gets time to finish.
const SETTLE: Duration = Duration::from_millis(5);

/// The hands, and what they have on.
#[derive(Debug)]
pub(super) struct Hands {
    proc: PathBuf,
    uid: u32,
    facts: MachineFacts,
    default_slice: Option<u64>,
    nice_all: bool,
    reach: Reach,
    boot: String,
    ticks_per_second: u64,
    journal: Journal,
    /// How many journals were found damaged in this boot.
    damaged: u32,
    place: Place,
    on: BTreeMap<ChangeId, Change>,
    /// Those of an earlier run that could not be put back.
    stuck: BTreeSet<ChangeId>,
    _lock: File,
}

impl Hands {
    /// Opens the journal; what it says is on stays on until [`Hands::recover`].
    pub(super) fn open(
        config: &HostConfig,
        facts: &MachineFacts,
        default_slice: Option<u64>,
    ) -> Result<Self, OpenError> {
        place::state_folder(&config.state, facts.uid)?;
        let lock = place::journal_lock(&config.state)?;
        let boot = place::boot(&config.roots);
        let opened = Journal::open(&config.state, &boot).map_err(OpenError::Journal)?;
        let mut facts = facts.clone();
        let reach = Reach::find(&config.roots.run, &mut facts);
        Ok(Self::with(
            config,
            facts,
            reach,
            default_slice,
            lock,
            (opened, boot),
        ))
    }

    fn with(
        config: &HostConfig,
        facts: MachineFacts,
        reach: Reach,
        default_slice: Option<u64>,
        lock: File,
        (opened, boot): (Opened, String),
    ) -> Self {
        let proc = config.roots.proc.clone();
        let place = Place::new(&config.roots, facts.uid);
        Self {
            nice_all: reach.is_helped() || facts::may_nice_all(&proc),
            reach,
            uid: facts.uid,
            facts,
            default_slice,
            boot,
            ticks_per_second: sys::ticks_per_second(),
            journal: opened.journal,
            damaged: opened.damaged,
            place,
            on: opened
                .changes
                .into_iter()
                .map(|change| (change.id, change))
                .collect(),
            proc,
            stuck: BTreeSet::new(),
            _lock: lock,
        }
    }

    /// The changes that are on.
    pub(super) fn on(&self) -> Vec<ChangeId> {
        self.on.keys().copied().collect()
    }

    /// Takes a step.
    pub(super) fn act(&mut self, eyes: &mut Eyes, step: &Step) -> Outcome {
        if let Some(advice) = memory::advice(step.action) {
            return self.advise(eyes, step, advice);
        }
        if let Err(no) = self.may(step.action) {
            return no;
        }
        if self.boot.is_empty() {
            // A journal that does not know its boot could not be trusted after a crash.
            return Outcome::Refused(Refusal::NoJournal);
        }
        if self.on.contains_key(&step.change) {
            return Outcome::Failed {
                errno: libc::EEXIST,
            };
        }
        let mut change = Change {
            id: step.change,
            boot: self.boot.clone(),
            action: step.action,
            groups: step.targets.clone(),
            ticks: self.ticks(),
            new: knob::written(step.action),
            targets: Vec::new(),
            spared: Vec::new(),
            units: Vec::new(),
        };
        let (scan, members) = eyes.look();
        if let Err(refusal) = self.guard(&scan, &members, step) {
            return Outcome::Refused(refusal);
        }
        if step.action == Action::BackgroundWeight {
            return self.weigh(eyes, step, change, (&scan, &members));
        }
        let found = self.find(&scan, &members, &change);
        change.targets = found.targets;
        change.spared = found.spared;
        if change.targets.is_empty() {
            return Outcome::Refused(if change.spared.is_empty() {
                Refusal::Gone
            } else {
                Refusal::SetByHand
            });
        }
        if self
            .journal
            .append(&Record::Intent(change.clone()))
            .is_err()
        {
            return Outcome::Refused(Refusal::NoJournal);
        }
        let first = change.targets.clone();
        self.on.insert(step.change, change);
        match self.apply(eyes, step.change, first) {
            Ok(0) => self.give_up(eyes, step.change, Outcome::Refused(Refusal::Gone)),
            Ok(touched) => Outcome::Applied { touched },
            Err(error) => self.give_up(eyes, step.change, error.into()),
        }
    }

    /// Puts a change back.
    pub(super) fn undo(&mut self, eyes: &mut Eyes, id: ChangeId) -> Outcome {
        let tally = self.restore(eyes, id);
        let closed = match tally.errno {
            Some(errno) => Err(errno),
            None => self
                .close(id)
                .map_err(|error| error.raw_os_error().unwrap_or(libc::EIO)),
        };
        match closed {
            Ok(()) => Outcome::Restored {
                restored: tally.restored,
                left_alone: tally.left_alone,
                gone: tally.gone,
            },
            Err(errno) => Outcome::Failed { errno },
        }
    }

    /// Whether kernel and rights allow an action, undo included.
    fn may(&self, action: Action) -> Result<(), Outcome> {
        let rights = self.facts.rights;
        let not_reversible = Outcome::Refused(Refusal::NotReversible);
        match action {
            // Who owns a thread may give it any class of the disk but the real-time one, and take it back.
            Action::Placebo | Action::BackgroundIo => Ok(()),
            Action::FinerSlice if rights.slice => Ok(()),
            Action::AutogroupNice if rights.autogroup_nice => Ok(()),
            Action::AutogroupNice if self.facts.autogroup => Err(not_reversible),
            Action::BackgroundNice | Action::BackgroundIdle if rights.nice => Ok(()),
            Action::BackgroundNice | Action::BackgroundIdle => Err(not_reversible),
            Action::BackgroundWeight if rights.unit_weight => Ok(()),
            _ => Err(Outcome::Unsupported),
        }
    }

    /// Whether the targets are this user's, in scope, and none of ours or of our ancestors.
    fn guard(&self, scan: &Scan, members: &BTreeSet<u32>, step: &Step) -> Result<(), Refusal> {
        for stat in targeted(scan, &step.targets) {
            if !self.is_ours(scan, members, stat) {
                return Err(Refusal::NotOurs);
            }
            if matches!(step.action, Action::BackgroundNice | Action::BackgroundIdle)
                && !self.nice_all
                && !facts::limit_allows_zero(&self.proc, stat.pid)
                && scan::owner(&self.proc, stat.pid).is_some()
            {
                return Err(Refusal::NotReversible);
            }
        }
        if step.action == Action::AutogroupNice {
            self.guard_autogroups(scan, members, &step.targets)?;
        }
        Ok(())
    }

    /// One nice binds a whole autogroup: whether all that live in those of the targets may be touched.
    fn guard_autogroups(
        &self,
        scan: &Scan,
        members: &BTreeSet<u32>,
        groups: &[GroupId],
    ) -> Result<(), Refusal> {
        let number = |stat: &Stat| scan::autogroup(&self.proc, stat.pid).map(|(number, _)| number);
        let numbers: BTreeSet<u64> = targeted(scan, groups).filter_map(number).collect();
        let own_session = scan.get(std::process::id()).map(|stat| stat.session);
        let spared =
            |stat: &Stat| own_session == Some(stat.session) || !self.is_ours(scan, members, stat);
        let bound = |stat: &&Stat| number(stat).is_some_and(|number| numbers.contains(&number));
        let mut living = scan.stats.iter().filter(|stat| stat.alive());
        if living.any(|stat| bound(&stat) && spared(stat)) {
            return Err(Refusal::NotOurs);
        }
        Ok(())
    }

    /// Whether a process is this user's, in scope, and neither we nor an ancestor of ours.
    fn is_ours(&self, scan: &Scan, members: &BTreeSet<u32>, stat: &Stat) -> bool {
        stat.pid != 1
            && members.contains(&stat.pid)
            && !scan.descends(std::process::id(), &BTreeSet::from([stat.pid]))
            && scan::owner(&self.proc, stat.pid).is_none_or(|uid| uid == self.uid)
    }

    /// Everything in the target groups that still has its default value.
    fn find(&self, scan: &Scan, members: &BTreeSet<u32>, change: &Change) -> Found {
        let mut found = Found::default();
        let mut autogroups = BTreeSet::new();
        for stat in targeted(scan, &change.groups) {
            if !members.contains(&stat.pid) || scan::owner(&self.proc, stat.pid) != Some(self.uid) {
                continue;
            }
            if change.action == Action::AutogroupNice {
                if let Some((number, nice)) = scan::autogroup(&self.proc, stat.pid)
                    && autogroups.insert(number)
                {
                    found.add(
                        change,
                        stat,
                        0,
                        stat.start,
                        number,
                        match nice {
                            0 => Value::Default,
                            nice if nice == change.new => Value::Ours,
                            _ => Value::ByHand,
                        },
                    );
                }
                continue;
            }
            let knob = self.knob(change.action);
            for tid in scan::threads(&self.proc, stat.pid) {
                if let Some(thread) = scan::thread(&self.proc, stat.pid, tid)
                    && let Ok(value) = knob.value(tid, change.new)
                {
                    found.add(change, stat, tid, thread.start, 0, value);
                }
            }
        }
        found
    }

    /// Writes until two looks in a row find nothing new; tells how many targets carry the value. The
    /// placebo takes the same looks and pauses, so that it costs what a real action costs.
    fn apply(
        &mut self,
        eyes: &mut Eyes,
        id: ChangeId,
        mut targets: Vec<Target>,
    ) -> Result<u32, SetError> {
        let mut touched = 0;
        let mut clean = 0;
        for _ in 0..PASSES_MAX {
            for target in &targets {
                touched += u32::from(self.write(id, target)?);
            }
            thread::sleep(SETTLE);
            let (scan, members) = eyes.look();
            let Some(change) = self.on.get_mut(&id) else {
                break;
            };
            let known: BTreeSet<(u32, u64, u64)> = change.targets.iter().map(key).collect();
            let change = change.clone();
            targets = self.find(&scan, &members, &change).targets;
            targets.retain(|target| !known.contains(&key(target)));
            if targets.is_empty() {
                clean += 1;
                if clean == CLEAN_PASSES {
                    break;
                }
                continue;
            }
            clean = 0;
            self.journal.append(&Record::More {
                id,
                targets: targets.clone(),
            })?;
            if let Some(change) = self.on.get_mut(&id) {
                change.targets.extend(targets.iter().copied());
            }
        }
        self.journal.append(&Record::Applied(id))?;
        Ok(touched)
    }

    /// Writes one target and reads it back; `false` if it has ended, or the helper spares it.
    fn write(&mut self, id: ChangeId, target: &Target) -> Result<bool, SetError> {
        let Some(change) = self.on.get(&id) else {
            return Ok(false);
        };
        let written = if target.autogroup != 0 {
            let member = Member {
                pid: target.pid,
                start: target.start,
                number: target.autogroup,
            };
            let written = autogroup::write(&self.proc, member, change.new, autogroup::APPLYING);
            written.map(|()| Set::Done).map_err(SetError::from)
        } else if self.lives(target) {
            let (knob, new) = (self.knob(change.action), change.new);
            self.write_thread(knob, target, new)
        } else {
            return Ok(false);
        };
        match written {
            Ok(set) => Ok(set == Set::Done),
            Err(SetError::Failed(error)) if knob::ended(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write_thread(&mut self, knob: ThreadKnob, on: &Target, new: i64) -> Result<Set, SetError> {
        if self.reach.set(knob, on.thread(), new)? == Set::Spared {
            return Ok(Set::Spared);
        }
        match knob.value(on.tid, new)? {
            Value::Ours => Ok(Set::Done),
            Value::Default if knob == ThreadKnob::Nothing => Ok(Set::Done),
            _ => Err(io::Error::from_raw_os_error(libc::EIO).into()),
        }
    }

    /// After a failure: restores what was done. If even that fails the change stays on, so that the
    /// next undo or recovery tries again.
    fn give_up(&mut self, eyes: &mut Eyes, id: ChangeId, outcome: Outcome) -> Outcome {
        match self.undo(eyes, id) {
            Outcome::Failed { errno } => Outcome::Failed { errno },
            _ => outcome,
        }
    }

    /// Restores a change wherever the value is still ours.
    fn restore(&mut self, eyes: &mut Eyes, id: ChangeId) -> Tally {
        let mut tally = Tally::default();
        let Some(change) = self.on.get(&id).cloned() else {
            return tally;
        };
        if change.boot.is_empty() || change.boot != self.boot {
            // Its numbers may mean others by now.
            tally.errno = Some(libc::ESTALE);
            return tally;
        }
        if change.action == Action::BackgroundWeight {
            self.unweigh(&change, &mut tally);
            return tally;
        }
        if change.action == Action::AutogroupNice {
            let (scan, _) = eyes.look();
            for target in &change.targets {
                autogroup::restore(&self.proc, self.uid, &scan, &change, target, &mut tally);
            }
            return tally;
        }
        for target in &change.targets {
            if self.lives(target) {
                self.restore_thread(&change, target, &mut tally);
            } else {
                tally.gone += 1;
            }
        }
        self.sweep(eyes, &change, &mut tally);
        tally
    }

    fn restore_thread(&mut self, change: &Change, target: &Target, tally: &mut Tally) {
        let knob = self.knob(change.action);
        let restored = match knob.value(target.tid, change.new) {
            Ok(Value::Ours) => self.put_back(change, target.thread(), target.old),
            Ok(Value::Default) if knob == ThreadKnob::Nothing => Ok(()),
            // The intent was written and the deed not done, or somebody was faster.
            Ok(Value::Default) => return,
            Ok(_) => {
                tally.left_alone += 1;
                return;
            }
            Err(error) => Err(error),
        };
        tally.count(restored);
    }

    /// Threads born since the intent which carry exactly our value inherited it.
    fn sweep(&mut self, eyes: &mut Eyes, change: &Change, tally: &mut Tally) {
        let mut clean = 0;
        for _ in 0..PASSES_MAX {
            let (scan, members) = eyes.look();
            let mut dirty = false;
            for (pid, tid) in self.heirs(&scan, &members, change) {
                if let Some(heir) = self.inherited(change, pid, tid) {
                    dirty = true;
                    let restored = self.put_back(change, heir, 0);
                    tally.count(restored);
                }
            }
            clean = if dirty { 0 } else { clean + 1 };
            if clean == CLEAN_PASSES || tally.errno.is_some() {
                break;
            }
            thread::sleep(SETTLE);
        }
    }

    /// A thread that was born since the intent and carries exactly our value.
    fn inherited(&self, change: &Change, pid: u32, tid: u32) -> Option<Thread> {
        let start = scan::thread(&self.proc, pid, tid)?.start;
        let is_heir = start >= change.ticks && !change.spares(pid, tid, start);
        let value = || self.knob(change.action).value(tid, change.new);
        let is_ours = is_heir && matches!(value(), Ok(Value::Ours));
        is_ours.then_some(Thread { pid, tid, start })
    }

    /// The threads that may have inherited: those of the target groups, of what descends from the targets, and
    /// of every process in scope that was born since.
    fn heirs(&self, scan: &Scan, members: &BTreeSet<u32>, change: &Change) -> Vec<(u32, u32)> {
        let parents: BTreeSet<u32> = change
            .targets
            .iter()
            .filter(|target| target.pid == target.tid && self.lives(target))
            .map(|target| target.pid)
            .collect();
        let by_hand: BTreeSet<u32> = change.spared.iter().map(|spared| spared.pid).collect();
        let born_of = |stat: &Stat, of: &BTreeSet<u32>| scan.descends(stat.pid, of);
        let born_since = |stat: &Stat| stat.start >= change.ticks && members.contains(&stat.pid);
        let of_group = |stat: &Stat| change.groups.contains(&scan::job(stat));
        scan.stats
            .iter()
            .filter(|stat| stat.alive())
            .filter(|stat| of_group(stat) || born_of(stat, &parents) || born_since(stat))
            .filter(|stat| !born_of(stat, &by_hand))
            .filter(|stat| scan::owner(&self.proc, stat.pid) == Some(self.uid))
            .flat_map(|stat| {
                let pid = stat.pid;
                scan::threads(&self.proc, pid)
                    .into_iter()
                    .map(move |tid| (pid, tid))
            })
            .collect()
    }

    fn close(&mut self, id: ChangeId) -> io::Result<()> {
        if self.on.contains_key(&id) {
            self.journal.append(&Record::Restored(id))?;
            self.on.remove(&id);
        }
        if self.on.is_empty() {
            self.reach.settle();
            self.journal.compact()?;
        }
        Ok(())
    }

    /// Whether the very thread of the journal still lives and is this user's.
    fn lives(&self, target: &Target) -> bool {
        scan::thread(&self.proc, target.pid, target.tid)
            .is_some_and(|thread| thread.start == target.start && thread.alive())
            && scan::owner(&self.proc, target.pid) == Some(self.uid)
    }

    fn knob(&self, action: Action) -> ThreadKnob {
        match (action, self.default_slice) {
            (Action::FinerSlice, Some(default)) => ThreadKnob::Slice { default },
            (Action::BackgroundNice, _) => ThreadKnob::Nice,
            (Action::BackgroundIdle, slice) => ThreadKnob::Idle { slice },
            (Action::BackgroundIo, _) => ThreadKnob::Io,
            _ => ThreadKnob::Nothing,
        }
    }

    fn ticks(&self) -> u64 {
        boot_clock().0.saturating_mul(self.ticks_per_second) / 1_000_000
    }
}

/// What tells a target apart from all others of this boot.
fn key(target: &Target) -> (u32, u64, u64) {
    (target.tid, target.start, target.autogroup)
}

/// The living processes of these jobs.
fn targeted<'a>(scan: &'a Scan, groups: &'a [GroupId]) -> impl Iterator<Item = &'a Stat> {
    scan.stats
        .iter()
        .filter(|stat| stat.alive() && groups.contains(&scan::job(stat)))
}

#[cfg(test)]
#[path = "hands/tests.rs"]
mod tests;
