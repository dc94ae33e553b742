//! The bytes on the wire: golden ones that must never change under one version, and hostile ones.

use std::fmt::Write as _;

use hive_core::id::{HeadId, HiveId, NodeId};
use hive_core::limits;
use hive_core::statement::{Farewell, HeadRef, Key, Label, Rotate};
use hive_core::time::Hlc;
use hive_core::wire::{
    DecodeError, Delta, Entry, Frame, Genesis, HINTS_MAX, Have, Head, HeadMark, Hint, LINES_MAX,
    Line, OwnDelta, PairFrame, Pin, Refusal, RingMark, Trace,
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

/// A definition, numbers about the same, and something older.
fn news() -> Vec<Entry> {
    let definition = entry(Some(vec![1, 2, 3]));
    let about = |kind| Key {
        kind,
        ..definition.key
    };
    vec![
        definition.clone(),
        Entry {
            key: about(2),
            value: Some(vec![4]),
            ..definition.clone()
        },
        Entry {
            key: about(4),
            seq: 298,
            hlc: Hlc(60_000),
            value: None,
        },
    ]
}

fn whole() -> Delta {
    Delta {
        base: None,
        prev: Some([5; 32]),
        ..delta(news())
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

const AUTHOR: NodeId = NodeId([1; 32]);

const LINE: Line = Line {
    author: AUTHOR,
    incarnation: 1,
    seq: 200,
    id: [9; 16],
    forked: true,
};

const HAVE: Have = Have {
    author: AUTHOR,
    incarnation: 1,
    seq: 200,
};

fn frames() -> Vec<(&'static str, Frame)> {
    let mut frames = frames_of_repair();
    frames.extend(frames_of_spreading());
    frames
}

fn frames_of_repair() -> Vec<(&'static str, Frame)> {
    vec![
        ("probe", Frame::Probe { h: [7; 16] }),
        ("same", Frame::Same),
        ("digest", Frame::Digest(vec![LINE])),
        ("want", Frame::Want(vec![HAVE])),
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
                author: AUTHOR,
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
                held: vec![pin(AUTHOR)],
            },
        ),
        ("want-pins", Frame::WantPins(vec![pin(AUTHOR)])),
    ]
}

fn frames_of_spreading() -> Vec<(&'static str, Frame)> {
    vec![
        ("delta-own", Frame::Own(OwnDelta::new(delta(news())))),
        ("delta-whole", Frame::Delta(whole())),
        (
            "i-have",
            Frame::IHave(vec![Hint {
                author: [1; 4],
                incarnation: 1,
                seq: 200,
            }]),
        ),
        ("graft", Frame::Graft(vec![HAVE])),
        ("prune", Frame::Prune(vec![AUTHOR])),
        (
            "changed",
            Frame::Changed {
                answer: true,
                lines: vec![LINE],
            },
        ),
        (
            "farewell",
            Frame::Farewell {
                by: AUTHOR,
                word: Farewell {
                    node: NodeId([2; 32]),
                    sig: [[3; 32], [4; 32]],
                },
            },
        ),
        (
            "rings",
            Frame::Rings {
                salt: [5; 8],
                rings: vec![RingMark {
                    author: [1; 4],
                    check: [2; 4],
                }],
            },
        ),
        (
            "moved",
            Frame::Moved(Rotate {
                old: AUTHOR,
                new: NodeId([2; 32]),
                keep: HeadRef {
                    incarnation: 3,
                    seq: 200,
                    id: HeadId([9; 32]),
                },
                sigs: [[3; 32], [4; 32], [5; 32], [6; 32]],
            }),
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
        ("refused-moved", PairFrame::Refused(Refusal::HandedOver)),
        ("refused-gone", PairFrame::Refused(Refusal::Gone)),
        ("refused-new", PairFrame::Refused(Refusal::OnlyBack)),
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
fn a_delta_says_nothing_twice_and_nothing_that_is_known() {
    let author = NodeId([1; 32]);
    let named = Frame::Delta(Delta {
        base: Some((2, 299)),
        ..delta(news())
    });
    let own = named.clone().without(author);
    // Its author, and the two numbers of its base.
    assert_eq!(named.encode().len() - own.encode().len(), 32);
    let further = Frame::Own(OwnDelta::new(Delta {
        base: Some((2, 298)),
        ..delta(news())
    }));
    assert_eq!(further.encode().len() - own.encode().len(), 3);
    assert_eq!(own.clone().said_by(author), named);
    assert_ne!(own.said_by(NodeId([2; 32])), named);
    // Somebody else's word keeps its author.
    assert_eq!(named.clone().without(NodeId([2; 32])), named);
}

#[test]
fn a_delta_whose_shape_is_unknown_is_refused() {
    let good = Frame::Delta(delta(news())).encode();
    let entry = good.iter().rposition(|byte| *byte == 3).expect("a value") - 2 - 1 - 16 - 1;
    // The shape of the delta, and of its first entry.
    for at in [2 + 32, entry] {
        for bit in 3..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(
                Frame::decode(&bad),
                Err(DecodeError::Malformed),
                "{at} {bit}"
            );
        }
    }
    // A base before the first batch, and an id of an entry that did not come.
    let first = [&[1, 4][..], &[1; 32], &[1, 2, 0, 1, 0], &[3; 64], &[0]].concat();
    assert_eq!(Frame::decode(&first), Err(DecodeError::Malformed));
    let later = [
        &[1, 4][..],
        &[1; 32],
        &[0, 2, 1, 1, 0],
        &[3; 64],
        &[1, 9, 4, 0, 0],
    ]
    .concat();
    assert_eq!(Frame::decode(&later), Err(DecodeError::Malformed));
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
    fn no_bytes_make_reading_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), tag in 0..18_u8) {
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
