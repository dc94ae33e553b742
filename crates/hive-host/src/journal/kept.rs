//! Damaged journals, kept beside the good one: whoever looks finds what was there, and it is told of them until the
//! machine restarts, which ends whatever they named.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::private;

/// So many are kept; of more the oldest goes, those of earlier boots first. A guess: one is told of like many.
const KEPT_MAX: usize = 4;

/// One of them. Sorted by age within a boot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    number: u32,
    /// The boot in which it was found; empty where that has no name.
    boot: String,
}

impl Kept {
    fn parse(name: &OsStr) -> Option<Self> {
        let (boot, number) = name
            .to_str()?
            .strip_prefix("journal.damaged-")?
            .rsplit_once('-')?;
        Some(Self {
            number: number.parse().ok()?,
            boot: boot.to_owned(),
        })
    }

    fn is_of(&self, boot: &str) -> bool {
        boot.is_empty() || self.boot.is_empty() || self.boot == boot
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("journal.damaged-{}-{}", self.boot, self.number))
    }
}

fn all(folder: &Path) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.extend(Kept::parse(&entry?.file_name()));
    }
    found.sort();
    Ok(found)
}

/// Those that were found damaged in this boot.
pub(crate) fn of_boot(folder: &Path, boot: &str) -> io::Result<Vec<PathBuf>> {
    let found = all(folder)?.into_iter().filter(|it| it.is_of(boot));
    Ok(found.map(|it| it.path(folder)).collect())
}

/// Keeps `journal`, which is the file `journal` of the folder, under a name of its own. It is durable when this returns.
pub(super) fn keep(folder: &Path, journal: &mut File, boot: &str) -> io::Result<()> {
    let mut there = all(folder)?;
    let (own, mut is_kept) = (journal.metadata()?, false);
    for kept in &there {
        // A crash between this and the fresh journal leaves both names to one file.
        let meta = fs::symlink_metadata(kept.path(folder))?;
        is_kept |= (meta.dev(), meta.ino()) == (own.dev(), own.ino());
    }
    if !is_kept {
        let new = Kept {
            number: there.last().map_or(1, |last| last.number.saturating_add(1)),
            boot: boot.to_owned(),
        };
        let path = new.path(folder);
        if fs::hard_link(folder.join("journal"), &path).is_err() {
            copy(journal, &path)?;
        }
        there.push(new);
    }
    File::open(folder)?.sync_all()?;
    forget_old(folder, there, boot)
}

/// For a file system that knows one name per file.
fn copy(journal: &mut File, path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    let mut kept = options.open(path)?;
    journal.rewind()?;
    let copied = io::copy(journal, &mut kept).and_then(|_| kept.sync_all());
    // Half a copy would be taken for one.
    copied.or_else(|why| fs::remove_file(path).and(Err(why)))
}

fn forget_old(folder: &Path, mut there: Vec<Kept>, boot: &str) -> io::Result<()> {
    there.sort_by_key(|it| (it.is_of(boot), it.number));
    let surplus = there.len().saturating_sub(KEPT_MAX);
    for old in &there[..surplus] {
        fs::remove_file(old.path(folder))?;
    }
    Ok(())
}
