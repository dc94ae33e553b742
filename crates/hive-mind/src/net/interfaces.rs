//! Which of this machine's interfaces a hive is looked for on: the LAN's, or exactly those that were named.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Beginnings of names that are no LAN: containers, virtual machines, VPNs. Source: `research/experience.md` 5.8.
const NOT_A_LAN: [&str; 13] = [
    "docker",
    "podman",
    "veth",
    "br-",
    "cni",
    "lxcbr",
    "lxdbr",
    "virbr",
    "vnet",
    "tun",
    "tap",
    "wg",
    "tailscale",
];

/// Where the kernel describes them.
const SYS: &str = "/sys/class/net";

/// `ARPHRD_ETHER` of `linux/if_arp.h`: wire and Wi-Fi. Everything else is a tunnel, a modem or loopback.
const ETHERNET: u32 = 1;

/// How deep devices lie under each other (bridge, bond, VLAN, card). A guess.
const LAYERS_MAX: usize = 4;

/// `IFA_F_TEMPORARY`, `IFA_F_DADFAILED` and `IFA_F_TENTATIVE` of `linux/if_addr.h`: addresses that change by
/// themselves every day, or that cannot be used (yet).
const UNSETTLED: u32 = 0x01 | 0x08 | 0x40;

/// One address of one interface that is up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
}

/// The interfaces in use, as last looked at.
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

    /// One place to ask at for each interface: mDNS is asked over one family (`research/transport.md` 5.2), which
    /// is IPv4 where there is one. Who has only IPv6 asks over that, and everybody answers over both.
    pub(crate) fn ask_at(&self) -> Vec<Interface> {
        let mut places: Vec<Interface> = Vec::new();
        for one in &self.seen {
            // Sorted by name and index, IPv4 in front.
            if places.last().is_none_or(|last| last.index != one.index) {
                places.push(one.clone());
            }
        }
        places
    }

    /// Where this machine can be dialled, IPv4 and IPv6 in turn, so that both are among the first.
    pub(crate) fn reached_at(&self, bind: Option<IpAddr>, port: u16) -> Vec<SocketAddr> {
        if let Some(only) = bind.filter(|ip| !ip.is_unspecified()) {
            return vec![SocketAddr::new(only, port)];
        }
        let seen = |six: bool| {
            let all = self.seen.iter().map(|one| one.address);
            all.filter(move |ip| ip.is_ipv6() == six)
        };
        // Link-local addresses lead nowhere from elsewhere.
        let mut sixes = seen(true).filter(
            |ip| matches!(ip, IpAddr::V6(six) if bind.is_none_or(|ip| ip.is_ipv6()) && !six.is_unicast_link_local()),
        );
        let mut fours = seen(false);
        let mut places = Vec::new();
        loop {
            let pair: Vec<IpAddr> = fours.next().into_iter().chain(sixes.next()).collect();
            if pair.is_empty() {
                return places;
            }
            places.extend(pair.into_iter().map(|ip| SocketAddr::new(ip, port)));
        }
    }

    /// Names that were asked for and that no interface in use has.
    pub(crate) fn missing(&self) -> Vec<String> {
        let seen = |name: &&String| !self.seen.iter().any(|one| one.name == **name);
        self.wanted.iter().filter(seen).cloned().collect()
    }

    /// Looks again; whether anything came, went or changed its address.
    pub(crate) fn changed(&mut self) -> bool {
        let now = look(&self.wanted);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

/// Every address of this machine, in use or not.
pub(crate) fn own_addresses() -> BTreeSet<IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.iter().map(if_addrs::Interface::ip).collect()
}

/// The number of an interface that has an address.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.iter().find(|one| one.name == name)?.index
}

fn look(wanted: &[String]) -> Vec<Interface> {
    let all = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "interfaces cannot be listed");
        Vec::new()
    });
    let six = fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    let unsettled = unsettled(&six);
    let mut chosen: Vec<Interface> = all
        .into_iter()
        .filter(|one| {
            if wanted.is_empty() {
                is_lan(
                    Path::new(SYS),
                    &one.name,
                    one.index.unwrap_or(0),
                    one.is_loopback(),
                )
            } else {
                wanted.contains(&one.name)
            }
        })
        .filter(if_addrs::Interface::is_oper_up)
        .map(|one| Interface {
            index: one.index.unwrap_or(0),
            address: one.ip(),
            name: one.name,
        })
        .filter(|one| match one.address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !unsettled.contains(&(one.index, address)),
        })
        .collect();
    chosen.sort();
    chosen
}

/// Addresses of `/proc/net/if_inet6` that are not to be counted on: `address index prefix scope flags name`, all
/// but the name in hexadecimal.
fn unsettled(table: &str) -> BTreeSet<(u32, Ipv6Addr)> {
    let read = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let index = u32::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(2)?, 16).ok()?;
        (flags & UNSETTLED != 0).then_some((index, Ipv6Addr::from(address)))
    };
    table.lines().filter_map(read).collect()
}

/// Told by name and by what the kernel says. `sys` may describe another network namespace than the one this
/// process is in, so what it says counts only for an interface of the same number.
fn is_lan(sys: &Path, name: &str, index: u32, loopback: bool) -> bool {
    if loopback || NOT_A_LAN.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    let here = sys.join(name);
    let number = |file: &str| {
        let text = fs::read_to_string(here.join(file)).ok()?;
        text.trim().parse::<u32>().ok()
    };
    if number("ifindex") != Some(index) {
        return true;
    }
    let tunnel = here.join("tun_flags").exists() || number("type") != Some(ETHERNET);
    // A bridge belongs to the LAN when a card is plugged into it; else it joins containers or machines inside.
    let inside = here.join("bridge").exists() && !has_card(sys, name, LAYERS_MAX);
    !tunnel && !inside
}

/// Whether hardware lies under it.
fn has_card(sys: &Path, name: &str, layers: usize) -> bool {
    let here = sys.join(name);
    if here.join("device").exists() {
        return true;
    }
    let Ok(entries) = fs::read_dir(&here) else {
        return false;
    };
    let below = entries.filter_map(|entry| {
        let entry = entry.ok()?.file_name().into_string().ok()?;
        Some(entry.strip_prefix("lower_")?.to_owned())
    });
    layers > 0
        && below
            .into_iter()
            .any(|name| has_card(sys, &name, layers - 1))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_name_that_no_interface_has_is_told() {
        let around = Interfaces::new(vec!["lo".into(), "nope0".into()]);
        assert_eq!(around.missing(), ["nope0"]);
        assert!(Interfaces::new(Vec::new()).missing().is_empty());
    }

    #[test]
    fn containers_and_tunnels_are_no_lan_by_name() {
        let nowhere = Path::new("/nonexistent");
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
            assert_eq!(is_lan(nowhere, name, 7, false), lan, "{name}");
        }
        assert!(!is_lan(nowhere, "lo", 1, true));
    }

    /// A folder like the kernel's: `(name, files and folders)`, numbered from 1.
    fn sys(interfaces: &[(&str, &[&str])]) -> tempfile::TempDir {
        let sys = tempfile::tempdir().expect("a folder");
        for (index, (name, entries)) in (1..).zip(interfaces) {
            let here = sys.path().join(name);
            fs::create_dir(&here).expect("made");
            fs::write(here.join("ifindex"), format!("{index}\n")).expect("written");
            let kind = if entries.contains(&"none") { 65_534 } else { 1 };
            fs::write(here.join("type"), format!("{kind}\n")).expect("written");
            for entry in *entries {
                fs::create_dir(here.join(entry)).expect("made");
            }
        }
        sys
    }

    #[test]
    fn what_the_kernel_says_counts_where_names_say_nothing() {
        let sys = sys(&[
            ("enp1s0", &["device"]),
            // The LAN's own bridge: a card, and a card under a bond.
            ("br0", &["bridge", "lower_enp1s0"]),
            ("br1", &["bridge", "lower_bond0"]),
            ("bond0", &["lower_enp1s0"]),
            // Machines and containers inside.
            ("lan", &["bridge", "lower_port1"]),
            ("port1", &[]),
            ("corp", &["none"]),
            ("openvpn", &["tun_flags"]),
        ]);
        for (index, name, lan) in [
            (1, "enp1s0", true),
            (2, "br0", true),
            (3, "br1", true),
            (5, "lan", false),
            (7, "corp", false),
            (8, "openvpn", false),
            // Described by a kernel's folder of another namespace: the number differs.
            (99, "openvpn", true),
        ] {
            assert_eq!(is_lan(sys.path(), name, index, false), lan, "{name}");
        }
    }

    #[test]
    fn bridges_that_lie_on_each_other_in_a_ring_end() {
        let sys = sys(&[("a", &["bridge", "lower_b"]), ("b", &["lower_a"])]);
        assert!(!is_lan(sys.path(), "a", 1, false));
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

    #[test]
    fn an_interface_is_asked_on_once_over_ipv4_where_there_is_one() {
        let one = |name: &str, index, address: &str| Interface {
            name: name.into(),
            index,
            address: address.parse().expect("an address"),
        };
        let mut seen = vec![
            one("eth1", 3, "fe80::3"),
            one("eth0", 2, "fe80::2"),
            one("eth0", 2, "2001:db8::2"),
            one("eth0", 2, "192.0.2.2"),
        ];
        seen.sort();
        let around = Interfaces {
            wanted: Vec::new(),
            seen,
        };
        let places: Vec<String> = around
            .ask_at()
            .iter()
            .map(|place| format!("{} {}", place.name, place.address))
            .collect();
        assert_eq!(places, ["eth0 192.0.2.2", "eth1 fe80::3"]);
    }

    #[test]
    fn a_ticket_hears_of_both_families_first() {
        let one = |name: &str, index, address: &str| Interface {
            name: name.into(),
            index,
            address: address.parse().expect("an address"),
        };
        let around = Interfaces {
            wanted: Vec::new(),
            seen: vec![
                one("eth0", 2, "192.0.2.2"),
                one("eth0", 2, "2001:db8::2"),
                one("eth0", 2, "fe80::2"),
                one("eth1", 3, "198.51.100.3"),
                one("eth2", 4, "203.0.113.4"),
            ],
        };
        let told = |bind: Option<&str>| {
            let bind = bind.map(|ip| ip.parse().expect("an address"));
            let places = around.reached_at(bind, 7);
            let words: Vec<String> = places.iter().map(ToString::to_string).collect();
            words.join(" ")
        };
        let all = "192.0.2.2:7 [2001:db8::2]:7 198.51.100.3:7 203.0.113.4:7";
        assert_eq!(told(None), all);
        assert_eq!(told(Some("::")), all);
        assert_eq!(
            told(Some("0.0.0.0")),
            "192.0.2.2:7 198.51.100.3:7 203.0.113.4:7"
        );
        assert_eq!(told(Some("127.0.0.1")), "127.0.0.1:7");
    }

    #[test]
    fn addresses_that_come_and_go_by_themselves_are_not_counted() {
        let table = "\
            00000000000000000000000000000001 01 80 10 80       lo\n\
            20010db8000000000000000000000007 02 40 00 00     eth0\n\
            20010db8000000000000000000000008 02 40 00 01     eth0\n\
            fe800000000000000000000000000007 02 40 20 c0     eth0\n\
            garbled\n";
        let expected: BTreeSet<(u32, Ipv6Addr)> = ["2001:db8::8", "fe80::7"]
            .map(|address| (2, address.parse().expect("an address")))
            .into();
        assert_eq!(unsettled(table), expected);
    }
}
