//! The listener: who may even begin a handshake, and what comes of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hive_core::event::Input;
use hive_core::id::LinkId;
use quinn::{Endpoint, Incoming, ServerConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::clock;
use crate::net::crossing::{Crossing, Knocking};
use crate::net::guests::{Answer, Guests, Knock};
use crate::net::link::{Line, code, is_refused};
use crate::net::pair::Conversation;
use crate::net::socket::plain;
use crate::net::tls::{self, INCOMING_MAX, Purpose};
use crate::net::{Report, report, within};

/// Source: `research/security.md` 4.6 (handshake 5 s).
const HANDSHAKE_FOR: Duration = Duration::from_secs(5);

/// Source: `research/security.md` 4.6 (300 connections in all).
const CONNECTIONS_MAX: usize = 300;

/// What the listener needs.
pub(crate) struct Door {
    pub(crate) member_config: Arc<ServerConfig>,
    pub(crate) pair_config: Arc<ServerConfig>,
    pub(crate) pair_open: watch::Receiver<bool>,
    /// Addresses where members are, or lately were.
    pub(crate) familiar: watch::Receiver<BTreeSet<IpAddr>>,
    pub(super) crossing: Crossing,
    pub(crate) boot_nonce: [u8; 8],
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Door {
    /// Listens until the endpoint is closed.
    pub(crate) async fn keep(self, endpoint: Endpoint) {
        let half_open = Arc::new(Semaphore::new(INCOMING_MAX));
        let mut guests = Guests::new(clock::now().boot);
        while let Some(incoming) = endpoint.accept().await {
            let purpose = tls::purpose_of(&incoming.orig_dst_cid());
            if purpose == Purpose::Pair && !*self.pair_open.borrow() {
                incoming.refuse();
                continue;
            }
            let remote = plain(incoming.remote_address());
            let address = remote.ip();
            if purpose == Purpose::Member && self.crossing.is_refused(remote, Instant::now()) {
                incoming.refuse();
                continue;
            }
            let knock = Knock {
                address,
                true_address: incoming.remote_address_validated() || !may_prove(&incoming, remote),
                familiar: self.familiar.borrow().contains(&address),
                purpose,
                room: half_open.available_permits(),
            };
            let guest = match guests.knock(clock::now().boot, &knock) {
                Answer::Begin(guest) => guest,
                Answer::Prove => {
                    if incoming.retry().is_err() {
                        tracing::trace!("could not ask for a retry");
                    }
                    continue;
                }
                Answer::Refuse => {
                    incoming.refuse();
                    continue;
                }
                Answer::Ignore => {
                    incoming.ignore();
                    continue;
                }
            };
            let Ok(half) = half_open.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            if endpoint.open_connections() >= CONNECTIONS_MAX {
                incoming.refuse();
                continue;
            }
            let knocking = match purpose {
                Purpose::Member => Some(self.crossing.knock(remote)),
                Purpose::Pair => None,
            };
            let permits = Permits {
                half,
                guest,
                knocking,
            };
            match purpose {
                Purpose::Member => self.admit_member(incoming, permits),
                Purpose::Pair => self.admit_stranger(incoming, permits),
            }
        }
    }

    fn admit_member(&self, incoming: Incoming, mut permits: Permits) {
        let address = plain(incoming.remote_address());
        let Ok(connecting) = incoming.accept_with(self.member_config.clone()) else {
            return;
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let reports = self.reports.clone();
        let boot_nonce = self.boot_nonce;
        tokio::spawn(async move {
            let connection = match tokio::time::timeout(HANDSHAKE_FOR, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake failed");
                    if is_refused(Some(&error)) {
                        report(&reports, Report::Heard(Input::Misdialled { address })).await;
                    }
                    return;
                }
                Err(_) => return,
            };
            let Some(peer) = tls::proven(&connection) else {
                connection.close(code::NOT_A_MEMBER, b"");
                return;
            };
            let line = Line {
                number,
                peer,
                dialled: false,
                boot_nonce,
                connection,
                reports,
            };
            let knocking = permits.knocking.take();
            let greeted = line.greet().await;
            // From here on the one-per-member rule bounds it.
            drop(permits);
            if let Some(greeted) = greeted {
                greeted.serve(None, knocking).await;
            }
        });
    }

    fn admit_stranger(&self, incoming: Incoming, permits: Permits) {
        let Ok(connecting) = incoming.accept_with(self.pair_config.clone()) else {
            return;
        };
        let link = LinkId(self.numbers.fetch_add(1, Ordering::Relaxed));
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let Some(connection) = within(HANDSHAKE_FOR, connecting).await else {
                return;
            };
            let Some(key) = tls::proven(&connection) else {
                connection.close(code::NOT_A_MEMBER, b"");
                return;
            };
            let talk = Conversation {
                link,
                key,
                dialled: false,
                connection,
                reports,
            };
            let begun = talk.begin().await;
            drop(permits.half);
            if let Some(begun) = begun {
                begun.serve().await;
            }
            drop(permits.guest);
        });
    }
}

/// Whether it can be asked to prove its address. quinn's token forgets the scope of a link-local address and then
/// takes it for another one (seen with quinn-proto 0.11.19), so these are counted by address without a proof: they
/// come from this very wire.
fn may_prove(incoming: &Incoming, remote: SocketAddr) -> bool {
    let scoped = matches!(remote, SocketAddr::V6(six) if six.scope_id() != 0);
    incoming.may_retry() && !scoped
}

/// What a connection that is under way holds.
struct Permits {
    half: OwnedSemaphorePermit,
    guest: Option<OwnedSemaphorePermit>,
    knocking: Option<Knocking>,
}
