//! What other programs that tune this machine say of themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hive_core::machine::facts::Tuners;
use hive_core::time::{Instant, Span};

use super::bus::{Body, Bus, BusError, Method, Reader};
use super::scan::Scan;
use crate::{Roots, tuned};

/// How long an answer is believed: games last longer. A guess.
const BELIEVED: Span = Span::from_secs(10);

/// How long it is waited for, its bus included: the next look waits meanwhile. A guess: an answer takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(200);

/// What `gamemoded` is called on the user's bus.
const GAMEMODE: &str = "com.feralinteractive.GameMode";

/// Asks for them.
#[derive(Debug)]
pub(super) struct Asker {
    scheduler: PathBuf,
    bus: PathBuf,
    uid: u32,
    games: Option<(Instant, Games)>,
    policies: Option<(Instant, bool)>,
    /// Where `tuned` keeps the owner's profiles, and those that came with it.
    profiles: [PathBuf; 2],
}

/// Who asked `gamemoded` for its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Games {
    count: u32,
    /// Their processes, where it tells them.
    pids: Vec<u32>,
}

impl Asker {
    pub(super) fn new(roots: &Roots, uid: u32) -> Self {
        Self {
            scheduler: roots.sys.join("kernel/sched_ext/state"),
            bus: roots.run.join(format!("user/{uid}/bus")),
            uid,
            games: None,
            policies: None,
            profiles: ["/etc/tuned", "/usr/lib/tuned"].map(PathBuf::from),
        }
    }

    /// What is so at this moment.
    pub(super) fn ask(&mut self, at: Instant, scan: &Scan) -> Tuners {
        let state = fs::read_to_string(&self.scheduler).unwrap_or_default();
        let runs = |name: &str| {
            let mut alive = scan.stats.iter().filter(|stat| stat.alive());
            alive.any(|stat| stat.name == name)
        };
        // It is there to be asked only while it runs; nobody starts it for this.
        self.games = fresh(self.games.take(), at, runs("gamemoded"), || {
            // One that does not answer has no game to speak of.
            games(&self.bus, self.uid).unwrap_or_default()
        });
        self.policies = fresh(self.policies, at, runs(tuned::PROGRAM), || {
            let [etc, lib] = &self.profiles;
            tuned::sets_policies(etc, lib)
        });
        Tuners {
            sched_ext: state.trim() == "enabled",
            games: self.games.as_ref().map_or(0, |(_, games)| games.count),
            policies: self.policies.is_some_and(|(_, sets)| sets),
        }
    }

    /// The processes of games, as of the last answer.
    pub(super) fn games(&self) -> &[u32] {
        self.games.as_ref().map_or(&[], |(_, games)| &games.pids)
    }
}

/// What was told, as long as it is believed; then it is asked anew. Nothing of who does not run.
fn fresh<T>(
    told: Option<(Instant, T)>,
    at: Instant,
    runs: bool,
    ask: impl FnOnce() -> T,
) -> Option<(Instant, T)> {
    let told = told.filter(|(asked, _)| at.since(*asked) < BELIEVED);
    runs.then(|| told.unwrap_or_else(|| (at, ask())))
}

/// The games that have asked `gamemoded` for its settings.
fn games(socket: &Path, uid: u32) -> Result<Games, BusError> {
    let mut bus = Bus::connect(socket, uid, PATIENCE)?;
    bus.greet()?;
    let object = "/com/feralinteractive/GameMode";
    let answer = bus.property(Some(GAMEMODE), object, (GAMEMODE, "ClientCount"))?;
    let count = Reader::new(&answer).variant_i32();
    let count = count.and_then(|count| u32::try_from(count).ok());
    let list = Method {
        destination: Some(GAMEMODE),
        path: object,
        interface: GAMEMODE,
        member: "ListGames",
    };
    // Versions before 1.5 do not tell whom they count.
    let listed = bus.call(list, &Body::default()).unwrap_or_default();
    let pids = Reader::new(&listed)
        .numbers_of_objects()
        .unwrap_or_default();
    Ok(Games {
        count: count.ok_or(BusError::Garbled)?,
        pids: pids
            .into_iter()
            .filter_map(|pid| u32::try_from(pid).ok())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::stat::Stat;

    #[test]
    fn profiles_are_read_only_while_tuned_runs_and_believed_for_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        };
        let mut asker = Asker::new(&Roots::default(), 1_000);
        asker.scheduler = folder.path().join("no scheduler");
        asker.profiles = ["etc", "lib"].map(|of| folder.path().join(of));
        write("etc/active_profile", "desk\n");
        write("etc/desk/tuned.conf", "group.x=0:i:0:*:tracker.*\n");
        let scan = |state: char| {
            let line = format!("9 (tuned) {state} 1 9 9 0 -1 0{}", " 0".repeat(43));
            let stats = Vec::from([Stat::parse(line.as_bytes()).expect("a process")]);
            Scan { stats }
        };
        let mut sets = |second: u64, state: char| {
            let at = Instant(second * 1_000_000);
            asker.ask(at, &scan(state)).policies
        };
        assert!(!sets(1, 'Z'), "a corpse sets nothing");
        assert!(sets(2, 'S'));
        write("etc/active_profile", "other\n");
        assert!(sets(11, 'S'));
        assert!(!sets(12, 'S'));
    }
}
