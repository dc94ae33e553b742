//! For the lab's own tests: where the programs are, and saying aloud why a test cannot run here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::world::{Tools, unavailable};

/// The lab's program (as cargo tells its integration tests) and the hive beside it, built if need be.
pub fn tools(lab: &str) -> Result<Tools> {
    let lab = PathBuf::from(lab);
    let hive = lab.with_file_name("hive");
    build(&hive)?;
    ensure!(hive.is_file(), "{} is missing", hive.display());
    Ok(Tools { lab, hive })
}

/// Whether worlds can be made here; says aloud when not.
pub fn possible() -> bool {
    match unavailable() {
        None => true,
        Some(why) => {
            println!("SKIPPED: {why}");
            eprintln!("SKIPPED: {why}");
            false
        }
    }
}

/// Builds the program under test with the profile and into the folder that these tests were built with, so that
/// it is never an old one.
fn build(hive: &Path) -> Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    let profile = hive.parent().context("a program is in a folder")?;
    let target = profile
        .parent()
        .context("a profile is in a target folder")?;
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--package",
        "hive",
        "--package",
        "hive-helper",
    ]);
    command.arg("--target-dir").arg(target);
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()?;
    ensure!(status.success(), "the program under test does not build");
    Ok(())
}
