//! From where members' words have come in by themselves, and after how long a silence: what a firewall there would have
//! kept out, had it forgotten this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::socket::plain;

/// The longest silences that words ended by themselves.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<Neighbourhood, Duration>);

/// Machines between which there is mostly no router: those whose addresses share 24 bits, of IPv6 64. A guess; where it
/// is wrong, a question too many is asked, or one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Neighbourhood {
    Four([u8; 3]),
    Six([u16; 4]),
}

impl Seen {
    /// A word came in from there after so long a silence.
    pub(super) fn note(&mut self, from: SocketAddr, silence: Duration) {
        let longest = self.0.entry(Neighbourhood::of(from)).or_default();
        *longest = silence.max(*longest);
    }

    /// Whether words from there came in after a silence of this length.
    pub(super) fn is_open_to(&self, there: SocketAddr, silence: Duration) -> bool {
        let longest = self.0.get(&Neighbourhood::of(there));
        longest.is_some_and(|longest| *longest >= silence)
    }

    /// On another network nothing of it counts.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Neighbourhood {
    fn of(address: SocketAddr) -> Self {
        match plain(address).ip() {
            IpAddr::V4(four) => {
                let [a, b, c, _] = four.octets();
                Self::Four([a, b, c])
            }
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                Self::Six([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbours_word_says_nothing_about_those_behind_the_router() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (short, long) = (Duration::from_secs(31), Duration::from_secs(290));
        let mut seen = Seen::default();
        assert!(!seen.is_open_to(at("192.0.2.7:1"), short));
        seen.note(at("192.0.2.7:1"), long);
        seen.note(at("192.0.2.8:1"), short);
        seen.note(at("[::ffff:198.51.100.7]:1"), short);
        // The longest counts, and a mapped address is what it stands for.
        assert!(seen.is_open_to(at("192.0.2.9:4483"), long));
        assert!(seen.is_open_to(at("198.51.100.9:1"), short));
        assert!(!seen.is_open_to(at("198.51.100.9:1"), long));
        assert!(!seen.is_open_to(at("203.0.113.7:1"), short));
        assert!(!seen.is_open_to(at("[2001:db8::7]:1"), short));
        seen.note(at("[2001:db8::7]:1"), long);
        assert!(seen.is_open_to(at("[2001:db8::1:2:3:4]:1"), long));
        assert!(!seen.is_open_to(at("[2001:db8:0:1::7]:1"), short));
        seen.forget();
        assert!(!seen.is_open_to(at("192.0.2.7:1"), short));
    }
}
