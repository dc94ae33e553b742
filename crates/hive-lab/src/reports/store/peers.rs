//! Other engines on the same workload, by a program of its own (`bench-peers`) that nobody ships.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::reports::store::workload::Workload;

/// How the program is built.
pub(in crate::reports) const BUILD: &str =
    "cargo build --release --manifest-path bench-peers/Cargo.toml";

/// The other engines' rows, or why there are none.
pub(super) fn measure(workload: &Workload, rounds: usize) -> Result<Result<Vec<Value>, String>> {
    let program = program();
    if !program.is_file() {
        return Ok(Err(format!("the other engines are not built: {BUILD}")));
    }
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("bench-peers cannot be started")?;
    let input = serde_json::to_vec(&json!({ "rounds": rounds, "workload": workload }))?;
    // It reads everything before it writes anything.
    child.stdin.take().context("no input")?.write_all(&input)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "bench-peers failed");
    Ok(Ok(serde_json::from_slice(&output.stdout)?))
}

/// Where it then is.
pub(in crate::reports) fn program() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    crates.join("bench-peers/target/release/bench-peers")
}
