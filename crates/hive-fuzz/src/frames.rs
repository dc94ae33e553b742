//! Frames of members and of joiners: what reads, reads back, stays within its bounds and says nothing twice.

use hive_core::id::{HeadId, HiveId, NodeId};
use hive_core::limits;
use hive_core::statement::{HeadRef, Key, Label, Rotate, Statement};
use hive_core::time::Hlc;
use hive_core::wire::{
    ADDRESSES_MAX, ASSEMBLED_BYTES_MAX, DecodeError, Delta, Entry, Frame, Genesis, Have, Head,
    HeadMark, LINES_MAX, Line, OwnDelta, PairFrame, Refusal, RingMark, TRACE_MAX, Trace,
};

use crate::{Outcome, Target};

/// Frames.
pub const TARGET: Target = Target {
    name: "frames",
    life: || Box::new(check),
    seeds,
};

fn check(data: &[u8]) -> Outcome {
    let frame = Frame::decode(data);
    let assembled = Frame::decode_assembled(data);
    let pair = PairFrame::decode(data);
    check_lengths(data, &frame, &assembled, &pair);
    if let Ok(frame) = &frame {
        assert_eq!(
            assembled.as_ref(),
            Ok(frame),
            "a short frame reads alike as a long one"
        );
    }
    if let Ok(frame) = &assembled {
        check_frame(data, frame);
    }
    if let Ok(pair) = &pair {
        let again = pair.encode();
        assert!(again.len() <= data.len(), "encoding never grows");
        assert_eq!(PairFrame::decode(&again).as_ref(), Ok(pair));
        if let PairFrame::Welcome { addresses, .. } = pair {
            assert!(addresses.len() <= ADDRESSES_MAX);
        }
    }
    if assembled.is_ok() || pair.is_ok() {
        Outcome::Taken
    } else {
        Outcome::Refused
    }
}

/// Only reads: what the memory of reading is measured on. Whether anything was read.
#[must_use]
pub fn read(data: &[u8]) -> bool {
    Frame::decode(data).is_ok()
        | Frame::decode_assembled(data).is_ok()
        | PairFrame::decode(data).is_ok()
}

fn check_lengths(
    data: &[u8],
    frame: &Result<Frame, DecodeError>,
    assembled: &Result<Frame, DecodeError>,
    pair: &Result<PairFrame, DecodeError>,
) {
    let long = |max: usize| data.len() > max;
    let too_long = DecodeError::TooLong;
    assert_eq!(
        long(limits::FRAME_BYTES_MAX),
        frame.as_ref().err() == Some(&too_long)
    );
    assert_eq!(
        long(ASSEMBLED_BYTES_MAX),
        assembled.as_ref().err() == Some(&too_long)
    );
    assert_eq!(
        long(limits::PAIR_FRAME_BYTES_MAX),
        pair.as_ref().err() == Some(&too_long)
    );
}

fn check_frame(data: &[u8], frame: &Frame) {
    let again = frame.encode();
    assert!(again.len() <= data.len(), "encoding never grows");
    assert_eq!(Frame::decode_assembled(&again).as_ref(), Ok(frame));
    let mut whole = Vec::new();
    let pieces = frame.encode_split();
    for piece in &pieces {
        assert!(piece.len() <= limits::FRAME_BYTES_MAX);
        match Frame::decode(piece) {
            Ok(Frame::Part { bytes, .. }) if pieces.len() > 1 => whole.extend(bytes),
            Ok(alone) => {
                assert_eq!(&alone, frame);
                whole.clone_from(&again);
            }
            Err(error) => panic!("a piece of a valid frame does not read: {error}"),
        }
    }
    assert_eq!(whole, again);
    check_author(frame);
    match frame {
        Frame::Digest(lines) => assert!(lines.len() <= LINES_MAX),
        Frame::Audit(traces) => {
            assert!(traces.len() <= LINES_MAX);
            assert!(traces.iter().all(|trace| trace.heads.len() <= TRACE_MAX));
        }
        Frame::Heads(heads) => assert!(heads.len() <= LINES_MAX),
        Frame::Rings { rings, .. } => assert!(rings.len() <= LINES_MAX),
        Frame::Want(wants) => assert!(wants.len() <= LINES_MAX),
        Frame::Proof(one, two) => {
            for head in [one, two] {
                let mut other = *head;
                other.sig = [0; 64];
                // Its id is its content: no signature makes a second head of one.
                assert_eq!(head.id(HIVE), other.id(HIVE));
            }
        }
        _ => {}
    }
}

/// What is sent without its author's name is the same again for whoever knows the sender.
fn check_author(frame: &Frame) {
    let (sender, other) = (NodeId([1; 32]), NodeId([2; 32]));
    match frame.clone().said_by(sender) {
        Frame::Delta(delta) => {
            check_entries(&delta.entries);
            let named = Frame::Delta(delta);
            let short = named.clone().without(sender);
            assert!(short.encode().len() <= frame.encode().len());
            if matches!(short, Frame::Own(_)) {
                assert_eq!(short.clone().said_by(sender), named);
                assert_ne!(short.said_by(other), named, "somebody else's word");
            } else {
                assert_eq!(short, named);
            }
        }
        same => assert_eq!(&same, frame),
    }
}

fn check_entries(entries: &[Entry]) {
    assert!(entries.len() <= limits::MAP_ENTRIES_MAX);
    for entry in entries {
        let Some(value) = &entry.value else { continue };
        assert!(value.len() <= limits::VALUE_BYTES_MAX);
        if let Some(statement) = Statement::decode(entry.key, value) {
            assert_eq!(statement.key(), entry.key);
            let again = Statement::decode(entry.key, &statement.encode());
            assert_eq!(again.as_ref(), Some(&statement));
            if let Statement::Profile(profile) = &statement {
                let label = profile.label.as_str();
                assert!((1..=limits::LABEL_BYTES_MAX).contains(&label.len()));
                assert!(!label.chars().any(char::is_control));
            }
        }
    }
}

const HIVE: HiveId = HiveId([4; 32]);

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = golden().iter().map(Frame::encode).collect();
    seeds.extend(golden_pair().iter().map(PairFrame::encode));
    // Lengths that lie: four billion lines, entries, bytes and addresses announced, none there.
    for tag in [2_u8, 3, 5] {
        seeds.push(vec![1, tag, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    }
    seeds.push(vec![1, 5, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    // A varint that never ends, another version, nothing at all.
    seeds.push([&[1, 2][..], &[0x80; 20]].concat());
    seeds.push(vec![2, 1]);
    seeds.push(Vec::new());
    // The tag of a frame that a later version may have.
    seeds.push(vec![1, 60, 0, 0, 0]);
    let cut: Vec<Vec<u8>> = seeds[..golden().len()]
        .iter()
        .map(|whole| whole[..whole.len() / 2].to_vec())
        .collect();
    seeds.extend(cut);
    seeds
}

fn golden() -> Vec<Frame> {
    let author = NodeId([1; 32]);
    let line = Line {
        author,
        incarnation: 1,
        seq: 200,
        id: [9; 16],
        forked: true,
    };
    let have = Have {
        author,
        incarnation: 1,
        seq: 200,
    };
    let mark = |seq| HeadMark {
        incarnation: 1,
        seq,
        id: [9; 16],
    };
    let trace = Trace {
        author,
        heads: vec![mark(1), mark(2)],
    };
    let part = |last, bytes: &[u8]| Frame::Part {
        last,
        bytes: bytes.to_vec(),
    };
    let ring = |first| RingMark {
        author: [first; 4],
        check: [7; 4],
    };
    vec![
        Frame::Probe { h: [7; 16] },
        Frame::Same,
        Frame::Digest(vec![line; 2]),
        Frame::Want(vec![have; 2]),
        Frame::Delta(delta(Some((1, 299)), None)),
        Frame::Delta(delta(None, Some([4; 32]))),
        Frame::Own(OwnDelta::new(delta(Some((2, 299)), None))),
        Frame::Own(OwnDelta::new(delta(Some((1, 7)), Some([4; 32])))),
        part(false, &[4, 5]),
        part(true, &Frame::Same.encode()),
        Frame::Proof(head(3), head(4)),
        Frame::Audit(vec![trace]),
        Frame::Heads(vec![head(3), head(4)]),
        Frame::Rings {
            salt: [5; 8],
            rings: vec![ring(1), ring(2)],
        },
        Frame::Moved(Rotate {
            old: NodeId([1; 32]),
            new: NodeId([2; 32]),
            keep: HeadRef {
                incarnation: 1,
                seq: 9,
                id: HeadId([3; 32]),
            },
            sigs: [[4; 32], [5; 32], [6; 32], [7; 32]],
        }),
    ]
}

fn golden_pair() -> Vec<PairFrame> {
    let genesis = Genesis {
        format: 1,
        founder: NodeId([1; 32]),
        recovery: Some(NodeId([2; 32])),
        nonce: [2; 16],
    };
    let here = ([192, 168, 1, 5], 4_483).into();
    let far = ([0xfd00, 0, 0, 0, 0, 0, 0, 1_u16], 4_483).into();
    let refusals = [
        Refusal::WrongCode,
        Refusal::Spent,
        Refusal::Wait,
        Refusal::Full,
        Refusal::Denied,
        Refusal::HandedOver,
        Refusal::Gone,
        Refusal::OnlyBack,
    ];
    let mut frames = vec![
        PairFrame::Hello {
            nonce: [1; 16],
            label: Label::new("desk").expect("a label"),
        },
        PairFrame::Challenge { nonce: [2; 16] },
        PairFrame::Proof { mac: [3; 32] },
        PairFrame::Proved {
            hive: HIVE,
            mac: [5; 32],
        },
        PairFrame::Welcome {
            genesis,
            secret: [6; 32],
            addresses: vec![(NodeId([1; 32]), here), (NodeId([2; 32]), far)],
        },
        PairFrame::Thanks,
    ];
    frames.extend(refusals.map(PairFrame::Refused));
    frames
}

/// Entries of a known kind, of an unknown one, and a removed one.
fn delta(base: Option<(u32, u64)>, prev: Option<[u8; 32]>) -> Delta {
    let label = Label::new("amber otter").expect("a label");
    let profile = Statement::Profile(hive_core::statement::Profile { label });
    let entry = |key, value| Entry {
        key,
        seq: 300,
        hlc: Hlc(70_000),
        value,
    };
    let unknown = Key {
        kind: 200,
        id: [2; 16],
    };
    let gone = Key {
        kind: 202,
        id: [3; 16],
    };
    Delta {
        author: NodeId([1; 32]),
        incarnation: 2,
        base,
        seq: 300,
        hlc: Hlc(70_000),
        floor: 0,
        prev,
        sig: [3; 64],
        entries: vec![
            entry(profile.key(), Some(profile.encode())),
            entry(unknown, Some(b"from the future".to_vec())),
            // Of an older batch, and about what the one before is about.
            Entry {
                seq: 299,
                hlc: Hlc(60_000),
                ..entry(
                    Key {
                        kind: 201,
                        ..unknown
                    },
                    Some(b"its numbers".to_vec()),
                )
            },
            entry(gone, None),
        ],
    }
}

fn head(seq: u64) -> Head {
    Head {
        author: NodeId([1; 32]),
        incarnation: 2,
        seq,
        hlc: Hlc(4),
        floor: 0,
        prev: [6; 32],
        root: [7; 32],
        sig: [8; 64],
    }
}
