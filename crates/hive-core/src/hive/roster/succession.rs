//! Keys that took over from other keys: who stands in whose place, and what happens when two claim it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::hive::store::{AuthorMap, Store};
use crate::id::NodeId;
use crate::limits;
use crate::statement::{HeadRef, Key, Rotate, Statement};

/// Who claims to have taken over from a key, by that key: each stored map can claim one place, for its own author.
/// Both keys signed each, so it does not matter who is seated; that is checked only when the old key turns out to
/// belong.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<NodeId, Vec<Rotate>>);

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heir {
    /// It stands for itself.
    None,
    /// Another key has taken its place.
    One(Rotate),
    /// Several claim it, and nobody more senior has said which is right: nobody has it. The state up to which
    /// the old key counts, and the claimants.
    Several(HeadRef, Vec<NodeId>),
}

impl Claims {
    pub(super) fn of(store: &Store, said: Option<&AuthorMap>) -> Self {
        let mut claims = Self::default();
        let stored = store.maps().map(|(_, map)| map);
        let replaced =
            |map: &&AuthorMap| said.is_none_or(|it| it.head().author != map.head().author);
        for map in stored.filter(replaced).chain(said) {
            let author = map.head().author;
            let own = map.statements_of(Key::ROTATE).find_map(|(_, it)| match it {
                Statement::Rotate(rotate) if rotate.new == author => Some(rotate),
                _ => None,
            });
            if let Some(rotate) = own {
                claims.0.entry(rotate.old).or_default().push(rotate);
            }
        }
        for claims in claims.0.values_mut() {
            // The order decides which are looked at when there are too many.
            claims.sort_by_key(|it| (it.keep, it.new));
        }
        claims
    }

    /// Who takes the place of `old`. `decided` is what the most senior admin before it has said of this.
    pub(super) fn heir(&self, store: &Store, old: NodeId, decided: Option<&Rotate>) -> Heir {
        let genuine = |it: &&Rotate| it.old == old && it.is_genuine(store.hive());
        if let Some(one) = decided.filter(genuine) {
            return Heir::One(*one);
        }
        let claims = self.0.get(&old).into_iter().flatten();
        let found: Vec<Rotate> = claims
            .filter(genuine)
            .take(limits::CLAIMS_MAX)
            .copied()
            .collect();
        match found.as_slice() {
            [] => Heir::None,
            [one] => Heir::One(*one),
            [first, ..] => {
                let nodes = found.iter().map(|it| it.new).collect();
                Heir::Several(first.keep, nodes)
            }
        }
    }
}
