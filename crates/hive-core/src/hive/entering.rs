//! From one hive into another: nothing of the old one is left, on the disk or in memory.

use alloc::vec::Vec;

use crate::hive::outside::Record;
use crate::hive::roster::Roster;
use crate::hive::store::{Store, disk};
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::time::Now;
use crate::wire::Genesis;

impl Hive {
    /// Leaves everything of the old hive and begins in this one.
    pub(super) fn enter(
        &mut self,
        now: Now,
        genesis: Genesis,
        secret: [u8; 32],
        sponsor: Option<NodeId>,
    ) {
        self.genesis = genesis;
        self.secret = secret;
        self.store = Store::new(self.genesis.hive());
        self.store.read_as(self.vocabulary);
        self.roster = Roster::of(&self.genesis, &self.store);
        self.sponsor = sponsor;
        self.told_off.clear();
        self.moved = None;
        self.rival = None;
        // Whoever comes back said something here before; whoever is new hears at once that it did not.
        self.writer.start_over(sponsor.is_some());
        self.past.had_company = false;
        self.leave_door();
        self.changed = true;
        self.introduce();
        self.refresh(now);
        self.watch_door(now);
        self.on_link_time(now);
    }

    /// Stops saying anything in the old hive; the records that replace it on the disk by a new one.
    pub(super) fn records_to_leave(&mut self, genesis: &Genesis, secret: &[u8; 32]) -> Vec<Record> {
        let mut records = self.retire_own_map();
        records.extend(
            self.store
                .maps()
                .filter(|(author, _)| **author != self.me)
                .flat_map(|(_, map)| disk::records(Some(map), None)),
        );
        let forked = self.store.maps().map(|(author, _)| *author);
        let nothing = |author| [meta::fork(author, None), meta::first_fork(author, None)];
        records.extend(forked.flat_map(nothing));
        records.extend(meta::hive(genesis, secret));
        records.push(meta::dismissed(None));
        records.push(meta::moved(None));
        records.push(meta::company(false));
        records
    }
}
