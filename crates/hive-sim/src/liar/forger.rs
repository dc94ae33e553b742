//! A member that signs its lies: it has its machine's key and its own idea of how a map is hashed, so that nothing
//! but the rules themselves stands against what it says of its own map.

use hive_core::id::{HiveId, NodeId};
use hive_core::signed::KeyPair;
use hive_core::statement::{Admit, Key, Label, Profile, Revoke, Role, Statement};
use hive_core::time::Hlc;
use hive_core::wire::{Delta, Entry, Frame, Head};

use super::Lie;
use crate::dice::Dice;

/// Signs states of one machine's map, and of nobody else's.
pub struct Forger {
    key: KeyPair,
    hive: HiveId,
    founder: NodeId,
    incarnation: u32,
    seq: u64,
    hlc: Hlc,
    faces: Option<Faces>,
    /// Whom it has shown one of its faces, in order.
    shown: Vec<NodeId>,
}

/// Two states under one number.
struct Faces {
    version: (u32, u64),
    frames: [Frame; 2],
}

/// A kind of statement that no version knows: stores keep it, views do not see it.
const UNKNOWN_KIND: u8 = 200;

/// Machines that a plain member lets in: forty strangers for one member.
const SYBILS: usize = 40;

/// A statement of the longest value, for a map with too many bytes. Three frames of so many are one too many.
const LONG_VALUE: usize = 8 * 1024;
const LONG_VALUES: usize = 28;

impl Forger {
    /// With a member's key, in its hive.
    #[must_use]
    pub fn new(key: KeyPair, hive: HiveId, founder: NodeId) -> Self {
        Self {
            key,
            hive,
            founder,
            incarnation: 1,
            seq: 1,
            hlc: Hlc(1),
            faces: None,
            shown: Vec::new(),
        }
    }

    /// Learns how far the own map is, and what time it is.
    pub(super) fn hear(&mut self, delta: &Delta) {
        self.hlc = self.hlc.max(delta.hlc);
        let version = (delta.incarnation, delta.seq);
        if delta.author == self.key.node() && version > (self.incarnation, self.seq) {
            (self.incarnation, self.seq) = version;
        }
    }

    /// Frames with the lie in them.
    pub(super) fn told(&mut self, lie: Lie, dice: &mut Dice) -> Option<Vec<Frame>> {
        let label = |text: &str| {
            let label = Label::new(text).ok()?;
            Some(vec![Statement::Profile(Profile { label })])
        };
        match lie {
            Lie::UnknownAuthor => {
                let key = KeyPair::from_secret(&dice.secret());
                let mut stranger = Self::new(key, self.hive, self.founder);
                stranger.hlc = self.hlc;
                Some(vec![stranger.whole(&label("nobody")?)])
            }
            Lie::OtherHive => {
                self.step();
                let here = core::mem::replace(&mut self.hive, HiveId(dice.secret()));
                let frame = self.whole(&label("elsewhere")?);
                self.hive = here;
                Some(vec![frame])
            }
            Lie::ForkedState => {
                self.step();
                let (one, two) = (self.whole(&label("one")?), self.whole(&label("two")?));
                Some(vec![one, two])
            }
            Lie::FarFuture => {
                self.step();
                self.hlc = Hlc(u64::MAX >> 1);
                Some(vec![self.whole(&label("far ahead")?)])
            }
            Lie::TopIncarnation => {
                self.incarnation = u32::MAX;
                self.step();
                Some(vec![self.whole(&label("top")?)])
            }
            Lie::TopNumber => {
                self.seq = u64::MAX;
                Some(vec![self.whole(&label("top")?)])
            }
            Lie::AdmitsSybils => {
                self.step();
                let sybils = (0..SYBILS).map(|_| self.sybil(dice)).collect::<Vec<_>>();
                Some(vec![self.whole(&sybils)])
            }
            Lie::RemovesSeniors => {
                self.step();
                let node = self.founder;
                Some(vec![
                    self.whole(&[Statement::Revoke(Revoke { node, keep: None })]),
                ])
            }
            Lie::TooManyEntries => Some(self.greedy(&[4_000, 200], 1)),
            Lie::TooManyBytes => Some(self.greedy(&[LONG_VALUES; 3], LONG_VALUE)),
            _ => None,
        }
    }

    /// The one of two states under one number that this peer is always shown; the next new peer is shown the other.
    pub(super) fn face_for(&mut self, peer: NodeId) -> Option<Frame> {
        let held = (self.incarnation, self.seq);
        if self.faces.as_ref().is_none_or(|it| it.version < held) {
            self.step();
            let face = |text: &str| {
                let label = Label::new(text).ok()?;
                Some(self.whole(&[Statement::Profile(Profile { label })]))
            };
            self.faces = Some(Faces {
                version: (self.incarnation, self.seq),
                frames: [face("one face")?, face("the other")?],
            });
        }
        let known = self.shown.iter().position(|it| *it == peer);
        let nth = known.unwrap_or_else(|| {
            self.shown.push(peer);
            self.shown.len() - 1
        });
        let faces = self.faces.as_ref()?;
        faces.frames.get(nth % 2).cloned()
    }

    fn step(&mut self) {
        match self.seq.checked_add(1) {
            Some(seq) => self.seq = seq,
            None => self.incarnation = self.incarnation.saturating_add(1),
        }
    }

    fn sybil(&self, dice: &mut Dice) -> Statement {
        Statement::Admit(Admit {
            node: KeyPair::from_secret(&dice.secret()).node(),
            role: Role::Admin,
            owner: self.key.node(),
        })
    }

    /// A map that grows from frame to frame, each of them well signed, until it is larger than a map may be.
    fn greedy(&mut self, steps: &[usize], length: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut held: Vec<Entry> = Vec::new();
        for count in steps {
            let base = (!held.is_empty()).then_some((self.incarnation, self.seq));
            self.step();
            let first = held.len();
            let more = (first..first + count).map(|nth| self.unknown(nth, length));
            let more: Vec<Entry> = more.collect();
            held.extend(more.iter().cloned());
            frames.push(self.signed(&held, more, base));
        }
        frames
    }

    fn unknown(&self, nth: usize, length: usize) -> Entry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(nth as u64).to_be_bytes());
        // The first byte names the bucket.
        id[0] = u8::try_from(nth >> 8 & 0xFF).expect("masked");
        Entry {
            key: Key {
                kind: UNKNOWN_KIND,
                id,
            },
            seq: self.seq,
            hlc: self.hlc,
            value: Some(vec![0x5A; length]),
        }
    }

    /// A whole map with these statements and nothing else.
    fn whole(&self, statements: &[Statement]) -> Frame {
        let entry = |statement: &Statement| Entry {
            key: statement.key(),
            seq: self.seq,
            hlc: self.hlc,
            value: Some(statement.encode()),
        };
        let mut entries: Vec<Entry> = statements.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key);
        self.signed(&entries.clone(), entries, None)
    }

    fn signed(&self, map: &[Entry], entries: Vec<Entry>, base: Option<(u32, u64)>) -> Frame {
        let mut held = map.to_vec();
        held.sort_by_key(|entry| entry.key);
        let mut head = Head {
            author: self.key.node(),
            incarnation: self.incarnation,
            seq: self.seq,
            hlc: self.hlc,
            floor: 0,
            prev: [0x11; 32],
            root: root(&held),
            sig: [0; 64],
        };
        head.sig = self.key.sign(&head.signed_bytes(self.hive));
        let mut entries = entries;
        entries.sort_by_key(|entry| entry.key);
        Frame::Delta(Delta {
            author: head.author,
            incarnation: head.incarnation,
            base,
            seq: head.seq,
            hlc: head.hlc,
            floor: head.floor,
            prev: Some(head.prev),
            sig: head.sig,
            entries,
        })
    }
}

/// The hash that a signature covers, as a stranger would write it down from the format.
fn root(entries: &[Entry]) -> [u8; 32] {
    let mut buckets: Vec<Option<blake3::Hasher>> = vec![None; 256];
    for entry in entries {
        let mut leaf = blake3::Hasher::new_derive_key("hive-mind/v1/leaf");
        leaf.update(&[entry.key.kind]).update(&entry.key.id);
        leaf.update(&entry.seq.to_le_bytes());
        leaf.update(&entry.hlc.0.to_le_bytes());
        match &entry.value {
            None => leaf.update(&[0]),
            Some(value) => leaf.update(&[1]).update(value),
        };
        buckets[usize::from(entry.key.id[0])]
            .get_or_insert_with(|| blake3::Hasher::new_derive_key("hive-mind/v1/bucket"))
            .update(leaf.finalize().as_bytes());
    }
    let mut root = blake3::Hasher::new_derive_key("hive-mind/v1/root");
    for bucket in buckets {
        root.update(&bucket.map_or([0; 32], |hasher| *hasher.finalize().as_bytes()));
    }
    *root.finalize().as_bytes()
}
