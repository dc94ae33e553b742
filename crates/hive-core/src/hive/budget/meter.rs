//! What crossed the wire, by kind, and who says more than its share.

use alloc::collections::BTreeMap;

use crate::hive::budget::share::{
    ANNOUNCED_BYTES, ANSWER_BYTES, ARP_BYTES, ARP_LASTS, Allowance, DAY, GOODBYE_BYTES,
    HANDSHAKE_BYTES, MESSAGE_BYTES, QUESTION_BYTES, count,
};
use crate::id::NodeId;
use crate::time::Instant;

/// How much more than its share an author may seem to say before it is held to it: members may be of two
/// minds about how many they are, and a bucket may be spent just before and just after a day ends.
const TOLERANCE: u64 = 2;

/// Bytes by kind, with what the transport adds to each frame, connection and question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Changes of maps.
    pub deltas: u64,
    /// Names of news, and the tree they travel by.
    pub names: u64,
    /// Questions whether all is equal, and what follows from them but changes.
    pub questions: u64,
    /// Connections.
    pub links: u64,
    /// Asking the network, and answers heard.
    pub search: u64,
    /// Asking where a neighbour's address is.
    pub addresses: u64,
    /// Joining.
    pub pairing: u64,
}

/// When the kernels last asked where each peer's address is.
#[derive(Debug, Default)]
pub struct Neighbours {
    asked: BTreeMap<NodeId, Instant>,
    now: Instant,
}

/// What each author said lately.
#[derive(Debug, Default)]
pub struct Audience(BTreeMap<NodeId, Heard>);

#[derive(Debug)]
struct Heard {
    allowance: Allowance,
    reported: Option<Instant>,
}

/// Whether an author keeps to its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It does.
    ToIt,
    /// It does not.
    NotToIt {
        /// Whether that was not told within a day.
        news: bool,
    },
}

impl Traffic {
    /// All of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let kinds = [
            self.deltas,
            self.names,
            self.questions,
            self.links,
            self.search,
            self.addresses,
            self.pairing,
        ];
        kinds.into_iter().fold(0, u64::saturating_add)
    }

    /// Counts a frame between members, by its tag (`wire::Frame`, the byte after the version).
    pub fn count(&mut self, frame: &[u8]) {
        let kind = match frame.get(1) {
            Some(4 | 5 | 11) => &mut self.deltas,
            Some(12..=14) => &mut self.names,
            _ => &mut self.questions,
        };
        *kind = kind.saturating_add(cost(frame.len()));
    }

    /// Counts a frame of a pairing conversation.
    pub fn count_pairing(&mut self, frame: &[u8]) {
        self.pairing = self.pairing.saturating_add(cost(frame.len()));
    }

    /// Counts a connection made.
    pub fn count_link(&mut self) {
        self.links = self.links.saturating_add(HANDSHAKE_BYTES);
    }

    /// Counts what the kernels ask each other about their addresses.
    fn count_addresses(&mut self) {
        self.addresses = self.addresses.saturating_add(ARP_BYTES);
    }

    /// Counts a question to the network. Everybody hears it, so each counts its own for all: that of the others
    /// is not told to the core, and on the average it is the same.
    pub fn count_question(&mut self, members: usize) {
        let all = QUESTION_BYTES.saturating_mul(count(members));
        self.search = self.search.saturating_add(all);
    }

    /// Counts an answer to it, here and where it was said.
    pub fn count_answer(&mut self) {
        self.search = self.search.saturating_add(2 * ANSWER_BYTES);
    }

    /// Counts what everybody hears when this machine's record is new.
    pub fn count_announcement(&mut self, members: usize) {
        let all = ANNOUNCED_BYTES.saturating_mul(count(members));
        self.search = self.search.saturating_add(all);
    }

    /// Counts what everybody heard when the process before this one ended: it could not count its last word itself. The very first start of a
    /// machine counts one that nobody said.
    pub fn count_goodbye(&mut self, members: usize) {
        let all = GOODBYE_BYTES.saturating_mul(count(members));
        self.search = self.search.saturating_add(all);
    }
}

impl Neighbours {
    /// It is so late by now.
    pub fn pass(&mut self, now: Instant) {
        self.now = now;
    }

    /// Something goes to a peer, or came from it.
    pub fn meet(&mut self, peer: NodeId, traffic: &mut Traffic) {
        let asked = self.asked.get(&peer);
        if asked.is_none_or(|asked| self.now.since(*asked) >= ARP_LASTS) {
            self.asked.insert(peer, self.now);
            traffic.count_addresses();
        }
    }
}

impl Audience {
    /// Charges an author for a push, in a hive of so many members.
    pub fn hear(&mut self, author: NodeId, bytes: usize, members: usize, now: Instant) -> Keeps {
        let heard = self.0.entry(author).or_insert_with(|| Heard {
            allowance: Allowance::new(now),
            reported: None,
        });
        heard.allowance.fill(members, TOLERANCE, now);
        heard.allowance.pay(cost(bytes));
        if !heard.allowance.is_overdrawn() {
            return Keeps::ToIt;
        }
        let news = heard.reported.is_none_or(|at| now.since(at) >= DAY);
        if news {
            heard.reported = Some(now);
        }
        Keeps::NotToIt { news }
    }

    /// Who says too much now.
    pub fn too_loud(&self) -> impl Iterator<Item = NodeId> {
        let loud = self.0.iter();
        loud.filter(|(_, heard)| heard.allowance.is_overdrawn())
            .map(|(author, _)| *author)
    }

    /// Forgets those who are not among these, in rising order.
    pub fn retain(&mut self, members: &[NodeId]) {
        self.0.retain(|node, _| members.binary_search(node).is_ok());
    }
}

fn cost(bytes: usize) -> u64 {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    bytes.saturating_add(MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::hive::budget::share::author_bytes_per_day;
    use crate::time::{Hlc, Span};
    use crate::wire::{Delta, Frame};

    fn changes() -> Delta {
        Delta {
            author: NodeId([1; 32]),
            incarnation: 1,
            seq: 2,
            hlc: Hlc(3),
            base: None,
            floor: 0,
            prev: None,
            sig: [0; 64],
            entries: Vec::new(),
        }
    }

    #[test]
    fn frames_are_counted_by_their_kind() {
        let mut traffic = Traffic::default();
        let names = [
            Frame::IHave(Vec::new()),
            Frame::Graft(Vec::new()),
            Frame::Prune(Vec::new()),
        ];
        for (frame, count) in names.iter().zip(1..) {
            traffic.count(&frame.encode());
            assert!(traffic.names >= count * MESSAGE_BYTES, "{frame:?}");
        }
        assert_eq!(traffic.bytes(), traffic.names);
        let named = Frame::Delta(changes());
        for frame in [named.clone(), named.without(NodeId([1; 32]))] {
            let before = traffic.deltas;
            traffic.count(&frame.encode());
            assert!(traffic.deltas > before, "{frame:?}");
        }
        let (answer, lines) = (true, Vec::new());
        let changed = Frame::Changed { answer, lines };
        for frame in [Frame::Same, Frame::WantPins(Vec::new()), changed] {
            let before = traffic.questions;
            traffic.count(&frame.encode());
            assert!(traffic.questions > before, "{frame:?}");
        }
    }

    #[test]
    fn addresses_are_asked_for_again_after_a_while_however_much_is_said() {
        let (mut neighbours, mut traffic) = (Neighbours::default(), Traffic::default());
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        let start = Instant(7);
        for second in 0..60 {
            neighbours.pass(start.after(Span::from_secs(second)));
            neighbours.meet(one, &mut traffic);
        }
        assert_eq!(traffic.addresses, 2 * ARP_BYTES);
        neighbours.meet(two, &mut traffic);
        assert_eq!(traffic.bytes(), 3 * ARP_BYTES);
    }

    #[test]
    fn an_author_is_held_to_its_share_with_some_patience() {
        let mut audience = Audience::default();
        let (loud, quiet) = (NodeId([1; 32]), NodeId([2; 32]));
        let batch = 300_usize;
        let each = 300 + MESSAGE_BYTES;
        let share = author_bytes_per_day(50);
        let mut now = Instant(0);
        let mut first = None;
        for said in 0..100_u64 {
            now = now.after(Span::from_secs(1));
            if audience.hear(loud, batch, 50, now) != Keeps::ToIt {
                first.get_or_insert(said);
            }
        }
        let first = first.expect("held to its share");
        assert!(
            (first + 1) * each >= share && first * each <= 2 * share,
            "{first}"
        );
        assert_eq!(
            audience.hear(loud, batch, 50, now),
            Keeps::NotToIt { news: false }
        );
        assert_eq!(audience.hear(quiet, batch, 50, now), Keeps::ToIt);
        assert_eq!(audience.too_loud().collect::<alloc::vec::Vec<_>>(), [loud]);
        // One that goes on is told of again the next day.
        now = now.after(DAY);
        for _ in 0..100 {
            audience.hear(loud, batch, 50, now);
        }
        assert_eq!(audience.too_loud().count(), 1);
        audience.retain(&[quiet]);
        assert_eq!(audience.too_loud().count(), 0);
    }
}
