//! What a killed helper left on file is found again, and nothing that was not done.

use super::*;

fn note(tid: u32) -> Note {
    Note {
        knob: Knob::Nice,
        thread: Thread {
            pid: tid,
            tid,
            start: 7,
        },
        old: 0,
        new: 11,
        since: 9,
        state: State::On,
    }
}

fn open(file: &File, boot: &str) -> Notes {
    Notes::open(file.try_clone().expect("a second name"), boot).expect("opened")
}

fn tids(notes: &Notes) -> Vec<u32> {
    notes.all().map(|(_, note)| note.thread.tid).collect()
}

#[test]
fn what_is_noted_is_found_by_the_next_and_what_was_dropped_is_not() {
    let file = tempfile::tempfile().expect("a file");
    let mut notes = open(&file, "boot");
    for tid in 1..=3 {
        let room = notes.room().expect("room");
        notes.write(room, note(tid)).expect("written");
    }
    notes.drop(1).expect("dropped");
    notes.mark(2, State::Back);
    let again = open(&file, "boot");
    assert_eq!(tids(&again), [1, 3]);
    assert_eq!(again.at(2).map(|note| note.state), Some(State::Back));
    assert_eq!(again.room(), Some(1));
    assert_eq!(again.find(Knob::Nice, note(1).thread), Some((0, note(1))));
    assert_eq!(again.find(Knob::Slice, note(1).thread), None);
}

#[test]
fn another_boot_has_nothing_on() {
    let file = tempfile::tempfile().expect("a file");
    open(&file, "boot").write(0, note(1)).expect("written");
    assert_eq!(tids(&open(&file, "another")), [0_u32; 0]);
    // And it stays so.
    assert_eq!(tids(&open(&file, "boot")), [0_u32; 0]);
}

#[test]
fn a_line_cut_or_damaged_anywhere_is_skipped_and_the_next_is_not() {
    let file = tempfile::tempfile().expect("a file");
    let mut notes = open(&file, "boot");
    notes.write(0, note(1)).expect("written");
    notes.write(1, note(2)).expect("written");
    let mut slot = [0; SLOT];
    file.read_exact_at(&mut slot, place(0)).expect("read");
    for at in 0..SLOT {
        let mut damaged = slot;
        damaged[at] ^= 0x10;
        file.write_all_at(&damaged, place(0)).expect("written");
        assert_eq!(tids(&open(&file, "boot")), [2], "damaged at {at}");
        let mut cut = slot;
        cut[at..].fill(0);
        if cut != slot {
            file.write_all_at(&cut, place(0)).expect("written");
            assert_eq!(tids(&open(&file, "boot")), [2], "cut at {at}");
        }
    }
    file.write_all_at(&slot, place(0)).expect("written");
    assert_eq!(tids(&open(&file, "boot")), [1, 2]);
}

#[test]
fn a_note_of_what_was_never_allowed_is_not_believed() {
    for (old, new) in [(-5, 11), (0, 25), (11, 5), (0, -3)] {
        let file = tempfile::tempfile().expect("a file");
        let bad = Note {
            old,
            new,
            ..note(1)
        };
        open(&file, "boot").write(0, bad).expect("written");
        assert_eq!(tids(&open(&file, "boot")), [0_u32; 0], "{old} {new}");
    }
}

#[test]
fn the_table_is_as_long_as_it_is() {
    let file = tempfile::tempfile().expect("a file");
    let mut notes = open(&file, "boot");
    for tid in 0..u32::try_from(NOTES_MAX).expect("small") {
        let room = notes.room().expect("room");
        notes.write(room, note(tid)).expect("written");
    }
    assert_eq!(notes.room(), None);
    notes.drop(100).expect("dropped");
    assert_eq!(notes.room(), Some(100));
    let bytes = file.metadata().expect("there").len();
    assert_eq!(bytes, ((NOTES_MAX + 1) * SLOT) as u64);
}
