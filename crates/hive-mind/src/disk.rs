//! The store: all records at start, batches while running, each durable before it is answered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use hive_core::hive::outside::{Record, Table};
use hive_core::id::SaveId;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

/// The store's format. A newer one is refused, never guessed at.
const FORMAT: u64 = 1;

const FORMAT_TABLE: TableDefinition<&str, u64> = TableDefinition::new("format");

/// Saves taken together into one transaction at most. A guess: what piles up during one slow write.
const BATCH_MAX: usize = 64;

/// The page cache. A guess: the store of a small hive is smaller; redb's default of 1 GiB is no daemon's.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// What a node needs of a disk.
pub(crate) trait Store: Send {
    /// All records, in any order.
    fn load(&mut self) -> Result<Vec<Record>, StoreError>;
    /// Writes all of them or none, durably.
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError>;
}

/// Why the store did not do it. What was durable before still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// Another process has it open.
    #[error("another process uses it")]
    InUse,
    /// A newer program wrote it.
    #[error("it has format {found}, this program knows up to {FORMAT}")]
    Newer {
        /// Its format.
        found: u64,
    },
    /// There is no room.
    #[error("the disk is full; nothing that was saved is lost")]
    Full,
    /// The disk takes no writes.
    #[error("the disk is read-only; nothing that was saved is lost")]
    ReadOnly,
    /// The file or its folder is not this user's to write.
    #[error("this user may not write it; nothing that was saved is lost")]
    NotAllowed,
    /// The disk did not do it, for a reason of its own. Whether it still can be read is not known.
    #[error("the disk gave an error ({0}); the store was left as it was")]
    Disk(std::io::Error),
    /// The file holds no store, or not the one that was written.
    #[error("it is damaged or no store ({0})")]
    Damaged(Box<redb::Error>),
    /// The same, so that reading it broke off.
    #[error("it is damaged (it could not be read to its end)")]
    Unreadable,
}

impl StoreError {
    /// What a person can do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::InUse => "hive status",
            Self::Newer { .. } => "use the newer program",
            Self::Full => "free space, then: hive up",
            Self::ReadOnly => "make the disk writable, then: hive up",
            Self::NotAllowed => "hive doctor   (names what belongs to whom)",
            Self::Disk(_) => "look at the disk (dmesg), then: hive up",
            Self::Damaged(_) | Self::Unreadable => {
                "restore it, then: hive up   (names the other ways)"
            }
        }
    }
}

/// The store in a file.
pub(crate) struct RedbStore(Database);

/// The same in memory, for tests.
#[derive(Default)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the twin that tests compare with")
)]
pub(crate) struct MemoryStore(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

/// The twin of a disk that fills up after some commits.
#[cfg(test)]
pub(crate) struct FullStore {
    twin: MemoryStore,
    commits_left: usize,
}

/// A thread that commits in order.
pub(crate) struct Disk {
    jobs: Option<mpsc::Sender<(SaveId, Vec<Record>)>>,
    thread: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Opens or makes the file.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
                other => failed(other),
            })?;
        let store = Self(database);
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let transaction = self.0.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(FORMAT_TABLE).map_err(failed)?;
            let found = table
                .get("format")
                .map_err(failed)?
                .map(|value| value.value());
            match found {
                Some(found) if found > FORMAT => return Err(StoreError::Newer { found }),
                Some(_) => {}
                None => {
                    table.insert("format", FORMAT).map_err(failed)?;
                }
            }
            for kind in TABLES {
                transaction.open_table(definition(kind)).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        let mut records = Vec::new();
        for kind in TABLES {
            let table = transaction.open_table(definition(kind)).map_err(failed)?;
            for row in table.iter().map_err(failed)? {
                let (key, value) = row.map_err(failed)?;
                records.push(Record {
                    table: kind,
                    key: key.value().to_vec(),
                    value: Some(value.value().to_vec()),
                });
            }
        }
        Ok(records)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut transaction = self.0.begin_write().map_err(failed)?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(failed)?;
        // A crash must never leave the newer root in place of the older one before all of it is on the disk.
        transaction.set_two_phase_commit(true);
        for kind in TABLES {
            let mine = records.iter().filter(|record| record.table == kind);
            let mut table = transaction.open_table(definition(kind)).map_err(failed)?;
            for record in mine {
                match &record.value {
                    Some(value) => table.insert(&record.key[..], &value[..]).map(drop),
                    None => table.remove(&record.key[..]).map(drop),
                }
                .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        Ok(self
            .0
            .iter()
            .map(|((table, key), value)| Record {
                table: *table,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect())
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            let place = (record.table, record.key.clone());
            match &record.value {
                Some(value) => self.0.insert(place, value.clone()),
                None => self.0.remove(&place),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
impl FullStore {
    pub(crate) fn after(commits_left: usize) -> Self {
        Self {
            twin: MemoryStore::default(),
            commits_left,
        }
    }
}

#[cfg(test)]
impl Store for FullStore {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        self.twin.load()
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.commits_left = self
            .commits_left
            .checked_sub(1)
            .ok_or_else(|| failed(redb::Error::Io(std::io::ErrorKind::StorageFull.into())))?;
        self.twin.commit(records)
    }
}

impl Disk {
    /// Starts the thread. `saved` is called with each number once it is durable, in order. A failed write
    /// goes to `failed` and is the last: nothing is answered any more, so that nothing unsaved is ever said.
    pub(crate) fn start(
        mut store: Box<dyn Store>,
        saved: impl Fn(SaveId) + Send + 'static,
        failed: impl FnOnce(StoreError) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<(SaveId, Vec<Record>)>();
        let thread = std::thread::Builder::new()
            .name("hive-disk".into())
            .spawn(move || {
                while let Ok((first, mut records)) = inbox.recv() {
                    let mut ids = vec![first];
                    while ids.len() < BATCH_MAX
                        && let Ok((id, more)) = inbox.try_recv()
                    {
                        ids.push(id);
                        records.extend(more);
                    }
                    if let Err(error) = store.commit(&records) {
                        failed(error);
                        return;
                    }
                    ids.into_iter().for_each(&saved);
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Hands over one batch.
    pub(crate) fn save(&self, id: SaveId, records: Vec<Record>) {
        let lost = self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send((id, records)).is_err());
        if lost {
            tracing::debug!("a batch was not saved: the disk thread has ended");
        }
    }

    /// Waits until everything handed over is durable. Blocks.
    pub(crate) fn finish(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the disk thread panicked");
        }
    }
}

const TABLES: [Table; 4] = [Table::Meta, Table::Heads, Table::Entries, Table::Ledger];

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(match table {
        Table::Meta => "meta",
        Table::Heads => "heads",
        Table::Entries => "entries",
        Table::Ledger => "ledger",
    })
}

/// Tells a disk that did not do it from a file that is not what it should be: only the second one is given up.
pub(crate) fn failed(error: impl Into<redb::Error>) -> StoreError {
    use std::io::ErrorKind;
    match error.into() {
        redb::Error::Io(why) => match why.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
            ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
            ErrorKind::PermissionDenied => StoreError::NotAllowed,
            // What redb says itself of a file that is no store, or whose end is missing.
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                StoreError::Damaged(Box::new(why.into()))
            }
            _ => StoreError::Disk(why),
        },
        other => StoreError::Damaged(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(table: Table, key: u8, value: Option<u8>) -> Record {
        Record {
            table,
            key: vec![key],
            value: value.map(|byte| vec![byte; 3]),
        }
    }

    fn sorted(store: &mut dyn Store) -> Vec<(Table, Vec<u8>, Option<Vec<u8>>)> {
        let mut all: Vec<_> = store
            .load()
            .expect("loads")
            .into_iter()
            .map(|record| (record.table, record.key, record.value))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn the_file_and_its_twin_hold_the_same_and_the_file_survives_being_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        let mut twin = MemoryStore::default();
        let batches = [
            vec![
                record(Table::Meta, 1, Some(1)),
                record(Table::Heads, 1, Some(2)),
            ],
            vec![
                record(Table::Meta, 1, None),
                record(Table::Entries, 9, Some(3)),
                record(Table::Ledger, 9, Some(4)),
            ],
            vec![record(Table::Entries, 9, Some(5))],
        ];
        {
            let mut file = RedbStore::open(&path).expect("new");
            assert!(matches!(RedbStore::open(&path), Err(StoreError::InUse)));
            for batch in &batches {
                file.commit(batch).expect("commits");
                twin.commit(batch).expect("commits");
                assert_eq!(sorted(&mut file), sorted(&mut twin));
            }
        }
        let mut again = RedbStore::open(&path).expect("reopens");
        assert_eq!(sorted(&mut again), sorted(&mut twin));
        assert_eq!(sorted(&mut again).len(), 3);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        {
            let store = RedbStore::open(&path).expect("new");
            let transaction = store.0.begin_write().expect("begins");
            transaction
                .open_table(FORMAT_TABLE)
                .expect("there")
                .insert("format", FORMAT + 1)
                .expect("written");
            transaction.commit().expect("commits");
        }
        assert!(matches!(
            RedbStore::open(&path),
            Err(StoreError::Newer { found }) if found == FORMAT + 1
        ));
    }

    #[test]
    fn saves_are_answered_in_order() {
        let (answers, heard) = mpsc::channel();
        let disk = Disk::start(
            Box::new(MemoryStore::default()),
            move |id| answers.send(id).expect("somebody listens"),
            |error| panic!("{error}"),
        )
        .expect("starts");
        for id in 0..200 {
            disk.save(SaveId(id), vec![record(Table::Meta, 0, Some(0))]);
        }
        disk.finish();
        let all: Vec<u64> = heard.iter().map(|id| id.0).collect();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_failed_write_is_told_once_and_nothing_is_answered_after_it() {
        let (answers, heard) = mpsc::channel();
        let (failures, failed) = mpsc::channel();
        let disk = Disk::start(
            Box::new(FullStore::after(0)),
            move |id| answers.send(id).expect("somebody listens"),
            move |error| failures.send(error.to_string()).expect("somebody listens"),
        )
        .expect("starts");
        for id in 0..3 {
            disk.save(SaveId(id), vec![record(Table::Meta, 0, Some(0))]);
        }
        disk.finish();
        assert_eq!(heard.iter().count(), 0);
        let told: Vec<String> = failed.iter().collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("the disk is full"), "{told:?}");
    }

    #[test]
    fn a_disk_that_does_not_do_it_is_never_told_as_a_damaged_store() {
        let numbers = |number| failed(redb::Error::Io(std::io::Error::from_raw_os_error(number)));
        for (number, word) in [
            (rustix::io::Errno::NOSPC, "full"),
            (rustix::io::Errno::DQUOT, "full"),
            (rustix::io::Errno::ROFS, "read-only"),
            (rustix::io::Errno::ACCESS, "may not write"),
            (rustix::io::Errno::PERM, "may not write"),
            (rustix::io::Errno::IO, "gave an error"),
        ] {
            let error = numbers(number.raw_os_error());
            let told = format!("{error}; {}", error.remedy());
            assert!(told.contains(word), "{told}");
            assert!(
                !told.contains("damaged") && !told.contains("leave"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_file_that_is_no_store_or_has_lost_its_end_is_told_as_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        let is_damaged = |what: &str| match RedbStore::open(&path).map(drop) {
            Err(error @ StoreError::Damaged(_)) => {
                assert!(error.remedy().contains("restore it"), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        };
        std::fs::write(&path, "no store at all, but a text. ".repeat(500)).expect("written");
        is_damaged("a text");
        std::fs::remove_file(&path).expect("there");
        drop(RedbStore::open(&path).expect("new"));
        let file = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("there");
        file.set_len(5_000).expect("cut");
        is_damaged("a store without its end");
    }
}
