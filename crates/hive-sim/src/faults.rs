//! What went wrong on purpose, counted, so that a run can say how much its nodes lived through.

use std::collections::BTreeMap;

/// Kinds of faults that the world injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A frame had to be sent again before it arrived.
    Loss,
    /// A frame arrived much later than its neighbours.
    Delay,
    /// A frame of a broken connection arrived once more on the next one.
    Duplicate,
    /// A frame of a broken connection arrived after newer ones.
    Reorder,
    /// A connection broke with frames in flight.
    ConnectionBroken,
    /// Frames went one way only.
    OneWayPartition,
    /// Frames went neither way.
    Partition,
    /// An mDNS answer was lost.
    SightingLost,
    /// An mDNS answer came twice.
    SightingTwice,
    /// The daemon died.
    Kill,
    /// The machine lost power.
    PowerCut,
    /// A write that was not yet durable was forgotten.
    WriteLost,
    /// A write became durable although its answer was never heard.
    WriteUnheard,
    /// A write took long.
    SlowDisk,
    /// The calendar jumped.
    ClockJump,
    /// The calendar was wrong from the start.
    ClockSkew,
    /// A machine got another address.
    AddressChange,
    /// A frame was changed, cut, repeated or made up by a liar.
    Lie,
    /// A packet was damaged on its way; the transport saw it and sent it again.
    Corrupt,
    /// A frame waited for a machine that was slow to take it.
    SlowPeer,
    /// A path went down and came up again.
    Flap,
    /// A machine was seen at another port, and nobody told it.
    NatRebind,
    /// The machine slept.
    Suspend,
    /// The network carried no multicast.
    MulticastOff,
    /// The boot clock runs fast or slow.
    ClockDrift,
    /// The calendar jumped back.
    ClockBack,
    /// The calendar went wrong by a year.
    ClockFarOff,
    /// The daemon died while a write of its was under way.
    KillInFlush,
    /// The kernel ended the daemon in the middle of what it was doing, for want of memory.
    OomKill,
    /// The disk was full.
    DiskFull,
    /// A write failed.
    DiskError,
    /// Half of a write was found after a power cut.
    TornWrite,
    /// A bit of a stored record flipped.
    BitRot,
    /// The disk came back as it was some time ago: a restored backup.
    DiskRollback,
    /// A machine got a new key in its old one's place.
    NewKey,
    /// A member did not know of a machine's new key, and was told under the old one.
    KeyUnheard,
    /// The maps on the disk, or the whole disk, were lost; the key was not.
    DiskLost,
}

/// How often each of them happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Fault {
    /// A stable name for machines to read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::ConnectionBroken => "connection_broken",
            Self::OneWayPartition => "one_way_partition",
            Self::Partition => "partition",
            Self::SightingLost => "sighting_lost",
            Self::SightingTwice => "sighting_twice",
            Self::Kill => "kill",
            Self::PowerCut => "power_cut",
            Self::WriteLost => "write_lost",
            Self::WriteUnheard => "write_unheard",
            Self::SlowDisk => "slow_disk",
            Self::ClockJump => "clock_jump",
            Self::ClockSkew => "clock_skew",
            Self::AddressChange => "address_change",
            Self::Lie => "lie",
            Self::Corrupt => "corrupt",
            Self::SlowPeer => "slow_peer",
            Self::Flap => "flap",
            Self::NatRebind => "nat_rebind",
            Self::Suspend => "suspend",
            Self::MulticastOff => "multicast_off",
            Self::ClockDrift => "clock_drift",
            Self::ClockBack => "clock_back",
            Self::ClockFarOff => "clock_far_off",
            Self::KillInFlush => "kill_in_flush",
            Self::OomKill => "oom_kill",
            Self::DiskFull => "disk_full",
            Self::DiskError => "disk_error",
            Self::TornWrite => "torn_write",
            Self::BitRot => "bit_rot",
            Self::DiskRollback => "disk_rollback",
            Self::NewKey => "new_key",
            Self::KeyUnheard => "key_unheard",
            Self::DiskLost => "disk_lost",
        }
    }

    /// Whether it befalls a message (and not a node or a disk).
    #[must_use]
    pub const fn befalls_a_message(self) -> bool {
        matches!(
            self,
            Self::Loss
                | Self::Delay
                | Self::Duplicate
                | Self::Reorder
                | Self::ConnectionBroken
                | Self::OneWayPartition
                | Self::Partition
                | Self::SightingLost
                | Self::SightingTwice
                | Self::Lie
                | Self::Corrupt
                | Self::SlowPeer
        )
    }
}

impl Faults {
    /// Counts one.
    pub fn add(&mut self, fault: Fault) {
        self.add_many(fault, 1);
    }

    /// Counts several.
    pub fn add_many(&mut self, fault: Fault, times: u64) {
        if times > 0 {
            *self.0.entry(fault).or_default() += times;
        }
    }

    /// Takes in another count.
    pub fn plus(&mut self, other: &Self) {
        other.0.iter().for_each(|(f, n)| self.add_many(*f, *n));
    }

    /// How often this one happened.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or_default()
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those that befell a message.
    #[must_use]
    pub fn of_messages(&self) -> u64 {
        let messages = self.0.iter().filter(|(f, _)| f.befalls_a_message());
        messages.map(|(_, n)| n).sum()
    }

    /// How often each kind happened, by name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.iter().map(|(fault, n)| (fault.name(), *n)).collect()
    }

    /// The kinds that happened, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().map(|fault| fault.name())
    }
}
