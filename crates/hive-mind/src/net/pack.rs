//! Long frames travel compressed (zstd). What one inflates to is declared, and checked against the limit and against
//! the compressed bytes themselves, before anything is allocated for it.
//!
//! A packed frame is its declared length as u32 (little endian) and one zstd frame that says the same length, with
//! nothing before, between or behind.

use zstd::zstd_safe;

/// Frames up to this many bytes travel as they are. Source: `research/replication.md` 4.6 (above 1 KB).
pub(crate) const PLAIN_BYTES_MAX: usize = 1_024;

/// How hard to compress. Source: `research/replication.md` 2.1 (1,158 kB to 730-779 kB at 3).
const LEVEL: i32 = 3;

/// Bytes of the declared length.
const DECLARED: usize = 4;

/// Why a packed frame is refused. Nothing was allocated for what it says it holds, except for the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// It declares more than a frame may have.
    #[error("it declares more bytes than allowed")]
    TooLong,
    /// It declares no more than it takes itself, or so little that it should have come as it is.
    #[error("it need not have been compressed")]
    Needless,
    /// It is cut off, or no zstd frame.
    #[error("it is no compressed frame")]
    Malformed,
    /// The compressed bytes say another length than was declared, or none.
    #[error("it says two lengths")]
    OtherLength,
    /// Something follows the compressed bytes.
    #[error("it has a tail")]
    Trailing,
    /// It does not inflate.
    #[error("it cannot be inflated")]
    Damaged,
    /// It inflates to less than was declared.
    #[error("it inflates to less")]
    Short,
}

/// Packs a long frame; `None` when it is short, or would not become shorter: then it travels as it is.
#[must_use]
pub fn pack(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.len() <= PLAIN_BYTES_MAX {
        return None;
    }
    let declared = u32::try_from(frame.len()).ok()?;
    // Longer than that is no gain, and then it is given up.
    let mut packed = vec![0; frame.len() - 1];
    let (start, body) = packed.split_at_mut(DECLARED);
    start.copy_from_slice(&declared.to_le_bytes());
    let length = zstd_safe::compress(body, frame, LEVEL).ok()?;
    packed.truncate(DECLARED + length);
    Some(packed)
}

/// Inflates a packed frame to at most `bytes_max`.
pub fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, UnpackError> {
    let Some((declared, body)) = packed.split_first_chunk::<DECLARED>() else {
        return Err(UnpackError::Malformed);
    };
    let declared = usize::try_from(u32::from_le_bytes(*declared)).unwrap_or(usize::MAX);
    if declared > bytes_max {
        return Err(UnpackError::TooLong);
    }
    if declared <= PLAIN_BYTES_MAX || declared <= packed.len() {
        return Err(UnpackError::Needless);
    }
    match zstd_safe::get_frame_content_size(body) {
        Ok(Some(said)) if u64::try_from(declared) == Ok(said) => {}
        Ok(_) => return Err(UnpackError::OtherLength),
        Err(_) => return Err(UnpackError::Malformed),
    }
    match zstd_safe::find_frame_compressed_size(body) {
        Ok(length) if length == body.len() => {}
        Ok(_) => return Err(UnpackError::Trailing),
        Err(_) => return Err(UnpackError::Malformed),
    }
    let mut frame = vec![0; declared];
    match zstd_safe::decompress(&mut frame[..], body) {
        Ok(length) if length == declared => Ok(frame),
        Ok(_) => Err(UnpackError::Short),
        Err(_) => Err(UnpackError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use hive_core::limits::FRAME_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;

    /// What a map looks like: half of it repeats.
    fn long(length: usize) -> Vec<u8> {
        (0..length)
            .map(|n| {
                if n % 64 < 32 {
                    7
                } else {
                    u8::try_from(n * n % 251).expect("a byte")
                }
            })
            .collect()
    }

    fn unpacked(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
        unpack(packed, FRAME_BYTES_MAX)
    }

    #[test]
    fn what_was_packed_comes_out_again_up_to_the_longest_frame() {
        for length in [PLAIN_BYTES_MAX + 1, 5_000, FRAME_BYTES_MAX] {
            let packed = pack(&long(length)).expect("gains");
            assert!(packed.len() < length);
            assert_eq!(unpacked(&packed), Ok(long(length)));
        }
        assert_eq!(pack(&long(PLAIN_BYTES_MAX)), None, "too short");
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_declares_and_by_what_it_says() {
        // 64 MiB of nothing.
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).expect("compresses");
        let declaring = |length: u32| [&length.to_le_bytes()[..], &bomb].concat();
        assert_eq!(unpacked(&declaring(64 << 20)), Err(UnpackError::TooLong));
        assert_eq!(unpacked(&declaring(u32::MAX)), Err(UnpackError::TooLong));
        let most = u32::try_from(FRAME_BYTES_MAX).expect("fits");
        assert_eq!(unpacked(&declaring(most)), Err(UnpackError::OtherLength));
        assert_eq!(unpacked(&declaring(1)), Err(UnpackError::Needless));
        // One that does not say how long it is, as a stream is written.
        let mut stream = zstd::stream::Encoder::new(Vec::new(), 3).expect("begins");
        stream.include_contentsize(false).expect("may be left out");
        stream.write_all(&long(9_000)).expect("memory");
        let stream = stream.finish().expect("compresses");
        let packed = [&9_000_u32.to_le_bytes()[..], &stream].concat();
        assert_eq!(unpacked(&packed), Err(UnpackError::OtherLength));
    }

    #[test]
    fn a_cut_one_and_one_with_a_tail_are_refused() {
        let good = pack(&long(9_000)).expect("gains");
        for end in 0..good.len() {
            assert!(unpacked(&good[..end]).is_err(), "{end}");
        }
        let mut tail = good.clone();
        tail.push(0);
        assert_eq!(unpacked(&tail), Err(UnpackError::Trailing));
        // A second frame of no length, and one that readers skip: both are a tail.
        let nothing = zstd::bulk::compress(&[], 3).expect("compresses");
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        for more in [&nothing[..], &skipped] {
            let tail = [&good[..], more].concat();
            assert_eq!(unpacked(&tail), Err(UnpackError::Trailing));
            let before = [&good[..DECLARED], more, &good[DECLARED..]].concat();
            assert!(unpacked(&before).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_inflate_beyond_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 0..4),
        ) {
            prop_assert!(unpacked(&bytes).is_err() || bytes.len() > DECLARED);
            let mut packed = pack(&long(9_000)).expect("gains");
            for (at, bit) in flips {
                let at = at.index(packed.len());
                packed[at] ^= 1 << bit;
            }
            if let Ok(frame) = unpacked(&packed) {
                prop_assert!(frame.len() <= FRAME_BYTES_MAX);
            }
        }
    }
}
