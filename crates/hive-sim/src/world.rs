//! The world: machines, a network, one queue of what will happen, and witnesses that watch every step.

use std::net::SocketAddr;

use hive_core::event::{Command, Input};
use hive_core::hive::outside::{Lane, Sighting};
use hive_core::id::{ChangeId, CommandId, NodeId};
use hive_core::machine::act::Step;
use hive_core::machine::facts::SampleRequest;
use hive_core::reply::{Mode, Reply};

use crate::attacks::Attacks;
use crate::check::Witness;
use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::Unanswered;
use crate::faults::{Fault, Faults};
use crate::host::Host;
use crate::machine::{Machine, Names, Truth};
use crate::net::{ConnId, HostId, Net, Quality};
use crate::queue::{Moment, Queue};
use crate::stories::Failure;

mod keys;
mod meet;
mod shell;
mod trouble;

/// Everything there is.
pub struct World {
    /// The machines.
    pub hosts: Vec<Host>,
    /// What connects them.
    pub net: Net,
    /// What was seen to go wrong that must never go wrong.
    pub witness: Witness,
    /// What went wrong on purpose, the network's own faults not included.
    pub faults: Faults,
    /// What strangers and liars did.
    pub attacks: Attacks,
    /// Chance for stories.
    pub dice: Dice,
    now: Moment,
    seed: u64,
    queue: Queue<Event>,
    /// Pairing frames so far and who sent them: what somebody on the network might have recorded.
    tapped: Vec<(HostId, Vec<u8>)>,
    trace: blake3::Hasher,
    /// Events so far: bounded, so that two nodes that talk for ever are found.
    events: u64,
    events_max: u64,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    Start(HostId),
    /// A machine wakes up.
    Resume(HostId),
    Wake {
        host: HostId,
        token: u64,
    },
    Answer {
        host: HostId,
        life: u32,
    },
    Sample {
        host: HostId,
        life: u32,
        request: SampleRequest,
    },
    Act {
        host: HostId,
        life: u32,
        step: Step,
    },
    Undo {
        host: HostId,
        life: u32,
        change: ChangeId,
    },
    Arrive {
        conn: ConnId,
        from: HostId,
        lane: Lane,
    },
    Ghost {
        conn: ConnId,
        from: HostId,
        bytes: Vec<u8>,
    },
    Lost {
        host: HostId,
        life: u32,
        conn: ConnId,
    },
    Found {
        host: HostId,
        life: u32,
        sighting: Sighting,
    },
    Dialled {
        host: HostId,
        life: u32,
        peer: NodeId,
        addresses: Vec<SocketAddr>,
    },
    DialFailed {
        host: HostId,
        life: u32,
        peer: NodeId,
    },
    HandOver {
        host: HostId,
        life: u32,
        peer: NodeId,
        address: SocketAddr,
        frames: Vec<Vec<u8>>,
    },
    /// A connection for a single word has lasted long enough.
    LetGo {
        host: HostId,
        life: u32,
        conn: ConnId,
    },
    PairDialled {
        host: HostId,
        life: u32,
        address: SocketAddr,
        expect: Option<NodeId>,
    },
}

impl Event {
    /// The machine that it happens to, unless it is a frame: those the network keeps from a machine that sleeps.
    fn host(&self) -> Option<HostId> {
        match self {
            Self::Start(_) | Self::Resume(_) | Self::Arrive { .. } | Self::Ghost { .. } => None,
            Self::Wake { host, .. }
            | Self::Answer { host, .. }
            | Self::Sample { host, .. }
            | Self::Act { host, .. }
            | Self::Undo { host, .. }
            | Self::Lost { host, .. }
            | Self::Found { host, .. }
            | Self::Dialled { host, .. }
            | Self::DialFailed { host, .. }
            | Self::HandOver { host, .. }
            | Self::LetGo { host, .. }
            | Self::PairDialled { host, .. } => Some(*host),
        }
    }
}

/// How a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// `kill -9`: the machine runs on.
    Kill,
    /// The machine loses power.
    PowerCut,
    /// The kernel ends it for want of memory.
    OutOfMemory,
    /// A write failed: the daemon ends itself rather than say what was not saved.
    DiskFailed,
}

/// Events of one world. The longest story needs a fifth of it; more means that nodes talk for ever.
const EVENTS_MAX: u64 = 3_000_000;

/// How long an answer to a command may take. Everything that takes longer is asked for by state.
const REPLY_US: u64 = 60_000_000;

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, quality: Quality) -> Self {
        Self {
            hosts: Vec::new(),
            net: Net::new(seed, quality),
            witness: Witness::default(),
            faults: Faults::default(),
            attacks: Attacks::default(),
            dice: Dice::new(seed, "story"),
            now: Moment::default(),
            seed,
            queue: Queue::new(),
            tapped: Vec::new(),
            trace: blake3::Hasher::new_derive_key("hive-sim/v1/trace"),
            events: 0,
            events_max: EVENTS_MAX,
        }
    }

    /// Adds a machine and switches it on.
    pub fn add(&mut self, label: &str, truth: Truth) -> HostId {
        let id = self.add_off(label, truth);
        self.queue.plan(self.now, Event::Start(id));
        id
    }

    /// Adds a machine on which no daemon of ours runs.
    pub fn add_off(&mut self, label: &str, truth: Truth) -> HostId {
        let id = HostId(self.hosts.len());
        let mut dice = Dice::new(self.seed, &format!("host {}", id.0));
        // The same programs everywhere: what helps one machine's editor is about the other's, too.
        let names = Names::canaries(&mut Dice::new(self.seed, "names"));
        self.witness.plant(&names);
        let machine = Machine::new(
            truth,
            names,
            Dice::new(self.seed, &format!("machine {}", id.0)),
        );
        let drift = i64::try_from(dice.below(200)).expect("small") - 100;
        // Ten minutes either way: `research/replication.md` 5.
        let skew = i64::try_from(dice.below(1_200_000)).expect("small") - 600_000;
        self.faults.add(Fault::ClockSkew);
        let clock = Clock::new(self.now, drift, skew);
        if drift != 0 {
            self.faults.add(Fault::ClockDrift);
        }
        self.hosts.push(Host::new(id, label, machine, clock, dice));
        id
    }

    /// Allows for a longer life than a story's: so many events in all.
    pub fn expect_events(&mut self, events: u64) {
        self.events_max = self.events_max.max(events);
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// The world's seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// One machine.
    #[must_use]
    pub fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0]
    }

    /// One machine, to change it.
    pub fn host_mut(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0]
    }

    /// All machines.
    pub fn ids(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// Whose key this is.
    #[must_use]
    pub fn owner(&self, key: NodeId) -> Option<HostId> {
        self.hosts
            .iter()
            .find(|host| host.key == key)
            .map(|host| host.id)
    }

    /// A hash over everything that happened.
    #[must_use]
    pub fn trace(&self) -> [u8; 32] {
        *self.trace.finalize().as_bytes()
    }

    /// All faults so far.
    #[must_use]
    pub fn all_faults(&self) -> Faults {
        let mut all = self.faults.clone();
        all.plus(&self.net.faults);
        all
    }

    /// Microseconds that all daemons together have run; those that a machine slept do not count.
    #[must_use]
    pub fn node_us(&self) -> u64 {
        let run = |host: &Host| {
            let current = if host.is_on() {
                self.now.since(host.started)
            } else {
                0
            };
            (host.ran_us + current).saturating_sub(host.slept_us)
        };
        self.hosts.iter().map(run).sum()
    }

    /// Lets so many milliseconds pass.
    pub fn run_ms(&mut self, ms: u64) -> Result<(), Failure> {
        self.run_until(ms, |_| false).map(|_| ())
    }

    /// Lets time pass until something is so, at most so many milliseconds. Whether it came to be so.
    pub fn run_until(&mut self, ms: u64, so: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        let end = self.now.after(ms * 1_000);
        loop {
            self.witness.verdict()?;
            if so(self) {
                return Ok(true);
            }
            match self.queue.next_at() {
                Some(at) if at <= end => self.step()?,
                _ => {
                    self.now = end;
                    return Ok(false);
                }
            }
        }
    }

    /// A person asks a node something and waits for the answer.
    pub fn ask(&mut self, host: HostId, command: Command) -> Result<Reply, Failure> {
        let what = format!("{command:?}");
        let resumes = matches!(command, Command::Resume | Command::Unpause);
        let mode = match command {
            Command::Tune { mode } => Some(mode),
            _ => None,
        };
        let id = self.say(host, command);
        self.run_until(REPLY_US / 1_000, |world| {
            world.host(host).replies.contains_key(&id) || !world.host(host).is_on()
        })?;
        let reply = self.host_mut(host).replies.remove(&id);
        let reply = reply.ok_or_else(|| {
            let what = what.split([' ', '{', '(']).next().unwrap_or_default();
            Failure::Liveness(format!("no answer to {what} on machine {}", host.0))
        })?;
        // Consent is given when it is acknowledged.
        if !matches!(reply, Reply::Refused(_)) {
            let consent = &mut self.host_mut(host).consent;
            consent.mode = mode.unwrap_or(consent.mode);
            consent.paused &= !resumes;
        }
        Ok(reply)
    }

    /// A person asks a node something and walks away.
    pub fn say(&mut self, host: HostId, command: Command) -> CommandId {
        let now = self.now;
        let found = self.host_mut(host);
        found.commands += 1;
        let id = CommandId(found.commands);
        // Consent is withdrawn when it is said.
        match &command {
            Command::Pause { span } => {
                found.consent.paused = true;
                // Its clock may run a ten-thousandth fast.
                found.consent.paused_until = span.map(|span| now.after(span.0 - span.0 / 5_000));
            }
            Command::Tune { mode } if *mode != Mode::Auto => found.consent.mode = *mode,
            _ => {}
        }
        self.feed(host, Input::Command { id, command });
        id
    }

    /// A daemon dies; it is started again after so many milliseconds.
    pub fn crash(&mut self, id: HostId, death: Death, unanswered: Unanswered, away_ms: u64) {
        for conn in self.net.of(id) {
            self.break_off(conn, Some(id));
        }
        let now = self.now;
        let host = &mut self.hosts[id.0];
        host.stop(now);
        host.disk
            .crash(unanswered, &mut self.dice, &mut self.faults);
        match death {
            Death::Kill => self.faults.add(Fault::Kill),
            Death::OutOfMemory => self.faults.add(Fault::OomKill),
            Death::DiskFailed => {}
            Death::PowerCut => {
                self.faults.add(Fault::PowerCut);
                host.machine.reboot();
            }
        }
        self.queue
            .plan(now.after(away_ms * 1_000), Event::Start(id));
        if death == Death::PowerCut {
            host.clock.reboot(now.after(away_ms * 1_000));
        }
        self.witness.restarted(id);
        self.note(b"crash", id, &[]);
    }

    /// A machine gets another address; its connections end.
    pub fn move_away(&mut self, id: HostId) {
        self.faults.add(Fault::AddressChange);
        self.readdress(id);
        self.feed(id, Input::NetworkChanged);
    }

    /// A machine's calendar jumps.
    pub fn jump(&mut self, id: HostId, ms: i64) {
        /// Half a year: no clock that is set by hand is that wrong by mistake.
        const FAR_MS: u64 = 182 * 86_400_000;
        self.faults.add(if ms.unsigned_abs() > FAR_MS {
            Fault::ClockFarOff
        } else if ms < 0 {
            Fault::ClockBack
        } else {
            Fault::ClockJump
        });
        self.host_mut(id).clock.jump(ms);
    }

    /// Breaks every connection between these two.
    pub fn part(&mut self, one: HostId, two: HostId) {
        for conn in self.net.of(one) {
            if self.net.ends(conn).is_some_and(|ends| ends.contains(&two)) {
                self.break_off(conn, None);
            }
        }
    }

    fn step(&mut self) -> Result<(), Failure> {
        let Some((at, event)) = self.queue.take() else {
            return Ok(());
        };
        self.now = at;
        self.events += 1;
        if self.events > self.events_max {
            return Err(Failure::Liveness("the nodes never come to rest".into()));
        }
        // What happens to a machine that sleeps happens when it wakes up, in the same order.
        let sleeps = event.host().and_then(|id| self.hosts[id.0].asleep_until);
        match sleeps.filter(|until| at < *until) {
            Some(until) => self.queue.plan(until, event),
            None => self.happen(event),
        }
        Ok(())
    }

    /// Tells a node something and carries out what it wants.
    pub(crate) fn feed(&mut self, id: HostId, input: Input) {
        let now = self.now;
        let host = &mut self.hosts[id.0];
        let told = host.clock.now(now);
        let Some(node) = host.node.as_mut() else {
            return;
        };
        node.handle(told, input);
        self.drain(id);
    }

    /// Carries out what a node wants; stops where its daemon dies.
    pub(crate) fn drain(&mut self, id: HostId) {
        let life = self.hosts[id.0].life;
        let mut outputs = Vec::new();
        while let Some(output) = self.hosts[id.0]
            .node
            .as_mut()
            .and_then(hive_core::node::Node::poll)
        {
            outputs.push(output);
        }
        for output in outputs {
            if self.hosts[id.0].life != life || !self.hosts[id.0].is_on() {
                return;
            }
            if self.dies_of_hunger(id) {
                return;
            }
            self.carry_out(id, life, output);
        }
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&mut self, what: &[u8], host: HostId, bytes: &[u8]) {
        self.trace.update(&self.now.0.to_le_bytes());
        self.trace.update(what);
        self.trace.update(&(host.0 as u64).to_le_bytes());
        self.trace.update(&(bytes.len() as u64).to_le_bytes());
        self.trace.update(bytes);
    }
}
