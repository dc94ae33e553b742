//! One pairing conversation: a single two-way stream with a stranger whose key TLS has proven.

use std::time::Duration;

use hive_core::id::{LinkId, NodeId};
use hive_core::limits::PAIR_FRAME_BYTES_MAX;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::net::link::{code, read_frame, write_frame};
use crate::net::{PairReady, Report};

/// Frames that may wait to be sent. A guess: the whole conversation has fewer.
const WAITING_FRAMES_MAX: usize = 16;

/// From the handshake to the other side's first byte. Source: `research/security.md` 4.6 (handshake 5 s).
const HELLO_FOR: Duration = Duration::from_secs(5);

/// How long the last frame may take to be acknowledged before the connection is closed over it. A guess:
/// six retransmissions at LAN round trips.
const LAST_WORDS_FOR: Duration = Duration::from_secs(2);

/// Version of this framing: the first byte from each side.
const VERSION: u8 = 1;

/// Label of the bytes that only the two ends of the connection know (RFC 5705).
const EXPORT_LABEL: &[u8] = b"hive-mind/pair/v1";

/// What a conversation's task needs.
pub(crate) struct Conversation {
    pub(crate) link: LinkId,
    pub(crate) key: NodeId,
    pub(crate) dialled: bool,
    pub(crate) connection: Connection,
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Conversation {
    /// Begins; `None` when the other side does not follow.
    pub(crate) async fn begin(self) -> Option<Begun> {
        if let Ok(Some((send, receive, exporter))) =
            tokio::time::timeout(HELLO_FOR, self.hello()).await
        {
            return Some(Begun {
                talk: self,
                send,
                receive,
                exporter,
            });
        }
        self.connection.close(code::MISDEED, b"");
        None
    }

    async fn hello(&self) -> Option<(SendStream, RecvStream, [u8; 32])> {
        let (mut send, mut receive) = if self.dialled {
            let (mut send, receive) = self.connection.open_bi().await.ok()?;
            send.write_all(&[VERSION]).await.ok()?;
            (send, receive)
        } else {
            self.connection.accept_bi().await.ok()?
        };
        if !self.dialled {
            send.write_all(&[VERSION]).await.ok()?;
        }
        let mut theirs = [0];
        receive.read_exact(&mut theirs).await.ok()?;
        let mut exporter = [0; 32];
        self.connection
            .export_keying_material(&mut exporter, EXPORT_LABEL, b"")
            .ok()?;
        (theirs[0] == VERSION).then_some((send, receive, exporter))
    }

    async fn report(&self, report: Report) {
        if self.reports.send(report).await.is_err() {
            tracing::trace!("the loop has ended");
        }
    }
}

/// A conversation after its first bytes.
pub(crate) struct Begun {
    talk: Conversation,
    send: SendStream,
    receive: RecvStream,
    exporter: [u8; 32],
}

impl Begun {
    /// Reports the conversation, carries its frames, says the last words, reports the end.
    pub(crate) async fn serve(self) {
        let Self {
            talk,
            send,
            receive,
            exporter,
        } = self;
        let (outbox, frames) = mpsc::channel(WAITING_FRAMES_MAX);
        talk.report(Report::PairReady(Box::new(PairReady {
            link: talk.link,
            key: talk.key,
            exporter,
            dialled: talk.dialled,
            connection: talk.connection.clone(),
            outbox,
        })))
        .await;
        // That the connection ended is noticed by reading, behind the last word: who watched for it here would
        // miss what came just before it.
        tokio::select! {
            () = read(&talk, receive) => {}
            () = write(send, frames) => {}
        }
        talk.connection.close(code::BYE, b"");
        talk.report(Report::PairEnded { link: talk.link }).await;
    }
}

async fn read(talk: &Conversation, mut stream: RecvStream) {
    while let Ok(frame) = read_frame(&mut stream, PAIR_FRAME_BYTES_MAX).await {
        talk.report(Report::PairFrame {
            link: talk.link,
            frame,
        })
        .await;
    }
}

/// Ends when the loop has let go of the conversation and everything it said was acknowledged: closing without
/// waiting would lose the last frame (`research/transport.md` 7.8).
async fn write(mut stream: SendStream, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if write_frame(&mut stream, &frame).await.is_none() {
            return;
        }
    }
    if stream.finish().is_ok()
        && tokio::time::timeout(LAST_WORDS_FOR, stream.stopped())
            .await
            .is_err()
    {
        tracing::debug!("the last frame of a pairing conversation was not acknowledged");
    }
}
