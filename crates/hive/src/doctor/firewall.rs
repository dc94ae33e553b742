//! Which firewall this machine has, what of it can be read, and the exact command that opens the port.

use super::{Finding, Outcome, Roots, read};

/// Those that are known, the one that manages the others first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firewall {
    Ufw,
    Firewalld,
    Nft,
    Iptables,
}

/// Whether it lets the port in, as far as can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    There,
    Missing,
    Unreadable,
}

impl Firewall {
    fn name(self) -> &'static str {
        match self {
            Self::Ufw => "ufw",
            Self::Firewalld => "firewalld",
            Self::Nft => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// What a person types to let the port in.
    pub(super) fn command(self, port: u16) -> String {
        match self {
            Self::Ufw => format!("sudo ufw allow {port}/udp"),
            Self::Firewalld => format!(
                "sudo firewall-cmd --permanent --add-port={port}/udp && sudo firewall-cmd --reload"
            ),
            Self::Nft => format!("sudo nft insert rule inet filter input udp dport {port} accept"),
            Self::Iptables => format!("sudo iptables -I INPUT -p udp --dport {port} -j ACCEPT"),
        }
    }

    /// The one that is on; of those that only lie there, none.
    pub(super) fn on(roots: &Roots) -> Option<Self> {
        let enabled = read(&roots.etc.join("ufw/ufw.conf"))
            .is_some_and(|text| text.lines().any(|line| line.trim() == "ENABLED=yes"));
        if enabled && roots.has_program("ufw") {
            return Some(Self::Ufw);
        }
        if roots.running().iter().any(|name| name == "firewalld") {
            return Some(Self::Firewalld);
        }
        // Tables of the older interface; only root can read their names.
        let tables = read(&roots.proc.join("net/ip_tables_names"));
        let filters = tables.is_some_and(|text| text.lines().any(|line| line == "filter"));
        (filters && roots.has_program("iptables")).then_some(Self::Iptables)
    }

    /// The one to name when a packet does not come in: the one that is on, else one that is installed.
    pub(super) fn suspect(roots: &Roots) -> Option<Self> {
        let installed = [
            (Self::Ufw, "ufw"),
            (Self::Firewalld, "firewall-cmd"),
            (Self::Nft, "nft"),
            (Self::Iptables, "iptables"),
        ];
        Self::on(roots).or_else(|| {
            let there = installed
                .into_iter()
                .find(|(_, program)| roots.has_program(program));
            there.map(|(firewall, _)| firewall)
        })
    }

    /// Looks for the port in what ufw and firewalld write down.
    fn rule(self, roots: &Roots, port: u16) -> Rule {
        match self {
            Self::Ufw => {
                let Ok(rules) = std::fs::read_to_string(roots.etc.join("ufw/user.rules")) else {
                    return Rule::Unreadable;
                };
                let allows = rules.lines().any(|line| {
                    line.starts_with("-A ufw-user-input")
                        && line.contains("-p udp")
                        && line.contains(&format!("--dport {port} "))
                        && line.ends_with("-j ACCEPT")
                });
                if allows { Rule::There } else { Rule::Missing }
            }
            Self::Firewalld => {
                let Ok(zones) = std::fs::read_dir(roots.etc.join("firewalld/zones")) else {
                    return Rule::Unreadable;
                };
                let texts: Option<Vec<String>> =
                    zones.map(|zone| read(&zone.ok()?.path())).collect();
                let Some(texts) = texts else {
                    return Rule::Unreadable;
                };
                let allows = texts.iter().flat_map(|text| text.lines()).any(|line| {
                    line.contains("<port ")
                        && line.contains(&format!("port=\"{port}\""))
                        && line.contains("protocol=\"udp\"")
                });
                if allows { Rule::There } else { Rule::Missing }
            }
            Self::Nft | Self::Iptables => Rule::Unreadable,
        }
    }
}

/// What can be said by reading. Whether the port really is open is another check, which tries it.
pub(super) fn examine(roots: &Roots, port: u16, reachable: Option<bool>) -> Finding {
    let finding = |outcome, what: String| Finding::new("firewall", outcome, what);
    let Some(firewall) = Firewall::on(roots) else {
        let what = if roots.has_program("nft") && reachable.is_none() {
            // Its rules live in the kernel alone, for root's eyes.
            return finding(
                Outcome::Unknown,
                "nftables is installed; whether it has rules only root can read".to_owned(),
            )
            .try_next("sudo nft list ruleset");
        } else {
            "neither ufw nor firewalld is on".to_owned()
        };
        return finding(Outcome::Ok, what);
    };
    let name = firewall.name();
    match (firewall.rule(roots, port), reachable) {
        (Rule::There, _) => finding(Outcome::Ok, format!("{name} is on and lets UDP {port} in")),
        (_, Some(true)) => {
            let what = format!("{name} is on, and a member got in all the same");
            finding(Outcome::Ok, what)
        }
        (Rule::Missing, _) => finding(
            Outcome::Problem,
            format!("{name} is on and has no rule for UDP {port}"),
        )
        .try_next(firewall.command(port)),
        (Rule::Unreadable, _) => finding(
            Outcome::Unknown,
            format!("{name} is on; its rules cannot be read by this user"),
        )
        .try_next(firewall.command(port)),
    }
}
