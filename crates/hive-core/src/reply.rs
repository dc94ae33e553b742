//! Answers to commands, as people and programs read them. Fields are only ever added. No program names, paths, users
//! or host names appear here: workloads are told by their role.

mod secret;
pub mod words;

pub use secret::{NewKey, RecoveryWords};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::pattern::catalogue::Tier;
use crate::pattern::{Action, Context, PairStats, Verdict, WorkloadType};
use crate::statement::Role;

/// How much the optimizer may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Watch, change nothing.
    #[default]
    Observe,
    /// Watch and say what would be tried.
    Suggest,
    /// Try small reversible settings and keep what measurably helps.
    Auto,
}

/// The answer to a `Command`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reply {
    /// To `Status`.
    Status(Box<StatusView>),
    /// To `Members`.
    Members(MembersView),
    /// To `Pending`.
    Pending(PendingView),
    /// To `Patterns`.
    Patterns(PatternsView),
    /// To `Why`.
    Why(Box<WhyView>),
    /// To `Invite`.
    Invite(InviteView),
    /// To `JoinState` and `Join`.
    Join(JoinView),
    /// To `Undo` and `Pause`.
    Undone(UndoneView),
    /// To `Decide`.
    Decision(DecisionView),
    /// To `Nearby`.
    Nearby(NearbyView),
    /// To `Share`.
    Shared(SharedView),
    /// To `RecoveryKey`.
    RecoveryKey(RecoveryKeyView),
    /// To `Rotate`.
    Rotated(RotatedView),
    /// To everything that only had to be done.
    Done(DoneView),
    /// Nothing was changed.
    Refused(CommandError),
}

/// Why a command was refused: what, what is known, what to type. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandError {
    /// Stable code, such as `join.unknown`.
    pub code: String,
    /// Which kind of refusal: decides the exit code.
    pub kind: ErrorKind,
    /// What happened, in one line.
    pub what: String,
    /// What is known, in one line; may be empty.
    pub known: String,
    /// What to type next; may be empty.
    pub try_next: String,
}

/// Kinds of refusal. Exit codes: `research/experience.md` 5.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The words were off (exit 2).
    Usage,
    /// Not allowed (exit 4).
    NotAllowed,
    /// No such thing (exit 5).
    NotFound,
    /// A peer is silent (exit 6).
    Silent,
    /// Already so, or in conflict (exit 8).
    Conflict,
    /// Over a budget or limit (exit 10).
    Limit,
}

/// One screen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// First digits of this machine's id.
    pub node: String,
    /// What this machine is called.
    pub label: String,
    /// First digits of the hive's id.
    pub hive: String,
    /// How much the optimizer may do.
    pub mode: Mode,
    /// Whether it is paused.
    pub paused: bool,
    /// Seconds of the pause that are left; none without a pause, and in one that lasts until somebody resumes.
    #[serde(default)]
    pub pause_left_s: Option<u64>,
    /// Seconds for which nothing is tried or turned on after an undo; none without such a rest.
    #[serde(default)]
    pub rest_left_s: Option<u64>,
    /// The same after a rail of this daemon's own fell: it used, or switched, too much.
    #[serde(default)]
    pub own_rest_left_s: Option<u64>,
    /// Members, this machine included.
    pub members: usize,
    /// Other members connected now.
    pub peers_online: usize,
    /// Patterns in the shared view.
    pub patterns_shared: usize,
    /// Times an action was tried to a verdict anywhere in the hive and helped (sum of the strategy counters' wins).
    pub collective_optimizations: u64,
    /// Connected share of the other members, 0 to 1; 1 when there are none.
    pub network_health: f32,
    /// Whether all members hold the same maps, as far as this one knows: 16 bytes of the probe hash.
    pub view: String,
    /// Seconds watched since the daemon started.
    pub watched_s: u64,
    /// Seconds of it in contention with a protected workload.
    pub contended_s: u64,
    /// Seconds of it with processor pressure of at least the gate.
    pub busy_s: u64,
    /// What was spared while proven actions were on; none while none ever was.
    #[serde(default)]
    pub gain: Option<GainView>,
    /// What is on right now.
    pub active: Vec<ActiveView>,
    /// What is being tried right now.
    pub trial: Option<TrialView>,
    /// Patterns whose trials have begun and are not decided, this one included.
    #[serde(default)]
    pub trials_open: usize,
    /// Whether this machine was let into a hive and has not heard from it who else belongs.
    #[serde(default)]
    pub unheard: bool,
    /// Why nothing is changed although there is contention, when that is so.
    #[serde(default)]
    pub left_alone: Option<String>,
    /// What needs a person.
    pub needs: Vec<NeedView>,
    /// Statements that wait for the byte budget.
    pub waiting: usize,
    /// The same by kind, the most valuable first, each with the reason.
    #[serde(default)]
    pub waits: Vec<WaitView>,
    /// Bytes sent and received since the daemon started, with what the transport adds estimated.
    pub bytes: u64,
    /// The same by kind.
    #[serde(default)]
    pub traffic: TrafficView,
    /// What this machine cannot do with the rights at hand, and the remedy.
    pub limits: Vec<String>,
    /// What only a person may do, or allow, about what runs now.
    #[serde(default)]
    pub suggestions: Vec<SuggestionView>,
    /// What was done about memory since the daemon started, in words; none = nothing.
    #[serde(default)]
    pub memory: Option<String>,
}

/// What only a person may do or allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionView {
    /// What.
    pub action: Action,
    /// Whether it would be done after a yes, or never by itself.
    pub tier: Tier,
    /// Why, and what it costs.
    pub words: String,
    /// What to type.
    pub try_next: String,
}

/// Waiting that a person was spared while proven actions were on, told from hold-out windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GainView {
    /// Seconds of waiting, all threads of the protected programs together: the best guess.
    pub saved_s: f64,
    /// Its 95 % range.
    pub range_s: [f64; 2],
    /// Seconds during which they were on and measured.
    pub on_s: u64,
    /// Hold-out pairs behind it.
    pub holdouts: u32,
    /// Seconds on of which too few hold-outs tell yet.
    pub untold_s: u64,
}

/// Statements of one kind that wait to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitView {
    /// `membership`, `wish`, `anomaly`, `pattern`, `evidence` or `counter`.
    pub kind: String,
    /// How many.
    pub count: usize,
    /// In words.
    pub why: String,
    /// Seconds until the next of them may be said; none = no moment brings it.
    pub ready_s: Option<u64>,
}

/// Bytes by kind. Estimated where the transport adds to them: 160 for a frame, 4,396 for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficView {
    /// Changes of maps.
    pub deltas: u64,
    /// Names of news, and the ways they travel by.
    pub names: u64,
    /// Questions whether all is equal, and what follows from them but changes.
    pub questions: u64,
    /// Connections made.
    pub links: u64,
    /// Questions to the network and their answers.
    pub search: u64,
    /// What the kernels ask each other about their addresses.
    #[serde(default)]
    pub addresses: u64,
    /// Joining.
    pub pairing: u64,
}

/// Something that is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveView {
    /// `p-1`.
    pub pattern: String,
    /// What.
    pub action: Action,
    /// In words.
    pub words: String,
    /// Probation (not yet proven here) or proven.
    pub state: PatternState,
}

/// A running trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialView {
    /// `p-1`.
    pub pattern: String,
    /// What.
    pub action: Action,
    /// Pairs so far.
    pub pairs: u32,
    /// Whether its change is on at this moment; about half of the time it is not.
    #[serde(default)]
    pub on: bool,
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedView {
    /// Stable code, such as `join.pending`.
    pub code: String,
    /// In words.
    pub words: String,
    /// What to type.
    pub fix: Vec<String>,
}

/// Where a pattern stands on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternState {
    /// Known from another member, not tried here.
    #[default]
    Heard,
    /// Being tried.
    Trial,
    /// On because another member proved it, under test here.
    Probation,
    /// Proven here.
    Proven,
    /// Did not help, or the trial ran out of pairs.
    Dropped,
    /// A person said no.
    Undone,
}

/// All patterns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PatternsView {
    /// In the order in which this machine learned of them.
    pub patterns: Vec<PatternView>,
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternView {
    /// `p-1`, on this machine.
    pub name: String,
    /// Its id, in full.
    pub id: String,
    /// What is done.
    pub action: Action,
    /// In words.
    pub words: String,
    /// The protected workload's kind.
    pub role: WorkloadType,
    /// Under which mechanism it was measured.
    pub context: Context,
    /// Where it stands here.
    pub state: PatternState,
    /// Whether it is on right now.
    pub on: bool,
    /// This machine's own verdict.
    pub verdict: Verdict,
    /// Own pairs.
    pub pairs: u32,
    /// Own estimate with the action, as a ratio to without: of the wait per wake-up, or, where the role is judged by
    /// its progress, of the time per work. Below 1 is better.
    pub wait_ratio: Option<f64>,
    /// Always-valid 95 % range of it.
    pub ci: Option<[f64; 2]>,
    /// Share of its work that the background lost.
    pub background_loss: Option<f64>,
    /// Own placebo pairs and their mean ratio.
    pub placebo: Option<PlaceboView>,
    /// Own hold-out pairs since the verdict and their mean ratio.
    pub holdout: Option<PlaceboView>,
    /// Seconds of contention from the first one to the verdict.
    pub contention_s: Option<f64>,
    /// What the others say.
    pub others: Vec<OtherView>,
    /// When this machine first knew of it: its boot clock, microseconds.
    pub known_at_us: u64,
    /// Whether this machine said it first (as far as it knows).
    pub own: bool,
}

/// Pairs apart from the trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceboView {
    /// How many.
    pub pairs: u32,
    /// Their mean ratio.
    pub ratio: f64,
    /// Always-valid 95 % range of it, where it is finite.
    pub ci: Option<[f64; 2]>,
    /// What they would be judged as.
    pub verdict: Verdict,
}

/// Another member's evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OtherView {
    /// Its label.
    pub member: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its statistics.
    pub trial: PairStats,
    /// Its mean ratio.
    pub wait_ratio: f64,
}

/// The reason for a pattern's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyView {
    /// The pattern.
    pub pattern: PatternView,
    /// Sentences: what, because, effect, cost, origin.
    pub because: Vec<String>,
    /// How to undo it.
    pub undo: String,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteView {
    /// The code.
    pub code: String,
    /// Seconds it stays good.
    pub seconds: u64,
    /// Port this machine listens on; filled in by the shell.
    pub port: u16,
    /// Whether only a machine that belongs already, and lost its disk, can use it: this machine is no admin.
    pub only_back: bool,
    /// The long form, with the places, when it was asked for.
    #[serde(default)]
    pub ticket: Option<String>,
    /// Where the ticket says that this machine is.
    #[serde(default)]
    pub places: Vec<SocketAddr>,
}

/// How far a join has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JoinView {
    /// The stage.
    pub stage: JoinStage,
    /// The words that both screens must show, once known.
    pub words: Option<String>,
    /// Milliseconds from the command until the inviter was found.
    pub found_ms: Option<f64>,
    /// Milliseconds from the command until the code was proved both ways.
    pub proved_ms: Option<f64>,
    /// Milliseconds from the command until membership.
    pub member_ms: Option<f64>,
    /// Whether a member was heard to hold the same since: counts of members hold.
    #[serde(default)]
    pub whole: bool,
    /// Why it failed, when it did.
    pub error: Option<CommandError>,
}

/// Stages of a join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinStage {
    /// Nobody asked to join.
    #[default]
    None,
    /// Looking for the inviter.
    Seeking,
    /// Proving the code.
    Proving,
    /// Proved; a person must approve on the other side.
    Waiting,
    /// In.
    Member,
    /// It did not work; see the error.
    Failed,
}

/// Machines that wait for a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PendingView {
    /// The oldest first.
    pub pending: Vec<PendingMachine>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingMachine {
    /// First digits of its id.
    pub node: String,
    /// What it calls itself.
    pub label: String,
    /// The words that both screens must show.
    pub words: String,
    /// Where it was.
    pub address: SocketAddr,
    /// Seconds it has waited.
    pub waited_s: u64,
}

/// Members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MembersView {
    /// In order of seniority.
    pub members: Vec<MemberView>,
    /// That this machine itself does not belong any more, in words, when that is so.
    #[serde(default)]
    pub out: Option<String>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its id, in full.
    pub node: String,
    /// Its label.
    pub label: String,
    /// The id of the member that stands for its owner, in full: machines of one owner have the same.
    #[serde(default)]
    pub owner: String,
    /// What it may do.
    pub role: Role,
    /// Whether it is this machine.
    pub here: bool,
    /// Whether it is connected now (this machine always is).
    pub online: bool,
    /// Live statements in its map.
    pub statements: usize,
    /// Whether two states under one version were seen of it.
    pub forked: bool,
    /// Where it was last connected.
    pub address: Option<SocketAddr>,
    /// Boot-clock microseconds of this machine when it was first connected.
    pub first_up_us: Option<u64>,
}

/// What was put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneView {
    /// Changes that were on and have been put back.
    pub changes: usize,
    /// Threads or sessions restored.
    pub restored: u32,
    /// Left alone because somebody else had changed them meanwhile.
    pub left_alone: u32,
    /// Changes of which the host has not said that they are back. They are not forgotten: it is asked again.
    #[serde(default)]
    pub failed: u32,
}

/// What the hive would do here now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// The best pattern for what runs now, if any.
    pub pattern: Option<String>,
    /// What to do; none = leave it.
    pub action: Option<Action>,
    /// Why.
    pub because: String,
    /// What only a person may do, or allow, about it.
    #[serde(default)]
    pub suggestions: Vec<SuggestionView>,
}

/// Machines heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NearbyView {
    /// What was heard since the daemon started, newest first.
    pub seen: Vec<SeenView>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenView {
    /// Where it answered from.
    pub address: SocketAddr,
    /// The member it is, if it is one.
    pub member: Option<String>,
    /// First digits of the member's id.
    pub node: Option<String>,
    /// Whether it has an open invite.
    pub inviting: bool,
    /// Milliseconds from the question to the answer.
    pub after_ms: f64,
}

/// A shared result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedView {
    /// The pattern's id.
    pub id: String,
    /// Boot-clock microseconds when it was durable and sent.
    pub said_at_us: u64,
}

/// A new recovery key. This answer is the only place where its words ever stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryKeyView {
    /// The 24 words.
    pub words: RecoveryWords,
}

/// This machine has a new key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatedView {
    /// First digits of the id that it had.
    pub old: String,
    /// First digits of the id that it has from its next start on.
    pub new: String,
    /// Members that were connected, and so are told at once.
    pub told: usize,
    /// What changed, in words.
    pub words: String,
}

/// It was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneView {
    /// Always true: refusals are [`CommandError`]s.
    pub done: bool,
    /// What was done, in words.
    pub words: String,
}
