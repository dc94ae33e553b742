//! The one UDP port: both families on one socket where the system has both, and the same port after a restart.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hive_core::reply::NeedView;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::net::NetConfig;
use crate::options::StartError;

/// HIVE on a phone pad. Source: DESIGN 12.
const PORT: u16 = 4483;

/// Ports tried after a taken one before the system chooses. A guess.
const PORTS_TRIED: u16 = 16;

/// The one port of this machine.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) socket: UdpSocket,
    pub(crate) port: u16,
    pub(crate) denied: Option<Denied>,
}

/// A port that was asked for by number and that another stands in for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) port: u16,
    /// As the system says it.
    pub(crate) why: String,
    /// Whether it was for lack of rights, and not for being taken.
    pub(crate) by_rights: bool,
}

/// Opens the wanted port, else the remembered one, else the usual one; one that is taken there gives way to the next
/// free one. What was opened is remembered, so that a restarted node is where its peers expect it; but not what only
/// stands in for a wanted one.
pub(crate) fn stable_port(config: &NetConfig<'_>) -> Result<Opened, StartError> {
    let remembered = std::fs::read_to_string(config.remembered)
        .ok()
        .and_then(|text| text.trim().parse::<u16>().ok())
        .filter(|port| *port != 0);
    let mut denied = None;
    if let Some(port) = config.port.filter(|port| *port != 0) {
        match open(config.bind, port) {
            Ok(socket) => return kept(config, socket),
            Err(why) => denied = Some(Denied::new(port, &why)),
        }
    }
    let first = match config.port {
        Some(0) => remembered.unwrap_or(0),
        _ => remembered.unwrap_or(PORT),
    };
    let wanted = denied.as_ref().map(|denied| denied.port);
    let near = (0..PORTS_TRIED).filter_map(|step| first.checked_add(step));
    let near = near.filter(|port| Some(*port) != wanted);
    let mut failure = String::new();
    for port in near.chain([0]) {
        match open(config.bind, port) {
            Ok(socket) if denied.is_some() => {
                let port = port_of(&socket)?;
                return Ok(Opened {
                    socket,
                    port,
                    denied,
                });
            }
            Ok(socket) => return kept(config, socket),
            Err(why) => failure = why.to_string(),
        }
    }
    Err(StartError::Network(match config.bind {
        Some(address) => format!(
            "{failure} (on {address}, as `bind` under [network] in config.toml or --bind says; ip addr shows what there is)"
        ),
        None => failure,
    }))
}

/// This one, remembered.
fn kept(config: &NetConfig<'_>, socket: UdpSocket) -> Result<Opened, StartError> {
    let port = port_of(&socket)?;
    std::fs::write(config.remembered, format!("{port}\n")).map_err(|why| StartError::State {
        path: config.remembered.to_path_buf(),
        why,
    })?;
    Ok(Opened {
        socket,
        port,
        denied: None,
    })
}

fn port_of(socket: &UdpSocket) -> Result<u16, StartError> {
    match socket.local_addr() {
        Ok(address) => Ok(address.port()),
        Err(why) => Err(StartError::Network(why.to_string())),
    }
}

impl Denied {
    fn new(port: u16, why: &io::Error) -> Self {
        Self {
            port,
            why: why.to_string(),
            by_rights: why.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// What a person should know and do about it.
    pub(crate) fn need(&self, instead: u16) -> NeedView {
        let (port, why) = (self.port, &self.why);
        let again = "then: hive down, hive up";
        let fix = if self.by_rights {
            format!("set [network] port in config.toml to 1024 or above, {again}")
        } else {
            format!("see who has it: sudo ss -ulpn 'sport = :{port}'; when it is free, {again}")
        };
        NeedView {
            code: "port.denied".to_owned(),
            words: format!(
                "UDP port {port}, as config.toml or --port wants it, could not be opened ({why}); this machine listens \
                 on {instead}, so what was forwarded or let in for {port} does not reach it"
            ),
            fix: vec![fix],
        }
    }
}

/// An address as a person writes it: on a socket for both families IPv4 comes as `::ffff:a.b.c.d`.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::new(four.into(), six.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// No address = both families, or IPv4 alone where the system has no IPv6.
fn open(address: Option<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    match address {
        None => match both_families(port) {
            Err(why) if lacks_ipv6(&why) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)),
            other => other,
        },
        Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => both_families(port),
        Some(address) => UdpSocket::bind((address, port)),
    }
}

/// Says so itself instead of trusting `net.ipv6.bindv6only`.
fn both_families(port: u16) -> io::Result<UdpSocket> {
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    Ok(UdpSocket::from(socket))
}

/// A kernel without IPv6 refuses the family, or has no address of it to bind to.
fn lacks_ipv6(why: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(why);
    errno == Some(rustix::io::Errno::AFNOSUPPORT)
        || errno == Some(rustix::io::Errno::PROTONOSUPPORT)
        || errno == Some(rustix::io::Errno::ADDRNOTAVAIL)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_address_of_either_family_is_told_as_a_person_writes_it() {
        for (given, told) in [
            ("[::ffff:192.0.2.7]:4483", "192.0.2.7:4483"),
            ("192.0.2.7:4483", "192.0.2.7:4483"),
            ("[2001:db8::7]:4483", "[2001:db8::7]:4483"),
            // Without its scope a link-local address leads nowhere.
            ("[fe80::7%3]:4483", "[fe80::7%3]:4483"),
        ] {
            let given: SocketAddr = given.parse().expect("an address");
            assert_eq!(plain(given).to_string(), told);
        }
    }

    /// Where a machine with these settings listens, on loopback.
    fn opened(folder: &Path, port: Option<u16>) -> Opened {
        stable_port(&NetConfig {
            secret: &zeroize::Zeroizing::new([1; 32]),
            before: None,
            boot_nonce: [0; 8],
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            port,
            timing: crate::net::keeper::TIMING,
            remembered: &folder.join("port"),
        })
        .expect("opens")
    }

    #[test]
    fn a_port_that_cannot_be_had_is_said_and_what_stands_in_is_not_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let before = opened(path, Some(0)).port;
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let wanted = taken.local_addr().expect("bound").port();

        let other = opened(path, Some(wanted));
        let denied = other.denied.expect("it is said");
        assert_eq!((denied.port, denied.by_rights), (wanted, false));
        assert_eq!(other.port, before, "as if it were not wanted");
        let need = denied.need(other.port);
        assert!(need.words.contains(&format!("listens on {before}")));
        assert!(need.fix[0].contains("ss -ulpn"), "{need:?}");
        drop(other.socket);

        // Not even where the remembered one is taken too.
        let holder = UdpSocket::bind((Ipv4Addr::LOCALHOST, before)).expect("free again");
        let another = opened(path, Some(wanted));
        assert!(another.denied.is_some());
        drop((another, holder));
        assert_eq!(opened(path, None).port, before, "the line is gone");

        drop(taken);
        let had = opened(path, Some(wanted));
        assert_eq!((had.port, had.denied), (wanted, None));
        drop(had.socket);
        assert_eq!(opened(path, None).port, wanted, "where peers expect it");
    }

    #[test]
    fn a_port_that_needs_rights_is_told_apart_from_a_taken_one() {
        let denied = Denied::new(22, &rustix::io::Errno::ACCESS.into());
        let need = denied.need(4483);
        assert!(need.words.contains("Permission denied"), "{need:?}");
        assert!(need.fix[0].contains("1024 or above"), "{need:?}");
    }

    #[test]
    fn one_socket_hears_both_families() {
        let socket = open(None, 0).expect("opens");
        let port = socket.local_addr().expect("bound").port();
        let mut families: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            families.push(Ipv6Addr::LOCALHOST.into());
        }
        for from in families {
            let sender = UdpSocket::bind((from, 0)).expect("opens");
            sender.send_to(b"x", (from, port)).expect("sent");
            let (_, heard) = socket.recv_from(&mut [0; 8]).expect("heard");
            assert_eq!(plain(heard), sender.local_addr().expect("bound"));
        }
        // Taken in either family is taken.
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err());
    }

    #[test]
    fn only_a_missing_family_lets_it_fall_back() {
        let errors = [
            (rustix::io::Errno::AFNOSUPPORT, true),
            (rustix::io::Errno::ADDRNOTAVAIL, true),
            (rustix::io::Errno::ADDRINUSE, false),
            (rustix::io::Errno::ACCESS, false),
        ];
        for (errno, lacks) in errors {
            assert_eq!(lacks_ipv6(&errno.into()), lacks, "{errno}");
        }
    }
}
