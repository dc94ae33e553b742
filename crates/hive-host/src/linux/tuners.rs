//! What other programs that tune this machine say of themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hive_core::machine::facts::Tuners;
use hive_core::time::{Instant, Span};

use super::bus::{Body, Bus, BusError, Method, Reader};
use super::scan::Scan;
use crate::Roots;

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
        }
    }

    /// What is so at this moment.
    pub(super) fn ask(&mut self, at: Instant, scan: &Scan) -> Tuners {
        let state = fs::read_to_string(&self.scheduler).unwrap_or_default();
        // It is there to be asked only while it runs; nobody starts it for this.
        let runs = scan
            .stats
            .iter()
            .any(|stat| stat.alive() && stat.name == "gamemoded");
        let fresh = |(asked, _): &(Instant, Games)| runs && at.since(*asked) < BELIEVED;
        self.games = self.games.take().filter(fresh);
        if runs && self.games.is_none() {
            // One that does not answer has no game to speak of.
            self.games = Some((at, games(&self.bus, self.uid).unwrap_or_default()));
        }
        Tuners {
            sched_ext: state.trim() == "enabled",
            games: self.games.as_ref().map_or(0, |(_, games)| games.count),
        }
    }

    /// The processes of games, as of the last answer.
    pub(super) fn games(&self) -> &[u32] {
        self.games.as_ref().map_or(&[], |(_, games)| &games.pids)
    }
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
