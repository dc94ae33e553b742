//! The sync machine: a member that sends anything at any time moves no map but its own, loses nothing of the
//! others, admits and removes nobody, and is answered within bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use hive_core::event::{Command, Input, Output};
use hive_core::event_log::{Happening, Misdeed};
use hive_core::hive::outside::{HiveEffect, Table};
use hive_core::hive::store::{AuthorMap, Store, disk};
use hive_core::id::{HeadId, HiveId, NodeId};
use hive_core::limits;
use hive_core::reply::Reply;
use hive_core::statement::{Admit, Role, Statement};
use hive_core::time::{Hlc, Span};
use hive_core::wire::{Frame, Have, Head, HeadMark, LINES_MAX, Line, OwnDelta, RingMark, Trace};

use crate::forge::{self, Held, Who};
use crate::maps;
use crate::script::Script;
use crate::stage::{Disk, Player, address, saved};
use crate::{Outcome, Target};

/// The sync machine.
pub const TARGET: Target = Target {
    name: "sync",
    life: || {
        let mut life = Life::new();
        Box::new(move |data| life.script(data))
    },
    seeds,
};

/// Steps of one script. A guess that keeps one input quick.
const STEPS_MAX: usize = 12;

/// What one frame may be answered with: the core gives two whole maps and the one that goes beyond
/// (`GIVE_BYTES_MAX` in `hive/sync.rs`), and there are heads, lines and proofs around them.
const ANSWER_BYTES_MAX: usize = 3 * limits::MAP_BYTES_MAX + 64 * 1024;

/// Longer than a member that misbehaved is not spoken with.
const FORGIVEN: Span = Span::from_secs(601);

/// What all lives begin with. The victim founded the hive and admitted two members, one of them evil.
pub(crate) struct Cast {
    pub(crate) disk: Disk,
    pub(crate) hive: HiveId,
    /// Every state that the honest member signed; the victim holds the one numbered [`HELD`].
    pub(crate) honest: Vec<AuthorMap>,
    /// Frames that mean something, to be sent as they are or changed.
    frames: Vec<Vec<u8>>,
}

/// The honest state that the victim holds at first.
pub(crate) const HELD: usize = 2;

struct Life {
    victim: Player,
    connected: BTreeSet<NodeId>,
    ranks: BTreeMap<NodeId, (u32, u64, HeadId)>,
    evil: Held,
}

impl Life {
    fn new() -> Self {
        let cast = cast();
        let (victim, outputs) = Player::start(Who::Victim, cast.disk.clone(), 60_000_000);
        let mut life = Self {
            victim,
            connected: BTreeSet::new(),
            ranks: BTreeMap::new(),
            evil: Held::default(),
        };
        for who in [Who::Victim, Who::Honest, Who::Evil] {
            life.check_map(who.node());
        }
        life.judge(&outputs);
        life.connect(Who::Honest);
        life.connect(Who::Evil);
        life
    }

    fn script(&mut self, data: &[u8]) -> Outcome {
        // An evil map at the end of its numbers can only be forked any more.
        if self.evil.seq > 1 << 40 || self.evil.incarnation > 1 << 20 || self.evil.hlc > 1 << 60 {
            *self = Self::new();
        }
        let mut script = Script::new(data);
        let mut taken = false;
        for _ in 0..STEPS_MAX {
            if script.is_over() {
                break;
            }
            taken |= self.step(&mut script);
            let outputs = self.victim.pass(Span::from_ms(20));
            self.judge(&outputs);
        }
        let (reply, outputs) = self.victim.ask(Command::Status);
        self.judge(&outputs);
        let Some(Reply::Status(status)) = reply else {
            panic!("no status");
        };
        let left = self.evil_left();
        assert_eq!(status.members, if left { 2 } else { 3 });
        if left {
            // Who is no member is not heard: another life.
            *self = Self::new();
        }
        if taken {
            Outcome::Taken
        } else {
            Outcome::Refused
        }
    }

    /// One step; whether it moved a map.
    fn step(&mut self, script: &mut Script<'_>) -> bool {
        let frames = &cast().frames;
        match script.byte() % 16 {
            0..=2 => {
                let frame = &frames[script.below(frames.len())];
                self.send(Who::Evil, frame)
            }
            3..=5 => {
                let pick = script.below(frames.len());
                let frame = script.changed(&frames[pick]);
                self.send(Who::Evil, &frame)
            }
            6 | 7 => {
                let delta = forge::delta(script, &Who::Evil.key(), cast().hive, &self.evil);
                self.send_long(Who::Evil, &Frame::Delta(delta))
            }
            8 => {
                let frame = script.run().to_vec();
                self.send(Who::Evil, &frame)
            }
            9 => {
                let frame = frames[script.below(frames.len())].clone();
                self.send_parts(script, &frame)
            }
            10 => {
                let honest = &cast().honest;
                let map = &honest[script.below(honest.len())];
                let base = (script.byte() & 1 != 0).then(|| (1, script.number()));
                self.send_long(Who::Honest, &Frame::Delta(map.delta(base)))
            }
            11 => {
                let frame = &frames[script.below(frames.len())];
                let outputs = self.receive(Who::Stranger, frame);
                assert_eq!(outputs, [], "somebody who is no member was heard");
                false
            }
            12 => {
                let span = [
                    Span::from_ms(300),
                    Span::from_secs(12),
                    FORGIVEN,
                    Span(u64::from(script.byte()) << 32),
                ];
                let outputs = self.victim.pass(span[script.below(span.len())]);
                self.judge(&outputs)
            }
            13 => self.links(script),
            14 => self.speak(script),
            _ => {
                let (victim, outputs) = Player::start(
                    Who::Victim,
                    self.victim.disk.clone(),
                    self.victim.boot() + 1,
                );
                self.victim = victim;
                self.connected.clear();
                self.judge(&outputs)
            }
        }
    }

    /// Connections come and go.
    fn links(&mut self, script: &mut Script<'_>) -> bool {
        let who = [Who::Evil, Who::Honest, Who::Stranger][script.below(3)];
        let peer = who.node();
        let input = match script.byte() % 8 {
            0 => {
                self.connected.remove(&peer);
                Input::PeerDown { peer }
            }
            1 => Input::DialFailed { peer },
            2 => Input::NetworkChanged,
            // A transport that is honest itself blames nobody who is.
            3 => Input::TransportRefused {
                peer: Who::Evil.node(),
                misdeed: Misdeed::FrameTooLong,
            },
            4 => Input::DialRefused {
                peer,
                address: address(who as u8),
            },
            5 => Input::Misdialled {
                address: address(who as u8),
            },
            6 => Input::Ousted { peer },
            _ => {
                self.connect(who);
                return false;
            }
        };
        let outputs = self.victim.feed(input);
        self.judge(&outputs)
    }

    /// The victim has something of its own to say.
    fn speak(&mut self, script: &mut Script<'_>) -> bool {
        let command = if script.byte() & 1 == 0 {
            Command::Label {
                label: format!("desk {}", script.byte() % 4),
            }
        } else {
            let mut evidence = forge::evidence();
            evidence.harms = script.wide();
            Command::Share {
                def: forge::pattern(),
                evidence,
            }
        };
        let (_, outputs) = self.victim.ask(command);
        self.judge(&outputs)
    }

    fn connect(&mut self, who: Who) {
        let peer = who.node();
        self.connected.insert(peer);
        let outputs = self.victim.feed(Input::PeerUp {
            peer,
            address: address(who as u8),
        });
        let closed = Output::Hive(HiveEffect::Close { peer });
        if outputs.contains(&closed) {
            assert_ne!(who, Who::Honest, "the honest member was turned away");
        } else {
            assert_ne!(who, Who::Stranger, "a stranger was let in");
        }
        self.judge(&outputs);
    }

    /// One frame of a member, who is let in first if need be.
    fn send(&mut self, who: Who, frame: &[u8]) -> bool {
        if !self.connected.contains(&who.node()) {
            let outputs = self.victim.pass(FORGIVEN);
            self.judge(&outputs);
            self.connect(who);
        }
        let outputs = self.receive(who, frame);
        if Frame::decode(frame).is_err() {
            assert_eq!(saved(&outputs).count(), 0, "a refused frame was kept");
            assert_eq!(sent_bytes(&outputs), 0, "a refused frame was answered");
        }
        assert!(
            sent_bytes(&outputs) <= ANSWER_BYTES_MAX,
            "too much of an answer"
        );
        self.judge(&outputs)
    }

    fn receive(&mut self, who: Who, frame: &[u8]) -> Vec<Output> {
        self.victim.feed(Input::Received {
            peer: who.node(),
            frame: frame.to_vec(),
        })
    }

    fn send_long(&mut self, who: Who, frame: &Frame) -> bool {
        let mut moved = false;
        for piece in frame.encode_split() {
            moved |= self.send(who, &piece);
        }
        moved
    }

    /// A frame in pieces of a size that the script chooses, some lost, the end not always marked.
    fn send_parts(&mut self, script: &mut Script<'_>, frame: &[u8]) -> bool {
        let size = 1 + script.below(300);
        let skip = script.below(16);
        let mut moved = false;
        let count = frame.len().div_ceil(size).min(16);
        for (index, bytes) in frame.chunks(size).take(count).enumerate() {
            if index + 1 == skip {
                continue;
            }
            let part = Frame::Part {
                last: index + 1 == count,
                bytes: bytes.to_vec(),
            };
            moved |= self.send(Who::Evil, &part.encode());
        }
        moved
    }

    /// Everything that the victim wanted; whether a map moved.
    fn judge(&mut self, outputs: &[Output]) -> bool {
        for output in outputs {
            match output {
                Output::Hive(HiveEffect::Send { peer, .. }) => {
                    assert!(self.connected.contains(peer), "spoke to nobody");
                }
                Output::Hive(HiveEffect::Close { peer }) => {
                    assert_ne!(*peer, Who::Honest.node(), "the honest one was cut off");
                    self.connected.remove(peer);
                }
                Output::Hive(HiveEffect::Members(members)) => {
                    let mut all = vec![Who::Honest.node(), Who::Evil.node()];
                    all.sort();
                    // Nobody but the evil one itself can say that it left.
                    all.retain(|it| *it != Who::Evil.node() || !self.evil_left());
                    assert_eq!(*members, all, "others may connect");
                }
                Output::Hive(HiveEffect::PairOpen(open)) => assert!(!open, "a door was opened"),
                Output::Tell(Happening::StoreDamaged) => panic!("the own disk was damaged"),
                Output::Tell(Happening::Removed { .. }) => panic!("somebody was removed"),
                _ => {}
            }
        }
        let touched: BTreeSet<NodeId> = saved(outputs)
            .filter(|record| matches!(record.table, Table::Heads | Table::Entries))
            .map(|record| NodeId(*record.key.first_chunk().expect("an author")))
            .collect();
        for author in &touched {
            self.check_map(*author);
        }
        !touched.is_empty()
    }

    /// Whether the evil one's own map says goodbye.
    fn evil_left(&self) -> bool {
        let node = Who::Evil.node();
        let goodbye = |said: &Statement| matches!(said, Statement::Revoke(it) if it.node == node);
        let map = self.victim.disk.map(cast().hive, node);
        map.is_some_and(|map| map.member_statements().any(|(_, said)| goodbye(&said)))
    }

    /// A map that was saved holds together, is newer than before, and is its author's own word.
    fn check_map(&mut self, author: NodeId) {
        let cast = cast();
        let map = self.victim.disk.map(cast.hive, author);
        let map = map.expect("an author's map was lost");
        let rank = (map.head().incarnation, map.head().seq, map.id());
        if author == Who::Honest.node() {
            assert!(
                cast.honest.contains(&map),
                "the honest author never said this"
            );
        } else if author == Who::Evil.node() {
            let mut store = Store::new(cast.hive);
            store.insert(map);
            self.evil = maps::held(&store, Who::Evil);
        } else {
            assert_eq!(author, Who::Victim.node(), "a map of somebody unknown");
            for who in [Who::Honest, Who::Evil] {
                let key = admission(who).key();
                assert!(map.value(&key).is_some(), "an admission was lost");
            }
        }
        let before = self.ranks.insert(author, rank);
        assert!(
            before.is_none_or(|before| before <= rank),
            "an older state came back"
        );
    }
}

fn sent_bytes(outputs: &[Output]) -> usize {
    let lengths = outputs.iter().map(|output| match output {
        Output::Hive(HiveEffect::Send { frame, .. }) => frame.len(),
        _ => 0,
    });
    lengths.sum()
}

fn admission(who: Who) -> Statement {
    Statement::Admit(Admit {
        node: who.node(),
        role: Role::Member,
        owner: who.node(),
    })
}

/// Made once: a real founder's disk, to which its own signed admissions and the members' maps are added.
pub(crate) fn cast() -> &'static Cast {
    static CAST: OnceLock<Cast> = OnceLock::new();
    CAST.get_or_init(|| {
        let (mut founder, _) = Player::start(Who::Victim, Disk::default(), 1_000_000);
        founder.pass(Span::from_secs(30));
        let mut disk = founder.disk.clone();
        let hive = disk.genesis().hive();
        let alone = disk
            .map(hive, Who::Victim.node())
            .expect("it said its name");
        let admitting = admitting(hive, &alone);
        let honest = maps::honest(hive);
        let evil = evil(hive);
        disk.write(&disk::records(Some(&alone), Some(&admitting)));
        disk.write(&disk::records(None, Some(&honest[HELD])));
        disk.write(&disk::records(None, Some(&evil[0])));
        let frames = frames(&[&alone, &admitting], &honest, &evil);
        Cast {
            disk,
            hive,
            honest,
            frames: frames.iter().map(Frame::encode).collect(),
        }
    })
}

fn admitting(hive: HiveId, alone: &AuthorMap) -> AuthorMap {
    let mut store = Store::new(hive);
    store.insert(alone.clone());
    let changes = [Who::Honest, Who::Evil].map(|who| {
        let admission = admission(who);
        (admission.key(), Some(admission.encode()))
    });
    let head = alone.head();
    let hlc = Hlc(head.hlc.0 + 1);
    let map = store.draft(&Who::Victim.key(), head.incarnation, hlc, changes.to_vec());
    map.expect("small")
}

/// Two states of the evil one, and a third that contradicts the second.
fn evil(hive: HiveId) -> Vec<AuthorMap> {
    let key = Who::Evil.key();
    let all = forge::statements();
    let state = |store: &Store, seq: u64, pick: usize| {
        let change = (all[pick].key(), Some(all[pick].encode()));
        let hlc = Hlc(1_700_000_000_000 << 16 | seq);
        store.draft(&key, 1, hlc, vec![change]).expect("small")
    };
    let mut store = Store::new(hive);
    let first = state(&store, 1, 5);
    store.insert(first.clone());
    let second = state(&store, 2, 0);
    let other = state(&store, 2, 3);
    vec![first, second, other]
}

/// Marks that fit nothing seen.
fn rings(heads: &[&Head]) -> Frame {
    let mark = |head: &&Head| RingMark {
        author: *head.author.0.first_chunk().expect("longer"),
        check: [7; 4],
    };
    let mut rings: Vec<RingMark> = heads.iter().map(mark).collect();
    rings.sort_unstable();
    Frame::Rings {
        salt: [5; 8],
        rings,
    }
}

fn frames(own: &[&AuthorMap], honest: &[AuthorMap], evil: &[AuthorMap]) -> Vec<Frame> {
    let line = |head: &Head, id: HeadId, forked| Line {
        author: head.author,
        incarnation: head.incarnation,
        seq: head.seq,
        id: *id.0.first_chunk().expect("half of it"),
        forked,
    };
    let digest = |maps: &[&AuthorMap], forked| {
        let mut lines: Vec<Line> = maps
            .iter()
            .map(|map| line(map.head(), map.id(), forked))
            .collect();
        lines.sort_by_key(|line| line.author);
        Frame::Digest(lines)
    };
    let trace = |head: &Head, id: HeadId| Trace {
        author: head.author,
        heads: vec![HeadMark {
            incarnation: head.incarnation,
            seq: head.seq,
            id: *id.0.first_chunk().expect("half of it"),
        }],
    };
    let want = |who: Who, incarnation, seq| Have {
        author: who.node(),
        incarnation,
        seq,
    };
    let mut wants = vec![
        want(Who::Victim, 0, 0),
        want(Who::Honest, 1, 1),
        want(Who::Evil, 9, 9),
    ];
    wants.sort_by_key(|want| want.author);
    let mut frames = vec![
        Frame::Probe { h: [0; 16] },
        Frame::Same,
        Frame::Digest(Vec::new()),
        digest(&[own[1], &honest[HELD], &evil[0]], false),
        digest(&[own[0], &honest[5], &evil[1]], true),
        digest(&[&honest[5], &honest[0]], false),
        Frame::Want(wants.clone()),
        Frame::Want(wants.iter().cycle().take(LINES_MAX).copied().collect()),
        Frame::Want(vec![want(Who::Stranger, 1, 1)]),
        Frame::Proof(*evil[1].head(), *evil[2].head()),
        Frame::Proof(*honest[1].head(), *honest[2].head()),
        Frame::Proof(*own[0].head(), *own[1].head()),
        Frame::Audit(vec![trace(evil[2].head(), evil[2].id())]),
        Frame::Audit(vec![trace(honest[3].head(), HeadId([7; 32]))]),
        Frame::Heads(vec![*evil[1].head(), *honest[5].head(), *own[0].head()]),
        rings(&[evil[0].head(), honest[HELD].head(), own[0].head()]),
    ];
    for map in own.iter().copied().chain(honest).chain(evil) {
        frames.push(Frame::Delta(map.delta(None)));
    }
    for map in honest.iter().chain(evil) {
        let head = map.head();
        let base = (head.incarnation, head.seq.saturating_sub(1));
        frames.push(Frame::Delta(map.delta(Some(base))));
    }
    // As their authors send them: whose they are, the connection tells.
    for map in honest.iter().chain(evil) {
        frames.push(Frame::Own(OwnDelta::new(map.delta(None))));
    }
    frames
}

fn seeds() -> Vec<Vec<u8>> {
    let every = u8::try_from(cast().frames.len()).expect("few");
    let mut seeds: Vec<Vec<u8>> = (0..every).map(|frame| vec![0, frame]).collect();
    seeds.extend([
        // The evil one's own states, one after the other, then one that contradicts.
        vec![6, 0, 1, 0, 0, 6, 1, 1, 1, 3, 7, 3, 1, 0, 5],
        // Frames in pieces, one of them lost.
        vec![9, 12, 40, 0, 9, 13, 40, 2, 9, 4, 1, 0],
        // The honest one catches up while the evil one sends old states of it.
        vec![10, 3, 0, 0, 12, 10, 5, 0, 0, 13, 10, 1, 1, 1],
        // Restart, time, a stranger, the victim's own words.
        vec![15, 12, 1, 11, 3, 14, 0, 2, 14, 1, 0, 7, 12, 2, 15],
        // Three frames that make no sense: shunned, and back.
        vec![8, 1, 9, 8, 0, 8, 2, 1, 1, 0, 1, 13, 0, 4],
        vec![
            3, 14, 2, 10, 3, 1, 3, 15, 1, 90, 5, 255, 13, 0, 0, 13, 0, 4, 14, 0, 1,
        ],
    ]);
    seeds
}
