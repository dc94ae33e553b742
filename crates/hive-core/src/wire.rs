//! What members and joiners say to each other: two closed enums, their bytes, and bounded reading.
//!
//! A frame is one version byte and a postcard value. Reading refuses what is too long, unknown or has
//! a tail, and allocates nothing for a collection before its elements are really there.

mod packed;

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::net::SocketAddr;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{HeadId, HiveId, NodeId};
use crate::limits;
use crate::statement::{Farewell, HeadRef, Key, Label, Rotate};
use crate::time::Hlc;

pub use crate::wire::packed::OwnDelta;

/// First byte of every frame. Shorter author names, for one, will come with another number.
pub const VERSION: u8 = 1;

/// How many kinds of frames there are. More may come with the same version, if who does not know them can pass them
/// over: what is lost with them must be found by the kinds that everybody knows.
pub const FRAME_KINDS: u8 = 19;

/// What connected members say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// "Do we hold the same?"
    Probe {
        /// First half of the hash over all heads.
        h: [u8; 16],
    },
    /// "We do."
    Same,
    /// "We do not; this is what I hold."
    Digest(#[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")] Vec<Line>),
    /// "Send me these."
    Want(#[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")] Vec<Have>),
    /// What changed in one author's map.
    Delta(Delta),
    /// A piece of a frame that is too long for one.
    Part {
        /// Whether the frame is complete with this piece.
        last: bool,
        /// The piece.
        #[serde(deserialize_with = "frame_bytes")]
        bytes: Vec<u8>,
    },
    /// Two signed heads that cannot both be honest.
    Proof(Head, Head),
    /// "These heads I saw lately; did you see others?" Of authors of whom the receiver saw something else.
    Audit(#[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")] Vec<Trace>),
    /// "I saw these": heads that contradict, or may contradict, what an audit told.
    Heads(#[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")] Vec<Head>),
    /// "These states that words of removal name are held here."
    Pins {
        /// Whether the receiver shall tell what it holds beyond that.
        tell_back: bool,
        /// All of them.
        #[serde(deserialize_with = "bounded::<_, _, { limits::PINS_MAX }>")]
        held: Vec<Pin>,
    },
    /// "Send me these states."
    WantPins(#[serde(deserialize_with = "bounded::<_, _, { limits::PINS_MAX }>")] Vec<Pin>),
    /// What changed in the sender's own map.
    Own(OwnDelta),
    /// "I hold these": news that was not sent along.
    IHave(#[serde(deserialize_with = "bounded::<_, _, HINTS_MAX>")] Vec<Hint>),
    /// "Send me these, and your news at once from now on." May name none.
    Graft(#[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")] Vec<Have>),
    /// "I had that already: only tell me what you have from now on." If it names the sender: "I have too many
    /// branches: look for another way." In a small hive: "I hear these authors without you."
    Prune(#[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")] Vec<NodeId>),
    /// "We do not hold the same; this is what changed here since we last did."
    Changed {
        /// Whether this answers the other side's changes.
        answer: bool,
        /// What is held now of each author whose map changed.
        #[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")]
        lines: Vec<Line>,
    },
    /// "You were removed." The last word on a connection; who says it proves it.
    Farewell {
        /// The admin that removed the machine.
        by: NodeId,
        /// Its signed word.
        word: Farewell,
    },
    /// "This I saw lately of each author; of whom did you see something else?" Answered with an audit of those.
    Rings {
        /// Drawn for this frame, so that nobody can prepare two histories that look alike.
        salt: [u8; 8],
        /// In rising order.
        #[serde(deserialize_with = "bounded::<_, _, LINES_MAX>")]
        rings: Vec<RingMark>,
    },
    /// "Your place went to another key." The last word on a connection with the old one; it proves itself.
    Moved(Rotate),
}

/// One line of an "I have". It only says where something may be had: half a key would do, four bytes are
/// enough to find the member, and two members that begin alike only cost a question in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// First bytes of whose map it is.
    pub author: [u8; 4],
    /// Its incarnation.
    pub incarnation: u32,
    /// Its batch number.
    pub seq: u64,
}

/// One line of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose map.
    pub author: NodeId,
    /// Its incarnation.
    pub incarnation: u32,
    /// Its batch number.
    pub seq: u64,
    /// First half of its head's id.
    pub id: [u8; 16],
    /// Whether the sender holds a proof that this author contradicted itself.
    pub forked: bool,
}

/// One line of a want: what the sender already holds of the author's map; zeros = nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// Whose map.
    pub author: NodeId,
    /// Incarnation held.
    pub incarnation: u32,
    /// Batch number held.
    pub seq: u64,
}

/// The heads that were seen of one author lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Whose.
    pub author: NodeId,
    /// At most one per place in the ring.
    #[serde(deserialize_with = "bounded::<_, _, TRACE_MAX>")]
    pub heads: Vec<HeadMark>,
}

/// The heads that were seen of one author lately, in eight bytes. Two different histories look alike once in four
/// thousand million times, each day anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RingMark {
    /// First bytes of whose they are.
    pub author: [u8; 4],
    /// First bytes of the hash over the salt and the ids of the heads.
    pub check: [u8; 4],
}

/// A state of an author's map that a word of removal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// Whose map.
    pub author: NodeId,
    /// Which state of it.
    pub state: HeadRef,
}

/// A head, named so that no author can make two of one name: half of its id is beyond any collision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadMark {
    /// Its incarnation.
    pub incarnation: u32,
    /// Its batch number.
    pub seq: u64,
    /// First half of its id.
    pub id: [u8; 16],
}

/// An author's signature over the root of its whole map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose map.
    pub author: NodeId,
    /// Raised at every start of the author.
    pub incarnation: u32,
    /// Batches so far.
    pub seq: u64,
    /// The author's time of the batch.
    pub hlc: Hlc,
    /// Removal markers up to this batch number are no longer in the map.
    pub floor: u64,
    /// Id of the head before; zeros at the first.
    pub prev: [u8; 32],
    /// Root hash of the map.
    pub root: [u8; 32],
    /// Over all of the above and the hive's id.
    #[serde(with = "halves")]
    pub sig: [u8; 64],
}

/// One statement in an author's map, as stored, hashed and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands.
    pub key: Key,
    /// The batch that wrote it.
    pub seq: u64,
    /// The author's time of that batch.
    pub hlc: Hlc,
    /// Its bytes; none = removed.
    #[serde(deserialize_with = "value_bytes")]
    pub value: Option<Vec<u8>>,
}

/// The difference between two states of one author's map. The root is never sent: it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Whose map.
    pub author: NodeId,
    /// Incarnation of the new state.
    pub incarnation: u32,
    /// The state it builds on, as incarnation and batch number; none = the entries are the whole map.
    pub base: Option<(u32, u64)>,
    /// Batch number of the new state.
    pub seq: u64,
    /// Time of the new state.
    pub hlc: Hlc,
    /// Floor of the new state.
    pub floor: u64,
    /// Id of the head before; none = the head of `base`.
    pub prev: Option<[u8; 32]>,
    /// The author's signature over the new head.
    pub sig: [u8; 64],
    /// The new entries: at most [`limits::MAP_ENTRIES_MAX`].
    pub entries: Vec<Entry>,
}

/// The first record of a hive; its hash is the hive's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Format of everything that follows.
    pub format: u8,
    /// The first member.
    pub founder: NodeId,
    /// A key kept on paper that outranks the founder.
    pub recovery: Option<NodeId>,
    /// Makes two hives of one founder different.
    pub nonce: [u8; 16],
}

/// What an inviter and a joiner say to each other. Before the welcome: keys, the hive's id, one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PairFrame {
    /// Joiner: "I have a code."
    Hello {
        /// Fresh.
        nonce: [u8; 16],
        /// What it calls itself.
        label: Label,
    },
    /// Inviter: "Prove it."
    Challenge {
        /// Fresh.
        nonce: [u8; 16],
    },
    /// Joiner: the proof.
    Proof {
        /// Keyed by the code, the connection, both keys and both nonces.
        mac: [u8; 32],
    },
    /// Inviter: its own proof; now a person decides.
    Proved {
        /// The hive that the joiner would enter.
        hive: HiveId,
        /// Keyed as the joiner's, over other words.
        mac: [u8; 32],
    },
    /// Inviter: no, and why.
    Refused(Refusal),
    /// Inviter: a person said yes.
    Welcome {
        /// The hive's first record.
        genesis: Genesis,
        /// The hive's secret.
        secret: [u8; 32],
        /// Where members are.
        #[serde(deserialize_with = "bounded::<_, _, ADDRESSES_MAX>")]
        addresses: Vec<(NodeId, SocketAddr)>,
    },
    /// Joiner: "I am in."
    Thanks,
    /// Joiner: "You know me; I still wait."
    Waiting,
    /// Joiner: "I do not want to come in any more."
    TakenBack,
}

/// Why an inviter says no. An older joiner takes those after [`Refusal::Denied`] for a conversation that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The code is not one of the open ones.
    WrongCode,
    /// The code was used, or its time is over.
    Spent,
    /// Too many wrong codes lately: wait.
    Wait,
    /// Too many machines wait for a person.
    Full,
    /// A person said no.
    Denied,
    /// The machine's key was handed over: its place belongs to another key.
    HandedOver,
    /// The machine left or was removed, and its key opens this hive no more.
    Gone,
    /// The inviter lets back in who belongs already, and nobody new.
    OnlyBack,
}

/// Why bytes are no frame. Nothing was changed and nothing kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than a frame may have.
    #[error("the frame is longer than allowed")]
    TooLong,
    /// No byte at all, or a version that is not spoken here.
    #[error("the frame is of another version")]
    Version,
    /// Not the encoding of any frame, or a collection beyond its bound.
    #[error("the frame cannot be read")]
    Malformed,
    /// A frame, and then more.
    #[error("the frame has a tail")]
    Trailing,
}

/// Most lines of a digest or a want: one for each author that can be held. Revoked ones count.
pub const LINES_MAX: usize = limits::MEMBERS_MAX;

/// Most heads of one author in an audit: a whole ring.
pub const TRACE_MAX: usize = limits::RING_HEADS as usize;
/// Most lines of an "I have": as many authors as can have news at once.
pub const HINTS_MAX: usize = limits::MEMBERS_MAX;

/// Most addresses in a welcome. A guess that keeps it well under the pairing frame's limit.
pub const ADDRESSES_MAX: usize = 8;

/// Most bytes of a frame put together from parts: a whole map with heads and keys around it.
pub const ASSEMBLED_BYTES_MAX: usize = 2 * limits::MAP_BYTES_MAX;

impl Frame {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Its bytes, cut into as many frames as the limit asks for.
    #[must_use]
    pub fn encode_split(&self) -> Vec<Vec<u8>> {
        let whole = self.encode();
        if whole.len() <= limits::FRAME_BYTES_MAX {
            return alloc::vec![whole];
        }
        // Room for the version byte, the tag, the flag and the length.
        let piece = limits::FRAME_BYTES_MAX - 16;
        let count = whole.len().div_ceil(piece);
        whole
            .chunks(piece)
            .enumerate()
            .map(|(index, bytes)| {
                Self::Part {
                    last: index + 1 == count,
                    bytes: bytes.to_vec(),
                }
                .encode()
            })
            .collect()
    }

    /// Reads one frame as it came off the wire.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, limits::FRAME_BYTES_MAX)
    }

    /// What kind of frame these bytes claim to be, by its place in [`Frame`]; none = it cannot be told.
    #[must_use]
    pub fn kind_of(bytes: &[u8]) -> Option<u8> {
        match bytes {
            // One byte of a varint: kinds up to 127.
            [VERSION, kind, ..] if *kind < 128 => Some(*kind),
            _ => None,
        }
    }

    /// As this member sends it: of its own map it need not say whose it is.
    #[must_use]
    pub fn without(self, sender: NodeId) -> Self {
        match self {
            Self::Delta(delta) if delta.author == sender => Self::Own(OwnDelta::new(delta)),
            other => other,
        }
    }

    /// What it says when this member sent it.
    #[must_use]
    pub fn said_by(self, sender: NodeId) -> Self {
        match self {
            Self::Own(own) => Self::Delta(own.said_by(sender)),
            other => other,
        }
    }

    /// Reads a frame put together from parts.
    pub fn decode_assembled(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, ASSEMBLED_BYTES_MAX)
    }
}

impl PairFrame {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads one frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, limits::PAIR_FRAME_BYTES_MAX)
    }
}

impl Head {
    /// What is signed: fixed width, little endian, bound to one hive.
    #[must_use]
    pub fn signed_bytes(&self, hive: HiveId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(17 + 32 + 32 + 4 + 8 * 3 + 32 + 32);
        bytes.extend_from_slice(b"hive-mind/head/v1");
        bytes.extend_from_slice(&hive.0);
        bytes.extend_from_slice(&self.author.0);
        bytes.extend_from_slice(&self.incarnation.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.hlc.0.to_le_bytes());
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        bytes.extend_from_slice(&self.prev);
        bytes.extend_from_slice(&self.root);
        bytes
    }

    /// Its id: the hash of the signed bytes. The signature is left out because an author can make many.
    #[must_use]
    pub fn id(&self, hive: HiveId) -> HeadId {
        HeadId(*blake3::hash(&self.signed_bytes(hive)).as_bytes())
    }
}

impl Genesis {
    /// The hive's id.
    #[must_use]
    pub fn hive(&self) -> HiveId {
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/genesis");
        hasher.update(&[self.format]);
        hasher.update(&self.founder.0);
        hasher.update(&[u8::from(self.recovery.is_some())]);
        hasher.update(&self.recovery.unwrap_or_default().0);
        hasher.update(&self.nonce);
        HiveId(*hasher.finalize().as_bytes())
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing to memory fails for no type of this file.
    postcard::to_extend(value, alloc::vec![VERSION]).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong);
    }
    let Some((&VERSION, body)) = bytes.split_first() else {
        return Err(DecodeError::Version);
    };
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(DecodeError::Trailing),
        Err(_) => Err(DecodeError::Malformed),
    }
}

/// Reads a sequence of at most `MAX`, growing only with elements that are really there.
fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Elements<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element()? {
                if elements.len() == MAX {
                    return Err(A::Error::custom("too many elements"));
                }
                elements.push(element);
            }
            Ok(elements)
        }
    }

    deserializer.deserialize_seq(Elements::<T, MAX>(PhantomData))
}

/// Reads bytes without copying first, so that a wrong length costs nothing.
struct Bytes<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for Bytes<MAX> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} bytes")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Vec<u8>, E> {
        if bytes.len() > MAX {
            return Err(E::custom("too many bytes"));
        }
        Ok(bytes.to_vec())
    }
}

fn frame_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_bytes(Bytes::<{ limits::FRAME_BYTES_MAX }>)
}

fn value_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    struct Maybe;

    impl<'de> Visitor<'de> for Maybe {
        type Value = Option<Vec<u8>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "bytes or nothing")
        }

        fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
            inner
                .deserialize_bytes(Bytes::<{ limits::VALUE_BYTES_MAX }>)
                .map(Some)
        }
    }

    deserializer.deserialize_option(Maybe)
}

/// A signature as two halves: serde has no arrays of 64.
mod halves {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        sig: &[u8; 64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (mut left, mut right) = ([0_u8; 32], [0_u8; 32]);
        left.copy_from_slice(&sig[..32]);
        right.copy_from_slice(&sig[32..]);
        (left, right).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 64], D::Error> {
        let (left, right) = <([u8; 32], [u8; 32])>::deserialize(d)?;
        let mut sig = [0; 64];
        sig[..32].copy_from_slice(&left);
        sig[32..].copy_from_slice(&right);
        Ok(sig)
    }
}
