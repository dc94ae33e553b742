//! Whose turn it is: drawn from what is known, the same as long as that is, and never more often than a back-off allows.

use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::chance::Chance;
use crate::id::{NodeId, ProgramName};
use crate::machine::act::Refusal;
use crate::machine::belief::Expectation;
use crate::machine::facts::GroupId;
use crate::pattern::{Context, Cores, Evidence, PairStats, WorkloadType};
use crate::time::Instant;
use crate::units::Permille;

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Some day of 2026.
const TODAY: u64 = 20_600 * DAY_MS;

const KERNEL: (u16, u16) = (6, 18);

/// One machine under contention, and what it is told.
struct Scene {
    contention: Contention,
    facts: MachineFacts,
    secret: [u8; 32],
    advice: BTreeMap<PatternId, HeardPattern>,
    wall: WallTime,
    ledger: Ledger,
}

impl Scene {
    fn new(secret: u8) -> Self {
        let group = |group| GroupId { session: 1, group };
        let rights = Rights {
            nice: true,
            autogroup_nice: true,
            slice: true,
            advise: false,
            unit_weight: false,
        };
        Self {
            contention: Contention {
                protected: group(1),
                role: WorkloadType::Interactive,
                quiet: Vec::new(),
                name: ProgramName::new("editor"),
                plain: true,
                background: Vec::from([group(2)]),
                allowed: Vec::from([group(2)]),
                units: crate::machine::weigh::Weighable::default(),
                neighbours: alloc::collections::BTreeSet::new(),
                context: Context {
                    binding: Binding::Task,
                    cores: Cores::Few,
                    eevdf_slices: true,
                    background: WorkloadType::Batch,
                },
                pressure: 0.9,
            },
            facts: MachineFacts {
                cores: 2,
                kernel: KERNEL,
                autogroup: true,
                pressure: true,
                rights,
                uid: 1_000,
            },
            secret: [secret; 32],
            advice: BTreeMap::new(),
            wall: WallTime(TODAY),
            ledger: Ledger::default(),
        }
    }

    fn grounds(&self) -> Grounds<'_> {
        Grounds {
            contention: &self.contention,
            facts: &self.facts,
            secret: &self.secret,
            advice: &self.advice,
            wall: self.wall,
            rested: true,
            running: None,
        }
    }

    fn choice(&self) -> Choice {
        choose(&self.grounds(), &self.ledger)
    }

    fn def(&self, action: Action) -> PatternDef {
        pattern(action, &self.contention, &self.secret)
    }

    fn outlook(&self, action: Action) -> Outlook {
        let grounds = self.grounds();
        grounds.known(&self.ledger).outlook(&self.def(action))
    }

    fn expected(&self, action: Action) -> Expectation {
        self.outlook(action).expected
    }

    /// Which of these is next, as far as they may be tried.
    fn next_of(&self, actions: &[Action]) -> Option<PatternDef> {
        let grounds = self.grounds();
        let defs = actions.iter().map(|action| self.def(*action));
        let open: Vec<PatternDef> = defs
            .filter(|def| is_open(&grounds, &self.ledger, def.id()))
            .collect();
        next_trial(&grounds, &self.ledger, &open).map(|(_, def)| def)
    }

    /// A whole trial of these pairs, with this verdict.
    fn trial(&mut self, def: PatternDef, pairs: &PairStats, verdict: Verdict) {
        let id = def.id();
        self.ledger.know(def, true, Instant(1));
        self.ledger.begin(id, PatternState::Trial);
        self.ledger
            .taken(id, Epoch::new(self.wall, self.facts.kernel));
        let entry = self.ledger.get_mut(id).expect("known");
        entry.trial = *pairs;
        entry.conclude(verdict, 0.0, self.wall);
    }

    /// One other member says this of an action here.
    fn hear(&mut self, action: Action, number: u32, mean: f64, verdict: Verdict) {
        let def = self.def(action);
        let evidence = Evidence {
            verdict,
            trial: even(number, mean),
            background_loss: Permille(100),
            ..Evidence::default()
        };
        let heard = HeardPattern {
            def,
            evidence: Vec::from([(NodeId([7; 32]), String::from("desk"), evidence)]),
            combined: None,
            paused: false,
            first_seen: Instant(1),
        };
        self.advice.insert(def.id(), heard);
    }
}

/// So many pairs of this value.
fn even(number: u32, value: f64) -> PairStats {
    let mut stats = PairStats::default();
    (0..number).for_each(|_| stats.add(value));
    stats
}

/// So many pairs around this value, with the spread that was measured.
fn noisy(number: u32, mean: f64, chance: &mut Chance) -> PairStats {
    let pair = Expectation { mean, spread: 0.3 };
    let mut stats = PairStats::default();
    (0..number).for_each(|_| stats.add(pair.draw(chance)));
    stats
}

#[test]
fn the_same_state_gives_the_same_choice_and_another_day_another_draw() {
    let mut scene = Scene::new(1);
    let first = scene.outlook(Action::FinerSlice);
    assert_eq!(scene.outlook(Action::FinerSlice), first);
    scene.wall.0 += DAY_MS - 1;
    assert_eq!(scene.outlook(Action::FinerSlice), first);
    scene.wall.0 += 1;
    let next = scene.outlook(Action::FinerSlice);
    assert!((next.draw - first.draw).abs() > 1e-6);
    assert_eq!(next.expected, first.expected);
    let other = Scene::new(2).outlook(Action::FinerSlice);
    assert!((other.draw - first.draw).abs() > 1e-6);
}

#[test]
fn a_machine_that_knows_nothing_mostly_tries_first_what_the_catalogue_believes_in() {
    let first = |secret| {
        let Choice::Run(Regime::Trial, def) = Scene::new(secret).choice() else {
            panic!("something is tried");
        };
        def.action
    };
    let nice = (0..=255)
        .filter(|secret| first(*secret) == Action::BackgroundNice)
        .count();
    assert!((230..256).contains(&nice), "{nice} of 256");
}

#[test]
fn what_nobody_measured_gets_its_turn_on_the_first_day_whatever_is_proven() {
    for secret in 0..50 {
        let mut scene = Scene::new(secret);
        let nice = scene.def(Action::BackgroundNice);
        scene.trial(nice, &even(12, -1.5), Verdict::Helps);
        let mut tried = Vec::new();
        while let Choice::Run(Regime::Trial, def) = scene.choice() {
            tried.push(def.action);
            scene.trial(def, &even(20, 0.2), Verdict::Undecided);
        }
        tried.sort_unstable();
        assert_eq!(tried, [Action::FinerSlice, Action::BackgroundIdle]);
        assert_eq!(scene.choice(), Choice::Run(Regime::Proven, nice));
    }
}

#[test]
fn what_another_member_found_useless_gets_its_turn_within_days() {
    let (mut at_once, mut longest) = (0, 0);
    for secret in 0..100 {
        let mut scene = Scene::new(secret);
        for action in [
            Action::BackgroundIdle,
            Action::FinerSlice,
            Action::BackgroundNice,
        ] {
            scene.hear(action, 40, 0.0, Verdict::NoEffect);
        }
        let mut days = 0;
        while matches!(scene.choice(), Choice::Leave(_)) {
            scene.wall.0 += DAY_MS;
            days += 1;
            assert!(days < 60, "secret {secret}: never tried");
        }
        at_once += u32::from(days == 0);
        longest = longest.max(days);
    }
    // It is neither tried everywhere at once nor never.
    assert!(
        (20..95).contains(&at_once) && longest > 1,
        "{at_once} {longest}"
    );
}

#[test]
fn what_harms_is_tried_no_more_often_than_its_back_off_allows() {
    let (mut trials, mut allowed) = (0, 0);
    for secret in 0..40 {
        let mut scene = Scene::new(secret);
        let action = Action::BackgroundNice;
        let (mut until, mut backoffs) = (0, 0);
        for _ in 0..200 {
            if let Some(def) = scene.next_of(&[action]) {
                assert!(scene.wall.0 >= until, "during its back-off");
                scene.trial(def, &even(8, 0.4), Verdict::Harms);
                until = scene.wall.0 + (crate::machine::learn::BACKOFF_MS << backoffs);
                backoffs += 1;
            }
            scene.wall.0 += DAY_MS;
        }
        // At once, and after 1, 2, 4 ... 64 days: the eighth is on the 127th day.
        assert!((1..=8).contains(&backoffs), "{backoffs}");
        trials += backoffs;
        allowed += 8;
    }
    // Half as often as it might, although the catalogue believes in it.
    assert!(trials * 3 < allowed * 2, "{trials} of {allowed}");
}

#[test]
fn a_retest_must_be_drawn_better_than_what_is_proven_here() {
    let retested = |proven: bool| {
        let again = |secret: &u8| {
            let mut scene = Scene::new(*secret);
            let actions = [Action::BackgroundNice, Action::FinerSlice];
            let [nice, slice] = actions.map(|action| scene.def(action));
            scene.trial(slice, &even(40, -0.1), Verdict::Undecided);
            if proven {
                scene.trial(nice, &even(12, -0.9), Verdict::Helps);
            }
            scene.wall.0 += 2 * DAY_MS;
            let open = if proven { &actions[..] } else { &actions[1..] };
            scene.next_of(open) == Some(slice)
        };
        (0..100).filter(again).count()
    };
    assert_eq!(retested(true), 0);
    assert!((60..100).contains(&retested(false)), "{}", retested(false));
}

#[test]
fn own_pairs_outweigh_a_loud_hive_and_a_gain_that_costs_too_much_is_none() {
    let mut scene = Scene::new(1);
    let action = Action::FinerSlice;
    scene.hear(action, 1_000_000, -0.8, Verdict::Helps);
    let told = scene.outlook(action);
    assert!(told.hive <= 10.0 + 1e-9 && told.own < 1e-9, "{told:?}");
    assert!(told.expected.mean < -0.3, "{told:?}");
    let def = scene.def(action);
    scene.trial(def, &even(40, 0.1), Verdict::Undecided);
    let known = scene.outlook(action);
    assert!((known.own - 40.0).abs() < 1e-9);
    assert!(known.expected.mean > -0.15, "{known:?}");

    let heard = scene.advice.get_mut(&def.id()).expect("heard");
    heard.evidence[0].2.background_loss = Permille(800);
    scene.ledger = Ledger::default();
    assert!(scene.expected(action).mean > -0.05);
}

#[test]
fn pairs_of_another_kernel_or_of_long_ago_count_less() {
    let mut scene = Scene::new(1);
    let action = Action::BackgroundIdle;
    let def = scene.def(action);
    scene.trial(def, &even(30, -0.8), Verdict::Undecided);
    let (fresh, sure) = (scene.outlook(action).own, scene.expected(action).spread);
    scene.wall.0 += 180 * DAY_MS;
    let (old, less_sure) = (scene.outlook(action).own, scene.expected(action).spread);
    assert!(
        (fresh - 30.0).abs() < 1e-9 && (old - 7.5).abs() < 1e-6,
        "{old}"
    );
    assert!(less_sure > sure);
    scene.wall = WallTime(TODAY);
    scene.facts.kernel = (6, 19);
    let other = scene.outlook(action).own;
    assert!((other - 9.0).abs() < 1e-9, "{other}");
    // A store that does not say of when they are.
    scene.facts.kernel = KERNEL;
    scene.ledger.get_mut(def.id()).expect("known").taken = None;
    assert!((scene.outlook(action).own - 9.0).abs() < 1e-9);
}

#[test]
fn epochs_are_stored_once_and_come_back() {
    let mut scene = Scene::new(1);
    let def = scene.def(Action::BackgroundIdle);
    scene.trial(def, &even(30, -0.8), Verdict::Undecided);
    let mut records = Vec::from([scene.ledger.get(def.id()).expect("known").record()]);
    records.extend(scene.ledger.records_apart());
    assert_eq!(scene.ledger.records_apart().count(), 0);
    let before = scene.outlook(Action::BackgroundIdle);
    scene.ledger = Ledger::restore(&records);
    assert_eq!(scene.outlook(Action::BackgroundIdle), before);
    assert_eq!(scene.ledger.records_apart().count(), 0);
    // Of a store that lost them, or one of an older program, the entry is read.
    scene.ledger = Ledger::restore(&records[..1]);
    let entry = scene.ledger.get(def.id()).expect("known");
    assert_eq!((entry.taken, entry.trial.pairs), (None, 30));
}

#[test]
fn a_proof_of_another_member_comes_first_and_what_was_begun_goes_on() {
    for secret in 0..50 {
        let mut scene = Scene::new(secret);
        scene.hear(Action::FinerSlice, 12, -0.3, Verdict::Helps);
        let slice = scene.def(Action::FinerSlice);
        assert_eq!(scene.choice(), Choice::Run(Regime::Probation, slice));
        let nice = scene.def(Action::BackgroundNice);
        scene.advice.clear();
        scene.ledger.know(nice, true, Instant(1));
        scene.ledger.begin(nice.id(), PatternState::Trial);
        for day in 0..20 {
            scene.wall.0 = TODAY + day * DAY_MS;
            assert_eq!(scene.choice(), Choice::Run(Regime::Trial, nice));
        }
    }
}

/// How many trials a machine begins until it begins that of the one action of ten that does something, program after
/// program. The first has no experience behind it but the catalogue's.
fn trials_until_the_good_one(seed: u8, good: Action, programs: u32) -> Vec<u32> {
    let mut scene = Scene::new(seed);
    let mut chance = Chance::from_seed([seed; 32]);
    let differ = Expectation {
        mean: -0.35,
        spread: 0.2,
    };
    (0..programs)
        .map(|program| {
            scene.contention.name = ProgramName::new(&alloc::format!("program{program}"));
            let effect = differ.draw(&mut chance);
            for trials in 1.. {
                let next = scene
                    .next_of(&Action::ALL)
                    .expect("what is new gets its turn");
                if next.action == good {
                    let verdict = if effect < -0.1 {
                        Verdict::Helps
                    } else {
                        Verdict::Undecided
                    };
                    scene.trial(next, &noisy(12, effect, &mut chance), verdict);
                    return trials;
                }
                let pairs = noisy(30, 0.0, &mut chance);
                scene.trial(next, &pairs, Verdict::NoEffect);
            }
            0
        })
        .collect()
}

#[test]
fn with_one_good_action_of_ten_it_is_found_sooner_than_in_the_catalogues_order() {
    // In a fixed order, with the good one anywhere, it is the 5.5th on average, for every program anew. With the first
    // program a draw is an order like any other.
    const FIXED: f64 = 5.5;
    let programs = 6;
    let mut sums = [0_u32; 6];
    for seed in 0..100 {
        for good in Action::ALL {
            let trials = trials_until_the_good_one(seed, good, programs);
            sums.iter_mut()
                .zip(trials)
                .for_each(|(sum, one)| *sum += one);
        }
    }
    let means = sums.map(|sum| f64::from(sum) / 1_000.0);
    assert!((means[0] - FIXED).abs() < 1e-9, "{means:?}");
    assert!(means[1] < 4.0 && means[5] < 3.0, "{means:?}");
    assert!(means.iter().sum::<f64>() / 6.0 < 4.0, "{means:?}");
}

#[test]
fn what_might_be_better_than_a_strong_action_is_tried_again_some_day() {
    let mut scene = Scene::new(5);
    let strong = scene.def(Action::BackgroundNice);
    scene.trial(strong, &even(12, -2.4), Verdict::Helps);
    let open = scene.def(Action::BackgroundIdle);
    scene.trial(open, &even(12, -2.3), Verdict::Undecided);
    let weak = scene.def(Action::FinerSlice);
    scene.trial(weak, &even(12, -0.1), Verdict::NoEffect);
    let mut tried = Vec::new();
    for _ in 0..200 {
        scene.wall = WallTime(scene.wall.0 + DAY_MS);
        if let Choice::Run(Regime::Trial, def) = scene.choice() {
            tried.push(def.action);
        }
    }
    assert!(tried.contains(&Action::BackgroundIdle), "{tried:?}");
    assert!(!tried.contains(&Action::FinerSlice), "{tried:?}");
}

/// All that this scene offers was tried, and did nothing.
fn tried_in_vain() -> Scene {
    let mut scene = Scene::new(6);
    for action in [
        Action::BackgroundNice,
        Action::BackgroundIdle,
        Action::FinerSlice,
    ] {
        scene.trial(scene.def(action), &even(12, 0.0), Verdict::NoEffect);
    }
    scene
}

#[test]
fn what_is_held_back_by_something_else_than_its_trial_is_not_called_tried() {
    type Change = fn(&mut Scene, PatternId);
    let nice = tried_in_vain().def(Action::BackgroundNice).id();
    assert_eq!(tried_in_vain().choice(), Choice::Leave(Leave::TriedInVain));
    let held: [(Hold, &str, Change); 4] = [
        (Hold::Undone, "by a person", |scene, id| {
            scene.ledger.get_mut(id).expect("known").state = PatternState::Undone;
        }),
        (Hold::Refused, "refused by the system", |scene, id| {
            let refused = crate::machine::act::Outcome::Refused(Refusal::NotReversible);
            scene.ledger.get_mut(id).expect("known").refused = Some(refused);
        }),
        (Hold::Paused, "pause mark", |scene, id| {
            scene.hear(Action::BackgroundNice, 12, 0.0, Verdict::NoEffect);
            scene.advice.get_mut(&id).expect("heard").paused = true;
        }),
        // A join put the rest of an older entry on one whose trial is under way.
        (Hold::Rests, "an earlier result", |scene, id| {
            scene.ledger.get_mut(id).expect("known").state = PatternState::Trial;
        }),
    ];
    for (hold, words, change) in held {
        let mut scene = tried_in_vain();
        change(&mut scene, nice);
        let why = Leave::HeldBack(hold);
        assert_eq!(scene.choice(), Choice::Leave(why));
        assert!(why.words().contains(words), "{}", why.words());
        assert!(!why.is_for_a_person(), "{hold:?}");
    }
}

#[test]
fn what_is_left_to_others_or_wants_rights_is_not_called_tried() {
    // Nice is another program's; the slice alone is tried here.
    let mut beside = tried_in_vain();
    beside.contention.neighbours.insert(Neighbour::Ananicy);
    let claimed = Leave::Claimed(Neighbour::Ananicy);
    assert_eq!(beside.choice(), Choice::Leave(claimed));

    let mut poor = tried_in_vain();
    poor.facts.rights.nice = false;
    assert_eq!(poor.choice(), Choice::Leave(Leave::RightsEnd));
    poor.facts.rights = Rights::default();
    let none = Leave::NoRights(Goal::Wait, Binding::Task);
    assert_eq!(poor.choice(), Choice::Leave(none));

    // An old kernel has no slices to want rights for, and a group's weight is only there for applications.
    let mut old = tried_in_vain();
    old.facts.rights.slice = false;
    assert_eq!(old.choice(), Choice::Leave(Leave::RightsEnd));
    old.facts.kernel = (6, 6);
    assert_eq!(old.choice(), Choice::Leave(Leave::TriedInVain));
    old.contention.context.binding = Binding::Cgroup;
    let none = Leave::NoMeans(Goal::Wait, Binding::Cgroup);
    assert_eq!(old.choice(), Choice::Leave(none));

    // It is not changed itself; what could be done to the rest was not allowed either.
    let mut spared = tried_in_vain();
    spared.contention.plain = false;
    spared.facts.rights.nice = false;
    assert_eq!(spared.choice(), Choice::Leave(Leave::Spared));

    let open = [claimed, Leave::RightsEnd, Leave::Spared];
    let no_rights = Leave::NoRights(Goal::Wait, Binding::Task);
    for why in open.into_iter().chain([no_rights]) {
        assert!(!why.is_for_a_person(), "{why:?}");
    }
    assert!(Leave::TriedInVain.is_for_a_person() && none.is_for_a_person());
}

#[test]
fn what_only_others_measured_is_not_called_tried_here() {
    // Their pairs say that it does harm: no draw of this day is better than nothing.
    let actions = [
        Action::BackgroundIdle,
        Action::FinerSlice,
        Action::BackgroundNice,
    ];
    let mut scene = Scene::new(1);
    for action in actions {
        scene.hear(action, 4_000, 0.9, Verdict::Harms);
    }
    let told = (0..60).find_map(|day| {
        scene.wall = WallTime(TODAY + day * DAY_MS);
        match scene.choice() {
            Choice::Leave(why) => Some(why),
            Choice::Run(..) => None,
        }
    });
    assert_eq!(told, Some(Leave::NotExpected));
    assert!(!Leave::NotExpected.is_for_a_person());
}
