//! The network: ordered, reliable streams as QUIC gives them, over paths that lose, delay and break.
//!
//! A lost packet shows as delay, because the transport sends it again; a path that stays shut breaks the connection,
//! and nobody knows which of its last frames arrived. Some of those turn up again on the next connection: late,
//! twice, and after newer ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hive_core::hive::outside::Lane;
use hive_core::wire::Frame;

use crate::dice::Dice;
use crate::faults::{Fault, Faults};
use crate::queue::Moment;
use crate::ways::Ways;

/// A machine of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

/// A connection of two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// How good the paths are.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// Least one-way delay, in microseconds.
    pub delay_us: u64,
    /// What may come on top of it.
    pub jitter_us: u64,
    /// Frames in 1,000 that have to be sent again.
    pub loss_permille: u64,
    /// Frames in 1,000 that are held up for up to a second.
    pub spike_permille: u64,
    /// mDNS answers in 1,000 that are lost.
    pub deaf_permille: u64,
    /// Connections in 1,000 whose last frames turn up again on the next one.
    pub ghost_permille: u64,
    /// Frames in 1,000 that are damaged on their way: the transport throws them away and they are sent again.
    pub corrupt_permille: u64,
}

/// All paths and connections.
#[derive(Debug)]
pub struct Net {
    quality: Quality,
    /// How long frames are on their way, where that was measured.
    ways: Option<Ways>,
    shut: BTreeSet<(HostId, HostId)>,
    /// Machines that sleep: nothing gets through to them.
    asleep: BTreeSet<HostId>,
    /// Machines that are slow to take what arrives, and until when.
    slow: BTreeMap<HostId, Moment>,
    /// Until when nobody hears anybody by mDNS.
    deaf_until: Moment,
    conns: BTreeMap<ConnId, Conn>,
    ghosts: BTreeMap<(HostId, HostId), VecDeque<Vec<u8>>>,
    made: u64,
    dice: Dice,
    /// What went wrong here on purpose.
    pub faults: Faults,
    /// Bytes of frames that entered the network.
    pub bytes: u64,
    /// Frames that entered the network.
    pub frames: u64,
}

/// A frame on its way. `declared` differs from the length of `bytes` only when a liar sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The length that its header claims.
    pub declared: u64,
}

/// What an arrival brings.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A frame.
    Frame(Parcel),
    /// The path is shut: look again at this moment.
    Later(Moment),
    /// The path was shut for too long: the connection is no more.
    Broken,
    /// The connection was gone already.
    Gone,
}

#[derive(Debug)]
struct Conn {
    ends: [HostId; 2],
    /// Whether what was said here may turn up on the next connection of these two.
    haunts: bool,
    streams: BTreeMap<(HostId, Lane), Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    queue: VecDeque<Parcel>,
    clear_at: Moment,
    stuck_since: Option<Moment>,
}

/// How long the transport waits before it sends a packet again: the initial probe time-out of RFC 9002.
const RETRANSMIT_US: u64 = 200_000;

/// How long a path may stay shut before a connection with frames in flight breaks. A guess; the real shell's limit
/// is of the same size.
const BREAK_AFTER_US: u64 = 5_000_000;

/// Frames of a broken connection that may turn up again.
const GHOSTS_MAX: usize = 6;

impl Quality {
    /// A wired LAN.
    pub const LAN: Self = Self {
        delay_us: 150,
        jitter_us: 400,
        loss_permille: 0,
        spike_permille: 0,
        deaf_permille: 0,
        ghost_permille: 0,
        corrupt_permille: 0,
    };

    /// Home Wi-Fi on a bad day.
    pub const BAD_WIFI: Self = Self {
        delay_us: 1_500,
        jitter_us: 8_000,
        loss_permille: 100,
        spike_permille: 30,
        deaf_permille: 250,
        ghost_permille: 500,
        corrupt_permille: 5,
    };
}

impl Net {
    /// A network with this quality everywhere.
    #[must_use]
    pub fn new(seed: u64, quality: Quality) -> Self {
        Self {
            quality,
            ways: None,
            shut: BTreeSet::new(),
            asleep: BTreeSet::new(),
            slow: BTreeMap::new(),
            deaf_until: Moment::default(),
            conns: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            made: 0,
            dice: Dice::new(seed, "net"),
            faults: Faults::default(),
            bytes: 0,
            frames: 0,
        }
    }

    /// Makes all paths better or worse.
    pub fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    /// Frames take as long as was measured from now on, instead of the quality's delay.
    pub fn set_ways(&mut self, ways: Ways) {
        self.ways = Some(ways);
    }

    /// Shuts the path from one machine to another: one way only.
    pub fn shut(&mut self, from: HostId, to: HostId) {
        self.shut.insert((from, to));
    }

    /// Opens the path from one machine to another.
    pub fn open(&mut self, from: HostId, to: HostId) {
        self.shut.remove(&(from, to));
    }

    /// Opens all paths and makes everybody quick and audible again. Who sleeps goes on sleeping.
    pub fn heal(&mut self) {
        self.shut.clear();
        self.slow.clear();
        self.deaf_until = Moment::default();
    }

    /// A machine falls asleep or wakes up.
    pub fn set_asleep(&mut self, host: HostId, asleep: bool) {
        if asleep {
            self.asleep.insert(host);
        } else {
            self.asleep.remove(&host);
        }
    }

    /// A machine takes what arrives late, up to this moment.
    pub fn slow_down(&mut self, host: HostId, until: Moment) {
        self.slow.insert(host, until);
    }

    /// No multicast up to this moment.
    pub fn deafen(&mut self, until: Moment) {
        self.deaf_until = until;
    }

    /// Whether packets get from one machine to the other.
    #[must_use]
    pub fn passes(&self, from: HostId, to: HostId) -> bool {
        !self.shut.contains(&(from, to))
            && !self.asleep.contains(&from)
            && !self.asleep.contains(&to)
    }

    /// Whether a handshake can end well between these two.
    #[must_use]
    pub fn both_ways(&self, one: HostId, two: HostId) -> bool {
        self.passes(one, two) && self.passes(two, one)
    }

    /// One one-way delay.
    pub fn delay(&mut self) -> u64 {
        self.quality.delay_us + self.dice.below(self.quality.jitter_us + 1)
    }

    /// When the copies of an mDNS answer arrive: none if it is lost, two if it comes twice.
    pub fn sightings(&mut self, now: Moment) -> Vec<u64> {
        if now < self.deaf_until {
            self.faults.add(Fault::SightingLost);
            return Vec::new();
        }
        if self.dice.permille(self.quality.deaf_permille) {
            self.faults.add(Fault::SightingLost);
            return Vec::new();
        }
        // RFC 6762 section 6: responders wait 20-120 ms before an answer that others may also give.
        let mut delays = vec![self.delay() + self.dice.between(0, 120_000)];
        if self.dice.permille(self.quality.deaf_permille / 2) {
            self.faults.add(Fault::SightingTwice);
            delays.push(delays[0] + self.dice.between(1, 900_000));
        }
        delays
    }

    /// Makes a connection.
    pub fn connect(&mut self, one: HostId, two: HostId) -> ConnId {
        self.made += 1;
        let id = ConnId(self.made);
        let conn = Conn {
            ends: [one, two],
            haunts: true,
            streams: BTreeMap::new(),
        };
        self.conns.insert(id, conn);
        id
    }

    /// Makes a connection under a key that one of the two has no more. Nobody takes what is said here for the word of
    /// the key that it has now.
    pub fn connect_under_old_key(&mut self, one: HostId, two: HostId) -> ConnId {
        let id = self.connect(one, two);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.haunts = false;
        }
        id
    }

    /// The two ends of a connection, while it is one.
    #[must_use]
    pub fn ends(&self, conn: ConnId) -> Option<[HostId; 2]> {
        self.conns.get(&conn).map(|conn| conn.ends)
    }

    /// The connections of one machine.
    #[must_use]
    pub fn of(&self, host: HostId) -> Vec<ConnId> {
        let mine = self.conns.iter().filter(|(_, c)| c.ends.contains(&host));
        mine.map(|(id, _)| *id).collect()
    }

    /// Puts a frame on a stream; answers when it is to be looked for at the other end.
    pub fn send(
        &mut self,
        now: Moment,
        conn: ConnId,
        from: HostId,
        lane: Lane,
        parcel: Parcel,
    ) -> Option<Moment> {
        let delay = self.draw_delay() + self.draw_slowness(now, conn, from);
        let conn = self.conns.get_mut(&conn)?;
        self.bytes += parcel.bytes.len() as u64;
        self.frames += 1;
        let stream = conn.streams.entry((from, lane)).or_default();
        let arrival = now.after(delay).max(stream.clear_at);
        stream.clear_at = arrival;
        stream.queue.push_back(parcel);
        Some(arrival)
    }

    /// Looks for the oldest frame of a stream at its other end.
    pub fn arrive(&mut self, now: Moment, conn: ConnId, from: HostId, lane: Lane) -> Arrival {
        let Some(ends) = self.ends(conn) else {
            return Arrival::Gone;
        };
        let to = if ends[0] == from { ends[1] } else { ends[0] };
        let passes = self.passes(from, to);
        let two_way = !self.passes(to, from);
        let found = self.conns.get_mut(&conn).expect("looked up just before");
        let stream = found.streams.entry((from, lane)).or_default();
        if passes {
            stream.stuck_since = None;
            return stream
                .queue
                .pop_front()
                .map_or(Arrival::Gone, Arrival::Frame);
        }
        self.faults.add(if two_way {
            Fault::Partition
        } else {
            Fault::OneWayPartition
        });
        let since = *stream.stuck_since.get_or_insert(now);
        if now.since(since) < BREAK_AFTER_US {
            return Arrival::Later(now.after(RETRANSMIT_US));
        }
        self.cut(conn);
        Arrival::Broken
    }

    /// Ends a connection; frames in flight are lost, or found again on the next one.
    pub fn cut(&mut self, conn: ConnId) {
        let Some(conn) = self.conns.remove(&conn) else {
            return;
        };
        let in_flight: usize = conn.streams.values().map(|s| s.queue.len()).sum();
        if in_flight > 0 {
            self.faults.add(Fault::ConnectionBroken);
        }
        if !conn.haunts {
            return;
        }
        for ((from, _), stream) in conn.streams {
            let to = if conn.ends[0] == from {
                conn.ends[1]
            } else {
                conn.ends[0]
            };
            if self.dice.permille(self.quality.ghost_permille) {
                let kept = self.ghosts.entry((from, to)).or_default();
                let bytes = stream.queue.into_iter().map(|parcel| parcel.bytes);
                kept.extend(bytes.filter(|bytes| stands_alone(bytes)));
                kept.truncate(GHOSTS_MAX);
            }
        }
    }

    /// Remembers a delivered frame, so that it may turn up once more on the next connection.
    pub fn remember(&mut self, conn: ConnId, from: HostId, to: HostId, bytes: &[u8]) {
        if !self.conns.get(&conn).is_some_and(|conn| conn.haunts) {
            return;
        }
        if self.quality.ghost_permille > 0 && self.dice.permille(20) && stands_alone(bytes) {
            let kept = self.ghosts.entry((from, to)).or_default();
            kept.push_back(bytes.to_vec());
            if kept.len() > GHOSTS_MAX {
                kept.pop_front();
            }
        }
    }

    /// What a machine said or was told on earlier connections turns up no more.
    pub fn forget_ghosts(&mut self, id: HostId) {
        self.ghosts.retain(|(from, to), _| *from != id && *to != id);
    }

    /// Frames of earlier connections that turn up on a new one, each with its delay.
    pub fn ghosts(&mut self, from: HostId, to: HostId) -> Vec<(u64, Vec<u8>)> {
        let Some(kept) = self.ghosts.remove(&(from, to)) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        for bytes in kept {
            let late = self.dice.below(2_000_000);
            let fault = if self.dice.permille(500) {
                Fault::Duplicate
            } else {
                Fault::Reorder
            };
            self.faults.add(fault);
            frames.push((late, bytes));
        }
        frames
    }

    /// What a slow machine at the other end adds.
    fn draw_slowness(&mut self, now: Moment, conn: ConnId, from: HostId) -> u64 {
        let ends = self.ends(conn);
        let slow = |end: &HostId| *end != from && self.slow.get(end).is_some_and(|at| now < *at);
        if !ends.is_some_and(|ends| ends.iter().any(slow)) {
            return 0;
        }
        self.faults.add(Fault::SlowPeer);
        self.dice.between(100_000, 3_000_000)
    }

    fn draw_delay(&mut self) -> u64 {
        let mut delay = match &self.ways {
            Some(ways) => ways.draw(&mut self.dice),
            None => self.delay(),
        };
        let mut wait = RETRANSMIT_US;
        while self.dice.permille(self.quality.loss_permille) && wait < 4 * RETRANSMIT_US {
            self.faults.add(Fault::Loss);
            delay += wait;
            wait *= 2;
        }
        if self.dice.permille(self.quality.corrupt_permille) {
            self.faults.add(Fault::Corrupt);
            delay += RETRANSMIT_US;
        }
        if self.dice.permille(self.quality.spike_permille) {
            self.faults.add(Fault::Delay);
            delay += self.dice.below(1_000_000);
        }
        delay
    }
}

/// Whether a frame means something without its neighbours. A piece of a long frame does not: each connection begins
/// with none, and `hive-mind` drops what an earlier connection still brings (`is_current` in its `net.rs`), pieces and
/// whole frames alike. Whole ones turn up here all the same: the core must bear more than the transport allows.
fn stands_alone(bytes: &[u8]) -> bool {
    !matches!(Frame::decode(bytes), Ok(Frame::Part { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    fn parcel(byte: u8) -> Parcel {
        Parcel {
            bytes: vec![byte],
            declared: 1,
        }
    }

    #[test]
    fn a_stream_keeps_its_order_however_bad_the_path() {
        let mut net = Net::new(1, Quality::BAD_WIFI);
        let conn = net.connect(A, B);
        let mut last = Moment(0);
        for byte in 0..100 {
            let at = net.send(Moment(0), conn, A, Lane::Urgent, parcel(byte));
            let at = at.expect("connected");
            assert!(at >= last);
            last = at;
        }
        for byte in 0..100 {
            let arrival = net.arrive(last, conn, A, Lane::Urgent);
            assert_eq!(arrival, Arrival::Frame(parcel(byte)));
        }
        assert!(net.faults.of(Fault::Loss) > 0);
    }

    #[test]
    fn a_path_shut_for_long_breaks_the_connection_one_way_is_enough() {
        let mut net = Net::new(1, Quality::LAN);
        let conn = net.connect(A, B);
        net.shut(A, B);
        let mut now = net
            .send(Moment(0), conn, A, Lane::Bulk, parcel(1))
            .expect("connected");
        for _ in 0..100 {
            match net.arrive(now, conn, A, Lane::Bulk) {
                Arrival::Later(later) => now = later,
                other => {
                    assert_eq!(other, Arrival::Broken);
                    assert!(now.0 >= BREAK_AFTER_US);
                    return;
                }
            }
        }
        panic!("never broke");
    }
}
