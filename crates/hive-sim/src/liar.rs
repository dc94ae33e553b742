//! A member that lies: its node is honest, its frames are changed on their way out.

use crate::dice::Dice;
use crate::faults::{Fault, Faults};
use crate::net::Parcel;

/// Ways of lying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// One bit is flipped: a forged signature, an edited entry, a wrong length.
    FlippedBit,
    /// The end is cut off.
    Truncated,
    /// The header claims 4 GiB.
    FourGigabytes,
    /// An old frame is sent again.
    Replayed,
    /// Random bytes.
    Garbage,
}

/// Changes the frames of one machine.
#[derive(Clone, Debug)]
pub struct Liar {
    lies: Vec<Lie>,
    permille: u64,
    dice: Dice,
    kept: Vec<Vec<u8>>,
}

/// Old frames that a liar keeps for a replay.
const KEPT_MAX: usize = 32;

impl Lie {
    /// All of them.
    pub const ALL: [Self; 5] = [
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
    pub fn new(lies: Vec<Lie>, permille: u64, dice: Dice) -> Self {
        Self {
            lies,
            permille,
            dice,
            kept: Vec::new(),
        }
    }

    /// What leaves instead of an honest frame.
    pub fn tamper(&mut self, frame: Vec<u8>, faults: &mut Faults) -> Vec<Parcel> {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(frame.clone());
        }
        if self.lies.is_empty() || !self.dice.permille(self.permille) {
            return vec![Parcel::honest(frame)];
        }
        faults.add(Fault::Lie);
        let lie = self.lies[self.dice.index(self.lies.len())];
        match lie {
            Lie::FlippedBit => vec![Parcel::honest(self.flip(frame))],
            Lie::Truncated => {
                let mut short = frame;
                short.truncate(self.dice.index(short.len().max(1)));
                vec![Parcel::honest(short)]
            }
            Lie::FourGigabytes => vec![Parcel {
                bytes: frame,
                declared: u64::from(u32::MAX),
            }],
            Lie::Replayed => {
                let old = self.kept[self.dice.index(self.kept.len())].clone();
                vec![Parcel::honest(frame), Parcel::honest(old)]
            }
            Lie::Garbage => {
                let garbage = self.dice.secret().to_vec();
                vec![Parcel::honest(frame), Parcel::honest(garbage)]
            }
        }
    }

    fn flip(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        if !frame.is_empty() {
            let at = self.dice.index(frame.len());
            frame[at] ^= 1 << self.dice.below(8);
        }
        frame
    }
}
