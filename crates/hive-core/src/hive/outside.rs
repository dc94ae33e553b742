//! What the hive part asks of the network and the disk, in plain types.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::event_log::Happening;
use crate::id::{LinkId, NodeId, SaveId};
use crate::limits::INVITES_MAX;

/// Messages to one peer travel on two ordered streams, so that bulk never delays news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// News, membership, probes.
    Urgent,
    /// Catching up.
    Bulk,
}

/// What this machine says of itself by mDNS. Opaque to strangers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beacon {
    /// Changes daily; members of the hive can tell whose it is.
    pub tag: [u8; 8],
    /// While invites are open: let the holders of the codes find this machine.
    pub locators: Locators,
}

/// One for each open code, that of the newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locators([Option<[u8; 4]>; INVITES_MAX]);

impl Locators {
    /// These, as many as there may be.
    pub fn of(locators: impl IntoIterator<Item = [u8; 4]>) -> Self {
        let mut all = Self::default();
        for (place, locator) in all.0.iter_mut().zip(locators) {
            *place = Some(locator);
        }
        all
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = [u8; 4]> {
        self.0.into_iter().flatten()
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, locator: [u8; 4]) -> bool {
        self.iter().any(|one| one == locator)
    }
}

/// A machine heard by mDNS. A hint only: identity is what the handshake proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it said of itself.
    pub beacon: Beacon,
    /// Where it answered from.
    pub address: SocketAddr,
}

/// Which table of the store a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Single values: genesis, secret, incarnation, pending requests.
    Meta,
    /// One signed head per author.
    Heads,
    /// Entries of the authors' maps.
    Entries,
    /// What this machine's optimizer keeps for itself; never sent.
    Ledger,
}

/// One write to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// The value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// What the hive part wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HiveEffect {
    /// Write these together, durably; then answer with the number.
    Save {
        /// To be answered.
        id: SaveId,
        /// All or none of them.
        records: Vec<Record>,
    },
    /// Put a frame on the ordered stream to a connected member.
    Send {
        /// To whom.
        peer: NodeId,
        /// On which stream.
        lane: Lane,
        /// Its bytes, length not included.
        frame: Vec<u8>,
    },
    /// Try to connect to a member at these addresses.
    Dial {
        /// The key that must answer.
        peer: NodeId,
        /// Where it may be.
        addresses: Vec<SocketAddr>,
    },
    /// Connect to a member once under the key that this machine had before, if it still has it, bring these frames and
    /// close: the member does not know the new key yet. What it says first is reported by `Input::ToldOldKey`, and nothing
    /// else of it.
    HandOver {
        /// The key that must answer.
        peer: NodeId,
        /// Where it is.
        address: SocketAddr,
        /// The word with which the new key took over.
        frames: Vec<Vec<u8>>,
    },
    /// Close the connection to this node at once.
    Close {
        /// Whose.
        peer: NodeId,
    },
    /// From now on, exactly these nodes may connect.
    Members(Vec<NodeId>),
    /// Ask the network once who is there (one-shot mDNS query).
    Seek,
    /// From now on, say this of this machine by mDNS.
    Beacon(Beacon),
    /// Accept (or no longer accept) pairing conversations from strangers.
    PairOpen(bool),
    /// Start a pairing conversation.
    PairDial {
        /// Where.
        address: SocketAddr,
        /// The key that must answer, if it is known.
        expect: Option<NodeId>,
    },
    /// Send a frame in a pairing conversation.
    PairSend {
        /// Which conversation.
        link: LinkId,
        /// The frame's bytes.
        frame: Vec<u8>,
    },
    /// End a pairing conversation.
    PairClose {
        /// Which one.
        link: LinkId,
    },
    /// Something worth telling the owner happened.
    Tell(Happening),
}
