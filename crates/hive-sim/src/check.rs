//! What must be true of every life. Some of it is watched at every step, some is asked when all is quiet.
//!
//! # Seen to fail
//!
//! A check that never failed proves nothing. To see these fail, break the core by hand, run
//! `cargo run --release -p hive-sim -- --seeds 10`, and put it back:
//!
//! | broken in `hive-core` | fails | with |
//! |---|---|---|
//! | `stands_the_placebo_check` in `machine/trial.rs` always says yes | `placebo`, 10 of 10 seeds | "2 of 8 trials of what helps nobody ended with `helps`", or more of them |
//! | merge: `newer` in `Store::join` in `hive/store.rs` is the smaller rank, and older states are not passed over before | `five_write_at_once`, `greedy_member`, `stranger_knocks`, `power_cut`, 2 of 2 each; `home_years` | "not equal after 60 s", in `power_cut` also "machine 1 took 2.3 of 321f0e31 after 4.4" (others talk for ever: run one story at a time) |
//! | merge: of two states under one number `newer` there takes the one that came first (no look at the id) | `two_faces`, 20 of 20; beside the code two tests of `hive/store/tests.rs` | "not equal after 400 s" |
//! | signature: the check of `is_signed_by` in `AuthorMap::build` in `hive/store.rs` is left out | `stranger_knocks`, 3 of 4, the first seed among them; `liars_third` | "machine 0 takes the honest node .. for forked", "machine 1 sent a second state 1.3 of one author" |
//! | durable before said: `flush` in `hive/writer.rs` calls `on_batch_durable` right after `save` | `power_cut` and every story with a hive, 4 of 4; both short scenarios | "machine 0 said 1.3 of its map while its disk held Some((1, 2))" |
//! | quota: `quota::check` in `AuthorMap::build` in `hive/store.rs` is left out | `greedy_member`, 4 of 4; `liars_third` | "machine 0 was made to store 4200 statements", "690648 bytes" |
//!
//! That the witnesses see what passes by is held by `tests/witnesses.rs`.

use std::collections::BTreeSet;

use hive_core::event_log::Happening;
use hive_core::hive::outside::Record;
use hive_core::id::NodeId;
use hive_core::reply::Reply;
use hive_core::wire::Frame;

use crate::host::Host;
use crate::machine::Names;
use crate::net::HostId;
use crate::stories::Failure;

pub mod bounded;
pub mod converged;
pub mod durable;
pub mod harmless;
pub mod monotone;
pub mod nothing_lost;
pub mod private;
pub mod truthful;

use durable::Signed;
use monotone::Ranks;
use private::Canaries;

/// Watches every step of a world.
#[derive(Debug, Default)]
pub struct Witness {
    canaries: Canaries,
    signed: Signed,
    ranks: Ranks,
    blames: Vec<String>,
    /// Machines that are allowed to be taken for forked: those of liars.
    pub liars: BTreeSet<String>,
    /// Members that a machine's owner has removed there: it says nothing more to them but why.
    pub removed_at: BTreeSet<(HostId, NodeId)>,
    /// If so, only these keys may connect anywhere.
    pub known: Option<BTreeSet<NodeId>>,
}

impl Witness {
    /// Plants names that must never leave their machine.
    pub fn plant(&mut self, names: &Names) {
        for name in names.all() {
            // All machines of a world run the same programs.
            if self.canaries.knows(name) {
                continue;
            }
            self.canaries.plant(name);
        }
    }

    /// Plants one word.
    pub fn plant_word(&mut self, word: &str) {
        self.canaries.plant(word);
    }

    /// Notes something that must never happen.
    pub fn blame(&mut self, what: String) {
        self.blames.push(what);
    }

    /// The first thing that must never happen and did.
    pub fn verdict(&self) -> Result<(), Failure> {
        match self.blames.first() {
            Some(what) => Err(Failure::Correctness(what.clone())),
            None => Ok(()),
        }
    }

    /// A frame left an honest node.
    pub fn saw_frame(&mut self, frame: &[u8]) {
        self.search(frame, "a frame");
    }

    /// An honest node sent a frame to a member, or the last word to one that was removed there (decision 0014).
    pub fn saw_sent(&mut self, host: &Host, peer: NodeId, frame: &[u8]) {
        let last_word = matches!(
            Frame::decode(frame),
            Ok(Frame::Farewell { .. } | Frame::Moved(_))
        );
        if self.removed_at.contains(&(host.id, peer)) && !last_word {
            let what = format!(
                "machine {} talks to {}, which it removed",
                host.id.0,
                peer.short()
            );
            self.blame(what);
        }
        if let Some(what) = self.signed.saw_sent(host, frame, &self.liars) {
            self.blame(what);
        }
    }

    /// An honest node says who may connect.
    pub fn saw_members(&mut self, host: HostId, members: &[NodeId]) {
        let unknown = |node: &&NodeId| {
            let known = self.known.as_ref();
            known.is_some_and(|known| !known.contains(*node))
        };
        if let Some(node) = members.iter().find(unknown) {
            let what = format!(
                "machine {} lets in {}, whom nobody approved",
                host.0,
                node.short()
            );
            self.blame(what);
        }
    }

    /// Whether anybody has removed this key.
    #[must_use]
    pub fn is_removed(&self, key: NodeId) -> bool {
        self.removed_at.iter().any(|(_, removed)| *removed == key)
    }

    /// An honest node asks its disk to keep something.
    pub fn saw_write(&mut self, host: HostId, record: &Record) {
        if let Some(what) = self.ranks.saw_write(host, record) {
            self.blame(what);
        }
    }

    /// A write became durable.
    pub fn saw_disk(&mut self, host: &Host) {
        if host.liar.is_none()
            && let Some(what) = bounded::exceeds(host)
        {
            self.blame(what);
        }
    }

    /// A daemon died: what it was about to write may be forgotten.
    pub fn restarted(&mut self, host: HostId) {
        self.ranks.forget(host);
    }

    /// A node wrote something to its disk.
    pub fn saw_record(&mut self, record: &Record) {
        self.search(&record.key, "a record's key");
        if let Some(value) = &record.value {
            self.search(value, "a record");
        }
    }

    /// A node answered a person.
    pub fn saw_reply(&mut self, reply: &Reply) {
        match serde_json::to_vec(reply) {
            Ok(json) => self.search(&json, "a reply"),
            Err(error) => self.blame(format!("a reply cannot be printed: {error}")),
        }
    }

    /// A node told its owner something.
    pub fn saw_happening(&mut self, host: HostId, happening: &Happening) {
        match serde_json::to_vec(happening) {
            Ok(json) => self.search(&json, "a happening"),
            Err(error) => self.blame(format!("a happening cannot be printed: {error}")),
        }
        let accused = match happening {
            Happening::Forked { node } => Some((node, "forked".to_owned())),
            // Stories let old frames of honest nodes turn up; long lives are held to more.
            Happening::PeerMisbehaved { node, misdeed } if self.known.is_some() => {
                Some((node, format!("{misdeed:?}")))
            }
            _ => None,
        };
        if let Some((node, what)) = accused.filter(|(node, _)| !self.liars.contains(*node)) {
            self.blame(format!(
                "machine {} takes the honest node {node} for {what}",
                host.0
            ));
        }
    }

    fn search(&mut self, bytes: &[u8], place: &str) {
        if let Some(name) = self.canaries.find(bytes) {
            self.blame(format!("the program name {name} stands in {place}"));
        }
    }
}
