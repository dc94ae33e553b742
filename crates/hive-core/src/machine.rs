//! The one machine: observe, learn, decide, act, record.
//!
//! [`Machine`] takes what the host saw and did and says what to look at, to change, to tell and to keep.
//! One verb per file; this one holds the state and lets them take turns.

pub mod facts;
pub mod act;
pub mod window;
mod front;
pub mod observe;
pub mod pace;
pub mod progress;
pub mod weigh;
pub mod neighbours;
pub mod sequence;
pub mod heard;
pub mod learn;
pub mod leave;
pub mod gain;
pub mod discovery;
pub mod epoch;
pub mod belief;
pub mod trial;
pub mod choice;
pub mod decide;
pub mod hands;
pub mod run;
pub mod memory;
mod own;
mod suggest;
mod acted;
mod probe;
mod measure;
mod record;
mod former;
mod command;
mod explain;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::chance::Chance;
use crate::event_log::Happening;
use crate::hive::outside::Record;
use crate::id::{ChangeId, PatternId, ProgramName, WorkloadKey};
use crate::limits;
use crate::machine::act::Step;
use crate::machine::choice::Known;
use crate::machine::decide::{Choice, Grounds};
use crate::machine::epoch::Epoch;
use crate::machine::facts::{GroupId, MachineFacts, Sample, SampleRequest, Survey};
use crate::machine::former::Former;
use crate::machine::gain::Gains;
use crate::machine::hands::{Hands, Wanted};
use crate::machine::heard::HeardPattern;
use crate::machine::learn::Ledger;
use crate::machine::memory::Keeper;
pub use crate::machine::observe::Containers;
use crate::machine::observe::{Contention, Observer, Situation, Yardstick};
use crate::machine::own::Own;
use crate::machine::pace::Pace;
use crate::machine::probe::Probe;
use crate::machine::run::Run;
use crate::machine::trial::Regime;
use crate::pattern::{Action, Evidence};
use crate::reply::{Mode, PatternState};
use crate::statement::Statement;
use crate::time::{Instant, Now, Span};

/// After this long without contention an action is taken off (the lead's figure; a guess).
const SHUT_AFTER: Span = Span::from_secs(10);

/// After this long without an answer the host is asked again. A guess: a survey takes milliseconds.
const ASK_AGAIN: Span = Span::from_secs(5);

/// How often a machine is looked at that cannot tell its pressure: no look can open the gate there, so waking
/// up more often would be for nothing. A guess.
const LOOK_WITHOUT_PRESSURE: Span = Span::from_secs(3_600);

/// So long after it was put back, a survey may still show our own nice or policy: it can have been taken before.
const NICE_LINGERS: Span = Span::from_secs(5);

/// After a person's undo nothing is tried or turned on for so long. A guess: whoever just took their hands
/// off the machine does not want the next trial in the same breath.
const REST_AFTER_UNDO: Span = Span::from_secs(600);

/// How long to leave the machine to another daemon before asking the host again. A guess.
const OTHER_ACTS: Span = Span::from_secs(60);

/// Something the machine part wants done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum MachineEffect {
    /// Look at the machine.
    Sample(SampleRequest),
    /// Change something.
    Act(Step),
    /// Put a change back.
    Undo(ChangeId),
    /// Say this to the hive, in this machine's own map.
    Publish(Vec<Statement>),
    /// Write these to the store.
    Keep(Vec<Record>),
    /// Tell the owner.
    Tell(Happening),
}

/// What the machine part is started with.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// What the host found.
    pub facts: MachineFacts,
    /// How much the optimizer may do, when the store does not say.
    pub mode: Mode,
    /// Programs to protect although they are in no terminal's foreground.
    pub protect: Vec<ProgramName>,
    /// Programs never to touch.
    pub never: Vec<ProgramName>,
    /// Whether what runs in containers takes part.
    pub containers: Containers,
}

/// One machine's optimizer. It has no `Debug`: it holds the hive's secret.
pub struct Machine {
    facts: MachineFacts,
    protect: Vec<ProgramName>,
    never: Vec<ProgramName>,
    containers: Containers,
    secret: [u8; 32],
    chance: Chance,
    mode: Mode,
    pause: Option<Pause>,
    /// Until when nothing is begun because a person undid something.
    rest_until: Option<Instant>,
    /// A yes was said that a power cut could still take back: nothing is begun on it.
    yes_on_its_way: bool,
    /// Another daemon acts on this machine; until then nothing is asked of the host.
    other_acts_until: Option<Instant>,
    out: VecDeque<MachineEffect>,
    observer: Observer,
    situation: Situation,
    paces: BTreeMap<GroupId, Pace>,
    contended: Span,
    probe: Option<Probe>,
    survey_due: Instant,
    asked: Option<(Asked, Instant)>,
    hands: Hands,
    /// What the last undoing restored and left alone.
    put_back: (u32, u32),
    /// What the background last carried of ours that a survey would take for somebody else's setting, and when.
    worn: Option<(Wanted, Instant)>,
    run: Option<Run>,
    held: Span,
    own: Own,
    memory: Keeper,
    /// Actions that a person allowed, each by its name.
    allowed: BTreeSet<Action>,
    ledger: Ledger,
    gains: Gains,
    former: Former,
    advice: BTreeMap<PatternId, HeardPattern>,
    names: BTreeMap<WorkloadKey, ProgramName>,
    said: BTreeMap<PatternId, (Evidence, Instant)>,
}

/// A pause; without an end it lasts until somebody resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    until: Option<Instant>,
}

/// What the outstanding question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Survey,
    Probe,
    Run,
    /// The run that asked is over; its answer says nothing.
    Nobody,
}

impl Machine {
    /// Starts from what the store held. The host has restored leftovers: nothing is on.
    #[must_use]
    pub fn new(
        config: MachineConfig,
        secret: [u8; 32],
        restored: &[Record],
        chance: Chance,
        now: Now,
    ) -> Self {
        let ledger = Ledger::restore(restored);
        let said = ledger
            .in_order()
            .into_iter()
            .map(|(id, entry)| (id, (entry.evidence(), now.boot)))
            .collect();
        Self {
            facts: config.facts,
            protect: config.protect,
            never: config.never,
            containers: config.containers,
            secret,
            chance,
            mode: record::restored_mode(restored).unwrap_or(config.mode),
            pause: record::restored_pause(restored, now),
            rest_until: record::restored_rest(restored, now),
            yes_on_its_way: false,
            other_acts_until: None,
            out: VecDeque::new(),
            observer: Observer::default(),
            situation: Situation::default(),
            paces: BTreeMap::new(),
            contended: Span::default(),
            probe: None,
            survey_due: now.boot,
            asked: None,
            hands: Hands::default(),
            put_back: (0, 0),
            worn: None,
            run: None,
            held: Span::default(),
            own: Own::default(),
            memory: Keeper::default(),
            allowed: record::restored_allowed(restored),
            ledger,
            gains: Gains::restore(restored),
            former: Former::restored(restored),
            advice: BTreeMap::new(),
            names: BTreeMap::new(),
            said,
        }
    }

    /// The first look.
    pub fn on_start(&mut self, now: Now) {
        self.forget_spent(now.wall);
        self.ask_for_more(now);
        self.turn(now);
    }

    /// Time passed.
    pub fn on_timeout(&mut self, now: Now) {
        self.turn(now);
    }

    /// The host answered a question.
    pub fn on_sampled(&mut self, now: Now, sample: Sample) {
        match (self.asked.map(|(what, _)| what), sample) {
            (Some(Asked::Survey), Sample::Survey(survey)) => {
                self.asked = None;
                self.on_survey(now, survey);
            }
            (Some(Asked::Probe), Sample::Window(reading)) => {
                self.asked = None;
                self.on_probed(now, reading);
            }
            (Some(Asked::Run), Sample::Window(reading)) => {
                self.asked = None;
                self.on_reading(now, reading);
            }
            (Some(Asked::Nobody), Sample::Window(_)) => self.asked = None,
            // A late answer to a question that was asked again.
            _ => {}
        }
        self.turn(now);
    }

    /// What the other members say about patterns; replaces what they said before.
    pub fn on_advice(&mut self, now: Now, advice: &BTreeMap<PatternId, HeardPattern>) {
        let mut records = Vec::new();
        for heard in advice.values() {
            let known = self.ledger.get(heard.def.id()).is_some();
            if !known && self.ledger.len() < limits::MAP_ENTRIES_MAX {
                let entry = self.ledger.know(heard.def, false, heard.first_seen);
                records.push(entry.record());
            }
        }
        if !records.is_empty() {
            self.out.push_back(MachineEffect::Keep(records));
        }
        self.advice.clone_from(advice);
        if let Some(run) = &self.run
            && advice.get(&run.id).is_some_and(|heard| heard.paused)
        {
            self.end_run();
        }
        self.turn(now);
    }

    /// The next thing to be done outside, if any.
    pub fn poll(&mut self) -> Option<MachineEffect> {
        self.out.pop_front()
    }

    /// When time alone moves something.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let asked = self.asked.map(|(_, at)| at.after(ASK_AGAIN));
        let survey = self.asked.is_none().then_some(self.survey_due);
        let probe = self.probe.as_ref().filter(|_| self.asked.is_none());
        let wakes = [
            asked,
            survey,
            probe.map(|probe| probe.due),
            self.run.as_ref().and_then(Run::deadline),
            self.hands.deadline(),
            self.pause.and_then(|pause| pause.until),
            self.rest_until,
            self.other_acts_until,
            self.own.until(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// Lets every part do what is due.
    fn turn(&mut self, now: Now) {
        if self
            .pause
            .and_then(|p| p.until)
            .is_some_and(|until| now.boot >= until)
        {
            self.set_pause(now, None);
        }
        let rest = self.rest_until.filter(|until| now.boot < *until);
        self.set_rest(now, rest);
        self.other_acts_until = self.other_acts_until.filter(|until| now.boot < *until);
        self.own.rested(now.boot);
        if self
            .asked
            .is_some_and(|(_, at)| now.boot.since(at) >= ASK_AGAIN)
        {
            self.asked = None;
        }
        self.steer(now);
        self.work(now);
        self.ask(now);
    }

    /// Begins and ends runs.
    fn steer(&mut self, now: Now) {
        if let Some(run) = &self.run {
            let ended = !self.situation.groups.contains_key(&run.protected);
            let shut = !run.open && now.boot.since(run.open_at) >= SHUT_AFTER;
            if ended || shut || !self.may_act() {
                self.end_run();
            }
        }
        if !self.may_act() || self.probe.is_some() {
            return;
        }
        let current = self
            .run
            .as_ref()
            .map(|run| (run.id, run.is_between(), run.regime));
        match current {
            None => {}
            // A proven action makes room for a trial, between two blocks.
            Some((_, true, Regime::Proven)) if self.held >= decide::PROVEN_REST => {}
            Some(_) => return,
        }
        let keep = self.run.as_ref().map(|run| run.protected);
        let Some(contention) = self.situation.contention(&self.paces, keep, &self.facts) else {
            return;
        };
        let Choice::Run(regime, def) = self.choose(now, &contention) else {
            return;
        };
        if current.is_none_or(|(id, ..)| id != def.id()) {
            self.end_run();
            self.begin_run(now, Run::new(def, regime, &contention, now.boot));
        }
    }

    fn choose(&self, now: Now, contention: &Contention) -> Choice {
        let grounds = Grounds {
            contention,
            facts: &self.facts,
            secret: &self.secret,
            advice: &self.advice,
            wall: now.wall,
            rested: self.held >= decide::PROVEN_REST,
            running: self.run.as_ref().map(|run| run.id),
        };
        decide::choose(&grounds, &self.ledger)
    }

    fn known(&self, now: Now) -> Known<'_> {
        Known {
            ledger: &self.ledger,
            advice: &self.advice,
            secret: &self.secret,
            today: Epoch::new(now.wall, self.facts.kernel),
        }
    }

    fn begin_run(&mut self, now: Now, run: Run) {
        let state = match run.regime {
            Regime::Trial => PatternState::Trial,
            Regime::Probation => PatternState::Probation,
            Regime::Proven => PatternState::Proven,
        };
        let entry = self.ledger.know(run.def, true, now.boot);
        let mut fresh = false;
        if run.regime == Regime::Proven {
            entry.state = state;
        } else {
            fresh = self.ledger.begin(run.id, state);
            self.held = Span::default();
        }
        if fresh {
            let forgotten = self.gains.forget(run.id);
            self.out
                .extend(forgotten.map(|record| MachineEffect::Keep(Vec::from([record]))));
            let action = run.def.action;
            self.out
                .push_back(MachineEffect::Tell(Happening::TrialBegan { action }));
        }
        self.keep(run.id);
        self.run = Some(run);
    }

    /// Ends the run. What it has on is put back by the next [`Self::work`].
    fn end_run(&mut self) {
        let Some(run) = self.run.take() else {
            return;
        };
        if let Some((Asked::Run, at)) = self.asked {
            self.asked = Some((Asked::Nobody, at));
        }
        if run.told_on {
            let action = run.def.action;
            self.out
                .push_back(MachineEffect::Tell(Happening::TurnedOff { action }));
        }
    }

    /// Brings the hands where the run wants them and moves the run on.
    fn work(&mut self, now: Now) {
        if let Some(run) = &mut self.run
            && run.is_between()
            && run.open
            && self.probe.is_none()
            && let Some(entry) = self.ledger.get(run.id)
        {
            let soon = !run.has_reference();
            let block = run
                .regime
                .next_block(entry, soon, &mut run.rests, &mut self.chance);
            run.begin(block);
        }
        let wanted = self.run.as_ref().and_then(Run::wanted);
        let allowed = self.run.as_ref().map(Run::allowed).unwrap_or_default();
        let (ready, effect) =
            self.hands
                .reach(now.boot, wanted.as_ref(), allowed, &mut self.chance);
        let switched = effect.is_some();
        self.out.extend(effect);
        if let Some(held) = self.hands.held()
            && matches!(held.action, Action::BackgroundNice | Action::BackgroundIdle)
        {
            self.worn = Some((held.clone(), now.boot));
        }
        if let Some(run) = &mut self.run {
            run.tick(now.boot, ready);
        }
        if ready {
            self.tell_on();
        }
        if switched {
            self.count_switch(now);
        }
    }

    /// Asks the host, one question at a time: a window's end before anything else.
    fn ask(&mut self, now: Now) {
        if self.asked.is_some() {
            return;
        }
        let boot = now.boot;
        let (what, request) = if let Some(run) = self.run.as_mut().filter(|run| run.wants_reading())
        {
            (Asked::Run, run.request())
        } else if let Some(probe) = self.probe.as_ref().filter(|probe| boot >= probe.due) {
            let protected = probe.groups.clone();
            (
                Asked::Probe,
                SampleRequest::Watch {
                    protected,
                    background: Vec::new(),
                },
            )
        } else if boot >= self.survey_due {
            (Asked::Survey, SampleRequest::Survey)
        } else {
            return;
        };
        self.asked = Some((what, boot));
        self.out.push_back(MachineEffect::Sample(request));
    }

    fn on_survey(&mut self, now: Now, survey: Survey) {
        self.weigh_own(now, survey.own);
        let first = self.situation.at;
        let held = self.hands.held().is_some();
        let worn = self.worn.as_ref();
        let worn = worn.filter(|(_, at)| held || now.boot.since(*at) < NICE_LINGERS);
        let yardstick = Yardstick {
            facts: &self.facts,
            protect: &self.protect,
            never: &self.never,
            containers: self.containers,
            worn: worn.map(|(worn, _)| (worn.action, &worn.targets[..])),
        };
        let taken = self.memory.note(&survey);
        let situation = self.observer.on_survey(survey, &yardstick);
        let Some(situation) = situation else {
            // A second look soon: one survey alone says nothing.
            self.survey_due = now.boot.after(Span::from_secs(2));
            return;
        };
        let span = if first == Instant::START {
            Span::default()
        } else {
            situation.at.since(first)
        };
        self.survey_due = now.boot.after(if self.facts.pressure {
            situation.look_again_after()
        } else {
            LOOK_WITHOUT_PRESSURE
        });
        self.paces.retain(|id, _| situation.groups.contains_key(id));
        self.situation = situation;
        let keep = self.run.as_ref().map(|run| run.protected);
        let contention = self.situation.contention(&self.paces, keep, &self.facts);
        if contention.is_some() {
            self.contended.0 = self.contended.0.saturating_add(span.0);
        }
        if let Some(run) = &mut self.run {
            run.open = false;
            if let Some(contention) = contention.filter(|c| run.fits(c)) {
                run.renew(&contention, now.boot);
                if let Some(entry) = self.ledger.get_mut(run.id)
                    && run.regime != Regime::Proven
                {
                    entry.contention.0 = entry.contention.0.saturating_add(span.0);
                }
            }
        }
        self.memory.judge(&taken, &self.situation);
        self.spare_memory(now);
        self.consider_probe(now);
        self.say_changes(now);
    }

    fn tell_on(&mut self) {
        if let Some(run) = &mut self.run
            && run.regime != Regime::Trial
            && !run.told_on
            && self
                .hands
                .on()
                .is_some_and(|on| on.action == run.def.action)
        {
            run.told_on = true;
            let action = run.def.action;
            self.out
                .push_back(MachineEffect::Tell(Happening::TurnedOn { action }));
        }
    }

    fn may_act(&self) -> bool {
        // While something that should be off may be on, nothing else is begun.
        let free = self.hands.stuck().is_none()
            && self.rest_until.is_none()
            && self.own.until().is_none()
            && self.other_acts_until.is_none();
        self.mode == Mode::Auto && self.pause.is_none() && !self.yes_on_its_way && free
    }
}
