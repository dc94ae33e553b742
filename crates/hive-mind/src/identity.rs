//! Who this machine is: a key and a store that belong together. Where one of them is missing, or is another's, the
//! start is refused and nothing is made in its place: a new store under an old key would be a hive of its own under
//! the name of a member, and a new key cannot say a word in an old store.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::path::Path;

use hive_core::hive::outside::{Record, Table};
use hive_core::hive::owner;
use hive_core::signed::KeyPair;

use crate::disk::{self, Store, StoreError};
use crate::driver::fault;
use crate::key::{self, KEY, Secret};
use crate::options::StartError;
use crate::paths::Paths;

/// What a node starts from.
pub(crate) struct Identity {
    /// Its key.
    pub(crate) secret: Secret,
    /// The key that this one took over from.
    pub(crate) before: Option<Secret>,
    /// Its store.
    pub(crate) store: Box<dyn Store>,
    /// All that is in it.
    pub(crate) restored: Vec<Record>,
}

/// Key and store of this folder; both are made at the first start. `without_store`: go on with a new store where only
/// the key was left.
pub(crate) fn settled(
    paths: &Paths,
    without_store: bool,
    open: impl FnOnce(&Path) -> Result<Box<dyn Store>, StoreError>,
) -> Result<Identity, StartError> {
    let held = key::load(&paths.state)?;
    // Before it is opened, which makes it.
    let is_bare = held.is_some() && paths.has_lost_store();
    if is_bare && !without_store {
        return Err(StartError::StoreLost(paths.store()));
    }
    if is_bare || held.is_none() {
        make_way(&paths.store()).map_err(|why| not_opened(paths, &why))?;
    }
    let (store, restored) = opened(paths, open)?;
    // Another start may have filled it meanwhile, and ended.
    let is_bare = is_bare && restored.is_empty();
    let settled = belonging(paths, held, is_bare, store, restored);
    if settled.is_err() && is_bare {
        // What was made in its place says nothing yet: the next start shall miss the store again.
        let emptied = locked(&paths.store()).and_then(|file| file.set_len(0).map_err(disk::failed));
        if let Err(why) = emptied {
            tracing::warn!(%why, "the new store stays, though this start failed");
        }
    }
    settled
}

fn belonging(
    paths: &Paths,
    held: Option<Secret>,
    is_bare: bool,
    mut store: Box<dyn Store>,
    mut restored: Vec<Record>,
) -> Result<Identity, StartError> {
    if is_bare {
        tracing::warn!("the store was gone; this machine goes on under its key, alone");
        let note = owner::bare();
        store
            .commit(std::slice::from_ref(&note))
            .map_err(|why| unopened(paths, &why))?;
        restored.push(note);
    }
    let held = match held {
        Some(held) => held,
        // The store comes first, so that a start which was cut off here leaves no key alone. Until there is a key,
        // it holds nothing.
        None if restored.is_empty() => key::make_first(&paths.state)?,
        None => return Err(StartError::KeyLost(paths.state.join(KEY))),
    };
    let secret = if is_bare {
        // This store cannot know what a next key has said: the store that is put back instead of it may.
        held
    } else {
        key::settle(&paths.state, held, |next| has_spoken(next, &restored))?
    };
    let key = KeyPair::from_secret(&secret).node();
    if let Some(store) = owner::noted(&restored).filter(|store| *store != key) {
        let path = paths.state.join(KEY);
        return Err(StartError::OtherKey { path, key, store });
    }
    Ok(Identity {
        secret,
        before: key::load_before(&paths.state),
        store,
        restored,
    })
}

/// A file of nothing but zeros is no store, and none can be made in it: it is emptied. Never deleted, and never without
/// its lock: another daemon that starts may just make its store in it.
fn make_way(path: &Path) -> Result<(), StoreError> {
    // What is no file is told by whoever opens it; one of no bytes is in nobody's way.
    if !path
        .metadata()
        .is_ok_and(|about| about.is_file() && about.len() > 0)
    {
        return Ok(());
    }
    let file = locked(path)?;
    if is_zeros(&file).map_err(disk::failed)? {
        file.set_len(0).map_err(disk::failed)?;
    }
    Ok(())
}

/// A store's file under the lock that redb holds as long as it is open, and takes before it reads or writes (4.6: a
/// flock).
fn locked(path: &Path) -> Result<File, StoreError> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(disk::failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
        Err(TryLockError::Error(why)) => Err(disk::failed(why)),
    }
}

fn is_zeros(mut file: &File) -> io::Result<bool> {
    let mut piece = [0; 4_096];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 || piece[..length].iter().any(|byte| *byte != 0) {
            return Ok(length == 0);
        }
    }
}

/// The store and all that is in it.
fn opened(
    paths: &Paths,
    open: impl FnOnce(&Path) -> Result<Box<dyn Store>, StoreError>,
) -> Result<(Box<dyn Store>, Vec<Record>), StartError> {
    // Some damage is met by redb with a panic (4.6: a table's name that is no text).
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut store = open(&paths.store())?;
        let restored = store.load()?;
        Ok((store, restored))
    }));
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(why)) => Err(not_opened(paths, &why)),
        Err(_) => Err(unopened(paths, &StoreError::Unreadable)),
    }
}

fn not_opened(paths: &Paths, error: &StoreError) -> StartError {
    match error {
        StoreError::InUse => StartError::AlreadyRunning(paths.state.clone()),
        other => unopened(paths, other),
    }
}

fn unopened(paths: &Paths, error: &StoreError) -> StartError {
    match error {
        StoreError::Damaged(_) | StoreError::Unreadable => StartError::StoreDamaged {
            path: paths.store(),
            why: error.to_string(),
        },
        other => StartError::Store(fault(other).to_string()),
    }
}

/// Whether the store holds a word of this key.
fn has_spoken(secret: &Secret, restored: &[Record]) -> bool {
    let node = KeyPair::from_secret(secret).node();
    restored.iter().any(|record| {
        record.table == Table::Heads && record.key == node.0 && record.value.is_some()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::RedbStore;
    use crate::options::Options;

    struct Home {
        _folder: tempfile::TempDir,
        paths: Paths,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let options = Options {
                state: Some(folder.path().join("state")),
                ..Options::default()
            };
            let paths = Paths::of(&options).expect("a place");
            key::private_folder(&paths.state).expect("writable");
            Self {
                _folder: folder,
                paths,
            }
        }

        fn start(&self, without_store: bool) -> Result<Identity, StartError> {
            settled(&self.paths, without_store, |path| {
                Ok(Box::new(RedbStore::open(path)?))
            })
        }

        /// Whose it is, as a node writes it at its start.
        fn noted(&self) -> Secret {
            let mut identity = self.start(false).expect("starts");
            let node = KeyPair::from_secret(&identity.secret).node();
            identity
                .store
                .commit(&[owner::note(node)])
                .expect("writable");
            identity.secret
        }

        fn key(&self) -> std::path::PathBuf {
            self.paths.state.join(KEY)
        }

        /// Names and contents.
        fn all(&self) -> Vec<(std::ffi::OsString, Vec<u8>)> {
            let entries = fs::read_dir(&self.paths.state).expect("readable");
            let mut all: Vec<_> = entries
                .map(|entry| {
                    let entry = entry.expect("readable");
                    (entry.file_name(), fs::read(entry.path()).expect("readable"))
                })
                .collect();
            all.sort();
            all
        }
    }

    #[test]
    fn a_store_that_is_gone_beside_a_key_is_told_and_nothing_is_made() {
        let home = Home::new();
        let secret = home.noted();
        // Zeros at the right length are what some file systems make of a power cut.
        for left in [Some(&[][..]), Some(&[0; 10_000]), None] {
            match left {
                Some(bytes) => fs::write(home.paths.store(), bytes).expect("writable"),
                None => fs::remove_file(home.paths.store()).expect("it was there"),
            }
            let before = home.all();
            let refused = home.start(false).err().expect("refused");
            assert!(matches!(refused, StartError::StoreLost(_)), "{refused}");
            assert_eq!(home.all(), before);
        }
        fs::write(home.paths.store(), [0; 10_000]).expect("writable");
        // The person wants it so: the same key, and a need as long as it is alone.
        let bare = home.start(true).expect("starts");
        assert_eq!(bare.secret, secret);
        assert_eq!(bare.restored, [owner::bare()]);
        drop(bare);
        // From then on it is a store like any other.
        assert_eq!(home.start(false).expect("starts").restored, [owner::bare()]);
    }

    #[test]
    fn a_store_that_another_start_makes_is_never_taken_from_it() {
        let home = Home::new();
        home.noted();
        // As it looks between the first step of making a store and the last.
        fs::write(home.paths.store(), [0; 10_000]).expect("writable");
        let other = File::open(home.paths.store()).expect("there");
        other.try_lock().expect("nobody has it");
        let before = home.all();
        let refused = home.start(true).err().expect("refused");
        let is_told = matches!(refused, StartError::AlreadyRunning(_));
        assert!(is_told, "{refused}");
        assert_eq!(home.all(), before);
        drop(other);
        // And a store that is open under an own key, beside one that is just opened.
        let first = home.start(true).expect("starts");
        make_way(&home.paths.store()).expect_err("in use");
        let refused = home.start(true).err().expect("refused");
        let is_told = matches!(refused, StartError::AlreadyRunning(_));
        assert!(is_told, "{refused}");
        drop(first);
        assert_eq!(home.start(false).expect("starts").restored, [owner::bare()]);
    }

    #[test]
    fn a_next_key_stays_beside_a_store_that_was_made_in_a_lost_ones_place() {
        let home = Home::new();
        home.noted();
        let next = key::make_next(&home.paths.state).expect("made");
        fs::remove_file(home.paths.store()).expect("it was there");
        drop(home.start(true).expect("starts"));
        // Taken away again, because nobody let this machine back in.
        let path = home.paths.state.join("key.next");
        assert_eq!(fs::read(&path).expect("still there")[..], next[..]);
        fs::remove_file(home.paths.store()).expect("it was made");
        // The store from after the change is put back: it has a word of the next key.
        let mut store = RedbStore::open(&home.paths.store()).expect("made");
        let node = KeyPair::from_secret(&next).node();
        let word = Record {
            table: Table::Heads,
            key: node.0.to_vec(),
            value: Some(vec![1]),
        };
        store.commit(&[owner::note(node), word]).expect("writable");
        drop(store);
        assert_eq!(home.start(false).expect("starts").secret, next);
    }

    #[test]
    fn a_key_that_is_gone_or_anothers_beside_a_store_is_told_and_none_is_made() {
        let home = Home::new();
        home.noted();
        let before = home.all();
        fs::remove_file(home.key()).expect("it was there");
        let without = home.all();
        let refused = home.start(false).err().expect("refused");
        assert!(matches!(refused, StartError::KeyLost(_)), "{refused}");
        assert_eq!(home.all().len(), without.len(), "a key was made");
        // Whoever says that the store may be missing has not said that the key may.
        let refused = home.start(true).err().expect("refused");
        assert!(matches!(refused, StartError::KeyLost(_)), "{refused}");

        key::make_first(&home.paths.state).expect("made");
        let other = fs::read(home.key()).expect("there");
        let refused = home.start(false).err().expect("refused");
        assert!(matches!(refused, StartError::OtherKey { .. }), "{refused}");
        assert_eq!(fs::read(home.key()).expect("there"), other);

        let (_, right) = before.iter().find(|(name, _)| name == KEY).expect("a key");
        fs::write(home.key(), right).expect("writable");
        home.start(false).expect("put back, it starts");
    }

    #[test]
    fn a_first_start_that_was_cut_off_is_gone_on_with() {
        let home = Home::new();
        // Cut off before the store was whole, and between the store and the key.
        for left in [&[][..], &[0; 10_000]] {
            fs::write(home.paths.store(), left).expect("writable");
            drop(home.start(false).expect("starts"));
            fs::remove_file(home.key()).expect("it was there");
        }
        drop(home.start(false).expect("starts"));
        // And after the key, before a word was kept: nobody has heard of it.
        home.start(false).expect("starts");
    }

    #[test]
    fn a_store_that_breaks_its_reader_is_told_as_damaged() {
        let home = Home::new();
        let Err(error) = opened(&home.paths, |_| panic!("as redb does")) else {
            panic!("it was opened");
        };
        assert!(matches!(error, StartError::StoreDamaged { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("it is damaged"), "{told}");
    }
}
