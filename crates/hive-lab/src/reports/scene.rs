//! The scene of every trial: a paced loop in a terminal's foreground and a build that wants the whole machine,
//! and the loop's own clock with the hive on against the hive paused.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hive_mind::Client;
use hive_mind::pattern::{Action, Binding, Verdict};
use hive_mind::reply::{PatternState, PatternView};
use serde::Serialize;

use crate::clock;
use crate::procs;
use crate::programs::Front;
use crate::programs::load::Load;
use crate::stats::{self, Dice, Ratio};
use crate::work;
use crate::world::terminal::{Jobs, Terminal};
use crate::world::{Machine, copy_or_link};

/// Quiet after each switch. A trial needs 0.2 s (`research/optimizer.md` 7.5); the rest lets the daemon notice.
const WASH_OUT: Duration = Duration::from_secs(1);

/// How long a proven action may take to be on again after `resume`.
const BACK_ON: Duration = Duration::from_secs(5);

/// How long a program may take to write a turn out. A guess: ten times what a busy machine showed.
const WRITTEN_OUT: Duration = Duration::from_secs(10);

/// How long a program may take to be at work: a browser beside a build takes some seconds (a guess).
const AT_WORK: Duration = Duration::from_mins(1);

/// How often the lab looks.
const LOOK: Duration = Duration::from_millis(100);

/// Where the build runs, seen from the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// In the same terminal, started with `&`.
    SameSession,
    /// In the foreground of a terminal of its own; with a build in front, in the background of one.
    OtherSession,
}

impl Layout {
    /// What decides between the loop and the build on a kernel with autogroups.
    pub fn binding(self) -> Binding {
        match self {
            Self::SameSession => Binding::Task,
            Self::OtherSession => Binding::Autogroup,
        }
    }
}

/// What the programs are, and what they are called.
#[derive(Clone, Debug)]
pub struct Cast {
    /// What somebody waits for.
    pub front: Front,
    /// What competes with it.
    pub load: Load,
    /// The names.
    pub names: Names,
}

/// What the programs are called.
#[derive(Clone, Debug)]
pub struct Names {
    /// The program in front.
    pub pacer: String,
    /// The build's folder.
    pub project: String,
    /// What drives the build: `make`, or the path of a copy of it.
    pub make: String,
}

/// The programs at work.
#[derive(Debug)]
pub struct Scene {
    layout: Layout,
    terminals: Vec<Terminal>,
    out: PathBuf,
}

/// The front program's own times with the hive on and with the hive paused, in pairs of windows.
#[derive(Clone, Debug, Serialize)]
pub struct OwnClock {
    /// Ratio of the medians.
    pub p50: Option<Ratio>,
    /// Ratio of the 99th percentiles.
    pub p99: Option<Ratio>,
    /// Ratio of the means: the same kind of figure as the hive's reward, which is a mean too.
    pub mean: Option<Ratio>,
    /// The medians of all windows' medians and 99th percentiles in milliseconds: on p50, p99; paused p50, p99.
    pub ms: [f64; 4],
    /// Pairs of windows.
    pub alternations: usize,
    /// In how many of the windows with the hive on an action was on at their beginning.
    pub windows_acted: usize,
}

/// How the alternation is done.
#[derive(Clone, Copy, Debug)]
pub struct Alternation {
    /// How many pairs of windows.
    pub pairs: usize,
    /// Length of a window.
    pub window: Duration,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            pacer: "pacer".into(),
            project: "project".into(),
            make: "make".into(),
        }
    }
}

impl Scene {
    /// Starts the paced loop beside a build of C files. The hive is told nothing.
    pub fn open(machine: &Machine, layout: Layout, names: &Names) -> Result<Self> {
        Self::open_with(machine, layout, Load::Make, names)
    }

    /// The same with another load.
    pub fn open_with(machine: &Machine, layout: Layout, load: Load, names: &Names) -> Result<Self> {
        let cast = Cast {
            front: Front::Ticker,
            load,
            names: names.clone(),
        };
        Self::play(machine, layout, &cast)
    }

    /// Starts the programs. The hive is told nothing.
    pub fn play(machine: &Machine, layout: Layout, cast: &Cast) -> Result<Self> {
        if let Some(why) = cast.front.missing().or_else(|| cast.load.missing()) {
            bail!(why);
        }
        let names = &cast.names;
        let pacer = machine.folder().join(&names.pacer);
        if !pacer.exists() {
            copy_or_link(&machine.tools().lab, &pacer)?;
        }
        let folder = machine.folder().join(&names.project);
        let background = cast.load.prepare(&folder, &names.make)?;
        let out = machine.folder().join(format!("turns{}", clock::boot_us()));
        let place = machine.folder().join(format!("{}-files", names.pacer));
        let mut foreground = vec![pacer.display().to_string()];
        foreground.extend(cast.front.prepare(&place, &out)?);
        let sessions = match layout {
            Layout::SameSession => vec![Jobs {
                foreground: Some(foreground),
                background: Some(background),
            }],
            Layout::OtherSession => vec![
                Jobs {
                    foreground: Some(foreground),
                    background: None,
                },
                // Two builds in front are two that somebody waits for.
                match cast.front {
                    Front::Build => Jobs {
                        foreground: None,
                        background: Some(background),
                    },
                    _ => Jobs {
                        foreground: Some(background),
                        background: None,
                    },
                },
            ],
        };
        let terminals: Result<Vec<Terminal>> = sessions
            .iter()
            .map(|jobs| Terminal::open(machine, jobs, &[]))
            .collect();
        Ok(Self {
            layout,
            terminals: terminals?,
            out,
        })
    }

    /// Where the build runs.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How long the loop's turns took that were due in `[from, until)` (boot clock, microseconds), in milliseconds.
    pub fn took_ms(&self, from_us: u64, until_us: u64) -> Result<Vec<f64>> {
        let turns = work::turns(&self.out, from_us, until_us)?;
        Ok(turns.iter().map(|turn| turn.took_ms).collect())
    }

    /// Every process of the scene.
    pub fn processes(&self) -> Vec<u32> {
        let each = self.terminals.iter();
        each.flat_map(Terminal::processes).collect()
    }

    /// Threads of the scene whose nice, slice or session nice is not a new process's.
    pub fn changed(&self) -> usize {
        let me = std::process::id();
        procs::changed(&procs::settings(&self.processes()), procs::slice_ns(me, me))
    }

    /// Threads of the scene that carry a value of the hive's.
    pub fn of_the_hive(&self) -> usize {
        procs::of_the_hive(&procs::settings(&self.processes()))
    }

    /// The loop's own clock, hive on against hive paused, in random order within each pair.
    pub async fn own_clock(&self, client: &Client, how: Alternation) -> Result<OwnClock> {
        let mut dice = Dice::new(clock::boot_us());
        let mut windows = Vec::new();
        let mut windows_acted = 0;
        for _ in 0..how.pairs {
            let on_first = dice.coin();
            let mut pair = [None, None];
            for on in [on_first, !on_first] {
                if on {
                    client.resume().await?;
                    windows_acted += usize::from(acts_again(client).await?);
                } else {
                    client.pause(None).await?;
                }
                tokio::time::sleep(WASH_OUT).await;
                pair[usize::from(on)] = Some(self.window(how.window).await?);
            }
            if let [Some(off), Some(on)] = pair {
                windows.push((on, off));
            }
        }
        client.resume().await?;
        let seed = dice.next_u64();
        let ratio = |of: fn(&Window) -> f64| {
            let pairs: Vec<(f64, f64)> =
                windows.iter().map(|(on, off)| (of(on), of(off))).collect();
            stats::paired_ratio(&pairs, seed)
        };
        let middle = |of: &dyn Fn(&(Window, Window)) -> f64| {
            let values: Vec<f64> = windows.iter().map(of).collect();
            stats::spread(&values).map_or(f64::NAN, |spread| (spread.p50 * 1e3).round() / 1e3)
        };
        Ok(OwnClock {
            p50: ratio(|window| window.p50),
            p99: ratio(|window| window.p99),
            mean: ratio(|window| window.mean),
            ms: [
                middle(&|(on, _)| on.p50),
                middle(&|(on, _)| on.p99),
                middle(&|(_, off)| off.p50),
                middle(&|(_, off)| off.p99),
            ],
            alternations: windows.len(),
            windows_acted,
        })
    }

    /// Waits until the program has been at work for so long.
    pub async fn is_at_work(&self, seconds: u64) -> Result<()> {
        let then = clock::boot_us() + seconds * 1_000_000;
        self.has_written_past(then, AT_WORK + Duration::from_secs(seconds))
            .await
    }

    /// Waits until a turn is written out that was due after this moment.
    async fn has_written_past(&self, moment_us: u64, at_most: Duration) -> Result<()> {
        let began = std::time::Instant::now();
        while began.elapsed() < at_most {
            if self.out.exists() && !work::turns(&self.out, moment_us, u64::MAX)?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!(
            "the program in front wrote nothing for {} s",
            at_most.as_secs()
        )
    }

    async fn window(&self, length: Duration) -> Result<Window> {
        let from = clock::boot_us();
        tokio::time::sleep(length).await;
        let until = clock::boot_us();
        // Programs write their turns out in batches, and the slow ones are what counts: all must be there.
        self.has_written_past(until, WRITTEN_OUT).await?;
        let turns = work::turns(&self.out, from, until)?;
        let took: Vec<f64> = turns.iter().map(|turn| turn.took_ms).collect();
        let spread = stats::spread(&took).context("the loop made no turn in a whole window")?;
        Ok(Window {
            p50: spread.p50,
            p99: spread.p99,
            mean: stats::mean(&took).unwrap_or(spread.p50),
        })
    }
}

/// One window's times in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Window {
    p50: f64,
    p99: f64,
    mean: f64,
}

/// Waits until something is on again, where there is something to be on.
async fn acts_again(client: &Client) -> Result<bool> {
    if !client.patterns().await?.patterns.iter().any(is_used) {
        return Ok(false);
    }
    let began = std::time::Instant::now();
    while began.elapsed() < BACK_ON {
        if !client.status().await?.active.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

/// Whether this machine has decided to use a pattern: proven here, or on probation. Trials and placebos are no
/// choice.
pub fn is_used(pattern: &PatternView) -> bool {
    pattern.action != Action::Placebo
        && matches!(
            pattern.state,
            PatternState::Probation | PatternState::Proven
        )
}

/// Whether this machine has said its own last word on everything that it tried, and tried something.
pub fn has_settled(patterns: &[PatternView]) -> bool {
    let tried = |pattern: &&PatternView| pattern.action != Action::Placebo && pattern.pairs > 0;
    let open = |pattern: &PatternView| {
        matches!(pattern.state, PatternState::Trial | PatternState::Probation)
            && pattern.verdict == Verdict::Undecided
    };
    patterns.iter().filter(tried).count() > 0 && !patterns.iter().any(open)
}
