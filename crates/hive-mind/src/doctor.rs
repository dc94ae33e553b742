//! How this machine stands in its network, found out by trying: what `hive doctor` shows of a running daemon.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::net::interfaces::{Interfaces, own_addresses};
use crate::net::keeper::{Keeper, Standing};
use crate::net::mdns;

/// Bytes of a word and its acknowledgement. Source: `research/transport.md` 5.4.
const WORD_BYTES: u64 = 155;

/// How the daemon stands in its network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Its UDP port.
    pub port: u16,
    /// Addresses it is to be found at.
    pub interfaces: Vec<NetworkInterface>,
    /// Interfaces that the configuration names and that are not up here.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Whether it uses mDNS at all.
    pub mdns: bool,
    /// Whether its own responder answered a question asked from this machine; none without mDNS.
    pub own_answer: Option<bool>,
    /// How many other machines with a hive of any kind answered.
    pub others: usize,
    /// How many members are connected.
    pub connected: usize,
    /// Whether a member could reach the port from a port that this machine has never spoken with; none when no
    /// member could say.
    pub reachable: Option<bool>,
    /// The first digits of that member's id.
    pub asked: Option<String>,
    /// Where that member sees this machine.
    pub seen_as: Option<SocketAddr>,
    /// Whether that is an address of this machine; if not, something in between translates addresses.
    pub translated: Option<bool>,
    /// By how many milliseconds that member's clock is ahead; negative when behind.
    pub clock_ahead_ms: Option<i64>,
    /// The longest silence, in milliseconds, that the way in was seen to survive.
    pub survived_ms: Option<u64>,
    /// The shortest that it was seen not to.
    pub died_ms: Option<u64>,
    /// What is done about it.
    pub keeping: Option<KeepingView>,
}

/// One address of one interface in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Its name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
}

/// A connection that is kept open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepingView {
    /// The first digits of the member's id.
    pub member: String,
    /// Milliseconds between two words.
    pub every_ms: u64,
    /// What they cost in a day, both ways.
    pub bytes_per_day: u64,
    /// Words said so far.
    pub words: u64,
}

/// Asks a member and the network. Takes up to about five seconds.
pub(crate) async fn look(keeper: Keeper, port: u16, on: bool, around: Interfaces) -> NetworkView {
    let asking = async {
        if on {
            mdns::who_answers(around.ask_at()).await
        } else {
            Vec::new()
        }
    };
    let (standing, answers) = tokio::join!(keeper.check(), asking);
    view(&standing.unwrap_or_default(), port, on, &around, &answers)
}

fn view(
    standing: &Standing,
    port: u16,
    on: bool,
    around: &Interfaces,
    answers: &[(String, SocketAddr)],
) -> NetworkView {
    let own_addresses = own_addresses();
    let ours = |address: IpAddr| own_addresses.contains(&address);
    let is_own = |answer: &SocketAddr| answer.port() == port && ours(answer.ip());
    let own = answers.iter().any(|(_, from)| is_own(from));
    let others: BTreeSet<&SocketAddr> = answers.iter().map(|(_, from)| from).collect();
    let others = others.into_iter().filter(|from| !is_own(from)).count();
    let reached = standing.reached.map(|(_, reached)| reached);
    let seen_as = reached.map(|reached| reached.seen_as);
    NetworkView {
        port,
        interfaces: around
            .all()
            .iter()
            .map(|one| NetworkInterface {
                name: one.name.clone(),
                address: one.address,
            })
            .collect(),
        missing: around.missing(),
        mdns: on,
        own_answer: on.then_some(own),
        others,
        connected: standing.connected,
        reachable: reached.map(|reached| reached.open),
        asked: standing.reached.map(|(peer, _)| peer.short()),
        seen_as,
        translated: seen_as.map(|seen| !ours(seen.ip())),
        clock_ahead_ms: reached.map(|reached| reached.clock_ahead_ms),
        survived_ms: standing.survived.map(ms),
        died_ms: standing.died.map(ms),
        keeping: standing.keeping.map(|(peer, every)| KeepingView {
            member: peer.short(),
            every_ms: ms(every),
            bytes_per_day: 86_400_000 / ms(every).max(1) * WORD_BYTES,
            words: standing.words,
        }),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
