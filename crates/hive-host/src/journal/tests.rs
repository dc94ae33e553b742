//! The journal survives every cut, and a damaged record costs only itself.

use super::*;

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
        let (mut journal, open) = Journal::open(folder.path()).expect("opened");
        for found in &open {
            let known = change(found.id.0);
            assert!(found.id.0 == 1 || found.id.0 == 2);
            assert_eq!(found.targets[0], known.targets[0]);
        }
        journal
            .append(&Record::Intent(change(3)))
            .expect("appended after the cut");
        drop(journal);
        let (_, open) = Journal::open(folder.path()).expect("opened again");
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
        assert_eq!((found.valid, found.unread), (whole.len(), Vec::new()));
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
    let (mut journal, open) = Journal::open(folder.path()).expect("opened");
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
    let (_, open) = Journal::open(folder.path()).expect("opened again");
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
    let (mut journal, _) = Journal::open(folder.path()).expect("opened");
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
    let (_, open) = Journal::open(folder.path()).expect("opened");
    assert_eq!(open, vec![change(2)]);
}
