//! What people ask of the hive part, and how it looks to them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::hive::Hive;
use crate::hive::meta::{self, Fate, Name};
use crate::hive::words;
use crate::hive::writer::{AfterSave, Readiness};
use crate::id::NodeId;
use crate::reply::words::is_called;
use crate::reply::{
    CommandError, DoneView, ErrorKind, MemberView, MembersView, NearbyView, NeedView,
    PendingMachine, PendingView, SeenView, StatusView, TrafficView,
};
use crate::statement::{Admit, Label, Role, Statement};
use crate::time::{Now, WallTime};

impl Hive {
    /// Lets a waiting machine in. `owner`: whose machine it is; none = the owner of this one.
    pub fn approve(
        &mut self,
        now: Now,
        who: &str,
        role: Role,
        owner: Option<&str>,
    ) -> Result<DoneView, CommandError> {
        let (node, label) = match self.find_pending(now, who) {
            Ok(found) if self.roster.has(found.0) => return Ok(self.take_back(now, found)),
            found => {
                self.check_admin()?;
                self.check_writer(now)?;
                found?
            }
        };
        let owner = self.owner_named(owner, node)?;
        let admit = alloc::vec![Statement::Admit(Admit { node, role, owner })];
        if !self.has_place_for(now, node, &admit) {
            return Err(CommandError {
                code: "member.too_many".into(),
                kind: ErrorKind::Limit,
                what: "there is no place left for one more machine".into(),
                known: alloc::format!(
                    "a hive has {} places, shared among those who let machines in; removed ones keep theirs",
                    crate::limits::MEMBERS_MAX
                ),
                try_next: "let it in on a machine that is further up in: hive members".into(),
            });
        }
        self.decide(node, Fate::Approved);
        self.publish(now, admit);
        Ok(done(alloc::format!("{label} is let in")))
    }

    /// The member that stands for an owner: `new` = the machine itself, as the first of a new owner; a member's
    /// name = that member's owner; none = this machine's.
    fn owner_named(&self, owner: Option<&str>, node: NodeId) -> Result<NodeId, CommandError> {
        let of = match owner.map(str::trim) {
            Some(word) if word.eq_ignore_ascii_case("new") => return Ok(node),
            Some(name) => self.find_member(name)?,
            None => self.me,
        };
        let member = self.roster.member(of);
        Ok(member.map_or(self.genesis.founder, |member| member.owner))
    }

    /// A member that lost its disk comes back: who belongs does not change, so any member may say so.
    fn take_back(&mut self, now: Now, (node, label): (NodeId, String)) -> DoneView {
        self.decide(node, Fate::Approved);
        self.welcome(now, node);
        done(alloc::format!("{label} is back: it belonged already"))
    }

    /// Turns a waiting machine away.
    pub fn deny(&mut self, now: Now, who: &str) -> Result<DoneView, CommandError> {
        let (node, label) = self.find_pending(now, who)?;
        self.turn_away(now, node);
        Ok(done(alloc::format!("{label} is turned away")))
    }

    /// Calls this machine something else.
    pub fn label(&mut self, now: Now, text: &str) -> Result<DoneView, CommandError> {
        let label = Label::new(text).map_err(|error| CommandError {
            code: "label.bad".into(),
            kind: ErrorKind::Usage,
            what: alloc::format!("{error}"),
            known: String::new(),
            try_next: "hive label desk".into(),
        })?;
        self.label = label;
        self.name = Name::Given;
        let records = alloc::vec![meta::label(&self.label), meta::name(self.name)];
        self.save(records, AfterSave::Nothing);
        self.introduce();
        self.flush(now);
        let words = alloc::format!("this machine is \"{}\"", self.label.as_str());
        Ok(done(words))
    }

    /// Who waits for a person; the oldest first.
    #[must_use]
    pub fn pending(&self, now: Now) -> PendingView {
        let mut waiting: Vec<_> = self
            .door
            .pending
            .iter()
            .filter(|(_, pending)| pending.fate == Fate::Open)
            .collect();
        waiting.sort_by_key(|(node, pending)| (pending.since, **node));
        let pending = waiting
            .into_iter()
            .map(|(node, pending)| PendingMachine {
                node: node.short(),
                label: String::from(pending.label.as_str()),
                words: words::line(&pending.words),
                address: pending.address,
                waited_s: seconds_since(now.wall, pending.since),
            })
            .collect();
        PendingView { pending }
    }

    /// Who belongs, in order of seniority.
    #[must_use]
    pub fn members(&self, _now: Now) -> MembersView {
        let members = self
            .roster
            .order()
            .iter()
            .filter_map(|node| {
                let member = self.roster.member(*node)?;
                let here = *node == self.me;
                Some(MemberView {
                    node: alloc::format!("{node}"),
                    label: self.label_of(*node),
                    owner: alloc::format!("{}", member.owner),
                    role: member.role,
                    here,
                    online: here || self.links.is_connected(*node),
                    statements: self
                        .store
                        .map(*node)
                        .map_or(0, super::store::AuthorMap::live),
                    forked: self.roster.quarantines(*node, &self.store),
                    address: self.links.address(*node),
                    first_up_us: self.links.first_up.get(node).map(|at| at.0),
                })
            })
            .collect();
        MembersView {
            members,
            out: self.out_words().map(Into::into),
        }
    }

    /// Who has been heard on the network lately, the newest first.
    #[must_use]
    pub fn nearby(&self, now: Now) -> NearbyView {
        let mut heard: Vec<_> = self.links.heard(now.boot).collect();
        heard.sort_by_key(|(_, seen)| core::cmp::Reverse(seen.at));
        let seen = heard
            .into_iter()
            .map(|(address, seen)| SeenView {
                address: *address,
                member: seen.member.map(|node| self.label_of(node)),
                node: seen.member.map(|node| node.short()),
                inviting: !seen.locators.is_empty(),
                #[expect(clippy::cast_precision_loss, reason = "for showing only")]
                after_ms: seen.after.0 as f64 / 1e3,
            })
            .collect();
        NearbyView { seen }
    }

    /// Asks the network again who is there and dials members that are missing.
    pub fn seek(&mut self, now: Now) -> DoneView {
        self.ask_network(now);
        self.look_for_missing(now);
        self.on_link_time(now);
        done("asked the network".into())
    }

    /// Fills in what the hive part knows of one screen.
    pub fn fill_status(&self, now: Now, status: &mut StatusView) {
        let members = self.roster.order().len();
        let others = self.allowed.len();
        let online = self.links.connected().len();
        status.node = self.me.short();
        status.label = String::from(self.label.as_str());
        status.hive = alloc::format!("{}", self.store.hive())
            .chars()
            .take(8)
            .collect();
        status.members = members;
        status.unheard = self.sponsor.is_some() && !self.roster.has(self.me);
        status.peers_online = online;
        status.patterns_shared = self.advice.patterns.len();
        status.collective_optimizations = self.advice.wins;
        #[expect(clippy::cast_precision_loss, reason = "at most 256 members")]
        let health = if others == 0 {
            1.0
        } else {
            (online as f32 / others as f32).min(1.0)
        };
        status.network_health = health;
        status.view = alloc::format!("{:032x}", u128::from_be_bytes(self.view_hash()));
        status.waiting = self.writer.waiting();
        self.add_traffic(now, status);
        status.limits.extend(self.joiner_words(now));
        self.add_needs(now, &mut status.needs);
    }

    fn add_traffic(&self, now: Now, status: &mut StatusView) {
        let traffic = self.traffic;
        status.bytes = traffic.bytes();
        status.traffic = TrafficView {
            deltas: traffic.deltas,
            names: traffic.names,
            questions: traffic.questions,
            links: traffic.links,
            search: traffic.search,
            addresses: traffic.addresses,
            pairing: traffic.pairing,
        };
        let members = self.roster.order().len();
        let (waits, given_up) = self.writer.waits(now.boot, members);
        status.waits = waits;
        if given_up > 0 {
            status.limits.push(alloc::format!(
                "{given_up} statements were given up: more waited than a map can hold"
            ));
        }
        for author in self.audience.too_loud() {
            status.limits.push(alloc::format!(
                "\"{}\" says more than its share; the rest of it travels by repair only",
                self.label_of(author)
            ));
        }
    }

    pub(super) fn check_admin(&self) -> Result<(), CommandError> {
        let me = self.roster.member(self.me).filter(|_| !self.is_out());
        if me.is_some_and(|me| me.role == Role::Admin) {
            return Ok(());
        }
        Err(CommandError {
            code: "member.not_admin".into(),
            kind: ErrorKind::NotAllowed,
            what: self
                .out_words()
                .unwrap_or("this machine may not let others in or remove them")
                .into(),
            known: String::new(),
            try_next: if self.is_out() {
                "hive status says what to do"
            } else {
                "hive members shows who may"
            }
            .into(),
        })
    }

    /// A yes that could not be written would be none.
    pub(super) fn check_writer(&self, now: Now) -> Result<(), CommandError> {
        let (what, known, try_next) = match self.writer.readiness(now.boot) {
            Readiness::Free => return Ok(()),
            Readiness::Silent(left) => (
                "this machine just started and first asks the others what it said before",
                alloc::format!(
                    "it may write in {} s at the latest",
                    left.as_ms() / 1_000 + 1
                ),
                "wait a moment and ask again",
            ),
            Readiness::Lost => (
                "this machine lost what it said in its hive and waits until a member gives it back",
                String::from("nothing was changed"),
                "hive status shows what to do",
            ),
            Readiness::Moving => (
                "this machine is on its way into another hive",
                String::from("nothing was changed"),
                "wait a moment, then: hive members",
            ),
            Readiness::Halted => (
                "this machine's key is in use somewhere else too, so it writes nothing more",
                String::from("nothing was changed"),
                "run it on another machine that may, or give this one a new key",
            ),
        };
        Err(CommandError {
            code: "member.not_now".into(),
            kind: ErrorKind::Conflict,
            what: what.into(),
            known,
            try_next: try_next.into(),
        })
    }

    fn add_needs(&self, now: Now, needs: &mut Vec<NeedView>) {
        for machine in self.pending(now).pending {
            needs.push(NeedView {
                code: "join.pending".into(),
                words: alloc::format!(
                    "\"{}\" wants to join; both screens must show: {}",
                    machine.label,
                    machine.words
                ),
                fix: alloc::vec![
                    alloc::format!("hive approve {}", machine.node),
                    alloc::format!("hive deny {}", machine.node),
                ],
            });
        }
        for node in self.roster.order() {
            if self.roster.quarantines(*node, &self.store) {
                needs.push(NeedView {
                    code: "member.forked".into(),
                    words: alloc::format!(
                        "\"{}\" said two different things under one number (a cloned disk, a restored backup, or a liar); what it measured does not count",
                        self.label_of(*node)
                    ),
                    fix: alloc::vec![
                        alloc::format!("hive forgive {}", node.short()),
                        alloc::format!("hive remove {}", node.short()),
                    ],
                });
            }
        }
        needs.extend(self.need_of_the_contested());
        needs.extend(self.need_of_the_lost());
        needs.extend(self.need_of_the_bare());
        needs.extend(self.need_of_the_doubled());
        needs.extend(self.need_of_the_outrun());
        if self.writer.halted() {
            needs.push(NeedView {
                code: "node.twice".into(),
                words: "this machine's key is or was in use somewhere else too (a copied disk, or a backup that was put back): \
                        it says nothing more. If no copy runs any more, restart the daemon here; else give this machine a new key, \
                        which shuts the copy out"
                    .into(),
                fix: Vec::from(["hive rotate".into()]),
            });
        }
        if self.roster.left(self.me) {
            needs.push(NeedView {
                code: "node.left".into(),
                words: "this machine has left its hive; to come back it needs a new key".into(),
                fix: Vec::from(["hive leave".into()]),
            });
        } else if self.heir_of_this_key().is_some() {
            needs.extend(self.need_of_the_moved());
        } else if self.is_out() {
            needs.push(NeedView {
                code: "node.removed".into(),
                words: "this machine was removed from its hive; to come back it needs a new key"
                    .into(),
                fix: Vec::from(["hive leave".into()]),
            });
        }
    }

    fn find_pending(&self, now: Now, who: &str) -> Result<(NodeId, String), CommandError> {
        let waiting = || {
            self.door
                .pending
                .iter()
                .filter(|(_, pending)| pending.fate == Fate::Open)
        };
        let found: Vec<_> = waiting()
            .filter(|(node, pending)| names(who, **node, pending.label.as_str()))
            .map(|(node, pending)| (*node, String::from(pending.label.as_str())))
            .collect();
        if let [(node, label)] = found.as_slice() {
            return Ok((*node, label.clone()));
        }
        let known: Vec<String> = self
            .pending(now)
            .pending
            .into_iter()
            .map(|it| alloc::format!("{} ({})", it.label, it.node))
            .collect();
        Err(unknown(
            "join.unknown",
            alloc::format!("no single machine called `{}` is waiting", shown(who)),
            "waiting now",
            &known,
            "hive pending",
        ))
    }

    pub(super) fn find_member(&self, who: &str) -> Result<NodeId, CommandError> {
        let order = self.roster.order();
        let found: Vec<NodeId> = order
            .iter()
            .copied()
            .filter(|node| names(who, *node, &self.label_of(*node)))
            .collect();
        if let [node] = found.as_slice() {
            return Ok(*node);
        }
        let known: Vec<String> = order
            .iter()
            .take(8)
            .map(|node| alloc::format!("{} ({})", self.label_of(*node), node.short()))
            .collect();
        Err(unknown(
            "member.unknown",
            alloc::format!("no single member is called `{}`", shown(who)),
            "members",
            &known,
            "hive members",
        ))
    }
}

fn names(who: &str, node: NodeId, label: &str) -> bool {
    is_called(who, &alloc::format!("{node}"), label)
}

/// What a person typed, cut so that it cannot flood a screen.
fn shown(who: &str) -> String {
    who.chars().filter(|c| !c.is_control()).take(32).collect()
}

fn unknown(code: &str, what: String, list: &str, known: &[String], try_next: &str) -> CommandError {
    let known = if known.is_empty() {
        alloc::format!("{list}: none")
    } else {
        alloc::format!("{list}: {}", known.join(", "))
    };
    CommandError {
        code: code.into(),
        kind: ErrorKind::NotFound,
        what,
        known,
        try_next: try_next.into(),
    }
}

pub(super) fn done(words: String) -> DoneView {
    DoneView { done: true, words }
}

fn seconds_since(now: WallTime, then: WallTime) -> u64 {
    now.0.saturating_sub(then.0) / 1_000
}
