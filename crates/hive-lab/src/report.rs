//! What every report has in common: its keys, what could not be measured and why, the machine, the time it took.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Figures under their keys (`FIGURES.md`). What could not be measured is `null` and has a reason.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    fields: Map<String, Value>,
    why: Map<String, Value>,
}

impl Figures {
    /// No figures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a figure under its key.
    pub fn put(&mut self, key: &str, value: impl Serialize) {
        match serde_json::to_value(value) {
            Ok(value) => {
                self.fields.insert(key.into(), value);
            }
            Err(error) => self.missing(key, &format!("cannot be written as JSON: {error}")),
        }
    }

    /// Says why there is no figure under this key.
    pub fn missing(&mut self, key: &str, why: &str) {
        self.fields.insert(key.into(), Value::Null);
        self.why.insert(key.into(), why.into());
    }

    /// The figure, or the reason why there is none.
    pub fn put_or(&mut self, key: &str, value: Option<impl Serialize>, why: &str) {
        match value {
            Some(value) => self.put(key, value),
            None => self.missing(key, why),
        }
    }

    /// One JSON object; `why` is there when something is missing.
    pub fn into_value(mut self) -> Value {
        if !self.why.is_empty() {
            self.fields.insert("why".into(), Value::Object(self.why));
        }
        Value::Object(self.fields)
    }
}

/// A report in the making.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    began: Instant,
}

impl Report {
    /// Starts the clock of a report.
    pub fn begin(name: &'static str) -> Self {
        Self {
            name,
            began: Instant::now(),
        }
    }

    /// The whole report as one JSON object.
    pub fn end(self, figures: Figures) -> Value {
        let mut whole = Map::new();
        whole.insert("schema".into(), format!("hive-lab.{}/1", self.name).into());
        whole.insert("commit".into(), commit().map_or(Value::Null, Value::from));
        whole.insert("machine".into(), machine());
        let seconds = (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        whole.insert("seconds".into(), json!(seconds));
        if let Value::Object(fields) = figures.into_value() {
            whole.extend(fields);
        }
        Value::Object(whole)
    }
}

/// The report as aligned lines, one figure each.
pub fn table(report: &Value) -> String {
    let mut lines = Vec::new();
    flatten(report, "", &mut lines);
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines = lines.iter();
    let aligned: Vec<String> = lines
        .map(|(key, value)| format!("{key:width$}  {value}"))
        .collect();
    aligned.join("\n")
}

fn flatten(value: &Value, prefix: &str, lines: &mut Vec<(String, String)>) {
    let joined = |key: &str| match prefix {
        "" => key.to_string(),
        _ => format!("{prefix}.{key}"),
    };
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                flatten(inner, &joined(key), lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, inner) in items.iter().enumerate() {
                flatten(inner, &joined(&index.to_string()), lines);
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(leaf).collect();
            lines.push((prefix.into(), format!("[{}]", items.join(", "))));
        }
        other => lines.push((prefix.into(), leaf(other))),
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    }
}

/// The commit these sources are at, with a plus when they were changed since.
fn commit() -> Option<String> {
    commit_of(Path::new(env!("CARGO_MANIFEST_DIR")))
}

/// The commit that the tree around a folder is at, with a plus when it was changed since.
pub fn commit_of(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        head
    } else {
        format!("{head}+")
    })
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory_kb = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let loads: Vec<f64> = read("/proc/loadavg")
        .split_whitespace()
        .take(3)
        .filter_map(|load| load.parse().ok())
        .collect();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": kernel.trim(),
        "memory_mb": memory_kb.map(|kb| kb / 1024),
        "autogroup": read("/proc/sys/kernel/sched_autogroup_enabled").trim() == "1",
        "load": loads,
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_figure_is_null_and_has_a_reason() {
        let mut figures = Figures::new();
        figures.put("join_ms", 3);
        figures.missing("rss_mb", "no daemon");
        figures.put_or("cpu_percent", None::<f64>, "no window");
        let report = Report::begin("lan").end(figures);
        assert_eq!(report["schema"], "hive-lab.lan/1");
        assert_eq!(report["join_ms"], 3);
        assert!(report["rss_mb"].is_null() && report["why"]["rss_mb"] == "no daemon");
        assert_eq!(report["why"]["cpu_percent"], "no window");
        assert!(report["machine"]["cores"].as_u64() > Some(0));
    }

    #[test]
    fn the_table_names_nested_figures_by_their_path() {
        let text = table(&json!({"a": {"b": 1.5}, "cases": [{"name": "x"}], "ci": [1, 2]}));
        assert!(text.contains("a.b") && text.contains("1.500"));
        assert!(text.contains("cases.0.name") && text.contains("[1, 2]"));
    }
}
