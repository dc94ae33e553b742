//! Own statements: collected, budgeted, signed as one batch, made durable, and only then said.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::chance::Chance;
use crate::event_log::Happening;
use crate::hive::Hive;
use crate::hive::budget::share::{Allowance, Kept};
use crate::hive::budget::{Waiting, is_membership};
use crate::hive::compact::Plan;
use crate::hive::outside::Record;
use crate::hive::store::quota::entry_bytes;
use crate::hive::store::{AuthorMap, disk, step};
use crate::hive::{joining, meta, recover};
use crate::id::{LinkId, NodeId, PatternId, SaveId};
use crate::limits;
use crate::reply::WaitView;
use crate::statement::{Key, Profile, Statement, StrategyCell};
use crate::time::{Hlc, Instant, Now, Span, WallTime};

/// How long the first own word waits for one peer that may know more of this machine's own map.
/// Source: `research/replication.md` 4.10.
const FIRST_WORD_WAIT: Span = Span::from_secs(10);

/// Entries and bytes of the own map that data never takes. A guess: a few dozen admissions and removals,
/// each some 100 bytes with its key.
const ENTRIES_KEPT: usize = 64;
const BYTES_KEPT: usize = 16 * 1024;

/// No clock of a machine that runs this can rightly show less: 2023-01-01.
const CALENDAR_MIN: WallTime = WallTime(1_672_531_200_000);

/// What follows when a save is durable.
#[derive(Debug)]
pub(super) enum AfterSave {
    Nothing,
    /// Signatures may name this incarnation now.
    Incarnation,
    /// The own map's next state may be shown and sent.
    Batch,
    /// A machine that proved a code waits for a person; it may be told so.
    Request {
        link: LinkId,
        mac: [u8; 32],
    },
    /// The other hive is on the disk.
    Adopted(joining::Adopted),
    /// This machine's hive, founded anew with a recovery key, is on the disk.
    Refounded(recover::Refounded),
    /// The recovery key's word may be shown and sent.
    Recovered(AuthorMap),
    /// The first word of the key that takes this one's place may be shown and sent.
    Rotated(AuthorMap),
}

#[derive(Debug)]
pub(super) struct Writer {
    incarnation: u32,
    incarnation_durable: bool,
    /// No own word before this moment; none = free to speak.
    silent_until: Option<Instant>,
    /// This machine forgot what it said: no own word before it heard of that.
    lost: bool,
    /// After that, others may yet tell of something newer.
    gather_until: Option<Instant>,
    /// Whether anything was signed in this run.
    wrote: bool,
    mood: Mood,
    waiting: Waiting,
    allowance: Allowance,
    in_flight: Option<InFlight>,
    retry: Option<Instant>,
    said: BTreeMap<PatternId, Instant>,
}

/// Whether own words may be signed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Free,
    /// Another hive is on its way to the disk.
    Moving,
    /// This key runs somewhere else too.
    Halted,
}

/// Whether something said now would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Free,
    /// The first own word still waits, at most this long.
    Silent(Span),
    /// It is not known what this machine said before.
    Lost,
    Moving,
    Halted,
}

/// What the own map can still take. Data leaves a reserve, so that a word on who belongs always fits.
struct Room<'a> {
    own: Option<&'a AuthorMap>,
    entries: usize,
    bytes: usize,
}

#[derive(Debug)]
struct InFlight {
    map: AuthorMap,
    statements: Vec<Statement>,
}

impl Writer {
    pub(super) fn new(incarnation: u32, bucket: Option<Kept>, now: Now) -> Self {
        Self {
            incarnation,
            incarnation_durable: false,
            silent_until: None,
            lost: false,
            gather_until: None,
            wrote: false,
            mood: Mood::Free,
            waiting: Waiting::default(),
            allowance: bucket.map_or_else(
                || Allowance::new(now.boot),
                |kept| Allowance::restored(kept, now),
            ),
            in_flight: None,
            retry: None,
            said: BTreeMap::new(),
        }
    }

    pub(super) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Something to be said when it may be.
    pub(super) fn push(&mut self, statement: Statement) {
        self.waiting.push(statement);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What waits and why, and how many statements were given up.
    pub(super) fn waits(&self, now: Instant, members: usize) -> (Vec<WaitView>, u64) {
        let silent = self.silent_until;
        let view = self.waiting.view(now, members, silent, &self.allowance);
        (view, self.waiting.given_up())
    }

    pub(super) fn readiness(&self, now: Instant) -> Readiness {
        match (self.mood, self.silent_until) {
            (Mood::Halted, _) => Readiness::Halted,
            (Mood::Moving, _) => Readiness::Moving,
            (Mood::Free, _) if self.lost => Readiness::Lost,
            (Mood::Free, Some(until)) if now < until => Readiness::Silent(until.since(now)),
            (Mood::Free, _) => Readiness::Free,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// It is known again what this machine said.
    pub(super) fn found(&mut self, gather_until: Option<Instant>) {
        self.lost = false;
        self.gather_until = self.gather_until.or(gather_until);
        self.silent_until = self.gather_until;
    }

    /// Whether this run says nothing more: another hive is on its way to the disk, or another key took this one's place.
    pub(super) fn is_moving(&self) -> bool {
        self.mood == Mood::Moving
    }

    pub(super) fn halted(&self) -> bool {
        self.mood == Mood::Halted
    }

    /// Whether a word on who belongs still waits to be written.
    pub(super) fn owes_membership(&self) -> bool {
        self.mood == Mood::Free && !self.lost && self.waiting.has_membership()
    }

    pub(super) fn said_at(&self, pattern: PatternId) -> Option<Instant> {
        self.said.get(&pattern).copied()
    }

    /// Leaves everything that was meant for another hive.
    pub(super) fn start_over(&mut self, lost: bool) {
        self.waiting.clear();
        self.in_flight = None;
        self.said.clear();
        self.silent_until = None;
        self.lost = lost;
        self.gather_until = None;
        self.wrote = false;
        self.mood = Mood::Free;
    }
}

impl<'a> Room<'a> {
    fn of(own: Option<&'a AuthorMap>) -> Self {
        let (entries, bytes) = own.map_or((0, 0), AuthorMap::size);
        Self {
            own,
            entries,
            bytes,
        }
    }

    /// Whether a statement fits; if so, its place is taken. What makes the map no larger always fits.
    fn takes(&mut self, statement: &Statement) -> bool {
        let (entries, bytes) = if is_membership(statement) {
            (limits::MAP_ENTRIES_MAX, limits::MAP_BYTES_MAX)
        } else {
            (
                limits::MAP_ENTRIES_MAX - ENTRIES_KEPT,
                limits::MAP_BYTES_MAX - BYTES_KEPT,
            )
        };
        let length = statement.encode().len();
        let held = self.own.and_then(|map| map.entry_bytes(&statement.key()));
        let (more, grown) = match held {
            Some(held) => (0, (self.bytes - held).saturating_add(entry_bytes(length))),
            None => (1, self.bytes.saturating_add(entry_bytes(length))),
        };
        let grows = more > 0 || grown > self.bytes;
        if grows && (self.entries + more > entries || grown > bytes) {
            return false;
        }
        self.entries += more;
        self.bytes = grown;
        true
    }
}

impl Hive {
    /// Says something of one's own; all of one call goes into one batch, as far as the budget reaches.
    pub fn publish(&mut self, now: Now, statements: Vec<Statement>) {
        let vocabulary = self.vocabulary;
        let known = |it: &Statement| vocabulary.knows_statement(it.key().kind);
        for statement in statements.into_iter().filter(known) {
            // What was said before is not what is being said now.
            if let Statement::Evidence(id, _) = &statement {
                self.writer.said.remove(id);
            }
            self.writer.waiting.push(statement);
        }
        self.flush(now);
    }

    /// The disk made a save durable.
    pub fn on_saved(&mut self, now: Now, id: SaveId) {
        self.neighbours.pass(now.boot);
        self.saved += 1;
        match self.after_save.remove(&id) {
            None | Some(AfterSave::Nothing) => {}
            Some(AfterSave::Incarnation) => self.writer.incarnation_durable = true,
            Some(AfterSave::Request { link, mac }) => self.on_request_durable(link, mac),
            Some(AfterSave::Batch) => self.on_batch_durable(now),
            Some(AfterSave::Adopted(adopted)) => self.on_adopted(now, &adopted),
            Some(AfterSave::Refounded(refounded)) => self.on_refounded(now, &refounded),
            Some(AfterSave::Recovered(map)) => self.on_recovered(now, map),
            Some(AfterSave::Rotated(map)) => self.on_rotated(now, map),
        }
        self.flush(now);
    }

    pub(super) fn begin_writing(&mut self, now: Now) {
        // Without a map of its own in a hive that is not new, this machine lost something.
        let whole = self.past.is_new || self.store.map(self.me).is_some();
        let alone = self.roster.order() == [self.me] && self.sponsor.is_none() && whole;
        self.writer.silent_until = (!alone).then(|| now.boot.after(FIRST_WORD_WAIT));
        self.writer.lost = self.has_forgotten();
        self.introduce();
    }

    /// Queues the own profile, when the map does not say it yet.
    pub(super) fn introduce(&mut self) {
        let profile = Statement::Profile(Profile {
            label: self.label.clone(),
        });
        let own = self.store.map(self.me);
        let said = own.and_then(|map| map.value(&profile.key()));
        if said != Some(&profile.encode()) {
            self.writer.waiting.push(profile);
        }
    }

    /// This machine's own cell of a strategy's counter, words on their way included, and what it said under a key
    /// that it had before.
    #[must_use]
    pub fn own_cell(&self, pattern: PatternId) -> StrategyCell {
        let key = Statement::Strategy(pattern, StrategyCell::default()).key();
        let waiting = self.writer.waiting.get(&key).cloned();
        let flying = || {
            let batch = &self.writer.in_flight.as_ref()?.statements;
            batch.iter().find(|it| it.key() == key).cloned()
        };
        let said_as = |node| Statement::decode(key, self.store.map(node)?.value(&key)?);
        let said = || said_as(self.me);
        let before = || {
            self.roster
                .keys_of(self.me)
                .find_map(|(old, _)| said_as(old))
        };
        match waiting.or_else(flying).or_else(said).or_else(before) {
            Some(Statement::Strategy(_, cell)) => cell,
            _ => StrategyCell::default(),
        }
    }

    pub(super) fn writer_wake(&self) -> Option<Instant> {
        let idle = self.writer.waiting.is_empty()
            || self.writer.in_flight.is_some()
            || self.writer.mood != Mood::Free
            || self.writer.lost
            || !self.writer.incarnation_durable;
        if idle {
            return None;
        }
        self.writer.silent_until.or(self.writer.retry)
    }

    /// Stops saying anything in the old hive; the records that remove the own map from the disk.
    pub(super) fn retire_own_map(&mut self) -> Vec<Record> {
        let in_flight = self.writer.in_flight.take().map(|batch| batch.map);
        self.writer.waiting.clear();
        self.writer.mood = Mood::Moving;
        let own = in_flight.as_ref().or(self.store.map(self.me));
        disk::records(own, None)
    }

    /// Says nothing more under this key, unless something is on its way to the disk; whether that is so now.
    pub(super) fn end_words(&mut self) -> bool {
        let idle = self.writer.in_flight.is_none();
        if idle {
            self.writer.waiting.clear();
            self.writer.mood = Mood::Moving;
        }
        idle
    }

    /// Signs the next batch, if there is something to say and it may be said.
    pub(super) fn flush(&mut self, now: Now) {
        if !self.may_sign(now) {
            return;
        }
        let writer = &mut self.writer;
        writer.silent_until = None;
        let members = self.roster.order().len();
        writer.allowance.fill(members, 1, now.boot);
        let own = self.store.map(self.me);
        let mut room = Room::of(own);
        let fits = |statement: &Statement| room.takes(statement);
        let taken = writer
            .waiting
            .take(now.boot, members, &mut writer.allowance, fits);
        let mut batch = taken.batch;
        let said = &mut writer.said;
        batch.retain(|statement| {
            let value = own.and_then(|map| map.value(&statement.key()));
            let news = value != Some(&statement.encode());
            if let (false, Some(id)) = (news, about(statement)) {
                said.entry(id).or_insert(now.boot);
            }
            news
        });
        // What lacks room waits without a timer: no moment brings room.
        writer.retry = taken.again;
        if batch.is_empty() {
            return;
        }
        let floor = own.map_or(0, |map| map.head().floor);
        let changes = batch
            .iter()
            .map(|statement| (statement.key(), Some(statement.encode())))
            .collect();
        self.sign(now, changes, floor, batch);
    }

    /// Pays for a batch that takes back so many statements: for how many of them there is enough, or when there is
    /// enough for one. A batch without any raises the floor alone.
    pub(super) fn pay_for_removals(&mut self, now: Now, count: usize) -> Result<usize, Instant> {
        let members = self.roster.order().len();
        if members <= 1 {
            return Ok(count);
        }
        let writer = &mut self.writer;
        writer.allowance.fill(members, 1, now.boot);
        writer
            .waiting
            .pay_for_removals(now.boot, members, &mut writer.allowance, count)
    }

    /// Whether a batch may be signed now.
    pub(super) fn may_sign(&self, now: Now) -> bool {
        let writer = &self.writer;
        let silent = writer.silent_until.is_some_and(|until| now.boot < until);
        writer.mood == Mood::Free
            && !silent
            && !writer.lost
            && !self.is_out()
            && writer.incarnation_durable
            && writer.in_flight.is_none()
    }

    /// Signs the next state of the own map and hands it to the disk. It is said when it is durable.
    pub(super) fn sign(
        &mut self,
        now: Now,
        mut changes: Vec<(Key, Option<Vec<u8>>)>,
        floor: u64,
        statements: Vec<Statement>,
    ) {
        let own = self.store.map(self.me);
        let writer = &mut self.writer;
        let incarnation = writer.incarnation;
        let hlc = stamp(own, incarnation, now.wall);
        if own.is_some_and(|map| hlc < map.head().hlc) {
            // All that is later is said anew; what somebody took back meanwhile is not to be.
            let plan = Plan::of(self.me, &self.roster, &self.store);
            let said: BTreeSet<Key> = changes.iter().map(|(key, _)| *key).collect();
            let drop = plan.drop.into_iter().filter(|key| !said.contains(key));
            changes.extend(drop.map(|key| (key, None)));
        }
        let draft = self
            .store
            .draft_above(&self.key, incarnation, hlc, changes, floor);
        let Ok(map) = draft else {
            // Nothing is lost: it goes on waiting, and the count of what waits is shown.
            for statement in statements {
                writer.waiting.push(statement);
            }
            return;
        };
        writer.wrote = true;
        let mut records = disk::records(own, Some(&map));
        records.push(meta::bucket(writer.allowance.kept(now.wall)));
        writer.in_flight = Some(InFlight { map, statements });
        self.save(records, AfterSave::Batch);
    }

    fn on_batch_durable(&mut self, now: Now) {
        let Some(InFlight { map, statements }) = self.writer.in_flight.take() else {
            return;
        };
        let before = self.store.map(self.me).cloned();
        let delta = step(before.as_ref(), &map);
        self.store.insert(map);
        self.changes.touch(self.me);
        for statement in &statements {
            if let Some(id) = about(statement) {
                self.writer.said.insert(id, now.boot);
            }
            if let Statement::Revoke(revoke) = statement {
                self.expelled.remove(&revoke.node);
            }
        }
        let revokes = |it: &Statement| matches!(it, Statement::Revoke(_));
        if statements.iter().any(revokes) {
            self.refresh(now);
        } else {
            self.refresh_after(now, self.me, before.as_ref());
        }
        self.spread(now, &delta, None);
        self.note_name_told();
        self.repair.agreed = false;
        for statement in statements {
            if let Statement::Admit(admit) = statement {
                self.welcome(now, admit.node);
            }
        }
    }

    /// Tells the own map like news: what was said before this machine knew itself a member was not in its digests.
    pub(super) fn show_own_map(&mut self, now: Now) {
        if let Some(own) = self.store.map(self.me).map(|own| own.delta(None)) {
            self.spread(now, &own, None);
        }
    }

    /// The own map came back from a peer, newer than here: after a lost disk, or because the key runs twice.
    pub(super) fn on_own_map_moved(&mut self, now: Now) {
        let Some(seen) = self.store.map(self.me).map(|map| map.head().incarnation) else {
            return;
        };
        if let Some(lost) = self.writer.in_flight.take() {
            for statement in lost.statements {
                self.writer.waiting.push(statement);
            }
        }
        if self.writer.wrote {
            self.halt(self.me);
            return;
        }
        self.take_back_name();
        if seen >= self.writer.incarnation {
            self.writer.incarnation = next_incarnation(seen, &mut self.chance);
            self.writer.incarnation_durable = false;
            let record = meta::incarnation(self.writer.incarnation);
            self.save(alloc::vec![record], AfterSave::Incarnation);
        }
        self.found_itself(now);
    }

    /// Stops writing: two processes that sign for one key contradict each other.
    pub(super) fn halt(&mut self, me: NodeId) {
        if self.writer.mood != Mood::Halted {
            self.writer.mood = Mood::Halted;
            self.tell(Happening::Forked { node: me.short() });
        }
    }
}

/// The incarnation after this one: a count of starts, and a byte of chance. Two copies of one disk then
/// start under different ones, which is told as a key that runs twice and not as a lie.
pub(super) fn next_incarnation(before: u32, chance: &mut Chance) -> u32 {
    let lot = u32::try_from(chance.below(256)).unwrap_or(0);
    let start = (before >> 8).saturating_add(1);
    start.checked_mul(256).map_or(u32::MAX, |start| start + lot)
}

/// The time of the next batch: later than the one before, but a new incarnation starts from the calendar,
/// so that a clock that was wrong once is not wrong for ever. A calendar before this program existed is
/// that of a machine without a battery, and tells nothing.
fn stamp(own: Option<&AuthorMap>, incarnation: u32, wall: WallTime) -> Hlc {
    let Some(head) = own.map(AuthorMap::head) else {
        return Hlc::default().next(wall);
    };
    let restarts = head.incarnation != incarnation && wall >= CALENDAR_MIN;
    let last = if restarts { Hlc::default() } else { head.hlc };
    last.next(wall)
}

/// The pattern whose definition or numbers a statement tells.
fn about(statement: &Statement) -> Option<PatternId> {
    match statement {
        Statement::Pattern(def) => Some(def.id()),
        Statement::Evidence(id, _) => Some(*id),
        _ => None,
    }
}
