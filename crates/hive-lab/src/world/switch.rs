//! A network switch in the lab's own hands: it carries every frame between the computers and, when told to, loses,
//! repeats, delays, overtakes and corrupts the UDP ones, or cuts a direction.
//!
//! It stands where the kernel's bridge stands in other worlds, so daemons keep their addresses, ports and
//! multicast and cannot tell. One thread owns all ports; what happens to a frame comes from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::sys::socket::SockaddrLike;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use serde::Serialize;

use crate::clock;
use crate::stats::Dice;
use crate::world::inside::in_network_of;

/// `ETH_P_ALL` in network byte order.
const EVERY_PROTOCOL: u32 = 0x0300;

/// Longest Ethernet frame with segmentation offload off, with room to spare.
const FRAME_BYTES_MAX: usize = 65_536;

/// Frames taken from one port before the next has its turn. A guess.
const TURN: usize = 64;

/// The longest the switch waits without looking for orders.
const LOOK_US: u64 = 10_000;

/// Frames that wait for their moment at most; beyond it the oldest rule of networks holds: they are lost. A guess,
/// a minute of a busy hive.
const WAITING_MAX: usize = 65_536;

/// A second copy comes this much later. A guess: apart, but within a round trip.
const COPY_AFTER_US: u64 = 1_000;

/// A frame that is overtaken is held back this long: some 10 to 40 frames of a busy hive.
const OVERTAKEN_US: (u64, u64) = (5_000, 20_000);

/// Packets wait here when the thread is late.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What happens to UDP frames on every link. Shares are per mille.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub loss: u16,
    /// Arrives twice.
    pub duplicate: u16,
    /// Held back, so that later ones overtake it.
    pub reorder: u16,
    /// One bit of its payload is flipped.
    pub corrupt: u16,
    /// Every frame comes this much later.
    pub delay_us: u64,
    /// And up to this much more.
    pub jitter_us: u64,
}

/// What the switch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Frames handed on, copies included.
    pub carried: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Second copies made.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Bits flipped.
    pub corrupted: u64,
    /// Lost because their direction was cut.
    pub cut: u64,
    /// Not taken by the kernel, or too many waiting.
    pub dropped: u64,
}

/// A running switch. It ends when this is dropped.
#[derive(Debug)]
pub struct Switch {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Plug(u8, OwnedFd),
    Faults(Faults),
    Cut(BTreeSet<(u8, u8)>),
    Count(Sender<Counts>),
}

impl Switch {
    /// A switch without ports.
    pub fn start(seed: u64) -> Result<Self> {
        let (orders, ordered) = channel();
        let works = Works::new(seed);
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || works.run(&ordered))?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Plugs in the interface `name` of the namespace of process `pid` as port `number`.
    pub fn plug(&self, pid: u32, number: u8, name: &str) -> Result<()> {
        let name = name.to_string();
        let socket = in_network_of(pid, move || open_port(&name))?;
        self.order(Order::Plug(number, socket))
    }

    /// From now on, this happens to UDP frames.
    pub fn faults(&self, faults: Faults) -> Result<()> {
        self.order(Order::Faults(faults))
    }

    /// From now on, nothing passes in these directions (from, to), and everything in all others.
    pub fn cut(&self, directions: BTreeSet<(u8, u8)>) -> Result<()> {
        self.order(Order::Cut(directions))
    }

    /// What it did so far.
    pub fn counts(&self) -> Result<Counts> {
        let (answer, answered) = channel();
        self.order(Order::Count(answer))?;
        answered.recv().context("the switch has ended")
    }

    fn order(&self, order: Order) -> Result<()> {
        let orders = self.orders.as_ref().context("the switch has ended")?;
        orders
            .send(order)
            .ok()
            .context("the switch has ended early")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("hive-lab: the switch panicked");
        }
    }
}

/// A packet socket on one interface.
fn open_port(name: &str) -> Result<OwnedFd> {
    let every = std::num::NonZeroU32::new(EVERY_PROTOCOL).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, every)?;
    set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
    let mut interfaces = nix::ifaddrs::getifaddrs()?;
    let address = interfaces
        .find_map(|interface| {
            let address = interface
                .address
                .filter(|_| interface.interface_name == name)?;
            (address.family() == Some(nix::sys::socket::AddressFamily::Packet)).then_some(address)
        })
        .with_context(|| format!("no interface {name}"))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
    // Before it was bound it heard every interface of the namespace.
    let mut frame = [0; 64];
    while recv(&socket, &mut frame[..], RecvFlags::TRUNC).is_ok() {}
    Ok(socket)
}

/// A frame that waits: its moment, a number that keeps equal moments in order, its port, its bytes.
type Waiting = (u64, u64, u8, Vec<u8>);

/// The thread's own.
struct Works {
    ports: BTreeMap<u8, OwnedFd>,
    places: BTreeMap<[u8; 6], u8>,
    faults: Faults,
    cut: BTreeSet<(u8, u8)>,
    dice: Dice,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sent: u64,
    counts: Counts,
}

impl Works {
    fn new(seed: u64) -> Self {
        Self {
            ports: BTreeMap::new(),
            places: BTreeMap::new(),
            faults: Faults::default(),
            cut: BTreeSet::new(),
            dice: Dice::new(seed),
            waiting: BinaryHeap::new(),
            sent: 0,
            counts: Counts::default(),
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.follow(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            for port in self.ready() {
                self.empty(port);
            }
            self.deliver_due();
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Plug(number, socket) => {
                self.ports.insert(number, socket);
            }
            Order::Faults(faults) => self.faults = faults,
            Order::Cut(cut) => self.cut = cut,
            Order::Count(answer) => {
                if answer.send(self.counts).is_err() {
                    eprintln!("hive-lab: nobody waits for the switch's counts");
                }
            }
        }
    }

    /// Ports with frames to read; waits for one, for the next frame's moment, or for orders.
    fn ready(&self) -> Vec<u8> {
        let next = self.waiting.peek().map_or(LOOK_US, |Reverse((at, ..))| {
            at.saturating_sub(clock::boot_us()).min(LOOK_US)
        });
        let timeout = clock::timespec(next * 1_000);
        let numbers: Vec<u8> = self.ports.keys().copied().collect();
        let mut polled: Vec<PollFd<'_>> = self
            .ports
            .values()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        if poll(&mut polled, Some(&timeout)).is_err() {
            return Vec::new();
        }
        let ready = numbers.into_iter().zip(&polled);
        ready
            .filter(|(_, polled)| !polled.revents().is_empty())
            .map(|(number, _)| number)
            .collect()
    }

    fn empty(&mut self, port: u8) {
        let mut frame = vec![0; FRAME_BYTES_MAX];
        for _ in 0..TURN {
            let Some(socket) = self.ports.get(&port) else {
                return;
            };
            match recv(socket, &mut frame[..], RecvFlags::empty()) {
                Ok((length, _)) => self.take_in(port, &frame[..length]),
                Err(Errno::INTR) => {}
                // Empty, or its cable is pulled.
                Err(_) => return,
            }
        }
    }

    /// As a switch does: it remembers where the sender is, and hands on to the receiver, or to all.
    fn take_in(&mut self, from: u8, frame: &[u8]) {
        let address = |at: usize| -> Option<[u8; 6]> { frame.get(at..at + 6)?.try_into().ok() };
        let (Some(to), Some(sender)) = (address(0), address(6)) else {
            return;
        };
        self.places.insert(sender, from);
        let group = to[0] & 1 != 0;
        let known = self.places.get(&to).copied().filter(|_| !group);
        let receivers: Vec<u8> = match known {
            Some(one) => vec![one],
            None => self.ports.keys().copied().collect(),
        };
        for to in receivers {
            if to != from {
                self.hand_on((from, to), frame.to_vec());
            }
        }
    }

    fn hand_on(&mut self, way: (u8, u8), mut frame: Vec<u8>) {
        if self.cut.contains(&way) {
            self.counts.cut += 1;
            return;
        }
        let now = clock::boot_us();
        let Some(payload) = udp_payload(&mut frame) else {
            self.wait(now, way.1, frame);
            return;
        };
        let Faults {
            loss,
            duplicate,
            reorder,
            corrupt,
            delay_us,
            jitter_us,
        } = self.faults;
        if self.falls(loss) {
            self.counts.lost += 1;
            return;
        }
        if self.falls(corrupt) && payload < frame.len() {
            let at = payload + self.dice.below(frame.len() - payload);
            frame[at] ^= 1 << self.dice.below(8);
            self.counts.corrupted += 1;
        }
        let mut at = now + delay_us + self.up_to(jitter_us);
        if self.falls(reorder) {
            at += OVERTAKEN_US.0 + self.up_to(OVERTAKEN_US.1 - OVERTAKEN_US.0);
            self.counts.reordered += 1;
        }
        if self.falls(duplicate) {
            self.counts.duplicated += 1;
            self.wait(at + COPY_AFTER_US, way.1, frame.clone());
        }
        self.wait(at, way.1, frame);
    }

    fn wait(&mut self, at: u64, to: u8, frame: Vec<u8>) {
        if self.waiting.len() >= WAITING_MAX {
            self.counts.dropped += 1;
            return;
        }
        self.sent += 1;
        self.waiting.push(Reverse((at, self.sent, to, frame)));
    }

    fn deliver_due(&mut self) {
        let now = clock::boot_us();
        while let Some(Reverse((at, ..))) = self.waiting.peek()
            && *at <= now
        {
            let Some(Reverse((_, _, to, frame))) = self.waiting.pop() else {
                return;
            };
            let sent = self
                .ports
                .get(&to)
                .is_some_and(|port| send(port, &frame, SendFlags::empty()).is_ok());
            if sent {
                self.counts.carried += 1;
            } else {
                self.counts.dropped += 1;
            }
        }
    }

    fn falls(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.dice.below(1_000) < usize::from(per_mille)
    }

    fn up_to(&mut self, us: u64) -> u64 {
        if us == 0 {
            0
        } else {
            self.dice.next_u64() % us
        }
    }
}

/// Where the payload of an IPv4 UDP frame begins; `None` for all others. The checksum is taken out, which means
/// "none" (RFC 768): the sending kernel leaves it to hardware that is not there.
fn udp_payload(frame: &mut [u8]) -> Option<usize> {
    if frame.get(12..14)? != [8, 0] {
        return None;
    }
    let first = *frame.get(14)?;
    let udp = 14 + usize::from(first & 0x0f) * 4;
    // Of a fragmented packet only the first piece would have a checksum; nobody here sends one.
    let whole = u16::from_be_bytes([frame[20] & 0x3f, *frame.get(21)?]) == 0;
    if first >> 4 != 4 || *frame.get(23)? != 17 || !whole {
        return None;
    }
    frame.get_mut(udp + 6..udp + 8)?.fill(0);
    Some(udp + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_frame() -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
        frame.extend([0; 10]);
        frame.extend([1, 2, 3, 4, 0, 12, 9, 9]);
        frame.extend([5; 40]);
        frame
    }

    #[test]
    fn only_udp_suffers_and_its_checksum_is_taken_out() {
        let mut frame = udp_frame();
        assert_eq!(udp_payload(&mut frame), Some(42));
        assert_eq!(frame[40..42], [0, 0]);
        let mut arp = vec![2; 12];
        arp.extend([8, 6, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(udp_payload(&mut arp), None);
        for end in 0..42 {
            udp_payload(&mut udp_frame()[..end.max(22)]);
        }
    }

    #[test]
    fn shares_are_kept_and_one_seed_repeats() {
        let run = |seed: u64| {
            let mut works = Works::new(seed);
            works.faults = Faults {
                loss: 300,
                duplicate: 100,
                corrupt: 10,
                ..Faults::default()
            };
            for _ in 0..10_000 {
                works.hand_on((1, 2), udp_frame());
            }
            works.counts
        };
        let counts = run(7);
        assert!((2_800..3_200).contains(&counts.lost), "{counts:?}");
        assert!((600..800).contains(&counts.duplicated), "{counts:?}");
        assert!((40..100).contains(&counts.corrupted), "{counts:?}");
        assert_eq!(counts, run(7));
        assert_ne!(counts, run(8));
    }

    #[test]
    fn a_cut_direction_carries_nothing_and_the_other_one_everything() {
        let mut works = Works::new(1);
        works.cut = BTreeSet::from([(1, 2)]);
        works.hand_on((1, 2), udp_frame());
        works.hand_on((2, 1), udp_frame());
        assert_eq!((works.counts.cut, works.waiting.len()), (1, 1));
    }
}
