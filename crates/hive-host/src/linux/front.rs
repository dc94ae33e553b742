//! Whose window has the keyboard on this user's desktop: asks the compositor or the X server at each survey.
//!
//! Each is given a moment; one that is not there or does not answer is left alone for a while. What no desktop tells is
//! not known, and nobody is protected for it: GNOME and KDE under Wayland tell nothing without an extension of their own.

mod hyprland;
mod sway;
mod x11;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hive_core::time::{Instant, Span};

use super::bus::{Bus, BusError, Reader};
use super::line::Line;
use crate::Roots;

/// How long one desktop is waited for, its connection included. A guess: an answer takes a millisecond or two.
const PATIENCE: Duration = Duration::from_millis(100);

/// So long one that did not answer is left alone. A guess: all that hang cost 0.7 % of a minute's looks at most.
const LEFT_ALONE: Span = Span::from_secs(60);

/// Sockets of one kind that are tried: a compositor that crashed leaves its own behind. A guess.
const SOCKETS_MAX: usize = 4;

/// What a desktop calls itself to the programs that it starts.
const WORDS: [&str; 5] = [
    "DISPLAY",
    "XAUTHORITY",
    "SWAYSOCK",
    "HYPRLAND_INSTANCE_SIGNATURE",
    "HOME",
];

/// Why a desktop does not tell.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    /// Nobody is there, or nothing came in time.
    #[error("no answer: {0}")]
    Unavailable(#[from] io::Error),
    /// What came breaks a rule or a bound.
    #[error("the answer is none")]
    Garbled,
}

/// A user's desktop.
#[derive(Debug)]
pub(super) struct Desk {
    /// What the daemon was started with.
    said: BTreeMap<String, String>,
    /// What the user's service manager was told since, and when it was asked: a daemon may be started before the desktop.
    heard: BTreeMap<String, String>,
    heard_at: Option<Instant>,
    runtime: PathBuf,
    /// Where the sockets of X servers are.
    displays: PathBuf,
    host_name: PathBuf,
    uid: u32,
    left_alone: BTreeMap<Kind, Instant>,
}

/// Those that can tell, in the order in which they are asked: an X server beside a Wayland compositor knows its own windows only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Hyprland,
    Sway,
    X11,
}

impl Desk {
    /// Of this user, with the words that this process was started with.
    pub(super) fn new(roots: &Roots, uid: u32, said: BTreeMap<String, String>) -> Self {
        Self {
            said: chosen(said.into_iter()),
            heard: BTreeMap::new(),
            heard_at: None,
            runtime: roots.run.join(format!("user/{uid}")),
            displays: PathBuf::from("/tmp/.X11-unix"),
            host_name: roots.proc.join("sys/kernel/hostname"),
            uid,
            left_alone: BTreeMap::new(),
        }
    }

    /// The process whose window has the keyboard.
    pub(super) fn ask(&mut self, at: Instant) -> Option<u32> {
        self.listen(at);
        self.left_alone
            .retain(|_, since| at.since(*since) < LEFT_ALONE);
        for kind in [Kind::Hyprland, Kind::Sway, Kind::X11] {
            if self.left_alone.contains_key(&kind) {
                continue;
            }
            match self.ask_one(kind) {
                // A compositor that answers knows all windows, also that none has the keyboard.
                Some(Ok(pid)) => return pid.filter(|pid| *pid > 1),
                Some(Err(_)) => {
                    self.left_alone.insert(kind, at);
                }
                None => {}
            }
        }
        None
    }

    /// `None` where there is none of this kind.
    fn ask_one(&self, kind: Kind) -> Option<Result<Option<u32>, NotTold>> {
        let ask = |sockets: Vec<PathBuf>, focus: fn(&mut Line) -> Result<Option<u32>, NotTold>| {
            let began = std::time::Instant::now();
            let mut last = None;
            for socket in sockets.iter().take(SOCKETS_MAX) {
                let left = PATIENCE.saturating_sub(began.elapsed());
                let line = Line::connect(socket, left).map_err(NotTold::from);
                match line.and_then(|mut line| focus(&mut line)) {
                    Ok(pid) => return Some(Ok(pid)),
                    Err(why) => last = Some(Err(why)),
                }
            }
            last
        };
        match kind {
            Kind::Hyprland => ask(self.hyprland(), hyprland::focus),
            Kind::Sway => ask(self.sway(), sway::focus),
            Kind::X11 => {
                let display = x11::local(self.word("DISPLAY")?)?;
                Some(self.x11(display))
            }
        }
    }

    fn hyprland(&self) -> Vec<PathBuf> {
        let all = self.runtime.join("hypr");
        let folders = match self.word("HYPRLAND_INSTANCE_SIGNATURE") {
            Some(own) if is_plain(own) => Vec::from([all.join(own)]),
            _ => entries(&all, |_| true),
        };
        let socket = |folder: PathBuf| folder.join(".socket.sock");
        folders.into_iter().map(socket).collect()
    }

    fn sway(&self) -> Vec<PathBuf> {
        let prefix = format!("sway-ipc.{}.", self.uid);
        self.word("SWAYSOCK").map_or_else(
            || entries(&self.runtime, |name| name.starts_with(&prefix)),
            |own| Vec::from([PathBuf::from(own)]),
        )
    }

    fn x11(&self, display: u32) -> Result<Option<u32>, NotTold> {
        let host = fs::read_to_string(&self.host_name)?;
        let host = host.trim();
        let home = || {
            self.word("HOME")
                .map(|home| Path::new(home).join(".Xauthority"))
        };
        let file = self.word("XAUTHORITY").map(PathBuf::from).or_else(home);
        // An X server may let in its own user without a word.
        let cookie = file.and_then(|file| x11::cookie(&file, host, display));
        let socket = self.displays.join(format!("X{display}"));
        let line = Line::connect(&socket, PATIENCE)?;
        x11::focus(line, cookie.as_deref(), host)
    }

    /// What the daemon was started with counts first.
    fn word(&self, name: &str) -> Option<&str> {
        let word = self.said.get(name).or_else(|| self.heard.get(name));
        word.map(String::as_str).filter(|word| !word.is_empty())
    }

    /// Asks the user's service manager, if this daemon was started outside of a desktop.
    fn listen(&mut self, at: Instant) {
        let desktop = ["DISPLAY", "SWAYSOCK", "HYPRLAND_INSTANCE_SIGNATURE"];
        let inside = desktop.iter().any(|name| self.said.contains_key(*name));
        if inside
            || self
                .heard_at
                .is_some_and(|heard| at.since(heard) < LEFT_ALONE)
        {
            return;
        }
        self.heard_at = Some(at);
        // A manager that does not answer knows of no desktop.
        self.heard = environment(&self.runtime.join("bus"), self.uid).unwrap_or_default();
    }
}

/// What the user's service manager gives to those that it starts: `systemctl --user show-environment`.
fn environment(socket: &Path, uid: u32) -> Result<BTreeMap<String, String>, BusError> {
    let mut bus = Bus::connect(socket, uid, PATIENCE)?;
    bus.greet()?;
    let answer = bus.property(
        Some("org.freedesktop.systemd1"),
        "/org/freedesktop/systemd1",
        ("org.freedesktop.systemd1.Manager", "Environment"),
    )?;
    let words = Reader::new(&answer).variant_texts();
    let pair = |word: &str| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let words = words.ok_or(BusError::Garbled)?;
    Ok(chosen(words.into_iter().filter_map(pair)))
}

/// The few that matter here; no other is kept.
fn chosen(words: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    words
        .filter(|(name, _)| WORDS.contains(&name.as_str()))
        .collect()
}

/// Whether a word is a name in a folder, and leads nowhere else.
fn is_plain(word: &str) -> bool {
    !word.contains('/') && word != "." && word != ".."
}

/// What is in a folder under such names, in their order.
fn entries(folder: &Path, is: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let named = |entry: fs::DirEntry| is(entry.file_name().to_str()?).then(|| entry.path());
    let mut paths: Vec<PathBuf> = found.flatten().filter_map(named).collect();
    paths.sort();
    paths
}

#[cfg(test)]
#[path = "front/tests.rs"]
mod tests;
