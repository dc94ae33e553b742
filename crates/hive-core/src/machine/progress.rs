//! The job in front that burns: protected for its progress per second while no interactive program is waited for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::machine::facts::GroupId;
use crate::machine::observe::{Group, Situation};
use crate::machine::pace::Pace;
use crate::pattern::WorkloadType;

/// Jobs in front that a run looks at besides its own: as many as a probe measures.
const QUIET_MAX: usize = 16;

impl Situation {
    /// The jobs in a terminal's foreground or on the owner's list that burn and for which nobody waits wake-up by wake-up,
    /// the hungriest first; only the one that `keep` names, if it does. A window's helper that burns is no job of its own,
    /// and nobody knows what of it is waited for. One whose pace was not measured yet may be an interactive one.
    pub(crate) fn at_work(
        &self,
        paces: &BTreeMap<GroupId, Pace>,
        keep: Option<GroupId>,
    ) -> Vec<(GroupId, WorkloadType)> {
        let still = |id: &GroupId| paces.get(id).is_some_and(|pace| !pace.interactive);
        let asked = |id: &GroupId| keep.is_none_or(|keep| *id == keep);
        let candidates = self.candidates().into_iter();
        let mut jobs: Vec<(GroupId, &Group)> = candidates
            .filter(|id| still(id) && asked(id) && !self.only_shows(*id))
            .filter_map(|id| Some((id, self.groups.get(&id)?)))
            .filter(|(_, job)| job.hungry && (job.foreground || job.named))
            .collect();
        jobs.sort_by(|(_, a), (_, b)| b.cores.total_cmp(&a.cores));
        let role = |job: &Group| {
            if job.builds {
                WorkloadType::Build
            } else {
                WorkloadType::Batch
            }
        };
        jobs.into_iter().map(|(id, job)| (id, role(job))).collect()
    }

    /// What is no background of a job in front: everything in a terminal's foreground, in a focused window or on the owner's list, and
    /// what those of it that burn have started, unless they burn by showing what others do. Two builds in front are two that somebody waits for. What a shell at
    /// its prompt has started with `&` is background: the shell does not burn.
    pub(crate) fn fronts(&self) -> Vec<GroupId> {
        let is_front = |g: &Group| g.foreground || g.in_front.is_some() || g.named;
        let all = || self.groups.iter().filter(|(_, g)| is_front(g));
        let mut fronts: BTreeSet<GroupId> = all().map(|(id, _)| *id).collect();
        let burning = all().filter(|(id, g)| g.hungry && !self.only_shows(**id));
        let mut ahead: Vec<GroupId> = burning.map(|(id, _)| *id).collect();
        while let Some(parent) = ahead.pop() {
            let children = self
                .groups
                .iter()
                .filter(|(_, g)| g.parents.contains(&parent));
            ahead.extend(
                children
                    .filter(|(id, _)| fronts.insert(**id))
                    .map(|(id, _)| *id),
            );
        }
        fronts.into_iter().collect()
    }

    /// The other jobs that somebody may begin to wait for.
    pub(crate) fn quiet(&self, protected: GroupId) -> Vec<GroupId> {
        let mut others = self.candidates();
        others.retain(|id| *id != protected);
        others.sort_by_key(|id| !self.is_near(*id));
        others.truncate(QUIET_MAX);
        others
    }
}

#[cfg(test)]
mod tests;
