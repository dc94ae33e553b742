//! Who in the foreground is being waited for: a short window on all who might be.

use alloc::vec::Vec;

use crate::machine::facts::{GroupId, Reading};
use crate::machine::observe::Situation;
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
        most_telling_first(&mut groups, &self.situation, |id| {
            self.paces.contains_key(id)
        });
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
        let mut pace = Pace::of(window, group);
        pace.interactive &= !self.situation.only_shows(id);
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

/// Who somebody is at, then who is not known, then who does most: the last of many terminals has its turn as well.
fn most_telling_first(
    groups: &mut [GroupId],
    situation: &Situation,
    is_known: impl Fn(&GroupId) -> bool,
) {
    let used = |id: &GroupId| situation.groups.get(id).map_or(0.0, |job| job.cores);
    groups.sort_by(|a, b| {
        let near = situation.is_near(*b).cmp(&situation.is_near(*a));
        let unknown = is_known(a).cmp(&is_known(b));
        near.then(unknown).then(used(b).total_cmp(&used(a)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::facts::Front;
    use crate::machine::observe::Group;

    #[test]
    fn the_last_of_many_terminals_is_measured_as_well() {
        let id = |group| GroupId { session: 1, group };
        let mut situation = Situation::default();
        for number in 1..=40 {
            let mut job = Group::default();
            (job.foreground, job.protectable) = (true, true);
            job.cores = f64::from(number) / 100.0;
            situation.groups.insert(id(number), job);
        }
        let mut known = alloc::collections::BTreeSet::new();
        for _ in 0..3 {
            let mut groups = situation.candidates();
            most_telling_first(&mut groups, &situation, |id| known.contains(id));
            groups.truncate(CANDIDATES_MAX);
            known.extend(groups);
        }
        assert_eq!(known.len(), 40);
        // Somebody goes to the one that does least: it is the first from now on.
        let focused = situation.groups.get_mut(&id(1)).expect("there");
        focused.in_front = Some(Front::Window);
        let mut groups = situation.candidates();
        most_telling_first(&mut groups, &situation, |id| known.contains(id));
        assert_eq!(groups[..2], [id(1), id(40)]);
    }
}
