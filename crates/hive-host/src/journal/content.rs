//! What the bytes of a journal hold: whole records, damage before or between them, and a last one that was cut.

use super::{RECORD_BYTES_MAX, Record};

/// So many bytes are summed at most while the next whole record is looked for behind a damage: a second or two of work.
/// A guess; a journal of 256 KiB that is random from end to end takes a thousandth of it.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// All whole records that can be read.
    pub(super) records: Vec<Record>,
    /// All whole records as they stand in the file, also those that cannot be read.
    pub(super) whole: Vec<u8>,
    /// Those that cannot be read: a later program's.
    pub(super) unread: Vec<u8>,
    /// Bytes that are neither of a whole record nor of a last one that was cut.
    pub(super) damaged: usize,
}

/// Reads on at the next whole record wherever something else stands: what follows may still have to be restored.
pub(super) fn decode(content: &[u8]) -> Content {
    let mut found = Content::default();
    let mut patience = SEARCH_BYTES_MAX;
    let mut at = 0;
    while at < content.len() {
        let Some((start, body)) = next_whole(content, at, &mut patience) else {
            let rest = &content[at..];
            found.damaged += if is_cut(rest) { 0 } else { rest.len() };
            break;
        };
        found.damaged += start - at;
        at = start + 8 + body.len();
        found.whole.extend_from_slice(&content[start..at]);
        match postcard::from_bytes(body) {
            Ok(record) => found.records.push(record),
            Err(_) => found.unread.extend_from_slice(&content[start..at]),
        }
    }
    found
}

/// Where the next whole record starts, and its body.
fn next_whole<'a>(content: &'a [u8], at: usize, patience: &mut usize) -> Option<(usize, &'a [u8])> {
    for start in at..content.len() {
        let Some((body, crc)) = frame(&content[start..]) else {
            continue;
        };
        // One where one should be is always looked at.
        if start > at {
            *patience = patience.checked_sub(body.len())?;
        }
        if crc32fast::hash(body) == crc {
            return Some((start, body));
        }
    }
    None
}

fn frame(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let length = length(bytes)?;
    let crc = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    Some((bytes.get(8..8 + length)?, crc))
}

fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    usize::try_from(length)
        .ok()
        .filter(|&length| length > 0 && length <= RECORD_BYTES_MAX)
}

/// Whether this is what a kill or a power cut leaves of a record that was being written: its beginning, or the zeros
/// of a file that grew before its bytes came. Nothing was done yet for such a record.
fn is_cut(rest: &[u8]) -> bool {
    if rest.len() < 4 || rest.iter().all(|&byte| byte == 0) {
        return true;
    }
    let Some(length) = length(rest) else {
        return false;
    };
    let body = rest.get(8..).unwrap_or_default();
    // No beginning of a record reads as a whole one: that would be one with a damaged head.
    let ends_early = || {
        let read = postcard::take_from_bytes::<Record>(body);
        matches!(read, Err(postcard::Error::DeserializeUnexpectedEnd))
    };
    body.len() < length && ends_early()
}
