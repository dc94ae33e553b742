//! Some machines of one hive, and what reports ask of all of them: to say things, to know them, to be equal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hive_mind::Client;
use hive_mind::reply::Mode;

use crate::reports::entries::{self, Said};
use crate::stats::Dice;
use crate::world::daemon::{self, Daemon, Start, until, within};
use crate::world::{Machine, World};

/// Up to here everybody is connected with everybody. Source: DESIGN section 7.
pub const FULL_MESH: usize = 8;

/// Between two looks at what all members know: each look moves every pattern over a socket.
const LOOK: Duration = Duration::from_millis(50);

/// Members of one hive in one world. The daemons end before their machines, and those before the world.
#[derive(Debug)]
pub struct Fleet {
    /// The machines with their daemons; the first one founded the hive.
    pub members: Vec<Member>,
    /// Where they are.
    pub world: World,
}

/// One machine with its daemon.
#[derive(Debug)]
pub struct Member {
    /// The program under test.
    pub daemon: Daemon,
    /// Where it runs.
    pub machine: Machine,
}

/// How long entries took to other machines.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Milliseconds, one for each entry and each other machine.
    pub ms: Vec<f64>,
    /// Entries that were not there, counted once for each machine that lacks one.
    pub missing: usize,
}

impl Fleet {
    /// Starts so many machines and makes one hive of them.
    pub async fn start(mut world: World, nodes: u8) -> Result<Self> {
        let mut members = Vec::new();
        for number in 1..=nodes {
            let machine = world.machine(&format!("lab{number}"))?;
            let daemon = machine.start_daemon(observing(None)).await?;
            members.push(Member { daemon, machine });
        }
        let fleet = Self { members, world };
        let (founder, others) = fleet.members.split_first().context("no machine")?;
        for member in others {
            daemon::join(founder.daemon.client(), member.daemon.client()).await?;
        }
        for member in &fleet.members {
            until("all members are connected", async || {
                Ok(is_meshed(member.daemon.client(), fleet.members.len())
                    .await?
                    .then_some(()))
            })
            .await?;
        }
        until("all maps are equal", async || {
            Ok(fleet.is_equal().await?.then_some(()))
        })
        .await?;
        Ok(fleet)
    }

    /// The API of a member.
    pub fn client(&self, index: usize) -> &Client {
        self.members[index].daemon.client()
    }

    /// Whether all members hold the same maps.
    pub async fn is_equal(&self) -> Result<bool> {
        let mut views = Vec::new();
        for member in &self.members {
            views.push(member.daemon.client().status().await?.view);
        }
        Ok(views.windows(2).all(|pair| pair[0] == pair[1]))
    }

    /// Milliseconds until all members hold the same maps; `None` when they do not in time.
    pub async fn equal_within(&self, patience: Duration) -> Result<Option<f64>> {
        let began = Instant::now();
        let equal = within(patience, async || Ok(self.is_equal().await?.then_some(()))).await?;
        Ok(equal.map(|()| milliseconds(began.elapsed())))
    }

    /// Says `count` new things, each on one of `authors` by chance, one each `pace`. Each is acknowledged before
    /// the next is said.
    pub async fn say(
        &self,
        authors: &[usize],
        count: usize,
        pace: Duration,
        dice: &mut Dice,
    ) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut next = tokio::time::Instant::now();
        for _ in 0..count {
            let author = authors[dice.below(authors.len())];
            said.push(entries::say(self.client(author), author, dice).await?);
            next += pace;
            tokio::time::sleep_until(next).await;
        }
        Ok(said)
    }

    /// How long each entry took to each of `readers` that did not say it.
    pub async fn ways(&self, readers: &[usize], said: &[Said], patience: Duration) -> Result<Ways> {
        let deadline = Instant::now() + patience;
        let mut ways = Ways::default();
        for reader in readers {
            let wanted: Vec<&Said> = said.iter().filter(|said| said.author != *reader).collect();
            loop {
                let known = entries::known(self.client(*reader)).await?;
                let times = times(&wanted, &known);
                if times.len() == wanted.len() || Instant::now() > deadline {
                    ways.missing += wanted.len() - times.len();
                    ways.ms.extend(times);
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(ways)
    }

    /// How many acknowledged entries some member does not have, the author included.
    pub async fn lost(&self, said: &[Said]) -> Result<usize> {
        let mut lost = std::collections::BTreeSet::new();
        for member in &self.members {
            let known = entries::known(member.daemon.client()).await?;
            lost.extend(
                said.iter()
                    .map(|said| &said.id)
                    .filter(|id| !known.contains_key(*id)),
            );
        }
        Ok(lost.len())
    }

    /// Ends all daemons in order.
    pub async fn stop(self) -> Result<()> {
        for member in self.members {
            member.daemon.stop().await?;
        }
        Ok(())
    }
}

/// A daemon that only watches.
pub fn observing(label: Option<&str>) -> Start<'_> {
    Start {
        label,
        mode: Mode::Observe,
        log: "warn",
    }
}

/// Whether a member knows all `members` and is connected as it should be: with everybody in a small hive, and with
/// some neighbours in a larger one.
pub async fn is_meshed(client: &Client, members: usize) -> Result<bool> {
    let status = client.status().await?;
    let enough = if members <= FULL_MESH {
        status.peers_online + 1 == members
    } else {
        status.peers_online > 0
    };
    Ok(status.members == members && enough)
}

/// A span in milliseconds, to the microsecond.
pub fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

fn times(wanted: &[&Said], known: &BTreeMap<String, u64>) -> Vec<f64> {
    wanted
        .iter()
        .filter_map(|said| Some(said.ms_until(*known.get(&said.id)?)))
        .collect()
}
