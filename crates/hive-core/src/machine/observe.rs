//! Observe: from two surveys to jobs, what they do, and whether somebody waits while others compete.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::id::ProgramName;
use crate::machine::facts::{
    Cgroup, CgroupId, CgroupKind, Front, GroupId, MachineFacts, Process, Survey,
};
use crate::machine::front;
use crate::machine::neighbours::Neighbour;
use crate::machine::pace::{BUILD_FRESH_PER_S, Pace};
use crate::machine::weigh::{self, Weighable};
use crate::machine::window::real;
use crate::pattern::{Action, BACKGROUND_NICE, Binding, Context, Cores, Goal, Side, WorkloadType};
use crate::time::{Instant, Span};

/// Share of the time in which tasks waited for a processor from which trials may run
/// (`research/optimizer.md` 7.5).
pub const PRESSURE_GATE: f64 = 0.20;

/// From here on the machine is looked at more often: half of the gate.
const PRESSURE_STIR: f64 = 0.10;

/// How soon all processes are looked at again at rest: 0.1 % of a core at 1,000 of them (`research/optimizer.md` 3.3).
pub const LOOK_CALM: Span = Span::from_secs(5);

/// The same when it stirs.
const LOOK_STIRRED: Span = Span::from_secs(2);

/// Cores from which a job belongs to the background. A guess: a tenth of the smallest machine.
const BACKGROUND_CORES: f64 = 0.2;

/// A job that was background stays it down to this, so that throttling it does not make it vanish.
const BACKGROUND_CORES_STAY: f64 = 0.05;

/// Programs never counted as background: what draws, plays, logs in, installs or stores
/// (`research/optimizer.md` 7.8). The kernel cuts names at 15 bytes.
const SPARED: [&str; 32] = [
    "Xorg",
    "Xwayland",
    "pipewire",
    "pipewire-pulse",
    "wireplumber",
    "pulseaudio",
    "jackd",
    "dbus-daemon",
    "dbus-broker",
    "dbus-broker-lau",
    "systemd",
    "(sd-pam)",
    "systemd-logind",
    "sshd",
    "sshd-session",
    "rtkit-daemon",
    "gnome-shell",
    "kwin_wayland",
    "kwin_x11",
    "sway",
    "Hyprland",
    "plasmashell",
    "swaylock",
    "ibus-daemon",
    "fcitx5",
    "hive",
    "apt",
    "apt-get",
    "dpkg",
    "postgres",
    "mysqld",
    "gdb",
];

/// The daemon's own program; its ancestors (shell, terminal, log-in) are spared too.
const OWN_PROGRAM: &str = "hive";

/// One job.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one job"
)]
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Cores it used since the last survey.
    pub cores: f64,
    /// Name of its leading process; stays on this machine.
    pub name: ProgramName,
    /// Whether it is the foreground job of a terminal.
    pub foreground: bool,
    /// Whether it is an application that a desktop says somebody is at, or a helper of one.
    pub in_front: Option<Front>,
    /// Whether the owner named it in `protect`.
    pub named: bool,
    /// Whether it may be background at all: own uid, ordinary, nice 0, not spared, no service.
    pub touchable: bool,
    /// Whether it may be protected by what is done to others: its leading process is this user's and nobody lowered it,
    /// and nothing of it is in `never` or, where those are left alone, in a container.
    pub protectable: bool,
    /// Whether it may itself be changed for its own good: of all its processes own uid, ordinary, nice 0.
    pub plain: bool,
    /// Whether it uses enough to be background.
    pub hungry: bool,
    autogroup: Option<u64>,
    /// Of all its processes; one that left its session's autogroup is rare, but would be hit.
    autogroups: BTreeSet<u64>,
    cgroup: u64,
    /// Of all its processes: those of one job may be spread over several.
    pub(crate) homes: BTreeSet<CgroupId>,
    pub(crate) fresh_per_s: f64,
    /// Whether its leading process is this user's, and nobody lowered it.
    led_well: bool,
    /// Whether it has lived by forking at some time: a build stays one while its last compiler runs.
    pub(crate) builds: bool,
    pub(crate) parents: BTreeSet<GroupId>,
}

/// The machine between the last two surveys.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// When it was seen.
    pub at: Instant,
    /// Share of the time in which some task waited for a processor.
    pub pressure: f64,
    /// All jobs.
    pub groups: BTreeMap<GroupId, Group>,
    /// The control groups they are in.
    pub cgroups: BTreeMap<CgroupId, Cgroup>,
    /// Others that tune this machine now.
    pub neighbours: BTreeSet<Neighbour>,
}

/// A protected workload and what competes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Contention {
    /// The job that somebody waits for.
    pub protected: GroupId,
    /// What kind of work it does, and so what it is judged by.
    pub role: WorkloadType,
    /// Other jobs in front for which nobody waits now. Where a job's progress is the goal, a run looks whether that changes.
    pub quiet: Vec<GroupId>,
    /// Its program.
    pub name: ProgramName,
    /// Whether it may itself be changed: see [`Group::plain`].
    pub plain: bool,
    /// The jobs that compete with it under the context's binding.
    pub background: Vec<GroupId>,
    /// All jobs that may be acted on under that binding, hungry now or not.
    pub allowed: Vec<GroupId>,
    /// The units whose weight decides between the two, where the service manager can set it.
    pub units: Weighable,
    /// Others that tune this machine.
    pub neighbours: BTreeSet<Neighbour>,
    /// The mechanism.
    pub context: Context,
    /// The pressure.
    pub pressure: f64,
}

impl Contention {
    /// Whether there is anything that this action could act on, and nobody else who sets the same. A browser whose helpers
    /// set their own nice is never itself changed; what is done to others helps it all the same.
    #[must_use]
    pub fn offers(&self, action: Action) -> bool {
        let acts = match action {
            Action::BackgroundWeight => !self.units.wanted.is_empty(),
            _ => action.side() == Side::Background || self.plain,
        };
        acts && self.claimed(action).is_none()
    }

    /// Who else sets what this action would set.
    #[must_use]
    pub fn claimed(&self, action: Action) -> Option<Neighbour> {
        let mut all = self.neighbours.iter().copied();
        all.find(|neighbour| neighbour.claims(action))
    }
}

/// Whether processes in containers are protected or acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containers {
    /// They are left alone: whoever runs the container may have other plans for them.
    #[default]
    LeftAlone,
    /// The owner has said that they are like all others.
    Included,
}

/// What jobs are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Yardstick<'a> {
    /// The machine.
    pub facts: &'a MachineFacts,
    /// Programs to protect wherever they run.
    pub protect: &'a [ProgramName],
    /// Programs never to touch.
    pub never: &'a [ProgramName],
    /// Whether what runs in containers takes part.
    pub containers: Containers,
    /// What this machine itself put on which jobs: their nice and policy are nobody else's.
    pub worn: Option<(Action, &'a [GroupId])>,
}

/// Remembers the last survey.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    last: Option<Survey>,
    hungry: BTreeSet<GroupId>,
    fresh: BTreeMap<GroupId, f64>,
    builds: BTreeSet<GroupId>,
    /// Time watched, and time of it with pressure at the gate.
    pub watched: Span,
    /// See `watched`.
    pub busy: Span,
}

impl Yardstick<'_> {
    /// Whether a process's nice and policy are what this machine put on.
    fn is_worn(&self, process: &Process) -> bool {
        let Some((action, groups)) = self.worn else {
            return false;
        };
        // Between the nice and the policy of one step, and of its undoing, a look may fall.
        let policy = process.ordinary || (action == Action::BackgroundIdle && process.idle);
        process.nice == BACKGROUND_NICE && policy && groups.contains(&process.group)
    }
}

impl Observer {
    /// Compares a survey with the one before it; `None` for the first.
    pub fn on_survey(&mut self, survey: Survey, yardstick: &Yardstick<'_>) -> Option<Situation> {
        let last = self.last.take();
        let situation = last
            .filter(|last| survey.at > last.at)
            .map(|last| self.compare(&last, &survey, yardstick));
        self.last = Some(survey);
        situation
    }

    fn compare(&mut self, last: &Survey, survey: &Survey, yardstick: &Yardstick<'_>) -> Situation {
        let span = survey.at.since(last.at);
        let seconds = real(span.0) / 1e6;
        let stalled = survey.pressure.cpu.0.saturating_sub(last.pressure.cpu.0);
        let pressure = real(stalled) / real(span.0);
        self.watched.0 += span.0;
        if pressure >= PRESSURE_GATE {
            self.busy.0 += span.0;
        }
        let mut groups = group(survey, yardstick);
        let used = processor_time(last, survey);
        let fresh = fresh_processes(last, survey);
        let known: BTreeSet<GroupId> = last.processes.iter().map(|p| p.group).collect();
        for (id, job) in &mut groups {
            job.cores = (used.get(id).copied().unwrap_or_default() / 1e6 / seconds).max(0.0);
            let fresh = fresh.get(id).copied().unwrap_or_default() / seconds;
            // All processes of a job that just began are new, whatever it is.
            let forks = known.contains(id) && fresh >= BUILD_FRESH_PER_S;
            job.builds = forks || self.builds.contains(id);
            // Half of the old rate stays, so that one survey between two compilations is no new kind.
            let old = self.fresh.get(id).copied().unwrap_or(fresh);
            job.fresh_per_s = f64::midpoint(old, fresh);
            let enough = if self.hungry.contains(id) {
                BACKGROUND_CORES_STAY
            } else {
                BACKGROUND_CORES
            };
            job.hungry = job.cores >= enough;
        }
        self.hungry = groups
            .iter()
            .filter(|(_, g)| g.hungry)
            .map(|(id, _)| *id)
            .collect();
        let builds = groups.iter().filter(|(_, g)| g.builds);
        self.builds = builds.map(|(id, _)| *id).collect();
        self.fresh = groups.iter().map(|(id, g)| (*id, g.fresh_per_s)).collect();
        Situation {
            at: survey.at,
            pressure,
            groups,
            cgroups: survey.cgroups.clone(),
            neighbours: Neighbour::seen(survey),
        }
    }
}

impl Situation {
    /// How soon to look again.
    #[must_use]
    pub fn look_again_after(&self) -> Span {
        if self.pressure >= PRESSURE_STIR {
            LOOK_STIRRED
        } else {
            LOOK_CALM
        }
    }

    /// Jobs that somebody may be waiting for, most processor time last.
    #[must_use]
    pub fn candidates(&self) -> Vec<GroupId> {
        self.groups
            .iter()
            .filter(|(_, g)| g.protectable && (g.foreground || g.in_front.is_some() || g.named))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether measuring the candidates' pace could lead anywhere.
    #[must_use]
    pub fn worth_a_probe(&self) -> bool {
        self.pressure >= PRESSURE_GATE
            && self.groups.values().any(|g| g.touchable && g.hungry)
            && !self.candidates().is_empty()
    }

    /// The contention between the workload that somebody waits for and the rest, if there is any: an interactive one,
    /// or else a job in front that burns ([`Self::at_work`]). `keep` holds to one protected job as long as it is one.
    #[must_use]
    pub fn contention(
        &self,
        paces: &BTreeMap<GroupId, Pace>,
        keep: Option<GroupId>,
        facts: &MachineFacts,
    ) -> Option<Contention> {
        if self.pressure < PRESSURE_GATE {
            return None;
        }
        let waited_for: Vec<GroupId> = self
            .candidates()
            .into_iter()
            .filter(|id| paces.get(id).is_some_and(|pace| pace.interactive))
            .filter(|id| !self.only_shows(*id))
            .collect();
        if waited_for.is_empty() {
            let mut jobs = self.at_work(paces, keep).into_iter();
            let shielded = self.shielded(paces, &self.fronts());
            return jobs.find_map(|(job, role)| self.between(job, role, &shielded, facts));
        }
        let pace = |id: &GroupId| paces.get(id).map_or(0.0, |pace| pace.wakeups_per_s);
        let protected = match keep {
            Some(keep) => *waited_for.iter().find(|id| **id == keep)?,
            None => *waited_for.iter().max_by(|a, b| {
                let near = |id: &GroupId| self.is_near(*id);
                near(a).cmp(&near(b)).then(pace(a).total_cmp(&pace(b)))
            })?,
        };
        let nearer = |id: &GroupId| self.is_near(*id) && !self.is_near(protected);
        if keep.is_some() && waited_for.iter().any(nearer) {
            // Somebody has moved on to another one: this run ends as if its contention were over.
            return None;
        }
        let mut shielded = self.shielded(paces, &waited_for);
        // What somebody is at is not slowed down in favour of what stands behind it: a build in the focused terminal, say.
        let shown = self
            .groups
            .iter()
            .filter(|(id, g)| g.foreground && nearer(id));
        shielded.extend(shown.map(|(id, _)| *id));
        let role = self.groups.get(&protected)?.role();
        self.between(protected, role, &shielded, facts)
    }

    /// The contention between one job and whatever of the rest is not shielded, if there is any.
    fn between(
        &self,
        protected: GroupId,
        role: WorkloadType,
        shielded: &BTreeSet<GroupId>,
        facts: &MachineFacts,
    ) -> Option<Contention> {
        let front = self.groups.get(&protected)?;
        let open = |id: &GroupId, g: &Group| g.touchable && !shielded.contains(id);
        let mut weight: BTreeMap<Binding, f64> = BTreeMap::new();
        for (_, g) in self.groups.iter().filter(|(id, g)| g.hungry && open(id, g)) {
            *weight.entry(binding(front, g, facts)).or_default() += g.cores;
        }
        let bound = *weight.iter().max_by(|a, b| a.1.total_cmp(b.1))?.0;
        let shared = self.shared_sessions(shielded);
        let of_class = |id: &GroupId, g: &Group| {
            open(id, g)
                && binding(front, g, facts) == bound
                && (bound != Binding::Autogroup || g.autogroup.is_none_or(|a| !shared.contains(&a)))
        };
        let class = || self.groups.iter().filter(|(id, g)| of_class(id, g));
        let background: Vec<GroupId> = class()
            .filter(|(_, g)| g.hungry)
            .map(|(id, _)| *id)
            .collect();
        if background.is_empty() {
            return None;
        }
        let alone = |id: &GroupId, g: &Group| is_alone(*id, g, shielded);
        Some(Contention {
            protected,
            role,
            quiet: match role.goal() {
                Goal::Wait => Vec::new(),
                Goal::Progress => self.quiet(protected),
            },
            name: front.name.clone(),
            plain: front.plain,
            units: weigh::weighable(self, front, class().map(|(_, g)| g), alone),
            allowed: class().map(|(id, _)| *id).collect(),
            neighbours: self.neighbours.clone(),
            context: Context {
                binding: bound,
                cores: Cores::of(facts.cores),
                eevdf_slices: facts.kernel >= (6, 12),
                // Build or batch is one kind here: how fast a job forks changes from minute to minute, what
                // it does to its neighbour does not, and a key that flips splits the evidence.
                background: WorkloadType::Batch,
            },
            background,
            pressure: self.pressure,
        })
    }

    /// Sessions that are not the background's alone: a session's weight binds every job in it.
    ///
    /// Besides what is shielded that is what must never be touched, and a foreground job that does not
    /// burn: somebody may be typing in it, too slowly to count as waited for. A shell in whose foreground
    /// the build runs does not block its own session; a shell at its prompt with the build in the
    /// background (`make &`) is a foreground job that does not burn, so that session is left alone.
    fn shared_sessions(&self, shielded: &BTreeSet<GroupId>) -> BTreeSet<u64> {
        let others = self.groups.iter();
        others
            .filter(|(id, g)| !is_alone(**id, g, shielded))
            .flat_map(|(_, g)| g.autogroups.iter().copied())
            .collect()
    }

    /// Everything that somebody waits for or may wait for, and its ancestors: the shell and the terminal
    /// that shows it. A candidate that was not measured yet counts as waited for.
    fn shielded(
        &self,
        paces: &BTreeMap<GroupId, Pace>,
        waited_for: &[GroupId],
    ) -> BTreeSet<GroupId> {
        let unmeasured = |id: &GroupId| !paces.contains_key(id);
        let mut shielded: BTreeSet<GroupId> =
            self.candidates().into_iter().filter(unmeasured).collect();
        shielded.extend(waited_for);
        // What somebody is at may burn by itself; it is not slowed down in favour of what stands behind it.
        let groups = self.groups.iter();
        shielded.extend(
            groups
                .filter(|(_, g)| g.in_front.is_some())
                .map(|(id, _)| *id),
        );
        let mut ahead: Vec<GroupId> = waited_for.to_vec();
        while let Some(id) = ahead.pop() {
            let parents = self.groups.get(&id).map(|g| &g.parents);
            for parent in parents.into_iter().flatten() {
                if shielded.insert(*parent) {
                    ahead.push(*parent);
                }
            }
        }
        shielded
    }
}

/// Whether a weight on what a job shares with others may bind it: see [`Situation::shared_sessions`].
fn is_alone(id: GroupId, job: &Group, shielded: &BTreeSet<GroupId>) -> bool {
    job.touchable && !shielded.contains(&id) && (!job.foreground || job.hungry)
}

/// What decides between two jobs (`research/optimizer.md` 7.2).
fn binding(front: &Group, back: &Group, facts: &MachineFacts) -> Binding {
    if front.cgroup != back.cgroup {
        Binding::Cgroup
    } else if facts.autogroup && front.cgroup == 0 && front.autogroup != back.autogroup {
        // Autogroups only weigh tasks of the root control group.
        Binding::Autogroup
    } else {
        Binding::Task
    }
}

fn group(survey: &Survey, yardstick: &Yardstick<'_>) -> BTreeMap<GroupId, Group> {
    let by_pid: BTreeMap<u32, &Process> = survey.processes.iter().map(|p| (p.pid, p)).collect();
    let spared = own_line(survey, &by_pid);
    let in_front = front::applications(survey, &by_pid);
    let boxed = |process: &Process| {
        let group = survey.cgroups.get(&process.cgroup);
        group.is_some_and(|group| group.kind == CgroupKind::Container)
    };
    let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
    for process in &survey.processes {
        let first = !groups.contains_key(&process.group);
        let job = groups.entry(process.group).or_insert_with(|| Group {
            touchable: true,
            protectable: true,
            plain: true,
            ..Group::default()
        });
        let own = process.uid == yardstick.facts.uid && process.pid != 1;
        let worn = yardstick.is_worn(process);
        if first || process.pid == process.group.group {
            job.name = process.name.clone();
            job.autogroup = process.autogroup;
            job.cgroup = process.cpu_cgroup;
            job.led_well = own && (worn || (process.nice <= 0 && !process.idle));
        }
        let barred = (boxed(process) && yardstick.containers == Containers::LeftAlone)
            || yardstick.never.contains(&process.name);
        // A value that somebody else has set is theirs, and so are their processes.
        let plain = own && !barred && (worn || (process.nice == 0 && process.ordinary));
        job.protectable &= !barred;
        job.plain &= plain;
        job.autogroups.extend(process.autogroup);
        job.homes.insert(process.cgroup);
        job.touchable &= plain
            && !process.service
            && !spared.contains(&process.pid)
            && !SPARED.contains(&process.name.local());
        job.foreground |= process.foreground;
        job.in_front = job.in_front.max(in_front.get(&process.pid).copied());
        job.named |= yardstick.protect.contains(&process.name);
        if let Some(parent) = by_pid.get(&process.parent)
            && parent.group != process.group
        {
            job.parents.insert(parent.group);
        }
    }
    for job in groups.values_mut() {
        job.protectable &= job.led_well;
    }
    front::attach(&mut groups);
    groups
}

/// The daemon's processes and all their ancestors.
fn own_line(survey: &Survey, by_pid: &BTreeMap<u32, &Process>) -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    for own in survey
        .processes
        .iter()
        .filter(|p| p.name.local() == OWN_PROGRAM)
    {
        let mut next = Some(own);
        while let Some(process) = next {
            if !line.insert(process.pid) {
                break;
            }
            next = by_pid.get(&process.parent).copied();
        }
    }
    line
}

/// Microseconds of processor time that each job used between two surveys.
///
/// A process that ended hands its whole time to its parent's `children_cpu`; what was already counted
/// as its own is taken off there, or a shell would look busy the moment its long job ends.
fn processor_time(last: &Survey, survey: &Survey) -> BTreeMap<GroupId, f64> {
    let total = |p: &Process| real(p.cpu.0.saturating_add(p.children_cpu.0));
    let mut before: BTreeMap<(u32, u64), &Process> = last
        .processes
        .iter()
        .map(|p| ((p.pid, p.start), p))
        .collect();
    let mut used: BTreeMap<GroupId, f64> = BTreeMap::new();
    for process in &survey.processes {
        let old = before
            .remove(&(process.pid, process.start))
            .map_or(0.0, total);
        *used.entry(process.group).or_default() += total(process) - old;
    }
    let alive: BTreeMap<u32, GroupId> = survey.processes.iter().map(|p| (p.pid, p.group)).collect();
    for gone in before.values() {
        if let Some(parent) = alive.get(&gone.parent) {
            *used.entry(*parent).or_default() -= total(gone);
        }
    }
    used
}

/// Processes of each job that the last survey had not seen.
fn fresh_processes(last: &Survey, survey: &Survey) -> BTreeMap<GroupId, f64> {
    let before: BTreeSet<(u32, u64)> = last.processes.iter().map(|p| (p.pid, p.start)).collect();
    let mut fresh: BTreeMap<GroupId, f64> = BTreeMap::new();
    for process in &survey.processes {
        if !before.contains(&(process.pid, process.start)) {
            *fresh.entry(process.group).or_default() += 1.0;
        }
    }
    fresh
}

#[cfg(test)]
mod tests;
