//! The settings file: every line is optional, and a misspelt one is an error with a suggestion.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hive_core::machine::Containers;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::address;

/// What `config.toml` may say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where this machine listens and whom it knows.
    pub network: Network,
    /// What the optimizer protects and leaves alone.
    pub tune: Tune,
}

/// `[network]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// UDP port; none, or one that cannot be had = the remembered one, or 4483.
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    /// Address to listen on; none = all addresses of both families.
    pub bind: Option<IpAddr>,
    /// Interfaces to be found on; empty = all but loopback, containers' and VPNs'.
    pub interfaces: Vec<String>,
    /// Fixed addresses of members, for networks without multicast.
    #[serde(deserialize_with = "address::of_peer")]
    pub peers: Vec<SocketAddr>,
    /// Where this machine is reached from elsewhere, such as a port that the router hands on; named in tickets
    /// before the addresses of its network cards.
    #[serde(deserialize_with = "address::of_this_machine")]
    pub addresses: Vec<SocketAddr>,
    /// Whether to be found, and to find, by mDNS.
    pub mdns: bool,
}

/// `[tune]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tune {
    /// Programs to protect although they are in no terminal's foreground.
    pub protect: Vec<String>,
    /// Programs never to touch.
    pub never: Vec<String>,
    /// Whether what runs in containers takes part; left alone unless this says so.
    pub containers: bool,
}

impl Tune {
    /// Whether what runs in containers takes part.
    pub(crate) fn of_containers(&self) -> Containers {
        if self.containers {
            Containers::Included
        } else {
            Containers::LeftAlone
        }
    }
}

/// Why the settings do not read. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A line is off; the text says which and, for a misspelt key, what may have been meant.
    #[error("{path}{line}: {what}", line = line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: Option<usize>,
        /// What is off.
        what: String,
    },
}

impl Default for Network {
    fn default() -> Self {
        Self {
            port: None,
            bind: None,
            interfaces: Vec::new(),
            peers: Vec::new(),
            addresses: Vec::new(),
            mdns: true,
        }
    }
}

impl Config {
    /// Reads a file; no file = the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path).map_err(|why| ConfigError::Unreadable {
            path: path.to_path_buf(),
            why,
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Bad {
            path: path.to_path_buf(),
            line: error
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1),
            what: suggested(error.message()),
        })
    }
}

/// A port, refused in words where the number is none.
fn port<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    let number = i64::deserialize(from)?;
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(Some(port)),
        _ => Err(D::Error::custom(format_args!(
            "port = {number} is no port: give a number from 1 to 65535, or leave the line out"
        ))),
    }
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`".
fn suggested(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field");
    let word = quoted.next();
    if let (true, Some(key)) = (unknown, word)
        && let Some(section) = section_of(key)
    {
        return format!("unknown key `{key}` here; did you mean [{section}] {key}?");
    }
    match (unknown, word) {
        (true, Some(word)) => quoted
            .map(|known| (distance(word, known), known))
            .min()
            .filter(|(edits, known)| *edits <= known.len() / 2)
            .map_or_else(
                || message.to_string(),
                |(_, known)| format!("unknown key `{word}`; did you mean `{known}`?"),
            ),
        _ => message.replace("expected i64", "expected a whole number"),
    }
}

/// The section that a known key belongs in.
fn section_of(key: &str) -> Option<&'static str> {
    match key {
        "port" | "bind" | "interfaces" | "peers" | "addresses" | "mdns" => Some("network"),
        "protect" | "never" | "containers" => Some("tune"),
        _ => None,
    }
}

/// Levenshtein's distance, one row at a time.
fn distance(one: &str, two: &str) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in two.bytes().enumerate() {
            let swapped = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = swapped.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        Config::load(Some(&path))
    }

    #[test]
    fn every_key_reads_and_none_is_needed() {
        assert_eq!(load("").expect("empty is fine"), Config::default());
        let config = load(
            "[network]\nport = 5000\nbind = \"127.0.0.1\"\ninterfaces = [\"lo\"]\n\
             peers = [\"192.0.2.1:4483\", \"[2001:db8::1]:4483\", \"[fe80::1%2]:4483\"]\naddresses = [\"203.0.113.5:9000\"]\nmdns = false\n[tune]\nprotect = [\"mpv\"]\nnever = [\"sshd\"]\ncontainers = true\n",
        )
        .expect("all keys");
        assert_eq!(config.network.port, Some(5000));
        assert!(!config.network.mdns);
        assert_eq!(config.network.peers.len(), 3);
        assert_eq!(config.network.addresses.len(), 1);
        assert_eq!(config.tune.never, ["sshd"]);
        assert!(config.tune.containers && !Config::default().tune.containers);
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused_with_its_line() {
        for (line, word) in [
            ("addresses = [\"0.0.0.0:4483\"]", "any address"),
            ("addresses = [\"[::1]:4483\"]", "itself"),
            ("addresses = [\"[fe80::1%2]:4483\"]", "one link"),
            (
                "addresses = [\"router.example:4483\"]",
                "such as 192.0.2.7:4483",
            ),
            ("peers = [\"192.0.2.1:0\"]", "port 0"),
            ("peers = [\"192.0.2.1\"]", "such as 192.0.2.7:4483"),
            (
                "peers = [\n\"192.0.2.1:4483\", \"[fe80::1]:4483\"]",
                "ip link",
            ),
        ] {
            let error = load(&format!("[network]\n{line}\nmdns = false\n"));
            let text = error.expect_err(line).to_string();
            // That of the list: the words name which of it.
            assert!(text.contains("line 2: `"), "{text}");
            assert!(text.contains(word), "{text}");
        }
        // Two daemons of one machine are each other's peers.
        load("[network]\npeers = [\"127.0.0.1:4483\"]\n").expect("reads");
    }

    #[test]
    fn a_number_that_is_no_port_is_refused_with_its_line_and_the_range() {
        for number in [65_536, 70_000, 0, -1] {
            let error = load(&format!("[network]\nmdns = false\nport = {number}\n"));
            let text = error.expect_err("no port").to_string();
            let words =
                format!("line 3: port = {number} is no port: give a number from 1 to 65535");
            assert!(text.contains(&words), "{text}");
        }
        let last = load("[network]\nport = 65535\n").expect("a port");
        assert_eq!(last.network.port, Some(65_535));
        let text = load("[network]\nport = \"4483\"\n").expect_err("a text");
        let text = text.to_string();
        assert!(
            text.contains("line 2: ") && text.contains("expected a whole number"),
            "{text}"
        );
    }

    #[test]
    fn a_misspelt_key_names_its_line_and_what_was_meant() {
        let error = load("[network]\nport = 1\ninterfases = []\n").expect_err("misspelt");
        let text = error.to_string();
        assert!(text.contains("did you mean `interfaces`?"), "{text}");
        assert!(text.contains("line 3"), "{text}");
        let misplaced = load("protect = [\"mpv\"]\n").expect_err("at the top");
        assert!(
            misplaced
                .to_string()
                .contains("did you mean [tune] protect?"),
            "{misplaced}"
        );
        assert!(
            load("[netwrk]\n")
                .expect_err("off")
                .to_string()
                .contains("`network`")
        );
    }
}
