//! The daemon's log: what it says on standard error. Where that is its own file, the file has a bound.
//!
//! The file is renamed when it is full, and a new one takes its place; one old file is kept. Standard error itself is
//! moved, so that a panic and the last error end up there too.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The file in the state folder.
pub(crate) const NAME: &str = "daemon.log";

/// What it was before.
const OLD: &str = "daemon.log.1";

/// A full file. A guess: weeks of an ordinary life, and nothing on any disk.
const BYTES_MAX: u64 = 1_000_000;

/// What each run of a daemon begins with, so that the words of an earlier one are not taken for its own.
const START: &str = "hive daemon starts\n";

/// The code of the error of one that found another one running: no word of that other's end.
const GAVE_WAY: &str = "[daemon.running]";

/// Where a daemon's words go.
pub(crate) struct Log {
    /// Its own file; none when standard error is something else, which is somebody else's to bound.
    path: Option<PathBuf>,
    room: u64,
}

impl Log {
    /// The log of a daemon of this folder.
    pub(crate) fn of(state: &Path) -> Self {
        let path = state.join(NAME);
        let Some(about) = own(&path) else {
            return Self {
                path: None,
                room: u64::MAX,
            };
        };
        let mut log = Self {
            path: Some(path),
            room: BYTES_MAX.saturating_sub(about.len()),
        };
        if let Err(why) = log.write_all(START.as_bytes()) {
            eprintln!("the log cannot be written: {why}");
        }
        log
    }

    /// Makes room. A crash in between leaves the old file alone, and the next start makes the other.
    fn turn(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        // Once for each full file, also where it cannot be done: what there is to say is more than the bound.
        self.room = BYTES_MAX;
        if own(path).is_some() {
            std::fs::rename(path, path.with_file_name(OLD))?;
        }
        let file = open(path)?;
        rustix::stdio::dup2_stdout(&file)?;
        rustix::stdio::dup2_stderr(&file)?;
        Ok(())
    }
}

impl Write for Log {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        let length = words.len() as u64;
        if length > self.room
            && let Err(why) = self.turn()
        {
            eprintln!("the log cannot be turned over: {why}");
        }
        let written = io::stderr().write(words)?;
        self.room = self.room.saturating_sub(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The log, to be written at its end: where two daemons start at once, neither writes over the other's words.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.create(true).append(true).mode(0o600).open(path)
}

/// The file, if standard error is it.
fn own(path: &Path) -> Option<Metadata> {
    let about = path.metadata().ok()?;
    let out = rustix::fs::fstat(rustix::stdio::stderr()).ok()?;
    ((about.dev(), about.ino()) == (out.st_dev, out.st_ino)).then_some(about)
}

/// An error as a daemon printed it, taken apart again. Parts that it did not have are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its stable code.
    pub(crate) code: String,
    /// What happened.
    pub(crate) what: String,
    /// What is known.
    pub(crate) known: String,
    /// What to type.
    pub(crate) try_next: String,
}

impl Said {
    /// All of it in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = self.what.clone();
        for (between, part) in [(": ", &self.known), ("; try: ", &self.try_next)] {
            if !part.is_empty() {
                line.push_str(between);
                line.push_str(part);
            }
        }
        line
    }
}

/// Why the daemon whose log this is ended, when its last run ended by an error.
pub(crate) fn last_error(log: &Path) -> Option<Said> {
    error_in(&String::from_utf8_lossy(&std::fs::read(log).ok()?))
}

/// The same of what was said since the file was so long, in its parts.
pub(crate) fn last_error_since(log: &Path, length: u64) -> Option<Said> {
    error_in(&since(log, length))
}

/// What was said since the file was so long; all of it, where another one has taken its place.
pub(crate) fn since(log: &Path, length: u64) -> String {
    let all = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(length).unwrap_or(usize::MAX);
    String::from_utf8_lossy(all.get(from..).unwrap_or(&all)).into_owned()
}

/// Which part of an error a word is of.
#[derive(Clone, Copy, Debug)]
enum Place {
    What,
    Known,
    Try,
}

fn error_in(text: &str) -> Option<Said> {
    let run = text.rsplit(START).next()?;
    let run = format!("\n{run}");
    let (_, error) = run.rsplit_once("\nerror: ")?;
    if error.contains(GAVE_WAY) {
        return None;
    }
    let mut said = Said::default();
    let mut place = Place::What;
    for word in error.split_whitespace() {
        match place {
            // After the code comes what is known.
            Place::What if word.starts_with('[') && word.ends_with(']') && word.contains('.') => {
                word.trim_matches(['[', ']']).clone_into(&mut said.code);
                place = Place::Known;
                continue;
            }
            Place::Known if word == "try:" => {
                place = Place::Try;
                continue;
            }
            _ => {}
        }
        let part = match place {
            Place::What => &mut said.what,
            Place::Known => &mut said.known,
            Place::Try => &mut said.try_next,
        };
        part.push_str(if part.is_empty() { "" } else { " " });
        part.push_str(word);
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_earlier_run_is_not_that_of_the_last() {
        let first = format!(
            "{START}words\nerror: the disk is full    [daemon.store]\n  nothing is\n  lost\n  try: free space\n"
        );
        let said = Said {
            code: "daemon.store".to_owned(),
            what: "the disk is full".to_owned(),
            known: "nothing is lost".to_owned(),
            try_next: "free space".to_owned(),
        };
        assert_eq!(error_in(&first), Some(said));
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(NAME);
        std::fs::write(&log, &first).expect("written");
        let line = "the disk is full: nothing is lost; try: free space";
        assert_eq!(last_error(&log).map(|it| it.line()).as_deref(), Some(line));
        assert_eq!(error_in(&format!("{first}{START}words\n")), None);
        assert_eq!(error_in(""), None);
    }

    #[test]
    fn what_was_said_since_is_all_where_the_file_is_a_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(NAME);
        std::fs::write(&log, "old new").expect("written");
        assert_eq!(since(&log, 4), "new");
        assert_eq!(since(&log, 400), "old new");
        assert_eq!(last_error_since(&log, 4), None);
    }

    #[test]
    fn a_log_that_is_not_its_own_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(NAME);
        std::fs::write(&log, "somebody's").expect("written");
        let mut ours = Log::of(folder.path());
        ours.room = 0;
        ours.write_all(b"\n").expect("standard error");
        assert_eq!(std::fs::read(&log).expect("there"), b"somebody's");
        assert!(!folder.path().join(OLD).exists());
    }
}
