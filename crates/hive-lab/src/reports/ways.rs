//! How long frames are on their way from one member's node to the next, as the members' logs tell it: the transport,
//! the kernel and the waiting for a processor included.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::stats;

/// What a member logs to tell it.
pub const LOG: &str = "hive_mind::ways=trace";

/// What its lines hold.
const MARK: &str = "hive_mind::ways: ";

/// A frame that has not come by then was lost with its connection, and what comes later was said again. The shell
/// cuts off a peer that is silent for a second or two.
const LOST_AFTER_US: u64 = 2_000_000;

/// Parts of equal size into which the ways are divided.
const PARTS: u32 = 100;

/// All ways, in real microseconds, the shortest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ways(Vec<f64>);

/// One line of a log.
struct Told<'a> {
    at_us: u64,
    sent: bool,
    from: &'a str,
    to: &'a str,
    frame: &'a str,
}

impl Ways {
    /// The ways of frames that were sent from this moment of the boot clock on; lanes are ordered, so what is the same
    /// came in the order in which it was sent.
    pub fn of(logs: &[String], since_us: u64) -> Self {
        let lines = logs.iter().flat_map(|log| log.lines()).filter_map(parse);
        let mut told: Vec<Told<'_>> = lines.filter(|line| line.at_us >= since_us).collect();
        // Within a microsecond the sending comes first.
        told.sort_by_key(|line| (line.at_us, !line.sent));
        let mut under_way: BTreeMap<_, VecDeque<u64>> = BTreeMap::new();
        let mut ways = Vec::new();
        for line in told {
            let which = (line.from, line.to, line.frame);
            if line.sent {
                under_way.entry(which).or_default().push_back(line.at_us);
                continue;
            }
            let Some(sendings) = under_way.get_mut(&which) else {
                continue;
            };
            sendings.retain(|sent| line.at_us - sent <= LOST_AFTER_US);
            if let Some(sent) = sendings.pop_front() {
                let us = u32::try_from(line.at_us - sent).unwrap_or(u32::MAX);
                ways.push(f64::from(us));
            }
        }
        ways.sort_by(f64::total_cmp);
        Self(ways)
    }

    /// The same ways in the time of nodes whose clocks run faster, as the simulator is told them: points that divide
    /// them into equal parts. `None` where nothing was seen.
    pub fn in_their_time(&self, factor: u32) -> Option<String> {
        let points = (0..=PARTS).map(|part| {
            let us = stats::percentile(&self.0, f64::from(part) / f64::from(PARTS))?;
            Some(format!("{:.0}", us * f64::from(factor)))
        });
        let points: Option<Vec<String>> = points.collect();
        Some(points?.join(","))
    }

    /// For people, in real milliseconds.
    pub fn view(&self) -> Value {
        let ms = |p: f64| stats::percentile(&self.0, p).map(|us| us / 1_000.0);
        json!({ "n": self.0.len(), "p10": ms(0.1), "p50": ms(0.5), "p90": ms(0.9), "p99": ms(0.99) })
    }
}

fn parse(line: &str) -> Option<Told<'_>> {
    let (_, told) = line.split_once(MARK)?;
    let mut words = told.split_whitespace();
    let sent = match words.next()? {
        "sent" => true,
        "came" => false,
        _ => return None,
    };
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
    Some(Told {
        at_us: value("at_us")?.parse().ok()?,
        sent,
        from: value("from")?,
        to: value("to")?,
        frame: value("frame")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: &str, at_us: u64, from: &str, to: &str, frame: &str) -> String {
        let time = "2026-01-01T00:00:00.000000Z TRACE";
        format!("{time} {MARK}{what} at_us={at_us} from={from} to={to} frame={frame}")
    }

    #[test]
    fn each_frame_is_found_at_the_other_end() {
        let one = [
            line("sent", 50, "a", "b", "7"),
            line("sent", 1_000, "a", "b", "7"),
            line("sent", 1_010, "a", "b", "7"),
            line("sent", 1_020, "a", "b", "8"),
            "something else, hive_mind::net: ended".to_owned(),
        ];
        let two = [
            line("came", 60, "a", "b", "7"),
            line("came", 1_100, "a", "b", "7"),
            line("came", 1_310, "a", "b", "7"),
            // Lost, and said again by somebody who did not tell.
            line("came", 3_000_000, "a", "b", "8"),
            line("came", 1_100, "c", "b", "8"),
        ];
        let logs = [one.join("\n"), two.join("\n")];
        let ways = Ways::of(&logs, 1_000);
        assert_eq!(ways.0, [100.0, 300.0]);
        let points = ways.in_their_time(72).expect("two ways");
        let points: Vec<&str> = points.split(',').collect();
        assert_eq!(points.len(), 101);
        assert_eq!((points[0], points[100]), ("7200", "21600"));
        assert_eq!(ways.view()["p50"], 0.1);
        assert_eq!(Ways::of(&[], 0).in_their_time(72), None);
    }
}
