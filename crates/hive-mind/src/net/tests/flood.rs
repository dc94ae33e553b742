//! Strangers who knock without end: members hear their news, new connections are made, and the flood is not served.

use std::time::Instant;

use tokio::task::JoinSet;

use super::*;

/// An address on loopback that no member has.
const FLOOD_FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Knocks of the flood: a minute's worth of `hive-lab faults` (10,000 a minute), all at once.
const KNOCKS: usize = 3_000;

/// How many handshakes of one stranger's address may be begun within a span: what `guests` allows an address before
/// it is proven (32 and 20 a second) and then (24 and 2 a second), and one of each that falls on the edge.
fn allowed(span: Duration) -> u64 {
    32 + 24 + 2 + 22 * (span.as_secs() + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_strangers_is_not_served_and_members_do_not_notice() {
    let (mut one, mut two) = acquainted().await;
    let stranger = KeyPair::from_secret(&[99; 32]).node();
    let identity = Identity::new(&Zeroizing::new([99; 32]), stranger).expect("an identity");
    let config = identity
        .client(Who::Member(two.id()))
        .expect("a configuration");
    let endpoint = Endpoint::client((FLOOD_FROM, 0).into()).expect("a port");
    let before = two.net.numbers.load(Ordering::Relaxed);
    let begun = Instant::now();
    let target = two.address();
    let flood = tokio::spawn(async move {
        let mut knocks = JoinSet::new();
        let mut entered = 0;
        for _ in 0..KNOCKS {
            let connecting = endpoint
                .connect_with(config.clone(), target, NAME)
                .expect("dials");
            // What a stranger's dialler takes for success is the listener's key; that it is let in shows by a stream.
            knocks.spawn(async move {
                let connection = within(Duration::from_secs(1), connecting).await?;
                connection.accept_uni().await.ok()
            });
            while knocks.len() > 64 {
                let ended = knocks.join_next().await;
                entered += usize::from(matches!(ended, Some(Ok(Some(_)))));
            }
        }
        while let Some(ended) = knocks.join_next().await {
            entered += usize::from(matches!(ended, Ok(Some(_))));
        }
        entered
    });

    // News goes on, frame by frame, while they knock.
    let mut frames = 0_u32;
    while !flood.is_finished() {
        let frame = frames.to_le_bytes().to_vec();
        one.net.send(two.id(), Lane::Urgent, frame.clone());
        two.expect(&Input::Received {
            peer: one.id(),
            frame,
        })
        .await;
        frames += 1;
    }
    assert!(frames > 100, "{frames} frames in the whole flood");
    assert_eq!(flood.await.expect("no panic"), 0, "strangers let in");
    let served = two.net.numbers.load(Ordering::Relaxed) - before;
    let span = begun.elapsed();
    assert!(
        served <= allowed(span),
        "{served} handshakes begun in {span:?}"
    );
    assert!(served > 0, "none of them was even heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gets_in_while_strangers_knock() {
    let (mut member, mut target) = (Machine::new(1), Machine::new(2));
    member.net.members(vec![target.id()]);
    target.net.members(vec![member.id()]);
    let stranger = KeyPair::from_secret(&[99; 32]).node();
    let identity = Identity::new(&Zeroizing::new([99; 32]), stranger).expect("an identity");
    let config = identity
        .client(Who::Member(target.id()))
        .expect("a configuration");
    let endpoint = Endpoint::client((FLOOD_FROM, 0).into()).expect("a port");
    let mut knocks = Vec::new();
    for _ in 0..500 {
        let connecting = endpoint
            .connect_with(config.clone(), target.address(), NAME)
            .expect("dials");
        // They are held, so that the target has as many half-open handshakes as it lets them have.
        knocks.push(connecting);
    }
    member.net.dial(target.id(), vec![target.address()]);
    let up = Input::PeerUp {
        peer: target.id(),
        address: target.address(),
    };
    member.expect(&up).await;
    drop(knocks);
}

#[tokio::test]
async fn a_third_stream_is_out_of_turn() {
    let (member, mut target) = (Machine::new(1), Machine::new(2));
    target.net.members(vec![member.id()]);
    let (_endpoint, connection, _urgent) = rogue(&member, &target).await;
    assert!(matches!(target.next().await, Input::PeerUp { .. }));
    let mut bulk = connection.open_uni().await.expect("the second");
    bulk.write_all(&[1]).await.expect("the bulk lane");
    let mut third = connection.open_uni().await.expect("the third");
    third.write_all(&[7]).await.expect("written");
    target
        .expect(&Input::TransportRefused {
            peer: member.id(),
            misdeed: Misdeed::OutOfTurn,
        })
        .await;
    target.expect(&Input::PeerDown { peer: member.id() }).await;
}
