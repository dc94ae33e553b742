//! `lan`: N real daemons on one Ethernet. How fast they find each other, join and sync; what being idle costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hive_mind::reply::{JoinView, Mode};
use serde_json::{Value, json};

use crate::clock;
use crate::procs;
use crate::report::{Figures, Report};
use crate::reports::bytes::LOG;
use crate::reports::entries::{self, Said};
use crate::reports::fleet::{self, FULL_MESH};
use crate::stats::{self, Dice};
use crate::world::capture::{Capture, Keep, Kind, Tally};
use crate::world::daemon::{self, Daemon, Start, until};
use crate::world::{Machine, Tools, World};

/// New entries whose way is timed (issue 2 asks for at least 200).
pub const ENTRIES: usize = 200;

/// Pause between two new entries: news of a hive is rare; without a pause the queueing of the lab is measured.
const PACE: Duration = Duration::from_millis(60);

/// New entries that one machine says without any pause: few, so that nobody comes near the bytes of its day. Of twenty, who has said its tenth
/// of 200 before and one more with all others after may say 15 at once (five here were too many since the byte model counts all of a connection).
const BURST: usize = 3;

/// A way as long as this is told by name: the repair brought the entry, no push (`hive_core::limits::REPAIR_MIN` is 2 s).
const LATE_MS: f64 = 1_000.0;

/// At most so many of them.
const LATE_TOLD: usize = 20;

/// How often every machine asks the network anew, for more than one discovery each.
const SEEK_ROUNDS: usize = 4;

/// When answers are read: the daemon repeats its question after 250 ms, and its `nearby` then tells the time of
/// the later answer.
const SEEK_READ: Duration = Duration::from_millis(200);

/// Until the daemon has done asking (questions at 0, 250 and 1,000 ms, then 500 ms of listening).
const SEEK_END: Duration = Duration::from_millis(1_500);

/// From the last new entry to the idle window: acknowledgements are through.
const SETTLE: Duration = Duration::from_secs(2);

/// The repair timer begins with this and doubles (`hive_core::limits::REPAIR_MIN`).
const REPAIR_BEGINS_S: f64 = 2.0;

/// New entries a day in the estimate: far more than machines learn (a guess, said in the formula).
const ENTRIES_PER_DAY: f64 = 100.0;

/// An idle window of at least this length stands for an hour as it is: it begins with the dense rounds of the
/// repair timer, so the plain figure errs on the high side there. Ten minutes: a guess.
const LINEAR_FROM_S: f64 = 600.0;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many machines.
    pub nodes: u8,
    /// Length of the idle window in seconds.
    pub idle_s: u64,
    /// How many new entries.
    pub entries: usize,
}

/// One machine of the network with its daemon and its packet counter.
struct Member {
    daemon: Daemon,
    capture: Capture,
    machine: Machine,
}

/// Runs the report.
pub async fn run(tools: &Tools, plan: Plan) -> Result<Value> {
    ensure!(plan.nodes >= 2, "a network has at least two machines");
    let report = Report::begin("lan");
    let mut figures = Figures::new();
    figures.put("nodes", plan.nodes);
    let mut world = World::new(tools)?;
    let members = start(&mut world, plan.nodes).await?;
    let found_ms = join_all(&members, &mut figures).await?;
    connect_all(&members).await?;
    discover(&members, found_ms, &mut figures).await?;
    let per_entry = sync(&members, plan.entries, &mut figures).await?;
    burst(&members, &mut figures).await?;
    converge(&members, &mut figures).await?;
    let hour = idle(&members, plan.idle_s, &mut figures).await?;
    estimate(&mut figures, &hour, per_entry);
    for member in members {
        member.daemon.stop().await?;
        drop(member.capture);
        drop(member.machine);
    }
    Ok(report.end(figures))
}

async fn start(world: &mut World, nodes: u8) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for number in 1..=nodes {
        let machine = world.machine(&format!("lab{number}"))?;
        let capture = Capture::begin(machine.init(), Keep::Lengths)?;
        let start = Start {
            label: Some(&format!("lab-{number}")),
            mode: Mode::Observe,
            log: LOG,
        };
        let daemon = machine.start_daemon(start).await?;
        members.push(Member {
            daemon,
            capture,
            machine,
        });
    }
    Ok(members)
}

/// Returns how long each joiner took to find the founder.
async fn join_all(members: &[Member], figures: &mut Figures) -> Result<Vec<f64>> {
    let (founder, others) = members.split_first().context("no machine")?;
    let mut joins: Vec<JoinView> = Vec::new();
    let mut handshake_bytes = 0;
    let mut handshakes = 0;
    for member in others {
        let before = member.capture.tally()?;
        joins.push(daemon::join(founder.daemon.client(), member.daemon.client()).await?);
        until("the new member is connected", async || {
            let status = member.daemon.client().status().await?;
            // A large hive is no full mesh: there, one neighbour is a connection.
            let all = if status.members > FULL_MESH {
                2
            } else {
                status.members
            };
            Ok((status.members > 1 && status.peers_online + 1 >= all).then_some(()))
        })
        .await?;
        let during = member.capture.tally()?.since(&before);
        handshake_bytes += during.of(Kind::Handshake);
        handshakes += during.handshakes.len();
    }
    let of = |value: fn(&JoinView) -> Option<f64>| -> Vec<f64> {
        joins.iter().filter_map(value).collect()
    };
    let why = "the daemons told no times";
    figures.put_or(
        "join_found_ms",
        stats::spread(&of(|join| join.found_ms)),
        why,
    );
    figures.put_or(
        "join_proved_ms",
        stats::spread(&of(|join| join.proved_ms)),
        why,
    );
    figures.put_or("join_ms", stats::spread(&of(|join| join.member_ms)), why);
    // Each side of a connection chooses an id of its own: two per connection.
    let connections = handshakes as u64 / 2;
    let each = (connections > 0).then(|| handshake_bytes / connections.max(1));
    figures.put_or("handshake_bytes", each, "no handshake was seen");
    figures.put("handshakes_seen_while_joining", connections);
    Ok(of(|join| join.found_ms))
}

/// Everybody knows everybody and is connected: up to 8 members to all, above that to some, and all maps are equal.
async fn connect_all(members: &[Member]) -> Result<()> {
    for member in members {
        until("all members are connected", async || {
            let meshed = fleet::is_meshed(member.daemon.client(), members.len()).await?;
            Ok(meshed.then_some(()))
        })
        .await?;
    }
    all_equal(members).await
}

async fn all_equal(members: &[Member]) -> Result<()> {
    until("all maps are equal", async || {
        let mut views = Vec::new();
        for member in members {
            views.push(member.daemon.client().status().await?.view);
        }
        let equal = views.windows(2).all(|pair| pair[0] == pair[1]);
        Ok(equal.then_some(()))
    })
    .await
}

/// The first answers to a question, as the daemons tell them; beside them what the joiners told.
async fn discover(members: &[Member], found_ms: Vec<f64>, figures: &mut Figures) -> Result<()> {
    let mut after_ms = Vec::new();
    for _ in 0..SEEK_ROUNDS {
        for member in members {
            member.daemon.client().seek().await?;
        }
        tokio::time::sleep(SEEK_READ).await;
        for member in members {
            let seen = member.daemon.client().nearby().await?.seen;
            let own = member.machine.address();
            let others = seen.iter().filter(|seen| seen.address.ip() != own);
            after_ms.extend(others.map(|seen| seen.after_ms));
        }
        tokio::time::sleep(SEEK_END).await;
    }
    // An answer that a later round did not renew is told again, with the same fraction of a millisecond.
    after_ms.sort_by(f64::total_cmp);
    after_ms.dedup();
    let asked = SEEK_ROUNDS * members.len() * (members.len() - 1) + found_ms.len();
    after_ms.extend(found_ms);
    figures.put_or("discovery_ms", stats::spread(&after_ms), "nobody was heard");
    figures.put("discovery_asked", asked);
    Ok(())
}

/// Times new entries; returns what one costs a member in bytes.
async fn sync(members: &[Member], count: usize, figures: &mut Figures) -> Result<f64> {
    let before = tallies(members)?;
    let mut dice = Dice::new(clock::boot_us());
    let mut said = Vec::new();
    for number in 0..count {
        // In turn: with chance somebody would come near the bytes of its day, and what waits is not timed here.
        let author = number % members.len();
        said.push(entries::say(members[author].daemon.client(), author, &mut dice).await?);
        tokio::time::sleep(PACE).await;
    }
    let ways = ways(members, &said).await?;
    figures.put_or("sync_ms", stats::spread(&ways.ms), "no entry arrived");
    figures.put("sync_entries", count);
    figures.put("sync_missing", ways.missing);
    figures.put("sync_late", ways.late);
    let spent = spent(members, &before)?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
    let per_entry = spent.total() as f64 / (members.len() * count) as f64;
    figures.put("bytes_per_entry_and_member", per_entry.round());
    figures.put(
        "sync_bytes",
        json!({
            "all_members": spent.total(), "mdns": spent.of(Kind::Mdns), "handshake": spent.of(Kind::Handshake),
            "established": spent.of(Kind::Established), "other": spent.of(Kind::Other),
            "note": "measured while the sync_entries new entries were written and awaited; established is pushes, \
                     acknowledgements and repair, which an outsider cannot tell apart",
        }),
    );
    Ok(per_entry)
}

/// What one machine says without a pause: what follows the first word within 200 ms travels together after them
/// (`hive_core::hive::budget`). That wait is not in the figure: like every entry's it begins when the author lets it go.
async fn burst(members: &[Member], figures: &mut Figures) -> Result<()> {
    let mut dice = Dice::new(clock::boot_us() ^ 2);
    let mut said = Vec::new();
    let (author, last) = members.iter().zip(0..).last().context("no machine")?;
    for _ in 0..BURST {
        said.push(entries::say(author.daemon.client(), last, &mut dice).await?);
    }
    let ways = ways(members, &said).await?;
    figures.put_or(
        "sync_back_to_back_ms",
        stats::spread(&ways.ms),
        "no entry arrived",
    );
    figures.put("sync_back_to_back_missing", ways.missing);
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

struct Ways {
    ms: Vec<f64>,
    missing: usize,
    /// The first few that took longer than [`LATE_MS`]: which entry, from whom, to whom.
    late: Vec<Value>,
}

impl Ways {
    fn add(&mut self, nth: usize, said: &Said, to: usize, ms: f64) {
        self.ms.push(ms);
        if ms > LATE_MS && self.late.len() < LATE_TOLD {
            self.late
                .push(json!({"entry": nth, "from": said.author, "to": to, "ms": ms.round()}));
        }
    }
}

/// How long each entry took to each other machine. What is not there after 20 s is missing.
async fn ways(members: &[Member], said: &[Said]) -> Result<Ways> {
    let mut ways = Ways {
        ms: Vec::new(),
        missing: 0,
        late: Vec::new(),
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    for (index, member) in members.iter().enumerate() {
        let others = said.iter().enumerate();
        let wanted: Vec<(usize, &Said)> = others.filter(|(_, said)| said.author != index).collect();
        loop {
            let known = entries::known(member.daemon.client()).await?;
            let there: Vec<(usize, &Said, u64)> = wanted
                .iter()
                .filter_map(|(nth, said)| Some((*nth, *said, *known.get(&said.id)?)))
                .collect();
            if there.len() == wanted.len() || Instant::now() > deadline {
                ways.missing += wanted.len() - there.len();
                for (nth, said, known_at_us) in there {
                    ways.add(nth, said, index, said.ms_until(known_at_us));
                }
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(ways)
}

/// All write at once; time until all maps are equal.
async fn converge(members: &[Member], figures: &mut Figures) -> Result<()> {
    let mut dice = Dice::new(clock::boot_us() ^ 1);
    let began = Instant::now();
    let mut writing = tokio::task::JoinSet::new();
    for (author, member) in members.iter().enumerate() {
        let client = member.daemon.client().clone();
        let mut own = Dice::new(dice.next_u64());
        writing.spawn(async move { entries::say(&client, author, &mut own).await });
    }
    let mut said = Vec::new();
    while let Some(one) = writing.join_next().await {
        said.push(one??);
    }
    all_equal(members).await?;
    figures.put("converge_ms", ms(began.elapsed()));
    let ways = ways(members, &said).await?;
    ensure!(
        ways.missing == 0,
        "the maps are equal but {} entries are missing",
        ways.missing
    );
    figures.put_or(
        "converge_entry_ms",
        stats::spread(&ways.ms),
        "no entry arrived",
    );
    Ok(())
}

/// An hour of idleness in bytes per member, and under which key it is in the report.
struct Hour {
    key: &'static str,
    bytes: f64,
}

/// Nothing is done for a while; what does an hour of that cost?
async fn idle(members: &[Member], seconds: u64, figures: &mut Figures) -> Result<Hour> {
    tokio::time::sleep(SETTLE).await;
    let before = tallies(members)?;
    let counters = counters(members)?;
    let cpu: Vec<Option<f64>> = cpu(members);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let window_s = began.elapsed().as_secs_f64();
    let spent = spent(members, &before)?;
    let counted = self::counters(members)?.saturating_sub(counters);
    #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
    let each = |bytes: u64| bytes as f64 / members.len() as f64;
    let hour = tell_hour(each(counted), window_s, figures);
    let mut kinds = Figures::new();
    kinds.put("mdns", each(spent.of(Kind::Mdns)).round());
    kinds.put("handshake", each(spent.of(Kind::Handshake)).round());
    kinds.missing(
        "push",
        "nothing is said in the idle window, and pushes cannot be told from repair on the wire; sync_bytes has what \
         writing cost",
    );
    kinds.put("repair", each(spent.of(Kind::Established)).round());
    kinds.put("other", each(spent.of(Kind::Other)).round());
    figures.put("bytes_by_kind", kinds.into_value());
    figures.put(
        "idle",
        json!({
            "window_s": window_s.round(), "settled_s": SETTLE.as_secs(), "packets": spent.packets,
            "bytes_per_member": each(counted).round(), "connections_made": spent.handshakes.len() / 2,
            "note": "the window begins when the last new entry has arrived; bytes_by_kind is the bytes per member in \
                     it, as measured, and its repair is all that established connections carried",
        }),
    );
    let used = cpu.iter().zip(self::cpu(members));
    let shares: Vec<f64> = used
        .filter_map(|(before, after)| Some((after? - (*before)?) / window_s * 100.0))
        .collect();
    let greatest = |values: Vec<f64>| values.into_iter().reduce(f64::max);
    figures.put_or("cpu_percent", greatest(shares), "/proc told nothing");
    let memory = members
        .iter()
        .filter_map(|member| procs::resident_mb(member.daemon.pid()));
    figures.put_or("rss_mb", greatest(memory.collect()), "/proc told nothing");
    Ok(hour)
}

/// The plain figure where the window is long enough to stand for an hour, else the modelled one under its own key.
fn tell_hour(bytes: f64, window_s: f64, figures: &mut Figures) -> Hour {
    let (key, bytes) = if window_s >= LINEAR_FROM_S {
        ("idle_bytes_per_hour", bytes * 3_600.0 / window_s)
    } else {
        figures.missing(
            "idle_bytes_per_hour",
            "window shorter than 600 s; --idle-s 900 measures it",
        );
        let factor = an_hour_of_idleness(SETTLE.as_secs_f64(), window_s);
        figures.put(
            "idle_model",
            json!({
                "factor": factor,
                "note": "the repair timer doubles from 2 s, so most of an hour's rounds lie in its first minutes: \
                         idle_bytes_per_hour_model is the window's bytes times factor = rounds in the hour / rounds \
                         in the window",
            }),
        );
        ("idle_bytes_per_hour_model", bytes * factor)
    };
    let bytes = bytes.round();
    figures.put(key, bytes);
    Hour { key, bytes }
}

/// How many times an hour after the last new entry costs what the window cost: rounds go by a timer that doubles
/// (Trickle, RFC 6206), so that by second `t` there were `log2(t / REPAIR_BEGINS_S + 1)` of them.
fn an_hour_of_idleness(begin_s: f64, window_s: f64) -> f64 {
    let rounds = |t: f64| (t / REPAIR_BEGINS_S + 1.0).log2();
    let hour_s = window_s.max(3_600.0);
    let hour = rounds(begin_s + hour_s) - rounds(begin_s);
    hour / (rounds(begin_s + window_s) - rounds(begin_s)).max(1.0) * 3_600.0 / hour_s
}

fn estimate(figures: &mut Figures, hour: &Hour, per_entry: f64) {
    let Hour { key, bytes } = hour;
    let a_day = 24.0 * bytes + ENTRIES_PER_DAY * per_entry;
    figures.put("bytes_per_day_estimate", a_day.round());
    figures.put(
        "bytes_per_day_formula",
        format!(
            "24 x {key} (as if every hour began with a change) + {ENTRIES_PER_DAY} new entries x \
             bytes_per_entry_and_member"
        ),
    );
}

fn tallies(members: &[Member]) -> Result<Vec<Tally>> {
    members
        .iter()
        .map(|member| member.capture.tally())
        .collect()
}

/// What all members together spent since.
fn spent(members: &[Member], before: &[Tally]) -> Result<Tally> {
    let mut whole = Tally::default();
    for (member, before) in members.iter().zip(before) {
        whole.merge(&member.capture.tally()?.since(before));
    }
    Ok(whole)
}

fn counters(members: &[Member]) -> Result<u64> {
    let each = members.iter().map(|member| member.machine.counters());
    each.map(|counters| counters.map(|both| both.received + both.sent))
        .sum()
}

fn cpu(members: &[Member]) -> Vec<Option<f64>> {
    let each = members.iter();
    each.map(|member| procs::cpu_seconds(member.daemon.pid()))
        .collect()
}

fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_window_is_called_measured() {
        let mut short = Figures::new();
        assert_eq!(
            tell_hour(100.0, 124.0, &mut short).key,
            "idle_bytes_per_hour_model"
        );
        let short = short.into_value();
        assert!(
            short["idle_bytes_per_hour"].is_null()
                && short["why"]["idle_bytes_per_hour"].is_string()
        );
        let mut long = Figures::new();
        tell_hour(100.0, 900.0, &mut long);
        let long = long.into_value();
        assert_eq!(long["idle_bytes_per_hour"], 400.0);
        assert!(long.get("idle_bytes_per_hour_model").is_none() && long.get("why").is_none());
    }

    #[test]
    fn a_whole_hour_stands_for_itself_and_two_minutes_for_less_than_twice_their_cost() {
        assert!((an_hour_of_idleness(2.0, 3_600.0) - 1.0).abs() < 1e-9);
        let factor = an_hour_of_idleness(2.0, 124.0);
        assert!(factor > 1.5 && factor < 2.5, "{factor}");
    }
}
