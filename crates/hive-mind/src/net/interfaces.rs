//! Which of this machine's interfaces a hive is looked for on: the LAN's, or exactly those that were named.

use std::net::Ipv4Addr;

use if_addrs::IfAddr;

/// Beginnings of names that are no LAN: containers, virtual machines, VPNs. Source: `research/experience.md` 5.8.
const NOT_A_LAN: [&str; 8] = [
    "docker",
    "veth",
    "br-",
    "virbr",
    "tun",
    "tap",
    "wg",
    "tailscale",
];

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

/// The interfaces in use, as last looked at. IPv4 only: mDNS is run on one family (`research/transport.md` 5.2).
#[derive(Clone, Debug)]
pub(crate) struct Interfaces {
    wanted: Vec<String>,
    seen: Vec<Interface>,
}

impl Interfaces {
    /// Looks once. `wanted` empty = every LAN.
    pub(crate) fn new(wanted: Vec<String>) -> Self {
        let seen = look(&wanted);
        Self { wanted, seen }
    }

    /// Those in use.
    pub(crate) fn all(&self) -> &[Interface] {
        &self.seen
    }

    /// Looks again; whether anything came, went or changed its address.
    pub(crate) fn changed(&mut self) -> bool {
        let now = look(&self.wanted);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

fn look(wanted: &[String]) -> Vec<Interface> {
    let all = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "interfaces cannot be listed");
        Vec::new()
    });
    let mut chosen: Vec<Interface> = all
        .into_iter()
        .filter(|interface| {
            if wanted.is_empty() {
                is_lan(&interface.name, interface.is_loopback())
            } else {
                wanted.contains(&interface.name)
            }
        })
        .filter_map(|interface| match interface.addr {
            IfAddr::V4(address) => Some(Interface {
                name: interface.name,
                address: address.ip,
            }),
            IfAddr::V6(_) => None,
        })
        .collect();
    chosen.sort();
    chosen
}

fn is_lan(name: &str, loopback: bool) -> bool {
    !loopback && NOT_A_LAN.iter().all(|prefix| !name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_tunnels_are_no_lan() {
        for (name, lan) in [
            ("eth0", true),
            ("wlan0", true),
            ("enp3s0", true),
            ("br0", true),
            ("docker0", false),
            ("br-1a2b", false),
            ("veth9", false),
            ("wg0", false),
            ("tailscale0", false),
        ] {
            assert_eq!(is_lan(name, false), lan, "{name}");
        }
        assert!(!is_lan("lo", true));
    }

    #[test]
    fn loopback_is_there_when_it_is_named() {
        let named = Interfaces::new(vec!["lo".into()]);
        assert!(
            named
                .all()
                .iter()
                .any(|one| one.address == Ipv4Addr::LOCALHOST)
        );
    }
}
