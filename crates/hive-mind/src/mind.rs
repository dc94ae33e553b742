//! The public face: cheap handles that send a command to the node's loop and await its reply.

mod invite;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hive_core::event::Command;
use hive_core::hive::ticket::Invitation;
use hive_core::id::NodeId;
use hive_core::pattern::{Action, Evidence, PatternDef, WorkloadType};
use hive_core::reply::{
    CommandError, ErrorKind, JoinStage, JoinView, NewKey, PatternState, PatternView, Reply,
    RotatedView, SharedView, StatusView,
};
use hive_core::statement::Role;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::api::Event;
use crate::doctor::NetworkView;
use crate::driver::{self, Asked};
use crate::options::{Options, StartError};

pub use crate::mind::invite::{HiveInvite, InviteError};

/// How long [`HiveMind::discover`] listens: the last of the three questions goes out after 1 s, and answers
/// took 1.8 to 3.3 ms (`research/transport.md` 3.2).
const DISCOVER_FOR: Duration = Duration::from_millis(1_300);

/// How long [`HiveMind::connect`] and [`HiveMind::join_hive`] wait. A guess: the handshake took 5 ms, three
/// lost packets in a row are made good within a second.
const CONNECT_FOR: Duration = Duration::from_secs(10);

/// How often a state that has no event of its own is asked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The code of what is said instead of an answer that will not come.
const STOPPING: &str = "daemon.stopping";

/// A running node of a hive, in this process. Cheap to clone; the node ends when asked to, or with its last handle.
#[derive(Clone, Debug)]
pub struct HiveNode {
    shared: Arc<Shared>,
}

/// What every handle of one node shares; nothing in it changes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) port: u16,
    pub(crate) socket: std::path::PathBuf,
    pub(crate) state: std::path::PathBuf,
    pub(crate) commands: mpsc::Sender<Asked>,
    pub(crate) events: broadcast::Sender<Event>,
    /// Why it is going to end, from the moment at which that is known.
    pub(crate) fault: watch::Receiver<Option<StoreFault>>,
    /// None until it has ended.
    pub(crate) ended: watch::Receiver<Option<Result<(), EndError>>>,
}

/// Why a node ended that nobody had asked to. What it had changed on the machine was put back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// A disk that is full or broken: what cannot be kept cannot be said either.
    #[error("the store could not be written: {0}")]
    Store(StoreFault),
    /// Its loop broke off; `hive up` puts back what was left on.
    #[error("the node's loop ended without its last words; run hive up")]
    Lost,
}

/// Why the store could not be written, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {remedy}")]
pub struct StoreFault {
    /// What is wrong, and whether anything is lost.
    pub why: String,
    /// What to do or type.
    pub remedy: String,
}

impl HiveNode {
    /// Starts a node: key, store, network and host, and the loop that runs them.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let started = tokio::task::spawn_blocking(move || driver::start(options)).await;
        let shared = started.map_err(|error| StartError::Store(error.to_string()))??;
        Ok(Self::of(Arc::new(shared)))
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// This machine's name.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// The UDP port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Where its local API was made (served by [`crate::daemon::run`] only; [`crate::Running`] follows it).
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.shared.socket
    }

    /// What happens from now on. A reader that is 1,024 happenings behind loses the oldest and is told so.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Any command, and its reply.
    pub async fn ask(&self, command: Command) -> Reply {
        let (answer, answered) = oneshot::channel();
        let asked = Asked::Command { command, answer };
        if self.shared.commands.send(asked).await.is_err() {
            return Reply::Refused(self.stopping());
        }
        answered
            .await
            .unwrap_or_else(|_| Reply::Refused(self.stopping()))
    }

    /// Gives this machine's place in its hive to a new key. This run says nothing more of its own; the next start
    /// of a node on the same state folder uses the new key.
    pub async fn rotate(&self) -> Result<RotatedView, HiveError> {
        let key = crate::key::make_next(&self.shared.state).map_err(|error| no_key(&error))?;
        let key = NewKey::new(*key);
        match self.ask(Command::Rotate { key }).await {
            Reply::Rotated(view) => Ok(view),
            // Its first word may be on the disk, and told: the next start looks.
            Reply::Refused(error) if error.code == STOPPING => Err(HiveError::Refused(error)),
            other => {
                // What was refused was told to nobody. A file that stays is forgotten at the next start.
                crate::key::forget_next(&self.shared.state).map_err(|error| no_key(&error))?;
                Err(HiveError::Refused(refusal(other)))
            }
        }
    }

    /// How this machine stands in its network. Asks another member and the network itself, which takes seconds.
    pub async fn network(&self) -> Result<NetworkView, HiveError> {
        let (answer, answered) = oneshot::channel();
        let asked = self.shared.commands.send(Asked::Network(answer)).await;
        let view = match asked {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        view.ok_or_else(|| HiveError::Refused(self.stopping()))
    }

    /// What is said instead of an answer that will not come.
    fn stopping(&self) -> CommandError {
        let fault = self.shared.fault.borrow();
        CommandError {
            code: STOPPING.into(),
            kind: ErrorKind::Silent,
            what: "the hive daemon is stopping".into(),
            known: fault.as_ref().map_or_else(String::new, |fault| {
                format!("the store could not be written: {}", fault.why)
            }),
            try_next: fault
                .as_ref()
                .map_or_else(|| "hive up".into(), |fault| fault.remedy.clone()),
        }
    }

    /// What the hive would do on this machine now, and why.
    pub async fn collective_decision(&self) -> Result<OptimizationDecision, HiveError> {
        match self.ask(Command::Decide).await {
            Reply::Decision(view) => Ok(OptimizationDecision {
                pattern: view.pattern,
                action: view.action,
                because: view.because,
            }),
            other => Err(HiveError::Refused(refusal(other))),
        }
    }

    /// Publishes a result that this program measured. Returns when it is durable and on its way.
    pub async fn share_success(
        &self,
        result: &OptimizationResult,
    ) -> Result<SharedView, HiveError> {
        let command = Command::Share {
            def: result.pattern,
            evidence: result.evidence,
        };
        match self.ask(command).await {
            Reply::Shared(view) => Ok(view),
            other => Err(HiveError::Refused(refusal(other))),
        }
    }

    /// How the hive is.
    pub async fn hive_status(&self) -> Result<HiveStatus, HiveError> {
        match self.ask(Command::Status).await {
            Reply::Status(view) => Ok(HiveStatus::from(*view)),
            other => Err(HiveError::Refused(refusal(other))),
        }
    }

    /// Everything this machine knows, own and heard.
    pub async fn patterns(&self) -> Result<SharedPatternStore, HiveError> {
        match self.ask(Command::Patterns).await {
            Reply::Patterns(view) => Ok(SharedPatternStore {
                patterns: view.patterns,
            }),
            other => Err(HiveError::Refused(refusal(other))),
        }
    }

    /// Always answers `None`: lending is not there in this version, nothing is sent and no machine is asked.
    /// The caller runs the task itself; the signature is that of the lending to come.
    #[expect(
        clippy::unused_async,
        reason = "lending will have to wait for a machine"
    )]
    pub async fn request_assist(&self, _task: &ComputeTask) -> Option<AssistResult> {
        None
    }

    /// Puts every change back, closes the connections and the store, and ends. Later commands are refused.
    pub async fn shutdown(&self) {
        if self.shared.commands.send(Asked::Shutdown).await.is_err() {
            tracing::debug!("the node had already ended");
        }
        if let Err(error) = self.ended().await {
            tracing::debug!(%error, "it did not end by this request");
        }
    }

    /// Waits until the node has ended. An error is an end that nobody had asked for.
    pub async fn ended(&self) -> Result<(), EndError> {
        let mut ended = self.shared.ended.clone();
        let last = ended.wait_for(Option::is_some).await;
        match last.map(|ended| ended.clone()) {
            Ok(Some(ended)) => ended,
            _ => Err(EndError::Lost),
        }
    }
}

/// A key that could not be written: a full disk, or a folder that others may enter.
fn no_key(error: &crate::key::KeyError) -> HiveError {
    HiveError::Refused(CommandError {
        code: "rotate.key".into(),
        kind: ErrorKind::Conflict,
        what: "the new key could not be written".into(),
        known: error.to_string(),
        try_next: "hive doctor".into(),
    })
}

/// Finding other machines and belonging to a hive. Every node starts in a hive of its own.
#[derive(Clone, Debug)]
pub struct HiveMind {
    node: HiveNode,
}

/// Why a hive could not be reached or entered. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HiveError {
    /// The node refused; the error says what to do.
    #[error("{}", .0.what)]
    Refused(CommandError),
    /// Nobody answered in time.
    #[error("nobody answered in {0:?}")]
    Silent(Duration),
}

impl HiveMind {
    /// Over a running node.
    #[must_use]
    pub fn new(node: HiveNode) -> Self {
        Self { node }
    }

    /// The node beneath.
    #[must_use]
    pub fn node(&self) -> &HiveNode {
        &self.node
    }

    /// Asks the network who is there and listens for 1.3 s. A hint only: whoever answers has proven nothing.
    pub async fn discover(&self) -> Result<Vec<Peer>, HiveError> {
        self.done(Command::Seek).await?;
        tokio::time::sleep(DISCOVER_FOR).await;
        match self.node.ask(Command::Nearby).await {
            Reply::Nearby(view) => Ok(view
                .seen
                .into_iter()
                .map(|seen| Peer {
                    address: seen.address,
                    member: seen.member,
                    inviting: seen.inviting,
                })
                .collect()),
            other => Err(HiveError::Refused(refusal(other))),
        }
    }

    /// Connects to the members that answer and waits until one is connected; says how many are.
    pub async fn connect(&self) -> Result<usize, HiveError> {
        self.done(Command::Seek).await?;
        let deadline = tokio::time::Instant::now() + CONNECT_FOR;
        while tokio::time::Instant::now() < deadline {
            let status = self.node.hive_status().await?;
            if status.peers_online > 0 {
                return Ok(status.peers_online);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(HiveError::Silent(CONNECT_FOR))
    }

    /// Opens this machine's hive for one more machine, and gives the code that it must present.
    pub async fn create_hive(&self) -> Result<HiveInvite, HiveError> {
        self.invite(Invitation::default()).await
    }

    /// The same for a machine that no multicast reaches: a ticket that names this machine's addresses.
    pub async fn create_ticket(&self) -> Result<HiveInvite, HiveError> {
        let wish = Invitation {
            ticket: true,
            ..Invitation::default()
        };
        self.invite(wish).await
    }

    async fn invite(&self, wish: Invitation) -> Result<HiveInvite, HiveError> {
        match self.node.ask(Command::Invite(wish)).await {
            Reply::Invite(view) => Ok(HiveInvite {
                code: view.ticket.unwrap_or(view.code),
                at: None,
            }),
            other => Err(HiveError::Refused(refusal(other))),
        }
    }

    /// Leaves the own (empty) hive for that of the code. Returns once the code is proven both ways; then a
    /// person compares the words and approves on the other machine. [`HiveMind::membership`] waits for that.
    pub async fn join_hive(&self, invite: &HiveInvite) -> Result<JoinView, HiveError> {
        let command = Command::Join {
            code: invite.code.clone(),
            at: invite.at,
        };
        if let Reply::Refused(error) = self.node.ask(command).await {
            return Err(HiveError::Refused(error));
        }
        let deadline = tokio::time::Instant::now() + CONNECT_FOR;
        self.join_until(Some(deadline), |stage| {
            matches!(stage, JoinStage::Waiting | JoinStage::Member)
        })
        .await
    }

    /// Waits until this machine is a member of the hive it asked to join. A person may take their time.
    pub async fn membership(&self) -> Result<JoinView, HiveError> {
        self.join_until(None, |stage| matches!(stage, JoinStage::Member))
            .await
    }

    /// Lets a waiting machine in, named by its label or the first digits of its id. Only admins may.
    pub async fn approve(&self, who: &str, role: Role) -> Result<(), HiveError> {
        let who = who.into();
        let owner = None;
        self.done(Command::Approve { who, role, owner }).await
    }

    /// Removes a member; what it said until now still counts.
    pub async fn remove(&self, who: &str) -> Result<(), HiveError> {
        self.done(Command::Remove {
            who: who.into(),
            compromised: false,
        })
        .await
    }

    async fn join_until(
        &self,
        deadline: Option<tokio::time::Instant>,
        enough: impl Fn(JoinStage) -> bool,
    ) -> Result<JoinView, HiveError> {
        while deadline.is_none_or(|deadline| tokio::time::Instant::now() < deadline) {
            let view = match self.node.ask(Command::JoinState).await {
                Reply::Join(view) => view,
                other => return Err(HiveError::Refused(refusal(other))),
            };
            if enough(view.stage) {
                return Ok(view);
            }
            if view.stage == JoinStage::Failed {
                let error = view.error.unwrap_or_else(|| self.node.stopping());
                return Err(HiveError::Refused(error));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(HiveError::Silent(CONNECT_FOR))
    }

    async fn done(&self, command: Command) -> Result<(), HiveError> {
        match self.node.ask(command).await {
            Reply::Refused(error) => Err(HiveError::Refused(error)),
            _ => Ok(()),
        }
    }
}

/// A machine that answered on the network. It has proven nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it answered from.
    pub address: SocketAddr,
    /// The label of the member it claims to be, if it claims to be one.
    pub member: Option<String>,
    /// Whether it has an open invite.
    pub inviting: bool,
}

/// How the hive is.
#[derive(Clone, Debug, PartialEq)]
pub struct HiveStatus {
    /// Other members connected now.
    pub peers_online: usize,
    /// Patterns in the shared view.
    pub patterns_shared: usize,
    /// Trials that ended with "helps", anywhere in the hive.
    pub collective_optimizations: u64,
    /// Connected share of the other members, 0 to 1; 1 when there are none.
    pub network_health: f32,
    /// Everything else.
    pub view: StatusView,
}

impl From<StatusView> for HiveStatus {
    fn from(view: StatusView) -> Self {
        Self {
            peers_online: view.peers_online,
            patterns_shared: view.patterns_shared,
            collective_optimizations: view.collective_optimizations,
            network_health: view.network_health,
            view,
        }
    }
}

/// What is done for which workload, and what is known of it.
pub type OptimizationPattern = PatternView;

/// What the hive would do here now.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizationDecision {
    /// The best pattern for what runs now, if any.
    pub pattern: Option<String>,
    /// What to do; none = leave it.
    pub action: Option<Action>,
    /// Why.
    pub because: String,
}

/// A measured result, to be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptimizationResult {
    /// What was measured.
    pub pattern: PatternDef,
    /// The numbers.
    pub evidence: Evidence,
}

/// A task for another machine: a WebAssembly module and its input. Nothing runs it in this version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComputeTask {
    /// The module.
    pub module: Vec<u8>,
    /// What it is given.
    pub input: Vec<u8>,
}

/// What would come of a lent task. Nothing makes one in this version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssistResult {
    /// What it answered.
    pub output: Vec<u8>,
    /// Which machine ran it.
    pub by: NodeId,
}

/// A copy of what the hive knows, taken at one moment. The merging itself happens in the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedPatternStore {
    /// One per definition.
    pub patterns: Vec<OptimizationPattern>,
}

impl SharedPatternStore {
    /// Adds a pattern unless its definition is already there: definitions never conflict, and the copy that
    /// is there was made by this machine's own view.
    pub fn add_pattern(&mut self, pattern: OptimizationPattern) {
        if self.patterns.iter().all(|known| known.id != pattern.id) {
            self.patterns.push(pattern);
        }
    }

    /// Adds what another copy knows and this one does not.
    pub fn merge(&mut self, remote: &Self) {
        for pattern in &remote.patterns {
            self.add_pattern(pattern.clone());
        }
    }

    /// The pattern that has most to offer to this kind of workload: proven here before on probation before
    /// heard of; among equals the least wait. Patterns that harm, do nothing or were undone are never offered.
    #[must_use]
    pub fn best_pattern(&self, workload: &WorkloadType) -> Option<&OptimizationPattern> {
        let rank = |pattern: &OptimizationPattern| match pattern.state {
            PatternState::Proven => Some(0_u8),
            PatternState::Probation => Some(1),
            PatternState::Trial => Some(2),
            PatternState::Heard => Some(3),
            PatternState::Dropped | PatternState::Undone => None,
        };
        let ratio = |pattern: &OptimizationPattern| {
            pattern
                .wait_ratio
                .or_else(|| pattern.others.first().map(|other| other.wait_ratio))
                .unwrap_or(1.0)
        };
        self.patterns
            .iter()
            .filter(|pattern| pattern.role == *workload && ratio(pattern) < 1.0)
            .filter_map(|pattern| rank(pattern).map(|rank| (rank, pattern)))
            .min_by(|(rank_a, a), (rank_b, b)| {
                rank_a
                    .cmp(rank_b)
                    .then(ratio(a).total_cmp(&ratio(b)))
                    .then(a.id.cmp(&b.id))
            })
            .map(|(_, pattern)| pattern)
    }
}

fn refusal(reply: Reply) -> CommandError {
    match reply {
        Reply::Refused(error) => error,
        _ => CommandError {
            code: "api.reply".into(),
            kind: ErrorKind::Conflict,
            what: "the node gave another answer than was asked for".into(),
            known: String::new(),
            try_next: String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_of_an_older_daemon_reads() {
        let told = serde_json::json!({ "pattern": "p-1", "action": "background_nice", "pairs": 3 });
        let trial: hive_core::reply::TrialView = serde_json::from_value(told).expect("reads");
        assert!(!trial.on);
    }

    #[test]
    fn an_invite_reads_back_as_it_was_printed() {
        for text in [
            "HIVE-ABCDE-FGH12-34567-89XYZ",
            "HIVE-ABCDE-FGH12-34567-89XYZ@192.0.2.1:4483",
        ] {
            let invite: HiveInvite = text.parse().expect("well formed");
            assert_eq!(invite.to_string(), text);
        }
        for (text, why) in [
            ("", InviteError::Shape),
            ("HIVE-ABCDE", InviteError::Shape),
            ("HONEY-ABCDE-FGH12-34567-89XYZ", InviteError::Shape),
            ("HIVE-ABCDE-FGH12-34567-89XYZ@nas", InviteError::Address),
        ] {
            assert_eq!(text.parse::<HiveInvite>(), Err(why), "{text}");
        }
    }
}
