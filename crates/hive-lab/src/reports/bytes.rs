//! `bytes`: what a whole day costs each member on the wire, with real daemons whose clocks run faster.
//!
//! Everything that the node times (repair, audit, a new handshake a day, budgets) follows its clock, and so does how
//! long the kernel believes that it knows a neighbour's address; what the transport times (acknowledgements, silence)
//! stays real. The day begins with a restart of every member, in true time: what a process needs to start would else
//! be minutes of the others' clocks, in which they ask and dial.
//!
//! What cannot be hurried are the ways of frames: a millisecond is as many for the nodes as their clocks are faster, and
//! those of a network around the world. So the ways are measured in the same run, and the simulator lives its day on
//! them; what it says of true ways stands beside it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hive_mind::Client;
use hive_mind::pattern::PatternDef;
use hive_mind::reply::{StatusView, TrafficView};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::boot_us;
use crate::report::{Figures, Report};
use crate::reports::entries;
use crate::reports::fleet::{Fleet, is_meshed, observing};
use crate::reports::ways::{self, Ways};
use crate::stats::Dice;
use crate::world::capture::{Capture, Keep, Kind, Tally};
use crate::world::daemon::{Start, within};
use crate::world::{Tools, World};

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// New patterns that one author says in a day. Source: `research/replication.md` 4.8.
const NEW_A_DAY: u64 = 40;

/// Batches of one author in a day: the new patterns, and as many changes of older ones as the note has batches of
/// other kinds (10 anomalies, 48 counters, 24 baselines, 2 models). Source: the same.
const BATCHES_A_DAY: u64 = 124;

/// The day goes on for this much longer, so that what is due every 24 hours falls into it.
const OVERTIME_S: u64 = 900;

/// Clocks are true for so long after the restarts begin, and for so much longer for each member. A guess: a start
/// and its connections take about a second.
const TRUE_FOR: Duration = Duration::from_secs(15);
const TRUE_FOR_EACH: Duration = Duration::from_secs(2);

/// How long Linux believes that it knows a neighbour's address, and how long it then waits before it asks again
/// (`base_reachable_time`, `delay_first_probe_time`; arp(7)).
const NEIGHBOUR_KNOWN: Duration = Duration::from_secs(30);
const NEIGHBOUR_ASKED_AFTER: Duration = Duration::from_secs(5);

/// Which connections were made and why they ended, for whoever looks while it runs.
pub(super) const LOG: &str = "warn,hive_mind::net=debug";

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many members.
    pub nodes: u8,
    /// How many times faster the members' clocks run.
    pub factor: u32,
    /// How many seconds of the members' clocks; a day if nobody is in a hurry.
    pub window_s: u64,
    /// When what is said comes.
    pub seed: u64,
}

impl Plan {
    /// A whole day.
    pub fn day(nodes: u8, factor: u32) -> Self {
        Self {
            nodes,
            factor,
            window_s: DAY_S,
            seed: 1,
        }
    }
}

/// What became of what was said.
#[derive(Clone, Copy, Debug, Default)]
struct Sayings {
    said: usize,
    unanswered: usize,
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: Plan) -> Result<Value> {
    ensure!(plan.nodes >= 2, "a network has at least two machines");
    ensure!(plan.factor >= 1, "a clock does not stand still here");
    let report = Report::begin("bytes");
    let mut figures = Figures::new();
    figures.put("nodes", plan.nodes);
    figures.put("time_factor", plan.factor);
    let mut fleet = Fleet::start(World::new(tools)?, plan.nodes).await?;
    let captures: Vec<Capture> = fleet
        .members
        .iter()
        .map(|member| Capture::begin(member.machine.init(), Keep::Lengths))
        .collect::<Result<_>>()?;
    let counted = counters(&fleet)?;
    let mut model = Model::default();
    let began = Instant::now();
    let true_for = TRUE_FOR + TRUE_FOR_EACH * u32::from(plan.nodes);
    let hurry = began + true_for;
    fleet = restart(fleet, plan.factor, hurry, &mut model).await?;
    let left = hurry.saturating_duration_since(Instant::now());
    let connected = within(left, async || Ok(all_meshed(&fleet).await?.then_some(()))).await?;
    ensure!(connected.is_some(), "not all connected again in time");
    tokio::time::sleep_until(hurry).await;
    let start = Seen::of(&captures)?;
    let hurried_us = boot_us();
    hurry_the_neighbours(&fleet, plan.factor)?;
    let sayings = live(&fleet, plan).await?;
    let hurried = hurry.elapsed().as_secs_f64() * f64::from(plan.factor);
    let window_s = (true_for.as_secs_f64() + hurried).round();
    let spent: Vec<u64> = std::iter::zip(counters(&fleet)?, counted)
        .map(|(after, before)| after.saturating_sub(before))
        .collect();
    let seen = Seen::of(&captures)?;
    for member in &fleet.members {
        model.add(&member.daemon.client().status().await?);
    }
    let a_day = |bytes: u64| per_member_and_day(bytes, plan.nodes, window_s);
    let busiest = spent.iter().copied().max().unwrap_or(0);
    let spent: u64 = spent.into_iter().sum();
    figures.put("bytes_per_member_per_day", a_day(spent));
    figures.put(
        "bytes_of_the_busiest",
        per_member_and_day(busiest, 1, window_s),
    );
    figures.put("by_kind", seen.by_kind(a_day));
    figures.put("by_kind_of_the_start", start.by_kind(a_day));
    seen.put(&mut figures, &start, plan.nodes);
    model.put(&mut figures, a_day, a_day(spent));
    let ways = Ways::of(&logs(&fleet)?, hurried_us);
    put_simulated(&mut figures, plan, &ways, a_day(spent));
    figures.put("window_s", window_s);
    figures.put("said", sayings.said);
    figures.put("unanswered", sayings.unanswered);
    figures.put("waiting_at_the_end", model.waiting);
    figures.put("rates", rates(plan));
    let equal = fleet.is_equal().await?;
    figures.put("equal_at_the_end", equal);
    fleet.stop().await?;
    Ok(report.end(figures))
}

fn rates(plan: Plan) -> Value {
    json!({
        "new_patterns_per_author_and_day": NEW_A_DAY,
        "batches_per_author_and_day": BATCHES_A_DAY,
        "window_s": plan.window_s,
        "note": "every batch is a shared result (definition, numbers, counter); of research/replication.md 4.8, the \
                 anomalies, counters, baselines and models are stood for by changes of numbers said before, since \
                 the local API says nothing else; what the byte budget holds back is unanswered or waiting; the restarts \
                 at the beginning are in true time (by_kind_of_the_start), all else in a hurry",
    })
}

/// What the members' own meters say, all together.
#[derive(Debug, Default)]
struct Model {
    bytes: u64,
    traffic: TrafficView,
    waiting: usize,
}

/// What the interfaces have shown so far, all together.
#[derive(Debug)]
struct Seen(Tally);

impl Seen {
    fn of(captures: &[Capture]) -> Result<Self> {
        let mut kinds = Tally::default();
        for capture in captures {
            kinds.merge(&capture.tally()?);
        }
        Ok(Self(kinds))
    }

    fn by_kind(&self, a_day: impl Fn(u64) -> f64) -> Value {
        json!({
            "mdns": a_day(self.0.of(Kind::Mdns)),
            "handshake": a_day(self.0.of(Kind::Handshake)),
            "established": a_day(self.0.of(Kind::Established)),
            "other": a_day(self.0.of(Kind::Other)),
        })
    }

    fn put(&self, figures: &mut Figures, start: &Self, nodes: u8) {
        let (dials, answered) = self.0.dials();
        let (at_start, answered_at_start) = start.0.dials();
        figures.put("handshakes_seen", self.0.handshakes.len() / 2);
        figures.put("dials_seen", dials);
        figures.put("dials_answered", answered);
        figures.put("dials_seen_at_the_start", at_start);
        figures.put("dials_answered_at_the_start", answered_at_start);
        figures.put("packets_per_member", self.0.packets / u64::from(nodes));
    }
}

impl Model {
    /// What a daemon counted since it started.
    fn add(&mut self, status: &StatusView) {
        self.bytes += status.bytes;
        self.waiting += status.waiting;
        let (all, one) = (&mut self.traffic, status.traffic);
        all.deltas += one.deltas;
        all.names += one.names;
        all.questions += one.questions;
        all.links += one.links;
        all.search += one.search;
        all.addresses += one.addresses;
        all.pairing += one.pairing;
    }

    /// What it counted between two looks.
    fn add_between(&mut self, before: &StatusView, after: &StatusView) {
        self.bytes += after.bytes.saturating_sub(before.bytes);
        let (all, one, gone) = (&mut self.traffic, after.traffic, before.traffic);
        all.deltas += one.deltas.saturating_sub(gone.deltas);
        all.names += one.names.saturating_sub(gone.names);
        all.questions += one.questions.saturating_sub(gone.questions);
        all.links += one.links.saturating_sub(gone.links);
        all.search += one.search.saturating_sub(gone.search);
        all.addresses += one.addresses.saturating_sub(gone.addresses);
        all.pairing += one.pairing.saturating_sub(gone.pairing);
    }

    /// The core's own meter against the interfaces.
    fn put(&self, figures: &mut Figures, a_day: impl Fn(u64) -> f64, counted: f64) {
        let model = a_day(self.bytes);
        figures.put("model_bytes_per_member_per_day", model);
        let traffic = self.traffic;
        let by_kind = json!({
            "deltas": a_day(traffic.deltas),
            "names": a_day(traffic.names),
            "questions": a_day(traffic.questions),
            "links": a_day(traffic.links),
            "search": a_day(traffic.search),
            "addresses": a_day(traffic.addresses),
            "pairing": a_day(traffic.pairing),
        });
        figures.put("model_by_kind", by_kind);
        let error = (counted > 0.0).then(|| (model - counted) / counted);
        figures.put_or("meter_error", error, "nothing was counted");
        figures.put(
            "model",
            "the members' own meter (status.traffic), which is also the byte model of the simulator, against everything \
             on the interfaces: meter_error in this very run, model_error for the day that the simulator lives",
        );
    }
}

/// The simulator's day of as many members on the same ways, and how far it is from this one.
fn put_simulated(figures: &mut Figures, plan: Plan, ways: &Ways, counted: f64) {
    figures.put("ways_ms", ways.view());
    let long = ways
        .in_their_time(plan.factor)
        .context("no frame was seen at both ends");
    match long.and_then(|ways| simulated(plan.nodes, Some(&ways))) {
        Ok(day) => {
            let bytes = day["bytes_per_member_per_day"].as_f64();
            figures.put_or("sim_bytes_per_member_per_day", bytes, "not in its report");
            let error = bytes
                .filter(|_| counted > 0.0)
                .map(|bytes| (bytes - counted) / counted);
            figures.put_or("model_error", error, "nothing was counted");
            figures.put("sim", day);
        }
        Err(error) => {
            let why = format!("{error:#}");
            figures.missing("sim_bytes_per_member_per_day", &why);
            figures.missing("model_error", &why);
        }
    }
    match simulated(plan.nodes, None) {
        Ok(day) => figures.put("sim_on_a_lan", day),
        Err(error) => figures.missing("sim_on_a_lan", &format!("{error:#}")),
    }
}

/// Runs the simulator that was built beside this program.
fn simulated(nodes: u8, ways: Option<&str>) -> Result<Value> {
    let own = std::env::current_exe().context("this program's own file cannot be found")?;
    let sim = own.with_file_name("hive-sim");
    let ran = Command::new(sim)
        .args(["--day", &nodes.to_string()])
        .args(ways.into_iter().flat_map(|ways| ["--ways-us", ways]))
        .output()
        .context("hive-sim is not beside this program; build it with the same profile")?;
    ensure!(ran.status.success(), "the simulator did not live its day");
    serde_json::from_slice(&ran.stdout).context("the simulator's report is no JSON")
}

/// Ends every daemon in order and starts it with a clock that is faster from one moment on.
async fn restart(fleet: Fleet, factor: u32, hurry: Instant, model: &mut Model) -> Result<Fleet> {
    let Fleet { members, world } = fleet;
    let mut before = Vec::new();
    for member in &members {
        before.push(member.daemon.client().status().await?);
    }
    let mut again = Vec::new();
    for (mut member, before) in members.into_iter().zip(before) {
        model.add_between(&before, &member.daemon.client().status().await?);
        member.daemon.stop().await?;
        member.daemon = member
            .machine
            .start_daemon_in_a_hurry(
                Start {
                    log: &format!("{LOG},{}", ways::LOG),
                    ..observing(None)
                },
                factor,
                hurry.saturating_duration_since(Instant::now()),
            )
            .await?;
        again.push(member);
    }
    Ok(Fleet {
        members: again,
        world,
    })
}

/// From now on the kernels forget their neighbours' addresses as much faster. What waits for whole seconds waits for
/// none.
fn hurry_the_neighbours(fleet: &Fleet, factor: u32) -> Result<()> {
    let known_ms = (NEIGHBOUR_KNOWN / factor).as_millis().max(1).to_string();
    let asked_after_s = (NEIGHBOUR_ASKED_AFTER / factor).as_secs().to_string();
    for member in &fleet.members {
        for (name, value) in [
            ("base_reachable_time_ms", &known_ms),
            ("delay_first_probe_time", &asked_after_s),
        ] {
            member.machine.set_neighbours(name, value)?;
        }
    }
    Ok(())
}

/// What the members have logged so far.
fn logs(fleet: &Fleet) -> Result<Vec<String>> {
    let each = fleet.members.iter();
    each.map(|member| {
        let log = fs::read(member.machine.folder().join("daemon.log"))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    })
    .collect()
}

async fn all_meshed(fleet: &Fleet) -> Result<bool> {
    for member in &fleet.members {
        if !is_meshed(member.daemon.client(), fleet.members.len()).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says what a day brings, each at its moment, and waits until the day is over.
async fn live(fleet: &Fleet, plan: Plan) -> Result<Sayings> {
    let mut dice = Dice::new(plan.seed);
    let began = Instant::now();
    let mut talking = JoinSet::new();
    let really = |at_s: f64| Duration::from_secs_f64(at_s / f64::from(plan.factor));
    for (author, member) in fleet.members.iter().enumerate() {
        let moments = moments(plan, &mut dice)
            .into_iter()
            .map(|at_s| began + really(at_s));
        let talk = Talk {
            client: member.daemon.client().clone(),
            author,
            moments: moments.collect(),
            dice: Dice::new(dice.next_u64()),
        };
        talking.spawn(talk.through_the_day());
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
    let end = really((plan.window_s + OVERTIME_S.min(plan.window_s / 10)) as f64);
    tokio::time::sleep_until(began + end).await;
    let mut all = Sayings::default();
    while let Some(one) = talking.join_next().await {
        let one = one??;
        all.said += one.said;
        all.unanswered += one.unanswered;
    }
    Ok(all)
}

/// When one author says something: as many moments as a day has batches, anywhere in the window.
fn moments(plan: Plan, dice: &mut Dice) -> Vec<f64> {
    let count = (BATCHES_A_DAY * plan.window_s).div_ceil(DAY_S);
    let mut moments: Vec<f64> = (0..count)
        .map(|_| {
            let share =
                f64::from(u32::try_from(dice.next_u64() >> 32).unwrap_or(0)) / 4_294_967_296.0;
            #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
            let at = share * plan.window_s as f64;
            at
        })
        .collect();
    moments.sort_by(f64::total_cmp);
    moments
}

/// One author's day.
struct Talk {
    client: Client,
    author: usize,
    moments: Vec<Instant>,
    dice: Dice,
}

impl Talk {
    async fn through_the_day(mut self) -> Result<Sayings> {
        let mut sayings = Sayings::default();
        let mut known: Vec<(PatternDef, u32)> = Vec::new();
        let mut asking = JoinSet::new();
        for (number, moment) in self.moments.into_iter().enumerate() {
            tokio::time::sleep_until(moment).await;
            let number = number as u64;
            let new = (number + 1) * NEW_A_DAY / BATCHES_A_DAY > number * NEW_A_DAY / BATCHES_A_DAY;
            let (def, round) = if new || known.is_empty() {
                let def = entries::something_new(&mut self.dice)?;
                known.push((def, 0));
                (def, 0)
            } else {
                let at = self.dice.below(known.len());
                let (def, round) = known.get_mut(at).context("one of them")?;
                *round += 1;
                (*def, *round)
            };
            let (client, author) = (self.client.clone(), self.author);
            // Not awaited here: what the budget holds back must not hold back the day.
            asking.spawn(async move { entries::tell(&client, author, &def, round).await.is_ok() });
        }
        while let Some(answered) = asking.join_next().await {
            sayings.said += 1;
            sayings.unanswered += usize::from(!answered?);
        }
        Ok(sayings)
    }
}

fn counters(fleet: &Fleet) -> Result<Vec<u64>> {
    let each = fleet.members.iter();
    each.map(|member| {
        let both = member.machine.counters()?;
        Ok(both.received + both.sent)
    })
    .collect()
}

fn per_member_and_day(bytes: u64, nodes: u8, window_s: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
    let bytes = bytes as f64;
    #[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
    let day = DAY_S as f64;
    (bytes / f64::from(nodes) * day / window_s).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_all_its_batches_inside_it() {
        let moments = moments(Plan::day(5, 144), &mut Dice::new(4));
        assert_eq!(moments.len(), 124);
        assert!(moments.is_sorted());
        assert!(moments[0] >= 0.0 && moments[123] < 86_400.0);
        let short = Plan {
            window_s: 3_600,
            ..Plan::day(5, 144)
        };
        assert_eq!(super::moments(short, &mut Dice::new(4)).len(), 6);
    }

    #[test]
    fn half_a_day_counts_double() {
        assert!((per_member_and_day(1_000, 5, 43_200.0) - 400.0).abs() < 1e-9);
    }
}
