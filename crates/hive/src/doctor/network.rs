//! The network: interfaces, multicast, the way in, the clock, as the running daemon found them by trying.

use hive_mind::NetworkView;

use super::firewall::{self, Firewall};
use super::{Finding, Outcome, Roots};
use crate::render::text;

/// Clocks further apart than this hold each other's news back. Source: DESIGN 7 (hive time + 60 s).
const CLOCK_APART_MS: u64 = 60_000;

/// The usual port, when no daemon says which. Source: DESIGN 12.
const PORT: u16 = 4483;

/// All of them. Without a daemon little can be told.
pub(super) fn examine(roots: &Roots, view: Option<&NetworkView>) -> Vec<Finding> {
    let Some(view) = view else {
        let unknown =
            |check| Finding::new(check, Outcome::Unknown, "only a running daemon can tell");
        return vec![
            unknown("interfaces"),
            unknown("multicast"),
            unknown("port"),
            firewall::examine(roots, PORT, None),
            clock(roots, None),
        ];
    };
    let mut findings = vec![
        interfaces(view),
        multicast(view),
        port(roots, view),
        firewall::examine(roots, view.port, view.reachable),
        clock(roots, view.clock_ahead_ms),
    ];
    findings.extend(kept_open(view));
    findings
}

fn interfaces(view: &NetworkView) -> Finding {
    if !view.missing.is_empty() {
        let what = format!(
            "config.toml names what is not up here: {}",
            view.missing.join(", ")
        );
        return Finding::new("interfaces", Outcome::Problem, what)
            .try_next("correct [network] interfaces in config.toml, or plug it in");
    }
    if view.interfaces.is_empty() {
        return Finding::new(
            "interfaces",
            Outcome::Problem,
            "no interface of a LAN is up; containers' and VPNs' are left alone",
        )
        .try_next("plug in a cable or join a Wi-Fi, or name one in config.toml: [network] interfaces = [\"NAME\"]");
    }
    let named: Vec<String> = view
        .interfaces
        .iter()
        .map(|one| format!("{} {}", one.name, one.address))
        .collect();
    Finding::new("interfaces", Outcome::Ok, named.join(", "))
}

fn multicast(view: &NetworkView) -> Finding {
    let finding = |outcome, what: String| Finding::new("multicast", outcome, what);
    match (view.own_answer, view.others) {
        (None, _) => finding(
            Outcome::Note,
            "mDNS is switched off; members are found at fixed addresses only".to_owned(),
        ),
        (Some(_), others) if others > 0 => {
            let who = text::count(others, "other machine answers", "other machines answer");
            finding(Outcome::Ok, who)
        }
        (Some(true), _) if view.connected > 0 => finding(
            Outcome::Problem,
            "members are connected, but none answers a question asked by multicast".to_owned(),
        )
        .try_next("switch off \"AP isolation\" or \"IGMP snooping\" in the router, or set [network] peers"),
        (Some(true), _) => finding(
            Outcome::Unknown,
            "it works on this machine; no other machine is there to answer".to_owned(),
        ),
        (Some(false), _) => finding(
            Outcome::Problem,
            "this machine's own answer to a question by multicast does not come".to_owned(),
        )
        .try_next(
            "let UDP 5353 in (with ufw: sudo ufw allow 5353/udp), or set [network] peers and mdns = false",
        ),
    }
}

fn port(roots: &Roots, view: &NetworkView) -> Finding {
    let finding = |outcome, what: String| Finding::new("port", outcome, what);
    let port = view.port;
    let who = view.asked.as_deref().unwrap_or("a member");
    match view.reachable {
        Some(true) => finding(
            Outcome::Ok,
            format!("member {who} got in on UDP {port} from a port never spoken with"),
        ),
        None if view.connected == 0 => finding(
            Outcome::Unknown,
            format!("no member is connected that could try to get in on UDP {port}"),
        ),
        None => finding(
            Outcome::Unknown,
            format!("no member could say whether it gets in on UDP {port}"),
        ),
        Some(false) => {
            let translated = view.translated == Some(true);
            let (what, next) = if translated {
                let seen = view.seen_as.map(|seen| seen.to_string());
                (
                    format!(
                        "member {who} sees this machine as {} and does not get in: a router translates addresses",
                        seen.unwrap_or_default()
                    ),
                    format!("in the router, forward UDP {port} to this machine"),
                )
            } else {
                (
                    format!("member {who} does not get in on UDP {port}: a firewall"),
                    Firewall::suspect(roots).map_or_else(
                        || format!("let UDP {port} in at the firewall between the two machines"),
                        |firewall| firewall.command(port),
                    ),
                )
            };
            finding(Outcome::Problem, what).try_next(next)
        }
    }
}

/// What is done while the port is shut.
fn kept_open(view: &NetworkView) -> Option<Finding> {
    if view.reachable != Some(false) {
        return None;
    }
    let seconds = |ms: u64| text::span(ms.div_ceil(1_000));
    let Some(keeping) = &view.keeping else {
        let (outcome, what) = match view.died_ms {
            Some(died) => (
                Outcome::Problem,
                format!(
                    "the way in is forgotten within {}: keeping it open would cost too much, news comes late",
                    seconds(died)
                ),
            ),
            None => (
                Outcome::Unknown,
                "how long the way in stays open is being measured; ask again in ten minutes"
                    .to_owned(),
            ),
        };
        return Some(Finding::new("kept open", outcome, what));
    };
    let measured = match (view.survived_ms, view.died_ms) {
        (Some(survived), Some(died)) => format!(
            "the way in stays open for {}, not for {}",
            seconds(survived),
            seconds(died)
        ),
        (Some(survived), None) => format!("the way in stays open for {}", seconds(survived)),
        _ => "how long the way in stays open could not be measured".to_owned(),
    };
    let what = format!(
        "{measured}; a word goes to {} every {}, {} a day",
        keeping.member,
        seconds(keeping.every_ms),
        text::bytes(keeping.bytes_per_day)
    );
    Some(Finding::new("kept open", Outcome::Note, what))
}

fn clock(roots: &Roots, ahead_ms: Option<i64>) -> Finding {
    let finding = |outcome, what: String| Finding::new("clock", outcome, what);
    match ahead_ms {
        Some(ahead) if ahead.unsigned_abs() > CLOCK_APART_MS => {
            let side = if ahead > 0 { "behind" } else { "ahead of" };
            let apart = text::span(ahead.unsigned_abs() / 1_000);
            finding(
                Outcome::Problem,
                format!("this machine's clock is {apart} {side} a member's"),
            )
            .try_next("sudo timedatectl set-ntp true, on the machine that is wrong")
        }
        Some(ahead) => finding(
            Outcome::Ok,
            format!("{} ms apart from a member's", ahead.unsigned_abs()),
        ),
        None if roots.run.join("systemd/timesync/synchronized").exists() => {
            finding(Outcome::Ok, "set by a time server".to_owned())
        }
        None => finding(
            Outcome::Unknown,
            "no member is connected whose clock could be compared".to_owned(),
        ),
    }
}
