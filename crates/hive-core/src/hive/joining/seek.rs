//! Looking for the inviter: among those that were heard on the network, or at the places that a person named.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::hive::Hive;
use crate::hive::invite::InviteCode;
use crate::hive::joining::RETRY;
use crate::hive::outside::{HiveEffect, Sighting};
use crate::hive::ticket::Pass;
use crate::id::NodeId;
use crate::reply::{CommandError, JoinStage};
use crate::time::{Now, Span};

/// Places that a person named are tried this far apart. Source: RFC 8305 (250 ms).
const APART: Span = Span::from_ms(250);

/// How long one machine that was only heard of may keep the others waiting. A guess: on one network a
/// handshake and two answers take far less, and several must fit into [`FIND_PATIENCE`].
const ONE_PATIENCE: Span = Span::from_secs(3);

/// What a person told of the inviter besides the code.
#[derive(Clone, Debug, Default)]
pub(in crate::hive) struct Aim {
    /// Where it is: those places are tried, and nobody else is asked.
    pub(super) places: Vec<SocketAddr>,
    /// How many of them this round has tried.
    pub(super) tried: usize,
    /// The key that must answer.
    pub(super) key: Option<NodeId>,
    /// The beginning of its hive's id.
    pub(super) hive: Option<[u8; 8]>,
}

impl Aim {
    /// A typed address goes in front of a ticket's places.
    pub(super) fn of(pass: &Pass, at: Option<SocketAddr>) -> Self {
        let mut aim = Self {
            places: at.into_iter().collect(),
            ..Self::default()
        };
        if let Pass::Ticket(ticket) = pass {
            let others = ticket.places().iter().filter(|place| Some(**place) != at);
            aim.places.extend(others);
            aim.key = Some(ticket.inviter());
            aim.hive = Some(ticket.hive());
        }
        aim
    }
}

impl Hive {
    /// Looks for the inviter among those that were heard.
    pub(super) fn seek_heard(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        joining.retry_at = Some(now.boot.after(RETRY));
        if !joining.dialling.is_empty() || joining.talk.is_some() {
            if now.boot.since(joining.busy_since) >= ONE_PATIENCE {
                self.try_another(now, None);
            }
            return;
        }
        let mut heard = joining
            .code
            .as_ref()
            .map(|code| self.links.inviters(code.locator()))
            .unwrap_or_default();
        heard.retain(|address| !joining.failed.contains(address));
        let pick = u64::try_from(heard.len()).unwrap_or(0);
        let pick = usize::try_from(self.chance.below(pick)).unwrap_or(0);
        joining.busy_since = now.boot;
        match heard.get(pick).copied() {
            Some(address) => {
                joining.dialling.insert(address);
                self.outbox.push_back(HiveEffect::PairDial {
                    address,
                    expect: joining.aim.key,
                });
            }
            None => self.ask_network(now),
        }
    }

    /// Tries the places that a person named, one a little after the other; the first that answers is it.
    pub(super) fn seek_named(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        joining.retry_at = Some(now.boot.after(RETRY));
        if joining.talk.is_some() {
            return;
        }
        let next = joining.aim.places.get(joining.aim.tried).copied();
        let Some(address) = next else { return };
        joining.aim.tried += 1;
        if joining.aim.tried < joining.aim.places.len() {
            joining.retry_at = Some(now.boot.after(APART));
        }
        joining.busy_since = now.boot;
        joining.dialling.insert(address);
        self.outbox.push_back(HiveEffect::PairDial {
            address,
            expect: joining.aim.key,
        });
    }

    /// Somebody with an open invite was heard; dial at once if it is the one looked for.
    pub(in crate::hive) fn on_inviter_found(&mut self, now: Now, sighting: Sighting) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        let wanted = joining.code.as_ref().map(InviteCode::locator);
        let seeking = joining.stage == JoinStage::Seeking
            && joining.dialling.is_empty()
            && !joining.failed.contains(&sighting.address);
        if seeking
            && wanted.is_some_and(|wanted| sighting.beacon.locators.has(wanted))
            && joining.aim.places.is_empty()
        {
            joining.retry_at = Some(now.boot);
            self.on_join_time(now);
        }
    }

    /// Leaves the machine that is dialled or spoken with for another one that was heard.
    pub(super) fn try_another(&mut self, now: Now, error: Option<CommandError>) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        let talk = joining.talk;
        let dialled = core::mem::take(&mut joining.dialling);
        joining.failed.extend(dialled);
        joining.failed.extend(talk.map(|talk| talk.address));
        joining.error = error.or(joining.error.take());
        joining.retry(now.boot);
        if let Some(talk) = talk {
            self.end_pairing(talk.link);
        }
    }

    pub(in crate::hive) fn joiner_dial_failed(&mut self, now: Now, address: SocketAddr) {
        if let Some(joining) = &mut self.joining
            && joining.stage == JoinStage::Seeking
            && joining.dialling.remove(&address)
        {
            if joining.aim.tried < joining.aim.places.len() {
                joining.retry_at = Some(now.boot);
            } else if joining.dialling.is_empty() {
                joining.retry(now.boot);
            }
        }
    }
}
