//! The closed vocabulary: every way the world touches a node, and every way a node touches the world.
//!
//! After each [`Input`] the shell drains [`crate::node::Node::poll`] to `None` before the next.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::event_log::{Happening, Misdeed};
use crate::hive::outside::{HiveEffect, Sighting};
use crate::hive::ticket::Invitation;
use crate::id::{ChangeId, CommandId, LinkId, NodeId, SaveId};
use crate::machine::act::{Receipt, Step};
use crate::machine::facts::{Sample, SampleRequest};
use crate::pattern::{Action, Evidence, PatternDef};
use crate::reply::{Mode, NewKey, RecoveryWords, Reply};
use crate::statement::Role;
use crate::time::{Instant, Span};

/// Something that happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The clock reached the moment we asked for (or later).
    TimeoutReached,
    /// The host answers [`Output::Sample`].
    Sampled(Sample),
    /// The host answers [`Output::Act`] or [`Output::Undo`].
    Acted(Receipt),
    /// The disk answers [`HiveEffect::Save`]: durable from now on.
    Saved(SaveId),
    /// A member whose key the transport has proven is connected.
    PeerUp {
        /// Who.
        peer: NodeId,
        /// Where it is.
        address: SocketAddr,
    },
    /// That connection is gone.
    PeerDown {
        /// Who.
        peer: NodeId,
    },
    /// A whole frame arrived from a connected member.
    Received {
        /// From whom.
        peer: NodeId,
        /// Its bytes, at most [`crate::limits::FRAME_BYTES_MAX`].
        frame: Vec<u8>,
    },
    /// The transport refused something of this peer's before it became a frame.
    TransportRefused {
        /// Whose.
        peer: NodeId,
        /// What was wrong.
        misdeed: Misdeed,
    },
    /// None of the addresses of [`HiveEffect::Dial`] answered with the right key.
    DialFailed {
        /// Who was wanted.
        peer: NodeId,
    },
    /// The right key answered and does not let this machine's key in.
    DialRefused {
        /// Who was wanted.
        peer: NodeId,
        /// Where it is.
        address: SocketAddr,
    },
    /// Somebody dialled this machine and wanted another key here. Not proven by anybody: a hint only.
    Misdialled {
        /// From where.
        address: SocketAddr,
    },
    /// A member ended a connection because another run with this machine's key has connected. The member's word only.
    Ousted {
        /// Who said so.
        peer: NodeId,
    },
    /// What a member said first to the key that this machine had before, while [`HiveEffect::HandOver`] was done.
    ToldOldKey {
        /// Who said it.
        peer: NodeId,
        /// Its frame, at most [`crate::limits::FRAME_BYTES_MAX`].
        frame: Vec<u8>,
    },
    /// Somebody was heard by mDNS.
    Found(Sighting),
    /// An interface came, went or changed its address, or the machine woke.
    NetworkChanged,
    /// A pairing conversation began.
    PairUp {
        /// Names the conversation.
        link: LinkId,
        /// The other side's key, proven by the transport.
        key: NodeId,
        /// 32 bytes that only the two ends of this TLS connection know (RFC 5705).
        exporter: [u8; 32],
        /// Where the other side is.
        address: SocketAddr,
        /// Whether this side dialled.
        dialled: bool,
    },
    /// A frame in a pairing conversation.
    PairReceived {
        /// Which conversation.
        link: LinkId,
        /// Its bytes, at most [`crate::limits::PAIR_FRAME_BYTES_MAX`].
        frame: Vec<u8>,
    },
    /// A pairing conversation ended.
    PairDown {
        /// Which one.
        link: LinkId,
    },
    /// [`HiveEffect::PairDial`] reached nobody.
    PairDialFailed {
        /// Where.
        address: SocketAddr,
    },
    /// A person or a program wants something.
    Command {
        /// Comes back with the reply.
        id: CommandId,
        /// What.
        command: Command,
    },
}

/// Something the node wants done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Wake me at this moment, or sooner. The latest one counts.
    WakeAt(Instant),
    /// Look at the machine.
    Sample(SampleRequest),
    /// Change something on the machine; answered by [`Input::Acted`].
    Act(Step),
    /// Put a change back; answered by [`Input::Acted`].
    Undo(ChangeId),
    /// The network or the disk.
    Hive(HiveEffect),
    /// The answer to a command.
    Reply {
        /// Which command.
        id: CommandId,
        /// The answer.
        reply: Reply,
    },
    /// Something worth telling the owner happened.
    Tell(Happening),
}

/// What a person or a program can want. The local API's routes map to these one to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// One screen.
    Status,
    /// Who belongs.
    Members,
    /// Who waits for a person.
    Pending,
    /// What was learned, here and elsewhere.
    Patterns,
    /// The reason, the numbers and the undo of one pattern.
    Why {
        /// `p-1` or the id's first digits.
        pattern: String,
    },
    /// Open the door for one machine: makes a code.
    Invite(Invitation),
    /// Enter the hive that a code or a ticket belongs to.
    Join {
        /// The code or the ticket.
        code: String,
        /// Where the inviter is, when neither mDNS nor a ticket can tell.
        at: Option<SocketAddr>,
    },
    /// How far a join has come.
    JoinState,
    /// Let a waiting machine in.
    Approve {
        /// Its label or the first digits of its id.
        who: String,
        /// As what.
        role: Role,
        /// Whose machine it is: a member's name = the same owner as that one, `new` = an owner of its own; none =
        /// the owner of the machine that lets it in.
        #[serde(default)]
        owner: Option<String>,
    },
    /// End every code that is still open.
    CloseInvites,
    /// Turn a waiting machine away.
    Deny {
        /// Its label or the first digits of its id.
        who: String,
    },
    /// Remove a member.
    Remove {
        /// Its label or the first digits of its id.
        who: String,
        /// Whether nothing of what it ever said shall count.
        compromised: bool,
    },
    /// Change what a more junior member may do.
    SetRole {
        /// Its label or the first digits of its id.
        who: String,
        /// As what, from now on.
        role: Role,
    },
    /// Take a proven forker's data back into the views.
    Forgive {
        /// Its label or the first digits of its id.
        who: String,
    },
    /// Give this machine's place to a new key, which the next start uses.
    Rotate {
        /// The new key.
        key: NewKey,
    },
    /// Tell the others that this machine leaves.
    Leave,
    /// Found this machine's hive anew with a recovery key, while it is alone.
    RecoveryKey,
    /// Act with the recovery key: make this machine an admin, and remove a member however senior.
    Recover {
        /// The 24 words.
        words: RecoveryWords,
        /// Its label or the first digits of its id; none = nobody.
        remove: Option<String>,
        /// Whether nothing of what it ever said shall count.
        compromised: bool,
    },
    /// Call this machine something else.
    Label {
        /// The new label.
        label: String,
    },
    /// Put the old values back and do not use the pattern for a day.
    Undo {
        /// `p-1` or the id's first digits; none = everything.
        pattern: Option<String>,
    },
    /// Set how much the optimizer may do.
    Tune {
        /// The new mode.
        mode: Mode,
    },
    /// Allow an action that is asked about once, or take that back.
    Allow {
        /// Which.
        action: Action,
        /// Whether it may be done.
        allowed: bool,
    },
    /// Restore everything and keep still.
    Pause {
        /// For how long; none = until resumed.
        span: Option<Span>,
    },
    /// End a pause, and the rest after an undo.
    Resume,
    /// End a pause, and leave the rest after an undo as it is.
    Unpause,
    /// Publish a measured result of an embedding program (`share_success` of the public API).
    Share {
        /// What was measured.
        def: PatternDef,
        /// The numbers.
        evidence: Evidence,
    },
    /// What the hive would do for this machine now (`collective_decision` of the public API).
    Decide,
    /// Who has been seen on the network.
    Nearby,
    /// Ask the network again who is there, and connect to the members that answer.
    Seek,
}
