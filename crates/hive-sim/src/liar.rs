//! A member that lies: its node is honest, its frames are changed on their way out.

use hive_core::id::{NodeId, PatternId};
use hive_core::limits;
use hive_core::signed::KeyPair;
use hive_core::statement::{Statement, StrategyCell};
use hive_core::wire::{Delta, Entry, Frame, Have, Head, Line};
use serde::Deserialize;

use crate::attacks::Attacks;
use crate::dice::Dice;
use crate::faults::{Fault, Faults};
use crate::net::Parcel;

mod forger;

pub use forger::Forger;

/// Ways of lying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// The signature of a delta is changed.
    ForgedSignature,
    /// A statement in a signed delta is changed, added or left out.
    EditedEntry,
    /// A new state of somebody else's map: a counter that somebody never reached, signed with the liar's own key.
    InflatedForeignCounter,
    /// One bit of a frame is flipped.
    FlippedBit,
    /// The end of a frame is cut off.
    #[serde(rename = "truncated_frame")]
    Truncated,
    /// The header claims 4 GiB.
    #[serde(rename = "four_gigabytes_declared")]
    FourGigabytes,
    /// An old frame is sent again.
    #[serde(rename = "replayed_frame")]
    Replayed,
    /// Random bytes.
    #[serde(rename = "garbage_frame")]
    Garbage,
    /// A well-signed map of an author whom nobody let in.
    UnknownAuthor,
    /// Two heads of an honest member that "contradict" each other, signed by the liar.
    ForgedProof,
    /// Pieces of a frame that never ends.
    EndlessParts,
    /// A digest that names one author twice.
    UnsortedDigest,
    /// A digest that claims the highest numbers there are for every author.
    BoastfulDigest,
    /// More frames at once than any honest member sends.
    Flood,
    /// Every map is asked for again and again.
    WantsEverything,
    /// Nothing is sent at all.
    Withheld,
    /// The own map, signed for another hive.
    OtherHive,
    /// The own map with more statements than a map may have.
    TooManyEntries,
    /// The own map with more bytes than a map may have.
    TooManyBytes,
    /// Two states of the own map under one number, to everybody.
    ForkedState,
    /// Two states of the own map under one number: one to some members, the other to the others.
    TwoFaced,
    /// A state of the own map from the far future.
    FarFuture,
    /// A state of the own map with the highest incarnation.
    TopIncarnation,
    /// A state of the own map with the highest number.
    TopNumber,
    /// A plain member's word that forty machines belong.
    AdmitsSybils,
    /// A plain member's word that the founder no longer belongs.
    RemovesSeniors,
}

/// Changes the frames of one machine.
pub struct Liar {
    lies: Vec<Lie>,
    permille: u64,
    key: KeyPair,
    forger: Option<Forger>,
    dice: Dice,
    kept: Vec<Vec<u8>>,
    deltas: Vec<Delta>,
    heavy_left: u32,
}

/// Old frames that a liar keeps for later.
const KEPT_MAX: usize = 32;

/// Lies of a quarter of a megabyte and more that one liar tells: they cost the world more than they teach it.
const HEAVY_MAX: u32 = 12;

/// Frames of one flood. A peer may send 1,024 at once.
const FLOOD: usize = 1_200;

impl Lie {
    /// Those that need no key.
    pub const PLAIN: [Self; 8] = [
        Self::ForgedSignature,
        Self::EditedEntry,
        Self::InflatedForeignCounter,
        Self::FlippedBit,
        Self::Truncated,
        Self::FourGigabytes,
        Self::Replayed,
        Self::Garbage,
    ];

    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::ForgedSignature,
        Self::EditedEntry,
        Self::InflatedForeignCounter,
        Self::FlippedBit,
        Self::Truncated,
        Self::FourGigabytes,
        Self::Replayed,
        Self::Garbage,
        Self::UnknownAuthor,
        Self::ForgedProof,
        Self::EndlessParts,
        Self::UnsortedDigest,
        Self::BoastfulDigest,
        Self::Flood,
        Self::WantsEverything,
        Self::Withheld,
        Self::OtherHive,
        Self::TooManyEntries,
        Self::TooManyBytes,
        Self::ForkedState,
        Self::TwoFaced,
        Self::FarFuture,
        Self::TopIncarnation,
        Self::TopNumber,
        Self::AdmitsSybils,
        Self::RemovesSeniors,
    ];

    /// A stable name for machines to read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForgedSignature => "forged_signature",
            Self::EditedEntry => "edited_entry",
            Self::InflatedForeignCounter => "inflated_foreign_counter",
            Self::FlippedBit => "flipped_bit",
            Self::Truncated => "truncated_frame",
            Self::FourGigabytes => "four_gigabytes_declared",
            Self::Replayed => "replayed_frame",
            Self::Garbage => "garbage_frame",
            Self::UnknownAuthor => "unknown_author",
            Self::ForgedProof => "forged_proof",
            Self::EndlessParts => "endless_parts",
            Self::UnsortedDigest => "unsorted_digest",
            Self::BoastfulDigest => "boastful_digest",
            Self::Flood => "flood",
            Self::WantsEverything => "wants_everything",
            Self::Withheld => "withheld",
            Self::OtherHive => "other_hive",
            Self::TooManyEntries => "too_many_entries",
            Self::TooManyBytes => "too_many_bytes",
            Self::ForkedState => "forked_state",
            Self::TwoFaced => "two_faced",
            Self::FarFuture => "far_future",
            Self::TopIncarnation => "top_incarnation",
            Self::TopNumber => "top_number",
            Self::AdmitsSybils => "admits_sybils",
            Self::RemovesSeniors => "removes_seniors",
        }
    }

    /// Whether the honest frame is not sent beside it.
    const fn replaces(self) -> bool {
        matches!(
            self,
            Self::FlippedBit | Self::Truncated | Self::FourGigabytes | Self::Withheld
        )
    }

    const fn is_heavy(self) -> bool {
        matches!(
            self,
            Self::EndlessParts | Self::Flood | Self::TooManyEntries | Self::TooManyBytes
        )
    }
}

impl Liar {
    /// Lies in these ways, in so many frames of 1,000.
    #[must_use]
    pub fn new(lies: Vec<Lie>, permille: u64, mut dice: Dice) -> Self {
        Self {
            lies,
            permille,
            key: KeyPair::from_secret(&dice.secret()),
            forger: None,
            dice,
            kept: Vec::new(),
            deltas: Vec::new(),
            heavy_left: HEAVY_MAX,
        }
    }

    /// Gives it the key of its machine, so that its lies are well signed.
    #[must_use]
    pub fn with_key(mut self, forger: Forger) -> Self {
        self.forger = Some(forger);
        self
    }

    /// Learns from a frame, its own or somebody else's.
    pub fn hear(&mut self, sender: NodeId, frame: &[u8]) {
        let heard = Frame::decode(frame).map(|frame| frame.said_by(sender));
        // Kept with its author's name, so that it still says the same when the liar repeats it.
        let kept = heard
            .as_ref()
            .map_or_else(|_| frame.to_vec(), Frame::encode);
        if let Ok(Frame::Delta(delta)) = heard {
            if let Some(forger) = &mut self.forger {
                forger.hear(&delta);
            }
            self.deltas.push(delta);
            if self.deltas.len() > KEPT_MAX {
                self.deltas.remove(0);
            }
        }
        self.kept.push(kept);
        if self.kept.len() > KEPT_MAX {
            self.kept.remove(0);
        }
    }

    /// What leaves for a peer instead of an honest frame.
    pub fn tamper(
        &mut self,
        me: NodeId,
        peer: NodeId,
        frame: Vec<u8>,
        faults: &mut Faults,
        attacks: &mut Attacks,
    ) -> Vec<Parcel> {
        self.hear(me, &frame);
        if self.lies.is_empty() || !self.dice.permille(self.permille) {
            return vec![Parcel::honest(frame)];
        }
        let lie = self.lies[self.dice.index(self.lies.len())];
        if lie.is_heavy() && self.heavy_left == 0 {
            return vec![Parcel::honest(frame)];
        }
        let Some(mut parcels) = self.told(lie, peer, &frame) else {
            return vec![Parcel::honest(frame)];
        };
        self.heavy_left -= u32::from(lie.is_heavy());
        faults.add(Fault::Lie);
        attacks.add(lie.name());
        if !lie.replaces() {
            parcels.insert(0, Parcel::honest(frame));
        }
        parcels
    }

    /// What the lie sends; nothing if there is nothing yet to lie about.
    fn told(&mut self, lie: Lie, peer: NodeId, frame: &[u8]) -> Option<Vec<Parcel>> {
        let bytes = match lie {
            Lie::ForgedSignature => self.forged()?,
            Lie::EditedEntry => self.edited()?,
            Lie::InflatedForeignCounter => self.inflated()?,
            Lie::FlippedBit => {
                let mut bytes = frame.to_vec();
                let at = self.dice.index(bytes.len());
                *bytes.get_mut(at)? ^= 1 << self.dice.below(8);
                bytes
            }
            Lie::Truncated => {
                let end = self.dice.index(frame.len().max(1));
                frame.get(..end)?.to_vec()
            }
            Lie::FourGigabytes => {
                return Some(vec![Parcel {
                    bytes: frame.to_vec(),
                    declared: u64::from(u32::MAX),
                }]);
            }
            Lie::Replayed => self.kept[self.dice.index(self.kept.len())].clone(),
            Lie::Garbage => self.dice.secret().to_vec(),
            Lie::Withheld => return Some(Vec::new()),
            Lie::ForgedProof => self.accused()?,
            Lie::TwoFaced => self.forger.as_mut()?.face_for(peer)?.encode(),
            Lie::EndlessParts
            | Lie::UnsortedDigest
            | Lie::BoastfulDigest
            | Lie::Flood
            | Lie::WantsEverything => return self.nuisance(lie),
            signed => {
                let frames = self.forger.as_mut()?.told(signed, &mut self.dice)?;
                let honest = |frame: &Frame| Parcel::honest(frame.encode());
                return Some(frames.iter().map(honest).collect());
            }
        };
        Some(vec![Parcel::honest(bytes)])
    }

    /// Well-formed frames that no honest member would send.
    fn nuisance(&mut self, lie: Lie) -> Option<Vec<Parcel>> {
        let author = self.some_delta()?.author;
        let line = |number| Line {
            author,
            incarnation: u32::MAX,
            seq: number,
            id: [0x5A; 16],
            forked: false,
        };
        let frames = match lie {
            Lie::EndlessParts => {
                let bytes = vec![0x5A; limits::FRAME_BYTES_MAX - 16];
                vec![Frame::Part { last: false, bytes }; 5]
            }
            Lie::UnsortedDigest => vec![Frame::Digest(vec![line(1), line(2)])],
            Lie::BoastfulDigest => vec![Frame::Digest(vec![line(u64::MAX)])],
            Lie::Flood => vec![Frame::Same; FLOOD],
            _ => {
                let want = Have {
                    author,
                    incarnation: 0,
                    seq: 0,
                };
                vec![Frame::Want(vec![want]); 20]
            }
        };
        let honest = |frame: &Frame| Parcel::honest(frame.encode());
        Some(frames.iter().map(honest).collect())
    }

    /// A "proof" against somebody else.
    fn accused(&mut self) -> Option<Vec<u8>> {
        let delta = self.some_delta()?;
        let mut head = Head {
            author: delta.author,
            incarnation: delta.incarnation,
            seq: delta.seq,
            hlc: delta.hlc,
            floor: delta.floor,
            prev: [0; 32],
            root: self.dice.secret(),
            sig: self.key.sign(b"whatever: it is not the author's key"),
        };
        let one = head;
        head.root = self.dice.secret();
        Some(Frame::Proof(one, head).encode())
    }

    fn some_delta(&mut self) -> Option<Delta> {
        let nth = self.dice.index(self.deltas.len());
        self.deltas.get(nth).cloned()
    }

    fn forged(&mut self) -> Option<Vec<u8>> {
        let mut delta = self.next_state()?;
        delta.sig[self.dice.index(64)] ^= 1 << self.dice.below(8);
        Some(Frame::Delta(delta).encode())
    }

    fn edited(&mut self) -> Option<Vec<u8>> {
        let mut delta = self.next_state()?;
        match self.dice.below(3) {
            0 => {
                let nth = self.dice.index(delta.entries.len());
                let value = delta.entries.get_mut(nth)?.value.as_mut()?;
                *value.first_mut()? ^= 1;
            }
            1 => {
                let entry = delta.entries.first()?.clone();
                let mut key = entry.key;
                key.id[0] ^= 0x55;
                delta.entries.push(Entry { key, ..entry });
            }
            _ => {
                delta.entries.pop()?;
            }
        }
        Some(Frame::Delta(delta).encode())
    }

    fn inflated(&mut self) -> Option<Vec<u8>> {
        let mut delta = self.next_state()?;
        let pattern = PatternId([0x77; 16]);
        let cell = StrategyCell {
            trials: 1 << 40,
            wins: 1 << 40,
        };
        let statement = Statement::Strategy(pattern, cell);
        delta.entries = vec![Entry {
            key: statement.key(),
            seq: delta.seq,
            hlc: delta.hlc,
            value: Some(statement.encode()),
        }];
        delta.sig = self.key.sign(b"whatever: it is not the author's key");
        Some(Frame::Delta(delta).encode())
    }

    /// A state that would follow one that was heard, so that only the signature stands against it.
    fn next_state(&mut self) -> Option<Delta> {
        let mut delta = self.some_delta()?;
        delta.base = Some((delta.incarnation, delta.seq));
        delta.seq = delta.seq.saturating_add(1);
        delta.prev = None;
        for entry in &mut delta.entries {
            entry.seq = delta.seq;
        }
        Some(delta)
    }
}
