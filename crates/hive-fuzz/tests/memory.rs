//! What reading costs in memory: never more than a few times what was really sent, whatever it announces.

use allocation_counter::measure;
use hive_core::hive::invite::InviteCode;
use hive_core::limits;
use hive_core::wire::{ASSEMBLED_BYTES_MAX, Frame, Line, PairFrame};
use hive_fuzz::frames::{self, read};
use hive_fuzz::mdns;
use hive_fuzz::mutate::Mutator;
use hive_mind::fuzzed::{mdns_answers, pack, unpack};

/// Bytes of memory for each byte that came. A head mark takes 18 bytes on the wire at least and 32 in memory, and
/// a list that grows holds its old and its new place for a moment: three times its length at most.
const TIMES: u64 = 12;

/// The same for a delta: an entry that repeats an id takes 4 bytes on the wire and 72 in memory.
const TIMES_OF_DELTA: u64 = 54;

/// And never more than the longest list of entries takes, beside their values.
const ENTRIES: u64 = 3 * 72 * limits::MAP_ENTRIES_MAX as u64;

/// What a few small values take whatever the input.
const FLOOR: u64 = 2_048;

/// Generated inputs of each kind. Source: issue 3, part 7.
const INPUTS: usize = 100_000;

/// The most that reading these bytes may take.
fn most(input: &[u8]) -> u64 {
    let length = u64::try_from(input.len()).expect("short");
    let most = TIMES * length;
    // The tags of deltas, with and without their author.
    if matches!(input, [1, 4 | 11, ..]) {
        FLOOR + (TIMES_OF_DELTA * length).min(most + ENTRIES)
    } else {
        FLOOR + most
    }
}

fn peak(work: impl FnOnce()) -> u64 {
    measure(work).bytes_max
}

#[test]
fn reading_a_frame_takes_a_few_times_its_length() {
    let mut mutator = Mutator::new(2, (frames::TARGET.seeds)());
    let mut readable = 0;
    for _ in 0..INPUTS {
        let input = mutator.input();
        let mut was_read = false;
        let peak = peak(|| was_read = read(&input));
        assert!(peak <= most(&input), "{peak} for {input:?}");
        readable += usize::from(was_read);
    }
    assert!(readable > INPUTS / 20, "{readable}");
}

#[test]
fn the_longest_frames_that_lie_take_no_more() {
    let line = Line {
        author: hive_core::id::NodeId([1; 32]),
        incarnation: 1,
        seq: 1,
        id: [0; 16],
        forked: false,
    };
    let longest = |max: usize, start: &[u8]| {
        let mut bytes = start.to_vec();
        bytes.resize(max, 0);
        bytes
    };
    let announced = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let digest = [&[1, 2][..], &announced].concat();
    let want = [&[1, 3][..], &announced].concat();
    let part = [&[1, 5, 0][..], &announced].concat();
    // Author, shape, numbers, the head before, signature.
    let start = [&[1, 4][..], &[1; 32], &[4, 1, 1, 1, 0], &[3; 32 + 64]].concat();
    let delta = [&start[..], &announced].concat();
    for start in [&digest[..], &want, &part, &delta] {
        let input = longest(limits::FRAME_BYTES_MAX, start);
        let peak = peak(|| assert!(Frame::decode(&input).is_err()));
        // No list is longer than its own bound, however much of it is really there.
        assert!(peak <= 4 * limits::FRAME_BYTES_MAX as u64, "{peak}");
        let input = longest(ASSEMBLED_BYTES_MAX, start);
        let assembled = measure(|| assert!(Frame::decode_assembled(&input).is_err()));
        assert!(assembled.bytes_max <= ASSEMBLED_BYTES_MAX as u64);
        let input = longest(limits::PAIR_FRAME_BYTES_MAX, start);
        let pair = measure(|| assert!(PairFrame::decode(&input).is_err()));
        assert!(pair.bytes_max <= limits::PAIR_FRAME_BYTES_MAX as u64);
    }
    // One byte too long is refused before anything is kept of it.
    let long = Frame::Digest(vec![line; 8_000]).encode();
    assert!(long.len() > limits::FRAME_BYTES_MAX);
    assert_eq!(peak(|| assert!(Frame::decode(&long).is_err())), 0);
}

#[test]
fn entries_that_repeat_one_id_take_no_more_than_the_longest_list() {
    let count = u16::try_from(limits::MAP_ENTRIES_MAX).expect("few");
    let [low, high] = [count & 0x7f, count >> 7].map(|half| half.to_le_bytes()[0]);
    let mut bytes = [&[1, 4][..], &[1; 32], &[4, 1, 1, 1, 0], &[3; 32 + 64]].concat();
    bytes.extend_from_slice(&[low | 0x80, high]);
    // One with its id, empty; all others with that id, empty too.
    bytes.extend_from_slice(&[&[9, 0][..], &[7; 16], &[0]].concat());
    for _ in 1..count {
        bytes.extend_from_slice(&[9, 4, 0, 0]);
    }
    let mut read = None;
    let peak = peak(|| read = Frame::decode(&bytes).ok());
    let Some(Frame::Delta(delta)) = read else {
        panic!("it is a delta");
    };
    assert_eq!(delta.entries.len(), limits::MAP_ENTRIES_MAX);
    assert!(peak <= most(&bytes), "{peak} for {}", bytes.len());
    // One more than there may be, all of them there.
    let at = bytes.len() - 4 * usize::from(count - 1) - 19 - 2;
    bytes[at] += 1;
    bytes.extend_from_slice(&[9, 4, 0, 0]);
    assert!(Frame::decode(&bytes).is_err());
}

#[test]
fn a_packed_frame_takes_what_it_honestly_declares_and_a_refused_one_nothing() {
    let frames = (frames::TARGET.seeds)().into_iter();
    // Each one often enough to be worth packing.
    let long = frames.map(|frame| frame.repeat(1 + 4_000 / frame.len().max(1)));
    let packed: Vec<Vec<u8>> = long.filter_map(|frame| pack(&frame)).collect();
    let mut mutator = Mutator::new(4, packed);
    let mut inflated = 0;
    for _ in 0..INPUTS {
        let input = mutator.input();
        let mut length = None;
        let max = limits::FRAME_BYTES_MAX;
        let peak = peak(|| length = unpack(&input, max).ok().map(|frame| frame.len()));
        // What does not inflate although both lengths agree had its place already.
        let declared = input.first_chunk().map_or(0, |it| u32::from_le_bytes(*it));
        assert!(
            peak == 0 || peak == u64::from(declared),
            "{peak} for {input:?}"
        );
        assert!(peak <= max as u64);
        inflated += usize::from(length.is_some());
    }
    assert!(inflated > INPUTS / 100, "{inflated}");
    let bomb = [&u32::MAX.to_le_bytes()[..], &[0x28, 0xb5, 0x2f, 0xfd]].concat();
    assert_eq!(
        peak(|| assert!(unpack(&bomb, limits::FRAME_BYTES_MAX).is_err())),
        0
    );
}

#[test]
fn an_answer_of_the_network_takes_no_more_than_its_records_can() {
    // 64 records of one name of 32 labels at most, the name held twice while it is compared.
    let most = 256 * 1_024;
    let mut mutator = Mutator::new(3, (mdns::TARGET.seeds)());
    let mut told = 0;
    for _ in 0..INPUTS {
        let input = mutator.input();
        let mut heard = 0;
        let peak = peak(|| heard = mdns_answers(&input).len());
        assert!(peak <= most, "{peak} for {input:?}");
        told += heard;
    }
    assert!(told > INPUTS / 100, "{told}");
}

#[test]
fn a_typed_code_takes_nothing_however_long_it_is() {
    for length in [0, 27, 28, 1_000, 1_000_000] {
        let text = "H1".repeat(length / 2);
        let peak = peak(|| assert!(text.parse::<InviteCode>().is_err()));
        assert!(peak <= FLOOR, "{peak}");
    }
}
