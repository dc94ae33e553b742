//! Durable before said: no honest node tells anybody of a new state of its own map that its disk could still forget,
//! and no honest node ever signs two different states under one number.
//!
//! A state that was said before is not new. A machine whose disk came back older hears of it from its peers, passes it
//! on as it would anybody's, and if it forgets it once more, they still hold it. What it signs next has a higher
//! incarnation, and that must be on its disk.

use std::collections::{BTreeMap, BTreeSet};

use hive_core::hive::outside::Table;
use hive_core::id::NodeId;
use hive_core::wire::{Frame, Head};

use crate::host::Host;

/// What honest nodes have signed so far.
#[derive(Debug, Default)]
pub struct Signed(BTreeMap<(NodeId, u32, u64), [u8; 64]>);

impl Signed {
    /// What is wrong with sending this frame, if anything. What a liar signed may be passed on as it is.
    pub fn saw_sent(
        &mut self,
        host: &Host,
        frame: &[u8],
        liars: &BTreeSet<String>,
    ) -> Option<String> {
        let frame = Frame::decode(frame).ok()?.said_by(host.key);
        if let Some(early) = host
            .speaks_as()
            .find_map(|key| self.said_early(host, key, &frame))
        {
            return Some(early);
        }
        let Frame::Delta(delta) = &frame else {
            return None;
        };
        if liars.contains(&delta.author.short()) {
            return None;
        }
        let number = (delta.author, delta.incarnation, delta.seq);
        let known = *self.0.entry(number).or_insert(delta.sig);
        (known != delta.sig).then(|| {
            format!(
                "machine {} sent a second state {}.{} of one author",
                host.id.0, delta.incarnation, delta.seq
            )
        })
    }
}

impl Signed {
    fn said_early(&self, host: &Host, key: NodeId, frame: &Frame) -> Option<String> {
        let said = says_of_itself(key, frame);
        let durable = durable_head(host, key);
        let kept = durable.map(|head| (head.incarnation, head.seq));
        let is_new = |(incarnation, seq)| !self.0.contains_key(&(key, incarnation, seq));
        let early = said.filter(|said| Some(*said) > kept && is_new(*said));
        early.map(|(incarnation, seq)| {
            format!(
                "machine {} said {incarnation}.{seq} of its map while its disk held {kept:?}",
                host.id.0
            )
        })
    }
}

fn says_of_itself(me: NodeId, frame: &Frame) -> Option<(u32, u64)> {
    match frame {
        Frame::Delta(delta) if delta.author == me => Some((delta.incarnation, delta.seq)),
        Frame::Digest(lines) => {
            let mine = lines.iter().find(|line| line.author == me)?;
            Some((mine.incarnation, mine.seq))
        }
        _ => None,
    }
}

/// The head of a machine's own map, under one of its keys, that a power cut would leave.
fn durable_head(host: &Host, key: NodeId) -> Option<Head> {
    let value = host.disk.value(Table::Heads, &key.0)?;
    postcard::from_bytes(value).ok()
}
