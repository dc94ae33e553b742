//! What becomes of a request: looked at, judged, noted, done, looked at again; and what is put back when a lease ends.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hive_host::helper::{Advice, Answer, Knob, LEASE, No, REQUEST_BYTES, Request, Thread, Verb};
use hive_host::privileged::Sight;
use rustix::io::Errno;

use crate::kernel::Kernel;
use crate::notes::{NOTES_MAX, Note, Notes, State};
use crate::policy::{self, Served};

/// Most connections at once: a daemon, its guardian, its successor and one to spare.
pub const LEASES: usize = 4;

/// A sweep that finds nothing is clean; two in a row end it. As in the daemon's hands (`research/optimizer.md` 6.1).
const CLEAN_PASSES: u32 = 2;

/// A storm that forks faster than so many passes is swept again [`AGAIN`] later. As in the daemon's hands.
const PASSES_MAX: u32 = 24;

/// What could not be put back is tried again this much later. A guess.
const AGAIN: Duration = Duration::from_secs(5);

/// The lease of a connection: its place among [`LEASES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(usize);

/// Whom a note belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Lease(usize),
    /// A lease that ended, or a helper that did.
    Nobody,
}

/// What a sweep found of one value of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swept {
    /// It was not inherited, or its thread has ended or is not ours to touch.
    Clean,
    /// It was, and is put back.
    Back,
    /// The kernel said no.
    Failed,
}

/// What the service knows of a note besides.
struct Hand<H> {
    owner: Owner,
    /// None for what an earlier helper noted.
    hold: Option<Rc<H>>,
}

/// The helper without its socket.
pub struct Service<K: Kernel> {
    kernel: K,
    served: Served,
    notes: Notes,
    hands: Vec<Hand<K::Hold>>,
    /// When each lease ends, since boot; none where there is no connection.
    leases: [Option<Duration>; LEASES],
    /// When what is nobody's is put back again.
    again: Option<Duration>,
    born: Vec<Thread>,
}

impl<K: Kernel> Service<K> {
    /// Takes over what an earlier helper left on, and puts it back.
    pub fn open(kernel: K, served: Served, notes: Notes, now: Duration) -> Self {
        let mut service = Self {
            kernel,
            served,
            notes,
            hands: (0..NOTES_MAX).map(|_| Hand::nobodys()).collect(),
            leases: [None; LEASES],
            again: None,
            born: Vec::with_capacity(NOTES_MAX),
        };
        service.put_back(Owner::Nobody, now);
        service
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// How many notes there are: what is on, and what was since the last settling.
    pub fn held(&self) -> usize {
        self.notes.all().count()
    }

    /// Begins a lease; none if all are taken.
    pub fn connect(&mut self, now: Duration) -> Option<Lease> {
        let free = self.leases.iter().position(Option::is_none)?;
        self.leases[free] = Some(now + LEASE);
        Some(Lease(free))
    }

    /// Ends a lease: what it set is put back.
    pub fn hang_up(&mut self, lease: Lease, now: Duration) {
        self.put_back(Owner::Lease(lease.0), now);
        self.leases[lease.0] = None;
    }

    /// Whether a lease has ended: whoever does not renew it is hung up on, or four that say nothing would shut all others out.
    pub fn has_ended(&self, lease: Lease, now: Duration) -> bool {
        self.leases[lease.0].is_none_or(|end| end <= now)
    }

    /// Everything is put back: the helper is asked to end.
    pub fn end(&mut self, now: Duration) {
        for at in 0..LEASES {
            self.put_back(Owner::Lease(at), now);
        }
        self.put_back(Owner::Nobody, now);
    }

    /// When [`Service::tick`] is to be called; none while nobody has a lease and nothing is to be put back.
    pub fn deadline(&self) -> Option<Duration> {
        let ends = self.leases.iter().copied().chain([self.again]);
        ends.flatten().min()
    }

    /// Puts back what leases that ended have on.
    pub fn tick(&mut self, now: Duration) {
        for at in 0..LEASES {
            if self.leases[at].is_some_and(|end| end <= now) {
                self.put_back(Owner::Lease(at), now);
            }
        }
        if self.again.is_some_and(|again| again <= now) {
            self.put_back(Owner::Nobody, now);
        }
    }

    /// Answers one request, which renews the lease.
    pub fn request(
        &mut self,
        lease: Lease,
        now: Duration,
        bytes: &[u8; REQUEST_BYTES],
    ) -> (u32, Answer) {
        let (number, verb) = Request::decode(bytes);
        let answer = match verb {
            Ok(verb) => {
                self.leases[lease.0] = Some(now + LEASE);
                self.answer(Owner::Lease(lease.0), now, verb)
            }
            Err(no) => Err(no.into()),
        };
        (number, answer.map_or_else(|no| no, Answer::Done))
    }

    fn answer(&mut self, owner: Owner, now: Duration, verb: Verb) -> Result<i64, Answer> {
        match verb {
            Verb::Renew => Ok(i64::try_from(self.of(owner).len()).unwrap_or(i64::MAX)),
            Verb::Set {
                knob,
                thread,
                value,
            } => self.set(owner, knob, thread, value),
            Verb::Restore { knob, thread } => self.restore(knob, thread),
            Verb::Settle => {
                self.settle(owner, now);
                Ok(0)
            }
            Verb::Advise {
                advice,
                thread,
                bytes,
            } => self.advise(advice, thread, bytes),
        }
    }

    /// Where the notes of an owner are.
    fn of(&self, owner: Owner) -> Vec<usize> {
        let notes = self.notes.all();
        notes
            .map(|(at, _)| at)
            .filter(|at| self.is_of(*at, owner))
            .collect()
    }

    fn is_of(&self, at: usize, owner: Owner) -> bool {
        self.hands[at].owner == owner
    }

    /// Takes hold of a process and looks at its thread: what is seen then is of this very process.
    fn reach(&mut self, thread: Thread) -> Result<(Rc<K::Hold>, Sight), Answer> {
        let known = self
            .notes
            .all()
            .find(|(_, note)| note.thread.pid == thread.pid)
            .and_then(|(at, _)| self.hands[at].hold.clone());
        let hold = match known.filter(|hold| self.kernel.lives(hold)) {
            Some(hold) => hold,
            None => Rc::new(self.kernel.hold(thread.pid).map_err(|why| failed(&why))?),
        };
        let sight = self.kernel.look(thread).ok_or(No::Gone)?;
        if !self.kernel.lives(&hold) {
            return Err(No::Gone.into());
        }
        policy::target(self.served, thread, &sight)?;
        Ok((hold, sight))
    }

    fn set(&mut self, owner: Owner, knob: Knob, thread: Thread, value: i64) -> Result<i64, Answer> {
        let (hold, sight) = self.reach(thread)?;
        let now = self.read(knob, thread)?;
        let found = self.notes.find(knob, thread);
        if let Some((at, note)) = found {
            match note.state {
                State::On if now != note.new => {
                    self.notes.mark(at, State::ByHand);
                    return Err(No::ByHand.into());
                }
                State::On if value == note.new && self.takes(at, owner) => {
                    self.hands[at].hold = Some(hold);
                    return Ok(note.old);
                }
                State::On => return Err(No::SetAlready.into()),
                State::ByHand => return Err(No::ByHand.into()),
                State::Back => {}
            }
        }
        policy::value(knob, now, value, sight.nice)?;
        let at = found.map(|(at, _)| at).or_else(|| self.notes.room());
        let at = at.ok_or(No::Full)?;
        let note = Note {
            knob,
            thread,
            old: now,
            new: value,
            since: self.kernel.ticks(),
            state: State::On,
        };
        self.notes.write(at, note).map_err(|_| No::NoJournal)?;
        self.hands[at] = Hand {
            owner,
            hold: Some(Rc::clone(&hold)),
        };
        if let Err(why) = self.kernel.write(knob, thread.tid, value) {
            self.notes.mark(at, State::Back);
            return Err(failed(&why));
        }
        if self.kernel.look(thread).is_none() || !self.kernel.lives(&hold) {
            return Err(No::Gone.into());
        }
        if self.read(knob, thread)? != value {
            return Err(Answer::Failed(Errno::IO.raw_os_error()));
        }
        Ok(now)
    }

    /// Whether what is on belongs to who asks for it once more: it does already, or the lease that it was set under has
    /// ended. What another connection keeps on goes with that one, so nobody else is told that it is done.
    fn takes(&mut self, at: usize, owner: Owner) -> bool {
        if self.is_of(at, Owner::Nobody) {
            self.hands[at].owner = owner;
        }
        self.is_of(at, owner)
    }

    fn read(&mut self, knob: Knob, thread: Thread) -> Result<i64, Answer> {
        let now = self.kernel.read(knob, thread.tid);
        now.map_err(|why| failed(&why))
    }

    fn restore(&mut self, knob: Knob, thread: Thread) -> Result<i64, Answer> {
        self.reach(thread)?;
        if let Some((at, note)) = self.notes.find(knob, thread) {
            return match note.state {
                State::On => self.restore_noted(at, note),
                State::Back => Err(No::NotOurs.into()),
                State::ByHand => Err(No::ByHand.into()),
            };
        }
        let now = self.read(knob, thread)?;
        let nice = self.read(Knob::Nice, thread)?;
        let old = self.inherited(None, (knob, now), nice, thread);
        let old = old.ok_or(No::NotOurs)?;
        let written = self.kernel.write(knob, thread.tid, old);
        written.map_err(|why| failed(&why)).map(|()| old)
    }

    /// Puts back what this note says, if the value is still ours.
    fn restore_noted(&mut self, at: usize, note: Note) -> Result<i64, Answer> {
        let hold = self.hands[at].hold.clone();
        if hold.is_some_and(|hold| !self.kernel.lives(&hold)) {
            // Its number went to another process that was born within the same tick.
            self.notes.mark(at, State::Back);
            return Err(No::Gone.into());
        }
        let now = self.read(note.knob, note.thread)?;
        if now == note.old {
            // It was noted and the deed not done, or it is back already.
            self.notes.mark(at, State::Back);
            return Err(No::NotOurs.into());
        }
        if now != note.new {
            self.notes.mark(at, State::ByHand);
            return Err(No::ByHand.into());
        }
        let old = policy::as_before(note.knob, note.old);
        let written = self.kernel.write(note.knob, note.thread.tid, old);
        written.map_err(|why| failed(&why))?;
        let now = self.read(note.knob, note.thread)?;
        if policy::as_before(note.knob, now) != old {
            return Err(Answer::Failed(Errno::IO.raw_os_error()));
        }
        self.notes.mark(at, State::Back);
        Ok(note.old)
    }

    /// The value before, for a thread that was born since one got exactly this value here: the one that gives least, where there
    /// were several. A policy is ours by the nice that marks it: everybody may set `SCHED_IDLE`.
    fn inherited(
        &self,
        of: Option<Owner>,
        (knob, now): (Knob, i64),
        nice: i64,
        thread: Thread,
    ) -> Option<i64> {
        let since = |it: Knob, value: i64| {
            let notes = self.notes.all();
            notes
                .filter(move |(at, _)| of.is_none_or(|owner| self.is_of(*at, owner)))
                .map(|(_, note)| note)
                .filter(move |note| note.knob == it && note.new == value)
                .filter(|note| note.since <= thread.start)
        };
        if knob == Knob::Policy && since(Knob::Nice, nice).next().is_none() {
            return None;
        }
        since(knob, now)
            .map(|note| policy::as_before(knob, note.old))
            .max()
    }

    fn advise(&mut self, advice: Advice, thread: Thread, bytes: i64) -> Result<i64, Answer> {
        let (hold, _) = self.reach(thread)?;
        policy::advice(thread, bytes)?;
        let most = bytes.cast_unsigned();
        let taken = self.kernel.advise(&hold, thread.pid, advice, most);
        let taken = taken.map_err(|why| failed(&why))?;
        Ok(taken.cast_signed())
    }

    /// The daemon says that all is back: what is not, is put back; the rest is forgotten.
    fn settle(&mut self, owner: Owner, now: Duration) {
        let on = |(at, note): (usize, &Note)| self.is_of(at, owner) && note.state == State::On;
        if self.notes.all().any(on) {
            self.put_back(owner, now);
        } else {
            self.forget(owner);
        }
    }

    /// Puts back all that is on of an owner, and what inherited it. What cannot be put back stays noted, as nobody's.
    fn put_back(&mut self, owner: Owner, now: Duration) {
        let mut is_over = true;
        // The mark goes last: a policy without it would be taken for somebody else's.
        let mut places: Vec<usize> = self.of(owner).into_iter().collect();
        places.sort_by_key(|at| self.notes.at(*at).map(|note| goes_back(note.knob)));
        for at in places {
            is_over &= self.is_back(at);
        }
        is_over &= self.sweep(owner);
        if is_over {
            self.forget(owner);
        } else {
            for at in self.of(owner) {
                self.hands[at].owner = Owner::Nobody;
            }
        }
        self.again = (!self.of(Owner::Nobody).is_empty()).then_some(now + AGAIN);
    }

    /// Puts one value back; `false` if the kernel said no.
    fn is_back(&mut self, at: usize) -> bool {
        let on = self.notes.at(at).filter(|note| note.state == State::On);
        let Some(note) = on else {
            return true;
        };
        let reached = self.reach(note.thread);
        let done = reached.and_then(|_| self.restore_noted(at, note));
        // Gone, another user's by now, scheduled by other rules, or changed by hand: not ours any more.
        !matches!(done, Err(Answer::Failed(_)))
    }

    /// Puts back what was born since and carries exactly what this owner set; whether two looks in a row found none, and none that
    /// the kernel keeps.
    fn sweep(&mut self, owner: Owner) -> bool {
        let owned = || self.notes.all().filter(|(at, _)| self.is_of(*at, owner));
        let Some(since) = owned().map(|(_, note)| note.since).min() else {
            return true;
        };
        let mut in_order = Knob::ALL;
        in_order.sort_by_key(|knob| goes_back(*knob));
        let in_use = in_order.map(|knob| owned().any(|(_, note)| note.knob == knob));
        let knobs = || in_order.into_iter().zip(in_use).filter(|(_, used)| *used);
        let mut clean = 0;
        for _ in 0..PASSES_MAX {
            let mut born = std::mem::take(&mut self.born);
            born.clear();
            self.kernel.born_since(self.served.uid, since, &mut born);
            let (mut is_dirty, mut is_kept) = (false, false);
            for thread in &born {
                for (knob, _) in knobs() {
                    let swept = self.sweep_one(owner, knob, *thread);
                    is_dirty |= swept == Swept::Back;
                    is_kept |= swept == Swept::Failed;
                }
            }
            self.born = born;
            clean = if is_dirty { 0 } else { clean + 1 };
            if clean == CLEAN_PASSES {
                return !is_kept;
            }
            self.kernel.settle();
        }
        false
    }

    /// Puts back what this thread inherited.
    fn sweep_one(&mut self, owner: Owner, knob: Knob, thread: Thread) -> Swept {
        if self.notes.find(knob, thread).is_some() {
            return Swept::Clean;
        }
        match self.bequeathed(owner, knob, thread) {
            Ok(Some(_)) => Swept::Back,
            Ok(None) | Err(Answer::Refused(_) | Answer::Done(_)) => Swept::Clean,
            Err(Answer::Failed(_)) => Swept::Failed,
        }
    }

    /// The value that a thread has back which inherited one of this owner's; none if it did not.
    fn bequeathed(
        &mut self,
        owner: Owner,
        knob: Knob,
        thread: Thread,
    ) -> Result<Option<i64>, Answer> {
        let now = self.read(knob, thread)?;
        let nice = self.read(Knob::Nice, thread)?;
        let Some(old) = self.inherited(Some(owner), (knob, now), nice, thread) else {
            return Ok(None);
        };
        self.reach(thread)?;
        let written = self.kernel.write(knob, thread.tid, old);
        written.map_err(|why| failed(&why)).map(|()| Some(old))
    }

    /// Forgets an owner's notes. Where the file cannot be written they are met again at the next start, and their values are then
    /// found to be back.
    fn forget(&mut self, owner: Owner) {
        for at in self.of(owner) {
            if let Err(why) = self.notes.drop(at) {
                eprintln!("hive-helper: the journal cannot be written: {why}");
                continue;
            }
            self.hands[at] = Hand::nobodys();
        }
    }
}

impl<H> Hand<H> {
    fn nobodys() -> Self {
        Self {
            owner: Owner::Nobody,
            hold: None,
        }
    }
}

/// The order of putting back: a policy before the nice that marks it as ours, and before a slice, which cannot be written under
/// `SCHED_IDLE`.
fn goes_back(knob: Knob) -> u8 {
    u8::from(knob != Knob::Policy)
}

/// What the kernel's no means to who asked.
fn failed(why: &io::Error) -> Answer {
    match why.raw_os_error() {
        Some(errno) if !is_gone(errno) => Answer::Failed(errno),
        Some(_) => Answer::Refused(No::Gone),
        None => Answer::Failed(Errno::IO.raw_os_error()),
    }
}

fn is_gone(errno: i32) -> bool {
    [Errno::SRCH, Errno::NOENT]
        .iter()
        .any(|gone| gone.raw_os_error() == errno)
}

#[cfg(test)]
#[path = "service/tests.rs"]
mod tests;
