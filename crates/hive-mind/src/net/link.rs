//! One connection between two members: a hello, two ordered lanes each way, and a watch for silence.

use std::time::Duration;

use hive_core::event::Input;
use hive_core::event_log::Misdeed;
use hive_core::hive::outside::Lane;
use hive_core::id::NodeId;
use hive_core::limits::FRAME_BYTES_MAX;
use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::clock;
use crate::net::crossing::Knocking;
use crate::net::pack::UnpackError;
use crate::net::silence::{self, Moment};
use crate::net::{Ready, Report, pack, reach};

/// Frames that may wait on one lane. A peer that leaves more unread is cut off and asked again later. A guess.
const WAITING_FRAMES_MAX: usize = 1_024;

/// From the handshake to the other side's hello. Source: `research/security.md` 4.6 (handshake 5 s).
const HELLO_FOR: Duration = Duration::from_secs(5);

/// How long a member may take to say its first word to an old key. A guess: on a LAN it takes some milliseconds.
const ANSWER_FOR: Duration = Duration::from_secs(3);

/// How long the last frames to a peer that is let go may take to be acknowledged. Source: DESIGN 5 (1 s
/// application time-out).
const LAST_WORD_FOR: Duration = Duration::from_secs(1);

/// A fresh key exchange this often, so that a stolen session key opens one day. Source: DESIGN 5.
const RENEW_AFTER: Duration = Duration::from_hours(24);

/// A frame that was begun is whole by then. Source: `research/security.md` 4.6 (frame 15 s).
const FRAME_FOR: Duration = Duration::from_secs(15);

/// Bytes that a member may send at once, and per second from then on; above it, its stream is read more slowly and
/// it is the one that waits. Source: `research/security.md` 4.6 (1 MiB/s); the burst is a guess: what a fresh
/// member of a hive of 10,000 patterns is sent, several times over.
const READ_BURST: f64 = 16.0 * 1024.0 * 1024.0;
const READ_PER_S: f64 = 1024.0 * 1024.0;

/// First byte of a lane, then for the urgent one the version of this framing and the boot nonce.
const URGENT: u8 = 0;
const BULK: u8 = 1;
const VERSION: u8 = 1;
const HELLO_BYTES: usize = 10;

/// In a frame's length: it is packed.
const PACKED: u32 = 1 << 31;

/// Why a side closes a connection; shown to the other side.
pub(crate) mod code {
    use quinn::VarInt;
    pub(crate) const BYE: VarInt = VarInt::from_u32(0);
    pub(crate) const REPLACED: VarInt = VarInt::from_u32(1);
    pub(crate) const NOT_A_MEMBER: VarInt = VarInt::from_u32(2);
    pub(crate) const SILENT: VarInt = VarInt::from_u32(3);
    pub(crate) const MISDEED: VarInt = VarInt::from_u32(4);
    pub(crate) const TOO_SLOW: VarInt = VarInt::from_u32(5);
    /// Another run with the same key has connected.
    pub(crate) const OTHER_RUN: VarInt = VarInt::from_u32(6);
}

/// What a connection's tasks need.
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) peer: NodeId,
    pub(crate) dialled: bool,
    pub(crate) boot_nonce: [u8; 8],
    pub(crate) connection: Connection,
    pub(crate) reports: mpsc::Sender<Report>,
}

/// The loop's end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    urgent: mpsc::Sender<Vec<u8>>,
    bulk: mpsc::Sender<Vec<u8>>,
}

impl Outbox {
    /// Queues a frame; `false` when the peer leaves too many unread.
    pub(crate) fn put(&self, lane: Lane, frame: Vec<u8>) -> bool {
        let lane = match lane {
            Lane::Urgent => &self.urgent,
            Lane::Bulk => &self.bulk,
        };
        lane.try_send(frame).is_ok()
    }

    /// Asks for a sign of life: an empty frame, which the other side drops but its transport acknowledges.
    pub(crate) fn ping(&self) {
        self.put(Lane::Urgent, Vec::new());
    }

    /// A handle that can ask for that and does not hold the connection open.
    pub(crate) fn pinger(&self) -> Pinger {
        Pinger(self.urgent.downgrade())
    }
}

/// Asks one connection for signs of life, as long as the loop keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Pinger(mpsc::WeakSender<Vec<u8>>);

impl Pinger {
    /// As [`Outbox::ping`].
    pub(crate) fn ping(&self) {
        let asked = self.0.upgrade().map(|urgent| urgent.try_send(Vec::new()));
        if !matches!(asked, Some(Ok(()))) {
            tracing::trace!("no sign of life was asked for");
        }
    }
}

/// Why a connection's tasks end.
#[derive(Debug)]
enum End {
    Closed,
    /// The loop does not want it any more.
    LetGo,
    Misdeed(Misdeed),
    Silent,
}

impl Line {
    /// Exchanges hellos. Only the other side's answer proves that it accepted our key: a TLS 1.3 dialler has
    /// finished its handshake before the listener has checked anything (`research/transport.md` 7.10).
    pub(crate) async fn greet(self) -> Option<Greeted> {
        if let Ok(Some((send, receive, nonce))) =
            tokio::time::timeout(HELLO_FOR, self.hello()).await
        {
            return Some(Greeted {
                line: self,
                send,
                receive,
                nonce,
            });
        }
        // Why the other side ended it is still looked at.
        if self.connection.close_reason().is_none() {
            self.connection.close(code::MISDEED, b"");
        }
        None
    }

    async fn hello(&self) -> Option<(SendStream, RecvStream, [u8; 8])> {
        let mut send = self.connection.open_uni().await.ok()?;
        // News goes before bulk when both wait for the same packet. Fails only on a closed stream.
        send.set_priority(1).ok()?;
        let mut mine = [0; HELLO_BYTES];
        mine[0] = URGENT;
        mine[1] = VERSION;
        mine[2..].copy_from_slice(&self.boot_nonce);
        send.write_all(&mine).await.ok()?;
        let mut receive = self.connection.accept_uni().await.ok()?;
        let mut theirs = [0; HELLO_BYTES];
        receive.read_exact(&mut theirs).await.ok()?;
        if theirs[0] != URGENT || theirs[1] != VERSION {
            return None;
        }
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&theirs[2..]);
        Some((send, receive, nonce))
    }

    async fn tell_of_silences(
        &self,
        mut sent: watch::Receiver<Instant>,
        mut heard: watch::Receiver<Instant>,
    ) {
        loop {
            let silence = silence::broken_by_a_word(&self.connection, &mut sent, &mut heard).await;
            self.report(Report::CameIn {
                number: self.number,
                peer: self.peer,
                silence,
            })
            .await;
        }
    }

    async fn report(&self, report: Report) {
        if self.reports.send(report).await.is_err() {
            tracing::trace!("the loop has ended");
        }
    }
}

/// A connection after its hellos.
pub(crate) struct Greeted {
    line: Line,
    send: SendStream,
    receive: RecvStream,
    nonce: [u8; 8],
}

impl Greeted {
    /// Reports the connection as ready, carries frames until it ends, reports the end.
    ///
    /// `after_ready` is reported right behind the readiness. Until then it was `knocking`.
    pub(super) async fn serve(self, after_ready: Option<Report>, knocking: Option<Knocking>) {
        let Self {
            line,
            send,
            receive,
            nonce,
        } = self;
        let (urgent, urgent_frames) = mpsc::channel(WAITING_FRAMES_MAX);
        let (bulk, bulk_frames) = mpsc::channel(WAITING_FRAMES_MAX);
        line.report(Report::Ready(Box::new(Ready {
            number: line.number,
            peer: line.peer,
            dialled: line.dialled,
            boot_nonce: nonce,
            connection: line.connection.clone(),
            outbox: Outbox { urgent, bulk },
        })))
        .await;
        drop(knocking);
        if let Some(next) = after_ready {
            line.report(next).await;
        }
        let (sent, watched) = watch::channel(Instant::now());
        let (heard, also_watched) = watch::channel(Instant::now());
        let sent_too = sent.subscribe();
        let end = tokio::select! {
            end = read_lane(&line, receive, &heard) => end,
            end = read_bulk(&line, &heard) => end,
            end = write_lane(send, urgent_frames, &sent) => end,
            end = write_bulk(&line, bulk_frames, &sent) => end,
            () = silence::until_silent(&line.connection, watched) => End::Silent,
            () = line.tell_of_silences(sent_too, also_watched) => End::Closed,
            end = renew(&line) => end,
            () = reach::answer(&line.connection) => End::Closed,
            _ = line.connection.closed() => End::Closed,
        };
        // The other side has forgotten the connection, or nothing of it arrives any more.
        let lost = matches!(end, End::Silent)
            || matches!(
                line.connection.close_reason(),
                Some(ConnectionError::Reset | ConnectionError::TimedOut)
            );
        let reason = line.connection.close_reason();
        tracing::debug!(peer = %line.peer.short(), dialled = line.dialled, ?reason, ?end, "ended");
        if matches!(&reason, Some(ConnectionError::ApplicationClosed(why)) if why.error_code == code::OTHER_RUN)
        {
            let ousted = Input::Ousted { peer: line.peer };
            line.report(Report::Heard(ousted)).await;
        }
        match end {
            End::Closed => line.connection.close(code::BYE, b""),
            End::LetGo => line.connection.close(code::NOT_A_MEMBER, b""),
            End::Silent => line.connection.close(code::SILENT, b""),
            End::Misdeed(misdeed) => {
                line.connection.close(code::MISDEED, b"");
                line.report(Report::Refused {
                    number: line.number,
                    peer: line.peer,
                    misdeed,
                })
                .await;
            }
        }
        line.report(Report::Ended {
            number: line.number,
            peer: line.peer,
            lost,
        })
        .await;
    }
}

impl Greeted {
    /// Brings these frames and waits until the other side has ended the connection over them, but not for ever; whether
    /// it did. The first frame that comes back is reported, and nothing else is read.
    pub(super) async fn tell(mut self, frames: &[Vec<u8>], at_most: Duration) -> bool {
        let told = async {
            for frame in frames {
                write_packed(&mut self.send, frame).await?;
            }
            // Whose stream has ended is told nothing any more.
            let answer = tokio::time::timeout(ANSWER_FOR, first_frame(&mut self.receive)).await;
            if let Ok(Ok(frame)) = answer {
                let peer = self.line.peer;
                let told = Input::ToldOldKey { peer, frame };
                self.line.report(Report::Heard(told)).await;
            }
            self.send.finish().ok();
            self.line.connection.closed().await;
            Some(())
        };
        let told = tokio::time::timeout(at_most, told).await;
        self.line.connection.close(code::BYE, b"");
        matches!(told, Ok(Some(())))
    }
}

/// Whether the other side ended the connection in its handshake, with an alert of TLS: the key that it was shown is not
/// the one that it wants.
pub(super) fn is_refused(reason: Option<&ConnectionError>) -> bool {
    let Some(ConnectionError::ConnectionClosed(close)) = reason else {
        return false;
    };
    // RFC 9001 section 4.8.
    (0x100..0x200).contains(&u64::from(close.error_code))
}

async fn read_lane(line: &Line, mut stream: RecvStream, heard: &Moment) -> End {
    let mut pace = Pace::new();
    loop {
        let read = read_packed(&mut stream).await;
        heard.send_replace(Instant::now());
        match read {
            // A sign of life was asked for; the transport has already given it.
            Ok(frame) if frame.is_empty() => {}
            Ok(frame) => {
                pace.keep(frame.len()).await;
                line.report(Report::Frame {
                    number: line.number,
                    peer: line.peer,
                    frame,
                })
                .await;
            }
            Err(ReadFrameError::Gone) => return End::Closed,
            Err(ReadFrameError::Bad(misdeed)) => return End::Misdeed(misdeed),
        }
    }
}

/// The first that is more than a sign of life.
async fn first_frame(stream: &mut RecvStream) -> Result<Vec<u8>, ReadFrameError> {
    loop {
        let frame = read_packed(stream).await?;
        if !frame.is_empty() {
            return Ok(frame);
        }
    }
}

/// How fast a lane is read. Reading slowly is felt by the sender alone: its transport has to wait.
struct Pace {
    left: f64,
    filled: Instant,
}

impl Pace {
    fn new() -> Self {
        Self {
            left: READ_BURST,
            filled: Instant::now(),
        }
    }

    /// Counts what was read and waits until it is paid for.
    async fn keep(&mut self, bytes: usize) {
        let wait = self.wait_for(Instant::now(), bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait_for(&mut self, now: Instant, bytes: usize) -> Duration {
        let gone = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.left = (self.left + gone * READ_PER_S).min(READ_BURST);
        self.left -= f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        Duration::from_secs_f64((-self.left / READ_PER_S).max(0.0))
    }
}

/// The second stream is the bulk lane; a third is nobody's.
async fn read_bulk(line: &Line, heard: &Moment) -> End {
    let Ok(mut stream) = line.connection.accept_uni().await else {
        return End::Closed;
    };
    let mut kind = [0];
    match stream.read_exact(&mut kind).await {
        Ok(()) if kind[0] == BULK => {}
        Ok(()) | Err(ReadExactError::FinishedEarly(_)) => return End::Misdeed(Misdeed::BadFrame),
        Err(ReadExactError::ReadError(_)) => return End::Closed,
    }
    tokio::select! {
        end = read_lane(line, stream, heard) => end,
        third = line.connection.accept_uni() => match third {
            Ok(_) => End::Misdeed(Misdeed::OutOfTurn),
            Err(_) => End::Closed,
        },
    }
}

async fn write_lane(
    mut stream: SendStream,
    mut frames: mpsc::Receiver<Vec<u8>>,
    sent: &Moment,
) -> End {
    while let Some(frame) = frames.recv().await {
        sent.send_replace(Instant::now());
        if write_packed(&mut stream, &frame).await.is_none() {
            return End::Closed;
        }
    }
    // The loop has let go of this connection: the last word is brought, and that is all.
    stream.finish().ok();
    if tokio::time::timeout(LAST_WORD_FOR, stream.stopped())
        .await
        .is_err()
    {
        tracing::debug!("a last word was not acknowledged");
    }
    End::LetGo
}

async fn write_bulk(line: &Line, mut frames: mpsc::Receiver<Vec<u8>>, sent: &Moment) -> End {
    let Some(first) = frames.recv().await else {
        return std::future::pending().await;
    };
    let Ok(mut stream) = line.connection.open_uni().await else {
        return End::Closed;
    };
    sent.send_replace(Instant::now());
    let opened = stream.write_all(&[BULK]).await.is_ok();
    if !opened || write_packed(&mut stream, &first).await.is_none() {
        return End::Closed;
    }
    while let Some(frame) = frames.recv().await {
        sent.send_replace(Instant::now());
        if write_frame(&mut stream, &frame).await.is_none() {
            return End::Closed;
        }
    }
    // The urgent lane brings the last word.
    std::future::pending().await
}

/// The dialler asks for a new connection once a day; the old one stays until the new one replaces it.
async fn renew(line: &Line) -> End {
    if !line.dialled {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(clock::really(RENEW_AFTER)).await;
        line.report(Report::Renew {
            number: line.number,
            peer: line.peer,
        })
        .await;
    }
}

pub(crate) enum ReadFrameError {
    /// The stream or the connection ended between two frames, or the connection broke.
    Gone,
    /// The other side did something it must not do.
    Bad(Misdeed),
}

/// Reads one frame: its length as u32 (little endian), checked before anything is allocated, then its bytes.
pub(crate) async fn read_frame(
    stream: &mut RecvStream,
    bytes_max: usize,
) -> Result<Vec<u8>, ReadFrameError> {
    let length = read_length(stream).await?;
    read_body(stream, length, bytes_max).await
}

/// The same from a member, which packs long frames.
async fn read_packed(stream: &mut RecvStream) -> Result<Vec<u8>, ReadFrameError> {
    let length = read_length(stream).await?;
    let bytes = read_body(stream, length & !PACKED, FRAME_BYTES_MAX).await?;
    if length & PACKED == 0 {
        return Ok(bytes);
    }
    pack::unpack(&bytes, FRAME_BYTES_MAX).map_err(|why| {
        ReadFrameError::Bad(match why {
            UnpackError::TooLong => Misdeed::FrameTooLong,
            _ => Misdeed::BadFrame,
        })
    })
}

async fn read_length(stream: &mut RecvStream) -> Result<u32, ReadFrameError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => Ok(u32::from_le_bytes(length)),
        Err(ReadExactError::FinishedEarly(0) | ReadExactError::ReadError(_)) => {
            Err(ReadFrameError::Gone)
        }
        Err(ReadExactError::FinishedEarly(_)) => Err(ReadFrameError::Bad(Misdeed::BadFrame)),
    }
}

async fn read_body(
    stream: &mut RecvStream,
    length: u32,
    bytes_max: usize,
) -> Result<Vec<u8>, ReadFrameError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(ReadFrameError::Bad(Misdeed::FrameTooLong));
    }
    let mut frame = vec![0; length];
    match tokio::time::timeout(FRAME_FOR, stream.read_exact(&mut frame)).await {
        Ok(Ok(())) => Ok(frame),
        Ok(Err(ReadExactError::ReadError(_))) => Err(ReadFrameError::Gone),
        // It holds memory here and sends nothing: not the way of a peer that lives.
        Ok(Err(ReadExactError::FinishedEarly(_))) | Err(_) => {
            Err(ReadFrameError::Bad(Misdeed::BadFrame))
        }
    }
}

/// Writes one frame; `None` when the connection is gone.
pub(crate) async fn write_frame(stream: &mut SendStream, frame: &[u8]) -> Option<()> {
    let length = u32::try_from(frame.len()).ok()?;
    stream.write_all(&length.to_le_bytes()).await.ok()?;
    stream.write_all(frame).await.ok()
}

/// Writes one frame to a member, packed if that is shorter.
async fn write_packed(stream: &mut SendStream, frame: &[u8]) -> Option<()> {
    let Some(packed) = pack::pack(frame) else {
        return write_frame(stream, frame).await;
    };
    let length = u32::try_from(packed.len()).ok()? | PACKED;
    stream.write_all(&length.to_le_bytes()).await.ok()?;
    stream.write_all(&packed).await.ok()
}

/// Closes a connection that is not wanted.
pub(crate) fn turn_away(connection: &Connection, code: VarInt) {
    connection.close(code, b"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_sends_without_end_is_read_at_one_megabyte_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new();
        let frame = 256 * 1024;
        // The burst: 64 frames of 256 KiB.
        for _ in 0..64 {
            assert_eq!(pace.wait_for(start, frame), Duration::ZERO);
        }
        let mut now = start;
        for _ in 0..40 {
            let wait = pace.wait_for(now, frame);
            now += wait;
        }
        let span = now.duration_since(start);
        assert!((9.9..10.1).contains(&span.as_secs_f64()), "{span:?}");
        // Who waits may send again.
        let later = now + Duration::from_secs(16);
        assert_eq!(pace.wait_for(later, 15 * 1024 * 1024), Duration::ZERO);
    }
}
