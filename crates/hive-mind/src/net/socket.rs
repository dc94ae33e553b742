//! The one UDP port: both families on one socket where the system has both, and the same port after a restart.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::net::NetConfig;
use crate::options::StartError;

/// HIVE on a phone pad. Source: DESIGN 12.
const PORT: u16 = 4483;

/// Ports tried after a taken one before the system chooses. A guess.
const PORTS_TRIED: u16 = 16;

/// Opens the wanted port, else the remembered one, else the usual one; a taken port gives way to the next free
/// one. What was opened is remembered, so that a restarted node is where its peers expect it.
pub(crate) fn stable_port(config: &NetConfig<'_>) -> Result<(UdpSocket, u16), StartError> {
    let remembered = std::fs::read_to_string(config.remembered)
        .ok()
        .and_then(|text| text.trim().parse::<u16>().ok())
        .filter(|port| *port != 0);
    let first = match config.port {
        Some(0) => remembered.unwrap_or(0),
        Some(port) => port,
        None => remembered.unwrap_or(PORT),
    };
    let near = (0..PORTS_TRIED).filter_map(|step| first.checked_add(step));
    let mut failure = None;
    for port in near.chain([0]) {
        match open(config.bind, port) {
            Ok(socket) => {
                let port = socket
                    .local_addr()
                    .map_err(|why| StartError::Network(why.to_string()))?
                    .port();
                std::fs::write(config.remembered, format!("{port}\n")).map_err(|why| {
                    StartError::State {
                        path: config.remembered.to_path_buf(),
                        why,
                    }
                })?;
                return Ok((socket, port));
            }
            Err(why) => failure = Some(why),
        }
    }
    let why = failure.map_or_else(String::new, |why| why.to_string());
    Err(StartError::Network(match config.bind {
        Some(address) => format!(
            "{why} (on {address}, as `bind` under [network] in config.toml or --bind says; ip addr shows what there is)"
        ),
        None => why,
    }))
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
