//! Tells the program the commit it is built from, so that its figures can be traced.

use std::process::Command;

fn main() {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    if let Ok(output) = output
        && output.status.success()
        && let Ok(commit) = String::from_utf8(output.stdout)
    {
        println!("cargo::rustc-env=HIVE_COMMIT={}", commit.trim());
    }
    // A new commit changes this log; without a repository the file is missing and is looked for each time.
    let log = Command::new("git")
        .args(["rev-parse", "--git-path", "logs/HEAD"])
        .output();
    if let Ok(log) = log
        && log.status.success()
    {
        println!(
            "cargo::rerun-if-changed={}",
            String::from_utf8_lossy(&log.stdout).trim()
        );
    }
}
