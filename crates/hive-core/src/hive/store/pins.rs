//! Pinned states: what an admin's word of removal names is held, beside the author's map, for as long as
//! that word stands. A removed author's data is exactly such a state, and which of several counts can
//! change when a more senior admin speaks.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::hive::store::{AuthorMap, DeltaError, Store};
use crate::id::NodeId;
use crate::limits;
use crate::statement::HeadRef;
use crate::wire::Delta;

/// A state of an author's map.
pub type Named = (NodeId, HeadRef);

/// What holding on to the named states did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Held from now on.
    pub new: Vec<Named>,
    /// Let go: named by nobody any more, and there were too many.
    pub gone: Vec<Named>,
}

impl Store {
    /// A named state, if it is at hand: pinned, or the author's map as it is.
    #[must_use]
    pub fn state(&self, (author, state): Named) -> Option<&AuthorMap> {
        let current = self.map(author).filter(|map| map.head_ref() == state);
        current.or_else(|| self.pins.get(&(author, state)))
    }

    /// Pins what is named and at hand. What nobody names any more is kept while there is room: the map that
    /// named it may only be on its way.
    pub fn pin(&mut self, named: &BTreeSet<Named>) -> Held {
        let fresh = |name: &&Named| !self.pins.contains_key(name) && self.state(**name).is_some();
        let new: Vec<Named> = named.iter().filter(fresh).copied().collect();
        let over = (self.pins.len() + new.len()).saturating_sub(limits::PINS_MAX);
        let unnamed = self.pins.keys().filter(|name| !named.contains(name));
        let gone = unnamed.take(over).copied().collect();
        let held = Held { new, gone };
        for name in &held.new {
            if let Some(map) = self.state(*name).cloned() {
                self.pins.insert(*name, map);
            }
        }
        for name in &held.gone {
            self.pins.remove(name);
        }
        held
    }

    /// Takes in a named state that was missing; which one it is. Nothing but exactly a named state is taken.
    pub fn join_pin(
        &mut self,
        delta: &Delta,
        named: &BTreeSet<Named>,
    ) -> Result<Option<Named>, DeltaError> {
        let version = (delta.incarnation, delta.seq);
        let missing = |(author, state): &&Named| {
            *author == delta.author
                && (state.incarnation, state.seq) == version
                && self.state((*author, *state)).is_none()
        };
        if delta.base.is_some() || !named.iter().any(|name| missing(&name)) {
            return Ok(None);
        }
        let mut map = AuthorMap::build(self.hive, None, delta)?;
        map.vocabulary = self.vocabulary;
        let name = (delta.author, map.head_ref());
        if !named.contains(&name) {
            return Ok(None);
        }
        self.pins.insert(name, map);
        Ok(Some(name))
    }

    /// Takes in a pinned state from this machine's own disk; its root and signature have been checked.
    pub fn insert_pin(&mut self, mut map: AuthorMap) {
        map.vocabulary = self.vocabulary;
        self.pins.insert((map.head.author, map.head_ref()), map);
    }
}

#[cfg(test)]
mod tests;
