//! Stored records: whatever a disk brings back, a node starts, takes for a map only what its author signed,
//! says so where something was damaged, and is whole again at the next start and with its peers' help.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use hive_core::event::{Command, Input, Output};
use hive_core::event_log::Happening;
use hive_core::hive::outside::Table;
use hive_core::hive::store::{AuthorMap, Store, disk};
use hive_core::id::{HiveId, NodeId};
use hive_core::reply::{Mode, Reply};
use hive_core::time::Span;
use hive_core::wire::Frame;

use crate::forge::{self, Who};
use crate::pairing;
use crate::script::Script;
use crate::stage::{Disk, Player, address};
use crate::sync::{self, HELD};
use crate::{Outcome, Target};

/// Records read at start.
pub const TARGET: Target = Target {
    name: "records",
    life: || {
        let mut round = 0;
        Box::new(move |data| {
            round += 1;
            check(data, round % STARTS == 1)
        })
    },
    seeds,
};

/// A disk as it should be, and the maps on it.
struct Whole {
    disk: Disk,
    store: Store,
}

impl Whole {
    fn new(disk: Disk) -> Self {
        let (store, damaged) = disk::restore(disk.genesis().hive(), &disk.records());
        assert_eq!(damaged, []);
        Self { disk, store }
    }

    fn hive(&self) -> HiveId {
        self.store.hive()
    }
}

/// Of the inputs of one life, the first and then one in so many also start a node, twice, with its peers: that
/// is dear. A guess that keeps the test under a minute; replays and `cargo fuzz` always do it.
const STARTS: u32 = 16;

/// When the damaged disk is started from.
const LATER: u64 = 900_000_000;

fn check(data: &[u8], starts: bool) -> Outcome {
    let mut script = Script::new(data);
    let whole = if script.byte() & 1 == 0 {
        members()
    } else {
        alone()
    };
    let mut disk = whole.disk.clone();
    let mut touched = 0;
    for _ in 0..=script.byte() % 6 {
        touched += damage(&mut disk, &mut script);
    }
    let (store, damaged) = check_maps(whole, &disk);
    if starts {
        let own_kept = store.map(Who::Victim.node()).is_some();
        check_start(whole, disk, touched, own_kept, !damaged.is_empty());
    }
    if damaged.is_empty() {
        Outcome::Refused
    } else {
        Outcome::Taken
    }
}

/// One thing that disks and file systems do, and a few that they do not. How many records it touched at most.
fn damage(disk: &mut Disk, script: &mut Script<'_>) -> usize {
    let places: Vec<(Table, Vec<u8>)> = disk.0.keys().cloned().collect();
    if places.is_empty() {
        return 0;
    }
    let place = &places[script.below(places.len())];
    let other = &places[script.below(places.len())];
    let value = disk.0[place].clone();
    match script.byte() % 8 {
        0 | 1 => {
            let mut value = value;
            if !value.is_empty() {
                let at = script.below(value.len());
                value[at] ^= 1 << (script.byte() % 8);
            }
            disk.0.insert(place.clone(), value);
        }
        2 | 3 => {
            disk.0.insert(place.clone(), script.changed(&value));
        }
        4 => {
            disk.0.remove(place);
        }
        5 => {
            let swapped = disk.0.insert(other.clone(), value);
            disk.0.insert(place.clone(), swapped.unwrap_or_default());
            return 2;
        }
        6 => {
            let (table, key) = place.clone();
            disk.0.remove(place);
            disk.0.insert((table, script.changed(&key)), value);
            return 2;
        }
        _ => {
            let tables = [Table::Meta, Table::Heads, Table::Entries, Table::Ledger];
            let table = tables[script.below(4)];
            disk.0.insert((table, place.1.clone()), value);
        }
    }
    1
}

/// What is taken for a map is exactly the one that was there; what is not is named. What was read, and who was
/// named.
fn check_maps(whole: &Whole, disk: &Disk) -> (Store, Vec<NodeId>) {
    let (store, damaged) = disk::restore(whole.hive(), &disk.records());
    for (author, map) in store.maps() {
        assert_eq!(whole.store.map(*author), Some(map), "a map nobody signed");
        assert!(!damaged.contains(author));
    }
    let authors: BTreeSet<NodeId> = [&whole.disk, disk]
        .iter()
        .flat_map(|disk| disk.0.keys())
        .filter(|(table, _)| matches!(table, Table::Heads | Table::Entries))
        .filter_map(|(_, key)| Some(NodeId(*key.first_chunk()?)))
        .collect();
    for author in authors {
        let rows = |disk: &Disk| -> Vec<_> {
            let mine = |(table, key): &(Table, Vec<u8>)| {
                matches!(table, Table::Heads | Table::Entries) && key.starts_with(&author.0)
            };
            let rows = disk.0.iter().filter(|(at, _)| mine(at));
            rows.map(|(at, value)| (at.clone(), value.clone()))
                .collect()
        };
        let left = rows(disk);
        if left == rows(&whole.disk) {
            assert!(store.map(author).is_some(), "a whole map was not read");
        } else if store.map(author).is_none() && left.iter().any(|(at, _)| is_part(at)) {
            assert!(damaged.contains(&author), "damage that nobody is told of");
        }
    }
    (store, damaged)
}

/// Whether a record belongs to a map: a head or an entry. Heads that were seen, under longer keys, do not.
fn is_part((table, key): &(Table, Vec<u8>)) -> bool {
    *table == Table::Entries || key.len() == 32
}

fn check_start(whole: &Whole, disk: Disk, touched: usize, own_kept: bool, damaged: bool) {
    let hive = whole.hive();
    let kept = |key: &[u8]| disk.meta(key) == whole.disk.meta(key);
    let all_kept = kept(b"genesis") && kept(b"secret") && kept(b"spare");
    // The hive is written twice: one damaged record does not cost it, and is told of.
    let same_hive = all_kept || touched <= 1;
    let own = whole.store.map(Who::Victim.node()).expect("its own map");
    let (mut player, outputs) = Player::start(Who::Victim, disk, LATER);
    if same_hive {
        assert_eq!(tells_damage(&outputs), damaged || !all_kept);
        for key in [&b"genesis"[..], b"secret", b"spare"] {
            assert_eq!(player.disk.meta(key), whole.disk.meta(key));
        }
    }
    check_answers(&mut player);
    // Whole again: the next start finds nothing wrong.
    let (again, outputs) = Player::start(Who::Victim, player.disk.clone(), LATER + 1);
    assert!(!tells_damage(&outputs), "damage was found and left");
    if !(same_hive && own_kept) {
        return;
    }
    let mut player = again;
    for who in [Who::Honest, Who::Evil] {
        heal(whole, &mut player, who);
    }
    // Its next word is newer than everything that it ever said.
    player.pass(Span::from_secs(11));
    let label = String::from("after the damage");
    player.ask(Command::Label { label });
    player.pass(Span::from_secs(400));
    let next = player.disk.map(hive, Who::Victim.node()).expect("its map");
    let version = |map: &AuthorMap| (map.head().incarnation, map.head().seq);
    assert!(version(&next) > version(own), "an older word than before");
}

/// A member brings back what was lost of its own map.
fn heal(whole: &Whole, player: &mut Player, who: Who) {
    let Some(lost) = whole.store.map(who.node()) else {
        return;
    };
    player.feed(Input::PeerUp {
        peer: who.node(),
        address: address(who as u8),
    });
    player.feed(Input::Received {
        peer: who.node(),
        frame: Frame::Delta(lost.delta(None)).encode(),
    });
    let healed = player.disk.map(whole.hive(), who.node());
    assert_eq!(healed.as_ref(), Some(lost), "not healed");
}

/// Every question is answered.
fn check_answers(player: &mut Player) {
    let questions = [
        Command::Status,
        Command::Members,
        Command::Pending,
        Command::Patterns,
        Command::Nearby,
        Command::JoinState,
        Command::Decide,
    ];
    for question in questions {
        let (reply, _) = player.ask(question);
        assert!(reply.is_some_and(|reply| !matches!(reply, Reply::Refused(_))));
    }
}

fn tells_damage(outputs: &[Output]) -> bool {
    let told = Output::Tell(Happening::StoreDamaged);
    outputs.contains(&told)
}

/// A founder with two members, one of them proven to contradict itself.
fn members() -> &'static Whole {
    static DISK: OnceLock<Whole> = OnceLock::new();
    DISK.get_or_init(|| {
        let (mut player, _) = Player::start(Who::Victim, sync::cast().disk.clone(), 60_000_000);
        for who in [Who::Honest, Who::Evil] {
            player.feed(Input::PeerUp {
                peer: who.node(),
                address: address(who as u8),
            });
        }
        let later = sync::cast().honest[HELD + 1].delta(None);
        player.feed(Input::Received {
            peer: Who::Honest.node(),
            frame: Frame::Delta(later).encode(),
        });
        Whole::new(player.disk)
    })
}

/// A founder alone, with everything else that a disk may hold: a request, a request of its own, a pattern, a
/// mode, a pause.
fn alone() -> &'static Whole {
    static DISK: OnceLock<Whole> = OnceLock::new();
    DISK.get_or_init(|| {
        // A few restarts: its own word is of a later incarnation than the first.
        let mut disk = Disk::default();
        for boot in 1..4 {
            disk = Player::start(Who::Victim, disk, boot * 1_000_000).0.disk;
        }
        let (mut player, _) = Player::start(Who::Victim, disk, 60_000_000);
        let (mut joiner, _) = Player::start(Who::Joiner, Disk::default(), 60_000_000);
        pairing::request(&mut player, &mut joiner);
        player.ask(Command::Tune { mode: Mode::Auto });
        let (def, evidence) = (forge::pattern(), forge::evidence());
        player.ask(Command::Share { def, evidence });
        let span = Some(Span::from_secs(86_400));
        player.ask(Command::Pause { span });
        player.pass(Span::from_secs(30));
        let mut disk = player.disk;
        let own = joiner.disk.0.into_iter();
        disk.0
            .extend(own.filter(|((table, key), _)| *table == Table::Meta && key == b"joining"));
        Whole::new(disk)
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for which in [0, 1] {
        let count = [members(), alone()][usize::from(which)].disk.0.len();
        for place in 0..u8::try_from(count).expect("few") {
            // One bit, the record gone, the record cut, its key changed, its value elsewhere.
            seeds.push(vec![which, 0, place, 0, 0, 3, 1]);
            seeds.push(vec![which, 0, place, 0, 4]);
            seeds.push(vec![which, 0, place, 0, 2, 1, 2, 0]);
            seeds.push(vec![which, 0, place, 0, 6, 1, 1, 3, 1]);
            seeds.push(vec![which, 0, place, place + 1, 5]);
        }
    }
    // Everything at once.
    seeds.push(vec![
        0, 5, 0, 1, 0, 1, 1, 2, 3, 5, 3, 4, 4, 5, 6, 6, 7, 8, 7, 1,
    ]);
    seeds.push(vec![
        1, 5, 0, 1, 0, 1, 1, 2, 3, 5, 3, 4, 4, 5, 6, 6, 7, 8, 7, 1,
    ]);
    seeds
}
