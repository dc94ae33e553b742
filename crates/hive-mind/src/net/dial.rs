//! Dialling a member: all its addresses, one connection.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hive_core::id::NodeId;
use tokio::task::JoinSet;

use crate::net::link::Line;
use crate::net::socket::plain;
use crate::net::tls::Who;
use crate::net::{DIAL_FOR, NAME, Net, Report, report, within};

/// A member's addresses are tried this far apart. Source: RFC 8305 (250 ms).
const DIAL_APART: Duration = Duration::from_millis(250);

impl Net {
    /// Somebody who is at one of these addresses dials already.
    pub(super) fn dial_after_knock(&mut self, peer: NodeId, addresses: Vec<SocketAddr>) {
        *self.dials.entry(peer).or_insert(0) += 1;
        let (crossing, reports) = (self.crossing.clone(), self.reporter.clone());
        tokio::spawn(async move {
            crossing.wait(&addresses).await;
            report(&reports, Report::Knocked { peer, addresses }).await;
        });
    }

    /// Dials the addresses one after the other, a little apart; the first that answers with the right key wins.
    pub(super) fn start_dial(&mut self, peer: NodeId, addresses: Vec<SocketAddr>) {
        *self.dials.entry(peer).or_insert(0) += 1;
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
                    let connecting = endpoint.connect_with(config, address, NAME).ok()?;
                    let connection = within(DIAL_FOR, connecting).await?;
                    drop(dialling);
                    let line = Line {
                        number: numbers.fetch_add(1, Ordering::Relaxed),
                        peer,
                        dialled: true,
                        boot_nonce,
                        connection,
                        reports,
                    };
                    line.greet().await
                });
            }
            let mut winner = None;
            while let Some(ended) = tries.join_next().await {
                if let Ok(Some(greeted)) = ended {
                    winner = Some(greeted);
                    break;
                }
            }
            tries.abort_all();
            match winner {
                // The report of the end must follow that of readiness, or the dial would seem to have failed.
                Some(greeted) => greeted.serve(Some(Report::DialEnded { peer }), None).await,
                None => report(&reports, Report::DialEnded { peer }).await,
            }
        });
    }
}
