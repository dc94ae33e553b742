//! Dialling a member: all its addresses, one connection.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hive_core::event::Input;
use hive_core::id::NodeId;
use tokio::task::JoinSet;

use crate::net::link::{Line, is_refused};
use crate::net::socket::plain;
use crate::net::tls::Who;
use crate::net::{DIAL_FOR, NAME, Net, Report, report, within};

/// A member's addresses are tried this far apart. Source: RFC 8305 (250 ms).
const DIAL_APART: Duration = Duration::from_millis(250);

/// How long the connection of an old key may last: twice what a single frame may take, for a map can be two. The member
/// ends it as soon as it knows the new one.
const HEARD_FOR: Duration = Duration::from_mins(1);

/// Dials of one member that are under way.
#[derive(Debug, Default)]
pub(super) struct Dials {
    pub(super) running: u32,
    /// Where one of them found the right key, and was not let in.
    pub(super) refused: Option<SocketAddr>,
}

impl Net {
    /// Somebody who is at one of these addresses dials already.
    pub(super) fn dial_after_knock(&mut self, peer: NodeId, addresses: Vec<SocketAddr>) {
        self.dials.entry(peer).or_default().running += 1;
        let (crossing, reports) = (self.crossing.clone(), self.reporter.clone());
        tokio::spawn(async move {
            crossing.wait(&addresses).await;
            report(&reports, Report::Knocked { peer, addresses }).await;
        });
    }

    /// Dials the addresses one after the other, a little apart; the first that answers with the right key wins.
    pub(super) fn start_dial(&mut self, peer: NodeId, addresses: Vec<SocketAddr>) {
        self.dials.entry(peer).or_default().running += 1;
        let config = self.identity.client(Who::Member(peer));
        let endpoint = self.endpoint.clone();
        let numbers = self.numbers.clone();
        let reports = self.reporter.clone();
        let boot_nonce = self.boot_nonce;
        let crossing = self.crossing.clone();
        tokio::spawn(async move {
            let mut tries = JoinSet::new();
            for (place, address) in (0_u32..).zip(addresses) {
                let Ok(config) = &config else { break };
                let (endpoint, config) = (endpoint.clone(), config.clone());
                let (numbers, reports) = (numbers.clone(), reports.clone());
                let crossing = crossing.clone();
                tries.spawn(async move {
                    tokio::time::sleep(DIAL_APART * place).await;
                    let dialling = crossing.dial(peer, plain(address));
                    let connecting = endpoint.connect_with(config, address, NAME);
                    let connection = within(DIAL_FOR, connecting.map_err(|_| None)?).await;
                    let connection = connection.ok_or(None)?;
                    drop(dialling);
                    let line = Line {
                        number: numbers.fetch_add(1, Ordering::Relaxed),
                        peer,
                        dialled: true,
                        boot_nonce,
                        connection: connection.clone(),
                        reports,
                    };
                    let greeted = line.greet().await;
                    // Here the other side has shown its key; it checks ours only now.
                    let why = connection.close_reason();
                    greeted.ok_or_else(|| is_refused(why.as_ref()).then(|| plain(address)))
                });
            }
            let (mut winner, mut refused) = (None, None);
            while let Some(ended) = tries.join_next().await {
                match ended {
                    Ok(Ok(greeted)) => {
                        winner = Some(greeted);
                        break;
                    }
                    Ok(Err(not_let_in)) => refused = not_let_in.or(refused),
                    Err(_) => {}
                }
            }
            tries.abort_all();
            match winner {
                // The report of the end must follow that of readiness, or the dial would seem to have failed.
                Some(greeted) => {
                    let refused = None;
                    let ended = Report::DialEnded { peer, refused };
                    greeted.serve(Some(ended), None).await;
                }
                None => report(&reports, Report::DialEnded { peer, refused }).await,
            }
        });
    }

    /// Once none is under way and none connected, it is told.
    pub(super) fn on_dial_ended(&mut self, peer: NodeId, refused: Option<SocketAddr>) {
        let mut dials = self.dials.remove(&peer).unwrap_or_default();
        dials.running = dials.running.saturating_sub(1);
        dials.refused = refused.or(dials.refused);
        if dials.running > 0 {
            self.dials.insert(peer, dials);
            return;
        }
        if !self.links.contains_key(&peer) {
            self.inputs.push_back(match dials.refused {
                Some(address) => Input::DialRefused { peer, address },
                None => Input::DialFailed { peer },
            });
        }
    }

    /// Connects under the key that this machine had before, brings these frames and ends it. Not twice at a time to one
    /// member.
    pub(crate) fn hand_over(&mut self, peer: NodeId, address: SocketAddr, frames: Vec<Vec<u8>>) {
        self.telling.retain(|_, telling| !telling.is_finished());
        let Some(before) = &self.before else {
            return;
        };
        if self.telling.contains_key(&peer) {
            return;
        }
        let connecting = before.client(Who::Member(peer)).ok();
        let connecting =
            connecting.and_then(|it| self.endpoint.connect_with(it, address, NAME).ok());
        let Some(connecting) = connecting else {
            return;
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let reports = self.reporter.clone();
        let boot_nonce = self.boot_nonce;
        let telling = tokio::spawn(async move {
            let Some(connection) = within(DIAL_FOR, connecting).await else {
                return;
            };
            let line = Line {
                number,
                peer,
                dialled: true,
                boot_nonce,
                connection,
                reports,
            };
            if let Some(greeted) = line.greet().await
                && greeted.tell(&frames, HEARD_FOR).await
            {
                tracing::info!(peer = %peer.short(), "it was told of the new key and ended the connection");
            }
        });
        self.telling.insert(peer, telling);
    }
}
