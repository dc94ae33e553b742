//! The long form of an invite, for machines that no multicast reaches: the code, who invites, into which hive,
//! and where. It is written in bech32m with the prefix `hive` (BIP-350), so that a mistyped symbol is found.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version in the upper half, number of places in the lower |
//! | 1 | one bit for each place: bits 0 to 3 = IPv6, bits 4 to 7 = it has a port of its own |
//! | 10 | the code's secret |
//! | 32 | the inviter's key |
//! | 8 | the first bytes of the hive's id |
//! | 2 | the port of every place that has none of its own |
//! | 4 or 16, and 2 for an own port | each place |

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use bech32::primitives::decode::UncheckedHrpstring;
use bech32::{Bech32m, Fe32, Hrp};
use serde::{Deserialize, Serialize};

use crate::hive::invite::{InviteCode, ParseError};
use crate::id::{HiveId, NodeId};

/// Places that one ticket names. Source: `research/security.md` 4.2.
pub const PLACES_MAX: usize = 4;

/// Bytes of one ticket, its checksum not counted. Source: `research/security.md` 4.2; 198 symbols, which a QR code
/// of 45 by 45 squares holds.
pub const BYTES_MAX: usize = 120;

/// Bytes in front of the places.
const HEAD: usize = 54;

const PREFIX: Hrp = Hrp::parse_unchecked("hive");
const VERSION: u8 = 1;

/// Symbols of the checksum at the end.
const CHECKSUM: usize = 6;

/// What an invite shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Invitation {
    /// Whether a ticket is wanted too.
    pub ticket: bool,
    /// Seconds that it stays good; none = ten minutes.
    pub seconds: Option<u64>,
    /// Where this machine can be reached, the best first; filled in by the shell.
    #[serde(skip)]
    pub places: Vec<SocketAddr>,
}

/// An invite with everything that a machine elsewhere needs to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    code: InviteCode,
    inviter: NodeId,
    hive: [u8; 8],
    places: Vec<SocketAddr>,
}

/// What a person brings from the inviting machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The short code.
    Code(InviteCode),
    /// The long ticket.
    Ticket(Ticket),
}

/// Why a text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// It looks like a code.
    #[error("{0}")]
    Code(#[from] ParseError),
    /// It looks like a ticket.
    #[error("{0}")]
    Ticket(#[from] TicketError),
}

/// Why a text is no ticket. No attempt was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin as one.
    #[error("a ticket begins with hive1")]
    Prefix,
    /// A character that no ticket contains.
    #[error("'{0}' is in no ticket")]
    Symbol(char),
    /// Its end is missing.
    #[error("the ticket is cut off: {0} of its symbols are missing")]
    Cut(usize),
    /// All symbols exist, but they do not fit each other: a typing mistake.
    #[error("the ticket has a typing mistake")]
    Checksum,
    /// Made by a newer or older program.
    #[error("the ticket is of version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Made by a program that is wrong: no two ways to write the same, no place that cannot be dialled.
    #[error("the ticket is not written as tickets are")]
    Form,
}

impl Ticket {
    /// The ticket of a code. Of the places, it names as many as fit, the first ones.
    #[must_use]
    pub fn new(code: InviteCode, inviter: NodeId, hive: HiveId, places: &[SocketAddr]) -> Self {
        let mut ticket = Self {
            code,
            inviter,
            hive: mark(hive),
            places: Vec::new(),
        };
        for place in places {
            let place = SocketAddr::new(place.ip().to_canonical(), place.port());
            if !is_dialled(place) || ticket.places.contains(&place) {
                continue;
            }
            ticket.places.push(place);
            let (count, bytes) = (ticket.places.len(), ticket.bytes().len());
            if count > PLACES_MAX || bytes > BYTES_MAX {
                ticket.places.pop();
            }
        }
        ticket
    }

    /// The code in it.
    #[must_use]
    pub fn code(&self) -> &InviteCode {
        &self.code
    }

    /// The key that must answer.
    #[must_use]
    pub fn inviter(&self) -> NodeId {
        self.inviter
    }

    /// Where to look for it, the best first.
    #[must_use]
    pub fn places(&self) -> &[SocketAddr] {
        &self.places
    }

    /// Whether it leads into this hive, as far as eight bytes can tell.
    #[must_use]
    pub fn leads_into(&self, hive: HiveId) -> bool {
        self.hive == mark(hive)
    }

    pub(super) fn hive(&self) -> [u8; 8] {
        self.hive
    }

    fn bytes(&self) -> Vec<u8> {
        let port = self.places.first().map_or(0, SocketAddr::port);
        let mut flags = 0;
        let mut tail = Vec::new();
        for (bit, place) in self.places.iter().enumerate() {
            match place.ip() {
                IpAddr::V4(four) => tail.extend(four.octets()),
                IpAddr::V6(six) => {
                    flags |= 1 << bit;
                    tail.extend(six.octets());
                }
            }
            if place.port() != port {
                flags |= 16 << bit;
                tail.extend(place.port().to_be_bytes());
            }
        }
        let count = u8::try_from(self.places.len()).unwrap_or(u8::MAX);
        let mut bytes = alloc::vec![VERSION << 4 | count & 15, flags];
        bytes.extend(self.code.secret());
        bytes.extend(self.inviter.0);
        bytes.extend(self.hive);
        bytes.extend(port.to_be_bytes());
        bytes.extend(tail);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, mut tail) = bytes.split_first_chunk::<HEAD>()?;
        let flags = head[1];
        let mut places = Vec::new();
        let port = u16::from_be_bytes([head[52], head[53]]);
        for bit in 0..usize::from(head[0] & 15) {
            let ip: IpAddr = if flags & 1 << bit == 0 {
                Ipv4Addr::from(take::<4>(&mut tail)?).into()
            } else {
                Ipv6Addr::from(take::<16>(&mut tail)?).into()
            };
            let own = flags & 16 << bit != 0;
            let port = if own {
                u16::from_be_bytes(take(&mut tail)?)
            } else {
                port
            };
            places.push(SocketAddr::new(ip, port));
        }
        let secret: [u8; 10] = head[2..12].try_into().ok()?;
        let ticket = Self {
            code: InviteCode::new(secret),
            inviter: NodeId(head[12..44].try_into().ok()?),
            hive: head[44..52].try_into().ok()?,
            places,
        };
        let fine = ticket.places.iter().all(|place| is_dialled(*place));
        // What could be written in another way too, or has something behind it, is no ticket.
        (fine && ticket.bytes() == bytes).then_some(ticket)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32m>(PREFIX, &self.bytes()).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Letters of either case are taken, and spaces and line ends within: letters travel through mail.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        // Nothing longer is a ticket; nothing longer is copied.
        let longest = symbols(BYTES_MAX) + PREFIX.len() + 1;
        let mut folded = String::new();
        for symbol in text.chars().filter(|c| !c.is_whitespace()) {
            if folded.len() > longest {
                return Err(TicketError::Form);
            }
            folded.push(symbol.to_ascii_lowercase());
        }
        let body = folded.strip_prefix("hive1").ok_or(TicketError::Prefix)?;
        let stranger = body.chars().find(|c| Fe32::from_char(*c).is_err());
        if let Some(symbol) = stranger {
            return Err(TicketError::Symbol(symbol));
        }
        let missing = length(body).saturating_sub(body.len());
        let unchecked = UncheckedHrpstring::new(&folded).map_err(|_| TicketError::Checksum)?;
        if !unchecked.has_valid_checksum::<Bech32m>() {
            return Err(if missing > 0 {
                TicketError::Cut(missing)
            } else {
                TicketError::Checksum
            });
        }
        let checked = unchecked.remove_checksum::<Bech32m>();
        let bytes: Vec<u8> = checked.byte_iter().collect();
        match bytes.first().map(|first| first >> 4) {
            Some(VERSION) => {}
            Some(other) => return Err(TicketError::Version(other)),
            None => return Err(TicketError::Form),
        }
        let ticket = Self::read(&bytes).ok_or(TicketError::Form)?;
        // The bits that fill up the last symbol are zero.
        if alloc::format!("{ticket}") == folded {
            Ok(ticket)
        } else {
            Err(TicketError::Form)
        }
    }
}

impl Pass {
    /// The code in it.
    #[must_use]
    pub fn code(&self) -> &InviteCode {
        match self {
            Self::Code(code) => code,
            Self::Ticket(ticket) => ticket.code(),
        }
    }
}

impl FromStr for Pass {
    type Err = PassError;

    /// A ticket begins with `hive1`; so does a code whose dashes were left out, but that has 20 symbols.
    fn from_str(text: &str) -> Result<Self, PassError> {
        let seen = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        let start: String = seen.clone().take(5).collect();
        let is_ticket = start.eq_ignore_ascii_case("hive1") && seen.skip(5).take(20).count() == 20;
        Ok(if is_ticket {
            Self::Ticket(text.parse()?)
        } else {
            Self::Code(text.parse()?)
        })
    }
}

/// What a ticket tells of a hive.
fn mark(hive: HiveId) -> [u8; 8] {
    let mut mark = [0; 8];
    mark.copy_from_slice(&hive.0[..8]);
    mark
}

/// Symbols of so many bytes, checksum included.
const fn symbols(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5) + CHECKSUM
}

/// How many symbols must follow the prefix, as the first of them tell: a cut leaves those in place.
fn length(body: &str) -> usize {
    let mut bits = 0_u32;
    for symbol in body.chars().chain("qqqq".chars()).take(4) {
        let value = Fe32::from_char(symbol).map_or(0, Fe32::to_u8);
        bits = bits << 5 | u32::from(value);
    }
    let bit = |at: u32| bits >> (4 + at) & 1 == 1;
    // Sixteen bits: version, count, own ports, families.
    let count = bits >> 12 & 15;
    let places = (0..count.min(4)).map(|place| {
        let port = if bit(4 + place) { 2 } else { 0 };
        port + if bit(place) { 16 } else { 4 }
    });
    symbols(HEAD + places.sum::<usize>())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

/// Whether a machine elsewhere could dial it. Link-local addresses mean nothing there.
fn is_dialled(place: SocketAddr) -> bool {
    let fine = match place.ip() {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_link_local(),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_none() && !ip.is_unicast_link_local(),
    };
    fine && place.port() != 0 && !place.ip().is_unspecified() && !place.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn ticket(places: &[&str]) -> Ticket {
        let places: Vec<SocketAddr> = places.iter().map(|text| place(text)).collect();
        let code = InviteCode::new([7; 10]);
        Ticket::new(code, NodeId([9; 32]), HiveId([3; 32]), &places)
    }

    #[test]
    fn a_ticket_survives_mail_and_capital_letters() {
        let ticket = ticket(&["192.0.2.7:4483", "[2001:db8::7]:4483", "203.0.113.1:9000"]);
        let text = ticket.to_string();
        assert!(text.starts_with("hive1"));
        assert_eq!(text.parse(), Ok(ticket.clone()));
        assert_eq!(text.to_uppercase().parse(), Ok(ticket.clone()));
        let (front, back) = text.split_at(70);
        let folded = alloc::format!("  {front}\r\n {back}\n");
        assert_eq!(folded.parse(), Ok(ticket.clone()));
        assert_eq!(folded.parse(), Ok(Pass::Ticket(ticket)));
    }

    #[test]
    fn a_ticket_is_written_as_another_programs_bech32m_writes_it() {
        // Calculated apart from this program, from the table above and the reference code of BIP-350.
        let golden = concat!(
            "hive1zg3qwpc8qurswpc8qursjzgfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpyysj",
            "zgfpyysjzgrqvpsxqcrqvp3rq7qqqpqwgqppkuqqqqqqqqqqqqqqqqqqper9q5sav8l",
        );
        let ticket = ticket(&["192.0.2.7:4483", "[2001:db8::7]:9000"]);
        assert_eq!(ticket.to_string(), golden);
        assert_eq!(golden.parse(), Ok(ticket));
    }

    #[test]
    fn the_longest_ticket_keeps_its_bound_and_names_the_first_places() {
        let six: Vec<String> = (0..9)
            .map(|n| alloc::format!("[2001:db8::{n}]:{}", 4483 + n / 6))
            .collect();
        let six: Vec<&str> = six.iter().map(String::as_str).collect();
        let long = ticket(&six);
        assert_eq!(long.places().len(), PLACES_MAX);
        assert_eq!(long.bytes().len(), 118);
        assert!(long.to_string().len() <= 203);
        // Four of IPv6, each with a port of its own, do not fit.
        let ports = ["[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::3]:3"];
        let mixed = ticket(&[&ports[..], &["[2001:db8::4]:4", "192.0.2.7:5"]].concat());
        assert_eq!(mixed.bytes().len(), 112);
        assert_eq!(mixed.places()[3], place("192.0.2.7:5"));
        assert_eq!(mixed.to_string().parse(), Ok(mixed));
    }

    #[test]
    fn places_that_nobody_elsewhere_could_dial_are_left_out() {
        let ticket = ticket(&[
            "0.0.0.0:4483",
            "[fe80::1]:4483",
            "169.254.1.1:4483",
            "224.0.0.251:4483",
            "192.0.2.7:0",
            "[::ffff:192.0.2.8]:4483",
            "192.0.2.8:4483",
        ]);
        assert_eq!(ticket.places(), [place("192.0.2.8:4483")]);
    }

    #[test]
    fn what_is_wrong_with_a_ticket_is_told_apart() {
        let whole = ticket(&["192.0.2.7:4483", "[2001:db8::7]:4483"]).to_string();
        let read = |text: &str| text.parse::<Ticket>().expect_err("no ticket");
        for cut in [1, 2, 30, whole.len() - 12] {
            let left = &whole[..whole.len() - cut];
            assert_eq!(read(left), TicketError::Cut(cut), "{left}");
        }
        let other = if whole.ends_with('q') { "p" } else { "q" };
        let typo = whole[..whole.len() - 1].to_string() + other;
        assert_eq!(read(&typo), TicketError::Checksum);
        assert_eq!(read(&alloc::format!("{whole}q")), TicketError::Checksum);
        assert_eq!(read("tree1qqqqqq"), TicketError::Prefix);
        assert_eq!(
            read(&whole.replacen("hive1", "hive1b", 1)),
            TicketError::Symbol('b')
        );
        assert_eq!(read(&"hive1q".repeat(500)), TicketError::Form);
        for version in [0, 2, 15] {
            let mut bytes = ticket(&[]).bytes();
            bytes[0] = version << 4;
            let text = bech32::encode::<Bech32m>(PREFIX, &bytes).expect("written");
            assert_eq!(read(&text), TicketError::Version(version));
        }
    }

    #[test]
    fn a_ticket_that_could_be_written_otherwise_is_none() {
        let fine = ticket(&["192.0.2.7:4483", "192.0.2.8:4483"]).bytes();
        let changes: [(usize, u8); 4] = [(0, 0x13), (1, 16), (1, 64), (0, 0x1f)];
        for (at, value) in changes {
            let mut bytes = fine.clone();
            bytes[at] = value;
            let text = bech32::encode::<Bech32m>(PREFIX, &bytes).expect("written");
            assert_eq!(text.parse::<Ticket>(), Err(TicketError::Form), "{at}");
        }
        let longer = [&fine[..], &[0]].concat();
        let text = bech32::encode::<Bech32m>(PREFIX, &longer).expect("written");
        assert_eq!(text.parse::<Ticket>(), Err(TicketError::Form));
    }

    #[test]
    fn a_code_without_dashes_is_no_ticket() {
        let code = InviteCode::new([0; 10]);
        let plain = code.to_string().replace('-', "");
        assert_eq!(plain.parse(), Ok(Pass::Code(code)));
        let ones = InviteCode::new([255; 10]).to_string();
        let ones = ones.replacen('-', "\r", 1);
        assert!(matches!(ones.parse(), Ok(Pass::Code(_))), "{ones}");
        let short = ticket(&[]).to_string()[..40].to_string();
        let error = short.parse::<Pass>().expect_err("cut");
        assert!(matches!(error, PassError::Ticket(TicketError::Cut(_))));
    }

    #[test]
    fn the_secret_is_not_in_debug_output() {
        let text = alloc::format!("{:?}", ticket(&["192.0.2.7:4483"]));
        assert!(text.contains("InviteCode(..)"), "{text}");
    }

    fn places() -> impl Strategy<Value = Vec<SocketAddr>> {
        let one = (any::<IpAddr>(), prop_oneof![Just(4483), any::<u16>()]);
        proptest::collection::vec(one.prop_map(SocketAddr::from), 0..7)
    }

    proptest! {
        #[test]
        fn what_reads_is_what_was_written(
            secret: [u8; 10], key: [u8; 32], hive: [u8; 32], places in places(),
        ) {
            let code = InviteCode::new(secret);
            let ticket = Ticket::new(code, NodeId(key), HiveId(hive), &places);
            prop_assert!(ticket.bytes().len() <= BYTES_MAX);
            prop_assert!(ticket.places().iter().all(|place| is_dialled(*place)));
            prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
        }

        #[test]
        fn up_to_three_wrong_symbols_are_found(
            places in places(), wrong in proptest::collection::btree_map(5_usize..198, 1_u8..32, 1..4),
        ) {
            let code = InviteCode::new([5; 10]);
            let text = Ticket::new(code, NodeId([6; 32]), HiveId([7; 32]), &places).to_string();
            let mut symbols: Vec<char> = text.chars().collect();
            for (at, by) in &wrong {
                let at = 5 + at % (symbols.len() - 5);
                let value = Fe32::from_char(symbols[at]).expect("a symbol").to_u8() ^ by;
                symbols[at] = Fe32::try_from(value).expect("five bits").to_char();
            }
            let typed: String = symbols.into_iter().collect();
            prop_assume!(typed != text);
            prop_assert!(typed.parse::<Ticket>().is_err());
        }
    }
}
