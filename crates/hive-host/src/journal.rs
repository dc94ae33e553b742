//! The journal of what is on: an intent is durable here before anything is touched.
//!
//! Records are `length u32 | crc32 u32 | postcard`, little-endian. A tail that was cut by a crash is
//! dropped: an intent that was not wholly written was never acted on. A whole record that cannot be read is a later
//! program's: it stays, for that program to put back what it tells of. Whatever else is no record is damage: the file
//! is kept aside as it is, every whole record in it counts, and that something may be lost is told.

mod content;
pub(crate) mod kept;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use hive_core::id::ChangeId;
use hive_core::machine::facts::GroupId;
use hive_core::pattern::Action;

use crate::helper::Thread;
use content::{Content, decode};

/// Above this size a journal with nothing open is started anew. A guess: some thousand small changes.
const COMPACT_BYTES: u64 = 64 * 1024;

/// A longer record cannot be ours. A guess: half a million targets.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No more of a journal is read; what stands behind counts as damage. A guess: sixteen of the longest records, and far
/// more than a journal grows to between two moments with nothing on.
const READ_BYTES_MAX: u64 = 16 * RECORD_BYTES_MAX as u64;

/// One thing that is about to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Its process.
    pub(crate) pid: u32,
    /// The thread; 0 if the target is an autogroup.
    pub(crate) tid: u32,
    /// When the thread started, in ticks since boot.
    pub(crate) start: u64,
    /// The number of the autogroup, which is never used twice in one boot; 0 if it is a thread.
    pub(crate) autogroup: u64,
    /// The value before, in the sense of "what to write to have it back".
    pub(crate) old: i64,
}

impl Target {
    /// The thread that it is.
    pub(crate) fn thread(&self) -> Thread {
        Thread {
            pid: self.pid,
            tid: self.tid,
            start: self.start,
        }
    }
}

/// A thread that carried a value of its own before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Spared {
    /// Its process.
    pub(crate) pid: u32,
    /// The thread.
    pub(crate) tid: u32,
    /// When the thread started, in ticks since boot.
    pub(crate) start: u64,
}

/// One unit of the user's service manager whose weight is about to be set. Before it had none: what has one is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitTarget {
    /// Its name.
    pub(crate) name: String,
    /// The path of its control group.
    pub(crate) path: String,
}

/// One change, from its intent to its restoration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Its name.
    pub(crate) id: ChangeId,
    /// The boot in which it was made; the kernel forgets everything at the next.
    pub(crate) boot: String,
    /// What is done.
    pub(crate) action: Action,
    /// On which jobs.
    pub(crate) groups: Vec<GroupId>,
    /// When, in ticks since boot: what was born later in these jobs inherited the value.
    pub(crate) ticks: u64,
    /// The value that is written.
    pub(crate) new: i64,
    /// On what.
    pub(crate) targets: Vec<Target>,
    /// What in these jobs has its own value and is not ours.
    pub(crate) spared: Vec<Spared>,
    /// The units that are weighed: told by a record of their own, so that a change of an earlier version is read as before.
    #[serde(skip)]
    pub(crate) units: Vec<UnitTarget>,
}

/// One line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// This is about to be done.
    Intent(Change),
    /// And, in the same change, this.
    More {
        /// Which change.
        id: ChangeId,
        /// Further targets.
        targets: Vec<Target>,
    },
    /// It was done and read back.
    Applied(ChangeId),
    /// Nothing of it is left.
    Restored(ChangeId),
    /// These units are about to be weighed for it.
    Units {
        /// Which change.
        id: ChangeId,
        /// Which units.
        units: Vec<UnitTarget>,
    },
}

/// The file.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    bytes: u64,
    /// The whole records that could not be read, as they stand in the file.
    unread: Vec<u8>,
}

/// What an opened journal tells.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file.
    pub(crate) journal: Journal,
    /// The changes that are still on.
    pub(crate) changes: Vec<Change>,
    /// How many journals were found damaged in this boot, this one included: each may have named changes that nobody
    /// knows of any more.
    pub(crate) damaged: u32,
}

impl Journal {
    /// Opens or makes the journal in `folder` and tells what is still on. A damaged one is kept aside first, under the
    /// name of this `boot`, and what is whole in it goes into a new one.
    pub(crate) fn open(folder: &Path, boot: &str) -> io::Result<Opened> {
        let path = folder.join("journal");
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        private(&mut options);
        let mut file = options.open(&path)?;
        let found = read(&mut file)?;
        if found.damaged > 0 {
            kept::keep(folder, &mut file, boot)?;
            file = anew(folder, &found.whole)?;
        } else if (found.whole.len() as u64) < file.metadata()?.len() {
            file.set_len(found.whole.len() as u64)?;
        }
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        let damaged = count(&kept::of_boot(folder, boot)?);
        Ok(Self::with(folder, file, found, damaged))
    }

    /// The same where nothing is to be changed, not even a tail that was cut: what it opens cannot be written.
    pub(crate) fn look(folder: &Path, boot: &str) -> io::Result<Opened> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(folder.join("journal"))?;
        let found = read(&mut file)?;
        let damaged = count(&kept::of_boot(folder, boot)?) + u32::from(found.damaged > 0);
        Ok(Self::with(folder, file, found, damaged))
    }

    fn with(folder: &Path, file: File, found: Content, damaged: u32) -> Opened {
        let journal = Self {
            folder: folder.to_path_buf(),
            file,
            bytes: found.whole.len() as u64,
            unread: found.unread,
        };
        Opened {
            journal,
            changes: replay(found.records),
            damaged,
        }
    }

    /// Writes a record and waits until it is on the disk.
    pub(crate) fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = encode(record)?;
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record would hide every later one.
                self.file.set_len(self.bytes)?;
                Err(error)
            }
        }
    }

    /// Starts the file anew, with what could not be read, if it has grown long. To be called only when nothing is on.
    pub(crate) fn compact(&mut self) -> io::Result<()> {
        let kept = self.unread.len() as u64;
        if self.bytes <= COMPACT_BYTES + kept {
            return Ok(());
        }
        self.file = anew(&self.folder, &self.unread)?;
        self.bytes = kept;
        Ok(())
    }
}

/// All that is in a journal.
fn read(file: &mut File) -> io::Result<Content> {
    let bytes = file.metadata()?.len();
    let mut content = Vec::new();
    file.take(READ_BYTES_MAX).read_to_end(&mut content)?;
    let mut found = decode(&content);
    let behind = bytes.saturating_sub(content.len() as u64);
    found.damaged = found
        .damaged
        .saturating_add(usize::try_from(behind).unwrap_or(usize::MAX));
    Ok(found)
}

/// Puts a new journal with these records in the old one's place.
fn anew(folder: &Path, whole: &[u8]) -> io::Result<File> {
    let fresh = folder.join("journal.new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create_new(true);
    private(&mut options);
    let mut file = options.open(&fresh)?;
    file.write_all(whole)?;
    file.sync_all()?;
    fs::rename(&fresh, folder.join("journal"))?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn count(kept: &[PathBuf]) -> u32 {
    u32::try_from(kept.len()).unwrap_or(u32::MAX)
}

/// Readable by this user only, and never through a symbolic link.
fn private(options: &mut OpenOptions) {
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    framed(&postcard::to_allocvec(record).map_err(io::Error::other)?)
}

fn framed(body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    if body.len() > RECORD_BYTES_MAX {
        return Err(io::Error::other("a change of too many targets"));
    }
    let mut bytes = Vec::with_capacity(body.len() + 8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn replay(records: Vec<Record>) -> Vec<Change> {
    let mut open: BTreeMap<ChangeId, Change> = BTreeMap::new();
    for record in records {
        match record {
            Record::Intent(change) => {
                open.insert(change.id, change);
            }
            Record::More { id, targets } => {
                if let Some(change) = open.get_mut(&id) {
                    change.targets.extend(targets);
                }
            }
            Record::Units { id, units } => {
                if let Some(change) = open.get_mut(&id) {
                    change.units.extend(units);
                }
            }
            Record::Applied(_) => {}
            Record::Restored(id) => {
                open.remove(&id);
            }
        }
    }
    open.into_values().collect()
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
