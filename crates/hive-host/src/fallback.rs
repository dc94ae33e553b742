//! The host on systems it does not know: it sees nothing and does nothing, and says so.

use std::time::{SystemTime, UNIX_EPOCH};

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Receipt, Step};
use hive_core::machine::facts::{MachineFacts, Reading, Rights, Sample, SampleRequest, Survey};
use hive_core::time::{Instant, Now, WallTime};

use crate::helper::Heard;
use crate::{Acting, HostConfig, Left, OpenError, Recovery, Roots};

/// No eyes and no hands.
#[derive(Debug)]
pub struct Host {
    facts: MachineFacts,
}

impl Host {
    /// Always succeeds.
    pub fn open(_config: HostConfig) -> Result<(Self, Recovery), OpenError> {
        let facts = MachineFacts {
            cores: std::thread::available_parallelism()
                .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX)),
            kernel: (0, 0),
            autogroup: false,
            pressure: false,
            rights: Rights::default(),
            uid: 0,
        };
        Ok((Self { facts }, Recovery::default()))
    }

    /// Hardly anything.
    pub fn facts(&self) -> &MachineFacts {
        &self.facts
    }

    /// It never acts.
    pub fn acting(&self) -> Acting {
        Acting::No
    }

    /// An empty sample.
    pub fn sample(&mut self, request: &SampleRequest) -> Sample {
        let at = boot_clock();
        match request {
            SampleRequest::Survey => Sample::Survey(Survey {
                at,
                ..Survey::default()
            }),
            SampleRequest::Watch { .. } => Sample::Window(Reading {
                at,
                ..Reading::default()
            }),
        }
    }

    /// Unsupported.
    pub fn act(&mut self, step: &Step) -> Receipt {
        Receipt {
            change: step.change,
            outcome: Outcome::Unsupported,
        }
    }

    /// Unsupported.
    pub fn undo(&mut self, change: ChangeId) -> Receipt {
        Receipt {
            change,
            outcome: Outcome::Unsupported,
        }
    }

    /// Nothing is ever on.
    pub fn keep(&mut self) -> Vec<Receipt> {
        Vec::new()
    }

    /// Nothing is ever left on.
    pub fn recover_again(&mut self) -> Result<Recovery, OpenError> {
        Ok(Recovery::default())
    }

    /// Nothing is ever on.
    pub fn undo_all(&mut self) -> Vec<Receipt> {
        Vec::new()
    }
}

/// Nothing is ever left on.
pub fn recover(_config: &HostConfig) -> Result<Recovery, OpenError> {
    Ok(Recovery::default())
}

/// Nothing is ever left on.
pub fn left_on(_config: &HostConfig) -> Result<Left, OpenError> {
    Ok(Left::default())
}

/// None is ever made.
pub fn damaged_journals(_roots: &Roots, _state: &std::path::Path) -> Vec<std::path::PathBuf> {
    Vec::new()
}

/// There is none.
pub fn helper_heard(_run: &std::path::Path, _uid: u32) -> Heard {
    Heard::NoSocket
}

/// None is ever made.
pub fn has_journal(_state: &std::path::Path) -> bool {
    false
}

/// Microseconds since this was first asked.
pub fn boot_clock() -> Instant {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let first = FIRST.get_or_init(std::time::Instant::now);
    Instant(u64::try_from(first.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Both clocks, read together.
pub fn now() -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    Now {
        boot: boot_clock(),
        wall: WallTime(wall),
    }
}
