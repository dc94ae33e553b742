//! Silence on a connection, seen from both ends of it: a peer that does not answer is gone, and one whose words come in
//! by themselves after a long silence shows that the way in stays open.

use std::time::Duration;

use quinn::Connection;
use tokio::sync::watch;
use tokio::time::Instant;

/// A live peer acknowledges within 25 ms and its round trip (`research/transport.md` 3.1); one that has not done
/// so this long after something was sent is gone. Source: DESIGN 5 (1 s application time-out).
const SILENCE: Duration = Duration::from_secs(1);

/// By then whatever was under way has arrived. A guess, above the round trips of a far-away home connection.
const SETTLED: Duration = Duration::from_millis(300);

/// A window that begins so long after the sending is longer by this factor than that, which is its end at 3.3 times
/// its beginning.
const WINDOW_GROWS: f64 = 2.3;

/// A second look before cutting off, for answers that have arrived but were not yet processed. A guess.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Says when something was last given to be sent, or came in.
pub(super) type Moment = watch::Sender<Instant>;

/// A dead peer is noticed by the transport's own repetitions: what is not acknowledged is sent again after about
/// `p`, 3`p`, 7`p`, 15`p` (RFC 9002 6.2, `p` from the round trip), so of any window that ends 3.3 times later than
/// it begins, one repetition falls inside. Something to be answered sent but nothing received within it = nobody is
/// there. This costs no byte and nothing waits for it. The window begins late enough for acknowledgements that were
/// still under way when the peer died. What was sent while an earlier window was open is looked at later, through a
/// window that is longer by as much: the repetitions have become rarer by then. A window in which this machine itself
/// was kept from running tells nothing: what has arrived may wait in the socket.
pub(super) async fn until_silent(connection: &Connection, mut sent: watch::Receiver<Instant>) {
    loop {
        if sent.changed().await.is_err() {
            return std::future::pending().await;
        }
        let last = *sent.borrow_and_update();
        tokio::time::sleep(SETTLED).await;
        loop {
            let before = Exchanged::of(connection);
            let silent = || before.is_silence_until(&Exchanged::of(connection));
            let window = last.elapsed().mul_f64(WINDOW_GROWS);
            let window = window.max(SILENCE.saturating_sub(SETTLED));
            let began = Instant::now();
            tokio::time::sleep(window).await;
            if !silent() {
                break;
            }
            tokio::time::sleep(SECOND_LOOK).await;
            if !silent() {
                break;
            }
            if began.elapsed() <= window + 2 * SECOND_LOOK {
                return;
            }
        }
    }
}

/// What a connection's transport has counted.
struct Exchanged {
    /// Frames that want an answer.
    asked: u64,
    /// Packets that went out.
    sent: u64,
    /// Packets that came in.
    heard: u64,
}

impl Exchanged {
    /// Acknowledgements are not counted as asking: nobody answers them. Neither are tries of longer packets, each a ping
    /// and a wish for an answer at once: they may be lost for their length. The transport's own repetitions mostly
    /// hold such a wish and nothing else (quinn-proto 0.11, `maybe_queue_probe`).
    fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        let frames = stats.frame_tx;
        let asked = frames.stream + frames.ping + frames.immediate_ack;
        Self {
            asked: asked.saturating_sub(2 * stats.path.sent_plpmtud_probes),
            sent: stats.udp_tx.datagrams,
            heard: stats.udp_rx.datagrams,
        }
    }

    fn is_silence_until(&self, later: &Self) -> bool {
        later.asked > self.asked && later.heard == self.heard
    }

    /// Only something came in. Its acknowledgement goes out later (`research/transport.md` 3.1: 25 ms).
    fn is_word_until(&self, later: &Self) -> bool {
        later.sent == self.sent && later.heard > self.heard
    }
}

/// Waits for a word from the other side that ends a silence, and says how long that was: for so long this machine sent
/// nothing on the connection, and the word came in. A firewall that lets in only answers and had forgotten the
/// connection would have kept it out.
pub(super) async fn broken_by_a_word(
    connection: &Connection,
    sent: &mut watch::Receiver<Instant>,
    heard: &mut watch::Receiver<Instant>,
) -> Duration {
    loop {
        sent.borrow_and_update();
        heard.borrow_and_update();
        tokio::time::sleep(SETTLED).await;
        if !matches!(
            (sent.has_changed(), heard.has_changed()),
            (Ok(false), Ok(false))
        ) {
            continue;
        }
        let before = Exchanged::of(connection);
        let began = Instant::now();
        tokio::select! {
            _ = sent.changed() => {}
            _ = heard.changed() => if before.is_word_until(&Exchanged::of(connection)) {
                return began.elapsed();
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_no_answer_to_what_was_asked() {
        let at = |asked, heard| Exchanged {
            asked,
            sent: asked,
            heard,
        };
        assert!(at(3, 7).is_silence_until(&at(4, 7)));
        assert!(!at(3, 7).is_silence_until(&at(4, 8)));
        // Whoever only acknowledges has nothing to wait for.
        assert!(!at(3, 7).is_silence_until(&at(3, 7)));
    }

    #[test]
    fn a_word_that_was_asked_for_ends_no_silence() {
        let at = |sent, heard| Exchanged {
            asked: 0,
            sent,
            heard,
        };
        assert!(at(3, 7).is_word_until(&at(3, 8)));
        assert!(!at(3, 7).is_word_until(&at(4, 8)));
        assert!(!at(3, 7).is_word_until(&at(3, 7)));
    }
}
