//! The loop: one task that owns the node, waits for the world, and carries out what the node wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hive_core::event::{Command, Input, Output};
use hive_core::event_log::Happening;
use hive_core::hive::outside::HiveEffect;
use hive_core::id::{CommandId, ProgramName};
use hive_core::node::{Node, NodeConfig};
use hive_core::reply::{NeedView, Reply};
use hive_core::signed::KeyPair;
use hive_core::statement::Label;
use hive_core::time::{Instant, Span};
use hive_host::Recovery;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::api::Event;
use crate::clock::{self, Away};
use crate::config::Config;
use crate::disk::{Disk, RedbStore, Store, StoreError};
use crate::doctor::{self, NetworkView};
use crate::hands::Hands;
use crate::identity;
use crate::key::{self, Secret};
use crate::mind::{EndError, Shared, StoreFault};
use crate::net::bells::Bells;
use crate::net::interfaces::Interfaces;
use crate::net::keeper;
use crate::net::mdns::Mdns;
use crate::net::{Net, NetConfig};
use crate::options::{Options, StartError};
use crate::paths::Paths;

/// Commands that wait for the loop; more callers wait in line. A guess.
const COMMANDS_MAX: usize = 64;

/// Happenings that a slow reader may be behind before it loses the oldest. A guess.
const EVENTS_MAX: usize = 1_024;

/// Answers of disk and host that wait for the loop. A guess: each is answered to one question.
const ANSWERS_MAX: usize = 256;

/// How long an answer waits for the host, which tries again what an earlier run left on. A guess: it takes some ten
/// milliseconds where nothing else is asked of the host.
const AGAIN: Duration = Duration::from_secs(1);

/// How often what an earlier run could not put back is tried again, unasked. A guess: often enough for a person, rare enough
/// for a value that never comes back.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// How often addresses are compared and sleep is looked for when the kernel says nothing; costs no traffic. A guess
/// between the seconds a person waits and wake-ups of an idle processor.
const LOOK_AROUND: Duration = Duration::from_secs(30);
const LOOK_AROUND_SPAN: Span = Span::from_secs(30);

/// Timers further ahead than this are set again when reached, because they run on a clock that stops in sleep.
const TIMER_MAX: Duration = Duration::from_mins(1);

/// A question to the loop.
#[derive(Debug)]
pub(crate) enum Asked {
    /// From a person or a program.
    Command {
        /// What.
        command: Command,
        /// Where the reply goes.
        answer: oneshot::Sender<Reply>,
    },
    /// How the network is, for `hive doctor`.
    Network(oneshot::Sender<NetworkView>),
    /// End.
    Shutdown,
}

/// Starts a node and its loop. Reads and writes files, so it blocks; needs a runtime around it.
pub(crate) fn start(options: Options) -> Result<Shared, StartError> {
    start_on(options, |path| Ok(Box::new(RedbStore::open(path)?)))
}

/// The same on any store.
fn start_on(
    options: Options,
    open: impl FnOnce(&Path) -> Result<Box<dyn Store>, StoreError>,
) -> Result<Shared, StartError> {
    clock::hurry(options.clock_factor, options.clock_true_for);
    let paths = Paths::of(&options)?;
    let config = Config::load(paths.config.as_deref())?;
    let label = label(&options)?;
    key::private_folder(&paths.state)?;
    let own = identity::settled(&paths, options.without_store, open)?;

    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    let hands = start_hands(&options, &paths, answers.clone())?;
    let keys = (&own.secret, own.before.as_ref());
    let (disk, disk_failed) = start_disk(own.store, answers)?;
    let network = open_network(&options, &config, &paths, keys);
    let (hands, disk, (net, mdns, around)) = with_network(hands, disk, network)?;
    let programs = |names: &[String]| names.iter().map(|name| ProgramName::new(name)).collect();
    let node = Node::new(
        NodeConfig {
            key: KeyPair::from_secret(&own.secret),
            facts: hands.facts().clone(),
            mode: options.mode,
            label,
            protect: programs(&config.tune.protect),
            never: programs(&config.tune.never),
            containers: config.tune.of_containers(),
            peers: [config.network.peers, options.peers].concat(),
        },
        &own.restored,
        key::chance()?,
        clock::now(),
    );
    let (commands, asked) = mpsc::channel(COMMANDS_MAX);
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let (ending, ended) = watch::channel(None);
    let (failing, fault) = watch::channel(None);
    let shared = Shared {
        id: node.me(),
        port: net.port(),
        socket: paths.socket,
        state: paths.state,
        commands,
        events: events.clone(),
        fault,
        ended,
    };
    let driver = Driver {
        node,
        net,
        mdns,
        disk,
        hands,
        around,
        bind: options.bind.or(config.network.bind),
        addresses: config.network.addresses,
        events,
        asked,
        answered,
        disk_failed,
        failing,
        waiting: BTreeMap::new(),
        next_command: 0,
        wake: None,
        bells: Bells::new(),
        away: Away::since_now(),
        guarded: options.guarded,
    };
    tokio::spawn(driver.run(ending));
    Ok(shared)
}

fn label(options: &Options) -> Result<Option<Label>, StartError> {
    let label = options.label.as_deref().map(Label::new).transpose();
    label.map_err(StartError::Label)
}

/// Both threads, if there is a network for them; else they end first, so that whoever starts it again finds journal
/// and store free.
fn with_network<Network>(
    hands: Hands,
    disk: Disk,
    network: Result<Network, StartError>,
) -> Result<(Hands, Disk, Network), StartError> {
    match network {
        Ok(network) => Ok((hands, disk, network)),
        Err(why) => {
            hands.finish();
            disk.finish();
            Err(why)
        }
    }
}

fn open_network(
    options: &Options,
    config: &Config,
    paths: &Paths,
    (secret, before): (&Secret, Option<&Secret>),
) -> Result<(Net, Mdns, Interfaces), StartError> {
    let interfaces = if options.interfaces.is_empty() {
        config.network.interfaces.clone()
    } else {
        options.interfaces.clone()
    };
    let around = Interfaces::new(interfaces);
    for name in around.missing() {
        // It may be plugged in later.
        tracing::warn!(name, "no interface of this name is up; see hive doctor");
    }
    let net = Net::open(&NetConfig {
        secret,
        before,
        boot_nonce: key::chance()?,
        bind: options.bind.or(config.network.bind),
        port: options.port.or(config.network.port),
        timing: keeper::TIMING,
        remembered: &paths.port(),
    })?;
    if let Some(need) = net.need() {
        tracing::warn!(code = need.code, "{}", need.words);
    }
    let mdns = if options.mdns && config.network.mdns {
        Mdns::open(net.port(), &around, key::chance()?)
    } else {
        Mdns::off()
    };
    Ok((net, mdns, around))
}

/// The disk's thread, and where it tells that it could not write.
fn start_disk(
    store: Box<dyn Store>,
    answers: mpsc::Sender<Input>,
) -> Result<(Disk, mpsc::Receiver<StoreError>), StartError> {
    let (failures, failed) = mpsc::channel(1);
    let disk = Disk::start(
        store,
        move |id| deliver(&answers, Input::Saved(id)),
        move |error| {
            if failures.blocking_send(error).is_err() {
                tracing::debug!("a failed write was told after the end");
            }
        },
    );
    let disk = disk.map_err(|error| StartError::Store(error.to_string()))?;
    Ok((disk, failed))
}

fn start_hands(
    options: &Options,
    paths: &Paths,
    answers: mpsc::Sender<Input>,
) -> Result<Hands, StartError> {
    Hands::start(
        paths.state.clone(),
        options.scope,
        options.act,
        move |input| {
            deliver(&answers, input);
        },
    )
}

/// Hands an answer to the loop from a thread of its own.
fn deliver(answers: &mpsc::Sender<Input>, input: Input) {
    if answers.blocking_send(input).is_err() {
        tracing::debug!("an answer came after the end");
    }
}

/// Everything one node has, in one place; only the loop touches it.
struct Driver {
    node: Node,
    net: Net,
    mdns: Mdns,
    disk: Disk,
    hands: Hands,
    around: Interfaces,
    /// The address that is listened on, if it is not all of them.
    bind: Option<IpAddr>,
    /// Where the settings say that this machine is reached.
    addresses: Vec<SocketAddr>,
    events: broadcast::Sender<Event>,
    asked: mpsc::Receiver<Asked>,
    answered: mpsc::Receiver<Input>,
    disk_failed: mpsc::Receiver<StoreError>,
    failing: watch::Sender<Option<StoreFault>>,
    waiting: BTreeMap<CommandId, oneshot::Sender<Reply>>,
    next_command: u64,
    wake: Option<Instant>,
    bells: Bells,
    away: Away,
    guarded: Option<watch::Receiver<bool>>,
}

impl Driver {
    async fn run(mut self, ending: watch::Sender<Option<Result<(), EndError>>>) {
        let mut look_around = tokio::time::interval(LOOK_AROUND);
        look_around.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        look_around.reset();
        let mut try_again = tokio::time::interval(TRY_AGAIN);
        try_again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        try_again.reset();
        // The node may already want things before anything has happened.
        self.carry_out();
        let ended = loop {
            let input = tokio::select! {
                () = timer(self.wake) => self.time_is_up(),
                input = self.net.next() => input,
                sighting = self.mdns.next() => Some(Input::Found(sighting)),
                Some(input) = self.answered.recv() => Some(input),
                () = self.bells.stirred() => self.look_around(),
                _ = look_around.tick() => self.look_around(),
                _ = try_again.tick(), if self.hands.stuck() > 0 => {
                    // It is told in the log; whoever asks for the status is told how many are left.
                    drop(self.hands.again());
                    None
                }
                asked = self.asked.recv() => match asked {
                    Some(Asked::Command { command, answer }) => Some(self.numbered(command, answer)),
                    Some(Asked::Network(answer)) => self.look_at_network(answer),
                    // Without any handle left nobody could ask for the end.
                    Some(Asked::Shutdown) | None => break Ok(()),
                },
                // A node that can keep nothing must not look as if it could: it ends.
                failed = self.disk_failed.recv() => break Err(store_failed(failed.as_ref())),
            };
            if let Some(input) = input {
                self.node.handle(clock::now(), input);
                self.carry_out();
            }
        };
        if let Err(error) = &ended {
            tracing::error!(%error, "everything is put back, then the node ends");
            // Before anybody who waits is sent away: they are told why.
            if let EndError::Store(fault) = error {
                self.failing.send_replace(Some(fault.clone()));
            }
        }
        let written = self.finish().await;
        ending.send_replace(Some(ended.and(written)));
    }

    fn time_is_up(&mut self) -> Option<Input> {
        let reached = self.wake.is_some_and(|wake| wake <= clock::now().boot);
        reached.then(|| {
            self.wake = None;
            Input::TimeoutReached
        })
    }

    fn look_around(&mut self) -> Option<Input> {
        let away = self.away.ended(LOOK_AROUND_SPAN);
        let moved = self.around.changed();
        if moved {
            self.mdns.interfaces_changed(&self.around);
        }
        if away || moved {
            tracing::info!(away, moved, "the network may be another one");
            self.net.moved();
        }
        (away || moved).then_some(Input::NetworkChanged)
    }

    /// Takes seconds, so it is done beside the loop.
    fn look_at_network(&self, answer: oneshot::Sender<NetworkView>) -> Option<Input> {
        let look = doctor::look(
            self.net.keeper(),
            self.net.port(),
            self.mdns.is_on(),
            self.around.clone(),
        );
        tokio::spawn(async move {
            if answer.send(look.await).is_err() {
                tracing::debug!("nobody waits for it any more");
            }
        });
        None
    }

    fn numbered(&mut self, mut command: Command, answer: oneshot::Sender<Reply>) -> Input {
        if let Command::Invite(wish) = &mut command {
            wish.places.clone_from(&self.addresses);
            let cards = self.around.reached_at(self.bind, self.net.port());
            wish.places.extend(cards);
        }
        self.next_command += 1;
        let id = CommandId(self.next_command);
        // Callers that went away make room.
        self.waiting.retain(|_, answer| !answer.is_closed());
        self.waiting.insert(id, answer);
        Input::Command { id, command }
    }

    /// Does everything the node wants, in its order.
    fn carry_out(&mut self) {
        while let Some(output) = self.node.poll() {
            match output {
                Output::WakeAt(moment) => self.wake = Some(moment),
                Output::Sample(request) => self.hands.sample(request),
                Output::Act(step) => self.hands.act(step),
                Output::Undo(change) => self.hands.undo(change),
                Output::Hive(effect) => self.hive(effect),
                Output::Reply { id, reply } => self.reply(id, reply),
                Output::Tell(happening) => self.tell(happening),
            }
        }
    }

    fn hive(&mut self, effect: HiveEffect) {
        match effect {
            HiveEffect::Save { id, records } => self.disk.save(id, records),
            HiveEffect::Send { peer, lane, frame } => self.net.send(peer, lane, frame),
            HiveEffect::Dial { peer, addresses } => self.net.dial(peer, addresses),
            HiveEffect::HandOver {
                peer,
                address,
                frames,
            } => self.net.hand_over(peer, address, frames),
            HiveEffect::Close { peer } => self.net.close(peer),
            HiveEffect::Members(members) => self.net.members(members),
            HiveEffect::Seek => self.mdns.seek(&self.around),
            HiveEffect::Beacon(beacon) => self.mdns.announce(beacon, &self.around),
            HiveEffect::PairOpen(open) => self.net.pair_open(open),
            HiveEffect::PairDial { address, expect } => self.net.pair_dial(address, expect),
            HiveEffect::PairSend { link, frame } => self.net.pair_send(link, frame),
            HiveEffect::PairClose { link } => self.net.pair_close(link),
            HiveEffect::Tell(happening) => self.tell(happening),
        }
    }

    fn reply(&mut self, id: CommandId, mut reply: Reply) {
        match &mut reply {
            Reply::Invite(view) => view.port = self.net.port(),
            Reply::Status(view) => view.needs.extend(self.needs()),
            _ => {}
        }
        let Some(answer) = self.waiting.remove(&id) else {
            return;
        };
        // What an earlier daemon left on is on as well: it is tried again for whoever asks what is on.
        let asks = matches!(reply, Reply::Status(_) | Reply::Undone(_));
        let Some(tried) = asks.then(|| self.hands.again()).flatten() else {
            send(answer, reply);
            return;
        };
        let before = self.hands.stuck();
        tokio::spawn(async move {
            let tried = tokio::time::timeout(AGAIN, tried).await;
            let tried = tried.ok().and_then(Result::ok).unwrap_or(Recovery {
                failed: before,
                ..Recovery::default()
            });
            send(answer, with_left_on(reply, &tried));
        });
    }

    /// What a person should do about the processes around this node.
    fn needs(&self) -> impl Iterator<Item = NeedView> {
        let is_unguarded = self.guarded.as_ref().is_some_and(|there| !*there.borrow());
        let unguarded = is_unguarded.then(unguarded);
        let damaged = self.hands.has_damage().then(damaged);
        let own = unguarded.into_iter().chain(damaged);
        own.chain(self.net.need())
    }

    fn tell(&self, happening: Happening) {
        tracing::info!(happening = %kind_of(&happening));
        let event = Event {
            at_us: clock::now().boot.0,
            happening,
        };
        if self.events.send(event).is_err() {
            tracing::trace!("nobody listens");
        }
    }

    /// Puts everything back first, then says goodbye, then makes sure that all is on the disk.
    async fn finish(self) -> Result<(), EndError> {
        let Self {
            net,
            mdns,
            disk,
            hands,
            asked,
            waiting,
            mut answered,
            mut disk_failed,
            ..
        } = self;
        // Whoever waits for a reply is told at once that there will be none.
        drop((asked, waiting));
        // Threads may wait to hand over answers that nobody needs any more.
        answered.close();
        let hands = tokio::task::spawn_blocking(move || hands.finish());
        mdns.finish();
        net.finish().await;
        let disk = tokio::task::spawn_blocking(move || disk.finish());
        for ended in [hands.await, disk.await] {
            if let Err(error) = ended {
                tracing::error!(%error, "could not end well");
            }
        }
        // The last batches may have been those that did not fit.
        match disk_failed.try_recv() {
            Ok(error) => Err(store_failed(Some(&error))),
            Err(_) => Ok(()),
        }
    }
}

/// Why the node ends when its disk has failed, or its thread has gone without a word.
fn store_failed(error: Option<&StoreError>) -> EndError {
    EndError::Store(error.map_or_else(
        || StoreFault {
            why: "its thread has ended".to_owned(),
            remedy: "hive up".to_owned(),
        },
        fault,
    ))
}

pub(crate) fn fault(error: &StoreError) -> StoreFault {
    StoreFault {
        why: error.to_string(),
        remedy: error.remedy().to_owned(),
    }
}

fn send(answer: oneshot::Sender<Reply>, reply: Reply) {
    if answer.send(reply).is_err() {
        tracing::debug!("nobody waits for this reply any more");
    }
}

/// Completes what is said of what is on with what an earlier daemon left on, and what came of it now.
fn with_left_on(mut reply: Reply, tried: &Recovery) -> Reply {
    match &mut reply {
        Reply::Status(view) if tried.failed > 0 => view.needs.push(left_on(tried.failed)),
        Reply::Undone(view) => {
            let changes = tried.changes.len();
            let failed = usize::try_from(tried.failed).unwrap_or(usize::MAX);
            view.changes = view.changes.saturating_add(changes.saturating_sub(failed));
            view.restored = view.restored.saturating_add(tried.restored);
            view.left_alone = view.left_alone.saturating_add(tried.left_alone);
            view.failed = view.failed.saturating_add(tried.failed);
        }
        _ => {}
    }
    reply
}

fn left_on(changes: u32) -> NeedView {
    NeedView {
        code: "undo.failed".to_owned(),
        words: format!(
            "changes of an earlier run that could not be put back with the rights at hand: {changes}"
        ),
        fix: vec![
            "hive down, then hive up with the rights that the daemon had".to_owned(),
            "restart this machine, which ends what is on".to_owned(),
        ],
    }
}

fn damaged() -> NeedView {
    NeedView {
        code: "journal.damaged".to_owned(),
        words:
            "the journal of what was on was damaged: what could be read of it was put back, what \
                the rest named may still be on and cannot be put back by us"
                .to_owned(),
        fix: vec![
            "log out, or restart this machine, which ends it".to_owned(),
            "hive doctor, which names the damaged file".to_owned(),
        ],
    }
}

fn unguarded() -> NeedView {
    NeedView {
        code: "guard.gone".to_owned(),
        words:
            "the guardian has ended and no other can be started: what is on would stay on if the \
                daemon were killed, until the next hive up"
                .to_owned(),
        fix: vec!["hive down, then hive up".to_owned()],
    }
}

/// The stable name of a happening, without its labels: those are for screens, not for logs.
fn kind_of(happening: &Happening) -> String {
    serde_json::to_value(happening)
        .ok()
        .and_then(|value| value["what"].as_str().map(str::to_string))
        .unwrap_or_default()
}

async fn timer(wake: Option<Instant>) {
    match wake {
        None => std::future::pending().await,
        Some(moment) => {
            let left = Duration::from_micros(moment.since(clock::now().boot).0);
            tokio::time::sleep(clock::really(left).min(TIMER_MAX)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use hive_core::id::ChangeId;
    use hive_core::reply::UndoneView;

    use super::*;
    use crate::disk::FullStore;
    use crate::mind::HiveNode;
    use crate::options::{Acting, Scope};

    /// Starts a node on a disk that takes so many writes; on a thread that may block, as it must be.
    async fn node_on_a_disk_for(commits: usize, home: &Path) -> HiveNode {
        let options = Options {
            state: Some(home.join("state")),
            socket: Some(home.join("hive.sock")),
            port: Some(0),
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            interfaces: vec!["lo".into()],
            scope: Scope::Tree(std::process::id()),
            act: Acting::No,
            mdns: false,
            ..Options::default()
        };
        let started = tokio::task::spawn_blocking(move || {
            start_on(options, |_| Ok(Box::new(FullStore::after(commits))))
        });
        let shared = started.await.expect("no panic").expect("starts");
        HiveNode::of(Arc::new(shared))
    }

    #[test]
    fn what_an_earlier_daemon_left_on_is_told_by_status_and_by_an_undo() {
        let tried = Recovery {
            changes: vec![ChangeId(1), ChangeId(2), ChangeId(3)],
            restored: 4,
            left_alone: 1,
            failed: 2,
            ..Recovery::default()
        };
        let Reply::Undone(view) = with_left_on(Reply::Undone(UndoneView::default()), &tried) else {
            panic!("another reply");
        };
        let told = (view.changes, view.restored, view.left_alone, view.failed);
        assert_eq!(told, (1, 4, 1, 2));
        let needs = |tried: &Recovery| match with_left_on(Reply::Status(Box::default()), tried) {
            Reply::Status(view) => view.needs,
            other => panic!("{other:?}"),
        };
        assert_eq!(needs(&tried).len(), 1);
        assert_eq!(needs(&tried)[0].code, "undo.failed");
        let over = Recovery { failed: 0, ..tried };
        assert_eq!(needs(&over), []);
    }

    #[tokio::test]
    async fn a_node_whose_disk_is_full_ends_and_says_why() {
        let home = tempfile::tempdir().expect("a folder");
        // The own hive is founded first, which is saved; then nothing fits any more.
        let node = node_on_a_disk_for(1, home.path()).await;
        let mut refused = None;
        // Each label is a statement that has to be saved before anything else is said.
        for reply in 0..100 {
            let label = format!("desk-{reply}");
            if let Reply::Refused(error) = node.ask(Command::Label { label }).await {
                refused = Some(error);
                break;
            }
        }
        // Whoever met it is told why, and what to do.
        let refused = refused.expect("it cannot go on");
        assert_eq!(refused.code, "daemon.stopping");
        assert!(refused.known.contains("the disk is full"), "{refused:?}");
        assert!(refused.try_next.contains("free space"), "{refused:?}");
        let Err(EndError::Store(fault)) = node.ended().await else {
            panic!("it ended as if all were well");
        };
        let why = fault.to_string();
        assert!(why.contains("nothing that was saved is lost"), "{why}");
        assert!(!why.contains("hive leave"), "{why}");
        let place = home.path().to_string_lossy().into_owned();
        assert!(!why.contains(&place), "no path is told: {why}");
        match node.ask(Command::Status).await {
            Reply::Refused(error) => assert_eq!(error.code, "daemon.stopping"),
            other => panic!("it still answers: {other:?}"),
        }
        node.shutdown().await;
    }

    #[tokio::test]
    async fn a_node_that_is_told_to_end_ends_well() {
        let home = tempfile::tempdir().expect("a folder");
        let node = node_on_a_disk_for(usize::MAX, home.path()).await;
        node.shutdown().await;
        assert_eq!(node.ended().await, Ok(()));
    }
}
