//! Laws of membership: whatever a stolen admin key says, no senior is expelled, nobody honest stays expelled
//! once the thief is removed, and all views agree whatever the order of arrival.

#[path = "roster_laws/authors.rs"]
mod authors;

#[path = "roster_laws/rotation.rs"]
mod rotation;

#[path = "roster_laws/seniors.rs"]
mod seniors;

use std::collections::BTreeSet;

use hive_core::hive::roster::Roster;
use hive_core::hive::store::{AuthorMap, Store};
use hive_core::id::{HeadId, NodeId};
use hive_core::statement::{Admit, Forgive, HeadRef, Revoke, Role, SetRole, Statement};
use hive_core::wire::Genesis;
use proptest::prelude::*;

use authors::{Author, Observer, admit, genesis, node, revoke};

/// Machines of the honest hive: machine 0 founds it, machine 1 is an admin of its making.
const HONEST_MAX: usize = 9;

/// One thing that a thief says under the stolen key.
#[derive(Clone, Debug)]
enum Act {
    Revoke { target: usize, keep: Keep },
    Sybil { n: u8, role: Role },
    SetRole { target: usize, role: Role },
    Forgive { target: usize },
}

/// Which state a removal of the thief's names.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Nothing,
    TheirHead,
    Invented,
}

/// A honest hive, a key that is stolen from it, and what the thief does.
#[derive(Clone, Debug)]
struct Theft {
    /// Per machine after the second: who lets it in, and as what.
    honest: Vec<(usize, Role)>,
    thief: usize,
    acts: Vec<Act>,
    /// Whether the thief starts its map anew under low numbers, as if all of that were long ago.
    backdated: bool,
    /// Which sybils speak too, and what about.
    sybils: Vec<(u8, usize)>,
    /// Whether the recovery key removes the thief, and not the founder.
    by_recovery: bool,
    orders: [u64; 3],
}

/// The maps of a theft in its stages.
struct Told {
    genesis: Genesis,
    honest: Vec<AuthorMap>,
    seniors: Vec<NodeId>,
    thief: NodeId,
    stolen: Vec<AuthorMap>,
    /// The remover's map, in which the thief is removed.
    end: AuthorMap,
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Admin), Just(Role::Member)]
}

fn act() -> impl Strategy<Value = Act> {
    let keep = prop_oneof![
        Just(Keep::Nothing),
        Just(Keep::TheirHead),
        Just(Keep::Invented)
    ];
    prop_oneof![
        (0..HONEST_MAX, keep).prop_map(|(target, keep)| Act::Revoke { target, keep }),
        (0..4_u8, role()).prop_map(|(n, role)| Act::Sybil { n, role }),
        (0..HONEST_MAX, role()).prop_map(|(target, role)| Act::SetRole { target, role }),
        (0..HONEST_MAX).prop_map(|target| Act::Forgive { target }),
    ]
}

fn theft() -> impl Strategy<Value = Theft> {
    (
        prop::collection::vec((0..HONEST_MAX, role()), 1..HONEST_MAX - 2),
        0..HONEST_MAX,
        prop::collection::vec(act(), 1..10),
        any::<bool>(),
        prop::collection::vec((0..4_u8, 0..HONEST_MAX), 0..4),
        any::<bool>(),
        any::<[u64; 3]>(),
    )
        .prop_map(
            |(honest, thief, acts, backdated, sybils, by_recovery, orders)| Theft {
                honest,
                thief,
                acts,
                backdated,
                sybils,
                by_recovery,
                orders,
            },
        )
}

/// The honest hive's authors, in the order in which they were let in, and the roster they make.
fn build(theft: &Theft, genesis: &Genesis) -> (Vec<Author>, Roster) {
    let mut authors = vec![Author::new(0, genesis), Author::new(1, genesis)];
    let mut admins = vec![0, 1];
    authors[0].say(vec![admit(1, Role::Admin)]);
    for (place, (sponsor, role)) in theft.honest.iter().enumerate() {
        let n = place + 2;
        let sponsor = admins[sponsor % admins.len()];
        authors[sponsor].say(vec![admit(n, *role)]);
        authors.push(Author::new(n, genesis));
        if *role == Role::Admin {
            admins.push(n);
        }
    }
    for (n, author) in authors.iter_mut().enumerate() {
        author.introduce(n);
    }
    let store = store_of(genesis, authors.iter().map(Author::map));
    let roster = Roster::of(genesis, &store);
    assert_eq!(roster.order().len(), authors.len());
    (authors, roster)
}

fn tell(theft: &Theft) -> Told {
    let genesis = genesis(theft.by_recovery);
    let (mut authors, roster) = build(theft, &genesis);
    let admins = roster.order().iter().copied();
    let admins: Vec<NodeId> = admins
        .filter(|it| roster.member(*it).is_some_and(|it| it.role == Role::Admin))
        .collect();
    // The founder's own key is stolen only where there is a recovery key.
    let first = usize::from(!theft.by_recovery);
    let thief = admins[first + theft.thief % (admins.len() - first)];
    let place = authors.iter().position(|it| it.node() == thief);
    let place = place.expect("one of the hive");
    let honest: Vec<AuthorMap> = authors.iter().map(|it| it.map().clone()).collect();
    let seniors = roster.order().iter().copied();
    let seniors = seniors.take_while(|it| *it != thief).collect();
    let stolen = steal(theft, &genesis, &mut authors[place], &honest);
    let keep = Some(honest[place].head_ref());
    let last = Statement::Revoke(Revoke { node: thief, keep });
    let end = if theft.by_recovery {
        // It lets everybody else in again itself: the founder's admissions may be out of reach for a while.
        let again = roster.order().iter().filter(|it| **it != thief);
        let again = again.map(|it| {
            let role = roster.member(*it).map(|it| it.role).unwrap_or_default();
            let (node, owner) = (*it, *it);
            Statement::Admit(Admit { node, role, owner })
        });
        let mut recovery = Author::recovery(&genesis);
        recovery.say([last].into_iter().chain(again).collect());
        recovery.map().clone()
    } else {
        authors[0].say(vec![last]);
        authors[0].map().clone()
    };
    Told {
        genesis,
        honest,
        seniors,
        thief,
        stolen,
        end,
    }
}

/// The maps that the thief signs, and those of the sybils it lets in.
fn steal(
    theft: &Theft,
    genesis: &Genesis,
    victim: &mut Author,
    honest: &[AuthorMap],
) -> Vec<AuthorMap> {
    let head = |target: usize| honest.get(target).map(AuthorMap::head_ref);
    let mut maps = Vec::new();
    victim.steal(theft.backdated);
    for act in &theft.acts {
        let statement = match *act {
            Act::Revoke { target, keep } => Statement::Revoke(Revoke {
                node: node(target),
                keep: match keep {
                    Keep::Nothing => None,
                    Keep::TheirHead => head(target),
                    Keep::Invented => Some(HeadRef {
                        incarnation: 1,
                        seq: 1,
                        id: HeadId([9; 32]),
                    }),
                },
            }),
            Act::Sybil { n, role } => admit(100 + usize::from(n), role),
            Act::SetRole { target, role } => Statement::SetRole(SetRole {
                node: node(target),
                role,
            }),
            Act::Forgive { target } => Statement::Forgive(Forgive {
                author: node(target),
                through: u32::MAX,
            }),
        };
        victim.say(vec![statement]);
        maps.push(victim.map().clone());
    }
    for (n, target) in &theft.sybils {
        let mut sybil = Author::new(100 + usize::from(*n), genesis);
        sybil.say(vec![
            revoke(*target),
            admit(120 + usize::from(*n), Role::Admin),
        ]);
        maps.push(sybil.map().clone());
    }
    maps
}

fn store_of<'a>(genesis: &Genesis, maps: impl Iterator<Item = &'a AuthorMap>) -> Store {
    let mut store = Store::new(genesis.hive());
    for map in maps {
        store.join(&map.delta(None), None).expect("well formed");
    }
    store
}

fn names(roster: &Roster) -> BTreeSet<NodeId> {
    roster.order().iter().copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn a_stolen_admin_key_expels_no_senior(theft in theft()) {
        let told = tell(&theft);
        let store = store_of(&told.genesis, told.honest.iter().chain(&told.stolen));
        let roster = Roster::of(&told.genesis, &store);
        for senior in &told.seniors {
            prop_assert!(roster.has(*senior), "a senior was expelled");
        }
        if let Some(first) = told.seniors.first() {
            prop_assert_eq!(roster.order().first(), Some(first), "somebody got in front");
        }
    }

    #[test]
    fn when_the_thief_is_removed_everybody_else_is_there_and_no_sybil(theft in theft()) {
        let told = tell(&theft);
        let mut store = store_of(&told.genesis, told.honest.iter().chain([&told.end]));
        let expected: BTreeSet<NodeId> = told.honest.iter().map(|it| it.head().author)
            .filter(|it| *it != told.thief).collect();
        prop_assert_eq!(names(&Roster::of(&told.genesis, &store)), expected.clone());
        // The sybils' maps change nothing, wherever they come from.
        for map in &told.stolen {
            if map.head().author != told.thief {
                store.join(&map.delta(None), None).expect("well formed");
            }
        }
        prop_assert_eq!(names(&Roster::of(&told.genesis, &store)), expected);
    }

    #[test]
    fn views_agree_whatever_the_order_of_arrival(theft in theft()) {
        let told = tell(&theft);
        let maps: Vec<&AuthorMap> =
            told.honest.iter().chain(&told.stolen).chain([&told.end]).collect();
        let watcher = told.honest.iter().map(|it| it.head().author);
        let watchers: Vec<NodeId> = watcher.filter(|it| *it != told.thief && *it != node(0)).collect();
        let relays: Vec<NodeId> = maps.iter().map(|it| it.head().author).collect();
        let mut seen = BTreeSet::new();
        for (place, seed) in theft.orders.iter().enumerate() {
            let me = watchers[place % watchers.len()];
            let mut observer = Observer::new(me, &told.genesis);
            if told.thief == node(0) {
                // A stolen founder's key can take back every admission, and then nobody listens to anybody:
                // the recovery key's word is typed in on the spot.
                observer.hear_all(&[&told.end], &relays, *seed);
            }
            observer.hear_all(&maps, &relays, *seed);
            let roster = observer.members();
            prop_assert_eq!(roster.len(), told.honest.len() - 1, "someone is missing or a sybil is in");
            seen.insert((roster, observer.view()));
        }
        prop_assert_eq!(seen.len(), 1, "the views differ");
    }
}

#[test]
fn what_a_removed_admin_said_before_its_seal_still_holds() {
    let genesis = genesis(false);
    let (mut founder, mut admin) = (Author::new(0, &genesis), Author::new(1, &genesis));
    founder.say(vec![admit(1, Role::Admin)]);
    admin.say(vec![admit(2, Role::Member)]);
    let before = admin.map().head_ref();
    let sealed = admin.map().clone();
    admin.say(vec![admit(3, Role::Member)]);
    founder.say(vec![Statement::Revoke(Revoke {
        node: node(1),
        keep: Some(before),
    })]);
    let store = store_of(&genesis, [founder.map(), &sealed].into_iter());
    let roster = Roster::of(&genesis, &store);
    assert_eq!(names(&roster), BTreeSet::from([node(0), node(2)]));
    assert!(roster.stores(node(1)) && !roster.stores(node(3)));
}

#[test]
fn of_two_that_remove_each_other_the_senior_stays() {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin)]);
    authors[0].say(vec![admit(2, Role::Admin)]);
    authors[1].say(vec![revoke(2)]);
    authors[2].say(vec![revoke(1), revoke(0)]);
    let store = store_of(&genesis, authors.iter().filter_map(Author::said));
    let roster = Roster::of(&genesis, &store);
    assert_eq!(roster.order(), [node(0), node(1)]);
    assert_eq!(roster.removed(node(2)), Some(None));
}

#[test]
fn a_removal_wins_over_every_admission_of_the_same_key_so_coming_back_needs_a_new_one() {
    let genesis = genesis(false);
    let mut authors = [0, 1].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin), admit(2, Role::Member)]);
    authors[0].say(vec![revoke(2)]);
    authors[0].say(vec![admit(2, Role::Admin)]);
    authors[1].say(vec![admit(2, Role::Member)]);
    let store = store_of(&genesis, authors.iter().filter_map(Author::said));
    assert!(!Roster::of(&genesis, &store).has(node(2)));
}

#[test]
fn one_admin_cannot_use_up_the_places_of_another() {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin)]);
    authors[0].say(vec![admit(2, Role::Admin)]);
    // The thief is the senior of the two admins, and floods with admissions and removals.
    authors[1].say((0..400).map(|n| admit(1_000 + n, Role::Admin)).collect());
    authors[1].say((0..2_000).map(|n| revoke(5_000 + n)).collect());
    authors[2].say((0..20).map(|n| admit(10 + n, Role::Member)).collect());
    let store = store_of(&genesis, authors.iter().filter_map(Author::said));
    let roster = Roster::of(&genesis, &store);
    for n in 0..20 {
        assert!(roster.has(node(10 + n)), "an honest machine was pushed out");
    }
    assert!(roster.order().len() <= hive_core::limits::MEMBERS_MAX);
    assert!(
        roster.all_removed().count() <= hive_core::limits::REMOVALS_MAX,
        "a flood of removals is remembered"
    );
    // Of keys that nobody let in, nothing is stored.
    assert!(!roster.stores(node(5_000)));
    let sybils = (1_000..1_400).filter(|n| roster.stores(node(*n))).count();
    assert!(sybils <= hive_core::limits::MEMBERS_MAX / 2, "{sybils}");
}

#[test]
fn a_senior_changes_a_juniors_role_and_never_the_other_way_round() {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2, 3].map(|n| Author::new(n, &genesis));
    let set = |n, role| {
        Statement::SetRole(SetRole {
            node: node(n),
            role,
        })
    };
    let role_of = |authors: &[Author], n| {
        let store = store_of(&genesis, authors.iter().filter_map(Author::said));
        Roster::of(&genesis, &store)
            .member(node(n))
            .map(|it| it.role)
    };
    authors[0].say(vec![admit(1, Role::Admin)]);
    authors[0].say(vec![admit(2, Role::Member)]);
    authors[1].say(vec![set(2, Role::Admin), set(0, Role::Member)]);
    authors[2].say(vec![admit(3, Role::Member), set(1, Role::Member)]);
    assert_eq!(
        role_of(&authors, 2),
        Some(Role::Admin),
        "raised by a senior"
    );
    assert_eq!(role_of(&authors, 0), Some(Role::Admin));
    assert_eq!(role_of(&authors, 1), Some(Role::Admin));
    assert_eq!(
        role_of(&authors, 3),
        Some(Role::Member),
        "let in by the raised one"
    );
    // The founder's word is more senior, and with the role goes what was said in it.
    authors[0].say(vec![set(2, Role::Member)]);
    assert_eq!(role_of(&authors, 2), Some(Role::Member));
    assert_eq!(role_of(&authors, 3), None);
}

#[test]
fn who_leaves_is_no_member_and_what_it_said_stays() {
    let genesis = genesis(false);
    let mut authors = [0, 1].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin)]);
    authors[1].say(vec![admit(2, Role::Member)]);
    authors[1].say(vec![revoke(1)]);
    let store = store_of(&genesis, authors.iter().filter_map(Author::said));
    let roster = Roster::of(&genesis, &store);
    assert_eq!(names(&roster), BTreeSet::from([node(0), node(2)]));
    assert!(roster.left(node(1)) && roster.is_gone(node(1)));
    assert_eq!(roster.removed(node(1)), None, "it was not removed");
    assert!(roster.counts(authors[1].map()));
    assert!(roster.stores(node(1)));
}

#[test]
fn an_admin_forgives_others_and_never_itself() {
    let genesis = genesis(false);
    let mut authors = [0, 1, 2].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![admit(1, Role::Admin), admit(2, Role::Member)]);
    let mut clone = Author::new(1, &genesis);
    authors[1].introduce(1);
    clone.introduce(7);
    let mut store = store_of(&genesis, authors.iter().filter_map(Author::said));
    store
        .join(&clone.map().delta(None), None)
        .expect("well formed");
    let quarantines = |store: &Store| Roster::of(&genesis, store).quarantines(node(1), store);
    assert!(quarantines(&store));
    let forgive = |through| {
        Statement::Forgive(Forgive {
            author: node(1),
            through,
        })
    };
    // Neither its own word nor a plain member's helps.
    authors[2].say(vec![forgive(9)]);
    clone.say(vec![forgive(9)]);
    for map in [clone.map(), authors[2].map()] {
        store.join(&map.delta(None), None).expect("well formed");
    }
    assert!(quarantines(&store));
    authors[0].say(vec![forgive(1)]);
    store
        .join(&authors[0].map().delta(None), None)
        .expect("well formed");
    assert!(!quarantines(&store));
    // A contradiction in a later incarnation is a new one.
    for n in [3, 4] {
        let mut later = Author::in_incarnation(1, &genesis, 2);
        later.introduce(n);
        store
            .join(&later.map().delta(None), None)
            .expect("well formed");
    }
    assert!(quarantines(&store));
}

#[test]
fn the_recovery_key_outranks_the_founder_and_cannot_be_removed() {
    let genesis = genesis(true);
    let key = genesis.recovery.expect("there is one");
    let mut authors = [0, 1].map(|n| Author::new(n, &genesis));
    authors[0].say(vec![
        admit(1, Role::Member),
        Statement::Revoke(Revoke {
            node: key,
            keep: None,
        }),
        Statement::Admit(Admit {
            node: key,
            role: Role::Admin,
            owner: key,
        }),
    ]);
    let founder = authors[0].map().head_ref();
    let mut recovery = Author::recovery(&genesis);
    recovery.say(vec![
        Statement::Revoke(Revoke {
            node: node(0),
            keep: Some(founder),
        }),
        Statement::SetRole(SetRole {
            node: node(1),
            role: Role::Admin,
        }),
    ]);
    let maps = authors
        .iter()
        .filter_map(Author::said)
        .chain([recovery.map()]);
    let roster = Roster::of(&genesis, &store_of(&genesis, maps));
    assert_eq!(roster.order(), [node(1)], "the key itself is no member");
    assert_eq!(roster.member(node(1)).map(|it| it.role), Some(Role::Admin));
    assert!(roster.outranks(key, node(1)) && roster.stores(key));
}
