//! The pairing machine, from both sides: whoever does not know the code becomes neither a request nor a
//! member, hears no secret, and cannot make a joiner believe that it was let in, also not from the middle.

use std::collections::VecDeque;

use hive_core::event::{Command, Input, Output};
use hive_core::event_log::Happening;
use hive_core::hive::outside::{Beacon, HiveEffect, Locators, Sighting};
use hive_core::hive::ticket::Invitation;
use hive_core::id::{HiveId, LinkId, NodeId};
use hive_core::reply::{JoinStage, Reply};
use hive_core::statement::Label;
use hive_core::time::Span;
use hive_core::wire::{Genesis, PairFrame, Refusal};

use crate::forge::Who;
use crate::script::Script;
use crate::stage::{Disk, Player, address};
use crate::{Outcome, Target};

/// The pairing machine.
pub const TARGET: Target = Target {
    name: "pairing",
    life: || {
        let mut life = Life::new();
        Box::new(move |data| life.script(data))
    },
    seeds,
};

/// Steps of one script. A guess that keeps one input quick.
const STEPS_MAX: usize = 32;

/// Links that the attacker opens to the inviter: numbers below this.
const LINKS: usize = 6;

/// The joiner's own link, which ends at the attacker.
const MIDDLE: LinkId = LinkId(1_000);

struct Life {
    inviter: Player,
    joiner: Player,
    code: String,
    /// Frames that the two said to the attacker, the newest last; it may hand them on.
    from_inviter: VecDeque<Vec<u8>>,
    from_joiner: VecDeque<Vec<u8>>,
    frames: Vec<Vec<u8>>,
    answered: bool,
}

impl Life {
    fn new() -> Self {
        let (inviter, outputs) = Player::start(Who::Victim, Disk::default(), 60_000_000);
        let (joiner, _) = Player::start(Who::Joiner, Disk::default(), 60_000_000);
        let frames = frames(inviter.disk.genesis());
        let mut life = Self {
            inviter,
            joiner,
            code: String::new(),
            from_inviter: VecDeque::new(),
            from_joiner: VecDeque::new(),
            frames,
            answered: false,
        };
        life.judge_inviter(&outputs);
        life.open_door();
        life
    }

    fn script(&mut self, data: &[u8]) -> Outcome {
        let mut script = Script::new(data);
        self.answered = false;
        for _ in 0..STEPS_MAX {
            if script.is_over() {
                break;
            }
            if script.byte().is_multiple_of(2) {
                self.at_inviter(&mut script);
            } else {
                self.at_joiner(&mut script);
            }
        }
        self.check_inviter();
        if self.answered {
            Outcome::Taken
        } else {
            Outcome::Refused
        }
    }

    fn at_inviter(&mut self, script: &mut Script<'_>) {
        let link = LinkId(script.below(LINKS) as u64);
        let input = match script.byte() % 12 {
            0..=2 => Input::PairUp {
                link,
                key: somebody(script),
                exporter: [script.byte(); 32],
                address: address(script.byte() % 4),
                dialled: script.byte().is_multiple_of(8),
            },
            3..=5 => Input::PairReceived {
                link,
                frame: self.attack(script),
            },
            6 | 7 => match self.from_joiner.pop_front() {
                Some(frame) => Input::PairReceived { link, frame },
                None => Input::TimeoutReached,
            },
            8 => Input::PairDown { link },
            9 => Input::PairDialFailed {
                address: address(script.byte() % 4),
            },
            10 => Input::Found(sighting(script)),
            _ => {
                let outputs = self.inviter.pass(span(script));
                self.judge_inviter(&outputs);
                self.open_door();
                return;
            }
        };
        let outputs = self.inviter.feed(input);
        self.judge_inviter(&outputs);
    }

    fn at_joiner(&mut self, script: &mut Script<'_>) {
        let link = if script.byte().is_multiple_of(4) {
            LinkId(script.below(LINKS) as u64)
        } else {
            MIDDLE
        };
        let input = match script.byte() % 12 {
            0 | 1 => {
                let at = (script.byte().is_multiple_of(2)).then(|| address(9));
                let code = self.code.clone();
                let (_, outputs) = self.joiner.ask(Command::Join { code, at });
                self.judge_joiner(&outputs);
                return;
            }
            2 | 3 => Input::PairUp {
                link,
                key: somebody(script),
                exporter: [script.byte(); 32],
                address: address(9),
                dialled: !script.byte().is_multiple_of(8),
            },
            4..=6 => Input::PairReceived {
                link,
                frame: self.attack(script),
            },
            7 | 8 => match self.from_inviter.pop_front() {
                Some(frame) => Input::PairReceived { link, frame },
                None => Input::TimeoutReached,
            },
            9 => Input::PairDown { link },
            10 => Input::Found(sighting(script)),
            _ => {
                let outputs = self.joiner.pass(span(script));
                self.judge_joiner(&outputs);
                return;
            }
        };
        let outputs = self.joiner.feed(input);
        self.judge_joiner(&outputs);
    }

    /// A frame of the attacker's own: made up, changed, or noise.
    fn attack(&self, script: &mut Script<'_>) -> Vec<u8> {
        let frame = &self.frames[script.below(self.frames.len())];
        match script.byte() % 4 {
            0 | 1 => frame.clone(),
            2 => script.changed(frame),
            _ => script.run().to_vec(),
        }
    }

    /// A code is open whenever the old one's time is over.
    fn open_door(&mut self) {
        let (reply, outputs) = self.inviter.ask(Command::Invite(Invitation::default()));
        self.judge_inviter(&outputs);
        if let Some(Reply::Invite(invite)) = reply {
            self.code = invite.code;
        }
    }

    fn judge_inviter(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Hive(HiveEffect::PairSend { frame, .. }) => {
                    match PairFrame::decode(frame).expect("its own frame") {
                        PairFrame::Challenge { .. } | PairFrame::Refused(Refusal::WrongCode) => {
                            self.answered = true;
                        }
                        PairFrame::Refused(_) => {}
                        other => panic!("a stranger was told {other:?}"),
                    }
                    self.from_inviter.push_back(frame.clone());
                }
                Output::Hive(HiveEffect::Members(members)) => assert_eq!(members[..], []),
                Output::Hive(HiveEffect::Send { .. } | HiveEffect::PairDial { .. }) => {
                    panic!("a word or a call to a stranger")
                }
                Output::Tell(Happening::AsksToJoin { .. }) => {
                    panic!("a request without the code")
                }
                _ => {}
            }
        }
        while self.from_inviter.len() > 8 {
            self.from_inviter.pop_front();
        }
    }

    fn judge_joiner(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Hive(HiveEffect::PairSend { frame, .. }) => {
                    match PairFrame::decode(frame).expect("its own frame") {
                        PairFrame::Hello { .. }
                        | PairFrame::Proof { .. }
                        | PairFrame::Refused(_) => {}
                        other => panic!("a joiner said {other:?}"),
                    }
                    self.from_joiner.push_back(frame.clone());
                }
                Output::Hive(HiveEffect::Members(members)) => assert_eq!(members[..], []),
                Output::Hive(HiveEffect::Send { .. }) => panic!("a word to a stranger"),
                _ => {}
            }
        }
        while self.from_joiner.len() > 8 {
            self.from_joiner.pop_front();
        }
        let (reply, _) = self.joiner.ask(Command::JoinState);
        let Some(Reply::Join(view)) = reply else {
            panic!("no answer");
        };
        assert!(
            !matches!(view.stage, JoinStage::Waiting | JoinStage::Member),
            "a joiner believes somebody who does not know the code"
        );
        assert_eq!(view.words, None);
    }

    fn check_inviter(&mut self) {
        let (reply, _) = self.inviter.ask(Command::Pending);
        let Some(Reply::Pending(view)) = reply else {
            panic!("no answer");
        };
        assert_eq!(view.pending, []);
        let (reply, _) = self.inviter.ask(Command::Members);
        let Some(Reply::Members(view)) = reply else {
            panic!("no answer");
        };
        assert_eq!(view.members.len(), 1);
        for player in [&self.inviter, &self.joiner] {
            let founder = player.disk.genesis().founder;
            assert!([Who::Victim.node(), Who::Joiner.node()].contains(&founder));
        }
        assert_eq!(self.joiner.disk.genesis().founder, Who::Joiner.node());
    }
}

/// The attacker has as many keys as it likes, but not those of the two.
fn somebody(script: &mut Script<'_>) -> NodeId {
    match script.byte() % 4 {
        0 => Who::Evil.node(),
        1 => Who::Stranger.node(),
        2 => Who::Honest.node(),
        _ => NodeId([script.byte() | 0x80; 32]),
    }
}

fn sighting(script: &mut Script<'_>) -> Sighting {
    Sighting {
        beacon: Beacon {
            tag: [script.byte(); 8],
            locators: Locators::of((script.byte() & 1 == 0).then(|| [script.byte(); 4])),
        },
        address: address(script.byte()),
    }
}

fn span(script: &mut Script<'_>) -> Span {
    let spans = [
        Span::from_ms(50),
        Span::from_ms(1_200),
        Span::from_secs(16),
        Span::from_secs(601),
        Span::from_secs(25 * 3_600),
    ];
    spans[script.below(spans.len())]
}

/// Every frame that there is, as somebody without the code can make it. The genesis is the true one: a hive's
/// id is no secret.
fn frames(genesis: Genesis) -> Vec<Vec<u8>> {
    let hello = |label: &str, nonce| PairFrame::Hello {
        nonce,
        label: Label::new(label).expect("a label"),
    };
    let welcome = |genesis, secret| PairFrame::Welcome {
        genesis,
        secret,
        addresses: vec![(Who::Evil.node(), address(3))],
    };
    let own = Genesis {
        founder: Who::Evil.node(),
        ..genesis
    };
    let frames = [
        hello("desk", [1; 16]),
        hello("machine 5", [0; 16]),
        PairFrame::Challenge { nonce: [2; 16] },
        PairFrame::Challenge { nonce: [0; 16] },
        PairFrame::Proof { mac: [0; 32] },
        PairFrame::Proof { mac: [3; 32] },
        PairFrame::Proved {
            hive: genesis.hive(),
            mac: [0; 32],
        },
        PairFrame::Proved {
            hive: HiveId([4; 32]),
            mac: [5; 32],
        },
        PairFrame::Refused(Refusal::Wait),
        PairFrame::Refused(Refusal::Denied),
        PairFrame::Refused(Refusal::Spent),
        welcome(genesis, [6; 32]),
        welcome(own, [7; 32]),
        PairFrame::Thanks,
    ];
    frames.iter().map(PairFrame::encode).collect()
}

/// The honest thing: the joiner has the code, and both are the two ends of one connection.
pub(crate) fn request(inviter: &mut Player, joiner: &mut Player) {
    let (link, exporter) = (LinkId(77), [7; 32]);
    let (reply, _) = inviter.ask(Command::Invite(Invitation::default()));
    let Some(Reply::Invite(invite)) = reply else {
        panic!("no code");
    };
    let (code, at) = (invite.code, Some(address(1)));
    joiner.ask(Command::Join { code, at });
    let up = |key, address, dialled| Input::PairUp {
        link,
        key,
        exporter,
        address,
        dialled,
    };
    inviter.feed(up(Who::Joiner.node(), address(5), false));
    let mut said = joiner.feed(up(Who::Victim.node(), address(1), true));
    for turn in 0..4 {
        let mut answers = Vec::new();
        for output in said {
            if let Output::Hive(HiveEffect::PairSend { frame, .. }) = output {
                let input = Input::PairReceived { link, frame };
                let listener = if turn % 2 == 0 {
                    &mut *inviter
                } else {
                    &mut *joiner
                };
                answers.extend(listener.feed(input));
            }
        }
        said = answers;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    // To the inviter: 0, link, what. Up, hello, proof.
    let up = [0, 1, 0, 0, 9, 1, 1];
    let hello = [0, 1, 3, 0, 0];
    let proof = [0, 1, 3, 5, 0];
    // To the joiner: 1, link, what. Join by address, the call goes through.
    let join = [1, 1, 0, 0, 1, 1, 2, 0, 7, 1];
    // What one of them said goes to the other.
    let there = [0, 1, 6];
    let back = [1, 1, 7];
    vec![
        [&up[..], &hello, &proof].concat(),
        [&up[..], &proof, &hello, &hello].concat(),
        // The man in the middle hands on each word.
        [&up[..], &join, &there, &back, &there, &back].concat(),
        // An impostor with a welcome, a proof, a refusal.
        [
            &join[..],
            &[1, 1, 4, 2, 0, 1, 1, 4, 6, 0],
            &[1, 1, 4, 11, 0],
        ]
        .concat(),
        [&join[..], &[1, 1, 4, 9, 0], &join, &[1, 1, 9], &join].concat(),
        // Wrong codes until the address must wait, then ten minutes, then again.
        [&up[..], &hello, &proof, &[0, 0, 11, 1], &up, &hello, &proof].concat(),
        [&up[..], &hello, &proof, &[0, 0, 11, 3], &up, &hello, &proof].concat(),
        // A call of the inviter's own that it never made, thanks for nothing.
        vec![0, 2, 0, 1, 9, 1, 0, 0, 2, 3, 13, 0, 0, 2, 8],
        vec![0, 0, 10, 1, 0, 7, 3, 1, 0, 10, 1, 2, 3, 4],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same stage with somebody who does know the code, both ends of one connection: the request is
    /// there, so that its absence in the target means something.
    #[test]
    fn with_the_code_and_one_connection_the_request_is_there() {
        let mut life = Life::new();
        request(&mut life.inviter, &mut life.joiner);
        let (reply, _) = life.inviter.ask(Command::Pending);
        assert!(matches!(reply, Some(Reply::Pending(view)) if view.pending.len() == 1));
        let (reply, _) = life.joiner.ask(Command::JoinState);
        assert!(matches!(reply, Some(Reply::Join(view)) if view.stage == JoinStage::Waiting));
    }
}
