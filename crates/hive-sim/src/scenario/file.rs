//! Reading scenarios: every mistake is told with its line, and nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use hive_core::limits::MEMBERS_MAX;
use serde::Deserialize;
use toml::Spanned;

use super::{Attackers, Scenario, Trouble, Unit};
use crate::liar::Lie;

/// The scenarios of this crate.
const SHIPPED: &str = include_str!("../../scenarios.toml");

/// A third of the members may lie, and no more: `research/security.md` 5.
const LIARS_MAX: u64 = 333;

/// A hundred years: more is a slip of the pen.
const HOURS_MAX: u64 = 876_000;

/// Why a file is not a list of scenarios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// No TOML, a key or a kind that does not exist, or a value of another type.
    Unreadable {
        /// In which line, counted from one.
        line: usize,
        /// In the reader's words.
        what: String,
    },
    /// A number out of its range.
    OutOfRange {
        /// In which line.
        line: usize,
        /// Which number.
        key: String,
        /// What it is.
        is: u64,
        /// What it may be.
        range: RangeInclusive<u64>,
    },
    /// Two scenarios of one name.
    Twice {
        /// In which line the second is.
        line: usize,
        /// The name.
        name: String,
    },
    /// A name that would not do on a command line.
    BadName {
        /// In which line.
        line: usize,
        /// The name.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    scenario: Vec<RawScenario>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: Spanned<String>,
    about: String,
    members: Spanned<u64>,
    watching: Option<Spanned<u64>>,
    hours: Spanned<u64>,
    lives: Option<Spanned<u64>>,
    #[serde(default)]
    short: bool,
    results_per_month: Option<Spanned<u64>>,
    patterns: Option<Spanned<u64>>,
    check_every_hours: Option<Spanned<u64>>,
    expect: RawExpect,
    #[serde(default)]
    faults: BTreeMap<Trouble, Spanned<u64>>,
    #[serde(default)]
    attackers: RawAttackers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpect {
    equal_within_s: Spanned<u64>,
    bytes_per_member_day: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttackers {
    liars: Option<Spanned<u64>>,
    lie: Option<Spanned<u64>>,
    lies: Option<Vec<Lie>>,
    strangers: Option<Spanned<u64>>,
    visits_per_month: Option<Spanned<u64>>,
    removed: Option<Spanned<u64>>,
    thieves: Option<Spanned<u64>>,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { line, what } => write!(f, "line {line}: {what}"),
            Self::OutOfRange {
                line,
                key,
                is,
                range,
            } => write!(
                f,
                "line {line}: {key} is {is} and must be {} to {}",
                range.start(),
                range.end()
            ),
            Self::Twice { line, name } => write!(f, "line {line}: a second scenario \"{name}\""),
            Self::BadName { line, name } => write!(
                f,
                "line {line}: \"{name}\" is no name; use small letters, digits and _"
            ),
        }
    }
}

impl std::error::Error for FileError {}

/// The scenarios of this crate.
pub fn shipped() -> Result<Vec<Scenario>, FileError> {
    read(SHIPPED)
}

/// Reads a file's text.
pub fn read(text: &str) -> Result<Vec<Scenario>, FileError> {
    let raw: RawFile = toml::from_str(text).map_err(|error| FileError::Unreadable {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        what: error.message().to_owned(),
    })?;
    let mut names = BTreeSet::new();
    let mut scenarios = Vec::new();
    for scenario in raw.scenario {
        let line = line_of(text, scenario.name.span().start);
        let name = scenario.name.get_ref().clone();
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(fine) {
            return Err(FileError::BadName { line, name });
        }
        if !names.insert(name.clone()) {
            return Err(FileError::Twice { line, name });
        }
        scenarios.push(scenario.check(&Ranges(text))?);
    }
    Ok(scenarios)
}

/// Holds numbers to their ranges and knows their lines.
struct Ranges<'a>(&'a str);

impl Ranges<'_> {
    fn one(
        &self,
        key: &str,
        value: &Spanned<u64>,
        range: RangeInclusive<u64>,
    ) -> Result<u64, FileError> {
        let is = *value.get_ref();
        if range.contains(&is) {
            return Ok(is);
        }
        Err(FileError::OutOfRange {
            line: line_of(self.0, value.span().start),
            key: key.to_owned(),
            is,
            range,
        })
    }

    fn or(
        &self,
        key: &str,
        value: Option<&Spanned<u64>>,
        otherwise: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, FileError> {
        value.map_or(Ok(otherwise), |value| self.one(key, value, range))
    }
}

impl RawScenario {
    fn check(&self, ranges: &Ranges<'_>) -> Result<Scenario, FileError> {
        let members = ranges.one("members", &self.members, 2..=MEMBERS_MAX as u64)?;
        let hours = ranges.one("hours", &self.hours, 1..=HOURS_MAX)?;
        let often = self.check_every_hours.as_ref();
        let bytes = self.expect.bytes_per_member_day.as_ref();
        let mut troubles = BTreeMap::new();
        for (trouble, rate) in &self.faults {
            let range = match trouble.unit() {
                Unit::OfMessages | Unit::OfChecks => 0..=900,
                Unit::PerMonth => 0..=3_000,
            };
            troubles.insert(*trouble, ranges.one(trouble.name(), rate, range)?);
        }
        Ok(Scenario {
            name: self.name.get_ref().clone(),
            about: self.about.clone(),
            members,
            watching: ranges.or("watching", self.watching.as_ref(), 0, 0..=members)?,
            hours,
            lives: ranges.or("lives", self.lives.as_ref(), 1, 1..=1_000_000)?,
            short: self.short,
            results_per_month: ranges.or(
                "results_per_month",
                self.results_per_month.as_ref(),
                8,
                0..=3_000,
            )?,
            patterns: ranges.or("patterns", self.patterns.as_ref(), 6, 1..=1_000)?,
            check_every_hours: ranges.or("check_every_hours", often, 168, 1..=HOURS_MAX)?,
            equal_within_s: ranges.one("equal_within_s", &self.expect.equal_within_s, 1..=7_200)?,
            bytes_per_member_day: bytes
                .map(|bytes| ranges.one("bytes_per_member_day", bytes, 1..=u64::MAX / 2))
                .transpose()?,
            troubles,
            attackers: self.attackers.check(ranges)?,
        })
    }
}

impl RawAttackers {
    fn check(&self, ranges: &Ranges<'_>) -> Result<Attackers, FileError> {
        Ok(Attackers {
            liars_permille: ranges.or("liars", self.liars.as_ref(), 0, 0..=LIARS_MAX)?,
            lie_permille: ranges.or("lie", self.lie.as_ref(), 100, 1..=1_000)?,
            lies: self.lies.clone().unwrap_or_else(|| Lie::ALL.to_vec()),
            strangers: ranges.or("strangers", self.strangers.as_ref(), 0, 0..=1_000)?,
            visits_per_month: ranges.or(
                "visits_per_month",
                self.visits_per_month.as_ref(),
                300,
                0..=1_000_000,
            )?,
            removed: ranges.or("removed", self.removed.as_ref(), 0, 0..=100)?,
            thieves: ranges.or("thieves", self.thieves.as_ref(), 0, 0..=100)?,
        })
    }
}

/// The line of a place in a text, counted from one.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    1 + before.filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[scenario]]\nname = \"a\"\nabout = \"b\"\nmembers = 3\nhours = 2\n\
                        expect = { equal_within_s = 60 }\n";

    fn line(text: &str) -> usize {
        match read(text).expect_err("a mistake") {
            FileError::Unreadable { line, .. }
            | FileError::OutOfRange { line, .. }
            | FileError::Twice { line, .. }
            | FileError::BadName { line, .. } => line,
        }
    }

    #[test]
    fn the_shipped_scenarios_can_be_read_and_together_use_every_trouble_and_every_lie() {
        let scenarios = shipped().expect("the shipped file");
        let mut troubles = BTreeSet::new();
        let mut lies = BTreeSet::new();
        for scenario in &scenarios {
            troubles.extend(scenario.troubles.keys().copied());
            if scenario.liars() > 0 {
                lies.extend(scenario.attackers.lies.iter().copied());
            }
        }
        assert_eq!(troubles.len(), 26, "{troubles:?}");
        assert_eq!(lies.len(), Lie::ALL.len());
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        assert!(read(GOOD).is_ok());
        assert_eq!(line(&GOOD.replace("members = 3", "members = 1")), 4);
        assert_eq!(line(&GOOD.replace("members = 3", "members = \"3\"")), 4);
        assert_eq!(line(&GOOD.replace("hours", "ours")), 5);
        assert_eq!(line(&GOOD.replace("\"a\"", "\"A b\"")), 2);
        assert_eq!(line(&format!("{GOOD}\n{GOOD}")), 9);
        assert_eq!(line(&format!("{GOOD}[scenario.faults]\nlos = 3\n")), 8);
        assert_eq!(line(&format!("{GOOD}[scenario.faults]\nloss = 901\n")), 8);
        assert_eq!(
            line(&format!("{GOOD}[scenario.attackers]\nliars = 334\n")),
            8
        );
        assert_eq!(
            line(&format!("{GOOD}[scenario.attackers]\nlies = [\"white\"]\n")),
            8
        );
        assert_eq!(line("[[scenario]\n"), 1);
    }
}
