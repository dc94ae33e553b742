//! Memory: which sleeping job's memory the kernel is told to take first, and when. It reads surveys and keeps count;
//! it does nothing that no person allowed, and nothing that it does has to be put back.

use alloc::collections::BTreeMap;

use crate::id::ChangeId;
use crate::machine::facts::{GroupId, Memory, Pressure, Survey, Swap};
use crate::machine::observe::Situation;
use crate::machine::window::real;
use crate::pattern::Action;
use crate::time::{Instant, Span};
use crate::units::Permille;

/// Asleep so long, a job's memory may go first (`research/optimizer.md` 7.4).
const COLD_ASLEEP: Span = Span::from_secs(300);

/// Asleep so long, it may go at once (`research/optimizer.md` 7.4).
const PAGE_OUT_ASLEEP: Span = Span::from_secs(1_800);

/// Memory is short when less than this share is available (`research/optimizer.md` 7.4).
const SHORT: Permille = Permille(200);

/// ... or when so large a share of the time some task waits for memory (`research/optimizer.md` 7.4).
const STALL_COLD: f64 = 0.05;

/// Paging out costs, so it takes more (`research/optimizer.md` 7.4).
const STALL_PAGE_OUT: f64 = 0.10;

/// ... and a processor that nobody waits for: below the pressure at which the machine counts as stirred.
const CALM: f64 = 0.10;

/// Between two steps. A guess: at 256 MiB a step a machine with 16 GiB takes an hour for all of it.
const REST: Span = Span::from_secs(60);

/// A job that holds less than this is not worth a look. A guess.
const RESIDENT_MIN: u64 = 16 << 20;

/// After this long without a receipt a step is given up. A guess: paging out 64 MiB takes half a second.
const RECEIPT_WAIT: Span = Span::from_secs(10);

/// Keeps an eye on memory, and on who sleeps.
#[derive(Clone, Debug, Default)]
pub struct Keeper {
    last: Option<(Instant, Pressure)>,
    now: State,
    asleep: BTreeMap<GroupId, Sleep>,
    asked: Option<(ChangeId, Action, GroupId, Instant)>,
    rest_until: Instant,
    /// Steps that the kernel took, and their bytes.
    pub taken: (u32, u64),
}

/// What the last two surveys said.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    at: Instant,
    memory: Memory,
    stall: f64,
    processor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sleep {
    since: Instant,
    print: Print,
    resident: u64,
    /// Whether it may be touched, and nobody has it in front.
    open: bool,
    done: Option<Action>,
}

/// What stays the same while a job sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Print {
    ran: u64,
    processes: u32,
    youngest: u64,
}

/// What one survey says of each job.
pub(super) type Jobs = BTreeMap<GroupId, (u64, u64, u32, u64)>;

impl Keeper {
    /// Takes in a survey's memory and pressure; tells what it says of each job.
    pub(super) fn note(&mut self, survey: &Survey) -> Jobs {
        if let Some((at, pressure)) = self.last {
            let span = real(survey.at.since(at).0.max(1));
            let share = |now: Span, then: Span| real(now.0.saturating_sub(then.0)) / span;
            self.now = State {
                at: survey.at,
                memory: survey.memory,
                stall: share(survey.pressure.memory, pressure.memory),
                processor: share(survey.pressure.cpu, pressure.cpu),
            };
        }
        self.last = Some((survey.at, survey.pressure));
        let mut jobs = Jobs::new();
        for process in &survey.processes {
            let (ran, resident, processes, youngest) = jobs.entry(process.group).or_default();
            *ran += process.cpu.0.saturating_add(process.children_cpu.0);
            *resident += process.resident;
            *processes += 1;
            *youngest = (*youngest).max(process.start);
        }
        jobs
    }

    /// Takes in who of them sleeps, and who may be touched.
    pub(super) fn judge(&mut self, jobs: &Jobs, situation: &Situation) {
        let at = self.now.at;
        let old = core::mem::take(&mut self.asleep);
        for (id, (ran, resident, processes, youngest)) in jobs {
            let print = Print {
                ran: *ran,
                processes: *processes,
                youngest: *youngest,
            };
            let group = situation.groups.get(id);
            let open = group.is_some_and(|it| {
                it.touchable && !it.foreground && it.in_front.is_none() && !it.named
            });
            let before = old.get(id).filter(|sleep| sleep.print == print);
            let sleep = Sleep {
                since: before.map_or(at, |sleep| sleep.since),
                print,
                resident: *resident,
                open,
                done: before.and_then(|sleep| sleep.done),
            };
            self.asleep.insert(*id, sleep);
        }
    }

    /// What would be done now, and to whom: the largest that sleeps, the cheaper action first where both would do.
    #[must_use]
    pub fn wish(&self, may: impl Fn(Action) -> bool) -> Option<(Action, GroupId)> {
        if self.asked.is_some() || self.now.at < self.rest_until {
            return None;
        }
        let mut ways = [Action::ColdMemory, Action::PageOut].into_iter();
        ways.find_map(|action| {
            let job = may(action).then(|| self.sleeper(action)).flatten()?;
            Some((action, job))
        })
    }

    fn sleeper(&self, action: Action) -> Option<GroupId> {
        let State {
            memory,
            stall,
            processor,
            at,
        } = self.now;
        let (fits, asleep) = match action {
            Action::ColdMemory => {
                let short = memory.available < SHORT || stall >= STALL_COLD;
                (short && memory.swap != Swap::None, COLD_ASLEEP)
            }
            Action::PageOut => {
                let compressed = memory.swap == Swap::Compressed;
                let fits = compressed && stall >= STALL_PAGE_OUT && processor < CALM;
                (fits, PAGE_OUT_ASLEEP)
            }
            _ => return None,
        };
        let due = |sleep: &Sleep| {
            let again = sleep.done.is_none_or(|done| done < action);
            sleep.open && again && sleep.resident >= RESIDENT_MIN && at.since(sleep.since) >= asleep
        };
        let ready = self.asleep.iter().filter(|(_, sleep)| due(sleep));
        let largest = ready.max_by_key(|(id, sleep)| (sleep.resident, **id));
        fits.then(|| largest.map(|(id, _)| *id)).flatten()
    }

    /// It was asked of the host.
    pub(super) fn ask(&mut self, now: Instant, change: ChangeId, action: Action, job: GroupId) {
        self.asked = Some((change, action, job, now));
        self.rest_until = now.after(REST);
    }

    /// Takes the host's answer, if it is one to this. `bytes` is what the kernel took the advice for.
    pub(super) fn on_receipt(&mut self, change: ChangeId, bytes: u64) -> Option<Action> {
        let (_, action, job, _) = self.asked.filter(|(asked, ..)| *asked == change)?;
        self.asked = None;
        if bytes > 0 {
            self.taken.0 = self.taken.0.saturating_add(1);
            self.taken.1 = self.taken.1.saturating_add(bytes);
        }
        // What was paged out is gone from memory, so that the next step takes the rest. What was made cold is still
        // there: the same advice again would be for nothing.
        let rest = action == Action::PageOut && Some(bytes) == action.bytes_max();
        if let Some(sleep) = self.asleep.get_mut(&job).filter(|_| !rest) {
            sleep.done = Some(action);
        }
        Some(action)
    }

    /// Gives up what nobody answered.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.asked = self.asked.filter(|(.., at)| now.since(*at) < RECEIPT_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::facts::{Process, Tuners};
    use crate::machine::observe::Group;

    const SLEEPER: GroupId = GroupId {
        session: 5,
        group: 5,
    };

    struct Case {
        available: u16,
        swap: Swap,
        stall: f64,
        processor: f64,
        touchable: bool,
        foreground: bool,
        runs: bool,
    }

    const SHORT_OF_MEMORY: Case = Case {
        available: 100,
        swap: Swap::Compressed,
        stall: 0.0,
        processor: 0.0,
        touchable: true,
        foreground: false,
        runs: false,
    };

    /// A machine on which one job sleeps for so many minutes, looked at every minute.
    fn after(minutes: u64, case: &Case) -> Keeper {
        let mut keeper = Keeper::default();
        for minute in 0..=minutes {
            let share = |share: f64| {
                let us = real(minute) * 60e6 * share;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "hours"
                )]
                Span(us as u64)
            };
            let survey = Survey {
                at: Instant(minute * 60_000_000 + 1),
                memory: Memory {
                    available: Permille(case.available),
                    swap: case.swap,
                },
                pressure: Pressure {
                    cpu: share(case.processor),
                    memory: share(case.stall),
                    ..Pressure::default()
                },
                cgroups: BTreeMap::default(),
                tuners: Tuners::default(),
                own: Span::default(),
                processes: alloc::vec![Process {
                    pid: 5,
                    group: SLEEPER,
                    resident: 500 << 20,
                    cpu: Span(if case.runs { minute * 10_000 } else { 0 }),
                    ..Process::default()
                }],
            };
            let mut group = Group::default();
            group.touchable = case.touchable;
            group.foreground = case.foreground;
            let situation = Situation {
                groups: BTreeMap::from([(SLEEPER, group)]),
                ..Situation::default()
            };
            let jobs = keeper.note(&survey);
            keeper.judge(&jobs, &situation);
        }
        keeper
    }

    fn wish(minutes: u64, case: &Case) -> Option<Action> {
        after(minutes, case)
            .wish(|_| true)
            .map(|(action, _)| action)
    }

    #[test]
    fn a_job_that_sleeps_five_minutes_goes_first_when_memory_is_short() {
        assert_eq!(wish(4, &SHORT_OF_MEMORY), None);
        assert_eq!(wish(7, &SHORT_OF_MEMORY), Some(Action::ColdMemory));
        let stalls = Case {
            available: 900,
            stall: 0.06,
            swap: Swap::Disk,
            ..SHORT_OF_MEMORY
        };
        assert_eq!(wish(7, &stalls), Some(Action::ColdMemory));
    }

    #[test]
    fn nothing_is_asked_where_it_could_not_help_or_is_not_ours() {
        let cases = [
            Case {
                available: 900,
                ..SHORT_OF_MEMORY
            },
            Case {
                swap: Swap::None,
                ..SHORT_OF_MEMORY
            },
            Case {
                touchable: false,
                ..SHORT_OF_MEMORY
            },
            Case {
                foreground: true,
                ..SHORT_OF_MEMORY
            },
            Case {
                runs: true,
                ..SHORT_OF_MEMORY
            },
        ];
        for (nth, case) in cases.iter().enumerate() {
            assert_eq!(wish(60, case), None, "case {nth}");
        }
    }

    #[test]
    fn paging_out_takes_half_an_hour_of_sleep_real_stalls_compressed_swap_and_an_idle_processor() {
        let paging = |case: &Case, minutes| {
            let only = |action: Action| action == Action::PageOut;
            after(minutes, case).wish(only).is_some()
        };
        let stalls = Case {
            stall: 0.12,
            ..SHORT_OF_MEMORY
        };
        assert!(!paging(&stalls, 20) && paging(&stalls, 32));
        assert!(!paging(&SHORT_OF_MEMORY, 60));
        let disk = Case {
            swap: Swap::Disk,
            ..stalls
        };
        let busy = Case {
            processor: 0.5,
            stall: 0.12,
            ..SHORT_OF_MEMORY
        };
        assert!(!paging(&disk, 60) && !paging(&busy, 60));
    }

    #[test]
    fn a_job_is_asked_once_and_not_before_the_rest_is_over() {
        let mut keeper = after(7, &SHORT_OF_MEMORY);
        let (action, job) = keeper.wish(|_| true).expect("a wish");
        let now = keeper.now.at;
        keeper.ask(now, ChangeId(3), action, job);
        assert_eq!(keeper.wish(|_| true), None, "one at a time");
        assert_eq!(keeper.on_receipt(ChangeId(4), 9), None, "another's receipt");
        assert_eq!(keeper.on_receipt(ChangeId(3), 9), Some(action));
        assert_eq!(keeper.taken, (1, 9));
        keeper.now.at = now.after(REST);
        assert_eq!(keeper.wish(|_| true), None, "it was told already");
    }
}
