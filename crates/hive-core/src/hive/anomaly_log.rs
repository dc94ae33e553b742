//! The log of anomalies on this machine: what was reported, and when a report ended, in the order in which
//! this machine learned of it. It is only added to; the oldest lines go. Nobody else ever sees it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hive::outside::Record;
use crate::hive::views::anomalies::Anomalies;
use crate::hive::views::hive_time;
use crate::hive::{Hive, meta};
use crate::id::{AnomalyId, NodeId};
use crate::time::{Hlc, Now, Span};

/// Lines kept. Source: `research/replication.md` 4.5.
const LINES_MAX: usize = 10_000;

/// How long a line is kept, in hive time. Source: `research/replication.md` 4.5.
const KEPT_FOR: Span = Span::from_secs(90 * 86_400);

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Hive time when this machine learned of it.
    pub at: Hlc,
    /// Which anomaly.
    pub anomaly: AnomalyId,
    /// Whose report.
    pub author: NodeId,
    /// What became of it.
    pub what: LogEvent,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogEvent {
    /// It stands.
    Reported,
    /// It was taken back, retracted, or its author counts no more.
    Ended,
}

/// All lines, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnomalyLog {
    lines: BTreeMap<u64, LogLine>,
    standing: BTreeSet<(AnomalyId, NodeId)>,
}

impl AnomalyLog {
    /// The log as the disk holds it. What stood at its end is known from its lines.
    #[must_use]
    pub fn restored(lines: BTreeMap<u64, LogLine>) -> Self {
        let mut standing = BTreeSet::new();
        for line in lines.values() {
            let report = (line.anomaly, line.author);
            match line.what {
                LogEvent::Reported => standing.insert(report),
                LogEvent::Ended => standing.remove(&report),
            };
        }
        Self { lines, standing }
    }

    /// All lines, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.values()
    }

    /// Adds what changed since the last time; what to write.
    pub fn follow(&mut self, view: &Anomalies, time: Hlc) -> Vec<Record> {
        let now: BTreeSet<(AnomalyId, NodeId)> = view
            .iter()
            .flat_map(|(id, report)| report.dots.iter().map(|dot| (*id, dot.author)))
            .collect();
        let began = now.difference(&self.standing);
        let ended = self.standing.difference(&now);
        let news: Vec<LogLine> = began
            .map(|report| (report, LogEvent::Reported))
            .chain(ended.map(|report| (report, LogEvent::Ended)))
            .map(|((anomaly, author), what)| LogLine {
                at: time,
                anomaly: *anomaly,
                author: *author,
                what,
            })
            .collect();
        self.standing = now;
        let mut records = Vec::new();
        for line in news {
            let last = self.lines.last_key_value();
            let next = last.map_or(0, |(number, _)| number.saturating_add(1));
            records.push(meta::anomaly(next, Some(&line)));
            self.lines.insert(next, line);
        }
        while let Some((number, line)) = self.lines.first_key_value() {
            let old = hive_time::age(time, line.at) > KEPT_FOR;
            let number = *number;
            if !old && self.lines.len() <= LINES_MAX {
                break;
            }
            self.lines.remove(&number);
            records.push(meta::anomaly(number, None));
        }
        records
    }
}

impl Hive {
    /// What became of the reports that this machine heard of.
    #[must_use]
    pub fn anomaly_log(&self) -> &AnomalyLog {
        &self.anomaly_log
    }

    /// Takes an anomaly back as far as this machine may: its own report, or all of them if it is an admin.
    /// Whether there was anything that it may.
    pub fn retract_anomaly(&mut self, now: Now, id: AnomalyId) -> bool {
        let view = &self.advice.anomalies;
        let word = view.retraction(&self.roster, &self.store, self.me, id);
        let may = word.is_some();
        self.publish(now, word.into_iter().collect());
        may
    }

    /// Brings the log up to the views.
    pub(super) fn log_anomalies(&mut self) {
        let time = hive_time::of(&self.roster, &self.store);
        let records = self.anomaly_log.follow(&self.advice.anomalies, time);
        self.keep(records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_a_bound_in_lines_and_in_time() {
        let line = |n: u64| LogLine {
            at: Hlc(n << 16),
            anomaly: AnomalyId(u128::from(n).to_le_bytes()),
            author: NodeId([1; 32]),
            what: LogEvent::Reported,
        };
        let many = (0..20_000).map(|n| (n, line(n))).collect();
        let mut log = AnomalyLog::restored(many);
        log.standing.clear();
        let written = log.follow(&Anomalies::default(), Hlc(20_000 << 16));
        assert_eq!((log.lines().count(), written.len()), (10_000, 10_000));
        assert!(written.iter().all(|record| record.value.is_none()));
        let months_later = Hlc((10_000 + KEPT_FOR.as_ms() + 5_001) << 16);
        log.follow(&Anomalies::default(), months_later);
        assert_eq!(
            log.lines().next().map(|line| line.at),
            Some(Hlc(15_001 << 16))
        );
    }
}
