//! Two machines that dial each other at the same moment.

use super::*;

#[tokio::test]
async fn of_two_crossing_dials_one_connection_stays_and_works() {
    let (mut one, mut two) = (Machine::new(1), Machine::new(2));
    for machine in [&mut one.net, &mut two.net] {
        machine.members(vec![
            KeyPair::from_secret(&[1; 32]).node(),
            KeyPair::from_secret(&[2; 32]).node(),
        ]);
    }
    one.net.dial(two.id(), vec![two.address()]);
    two.net.dial(one.id(), vec![one.address()]);
    // Both keep the connection that the smaller id dialled: wait until each holds it.
    let one_smaller = one.id() < two.id();
    patiently(async {
        loop {
            let holds = |net: &Net, peer, dialled: bool| {
                net.links
                    .get(&peer)
                    .is_some_and(|link| link.dialled == dialled)
            };
            if holds(&one.net, two.id(), one_smaller)
                && holds(&two.net, one.id(), !one_smaller)
                && one.net.dials.is_empty()
                && two.net.dials.is_empty()
            {
                break;
            }
            // Report by report: not every one becomes an input.
            tokio::select! {
                Some(report) = one.net.reports.recv() => one.net.take_in(report),
                Some(report) = two.net.reports.recv() => two.net.take_in(report),
            }
        }
    })
    .await;
    one.net.send(two.id(), Lane::Urgent, b"news".to_vec());
    patiently(async {
        loop {
            tokio::select! {
                _ = one.net.next() => {}
                input = two.net.next() => match input {
                    Some(Input::Received { frame, .. }) if frame == b"news" => break,
                    _ => {}
                },
            }
        }
    })
    .await;
}
