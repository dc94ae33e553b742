//! Two keys of one machine, and two machines of one key.

use super::*;

#[tokio::test]
async fn the_key_before_brings_a_word_to_a_member_that_does_not_know_the_new_one() {
    let (folder, mut member) = (tempfile::tempdir().expect("a folder"), Machine::new(2));
    let (secret, before) = (Zeroizing::new([1; 32]), Zeroizing::new([7; 32]));
    let old = KeyPair::from_secret(&before).node();
    let mut net = Net::open(&NetConfig {
        secret: &secret,
        before: Some(&before),
        boot_nonce: [1; 8],
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        port: Some(0),
        timing: TIMING,
        remembered: &folder.path().join("port"),
    })
    .expect("opens");
    net.members(vec![member.id()]);
    member.net.members(vec![old]);
    // An address that leads nowhere does not hide the one that does.
    let nowhere = (Ipv4Addr::LOCALHOST, 1).into();
    net.dial(member.id(), vec![nowhere, member.address()]);
    let refused = patiently(net.next()).await.expect("it does not end");
    let (peer, address) = (member.id(), member.address());
    assert_eq!(refused, Input::DialRefused { peer, address });

    let frames = vec![vec![7], vec![8; 100_000]];
    net.hand_over(peer, address, frames.clone());
    // One at a time.
    net.hand_over(peer, address, vec![vec![9]]);
    assert_eq!(net.telling.len(), 1);
    let up = member.next().await;
    assert!(matches!(up, Input::PeerUp { peer, .. } if peer == old));
    for frame in frames {
        member.expect(&Input::Received { peer: old, frame }).await;
    }
    // Now it knows the new key and not the old one any more; its last word to that one comes back.
    let word = vec![5; 300];
    member.net.send(old, Lane::Urgent, word.clone());
    member.net.close(old);
    member.expect(&Input::PeerDown { peer: old }).await;
    let told = patiently(net.next()).await.expect("it does not end");
    assert_eq!(told, Input::ToldOldKey { peer, frame: word });
    member.net.members(vec![net.me]);
    net.dial(member.id(), vec![member.address()]);
    let up = patiently(net.next()).await.expect("it does not end");
    assert!(matches!(up, Input::PeerUp { peer, .. } if peer == member.id()));
    assert_eq!(net.links.len(), 1);
}

#[tokio::test]
async fn a_run_whose_place_another_run_with_its_key_takes_is_told() {
    let (mut first, mut member) = (Machine::new(1), Machine::new(2));
    let folder = tempfile::tempdir().expect("a folder");
    let mut copy = open(&first.secret, folder.path(), 0, 9);
    let (key, peer) = (first.id(), member.id());
    member.net.members(vec![key]);
    for net in [&mut first.net, &mut copy] {
        net.members(vec![peer]);
    }
    first.net.dial(peer, vec![member.address()]);
    assert!(matches!(first.next().await, Input::PeerUp { .. }));
    assert!(matches!(member.next().await, Input::PeerUp { .. }));
    copy.dial(peer, vec![member.address()]);
    let up = patiently(copy.next()).await.expect("it does not end");
    assert!(matches!(up, Input::PeerUp { .. }));
    member.expect(&Input::PeerDown { peer: key }).await;
    assert!(matches!(member.next().await, Input::PeerUp { .. }));
    let mut heard = [first.next().await, first.next().await];
    heard.sort_by_key(|it| matches!(it, Input::PeerDown { .. }));
    assert_eq!(heard, [Input::Ousted { peer }, Input::PeerDown { peer }]);
}

#[tokio::test]
async fn without_a_key_before_nothing_is_brought() {
    let (mut machine, mut member) = (Machine::new(1), Machine::new(2));
    machine.net.members(vec![member.id()]);
    member.net.members(Vec::new());
    let (there, word) = (member.address(), vec![vec![7]]);
    machine.net.hand_over(member.id(), there, word);
    assert!(machine.net.before.is_none());
    machine.net.dial(member.id(), vec![there]);
    machine
        .expect(&Input::DialRefused {
            peer: member.id(),
            address: there,
        })
        .await;
    assert!(member.net.reports.try_recv().is_err(), "it heard of nobody");
}
