//! Two questions that only another member can answer: can my port be reached from outside, and does my network
//! still let your packets in after so long a silence?
//!
//! Each is one short two-way stream on a member's connection. The first is answered by trying it, from a port this
//! machine has never spoken with, so that no firewall takes it for an answer; the second by keeping silent for so
//! long and then saying a word. Anything unexpected on such a stream ends that stream and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hive_core::time::{Span, WallTime};
use quinn::{Connection, RecvStream, SendStream};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use crate::clock;
use crate::net::socket::plain;

/// Streams that may be open at once: one of each question.
pub(crate) const STREAMS_MAX: u32 = 2;

/// First byte of question and answer.
const VERSION: u8 = 1;

const REACH: u8 = 1;
const HOLD: u8 = 2;
const QUESTION_BYTES: usize = 6;
const REACH_BYTES: usize = 29;
const HOLD_BYTES: usize = 2;

const SHUT: u8 = 0;
const OPEN: u8 = 1;
const NOT_NOW: u8 = 2;

/// A member is probed at most this often for each of its connections. A guess: a probe costs 1.3 kB.
const PROBE_EVERY: Duration = Duration::from_secs(3);

/// The longest silence that is kept on request. Source: the longest step of `keeper`, doubled.
const HOLD_MAX: Duration = Duration::from_mins(10);

/// How long each probe is waited for; three in all, because packets get lost. A guess, for slow home connections.
const PROBE_FOR: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
];

/// How long an answer may take beyond what was asked for: all probes, and a round trip with one loss.
const ANSWER_FOR: Duration = Duration::from_millis(4_500);

/// How long a word may take after its silence: a round trip with two losses. A guess.
const WORD_FOR: Duration = Duration::from_secs(2);

/// What has begun is silent after this. A guess: acknowledgements take 25 ms and a round trip.
const SETTLE: Duration = Duration::from_millis(500);

/// The smallest first packet of a connection (RFC 9000 14.1): a listener answers no smaller ones.
const PROBE_BYTES: usize = 1_200;

/// A version that nobody speaks (RFC 9000 15): any QUIC listener answers it with those it does, without keeping
/// anything or looking at a key.
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];

/// What another member found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Whether a packet from a port that this machine has never spoken with got an answer.
    pub(crate) open: bool,
    /// Where the other member sees this machine.
    pub(crate) seen_as: SocketAddr,
    /// By how many milliseconds the other's clock is ahead of this machine's; negative when behind.
    pub(crate) clock_ahead_ms: i64,
}

/// What came of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The other side's word came in after it.
    Survived,
    /// It did not.
    Died,
    /// It was no silence, or the connection ended for another reason.
    Disturbed,
}

/// Asks a member to try to reach this machine. `None` when it does not say.
pub(crate) async fn ask_reach(connection: &Connection) -> Option<Reached> {
    let begun = Instant::now();
    let (asked_at, answer) = timeout(ANSWER_FOR, async {
        let mut answer = ask(connection, REACH, Duration::ZERO).await?;
        let asked_at = clock::now().wall;
        let mut bytes = [0; REACH_BYTES];
        answer.read_exact(&mut bytes).await.ok()?;
        Some((asked_at, bytes))
    })
    .await
    .ok()??;
    let (open, seen_as, their_wall) = read_reached(&answer)?;
    // The other side reads its clock when it answers, half a round trip ago.
    let waited = Span::from_ms(u64::try_from(begun.elapsed().as_millis()).ok()?);
    let now = i128::from(asked_at.0) + i128::from(waited.0 / 1_000);
    let ahead = i128::from(their_wall.0) - now;
    Some(Reached {
        open,
        seen_as,
        clock_ahead_ms: i64::try_from(ahead).ok()?,
    })
}

/// Asks a member to say a word after a silence of this length, and waits for it.
pub(crate) async fn ask_hold(connection: &Connection, silence: Duration) -> Silence {
    let Some(mut answer) = ask(connection, HOLD, silence).await else {
        return Silence::Disturbed;
    };
    sleep(SETTLE.min(silence / 2)).await;
    let packets = || {
        let stats = connection.stats();
        (stats.udp_tx.datagrams, stats.udp_rx.datagrams)
    };
    let before = packets();
    let mut bytes = [0; HOLD_BYTES];
    let word = timeout(silence + WORD_FOR, answer.read_exact(&mut bytes)).await;
    let after = packets();
    match word {
        // The word itself, perhaps twice, and its acknowledgements.
        Ok(Ok(())) if after.0 <= before.0 + 3 && after.1 <= before.1 + 3 => Silence::Survived,
        // Nothing came in and the connection knows of no end: what would let it in was forgotten.
        Err(_) if after.1 == before.1 && connection.close_reason().is_none() => Silence::Died,
        _ => Silence::Disturbed,
    }
}

/// Answers a member's questions for as long as its connection lives.
pub(crate) async fn answer(connection: &Connection) {
    let mut probed: Option<Instant> = None;
    while let Ok((send, receive)) = connection.accept_bi().await {
        let may_probe = probed.is_none_or(|then| then.elapsed() >= PROBE_EVERY);
        let target = plain(connection.remote_address());
        // What is open at once is bounded by the streams that the transport allows.
        let question = timeout(ANSWER_FOR, read_question(receive)).await;
        match question {
            Ok(Some((REACH, _))) => {
                if may_probe {
                    probed = Some(Instant::now());
                }
                tokio::spawn(answer_reach(send, target, may_probe));
            }
            Ok(Some((HOLD, silence))) if silence <= HOLD_MAX => {
                tokio::spawn(answer_hold(send, silence));
            }
            _ => tracing::debug!("a question that is none"),
        }
    }
}

async fn ask(connection: &Connection, what: u8, silence: Duration) -> Option<RecvStream> {
    // A member of an earlier version allows no such stream, and this waits in vain.
    let opened = timeout(ANSWER_FOR, connection.open_bi()).await;
    let (mut send, receive) = opened.ok()?.ok()?;
    let mut question = [0; QUESTION_BYTES];
    question[0] = VERSION;
    question[1] = what;
    let ms = u32::try_from(silence.as_millis()).ok()?;
    question[2..].copy_from_slice(&ms.to_le_bytes());
    send.write_all(&question).await.ok()?;
    send.finish().ok()?;
    Some(receive)
}

async fn read_question(mut stream: RecvStream) -> Option<(u8, Duration)> {
    let mut question = [0; QUESTION_BYTES];
    stream.read_exact(&mut question).await.ok()?;
    let [VERSION, what, ms @ ..] = question else {
        return None;
    };
    Some((what, Duration::from_millis(u32::from_le_bytes(ms).into())))
}

async fn answer_reach(mut send: SendStream, target: SocketAddr, may_probe: bool) {
    let result = match may_probe {
        false => NOT_NOW,
        true if reaches(target).await => OPEN,
        true => SHUT,
    };
    said(&mut send, &write_reached(result, target, clock::now().wall)).await;
}

async fn answer_hold(mut send: SendStream, silence: Duration) {
    tokio::select! {
        () = sleep(silence) => {}
        // The asker has gone, or has given up.
        _ = send.stopped() => return,
    }
    said(&mut send, &[VERSION, 1]).await;
}

async fn said(send: &mut SendStream, answer: &[u8]) {
    if send.write_all(answer).await.is_err() || send.finish().is_err() {
        tracing::debug!("whoever asked does not listen any more");
    }
}

fn write_reached(result: u8, seen: SocketAddr, wall: WallTime) -> [u8; REACH_BYTES] {
    let mut bytes = [0; REACH_BYTES];
    bytes[0] = VERSION;
    bytes[1] = result;
    bytes[2..4].copy_from_slice(&seen.port().to_le_bytes());
    match seen.ip() {
        IpAddr::V4(four) => {
            bytes[4] = 4;
            bytes[5..9].copy_from_slice(&four.octets());
        }
        IpAddr::V6(six) => {
            bytes[4] = 6;
            bytes[5..21].copy_from_slice(&six.octets());
        }
    }
    bytes[21..].copy_from_slice(&wall.0.to_le_bytes());
    bytes
}

/// `None` when it is no answer, or none now.
fn read_reached(bytes: &[u8; REACH_BYTES]) -> Option<(bool, SocketAddr, WallTime)> {
    let port = u16::from_le_bytes([bytes[2], bytes[3]]);
    let mut six = [0; 16];
    six.copy_from_slice(&bytes[5..21]);
    let mut wall = [0; 8];
    wall.copy_from_slice(&bytes[21..]);
    let address: IpAddr = match bytes[4] {
        4 => Ipv4Addr::new(six[0], six[1], six[2], six[3]).into(),
        6 => Ipv6Addr::from(six).into(),
        _ => return None,
    };
    let open = match (bytes[0], bytes[1]) {
        (VERSION, OPEN) => true,
        (VERSION, SHUT) => false,
        _ => return None,
    };
    let wall = WallTime(u64::from_le_bytes(wall));
    Some((open, SocketAddr::new(address, port), wall))
}

/// Whether a QUIC listener there answers a packet from a new port of this machine.
async fn reaches(target: SocketAddr) -> bool {
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let Ok(chance) = crate::key::chance::<16>() else {
        return false;
    };
    let Ok(socket) = UdpSocket::bind((any, 0)).await else {
        return false;
    };
    if socket.connect(target).await.is_err() {
        return false;
    }
    let probe = probe(chance);
    for patience in PROBE_FOR {
        if socket.send(&probe).await.is_err() {
            continue;
        }
        if timeout(patience, answered(&socket, &probe)).await.is_ok() {
            return true;
        }
    }
    false
}

/// A long header of a version that nobody speaks, with two connection ids of eight bytes.
fn probe(chance: [u8; 16]) -> [u8; PROBE_BYTES] {
    let mut packet = [0; PROBE_BYTES];
    packet[0] = 0xc0;
    packet[1..5].copy_from_slice(&NO_VERSION);
    packet[5] = 8;
    packet[6..14].copy_from_slice(&chance[..8]);
    packet[14] = 8;
    packet[15..23].copy_from_slice(&chance[8..]);
    packet
}

/// Waits for the list of versions that belongs to this probe (RFC 9000 17.2.1); everything else is not heard.
async fn answered(socket: &UdpSocket, probe: &[u8; PROBE_BYTES]) {
    let mut packet = [0; PROBE_BYTES];
    loop {
        match socket.recv(&mut packet).await {
            Ok(length) if is_answer(&packet[..length], probe) => return,
            Ok(_) => {}
            // "Port unreachable" is heard as an error, and means that nobody is there.
            Err(_) => return std::future::pending().await,
        }
    }
}

fn is_answer(packet: &[u8], probe: &[u8; PROBE_BYTES]) -> bool {
    packet.len() >= 14
        && packet[0] & 0x80 != 0
        && packet[1..5] == [0; 4]
        && packet[5] == 8
        && packet[6..14] == probe[15..23]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back_and_a_garbled_one_is_none() {
        let wall = WallTime(1_700_000_000_123);
        for seen in ["192.0.2.7:4483", "[2001:db8::7]:4483"] {
            let seen: SocketAddr = seen.parse().expect("an address");
            for (result, open) in [(OPEN, true), (SHUT, false)] {
                let bytes = write_reached(result, seen, wall);
                assert_eq!(read_reached(&bytes), Some((open, seen, wall)));
            }
            assert_eq!(read_reached(&write_reached(NOT_NOW, seen, wall)), None);
            let mut bytes = write_reached(OPEN, seen, wall);
            bytes[0] = 9;
            assert_eq!(read_reached(&bytes), None);
            bytes[0] = VERSION;
            bytes[4] = 5;
            assert_eq!(read_reached(&bytes), None);
        }
    }

    #[test]
    fn only_the_answer_to_this_probe_counts() {
        let probe = probe([7; 16]);
        let mut answer = vec![0xc0, 0, 0, 0, 0, 8];
        answer.extend_from_slice(&[7; 8]);
        assert!(is_answer(&answer, &probe));
        for (at, byte) in [(0, 0x40), (1, 1), (5, 7), (6, 8)] {
            let mut other = answer.clone();
            other[at] = byte;
            assert!(!is_answer(&other, &probe), "byte {at}");
        }
        assert!(!is_answer(&answer[..13], &probe));
        assert!(!is_answer(&[], &probe));
    }
}
