//! Whose store it is. A key and a store that do not belong together are told apart before a word is said: the key's
//! machine would found a hive of its own, or ask for ever for words that it never said.

use crate::hive::Hive;
use crate::hive::meta;
use crate::hive::outside::Record;
use crate::hive::writer::AfterSave;
use crate::id::NodeId;
use crate::reply::NeedView;

/// Whose store this is, as it says itself; none = it does not say, or what it says is damaged.
#[must_use]
pub fn noted(records: &[Record]) -> Option<NodeId> {
    meta::noted_owner(records)
}

/// The note itself, which every start and every new key writes.
#[must_use]
pub fn note(node: NodeId) -> Record {
    meta::owner(node)
}

/// What a new store is given where only the key was left of an older one.
#[must_use]
pub fn bare() -> Record {
    meta::bare(true)
}

impl Hive {
    /// Whoever belongs to a hive with others, or left for another one, has its place again.
    pub(super) fn forget_bareness(&mut self) {
        if self.bare {
            self.bare = false;
            self.save(alloc::vec![meta::bare(false)], AfterSave::Nothing);
        }
    }

    /// What a person can do about it.
    pub(super) fn need_of_the_bare(&self) -> Option<NeedView> {
        self.bare.then(|| NeedView {
            code: "node.bare".into(),
            words: "the store of this machine was lost and its key was kept: it stands alone in a new hive, and its old one may \
                    wait for it. To come back, run the first command on a machine of the old one and the second here. If no other \
                    machine is left, the third begins anew. Before a backup of the store is put back: hive down"
                .into(),
            fix: alloc::vec![
                "hive invite".into(),
                "hive join CODE".into(),
                "hive leave".into()
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_says_whose_it_is_and_a_damaged_note_says_nothing() {
        let node = NodeId([7; 32]);
        let note = meta::owner(node);
        assert_eq!(noted(core::slice::from_ref(&note)), Some(node));
        assert_eq!(noted(&[]), None);
        assert_eq!(noted(&[bare()]), None);
        let value = note.value.clone().expect("a value");
        for bit in 0..value.len() * 8 {
            let mut worn = value.clone();
            worn[bit / 8] ^= 1 << (bit % 8);
            let worn = Record {
                value: Some(worn),
                ..note.clone()
            };
            assert_eq!(noted(&[worn]), None, "bit {bit}");
        }
    }
}
