//! Making a recovery key while alone, and acting with it when the founder's machine is lost or stolen.

use alloc::string::String;
use alloc::vec::Vec;

use crate::hive::Hive;
use crate::hive::commands::done;
use crate::hive::outside::Lane;
use crate::hive::recovery::{RecoveryError, RecoveryKey};
use crate::hive::roster::Roster;
use crate::hive::store::{AuthorMap, disk, step};
use crate::hive::writer::AfterSave;
use crate::id::NodeId;
use crate::reply::{CommandError, DoneView, ErrorKind, RecoveryKeyView, RecoveryWords};
use crate::statement::{Admit, Role, SetRole, Statement};
use crate::time::Now;
use crate::wire::{Frame, Genesis};

/// The hive founded anew, on its way to the disk.
#[derive(Debug)]
pub(super) struct Refounded {
    genesis: Genesis,
    secret: [u8; 32],
}

impl Hive {
    /// Founds this machine's hive anew with a recovery key and shows its words, once. Possible only while
    /// alone: the key is part of the hive's first record, and that is what the hive is named by.
    pub fn recovery_key(&mut self, now: Now) -> Result<RecoveryKeyView, CommandError> {
        if self.genesis.recovery.is_some() {
            return Err(CommandError {
                code: "recovery.exists".into(),
                kind: ErrorKind::Conflict,
                what: "this hive has a recovery key".into(),
                known: "its words were shown once and are stored nowhere".into(),
                try_next: String::new(),
            });
        }
        let busy = self.joiner_is_busy() || self.door.open;
        if self.roster.order().len() > 1 || self.sponsor.is_some() || busy {
            return Err(CommandError {
                code: "recovery.not_alone".into(),
                kind: ErrorKind::Conflict,
                what: "a recovery key is made while a machine is alone".into(),
                known: "it is part of the hive's first record, which every member holds".into(),
                try_next: "before the first invite: hive recovery-key".into(),
            });
        }
        self.check_writer(now)?;
        let key = RecoveryKey::new(self.chance.bytes());
        let genesis = Genesis {
            format: 1,
            founder: self.me,
            recovery: Some(key.pair().node()),
            nonce: self.chance.bytes(),
        };
        let secret = self.chance.bytes();
        let records = self.records_to_leave(&genesis, &secret);
        let refounded = Refounded { genesis, secret };
        self.save(records, AfterSave::Refounded(refounded));
        Ok(RecoveryKeyView {
            words: RecoveryWords::new(key.words()),
        })
    }

    /// The new hive of one is durable.
    pub(super) fn on_refounded(&mut self, now: Now, refounded: &Refounded) {
        self.enter(now, refounded.genesis, refounded.secret, None);
    }

    /// Acts with the words of the recovery key: makes this machine an admin and removes a member, however
    /// senior. Everybody else is let in again by the recovery key itself, so that nobody's place rests on
    /// what the removed machine said.
    pub fn recover(
        &mut self,
        now: Now,
        words: &str,
        remove: Option<&str>,
        compromised: bool,
    ) -> Result<DoneView, CommandError> {
        let key: RecoveryKey = words.parse().map_err(bad_words)?;
        let pair = key.pair();
        if self.genesis.recovery != Some(pair.node()) {
            return Err(other_hive(self.genesis.recovery));
        }
        let target = remove.map(|who| self.find_member(who)).transpose()?;
        if target == Some(self.me) {
            return Err(not_itself());
        }
        let held = self.store.map(pair.node());
        let hlc = held.map_or_else(Default::default, |map| map.head().hlc);
        let last = held.map_or(0, |map| map.head().incarnation);
        // Two machines may use the words without knowing of each other; the calendar keeps their states apart.
        let seconds = u32::try_from(now.wall.0 / 1_000).unwrap_or(u32::MAX);
        let incarnation = seconds.max(last.saturating_add(1));
        let mut statements = self.said_to_recover(target);
        if let Some(node) = target {
            statements.extend(self.removal(&pair, node, compromised));
            statements.extend(self.lost_by(now, &pair, incarnation, &statements, node));
        }
        let changes = statements.iter().map(|it| (it.key(), Some(it.encode())));
        let hlc = hlc.next(now.wall);
        let draft = self
            .store
            .draft(&pair, incarnation, hlc, changes.collect())
            .map_err(|_| full())?;
        let next = Roster::if_said(&self.genesis, &self.store, &draft);
        let admin = next.member(self.me);
        if admin.is_none_or(|it| it.role != Role::Admin) {
            return Err(still_removed());
        }
        let records = disk::records(held, Some(&draft));
        let done_words = match target {
            Some(node) => alloc::format!(
                "{} is removed, this machine is an admin",
                self.label_of(node)
            ),
            None => "this machine is an admin".into(),
        };
        self.expelled.extend(target);
        self.admit_only_members(now);
        self.save(records, AfterSave::Recovered(draft));
        Ok(done(done_words))
    }

    /// The recovery key's word is durable: it takes effect and is told.
    pub(super) fn on_recovered(&mut self, now: Now, map: AuthorMap) {
        let author = map.head().author;
        let delta = step(self.store.map(author), &map);
        for (_, statement) in map.member_statements() {
            if let Statement::Revoke(revoke) = statement {
                self.expelled.remove(&revoke.node);
            }
        }
        self.store.insert(map);
        self.refresh(now);
        let frame = Frame::Delta(delta);
        for peer in self.links.connected() {
            self.send(peer, Lane::Urgent, &frame);
        }
        self.reset_repair(now);
    }

    /// This machine's new role, and when somebody is removed, everybody else's place.
    fn said_to_recover(&self, target: Option<NodeId>) -> Vec<Statement> {
        let set = SetRole {
            node: self.me,
            role: Role::Admin,
        };
        let mut statements = alloc::vec![Statement::SetRole(set)];
        if target.is_some() {
            let order = self.roster.order().iter().copied();
            let others = order.filter(|node| Some(*node) != target);
            statements.extend(others.filter_map(|node| {
                let member = self.roster.member(node)?;
                let (role, owner) = (member.role, member.owner);
                Some(Statement::Admit(Admit { node, role, owner }))
            }));
        }
        statements
    }
}

fn bad_words(error: RecoveryError) -> CommandError {
    CommandError {
        code: "recovery.words".into(),
        kind: ErrorKind::Usage,
        what: alloc::format!("{error}"),
        known: "nothing was changed".into(),
        try_next: "compare with the paper, word by word".into(),
    }
}

fn other_hive(key: Option<NodeId>) -> CommandError {
    CommandError {
        code: "recovery.other".into(),
        kind: ErrorKind::NotAllowed,
        what: match key {
            Some(_) => "these are the words of another hive".into(),
            None => "this hive has no recovery key".into(),
        },
        known: "nothing was changed".into(),
        try_next: "hive members".into(),
    }
}

fn not_itself() -> CommandError {
    CommandError {
        code: "recovery.itself".into(),
        kind: ErrorKind::Usage,
        what: "this machine cannot be the one that is removed".into(),
        known: "nothing was changed".into(),
        try_next: "run it on another member, or: hive leave".into(),
    }
}

fn still_removed() -> CommandError {
    CommandError {
        code: "recovery.removed".into(),
        kind: ErrorKind::NotAllowed,
        what: "this machine was removed, and that would still hold".into(),
        known: "nothing was changed".into(),
        try_next: "run it on a member, or remove the remover with --compromised".into(),
    }
}

fn full() -> CommandError {
    CommandError {
        code: "recovery.full".into(),
        kind: ErrorKind::Limit,
        what: "the recovery key has said as much as it can".into(),
        known: "nothing was changed".into(),
        try_next: String::new(),
    }
}
