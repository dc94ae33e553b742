//! One story for each rule: each fails when its rule is taken out.

use super::*;

const UID: u32 = 1_000;

const SERVED: Served = Served {
    uid: UID,
    helper: 77,
};

fn thread(pid: u32) -> Thread {
    Thread {
        pid,
        tid: pid,
        start: 5,
    }
}

fn sight() -> Sight {
    Sight {
        uids: [UID; 3],
        kernel: false,
        policy: 0,
        nice: 0,
    }
}

#[test]
fn an_ordinary_thread_of_the_served_user_may_be_touched() {
    for policy in [0, 3, 5] {
        let sight = Sight { policy, ..sight() };
        assert_eq!(target(SERVED, thread(9), &sight), Ok(()));
    }
}

#[test]
fn nobody_elses_program_is_touched_nor_one_with_borrowed_rights() {
    for place in 0..3 {
        for other in [0, UID + 1] {
            let mut uids = [UID; 3];
            uids[place] = other;
            let sight = Sight { uids, ..sight() };
            assert_eq!(target(SERVED, thread(9), &sight), Err(No::NotYours));
        }
    }
}

#[test]
fn the_first_process_the_helper_and_the_kernel_are_not_touched() {
    assert_eq!(target(SERVED, thread(1), &sight()), Err(No::Init));
    assert_eq!(target(SERVED, thread(77), &sight()), Err(No::Helper));
    let kernel = Sight {
        kernel: true,
        ..sight()
    };
    assert_eq!(target(SERVED, thread(9), &kernel), Err(No::Kernel));
}

#[test]
fn what_runs_in_real_time_or_by_deadline_is_not_touched() {
    for policy in [1, 2, 4, 6, 7, 99] {
        let sight = Sight { policy, ..sight() };
        assert_eq!(target(SERVED, thread(9), &sight), Err(No::NotFair));
    }
}

#[test]
fn what_somebody_gave_more_than_the_default_is_not_touched_at_all() {
    let favoured = Sight {
        nice: -1,
        ..sight()
    };
    assert_eq!(target(SERVED, thread(9), &favoured), Err(No::Privileged));
}

#[test]
fn nice_only_rises_and_stays_within_0_to_19() {
    let nice = |now, wanted| value(Knob::Nice, now, wanted, 0);
    assert_eq!(nice(0, 11), Ok(()));
    assert_eq!(nice(18, 19), Ok(()));
    for wanted in [-20, -1, 20, 40, i64::MAX, i64::MIN] {
        assert_eq!(nice(0, wanted), Err(No::OutOfBounds), "{wanted}");
    }
    for (now, wanted) in [(5, 5), (5, 4), (19, 0), (1, 0)] {
        assert_eq!(nice(now, wanted), Err(No::NotLess), "{now} {wanted}");
    }
    // Putting it back would ask for a negative nice.
    assert_eq!(nice(-5, 11), Err(No::OutOfBounds));
}

#[test]
fn a_policy_only_sinks_to_batch_and_idle() {
    let policy = |now, wanted| value(Knob::Policy, now, wanted, 0);
    for (now, wanted) in [(0, 3), (0, 5), (3, 5)] {
        assert_eq!(policy(now, wanted), Ok(()));
    }
    for (now, wanted) in [(5, 3), (3, 3), (5, 5)] {
        assert_eq!(policy(now, wanted), Err(No::NotLess), "{now} {wanted}");
    }
    for wanted in [0, 1, 2, 4, 6, 7, -1, 0x4000_0005] {
        assert_eq!(policy(0, wanted), Err(No::OutOfBounds), "{wanted}");
    }
}

#[test]
fn a_slice_is_between_a_tenth_and_20_milliseconds() {
    let slice = |wanted| value(Knob::Slice, 2_800_000, wanted, 0);
    assert_eq!(slice(100_000), Ok(()));
    assert_eq!(slice(20_000_000), Ok(()));
    for wanted in [0, 99_999, 20_000_001, -1] {
        assert_eq!(slice(wanted), Err(No::OutOfBounds), "{wanted}");
    }
    assert_eq!(slice(2_800_000), Err(No::NotLess));
}

#[test]
fn input_and_output_only_sink_to_best_effort_4_to_7_and_idle() {
    let io = |now, wanted, nice| value(Knob::IoPriority, now, wanted, nice);
    let (class, idle) = (2 << 13, 3 << 13);
    for level in 4..=7 {
        assert_eq!(io(class, class | level, 0), Ok(()));
    }
    assert_eq!(io(class | 7, idle, 0), Ok(()));
    for wanted in [
        0,
        class,
        class | 3,
        class | 8,
        1 << 13,
        1 << 13 | 4,
        idle | 1,
        -1,
    ] {
        assert_eq!(io(class, wanted, 0), Err(No::OutOfBounds), "{wanted}");
    }
    assert_eq!(io(idle, class | 4, 0), Err(No::NotLess));
    assert_eq!(io(class | 5, class | 5, 0), Err(No::NotLess));
    // Without a class the kernel goes by nice: at nice 0 that is level 4, at nice 19 it is 7.
    assert_eq!(io(0, class | 4, 0), Err(No::NotLess));
    assert_eq!(io(0, class | 5, 0), Ok(()));
    assert_eq!(io(0, class | 7, 19), Err(No::NotLess));
    assert_eq!(io(1 << 13, idle, 0), Err(No::Privileged));
}

#[test]
fn timer_slack_only_grows_and_ends_at_50_milliseconds() {
    let slack = |now, wanted| value(Knob::TimerSlack, now, wanted, 0);
    assert_eq!(slack(50_000, 50_000_000), Ok(()));
    for wanted in [0, 49_999, 50_000_001, -1] {
        assert_eq!(slack(50_000, wanted), Err(No::OutOfBounds), "{wanted}");
    }
    assert_eq!(slack(5_000_000, 5_000_000), Err(No::NotLess));
    assert_eq!(slack(5_000_000, 60_000), Err(No::NotLess));
}

#[test]
fn memory_is_advised_on_by_process_and_within_bounds() {
    assert_eq!(advice(thread(9), 1), Ok(()));
    assert_eq!(advice(thread(9), ADVISED_MAX), Ok(()));
    for bytes in [0, -1, ADVISED_MAX + 1] {
        assert_eq!(advice(thread(9), bytes), Err(No::OutOfBounds));
    }
    let second = Thread {
        tid: 10,
        ..thread(9)
    };
    assert_eq!(advice(second, 1), Err(No::Gone));
}

#[test]
fn an_old_io_priority_without_a_class_is_written_as_none() {
    assert_eq!(as_before(Knob::IoPriority, 4), 0);
    assert_eq!(as_before(Knob::IoPriority, 2 << 13 | 4), 2 << 13 | 4);
    assert_eq!(as_before(Knob::Nice, 4), 4);
}
