//! What goes wrong in the middle of a step, and how often a step looks: inside the hands.

use std::path::Path;

use super::*;
use crate::linux::tests::{Job, ONE, alone, can, config, step};

fn hands(state: &Path) -> (Hands, Eyes) {
    let config = config(state);
    let (facts, default_slice) = facts::read(&config.roots);
    let eyes = Eyes::new(config.roots.clone(), config.scope);
    let hands = Hands::open(&config, &facts, default_slice).expect("opened");
    (hands, eyes)
}

fn nice(job: &Job) -> i32 {
    sys::scheduling(job.pid()).expect("lives").nice
}

#[test]
fn a_step_whose_own_undo_fails_stays_on_until_an_undo_succeeds() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut hands, mut eyes) = hands(state.path());
    if !can("no right to lower nice again", hands.facts.rights.nice) {
        return;
    }
    let job = Job::start(ONE);
    let (group, id) = (job.group(), ChangeId(1));
    hands.act(&mut eyes, &step(1, Action::BackgroundNice, &[group]));
    // No nice is as large: the kernel is never asked, and this write fails each time.
    let target = |hands: &mut Hands, old: i64| {
        let change = hands.on.get_mut(&id).expect("on");
        change.targets[0].old = old;
        // A job started in the same tick would be swept as an heir.
        change.ticks = u64::MAX;
    };
    target(&mut hands, i64::MAX);
    let failed = Outcome::Failed { errno: libc::EIO };
    let outcome = hands.give_up(&mut eyes, id, Outcome::Refused(Refusal::Gone));
    assert_eq!(outcome, failed);
    assert_eq!(hands.undo(&mut eyes, id), failed);
    let outcome = hands.act(&mut eyes, &step(1, Action::BackgroundNice, &[group]));
    let errno = libc::EEXIST;
    assert_eq!(outcome, Outcome::Failed { errno });
    assert_eq!((hands.on(), nice(&job)), (vec![id], 11));
    target(&mut hands, 0);
    let outcome = hands.undo(&mut eyes, id);
    assert!(matches!(outcome, Outcome::Restored { restored: 1, .. }));
    assert_eq!((hands.on(), nice(&job)), (Vec::new(), 0));
}

#[test]
fn a_placebo_looks_as_often_as_a_real_action() {
    let _alone = alone();
    let state = tempfile::tempdir().expect("a folder");
    let (mut hands, mut eyes) = hands(state.path());
    if !can("no right to lower nice again", hands.facts.rights.nice) {
        return;
    }
    let job = Job::start(ONE);
    let mut looks = |action: Action| {
        let before = eyes.looks;
        let outcome = hands.act(&mut eyes, &step(1, action, &[job.group()]));
        assert_eq!(outcome, Outcome::Applied { touched: 1 });
        let between = eyes.looks;
        let outcome = hands.undo(&mut eyes, ChangeId(1));
        assert!(matches!(outcome, Outcome::Restored { restored: 1, .. }));
        (between - before, eyes.looks - between)
    };
    let real = looks(Action::BackgroundNice);
    assert_eq!(real, (1 + CLEAN_PASSES, CLEAN_PASSES));
    assert_eq!(looks(Action::Placebo), real);
}

#[test]
fn a_boot_without_a_name_is_not_the_same_boot() {
    let state = tempfile::tempdir().expect("a folder");
    let (mut hands, mut eyes) = hands(state.path());
    let job = Job::start(ONE);
    hands.act(&mut eyes, &step(1, Action::Placebo, &[job.group()]));
    let boot = std::mem::take(&mut hands.boot);
    // Where this boot has no name nothing is started, and what is on is neither touched nor forgotten.
    let outcome = hands.act(&mut eyes, &step(2, Action::Placebo, &[job.group()]));
    assert_eq!(outcome, Outcome::Refused(Refusal::NoJournal));
    for of in [boot.clone(), String::new()] {
        hands.on.get_mut(&ChangeId(1)).expect("on").boot = of;
        let recovery = hands.recover(&mut eyes).expect("recovered");
        let failed = (recovery.failed, recovery.restored, recovery.discarded);
        assert_eq!((failed, hands.on()), ((1, 0, 0), vec![ChangeId(1)]));
    }
    hands.boot = boot;
    let recovery = hands.recover(&mut eyes).expect("recovered");
    assert_eq!((recovery.failed, recovery.discarded), (0, 1));
    assert!(hands.on().is_empty());
}
