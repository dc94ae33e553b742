//! How much one address, and all strangers together, may ask of the door: pure bookkeeping, bounded.
//!
//! Nobody has shown a key yet when this is asked, so all that is known is an address, and whether it is a true one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use hive_core::time::{Instant, Span};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::tls::Purpose;

/// Handshakes from addresses that have proven nothing: so many at once, then one each span. A handshake costs half a
/// millisecond of processor here; this is at most one per cent of a core. Above it, an address must first answer a
/// retry, which costs us neither memory nor a signature.
const UNPROVEN: Rate = Rate(32, Span::from_ms(50));

/// Handshakes from one true address. A guess: a machine that dials ten members from behind one address, twice.
const EACH: Rate = Rate(24, Span::from_ms(500));

/// Handshakes from all true addresses where no member is known to be.
const STRANGERS: Rate = Rate(64, Span::from_ms(50));

/// Pairing conversations begun from one address, so that a stranger cannot use up what all may begin. A guess.
const PAIR_EACH: Rate = Rate(4, Span::from_secs(1));

/// Pairing conversations begun in all. A guess: a fleet that joins by one code is slower, and codes have 80 bits.
const PAIR_ALL: Rate = Rate(8, Span::from_ms(250));

/// Handshakes and pairing conversations under way from one address. A guess, as for [`EACH`].
const OPEN_EACH: usize = 8;

/// Half-open handshakes that only members' addresses may have beyond what all may have.
/// Source: `research/security.md` 4.5 has 64 in all; a quarter is kept. A guess.
const KEPT_FOR_MEMBERS: usize = 16;

/// Addresses remembered. A guess: 100 bytes each; more true addresses than that share [`STRANGERS`].
const ADDRESSES_MAX: usize = 1_024;

/// So many at once, then one each span.
#[derive(Clone, Copy, Debug)]
struct Rate(u32, Span);

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    tokens: u32,
    filled: Instant,
}

/// Who knocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knock {
    pub(crate) address: IpAddr,
    /// It has answered a retry, so it is where it says.
    pub(crate) true_address: bool,
    /// A member is, or lately was, at this address.
    pub(crate) familiar: bool,
    pub(crate) purpose: Purpose,
    /// Half-open handshakes that there is still room for.
    pub(crate) room: usize,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Begin; the permit is kept while it lasts.
    Begin(Option<OwnedSemaphorePermit>),
    /// It must first prove its address.
    Prove,
    /// No, said aloud: an honest dialler comes back later.
    Refuse,
    /// No, without a word: it is a flood.
    Ignore,
}

/// The bookkeeping.
#[derive(Debug)]
pub(crate) struct Guests {
    known: BTreeMap<IpAddr, Guest>,
    unproven: Bucket,
    strangers: Bucket,
    pairings: Bucket,
}

#[derive(Debug)]
struct Guest {
    handshakes: Bucket,
    pairings: Bucket,
    open: Arc<Semaphore>,
}

impl Guests {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            known: BTreeMap::new(),
            unproven: Bucket::full(UNPROVEN, now),
            strangers: Bucket::full(STRANGERS, now),
            pairings: Bucket::full(PAIR_ALL, now),
        }
    }

    /// Decides and counts.
    pub(crate) fn knock(&mut self, now: Instant, knock: &Knock) -> Answer {
        if !knock.familiar && knock.room <= KEPT_FOR_MEMBERS {
            return Answer::Ignore;
        }
        if !knock.true_address {
            // A pairing always proves its address first: it happens once, and an answer costs a whole conversation.
            let begins = knock.purpose == Purpose::Member && self.unproven.take(now);
            return if begins {
                Answer::Begin(None)
            } else {
                Answer::Prove
            };
        }
        let guest = self.guest(now, household(knock.address));
        let Ok(permit) = guest.open.clone().try_acquire_owned() else {
            return Answer::Refuse;
        };
        if !guest.handshakes.take(now) {
            return Answer::Ignore;
        }
        let pairs = knock.purpose == Purpose::Pair;
        if pairs && !guest.pairings.take(now) {
            return Answer::Refuse;
        }
        if !knock.familiar && !self.strangers.take(now) {
            return Answer::Ignore;
        }
        if pairs && !self.pairings.take(now) {
            return Answer::Refuse;
        }
        Answer::Begin(Some(permit))
    }

    fn guest(&mut self, now: Instant, address: IpAddr) -> &mut Guest {
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&address) {
            let oldest = self
                .known
                .iter()
                .min_by_key(|(_, guest)| guest.handshakes.filled)
                .map(|(address, _)| *address);
            if let Some(oldest) = oldest {
                self.known.remove(&oldest);
            }
        }
        self.known.entry(address).or_insert_with(|| Guest {
            handshakes: Bucket::full(EACH, now),
            pairings: Bucket::full(PAIR_EACH, now),
            open: Arc::new(Semaphore::new(OPEN_EACH)),
        })
    }
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            tokens: rate.0,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let Rate(burst, every) = self.rate;
        let earned = now.since(self.filled).0 / every.0;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(burst);
            self.tokens = self.tokens.saturating_add(earned).min(burst);
            self.filled = now;
        }
        let there = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        there
    }
}

/// An IPv6 machine has a whole /64 of addresses to call from.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let network = u128::from(six) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(1_000_000_000);

    fn stranger(address: &str) -> Knock {
        Knock {
            address: address.parse().expect("an address"),
            true_address: true,
            familiar: false,
            purpose: Purpose::Member,
            room: 64,
        }
    }

    fn begun(guests: &mut Guests, now: Instant, knock: &Knock, times: usize) -> usize {
        let begins = |_: &usize| matches!(guests.knock(now, knock), Answer::Begin(_));
        (0..times).filter(begins).count()
    }

    #[test]
    fn addresses_that_may_be_forged_soon_have_to_prove_themselves() {
        let mut guests = Guests::new(START);
        let forged = Knock {
            true_address: false,
            ..stranger("192.0.2.1")
        };
        assert_eq!(begun(&mut guests, START, &forged, 10_000), 32);
        assert!(matches!(guests.knock(START, &forged), Answer::Prove));
        // They cost no memory.
        assert!(guests.known.is_empty());
        let later = START.after(Span::from_secs(1));
        assert_eq!(begun(&mut guests, later, &forged, 10_000), 20);
        // Whoever wants to pair proves it at once.
        let pairing = Knock {
            purpose: Purpose::Pair,
            ..forged
        };
        let much_later = START.after(Span::from_secs(60));
        assert!(matches!(guests.knock(much_later, &pairing), Answer::Prove));
    }

    #[test]
    fn one_address_cannot_take_what_is_for_all() {
        let mut guests = Guests::new(START);
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(begun(&mut guests, START, &stranger(address), 10_000), 24);
        }
        // The same /64 is the same machine.
        let neighbour = stranger("2001:db8::2");
        assert_eq!(begun(&mut guests, START, &neighbour, 10), 0);
        let later = START.after(Span::from_secs(1));
        assert_eq!(begun(&mut guests, later, &stranger("192.0.2.1"), 100), 2);
    }

    #[test]
    fn all_strangers_together_leave_members_their_room() {
        let mut guests = Guests::new(START);
        let total: usize = (0..200)
            .map(|n| begun(&mut guests, START, &stranger(&format!("192.0.2.{n}")), 10))
            .sum();
        assert_eq!(total, 64);
        let member = Knock {
            familiar: true,
            ..stranger("192.0.2.250")
        };
        assert_eq!(begun(&mut guests, START, &member, 10), 10);
        // And of half-open handshakes.
        let crowded = Knock {
            room: 16,
            ..stranger("198.51.100.1")
        };
        let later = START.after(Span::from_secs(60));
        assert!(matches!(guests.knock(later, &crowded), Answer::Ignore));
        let member = Knock { room: 1, ..member };
        assert!(matches!(guests.knock(later, &member), Answer::Begin(_)));
    }

    #[test]
    fn so_many_are_open_from_one_address_until_one_ends() {
        let mut guests = Guests::new(START);
        let knock = stranger("192.0.2.1");
        let mut held = Vec::new();
        for _ in 0..OPEN_EACH {
            match guests.knock(START, &knock) {
                Answer::Begin(Some(permit)) => held.push(permit),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(guests.knock(START, &knock), Answer::Refuse));
        held.pop();
        assert!(matches!(
            guests.knock(START, &knock),
            Answer::Begin(Some(_))
        ));
    }

    #[test]
    fn pairing_comes_in_a_burst_and_then_four_a_second_of_which_one_address_has_one() {
        let mut guests = Guests::new(START);
        let pairs = |address: &str| Knock {
            purpose: Purpose::Pair,
            ..stranger(address)
        };
        assert_eq!(begun(&mut guests, START, &pairs("192.0.2.1"), 20), 4);
        assert_eq!(begun(&mut guests, START, &pairs("192.0.2.2"), 20), 4);
        assert_eq!(begun(&mut guests, START, &pairs("192.0.2.3"), 20), 0);
        let later = START.after(Span::from_secs(1));
        assert_eq!(begun(&mut guests, later, &pairs("192.0.2.1"), 20), 1);
        let rest: usize = (10..30)
            .map(|n| begun(&mut guests, later, &pairs(&format!("192.0.2.{n}")), 20))
            .sum();
        assert_eq!(rest, 3);
    }

    #[test]
    fn more_addresses_than_are_remembered_cost_no_more_memory() {
        let mut guests = Guests::new(START);
        for n in 0_u32..5_000 {
            let now = START.after(Span::from_ms(u64::from(n)));
            let address = IpAddr::V4((0x0a00_0000 + n).into());
            let knock = Knock {
                address,
                ..stranger("192.0.2.1")
            };
            guests.knock(now, &knock);
            assert!(guests.known.len() <= ADDRESSES_MAX);
        }
        assert_eq!(guests.known.len(), ADDRESSES_MAX);
    }
}
