//! `hive daemon`: the daemon in the foreground, with its guardian.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use hive_mind::{EndError, Options, RunError, Running, Scope, StartError, StoreFault};
use tracing_subscriber::EnvFilter;

use crate::args::{DaemonArgs, ModeWord, Place};
use crate::commands::bare;
use crate::guard::Guard;
use crate::log::Log;
use crate::place::{self, OTHER_FOLDER};
use crate::problem::{Exit, Problem};

/// What is said first when it fails; why follows.
const NOT_STARTED: &str = "the hive daemon could not start";

/// What to do without the right key.
const KEY_BACK: &str = "put the right key back from a backup, then: hive up; or start anew under a new key: hive leave, then \
     hive join CODE, and remove the old entry there: hive remove NAME";

/// Open files of the daemon: four times as many as its looks at a machine of 2,048 processes keep. A guess.
const FILES: u64 = 8_192;

/// Runs until SIGTERM or SIGINT; then everything is put back.
pub(super) fn run(at: &Place, args: &DaemonArgs) -> Result<Exit, Problem> {
    if args.detached {
        // Fails only for the leader of a process group, which is apart from the terminal's job anyway.
        if let Err(why) = rustix::process::setsid() {
            eprintln!("still in the terminal's session: {why}");
        }
    }
    if args.tree.is_some() {
        // A demo's daemon ends, in order, with its machine, however that ended.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .map_err(|why| Problem::system("the daemon cannot follow its parent", &why.into()))?;
    }
    let paths = place::paths(at)?;
    place::private_folder(&paths.state)?;
    say_to(Log::of(&paths.state));
    let state = paths.state.clone();
    let guard = Guard::start(at, args.tree)?;
    allow_more_files();
    let options = Options {
        state: Some(paths.state),
        socket: Some(paths.socket),
        port: args.port,
        bind: args.bind,
        interfaces: args.interfaces.clone(),
        peers: args.peers.clone(),
        scope: args.tree.map_or(Scope::OwnUser, Scope::Tree),
        mode: args.mode.map_or_else(Default::default, ModeWord::mode),
        label: args.label.clone(),
        mdns: !args.no_mdns,
        without_store: args.without_store,
        clock_factor: args.lab_clock_factor.unwrap_or(NonZeroU32::MIN),
        clock_true_for: Duration::from_millis(args.lab_clock_true_ms),
        guarded: Some(guard.there()),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|why| Problem::system("the daemon could not start its threads", &why))?;
    let ended = runtime.block_on(hive_mind::daemon::run(options));
    if let Err(why) = guard.goodbye() {
        tracing::warn!(%why, "the guardian had ended before");
    }
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(RunError::End(EndError::Store(fault))) => Err(unwritable(&fault)),
        Err(RunError::Start(why)) => Err(not_started(&why, Running::on(&state))),
        Err(why) => Err(Problem::new(Exit::Failed, "daemon.ended", why.to_string())),
    }
}

/// A login's limit of 1,024 is for programs that use `select`. The daemon does not, and starts no program.
fn allow_more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(why) = setrlimit(Resource::Nofile, limit) {
            tracing::info!(%why, "the limit of open files stays as it is");
        }
    }
}

fn unwritable(fault: &StoreFault) -> Problem {
    Problem::new(
        Exit::Failed,
        "daemon.store",
        "the store could not be written",
    )
    .known(format!(
        "{}; everything was put back and the daemon has ended",
        fault.why
    ))
    .try_next(fault.remedy.as_str())
}

fn not_started(why: &StartError, running: Option<Running>) -> Problem {
    match why {
        StartError::AlreadyRunning(_) => {
            let known = running.map_or_else(String::new, |running| {
                format!(
                    "process {} answers on {}",
                    running.process,
                    running.socket.display()
                )
            });
            Problem::new(Exit::Conflict, "daemon.running", why.to_string())
                .known(known)
                .try_next("hive status")
        }
        StartError::StoreLost(path) => Problem::new(
            Exit::Failed,
            "store.lost",
            "the store of this machine is gone, and its key is there",
        )
        .known(format!(
            "{} is missing or empty, or nothing but zeros; it held what was learned, and which hive this machine belongs to; nothing was changed",
            path.display()
        ))
        .try_next(
            "put it back from a backup, then: hive up; or be let back in under this key: hive invite on a machine of the \
             hive, hive join CODE here; or, if no other is left, start anew: hive leave",
        ),
        StartError::StoreDamaged { path, why } => Problem::new(
            Exit::Failed,
            "store.damaged",
            "the store of this machine cannot be read",
        )
        .known(format!(
            "{}: {why}; it held what was learned, and which hive this machine belongs to",
            path.display()
        ))
        .try_next(ways_without(path)),
        StartError::KeyLost(path) => Problem::new(
            Exit::Failed,
            "key.lost",
            "the key of this machine is gone, and its store is there",
        )
        .known(format!(
            "{} is missing, and no other key can go on with this store; nothing was changed",
            path.display()
        ))
        .try_next(KEY_BACK),
        StartError::OtherKey { path, key, store } => Problem::new(
            Exit::Failed,
            "key.other",
            "the key is not the one of the store beside it",
        )
        .known(format!(
            "{} is the key of {}, and the store is that of {}; nothing was changed",
            path.display(),
            key.short(),
            store.short()
        ))
        .try_next(match path.parent() {
            Some(state) => other_key(state),
            None => KEY_BACK.to_owned(),
        }),
        StartError::Folder { .. } | StartError::State { .. } => {
            Problem::new(Exit::Failed, "daemon.start", NOT_STARTED)
                .known(why.to_string())
                .try_next(OTHER_FOLDER)
        }
        _ => Problem::new(Exit::Failed, "daemon.start", NOT_STARTED).known(why.to_string()),
    }
}

/// What to do about a damaged store. With its key, a machine comes back to its place without it, a founder too, as long as
/// another one is there that knows it.
fn ways_without(store: &Path) -> String {
    let state = store.parent().unwrap_or(store);
    let (shown, aside) = (store.display(), bare::free(state, "store.damaged"));
    let aside = aside.display();
    if state.join("key").exists() {
        format!(
            "put it back from a backup, then: hive up; or be let back in under this key without it: hive down; mv {shown} \
             {aside}, then: hive invite on another machine of the hive, hive join CODE here; or, if no other is left, start \
             anew: hive leave"
        )
    } else {
        "put it back from a backup, with its key, then: hive up; or start anew: hive leave"
            .to_owned()
    }
}

/// Only one of the two can be wrong, and nobody here knows which: after `hive rotate`, a store from a backup is the older
/// one.
fn other_key(state: &Path) -> String {
    let store = state.join("store.redb");
    format!(
        "if the store is the wrong one, as one from before hive rotate is: mv {} {}, put a newer one there, then: hive up; or \
         be let back in under this key without one: hive invite on a machine of the hive, hive join CODE here. If the key is \
         wrong: {KEY_BACK}",
        store.display(),
        bare::free(state, "store.before").display()
    )
}

fn say_to(log: Log) {
    let filter = EnvFilter::try_from_env("HIVE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,mdns_sd=off,quinn=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Mutex::new(log))
        .with_ansi(false)
        .init();
}
