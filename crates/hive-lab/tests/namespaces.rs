//! Three real daemons on one Ethernet: they join by code and approval, news travels, a removed member is refused.

use hive_lab::reports::entries::{self, Said};
use hive_lab::stats::Dice;
use hive_lab::testing;
use hive_lab::world::World;
use hive_lab::world::daemon::{self, Start, until};
use hive_mind::Client;
use hive_mind::reply::Mode;

const START: Start<'static> = Start {
    label: None,
    mode: Mode::Observe,
    log: "info",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_machines_become_one_hive_and_a_removed_one_hears_no_more() {
    if !testing::possible() {
        return;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    let mut world = World::new(&tools).expect("a world");
    let machines: Vec<_> = ["one", "two", "three"]
        .map(|name| world.machine(name).expect("a computer"))
        .into();
    let mut daemons = Vec::new();
    for machine in &machines {
        daemons.push(machine.start_daemon(START).await.expect("a daemon"));
    }
    let [one, two, three] = [0, 1, 2].map(|index| daemons[index].client().clone());
    for joiner in [&two, &three] {
        let view = daemon::join(&one, joiner).await.expect("joined");
        assert!(view.member_ms.is_some());
    }
    let mut dice = Dice::new(1);
    let said = entries::say(&two, 1, &mut dice).await.expect("said");
    for client in [&one, &three] {
        let known = arrival(client, &said).await;
        assert!(said.ms_until(known) > 0.0);
    }

    let third = three.status().await.expect("a status").node;
    one.remove(&third, false).await.expect("removed");
    until("two members are left", async || {
        let left = two.members().await?.members.len();
        Ok((left == 2).then_some(()))
    })
    .await
    .expect("the removal arrives");
    // The removed machine may say what it likes: nobody hears it, and it hears nobody.
    let lost = entries::say(&two, 1, &mut dice).await.expect("said");
    arrival(&one, &lost).await;
    let known = entries::known(&three).await.expect("patterns");
    assert!(!known.contains_key(&lost.id));
    // It asks again, and is still refused.
    three.seek().await.expect("it may ask");
    daemons
        .pop()
        .expect("the third")
        .stop()
        .await
        .expect("stopped");
    let again = machines[2]
        .start_daemon(START)
        .await
        .expect("started again");
    again.client().seek().await.expect("it may ask");
    until("it hears who is there", async || {
        let seen = again.client().nearby().await?.seen;
        Ok((!seen.is_empty()).then_some(()))
    })
    .await
    .expect("the others answer strangers too, with nothing but an opaque tag");
    let last = entries::say(&two, 1, &mut dice).await.expect("said");
    arrival(&one, &last).await;
    let status = one.status().await.expect("a status");
    assert_eq!((status.members, status.peers_online), (2, 1));
    let known = entries::known(again.client()).await.expect("patterns");
    assert!(!known.contains_key(&lost.id) && !known.contains_key(&last.id));
}

/// When the entry became known there; waits for it.
async fn arrival(client: &Client, said: &Said) -> u64 {
    until("the entry is known", async || {
        Ok(entries::known(client).await?.get(&said.id).copied())
    })
    .await
    .expect("it arrives")
}
