//! Single values on the disk: which hive, which incarnation, who waits, who was where.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::hive::anomaly_log::LogLine;
use crate::hive::budget::share::Kept;
use crate::hive::outside::{Record, Table};
use crate::hive::store::AuthorMap;
use crate::hive::store::pins::Named;
use crate::id::{HiveId, NodeId};
use crate::statement::{Farewell, Label, Rotate};
use crate::time::WallTime;
use crate::wire::{Entry, Genesis, Head};

/// A machine that proved the code and waits for a person, or for its welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) label: Label,
    pub(super) words: [u16; 4],
    pub(super) address: SocketAddr,
    pub(super) since: WallTime,
    pub(super) fate: Fate,
}

/// What a person decided about a machine that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fate {
    /// Nothing yet.
    Open,
    /// Let in; it is waiting for its welcome.
    Approved,
    /// Turned away. Kept until its time is over, so that the machine hears of it when it comes back.
    Denied,
}

/// How much a machine's label counts beside the one that its own map has when it comes back from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Name {
    /// Nothing: it is the first one of a new store, or others know it.
    #[default]
    Plain,
    /// A person gave it, and no other machine has heard it yet.
    Given,
}

/// Where a joiner proved a code and waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proved {
    pub(super) inviter: NodeId,
    pub(super) hive: HiveId,
    pub(super) address: SocketAddr,
    pub(super) words: [u16; 4],
    pub(super) since: WallTime,
}

/// The hive once more, so that one damaged record does not cost it: without its first record no map can be
/// checked, and without its secret no member is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Spare {
    genesis: Genesis,
    secret: [u8; 32],
    sum: [u8; 16],
}

/// Everything of this table.
#[derive(Default)]
pub(super) struct Meta {
    pub(super) genesis: Option<Genesis>,
    pub(super) secret: Option<[u8; 32]>,
    /// One of the records that tell of the hive is damaged: write them anew.
    pub(super) worn: bool,
    pub(super) incarnation: Option<u32>,
    /// What the bucket of bytes held at the last batch.
    pub(super) bucket: Option<Kept>,
    /// Others belonged to this hive at any time.
    pub(super) company: bool,
    /// Nothing but the key was left when this hive was founded.
    pub(super) bare: bool,
    pub(super) label: Option<Label>,
    /// Whether the label gives way to the one in a map that comes back.
    pub(super) name: Name,
    pub(super) sponsor: Option<NodeId>,
    /// By whom and how this machine was told that it was removed.
    pub(super) dismissed: Option<(NodeId, Farewell)>,
    /// To which key this one's place went, as this machine was told.
    pub(super) moved: Option<Rotate>,
    pub(super) joining: Option<Proved>,
    pub(super) pending: BTreeMap<NodeId, Pending>,
    pub(super) addresses: BTreeMap<NodeId, Vec<SocketAddr>>,
    pub(super) forks: Vec<(Head, Head)>,
    pub(super) pins: Vec<(Head, Vec<Entry>)>,
    pub(super) anomaly_log: BTreeMap<u64, LogLine>,
}

impl Meta {
    pub(super) fn read(records: &[Record]) -> Self {
        let mut meta = Self::default();
        let mut spare: Option<Spare> = None;
        for record in records.iter().filter(|record| record.table == Table::Meta) {
            let Some(value) = &record.value else { continue };
            match record.key.as_slice() {
                GENESIS => meta.genesis = decode(value),
                SECRET => meta.secret = decode(value),
                SPARE => spare = decode(value),
                INCARNATION => meta.incarnation = decode(value),
                BUCKET => meta.bucket = decode(value),
                COMPANY => meta.company = decode(value).unwrap_or_default(),
                BARE => meta.bare = decode(value).unwrap_or_default(),
                LABEL => meta.label = decode(value),
                NAME => meta.name = decode(value).unwrap_or_default(),
                SPONSOR => meta.sponsor = decode(value),
                DISMISSED => meta.dismissed = decode(value),
                MOVED => meta.moved = decode(value),
                JOINING => meta.joining = decode(value),
                key => {
                    if let Some(node) = node_after(PENDING, key) {
                        meta.pending.extend(decode(value).map(|it| (node, it)));
                    } else if let Some(node) = node_after(ADDRESS, key) {
                        meta.addresses.extend(decode(value).map(|it| (node, it)));
                    } else if node_after(FORK, key)
                        .or_else(|| node_after(FIRST_FORK, key))
                        .is_some()
                    {
                        meta.forks.extend(decode::<(Head, Head)>(value));
                    } else if key.starts_with(PIN) {
                        meta.pins.extend(decode::<(Head, Vec<Entry>)>(value));
                    } else if let Some(number) = number_after(ANOMALY, key) {
                        let line = decode(value).map(|line| (number, line));
                        meta.anomaly_log.extend(line);
                    }
                }
            }
        }
        let spare = spare.filter(|spare| *spare == Spare::of(spare.genesis, spare.secret));
        let plain = meta.genesis.zip(meta.secret);
        let spare = spare.map(|spare| (spare.genesis, spare.secret));
        let hive = spare.or(plain);
        meta.worn = hive.is_some() && spare != plain;
        (meta.genesis, meta.secret) = hive.unzip();
        meta
    }
}

impl Spare {
    fn of(genesis: Genesis, secret: [u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/spare");
        hasher.update(&genesis.hive().0).update(&secret);
        let mut sum = [0; 16];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self {
            genesis,
            secret,
            sum,
        }
    }
}

pub(super) fn hive(genesis: &Genesis, secret: &[u8; 32]) -> Vec<Record> {
    let spare = Spare::of(*genesis, *secret);
    alloc::vec![
        put(GENESIS, genesis),
        put(SECRET, secret),
        put(SPARE, &spare),
    ]
}

pub(super) fn incarnation(incarnation: u32) -> Record {
    put(INCARNATION, &incarnation)
}

pub(super) fn bucket(kept: Kept) -> Record {
    put(BUCKET, &kept)
}

pub(super) fn company(company: bool) -> Record {
    put(COMPANY, &company)
}

pub(super) fn bare(bare: bool) -> Record {
    put(BARE, &bare)
}

/// Whose store it is, with a sum: a bit that fell over must not look like another machine.
pub(super) fn owner(node: NodeId) -> Record {
    put(OWNER, &(node, sum_of(node)))
}

/// Whose store it says it is.
pub(super) fn noted_owner(records: &[Record]) -> Option<NodeId> {
    let note = |it: &&Record| it.table == Table::Meta && it.key == OWNER;
    let value = records.iter().find(note)?.value.as_deref()?;
    let (node, sum): (NodeId, [u8; 8]) = decode(value)?;
    (sum == sum_of(node)).then_some(node)
}

fn sum_of(node: NodeId) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/owner");
    hasher.update(&node.0);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    sum
}

pub(super) fn label(label: &Label) -> Record {
    put(LABEL, label)
}

pub(super) fn name(name: Name) -> Record {
    put(NAME, &name)
}

pub(super) fn sponsor(sponsor: Option<NodeId>) -> Record {
    maybe(SPONSOR.to_vec(), sponsor.as_ref())
}

pub(super) fn dismissed(word: Option<&(NodeId, Farewell)>) -> Record {
    maybe(DISMISSED.to_vec(), word)
}

pub(super) fn moved(rotate: Option<&Rotate>) -> Record {
    maybe(MOVED.to_vec(), rotate)
}

pub(super) fn joining(proved: Option<&Proved>) -> Record {
    maybe(JOINING.to_vec(), proved)
}

pub(super) fn pending(node: NodeId, pending: Option<&Pending>) -> Record {
    maybe([PENDING, &node.0].concat(), pending)
}

pub(super) fn fork(author: NodeId, proof: Option<&(Head, Head)>) -> Record {
    maybe([FORK, &author.0].concat(), proof)
}

pub(super) fn first_fork(author: NodeId, proof: Option<&(Head, Head)>) -> Record {
    maybe([FIRST_FORK, &author.0].concat(), proof)
}

pub(super) fn pin((author, state): Named, map: Option<&AuthorMap>) -> Record {
    let key = [
        PIN,
        &author.0,
        &state.incarnation.to_be_bytes(),
        &state.seq.to_be_bytes(),
        &state.id.0,
    ];
    let whole = map.map(|map| (*map.head(), map.entries().cloned().collect::<Vec<Entry>>()));
    maybe(key.concat(), whole.as_ref())
}

pub(super) fn anomaly(number: u64, line: Option<&LogLine>) -> Record {
    maybe([ANOMALY, &number.to_be_bytes()].concat(), line)
}

pub(super) fn addresses(node: NodeId, addresses: Option<&Vec<SocketAddr>>) -> Record {
    maybe([ADDRESS, &node.0].concat(), addresses)
}

const GENESIS: &[u8] = b"genesis";
const SECRET: &[u8] = b"secret";
const SPARE: &[u8] = b"spare";
const INCARNATION: &[u8] = b"incarnation";
const BUCKET: &[u8] = b"bucket";
const COMPANY: &[u8] = b"company";
const BARE: &[u8] = b"bare";
const OWNER: &[u8] = b"owner";
const LABEL: &[u8] = b"label";
const NAME: &[u8] = b"name";
const SPONSOR: &[u8] = b"sponsor";
const DISMISSED: &[u8] = b"dismissed";
const MOVED: &[u8] = b"moved";
const JOINING: &[u8] = b"joining";
const PENDING: &[u8] = b"pending/";
const ADDRESS: &[u8] = b"address/";
const FORK: &[u8] = b"fork/";
const FIRST_FORK: &[u8] = b"first-fork/";
const PIN: &[u8] = b"pin/";
const ANOMALY: &[u8] = b"anomaly/";

fn put<T: Serialize>(key: &[u8], value: &T) -> Record {
    maybe(key.to_vec(), Some(value))
}

fn maybe<T: Serialize>(key: Vec<u8>, value: Option<&T>) -> Record {
    Record {
        table: Table::Meta,
        key,
        value: value.and_then(|value| postcard::to_allocvec(value).ok()),
    }
}

fn decode<T: serde::de::DeserializeOwned>(value: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(value) {
        Ok((decoded, [])) => Some(decoded),
        _ => None,
    }
}

fn node_after(prefix: &[u8], key: &[u8]) -> Option<NodeId> {
    Some(NodeId(key.strip_prefix(prefix)?.try_into().ok()?))
}

fn number_after(prefix: &[u8], key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(prefix)?.try_into().ok()?;
    Some(u64::from_be_bytes(number))
}
