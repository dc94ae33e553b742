//! What is on, and what was on since the last settling: a table of fixed size, each line of which is on file before the deed.
//!
//! The file has a head and a slot for each line. It outlives the helper, not the machine: what it tells of dies with the boot, so
//! it needs no disk and is never synced. A line that was half written when the helper was killed has a wrong sum and is skipped;
//! its deed was not done.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use hive_host::helper::{Knob, Thread};

use crate::policy;

/// Most lines. A guess: a busy machine has some thousand threads.
pub const NOTES_MAX: usize = 4_096;

/// Bytes of the head and of each slot.
const SLOT: usize = 64;

/// The head begins with this; then comes the name of the boot.
const MAGIC: &[u8; 16] = b"hive-helper 1\n\0\0";

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It is on, or was about to be.
    On = 1,
    /// The old value is back. What was born meanwhile may still carry ours.
    Back = 2,
    /// Somebody has changed it since.
    ByHand = 3,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Of which value.
    pub knob: Knob,
    /// Whose.
    pub thread: Thread,
    /// What it was.
    pub old: i64,
    /// What was written.
    pub new: i64,
    /// When, in ticks since boot: what was born later may have inherited it.
    pub since: u64,
    /// What became of it.
    pub state: State,
}

/// The table and its file.
#[derive(Debug)]
pub struct Notes {
    file: File,
    slots: Vec<Option<Note>>,
    /// All slots from here on are empty.
    top: usize,
}

impl Notes {
    /// Reads the file. What it tells of another boot is dropped: nothing of that is left.
    pub fn open(file: File, boot: &str) -> io::Result<Self> {
        let mut head = [0; SLOT];
        head[..16].copy_from_slice(MAGIC);
        let name = boot.as_bytes();
        head.get_mut(16..16 + name.len())
            .ok_or(io::ErrorKind::InvalidInput)?
            .copy_from_slice(name);
        let mut notes = Self {
            file,
            slots: vec![None; NOTES_MAX],
            top: 0,
        };
        let mut found = [0; SLOT];
        let is_known = notes.file.read_exact_at(&mut found, 0).is_ok() && found == head;
        if !is_known {
            notes.file.set_len(0)?;
            notes.file.write_all_at(&head, 0)?;
            return Ok(notes);
        }
        let mut slot = [0; SLOT];
        for at in 0..NOTES_MAX {
            match notes.file.read_exact_at(&mut slot, place(at)) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                read => read?,
            }
            notes.slots[at] = decode(&slot);
            if notes.slots[at].is_some() {
                notes.top = at + 1;
            }
        }
        Ok(notes)
    }

    /// All lines with their places.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Note)> {
        let used = self.slots[..self.top].iter().enumerate();
        used.filter_map(|(at, slot)| Some((at, slot.as_ref()?)))
    }

    /// The line at a place.
    #[must_use]
    pub fn at(&self, at: usize) -> Option<Note> {
        self.slots[at]
    }

    /// The line about this value of this thread.
    #[must_use]
    pub fn find(&self, knob: Knob, thread: Thread) -> Option<(usize, Note)> {
        self.all()
            .find(|(_, note)| note.knob == knob && note.thread == thread)
            .map(|(at, note)| (at, *note))
    }

    /// A place that is free.
    #[must_use]
    pub fn room(&self) -> Option<usize> {
        let hole = self.slots[..self.top].iter().position(Option::is_none);
        hole.or((self.top < NOTES_MAX).then_some(self.top))
    }

    /// Writes a line to the file, then to the table. On an error the table is as before.
    pub fn write(&mut self, at: usize, note: Note) -> io::Result<()> {
        self.file.write_all_at(&encode(&note), place(at))?;
        self.slots[at] = Some(note);
        self.top = self.top.max(at + 1);
        Ok(())
    }

    /// Says what became of a change. Where the file cannot be written the next helper finds the change noted as on, and its
    /// value as somebody else's.
    pub fn mark(&mut self, at: usize, state: State) {
        let Some(note) = &mut self.slots[at] else {
            return;
        };
        note.state = state;
        let slot = encode(note);
        if let Err(why) = self.file.write_all_at(&slot, place(at)) {
            eprintln!("hive-helper: the journal cannot be written: {why}");
        }
    }

    /// Forgets a line.
    pub fn drop(&mut self, at: usize) -> io::Result<()> {
        self.file.write_all_at(&[0; SLOT], place(at))?;
        self.slots[at] = None;
        while self.top > 0 && self.slots[self.top - 1].is_none() {
            self.top -= 1;
        }
        Ok(())
    }
}

fn place(at: usize) -> u64 {
    ((at + 1) * SLOT) as u64
}

fn encode(note: &Note) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..2].copy_from_slice(&[note.state as u8, note.knob as u8]);
    slot[8..12].copy_from_slice(&note.thread.pid.to_le_bytes());
    slot[12..16].copy_from_slice(&note.thread.tid.to_le_bytes());
    slot[16..24].copy_from_slice(&note.thread.start.to_le_bytes());
    slot[24..32].copy_from_slice(&note.old.to_le_bytes());
    slot[32..40].copy_from_slice(&note.new.to_le_bytes());
    slot[40..48].copy_from_slice(&note.since.to_le_bytes());
    let sum = crc32fast::hash(&slot);
    slot[4..8].copy_from_slice(&sum.to_le_bytes());
    slot
}

/// The line in a slot; none if it is empty, damaged, or tells of what this helper would never have done.
fn decode(slot: &[u8; SLOT]) -> Option<Note> {
    let eight = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let four = |at: usize| u32::from_le_bytes(slot[at..at + 4].try_into().expect("four bytes"));
    let state = [State::On, State::Back, State::ByHand]
        .into_iter()
        .find(|state| *state as u8 == slot[0])?;
    let note = Note {
        knob: Knob::from_byte(slot[1])?,
        thread: Thread {
            pid: four(8),
            tid: four(12),
            start: eight(16),
        },
        old: eight(24).cast_signed(),
        new: eight(32).cast_signed(),
        since: eight(40),
        state,
    };
    // The nice of that time is not noted; -20 asks the least of an input and output priority.
    let is_possible = policy::value(note.knob, note.old, note.new, -20).is_ok();
    (encode(&note) == *slot && is_possible).then_some(note)
}

#[cfg(test)]
#[path = "notes/tests.rs"]
mod tests;
