//! Long lives made of chance: a third of the members lie in every way they know, forty strangers knock for each
//! member, disks rot and clocks are a year off; the honest ones go on agreeing and lose nothing.

use hive_sim::attacks::Attack;
use hive_sim::faults::Fault;
use hive_sim::scenario::{Cut, Scenario, file, run};
use hive_sim::stories::{Failure, Outcome};

fn scenario(name: &str) -> Scenario {
    let found = file::shipped().expect("the shipped file");
    let mut named = found.into_iter().filter(|it| it.name == name);
    named.next().expect("a scenario of this name")
}

/// Short enough for a debug build.
fn hours(hours: u64) -> Cut {
    Cut {
        hours: Some(hours),
        ..Cut::default()
    }
}

fn live_well(name: &str, seed: u64, cut: &Cut) -> Outcome {
    let outcome = run::live(&scenario(name), seed, cut);
    assert_eq!(outcome.failure, None, "{}", outcome.replay);
    outcome
}

#[test]
fn a_third_may_lie_and_strangers_may_knock() {
    let outcome = live_well("liars_third", 1, &hours(48));
    let lies = outcome.faults.of(Fault::Lie);
    assert!(lies > 50, "{lies}");
    for attack in [
        Attack::UnknownKey,
        Attack::GuessedProof,
        Attack::StolenSighting,
    ] {
        assert!(outcome.attacks.of(attack.name()) > 0, "{attack:?}");
    }
}

#[test]
fn a_month_at_home_loses_nothing() {
    let outcome = live_well("home_years", 1, &hours(720));
    for fault in [Fault::Loss, Fault::Suspend, Fault::Kill, Fault::Corrupt] {
        assert!(outcome.faults.of(fault) > 0, "{fault:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_life_and_leaving_something_out_gives_another() {
    let whole = hours(100);
    let less = Cut {
        without: ["kill".to_owned()].into(),
        ..whole.clone()
    };
    let once = live_well("home_years", 3, &whole);
    assert_eq!(once.trace, live_well("home_years", 3, &whole).trace);
    let without = live_well("home_years", 3, &less);
    assert_ne!(once.trace, without.trace);
    assert_eq!(without.faults.of(Fault::Kill), 0);
}

/// A promise that cannot be kept is found broken: the checks at the end are made.
#[test]
fn a_day_costs_more_than_one_byte() {
    let mut dear = scenario("home_years");
    dear.bytes_per_member_day = Some(1);
    let outcome = run::live(&dear, 1, &hours(24));
    assert!(matches!(outcome.failure, Some(Failure::Correctness(_))));
}
