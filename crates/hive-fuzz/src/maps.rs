//! Entries, heads and the join: what is refused changes nothing, what is taken keeps every law of the maps,
//! and nobody's map moves without its author's signature.

use hive_core::hive::roster::Roster;
use hive_core::hive::store::{AuthorMap, Joined, Store, disk};
use hive_core::id::{HeadId, HiveId};
use hive_core::limits;
use hive_core::statement::HeadRef;
use hive_core::time::Hlc;
use hive_core::wire::{Delta, Frame, Genesis, Head};

use crate::forge::{self, Held, Who};
use crate::script::Script;
use crate::{Outcome, Target};

/// Entries, heads and deltas.
pub const TARGET: Target = Target {
    name: "maps",
    life: || {
        let mut life = Life::new();
        Box::new(move |data| life.script(data))
    },
    seeds,
};

/// Steps of one script. A guess that keeps one input quick.
const STEPS_MAX: usize = 4;

struct Life {
    hive: HiveId,
    genesis: Genesis,
    store: Store,
    /// Every state that the honest author ever signed.
    genuine: Vec<AuthorMap>,
}

impl Life {
    fn new() -> Self {
        let genesis = Genesis {
            format: 1,
            founder: Who::Evil.node(),
            recovery: Some(Who::Stranger.node()),
            nonce: [5; 16],
        };
        let hive = genesis.hive();
        let genuine = honest(hive);
        let mut store = Store::new(hive);
        store.insert(genuine[1].clone());
        Self {
            hive,
            genesis,
            store,
            genuine,
        }
    }

    fn script(&mut self, data: &[u8]) -> Outcome {
        let mut script = Script::new(data);
        // An evil map at the end of its numbers can only be forked any more: it starts anew.
        let evil = held(&self.store, Who::Evil);
        if evil.seq > 1 << 40 || evil.incarnation > 1 << 20 || evil.hlc > 1 << 60 {
            self.store.forget(Who::Evil.node());
        }
        let mut outcome = Outcome::Refused;
        for _ in 0..STEPS_MAX {
            if script.is_over() {
                break;
            }
            let newer = match script.byte() % 8 {
                step @ 0..=3 => {
                    let held = held(&self.store, Who::Evil);
                    let delta = forge::delta(&mut script, &Who::Evil.key(), self.hive, &held);
                    let keep = (step == 3).then(|| HeadRef {
                        incarnation: held.incarnation,
                        seq: held.seq.saturating_add(u64::from(script.byte() % 3)),
                        id: HeadId(held.id),
                    });
                    self.join(&delta, keep)
                }
                4 => {
                    let pick = script.below(self.genuine.len());
                    let from = script.byte() & 1 != 0;
                    let base = from.then_some((1, script.number()));
                    let delta = self.genuine[pick].delta(base);
                    self.join(&delta, None)
                }
                5 | 6 => {
                    let pick = script.below(self.genuine.len());
                    let whole = Frame::Delta(self.genuine[pick].delta(None)).encode();
                    match Frame::decode(&script.changed(&whole)) {
                        Ok(Frame::Delta(delta)) => self.join(&delta, None),
                        _ => false,
                    }
                }
                _ => self.prove(&mut script),
            };
            if newer {
                outcome = Outcome::Taken;
            }
        }
        self.check_roster();
        outcome
    }

    /// Joins and checks what came of it; whether the map is newer.
    fn join(&mut self, delta: &Delta, keep: Option<HeadRef>) -> bool {
        let before = self.store.clone();
        let result = self.store.join(delta, keep);
        match result {
            Err(_) => assert_eq!(self.store, before, "a refused delta changed something"),
            Ok(Joined::Nothing) => {
                assert!(same_maps(&self.store, &before), "nothing, but it changed");
            }
            Ok(Joined::Newer | Joined::Forked) => self.check_taken(&before, delta),
        }
        let honest = self.store.map(Who::Honest.node()).expect("never lost");
        assert!(
            self.genuine.contains(honest),
            "a map without its author's signature"
        );
        let old = before.map(Who::Honest.node()).expect("never lost");
        assert!(rank(honest) >= rank(old), "an older state came back");
        let newer = matches!(result, Ok(Joined::Newer));
        if let Some(keep) = keep.filter(|_| newer) {
            let version = (delta.incarnation, delta.seq);
            assert!(version <= (keep.incarnation, keep.seq), "a sealed map grew");
        }
        newer
    }

    fn check_taken(&self, before: &Store, delta: &Delta) {
        let map = self.store.map(delta.author).expect("taken");
        let head = *map.head();
        let entries: Vec<_> = map.entries().cloned().collect();
        assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        assert!(entries.len() <= limits::MAP_ENTRIES_MAX);
        let mut bytes = 0;
        for entry in &entries {
            assert!(entry.seq <= head.seq && entry.hlc <= head.hlc && head.floor <= head.seq);
            assert!(entry.value.is_some() || entry.seq > head.floor);
            bytes += entry.value.as_ref().map_or(0, Vec::len);
        }
        assert!(bytes <= limits::MAP_BYTES_MAX);
        assert_eq!(forge::root(&entries), head.root, "the root is another one");
        // The rest takes four signature checks: one state in eight is enough of them.
        if !map.id().0[0].is_multiple_of(8) {
            return;
        }
        // Whole, in records, and again: the same state.
        let mut other = Store::new(self.hive);
        assert_eq!(other.join(&map.delta(None), None), Ok(Joined::Newer));
        assert_eq!(other.map(delta.author), Some(map));
        assert_eq!(other.join(&map.delta(None), None), Ok(Joined::Nothing));
        let (restored, damaged) = disk::restore(self.hive, &disk::records(None, Some(map)));
        assert_eq!(
            (restored.map(delta.author), damaged),
            (Some(map), Vec::new())
        );
        // In the other order: the same maps.
        if let Some(old) = before.map(delta.author) {
            assert!(rank(map) >= rank(old));
            let joined = other.join(&old.delta(None), None);
            assert!(joined.is_ok() && other.map(delta.author) == Some(map));
        }
    }

    /// Two heads as a proof that somebody contradicted itself. Only what the evil one signed may be one.
    fn prove(&mut self, script: &mut Script<'_>) -> bool {
        let heads: Vec<Head> = self.store.maps().map(|(_, map)| *map.head()).collect();
        let mut pick = || {
            let head = heads[script.below(heads.len())];
            let bytes = Frame::Proof(head, head).encode();
            match Frame::decode(&script.changed(&bytes)) {
                Ok(Frame::Proof(one, two)) => [one, two],
                _ => [head, head],
            }
        };
        let ([one, _], [_, two]) = (pick(), pick());
        let before = self.store.clone();
        let taken = self.store.join_proof(&one, &two);
        if !taken {
            assert_eq!(self.store, before, "a refused proof changed something");
        }
        assert!(self.store.fork(Who::Honest.node()).is_none());
        taken
    }

    /// Membership over whatever the evil founder said: the same twice, and never more than may be.
    fn check_roster(&self) {
        let roster = Roster::of(&self.genesis, &self.store);
        assert_eq!(roster, Roster::of(&self.genesis, &self.store));
        assert!(roster.order().len() <= limits::MEMBERS_MAX);
        for node in roster.order() {
            assert!(roster.has(*node) && roster.removed(*node).is_none());
        }
    }
}

/// What is held of an author, as the forge wants it.
pub(crate) fn held(store: &Store, who: Who) -> Held {
    store
        .map(who.node())
        .map_or_else(Held::default, |map| Held {
            incarnation: map.head().incarnation,
            seq: map.head().seq,
            id: map.id().0,
            floor: map.head().floor,
            hlc: map.head().hlc.0,
            entries: map.entries().cloned().collect(),
        })
}

/// A short honest life: a label, a pattern, evidence, a restart, a removal.
pub(crate) fn honest(hive: HiveId) -> Vec<AuthorMap> {
    let key = Who::Honest.key();
    let mut store = Store::new(hive);
    let mut states = Vec::new();
    for (step, statement) in forge::statements().iter().take(6).enumerate() {
        let value = (step != 2).then(|| statement.encode());
        let incarnation = 1 + u32::from(step >= 3);
        let hlc = Hlc(1_700_000_000_000 << 16 | step as u64);
        let map = store
            .draft(&key, incarnation, hlc, vec![(statement.key(), value)])
            .expect("small");
        store.insert(map.clone());
        states.push(map);
    }
    states
}

fn rank(map: &AuthorMap) -> (u32, u64, HeadId) {
    (map.head().incarnation, map.head().seq, map.id())
}

fn same_maps(one: &Store, two: &Store) -> bool {
    one.maps().eq(two.maps())
}

fn seeds() -> Vec<Vec<u8>> {
    vec![
        // Three states, each on top of the one before, then the honest author's, then a removal.
        vec![
            0, 0, 2, 0, 0, 0, 5, 1, 1, 1, 0, 1, 2, 1, 1, 2, 0, 4, 4, 3, 0, 1, 1, 1, 64, 0,
        ],
        // A second state under one number, and the proof of it.
        vec![0, 0, 1, 0, 0, 0, 2, 1, 0, 1, 0, 2, 1, 0, 2, 7, 0, 0, 0, 0],
        // The evil founder admits and removes everybody.
        vec![
            0, 0, 4, 0, 6, 0, 8, 0, 9, 0, 12, 0, 1, 3, 0, 7, 0, 10, 0, 13,
        ],
        // Values of the greatest length, and one byte more.
        vec![0, 0, 1, 3, 200, 1, 254, 0, 1, 1, 3, 200, 2, 255],
        // Entries from a later batch, floors above, the same key twice.
        vec![0, 32, 9, 1, 16, 0, 7, 0, 64, 2, 0, 0, 0, 0],
        // Honest states, whole and changed.
        vec![4, 1, 0, 4, 2, 1, 2, 5, 3, 1, 40, 3, 1, 6, 4, 2, 0, 90, 5, 9],
    ]
}
