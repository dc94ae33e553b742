//! Finds out whether this machine can be reached from outside, and while it cannot, keeps one connection open.
//!
//! A firewall or a NAT that has forgotten a connection lets nothing in any more, and this machine would not notice
//! until it speaks itself. So another member is asked to try (`reach`): once after a change of network, and after
//! every connection that was lost while both ends lived. If it cannot, the same member is asked to keep silent for
//! longer and longer, until a silence is found that the way in does not survive; from then on this machine says a
//! word a little more often than that, on one connection. News of all members comes in over that one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use hive_core::id::NodeId;
use quinn::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::net::link::Pinger;
use crate::net::reach::{self, Reached, Silence};
use crate::net::seen::Seen;

/// Notes that wait; more are lost, and only cost a question more. A guess.
const NOTES_MAX: usize = 256;

/// When what is done is done. Tests are in a hurry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// From the first connection on a network to the question. A guess: who stays so short on a network has spoken
    /// itself meanwhile, and by then a way in that is forgotten has been.
    pub(crate) ask_after: Duration,
    /// From a lost connection to the question: it must be back first.
    pub(crate) suspect_after: Duration,
    /// Silences tried, each only after the one before was survived. Between the usual limits of conntrack (30 s, 120 s
    /// once both sides spoke) and of home routers (30 s to 300 s); a word costs 155 bytes with its acknowledgement
    /// (`research/transport.md` 5.4), so the shortest is 480 kB a day and 115 s is 130 kB.
    pub(crate) silences: [Duration; 5],
    /// Between two tries of one silence that others' words disturbed.
    pub(crate) again_after: Duration,
}

/// The real times.
pub(crate) const TIMING: Timing = Timing {
    ask_after: Duration::from_mins(20),
    suspect_after: Duration::from_secs(5),
    silences: [
        Duration::from_secs(31),
        Duration::from_secs(55),
        Duration::from_secs(115),
        Duration::from_secs(175),
        Duration::from_secs(290),
    ],
    again_after: Duration::from_secs(30),
};

/// Tries of one silence that may be disturbed before what is known so far has to do. A guess.
const DISTURBED_MAX: u32 = 10;

/// What is known about the way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many members are connected.
    pub(crate) connected: usize,
    /// The last answer on this network, and whose.
    pub(crate) reached: Option<(NodeId, Reached)>,
    /// The longest silence that a member's word ended by itself.
    pub(crate) came_in: Option<Duration>,
    /// The longest silence that the way in survived, of those tried.
    pub(crate) survived: Option<Duration>,
    /// The shortest that it did not.
    pub(crate) died: Option<Duration>,
    /// A word is said to this member this often.
    pub(crate) keeping: Option<(NodeId, Duration)>,
    /// Words said so far on this network.
    pub(crate) words: u64,
}

/// What the loop tells.
pub(crate) enum Note {
    Up {
        peer: NodeId,
        number: u64,
        connection: Connection,
        pinger: Pinger,
    },
    Down {
        peer: NodeId,
        number: u64,
        /// It broke off without a word while nothing was wrong here.
        lost: bool,
    },
    /// Another network, or woken up.
    Moved,
    /// A member's word came in by itself; for so long nothing had been sent to that member.
    CameIn { peer: NodeId, silence: Duration },
    /// Ask somebody now, and tell.
    Check(oneshot::Sender<Standing>),
    /// Tell what is known, and ask nobody.
    #[cfg(test)]
    Tell(oneshot::Sender<Standing>),
}

/// The loop's end of it.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    notes: mpsc::Sender<Note>,
}

impl Keeper {
    /// Starts; it ends with the last handle.
    pub(crate) fn start(timing: Timing) -> Self {
        let (notes, heard) = mpsc::channel(NOTES_MAX);
        tokio::spawn(Watchman::new(timing).run(heard));
        Self { notes }
    }

    /// Asks a member now, unless a silence is being tried, and tells what is known. `None` when it has ended.
    pub(crate) async fn check(&self) -> Option<Standing> {
        let (answer, answered) = oneshot::channel();
        self.notes.send(Note::Check(answer)).await.ok()?;
        answered.await.ok()
    }

    /// What is known, without asking anybody.
    #[cfg(test)]
    pub(crate) async fn known(&self) -> Option<Standing> {
        let (answer, answered) = oneshot::channel();
        self.notes.send(Note::Tell(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Tells something, without waiting.
    pub(crate) fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            tracing::debug!("too much happens at once to watch the way in");
        }
    }
}

struct Link {
    number: u64,
    connection: Connection,
    pinger: Pinger,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Ask,
    Try { step: usize, disturbed: u32 },
    Say,
}

/// What came of it.
#[derive(Clone, Copy)]
enum Done {
    Asked(NodeId, Option<Reached>),
    Tried {
        step: usize,
        disturbed: u32,
        silence: Silence,
    },
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

struct Watchman {
    timing: Timing,
    /// Since when this network is what it is.
    since: Instant,
    seen: Seen,
    links: BTreeMap<NodeId, Link>,
    standing: Standing,
    plan: Option<(Instant, Plan)>,
    work: Option<Work>,
    waiting: Vec<oneshot::Sender<Standing>>,
}

impl Watchman {
    fn new(timing: Timing) -> Self {
        Self {
            timing,
            since: Instant::now(),
            seen: Seen::default(),
            links: BTreeMap::new(),
            standing: Standing::default(),
            plan: None,
            work: None,
            waiting: Vec::new(),
        }
    }

    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        loop {
            let busy = self.work.is_some();
            tokio::select! {
                note = notes.recv() => match note {
                    Some(note) => self.hear(note),
                    None => return,
                },
                done = worked(&mut self.work) => {
                    self.work = None;
                    self.on_done(done);
                }
                plan = due(self.plan, busy) => {
                    self.plan = None;
                    self.begin(plan);
                }
            }
        }
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Up {
                peer,
                number,
                connection,
                pinger,
            } => {
                let link = Link {
                    number,
                    connection,
                    pinger,
                };
                self.links.insert(peer, link);
                if self.standing.reached.is_none() && !self.is_seen_open() {
                    self.plan_if_none(self.timing.ask_after, Plan::Ask);
                } else if self.is_shut() && self.standing.keeping.is_none() {
                    self.choose();
                }
            }
            Note::Down { peer, number, lost } => self.on_down(peer, number, lost),
            Note::Moved => {
                self.work = None;
                self.plan = None;
                self.standing = Standing::default();
                self.since = Instant::now();
                self.seen.forget();
                if !self.links.is_empty() {
                    self.plan_if_none(self.timing.ask_after, Plan::Ask);
                }
                self.tell();
            }
            Note::CameIn { peer, silence } => self.on_word(peer, silence),
            #[cfg(test)]
            Note::Tell(answer) => {
                self.waiting.push(answer);
                self.tell();
            }
            Note::Check(answer) => {
                self.waiting.push(answer);
                let trying = matches!(self.plan, Some((_, Plan::Try { .. })));
                if self.links.is_empty() {
                    self.tell();
                } else if self.work.is_none() && !trying {
                    self.begin(Plan::Ask);
                } else if self.standing.reached.is_some() {
                    // A silence is being tried: what is known is told, and the silence kept.
                    self.tell();
                }
            }
        }
    }

    /// What is seen need not be asked. It says nothing about silences that began on another network.
    fn on_word(&mut self, peer: NodeId, silence: Duration) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        if self.since.elapsed() < silence {
            return;
        }
        self.seen.note(link.connection.remote_address(), silence);
        self.standing.came_in = self.standing.came_in.max(Some(silence));
        if self.is_seen_open() && matches!(self.plan, Some((_, Plan::Ask))) {
            tracing::debug!(?silence, "the way in was seen to stay open");
            self.plan = None;
        }
    }

    /// Whether a word came in after a silence as long as the longest that would be tried, from everywhere that members
    /// are: between this machine and its neighbours there is no router, and so less that could forget.
    fn is_seen_open(&self) -> bool {
        let is_open = |link: &Link| self.is_open_to(link);
        !self.is_shut() && !self.links.is_empty() && self.links.values().all(is_open)
    }

    fn is_open_to(&self, link: &Link) -> bool {
        let [.., longest] = self.timing.silences;
        self.seen
            .is_open_to(link.connection.remote_address(), longest)
    }

    fn on_down(&mut self, peer: NodeId, number: u64, lost: bool) {
        if self
            .links
            .get(&peer)
            .is_none_or(|link| link.number != number)
        {
            return;
        }
        self.links.remove(&peer);
        match self.standing.keeping {
            Some((kept, every)) if kept == peer => {
                self.standing.keeping = None;
                if lost {
                    // Even so often was not often enough.
                    self.standing.died = Some(every);
                    let shorter = |silence: &Duration| *silence < every;
                    self.standing.survived = self.timing.silences.into_iter().rfind(shorter);
                }
                self.choose();
            }
            _ if lost && !self.is_shut() => {
                self.standing.reached = None;
                self.standing.came_in = None;
                self.seen.forget();
                self.plan = Some((Instant::now() + self.timing.suspect_after, Plan::Ask));
            }
            _ => {}
        }
    }

    fn begin(&mut self, plan: Plan) {
        // Every machine asks the same member as long as it is there, so a try goes on with the one who was asked. At
        // first it is one from where no word has come in by itself.
        let asked = self.standing.reached.map(|(peer, _)| peer);
        let unseen = |(_, link): &(&NodeId, &Link)| !self.is_open_to(link);
        let Some((peer, link)) = asked
            .and_then(|peer| self.links.get_key_value(&peer))
            .or_else(|| self.links.iter().find(unseen))
            .or_else(|| self.links.first_key_value())
        else {
            return;
        };
        let (peer, connection) = (*peer, link.connection.clone());
        match plan {
            Plan::Ask => {
                self.work = Some(Box::pin(async move {
                    Done::Asked(peer, reach::ask_reach(&connection).await)
                }));
            }
            Plan::Try { step, disturbed } => {
                let silence = self.timing.silences[step];
                self.work = Some(Box::pin(async move {
                    Done::Tried {
                        step,
                        disturbed,
                        silence: reach::ask_hold(&connection, silence).await,
                    }
                }));
            }
            Plan::Say => self.say(),
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Asked(peer, Some(reached)) => {
                let was_shut = self.is_shut();
                self.standing.reached = Some((peer, reached));
                if reached.open {
                    self.standing.keeping = None;
                    self.plan = None;
                } else if !was_shut {
                    tracing::info!("this machine cannot be reached from outside");
                    self.plan_now(Plan::Try {
                        step: 0,
                        disturbed: 0,
                    });
                } else if self.plan.is_none() {
                    self.choose();
                }
            }
            Done::Asked(_, None) => {}
            Done::Tried {
                step,
                disturbed,
                silence,
            } => self.on_tried(step, disturbed, silence),
        }
        self.tell();
    }

    fn on_tried(&mut self, step: usize, disturbed: u32, silence: Silence) {
        match silence {
            Silence::Survived => {
                self.standing.survived = Some(self.timing.silences[step]);
                if step + 1 < self.timing.silences.len() {
                    self.plan_now(Plan::Try {
                        step: step + 1,
                        disturbed: 0,
                    });
                    return;
                }
            }
            Silence::Died => self.standing.died = Some(self.timing.silences[step]),
            Silence::Disturbed if disturbed < DISTURBED_MAX => {
                let disturbed = disturbed + 1;
                let at = Instant::now() + self.timing.again_after;
                self.plan = Some((at, Plan::Try { step, disturbed }));
                return;
            }
            Silence::Disturbed => {}
        }
        self.choose();
    }

    /// Decides which connection is kept open, and how often a word is said: a little more often than the longest
    /// silence known to be survived. When not even the shortest was, no word is said: keeping the way open would cost
    /// more than a member may spend, and a person has to open the port.
    fn choose(&mut self) {
        let first = self.timing.silences[0];
        let safe = match (self.standing.survived, self.standing.died) {
            (Some(survived), _) => Some(survived),
            (None, Some(_)) => None,
            (None, None) => Some(first),
        };
        self.standing.keeping = safe.and_then(|silence| {
            let (peer, _) = self.links.first_key_value()?;
            Some((*peer, silence * 9 / 10))
        });
        if self.standing.keeping.is_some() {
            // At once: the way in may be shut already.
            self.plan_now(Plan::Say);
        } else {
            self.plan = None;
        }
    }

    fn say(&mut self) {
        let Some((peer, every)) = self.standing.keeping else {
            return;
        };
        if let Some(link) = self.links.get(&peer) {
            link.pinger.ping();
            self.standing.words += 1;
        }
        self.plan = Some((Instant::now() + every, Plan::Say));
    }

    fn is_shut(&self) -> bool {
        matches!(self.standing.reached, Some((_, reached)) if !reached.open)
    }

    fn plan_now(&mut self, plan: Plan) {
        self.plan = Some((Instant::now(), plan));
    }

    fn plan_if_none(&mut self, wait: Duration, plan: Plan) {
        if self.plan.is_none() && self.work.is_none() {
            self.plan = Some((Instant::now() + wait, plan));
        }
    }

    fn tell(&mut self) {
        self.standing.connected = self.links.len();
        for waiting in self.waiting.drain(..) {
            if waiting.send(self.standing.clone()).is_err() {
                tracing::debug!("nobody waits for it any more");
            }
        }
    }
}

async fn worked(work: &mut Option<Work>) -> Done {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// One thing at a time.
async fn due(plan: Option<(Instant, Plan)>, busy: bool) -> Plan {
    match plan {
        Some((at, plan)) if !busy => {
            sleep_until(at).await;
            plan
        }
        _ => std::future::pending().await,
    }
}
