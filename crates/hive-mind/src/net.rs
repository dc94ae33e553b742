//! The network: one UDP port for dialling and listening, at most one connection per member.
//!
//! Connections run as tasks of their own and report over one bounded channel; which of two connections to the
//! same member stays is decided here, by the loop that owns [`Net`], and nowhere else.

pub(crate) mod bells;
mod crossing;
mod dial;
mod door;
mod guests;
pub(crate) mod interfaces;
pub(crate) mod keeper;
pub(crate) mod link;
pub(crate) mod mdns;
pub(crate) mod pack;
mod pair;
pub(crate) mod query;
mod reach;
mod seen;
mod silence;
mod socket;
mod tls;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hive_core::event::Input;
use hive_core::event_log::Misdeed;
use hive_core::hive::outside::Lane;
use hive_core::id::{LinkId, NodeId};
use hive_core::limits::PENDING_MAX;
use hive_core::reply::NeedView;
use hive_core::signed::KeyPair;
use quinn::{Connection, Endpoint};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::key::Secret;
use crate::net::crossing::Crossing;
use crate::net::dial::Dials;
use crate::net::door::Door;
use crate::net::keeper::{Keeper, Note, Timing};
use crate::net::link::{Outbox, code, turn_away};
use crate::net::pair::Conversation;
use crate::net::socket::{Denied, Opened, plain, stable_port};
use crate::net::tls::{Identity, Who};
use crate::options::StartError;

/// Reports that wait for the loop; then connections wait, and their peers with them. A guess.
const REPORTS_MAX: usize = 256;

/// How long one address may take to answer a dial: the first packet and two repetitions (150, 300, 600 ms),
/// doubled. A guess.
const DIAL_FOR: Duration = Duration::from_secs(3);

/// Addresses tried for one dial. A guess: a machine has few; more is somebody's joke.
const DIAL_ADDRESSES_MAX: usize = 8;

/// Addresses of members that the door knows. Source: `research/security.md` 4.6 (256 members), two addresses each.
const FAMILIAR_MAX: usize = 512;

/// Dials to one member at a time: a newer one may know a better address. A guess.
const DIALS_MAX: u32 = 3;

/// How long saying goodbye may take.
const GOODBYE_FOR: Duration = Duration::from_millis(500);

/// Server name given to rustls, which wants one; it is never sent (no SNI) and never looked at.
const NAME: &str = "hive.invalid";

/// What the network is opened with.
pub(crate) struct NetConfig<'a> {
    pub(crate) secret: &'a Secret,
    /// The key that this one took over from.
    pub(crate) before: Option<&'a Secret>,
    /// New at each start, so that peers tell a restarted node from a second connection.
    pub(crate) boot_nonce: [u8; 8],
    /// None = all addresses of both families.
    pub(crate) bind: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    /// When the way in is looked after.
    pub(crate) timing: Timing,
    /// File that holds the last port.
    pub(crate) remembered: &'a Path,
}

/// What a connection's task says.
pub(crate) enum Report {
    Ready(Box<Ready>),
    Frame {
        number: u64,
        peer: NodeId,
        frame: Vec<u8>,
    },
    Refused {
        number: u64,
        peer: NodeId,
        misdeed: Misdeed,
    },
    /// A member's word came in by itself; for so long nothing had been sent to it.
    CameIn {
        number: u64,
        peer: NodeId,
        silence: Duration,
    },
    Renew {
        number: u64,
        peer: NodeId,
    },
    Ended {
        number: u64,
        peer: NodeId,
        /// It broke off without a word.
        lost: bool,
    },
    DialEnded {
        peer: NodeId,
        /// Where the right key answered and did not let this one in.
        refused: Option<SocketAddr>,
    },
    /// Something that is nobody's to decide but the core's.
    Heard(Input),
    /// A handshake came from where this member was to be dialled; it has ended, or takes long.
    Knocked {
        peer: NodeId,
        addresses: Vec<SocketAddr>,
    },
    PairReady(Box<PairReady>),
    PairFrame {
        link: LinkId,
        frame: Vec<u8>,
    },
    PairEnded {
        link: LinkId,
    },
    PairDialFailed {
        address: SocketAddr,
    },
}

/// A member's connection after its hellos.
pub(crate) struct Ready {
    pub(crate) number: u64,
    pub(crate) peer: NodeId,
    pub(crate) dialled: bool,
    pub(crate) boot_nonce: [u8; 8],
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
}

/// A pairing conversation after its first bytes.
pub(crate) struct PairReady {
    pub(crate) link: LinkId,
    pub(crate) key: NodeId,
    pub(crate) exporter: [u8; 32],
    pub(crate) dialled: bool,
    pub(crate) connection: Connection,
    pub(crate) outbox: mpsc::Sender<Vec<u8>>,
}

/// The network as the loop sees it.
pub(crate) struct Net {
    me: NodeId,
    port: u16,
    denied: Option<Denied>,
    boot_nonce: [u8; 8],
    identity: Identity,
    /// The identity that this one took over from.
    before: Option<Identity>,
    endpoint: Endpoint,
    members: watch::Sender<BTreeSet<NodeId>>,
    pairing: watch::Sender<bool>,
    /// Where members are or lately were: the door knows them before they have shown a key.
    familiar: watch::Sender<BTreeSet<IpAddr>>,
    lately: VecDeque<IpAddr>,
    keeper: Keeper,
    crossing: Crossing,
    numbers: Arc<AtomicU64>,
    links: BTreeMap<NodeId, Ready>,
    pairs: BTreeMap<LinkId, mpsc::Sender<Vec<u8>>>,
    dials: BTreeMap<NodeId, Dials>,
    /// Who is being told under the key before this one.
    telling: BTreeMap<NodeId, JoinHandle<()>>,
    inputs: VecDeque<Input>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
}

impl Net {
    /// Opens the port and starts listening; until told otherwise nobody may connect.
    pub(crate) fn open(config: &NetConfig<'_>) -> Result<Self, StartError> {
        let failed = |error: &dyn std::fmt::Display| StartError::Network(error.to_string());
        let me = KeyPair::from_secret(config.secret).node();
        let identity = Identity::new(config.secret, me).map_err(|error| failed(&error))?;
        let before = config.before.map(|secret| {
            let node = KeyPair::from_secret(secret).node();
            Identity::new(secret, node).map_err(|error| failed(&error))
        });
        let before = before.transpose()?;
        let Opened {
            socket,
            port,
            denied,
        } = stable_port(config)?;
        let (members, allowed) = watch::channel(BTreeSet::new());
        let (pairing, pair_open) = watch::channel(false);
        let (familiar, familiar_here) = watch::channel(BTreeSet::new());
        let member_config = identity
            .server(Who::Members(allowed))
            .map_err(|error| failed(&error))?;
        let pair_config = identity
            .server(Who::Anyone)
            .map_err(|error| failed(&error))?;
        let endpoint = Endpoint::new(
            tls::endpoint(config.secret),
            Some(member_config.clone()),
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(|error| failed(&error))?;
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        let numbers = Arc::new(AtomicU64::new(1));
        let crossing = Crossing::new(me);
        let door = Door {
            member_config: Arc::new(member_config),
            pair_config: Arc::new(pair_config),
            pair_open,
            familiar: familiar_here,
            crossing: crossing.clone(),
            boot_nonce: config.boot_nonce,
            numbers: numbers.clone(),
            reports: reporter.clone(),
        };
        tokio::spawn(door.keep(endpoint.clone()));
        Ok(Self {
            me,
            port,
            denied,
            boot_nonce: config.boot_nonce,
            identity,
            before,
            endpoint,
            members,
            pairing,
            familiar,
            lately: VecDeque::new(),
            keeper: Keeper::start(config.timing),
            crossing,
            numbers,
            links: BTreeMap::new(),
            pairs: BTreeMap::new(),
            dials: BTreeMap::new(),
            telling: BTreeMap::new(),
            inputs: VecDeque::new(),
            reports,
            reporter,
        })
    }

    /// The UDP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What a person should know of the port that was wanted.
    pub(crate) fn need(&self) -> Option<NeedView> {
        self.denied.as_ref().map(|denied| denied.need(self.port))
    }

    /// Who looks after the way in.
    pub(crate) fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }

    /// The next thing that happened on the network. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Option<Input> {
        loop {
            if let Some(input) = self.inputs.pop_front() {
                return Some(input);
            }
            let report = self.reports.recv().await?;
            self.take_in(report);
        }
    }

    /// Puts a frame on a lane. Without a connection it is lost, and the core will hear (or has heard) why.
    pub(crate) fn send(&mut self, peer: NodeId, lane: Lane, frame: Vec<u8>) {
        ways::sent(self.me, peer, &frame);
        if let Some(link) = self.links.get(&peer)
            && !link.outbox.put(lane, frame)
        {
            turn_away(&link.connection, code::TOO_SLOW);
        }
    }

    /// Tries to reach a member, which must prove that it is that member.
    pub(crate) fn dial(&mut self, peer: NodeId, mut addresses: Vec<SocketAddr>) {
        let running = self.dials.get(&peer).map_or(0, |dials| dials.running);
        if self.links.contains_key(&peer) || running >= DIALS_MAX {
            return;
        }
        addresses.truncate(DIAL_ADDRESSES_MAX);
        for address in &addresses {
            self.expect_from(address.ip());
        }
        if self.crossing.is_under_way(&addresses) {
            self.dial_after_knock(peer, addresses);
        } else {
            self.start_dial(peer, addresses);
        }
    }

    /// Ends a member's connection: nothing more is read or taken, and what was already said to it is brought,
    /// so that a removed machine hears its last word.
    pub(crate) fn close(&mut self, peer: NodeId) {
        // The connection's task does the rest when this end of its outbox is dropped.
        if let Some(link) = self.links.remove(&peer) {
            let (number, lost) = (link.number, false);
            self.keeper.note(Note::Down { peer, number, lost });
            self.inputs.push_back(Input::PeerDown { peer });
        }
    }

    /// From now on, exactly these may connect; connections of others end at once.
    pub(crate) fn members(&mut self, members: Vec<NodeId>) {
        let members: BTreeSet<NodeId> = members.into_iter().collect();
        for (peer, link) in &self.links {
            if !members.contains(peer) {
                turn_away(&link.connection, code::NOT_A_MEMBER);
            }
        }
        self.members.send_replace(members);
    }

    /// Opens or shuts the door for strangers who want to pair.
    pub(crate) fn pair_open(&mut self, open: bool) {
        self.pairing.send_replace(open);
    }

    /// The network is another one, or this machine slept: every connection has to show that it still works. One
    /// that does not ends within about a second, and its member is dialled anew.
    pub(crate) fn moved(&self) {
        self.keeper.note(Note::Moved);
        for link in self.links.values() {
            link.outbox.ping();
        }
    }

    /// Starts a pairing conversation.
    pub(crate) fn pair_dial(&mut self, address: SocketAddr, expect: Option<NodeId>) {
        let link = LinkId(self.numbers.fetch_add(1, Ordering::Relaxed));
        let who = expect.map_or(Who::Anyone, Who::PairWith);
        let connecting = self
            .identity
            .client(who)
            .map_err(|error| error.to_string())
            .and_then(|config| {
                self.endpoint
                    .connect_with(config, address, NAME)
                    .map_err(|error| error.to_string())
            });
        let reports = self.reporter.clone();
        tokio::spawn(async move {
            let begun = async {
                let connection = within(DIAL_FOR, connecting.ok()?).await?;
                let key = tls::proven(&connection)?;
                let talk = Conversation {
                    link,
                    key,
                    dialled: true,
                    connection,
                    reports: reports.clone(),
                };
                talk.begin().await
            };
            match begun.await {
                Some(begun) => begun.serve().await,
                None => report(&reports, Report::PairDialFailed { address }).await,
            }
        });
    }

    /// Sends a frame in a pairing conversation.
    pub(crate) fn pair_send(&mut self, link: LinkId, frame: Vec<u8>) {
        let lost = self
            .pairs
            .get(&link)
            .is_some_and(|outbox| outbox.try_send(frame).is_err());
        if lost {
            tracing::debug!("a pairing conversation does not take any more");
        }
    }

    /// Ends a pairing conversation once what was said has arrived.
    pub(crate) fn pair_close(&mut self, link: LinkId) {
        // Its task says the last words when this end of its outbox is dropped.
        self.pairs.remove(&link);
    }

    /// Says goodbye to everybody.
    pub(crate) async fn finish(self) {
        self.endpoint.close(code::BYE, b"");
        if tokio::time::timeout(GOODBYE_FOR, self.endpoint.wait_idle())
            .await
            .is_err()
        {
            tracing::debug!("not everybody heard the goodbye");
        }
    }

    fn take_in(&mut self, report: Report) {
        match report {
            Report::Ready(ready) => self.on_ready(*ready),
            Report::Frame {
                number,
                peer,
                frame,
            } => {
                if self.is_current(peer, number) {
                    ways::came(peer, self.me, &frame);
                    self.inputs.push_back(Input::Received { peer, frame });
                }
            }
            Report::Refused {
                number,
                peer,
                misdeed,
            } => {
                if self.is_current(peer, number) {
                    self.inputs
                        .push_back(Input::TransportRefused { peer, misdeed });
                }
            }
            Report::Renew { number, peer } => {
                if self.is_current(peer, number) {
                    let address = self
                        .links
                        .get(&peer)
                        .map(|link| plain(link.connection.remote_address()));
                    self.start_dial(peer, address.into_iter().collect());
                }
            }
            Report::Ended { number, peer, lost } => {
                if self.is_current(peer, number) {
                    self.links.remove(&peer);
                    self.keeper.note(Note::Down { peer, number, lost });
                    self.inputs.push_back(Input::PeerDown { peer });
                }
            }
            Report::CameIn {
                number,
                peer,
                silence,
            } => self.on_word_after(silence, peer, number),
            Report::DialEnded { peer, refused } => self.on_dial_ended(peer, refused),
            Report::Heard(input) => self.inputs.push_back(input),
            Report::Knocked { peer, addresses } if self.links.contains_key(&peer) => {
                tracing::trace!(addresses = addresses.len(), "it dialled first");
                self.on_dial_ended(peer, None);
            }
            Report::Knocked { peer, addresses } => {
                self.start_dial(peer, addresses);
                self.on_dial_ended(peer, None);
            }
            Report::PairReady(ready) => self.on_pair_ready(*ready),
            Report::PairFrame { link, frame } => {
                if self.pairs.contains_key(&link) {
                    self.inputs.push_back(Input::PairReceived { link, frame });
                }
            }
            Report::PairEnded { link } => {
                if self.pairs.remove(&link).is_some() {
                    self.inputs.push_back(Input::PairDown { link });
                }
            }
            Report::PairDialFailed { address } => {
                self.inputs.push_back(Input::PairDialFailed { address });
            }
        }
    }

    /// One connection per pair. A new boot nonce means that the peer has restarted: the new one stays. Else, of
    /// two dials from both sides the smaller node's stays, and of two from one side the newer; both sides see
    /// the same two connections, so both decide alike.
    fn on_ready(&mut self, new: Ready) {
        // The verifier has checked this; a removal may have fallen in between.
        if !self.members.borrow().contains(&new.peer) {
            turn_away(&new.connection, code::NOT_A_MEMBER);
            return;
        }
        let peer = new.peer;
        let address = plain(new.connection.remote_address());
        if let Some(old) = self.links.get(&peer) {
            let same_boot = old.boot_nonce == new.boot_nonce;
            let crossed = old.dialled != new.dialled;
            let old_by_smaller = old.dialled == (self.me < peer);
            if same_boot && crossed && old_by_smaller {
                turn_away(&new.connection, code::REPLACED);
                // The peer would hardly dial if the old one worked for it. If it is dead, this finds out.
                old.outbox.ping();
                return;
            }
            // An honest restart hears nothing of this: the run that it is said to has ended.
            let why = if same_boot {
                code::REPLACED
            } else {
                code::OTHER_RUN
            };
            turn_away(&old.connection, why);
            self.inputs.push_back(Input::PeerDown { peer });
        }
        tracing::debug!(peer = %peer.short(), %address, dialled = new.dialled, "connected");
        self.keeper.note(Note::Up {
            peer,
            number: new.number,
            connection: new.connection.clone(),
            pinger: new.outbox.pinger(),
        });
        self.links.insert(peer, new);
        self.expect_from(address.ip());
        self.inputs.push_back(Input::PeerUp { peer, address });
    }

    /// The newest first; an address that is not heard of for long makes room.
    fn expect_from(&mut self, address: IpAddr) {
        self.lately.retain(|other| *other != address);
        self.lately.push_front(address);
        self.lately.truncate(FAMILIAR_MAX);
        let now: BTreeSet<IpAddr> = self.lately.iter().copied().collect();
        self.familiar.send_if_modified(|then| {
            let changed = *then != now;
            *then = now;
            changed
        });
    }

    fn on_pair_ready(&mut self, ready: PairReady) {
        if self.pairs.len() >= PENDING_MAX {
            turn_away(&ready.connection, code::TOO_SLOW);
            return;
        }
        self.pairs.insert(ready.link, ready.outbox);
        self.inputs.push_back(Input::PairUp {
            link: ready.link,
            key: ready.key,
            exporter: ready.exporter,
            address: plain(ready.connection.remote_address()),
            dialled: ready.dialled,
        });
    }

    /// Beside an older connection a newer one may have kept the way in open.
    fn on_word_after(&self, silence: Duration, peer: NodeId, number: u64) {
        if self.is_current(peer, number) {
            self.keeper.note(Note::CameIn { peer, silence });
        }
    }

    fn is_current(&self, peer: NodeId, number: u64) -> bool {
        self.links
            .get(&peer)
            .is_some_and(|link| link.number == number)
    }
}

/// Gives a report to the loop, if there still is one.
async fn report(reports: &mpsc::Sender<Report>, report: Report) {
    if reports.send(report).await.is_err() {
        tracing::trace!("the loop has ended");
    }
}

async fn within(span: Duration, connecting: quinn::Connecting) -> Option<Connection> {
    match tokio::time::timeout(span, connecting).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
