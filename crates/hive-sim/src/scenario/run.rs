//! Living a scenario: the hive comes together, chance has its way with it, and again and again all is healed and
//! everything is checked.

use std::collections::BTreeMap;

use hive_core::event::Command;
use hive_core::event_log::Happening;
use hive_core::hive::ticket::Invitation;

use super::agenda::{Agenda, Deed};
use super::{Cut, Scenario, Trouble, Unit, replay};
use crate::check::nothing_lost::{self, Acknowledged};
use crate::check::{converged, truthful};
use crate::dice::Dice;
use crate::disk::{Backup, Unanswered};
use crate::faults::Fault;
use crate::liar::{Forger, Liar};
use crate::machine::Truth;
use crate::net::{HostId, Quality};
use crate::person;
use crate::stories::{self, Failure, Outcome, Told};
use crate::world::{Death, World};

mod keys;

/// Hives up to this size come together with all machines on; in larger ones who was let in is switched off until all
/// are in, because everybody greeting everybody at every step says nothing new and takes minutes.
const TOGETHER_MAX: u64 = 12;

/// Events of one member in an hour, at most: five times what a machine with eyes needs.
const EVENTS_PER_HOUR: u64 = 20_000;

/// Longest sleep, and so the longest wait for everybody.
const SLEEP_MS_MAX: u64 = 8 * HOUR_MS;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const YEAR_MS: i64 = 365 * 24 * 3_600_000;

/// After a damaged disk came back, before anything else goes wrong.
const QUIET_MS: u64 = MINUTE_MS;

/// What a frame costs beyond its own bytes: `research/transport.md` 3.1 (283 + 77 for 200).
const OVERHEAD_BYTES: u64 = 160;

/// So many lies cannot all have gone unnoticed.
const LIES_NOTICED: u64 = 40;

/// One life.
struct Life<'a> {
    world: &'a mut World,
    scenario: &'a Scenario,
    agenda: Agenda,
    members: Vec<HostId>,
    honest: Vec<HostId>,
    liars: Vec<HostId>,
    removed: usize,
    strangers: Vec<HostId>,
    /// Machines that will pretend to be others.
    thieves: Vec<HostId>,
    acknowledged: Acknowledged,
    shared: BTreeMap<HostId, u64>,
    backup: Option<(HostId, Backup)>,
    /// One stream for each kind, so that leaving one out leaves the others as they are.
    dice: BTreeMap<&'static str, Dice>,
    /// Bytes and frames that the coming together cost.
    paid: (u64, u64),
    told: Told,
}

/// Lives a scenario once.
#[must_use]
pub fn live(scenario: &Scenario, seed: u64, cut: &Cut) -> Outcome {
    let less = scenario.cut(cut);
    let mut outcome = stories::live(&scenario.name, seed, |world| tell(world, &less));
    outcome.replay = replay(&scenario.name, seed, cut);
    outcome
}

fn tell(world: &mut World, scenario: &Scenario) -> Result<Told, Failure> {
    let mut life = Life::begin(world, scenario)?;
    while let Some((at, deed)) = life.agenda.take() {
        let ms = at.since(life.world.now()).div_ceil(1_000);
        life.world.run_ms(ms)?;
        life.carry_out(deed)?;
    }
    life.end()
}

/// All machines let in by the first, all on, all showing the same.
pub fn gather(world: &mut World, members: u64, watching: u64) -> Result<Vec<HostId>, Failure> {
    let (count, watching_from) = (members, members - watching);
    let truth = |nth: u64| {
        if nth < watching_from {
            Truth::BLIND
        } else {
            Truth::NICE_HELPS
        }
    };
    let founder = world.add("m0", truth(0));
    let mut members = vec![founder];
    world.run_ms(2_000)?;
    for nth in 1..count {
        let joiner = world.add(&format!("m{nth}"), truth(nth));
        world.run_ms(1_500)?;
        person::let_in(world, founder, joiner)?;
        members.push(joiner);
        if count > TOGETHER_MAX {
            world.switch_off(joiner);
        }
    }
    if count > TOGETHER_MAX {
        for id in &members[1..] {
            world.switch_on(*id);
        }
        world.run_ms(QUIET_MS)?;
    }
    converged::equal(world, &members, HOUR_MS / 1_000)?;
    Ok(members)
}

impl<'a> Life<'a> {
    fn begin(world: &'a mut World, scenario: &'a Scenario) -> Result<Self, Failure> {
        world.expect_events(scenario.members * (scenario.hours + 24) * EVENTS_PER_HOUR);
        let members = gather(world, scenario.members, scenario.watching)?;
        let count = usize::try_from(scenario.liars()).unwrap_or(0);
        let liars: Vec<HostId> = members[1..].iter().take(count).copied().collect();
        let honest = members.iter().filter(|id| !liars.contains(id)).copied();
        let honest: Vec<HostId> = honest.collect();
        let strangers = (0..scenario.attackers.strangers)
            .map(|nth| world.add_off(&format!("s{nth}"), Truth::BLIND))
            .collect();
        let thieves = (0..scenario.attackers.thieves)
            .map(|nth| world.add_off(&format!("t{nth}"), Truth::BLIND))
            .collect();
        for id in &liars {
            arm(world, *id, scenario)?;
        }
        let known = members.iter().map(|id| world.host(*id).key).collect();
        world.witness.known = Some(known);
        world.net.set_quality(scenario.quality());
        let agenda = Agenda::draw(scenario, world.seed(), world.now());
        let paid = (world.net.bytes, world.net.frames);
        Ok(Self {
            world,
            scenario,
            agenda,
            members,
            honest,
            liars,
            removed: 0,
            strangers,
            thieves,
            acknowledged: Acknowledged::default(),
            shared: BTreeMap::new(),
            backup: None,
            dice: BTreeMap::new(),
            paid,
            told: Told::default(),
        })
    }

    /// The stream of chance of one kind.
    fn dice(&mut self, kind: &'static str) -> &mut Dice {
        let seed = self.world.seed();
        let fresh = || Dice::new(seed, &format!("scenario/{kind}"));
        self.dice.entry(kind).or_insert_with(fresh)
    }

    fn carry_out(&mut self, deed: Deed) -> Result<(), Failure> {
        match deed {
            Deed::Share(nth) => self.share(nth)?,
            Deed::Trouble(Trouble::NewKey, nth) => self.new_key(nth)?,
            Deed::Trouble(trouble, nth) => self.trouble(trouble, nth),
            Deed::Open(one, two) => self.world.open_both(self.members[one], self.members[two]),
            Deed::Shut(one, two) => {
                self.world.faults.add(Fault::Flap);
                self.world.shut_both(self.members[one], self.members[two]);
            }
            Deed::OpenAll => self.world.net.heal(),
            Deed::SetClock(nth, ms) => self.world.host_mut(self.members[nth]).clock.jump(ms),
            Deed::Build(nth, on) => self.world.host_mut(self.members[nth]).machine.building = on,
            Deed::Visit => self.visit(),
            Deed::Remove(nth) => self.remove(nth)?,
            Deed::Check => self.check()?,
        }
        Ok(())
    }

    fn share(&mut self, nth: usize) -> Result<(), Failure> {
        let host = self.members[nth];
        if !self.world.host(host).is_awake() {
            return Ok(());
        }
        let count = self.shared.entry(host).or_default();
        *count += 1;
        let result = *count % self.scenario.patterns;
        if self.liars.contains(&host) {
            nothing_lost::say(self.world, host, result);
            return Ok(());
        }
        self.acknowledged.share(self.world, host, result)
    }

    fn trouble(&mut self, trouble: Trouble, nth: usize) {
        let host = self.members[nth];
        if !self.world.host(host).is_awake() {
            return;
        }
        let now = self.world.now();
        let dice = self.dice(trouble.name());
        match trouble {
            Trouble::Kill => {
                let away_ms = dice.between(50, MINUTE_MS);
                self.world
                    .crash(host, Death::Kill, Unanswered::Some, away_ms);
            }
            Trouble::PowerCut => {
                let away_ms = dice.between(1_000, 10 * MINUTE_MS);
                self.world
                    .crash(host, Death::PowerCut, Unanswered::Some, away_ms);
            }
            Trouble::KillInFlush => self.world.die_at_next_save(host, false),
            Trouble::OomKill => {
                let outputs = dice.below(4);
                self.world.run_out_of_memory(host, outputs);
            }
            Trouble::DiskFull => {
                let ms = dice.between(1, 10) * MINUTE_MS;
                self.world.fill_disk(host, ms);
            }
            Trouble::DiskError => self.world.fail_write(host),
            Trouble::Suspend => {
                let ms = dice.between(5 * MINUTE_MS, SLEEP_MS_MAX);
                self.world.suspend(host, ms);
            }
            Trouble::NatRebind => self.world.rebind(host),
            Trouble::AddressChange => self.world.move_away(host),
            Trouble::SlowPeer => {
                let until = now.after(dice.between(1, 20) * MINUTE_MS * 1_000);
                self.world.net.slow_down(host, until);
            }
            Trouble::MulticastOff => {
                let until = now.after(dice.between(1, 60) * MINUTE_MS * 1_000);
                self.world.faults.add(Fault::MulticastOff);
                self.world.net.deafen(until);
            }
            Trouble::Flap | Trouble::OneWayPartition | Trouble::Partition => {
                self.cut_paths(trouble, nth);
            }
            Trouble::ClockJump | Trouble::ClockBack | Trouble::ClockFarOff => {
                self.set_wrong(trouble, nth);
            }
            Trouble::Loss
            | Trouble::Corrupt
            | Trouble::Delay
            | Trouble::Ghosts
            | Trouble::Deaf
            | Trouble::NewKey
            | Trouble::TornWrite
            | Trouble::BitRot
            | Trouble::DiskRollback => {}
        }
    }

    fn cut_paths(&mut self, trouble: Trouble, nth: usize) {
        let now = self.world.now();
        let count = self.members.len();
        let dice = self.dice(trouble.name());
        let other = (nth + 1 + dice.index(count - 1)) % count;
        match trouble {
            Trouble::Flap => {
                let mut at = now;
                for _ in 0..dice.between(2, 6) {
                    let dice = self.dice(trouble.name());
                    let shut = dice.between(1_000_000, 15_000_000);
                    let open = dice.between(1_000_000, 15_000_000);
                    self.agenda.plan(at, Deed::Shut(nth, other));
                    self.agenda.plan(at.after(shut), Deed::Open(nth, other));
                    at = at.after(shut + open);
                }
            }
            Trouble::OneWayPartition => {
                let lasts = dice.between(1, 60) * MINUTE_MS * 1_000;
                self.world.net.shut(self.members[nth], self.members[other]);
                self.agenda.plan(now.after(lasts), Deed::Open(nth, other));
            }
            _ => {
                let sides: Vec<bool> = (0..count).map(|_| dice.permille(500)).collect();
                let lasts = dice.between(5, 120) * MINUTE_MS * 1_000;
                for one in 0..sides.len() {
                    for two in 0..one {
                        if sides[one] != sides[two] {
                            self.world.shut_both(self.members[one], self.members[two]);
                        }
                    }
                }
                self.agenda.plan(now.after(lasts), Deed::OpenAll);
            }
        }
    }

    fn set_wrong(&mut self, trouble: Trouble, nth: usize) {
        let host = self.members[nth];
        let dice = self.dice(trouble.name());
        let ms = i64::try_from(dice.between(1_000, 2 * HOUR_MS)).unwrap_or_default();
        match trouble {
            Trouble::ClockJump => self.world.jump(host, ms),
            Trouble::ClockBack => self.world.jump(host, -ms),
            _ => {
                let ahead = dice.permille(500);
                let lasts = dice.between(1, 24) * HOUR_MS * 1_000;
                let wrong = if ahead { YEAR_MS } else { -YEAR_MS };
                self.world.jump(host, wrong);
                let at = self.world.now().after(lasts);
                self.agenda.plan(at, Deed::SetClock(nth, -wrong));
            }
        }
    }

    /// A stranger does one of the things that strangers do; at times while somebody is being let in.
    fn visit(&mut self) {
        let (strangers, members) = (self.strangers.len(), self.members.len());
        let dice = self.dice("visits");
        let (stranger, member) = (dice.index(strangers), dice.index(members));
        let (opens, what) = (dice.permille(250), dice.below(6));
        let (stranger, member) = (self.strangers[stranger], self.members[member]);
        let founder = self.members[0];
        if opens && self.world.host(founder).is_awake() {
            self.world
                .say(founder, Command::Invite(Invitation::default()));
        }
        match what {
            0 => self.world.knock(stranger, founder),
            1 => self.world.stand_at_the_door(stranger, founder),
            2 => self.world.guess(stranger, founder),
            3 => self.world.shake_hands(stranger, member),
            4 => self.world.spoof(stranger, &self.members, None),
            _ => self.world.spoof(stranger, &self.members, Some(member)),
        }
    }

    /// All is healed; then all honest members show the same, and everything that was acknowledged.
    fn check(&mut self) -> Result<(), Failure> {
        self.heal()?;
        self.all_is_well()?;
        if self.damage()? {
            self.all_is_well()?;
        }
        if self.scenario.rate(Trouble::DiskRollback) > 0 {
            let host = self.one_but_the_founder("backup");
            self.backup = Some((host, self.world.host(host).disk.backup()));
        }
        self.world.net.set_quality(self.scenario.quality());
        Ok(())
    }

    fn heal(&mut self) -> Result<(), Failure> {
        for deed in self.agenda.take_healing() {
            if let Deed::SetClock(..) = deed {
                self.carry_out(deed)?;
            }
        }
        self.world.net.heal();
        self.world.net.set_quality(Quality::LAN);
        for id in &self.members {
            self.world.spare(*id);
        }
        let patience = SLEEP_MS_MAX + HOUR_MS;
        let honest = self.honest.clone();
        if self
            .world
            .run_until(patience, |world| world.all_awake(&honest))?
        {
            return Ok(());
        }
        Err(Failure::Liveness("a machine never came back".into()))
    }

    fn all_is_well(&mut self) -> Result<(), Failure> {
        let began = self.world.now();
        let within = self.scenario.equal_within_s;
        let shown = converged::equal(self.world, &self.honest, within)?;
        let took_ms = self.world.now().since(began) / 1_000;
        self.told.equal_after_ms = self.told.equal_after_ms.max(took_ms);
        self.told.checks += 1;
        self.acknowledged.all_shown(&shown)?;
        let founder = self.members[0];
        let status = converged::status(self.world, founder)?;
        if status.collective_optimizations < self.acknowledged.len() as u64 {
            let what = format!(
                "{} wins are shown and {} were acknowledged",
                status.collective_optimizations,
                self.acknowledged.len()
            );
            return Err(Failure::Correctness(what));
        }
        let expected = self.members.len() - self.removed;
        if shown.members.len() != expected {
            let what = format!("{} members are shown, not {expected}", shown.members.len());
            return Err(Failure::Correctness(what));
        }
        self.old_keys_are_out(&shown)?;
        if !person::pending(self.world, founder)?.is_empty() {
            return Err(Failure::Correctness("a stranger waits to be let in".into()));
        }
        Ok(())
    }

    /// One disk at most is damaged, while all the others hold the same; whether one was.
    fn damage(&mut self) -> Result<bool, Failure> {
        let kinds: Vec<Trouble> = self.scenario.troubles.keys().copied().collect();
        for trouble in kinds.into_iter().filter(|it| it.unit() == Unit::OfChecks) {
            let rate = self.scenario.rate(trouble);
            if !self.dice(trouble.name()).permille(rate) {
                continue;
            }
            let mut host = self.any_honest(trouble.name());
            match trouble {
                Trouble::TornWrite => {
                    self.world.die_at_next_save(host, true);
                    nothing_lost::say(self.world, host, 0);
                }
                Trouble::BitRot => self.world.rot(host),
                _ => {
                    let Some((backed_up, backup)) = self.backup.take() else {
                        continue;
                    };
                    host = backed_up;
                    self.world.roll_back(host, &backup);
                }
            }
            self.world.run_ms(QUIET_MS)?;
            self.heal()?;
            return Ok(true);
        }
        Ok(false)
    }

    /// An honest member whose disk may be damaged; the founder too, on whose map everybody's place rests.
    fn any_honest(&mut self, kind: &'static str) -> HostId {
        let count = self.honest.len();
        let nth = self.dice(kind).index(count);
        self.honest[nth]
    }

    /// An honest member whose backup is put back. Not the founder's: if it is older than an admission, the founder knows
    /// nobody any more who could tell it, and a person has to act (`hive join` with a member's code).
    fn one_but_the_founder(&mut self, kind: &'static str) -> HostId {
        let others = self.honest.len() - 1;
        let nth = self.dice(kind).index(others);
        self.honest.get(nth + 1).copied().unwrap_or(self.honest[0])
    }

    fn end(mut self) -> Result<Told, Failure> {
        self.few_bytes()?;
        let lies = self.world.all_faults().of(Fault::Lie);
        let noticed = |happening: &Happening| {
            matches!(
                happening,
                Happening::PeerMisbehaved { .. } | Happening::Forked { .. }
            )
        };
        let somebody = self
            .honest
            .iter()
            .any(|id| self.world.host(*id).was_told(noticed));
        if !self.liars.is_empty() && lies > LIES_NOTICED && !somebody {
            return Err(Failure::Correctness("nobody noticed the liars".into()));
        }
        let watching = usize::try_from(self.scenario.watching).unwrap_or(0);
        for id in self.members.iter().rev().take(watching) {
            self.told.judged.plus(truthful::judge(self.world, *id)?);
        }
        Ok(self.told)
    }

    fn few_bytes(&mut self) -> Result<(), Failure> {
        let members = self.members.len() as u64;
        let bytes = self.world.net.bytes - self.paid.0;
        let frames = self.world.net.frames - self.paid.1;
        // Every frame costs its sender and its receiver.
        let all = 2 * (bytes + OVERHEAD_BYTES * frames);
        let each = all * 24 / (members * self.scenario.hours);
        self.told.bytes_per_member_day = each;
        match self.scenario.bytes_per_member_day {
            Some(most) if each > most => Err(Failure::Correctness(format!(
                "a day cost each member {each} bytes"
            ))),
            _ => Ok(()),
        }
    }
}

/// Gives a member's machine to a liar.
fn arm(world: &mut World, id: HostId, scenario: &Scenario) -> Result<(), Failure> {
    let host = world.host(id);
    let genesis = host
        .genesis()
        .ok_or_else(|| Failure::Liveness("a member without a hive".into()))?;
    let forger = Forger::new(host.stolen_key(), genesis.hive(), genesis.founder);
    let dice = Dice::new(world.seed(), &format!("liar {}", id.0));
    let lies = scenario.attackers.lies.clone();
    let liar = Liar::new(lies, scenario.attackers.lie_permille, dice).with_key(forger);
    let short = world.host(id).key.short();
    world.witness.liars.insert(short);
    world.host_mut(id).liar = Some(liar);
    Ok(())
}
