//! Real programs that somebody waits for, each with a clock of its own: a paced loop, a painter of pictures, a browser
//! that renders an animation, a language server that answers while somebody types, a build.
//!
//! All write the same lines, `due took` in microseconds, the first on the boot clock; [`crate::work::turns`] reads them.

pub mod browser;
pub mod build;
pub mod language;
pub mod load;

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::work;
use crate::world::on_path;

/// The program in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Front {
    /// Wakes every 5 ms and works half a millisecond; its time: from due to done.
    Ticker,
    /// Paints 60 pictures a second; its time: from due to painted.
    Painter,
    /// Headless Chromium renders an animation; its time: from one picture to the next.
    Browser,
    /// `clangd` completes what somebody types; its time: from the key to the answer.
    LanguageServer,
    /// `make -j` of a project of C files, again and again; its time: that of a whole build.
    Build,
}

impl Front {
    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticker => "ticker",
            Self::Painter => "painter",
            Self::Browser => "browser",
            Self::LanguageServer => "language_server",
            Self::Build => "build",
        }
    }

    /// Why it cannot be started here; `None` when it can.
    pub fn missing(self) -> Option<String> {
        let (tool, package) = match self {
            Self::Ticker | Self::Painter => return None,
            Self::Build => return work::no_build_tools(),
            Self::Browser => (browser::PROGRAM, "chromium"),
            Self::LanguageServer => (language::PROGRAM, "clangd"),
        };
        (!on_path(tool)).then(|| format!("{tool} is not installed (Debian: apt install {package})"))
    }

    /// Writes what it needs into a folder of its own; tells the words after the lab's own name that start it.
    pub fn prepare(self, folder: &Path, out: &Path) -> Result<Vec<String>> {
        let out = out.display().to_string();
        let here = folder.display().to_string();
        Ok(match self {
            Self::Ticker => vec!["__ticker".into(), out],
            Self::Painter => vec!["__painter".into(), out],
            Self::Browser => {
                browser::prepare(folder)?;
                vec!["__browser".into(), here, out]
            }
            Self::LanguageServer => {
                language::prepare(folder)?;
                vec!["__language_client".into(), here, out]
            }
            Self::Build => {
                build::prepare(folder)?;
                vec!["__builder".into(), here, out]
            }
        })
    }

    /// How long it takes to be at work: compiling its first file, drawing its first picture.
    pub fn warm_up_s(self) -> u64 {
        match self {
            Self::Ticker | Self::Painter => 0,
            Self::Browser | Self::LanguageServer | Self::Build => 5,
        }
    }
}
