//! The listener: who may even begin a handshake, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hive_core::id::LinkId;
use hive_core::time::{Instant, Span};
use quinn::{Endpoint, Incoming, ServerConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::clock;
use crate::net::link::{Line, code};
use crate::net::pair::Conversation;
use crate::net::tls::{self, INCOMING_MAX, Purpose};
use crate::net::{Report, within};

/// Above so many half-open handshakes an address must first prove that it is one: a retry costs us nothing
/// and stops forged senders. A guess: half of [`INCOMING_MAX`].
const RETRY_ABOVE: usize = 32;

/// Source: `research/security.md` 4.6 (handshake 5 s).
const HANDSHAKE_FOR: Duration = Duration::from_secs(5);

/// Source: `research/security.md` 4.6 (300 connections in all).
const CONNECTIONS_MAX: usize = 300;

/// Pairing handshakes: so many at once, then one each [`PAIR_EVERY`]. A guess: a fleet that joins by one code
/// is slower, and codes have 80 bits.
const PAIR_BURST: u32 = 8;
const PAIR_EVERY: Span = Span::from_ms(250);

/// What the listener needs.
pub(crate) struct Door {
    pub(crate) member_config: Arc<ServerConfig>,
    pub(crate) pair_config: Arc<ServerConfig>,
    pub(crate) pair_open: watch::Receiver<bool>,
    pub(crate) boot_nonce: [u8; 8],
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Door {
    /// Listens until the endpoint is closed.
    pub(crate) async fn keep(self, endpoint: Endpoint) {
        let half_open = Arc::new(Semaphore::new(INCOMING_MAX));
        let mut pairings = Bucket::new();
        while let Some(incoming) = endpoint.accept().await {
            let busy = INCOMING_MAX - half_open.available_permits();
            let permit = half_open.clone().try_acquire_owned();
            let Ok(permit) = permit else {
                incoming.refuse();
                continue;
            };
            if busy >= RETRY_ABOVE && incoming.may_retry() && !incoming.remote_address_validated() {
                if incoming.retry().is_err() {
                    tracing::trace!("could not ask for a retry");
                }
                continue;
            }
            if endpoint.open_connections() >= CONNECTIONS_MAX {
                incoming.refuse();
                continue;
            }
            match tls::purpose_of(&incoming.orig_dst_cid()) {
                Purpose::Member => self.admit_member(incoming, permit),
                Purpose::Pair if *self.pair_open.borrow() && pairings.take(clock::now().boot) => {
                    self.admit_stranger(incoming, permit);
                }
                Purpose::Pair => incoming.refuse(),
            }
        }
    }

    fn admit_member(&self, incoming: Incoming, permit: OwnedSemaphorePermit) {
        let Ok(connecting) = incoming.accept_with(self.member_config.clone()) else {
            return;
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let reports = self.reports.clone();
        let boot_nonce = self.boot_nonce;
        tokio::spawn(async move {
            let Some(connection) = within(HANDSHAKE_FOR, connecting).await else {
                return;
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
            let greeted = line.greet().await;
            drop(permit);
            if let Some(greeted) = greeted {
                greeted.serve(None).await;
            }
        });
    }

    fn admit_stranger(&self, incoming: Incoming, permit: OwnedSemaphorePermit) {
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
            drop(permit);
            if let Some(begun) = begun {
                begun.serve().await;
            }
        });
    }
}

/// A token bucket.
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    fn new() -> Self {
        Self {
            tokens: PAIR_BURST,
            filled: clock::now().boot,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.since(self.filled).0 / PAIR_EVERY.0;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(PAIR_BURST);
            self.tokens = self.tokens.saturating_add(earned).min(PAIR_BURST);
            self.filled = now;
        }
        let there = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairing_handshakes_come_in_a_burst_and_then_four_a_second() {
        let start = clock::now().boot;
        let mut bucket = Bucket {
            tokens: PAIR_BURST,
            filled: start,
        };
        let taken = (0..100).filter(|_| bucket.take(start)).count();
        assert_eq!(taken, 8);
        let later = start.after(Span::from_ms(1_000));
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 4);
    }
}
