//! One node: hands each input to its part and queues what the parts want done. It decides nothing itself.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::chance::Chance;
use crate::collective::evidence::combine;
use crate::event::{Command, Input, Output};
use crate::hive::advise::Advice;
use crate::hive::outside::{HiveEffect, Record};
use crate::hive::{Hive, HiveConfig};
use crate::id::{CommandId, NodeId, PatternId, ProgramName};
use crate::machine::facts::MachineFacts;
use crate::machine::heard::HeardPattern;
use crate::machine::{Containers, Machine, MachineConfig, MachineEffect};
use crate::pattern::{Evidence, PatternDef, Verdict};
use crate::reply::{CommandError, DoneView, ErrorKind, Mode, Reply, SharedView, StatusView};
use crate::signed::KeyPair;
use crate::statement::{Label, Statement, StrategyCell};
use crate::time::{Instant, Now, Span};
use crate::units::LogRatio;

/// How long a person waits at most for old values to be back; then the answer says that they are not. A
/// guess: a hundred times what an undoing takes, and what somebody bears in front of a screen.
const BACK_WAIT: Span = Span::from_secs(5);

/// What a node is started with.
pub struct NodeConfig {
    /// This machine's key.
    pub key: KeyPair,
    /// What the host found.
    pub facts: MachineFacts,
    /// How much the optimizer may do, when the store does not say.
    pub mode: Mode,
    /// What to call this machine, when the store does not say; none = two generated words.
    pub label: Option<Label>,
    /// Programs to protect although they are in no terminal's foreground.
    pub protect: Vec<ProgramName>,
    /// Programs never to touch.
    pub never: Vec<ProgramName>,
    /// Whether what runs in containers takes part.
    pub containers: Containers,
    /// Fixed addresses of members, for networks without multicast.
    pub peers: Vec<SocketAddr>,
}

/// The state of one machine of a hive.
pub struct Node {
    hive: Hive,
    machine: Machine,
    outputs: VecDeque<Output>,
    /// Shared results whose reply waits until they are durable and sent.
    sharing: Vec<(CommandId, PatternId)>,
    /// Replies to what changes something, held until it would survive a power cut.
    promised: Vec<Promise>,
    /// The secret that the machine's keys were made with.
    secret: [u8; 32],
    /// The wake-up that was asked for last.
    wake: Option<Instant>,
}

/// A reply that is not to be said yet.
struct Promise {
    id: CommandId,
    reply: Reply,
    /// Whether it also waits for what is said of who belongs.
    says: bool,
    /// Until when it also waits for old values to be back; none = not at all.
    back_until: Option<Instant>,
}

impl Node {
    /// Starts a node from what its store held (all records, in any order; empty on a new machine).
    /// Two nodes made alike and fed the same inputs do the same things.
    #[must_use]
    pub fn new(config: NodeConfig, restored: &[Record], seed: [u8; 32], now: Now) -> Self {
        let mut chance = Chance::from_seed(seed);
        let for_hive = Chance::from_seed(chance.bytes());
        let for_machine = Chance::from_seed(chance.bytes());
        let hive_config = HiveConfig {
            key: config.key,
            label: config.label,
            peers: config.peers,
        };
        let hive = Hive::new(hive_config, restored, for_hive, now);
        let machine_config = MachineConfig {
            facts: config.facts,
            mode: config.mode,
            protect: config.protect,
            never: config.never,
            containers: config.containers,
        };
        let secret = *hive.secret();
        let machine = Machine::new(machine_config, secret, restored, for_machine, now);
        let outputs = VecDeque::new();
        let mut node = Self {
            hive,
            machine,
            outputs,
            sharing: Vec::new(),
            promised: Vec::new(),
            secret,
            wake: None,
        };
        node.hive.on_start(now);
        node.machine.on_start(now);
        node.settle(now);
        node
    }

    /// This machine's name.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.hive.me()
    }

    /// Tells the node that something happened. Drain [`Node::poll`] before the next call.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::TimeoutReached => {
                self.wake = None;
                self.hive.on_timeout(now);
                self.machine.on_timeout(now);
            }
            Input::Sampled(sample) => self.machine.on_sampled(now, sample),
            Input::Acted(receipt) => self.machine.on_acted(now, receipt),
            Input::Saved(id) => self.hive.on_saved(now, id),
            Input::PeerUp { peer, address } => self.hive.on_peer_up(now, peer, address),
            Input::PeerDown { peer } => self.hive.on_peer_down(now, peer),
            Input::Received { peer, frame } => self.hive.on_received(now, peer, &frame),
            Input::TransportRefused { peer, misdeed } => {
                self.hive.on_transport_refused(now, peer, misdeed);
            }
            Input::DialFailed { peer } => self.hive.on_dial_failed(now, peer),
            Input::DialRefused { peer, address } => {
                self.hive.on_dial_refused(now, peer, address);
            }
            Input::Misdialled { address } => self.hive.on_misdialled(now, address),
            Input::Ousted { peer } => self.hive.on_ousted(now, peer),
            Input::ToldOldKey { peer, frame } => self.hive.on_told_old_key(now, peer, &frame),
            Input::Found(sighting) => self.hive.on_found(now, sighting),
            Input::NetworkChanged => self.hive.on_network_changed(now),
            Input::PairUp {
                link,
                key,
                exporter,
                address,
                dialled,
            } => {
                self.hive
                    .on_pair_up(now, link, key, exporter, address, dialled);
            }
            Input::PairReceived { link, frame } => self.hive.on_pair_received(now, link, &frame),
            Input::PairDown { link } => self.hive.on_pair_down(now, link),
            Input::PairDialFailed { address } => self.hive.on_pair_dial_failed(now, address),
            Input::Command { id, command } => self.on_command(now, id, command),
        }
        self.settle(now);
    }

    /// The next thing the node wants done, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn on_command(&mut self, now: Now, id: CommandId, command: Command) {
        let says = tells_others(&command);
        let puts_back = matches!(
            command,
            Command::Undo { .. } | Command::Tune { .. } | Command::Pause { .. }
        );
        // A label is the machine's own, and on its disk: it is said to the others at every start.
        let own = matches!(
            command,
            Command::Label { .. } | Command::Resume | Command::Unpause | Command::Allow { .. }
        );
        let changes = says || puts_back || own;
        let reply = match command {
            Command::Status => Reply::Status(Box::new(self.status(now))),
            Command::Members => Reply::Members(self.hive.members(now)),
            Command::Pending => Reply::Pending(self.hive.pending(now)),
            Command::Patterns => Reply::Patterns(self.machine.patterns(now)),
            Command::Why { pattern } => answer(self.machine.why(now, &pattern), |why| {
                Reply::Why(Box::new(why))
            }),
            Command::Invite(wish) => answer(self.hive.invite(now, &wish), Reply::Invite),
            Command::Join { code, at } => answer(self.hive.join(now, &code, at), Reply::Join),
            Command::JoinState => Reply::Join(self.hive.join_state(now)),
            Command::Undo { pattern } => {
                answer(self.machine.undo(now, pattern.as_deref()), Reply::Undone)
            }
            Command::Tune { mode } => {
                self.machine.set_mode(now, mode);
                done("the optimizer's mode is set")
            }
            Command::Allow { action, allowed } => {
                answer(self.machine.allow(now, action, allowed), |words| {
                    done(&words)
                })
            }
            Command::Pause { span } => Reply::Undone(self.machine.pause(now, span)),
            Command::Resume => {
                self.machine.resume(now);
                done("resumed")
            }
            Command::Unpause => {
                self.machine.unpause(now);
                done("the pause is over")
            }
            Command::Share { def, evidence } => return self.share(now, id, def, evidence),
            Command::Decide => Reply::Decision(self.machine.decide(now)),
            Command::Nearby => Reply::Nearby(self.hive.nearby(now)),
            Command::Seek => Reply::Done(self.hive.seek(now)),
            other => match self.on_member_command(now, other) {
                Some(reply) => reply,
                None => return,
            },
        };
        if changes && !matches!(reply, Reply::Refused(_)) {
            self.promised.push(Promise {
                id,
                reply,
                says,
                back_until: puts_back.then(|| now.boot.after(BACK_WAIT)),
            });
        } else {
            self.outputs.push_back(Output::Reply { id, reply });
        }
    }

    /// Commands about who belongs; none = it is no such command.
    fn on_member_command(&mut self, now: Now, command: Command) -> Option<Reply> {
        Some(match command {
            Command::Approve { who, role, owner } => {
                let owner = owner.as_deref();
                answer(self.hive.approve(now, &who, role, owner), Reply::Done)
            }
            Command::CloseInvites => Reply::Done(self.hive.close_invites(now)),
            Command::Deny { who } => answer(self.hive.deny(now, &who), Reply::Done),
            Command::Remove { who, compromised } => {
                answer(self.hive.remove(now, &who, compromised), Reply::Done)
            }
            Command::SetRole { who, role } => {
                answer(self.hive.set_role(now, &who, role), Reply::Done)
            }
            Command::Forgive { who } => answer(self.hive.forgive(now, &who), Reply::Done),
            Command::Rotate { key } => answer(self.hive.rotate(now, &key), Reply::Rotated),
            Command::Leave => answer(self.hive.leave(now), Reply::Done),
            Command::RecoveryKey => answer(self.hive.recovery_key(now), Reply::RecoveryKey),
            Command::Recover {
                words,
                remove,
                compromised,
            } => {
                let remove = remove.as_deref();
                let outcome = self.hive.recover(now, words.reveal(), remove, compromised);
                answer(outcome, Reply::Done)
            }
            Command::Label { label } => answer(self.hive.label(now, &label), Reply::Done),
            _ => return None,
        })
    }

    /// A yes is said when it would survive a power cut, and when the old values really are back. Where the
    /// host cannot put them back, the answer says so after a while instead of never.
    fn answer_promises(&mut self, now: Now) {
        if self.hive.owes_the_disk() {
            return;
        }
        let owes_a_word = self.hive.owes_a_word();
        let putting_back = self.machine.putting_back();
        for promise in core::mem::take(&mut self.promised) {
            if promise.says && owes_a_word {
                self.promised.push(promise);
                continue;
            }
            if putting_back && promise.back_until.is_some_and(|until| now.boot < until) {
                self.promised.push(promise);
                continue;
            }
            let reply = match promise.reply {
                Reply::Undone(view) => Reply::Undone(self.machine.completed(view)),
                other => other,
            };
            let id = promise.id;
            self.outputs.push_back(Output::Reply { id, reply });
        }
    }

    fn share(&mut self, now: Now, id: CommandId, def: PatternDef, evidence: Evidence) {
        let pattern = def.id();
        if self.machine.has_own_trials(pattern) {
            let reply = Reply::Refused(CommandError {
                code: "share.measured".into(),
                kind: ErrorKind::Conflict,
                what: "this machine has measured that pattern itself".into(),
                known: "its own numbers are what it tells the hive".into(),
                try_next: "hive why PATTERN".into(),
            });
            self.outputs.push_back(Output::Reply { id, reply });
            return;
        }
        let before = self.hive.own_cell(pattern);
        let helps = u64::from(evidence.verdict == Verdict::Helps);
        let cell = StrategyCell {
            trials: before.trials.saturating_add(1),
            wins: before.wins.saturating_add(helps),
        };
        self.sharing.push((id, pattern));
        self.hive.publish(
            now,
            vec![
                Statement::Pattern(def),
                Statement::Evidence(pattern, evidence),
                Statement::Strategy(pattern, cell),
            ],
        );
    }

    fn status(&self, now: Now) -> StatusView {
        let mut status = StatusView::default();
        self.hive.fill_status(now, &mut status);
        self.machine.fill_status(now, &mut status);
        status
    }

    /// Carries what one part wants to the other until both are quiet, then sets the alarm.
    fn settle(&mut self, now: Now) {
        loop {
            let mut quiet = true;
            while let Some(effect) = self.machine.poll() {
                quiet = false;
                self.on_machine_effect(now, effect);
            }
            while let Some(effect) = self.hive.poll() {
                quiet = false;
                self.outputs.push_back(match effect {
                    HiveEffect::Tell(happening) => Output::Tell(happening),
                    other => Output::Hive(other),
                });
            }
            if self.secret != *self.hive.secret() {
                quiet = false;
                self.secret = *self.hive.secret();
                self.machine.rekey(now, self.secret);
            }
            if self.hive.take_changed() {
                quiet = false;
                let heard = heard_patterns(self.hive.advice(), &self.hive);
                self.machine.on_advice(now, &heard);
            }
            if !quiet {
                continue;
            }
            // A yes is answered before it is used: what is begun on it needs the disk again.
            self.answer_promises(now);
            if self.hive.owes_the_disk() || !self.machine.on_durable(now) {
                break;
            }
        }
        self.answer_shares();
        self.set_alarm(now);
    }

    fn on_machine_effect(&mut self, now: Now, effect: MachineEffect) {
        match effect {
            MachineEffect::Sample(request) => self.outputs.push_back(Output::Sample(request)),
            MachineEffect::Act(step) => self.outputs.push_back(Output::Act(step)),
            MachineEffect::Undo(change) => self.outputs.push_back(Output::Undo(change)),
            MachineEffect::Publish(statements) => self.hive.publish(now, statements),
            MachineEffect::Keep(records) => self.hive.keep(records),
            MachineEffect::Tell(happening) => self.outputs.push_back(Output::Tell(happening)),
        }
    }

    fn answer_shares(&mut self) {
        let (hive, outputs) = (&self.hive, &mut self.outputs);
        self.sharing.retain(|(id, pattern)| {
            let Some(said) = hive.said_at(*pattern) else {
                return true;
            };
            let view = SharedView {
                id: alloc::format!("{pattern}"),
                said_at_us: said.0,
            };
            outputs.push_back(Output::Reply {
                id: *id,
                reply: Reply::Shared(view),
            });
            false
        });
    }

    fn set_alarm(&mut self, now: Now) {
        // One that is past waits for the disk, not for the clock.
        let promised = self.promised.iter().filter_map(|held| held.back_until);
        let promised = promised.filter(|until| *until > now.boot).min();
        let next = [self.hive.next_wake(), self.machine.next_wake(), promised]
            .into_iter()
            .flatten()
            .min();
        if let Some(at) = next
            && self.wake != Some(at)
        {
            self.wake = Some(at);
            self.outputs.push_back(Output::WakeAt(at));
        }
    }
}

fn answer<T>(result: Result<T, CommandError>, reply: impl FnOnce(T) -> Reply) -> Reply {
    result.map_or_else(Reply::Refused, reply)
}

fn done(words: &str) -> Reply {
    Reply::Done(DoneView {
        done: true,
        words: words.into(),
    })
}

/// What the other members know, in the form the optimizer reads: members by their label.
fn heard_patterns(advice: &Advice, hive: &Hive) -> BTreeMap<PatternId, HeardPattern> {
    let with_label =
        |(node, evidence): &(NodeId, Evidence)| (*node, hive.label_of(*node), *evidence);
    advice
        .patterns
        .iter()
        .map(|(id, heard)| {
            let others: Vec<(NodeId, Evidence)> = heard
                .evidence
                .iter()
                .filter(|(node, _)| *node != hive.me())
                .copied()
                .collect();
            let evidence = others.iter().map(with_label).collect();
            let together = combine(&others);
            let heard = HeardPattern {
                def: heard.def,
                evidence,
                combined: together.map(|together| LogRatio::from_ln(together.mean)),
                paused: heard.paused,
                first_seen: heard.first_seen,
            };
            (*id, heard)
        })
        .collect()
}

/// Whether a command is done only when the others can hear of it.
fn tells_others(command: &Command) -> bool {
    matches!(
        command,
        Command::Approve { .. }
            | Command::Deny { .. }
            | Command::Remove { .. }
            | Command::SetRole { .. }
            | Command::Forgive { .. }
            | Command::Rotate { .. }
            | Command::Leave
            | Command::RecoveryKey
            | Command::Recover { .. }
    )
}
