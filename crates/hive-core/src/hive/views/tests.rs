//! The laws of the views, on real signed maps that three members write, spread, compact and forget over
//! weeks: every view is what textbook sets and sums say, in whatever order the maps come together.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::hive::advise::Advice;
use crate::hive::compact::Plan;
use crate::hive::views::anomalies::Anomalies;
use crate::hive::views::counter::{Counters, cap};
use crate::id::{AnomalyId, HiveId, NodeId, PatternId, WorkloadKey};
use crate::pattern::{Action, Binding, Context, Cores, PatternDef, WorkloadType};
use crate::signed::KeyPair;
use crate::statement::{Admit, Anomaly, Dot, Key, Mark, Role, Statement, StrategyCell};
use crate::time::{Hlc, Instant, Span};
use crate::wire::Genesis;

const MEMBERS: u8 = 3;

fn key_pair(member: u8) -> KeyPair {
    KeyPair::from_secret(&[member + 1; 32])
}

fn node(member: u8) -> NodeId {
    key_pair(member).node()
}

fn genesis() -> Genesis {
    Genesis {
        format: 1,
        founder: node(0),
        recovery: None,
        nonce: [1; 16],
    }
}

fn hive() -> HiveId {
    genesis().hive()
}

fn anomaly(n: u8) -> Anomaly {
    Anomaly {
        hour: u32::from(n),
        ..Anomaly::default()
    }
}

fn pattern(n: u8) -> PatternDef {
    PatternDef {
        action: Action::BackgroundNice,
        workload: WorkloadKey([n; 16]),
        role: WorkloadType::Interactive,
        context: Context {
            binding: Binding::Task,
            cores: Cores::Few,
            eevdf_slices: true,
            background: WorkloadType::Batch,
        },
    }
}

/// One thing that a member does; the numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Tried(u8, u64),
    Report(u8),
    TakeBack(u8),
    Retract(u8),
    Mark(u8, Mark),
    Hear(u8),
    Compact,
    Days(u8),
}

/// The textbook: reports and those that were seen and taken back, joined by union; marks by time.
#[derive(Clone, Default)]
struct Book {
    added: BTreeSet<(AnomalyId, Dot)>,
    gone: BTreeSet<(AnomalyId, Dot)>,
    marks: BTreeMap<PatternId, (Hlc, NodeId, Mark)>,
}

impl Book {
    fn join(&mut self, other: &Self) {
        self.added.extend(other.added.iter().copied());
        self.gone.extend(other.gone.iter().copied());
        for (id, said) in &other.marks {
            self.mark(*id, *said);
        }
    }

    fn mark(&mut self, id: PatternId, said: (Hlc, NodeId, Mark)) {
        let newest = self.marks.entry(id).or_insert(said);
        *newest = (*newest).max(said);
    }

    fn present(&self) -> BTreeSet<(AnomalyId, Dot)> {
        self.added.difference(&self.gone).copied().collect()
    }

    /// All reports of one anomaly that stand here.
    fn standing(&self, id: AnomalyId) -> Vec<Dot> {
        let here = self.present();
        let about = here.into_iter().filter(|(about, _)| *about == id);
        about.map(|(_, dot)| dot).collect()
    }
}

struct Replica {
    store: Store,
    book: Book,
}

struct World {
    replicas: Vec<Replica>,
    cells: BTreeMap<(u8, PatternId), StrategyCell>,
    ms: u64,
}

impl World {
    fn new() -> Self {
        let mut store = Store::new(hive());
        let admits = [(1, Role::Admin), (2, Role::Member)].map(|(member, role)| {
            let admit = Statement::Admit(Admit {
                node: node(member),
                role,
                owner: node(0),
            });
            (admit.key(), Some(admit.encode()))
        });
        let map = store.draft(&key_pair(0), 1, Hlc(1_000 << 16), admits.to_vec());
        store.insert(map.expect("small"));
        let replica = |_| Replica {
            store: store.clone(),
            book: Book::default(),
        };
        Self {
            replicas: (0..MEMBERS).map(replica).collect(),
            cells: BTreeMap::new(),
            ms: 1_000,
        }
    }

    /// A member writes; the dot that its batch has.
    fn write(&mut self, member: u8, changes: Vec<(Key, Option<Vec<u8>>)>, floor: u64) -> Dot {
        self.ms += 1;
        let store = &mut self.replicas[usize::from(member)].store;
        let hlc = Hlc(self.ms << 16);
        let map = store.draft_above(&key_pair(member), 1, hlc, changes, floor);
        let map = map.expect("small");
        let seq = map.head().seq;
        store.insert(map);
        Dot {
            author: node(member),
            seq,
            hlc,
        }
    }

    fn say(&mut self, member: u8, statements: &[Statement]) -> Dot {
        let own = self.replicas[usize::from(member)].store.map(node(member));
        let floor = own.map_or(0, |map| map.head().floor);
        let said = statements.iter().map(|it| (it.key(), Some(it.encode())));
        self.write(member, said.collect(), floor)
    }

    fn roster(&self, member: u8) -> Roster {
        Roster::of(&genesis(), &self.replicas[usize::from(member)].store)
    }

    fn do_it(&mut self, member: u8, deed: Deed) {
        let at = usize::from(member);
        match deed {
            Deed::Days(days) => self.ms += u64::from(days) * 86_400_000,
            Deed::Tried(n, more) => {
                let id = pattern(n).id();
                let cell = self.cells.entry((member, id)).or_default();
                cell.trials += more;
                cell.wins += more / 2;
                let cell = *cell;
                self.say(member, &[Statement::Strategy(id, cell)]);
            }
            Deed::Report(n) => {
                let id = anomaly(n).id();
                let dot = self.say(member, &[Statement::Anomaly(anomaly(n))]);
                let book = &mut self.replicas[at].book;
                for old in book.standing(id) {
                    if old.author == dot.author {
                        book.gone.insert((id, old));
                    }
                }
                book.added.insert((id, dot));
            }
            Deed::TakeBack(n) => self.take_back(member, n),
            Deed::Retract(n) => self.retract(member, n),
            Deed::Mark(n, mark) => {
                let def = pattern(n);
                let said = [Statement::Pattern(def), Statement::Mark(def.id(), mark)];
                let dot = self.say(member, &said);
                let said = (dot.hlc, dot.author, mark);
                self.replicas[at].book.mark(def.id(), said);
            }
            Deed::Hear(from) => self.hear(member, from % MEMBERS),
            Deed::Compact => self.compact(member),
        }
    }

    /// A member's own report ends, without any retraction.
    fn take_back(&mut self, member: u8, n: u8) {
        let replica = &mut self.replicas[usize::from(member)];
        let key = Statement::Anomaly(anomaly(n)).key();
        let Some(own) = replica.store.map(node(member)) else {
            return;
        };
        if own.value(&key).is_none() {
            return;
        }
        let floor = own.head().floor;
        let id = anomaly(n).id();
        for dot in replica.book.standing(id) {
            if dot.author == node(member) {
                replica.book.gone.insert((id, dot));
            }
        }
        self.write(member, alloc::vec![(key, None)], floor);
    }

    fn retract(&mut self, member: u8, n: u8) {
        let id = anomaly(n).id();
        let roster = self.roster(member);
        let replica = &mut self.replicas[usize::from(member)];
        let view = Anomalies::of(&roster, &replica.store);
        let said = view.retraction(&roster, &replica.store, node(member), id);
        // Members 0 and 1 are admins.
        let mut may = replica.book.standing(id);
        may.retain(|dot| member < 2 || dot.author == node(member));
        assert_eq!(said.is_some(), !may.is_empty());
        replica
            .book
            .gone
            .extend(may.into_iter().map(|dot| (id, dot)));
        if let Some(said) = said {
            self.say(member, &[said]);
        }
    }

    fn hear(&mut self, member: u8, from: u8) {
        let heard = self.replicas[usize::from(from)].store.clone();
        let book = self.replicas[usize::from(from)].book.clone();
        let roster = self.roster(member);
        let replica = &mut self.replicas[usize::from(member)];
        let before = Counters::of(&roster, &replica.store);
        for (_, map) in heard.maps() {
            replica.store.join(&map.delta(None), None).expect("signed");
        }
        replica.book.join(&book);
        let after = Counters::of(&roster, &replica.store);
        for n in 0..3 {
            let id = pattern(n).id();
            assert!(after.of_strategy(id).trials >= before.of_strategy(id).trials);
            assert!(after.of_strategy(id).wins >= before.of_strategy(id).wins);
        }
    }

    /// What is left out is missed by no view.
    fn compact(&mut self, member: u8) {
        let roster = self.roster(member);
        let store = &self.replicas[usize::from(member)].store;
        let Some(own) = store.map(node(member)) else {
            return;
        };
        let plan = Plan::of(node(member), &roster, store);
        if plan.is_empty(own) {
            return;
        }
        let before = views(&roster, store);
        let changes = plan.drop.iter().map(|key| (*key, None)).collect();
        self.write(member, changes, plan.floor);
        let store = &self.replicas[usize::from(member)].store;
        assert_eq!(views(&roster, store), before);
        let own = store.map(node(member)).expect("written");
        assert!(
            own.entries()
                .all(|it| it.value.is_some() || it.seq > plan.floor)
        );
    }
}

type Seen = (Anomalies, BTreeMap<PatternId, bool>);

/// The views that compaction must not change. A pattern of which nobody says anything is no loss.
fn views(roster: &Roster, store: &Store) -> Seen {
    let advice = Advice::of(roster, store, &Advice::default(), Instant(0));
    let told: BTreeSet<PatternId> = eligible(roster, store)
        .into_iter()
        .flat_map(AuthorMap::statements)
        .filter_map(|(_, statement)| match statement {
            Statement::Mark(id, _) | Statement::Strategy(id, _) => Some(id),
            _ => None,
        })
        .collect();
    let told = advice
        .patterns
        .iter()
        .filter(|(id, _)| told.contains(id))
        .map(|(id, heard)| (*id, heard.paused));
    (Anomalies::of(roster, store), told.collect())
}

fn merged(parts: &[&Store]) -> Store {
    let mut store = Store::new(hive());
    for part in parts {
        for (_, map) in part.maps() {
            store.join(&map.delta(None), None).expect("signed");
        }
    }
    store
}

fn deeds() -> impl Strategy<Value = Vec<(u8, Deed)>> {
    let deed = prop_oneof![
        3 => (0..3_u8, 0..60_u64).prop_map(|(n, more)| Deed::Tried(n, more)),
        4 => (0..3_u8).prop_map(Deed::Report),
        1 => (0..3_u8).prop_map(Deed::TakeBack),
        3 => (0..3_u8).prop_map(Deed::Retract),
        3 => (0..3_u8, any::<bool>()).prop_map(|(n, live)| Deed::Mark(n, if live { Mark::Live } else { Mark::Paused })),
        6 => (0..MEMBERS).prop_map(Deed::Hear),
        3 => Just(Deed::Compact),
        2 => (1..20_u8).prop_map(Deed::Days),
    ];
    prop::collection::vec((0..MEMBERS, deed), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn every_view_is_what_the_textbook_says_in_whatever_order_the_maps_meet(deeds in deeds(), swap in 0..6_usize) {
        let mut world = World::new();
        for (member, deed) in deeds {
            world.do_it(member, deed);
        }
        // Everybody is awake at the end, so that hive time is now.
        for member in 0..MEMBERS {
            world.say(member, &[Statement::Strategy(PatternId([9; 16]), StrategyCell::default())]);
        }
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let part = |at: usize| &world.replicas[at].store;
        let straight = merged(&[part(0), part(1), part(2)]);
        let [a, b, c] = orders[swap];
        let halves = merged(&[&merged(&[part(c), part(b)]), &merged(&[part(a)]), part(b)]);
        let roster = Roster::of(&genesis(), &straight);
        prop_assert_eq!(&roster, &Roster::of(&genesis(), &halves));
        prop_assert_eq!(views(&roster, &straight), views(&roster, &halves));
        let counters = Counters::of(&roster, &straight);
        prop_assert_eq!(&counters, &Counters::of(&roster, &halves));

        let mut book = Book::default();
        for replica in &world.replicas {
            book.join(&replica.book);
        }
        let (anomalies, patterns) = views(&roster, &straight);
        let present: BTreeSet<(AnomalyId, Dot)> = anomalies
            .iter()
            .flat_map(|(id, report)| report.dots.iter().map(|dot| (*id, *dot)))
            .collect();
        prop_assert_eq!(present, book.present());
        for (id, (_, _, mark)) in &book.marks {
            prop_assert_eq!(patterns.get(id), Some(&(*mark == Mark::Paused)));
        }
        let age = |member: u8| if member == 0 { u64::MAX } else { cap(Span::from_ms(world.ms - 1_001)) };
        let mut sums: BTreeMap<PatternId, u64> = BTreeMap::new();
        for ((member, id), cell) in &world.cells {
            *sums.entry(*id).or_default() += cell.trials.min(age(*member));
        }
        for (id, sum) in sums {
            prop_assert_eq!(counters.of_strategy(id).trials, sum);
        }
    }
}

#[test]
fn a_new_report_wins_over_a_retraction_that_has_not_seen_it() {
    let mut world = World::new();
    world.do_it(2, Deed::Report(1));
    world.do_it(0, Deed::Hear(2));
    world.do_it(0, Deed::Retract(1));
    world.do_it(2, Deed::Report(1));
    world.do_it(2, Deed::Hear(0));
    world.do_it(0, Deed::Hear(2));
    for member in [0, 2] {
        let store = &world.replicas[member].store;
        let view = Anomalies::of(&Roster::of(&genesis(), store), store);
        assert!(view.get(anomaly(1).id()).is_some(), "member {member}");
    }
}

#[test]
fn a_member_that_is_no_admin_retracts_its_own_reports_only() {
    let mut world = World::new();
    world.do_it(1, Deed::Report(1));
    world.do_it(2, Deed::Report(1));
    world.do_it(2, Deed::Hear(1));
    // It says that it retracts both, which an honest one never does.
    let store = &world.replicas[2].store;
    let dots = anomalies::all_dots(store).into_iter().collect();
    let said = Statement::Retract(anomaly(1).id(), crate::statement::Retract { dots });
    world.say(2, &[said]);
    let store = &world.replicas[2].store;
    let view = Anomalies::of(&Roster::of(&genesis(), store), store);
    let report = view.get(anomaly(1).id()).expect("the other one's stands");
    let authors: Vec<NodeId> = report.dots.iter().map(|dot| dot.author).collect();
    assert_eq!(authors, [node(1)]);
}

#[test]
fn old_retractions_and_markers_are_gone_in_the_end() {
    let mut world = World::new();
    world.do_it(2, Deed::Report(1));
    world.do_it(0, Deed::Hear(2));
    world.do_it(0, Deed::Retract(1));
    world.do_it(2, Deed::Hear(0));
    for _ in 0..12 {
        for member in 0..MEMBERS {
            world.do_it(member, Deed::Compact);
            world.do_it(member, Deed::Days(3));
            world.do_it(member, Deed::Tried(1, 1));
            for from in 0..MEMBERS {
                world.do_it(member, Deed::Hear(from));
            }
        }
    }
    for member in 0..MEMBERS {
        let store = &world.replicas[0].store;
        let own = store.map(node(member)).expect("wrote");
        assert!(own.entries().all(|entry| entry.value.is_some()), "{member}");
        let talk = own
            .statements()
            .filter(|(_, it)| matches!(it, Statement::Anomaly(_) | Statement::Retract(..)));
        assert_eq!(talk.count(), 0, "{member}");
    }
}

#[test]
fn a_third_of_the_members_cannot_push_hive_time() {
    let store_with = |times: [u64; 3]| {
        let mut store = World::new().replicas.remove(0).store;
        for (member, ms) in (0..MEMBERS).zip(times) {
            let map = store.draft(&key_pair(member), 2, Hlc(ms << 16), Vec::new());
            store.insert(map.expect("small"));
        }
        store
    };
    let time = |times| {
        let store = store_with(times);
        hive_time::of(&Roster::of(&genesis(), &store), &store)
            .wall()
            .0
    };
    let year = 365 * 86_400_000;
    assert_eq!(time([5_000, 6_000, 7_000]), 6_000);
    assert_eq!(time([5_000, 6_000, 7_000 + year]), 6_000);
    assert_eq!(time([2_000, 6_000 + year, 7_000 + year]), 6_000 + year);
    assert_eq!(
        time([1_001, 6_000, 7_000]),
        6_000,
        "silence holds nothing back"
    );
}

#[test]
fn a_second_retraction_keeps_the_first() {
    let mut world = World::new();
    world.do_it(1, Deed::Report(1));
    world.do_it(0, Deed::Hear(1));
    world.do_it(0, Deed::Retract(1));
    world.do_it(2, Deed::Report(1));
    world.do_it(0, Deed::Hear(2));
    world.do_it(0, Deed::Retract(1));
    let store = &world.replicas[0].store;
    assert_eq!(
        anomalies::all_dots(store).len(),
        2,
        "both still in their maps"
    );
    let view = Anomalies::of(&Roster::of(&genesis(), store), store);
    assert!(view.get(anomaly(1).id()).is_none());
}

#[test]
fn two_that_define_one_pattern_do_not_both_leave_it_to_the_other() {
    let mut world = World::new();
    for member in 0..MEMBERS {
        world.say(member, &[Statement::Pattern(pattern(7))]);
    }
    world.do_it(0, Deed::Mark(2, Mark::Live));
    let defined = |world: &World| {
        let parts: Vec<&Store> = world.replicas.iter().map(|it| &it.store).collect();
        let all = merged(&parts);
        let key = Statement::Pattern(pattern(7)).key();
        let by = |map: &&AuthorMap| map.value(&key).is_some();
        all.maps().map(|(_, map)| map).filter(by).count()
    };
    assert_eq!(defined(&world), 3);
    let each = |world: &mut World, deed: Deed| {
        for member in 0..MEMBERS {
            world.do_it(member, deed);
        }
    };
    for from in 0..MEMBERS {
        each(&mut world, Deed::Hear(from));
    }
    each(&mut world, Deed::Days(3));
    for n in 0..MEMBERS {
        each(&mut world, Deed::Tried(n, 1));
    }
    for from in 0..MEMBERS {
        each(&mut world, Deed::Hear(from));
    }
    // All at once, before any of them hears of it.
    each(&mut world, Deed::Compact);
    assert_eq!(defined(&world), 1, "said by as few as possible");
}
