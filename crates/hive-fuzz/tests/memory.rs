//! What reading costs in memory: never more than a few times what was really sent, whatever it announces.

use allocation_counter::measure;
use hive_core::hive::invite::InviteCode;
use hive_core::limits;
use hive_core::wire::{ASSEMBLED_BYTES_MAX, Frame, Line, PairFrame};
use hive_fuzz::frames::{self, read};
use hive_fuzz::mdns;
use hive_fuzz::mutate::Mutator;
use hive_mind::fuzzed::mdns_answers;

/// Bytes of memory for each byte that came. An entry takes 20 bytes on the wire at least and 72 in memory, and
/// a list that grows holds its old and its new place for a moment: three times its length at most.
const TIMES: u64 = 12;

/// What a few small values take whatever the input.
const FLOOR: u64 = 2_048;

/// Generated inputs of each kind. Source: issue 3, part 7.
const INPUTS: usize = 100_000;

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
        let length = u64::try_from(input.len()).expect("short");
        assert!(peak <= TIMES * length + FLOOR, "{peak} for {input:?}");
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
    let mut delta = [&[1, 4][..], &[1; 32], &[1, 0, 1, 1, 0, 1]].concat();
    delta.extend_from_slice(&[3; 32 + 64]);
    delta.extend_from_slice(&announced);
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
