//! What admins decide about members besides letting them in: roles, forgiveness; and a member's own leaving.

use alloc::string::String;
use alloc::vec::Vec;

use crate::hive::Hive;
use crate::hive::commands::done;
use crate::hive::roster::Roster;
use crate::id::NodeId;
use crate::reply::{CommandError, DoneView, ErrorKind};
use crate::signed::KeyPair;
use crate::statement::{Admit, Farewell, Forgive, Revoke, Role, SetRole, Statement};
use crate::time::Now;

impl Hive {
    /// Removes a member. Its connection is closed before this returns.
    pub fn remove(
        &mut self,
        now: Now,
        who: &str,
        compromised: bool,
    ) -> Result<DoneView, CommandError> {
        self.check_admin()?;
        self.check_writer(now)?;
        let node = self.find_member(who)?;
        let label = self.label_of(node);
        self.check_is_another(node)?;
        self.check_outranks(node)?;
        let statements = self.removal(&self.key, node, compromised);
        let again = self.lost_by(now, &self.key, self.writer.incarnation(), &statements, node);
        let words = self.with_again(alloc::format!("{label} is removed"), &again);
        self.expelled.insert(node);
        self.admit_only_members(now);
        self.publish(now, [statements, again].concat());
        Ok(done(words))
    }

    /// Changes what a more junior member may do. What it said as an admin is said again by this machine.
    pub fn set_role(&mut self, now: Now, who: &str, role: Role) -> Result<DoneView, CommandError> {
        self.check_admin()?;
        self.check_writer(now)?;
        let node = self.find_member(who)?;
        let label = self.label_of(node);
        self.check_outranks(node)?;
        let may = match role {
            Role::Admin => "may let machines in and remove later ones",
            Role::Member => "shares and learns, and lets nobody in",
        };
        if self.roster.member(node).is_some_and(|it| it.role == role) {
            return Err(CommandError {
                code: "member.role_already".into(),
                kind: ErrorKind::Conflict,
                what: alloc::format!("{label} already {may}"),
                known: "nothing was changed".into(),
                try_next: "hive members".into(),
            });
        }
        let statements = alloc::vec![Statement::SetRole(SetRole { node, role })];
        let again = self.lost_by(now, &self.key, self.writer.incarnation(), &statements, node);
        let words = self.with_again(alloc::format!("{label} {may}"), &again);
        self.publish(now, [statements, again].concat());
        Ok(done(words))
    }

    /// Takes the data of a proven forker back into the views: its owner has put an end to the cause.
    pub fn forgive(&mut self, now: Now, who: &str) -> Result<DoneView, CommandError> {
        self.check_admin()?;
        self.check_writer(now)?;
        let node = self.find_member(who)?;
        let label = self.label_of(node);
        let proof = self.roster.held_against(node, &self.store);
        let Some((one, _)) = proof else {
            return Err(CommandError {
                code: "forgive.nothing".into(),
                kind: ErrorKind::Conflict,
                what: alloc::format!("{label} did not contradict itself, or is forgiven already"),
                known: "its data counts".into(),
                try_next: "hive members".into(),
            });
        };
        if node == self.me {
            return Err(CommandError {
                code: "forgive.self".into(),
                kind: ErrorKind::NotAllowed,
                what: "a machine does not forgive itself".into(),
                known: "any other machine that may let machines in can do it".into(),
                try_next: "hive role NAME admin, then there: hive forgive".into(),
            });
        }
        let through = one.incarnation;
        let forgive = Forgive {
            author: node,
            through,
        };
        self.publish(now, alloc::vec![Statement::Forgive(forgive)]);
        Ok(done(alloc::format!("what {label} measured counts again")))
    }

    /// Says goodbye: the others take this machine off their lists. What it said still counts.
    pub fn leave(&mut self, now: Now) -> Result<DoneView, CommandError> {
        if self.is_out() || self.roster.order().len() <= 1 {
            return Ok(done("nobody needs to be told".into()));
        }
        self.check_writer(now)?;
        let goodbye = Revoke {
            node: self.me,
            keep: None,
        };
        self.publish(now, alloc::vec![Statement::Revoke(goodbye)]);
        Ok(done("the others are told".into()))
    }

    /// Whether this machine does not belong any more: it left, or was removed and knows it.
    pub(super) fn is_out(&self) -> bool {
        self.roster.is_gone(self.me) || self.dismissed.is_some() || self.moved.is_some()
    }

    /// The same in words.
    pub(super) fn out_words(&self) -> Option<&'static str> {
        if self.roster.left(self.me) {
            Some("this machine has left its hive")
        } else if self.heir_of_this_key().is_some() {
            Some("the key of this machine was given up: its place in the hive went to another one")
        } else {
            self.is_out()
                .then_some("this machine was removed from its hive")
        }
    }

    /// What is said to remove a machine, by the holder of a key.
    pub(super) fn removal(&self, key: &KeyPair, node: NodeId, compromised: bool) -> Vec<Statement> {
        let held = self.store.map(node).filter(|_| !compromised);
        let keep = held.map(super::store::AuthorMap::head_ref);
        let mut said = alloc::vec![
            Statement::Revoke(Revoke { node, keep }),
            Statement::Farewell(Farewell::new(key, self.store.hive(), node)),
        ];
        if keep.is_none() {
            // The word with which it took over goes with its map: the keys before it must not stand there again.
            let before = self.roster.keys_of(node);
            said.extend(before.map(|(node, keep)| {
                let keep = Some(keep);
                Statement::Revoke(Revoke { node, keep })
            }));
        }
        said
    }

    /// What must be said again so that nothing but `except` is lost when the holder of `key` says this: the
    /// admissions and removals that rest on what would no longer count.
    pub(super) fn lost_by(
        &self,
        now: Now,
        key: &KeyPair,
        incarnation: u32,
        statements: &[Statement],
        except: NodeId,
    ) -> Vec<Statement> {
        // A map that is full loses nothing either: the statement itself will wait.
        let Some(next) = self.roster_if(now, key, incarnation, statements) else {
            return Vec::new();
        };
        let members = self.roster.order().iter().copied();
        let members = members.filter(|node| *node != except && !next.has(*node));
        let mut again: Vec<Statement> = members
            .filter_map(|node| {
                let member = self.roster.member(node)?;
                let (role, owner) = (member.role, member.owner);
                Some(Statement::Admit(Admit { node, role, owner }))
            })
            .collect();
        for node in self.roster.all_removed() {
            let keep = self.roster.removed(node).flatten();
            if self.roster.was_in(node) && next.removed(node).is_none() {
                again.push(Statement::Revoke(Revoke { node, keep }));
            }
        }
        again
    }

    /// Whether one more machine can be let in here without pushing out another.
    pub(super) fn has_place_for(&self, now: Now, node: NodeId, admit: &[Statement]) -> bool {
        let Some(next) = self.roster_if(now, &self.key, self.writer.incarnation(), admit) else {
            return false;
        };
        next.has(node) && self.roster.order().iter().all(|it| next.has(*it))
    }

    /// Who would belong if the holder of a key said this; none = its map is full.
    pub(super) fn roster_if(
        &self,
        now: Now,
        key: &KeyPair,
        incarnation: u32,
        statements: &[Statement],
    ) -> Option<Roster> {
        let own = self.store.map(key.node());
        let hlc = own.map_or_else(Default::default, |map| map.head().hlc);
        let changes = statements.iter().map(|it| (it.key(), Some(it.encode())));
        let draft = self
            .store
            .draft(key, incarnation, hlc.next(now.wall), changes.collect());
        Some(Roster::if_said(&self.genesis, &self.store, &draft.ok()?))
    }

    /// Tells whom a change would have taken along.
    pub(super) fn with_again(&self, mut words: String, again: &[Statement]) -> String {
        let (mut kept, mut out) = (Vec::new(), Vec::new());
        for statement in again {
            match statement {
                Statement::Admit(admit) => kept.push(self.label_of(admit.node)),
                Statement::Revoke(revoke) => out.push(revoke.node.short()),
                _ => {}
            }
        }
        if !kept.is_empty() {
            words.push_str("; brought in by it and kept: ");
            words.push_str(&kept.join(", "));
        }
        if !out.is_empty() {
            words.push_str("; removed by it and still out: ");
            words.push_str(&out.join(", "));
        }
        words
    }

    fn check_is_another(&self, node: NodeId) -> Result<(), CommandError> {
        if node != self.me {
            return Ok(());
        }
        Err(CommandError {
            code: "member.self".into(),
            kind: ErrorKind::NotAllowed,
            what: alloc::format!("{} is this machine", self.label_of(node)),
            known: "no machine removes itself: it leaves".into(),
            try_next: "hive leave".into(),
        })
    }

    fn check_outranks(&self, node: NodeId) -> Result<(), CommandError> {
        if self.roster.outranks(self.me, node) {
            return Ok(());
        }
        let label = self.label_of(node);
        Err(CommandError {
            code: "member.senior".into(),
            kind: ErrorKind::NotAllowed,
            what: alloc::format!("{label} was here before this machine, or is this machine"),
            known: "a junior never removes or changes a senior".into(),
            try_next: "run it on a machine that is further up in: hive members".into(),
        })
    }
}
