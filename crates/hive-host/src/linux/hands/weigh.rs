//! Weighs units of the user's own service manager, and takes that back.

use std::collections::BTreeSet;
use std::io;

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Refusal, Step};
use hive_core::machine::facts::CgroupId;

use super::Hands;
use crate::journal::{Change, Record, UnitTarget};
use crate::linux::bus::BusError;
use crate::linux::cgroup::{self, Ours};
use crate::linux::knob::Tally;
use crate::linux::scan::Scan;
use crate::linux::survey::Eyes;
use crate::linux::units::{self, Manager, UNSET, Weight};

impl Hands {
    /// Sets the weight of a step's units: all that nobody else has weighed.
    pub(super) fn weigh(
        &mut self,
        eyes: &mut Eyes,
        step: &Step,
        mut change: Change,
        table: (&Scan, &BTreeSet<u32>),
    ) -> Outcome {
        let named = match self.named(eyes, &step.units, table) {
            Ok(named) => named,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let found = self
            .place
            .connect()
            .and_then(|mut manager| Ok((self.free(&mut manager, &named)?, manager)));
        let (free, mut manager) = match found {
            Ok(found) => found,
            Err(error) => return failed(&error.as_io()),
        };
        if free.is_empty() {
            return Outcome::Refused(if named.is_empty() {
                Refusal::Gone
            } else {
                Refusal::SetByHand
            });
        }
        let id = step.change;
        let units = Record::Units {
            id,
            units: free.clone(),
        };
        let intent = Record::Intent(change.clone());
        if self.journal.append(&intent).is_err() {
            return Outcome::Refused(Refusal::NoJournal);
        }
        change.units.clone_from(&free);
        let new = change.new.cast_unsigned();
        self.on.insert(id, change);
        if self.journal.append(&units).is_err() {
            return self.give_up(eyes, id, Outcome::Refused(Refusal::NoJournal));
        }
        let set = self.set(&mut manager, &free, new, id);
        drop(manager);
        match set {
            Ok(touched) => Outcome::Applied { touched },
            Err(error) => self.give_up(eyes, id, failed(&error)),
        }
    }

    /// The units by name, if all that lives in them may be touched.
    fn named(
        &self,
        eyes: &Eyes,
        ids: &[CgroupId],
        (scan, members): (&Scan, &BTreeSet<u32>),
    ) -> Result<Vec<UnitTarget>, Refusal> {
        let mut named = Vec::new();
        for id in ids {
            let Some(path) = eyes.cgroups.unit(*id) else {
                continue;
            };
            let name = units::name(path).ok_or(Refusal::NotOurs)?;
            let living = cgroup::processes(eyes.sys(), path);
            let mut stats = living.iter().filter_map(|pid| scan.get(*pid));
            if stats.any(|stat| stat.alive() && !self.is_ours(scan, members, stat)) {
                return Err(Refusal::NotOurs);
            }
            if !living.is_empty() {
                named.push(UnitTarget {
                    name: name.to_owned(),
                    path: path.to_owned(),
                });
            }
        }
        Ok(named)
    }

    /// Those that have no weight of somebody's own.
    fn free(
        &self,
        manager: &mut Manager,
        named: &[UnitTarget],
    ) -> Result<Vec<UnitTarget>, BusError> {
        let mut free = Vec::new();
        for unit in named {
            if manager.weight(&unit.name)? == Weight::Default
                && !self.place.was_set_by_hand(&unit.name)
            {
                free.push(unit.clone());
            }
        }
        Ok(free)
    }

    fn set(
        &mut self,
        manager: &mut Manager,
        units: &[UnitTarget],
        new: u64,
        id: ChangeId,
    ) -> io::Result<u32> {
        let mut touched = 0;
        for unit in units {
            // One that has ended meanwhile has taken its weight along.
            let set = manager.set_weight(&unit.name, new);
            let set = set.map_err(|error| error.as_io());
            match set.and_then(|()| self.place.wait_for(&unit.path, new)) {
                Ok(()) => touched += 1,
                Err(_) if !self.place.has_group(&unit.path) => {}
                Err(error) => return Err(error),
            }
        }
        self.journal.append(&Record::Applied(id))?;
        Ok(touched)
    }

    /// Takes the weights of a change back, wherever they are still ours.
    pub(super) fn unweigh(&self, change: &Change, tally: &mut Tally) {
        if change.units.is_empty() {
            return;
        }
        let mut left = u32::try_from(change.units.len()).unwrap_or(u32::MAX);
        let told = self.place.connect().and_then(|mut manager| {
            // After one that was not answered, no later answer could be told from that one's.
            for unit in &change.units {
                self.unweigh_one(&mut manager, unit, change.new.cast_unsigned(), tally)?;
                left -= 1;
            }
            Ok(())
        });
        match told {
            Ok(()) => {}
            // With the manager went all that it was told.
            Err(_) if self.place.is_gone() => tally.gone += left,
            // Also where its socket is missing: that is no word about the units.
            Err(error) => {
                let errno = error.as_io().raw_os_error();
                tally.errno = Some(errno.unwrap_or(libc::EIO));
            }
        }
    }

    /// Takes one weight back; the error is of a connection that is of no more use.
    fn unweigh_one(
        &self,
        manager: &mut Manager,
        unit: &UnitTarget,
        new: u64,
        tally: &mut Tally,
    ) -> Result<(), BusError> {
        match units::answered(manager.weight(&unit.name))? {
            Ok(Weight::Is(weight)) if weight == new => {
                let restored = units::answered(manager.set_weight(&unit.name, UNSET))?
                    .and_then(|()| self.place.wait_for_default(&unit.path))
                    .and_then(|()| self.place.clear_away(&unit.name, UNSET));
                tally.count(restored);
            }
            Ok(Weight::Is(_)) => tally.left_alone += 1,
            // The intent was written and the deed not done, or somebody was faster.
            Ok(Weight::Default) => {
                if let Err(error) = self.place.clear_away(&unit.name, UNSET) {
                    tally.count(Err(error));
                }
            }
            Ok(Weight::NoUnit) => {
                let left = self.place.clear_away(&unit.name, new);
                tally.count(left.and(Err(io::ErrorKind::NotFound.into())));
            }
            Err(no) => tally.count(Err(no)),
        }
        Ok(())
    }

    /// How many units carry a change's weight. Only the kernel is asked.
    pub(super) fn units_on<'a>(&'a self, change: &'a Change) -> impl Iterator<Item = &'a str> {
        let new = change.new.cast_unsigned();
        let units = change.units.iter().map(|unit| unit.path.as_str());
        units.filter(move |path| self.place.kernel_weight(path) == Some(new))
    }

    /// Whether weights of ours are on, or may be.
    pub(in crate::linux) fn weights(&self) -> Ours {
        if self.on.values().any(|change| !change.units.is_empty()) {
            Ours::On
        } else {
            Ours::Off
        }
    }
}

fn failed(error: &io::Error) -> Outcome {
    Outcome::Failed {
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

#[cfg(test)]
#[path = "weigh/tests.rs"]
mod tests;
