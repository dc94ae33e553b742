//! The journal survives every cut, and a damaged record costs only itself.

use super::*;

const BOOT: &str = "boot";

fn opened(folder: &Path) -> (Journal, Vec<Change>) {
    let opened = Journal::open(folder, BOOT).expect("opened");
    (opened.journal, opened.changes)
}

fn change(id: u64) -> Change {
    Change {
        id: ChangeId(id),
        boot: String::from("boot"),
        action: Action::BackgroundNice,
        groups: vec![GroupId {
            session: 7,
            group: 7,
        }],
        ticks: 100,
        new: 10,
        targets: vec![Target {
            pid: 7,
            tid: 7,
            start: 50,
            autogroup: 0,
            old: 0,
        }],
        spared: Vec::new(),
        units: vec![],
    }
}

fn records() -> Vec<Record> {
    vec![
        Record::Intent(change(1)),
        Record::Applied(ChangeId(1)),
        Record::Intent(change(2)),
        Record::Restored(ChangeId(1)),
        Record::More {
            id: ChangeId(2),
            targets: vec![Target {
                pid: 8,
                tid: 9,
                start: 60,
                autogroup: 0,
                old: 0,
            }],
        },
    ]
}

#[test]
fn a_journal_cut_at_any_byte_tells_only_whole_records_and_can_be_written_on() {
    let whole: Vec<u8> = records()
        .iter()
        .flat_map(|record| encode(record).expect("small"))
        .collect();
    for cut in 0..=whole.len() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("journal"), &whole[..cut]).expect("written");
        let (mut journal, open) = opened(folder.path());
        for found in &open {
            let known = change(found.id.0);
            assert!(found.id.0 == 1 || found.id.0 == 2);
            assert_eq!(found.targets[0], known.targets[0]);
        }
        journal
            .append(&Record::Intent(change(3)))
            .expect("appended after the cut");
        drop(journal);
        let (_, open) = opened(folder.path());
        assert!(
            open.iter().any(|found| found.id == ChangeId(3)),
            "cut at {cut} hides what was written later"
        );
    }
}

#[test]
fn a_damaged_record_costs_only_itself() {
    let mut whole = encode(&Record::Intent(change(1))).expect("small");
    let first = whole.len();
    whole.extend(encode(&Record::Intent(change(2))).expect("small"));
    for at in 8..first {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        let found = decode(&damaged);
        assert_eq!(replay(found.records), vec![change(2)]);
        assert_eq!(
            (found.damaged, found.whole),
            (first, whole[first..].to_vec())
        );
    }
}

#[test]
fn what_a_later_program_wrote_stays_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut whole = encode(&Record::Intent(change(1))).expect("small");
    // Of a kind that is not known yet, at the end of the file.
    let later = framed(&[99, 1, 2, 3]).expect("small");
    whole.extend(&later);
    fs::write(&path, &whole).expect("written");
    let (mut journal, open) = opened(folder.path());
    assert_eq!(open, [change(1)]);
    assert_eq!(fs::read(&path).expect("there"), whole);
    let restored = Record::Restored(ChangeId(1));
    let mut long = change(2);
    long.targets = vec![long.targets[0]; 20_000];
    for record in [
        restored,
        Record::Intent(long),
        Record::Restored(ChangeId(2)),
    ] {
        journal.append(&record).expect("appended");
    }
    journal.compact().expect("compacted");
    assert_eq!(fs::read(&path).expect("there"), later);
    journal
        .append(&Record::Intent(change(3)))
        .expect("appended to the new file");
    let (_, open) = opened(folder.path());
    assert_eq!(open, [change(3)]);
    assert!(fs::read(&path).expect("there").starts_with(&later));
}

#[test]
fn what_is_restored_is_no_longer_on() {
    let open = replay(records());
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].id, ChangeId(2));
    assert_eq!(open[0].targets.len(), 2);
}

#[test]
fn a_long_journal_with_nothing_on_is_started_anew_and_stays_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = opened(folder.path());
    let mut long = change(1);
    long.targets = vec![long.targets[0]; 20_000];
    journal.append(&Record::Intent(long)).expect("appended");
    journal
        .append(&Record::Restored(ChangeId(1)))
        .expect("appended");
    let path = folder.path().join("journal");
    assert!(fs::metadata(&path).expect("there").len() > COMPACT_BYTES);
    journal.compact().expect("compacted");
    let meta = fs::metadata(&path).expect("there");
    assert_eq!(meta.len(), 0);
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    journal
        .append(&Record::Intent(change(2)))
        .expect("appended to the new file");
    let (_, open) = opened(folder.path());
    assert_eq!(open, vec![change(2)]);
}

/// Every whole record of a journal in which something else stands, and what is kept of it.
fn damaged(content: &[u8]) -> (Vec<u64>, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    fs::write(&path, content).expect("written");
    let seen = Journal::look(folder.path(), BOOT).expect("looked at");
    assert_eq!(
        fs::read(&path).expect("there"),
        content,
        "a look changes nothing"
    );
    let opened = Journal::open(folder.path(), BOOT).expect("opened");
    assert_eq!(
        (seen.damaged, &seen.changes),
        (opened.damaged, &opened.changes)
    );
    let kept = kept::of_boot(folder.path(), BOOT).expect("a folder");
    assert_eq!(kept.len(), opened.damaged as usize);
    for path in &kept {
        assert_eq!(fs::read(path).expect("there"), content, "kept as it was");
    }
    // What is whole stands in the new file, which is damaged no more.
    let again = Journal::open(folder.path(), BOOT).expect("opened again");
    assert_eq!(
        (again.damaged, &again.changes),
        (opened.damaged, &opened.changes)
    );
    let ids = opened.changes.iter().map(|change| change.id.0).collect();
    (ids, kept)
}

#[test]
fn a_damaged_head_costs_only_its_own_record_and_the_file_is_kept() {
    let first = encode(&Record::Intent(change(1))).expect("small");
    let rest: Vec<u8> = [
        Record::Applied(ChangeId(1)),
        Record::Intent(change(2)),
        Record::Applied(ChangeId(2)),
    ]
    .iter()
    .flat_map(|record| encode(record).expect("small"))
    .collect();
    for head in [
        [0xff, 0xff, 0xff, 0x7f],
        [0; 4],
        [200, 0, 0, 0],
        [1, 0, 0, 0],
    ] {
        let mut content = [&first[..], &rest].concat();
        content[..4].copy_from_slice(&head);
        let (open, kept) = damaged(&content);
        assert_eq!((open, kept.len()), (vec![2], 1), "{head:?}");
    }
    // One alone, whose head says that it was to be longer: nothing whole follows, and it was not cut either.
    let mut content = first.clone();
    content[1] = 1;
    assert_eq!(damaged(&content).1.len(), 1);
    // Its crc alone, and a byte between two.
    let mut content = first.clone();
    content[4] ^= 1;
    assert_eq!(damaged(&content).1.len(), 1);
    let content = [&first[..], &[7], &rest].concat();
    let (open, kept) = damaged(&content);
    assert_eq!((open, kept.len()), (vec![1, 2], 1));
}

#[test]
fn what_a_kill_or_a_power_cut_leaves_is_no_damage() {
    let first = encode(&Record::Intent(change(1))).expect("small");
    let next = encode(&Record::Intent(change(2))).expect("small");
    for cut in 1..next.len() {
        let content = [&first[..], &next[..cut]].concat();
        assert_eq!(damaged(&content), (vec![1], vec![]), "cut at {cut}");
    }
    let content = [&first[..], &[0; 4096]].concat();
    assert_eq!(damaged(&content), (vec![1], vec![]));
    assert_eq!(damaged(&[0; 4096]), (vec![], vec![]));
}

#[test]
fn random_bytes_are_kept_and_told_until_the_next_boot() {
    let noise: Vec<u8> = (0..5_000_u32)
        .flat_map(|at| noise(at).to_le_bytes())
        .collect();
    assert_eq!(damaged(&noise).1.len(), 1);

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    for boot in ["first", BOOT, BOOT, BOOT, BOOT, BOOT, BOOT] {
        fs::write(&path, &noise).expect("written");
        Journal::open(folder.path(), boot).expect("opened");
    }
    let names = fs::read_dir(folder.path()).expect("a folder");
    let kept = names.filter(|name| {
        let name = name.as_ref().expect("readable").file_name();
        name.to_string_lossy().starts_with("journal.damaged-")
    });
    assert_eq!(kept.count(), 4);
    let told = |boot: &str| {
        let opened = Journal::open(folder.path(), boot).expect("opened");
        opened.damaged
    };
    assert_eq!((told(BOOT), told("the next"), told("")), (4, 0, 4));
}

#[test]
fn a_crash_between_the_keeping_and_the_new_journal_keeps_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    fs::write(&path, b"neither a record nor the start of one").expect("written");
    let mut file = File::open(&path).expect("there");
    kept::keep(folder.path(), &mut file, BOOT).expect("kept");
    let opened = Journal::open(folder.path(), BOOT).expect("opened");
    assert_eq!(opened.damaged, 1);
}

/// Bytes without an order.
fn noise(at: u32) -> u32 {
    crc32fast::hash(&at.to_le_bytes()).wrapping_mul(0x9e37_79b1)
}
