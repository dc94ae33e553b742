//! What the host can tell about this machine: processes, pressure, counters, rights. Plain numbers, no policy.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::ProgramName;
use crate::time::{Instant, Span};
use crate::units::Permille;

/// What does not change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    /// Processors that can run tasks.
    pub cores: u16,
    /// Kernel version, major and minor.
    pub kernel: (u16, u16),
    /// Whether scheduling goes by terminal session (`/proc/sys/kernel/sched_autogroup_enabled`).
    pub autogroup: bool,
    /// Whether pressure-stall information can be read; without it no trial can be gated.
    pub pressure: bool,
    /// What this user can do and, above all, undo.
    pub rights: Rights,
    /// The user whose processes may be touched.
    pub uid: u32,
}

/// What the rights at hand allow, undo included. `false` always has a reason in `hive doctor`'s words.
#[expect(clippy::struct_excessive_bools, reason = "independent rights")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Nice can be raised *and lowered again* (`CAP_SYS_NICE`, `RLIMIT_NICE` of at least 20, or the privileged helper).
    pub nice: bool,
    /// A session's autogroup nice can be written.
    pub autogroup_nice: bool,
    /// The EEVDF slice of own threads can be set (kernel 6.12 and later).
    pub slice: bool,
    /// The kernel takes advice on the memory of own processes (`CAP_SYS_NICE`, kernel 5.10 and later).
    pub advise: bool,
    /// The user's own service manager answers and holds a processor controller, so that it can give the units of
    /// applications a weight and take it back (systemd 252 and later, version 2 control groups).
    pub unit_weight: bool,
}

/// How much memory is left, and where it can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Share of all memory that new programs could get (`MemAvailable`).
    pub available: Permille,
    /// What swap there is.
    pub swap: Swap,
}

/// Where memory goes that is taken from programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swap {
    /// Nowhere.
    #[default]
    None,
    /// To a disk, at least some of it.
    Disk,
    /// To compressed memory (zram, zswap).
    Compressed,
}

impl Default for Memory {
    /// Plenty, and no swap.
    fn default() -> Self {
        Self {
            available: Permille::from_share(1.0),
            swap: Swap::None,
        }
    }
}

/// A control group, named by the fingerprint of its path; 0 is the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// One control group of the hierarchy that the processor controller is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// What it is in; the root is in itself.
    pub parent: CgroupId,
    /// What it is.
    pub kind: CgroupKind,
}

/// What a control group is to whoever may weigh it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupKind {
    /// Nothing that concerns us: the system's, the session's, another user's.
    #[default]
    Other,
    /// A unit of an application: a scope, service or slice below `app.slice` of this user's own service manager.
    Application,
    /// Of a container, or inside one.
    Container,
}

/// A job as the shell made it: a process group within a terminal session.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct GroupId {
    /// Session id.
    pub session: u32,
    /// Process group id.
    pub group: u32,
}

/// A question for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleRequest {
    /// Everything once, cheaply: answered by [`Sample::Survey`].
    Survey,
    /// Counters of a few groups, precisely: answered by [`Sample::Window`].
    Watch {
        /// Thread by thread.
        protected: Vec<GroupId>,
        /// As sums.
        background: Vec<GroupId>,
    },
}

/// The host's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// All processes in scope.
    Survey(Survey),
    /// The watched groups.
    Window(Reading),
}

/// Time during which tasks waited for a resource, since boot (PSI `some` totals).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// For a processor.
    pub cpu: Span,
    /// For memory.
    pub memory: Span,
    /// Of that, time in which all tasks that had something to do waited for memory (PSI `full`).
    pub memory_full: Span,
    /// For input and output.
    pub io: Span,
}

/// All processes in scope at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// When it was taken.
    pub at: Instant,
    /// Pressure totals; zero where the kernel does not tell.
    pub pressure: Pressure,
    /// Memory that is left.
    pub memory: Memory,
    /// Every live process in scope, own uid or not.
    pub processes: Vec<Process>,
    /// The control groups of all of them, and what these are in.
    pub cgroups: BTreeMap<CgroupId, Cgroup>,
    /// What others that tune this machine say of themselves.
    pub tuners: Tuners,
    /// Processor time that this daemon itself has used since it started.
    pub own: Span,
}

/// Others that tune this machine, as far as no process table shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuners {
    /// A `sched_ext` scheduler is loaded (`/sys/kernel/sched_ext/state`).
    pub sched_ext: bool,
    /// Games that have asked `gamemode` for its settings and did not end.
    pub games: u32,
    /// `tuned` runs with a profile that sets the policy of processes.
    pub policies: bool,
}

/// How a desktop says that somebody is at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    /// The window that has the keyboard is its own.
    Window,
    /// It has asked `gamemode` for a game's settings.
    Game,
}

/// One process.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one process"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Start time in clock ticks since boot: tells two users of one pid apart.
    pub start: u64,
    /// The job it belongs to.
    pub group: GroupId,
    /// Real user id.
    pub uid: u32,
    /// Its name; stays on this machine.
    pub name: ProgramName,
    /// Whether its job is the foreground job of a terminal.
    pub foreground: bool,
    /// Whether a desktop says that somebody is at it, and how it knows.
    pub in_front: Option<Front>,
    /// Processor time of its own threads.
    pub cpu: Span,
    /// Processor time of its children that ended and were waited for.
    pub children_cpu: Span,
    /// Nice of its leading thread.
    pub nice: i8,
    /// Whether it is scheduled as `SCHED_OTHER`.
    pub ordinary: bool,
    /// Whether it is scheduled as `SCHED_IDLE`.
    pub idle: bool,
    /// Threads.
    pub threads: u32,
    /// Bytes of it in memory.
    pub resident: u64,
    /// Number of its autogroup, if it is in one.
    pub autogroup: Option<u64>,
    /// Fingerprint of the control group whose processor weight binds it; 0 = the root. It is told as it would be
    /// without the weights that this daemon itself has on: those may be what makes a group bind at all.
    pub cpu_cgroup: u64,
    /// The control group it is in, binding or not.
    pub cgroup: CgroupId,
    /// Whether it belongs to a session that the system's init started without a terminal, seen by the superuser's daemon: a service, never touched.
    pub service: bool,
}

/// Counters of the watched groups at one moment. Two of them make a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// When it was taken.
    pub at: Instant,
    /// Pressure totals.
    pub pressure: Pressure,
    /// Threads of the protected groups.
    pub threads: Vec<ThreadCounters>,
    /// The background groups.
    pub background: Vec<GroupCounters>,
}

/// One thread's counters since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadCounters {
    /// Thread id.
    pub tid: u32,
    /// Its job.
    pub group: GroupId,
    /// Nanoseconds it was runnable but not running (`run_delay`).
    pub waited_ns: u64,
    /// Nanoseconds it ran.
    pub ran_ns: u64,
    /// Voluntary context switches: how often it went to sleep and was woken.
    pub wakeups: u64,
}

/// One background group's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// The job.
    pub group: GroupId,
    /// Processor time of its live processes and of the children they waited for.
    pub cpu: Span,
    /// Live processes.
    pub processes: u32,
}
