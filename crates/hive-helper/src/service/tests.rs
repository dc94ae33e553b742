//! What a daemon asks, honest and hostile, and what the machine is like afterwards; on a kernel of paper.

use std::collections::BTreeMap;
use std::fs::File;

use super::*;
use crate::paper::Paper;

const UID: u32 = 1_000;

const SERVED: Served = Served {
    uid: UID,
    helper: 77,
};

const AT: Duration = Duration::from_secs(100);

struct World {
    service: Service<Paper>,
    lease: Lease,
    file: File,
}

impl World {
    /// Two processes of the served user, the second with two threads.
    fn new() -> Self {
        let mut paper = Paper {
            now: 50,
            ..Paper::default()
        };
        paper.add(10, 10, 5, UID);
        paper.add(20, 20, 6, UID);
        paper.add(20, 21, 7, UID);
        Self::of(paper, tempfile::tempfile().expect("a file"))
    }

    fn of(paper: Paper, file: File) -> Self {
        let notes = Notes::open(file.try_clone().expect("again"), "boot").expect("opened");
        let mut service = Service::open(paper, SERVED, notes, AT);
        let lease = service.connect(AT).expect("the first");
        Self {
            service,
            lease,
            file,
        }
    }

    fn ask(&mut self, verb: Verb) -> Answer {
        let bytes = Request { number: 3, verb }.encode();
        let (number, answer) = self.service.request(self.lease, AT, &bytes);
        assert_eq!(number, 3);
        answer
    }

    fn set(&mut self, tid: u32, knob: Knob, value: i64) -> Answer {
        let thread = self.thread(tid);
        self.ask(Verb::Set {
            knob,
            thread,
            value,
        })
    }

    fn restore(&mut self, tid: u32, knob: Knob) -> Answer {
        let thread = self.thread(tid);
        self.ask(Verb::Restore { knob, thread })
    }

    fn thread(&mut self, tid: u32) -> Thread {
        self.paper().lines[&tid].thread
    }

    fn paper(&mut self) -> &mut Paper {
        self.service.kernel()
    }

    fn nice(&mut self, tid: u32) -> i64 {
        *self.paper().at(tid, Knob::Nice)
    }

    /// The helper is killed; another one starts on its file.
    fn killed(mut self) -> Self {
        let paper = self.paper().clone();
        Self::of(paper, self.file)
    }
}

#[test]
fn what_was_set_is_put_back_when_asked_and_only_then_can_be_set_again() {
    let mut world = World::new();
    assert_eq!(world.set(21, Knob::Nice, 11), Answer::Done(0));
    assert_eq!((world.nice(21), world.nice(20)), (11, 0));
    assert_eq!(world.set(21, Knob::Nice, 11), Answer::Done(0));
    assert_eq!(world.set(21, Knob::Nice, 12), No::SetAlready.into());
    assert_eq!(world.restore(21, Knob::Nice), Answer::Done(0));
    assert_eq!(world.restore(21, Knob::Nice), No::NotOurs.into());
    assert_eq!(world.set(21, Knob::Nice, 12), Answer::Done(0));
    assert_eq!(world.ask(Verb::Settle), Answer::Done(0));
    assert_eq!((world.nice(21), world.service.held()), (0, 0));
}

#[test]
fn what_another_connection_keeps_on_is_not_said_to_be_done() {
    let mut world = World::new();
    let first = world.lease;
    let second = world.service.connect(AT).expect("there is room");
    assert_eq!(world.set(10, Knob::Nice, 11), Answer::Done(0));
    world.lease = second;
    assert_eq!(world.set(10, Knob::Nice, 11), No::SetAlready.into());
    assert_eq!(world.ask(Verb::Renew), Answer::Done(0));
    world.service.hang_up(first, AT);
    assert_eq!(world.nice(10), 0);
    assert_eq!(world.set(10, Knob::Nice, 11), Answer::Done(0));
    assert_eq!(world.ask(Verb::Renew), Answer::Done(1));
}

#[test]
fn what_could_not_be_put_back_for_a_lease_that_ended_is_the_next_ones_who_wants_it() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.paper().is_stubborn = true;
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    world.lease = world.service.connect(AT).expect("there is room");
    world.paper().is_stubborn = false;
    assert_eq!(world.set(10, Knob::Nice, 11), Answer::Done(0));
    assert_eq!(world.ask(Verb::Renew), Answer::Done(1));
    world.service.tick(AT + AGAIN);
    assert_eq!(world.nice(10), 11, "it is somebody's again");
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    assert_eq!(world.nice(10), 0);
}

#[test]
fn what_nobody_set_here_is_not_put_back() {
    let mut world = World::new();
    *world.paper().at(10, Knob::Nice) = 11;
    assert_eq!(world.restore(10, Knob::Nice), No::NotOurs.into());
    // Nor what was born before one got the same value here.
    assert_eq!(world.set(20, Knob::Nice, 11), Answer::Done(0));
    assert_eq!(world.restore(10, Knob::Nice), No::NotOurs.into());
    assert_eq!(world.nice(10), 11);
}

#[test]
fn an_heir_gets_what_gives_least_and_only_from_exactly_our_value() {
    let mut world = World::new();
    *world.paper().at(20, Knob::Nice) = 4;
    world.set(10, Knob::Nice, 11);
    world.set(20, Knob::Nice, 11);
    world.paper().add(30, 30, 60, UID);
    *world.paper().at(30, Knob::Nice) = 12;
    assert_eq!(world.restore(30, Knob::Nice), No::NotOurs.into());
    *world.paper().at(30, Knob::Nice) = 11;
    assert_eq!(world.restore(30, Knob::Nice), Answer::Done(4));
    assert_eq!(world.nice(30), 4);
}

#[test]
fn heirs_can_be_named_until_the_daemon_says_that_all_is_back() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.restore(10, Knob::Nice);
    for tid in [30, 31] {
        world.paper().add(tid, tid, 60, UID);
        *world.paper().at(tid, Knob::Nice) = 11;
    }
    assert_eq!(world.restore(30, Knob::Nice), Answer::Done(0));
    world.ask(Verb::Settle);
    assert_eq!(world.restore(31, Knob::Nice), No::NotOurs.into());
}

#[test]
fn what_a_person_changed_meanwhile_is_left_alone_for_good() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    *world.paper().at(10, Knob::Nice) = 5;
    assert_eq!(world.restore(10, Knob::Nice), No::ByHand.into());
    assert_eq!(world.set(10, Knob::Nice, 11), No::ByHand.into());
    // Not even when it happens to be our number again.
    *world.paper().at(10, Knob::Nice) = 11;
    assert_eq!(world.restore(10, Knob::Nice), No::ByHand.into());
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    assert_eq!(world.nice(10), 11);
}

#[test]
fn a_daemon_that_is_killed_leaves_nothing_on_not_even_what_was_forked() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.set(20, Knob::Nice, 11);
    world.set(20, Knob::Policy, 5);
    for (tid, nice, policy) in [(30, 11, 0), (31, 11, 5), (32, 0, 5)] {
        world.paper().add(tid, tid, 60, UID);
        *world.paper().at(tid, Knob::Nice) = nice;
        *world.paper().at(tid, Knob::Policy) = policy;
    }
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    assert_eq!((world.nice(10), world.nice(30), world.nice(31)), (0, 0, 0));
    assert_eq!(*world.paper().at(20, Knob::Policy), 0);
    assert_eq!(*world.paper().at(31, Knob::Policy), 0);
    // It does not carry our mark: whoever started it wanted it so.
    assert_eq!(*world.paper().at(32, Knob::Policy), 5);
    // The mark went last, on every thread.
    let deeds = world.paper().deeds.clone();
    for tid in [20, 31] {
        let back = deeds.iter().filter(|deed| deed.0.tid == tid).rev().take(2);
        let knobs: Vec<Knob> = back.map(|deed| deed.1).collect();
        assert_eq!(knobs, [Knob::Nice, Knob::Policy], "{tid}");
    }
    assert_eq!(world.service.held(), 0);
}

#[test]
fn a_daemon_that_hangs_loses_its_lease_after_30_seconds_and_not_before() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    let end = world.service.deadline().expect("something is on");
    assert_eq!(end, AT + Duration::from_secs(30));
    world
        .service
        .tick(end.checked_sub(Duration::from_nanos(1)).expect("later"));
    assert_eq!(world.nice(10), 11);
    world.service.tick(end);
    assert_eq!(world.nice(10), 0);
    // Its heartbeat then tells it, or that it was hung up on.
    let lease = world.lease;
    assert!(world.service.has_ended(lease, end));
    assert_eq!(world.ask(Verb::Renew), Answer::Done(0));
    world.service.hang_up(lease, end);
    assert_eq!(world.service.deadline(), None);
}

#[test]
fn who_says_nothing_keeps_no_place() {
    let mut world = World::new();
    let others = [(); LEASES - 1].map(|()| world.service.connect(AT).expect("a place"));
    assert_eq!(world.service.connect(AT), None);
    let end = world.service.deadline().expect("though nothing is on");
    assert_eq!(end, AT + LEASE);
    world.service.tick(end);
    for lease in others {
        assert!(world.service.has_ended(lease, end));
        world.service.hang_up(lease, end);
    }
    assert!(world.service.connect(end).is_some());
}

#[test]
fn a_heartbeat_keeps_what_is_on() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    let bytes = Request {
        number: 1,
        verb: Verb::Renew,
    };
    let later = AT + Duration::from_secs(29);
    let (_, held) = world.service.request(world.lease, later, &bytes.encode());
    assert_eq!(held, Answer::Done(1));
    world.service.tick(AT + LEASE);
    assert_eq!(world.nice(10), 11);
    world.service.tick(later + LEASE);
    assert_eq!(world.nice(10), 0);
}

#[test]
fn nonsense_is_no_heartbeat() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    let later = AT + Duration::from_secs(29);
    let (_, answer) = world
        .service
        .request(world.lease, later, &[9; REQUEST_BYTES]);
    assert_eq!(answer, No::Version.into());
    world.service.tick(AT + LEASE);
    assert_eq!(world.nice(10), 0);
}

#[test]
fn a_killed_helper_is_outlived_by_its_notes() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.set(21, Knob::IoPriority, 3 << 13);
    world.paper().add(30, 30, 60, UID);
    *world.paper().at(30, Knob::Nice) = 11;
    let mut world = world.killed();
    assert_eq!((world.nice(10), world.nice(30)), (0, 0));
    assert_eq!(*world.paper().at(21, Knob::IoPriority), 0);
    assert_eq!(world.service.held(), 0);
}

#[test]
fn a_helper_killed_between_note_and_deed_or_deed_and_word_puts_the_same_back() {
    for is_done in [false, true] {
        let mut world = World::new();
        let thread = world.thread(10);
        let note = Note {
            knob: Knob::Nice,
            thread,
            old: 0,
            new: 11,
            since: 50,
            state: State::On,
        };
        world.service.notes.write(0, note).expect("written");
        if is_done {
            *world.paper().at(10, Knob::Nice) = 11;
        }
        let mut world = world.killed();
        assert_eq!((world.nice(10), world.service.held()), (0, 0));
    }
}

#[test]
fn a_number_that_went_to_another_process_is_not_touched() {
    for (start, life) in [(6, 6), (5, 6)] {
        let mut world = World::new();
        world.set(10, Knob::Nice, 11);
        let asked = world.thread(10);
        // It ends; another one gets its number, be it within the same tick, and a nice of 11 by hand.
        world.paper().add(10, 10, start, UID);
        world.paper().lines.get_mut(&10).expect("added").life = life;
        *world.paper().at(10, Knob::Nice) = 11;
        let restore = Verb::Restore {
            knob: Knob::Nice,
            thread: asked,
        };
        assert_eq!(world.ask(restore), No::Gone.into());
        let lease = world.lease;
        world.service.hang_up(lease, AT);
        assert_eq!(world.nice(10), 11, "start {start}, life {life}");
    }
}

#[test]
fn a_request_about_another_start_or_process_is_about_nobody() {
    let mut world = World::new();
    let thread = world.thread(10);
    for thread in [
        Thread { start: 4, ..thread },
        Thread { pid: 20, ..thread },
        Thread { tid: 21, ..thread },
        Thread { pid: 99, ..thread },
    ] {
        let set = Verb::Set {
            knob: Knob::Nice,
            thread,
            value: 11,
        };
        assert_eq!(world.ask(set), No::Gone.into());
    }
    assert!(world.paper().deeds.is_empty());
}

#[test]
fn what_the_kernel_does_not_let_us_put_back_is_tried_again() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.paper().is_stubborn = true;
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    let again = world.service.deadline().expect("not over");
    world.paper().is_stubborn = false;
    world.service.tick(again);
    assert_eq!((world.nice(10), world.service.held()), (0, 0));
}

#[test]
fn an_heir_that_the_kernel_keeps_is_not_forgotten() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.paper().add(30, 30, 60, UID);
    *world.paper().at(30, Knob::Nice) = 11;
    world.paper().stubborn = Some(30);
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    assert_eq!((world.nice(10), world.nice(30)), (0, 11));
    let again = world.service.deadline().expect("not over");
    world.paper().stubborn = None;
    world.service.tick(again);
    assert_eq!((world.nice(30), world.service.held()), (0, 0));
}

#[test]
fn who_became_another_user_meanwhile_is_not_put_back() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.paper().lines.get_mut(&10).expect("there").uids = [0; 3];
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    assert_eq!((world.nice(10), world.service.held()), (11, 0));
}

#[test]
fn a_daemon_cannot_have_anothers_thread_put_back_noted_or_heir() {
    let mut world = World::new();
    world.set(10, Knob::Nice, 11);
    world.paper().add(30, 30, 60, 0);
    *world.paper().at(30, Knob::Nice) = 11;
    world.paper().lines.get_mut(&10).expect("there").uids = [UID, 0, 0];
    for tid in [10, 30] {
        assert_eq!(world.restore(tid, Knob::Nice), No::NotYours.into());
        assert_eq!(world.nice(tid), 11);
    }
}

#[test]
fn a_slice_comes_back_although_its_thread_went_to_idle_after_it() {
    let mut world = World::new();
    world.set(10, Knob::Slice, 100_000);
    world.set(10, Knob::Policy, 5);
    // By itself it cannot: it stays noted as on.
    let no = Answer::Failed(Errno::INVAL.raw_os_error());
    assert_eq!(world.restore(10, Knob::Slice), no);
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    assert_eq!(*world.paper().at(10, Knob::Policy), 0);
    assert_eq!(*world.paper().at(10, Knob::Slice), 2_800_000);
    assert_eq!(world.service.held(), 0);
}

#[test]
fn a_full_table_refuses_and_changes_nothing() {
    let mut world = World::new();
    for tid in 100..100 + u32::try_from(NOTES_MAX).expect("small") {
        world.paper().add(tid, tid, 5, UID);
        assert_eq!(world.set(tid, Knob::Nice, 11), Answer::Done(0));
    }
    assert_eq!(world.set(10, Knob::Nice, 11), No::Full.into());
    assert_eq!(world.nice(10), 0);
    world.ask(Verb::Settle);
    assert_eq!((world.nice(100), world.service.held()), (0, 0));
}

/// A multiplier and a seed of their own: the same requests in every run (Knuth's MMIX constants).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 17
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.next()).unwrap_or(0) % all.len()]
    }
}

/// Somebody else's threads, protected ones, and of the served user in different states.
fn crowd() -> Paper {
    let mut paper = Paper {
        now: 50,
        ..Paper::default()
    };
    for tid in [10, 11, 12, 13, 77, 1] {
        paper.add(tid, tid, 5, UID);
    }
    for (tid, knob, value) in [
        (11, Knob::Nice, 7),
        (12, Knob::Policy, 3),
        (13, Knob::Nice, -5),
    ] {
        *paper.at(tid, knob) = value;
    }
    paper.add(14, 14, 5, UID);
    *paper.at(14, Knob::Policy) = 1;
    paper.add(15, 15, 5, UID);
    paper.lines.get_mut(&15).expect("added").kernel = true;
    paper.add(16, 16, 5, 0);
    paper.add(17, 17, 5, UID);
    paper.lines.get_mut(&17).expect("added").uids = [UID, 0, 0];
    paper
}

/// Values that a hostile daemon asks for.
const VALUES: [i64; 25] = [
    -20,
    -5,
    -1,
    0,
    1,
    2,
    3,
    5,
    7,
    11,
    19,
    20,
    40,
    50_000,
    100_000,
    3_000_000,
    20_000_000,
    50_000_000,
    1 << 13,
    2 << 13,
    2 << 13 | 4,
    2 << 13 | 7,
    3 << 13,
    i64::MAX,
    i64::MIN,
];

#[test]
fn a_hundred_thousand_hostile_requests_do_nothing_that_is_not_allowed() {
    let born = crowd();
    let first: BTreeMap<u32, [i64; 5]> = born
        .lines
        .iter()
        .map(|(tid, line)| (*tid, line.values))
        .collect();
    let threads: Vec<Thread> = born.lines.values().map(|line| line.thread).collect();
    let mut world = World::of(born, tempfile::tempfile().expect("a file"));
    let mut chance = Chance(7);
    for _ in 0..100_000 {
        let thread = chance.of(&threads);
        let knob = chance.of(&Knob::ALL);
        let value = chance.of(&VALUES);
        let verb = match chance.next() % 16 {
            0 => Verb::Renew,
            1 => Verb::Settle,
            2 => Verb::Advise {
                advice: Advice::PageOut,
                thread,
                bytes: value,
            },
            3..8 => Verb::Restore { knob, thread },
            _ => Verb::Set {
                knob,
                thread,
                value,
            },
        };
        let mut bytes = Request { number: 3, verb }.encode();
        if chance.next().is_multiple_of(8) {
            let at = usize::try_from(chance.next()).unwrap_or(0) % REQUEST_BYTES;
            bytes[at] ^= 1 << (chance.next() % 8);
        }
        let lease = world.lease;
        world.service.request(lease, AT, &bytes);
    }
    let paper = world.paper();
    let allowed = |tid: u32| (10..=12).contains(&tid);
    let sets = paper.deeds.len();
    assert!(sets > 1_000, "{sets} deeds: nothing was tried");
    for (thread, knob, was, is) in &paper.deeds {
        assert!(allowed(thread.tid), "{thread:?} {knob:?} {was} {is}");
        let at_first = first[&thread.tid][*knob as usize - 1];
        let is_back = *is == at_first;
        let is_lower = match knob {
            Knob::Nice => at_first >= 0 && *is > at_first && *is <= 19,
            Knob::Policy => (*is == 3 || *is == 5) && *is > at_first,
            Knob::Slice => (100_000..=20_000_000).contains(is),
            // Without a class a nice of 0 to 4 is level 4, one of 7 is level 5.
            Knob::IoPriority => {
                let least = BTreeMap::from([(11, 16_390)]);
                let least = least.get(&thread.tid).copied().unwrap_or(16_389);
                (least..=16_391).contains(is) || *is == 24_576
            }
            Knob::TimerSlack => (50_000..=50_000_000).contains(is) && *is > at_first,
        };
        assert!(is_back || is_lower, "{thread:?} {knob:?} {was} {is}");
    }
    assert!(paper.advised.iter().all(|(pid, _)| allowed(*pid)));
    let lease = world.lease;
    world.service.hang_up(lease, AT);
    for (tid, line) in &world.paper().lines {
        assert_eq!(line.values, first[tid], "{tid}");
    }
}
