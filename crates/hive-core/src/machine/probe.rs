//! Who in the foreground is being waited for: a short window on all who might be.

use alloc::vec::Vec;

use crate::machine::facts::{GroupId, Reading};
use crate::machine::pace::Pace;
use crate::machine::window::Window;
use crate::machine::{Machine, trial};
use crate::time::{Instant, Now};

/// Candidates whose pace is measured at once: 64 watched tasks cost 0.1 ms (`research/optimizer.md` 3.3).
const CANDIDATES_MAX: usize = 16;

/// Program names kept to re-key their patterns when this machine joins another hive. A guess.
const NAMES_MAX: usize = 256;

/// A window on everything in the foreground: who is being waited for?
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) groups: Vec<GroupId>,
    pub(super) first: Option<Reading>,
    pub(super) due: Instant,
}

impl Machine {
    /// Measures who in the foreground is being waited for, when it matters and is not known.
    pub(super) fn consider_probe(&mut self, now: Now) {
        if self.probe.is_some() || !self.situation.worth_a_probe() {
            return;
        }
        let mut groups = self.situation.candidates();
        if self.run.is_some() {
            // The run measures its own workload; only newcomers are unknown.
            groups.retain(|id| !self.paces.contains_key(id));
        }
        groups.truncate(CANDIDATES_MAX);
        if !groups.is_empty() {
            self.probe = Some(Probe {
                groups,
                first: None,
                due: now.boot,
            });
        }
    }

    pub(super) fn on_probed(&mut self, now: Now, reading: Reading) {
        let Some(probe) = self.probe.take() else {
            return;
        };
        let Some(first) = &probe.first else {
            let due = reading.at.after(trial::WINDOW);
            self.probe = Some(Probe {
                first: Some(reading),
                due,
                ..probe
            });
            return;
        };
        for id in &probe.groups {
            let window = Window::of_threads(first, &reading, *id);
            self.note_pace(now, *id, &window);
        }
    }

    /// Judges a window on a job in front, and remembers its program if it may be protected. Tells whether somebody
    /// waits for it.
    pub(super) fn note_pace(&mut self, now: Now, id: GroupId, window: &Window) -> bool {
        let Some(group) = self.situation.groups.get(&id) else {
            return false;
        };
        let pace = Pace::of(window, group);
        let (name, counts) = (group.name.clone(), pace.interactive || group.hungry);
        self.paces.insert(id, pace);
        if counts {
            self.recognise(now, &name);
            if self.names.len() < NAMES_MAX {
                self.names.insert(name.key(&self.secret), name);
            }
        }
        pace.interactive
    }
}
