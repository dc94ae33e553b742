//! The evidence asked for, its order, and what becomes of the patterns that others had let in.

use alloc::vec::Vec;

use super::*;
use crate::id::WorkloadKey;
use crate::pattern::{Action, Binding, Context, Cores, PatternDef, WorkloadType};
use crate::time::{Instant, WallTime};

fn def(key: u8) -> PatternDef {
    PatternDef {
        action: Action::BackgroundNice,
        workload: WorkloadKey([key; 16]),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        },
    }
}

/// Begins a trial and lets these pairs prove it.
fn prove(ledger: &mut Ledger, key: u8, pairs: &[f64]) -> PatternId {
    let id = begin(ledger, key);
    let entry = ledger.get(id).expect("known");
    let asked = ledger.asked_of(entry);
    let entry = ledger.get_mut(id).expect("known");
    for ln in pairs {
        entry.trial.add(*ln);
    }
    assert!(
        evidence(&entry.trial) >= asked,
        "{} < {asked}",
        evidence(&entry.trial)
    );
    entry.conclude(Verdict::Helps, asked, WallTime(1));
    id
}

fn begin(ledger: &mut Ledger, key: u8) -> PatternId {
    let id = def(key).id();
    ledger.know(def(key), true, Instant(1));
    assert!(ledger.begin(id, PatternState::Trial));
    id
}

#[test]
fn the_shares_of_all_trials_add_up_to_no_more_than_one() {
    let sum: f64 = (1..=200_000).map(share).sum();
    // The rest is the integral from there on.
    let rest = libm::pow(200_000.0, 1.0 - SHARE_POWER) / (SHARE_POWER - 1.0) / SHARE_SUM;
    assert!(sum < 1.0 && sum + rest > 0.999_9, "{sum} {rest}");
}

#[test]
fn later_trials_are_asked_for_more_and_each_pattern_in_use_for_less() {
    assert_eq!(odds(asked(1, 1)), 63);
    assert!(asked(2, 1) > asked(1, 1) && asked(2, 2) < asked(2, 1));
    // What the other patterns in use take off is never more than they brought: nothing is asked for less than nothing.
    assert!(asked(1, 1_000).abs() < 1e-12);
}

#[test]
fn evidence_and_range_are_one_test_read_from_two_sides() {
    let mut stats = PairStats::default();
    for ln in [-0.5, -0.3, -0.8, -0.2, -0.6, -0.4, -0.7] {
        stats.add(ln);
        if let Some(range) = sequence::range(&stats, 0.02) {
            let at_the_end = sequence::log_bayes_factor(&stats, range.high);
            assert!((at_the_end - libm::log(50.0)).abs() < 1e-9, "{at_the_end}");
        }
    }
    assert!(evidence(&stats) > 0.0);
    let mut worse = PairStats::default();
    (0..9).for_each(|nth| worse.add(0.5 + 0.01 * f64::from(nth)));
    assert!(evidence(&worse) < f64::MIN);
}

#[test]
fn an_interrupted_trial_keeps_its_number_and_a_retest_gets_a_new_one() {
    let mut ledger = Ledger::default();
    let first = begin(&mut ledger, 1);
    let second = begin(&mut ledger, 2);
    assert!(!ledger.begin(first, PatternState::Trial));
    let number = |ledger: &Ledger, id| ledger.get(id).map(|entry| entry.asked.number);
    assert_eq!(
        (number(&ledger, first), number(&ledger, second)),
        (Some(1), Some(2))
    );
    let entry = ledger.get_mut(first).expect("known");
    entry.conclude(Verdict::NoEffect, 1.0, WallTime(1));
    assert!(ledger.begin(first, PatternState::Trial));
    assert_eq!(number(&ledger, first), Some(3));
}

#[test]
fn who_was_let_in_on_account_of_others_is_asked_for_more_when_these_are_withdrawn() {
    let mut ledger = Ledger::default();
    let strong = [-0.9, -1.0, -0.8, -0.9, -1.1, -0.9];
    let others: Vec<PatternId> = (1..=4)
        .map(|key| prove(&mut ledger, key, &strong))
        .collect();
    // Enough beside four others, and not alone.
    let pairs = [-0.3, -0.6, -0.25, -0.5, -0.2, -0.4, -0.35];
    let last = prove(&mut ledger, 5, &pairs);
    assert_eq!(ledger.lacking(), None);
    for other in &others[..2] {
        let entry = ledger.get_mut(*other).expect("known");
        entry.withdraw(Verdict::NoEffect, WallTime(1));
    }
    for other in &others[2..] {
        let entry = ledger.get_mut(*other).expect("known");
        entry.withdraw(Verdict::NoEffect, WallTime(1));
    }
    assert_eq!(ledger.lacking(), Some(last));
    // It goes on with its trial; a person's no for the day outlives that.
    let told = |undone: bool, wall: u64| {
        let mut entry = ledger.get(last).expect("known").clone();
        entry.backoff_until = WallTime(10);
        if undone {
            entry.state = PatternState::Undone;
        }
        entry.reopen(WallTime(wall));
        (entry.state, entry.is_in_use())
    };
    assert_eq!(told(false, 1), (PatternState::Trial, false));
    assert_eq!(told(true, 1), (PatternState::Undone, false));
    assert_eq!(told(true, 10), (PatternState::Trial, false));
    // Its hold-out pairs speak for it as well.
    let entry = ledger.get_mut(last).expect("known");
    (0..6).for_each(|nth| entry.add_holdout(-0.5 - 0.02 * f64::from(nth)));
    assert_eq!(ledger.lacking(), None);
}

#[test]
fn numbers_come_back_from_the_store_and_old_stores_are_counted_in_order() {
    let mut ledger = Ledger::default();
    let strong = [-0.9, -1.0, -0.8, -0.9, -1.1, -0.9];
    let ids: Vec<PatternId> = (1..=3)
        .map(|key| prove(&mut ledger, key, &strong))
        .collect();
    let mut records: Vec<Record> = ledger
        .in_order()
        .iter()
        .map(|(_, entry)| entry.record())
        .collect();
    let old = Ledger::restore(&records);
    let numbers = |ledger: &Ledger| -> Vec<u32> {
        let number = |id: &PatternId| ledger.get(*id).map_or(0, |entry| entry.asked.number);
        ids.iter().map(number).collect()
    };
    assert_eq!((numbers(&old), old.begun), (Vec::from([1, 2, 3]), 3));
    begin(&mut ledger, 9);
    records.extend(ledger.discovery_record());
    assert!(ledger.discovery_record().is_none(), "stored once");
    let new = Ledger::restore(&records);
    assert_eq!((numbers(&new), new.begun), (Vec::from([1, 2, 3]), 4));
    assert_eq!(new.get(ids[0]).map(|entry| entry.asked.odds), Some(63));
}
