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

    /// The kinds that happened, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().map(|fault| fault.name())
    }
}
