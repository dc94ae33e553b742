//! Disks that are lost while the key is kept.
//!
//! One of three members, the founder too, loses its maps or its whole disk, comes back while nobody can be reached, and has
//! something to say. Who belongs stands in the founder's map: nothing is signed before the old map is back. With
//! nothing left but the key, any other member lets it back by a code. In the end all belong that did, and every
//! acknowledged result is shown by all.

use hive_sim::stories::must_end_well;

#[test]
fn who_belongs_and_what_was_acknowledged_survive_a_lost_disk() {
    must_end_well("lost_disk", 12);
}
