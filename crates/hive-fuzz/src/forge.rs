//! What a member with its own key can sign: any entries under any head, right or wrong, and the keys of
//! everybody in these targets.
//!
//! The root is computed here a second time, from its description and not from the core's code, so that the
//! two must agree before a forged map is accepted anywhere.

use hive_core::id::{HiveId, NodeId};
use hive_core::limits;
use hive_core::pattern::{
    Action, Binding, Context, Cores, Evidence, PatternDef, Verdict, WorkloadType,
};
use hive_core::signed::KeyPair;
use hive_core::statement::{
    Admit, HeadRef, Key, Label, Mark, Profile, Revoke, Role, Statement, StrategyCell,
};
use hive_core::time::Hlc;
use hive_core::wire::{Delta, Entry, Head};

use crate::script::Script;

/// Who is on the stage. The number is the byte that the key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The machine that all inputs go to: founder and admin.
    Victim = 1,
    /// A member that is honest.
    Honest = 2,
    /// A member that signs and sends whatever the script says.
    Evil = 3,
    /// No member at all.
    Stranger = 4,
    /// A machine that wants to join.
    Joiner = 5,
}

impl Who {
    pub(crate) fn secret(self) -> [u8; 32] {
        [self as u8; 32]
    }

    pub(crate) fn key(self) -> KeyPair {
        KeyPair::from_secret(&self.secret())
    }

    pub(crate) fn node(self) -> NodeId {
        self.key().node()
    }
}

/// One state of an author's map, entries in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) incarnation: u32,
    pub(crate) seq: u64,
    pub(crate) id: [u8; 32],
    pub(crate) floor: u64,
    pub(crate) hlc: u64,
    pub(crate) entries: Vec<Entry>,
}

/// The statements that scripts choose from: one of every kind, about everybody.
pub(crate) fn statements() -> Vec<Statement> {
    let def = pattern();
    let mut all = vec![
        Statement::Pattern(def),
        Statement::Evidence(def.id(), evidence()),
        Statement::Mark(def.id(), Mark::Paused),
        Statement::Strategy(def.id(), StrategyCell { trials: 9, wins: 4 }),
        Statement::Strategy(
            def.id(),
            StrategyCell {
                trials: u64::MAX,
                wins: u64::MAX,
            },
        ),
        Statement::Profile(Profile {
            label: Label::new("evil twin").expect("a label"),
        }),
    ];
    for who in [Who::Victim, Who::Honest, Who::Evil, Who::Stranger] {
        let node = who.node();
        all.push(Statement::Admit(Admit {
            node,
            role: Role::Admin,
            owner: node,
        }));
        all.push(Statement::Revoke(Revoke { node, keep: None }));
        all.push(Statement::Revoke(Revoke {
            node,
            keep: Some(HeadRef {
                incarnation: 1,
                seq: 1,
                id: hive_core::id::HeadId([1; 32]),
            }),
        }));
    }
    all
}

/// A pattern like those that members share.
pub(crate) fn pattern() -> PatternDef {
    PatternDef {
        action: Action::BackgroundNice,
        workload: hive_core::id::WorkloadKey([3; 16]),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        },
    }
}

/// What somebody measured of it.
pub(crate) fn evidence() -> Evidence {
    let mut evidence = Evidence {
        verdict: Verdict::Helps,
        ..Evidence::default()
    };
    for value in [-0.4, -0.5, -0.6, -0.5, -0.4, -0.6] {
        evidence.trial.add(value);
    }
    evidence
}

/// A delta that the script makes up, on top of what the receiver holds of that author or from nothing, signed
/// over the state that should follow from it unless the script says otherwise.
pub(crate) fn delta(script: &mut Script<'_>, key: &KeyPair, hive: HiveId, held: &Held) -> Delta {
    let flags = script.byte();
    let based = flags & 1 != 0;
    let seq = match flags >> 1 & 3 {
        0 => held.seq.saturating_add(1),
        1 => held.seq,
        _ => script.number(),
    };
    let incarnation = if flags & 8 == 0 {
        held.incarnation
    } else {
        u32::try_from(script.number()).unwrap_or(u32::MAX)
    };
    let hlc = if flags & 16 == 0 {
        held.hlc.saturating_add(1)
    } else {
        script.number()
    };
    let floor = if flags & 32 == 0 {
        held.floor
    } else {
        script.number()
    };
    let mut entries: Vec<Entry> = (0..script.byte() % 8)
        .map(|_| entry(script, seq, hlc))
        .collect();
    if flags & 64 == 0 {
        entries.sort_by_key(|entry| entry.key);
        entries.dedup_by_key(|entry| entry.key);
    }
    let next = after(if based { &held.entries } else { &[] }, &entries, floor);
    let mut head = Head {
        author: key.node(),
        incarnation,
        seq,
        hlc: Hlc(hlc),
        floor,
        prev: held.id,
        root: root(&next),
        sig: [0; 64],
    };
    head.sig = key.sign(&head.signed_bytes(hive));
    if flags & 128 != 0 {
        head.sig[script.below(64)] ^= 1 << (script.byte() % 8);
    }
    Delta {
        author: head.author,
        incarnation,
        base: based.then_some((held.incarnation, held.seq)),
        seq,
        hlc: head.hlc,
        floor,
        prev: Some(head.prev),
        sig: head.sig,
        entries,
    }
}

fn entry(script: &mut Script<'_>, seq: u64, hlc: u64) -> Entry {
    let choice = script.byte();
    let all = statements();
    let (key, value) = match choice % 4 {
        // A statement as it should be.
        0 | 1 => {
            let statement = &all[script.below(all.len())];
            (statement.key(), statement.encode())
        }
        // One that stands under a key, or has a value, that the script makes up.
        2 => {
            let statement = &all[script.below(all.len())];
            let mut key = statement.key();
            key.kind = key.kind.wrapping_add(script.byte() % 3);
            (key, script.changed(&statement.encode()))
        }
        _ => {
            let key = Key {
                kind: script.byte(),
                id: [script.byte(); 16],
            };
            let value = match script.byte() {
                255 => vec![7; limits::VALUE_BYTES_MAX + 1],
                254 => vec![7; limits::VALUE_BYTES_MAX],
                _ => script.run().to_vec(),
            };
            (key, value)
        }
    };
    Entry {
        key,
        seq: if choice & 16 == 0 {
            seq
        } else {
            script.number()
        },
        hlc: Hlc(if choice & 32 == 0 {
            hlc
        } else {
            script.number()
        }),
        value: (choice & 64 == 0).then_some(value),
    }
}

/// What a map holds after a delta.
fn after(before: &[Entry], changes: &[Entry], floor: u64) -> Vec<Entry> {
    let mut entries: std::collections::BTreeMap<Key, Entry> = before
        .iter()
        .chain(changes)
        .map(|entry| (entry.key, entry.clone()))
        .collect();
    entries.retain(|_, entry| entry.value.is_some() || entry.seq > floor);
    entries.into_values().collect()
}

/// The root over entries in the order of their keys: leaves in 256 buckets by the first byte of their id.
pub(crate) fn root(entries: &[Entry]) -> [u8; 32] {
    let mut all = blake3::Hasher::new_derive_key("hive-mind/v1/root");
    for first in 0..=255_u8 {
        let mut leaves = Vec::new();
        for entry in entries.iter().filter(|entry| entry.key.id[0] == first) {
            let mut leaf = Vec::from([entry.key.kind]);
            leaf.extend_from_slice(&entry.key.id);
            leaf.extend_from_slice(&entry.seq.to_le_bytes());
            leaf.extend_from_slice(&entry.hlc.0.to_le_bytes());
            leaf.push(u8::from(entry.value.is_some()));
            leaf.extend_from_slice(entry.value.as_deref().unwrap_or_default());
            leaves.extend_from_slice(&blake3::derive_key("hive-mind/v1/leaf", &leaf));
        }
        let empty = leaves.is_empty();
        let bucket = || blake3::derive_key("hive-mind/v1/bucket", &leaves);
        all.update(&if empty { [0; 32] } else { bucket() });
    }
    *all.finalize().as_bytes()
}
