//! A member that lies: its node is honest, its frames are changed on their way out.

use hive_core::id::PatternId;
use hive_core::signed::KeyPair;
use hive_core::statement::{Statement, StrategyCell};
use hive_core::wire::{Delta, Entry, Frame};

use crate::dice::Dice;
use crate::faults::{Fault, Faults};
use crate::net::Parcel;

/// Ways of lying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    Truncated,
    /// The header claims 4 GiB.
    FourGigabytes,
    /// An old frame is sent again.
    Replayed,
    /// Random bytes.
    Garbage,
}

/// Changes the frames of one machine.
pub struct Liar {
    lies: Vec<Lie>,
    permille: u64,
    key: KeyPair,
    dice: Dice,
    kept: Vec<Vec<u8>>,
    deltas: Vec<Delta>,
}

/// Old frames that a liar keeps for later.
const KEPT_MAX: usize = 32;

impl Lie {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ForgedSignature,
        Self::EditedEntry,
        Self::InflatedForeignCounter,
        Self::FlippedBit,
        Self::Truncated,
        Self::FourGigabytes,
        Self::Replayed,
        Self::Garbage,
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
        }
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
            dice,
            kept: Vec::new(),
            deltas: Vec::new(),
        }
    }

    /// Learns from a frame, its own or somebody else's.
    pub fn hear(&mut self, frame: &[u8]) {
        if let Ok(Frame::Delta(delta)) = Frame::decode(frame) {
            self.deltas.push(delta);
            if self.deltas.len() > KEPT_MAX {
                self.deltas.remove(0);
            }
        }
        self.kept.push(frame.to_vec());
        if self.kept.len() > KEPT_MAX {
            self.kept.remove(0);
        }
    }

    /// What leaves instead of an honest frame.
    pub fn tamper(&mut self, frame: Vec<u8>, faults: &mut Faults) -> Vec<Parcel> {
        self.hear(&frame);
        if self.lies.is_empty() || !self.dice.permille(self.permille) {
            return vec![Parcel::honest(frame)];
        }
        let lie = self.lies[self.dice.index(self.lies.len())];
        let Some(mut parcels) = self.told(lie, &frame) else {
            return vec![Parcel::honest(frame)];
        };
        faults.add(Fault::Lie);
        if !matches!(lie, Lie::FlippedBit | Lie::Truncated | Lie::FourGigabytes) {
            parcels.insert(0, Parcel::honest(frame));
        }
        parcels
    }

    /// What the lie sends; nothing if there is nothing yet to lie about.
    fn told(&mut self, lie: Lie, frame: &[u8]) -> Option<Vec<Parcel>> {
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
        };
        Some(vec![Parcel::honest(bytes)])
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
        delta.seq += 1;
        delta.prev = None;
        for entry in &mut delta.entries {
            entry.seq = delta.seq;
        }
        Some(delta)
    }
}
