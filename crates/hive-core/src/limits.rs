//! Every bound that a peer, a person or a machine could push against, each with its reason.

use crate::time::Span;

/// Members of one hive. Maps are walked and probes hashed per member. Source: DESIGN section 6.
pub const MEMBERS_MAX: usize = 256;

/// How often one place is handed from key to key. Each key leaves a map that is stored. A guess: a key a year for
/// eight years; then the machine joins anew.
pub const KEYS_MAX: usize = 8;

/// Claims on one key's place that are looked at. Two are enough to know that it is contested. A guess, doubled.
pub const CLAIMS_MAX: usize = 4;

/// Removals of one admin that count, the oldest first. A guess: one a day for almost three years. It bounds
/// what a stolen admin key can make everybody remember.
pub const REMOVALS_MAX: usize = 1_024;

/// One frame on the wire, header not counted. Checked before anything is allocated.
/// Source: `research/security.md` 4.6 (256 KiB).
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// One pairing frame. The longest is the welcome: genesis, secret, a head and a few addresses. A guess, doubled.
pub const PAIR_FRAME_BYTES_MAX: usize = 4 * 1024;

/// Live entries of one author's map. Source: `research/replication.md` 4.3.
pub const MAP_ENTRIES_MAX: usize = 4_096;

/// Encoded bytes of one author's map. Source: `research/replication.md` 4.3.
pub const MAP_BYTES_MAX: usize = 512 * 1024;

/// One statement's value. Unknown kinds are held to this and nothing else; known ones to
/// [`crate::statement::Key::value_bytes_max`]. Source: `research/security.md` 4.6 (8 KiB data).
pub const VALUE_BYTES_MAX: usize = 8 * 1024;

/// A machine's label, in bytes of UTF-8. Source: DESIGN section 8.
pub const LABEL_BYTES_MAX: usize = 32;

/// How long an invite code stays good. Source: DESIGN section 6.
pub const INVITE_LIFETIME: Span = Span::from_secs(600);

/// The longest that a person may ask for. Source: `research/security.md` 4.2 (at most 24 h if the user asks).
pub const INVITE_LIFETIME_MAX: Span = Span::from_secs(24 * 3_600);

/// How long a machine that proved the code waits for a person. Source: DESIGN section 6.
pub const PENDING_LIFETIME: Span = Span::from_secs(24 * 3_600);

/// Machines waiting for a person at once. A guess: more is an attack or a fleet (then repeat).
pub const PENDING_MAX: usize = 16;

/// Open invites at once. Source: `research/security.md` 4.2.
pub const INVITES_MAX: usize = 3;

/// Wrong codes from one address before it must wait. Source: DESIGN section 14.
pub const WRONG_CODES_MAX: u32 = 3;

/// How long an address waits after [`WRONG_CODES_MAX`]. Source: DESIGN section 14.
pub const WRONG_CODE_PAUSE: Span = Span::from_secs(600);

/// Frames of one peer that made no sense before its link is closed. Source: `research/security.md` 4.6.
pub const MISDEEDS_MAX: u32 = 3;

/// First delay of the repair timer. Source: `research/replication.md` 4.7 (Trickle, RFC 6206).
pub const REPAIR_MIN: Span = Span::from_secs(2);

/// Longest delay of the repair timer. Source: `research/replication.md` 4.7.
pub const REPAIR_MAX: Span = Span::from_secs(1_800);

/// How far above hive time a statement's own time counts in a view. Source: DESIGN section 7.
pub const HLC_AHEAD_MS: u64 = 60_000;

/// Batches of each author whose heads are remembered, to find out authors that say two things. Source:
/// `research/replication.md` 2.4: 16 missed none of 125 forks that reached honest members, 4 missed 7.
pub const RING_HEADS: u8 = 16;

/// How often the ids of the remembered heads are compared with one member. Source: `research/replication.md` 4.7.
pub const AUDIT_EVERY: Span = Span::from_secs(86_400);

/// States of one removed author that are held because admins name them. A guess: more than two admins
/// that remove one machine at one moment are rare.
pub const PINS_PER_AUTHOR_MAX: usize = 8;

/// Such states in all. A guess: a hive's worth of removed machines.
pub const PINS_MAX: usize = MEMBERS_MAX;
