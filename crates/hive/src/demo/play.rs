//! The story, step by step: up, invite, join, trial, sync, undo, the second machine's own proof.

mod undo;

use std::time::Duration;

use hive_mind::Client;
use hive_mind::Role;
use hive_mind::pattern::Verdict;
use hive_mind::reply::{JoinStage, JoinView, Mode, PatternState, PatternView};
use rustix::process::getpriority_process;

use crate::demo::figures::{Figures, Proof};
use crate::demo::follow::Follower;
use crate::demo::ground::{Ground, Machine};
use crate::demo::watch::Watch;
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::patterns as text;
use crate::render::text::{count, effect};
use crate::stage::machine::{Order, Values};

use self::undo::{note_unknown_slices, undo};

/// How long a daemon may take to answer. A guess: it takes a fraction of a second.
const UP: Duration = Duration::from_secs(10);

/// How long the machines may take to find each other by mDNS before the address is given. The promise is 0.5 s.
const FIND: Duration = Duration::from_secs(5);

/// How long a join may take. The promise is well under a second.
const JOIN: Duration = Duration::from_secs(10);

/// Kept of the whole time for what follows the first machine's verdict. Its own verdict takes the second
/// machine about 45 s; where the first one needed longer, the second is shown as far as it comes.
const AFTER_TRIAL: Duration = Duration::from_secs(20);

/// How long a change may take to show in `/proc`. A guess: it takes tens of milliseconds.
const ACT: Duration = Duration::from_secs(6);

/// How long cleaning up may take.
const CLEAN: Duration = Duration::from_secs(7);

/// One machine and the ways to its daemon.
struct Actor<'a> {
    name: &'static str,
    machine: &'a mut Machine,
    link: Link,
    client: Client,
    told: Follower,
}

/// Plays it all. An error is a step that did not run; a verdict of any kind is none.
pub(super) fn all(
    watch: &Watch,
    ground: &mut Ground,
    figures: &mut Figures,
) -> Result<(), Problem> {
    let apart = !can_undo_nice();
    let nice = getpriority_process(None).unwrap_or(0);
    if apart {
        let right = "the right to lower a nice value again (CAP_SYS_NICE or RLIMIT_NICE of 20): \
                     the build runs in a terminal session of its own instead";
        lack(watch, figures, right.to_owned());
    }
    if apart && nice > 0 {
        let terminal = "programs at nice 0: this terminal has nice";
        let rest = "and a nice value that somebody set is left alone; start the demo from one that has not";
        lack(watch, figures, format!("{terminal} {nice}, {rest}"));
    }
    let load = Load {
        jobs: 2 * figures.machine.cores,
        source: ground.source.clone(),
        apart,
    };
    let network = ground.network;
    let actors = figures.step("up", || {
        Ok::<_, Problem>((
            Actor::up(watch, "desk", &mut ground.desk, network)?,
            Actor::up(watch, "laptop", &mut ground.laptop, network)?,
        ))
    });
    let (mut desk, mut laptop) = actors?;
    join(watch, figures, &desk, &laptop)?;
    let proven = trial(watch, figures, &mut desk, &load)?;
    if let Some(pattern) = &proven {
        sync(watch, figures, pattern, &mut desk, &laptop)?;
        undo(watch, figures, pattern, &mut desk)?;
    } else {
        let why = "the first machine proved nothing that helps in the time there was";
        for name in ["synced_ms", "second", "undo_restored"] {
            figures.why.insert(name, why.to_owned());
        }
    }
    if let Some(pattern) = &proven {
        desk.machine.tell(&Order::Unload)?;
        second(watch, figures, pattern, &mut laptop, &load)?;
    }
    end(watch, figures, &mut desk, &mut laptop)
}

/// Tells what this machine does not have, or does not allow.
fn lack(watch: &Watch, figures: &mut Figures, what: String) {
    watch.say(&format!("  not here: {what}"));
    figures.missing.push(what);
}

struct Load {
    jobs: usize,
    source: Option<std::path::PathBuf>,
    apart: bool,
}

impl Load {
    fn order(&self) -> Order {
        Order::Load {
            jobs: u32::try_from(self.jobs).unwrap_or(u32::MAX),
            source: self.source.clone(),
            apart: self.apart,
        }
    }
}

impl<'a> Actor<'a> {
    fn up(
        watch: &Watch,
        name: &'static str,
        machine: &'a mut Machine,
        network: &str,
    ) -> Result<Self, Problem> {
        watch.say(&format!("\n{name} $ hive up --yes"));
        let mut args = vec!["--mode", "auto", "--label", name];
        if network == "loopback" {
            args.extend(["--bind", "127.0.0.1", "--interface", "lo", "--port", "0"]);
        }
        let args = args.into_iter().map(str::to_owned).collect();
        machine.tell(&Order::Daemon { args })?;
        let link = Link::to(&machine.socket())?;
        if watch
            .until(watch.in_(UP), || Ok(link.is_up().then_some(())))?
            .is_none()
        {
            return Err(Problem::new(
                Exit::Failed,
                "demo.up",
                format!("the daemon of {name} did not start"),
            )
            .known(format!("its last words: {}", machine.last_words())));
        }
        let told = Follower::start(&machine.socket())
            .map_err(|why| Problem::system("the daemon cannot be followed", &why))?;
        let client = link.client();
        let status = link.ask(client.status())?;
        watch.say(&format!(
            "  This machine is \"{}\".  Watching.",
            status.label
        ));
        Ok(Self {
            name,
            machine,
            link,
            client,
            told,
        })
    }

    fn patterns(&self) -> Result<Vec<PatternView>, Problem> {
        Ok(self.link.ask(self.client.patterns())?.patterns)
    }

    fn pattern(&self, id: &str) -> Result<Option<PatternView>, Problem> {
        Ok(self
            .patterns()?
            .into_iter()
            .find(|pattern| pattern.id == id))
    }

    fn values(&mut self) -> Result<Values, Problem> {
        Ok(self
            .machine
            .tell(&Order::Values)?
            .values
            .unwrap_or_default())
    }
}

/// Code, proof, the same words on both screens, approval, membership on both sides.
fn join(watch: &Watch, figures: &mut Figures, desk: &Actor, laptop: &Actor) -> Result<(), Problem> {
    let invite = figures.step("invite", || desk.link.ask(desk.client.invite()))?;
    watch.say(&format!(
        "\ndesk $ hive invite\n  On the other machine:  hive join {}",
        invite.code
    ));
    watch.say("\nlaptop $ hive join HIVE-…");
    let missing = &mut figures.missing;
    let began = std::time::Instant::now();
    laptop.link.ask(laptop.client.join(&invite.code, None))?;
    let mut view = proved(watch, laptop, FIND)?;
    if view.is_none() {
        missing.push("finding the other machine by mDNS: its address was given instead".to_owned());
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], invite.port));
        laptop
            .link
            .ask(laptop.client.join(&invite.code, Some(at)))?;
        view = proved(watch, laptop, JOIN)?;
    }
    let waiting = view.ok_or_else(|| {
        Problem::new(
            Exit::Failed,
            "demo.join",
            "the machines did not find each other",
        )
        .known(format!(
            "desk: {}; laptop: {}",
            desk.machine.last_words(),
            laptop.machine.last_words()
        ))
    })?;
    compare_and_approve(watch, desk, laptop, &waiting)?;
    figures.note("join", began);
    let view = laptop.link.ask(laptop.client.join_state())?;
    figures.discovery_ms = view.found_ms;
    figures.join_ms = view.member_ms;
    let told =
        |value: Option<f64>| value.map_or("not measured".to_owned(), |ms| format!("{ms:.0} ms"));
    watch.say(&format!(
        "  You are a member.  2 machines.   (found in {}, member in {})",
        told(view.found_ms),
        told(view.member_ms)
    ));
    Ok(())
}

/// Waits until the code is proved both ways and a person is to decide.
fn proved(watch: &Watch, laptop: &Actor, within: Duration) -> Result<Option<JoinView>, Problem> {
    watch.until(watch.in_(within), || {
        let view = laptop.link.ask(laptop.client.join_state())?;
        match view.stage {
            JoinStage::Waiting | JoinStage::Member => Ok(Some(view)),
            JoinStage::Failed => Err(view.error.map_or_else(
                || Problem::new(Exit::Failed, "demo.join", "the join failed"),
                Problem::from,
            )),
            _ => Ok(None),
        }
    })
}

fn compare_and_approve(
    watch: &Watch,
    desk: &Actor,
    laptop: &Actor,
    waiting: &JoinView,
) -> Result<(), Problem> {
    let machine = watch
        .until(watch.in_(JOIN), || {
            Ok(desk
                .link
                .ask(desk.client.pending())?
                .pending
                .into_iter()
                .next())
        })?
        .ok_or_else(|| Problem::new(Exit::Failed, "demo.join", "nobody waits at the desk"))?;
    let (here, there) = (
        machine.words.as_str(),
        waiting.words.as_deref().unwrap_or_default(),
    );
    watch.say(&format!(
        "  desk:    \"{}\" wants to join.  Both screens show:  {here}",
        machine.label
    ));
    watch.say(&format!("  laptop:  Both screens must show:  {there}"));
    if here != there || here.is_empty() {
        return Err(Problem::new(
            Exit::Failed,
            "demo.words",
            "the two screens show different words",
        ));
    }
    watch.say("  desk:    Let it in? [y/N] y");
    desk.link
        .ask(desk.client.approve(&machine.node, Role::Member))?;
    let both = watch.until(watch.in_(JOIN), || {
        let here = desk.link.ask(desk.client.status())?;
        let there = laptop.link.ask(laptop.client.status())?;
        Ok((here.members == 2 && there.members == 2 && there.peers_online == 1).then_some(()))
    })?;
    both.ok_or_else(|| {
        Problem::new(
            Exit::Failed,
            "demo.join",
            "the second machine did not become a member",
        )
    })
}

/// The load starts on the desk; its trial runs live, until something helps or the time is over.
fn trial(
    watch: &Watch,
    figures: &mut Figures,
    desk: &mut Actor,
    load: &Load,
) -> Result<Option<PatternView>, Problem> {
    let work = if load.source.is_some() {
        "compiles C files"
    } else {
        "calculates"
    };
    watch.say(&format!(
        "\nOn desk an editor wakes every 5 ms while a build {work} with {} jobs{} ...",
        load.jobs,
        if load.apart {
            " in another terminal session"
        } else {
            " in the same terminal"
        },
    ));
    let began = std::time::Instant::now();
    desk.machine.tell(&load.order())?;
    let mut told = Told::default();
    let proven = watch.until(watch.before_end(AFTER_TRIAL), || {
        let patterns = desk.patterns()?;
        told.tell(watch, &patterns);
        Ok(patterns
            .into_iter()
            .find(|pattern| pattern.own && pattern.verdict == Verdict::Helps))
    })?;
    figures.note("trial", began);
    let best = match &proven {
        Some(pattern) => Some(pattern.clone()),
        None => desk
            .patterns()?
            .into_iter()
            .max_by_key(|pattern| pattern.pairs),
    };
    figures.pattern = best.as_ref().map(Proof::of);
    watch.say("\ndesk $ hive patterns");
    if let Some(pattern) = &best {
        watch.say(&lines(pattern));
        watch.say(&format!("\ndesk $ hive why {}", pattern.name));
        let why = desk.link.ask(desk.client.why(&pattern.name))?;
        for line in &why.because {
            watch.say(&format!("  {line}"));
        }
        watch.say(&format!("  Undo: {}", why.undo));
    } else {
        let because = desk.link.ask(desk.client.decision())?.because;
        watch.say(&format!("  nothing was tried: {because}"));
        figures.why.insert("pattern", because);
    }
    Ok(proven)
}

/// From the desk's verdict to the laptop's knowledge of it, on the clock that both share.
fn sync(
    watch: &Watch,
    figures: &mut Figures,
    pattern: &PatternView,
    desk: &mut Actor,
    laptop: &Actor,
) -> Result<(), Problem> {
    let known = figures.step("sync", || {
        watch.until(watch.in_(ACT), || {
            let proven = |known: &PatternView| {
                known
                    .others
                    .iter()
                    .any(|other| other.verdict == Verdict::Helps)
            };
            Ok(laptop.pattern(&pattern.id)?.filter(proven))
        })
    })?;
    let Some(known) = known else {
        return Err(Problem::new(
            Exit::Failed,
            "demo.sync",
            "the pattern did not reach the laptop",
        )
        .known(format!("laptop: {}", laptop.machine.last_words())));
    };
    let said = desk
        .told
        .last("trial_ended", |event| event["verdict"] == "helps");
    figures.synced_ms = said.and_then(|said| milliseconds_between(said, known.known_at_us));
    if let Some(ms) = figures.synced_ms {
        watch.say(&format!(
            "\nlaptop knows it {ms:.1} ms after desk's verdict."
        ));
    } else {
        let why = if said.is_none() {
            "the desk did not tell when its trial ended"
        } else {
            "the laptop noted the pattern before the desk told the end of its trial"
        };
        figures.why.insert("synced_ms", why.to_owned());
    }
    Ok(())
}

/// None when the second moment is not the later one: then the two are no beginning and end.
fn milliseconds_between(said_us: u64, known_us: u64) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of a boot clock, far below 2^53"
    )]
    let us = known_us.checked_sub(said_us)? as f64;
    Some(us / 1_000.0)
}

/// The same load on the laptop: probation at once, then its own verdict, as far as the time goes.
fn second(
    watch: &Watch,
    figures: &mut Figures,
    pattern: &PatternView,
    laptop: &mut Actor,
    load: &Load,
) -> Result<(), Problem> {
    watch.say("\nThe same kind of work moves to laptop, which has not tried anything yet ...");
    laptop.machine.tell(&load.order())?;
    let mut told = Told::default();
    let began = std::time::Instant::now();
    let mut on_after = None;
    let verdict = figures.step("second", || {
        watch.until(watch.before_end(CLEAN), || {
            let Some(known) = laptop.pattern(&pattern.id)? else {
                return Ok(None);
            };
            told.tell(watch, std::slice::from_ref(&known));
            if known.on {
                on_after.get_or_insert_with(|| began.elapsed());
            }
            let settled = matches!(known.state, PatternState::Proven | PatternState::Dropped);
            Ok(settled.then_some(known))
        })
    })?;
    let known = match verdict {
        Some(known) => Some(known),
        None => laptop.pattern(&pattern.id)?,
    };
    if let Some(span) = on_after {
        watch.say(&format!(
            "\nIt was on {:.1} s after the work began there, before laptop's own proof.",
            span.as_secs_f64()
        ));
    }
    figures.probation_on_s = on_after.map(|span| span.as_secs_f64());
    watch.say(&format!("\n{} $ hive patterns", laptop.name));
    if let Some(known) = &known {
        watch.say(&lines(known));
    }
    figures.second = known.as_ref().map(Proof::of);
    Ok(())
}

/// Both daemons end while the load is still there: whatever was on must be off afterwards.
fn end(
    watch: &Watch,
    figures: &mut Figures,
    desk: &mut Actor,
    laptop: &mut Actor,
) -> Result<(), Problem> {
    let left = figures.step("down", || {
        desk.machine.tell(&Order::EndDaemon)?;
        laptop.machine.tell(&Order::EndDaemon)?;
        Ok::<_, Problem>([desk.values()?, laptop.values()?])
    })?;
    desk.machine.tell(&Order::Unload)?;
    laptop.machine.tell(&Order::Unload)?;
    let threads: usize = left.iter().map(|values| values.threads).sum();
    let changed: usize = left.iter().map(Values::changed).sum();
    for values in &left {
        note_unknown_slices(figures, values);
    }
    if changed > 0 {
        return Err(Problem::new(
            Exit::Failed,
            "demo.left_on",
            "a daemon ended and left values changed",
        )
        .known(format!("{changed} of {threads} threads")));
    }
    watch.say(&format!(
        "\nhive down, on both: all {threads} threads of the load have their own values again."
    ));
    Ok(())
}

/// What was printed last of a pattern, so that each pair is printed once.
#[derive(Default)]
struct Told {
    last: std::collections::BTreeMap<String, (PatternState, u32)>,
}

impl Told {
    fn tell(&mut self, watch: &Watch, patterns: &[PatternView]) {
        for pattern in patterns {
            let now = (pattern.state, pattern.pairs);
            let before = self.last.insert(pattern.id.clone(), now);
            if before == Some(now) || pattern.state == PatternState::Heard {
                continue;
            }
            let time = format!("{:4.0} s  {}", watch.seconds(), pattern.name);
            if before.is_none_or(|(state, _)| state != pattern.state) {
                let words =
                    [text::state_words(pattern).as_str(), pattern.action.words()].join(": ");
                watch.say(&format!("{time}  {words}"));
            } else if let Some(ratio) = pattern.wait_ratio {
                let pairs = count(pattern.pairs as usize, "pair", "pairs");
                watch.say(&format!(
                    "{time}  {pairs}: {}",
                    effect(pattern.role, ratio, pattern.ci)
                ));
            }
        }
    }
}

fn lines(pattern: &PatternView) -> String {
    let list = hive_mind::reply::PatternsView {
        patterns: vec![pattern.clone()],
    };
    let text = text::list(&list, Mode::Auto);
    let kept: Vec<String> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| format!("  {line}"))
        .collect();
    kept.join("\n")
}

/// Whether this user can lower a nice value again (setpriority(2)): `CAP_SYS_NICE` is capability 23.
fn can_undo_nice() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|word| u64::from_str_radix(word.trim(), 16).ok())
        .unwrap_or(0);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nice).current;
    effective >> 23 & 1 == 1 || limit.is_none_or(|limit| limit >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_before_it_was_said_took_no_time_that_could_be_told() {
        assert_eq!(milliseconds_between(1_000, 3_500), Some(2.5));
        assert_eq!(milliseconds_between(3_500, 1_000), None);
    }
}
