//! Counts (and, if asked, keeps) every packet of one computer's interface, told apart by kind.
//!
//! An unbound `AF_PACKET` socket made inside the computer's network namespace sees what goes in and out of
//! every interface there; loopback frames carry zero addresses and are left out. Lengths are those of the
//! interface's own counters: with Ethernet header, without FCS and preamble.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use serde::Serialize;

use crate::world::inside::in_network_of;

/// `ETH_P_ALL` in network byte order.
const EVERY_PROTOCOL: u32 = 0x0300;

/// The multicast DNS port (RFC 6762).
const MDNS_PORT: u16 = 5353;

/// A frame cannot be longer, with segmentation offload off.
const FRAME_BYTES_MAX: usize = 65_536;

/// How long a read waits before it looks whether to stop. It bounds how late the end is noticed.
const STOP_AFTER: Duration = Duration::from_millis(50);

/// Packets wait here when the reader is late: 8 MiB, some seconds of a busy join.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// What a packet is for, as far as an outsider can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Multicast DNS.
    Mdns,
    /// QUIC with a long header: a handshake.
    Handshake,
    /// QUIC with a short header: frames of an established connection, and their acknowledgements.
    Established,
    /// ARP, IGMP, ICMP and anything else.
    Other,
}

/// Bytes by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of each kind that was seen.
    pub bytes: BTreeMap<Kind, u64>,
    /// Packets seen.
    pub packets: u64,
    /// Connection ids that other machines chose for their handshakes: one each per connection.
    pub handshakes: BTreeSet<Vec<u8>>,
    /// Which connection id was sent to which: `(to, from)`.
    met: BTreeSet<(Vec<u8>, Vec<u8>)>,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    ask: Sender<Sender<Tally>>,
    reader: Option<JoinHandle<Vec<u8>>>,
}

/// Whether the packets themselves are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only lengths.
    Lengths,
    /// Every byte.
    Bytes,
}

impl Capture {
    /// Captures in the network namespace of process `pid`.
    pub fn begin(pid: u32, keep: Keep) -> Result<Self> {
        let socket = open_inside(pid)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ask, asked) = channel();
        let stopped = Arc::clone(&stop);
        let reader = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || read_until(&socket, &stopped, &asked, keep))?;
        Ok(Self {
            stop,
            ask,
            reader: Some(reader),
        })
    }

    /// What has been seen so far.
    pub fn tally(&self) -> Result<Tally> {
        let (answer, answered) = channel();
        self.ask.send(answer).context("the capture has ended")?;
        answered.recv().context("the capture has ended")
    }

    /// Ends the capture and hands over the bytes that were kept.
    pub fn end(mut self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        let reader = self.reader.take();
        reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    /// Bytes of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.bytes.get(&kind).copied().unwrap_or(0)
    }

    /// Bytes of all kinds.
    pub fn total(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// What was seen since an earlier tally.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            bytes: self
                .bytes
                .iter()
                .map(|(kind, bytes)| (*kind, bytes.saturating_sub(earlier.of(*kind))))
                .collect(),
            packets: self.packets.saturating_sub(earlier.packets),
            handshakes: &self.handshakes - &earlier.handshakes,
            met: &self.met - &earlier.met,
        }
    }

    /// Adds what another computer saw.
    pub fn merge(&mut self, other: &Self) {
        for (kind, bytes) in &other.bytes {
            *self.bytes.entry(*kind).or_default() += bytes;
        }
        self.packets += other.packets;
        self.handshakes.extend(other.handshakes.iter().cloned());
        self.met.extend(other.met.iter().cloned());
    }

    /// Dials begun, and those of them that anybody answered, be it to refuse. Who dials writes first to an id that
    /// nobody has chosen.
    pub fn dials(&self) -> (usize, usize) {
        let strange = |to: &Vec<u8>| !self.handshakes.contains(to);
        let begun = self.met.iter().filter(|(to, _)| strange(to));
        let begun: BTreeSet<&Vec<u8>> = begun.map(|(_, from)| from).collect();
        let answered: BTreeSet<&Vec<u8>> = self.met.iter().map(|(to, _)| to).collect();
        (begun.len(), begun.intersection(&answered).count())
    }

    fn add(&mut self, frame: &[u8], length: usize) {
        let Some(kind) = kind_of(frame) else { return };
        *self.bytes.entry(kind).or_default() += length as u64;
        self.packets += 1;
        if kind == Kind::Handshake
            && let Some((to, from)) = connections(frame)
        {
            self.handshakes.insert(from.clone());
            self.met.insert((to, from));
        }
    }
}

fn open_inside(pid: u32) -> Result<OwnedFd> {
    in_network_of(pid, || {
        let every = std::num::NonZeroU32::new(EVERY_PROTOCOL).map(Protocol::from_raw);
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            every,
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(STOP_AFTER))?;
        set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
        Ok(socket)
    })
}

fn read_until(
    socket: &OwnedFd,
    stop: &AtomicBool,
    asked: &Receiver<Sender<Tally>>,
    keep: Keep,
) -> Vec<u8> {
    let mut tally = Tally::default();
    let mut kept = Vec::new();
    let mut frame = vec![0; FRAME_BYTES_MAX];
    loop {
        let end = stop.load(Ordering::Relaxed);
        let heard = recv(socket, &mut frame[..], RecvFlags::TRUNC);
        match heard {
            Ok((held, length)) => {
                tally.add(&frame[..held], length);
                if keep == Keep::Bytes {
                    kept.extend_from_slice(&frame[..held]);
                }
            }
            // Nothing came for a while: the moment to answer and to stop.
            Err(_) if end => return kept,
            Err(_) => {}
        }
        // Answers wait for a quiet moment only as long as packets keep coming without a pause.
        while let Ok(answer) = asked.try_recv() {
            if answer.send(tally.clone()).is_err() {
                break;
            }
        }
    }
}

/// `None` for loopback.
fn kind_of(frame: &[u8]) -> Option<Kind> {
    if frame.get(..12)?.iter().all(|byte| *byte == 0) {
        return None;
    }
    Some(udp(frame).map_or(Kind::Other, |(ports, payload)| {
        if ports.contains(&MDNS_PORT) {
            Kind::Mdns
        } else {
            match payload.first() {
                Some(first) if first & 0x80 != 0 => Kind::Handshake,
                Some(_) => Kind::Established,
                None => Kind::Other,
            }
        }
    }))
}

/// Ports and payload of an unfragmented UDP packet over IPv4.
fn udp(frame: &[u8]) -> Option<([u16; 2], &[u8])> {
    let ip = frame
        .strip_prefix(frame.get(..12)?)?
        .strip_prefix(&[8, 0])?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    if ip.first()? >> 4 != 4 || *ip.get(9)? != 17 {
        return None;
    }
    let udp = ip.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    Some(([port(0)?, port(2)?], udp.get(8..)?))
}

/// The connection id that a long header is sent to, and the one that its sender chose for itself (RFC 9000, 17.2).
fn connections(frame: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, payload) = udp(frame)?;
    let destination = usize::from(*payload.get(5)?);
    let to = payload.get(6..6 + destination)?;
    let length = usize::from(*payload.get(6 + destination)?);
    let begin = 7 + destination;
    let from = payload.get(begin..begin + length)?;
    Some((to.to_vec(), from.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(destination_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
        frame.extend([0; 10]);
        frame.extend(4483u16.to_be_bytes());
        frame.extend(destination_port.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn packets_are_told_apart_by_port_and_header() {
        assert_eq!(kind_of(&frame(5353, b"x")), Some(Kind::Mdns));
        assert_eq!(kind_of(&frame(4483, &[0xc3, 0, 0])), Some(Kind::Handshake));
        assert_eq!(kind_of(&frame(4483, &[0x43, 0])), Some(Kind::Established));
        let mut arp = vec![2; 12];
        arp.extend([8, 6, 0, 1]);
        assert_eq!(kind_of(&arp), Some(Kind::Other));
        assert_eq!(kind_of(&[0; 60]), None);
        assert_eq!(kind_of(&[1; 5]), None);
    }

    #[test]
    fn a_handshake_is_counted_once_per_connection_id() {
        let long = [0xc0, 0, 0, 0, 1, 2, 9, 9, 3, 7, 7, 7, 0];
        let mut tally = Tally::default();
        tally.add(&frame(4483, &long), 100);
        tally.add(&frame(4483, &long), 50);
        assert_eq!(tally.handshakes.len(), 1);
        assert_eq!(tally.of(Kind::Handshake), 150);
        assert_eq!(tally.since(&tally).total(), 0);
    }

    #[test]
    fn dials_are_told_from_answers() {
        let long = |to: u8, from: u8| frame(4483, &[0xc0, 0, 0, 0, 1, 1, to, 1, from, 0]);
        let mut tally = Tally::default();
        for (to, from) in [(90, 1), (90, 1), (1, 2), (2, 1), (91, 3), (92, 4), (4, 5)] {
            tally.add(&long(to, from), 100);
        }
        assert_eq!(tally.dials(), (3, 2));
        assert_eq!(tally.since(&tally).dials(), (0, 0));
    }

    #[test]
    fn a_frame_that_ends_early_is_other_and_does_not_panic() {
        let whole = frame(4483, &[0xc0, 0, 0, 0, 1, 20, 1]);
        for end in 12..whole.len() {
            let mut tally = Tally::default();
            tally.add(&whole[..end], end);
            assert_eq!(tally.packets, 1);
        }
    }
}
