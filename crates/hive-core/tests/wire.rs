//! The bytes on the wire: golden ones that must never change under one version, and hostile ones.

use std::fmt::Write as _;

use hive_core::id::{HeadId, HiveId, NodeId};
use hive_core::limits;
use hive_core::statement::{HeadRef, Key, Label};
use hive_core::time::Hlc;
use hive_core::wire::{
    DecodeError, Delta, Entry, Frame, Genesis, HINTS_MAX, Have, Head, HeadMark, Hint, LINES_MAX,
    Line, PairFrame, Pin, Refusal, Trace,
};
use proptest::prelude::*;

fn entry(value: Option<Vec<u8>>) -> Entry {
    Entry {
        key: Key {
            kind: 1,
            id: [2; 16],
        },
        seq: 300,
        hlc: Hlc(70_000),
        value,
    }
}

fn delta(entries: Vec<Entry>) -> Delta {
    Delta {
        author: NodeId([1; 32]),
        incarnation: 2,
        base: Some((1, 299)),
        seq: 300,
        hlc: Hlc(70_000),
        floor: 0,
        prev: None,
        sig: [3; 64],
        entries,
    }
}

fn head() -> Head {
    Head {
        author: NodeId([1; 32]),
        incarnation: 2,
        seq: 3,
        hlc: Hlc(4),
        floor: 5,
        prev: [6; 32],
        root: [7; 32],
        sig: [8; 64],
    }
}

fn pin(author: NodeId) -> Pin {
    Pin {
        author,
        state: HeadRef {
            incarnation: 2,
            seq: 300,
            id: HeadId([9; 32]),
        },
    }
}

fn genesis() -> Genesis {
    Genesis {
        format: 1,
        founder: NodeId([1; 32]),
        recovery: None,
        nonce: [2; 16],
    }
}

fn frames() -> Vec<(&'static str, Frame)> {
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
    vec![
        ("probe", Frame::Probe { h: [7; 16] }),
        ("same", Frame::Same),
        ("digest", Frame::Digest(vec![line])),
        ("want", Frame::Want(vec![have])),
        (
            "delta",
            Frame::Delta(delta(vec![entry(Some(vec![1, 2, 3]))])),
        ),
        ("delta-removed", Frame::Delta(delta(vec![entry(None)]))),
        (
            "part",
            Frame::Part {
                last: true,
                bytes: vec![4, 5],
            },
        ),
        ("proof", Frame::Proof(head(), head())),
        (
            "audit",
            Frame::Audit(vec![Trace {
                author,
                heads: vec![HeadMark {
                    incarnation: 2,
                    seq: 300,
                    id: [9; 16],
                }],
            }]),
        ),
        ("heads", Frame::Heads(vec![head()])),
        (
            "pins",
            Frame::Pins {
                tell_back: true,
                held: vec![pin(author)],
            },
        ),
        ("want-pins", Frame::WantPins(vec![pin(author)])),
        (
            "i-have",
            Frame::IHave(vec![Hint {
                author: [1; 4],
                incarnation: 1,
                seq: 200,
            }]),
        ),
        ("graft", Frame::Graft(vec![have])),
        ("prune", Frame::Prune(vec![author])),
        (
            "changed",
            Frame::Changed {
                answer: true,
                lines: vec![line],
            },
        ),
    ]
}

fn pair_frames() -> Vec<(&'static str, PairFrame)> {
    let label = Label::new("desk").expect("a label");
    let address = "192.168.1.5:4483".parse().expect("an address");
    vec![
        (
            "hello",
            PairFrame::Hello {
                nonce: [1; 16],
                label,
            },
        ),
        ("challenge", PairFrame::Challenge { nonce: [2; 16] }),
        ("code-proof", PairFrame::Proof { mac: [3; 32] }),
        (
            "proved",
            PairFrame::Proved {
                hive: HiveId([4; 32]),
                mac: [5; 32],
            },
        ),
        ("refused", PairFrame::Refused(Refusal::Denied)),
        (
            "welcome",
            PairFrame::Welcome {
                genesis: genesis(),
                secret: [6; 32],
                addresses: vec![(NodeId([1; 32]), address)],
            },
        ),
        ("thanks", PairFrame::Thanks),
        ("waiting", PairFrame::Waiting),
        ("taken-back", PairFrame::TakenBack),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory");
        text
    })
}

#[test]
fn the_bytes_of_version_one_do_not_change() {
    let mut now = String::new();
    for (name, frame) in frames() {
        writeln!(now, "{name} {}", hex(&frame.encode())).expect("memory");
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }
    for (name, frame) in pair_frames() {
        writeln!(now, "{name} {}", hex(&frame.encode())).expect("memory");
        assert_eq!(PairFrame::decode(&frame.encode()), Ok(frame));
    }
    writeln!(
        now,
        "head-signed {}",
        hex(&head().signed_bytes(HiveId([4; 32])))
    )
    .expect("memory");
    writeln!(now, "genesis-hash {}", genesis().hive()).expect("memory");
    assert_eq!(now, include_str!("golden/frames.txt"));
}

#[test]
fn tails_other_versions_and_cut_frames_are_refused() {
    for (name, frame) in frames() {
        let good = frame.encode();
        let mut tail = good.clone();
        tail.push(0);
        assert_eq!(Frame::decode(&tail), Err(DecodeError::Trailing), "{name}");
        let mut other = good.clone();
        other[0] = 2;
        assert_eq!(Frame::decode(&other), Err(DecodeError::Version), "{name}");
        for end in 1..good.len() {
            assert_eq!(
                Frame::decode(&good[..end]),
                Err(DecodeError::Malformed),
                "{name} {end}"
            );
        }
    }
    assert_eq!(Frame::decode(&[]), Err(DecodeError::Version));
    let long = vec![1; limits::FRAME_BYTES_MAX + 1];
    assert_eq!(Frame::decode(&long), Err(DecodeError::TooLong));
    let long = vec![1; limits::PAIR_FRAME_BYTES_MAX + 1];
    assert_eq!(PairFrame::decode(&long), Err(DecodeError::TooLong));
}

#[test]
fn a_declared_length_alone_is_never_believed() {
    // Digest, want, hints, graft, part: four billion elements announced, none there.
    for tag in [2_u8, 3, 7, 8, 9, 10] {
        let bytes = [1, tag, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(Frame::decode(&bytes), Err(DecodeError::Malformed));
    }
    assert_eq!(
        Frame::decode(&[1, 5, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        Err(DecodeError::Malformed)
    );
    // More lines, or a longer value, than any member may send, all of them really there.
    let line = Line {
        author: NodeId([1; 32]),
        incarnation: 1,
        seq: 1,
        id: [0; 16],
        forked: false,
    };
    let hint = Hint {
        author: [1; 4],
        incarnation: 1,
        seq: 1,
    };
    let have = Have {
        author: NodeId([1; 32]),
        incarnation: 1,
        seq: 1,
    };
    let lines = vec![line; LINES_MAX + 1];
    for many in [
        Frame::Digest(lines.clone()),
        Frame::Changed {
            answer: false,
            lines,
        },
        Frame::Want(vec![have; LINES_MAX + 1]),
        Frame::Graft(vec![have; LINES_MAX + 1]),
        Frame::IHave(vec![hint; HINTS_MAX + 1]),
    ] {
        assert_eq!(Frame::decode(&many.encode()), Err(DecodeError::Malformed));
    }
    let long = vec![0; limits::VALUE_BYTES_MAX + 1];
    let long = Frame::Delta(delta(vec![entry(Some(long))])).encode();
    assert_eq!(Frame::decode(&long), Err(DecodeError::Malformed));
}

#[test]
fn a_long_frame_travels_in_parts() {
    let entries: Vec<_> = (0..60)
        .map(|_| entry(Some(vec![1; limits::VALUE_BYTES_MAX])))
        .collect();
    let frame = Frame::Delta(delta(entries));
    let parts = frame.encode_split();
    assert_eq!(parts.len(), 2);
    let mut whole = Vec::new();
    for part in parts {
        assert!(part.len() <= limits::FRAME_BYTES_MAX);
        match Frame::decode(&part) {
            Ok(Frame::Part { bytes, .. }) => whole.extend(bytes),
            other => panic!("not a part: {other:?}"),
        }
    }
    assert_eq!(Frame::decode_assembled(&whole), Ok(frame));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_bytes_make_reading_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), tag in 0..14_u8) {
        let plain = (Frame::decode(&bytes), PairFrame::decode(&bytes));
        prop_assert!(bytes.first() == Some(&1) || plain.0 == Err(DecodeError::Version));
        // And again where the first two bytes are not what stops it.
        bytes.insert(0, tag);
        bytes.insert(0, 1);
        for decoded in [Frame::decode(&bytes), Frame::decode_assembled(&bytes)].into_iter().flatten() {
            prop_assert_eq!(Frame::decode(&decoded.encode()), Ok(decoded));
        }
        if let Ok(decoded) = PairFrame::decode(&bytes) {
            prop_assert_eq!(PairFrame::decode(&decoded.encode()), Ok(decoded));
        }
    }
}
