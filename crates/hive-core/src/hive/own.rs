//! This machine's own map in the hands of others: after a lost disk nothing of its own is said before a
//! member has told what it said before. A new map of a machine that forgot its old one would replace the
//! old one everywhere, and with it every admission that stands in it.

use alloc::collections::BTreeSet;

use crate::hive::meta::Name;
use crate::hive::roster::label_in;
use crate::hive::writer::AfterSave;
use crate::hive::{Hive, meta};
use crate::id::NodeId;
use crate::reply::NeedView;
use crate::statement::{Profile, Statement};
use crate::time::{Now, Span};

/// How long others may tell of a still newer own map after the first one did. A guess: those that are awake on one
/// network connect within a second or two; each more of waiting only delays the first word after a loss.
const GATHER: Span = Span::from_secs(10);

/// What the disk told of this machine's earlier runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// This hive was founded in this run.
    pub(super) is_new: bool,
    /// Others belonged to this hive at any time.
    pub(super) had_company: bool,
    /// It is known how often this machine ran.
    pub(super) counted_starts: bool,
}

impl Hive {
    /// Whether this machine must have said something before that it does not hold any more: it is not new in its
    /// hive and has no map, and either has met others or does not know how often it ran.
    pub(super) fn has_forgotten(&self) -> bool {
        let knew_others =
            self.past.had_company || self.sponsor.is_some() || !self.past.counted_starts;
        !self.past.is_new && self.store.map(self.me).is_none() && knew_others
    }

    /// Remembers that others belong, so that a lost map is not taken for that of a machine that was always alone.
    pub(super) fn note_company(&mut self) {
        if !self.past.had_company && self.roster.order().len() > 1 {
            self.past.had_company = true;
            self.save(alloc::vec![meta::company(true)], AfterSave::Nothing);
            self.forget_bareness();
        }
    }

    /// Those who may know what this machine forgot: whoever it noted an address of, and whoever's map it holds.
    /// They learn nothing from it but which maps it holds, and are believed only what is signed.
    pub(super) fn remembered(&self) -> BTreeSet<NodeId> {
        if !self.writer.is_lost() || self.sponsor.is_some() {
            return BTreeSet::new();
        }
        let mut nodes: BTreeSet<NodeId> = self.links.located().into_iter().collect();
        nodes.extend(self.store.maps().map(|(author, _)| *author));
        nodes.retain(|node| !self.roster.is_gone(*node));
        nodes
    }

    /// A member told that it holds no newer map of this machine.
    pub(super) fn hears_nothing_newer(&mut self, now: Now) {
        // Nobody can belong without the founder's map: whoever lacks it has lost it too.
        let nobody_knows = self.genesis.founder == self.me && self.store.map(self.me).is_none();
        if self.writer.is_lost() && nobody_knows {
            return;
        }
        self.found_itself(now);
    }

    /// What this machine was called, in the words of its own map that came back. A name that a person gave since then
    /// stands; the first one of a new store does not.
    pub(super) fn take_back_name(&mut self) {
        let own = self.store.map(self.me);
        let Some(label) = own.and_then(label_in).filter(|_| self.name == Name::Plain) else {
            return;
        };
        if label != self.label {
            self.save(alloc::vec![meta::label(&label)], AfterSave::Nothing);
            self.label = label.clone();
        }
        // In the place of the name that waited to be said.
        self.writer.push(Statement::Profile(Profile { label }));
    }

    /// The name that a person gave is in the own map, where others have it.
    pub(super) fn note_name_told(&mut self) {
        let told = || self.store.map(self.me).and_then(label_in);
        let is_heard = !self.links.connected().is_empty();
        if self.name == Name::Given && is_heard && told().as_ref() == Some(&self.label) {
            self.name = Name::Plain;
            self.save(alloc::vec![meta::name(self.name)], AfterSave::Nothing);
        }
    }

    /// From now on own words build on the best own map that was heard of.
    pub(super) fn found_itself(&mut self, now: Now) {
        let was_lost = self.writer.is_lost();
        let came_back = was_lost && self.store.map(self.me).is_some();
        self.writer.found(came_back.then(|| now.boot.after(GATHER)));
        if was_lost {
            self.refresh(now);
        }
        self.flush(now);
    }

    /// What a person can do about it.
    pub(super) fn need_of_the_lost(&self) -> Option<NeedView> {
        self.writer.is_lost().then(|| NeedView {
            code: "node.lost".into(),
            words: "this machine lost what it said in its hive, and says nothing before a member gives it back. Members that \
                    know its address do so by themselves; else run the first command on a member and the second here. If no \
                    other machine is left, the third begins anew"
                .into(),
            fix: alloc::vec![
                "hive invite".into(),
                "hive join CODE".into(),
                "hive leave".into()
            ],
        })
    }
}
