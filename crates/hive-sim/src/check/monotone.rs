//! The one merge law at every step: what an honest node holds of an author never goes back to a smaller
//! `(incarnation, seq)`, as long as it holds anything of that author and its daemon lives.

use std::collections::BTreeMap;

use hive_core::hive::outside::{Record, Table};
use hive_core::wire::Head;

use crate::net::HostId;

/// What each machine has written last of each author.
#[derive(Debug, Default)]
pub struct Ranks(BTreeMap<(HostId, Vec<u8>), (u32, u64)>);

impl Ranks {
    /// What is wrong with writing this, if anything.
    pub fn saw_write(&mut self, host: HostId, record: &Record) -> Option<String> {
        if record.table != Table::Heads {
            return None;
        }
        let place = (host, record.key.clone());
        let Some(value) = &record.value else {
            self.0.remove(&place);
            return None;
        };
        let head: Head = postcard::from_bytes(value).ok()?;
        let rank = (head.incarnation, head.seq);
        let before = self.0.insert(place, rank)?;
        (rank < before).then(|| {
            format!(
                "machine {} took {}.{} of {} after {}.{}",
                host.0,
                rank.0,
                rank.1,
                head.author.short(),
                before.0,
                before.1
            )
        })
    }

    /// Its daemon died.
    pub fn forget(&mut self, host: HostId) {
        self.0.retain(|(other, _), _| *other != host);
    }
}
