//! What can be typed: the verbs, their options and their help.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hive_mind::pattern::Action;

/// Your own computers learn together which tuning really helps which program, prove it by
/// measuring, and tell each other.
#[derive(Debug, Parser)]
#[command(name = "hive", version, about, after_help = AFTER_HELP, max_term_width = 80)]
pub(crate) struct Cli {
    /// Where things are.
    #[command(flatten)]
    pub(crate) place: Place,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
Start:  hive up      then  hive invite,  and on another machine  hive join CODE
See it: hive demo    two real daemons on this machine, nothing left behind
Exit codes:
  0 ok, 1 failed, 2 usage, 3 daemon not reachable, 4 not allowed, 5 not found,
  6 peer silent, 7 needs you, 8 already so, 9 partly done, 10 over a limit";

/// Where the daemon's state and its socket are.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Place {
    /// Keep the daemon's state in this folder
    #[arg(long, global = true, value_name = "DIR", env = "HIVE_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Talk to the daemon over this socket
    #[arg(long, global = true, value_name = "PATH", env = "HIVE_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
}

/// How an answer is printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Format {
    /// Print JSON with a schema name instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether a change is only described.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Rehearsal {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The answer to the consent question, given beforehand.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ConsentFlags {
    /// Yes: try small reversible settings and keep what measurably helps
    #[arg(long)]
    pub(crate) yes: bool,
    /// Set how much may be done, without a question
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<ModeWord>,
}

/// How much the optimizer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeWord {
    /// Watch, change nothing
    Observe,
    /// Watch and say what would be tried
    Suggest,
    /// Try small reversible settings and keep what measurably helps
    Auto,
}

/// What `hive tune` can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TuneWord {
    /// Watch, change nothing
    Observe,
    /// Watch and say what would be tried
    Suggest,
    /// Try small reversible settings and keep what measurably helps
    Auto,
    /// Allow an action that is asked about once
    Allow,
    /// Take that back
    Forbid,
    /// List all actions, whose yes they need, and what they cost
    Actions,
}

impl TuneWord {
    /// What is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Suggest => "suggest",
            Self::Auto => "auto",
            Self::Allow => "allow",
            Self::Forbid => "forbid",
            Self::Actions => "actions",
        }
    }
}

fn parse_action(word: &str) -> Result<Action, String> {
    Action::named(word).ok_or_else(|| {
        let names = Action::ALL.map(Action::name);
        format!("no such action; there are {}", names.join(", "))
    })
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start watching: starts the daemon if none runs, and asks once what it may do
    Up(UpArgs),
    /// Stop the daemon; everything it had changed is put back
    Down(Rehearsal),
    /// Run the daemon in the foreground (for service managers)
    Daemon(DaemonArgs),
    /// Make a code for one more machine, and let it in
    Invite(InviteArgs),
    /// Enter another machine's hive with its code or ticket
    Join(JoinArgs),
    /// Machines that wait to be let in
    Pending(Format),
    /// Let a waiting machine in, after comparing the words on both screens
    Approve(ApproveArgs),
    /// Turn a waiting machine away
    Deny(WhoArgs),
    /// The machines of this hive
    Members(Format),
    /// Remove a machine from this hive
    Remove(RemoveArgs),
    /// Change what a machine may do: let others in (admin) or not (member)
    Role(RoleArgs),
    /// Count again what a machine measured that said two different things
    Forgive(ForgiveArgs),
    /// Make 24 words for paper that outrank every machine; possible while alone
    RecoveryKey(RecoveryKeyArgs),
    /// Use those words: make this machine an admin, remove a lost or stolen one
    Recover(RecoverArgs),
    /// Give this machine a new key that keeps its place; the old one is refused from then on
    Rotate(RotateArgs),
    /// Leave the hive: forget key and store, to start anew under a new key
    Leave(LeaveArgs),
    /// Call this machine something else
    Label(LabelArgs),
    /// One screen: what is on, what is being tried, what needs you
    Status(StatusArgs),
    /// What was learned, here and on the other machines
    Patterns(Format),
    /// The reason, the numbers and the cost of one pattern, and how to undo it
    Why(WhyArgs),
    /// Put old values back and do not use the pattern for a day
    Undo(UndoArgs),
    /// Set how much may be done on this machine
    Tune(TuneArgs),
    /// Put everything back and keep still, for a while or until `hive resume`
    Pause(PauseArgs),
    /// End a pause, and the rest after an undo
    Resume(Rehearsal),
    /// Machines heard on the network
    Nearby(Format),
    /// What is wrong with this machine or its network, and what to type about it
    Doctor(Format),
    /// Two real daemons on this machine learn and share; nothing is left behind
    Demo(Format),
    /// Puts values back when the daemon it watches dies
    #[command(hide = true)]
    Guard {
        /// The same as the daemon's
        #[arg(long)]
        tree: Option<u32>,
    },
    /// The demo's programs
    #[command(hide = true, subcommand)]
    Stage(StageVerb),
}

impl Verb {
    /// Whether answers, and so errors too, were asked for as JSON.
    pub(crate) fn speaks_json(&self) -> bool {
        match self {
            Self::Pending(format)
            | Self::Members(format)
            | Self::Patterns(format)
            | Self::Nearby(format)
            | Self::Doctor(format)
            | Self::Demo(format)
            | Self::Invite(InviteArgs { format, .. })
            | Self::Join(JoinArgs { format, .. })
            | Self::Rotate(RotateArgs { format, .. })
            | Self::Status(StatusArgs { format, .. })
            | Self::Why(WhyArgs { format, .. })
            | Self::Undo(UndoArgs { format, .. }) => format.json,
            _ => false,
        }
    }
}

/// Options of `hive up`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct UpArgs {
    /// Consent
    #[command(flatten)]
    pub(crate) consent: ConsentFlags,
    /// Start although the store is gone, under the key that is there
    #[arg(long)]
    pub(crate) without_store: bool,
}

/// Options of `hive daemon`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DaemonArgs {
    /// Set how much may be done (otherwise: what was set last, `observe` at first)
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<ModeWord>,
    /// Listen on this address only
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,
    /// Listen on this UDP port (otherwise the last one, or 4483, or the next free one)
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Be found on this interface only (may be repeated)
    #[arg(long = "interface", value_name = "NAME")]
    pub(crate) interfaces: Vec<String>,
    /// A member's fixed address, for networks without multicast (may be repeated)
    #[arg(long = "peer", value_name = "ADDR", value_parser = hive_mind::address::dialled)]
    pub(crate) peers: Vec<SocketAddr>,
    /// What to call this machine at its first start
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    /// Look at and act on only this process and its descendants
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) tree: Option<u32>,
    /// Start although the store is gone, under the key that is there
    #[arg(long)]
    pub(crate) without_store: bool,
    /// Neither ask nor answer by mDNS
    #[arg(long)]
    pub(crate) no_mdns: bool,
    /// See time pass this many times faster (for the lab)
    #[arg(long, value_name = "TIMES", hide = true)]
    pub(crate) lab_clock_factor: Option<NonZeroU32>,
    /// And that only after so many milliseconds
    #[arg(long, value_name = "MS", hide = true, default_value_t = 0)]
    pub(crate) lab_clock_true_ms: u64,
    /// Leave the terminal's session first
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// Options of `hive invite`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct InviteArgs {
    /// How to print it
    #[command(flatten)]
    pub(crate) format: Format,
    /// Print the code and return at once, even on a terminal
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Let it in as a machine of this member's owner, or of a `new` one (otherwise: of this machine's owner)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["no_wait", "json"])]
    pub(crate) owner: Option<String>,
    /// Print a ticket and its QR code too, for a machine on another network
    #[arg(long)]
    pub(crate) ticket: bool,
    /// Keep it good for so long, such as 2h, at most 24h (otherwise 10 minutes)
    #[arg(long = "for", value_parser = parse_seconds, value_name = "TIME")]
    pub(crate) span: Option<u64>,
    /// Open none, and end every code and ticket that is still good
    #[arg(long, conflicts_with_all = ["no_wait", "owner", "ticket", "span"])]
    pub(crate) close: bool,
}

/// Options of `hive join`.
#[derive(Args, Clone, Debug)]
pub(crate) struct JoinArgs {
    /// The code or the ticket that `hive invite` printed; `-` reads it from standard input
    pub(crate) code: String,
    /// Where the inviting machine is, such as 192.0.2.7:4483, for networks without multicast (a ticket knows it)
    #[arg(long, value_name = "ADDR", value_parser = hive_mind::address::dialled)]
    pub(crate) at: Option<SocketAddr>,
    /// Consent
    #[command(flatten)]
    pub(crate) consent: ConsentFlags,
    /// How to print the outcome
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Options of `hive approve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ApproveArgs {
    /// Its label, or the first digits of its id
    pub(crate) name: String,
    /// It may let machines in and remove later ones itself
    #[arg(long)]
    pub(crate) admin: bool,
    /// It belongs to this member's owner, or to a `new` one (otherwise: to this machine's owner)
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// A machine, named.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhoArgs {
    /// Its label, or the first digits of its id
    pub(crate) name: String,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive remove`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoveArgs {
    /// Its label, or the first digits of its id
    pub(crate) name: String,
    /// Count nothing of what it ever said
    #[arg(long)]
    pub(crate) compromised: bool,
    /// Do not ask for the name again
    #[arg(long)]
    pub(crate) yes: bool,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleWord {
    /// Let machines in and remove later ones
    Admin,
    /// Share and learn
    Member,
}

/// Options of `hive role`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RoleArgs {
    /// Its label, or the first digits of its id
    pub(crate) name: String,
    /// What it may do from now on
    pub(crate) role: RoleWord,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive forgive`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ForgiveArgs {
    /// Its label, or the first digits of its id
    pub(crate) name: String,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive recovery-key`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct RecoveryKeyArgs {
    /// Print the words even where this is no terminal
    #[arg(long)]
    pub(crate) anywhere: bool,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive recover`. The words themselves are asked for, or read from standard input.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecoverArgs {
    /// The machine to remove, however senior: its label, or the first digits of its id
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Option<String>,
    /// Count nothing of what it ever said
    #[arg(long, requires = "remove")]
    pub(crate) compromised: bool,
    /// Do not ask for the name again
    #[arg(long)]
    pub(crate) yes: bool,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive rotate`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct RotateArgs {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Leave the daemon stopped (for a service manager that starts it again)
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
    /// How to print the outcome
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Options of `hive leave`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct LeaveArgs {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive label`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LabelArgs {
    /// 1 to 32 letters, digits, spaces and - _ . '
    pub(crate) label: String,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive status`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct StatusArgs {
    /// How to print it
    #[command(flatten)]
    pub(crate) format: Format,
    /// Exit with 7 when something needs you
    #[arg(long)]
    pub(crate) check: bool,
}

/// Options of `hive why`.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhyArgs {
    /// Which pattern, such as p-1
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) pattern: String,
    /// How to print it
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Options of `hive undo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UndoArgs {
    /// Which pattern, such as p-1 (or --all)
    #[arg(conflicts_with = "all")]
    pub(crate) pattern: Option<String>,
    /// Everything that is on
    #[arg(long)]
    pub(crate) all: bool,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
    /// How to print the outcome
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Options of `hive tune`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TuneArgs {
    /// How much may be done, or what shall become of one action
    pub(crate) word: TuneWord,
    /// Which action, as `hive tune actions` names it; for allow and forbid
    #[arg(value_name = "ACTION", value_parser = parse_action, required_if_eq_any([("word", "allow"), ("word", "forbid")]))]
    pub(crate) action: Option<Action>,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// Options of `hive pause`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PauseArgs {
    /// For how long, such as 30m, 2h or 90s, at most 30d; without it, until `hive resume`
    #[arg(value_parser = parse_seconds, value_name = "TIME")]
    pub(crate) span: Option<u64>,
    /// Rehearsal
    #[command(flatten)]
    pub(crate) rehearsal: Rehearsal,
}

/// The programs that play a machine's user in the demo.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StageVerb {
    /// Wakes every 5 ms and works for about half a millisecond, like an editor being typed in
    Editor,
    /// Works without end, like one job of a build where there is no compiler
    Job,
    /// Compiles one C file over and over
    Compile {
        /// The file
        source: PathBuf,
    },
    /// One terminal session: its leader, an editor in front, jobs behind
    Session(SessionArgs),
    /// One machine: its daemon and its sessions, told what to do line by line
    Machine(MachineArgs),
}

/// Options of `hive stage session`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SessionArgs {
    /// Run the editor in the foreground
    #[arg(long)]
    pub(crate) editor: bool,
    /// Run this many jobs in the background
    #[arg(long, default_value_t = 0)]
    pub(crate) jobs: u32,
    /// Compile this file in the jobs; without it they only calculate
    #[arg(long)]
    pub(crate) source: Option<PathBuf>,
}

/// Options of `hive stage machine`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArgs {
    /// The machine's folder: state, socket and log of its daemon
    pub(crate) folder: PathBuf,
}

/// The longest timed pause: 30 days. A guess: who wants longer means "until I say so".
const PAUSE_MAX_S: u64 = 30 * 86_400;

/// Reads `90s`, `30m`, `2h` or `1d` as seconds; a bare number is minutes.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time: write 90s, 30m, 2h or 1d");
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "m"),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    match number.checked_mul(factor) {
        Some(seconds) if seconds > PAUSE_MAX_S => {
            Err("at most 30d; without a time it lasts until `hive resume`".to_owned())
        }
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_verbs_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_option_is_documented() {
        for verb in Cli::command().get_subcommands() {
            assert!(
                verb.get_about().is_some(),
                "{} has no help",
                verb.get_name()
            );
            for arg in verb.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {} has no help",
                    verb.get_name(),
                    arg.get_id()
                );
            }
        }
    }

    #[test]
    fn every_verb_that_reads_speaks_json() {
        let command = Cli::command();
        for name in [
            "status", "members", "pending", "patterns", "why", "nearby", "doctor", "demo",
            "invite", "join", "rotate",
        ] {
            let verb = command.find_subcommand(name).expect("the verb exists");
            let speaks = verb.get_arguments().any(|arg| arg.get_id() == "json");
            assert!(speaks, "{name} has no --json");
        }
    }

    #[test]
    fn every_verb_that_changes_something_can_be_rehearsed() {
        let command = Cli::command();
        for name in [
            "down",
            "leave",
            "approve",
            "deny",
            "remove",
            "label",
            "undo",
            "tune",
            "pause",
            "resume",
            "role",
            "forgive",
            "recovery-key",
            "recover",
            "rotate",
        ] {
            let verb = command.find_subcommand(name).expect("the verb exists");
            let rehearses = verb.get_arguments().any(|arg| arg.get_id() == "dry_run");
            assert!(rehearses, "{name} has no --dry-run");
        }
    }

    #[test]
    fn closing_codes_opens_none() {
        let typed = |more: &[&str]| {
            let words = ["hive", "invite", "--close"].iter().chain(more);
            Cli::try_parse_from(words).is_ok()
        };
        assert!(typed(&[]) && typed(&["--json"]));
        assert!(!typed(&["--ticket"]) && !typed(&["--for", "2h"]));
    }

    #[test]
    fn an_address_without_a_port_is_shown_how_one_looks() {
        let at = |place| Cli::try_parse_from(["hive", "join", "CODE", "--at", place]);
        let why = at("192.0.2.1").expect_err("no port").to_string();
        assert!(why.contains("192.0.2.7:4483"), "{why}");
        at("[fe80::1%lo]:4483").expect("an interface by its name");
        at("127.0.0.1:4483").expect("on this machine");
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_seconds("30m"), Ok(1_800));
        assert_eq!(parse_seconds("2h"), Ok(7_200));
        assert_eq!(parse_seconds("90s"), Ok(90));
        assert_eq!(parse_seconds("5"), Ok(300));
        for wrong in [
            "",
            "m",
            "0m",
            "3 parsecs",
            "99999999999999999999d",
            "-5m",
            "31d",
            "9999999h",
        ] {
            assert!(parse_seconds(wrong).is_err(), "{wrong} was taken");
        }
    }
}
