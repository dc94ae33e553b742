//! Addresses as a person writes them: read, or refused in words that show how one looks.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::net::interfaces;

/// Reads where another machine is dialled, as typed on this machine: an interface may be given by its name.
///
/// # Errors
///
/// In words, when it is no address, or one at which no machine can be.
pub fn dialled(text: &str) -> Result<SocketAddr, String> {
    let address = match by_name(text) {
        Some((bare, name)) => on_interface(&bare, name)?,
        None => read(text)?,
    };
    never_dialled(address).map_or(Ok(address), |why| Err(format!("`{text}` {why}")))
}

/// An address of a member in the settings.
pub(crate) fn of_peer<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    let all = Vec::<Dialled>::deserialize(from)?;
    Ok(all.into_iter().map(|Dialled(address)| address).collect())
}

/// Addresses of this machine in the settings, for machines elsewhere.
pub(crate) fn of_this_machine<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    let all = Vec::<Told>::deserialize(from)?;
    Ok(all.into_iter().map(|Told(address)| address).collect())
}

/// One of a list, so that an error has its line. Interfaces have numbers here: a name may be there later than the
/// settings are read.
struct Dialled(SocketAddr);

impl<'de> Deserialize<'de> for Dialled {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(from, never_dialled).map(Self)
    }
}

struct Told(SocketAddr);

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        checked(from, never_told).map(Self)
    }
}

fn checked<'de, D: Deserializer<'de>>(
    from: D,
    wrong: fn(SocketAddr) -> Option<&'static str>,
) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    let address = read(&text).map_err(D::Error::custom)?;
    match wrong(address) {
        Some(why) => Err(D::Error::custom(format!("`{text}` {why}"))),
        None => Ok(address),
    }
}

fn read(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        // A scope without a number is what is left of a name here.
        let scoped = text.contains('%');
        let how = if scoped {
            "[fe80::1%2]:4483, with the number that stands before the interface in: ip link"
        } else {
            "192.0.2.7:4483 or [2001:db8::7]:4483"
        };
        format!("`{text}` is no address with a port, such as {how}")
    })
}

/// `[fe80::1%eth0]:4483` without the interface, and its name.
fn by_name(text: &str) -> Option<(String, &str)> {
    let (start, rest) = text.split_once('%')?;
    let (name, end) = rest.split_once(']')?;
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then(|| (format!("{start}]{end}"), name))
}

fn on_interface(bare: &str, name: &str) -> Result<SocketAddr, String> {
    let SocketAddr::V6(six) = read(bare)? else {
        return read(&format!("{bare}%"));
    };
    let number = interfaces::number_of(name)
        .ok_or_else(|| format!("no interface here is called `{name}`; see them with: ip link"))?;
    Ok(SocketAddrV6::new(*six.ip(), six.port(), 0, number).into())
}

/// Why no machine can be dialled there.
fn never_dialled(address: SocketAddr) -> Option<&'static str> {
    let ip = address.ip();
    if address.port() == 0 {
        Some("has port 0, at which nobody listens; the usual one is 4483")
    } else if ip.is_unspecified() {
        Some("means any address; write the one that the machine has")
    } else if ip.is_multicast() || matches!(ip, IpAddr::V4(four) if four.is_broadcast()) {
        Some("is for many machines; write the address of one")
    } else if matches!(address, SocketAddr::V6(six) if six.ip().is_unicast_link_local() && six.scope_id() == 0)
    {
        Some(
            "is valid on one link only, and which is not said; add the interface: [fe80::1%2]:4483, with the number \
             that stands before it in: ip link",
        )
    } else {
        None
    }
}

/// Why an address of this machine leads nowhere from another machine; a ticket could not name it.
fn never_told(address: SocketAddr) -> Option<&'static str> {
    let link_local = match address.ip() {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    if link_local {
        Some("is valid on one link only; write an address that machines elsewhere can reach")
    } else if address.ip().to_canonical().is_loopback() {
        Some("leads each machine to itself; write an address that machines elsewhere can reach")
    } else if matches!(address, SocketAddr::V6(six) if six.ip().to_ipv4_mapped().is_some()) {
        Some("is IPv4 written as IPv6; write it as IPv4: 192.0.2.7:4483")
    } else {
        never_dialled(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_at_which_no_machine_can_be_is_refused_in_words() {
        for (text, word) in [
            ("192.0.2.1:0", "port 0"),
            ("0.0.0.0:4483", "any address"),
            ("[::]:4483", "any address"),
            ("224.0.0.251:4483", "many machines"),
            ("[ff02::fb]:4483", "many machines"),
            ("255.255.255.255:4483", "many machines"),
            ("[fe80::1]:4483", "add the interface"),
        ] {
            let why = dialled(text).expect_err(text);
            assert!(why.contains(word) && why.contains(text), "{why}");
            let why = never_told(address(text)).expect("nor is it told");
            assert!(word == "add the interface" || why.contains(word), "{why}");
        }
        for text in ["127.0.0.1:4483", "[fe80::1%2]:4483", "169.254.1.1:4483"] {
            assert_eq!(dialled(text), Ok(address(text)), "from here it can be");
            assert!(never_told(address(text)).is_some(), "{text}");
        }
        assert!(never_told(address("[::ffff:192.0.2.1]:4483")).is_some());
        assert!(never_told(address("[::ffff:127.0.0.1]:4483")).is_some());
        for text in ["192.0.2.1:4483", "10.0.0.1:9", "[2001:db8::1]:4483"] {
            assert_eq!(dialled(text), Ok(address(text)));
            assert_eq!(never_told(address(text)), None);
        }
    }

    #[test]
    fn what_is_no_address_is_shown_how_one_looks() {
        for text in ["192.0.2.1", "desk:4483", "", "2001:db8::1:4483"] {
            let why = dialled(text).expect_err(text);
            assert!(why.contains("192.0.2.7:4483"), "{why}");
        }
        let why = read("[fe80::1%eth0]:4483").expect_err("a name");
        assert!(why.contains("[fe80::1%2]:4483"), "{why}");
        // Odd scopes end in words too.
        for text in ["%]", "[%]:1", "192.0.2.1%]:1", "[::1%", "[fe80::1%]:1"] {
            assert!(dialled(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interface_may_be_given_by_its_name() {
        let number = interfaces::number_of("lo").expect("every machine has one");
        assert_eq!(
            dialled("[fe80::1%lo]:4483"),
            Ok(address(&format!("[fe80::1%{number}]:4483")))
        );
        let why = dialled("[fe80::1%nosuch]:4483").expect_err("not here");
        assert!(why.contains("nosuch") && why.contains("ip link"), "{why}");
    }
}
