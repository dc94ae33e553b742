//! Somebody builds a project of C files with `make` in the foreground, again and again: the time of each whole build.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{clock, work};

/// Files of the project: three for each of four compilers.
const FILES: u64 = 12;

/// Functions in each: a whole build takes some seconds beside a busy background on two cores, so that a window of the
/// report holds more than one (a guess).
const FUNCTIONS: usize = 10;

/// Writes the project.
pub fn prepare(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for index in 0..FILES {
        let source = work::source(index + 1, FUNCTIONS);
        fs::write(folder.join(format!("unit{index}.c")), source)?;
    }
    fs::write(folder.join("Makefile"), work::MAKEFILE).context("the project cannot be written")
}

/// Builds for ever and writes down when each build began and how long it took.
pub fn build_on(folder: &Path, out: &Path) -> Result<()> {
    let mut file = File::create(out)?;
    let jobs = format!("-j{}", work::jobs());
    loop {
        make(folder, &["clean"])?;
        let began = clock::boot_us();
        make(folder, &[&jobs, "all"])?;
        // One write: who reads meanwhile finds whole lines.
        let line = format!("{began} {}\n", clock::boot_us().saturating_sub(began));
        file.write_all(line.as_bytes())?;
    }
}

fn make(folder: &Path, words: &[&str]) -> Result<()> {
    let mut make = Command::new("make");
    let status = make.arg("-s").arg("-C").arg(folder).args(words).status()?;
    ensure!(status.success(), "make {} failed", words.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_built_anew_after_clean() {
        if work::no_build_tools().is_some() {
            println!("SKIPPED: no C compiler here");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path()).expect("written");
        let objects = || (0..FILES).filter(|it| folder.path().join(format!("unit{it}.o")).exists());
        make(folder.path(), &["-j2", "all"]).expect("built");
        assert_eq!(objects().count(), 12);
        make(folder.path(), &["clean"]).expect("cleaned");
        assert_eq!(objects().count(), 0);
    }
}
