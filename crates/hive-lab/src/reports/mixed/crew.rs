//! Six machines of one hive, each with its build of the program; who plays which part in the stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hive_mind::{Client, Role};
use serde_json::{Value, json};

use crate::report::Figures;
use crate::reports::fleet::{Fleet, Member, is_meshed, milliseconds, observing};
use crate::reports::mixed::Build;
use crate::stats::Dice;
use crate::world::daemon::{self, Daemon, until, within};
use crate::world::{Machine, Tools, World};

/// How long being equal may take: far above the 10 s that are expected, so that a miss gets its number.
pub(super) const EQUAL: Duration = Duration::from_mins(1);

/// Where the dice of a run begin.
const SEED: u64 = 1;

/// The parts that machines play.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast {
    builds: [Build; 6],
    /// Who lets in whom: the founder, and the second machine, which is an admin of the other build.
    inviters: [usize; 6],
    /// A new one and an admin.
    pub(super) near: usize,
    /// A new one that is cut off from the other new ones.
    pub(super) far: usize,
    /// A new one that changes its key.
    pub(super) turns: usize,
    /// An old one that is updated and goes back.
    pub(super) updated: usize,
    /// Of the other build than the founder; it is removed.
    pub(super) leaves: usize,
}

/// The machines while they run.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) cast: Cast,
    pub(super) fleet: Fleet,
    pub(super) builds: Vec<Build>,
    pub(super) dice: Dice,
    programs: [PathBuf; 2],
    misdeeds: Arc<AtomicUsize>,
}

impl Cast {
    fn of(founder: Build) -> Self {
        use Build::{New, Old};
        match founder {
            Old => Self {
                builds: [Old, New, Old, New, New, New],
                inviters: [0, 0, 1, 0, 1, 0],
                near: 1,
                far: 3,
                turns: 4,
                updated: 2,
                leaves: 5,
            },
            New => Self {
                builds: [New, Old, New, Old, New, Old],
                inviters: [0, 0, 1, 0, 0, 0],
                near: 0,
                far: 2,
                turns: 4,
                updated: 3,
                leaves: 5,
            },
        }
    }
}

impl Crew {
    /// Starts the machines and makes one hive of them.
    pub(super) async fn gather(
        tools: &Tools,
        old: &Path,
        founder: Build,
        figures: &mut Figures,
    ) -> Result<Self> {
        let cast = Cast::of(founder);
        let world = World::with_switch(tools, SEED)?;
        let programs = [
            world.bring(old, "hive-old")?,
            world.bring(&tools.hive, "hive-new")?,
        ];
        let mut crew = Self {
            cast,
            builds: cast.builds.to_vec(),
            dice: Dice::new(SEED),
            programs,
            misdeeds: Arc::default(),
            fleet: Fleet {
                members: Vec::new(),
                world,
            },
        };
        for (number, build) in (1..).zip(cast.builds) {
            let mut machine = crew.fleet.world.machine(&format!("lab{number}"))?;
            machine.install(crew.program(build));
            let daemon = crew.begin(&machine).await?;
            crew.fleet.members.push(Member { daemon, machine });
        }
        figures.put("builds", cast.builds);
        figures.put("joined", crew.join_all().await?);
        let ms = crew.equal_within(&crew.all(), EQUAL).await?;
        figures.put_or("joined_equal_ms", ms, "not equal in time");
        Ok(crew)
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.fleet.members.len()).collect()
    }

    /// Those that run this build now.
    pub(super) fn of(&self, build: Build) -> Vec<usize> {
        let all = self.all().into_iter();
        all.filter(|index| self.builds[*index] == build).collect()
    }

    /// Everybody but these.
    pub(super) fn without(&self, these: &[usize]) -> Vec<usize> {
        let all = self.all().into_iter();
        all.filter(|index| !these.contains(index)).collect()
    }

    pub(super) fn client(&self, index: usize) -> &Client {
        self.fleet.client(index)
    }

    /// Milliseconds until these hold the same maps.
    pub(super) async fn equal_within(
        &self,
        these: &[usize],
        patience: Duration,
    ) -> Result<Option<f64>> {
        let began = Instant::now();
        let equal = within(patience, async || {
            let mut views = BTreeSet::new();
            for index in these {
                views.insert(self.client(*index).status().await?.view);
            }
            Ok((views.len() == 1).then_some(()))
        })
        .await?;
        Ok(equal.map(|()| milliseconds(began.elapsed())))
    }

    /// Nothing passes between these any more, in both directions; everything between all others.
    pub(super) fn part(&self, pairs: &[(usize, usize)]) -> Result<()> {
        let number = |index: usize| self.fleet.members[index].machine.number();
        let both = |(one, two): &(usize, usize)| {
            let (one, two) = (number(*one), number(*two));
            [(one, two), (two, one)]
        };
        let cut = pairs.iter().flat_map(both).collect();
        self.fleet.world.switch()?.cut(cut)
    }

    /// Ends the daemon of one machine in order, and starts it again as this build. If that does not start, what it
    /// said is returned and the machine stays without a daemon until [`Crew::revive`].
    pub(super) async fn restart_as(&mut self, index: usize, build: Build) -> Result<Restart> {
        let Member {
            daemon,
            mut machine,
        } = self.fleet.members.remove(index);
        daemon.stop().await?;
        machine.install(self.program(build));
        match self.begin(&machine).await {
            Ok(daemon) => {
                self.put_back(index, build, Member { daemon, machine });
                Ok(Restart::Runs)
            }
            Err(why) => Ok(Restart::Refused(machine, format!("{why:#}"))),
        }
    }

    /// Starts a machine that runs no daemon.
    pub(super) async fn revive(
        &mut self,
        index: usize,
        build: Build,
        mut machine: Machine,
    ) -> Result<()> {
        machine.install(self.program(build));
        let daemon = self.begin(&machine).await?;
        self.put_back(index, build, Member { daemon, machine });
        Ok(())
    }

    /// Ends the daemon of one machine; the machine stands by.
    pub(super) async fn switch_off(&mut self, index: usize, how: Ending) -> Result<Machine> {
        let Member { daemon, machine } = self.fleet.members.remove(index);
        match how {
            Ending::Stop => daemon.stop().await?,
            Ending::Kill => daemon.kill_9()?,
        }
        Ok(machine)
    }

    /// Takes a machine out of the hive's list; its daemon ends.
    pub(super) fn dismiss(&mut self, index: usize) {
        drop(self.fleet.members.remove(index));
        self.builds.remove(index);
    }

    /// Until these are connected with all others of them.
    pub(super) async fn meshed(&self, these: &[usize]) -> Result<()> {
        for index in these {
            until("all members are connected", async || {
                let meshed = is_meshed(self.client(*index), these.len()).await?;
                Ok(meshed.then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// How often somebody found that a peer sent what it must not send.
    pub(super) fn misdeeds(&self) -> usize {
        self.misdeeds.load(Ordering::Relaxed)
    }

    /// What needs a person, by machine, as codes.
    pub(super) async fn needs(&self) -> Result<BTreeMap<usize, Vec<String>>> {
        let mut needs = BTreeMap::new();
        for index in self.all() {
            let status = self.client(index).status().await?;
            let codes: Vec<String> = status.needs.into_iter().map(|need| need.code).collect();
            if !codes.is_empty() {
                needs.insert(index, codes);
            }
        }
        Ok(needs)
    }

    /// Bytes that went over the interfaces of these machines, both ways.
    pub(super) fn bytes(&self, these: &[usize]) -> Result<u64> {
        let mut bytes = 0;
        for index in these {
            let counters = self.fleet.members[*index].machine.counters()?;
            bytes += counters.received + counters.sent;
        }
        Ok(bytes)
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.fleet.stop().await
    }

    async fn join_all(&self) -> Result<Vec<Value>> {
        let mut joined = Vec::new();
        for joiner in 1..self.fleet.members.len() {
            let inviter = self.cast.inviters[joiner];
            let view = daemon::join(self.client(inviter), self.client(joiner)).await?;
            joined.push(json!({
                "by": self.builds[inviter],
                "joiner": self.builds[joiner],
                "join_ms": view.member_ms,
            }));
            if joiner == 1 {
                self.make_admin(joiner).await?;
            }
        }
        self.meshed(&self.all()).await?;
        Ok(joined)
    }

    /// The founder makes a member an admin, which the member has to hear.
    async fn make_admin(&self, index: usize) -> Result<()> {
        let node = self.client(index).status().await?.node;
        until("the founder knows the member", async || {
            Ok(self
                .client(0)
                .set_role(&node, Role::Admin)
                .await
                .ok()
                .map(drop))
        })
        .await?;
        until("the member knows that it is an admin", async || {
            let members = self.client(index).members().await?.members;
            let own = members.iter().find(|member| member.here);
            let admin = own.is_some_and(|member| member.role == Role::Admin);
            Ok(admin.then_some(()))
        })
        .await
    }

    fn program(&self, build: Build) -> &Path {
        match build {
            Build::Old => &self.programs[0],
            Build::New => &self.programs[1],
        }
    }

    async fn begin(&self, machine: &Machine) -> Result<Daemon> {
        let daemon = machine.start_daemon(observing(None)).await?;
        let mut events = daemon.client().events().await?;
        let misdeeds = Arc::clone(&self.misdeeds);
        // It ends with the daemon.
        tokio::spawn(async move {
            while let Ok(Some(event)) = events.next().await {
                if event["what"] == "peer_misbehaved" {
                    misdeeds.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(daemon)
    }

    fn put_back(&mut self, index: usize, build: Build, member: Member) {
        self.fleet.members.insert(index, member);
        self.builds[index] = build;
    }
}

/// How a daemon ends.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// As it is asked to.
    Stop,
    /// As in a power cut.
    Kill,
}

/// What became of a start with another build.
#[derive(Debug)]
pub(super) enum Restart {
    /// It runs.
    Runs,
    /// It does not, and this is what it said.
    Refused(Machine, String),
}
