//! What wants the whole machine: real builds, again and again, or loops that never sleep.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::work::{self, Project};

/// Crates of the Rust project: more than any sensible number of jobs.
const CRATES: usize = 8;

/// Functions in each: some seconds of `rustc` on the machine of `research/optimizer.md` 1 (a guess until measured).
const FUNCTIONS: usize = 160;

/// What competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// `make -j` of C files.
    Make,
    /// `cargo build` of Rust crates without dependencies.
    Cargo,
    /// Four loops that never sleep, as in `research/optimizer.md` 4.1.
    Spinners,
}

impl Load {
    /// Why it cannot run here; `None` when it can.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Make => work::no_build_tools(),
            Self::Cargo => cargo().err().map(|why| format!("{why:#}")),
            Self::Spinners => None,
        }
    }

    /// Writes the sources into a folder; tells the words that start it; builds get two jobs more than there are
    /// cores. `make` is what drives a C build.
    pub fn prepare(self, folder: &Path, make: &str) -> Result<Vec<String>> {
        match self {
            Self::Make => Ok(Project::write(folder, 1)?.build_for_ever(make)),
            Self::Spinners => Ok(work::spinners()),
            Self::Cargo => {
                write_crates(folder)?;
                let cargo = cargo()?;
                let (tools, cargo) = (
                    cargo.parent().context("it is in a folder")?.display(),
                    cargo.display(),
                );
                let script = format!(
                    "cd {} && PATH={tools}:$PATH && while :; do {cargo} clean -q; {cargo} build -q --offline -j{}; done",
                    folder.display(),
                    work::jobs()
                );
                Ok(vec!["/bin/sh".into(), "-c".into(), script])
            }
        }
    }
}

/// The cargo of the toolchain that is in use: a computer of the lab has a home of its own, in which `rustup` finds none.
fn cargo() -> Result<PathBuf> {
    let told = Command::new("rustc").args(["--print", "sysroot"]).output();
    let told = told.context("no Rust compiler here")?;
    ensure!(told.status.success(), "rustc does not tell where it is");
    let root = String::from_utf8(told.stdout)?;
    let cargo = PathBuf::from(root.trim()).join("bin/cargo");
    ensure!(cargo.is_file(), "no cargo beside rustc");
    Ok(cargo)
}

fn write_crates(folder: &Path) -> Result<()> {
    for index in 0..CRATES {
        let place = folder.join(format!("part{index}/src"));
        fs::create_dir_all(&place)?;
        let manifest =
            format!("[package]\nname = \"part{index}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        fs::write(folder.join(format!("part{index}/Cargo.toml")), manifest)?;
        fs::write(place.join("lib.rs"), rust_source(index, FUNCTIONS))?;
    }
    let workspace =
        "[workspace]\nresolver = \"2\"\nmembers = [\"part*\"]\n[profile.dev]\nopt-level = 1\n";
    fs::write(folder.join("Cargo.toml"), workspace).context("the workspace cannot be written")
}

/// One Rust file of many small functions with closures, maps and matches.
fn rust_source(seed: usize, functions: usize) -> String {
    let mut text = String::from("use std::collections::BTreeMap;\n");
    for index in 0..functions {
        let (a, b) = (seed * 31 + index * 7 + 3, seed * 17 + index * 13 + 5);
        // Writing to a string cannot fail.
        let written = write!(
            text,
            "pub fn work{index}(words: &[String]) -> Vec<(u64, String)> {{\n\
             let mut seen: BTreeMap<u64, Vec<&str>> = BTreeMap::new();\n\
             for (place, word) in words.iter().enumerate() {{\n\
             let key = word.bytes().fold({a}u64, |sum, byte| sum.wrapping_mul({b}).wrapping_add(u64::from(byte)));\n\
             match key % 5 {{ 0 => seen.entry(key).or_default().push(word), 1 => {{ seen.remove(&(place as u64)); }}\n\
             2 => seen.entry(key / 3).or_default().extend(word.split('{c}')), _ => {{}} }} }}\n\
             let mut all: Vec<(u64, String)> = seen.into_iter().map(|(key, words)| (key, words.join(\"-\"))).collect();\n\
             all.sort_by(|one, two| two.1.cmp(&one.1).then(one.0.cmp(&two.0)));\n\
             all.retain(|(key, _)| key % {a} != {b} % 3); all }}\n",
            c = char::from(b'a' + u8::try_from(index % 26).unwrap_or(0)),
        );
        debug_assert!(written.is_ok());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_compile() {
        if Load::Cargo.missing().is_some() {
            println!("SKIPPED: no Rust compiler here");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lib.rs");
        fs::write(&file, rust_source(1, 3)).expect("written");
        let status = Command::new("rustc")
            .args([
                "--edition=2021",
                "--crate-type=lib",
                "--emit=metadata",
                "--out-dir",
            ])
            .arg(folder.path())
            .arg(&file)
            .status()
            .expect("rustc runs");
        assert!(status.success());
    }
}
