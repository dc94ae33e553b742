//! What an author may say in its own map, and nothing else: no strings but a label, no names, no paths.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{AnomalyId, HeadId, HiveId, NodeId, PatternId, WorkloadKey};
use crate::limits;
use crate::pattern::{Evidence, PatternDef};
use crate::signed::{KeyPair, is_signed_by};
use crate::time::Hlc;

/// Where a statement stands in its author's map: one statement per kind and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The kind; unknown kinds are kept, hashed and relayed, and no view sees them.
    pub kind: u8,
    /// What it is about, among statements of that kind.
    pub id: [u8; 16],
}

/// A statement of a kind that this version knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement {
    /// A pattern's definition.
    Pattern(PatternDef),
    /// This author's own trials of a pattern.
    Evidence(PatternId, Evidence),
    /// This author's wish for a pattern, in force where it is the newest.
    Mark(PatternId, Mark),
    /// This author's own cell of a strategy's counter.
    Strategy(PatternId, StrategyCell),
    /// This author saw odd behaviour on its machine.
    Anomaly(Anomaly),
    /// Reports of one anomaly that this author takes back, as far as it may.
    Retract(AnomalyId, Retract),
    /// An admin lets a machine in.
    Admit(Admit),
    /// An admin removes a machine.
    Revoke(Revoke),
    /// How this machine wants to be called.
    Profile(Profile),
    /// An admin changes what a junior member may do.
    SetRole(SetRole),
    /// An admin takes a proven forker's data back into the views.
    Forgive(Forgive),
    /// What a removed machine is told, signed so that it can believe it.
    Farewell(Farewell),
    /// One key takes the place of another; or an admin's word that this is how it was.
    Rotate(Rotate),
}

/// A person's wish for a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mark {
    /// May be used.
    Live,
    /// Must not be used until somebody says otherwise.
    Paused,
}

/// One author's cell of a grow-only counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StrategyCell {
    /// Times it was tried to a verdict.
    pub trials: u64,
    /// Times it helped.
    pub wins: u64,
}

/// What odd behaviour looked like: coarse numbers, no name, no time finer than an hour.
/// Source of the fields: `research/learning.md` 6.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Anomaly {
    /// Which metrics were odd, one bit each.
    pub metrics: u32,
    /// Which of them were too high, one bit each.
    pub high: u32,
    /// How long it lasted: binary logarithm of the seconds.
    pub duration_log2: u8,
    /// How far out it was: binary logarithm of the robust deviations.
    pub severity_log2: u8,
    /// Hours since 1970 when it began.
    pub hour: u32,
    /// The program that did most, hashed with the hive's secret; zeros = none.
    pub workload: WorkloadKey,
}

/// One report of an anomaly, named exactly: said again, it is another one. An entry does not carry its
/// incarnation; the time tells two histories of one number apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dot {
    /// Who reported it.
    pub author: NodeId,
    /// The batch that did.
    pub seq: u64,
    /// That batch's time.
    pub hlc: Hlc,
}

/// Reports that are taken back: those that their author has seen, so that a new report wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Retract {
    /// At most [`DOTS_MAX`].
    pub dots: Vec<Dot>,
}

/// Most reports that one retraction names: what fits its longest value, with room to spare.
pub const DOTS_MAX: usize = 64;

/// What a member may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Shares and learns.
    #[default]
    Member,
    /// Also lets machines in and removes them.
    Admin,
}

/// An admin's word that a machine belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Admit {
    /// Who.
    pub node: NodeId,
    /// As what.
    pub role: Role,
    /// Whose machine it is: the member that stands for its owner, so that one person's machines count as such.
    pub owner: NodeId,
}

/// A state of an author's map, named exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeadRef {
    /// Incarnation.
    pub incarnation: u32,
    /// Batch number within it.
    pub seq: u64,
    /// Id of the head.
    pub id: HeadId,
}

/// An admin's word that a machine no longer belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revoke {
    /// Who.
    pub node: NodeId,
    /// The last state of its map that still counts; none = nothing of it counts.
    pub keep: Option<HeadRef>,
}

/// A more senior admin's word on what a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetRole {
    /// Who.
    pub node: NodeId,
    /// As what, from now on.
    pub role: Role,
}

/// An admin's word that an author may contradict itself up to here: its data counts again.
///
/// It names no single proof: several can exist for one author, and which one a member holds depends on
/// what it saw. All proofs of an incarnation up to `through` are forgiven, whoever holds which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forgive {
    /// Who contradicted itself.
    pub author: NodeId,
    /// The last incarnation whose contradictions are forgiven. A later one counts again.
    pub through: u32,
}

/// The remover's signature over its removal alone: a removed machine gets no more of the map that says
/// it, and a signature over the whole map would prove nothing without the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Farewell {
    /// Who was removed.
    pub node: NodeId,
    /// Over [`Farewell::signed_bytes`], in two halves.
    pub sig: [[u8; 32]; 2],
}

/// A machine's place goes from one key to another. Both keys sign it, so it proves itself, whoever carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rotate {
    /// The key that is used no more.
    pub old: NodeId,
    /// The key that stands in its place.
    pub new: NodeId,
    /// The last state of the old key's map: what lies above it is somebody else's.
    pub keep: HeadRef,
    /// Over [`Rotate::signed_bytes`], in two halves each: the old key's, then the new one's.
    pub sigs: [[u8; 32]; 4],
}

/// A machine's own profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Profile {
    /// What the owner calls it: at most [`limits::LABEL_BYTES_MAX`] bytes, shown to members only.
    pub label: Label,
}

/// A label: the only text on the wire. Letters, digits, spaces and `-_.'` only, 1 to 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// Why a text is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Nothing was given.
    #[error("a label needs at least one character")]
    Empty,
    /// More than [`limits::LABEL_BYTES_MAX`] bytes.
    #[error("a label has at most 32 bytes")]
    TooLong,
    /// A character that could hide or mislead on a screen.
    #[error("a label has only letters, digits, spaces and - _ . '")]
    BadCharacter,
}

impl Label {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if text.len() > limits::LABEL_BYTES_MAX {
            return Err(LabelError::TooLong);
        }
        let fine = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '\'');
        if !text.chars().all(fine) {
            return Err(LabelError::BadCharacter);
        }
        Ok(Self(String::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl Key {
    pub(crate) const PATTERN: u8 = 1;
    pub(crate) const EVIDENCE: u8 = 2;
    pub(crate) const MARK: u8 = 3;
    pub(crate) const STRATEGY: u8 = 4;
    pub(crate) const ANOMALY: u8 = 5;
    pub(crate) const RETRACT: u8 = 6;
    pub(crate) const ADMIT: u8 = 16;
    pub(crate) const REVOKE: u8 = 17;
    pub(crate) const PROFILE: u8 = 18;
    const SET_ROLE: u8 = 19;
    const FORGIVE: u8 = 20;
    const FAREWELL: u8 = 21;
    pub(crate) const ROTATE: u8 = 22;

    /// The kinds whose statements can matter for who belongs.
    pub(crate) const ABOUT_MEMBERS: core::ops::RangeInclusive<u8> = Self::ADMIT..=Self::ROTATE;

    /// Whether what stands here can matter for who belongs.
    #[must_use]
    pub fn is_about_members(&self) -> bool {
        Self::ABOUT_MEMBERS.contains(&self.kind)
    }

    /// Whether statements of this kind tell who belongs, or how it is called; kinds to come included.
    #[must_use]
    pub fn is_membership(&self) -> bool {
        (Self::ADMIT..32).contains(&self.kind)
    }

    /// The longest value that may stand under a key of this kind.
    ///
    /// Part of what makes a map valid, so it never changes for a kind once that is released: a statement
    /// that outgrows it takes a new kind. Each is the widest encoding at hand, at least doubled and rounded
    /// up, so that fields can be added.
    #[must_use]
    pub const fn value_bytes_max(&self) -> usize {
        match self.kind {
            Self::MARK | Self::STRATEGY => 64,
            Self::PATTERN | Self::PROFILE => 256,
            Self::EVIDENCE | Self::ADMIT | Self::REVOKE | Self::ROTATE => 512,
            Self::ANOMALY => 128,
            Self::RETRACT => 4 * 1024,
            _ => limits::VALUE_BYTES_MAX,
        }
    }

    fn about_node(kind: u8, node: NodeId) -> Self {
        let hash = blake3::hash(&node.0);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self { kind, id }
    }
}

impl Statement {
    /// Where this statement stands in the map.
    pub fn key(&self) -> Key {
        match self {
            Self::Pattern(def) => Key {
                kind: Key::PATTERN,
                id: def.id().0,
            },
            Self::Evidence(id, _) => Key {
                kind: Key::EVIDENCE,
                id: id.0,
            },
            Self::Mark(id, _) => Key {
                kind: Key::MARK,
                id: id.0,
            },
            Self::Strategy(id, _) => Key {
                kind: Key::STRATEGY,
                id: id.0,
            },
            Self::Anomaly(anomaly) => Key {
                kind: Key::ANOMALY,
                id: anomaly.id().0,
            },
            Self::Retract(id, _) => Key {
                kind: Key::RETRACT,
                id: id.0,
            },
            Self::Admit(admit) => Key::about_node(Key::ADMIT, admit.node),
            Self::Revoke(revoke) => Key::about_node(Key::REVOKE, revoke.node),
            Self::Profile(_) => Key {
                kind: Key::PROFILE,
                id: [0; 16],
            },
            Self::SetRole(set) => Key::about_node(Key::SET_ROLE, set.node),
            Self::Forgive(forgive) => Key::about_node(Key::FORGIVE, forgive.author),
            Self::Farewell(farewell) => Key::about_node(Key::FAREWELL, farewell.node),
            Self::Rotate(rotate) => Key::about_node(Key::ROTATE, rotate.old),
        }
    }

    /// The value's bytes, as they are hashed, signed and stored.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = match self {
            Self::Pattern(def) => postcard::to_allocvec(def),
            Self::Evidence(_, evidence) => postcard::to_allocvec(evidence),
            Self::Mark(_, mark) => postcard::to_allocvec(mark),
            Self::Strategy(_, cell) => postcard::to_allocvec(cell),
            Self::Anomaly(anomaly) => postcard::to_allocvec(anomaly),
            Self::Retract(_, retract) => postcard::to_allocvec(retract),
            Self::Admit(admit) => postcard::to_allocvec(admit),
            Self::Revoke(revoke) => postcard::to_allocvec(revoke),
            Self::Profile(profile) => postcard::to_allocvec(profile),
            Self::SetRole(set) => postcard::to_allocvec(set),
            Self::Forgive(forgive) => postcard::to_allocvec(forgive),
            Self::Farewell(farewell) => postcard::to_allocvec(farewell),
            Self::Rotate(rotate) => postcard::to_allocvec(rotate),
        };
        bytes.unwrap_or_default()
    }

    /// Reads a statement back. `None` for kinds and encodings that this version does not know, and for
    /// values that do not belong under their key: views do not see those, stores keep them.
    pub fn decode(key: Key, value: &[u8]) -> Option<Self> {
        let statement = match key.kind {
            Key::PATTERN => Self::Pattern(exact(value)?),
            Key::EVIDENCE => Self::Evidence(PatternId(key.id), exact(value)?),
            Key::MARK => Self::Mark(PatternId(key.id), exact(value)?),
            Key::STRATEGY => Self::Strategy(PatternId(key.id), exact(value)?),
            Key::ANOMALY => Self::Anomaly(exact(value)?),
            Key::RETRACT => Self::Retract(AnomalyId(key.id), exact::<Retract>(value)?.checked()?),
            Key::ADMIT => Self::Admit(exact(value)?),
            Key::REVOKE => Self::Revoke(exact(value)?),
            Key::PROFILE => Self::Profile(exact(value)?),
            Key::SET_ROLE => Self::SetRole(exact(value)?),
            Key::FORGIVE => Self::Forgive(exact(value)?),
            Key::FAREWELL => Self::Farewell(exact(value)?),
            Key::ROTATE => Self::Rotate(exact(value)?),
            _ => return None,
        };
        (statement.key() == key).then_some(statement)
    }
}

impl Farewell {
    /// The word on `node` that the holder of `key` gives in this hive.
    #[must_use]
    pub fn new(key: &KeyPair, hive: HiveId, node: NodeId) -> Self {
        let sig = key.sign(&Self::signed_bytes(hive, key.node(), node));
        let sig = halves(&sig);
        Self { node, sig }
    }

    /// Whether it is really `by` who says so.
    #[must_use]
    pub fn is_from(&self, by: NodeId, hive: HiveId) -> bool {
        let sig = whole(self.sig);
        is_signed_by(by, &Self::signed_bytes(hive, by, self.node), &sig)
    }

    /// What is signed: fixed width, bound to one hive, one remover and one removed machine.
    fn signed_bytes(hive: HiveId, by: NodeId, node: NodeId) -> Vec<u8> {
        [b"hive-mind/farewell/v1", &hive.0[..], &by.0, &node.0].concat()
    }
}

impl Rotate {
    /// The handing-over that the holder of both keys gives in this hive.
    #[must_use]
    pub fn new(old: &KeyPair, new: &KeyPair, hive: HiveId, keep: HeadRef) -> Self {
        let mut rotate = Self {
            old: old.node(),
            new: new.node(),
            keep,
            sigs: [[0; 32]; 4],
        };
        let bytes = rotate.signed_bytes(hive);
        let [one, two] = halves(&old.sign(&bytes));
        let [three, four] = halves(&new.sign(&bytes));
        rotate.sigs = [one, two, three, four];
        rotate
    }

    /// Whether both keys really say so.
    #[must_use]
    pub fn is_genuine(&self, hive: HiveId) -> bool {
        let bytes = self.signed_bytes(hive);
        let [one, two, three, four] = self.sigs;
        self.old != self.new
            && is_signed_by(self.old, &bytes, &whole([one, two]))
            && is_signed_by(self.new, &bytes, &whole([three, four]))
    }

    /// What is signed: fixed width, bound to one hive, both keys and one state.
    fn signed_bytes(&self, hive: HiveId) -> Vec<u8> {
        [
            b"hive-mind/rotate/v1",
            &hive.0[..],
            &self.old.0,
            &self.new.0,
            &self.keep.incarnation.to_be_bytes(),
            &self.keep.seq.to_be_bytes(),
            &self.keep.id.0,
        ]
        .concat()
    }
}

fn halves(sig: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    halves[0].copy_from_slice(&sig[..32]);
    halves[1].copy_from_slice(&sig[32..]);
    halves
}

fn whole(halves: [[u8; 32]; 2]) -> [u8; 64] {
    let mut sig = [0; 64];
    sig[..32].copy_from_slice(&halves[0]);
    sig[32..].copy_from_slice(&halves[1]);
    sig
}

impl Anomaly {
    /// Its id: the first 16 bytes of BLAKE3 (domain `hive-mind/v1/anomaly`) over its encoding, so that
    /// machines that saw the same speak of the same.
    #[must_use]
    pub fn id(&self) -> AnomalyId {
        let bytes = postcard::to_allocvec(self).unwrap_or_default();
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/anomaly");
        hasher.update(&bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        AnomalyId(id)
    }
}

impl Retract {
    fn checked(self) -> Option<Self> {
        (self.dots.len() <= DOTS_MAX).then_some(self)
    }
}

/// Decodes a value that must use up all of its bytes.
fn exact<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(value) {
        Ok((decoded, [])) => Some(decoded),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkloadKey;
    use crate::pattern::{Action, Binding, Context, Cores, WorkloadType};

    fn some_pattern() -> PatternDef {
        PatternDef {
            action: Action::BackgroundNice,
            workload: WorkloadKey([3; 16]),
            role: WorkloadType::Interactive,
            context: Context {
                binding: Binding::Task,
                cores: Cores::Few,
                eevdf_slices: true,
                background: WorkloadType::Build,
            },
        }
    }

    fn some_anomaly() -> Anomaly {
        Anomaly {
            metrics: u32::MAX,
            high: u32::MAX,
            duration_log2: 9,
            severity_log2: 3,
            hour: u32::MAX,
            workload: WorkloadKey([3; 16]),
        }
    }

    #[test]
    fn statements_survive_their_encoding() {
        let node = NodeId([9; 32]);
        let all = [
            Statement::Pattern(some_pattern()),
            Statement::Evidence(some_pattern().id(), Evidence::default()),
            Statement::Mark(some_pattern().id(), Mark::Paused),
            Statement::Strategy(some_pattern().id(), StrategyCell { trials: 3, wins: 1 }),
            Statement::Anomaly(some_anomaly()),
            Statement::Retract(
                some_anomaly().id(),
                Retract {
                    dots: alloc::vec![
                        Dot {
                            author: node,
                            seq: u64::MAX,
                            hlc: Hlc(u64::MAX)
                        };
                        DOTS_MAX
                    ],
                },
            ),
            Statement::Admit(Admit {
                node,
                role: Role::Admin,
                owner: node,
            }),
            Statement::Revoke(Revoke { node, keep: None }),
            Statement::Profile(Profile {
                label: Label::new("amber otter").expect("a label"),
            }),
            Statement::SetRole(SetRole {
                node,
                role: Role::Member,
            }),
            Statement::Forgive(Forgive {
                author: node,
                through: 7,
            }),
            Statement::Farewell(Farewell {
                node,
                sig: [[1; 32], [2; 32]],
            }),
            Statement::Rotate(Rotate {
                old: node,
                new: node,
                keep: HeadRef {
                    incarnation: u32::MAX,
                    seq: u64::MAX,
                    id: HeadId([4; 32]),
                },
                sigs: [[1; 32], [2; 32], [3; 32], [4; 32]],
            }),
        ];
        for statement in all {
            assert!(statement.encode().len() <= statement.key().value_bytes_max());
            assert_eq!(
                Statement::decode(statement.key(), &statement.encode()),
                Some(statement)
            );
        }
    }

    #[test]
    fn a_value_under_a_foreign_key_or_with_a_tail_is_not_seen() {
        let statement = Statement::Pattern(some_pattern());
        let mut elsewhere = statement.key();
        elsewhere.id[0] ^= 1;
        assert_eq!(Statement::decode(elsewhere, &statement.encode()), None);
        let mut longer = statement.encode();
        longer.push(0);
        assert_eq!(Statement::decode(statement.key(), &longer), None);
        assert_eq!(
            Statement::decode(
                Key {
                    kind: 200,
                    id: [0; 16]
                },
                b"from the future"
            ),
            None
        );
    }

    #[test]
    fn a_farewell_holds_for_one_remover_one_machine_and_one_hive() {
        let ann = KeyPair::from_secret(&[1; 32]);
        let bob = KeyPair::from_secret(&[2; 32]).node();
        let (here, there) = (HiveId([3; 32]), HiveId([4; 32]));
        let word = Farewell::new(&ann, here, bob);
        assert!(word.is_from(ann.node(), here));
        assert!(!word.is_from(ann.node(), there));
        assert!(!word.is_from(bob, here));
        let other = Farewell {
            node: ann.node(),
            ..word
        };
        assert!(!other.is_from(ann.node(), here));
    }

    #[test]
    fn a_handing_over_needs_both_keys_and_holds_in_one_hive_for_one_state() {
        let (ann, bob) = (
            KeyPair::from_secret(&[1; 32]),
            KeyPair::from_secret(&[2; 32]),
        );
        let (here, there) = (HiveId([3; 32]), HiveId([4; 32]));
        let keep = HeadRef {
            incarnation: 1,
            seq: 2,
            id: HeadId([5; 32]),
        };
        let word = Rotate::new(&ann, &bob, here, keep);
        assert!(word.is_genuine(here));
        assert!(!word.is_genuine(there));
        for sig in 0..4 {
            let mut forged = word;
            forged.sigs[sig][7] ^= 1;
            assert!(!forged.is_genuine(here), "half {sig}");
        }
        let other = HeadRef { seq: 3, ..keep };
        assert!(
            !Rotate {
                keep: other,
                ..word
            }
            .is_genuine(here)
        );
        let (old, new) = (word.new, word.old);
        assert!(!Rotate { old, new, ..word }.is_genuine(here));
        assert!(!Rotate::new(&ann, &ann, here, keep).is_genuine(here));
    }

    #[test]
    fn a_handing_over_is_written_so_and_signed_over_so() {
        let keep = HeadRef {
            incarnation: 1,
            seq: 300,
            id: HeadId([6; 32]),
        };
        let rotate = Rotate {
            old: NodeId([4; 32]),
            new: NodeId([5; 32]),
            keep,
            sigs: [[7; 32], [8; 32], [9; 32], [10; 32]],
        };
        let parts = [
            &[4; 32][..],
            &[5; 32],
            &[1, 0xac, 2],
            &[6; 32],
            &[7; 32],
            &[8; 32],
            &[9; 32],
            &[10; 32],
        ];
        let statement = Statement::Rotate(rotate);
        assert_eq!(statement.encode(), parts.concat());
        assert_eq!(statement.key(), Key::about_node(22, NodeId([4; 32])));
        let signed = [
            b"hive-mind/rotate/v1",
            &[3; 32][..],
            &[4; 32],
            &[5; 32],
            &[0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 1, 44],
            &[6; 32],
        ];
        assert_eq!(rotate.signed_bytes(HiveId([3; 32])), signed.concat());
    }

    #[test]
    fn a_label_cannot_mislead_a_screen() {
        for (text, want) in [
            ("", LabelError::Empty),
            ("   ", LabelError::Empty),
            ("\u{202e}evil", LabelError::BadCharacter),
            ("a\nb", LabelError::BadCharacter),
            (
                "this label is far too long for a screen",
                LabelError::TooLong,
            ),
        ] {
            assert_eq!(Label::new(text), Err(want), "{text:?}");
        }
        assert_eq!(Label::new(" desk ").expect("trimmed").as_str(), "desk");
    }
}
