//! Hive time: what the members together take the time to be. It accepts and refuses nothing; it only
//! bounds how late a statement can claim to be, and measures ages.

use alloc::vec::Vec;

use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, Store};
use crate::limits;
use crate::time::{Hlc, Span};

/// The k-th greatest head time of the members, k = members / 3 + 1: no third of them can push it ahead,
/// and a third that is silent cannot hold it back. Source: DESIGN section 7.
#[must_use]
pub fn of(roster: &Roster, store: &Store) -> Hlc {
    let members = roster.order();
    let honest = members
        .iter()
        .filter(|member| !roster.quarantines(**member, store));
    let mut times: Vec<Hlc> = honest
        .filter_map(|member| store.map(*member))
        .map(|map: &AuthorMap| map.head().hlc)
        .collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let time = times.get(members.len() / 3).or(times.last());
    time.copied().unwrap_or_default()
}

/// The latest time that a statement counts as: a minute after hive time.
#[must_use]
pub fn latest(hive_time: Hlc) -> Hlc {
    Hlc(hive_time.0.saturating_add(limits::HLC_AHEAD_MS << 16))
}

/// How long ago, in hive time; zero for what claims to be later.
#[must_use]
pub fn age(hive_time: Hlc, said: Hlc) -> Span {
    Span::from_ms(hive_time.wall().0.saturating_sub(said.wall().0))
}
