//! Long lives made of chance: how many members, for how long, what befalls them how often, who lies and who knocks.
//!
//! Scenarios are read from `scenarios.toml`. Every kind of trouble draws from its own stream of chance, so that a life
//! without one kind is otherwise the same life; that is what lets [`shrink`] take a failing life apart.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::liar::Lie;
use crate::net::Quality;

mod agenda;
pub mod file;
pub mod run;
pub mod shrink;

/// What can befall a hive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Frames in 1,000 that have to be sent again.
    Loss,
    /// Frames in 1,000 that are damaged on their way and sent again.
    Corrupt,
    /// Frames in 1,000 that are held up for up to a second.
    Delay,
    /// Broken connections in 1,000 whose last frames turn up again on the next one: late, twice, after newer ones.
    Ghosts,
    /// mDNS answers in 1,000 that are lost.
    Deaf,
    /// `kill -9` of the daemon.
    Kill,
    /// The machine loses power.
    PowerCut,
    /// The daemon dies while a write is under way.
    KillInFlush,
    /// The kernel ends the daemon in the middle of what it was doing.
    OomKill,
    /// The disk is full for a while.
    DiskFull,
    /// A write fails.
    DiskError,
    /// The machine sleeps for minutes to hours.
    Suspend,
    /// The machine is seen at another port, and nobody tells it.
    NatRebind,
    /// The machine gets another address.
    AddressChange,
    /// What arrives is taken late, for minutes.
    SlowPeer,
    /// One path goes down and up again, several times.
    Flap,
    /// One path goes one way only, for minutes.
    OneWayPartition,
    /// The network falls into two, for minutes to hours.
    Partition,
    /// No multicast for minutes.
    MulticastOff,
    /// The calendar jumps ahead, up to two hours.
    ClockJump,
    /// The calendar jumps back, up to two hours.
    ClockBack,
    /// The calendar is wrong by a year, for hours.
    ClockFarOff,
    /// The machine gets a new key in its old one's place.
    NewKey,
    /// Half of a write is found after a power cut. In 1,000 checks: right after one, when all hold the same.
    TornWrite,
    /// A bit of a stored map flips. In 1,000 checks.
    BitRot,
    /// A machine comes back with the disk that it had at the check before. In 1,000 checks.
    DiskRollback,
}

/// What the rate of a [`Trouble`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Frames (or answers, or connections) in 1,000.
    OfMessages,
    /// Times per member in 30 days.
    PerMonth,
    /// Checks in 1,000.
    OfChecks,
}

/// Who means harm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attackers {
    /// Members in 1,000 that lie, rounded down; never the founder.
    pub liars_permille: u64,
    /// Frames of a liar in 1,000 with which it lies.
    pub lie_permille: u64,
    /// How they lie.
    pub lies: Vec<Lie>,
    /// Strangers on the network.
    pub strangers: u64,
    /// Visits of strangers in 30 days, all together.
    pub visits_per_month: u64,
    /// Liars that are removed half-way.
    pub removed: u64,
    /// Machines of thieves: each runs on with the disk and the key of a plain member that gets a new one.
    pub thieves: u64,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is about, in one sentence.
    pub about: String,
    /// Machines of the hive.
    pub members: u64,
    /// Those of them on which a person works and builds, the last ones; the others have no eyes.
    pub watching: u64,
    /// How long it lasts after the hive has come together.
    pub hours: u64,
    /// With how many seeds a full run lives it.
    pub lives: u64,
    /// Whether a short run lives it once, too.
    pub short: bool,
    /// Results that each member publishes in 30 days.
    pub results_per_month: u64,
    /// Different ones among them; the others are news about these.
    pub patterns: u64,
    /// How often all is healed and everything is checked.
    pub check_every_hours: u64,
    /// How soon after healing all honest members must show the same.
    pub equal_within_s: u64,
    /// What a member may send and receive in a day, everything counted, if that is checked.
    pub bytes_per_member_day: Option<u64>,
    /// What befalls the hive, how often.
    pub troubles: BTreeMap<Trouble, u64>,
    /// Who means harm.
    pub attackers: Attackers,
}

/// What a shrunk life leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Kinds of trouble and of lies, by name, and `strangers`, `thieves`, `liars`, `results`.
    pub without: BTreeSet<String>,
    /// Fewer members.
    pub members: Option<u64>,
    /// Fewer hours.
    pub hours: Option<u64>,
}

impl Trouble {
    /// Its name in a file and on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Corrupt => "corrupt",
            Self::Delay => "delay",
            Self::Ghosts => "ghosts",
            Self::Deaf => "deaf",
            Self::Kill => "kill",
            Self::PowerCut => "power_cut",
            Self::KillInFlush => "kill_in_flush",
            Self::OomKill => "oom_kill",
            Self::DiskFull => "disk_full",
            Self::DiskError => "disk_error",
            Self::Suspend => "suspend",
            Self::NatRebind => "nat_rebind",
            Self::AddressChange => "address_change",
            Self::SlowPeer => "slow_peer",
            Self::Flap => "flap",
            Self::OneWayPartition => "one_way_partition",
            Self::Partition => "partition",
            Self::MulticastOff => "multicast_off",
            Self::ClockJump => "clock_jump",
            Self::ClockBack => "clock_back",
            Self::ClockFarOff => "clock_far_off",
            Self::NewKey => "new_key",
            Self::TornWrite => "torn_write",
            Self::BitRot => "bit_rot",
            Self::DiskRollback => "disk_rollback",
        }
    }

    /// What its rate counts.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::Loss | Self::Corrupt | Self::Delay | Self::Ghosts | Self::Deaf => {
                Unit::OfMessages
            }
            Self::TornWrite | Self::BitRot | Self::DiskRollback => Unit::OfChecks,
            _ => Unit::PerMonth,
        }
    }
}

impl Scenario {
    /// How often something befalls it.
    #[must_use]
    pub fn rate(&self, trouble: Trouble) -> u64 {
        self.troubles.get(&trouble).copied().unwrap_or_default()
    }

    /// How bad the paths are while nothing is checked.
    #[must_use]
    pub fn quality(&self) -> Quality {
        Quality {
            loss_permille: self.rate(Trouble::Loss),
            corrupt_permille: self.rate(Trouble::Corrupt),
            spike_permille: self.rate(Trouble::Delay),
            ghost_permille: self.rate(Trouble::Ghosts),
            deaf_permille: self.rate(Trouble::Deaf),
            delay_us: 1_500,
            jitter_us: 8_000,
        }
    }

    /// How many of the members lie.
    #[must_use]
    pub fn liars(&self) -> u64 {
        self.members * self.attackers.liars_permille / 1_000
    }

    /// Everything that a cut can leave out.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        if self.attackers.strangers > 0 {
            parts.push("strangers".to_owned());
        }
        if self.attackers.thieves > 0 {
            parts.push("thieves".to_owned());
        }
        if self.liars() > 0 {
            parts.push("liars".to_owned());
            parts.extend(self.attackers.lies.iter().map(|lie| lie.name().to_owned()));
        }
        parts.extend(self.troubles.keys().map(|it| it.name().to_owned()));
        if self.results_per_month > 0 {
            parts.push("results".to_owned());
        }
        parts
    }

    /// The same scenario, with less in it.
    #[must_use]
    pub fn cut(&self, cut: &Cut) -> Self {
        let mut less = self.clone();
        let out = |name: &str| cut.without.contains(name);
        less.members = cut.members.unwrap_or(self.members).clamp(2, self.members);
        less.hours = cut.hours.unwrap_or(self.hours).clamp(1, self.hours);
        less.watching = self.watching.min(less.members);
        less.troubles.retain(|trouble, _| !out(trouble.name()));
        less.attackers.lies.retain(|lie| !out(lie.name()));
        if out("strangers") {
            less.attackers.strangers = 0;
            less.attackers.visits_per_month = 0;
        }
        if out("thieves") {
            less.attackers.thieves = 0;
        }
        if out("liars") {
            less.attackers.liars_permille = 0;
        }
        if out("results") {
            less.results_per_month = 0;
        }
        less
    }
}

impl Cut {
    /// How to ask for it on a command line; starts with a space unless it is empty.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut words = Vec::new();
        if let Some(members) = self.members {
            words.push(format!(" --members {members}"));
        }
        if let Some(hours) = self.hours {
            words.push(format!(" --hours {hours}"));
        }
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().map(String::as_str).collect();
            words.push(format!(" --without {}", names.join(",")));
        }
        words.concat()
    }
}

/// The command that plays one life of a scenario again.
#[must_use]
pub fn replay(scenario: &str, seed: u64, cut: &Cut) -> String {
    let rest = cut.arguments();
    format!("cargo run --release -p hive-sim -- --scenario {scenario} --seed {seed}{rest}")
}
