//! Real QUIC over loopback: who gets in, which connection stays, and what bad bytes do.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use hive_core::hive::outside::{Beacon, Locators, Sighting};
use zeroize::Zeroizing;

use super::interfaces::Interfaces;
use super::keeper::{TIMING, Timing};
use super::mdns::Mdns;
use super::*;

mod crossing;
mod flood;
mod keys;
mod way_in;

/// Far longer than anything here takes, so that a failure ends; nothing is asserted about time.
const PATIENCE: Duration = Duration::from_secs(20);

struct Machine {
    net: Net,
    secret: Secret,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn new(seed: u8) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = Zeroizing::new([seed; 32]);
        let net = open(&secret, folder.path(), 0, seed);
        Self {
            net,
            secret,
            _folder: folder,
        }
    }

    /// On every address of both families, as a daemon is.
    fn everywhere(seed: u8) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = Zeroizing::new([seed; 32]);
        let net = open_at(None, &secret, folder.path(), 0, seed);
        Self {
            net,
            secret,
            _folder: folder,
        }
    }

    fn id(&self) -> NodeId {
        self.net.me
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.net.port()).into()
    }

    async fn next(&mut self) -> Input {
        patiently(self.net.next())
            .await
            .expect("the network never ends")
    }

    /// The next input; a ready report of one connection may be followed by its replacement.
    async fn expect(&mut self, wanted: &Input) {
        let found = self.next().await;
        assert_eq!(&found, wanted);
    }
}

fn open(secret: &Secret, folder: &Path, port: u16, boot: u8) -> Net {
    open_at(Some(Ipv4Addr::LOCALHOST.into()), secret, folder, port, boot)
}

fn open_at(bind: Option<IpAddr>, secret: &Secret, folder: &Path, port: u16, boot: u8) -> Net {
    open_with(TIMING, bind, secret, folder, port, boot)
}

fn open_with(
    timing: Timing,
    bind: Option<IpAddr>,
    secret: &Secret,
    folder: &Path,
    port: u16,
    boot: u8,
) -> Net {
    Net::open(&NetConfig {
        secret,
        before: None,
        boot_nonce: [boot; 8],
        bind,
        port: Some(port),
        timing,
        remembered: &folder.join("port"),
    })
    .expect("opens")
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// Two machines that know each other; the first has dialled the second.
async fn acquainted() -> (Machine, Machine) {
    let (mut one, mut two) = (Machine::new(1), Machine::new(2));
    one.net.members(vec![one.id(), two.id()]);
    two.net.members(vec![one.id(), two.id()]);
    one.net.dial(two.id(), vec![two.address()]);
    let (up, other) = tokio::join!(one.next(), two.next());
    assert_eq!(
        up,
        Input::PeerUp {
            peer: two.id(),
            address: two.address()
        }
    );
    assert!(matches!(other, Input::PeerUp { peer, .. } if peer == one.id()));
    (one, two)
}

/// A member that keeps to no rules: a raw connection with this machine's key.
async fn rogue(machine: &Machine, target: &Machine) -> (Endpoint, Connection, quinn::SendStream) {
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let identity = Identity::new(&machine.secret, machine.id()).expect("an identity");
    let config = identity
        .client(Who::Member(target.id()))
        .expect("a configuration");
    let connection = endpoint
        .connect_with(config, target.address(), NAME)
        .expect("dials")
        .await
        .expect("connects");
    let mut stream = connection.open_uni().await.expect("a stream");
    stream
        .write_all(&[0, 1, 9, 9, 9, 9, 9, 9, 9, 9])
        .await
        .expect("a hello");
    (endpoint, connection, stream)
}

#[tokio::test]
async fn members_connect_and_both_lanes_carry_frames_both_ways() {
    let (mut one, mut two) = acquainted().await;
    let longest = hive_core::limits::FRAME_BYTES_MAX;
    // The same byte again and again, which is packed well, and bytes that cannot be packed.
    let chance: Vec<u8> = (0..longest / 32)
        .flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
        .collect();
    for (lane, frame) in [
        (Lane::Urgent, vec![7]),
        (Lane::Bulk, vec![7; longest]),
        (Lane::Bulk, chance),
        (Lane::Urgent, vec![7; 300]),
    ] {
        one.net.send(two.id(), lane, frame.clone());
        two.expect(&Input::Received {
            peer: one.id(),
            frame: frame.clone(),
        })
        .await;
        two.net.send(one.id(), lane, frame.clone());
        one.expect(&Input::Received {
            peer: two.id(),
            frame,
        })
        .await;
    }
}

/// Whether this machine has IPv6 at all; without it there is nothing to show.
fn has_ipv6() -> bool {
    let has = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("skipped: no IPv6 on this machine");
    }
    has
}

#[tokio::test]
async fn one_port_is_reached_over_both_families_and_tells_addresses_plainly() {
    if !has_ipv6() {
        return;
    }
    for from in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let (mut one, mut two) = (Machine::everywhere(1), Machine::everywhere(2));
        for machine in [&mut one.net, &mut two.net] {
            machine.members(vec![
                KeyPair::from_secret(&[1; 32]).node(),
                KeyPair::from_secret(&[2; 32]).node(),
            ]);
        }
        let there = SocketAddr::new(from, two.net.port());
        one.net.dial(two.id(), vec![there]);
        let up = Input::PeerUp {
            peer: two.id(),
            address: there,
        };
        one.expect(&up).await;
        let up = Input::PeerUp {
            peer: one.id(),
            address: SocketAddr::new(from, one.net.port()),
        };
        two.expect(&up).await;
    }
}

#[tokio::test]
async fn a_machine_that_listens_on_ipv6_alone_is_reached_by_a_fixed_address() {
    if !has_ipv6() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let secret = Zeroizing::new([2; 32]);
    let bind = Some(Ipv6Addr::LOCALHOST.into());
    let net = open_at(bind, &secret, folder.path(), 0, 2);
    let mut two = Machine {
        net,
        secret,
        _folder: folder,
    };
    let mut one = Machine::everywhere(1);
    one.net.members(vec![one.id(), two.id()]);
    two.net.members(vec![one.id(), two.id()]);
    let wrong = (Ipv4Addr::LOCALHOST, two.net.port()).into();
    let right: SocketAddr = format!("[::1]:{}", two.net.port())
        .parse()
        .expect("an address");
    // As a settings file may have it: an address that leads nowhere does not hide the one that does.
    one.net.dial(two.id(), vec![wrong, right]);
    let (up, _) = tokio::join!(one.next(), two.next());
    let expected = Input::PeerUp {
        peer: two.id(),
        address: right,
    };
    assert_eq!(up, expected);
}

#[tokio::test]
async fn a_stranger_is_refused_in_the_handshake() {
    let (mut stranger, mut member) = (Machine::new(3), Machine::new(2));
    stranger.net.members(vec![stranger.id(), member.id()]);
    member.net.members(vec![member.id()]);
    // Pairing being open does not widen the members' door.
    for open in [false, true] {
        member.net.pair_open(open);
        stranger.net.dial(member.id(), vec![member.address()]);
        stranger
            .expect(&Input::DialRefused {
                peer: member.id(),
                address: member.address(),
            })
            .await;
    }
    assert!(member.net.links.is_empty());
    assert!(member.net.reports.try_recv().is_err(), "it heard of nobody");
}

#[tokio::test]
async fn whoever_answers_with_another_key_than_expected_is_not_spoken_to() {
    let (mut one, mut two) = (Machine::new(1), Machine::new(2));
    let absent = Machine::new(4).id();
    for machine in [&mut one, &mut two] {
        machine
            .net
            .members(vec![NodeId(machine.id().0), absent, machine.net.me]);
    }
    one.net.dial(absent, vec![two.address()]);
    one.expect(&Input::DialFailed { peer: absent }).await;
    // The one that it found instead is told from where.
    let address = one.address();
    two.expect(&Input::Misdialled { address }).await;
    assert!(two.net.links.is_empty());
}

#[tokio::test]
async fn a_removed_member_is_cut_off_and_refused() {
    let (mut one, mut two) = acquainted().await;
    two.net.members(vec![two.id()]);
    one.expect(&Input::PeerDown { peer: two.id() }).await;
    two.expect(&Input::PeerDown { peer: one.id() }).await;
    one.net.dial(two.id(), vec![two.address()]);
    one.expect(&Input::DialRefused {
        peer: two.id(),
        address: two.address(),
    })
    .await;
}

#[tokio::test]
async fn who_is_being_dialled_does_not_dial_back() {
    let (mut one, mut two) = (Machine::new(1), Machine::new(2));
    let both = vec![one.id(), two.id()];
    one.net.members(both.clone());
    two.net.members(both);
    let knocking = two.net.crossing.knock(one.address());
    two.net.dial(one.id(), vec![one.address()]);
    one.net.dial(two.id(), vec![two.address()]);
    let (up, other) = tokio::join!(one.next(), two.next());
    assert!(matches!(up, Input::PeerUp { .. }) && matches!(other, Input::PeerUp { .. }));
    let number = |net: &Net, peer| net.links.get(&peer).map(|link| link.number);
    let before = (number(&one.net, two.id()), number(&two.net, one.id()));
    drop(knocking);
    patiently(async {
        while !two.net.dials.is_empty() {
            let report = two.net.reports.recv().await.expect("its own dial ends");
            two.net.take_in(report);
        }
    })
    .await;
    let after = (number(&one.net, two.id()), number(&two.net, one.id()));
    assert_eq!((before, one.net.endpoint.open_connections()), (after, 1));
    // Where nothing comes of the other's dial, the own one is not lost.
    let mut three = Machine::new(3);
    two.net.members(vec![two.id(), three.id()]);
    three.net.members(vec![two.id(), three.id()]);
    let knocking = three.net.crossing.knock(two.address());
    three.net.dial(two.id(), vec![two.address()]);
    assert_eq!(three.net.dials.len(), 1);
    drop(knocking);
    let up = three.next().await;
    assert!(matches!(up, Input::PeerUp { peer, .. } if peer == two.id()));
}

#[tokio::test]
async fn bytes_that_are_no_frame_are_refused_before_anything_is_allocated() {
    for (bytes, misdeed) in [
        // Four gigabytes are declared.
        (&[0xff, 0xff, 0xff, 0xff][..], Misdeed::FrameTooLong),
        // One byte too many is declared.
        (&[1, 0, 4, 0], Misdeed::FrameTooLong),
        // Ten bytes are declared, two come.
        (&[10, 0, 0, 0, 1, 2], Misdeed::BadFrame),
        // Not even a whole length.
        (&[10, 0], Misdeed::BadFrame),
        // Packed: one byte too many is declared for what it holds, and then for what it would inflate to.
        (&[1, 0, 4, 0x80], Misdeed::FrameTooLong),
        (
            &[8, 0, 0, 0x80, 1, 0, 4, 0, 1, 2, 3, 4],
            Misdeed::FrameTooLong,
        ),
        // Packed, and nothing that inflates.
        (&[8, 0, 0, 0x80, 0, 0, 4, 0, 1, 2, 3, 4], Misdeed::BadFrame),
        // Packed, and not even a length inside.
        (&[2, 0, 0, 0x80, 1, 2], Misdeed::BadFrame),
    ] {
        let (member, mut target) = (Machine::new(1), Machine::new(2));
        target.net.members(vec![member.id()]);
        let (_endpoint, connection, mut stream) = rogue(&member, &target).await;
        assert!(matches!(target.next().await, Input::PeerUp { .. }));
        stream.write_all(bytes).await.expect("still open");
        stream.finish().expect("still open");
        target
            .expect(&Input::TransportRefused {
                peer: member.id(),
                misdeed,
            })
            .await;
        target.expect(&Input::PeerDown { peer: member.id() }).await;
        let why = patiently(connection.closed()).await;
        assert!(
            matches!(&why, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == code::MISDEED),
            "{why}"
        );
    }
}

/// Kills a machine as `kill -9` does: its runtime is dropped, nothing is said, its port is free again.
fn kill(runtime: tokio::runtime::Runtime, net: Net) {
    std::thread::spawn(move || {
        runtime.shutdown_timeout(PATIENCE);
        drop(net);
    })
    .join()
    .expect("dead");
}

/// A machine in a runtime of its own, so that it can be killed.
fn lives_elsewhere(
    secret: &Secret,
    folder: &Path,
    port: u16,
    boot: u8,
    members: Vec<NodeId>,
) -> (tokio::runtime::Runtime, Net) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut net = {
        let _inside = runtime.enter();
        open(secret, folder, port, boot)
    };
    net.members(members);
    (runtime, net)
}

#[tokio::test]
async fn a_silent_death_and_a_restart_on_the_same_port_are_both_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret: Secret = Zeroizing::new([2; 32]);
    let peer = KeyPair::from_secret(&secret).node();
    let mut one = Machine::new(1);
    let all = vec![one.id(), peer];
    one.net.members(all.clone());
    let (runtime, net) = lives_elsewhere(&secret, folder.path(), 0, 1, all.clone());
    let port = net.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    one.net.dial(peer, vec![address]);
    one.expect(&Input::PeerUp { peer, address }).await;

    // Dead, and nobody on its port: the missing acknowledgements give it away.
    kill(runtime, net);
    one.net.send(peer, Lane::Urgent, b"anybody there?".to_vec());
    one.expect(&Input::PeerDown { peer }).await;

    // Back on the port it remembers; then dead and back again before anybody spoke to it.
    let (runtime, net) = lives_elsewhere(&secret, folder.path(), 0, 2, all.clone());
    assert_eq!(net.port(), port, "the port is remembered");
    one.net.dial(peer, vec![address]);
    one.expect(&Input::PeerUp { peer, address }).await;
    kill(runtime, net);
    let (runtime, net) = lives_elsewhere(&secret, folder.path(), 0, 3, all);
    assert_eq!(net.port(), port);
    one.net.send(peer, Lane::Urgent, b"still you?".to_vec());
    one.expect(&Input::PeerDown { peer }).await;
    kill(runtime, net);
}

#[tokio::test]
async fn pairing_is_shut_until_it_is_opened_and_the_last_word_arrives() {
    let (mut inviter, mut joiner) = (Machine::new(1), Machine::new(2));
    let address = inviter.address();
    joiner.net.pair_dial(address, None);
    joiner.expect(&Input::PairDialFailed { address }).await;

    inviter.net.pair_open(true);
    joiner.net.pair_dial(address, Some(joiner.id()));
    joiner.expect(&Input::PairDialFailed { address }).await;

    joiner.net.pair_dial(address, Some(inviter.id()));
    let (here, there) = tokio::join!(joiner.next(), inviter.next());
    let Input::PairUp {
        link,
        key,
        exporter,
        dialled: true,
        ..
    } = here
    else {
        panic!("{here:?}");
    };
    let Input::PairUp {
        link: there_link,
        key: there_key,
        exporter: there_exporter,
        dialled: false,
        ..
    } = there
    else {
        panic!("{there:?}");
    };
    assert_eq!((key, there_key), (inviter.id(), joiner.id()));
    assert_eq!(exporter, there_exporter, "only these two ends know it");
    assert_ne!(exporter, [0; 32]);

    joiner.net.pair_send(link, b"hello".to_vec());
    inviter
        .expect(&Input::PairReceived {
            link: there_link,
            frame: b"hello".to_vec(),
        })
        .await;
    inviter.net.pair_send(there_link, b"goodbye".to_vec());
    inviter.net.pair_close(there_link);
    joiner
        .expect(&Input::PairReceived {
            link,
            frame: b"goodbye".to_vec(),
        })
        .await;
    joiner.expect(&Input::PairDown { link }).await;
}

/// Everything that comes until the conversation's end; the last word must be among it.
async fn until_the_end(net: &mut Net, link: LinkId) -> Vec<Input> {
    let mut heard = Vec::new();
    loop {
        let input = patiently(net.next()).await.expect("the network never ends");
        let ended = input == Input::PairDown { link };
        heard.push(input);
        if ended {
            return heard;
        }
    }
}

/// A joiner on a machine so busy that the last frame and the end of the connection are there before it looks: a
/// refusal lost here would keep it waiting for a day.
#[test]
fn the_last_word_of_a_pairing_is_not_lost_on_a_busy_machine() {
    let new = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let inviters = new();
    // Works only while it is asked for something.
    let joiners = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // The race was lost every second time.
    for round in 0..4 {
        let mut inviter = inviters.block_on(async { Machine::new(40 + round) });
        let mut joiner = joiners.block_on(async { Machine::new(80 + round) });
        inviter.net.pair_open(true);
        joiners.block_on(async { joiner.net.pair_dial(inviter.address(), None) });
        let Input::PairUp { link, .. } = joiners.block_on(joiner.next()) else {
            panic!("no conversation")
        };
        let Input::PairUp { link: there, .. } = inviters.block_on(inviter.next()) else {
            panic!("no conversation")
        };
        inviter.net.pair_send(there, b"denied".to_vec());
        inviter.net.pair_close(there);
        inviters.block_on(async {
            // Said, and hung up after waiting in vain for an acknowledgement.
            inviter.net.endpoint.wait_idle().await;
        });
        let heard = joiners.block_on(until_the_end(&mut joiner.net, link));
        let said = Input::PairReceived {
            link,
            frame: b"denied".to_vec(),
        };
        assert!(heard.contains(&said), "{heard:?}");
    }
}

#[tokio::test]
async fn a_machine_on_loopback_is_found_by_one_question() {
    let around = Interfaces::new(vec!["lo".into()]);
    let beacon = Beacon {
        tag: [1, 2, 3, 4, 5, 6, 7, 8],
        locators: Locators::of([[9, 10, 11, 12], [0xa0, 1, 2, 3], [5; 4]]),
    };
    let mut shown = Mdns::open(40_483, &around, [1; 16]);
    shown.announce(beacon, &around);
    let mut seeker = Mdns::open(40_484, &around, [2; 16]);
    // Other tests' machines and real ones may answer too; ours must be among them.
    patiently(async {
        loop {
            seeker.seek(&around);
            let round = async {
                loop {
                    let sighting = seeker.next().await;
                    if sighting.beacon == beacon {
                        return sighting;
                    }
                }
            };
            // The responder registers on a thread of its own; ask again until it has.
            if let Ok(sighting) = tokio::time::timeout(Duration::from_secs(2), round).await {
                let address = (Ipv4Addr::LOCALHOST, 40_483).into();
                assert_eq!(sighting, Sighting { beacon, address });
                return;
            }
        }
    })
    .await;
    tokio::task::spawn_blocking(move || {
        shown.finish();
        seeker.finish();
    })
    .await
    .expect("ends");
}
