//! Nobody makes an honest member store more of one author than a map may hold, whatever was signed.

use hive_core::limits::{MAP_BYTES_MAX, MAP_ENTRIES_MAX, MEMBERS_MAX};

use crate::host::Host;

/// What is too much on this disk, if anything.
#[must_use]
pub fn exceeds(host: &Host) -> Option<String> {
    let held = host.disk.largest();
    let what = if held.entries > MAP_ENTRIES_MAX {
        format!("{} statements", held.entries)
    } else if held.bytes > MAP_BYTES_MAX {
        format!("{} bytes", held.bytes)
    } else if host.disk.authors() > 2 * MEMBERS_MAX {
        format!("maps of {} authors", host.disk.authors())
    } else {
        return None;
    };
    Some(format!("machine {} was made to store {what}", host.id.0))
}
