//! A machine behind a firewall that lets in only answers, and forgets: noticed, measured, and kept open.

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::*;
use crate::net::keeper::Standing;

/// In a hurry: the first silence is survived and the second is not.
const HURRY: Timing = Timing {
    ask_after: Duration::from_millis(10),
    suspect_after: Duration::from_millis(10),
    silences: [
        Duration::from_millis(200),
        Duration::from_secs(5),
        Duration::from_secs(6),
        Duration::from_secs(7),
        Duration::from_secs(8),
    ],
    again_after: Duration::from_millis(50),
};

/// Longer than the question takes that the firewall does not let in (2.1 s), or its answer would be lost.
const FORGETS: Duration = Duration::from_secs(3);

/// A firewall in front of one machine. From inside, the world is at `inside`; from outside, the machine is at
/// `outside`.
struct Firewall {
    inside: SocketAddr,
    outside: SocketAddr,
    /// Packets that went out and packets that were not let in.
    counts: watch::Receiver<(u64, u64)>,
    forget: mpsc::Sender<()>,
}

impl Firewall {
    async fn before(world: SocketAddr, forgets: Duration) -> Self {
        let new = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (inner, outer) = (new().await.expect("a port"), new().await.expect("a port"));
        let inside = inner.local_addr().expect("bound");
        let outside = outer.local_addr().expect("bound");
        let (count, counts) = watch::channel((0, 0));
        let (forget, mut forgets_now) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut machine = None;
            let mut last: Option<Instant> = None;
            let (mut out, mut back) = (vec![0; 2_048], vec![0; 2_048]);
            loop {
                tokio::select! {
                    Ok((length, from)) = inner.recv_from(&mut out) => {
                        machine = Some(from);
                        last = Some(Instant::now());
                        outer.send_to(&out[..length], world).await.expect("sent");
                        count.send_modify(|(out, _)| *out += 1);
                    }
                    Ok((length, from)) = outer.recv_from(&mut back) => {
                        let remembered = last.is_some_and(|last| last.elapsed() < forgets);
                        match machine {
                            Some(machine) if remembered && from == world => {
                                last = Some(Instant::now());
                                inner.send_to(&back[..length], machine).await.expect("sent");
                            }
                            _ => count.send_modify(|(_, dropped)| *dropped += 1),
                        }
                    }
                    asked = forgets_now.recv() => match asked {
                        Some(()) => last = None,
                        None => return,
                    },
                }
            }
        });
        Self {
            inside,
            outside,
            counts,
            forget,
        }
    }
}

fn timed(seed: u8, timing: Timing) -> Machine {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = Zeroizing::new([seed; 32]);
    let bind = Some(Ipv4Addr::LOCALHOST.into());
    let net = open_with(timing, bind, &secret, folder.path(), 0, seed);
    Machine {
        net,
        secret,
        _folder: folder,
    }
}

/// The first is behind the firewall and has dialled the second.
async fn behind_a_firewall(timing: Timing, forgets: Duration) -> (Machine, Machine, Firewall) {
    let (mut one, mut two) = (timed(1, timing), Machine::new(2));
    one.net.members(vec![one.id(), two.id()]);
    two.net.members(vec![one.id(), two.id()]);
    let firewall = Firewall::before(two.address(), forgets).await;
    one.net.dial(two.id(), vec![firewall.inside]);
    let (up, there) = tokio::join!(one.next(), two.next());
    assert!(matches!(up, Input::PeerUp { .. }));
    let expected = Input::PeerUp {
        peer: one.id(),
        address: firewall.outside,
    };
    assert_eq!(there, expected);
    (one, two, firewall)
}

async fn standing(machine: &Machine) -> Standing {
    let keeper = machine.net.keeper();
    patiently(keeper.check()).await.expect("it still watches")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_reached_measures_how_long_the_way_in_stays_open_and_keeps_it_so() {
    let (mut one, mut two, mut firewall) = behind_a_firewall(HURRY, FORGETS).await;
    let known = patiently(async {
        loop {
            let known = standing(&one).await;
            if known.keeping.is_some() {
                return known;
            }
            // A word is said when it is decided.
            firewall.counts.changed().await.expect("the firewall lives");
        }
    })
    .await;
    let (asked, reached) = known.reached.expect("somebody was asked");
    assert_eq!((asked, reached.open), (two.id(), false));
    assert_eq!(reached.seen_as, firewall.outside);
    assert!(
        reached.clock_ahead_ms.abs() < 60_000,
        "one clock, two reads"
    );
    assert_eq!(known.survived, Some(HURRY.silences[0]));
    assert_eq!(known.died, Some(HURRY.silences[1]));
    let every = HURRY.silences[0] * 9 / 10;
    assert_eq!(known.keeping, Some((two.id(), every)));

    // Many words later, and longer than the firewall remembers, news still comes in.
    let words = u64::try_from(FORGETS.as_millis() / every.as_millis()).expect("few") + 5;
    let (start, _) = *firewall.counts.borrow_and_update();
    patiently(firewall.counts.wait_for(|(out, _)| *out >= start + words))
        .await
        .expect("the firewall lives");
    two.net.send(one.id(), Lane::Urgent, b"news".to_vec());
    one.expect(&Input::Received {
        peer: two.id(),
        frame: b"news".to_vec(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_way_in_was_forgotten_ends_on_both_sides_and_is_made_again() {
    let day = Duration::from_hours(24);
    let (mut one, mut two, firewall) = behind_a_firewall(TIMING, day).await;
    // An acknowledgement that was still under way lets the firewall remember again; then it forgets once more.
    let down = Input::PeerDown { peer: one.id() };
    patiently(async {
        loop {
            firewall.forget.send(()).await.expect("the firewall lives");
            two.net.send(one.id(), Lane::Urgent, b"lost".to_vec());
            let noticed = tokio::time::timeout(Duration::from_secs(2), two.net.next()).await;
            if noticed.is_ok_and(|input| input.as_ref() == Some(&down)) {
                return;
            }
        }
    })
    .await;
    assert!(firewall.counts.borrow().1 > 0, "it let everything in");
    two.net.dial(one.id(), vec![firewall.outside]);
    two.expect(&Input::DialFailed { peer: one.id() }).await;

    // The other side notices when it speaks, and gets out.
    one.net.send(two.id(), Lane::Urgent, b"hello?".to_vec());
    let mut heard = one.next().await;
    while matches!(heard, Input::Received { .. }) {
        heard = one.next().await;
    }
    assert_eq!(heard, Input::PeerDown { peer: two.id() });
    one.net.dial(two.id(), vec![firewall.inside]);
    assert!(matches!(one.next().await, Input::PeerUp { .. }));
}

#[tokio::test]
async fn who_can_be_reached_is_told_so_and_keeps_nothing_open() {
    let (one, two) = acquainted().await;
    let known = standing(&one).await;
    let (asked, reached) = known.reached.expect("somebody was asked");
    assert_eq!((asked, reached.open), (two.id(), true));
    assert_eq!(reached.seen_as, one.address());
    assert_eq!((known.keeping, known.words), (None, 0));
    assert_eq!(known.connected, 1);
    // Who is alone is told that too.
    let alone = standing(&Machine::new(9)).await;
    assert_eq!(alone, Standing::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_comes_in_after_a_silence_is_seen_and_an_answer_at_once_is_not() {
    let (mut one, mut two) = acquainted().await;
    patiently(async {
        loop {
            let quiet = tokio::time::timeout(Duration::from_secs(1), one.next()).await;
            assert!(quiet.is_err(), "nobody said anything");
            two.net.send(one.id(), Lane::Urgent, b"news".to_vec());
            let frame = b"news".to_vec();
            let peer = two.id();
            one.expect(&Input::Received { peer, frame }).await;
            one.net.send(two.id(), Lane::Urgent, b"thanks".to_vec());
            let (peer, frame) = (one.id(), b"thanks".to_vec());
            two.expect(&Input::Received { peer, frame }).await;
            let known = standing(&one).await;
            if let Some(silence) = known.came_in {
                assert!(silence < Duration::from_mins(1), "{silence:?}");
                return;
            }
        }
    })
    .await;
    // Nothing but answers came in at the other one; one may have been late, but not by a silence.
    let answered = standing(&two).await.came_in;
    assert!(answered.is_none_or(|late| late < Duration::from_millis(900)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_what_was_seen() {
    // Any silence is long enough, and the question is due at once, but for what was seen.
    let seeing = Timing {
        silences: [Duration::ZERO; 5],
        ask_after: Duration::from_secs(3),
        ..HURRY
    };
    let (mut one, mut two) = (timed(1, seeing), Machine::new(2));
    one.net.members(vec![one.id(), two.id()]);
    two.net.members(vec![one.id(), two.id()]);
    one.net.dial(two.id(), vec![two.address()]);
    let (up, there) = tokio::join!(one.next(), two.next());
    assert!(matches!(
        (up, there),
        (Input::PeerUp { .. }, Input::PeerUp { .. })
    ));
    let known = patiently(async {
        loop {
            // For longer than the question would have waited.
            let quiet = tokio::time::timeout(Duration::from_secs(1), one.next()).await;
            assert!(quiet.is_err(), "nobody said anything");
            two.net.send(one.id(), Lane::Urgent, b"news".to_vec());
            let (peer, frame) = (two.id(), b"news".to_vec());
            one.expect(&Input::Received { peer, frame }).await;
            let known = one.net.keeper().known().await.expect("it watches");
            if known.came_in >= Some(Duration::from_millis(100)) {
                return known;
            }
        }
    })
    .await;
    assert_eq!(known.reached, None, "nobody was asked");
    // A person's question is asked all the same.
    assert!(standing(&one).await.reached.is_some());
}

#[tokio::test]
async fn a_question_that_is_none_is_not_answered_and_harms_nothing() {
    let (member, mut target) = (Machine::new(1), Machine::new(2));
    target.net.members(vec![member.id()]);
    let (_endpoint, connection, mut urgent) = rogue(&member, &target).await;
    assert!(matches!(target.next().await, Input::PeerUp { .. }));
    for question in [
        &[9, 1, 0, 0, 0, 0][..],
        &[1, 77, 0, 0, 0, 0],
        // A silence of seven weeks.
        &[1, 2, 0xff, 0xff, 0xff, 0xff],
        &[1],
        &[],
    ] {
        let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
        send.write_all(question).await.expect("written");
        send.finish().expect("finished");
        let answer = patiently(receive.read_to_end(64)).await;
        assert_eq!(answer.unwrap_or_default(), b"", "{question:?}");
    }
    urgent
        .write_all(&[2, 0, 0, 0, 5, 6])
        .await
        .expect("written");
    target
        .expect(&Input::Received {
            peer: member.id(),
            frame: vec![5, 6],
        })
        .await;
}
