//! The host on Linux: eyes ([`survey`]), hands ([`hands`]), and the facts of this machine.

mod sys;
mod stat;
mod scan;
mod cgroup;
mod memory;
mod line;
mod bus;
mod units;
mod tuners;
mod front;
mod facts;
mod survey;
mod place;
mod knob;
mod autogroup;
mod reach;
mod hands;
pub mod privileged;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hive_core::id::ChangeId;
use hive_core::machine::act::{Outcome, Receipt, Refusal, Step};
use hive_core::machine::facts::{MachineFacts, Sample, SampleRequest};
use hive_core::time::{Instant, Now, WallTime};

use crate::helper::Heard;
use crate::journal::kept;
use crate::{Acting, HostConfig, Left, OpenError, Recovery, Roots, Scope};

/// The slice of `Action::FinerSlice`: the least that the kernel takes (`research/optimizer.md` 3.1).
const FINE_SLICE_NS: u64 = 100_000;

/// Eyes and hands on this machine.
#[derive(Debug)]
pub struct Host {
    facts: MachineFacts,
    eyes: survey::Eyes,
    /// None if this host was told to observe.
    hands: Option<hands::Hands>,
    /// Whether these hands need the actor lock: all but those that are held to one process tree.
    needs_lock: bool,
    /// Held while this host lives, so that no second daemon of this user acts.
    actor: Option<place::ActorLock>,
}

impl Host {
    /// Reads the facts, restores what a crashed predecessor left on, and takes the actor lock. If
    /// another daemon holds that, this host only observes until that one ends: see [`Host::acting`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a host is opened once, by who made the configuration"
    )]
    pub fn open(config: HostConfig) -> Result<(Self, Recovery), OpenError> {
        let (mut facts, default_slice) = facts::read(&config.roots);
        let mut eyes = survey::Eyes::new(config.roots.clone(), config.scope);
        let mut recovery = Recovery::default();
        let mut hands = None;
        let needs_lock = matches!(config.scope, Scope::OwnUser);
        if config.act == Acting::Yes && place::is_our_proc(&config.roots.proc) {
            let mut ours = hands::Hands::open(&config, &facts, default_slice)?;
            recovery = ours.recover(&mut eyes)?;
            facts.rights.nice = ours.rights().nice;
            hands = Some(ours);
        }
        let mut host = Self {
            facts,
            eyes,
            hands,
            needs_lock,
            actor: None,
        };
        host.take_lock();
        Ok((host, recovery))
    }

    /// What does not change while the daemon runs.
    pub fn facts(&self) -> &MachineFacts {
        &self.facts
    }

    /// Whether this host may act; if not, another daemon does or it was told to observe.
    pub fn acting(&self) -> Acting {
        if self.hands.is_some() && (self.actor.is_some() || !self.needs_lock) {
            Acting::Yes
        } else {
            Acting::No
        }
    }

    /// The daemon that held the lock may have ended since.
    fn take_lock(&mut self) {
        if self.hands.is_some() && self.needs_lock && self.actor.is_none() {
            let uid = self.facts.uid;
            self.actor = place::ActorLock::take(&place::lock_folders(uid), uid);
        }
    }

    /// Looks. It never fails: what cannot be read is left out.
    pub fn sample(&mut self, request: &SampleRequest) -> Sample {
        let ours = self
            .hands
            .as_ref()
            .map_or(cgroup::Ours::Off, hands::Hands::weights);
        self.eyes.sample(request, ours)
    }

    /// Takes a step. It may block for some tens of milliseconds; call it off the main loop.
    pub fn act(&mut self, step: &Step) -> Receipt {
        self.take_lock();
        let may = self.acting() == Acting::Yes;
        let outcome = match &mut self.hands {
            Some(hands) if may => hands.act(&mut self.eyes, step),
            _ => Outcome::Refused(Refusal::NotTheActor),
        };
        Receipt {
            change: step.change,
            outcome,
        }
    }

    /// Puts a change back. A change that is not on restores nothing. It may block for some seconds, as
    /// the kernel lets all plain users together write one session's nice per 100 ms.
    pub fn undo(&mut self, change: ChangeId) -> Receipt {
        let outcome = match &mut self.hands {
            Some(hands) => hands.undo(&mut self.eyes, change),
            None => Outcome::Refused(Refusal::NotTheActor),
        };
        Receipt { change, outcome }
    }

    /// Keeps the privileged helper from giving this host up, where there is one; to be called at least every
    /// [`crate::helper::LEASE`] / 3 while something is on. Tells what it had given up meanwhile: that is off.
    pub fn keep(&mut self) -> Vec<Receipt> {
        let lost = self.hands.as_mut().map(hands::Hands::keep);
        let lost = lost.unwrap_or_default().into_iter();
        lost.map(|change| self.undo(change)).collect()
    }

    /// Tries again what an earlier run left on and the start could not put back; see [`Recovery::failed`].
    pub fn recover_again(&mut self) -> Result<Recovery, OpenError> {
        match &mut self.hands {
            Some(hands) => hands.recover_again(&mut self.eyes),
            None => Ok(Recovery::default()),
        }
    }

    /// Puts everything back that is on, the latest first: at exit, and for `hive pause`.
    pub fn undo_all(&mut self) -> Vec<Receipt> {
        let changes = self.hands.as_ref().map(hands::Hands::on);
        changes
            .unwrap_or_default()
            .into_iter()
            .rev()
            .map(|change| self.undo(change))
            .collect()
    }
}

/// Restores what the journal in the state folder says is still on: for a guardian that outlives a
/// killed daemon. [`OpenError::Busy`] while the daemon lives.
pub fn recover(config: &HostConfig) -> Result<Recovery, OpenError> {
    if !place::is_our_proc(&config.roots.proc) {
        return Ok(Recovery::default());
    }
    let (facts, default_slice) = facts::read(&config.roots);
    let mut eyes = survey::Eyes::new(config.roots.clone(), config.scope);
    hands::Hands::open(config, &facts, default_slice)?.recover(&mut eyes)
}

/// What the journal in the state folder says is still on. Nothing is changed.
/// [`OpenError::Busy`] while a daemon lives, or its guardian works.
pub fn left_on(config: &HostConfig) -> Result<Left, OpenError> {
    if !has_journal(&config.state) || !place::is_our_proc(&config.roots.proc) {
        return Ok(Left::default());
    }
    let (facts, default_slice) = facts::read(&config.roots);
    let mut eyes = survey::Eyes::new(config.roots.clone(), config.scope);
    Ok(hands::Hands::look_only(config, &facts, default_slice)?.left(&mut eyes))
}

/// The journals in a state folder that were found damaged in this boot and are kept; none where that cannot be told.
pub fn damaged_journals(roots: &Roots, state: &Path) -> Vec<PathBuf> {
    kept::of_boot(state, &place::boot(roots)).unwrap_or_default()
}

/// Whether the helper of a user answers. It takes some seconds where one listens and says nothing.
pub fn helper_heard(run: &Path, uid: u32) -> Heard {
    reach::heard(run, uid)
}

/// Whether there is a journal in a state folder, be it one that cannot be read.
pub fn has_journal(state: &Path) -> bool {
    match std::fs::symlink_metadata(state.join("journal")) {
        Ok(_) => true,
        Err(why) => !matches!(
            why.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

/// Microseconds since this machine booted, suspended time included.
pub fn boot_clock() -> Instant {
    Instant(sys::boot_clock_us())
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

#[cfg(test)]
mod tests;
