//! Real daemons on networks as they are: IPv6 alone, addresses that change, cables that are pulled, another hive
//! beside, no multicast, and interfaces that are none of the hive's business.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use hive_lab::reports::entries::{self, Said};
use hive_lab::stats::Dice;
use hive_lab::testing;
use hive_lab::world::daemon::{self, Daemon, Start, until};
use hive_lab::world::{Machine, World};
use hive_mind::reply::{JoinStage, Mode};
use hive_mind::{Client, Role};

const START: Start<'static> = Start {
    label: None,
    mode: Mode::Observe,
    log: "info",
};

/// The port of a daemon that is alone on its machine.
const PORT: u16 = 4483;

fn world() -> Option<World> {
    if !testing::possible() {
        return None;
    }
    let tools = testing::tools(env!("CARGO_BIN_EXE_hive-lab")).expect("programs");
    Some(World::new(&tools).expect("a world"))
}

/// Runs a line of shell on one computer and returns what it printed.
fn shell(machine: &Machine, line: &str) -> String {
    let output = machine
        .command(Path::new("sh"))
        .args(["-c", line])
        .output()
        .expect("a shell");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn start(machine: &Machine) -> Daemon {
    machine.start_daemon(START).await.expect("a daemon")
}

/// When the entry became known there; waits for it.
async fn arrives(client: &Client, said: &Said) {
    until("the entry is known", async || {
        Ok(entries::known(client).await?.get(&said.id).copied())
    })
    .await
    .expect("it arrives");
}

/// News from each side reaches the other.
async fn they_talk(one: &Client, two: &Client, dice: &mut Dice) {
    for (from, to) in [(one, two), (two, one)] {
        let said = entries::say(from, 1, dice).await.expect("said");
        arrives(to, &said).await;
    }
}

async fn wait_for_peers(client: &Client, count: usize) {
    until("so many are online", async || {
        let online = client.status().await?.peers_online;
        Ok((online == count).then_some(()))
    })
    .await
    .expect("they come or go");
}

/// The same as on a screen, with the inviter's address typed.
async fn join_at(founder: &Client, joiner: &Client, at: SocketAddr) {
    let invite = founder.invite().await.expect("an invite");
    joiner
        .join(&invite.code, Some(at))
        .await
        .expect("it may ask");
    let waiting = until("somebody waits", async || {
        Ok(founder.pending().await?.pending.into_iter().next())
    })
    .await
    .expect("the joiner waits");
    founder
        .approve(&waiting.node, Role::Member)
        .await
        .expect("approved");
    until("it is a member", async || {
        let stage = joiner.join_state().await?.stage;
        Ok((stage == JoinStage::Member).then_some(()))
    })
    .await
    .expect("it is let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_with_nothing_but_ipv6_find_each_other_and_share() {
    let Some(mut world) = world() else { return };
    let machines: Vec<Machine> = ["one", "two"]
        .map(|name| world.machine(name).expect("a computer"))
        .into();
    for machine in &machines {
        let all = "/proc/sys/net/ipv6/conf/all";
        if shell(machine, &format!("ls {all} 2>&1 || true")).contains("No such file") {
            eprintln!("skipped: no IPv6 in this kernel");
            return;
        }
        shell(machine, "ip -4 addr flush dev eth0");
        shell(machine, "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad");
        shell(machine, &format!("echo 0 > {all}/disable_ipv6"));
        shell(
            machine,
            "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6",
        );
        until("the address is settled", async || {
            let settled = shell(machine, "ip -6 addr show dev eth0 tentative");
            let has = shell(machine, "ip -6 addr show dev eth0 scope link");
            Ok((settled.is_empty() && !has.is_empty()).then_some(()))
        })
        .await
        .expect("an address");
    }
    let (first, second) = (start(&machines[0]).await, start(&machines[1]).await);
    let (one, two) = (first.client(), second.client());
    let view = daemon::join(one, two).await.expect("joined");
    assert!(view.member_ms.is_some());
    they_talk(one, two, &mut Dice::new(1)).await;
    let seen = two.nearby().await.expect("heard").seen;
    assert!(!seen.is_empty() && seen.iter().all(|machine| machine.address.is_ipv6()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_address_changes_or_whose_interface_goes_is_back_without_a_restart() {
    let Some(mut world) = world() else { return };
    let (here, there) = (
        world.machine("one").expect("a computer"),
        world.machine("two").expect("a computer"),
    );
    let (first, second) = (start(&here).await, start(&there).await);
    let (one, two) = (first.client(), second.client());
    daemon::join(one, two).await.expect("joined");
    let mut dice = Dice::new(2);
    they_talk(one, two, &mut dice).await;

    let again = "ip route replace 224.0.0.0/4 dev eth0";
    shell(&there, "ip addr flush dev eth0");
    shell(
        &there,
        &format!("ip addr add 10.77.0.150/24 brd + dev eth0 && {again}"),
    );
    they_talk(one, two, &mut dice).await;
    // It can be reached at the new address, not only from it.
    let address = async || {
        let seen = one.nearby().await?.seen;
        Ok(seen
            .into_iter()
            .find(|machine| machine.address.ip().to_string() == "10.77.0.150"))
    };
    one.seek().await.expect("it asks");
    until("it is heard at its new address", address)
        .await
        .expect("heard");

    shell(&there, "ip link set eth0 down");
    // Who says something finds out that nobody is there.
    let lost = entries::say(one, 1, &mut dice).await.expect("said");
    wait_for_peers(one, 0).await;
    shell(
        &there,
        &format!("ip link set eth0 up && ip route replace 10.77.0.0/24 dev eth0 && {again}"),
    );
    arrives(two, &lost).await;
    they_talk(one, two, &mut dice).await;

    // The same with the cable, which the other end notices as little.
    world.cable(&there, false).expect("pulled");
    let lost = entries::say(one, 1, &mut dice).await.expect("said");
    wait_for_peers(one, 0).await;
    world.cable(&there, true).expect("plugged");
    arrives(two, &lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hives_on_one_network_do_not_disturb_each_other() {
    let Some(mut world) = world() else { return };
    let machines: Vec<Machine> = ["a1", "a2", "b1", "b2"]
        .map(|name| world.machine(name).expect("a computer"))
        .into();
    let mut daemons = Vec::new();
    for machine in &machines {
        daemons.push(start(machine).await);
    }
    let clients: Vec<Client> = daemons.iter().map(|one| one.client().clone()).collect();
    for pair in clients.chunks(2) {
        daemon::join(&pair[0], &pair[1]).await.expect("joined");
    }
    let mut dice = Dice::new(3);
    for pair in clients.chunks(2) {
        they_talk(&pair[0], &pair[1], &mut dice).await;
    }
    for (pair, others) in [(0, 2), (2, 0)] {
        let ours = &clients[pair..pair + 2];
        let said = entries::say(&ours[0], 1, &mut dice).await.expect("said");
        arrives(&ours[1], &said).await;
        for stranger in &clients[others..others + 2] {
            stranger.seek().await.expect("it asks");
            until("the whole network answers", async || {
                Ok((stranger.nearby().await?.seen.len() == 3).then_some(()))
            })
            .await
            .expect("all are heard");
            let known = entries::known(stranger).await.expect("patterns");
            assert!(!known.contains_key(&said.id));
            let status = stranger.status().await.expect("a status");
            assert_eq!((status.members, status.peers_online), (2, 1));
            let named = stranger.nearby().await.expect("heard").seen;
            let members = named.iter().filter(|seen| seen.member.is_some()).count();
            assert_eq!(members, 1, "only the own one is recognised");
        }
    }
}

/// Puts one computer behind a router, which carries no multicast, at 10.78.0.2.
fn route(here: &Machine, there: &Machine, router: &Machine) {
    let (two, way) = (there.init().to_string(), router.init().to_string());
    let cable = Command::new("nsenter")
        .args(["--target", &two, "--net", "ip", "link", "add", "far0"])
        .args(["type", "veth", "peer", "name", "far0", "netns", &way])
        .status()
        .expect("nsenter");
    assert!(cable.success());
    shell(here, "ip route add 10.78.0.0/24 via 10.77.0.3");
    shell(
        router,
        "ip addr add 10.78.0.1/24 dev far0 && ip link set far0 up && echo 1 > /proc/sys/net/ipv4/ip_forward",
    );
    shell(
        there,
        "ip link set eth0 down && ip addr add 10.78.0.2/24 brd + dev far0 && ip link set far0 up && \
         ip route add default via 10.78.0.1",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_enough_to_join_from_another_network() {
    let Some(mut world) = world() else { return };
    let [here, there, router] =
        ["one", "two", "router"].map(|name| world.machine(name).expect("a computer"));
    route(&here, &there, &router);
    // A tunnel's address is not told to anybody; a forwarded port is, and nobody answers at it now.
    shell(
        &here,
        "ip link add wg0 type veth peer name wg1 && ip link set wg1 up && ip addr add 10.99.0.1/24 dev wg0 && ip link set wg0 up",
    );
    let settings = here.folder().join(".config/hive");
    fs::create_dir_all(&settings).expect("made");
    let text = "[network]\naddresses = [\"10.78.0.77:9000\"]\n";
    fs::write(settings.join("config.toml"), text).expect("written");
    let (first, second) = (start(&here).await, start(&there).await);
    let (one, two) = (first.client(), second.client());
    let invite = one.invite_with(true, Some(3_600)).await.expect("an invite");
    assert_eq!(invite.seconds, 3_600);
    let places: Vec<String> = invite.places.iter().map(ToString::to_string).collect();
    let own = format!("{}:{PORT}", here.address());
    assert_eq!(places[..2], ["10.78.0.77:9000".to_owned(), own]);
    assert!(!places.iter().any(|place| place.starts_with("10.99.")));

    let ticket = invite.ticket.expect("it was asked for");
    two.join(&ticket, None).await.expect("it may ask");
    let waiting = until("somebody waits", async || {
        Ok(one.pending().await?.pending.into_iter().next())
    })
    .await
    .expect("the joiner waits");
    let words = until("it is proved both ways", async || {
        Ok(two.join_state().await?.words)
    })
    .await
    .expect("words");
    assert_eq!(words, waiting.words, "both screens show the same");
    one.approve(&waiting.node, Role::Member)
        .await
        .expect("approved");
    until("it is a member", async || {
        let stage = two.join_state().await?.stage;
        Ok((stage == JoinStage::Member).then_some(()))
    })
    .await
    .expect("it is let in");
    they_talk(one, two, &mut Dice::new(6)).await;
    for client in [one, two] {
        client.seek().await.expect("it asks");
        assert!(client.nearby().await.expect("heard").seen.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_to_a_shut_port_or_to_another_machine_says_what_was_tried() {
    let Some(mut world) = world() else { return };
    let [here, there, router] =
        ["one", "two", "router"].map(|name| world.machine(name).expect("a computer"));
    route(&here, &there, &router);
    let (first, second) = (start(&here).await, start(&there).await);
    let (one, two) = (first.client(), second.client());
    let ticket = one.invite_with(true, None).await.expect("an invite").ticket;
    let ticket = ticket.expect("it was asked for");
    // The machine moves, and another one with an open door of its own stands where it was.
    first.stop().await.expect("stopped");
    fs::remove_dir_all(here.state()).expect("its state is its own");
    let other = start(&here).await;
    other.client().invite().await.expect("an invite");
    two.join(&ticket, None).await.expect("it may ask");
    let failed = until("it gives up", async || {
        let view = two.join_state().await?;
        Ok((view.stage == JoinStage::Failed).then_some(view))
    })
    .await
    .expect("it fails");
    let error = failed.error.expect("a reason");
    assert_eq!(error.code, "join.not_found");
    let own = format!("{}:{PORT}", here.address());
    assert!(
        error.known.starts_with("tried ") && error.known.contains(&own),
        "{error:?}"
    );
    assert!(error.try_next.contains("hive doctor"), "{error:?}");
    assert!(
        other
            .client()
            .pending()
            .await
            .expect("pending")
            .pending
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fixed_addresses_are_enough_where_there_is_no_multicast() {
    let Some(mut world) = world() else { return };
    let [here, there, router] =
        ["one", "two", "router"].map(|name| world.machine(name).expect("a computer"));
    route(&here, &there, &router);
    let (first, second) = (start(&here).await, start(&there).await);
    let at = SocketAddr::new(here.address().into(), PORT);
    join_at(first.client(), second.client(), at).await;
    let mut dice = Dice::new(4);
    they_talk(first.client(), second.client(), &mut dice).await;
    for client in [first.client(), second.client()] {
        client.seek().await.expect("it asks");
        assert!(client.nearby().await.expect("heard").seen.is_empty());
    }

    // Both move, so that what they remember of each other leads nowhere; only the settings of one know better.
    first.stop().await.expect("stopped");
    second.stop().await.expect("stopped");
    shell(
        &here,
        "ip addr flush dev eth0 && ip addr add 10.77.0.151/24 brd + dev eth0 && \
         ip route add 10.78.0.0/24 via 10.77.0.3",
    );
    shell(
        &there,
        "ip addr flush dev far0 && ip addr add 10.78.0.152/24 brd + dev far0 && \
         ip route add default via 10.78.0.1",
    );
    let settings = here.folder().join(".config/hive");
    fs::create_dir_all(&settings).expect("made");
    let text = format!("[network]\nmdns = false\npeers = [\"10.78.0.152:{PORT}\"]\n");
    fs::write(settings.join("config.toml"), text).expect("written");
    let (first, second) = (start(&here).await, start(&there).await);
    they_talk(first.client(), second.client(), &mut dice).await;
}

/// Packets that left over an interface.
fn sent_packets(machine: &Machine, interface: &str) -> u64 {
    let text = shell(machine, "cat /proc/net/dev");
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(&format!("{interface}:")))
        .expect("the interface");
    let packets = line.split_ascii_whitespace().nth(9).expect("a table");
    packets.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_and_tunnels_hear_nothing_unless_they_are_named() {
    let Some(mut world) = world() else { return };
    let (here, there) = (
        world.machine("one").expect("a computer"),
        world.machine("two").expect("a computer"),
    );
    shell(
        &here,
        "ip link add docker0 type bridge mcast_snooping 0 && ip link add veth1 type veth peer name veth2 && \
         ip link set veth1 master docker0 up && ip link set veth2 up && \
         ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up",
    );
    let before = sent_packets(&here, "veth1");
    let (first, second) = (start(&here).await, start(&there).await);
    daemon::join(first.client(), second.client())
        .await
        .expect("joined");
    they_talk(first.client(), second.client(), &mut Dice::new(5)).await;
    assert_eq!(sent_packets(&here, "veth1"), before);

    // Named, it is asked on: the packets can be seen.
    first.stop().await.expect("stopped");
    let settings = here.folder().join(".config/hive");
    fs::create_dir_all(&settings).expect("made");
    fs::write(
        settings.join("config.toml"),
        "[network]\ninterfaces = [\"docker0\"]\n",
    )
    .expect("written");
    let first = start(&here).await;
    first.client().seek().await.expect("it asks");
    until("the question goes out", async || {
        Ok((sent_packets(&here, "veth1") > before).then_some(()))
    })
    .await
    .expect("it is asked there");
}
