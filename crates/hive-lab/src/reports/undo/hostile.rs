//! A daemon that asks for everything, and a witness with all rights that looks at what became of everybody after each batch.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use hive_host::helper::{Knob, Thread};
use hive_host::privileged;

use super::ground::{Ground, within};
use super::hands::BATCH;
use crate::report::Figures;

/// Whose threads may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The served user's own, in order.
    Own,
    /// Everybody else's, and those of that user that somebody gave more.
    Spared,
}

/// Somebody whom the hostile daemon asks about.
struct Victim {
    child: Option<Child>,
    name: &'static str,
    thread: Thread,
    whose: Whose,
    first: [Option<i64>; 5],
}

/// Sends the requests and watches.
pub(super) fn run(ground: &Ground, requests: u64, figures: &mut Figures) -> Result<()> {
    let helper = ground.helper()?;
    let mut victims = victims(ground, helper.pid)?;
    let threads: Vec<String> = victims
        .iter()
        .map(|it| format!("{}:{}:{}", it.thread.pid, it.thread.tid, it.thread.start))
        .collect();
    let mut hostile = ground.hostile(1, &threads)?;
    let mut sent = 0;
    let mut out_of_policy = Vec::new();
    let mut told = String::new();
    let mut looks = 0_u64;
    while sent < requests {
        told = hostile
            .ask("more")?
            .context("the hostile daemon was hung up on")?;
        sent += BATCH as u64;
        looks += 1;
        for victim in &victims {
            out_of_policy.extend(victim.wrongs());
        }
    }
    hostile.end()?;
    // Its socket has died: whatever it had on is off.
    let is_back = within(|| victims.iter().all(|victim| victim.values() == victim.first));
    ensure!(helper.end()?, "the helper did not end in order");
    for victim in &mut victims {
        victim.end()?;
    }
    let answers: Vec<u64> = told
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    figures.put("helper_requests", sent);
    figures.put("out_of_policy", out_of_policy.len());
    figures.put(
        "out_of_policy_examples",
        out_of_policy.iter().take(5).collect::<Vec<_>>(),
    );
    for (key, answer) in ["requests_done", "requests_refused", "requests_failed"]
        .iter()
        .zip(answers)
    {
        figures.put(key, answer);
    }
    figures.put("looks_by_the_witness", looks);
    figures.put("hostile_restored", is_back);
    Ok(())
}

/// Threads of every kind: the user's own in four states, those that have more than the default, other users', the protected ones.
fn victims(ground: &Ground, helper: u32) -> Result<Vec<Victim>> {
    let user = format!("--reuid={}", ground.uid);
    let own: [(&str, &[&str]); 4] = [
        ("own", &[]),
        ("own, nice 5", &["nice", "-n", "5"]),
        ("own, batch", &["chrt", "-b", "0"]),
        ("own, io idle", &["ionice", "-c", "3"]),
    ];
    let given: [(&str, &[&str]); 3] = [
        ("nice -5", &["nice", "-n", "-5"]),
        ("fifo", &["chrt", "-f", "1"]),
        ("round robin", &["chrt", "-r", "1"]),
    ];
    let mut victims = Vec::new();
    for (name, start) in own {
        victims.push(Victim::start(
            name,
            Whose::Own,
            start,
            &[&user, "--clear-groups"],
        )?);
    }
    for (name, start) in given {
        victims.push(Victim::start(
            name,
            Whose::Spared,
            start,
            &[&user, "--clear-groups"],
        )?);
    }
    let real = format!("--ruid={}", ground.uid);
    victims.push(Victim::start(
        "with borrowed rights",
        Whose::Spared,
        &[],
        &[&real],
    )?);
    victims.push(Victim::start("root's", Whose::Spared, &[], &["--reuid=0"])?);
    victims.push(Victim::start(
        "another user's",
        Whose::Spared,
        &[],
        &["--reuid=60599", "--clear-groups"],
    )?);
    victims.push(Victim::of("the first process", 1)?);
    victims.push(Victim::of("the helper", helper)?);
    if let Ok(kernel) = Victim::of("a kernel thread", 2) {
        victims.push(kernel);
    }
    Ok(victims)
}

impl Victim {
    fn start(name: &'static str, whose: Whose, start: &[&str], user: &[&str]) -> Result<Self> {
        let mut words: Vec<&str> = start.to_vec();
        words.push("setpriv");
        words.extend(user);
        words.extend(["sleep", "1000000"]);
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{} is missing", words[0]))?;
        let pid = child.id();
        let is_asleep = || {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "sleep"
        };
        ensure!(within(is_asleep), "{name} does not start");
        let mut victim = Self::of(name, pid)?;
        victim.child = Some(child);
        victim.whose = whose;
        Ok(victim)
    }

    fn of(name: &'static str, pid: u32) -> Result<Self> {
        let start = privileged::start_of(pid, pid).context("it is not there")?;
        let mut victim = Self {
            child: None,
            name,
            thread: Thread {
                pid,
                tid: pid,
                start,
            },
            whose: Whose::Spared,
            first: [None; 5],
        };
        victim.first = victim.values();
        Ok(victim)
    }

    fn values(&self) -> [Option<i64>; 5] {
        Knob::ALL.map(|knob| privileged::read(knob, self.thread.tid).ok())
    }

    /// What must not be.
    fn wrongs(&self) -> Vec<String> {
        let values = Knob::ALL.into_iter().zip(self.first).zip(self.values());
        values
            .filter(|((knob, first), now)| !self.may_be(*knob, *first, *now))
            .map(|((knob, first), now)| format!("{}: {knob:?} {first:?} {now:?}", self.name))
            .collect()
    }

    /// Told apart from the helper's own rules: by the kernel's numbers alone.
    fn may_be(&self, knob: Knob, first: Option<i64>, now: Option<i64>) -> bool {
        let (Some(first), Some(now)) = (first, now) else {
            return first == now;
        };
        if first == now {
            return true;
        }
        let less = now > first;
        self.whose == Whose::Own
            && match knob {
                Knob::Nice => less && now <= 19,
                Knob::Policy => less && (now == 3 || now == 5),
                Knob::Slice => (100_000..=20_000_000).contains(&now),
                // Best effort 5 to 7 where there was no class, and idle; nice 5 is level 5 already.
                Knob::IoPriority => less && [16_389, 16_390, 16_391, 24_576].contains(&now),
                Knob::TimerSlack => less && (50_000..=50_000_000).contains(&now),
            }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}
