//! Stories of a hive that stays true over days: forks that nobody saw, clocks that are wrong, disks that rot.

use hive_core::event_log::Happening;
use hive_core::hive::anomaly_log::LogEvent;
use hive_core::hive::store::{AuthorMap, Store};
use hive_core::id::PatternId;
use hive_core::statement::{Anomaly, Mark, Revoke, Statement};
use hive_core::time::{Hlc, Span};
use hive_core::wire::{Frame, RingMark};

use crate::pattern;
use crate::world::World;

/// Three machines of one hive that are all connected: 0 founded it.
fn three() -> World {
    let mut world = World::new(3);
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(20));
    world
}

fn forks_told(world: &World, at: usize) -> usize {
    let forked = |happening: &&Happening| matches!(happening, Happening::Forked { .. });
    world.told[at].iter().filter(forked).count()
}

#[test]
fn a_fork_that_nobody_saw_arrive_is_found_by_the_daily_audit() {
    let mut world = three();
    let one = world.branch_of(1, &[Statement::Pattern(pattern(1))]);
    let others: Vec<Statement> = (2..5).map(|n| Statement::Pattern(pattern(n))).collect();
    let two = world.branch_of(1, &others);
    world.cut(0, 1);
    world.cut(1, 2);
    let now = world.now();
    let (zero, last) = (world.hives[0].me(), world.hives[2].me());
    for delta in one {
        world.hives[0].on_received(now, last, &Frame::Delta(delta).encode());
    }
    for delta in two {
        world.hives[2].on_received(now, zero, &Frame::Delta(delta).encode());
    }
    world.settle();
    world.run(Span::from_secs(300));
    assert_eq!(world.view(0), world.view(2), "equal, and nobody is wiser");
    assert_eq!((forks_told(&world, 0), forks_told(&world, 2)), (0, 0));
    assert_eq!(world.hives[0].advice().patterns.len(), 3);
    world.run(Span::from_secs(86_400));
    for at in [0, 2] {
        assert_eq!(forks_told(&world, at), 1, "machine {at}");
        assert!(world.hives[at].advice().patterns.is_empty());
    }
    assert_eq!(world.view(0), world.view(2));
    // It is not forgotten over a restart.
    world.restart(2);
    world.run(Span::from_secs(60));
    assert!(world.hives[2].advice().patterns.is_empty());
    assert_eq!(world.view(0), world.view(2));
}

#[test]
fn honest_machines_that_restart_and_lose_sight_of_each_other_are_never_accused() {
    let mut world = three();
    for day in 0..6_u8 {
        let at = usize::from(day % 3);
        world.cut(at, usize::from((day + 1) % 3));
        for n in 0..4 {
            world.publish(at, vec![Statement::Pattern(pattern(10 * day + n))]);
            world.run(Span::from_secs(60));
        }
        world.restart(usize::from((day + 2) % 3));
        world.heal(at, usize::from((day + 1) % 3));
        world.run(Span::from_secs(86_400));
    }
    for at in 0..3 {
        assert_eq!(forks_told(&world, at), 0, "machine {at}");
        assert_eq!(world.hives[at].advice().patterns.len(), 24);
        assert_eq!(world.view(at), world.view(0));
    }
}

const YEAR_MS: i64 = 365 * 86_400_000;

fn keys(world: &World, at: usize) -> Vec<PatternId> {
    world.hives[at].advice().patterns.keys().copied().collect()
}

/// The states that two admins named when they removed a machine are both held; which one counts follows
/// the more senior one, and turns when its word falls.
#[test]
fn a_removed_machine_counts_up_to_what_the_most_senior_remover_named_and_no_state_is_lost() {
    let mut world = World::new(4);
    for at in 1..4 {
        world.join(at, 0);
        world.run(Span::from_secs(20));
    }
    world.publish(3, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    for other in [0, 1, 3] {
        world.cut(2, other);
    }
    let label = world.label(3);
    world.remove(2, &label).expect("a junior");
    assert_eq!(
        world.disk_pins(2),
        1,
        "what it named cannot be lost any more"
    );
    world.publish(3, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(20));
    world.remove(1, &label).expect("a junior");
    world.run(Span::from_secs(20));
    assert_eq!((keys(&world, 0).len(), keys(&world, 2).len()), (2, 1));
    for other in [0, 1, 3] {
        world.heal(2, other);
    }
    world.run(Span::from_secs(600));
    for at in [0, 1, 2] {
        assert_eq!(keys(&world, at).len(), 2, "machine {at}: the senior's word");
        assert_eq!(world.view(at), world.view(0));
    }
    // What is pinned survives a restart, and one that lost it gets it back.
    world.restart(0);
    world.run(Span::from_secs(600));
    // The founder takes everything back that the second machine ever said.
    let thief = world.hives[1].me();
    let revoke = Statement::Revoke(Revoke {
        node: thief,
        keep: None,
    });
    world.publish(0, vec![revoke]);
    world.run(Span::from_secs(600));
    for at in [0, 2] {
        assert_eq!(
            keys(&world, at),
            vec![pattern(1).id()],
            "machine {at}: the junior's word"
        );
        assert_eq!(world.members(at).len(), 2);
        assert_eq!(world.view(at), world.view(0));
    }
}

#[test]
fn a_pinned_state_that_nobody_holds_keeps_its_author_out_until_it_arrives() {
    let mut world = three();
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    // A state that only machine 2 saw, named by the founder.
    let next = world.branch_of(1, &[Statement::Pattern(pattern(2))]);
    world.cut(0, 1);
    world.cut(1, 2);
    world.cut(0, 2);
    let mut seen = world.disk_store(2);
    seen.join(&next[0], None).expect("signed");
    let subject = world.hives[1].me();
    let keep = seen.map(subject).map(AuthorMap::head_ref);
    let revoke = Statement::Revoke(Revoke {
        node: subject,
        keep,
    });
    world.publish(0, vec![revoke]);
    world.run(Span::from_secs(20));
    assert!(keys(&world, 0).is_empty(), "the named state is missing");
    world.heal(0, 2);
    world.run(Span::from_secs(400));
    assert!(keys(&world, 0).is_empty() && keys(&world, 2).is_empty());
    assert_eq!(world.view(0), world.view(2));
    let (now, zero) = (world.now(), world.hives[0].me());
    world.hives[2].on_received(now, zero, &Frame::Delta(next[0].clone()).encode());
    world.settle();
    world.run(Span::from_secs(60));
    for at in [0, 2] {
        assert_eq!(keys(&world, at).len(), 2, "machine {at}");
        assert_eq!(world.view(at), world.view(0));
    }
}

/// Runs a hive of three whose calendars are off by so much: it still agrees, learns and removes.
fn lives_with(ahead_ms: [i64; 3]) {
    let mut world = World::new(3);
    world.ahead_ms = ahead_ms.to_vec();
    world.join(1, 0);
    world.join(2, 0);
    world.run(Span::from_secs(20));
    for at in 0..3_u8 {
        let mark = [Mark::Live, Mark::Live, Mark::Paused][usize::from(at)];
        let said = vec![
            Statement::Pattern(pattern(9)),
            Statement::Mark(pattern(9).id(), mark),
            Statement::Pattern(pattern(at)),
        ];
        world.publish(usize::from(at), said);
        world.run(Span::from_secs(120));
    }
    for at in 0..3 {
        assert_eq!(keys(&world, at).len(), 4, "{ahead_ms:?} machine {at}");
        assert_eq!(world.view(at), world.view(0));
        assert_eq!(world.waiting(at), 0, "the budget knows no calendar");
    }
    let label = world.label(2);
    world.remove(0, &label).expect("a junior");
    world.run(Span::from_secs(20));
    for at in [0, 1] {
        assert_eq!(world.members(at).len(), 2, "{ahead_ms:?}");
        assert!(!world.is_linked(at, 2));
        assert_eq!(world.view(at), world.view(0));
    }
    world.run(Span::from_secs(3 * 86_400));
    assert_eq!(world.view(1), world.view(0));
    for at in 0..2 {
        assert_eq!(forks_told(&world, at), 0, "{ahead_ms:?}");
    }
}

#[test]
fn no_clock_that_is_a_year_off_stops_the_hive_or_saves_a_machine_from_removal() {
    for ahead_ms in [
        [YEAR_MS, 0, 0],
        [0, 0, YEAR_MS],
        [0, -YEAR_MS, 0],
        [YEAR_MS; 3],
        [-YEAR_MS; 3],
        [YEAR_MS, -YEAR_MS, 0],
        // A machine without a battery: 1970.
        [0, -1_700_000_000_000, 0],
        [i64::MAX, 0, 0],
    ] {
        lives_with(ahead_ms);
    }
}

#[test]
fn a_mark_from_next_year_does_not_silence_everybody_else_and_a_clock_put_right_is_right() {
    let mut world = three();
    world.ahead_ms[1] = YEAR_MS;
    let id = pattern(1).id();
    let mark = |mark| {
        let def = Statement::Pattern(pattern(1));
        vec![def, Statement::Mark(id, mark)]
    };
    world.publish(1, mark(Mark::Paused));
    world.run(Span::from_secs(200));
    // All are awake; the future counts as a minute from now and no more.
    world.publish(2, mark(Mark::Live));
    world.publish(0, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(200));
    for at in [0, 2, 0, 2] {
        world.publish(at, mark(Mark::Live));
        world.run(Span::from_secs(200));
    }
    let head_ms = |world: &World| {
        let store = world.disk_store(0);
        let map = store.map(world.hives[1].me()).expect("held");
        let latest = map.entries().map(|entry| entry.hlc.wall().0).max();
        (map.head().hlc.wall().0, latest.expect("it said something"))
    };
    let year = u64::try_from(YEAR_MS).expect("positive");
    let real = world.now().wall.0;
    assert!(head_ms(&world).0 > real + year - 10_000_000);
    world.ahead_ms[1] = 0;
    world.restart(1);
    world.run(Span::from_secs(30));
    world.publish(1, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(30));
    let now = world.now().wall.0;
    assert!(head_ms(&world).0 <= now && head_ms(&world).1 <= now);
    for at in 0..3 {
        assert_eq!(world.view(at), world.view(0));
        assert_eq!(keys(&world, at).len(), 3);
    }
    world.run(Span::from_secs(200));
    world.publish(2, mark(Mark::Paused));
    world.run(Span::from_secs(5));
    for at in 0..3 {
        assert!(
            world.hives[at].advice().patterns[&id].paused,
            "machine {at}"
        );
    }
}

#[test]
fn a_map_that_rotted_on_the_disk_is_told_dropped_and_fetched_again() {
    let mut world = three();
    for at in 0..3_u8 {
        let n = usize::from(at);
        world.publish(n, vec![Statement::Pattern(pattern(at))]);
        world.run(Span::from_secs(20));
    }
    world.cut(0, 2);
    world.cut(1, 2);
    world.damage_map(2, 0);
    world.restart(2);
    assert!(world.told[2].contains(&Happening::StoreDamaged));
    assert!(
        !keys(&world, 2).contains(&pattern(0).id()),
        "nothing rotten is believed"
    );
    world.heal(0, 2);
    world.heal(1, 2);
    world.run(Span::from_secs(400));
    assert_eq!(keys(&world, 2).len(), 3);
    assert_eq!(world.view(2), world.view(0));
    // And it stays whole.
    world.told[2].clear();
    world.restart(2);
    world.run(Span::from_secs(20));
    assert!(!world.told[2].contains(&Happening::StoreDamaged));
    assert_eq!(world.view(2), world.view(0));
}

#[test]
fn a_restored_backup_takes_up_its_newer_map_and_goes_on() {
    let mut world = three();
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    let backup = world.backup(1);
    world.restart(1);
    world.run(Span::from_secs(20));
    world.publish(1, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(20));
    world.put_back(1, &backup);
    world.restart(1);
    world.run(Span::from_secs(20));
    world.publish(1, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(2 * 86_400));
    for at in 0..3 {
        assert_eq!(keys(&world, at).len(), 3, "machine {at}");
        assert_eq!(forks_told(&world, at), 0, "machine {at}");
        assert_eq!(world.view(at), world.view(0));
    }
}

#[test]
fn a_restored_backup_that_wrote_before_it_met_anybody_says_that_its_key_was_used() {
    let mut world = three();
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    let backup = world.backup(1);
    world.restart(1);
    world.run(Span::from_secs(20));
    world.publish(1, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(20));
    world.restart(1);
    world.run(Span::from_secs(20));
    world.publish(1, vec![Statement::Pattern(pattern(3))]);
    world.run(Span::from_secs(20));
    // Put back while nobody can be asked.
    world.put_back(1, &backup);
    world.cut(0, 1);
    world.cut(1, 2);
    world.restart(1);
    world.run(Span::from_secs(20));
    world.publish(1, vec![Statement::Pattern(pattern(4))]);
    world.run(Span::from_secs(20));
    world.heal(0, 1);
    world.heal(1, 2);
    world.run(Span::from_secs(600));
    let needs = world.needs(1);
    let twice = needs.iter().find(|need| need.code == "node.twice");
    let twice = twice.expect("it says so");
    assert!(!twice.fix.is_empty() && twice.words.contains("backup"));
    // What the hive knew is safe, and nobody is called a liar.
    for at in [0, 2] {
        assert!(keys(&world, at).contains(&pattern(3).id()));
        assert_eq!(forks_told(&world, at), 0);
    }
    // The person sees to it that only one runs, and starts it anew.
    world.restart(1);
    world.run(Span::from_secs(20));
    world.publish(1, vec![Statement::Pattern(pattern(5))]);
    world.run(Span::from_secs(600));
    assert!(world.needs(1).iter().all(|need| need.code != "node.twice"));
    for at in 0..3 {
        assert!(keys(&world, at).contains(&pattern(5).id()), "machine {at}");
        assert_eq!(world.view(at), world.view(0));
    }
}

#[test]
fn a_machine_that_lost_every_map_gets_its_own_back_before_it_speaks() {
    let mut world = three();
    world.publish(1, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(20));
    world.lose_maps(1);
    world.restart(1);
    world.publish(1, vec![Statement::Pattern(pattern(2))]);
    world.run(Span::from_secs(86_400));
    for at in 0..3 {
        assert_eq!(keys(&world, at).len(), 2, "machine {at}");
        assert_eq!(forks_told(&world, at), 0, "machine {at}");
        assert_eq!(world.view(at), world.view(0));
    }
    assert!(world.needs(1).is_empty(), "{:?}", world.needs(1));
}

#[test]
fn an_anomaly_is_told_retracted_by_an_admin_and_swept_away_and_every_log_tells_it() {
    let mut world = three();
    let odd = Anomaly {
        metrics: 5,
        ..Anomaly::default()
    };
    world.publish(1, vec![Statement::Anomaly(odd)]);
    world.run(Span::from_secs(20));
    let known =
        |world: &World, at: usize| world.hives[at].advice().anomalies.get(odd.id()).cloned();
    for at in 0..3 {
        assert_eq!(known(&world, at).map(|it| it.dots.len()), Some(1), "{at}");
    }
    let now = world.now();
    assert!(world.hives[0].retract_anomaly(now, odd.id()));
    world.run(Span::from_secs(20));
    assert!(!world.hives[0].retract_anomaly(now, odd.id()), "it is gone");
    let said = |world: &World, author: usize| {
        let store = world.disk_store(2);
        let map = store.map(world.hives[author].me()).expect("held");
        map.live()
    };
    let before = said(&world, 1);
    world.run(Span::from_secs(2 * 86_400));
    assert_eq!(said(&world, 1), before - 1, "its author took it back");
    world.restart(2);
    world.run(Span::from_secs(20));
    for at in 0..3 {
        assert!(known(&world, at).is_none());
        let log: Vec<LogEvent> = world.hives[at]
            .anomaly_log()
            .lines()
            .map(|it| it.what)
            .collect();
        assert_eq!(log, [LogEvent::Reported, LogEvent::Ended], "machine {at}");
        assert_eq!(world.view(at), world.view(0));
    }
}

/// Two of four machines cannot reach each other: each hears the other's news from a third, at once, and in
/// the long run from one of them only.
#[test]
fn who_cannot_reach_a_member_hears_its_news_from_another() {
    let mut world = World::new(4);
    for at in 1..4 {
        world.join(at, 0);
    }
    world.run(Span::from_secs(20));
    world.cut(1, 2);
    // Said while nobody was asked yet to pass it on.
    world.publish(2, vec![Statement::Pattern(pattern(1))]);
    world.run(Span::from_secs(30));
    assert_eq!(keys(&world, 1).len(), 1);
    let (one, two) = (world.hives[1].me(), world.hives[2].me());
    let passed_on = |world: &World| {
        let to = |at: usize| world.sent_to(at, one).into_iter();
        let frames = to(0).chain(to(3));
        let of_two = |frame: &&Vec<u8>| matches!(Frame::decode(frame), Ok(Frame::Delta(delta)) if delta.author == two);
        frames.filter(of_two).count()
    };
    for n in 2..10 {
        let before = passed_on(&world);
        world.publish(2, vec![Statement::Pattern(pattern(n))]);
        world.run(Span::from_secs(1));
        assert_eq!(keys(&world, 1).len(), usize::from(n));
        let copies = passed_on(&world) - before;
        assert!(copies == 1 || (n == 2 && copies == 2), "{n}: {copies}");
    }
    // Together again, the author itself is heard, and nobody passes anything on for long.
    world.heal(1, 2);
    world.run(Span::from_secs(1_200));
    assert!(world.is_linked(1, 2));
    for n in 10..12 {
        world.publish(2, vec![Statement::Pattern(pattern(n))]);
        world.run(Span::from_secs(1));
    }
    let before = passed_on(&world);
    world.publish(2, vec![Statement::Pattern(pattern(12))]);
    world.run(Span::from_secs(1));
    assert_eq!(keys(&world, 1).len(), 12);
    assert_eq!(passed_on(&world), before);
}

/// Two heads of machine 1 under one number, and what a member says of them.
fn contradiction(world: &World, incarnation: u32) -> Vec<u8> {
    let (store, author) = (Store::new(world.hive_id(0)), World::key(1));
    let head = |n: u8| {
        let said = Statement::Pattern(pattern(n));
        let change = vec![(said.key(), Some(said.encode()))];
        let hlc = Hlc(u64::from(incarnation));
        let map = store.draft(&author, incarnation, hlc, change);
        *map.expect("small").head()
    };
    Frame::Proof(head(1), head(2)).encode()
}

#[test]
fn an_old_contradiction_is_told_and_kept_beside_a_later_one() {
    let mut world = three();
    let now = world.now();
    let (zero, last) = (world.hives[0].me(), world.hives[2].me());
    let late = contradiction(&world, 800);
    world.hives[2].on_received(now, zero, &late);
    world.settle();
    let early = contradiction(&world, 700);
    world.hives[0].on_received(now, last, &early);
    world.settle();
    // One that lies between is answered with both, and changes nothing.
    let proofs = |world: &World| {
        let sent = world.sent_to(0, last).into_iter();
        let proof = |bytes: &&Vec<u8>| matches!(Frame::decode(bytes), Ok(Frame::Proof(..)));
        sent.filter(proof).count()
    };
    let (view, told) = (world.view(0), proofs(&world));
    let between = contradiction(&world, 750);
    world.hives[0].on_received(now, last, &between);
    world.settle();
    assert_eq!(world.view(0), view);
    assert_eq!(proofs(&world), told + 2);
    for at in [0, 2] {
        assert_eq!(forks_told(&world, at), 2, "machine {at}");
        world.restart(at);
    }
    assert_eq!(world.view(0), view, "both are on the disk");
    assert_eq!(world.view(2), view);
}

#[test]
fn who_was_away_hears_of_both_contradictions_at_once() {
    let mut world = three();
    world.cut(0, 2);
    world.cut(1, 2);
    let (now, one) = (world.now(), world.hives[1].me());
    for incarnation in [700, 800] {
        let proof = contradiction(&world, incarnation);
        world.hives[0].on_received(now, one, &proof);
    }
    world.settle();
    world.heal(0, 2);
    world.run(Span::from_secs(60));
    assert!(world.is_linked(0, 2));
    assert_eq!(forks_told(&world, 2), 2);
    assert_eq!(world.view(0), world.view(2));
}

#[test]
fn a_member_that_asks_for_ids_again_and_again_is_answered_once_in_nine_minutes() {
    let mut world = three();
    let peers = [world.hives[1].me(), world.hives[2].me()];
    let answers = |world: &World, peer| {
        let sent = world.sent_to(0, peer).into_iter();
        let ids = |bytes: &&Vec<u8>| matches!(Frame::decode(bytes), Ok(Frame::Audit(_)));
        sent.filter(ids).count()
    };
    // It claims to have seen something else of everybody: the answer is all that there is.
    let mut rings: Vec<RingMark> = (0..3)
        .map(|at| RingMark {
            author: world.hives[at].me().0[..4].try_into().expect("four"),
            check: [0xee; 4],
        })
        .collect();
    rings.sort();
    let question = Frame::Rings {
        salt: [1; 8],
        rings,
    };
    let ask = |world: &mut World, peer| {
        let now = world.now();
        world.hives[0].on_received(now, peer, &question.encode());
        world.settle();
    };
    let before = answers(&world, peers[0]);
    for _ in 0..3 {
        ask(&mut world, peers[0]);
        world.run(Span::from_secs(60));
    }
    assert_eq!(answers(&world, peers[0]), before + 1);
    let of_the_other = answers(&world, peers[1]);
    ask(&mut world, peers[1]);
    assert_eq!(answers(&world, peers[1]), of_the_other + 1, "each its own");
    // As soon as an honest one could ask again after a new start.
    world.run(Span::from_secs(600 - 3 * 60));
    let before = answers(&world, peers[0]);
    ask(&mut world, peers[0]);
    assert_eq!(answers(&world, peers[0]), before + 1);
}
