//! Which words one version of this program knows. Versions mix in one hive: a statement of a kind that this one does not
//! know is kept, hashed and passed on and stands in no view, and a frame of such a kind is passed over.

/// The kinds of statements and of frames that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// A bit for each of the first 31 kinds of statements, and one for all later ones.
    statements: u32,
    /// Frames of kinds below this are known.
    frames: u8,
}

impl Vocabulary {
    /// What this version knows. What it cannot read of later kinds is found when it is read.
    pub const CURRENT: Self = Self {
        statements: u32::MAX,
        frames: crate::wire::FRAME_KINDS,
    };

    /// What an older version knows: not these kinds of statements, and frames of so many kinds.
    #[must_use]
    pub fn older(without: &[u8], frames: u8) -> Self {
        let bits = without.iter().map(|kind| bit(*kind));
        Self {
            statements: bits.fold(u32::MAX, |known, bit| known & !bit),
            frames: frames.min(Self::CURRENT.frames),
        }
    }

    /// Whether statements of this kind are read.
    #[must_use]
    pub fn knows_statement(self, kind: u8) -> bool {
        self.statements & bit(kind) != 0
    }

    /// Whether frames of this kind are read.
    #[must_use]
    pub fn knows_frame(self, kind: u8) -> bool {
        kind < self.frames
    }
}

fn bit(kind: u8) -> u32 {
    1 << kind.min(31)
}
