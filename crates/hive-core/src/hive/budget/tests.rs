//! What waits, in which order, and why.

use alloc::vec;

use super::*;
use crate::hive::budget::share::DAY;
use crate::id::{NodeId, PatternId};
use crate::pattern::Evidence;
use crate::statement::{Admit, Mark, Role, StrategyCell};

fn strategy(n: u8) -> Statement {
    Statement::Strategy(PatternId([n; 16]), StrategyCell::default())
}

fn evidence(n: u8) -> Statement {
    Statement::Evidence(PatternId([n; 16]), Evidence::default())
}

fn mark(n: u8) -> Statement {
    Statement::Mark(PatternId([n; 16]), Mark::Paused)
}

fn admit() -> Statement {
    let node = NodeId([1; 32]);
    Statement::Admit(Admit {
        node,
        role: Role::Member,
        owner: node,
    })
}

/// What is said at a moment in a hive of so many.
fn say(waiting: &mut Waiting, allowance: &mut Allowance, members: usize, now: Instant) -> Taken {
    allowance.fill(members, 1, now);
    waiting.take(now, members, allowance, |_| true)
}

#[test]
fn an_empty_bucket_holds_back_everything_but_membership() {
    let mut allowance = Allowance::new(Instant(0));
    let mut waiting = Waiting::default();
    for n in 0..100 {
        waiting.push(mark(n));
    }
    let mut now = Instant(0);
    let said = say(&mut waiting, &mut allowance, 100, now);
    let count = said.batch.len();
    assert!(count > 5 && count < 100, "{count}");
    let again = said.again.expect("more waits for bytes");
    assert!(say(&mut waiting, &mut allowance, 100, now).batch.is_empty());
    waiting.push(admit());
    assert_eq!(say(&mut waiting, &mut allowance, 100, now).batch, [admit()]);
    // It was never dropped: all of it is said, as the bytes come.
    assert!(again > now);
    let mut left = 100 - count;
    for _ in 0..100 {
        now = now.after(Span(DAY.0 / 4));
        left -= say(&mut waiting, &mut allowance, 100, now).batch.len();
    }
    assert_eq!((left, waiting.len(), waiting.given_up()), (0, 0, 0));
}

#[test]
fn what_is_taken_back_is_paid_for() {
    let mut allowance = Allowance::new(Instant(0));
    let mut waiting = Waiting::default();
    allowance.fill(50, 1, Instant(0));
    let now = Instant(0);
    // A few in one batch; then the bucket is nearly empty, and the next waits for what one costs.
    let paid = waiting.pay_for_removals(now, 50, &mut allowance, 10_000);
    let paid = paid.expect("a full bucket pays for some");
    assert!((10..256).contains(&paid), "{paid}");
    let ready = waiting
        .pay_for_removals(now, 50, &mut allowance, 10_000)
        .expect_err("not at once");
    assert!(ready > now);
    waiting.push(mark(1));
    let said = say(&mut waiting, &mut allowance, 50, now);
    assert!(said.batch.is_empty(), "one purse pays for both");
    // By then the neighbours' addresses may be forgotten, which costs a little more.
    let mut now = ready;
    for _ in 0..3 {
        allowance.fill(50, 1, now);
        match waiting.pay_for_removals(now, 50, &mut allowance, 10_000) {
            Ok(paid) => {
                assert_eq!(paid, 1);
                break;
            }
            Err(ready) => now = ready.after(Span::from_secs(1)),
        }
    }
    assert!(
        waiting.said_at == Some(now),
        "it was paid in the end: {now:?}"
    );
    // The floor alone is a batch too; in a hive of one it is nobody's bytes, and is not asked for.
    allowance.fill(50, 1, Instant(10 * DAY.0));
    let paid = waiting.pay_for_removals(Instant(10 * DAY.0), 50, &mut allowance, 0);
    assert_eq!(paid, Ok(0));
}

#[test]
fn the_most_valuable_goes_first_and_the_older_before_the_younger() {
    let mut allowance = Allowance::new(Instant(0));
    let mut waiting = Waiting::default();
    for statement in [strategy(1), evidence(9), evidence(2), mark(3), admit()] {
        waiting.push(statement);
    }
    // What is said anew keeps its turn.
    waiting.push(evidence(9));
    let said = say(&mut waiting, &mut allowance, 5, Instant(0));
    let expected = vec![admit(), mark(3), evidence(9), evidence(2), strategy(1)];
    assert_eq!(said.batch, expected);
    assert_eq!(said.again, None);
}

#[test]
fn the_first_word_goes_at_once_and_its_followers_together() {
    let mut allowance = Allowance::new(Instant(0));
    let mut waiting = Waiting::default();
    let start = Instant(1_000_000);
    waiting.push(evidence(1));
    waiting.push(strategy(1));
    assert_eq!(say(&mut waiting, &mut allowance, 5, start).batch.len(), 2);
    waiting.push(evidence(2));
    waiting.push(strategy(2));
    let said = say(
        &mut waiting,
        &mut allowance,
        5,
        start.after(Span::from_ms(10)),
    );
    assert!(said.batch.is_empty());
    let again = said.again.expect("soon");
    assert_eq!(again, start.after(Span::from_ms(200)));
    // A person's wish waits for nothing.
    waiting.push(mark(3));
    let said = say(
        &mut waiting,
        &mut allowance,
        5,
        start.after(Span::from_ms(20)),
    );
    assert_eq!(said.batch, [mark(3)]);
    waiting.push(evidence(4));
    waiting.push(strategy(5));
    let later = start.after(Span::from_ms(300));
    let said = say(&mut waiting, &mut allowance, 5, later);
    // A counter goes with the evidence of its pattern.
    assert_eq!(said.batch, [evidence(2), evidence(4), strategy(2)]);
    // Counters by themselves take a quarter of an hour, and longer in a larger hive.
    assert_eq!(said.again, Some(start.after(Span::from_secs(900))));
    let said = say(
        &mut waiting,
        &mut allowance,
        5,
        start.after(Span::from_secs(900)),
    );
    assert_eq!(said.batch, [strategy(5)]);
}

#[test]
fn a_pattern_and_its_numbers_are_said_together_whatever_is_left() {
    let mut allowance = Allowance::new(Instant(0));
    let mut waiting = Waiting::default();
    let pattern = Statement::Pattern(crate::pattern::PatternDef {
        action: crate::pattern::Action::BackgroundNice,
        workload: crate::id::WorkloadKey([1; 16]),
        role: crate::pattern::WorkloadType::Interactive,
        context: crate::pattern::Context {
            binding: crate::pattern::Binding::Task,
            cores: crate::pattern::Cores::Many,
            eevdf_slices: false,
            background: crate::pattern::WorkloadType::Batch,
        },
    });
    let id = PatternId(pattern.key().id);
    waiting.push(pattern);
    waiting.push(Statement::Evidence(id, Evidence::default()));
    waiting.push(Statement::Strategy(id, StrategyCell::default()));
    waiting.push(evidence(9));
    // In the largest hive a bucket holds less than one batch.
    let said = say(&mut waiting, &mut allowance, 256, Instant(0)).batch;
    let kinds: Vec<u8> = said.iter().map(|it| it.key().kind).collect();
    assert_eq!(kinds, [Key::PATTERN, Key::EVIDENCE, Key::STRATEGY]);
    assert_eq!(waiting.len(), 1);
    assert!(allowance.is_overdrawn());
}

#[test]
fn counters_leave_bytes_for_what_is_worth_more() {
    let mut allowance = Allowance::new(Instant(0));
    allowance.fill(50, 1, Instant(0));
    let mut waiting = Waiting::default();
    for n in 0..200 {
        waiting.push(strategy(n));
    }
    let said = say(&mut waiting, &mut allowance, 50, Instant(0))
        .batch
        .len();
    assert!(said > 0 && said < 200);
    waiting.push(evidence(1));
    let later = Instant(0).after(Span::from_secs(1));
    let said = say(&mut waiting, &mut allowance, 50, later).batch;
    assert_eq!(said, [evidence(1)]);
    let view = waiting.view(later, 50, None, &allowance);
    assert_eq!(view.len(), 1);
    assert_eq!(view[0].kind, "counter");
    assert_eq!(view[0].count, waiting.len());
    assert!(view[0].ready_s.is_some_and(|wait| wait > 60), "{view:?}");
}

#[test]
fn a_day_of_saying_costs_no_more_than_a_day_of_the_share() {
    for members in [5, 50, 100] {
        let mut allowance = Allowance::new(Instant(0));
        let mut waiting = Waiting::default();
        let mut now = Instant(0);
        let mut days = [0, 0];
        let relayed = if members > 8 { share::RELAYED_BYTES } else { 0 };
        // A minute after the last one, the kernels ask each other again.
        let arp = share::arp_bytes_of_a_copy(members);
        let start = MESSAGE_BYTES + arp + DELTA_BYTES + relayed;
        // Nine days of new statements every minute; the first one begins with a full bucket. In a large hive a day has two
        // or three batches, so the others are looked at together.
        for minute in 0..9 * 1_440_u64 {
            now = now.after(Span::from_secs(60));
            let n = u8::try_from(minute % 250).expect("small");
            waiting.push(evidence(n));
            waiting.push(strategy(n));
            let said = say(&mut waiting, &mut allowance, members, now).batch;
            if !said.is_empty() {
                let mut named = BTreeSet::new();
                let entries = said.iter().map(|it| {
                    let first = named.insert(it.key().id);
                    length(it) + if first { ENTRY_BYTES } else { SAME_ID_BYTES }
                });
                let day = &mut days[usize::from(minute >= 1_440)];
                *day += start + entries.sum::<u64>();
            }
        }
        let share = share::author_bytes_per_day(members);
        let (first, second) = (days[0], days[1] / 8);
        assert!(first <= share, "{members}: {first} of {share}");
        assert!(first >= share * 55 / 100, "{members}: {first} of {share}");
        assert!(second <= share * 7 / 10, "{members}: {second} of {share}");
        assert!(second >= share * 35 / 100, "{members}: {second} of {share}");
    }
}
