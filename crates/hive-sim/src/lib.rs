//! A seeded world for the core: lossy networks, forgetting disks, lying members, machines whose truth is known.
//!
//! Nothing here is shipped. The same [`hive_core::node::Node`] that a real shell drives is driven here by one event
//! queue and one seed, so that a year of life passes in seconds and every failure can be played again.
//!
//! Reading order: `tests/two_machines.rs` (the story in words), [`stories::two_machines`] (the story as code),
//! [`world`] (what carries it), then the seam you came for:
//!
//! | seam | module | what it knows that a real one does not |
//! |---|---|---|
//! | time | [`clock`] | how wrong each calendar is |
//! | network | [`net`] | which message was late, and why |
//! | disk | [`disk`] | what would survive a power cut right now |
//! | machine | [`machine`] | what each action truly does |
//! | person | [`person`] | - |
//! | attacker | [`liar`] | what must be refused |
//!
//! [`stories`] are short and each end is told; a [`scenario`] is long, read from `scenarios.toml`, and made of chance: faults at
//! rates, liars, strangers. What fails is shrunk to the shortest life that still fails.
//!
//! [`check`] holds what must be true of every life: converged, nothing lost, private, harmless, truthful,
//! durable before said, never backwards, bounded.

pub mod dice;
pub mod faults;
pub mod attacks;
pub mod queue;
pub mod clock;
pub mod disk;
pub mod ways;
pub mod net;
pub mod machine;
pub mod host;
pub mod world;
pub mod person;
pub mod liar;
pub mod check;
pub mod stories;
pub mod scenario;
pub mod day;
pub mod report;
