//! What a shell does for its node: carries out outputs, and turns what happens into inputs.

use hive_core::event::{Input, Output};
use hive_core::event_log::{Happening, Misdeed};
use hive_core::hive::outside::{HiveEffect, Lane, Record};
use hive_core::id::{LinkId, NodeId, SaveId};
use hive_core::limits::{FRAME_BYTES_MAX, PAIR_FRAME_BYTES_MAX};
use hive_core::machine::act::{Outcome, Receipt, Refusal};

use super::{Death, Event, World};
use crate::disk::Unanswered;
use crate::faults::Fault;
use crate::net::{Arrival, ConnId, HostId, Parcel};
use crate::queue::Moment;

impl World {
    pub(crate) fn carry_out(&mut self, id: HostId, life: u32, output: Output) {
        match output {
            Output::WakeAt(instant) => {
                let host = &mut self.hosts[id.0];
                host.wake += 1;
                let token = host.wake;
                let at = host.clock.moment(instant).max(self.now.after(1));
                self.queue.plan(at, Event::Wake { host: id, token });
            }
            Output::Sample(request) => {
                let at = self.next_turn(id);
                self.queue.plan(
                    at,
                    Event::Sample {
                        host: id,
                        life,
                        request,
                    },
                );
            }
            Output::Act(step) => {
                let at = self.next_turn(id);
                self.queue.plan(
                    at,
                    Event::Act {
                        host: id,
                        life,
                        step,
                    },
                );
            }
            Output::Undo(change) => {
                self.hosts[id.0].withdrawn.insert(change);
                let at = self.next_turn(id);
                self.queue.plan(
                    at,
                    Event::Undo {
                        host: id,
                        life,
                        change,
                    },
                );
            }
            Output::Reply { id: command, reply } => {
                self.witness.saw_reply(&reply);
                self.hosts[id.0].replies.insert(command, reply);
            }
            Output::Tell(happening) => self.tell(id, happening),
            Output::Hive(effect) => self.carry_out_hive(id, life, effect),
        }
    }

    /// When the host will have done one thing more: one after the other, 0.5 to 3 ms each.
    fn next_turn(&mut self, id: HostId) -> Moment {
        let work = self.dice.between(500, 3_000);
        let host = &mut self.hosts[id.0];
        host.hands_busy_until = host.hands_busy_until.max(self.now).after(work);
        host.hands_busy_until
    }

    fn carry_out_hive(&mut self, id: HostId, life: u32, effect: HiveEffect) {
        match effect {
            HiveEffect::Save { id: save, records } => self.save(id, life, save, records),
            HiveEffect::Send { peer, lane, frame } => self.send(id, peer, lane, frame),
            HiveEffect::Dial { peer, addresses } => {
                let at = self.after_handshake();
                let dialled = Event::Dialled {
                    host: id,
                    life,
                    peer,
                    addresses,
                };
                self.queue.plan(at, dialled);
            }
            HiveEffect::HandOver {
                peer,
                address,
                frames,
            } => {
                let at = self.after_handshake();
                let event = Event::HandOver {
                    host: id,
                    life,
                    peer,
                    address,
                    frames,
                };
                self.queue.plan(at, event);
            }
            HiveEffect::Close { peer } => {
                if let Some(conn) = self.hosts[id.0].conns.remove(&peer) {
                    self.break_off(conn, Some(id));
                }
            }
            HiveEffect::Members(members) => {
                if self.hosts[id.0].liar.is_none() {
                    self.witness.saw_members(id, &members);
                }
                self.hosts[id.0].allowed = members.into_iter().collect();
            }
            HiveEffect::Seek => self.seek(id),
            HiveEffect::Beacon(beacon) => self.hosts[id.0].beacon = Some(beacon),
            HiveEffect::PairOpen(open) => self.hosts[id.0].pair_open = open,
            HiveEffect::PairDial { address, expect } => {
                let at = self.after_handshake();
                let dialled = Event::PairDialled {
                    host: id,
                    life,
                    address,
                    expect,
                };
                self.queue.plan(at, dialled);
            }
            HiveEffect::PairSend { link, frame } => self.pair_send(id, link, frame),
            HiveEffect::PairClose { link } => {
                if let Some(conn) = self.hosts[id.0].pairs.remove(&link) {
                    self.break_off(conn, Some(id));
                }
            }
            HiveEffect::Tell(happening) => self.tell(id, happening),
        }
    }

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Start(host) => self.start(host),
            Event::Resume(host) => self.resume(host),
            Event::Wake { host, token } if self.hosts[host.0].wake == token => {
                self.note(b"wake", host, &[]);
                self.feed(host, Input::TimeoutReached);
            }
            Event::Answer { host, life } if self.lives(host, life) => {
                if let Some(save) = self.hosts[host.0].disk.answer() {
                    self.witness.saw_disk(&self.hosts[host.0]);
                    self.note(b"saved", host, &save.0.to_le_bytes());
                    self.feed(host, Input::Saved(save));
                }
            }
            Event::Sample {
                host,
                life,
                request,
            } if self.lives(host, life) => {
                let boot = self.hosts[host.0].clock.boot(self.now);
                let sample = self.hosts[host.0].machine.sample(boot, &request);
                self.feed(host, Input::Sampled(sample));
            }
            Event::Act { host, life, step } if self.lives(host, life) => self.act(host, step),
            Event::Undo { host, life, change } if self.lives(host, life) => {
                let boot = self.hosts[host.0].clock.boot(self.now);
                self.hosts[host.0].withdrawn.remove(&change);
                let receipt = self.hosts[host.0].machine.undo(boot, change);
                self.note(b"undo", host, &change.0.to_le_bytes());
                self.feed(host, Input::Acted(receipt));
            }
            Event::Arrive { conn, from, lane } => self.arrive(conn, from, lane),
            Event::Ghost { conn, from, bytes } if self.both_awake(conn) => {
                self.deliver(conn, from, Parcel::honest(bytes));
            }
            Event::Lost { host, life, conn } if self.lives(host, life) => self.lost(host, conn),
            Event::Found {
                host,
                life,
                sighting,
            } if self.lives(host, life) => {
                self.feed(host, Input::Found(sighting));
            }
            other => self.reach(other),
        }
    }

    fn start(&mut self, id: HostId) {
        if self.hosts[id.0].is_on() {
            return;
        }
        let now = self.now;
        self.settle_key(id);
        let host = &mut self.hosts[id.0];
        let boot = host.clock.boot(now);
        host.machine.restore_all(boot);
        host.start(now);
        self.note(b"start", id, &[]);
        self.drain(id);
    }

    pub(super) fn lives(&self, id: HostId, life: u32) -> bool {
        let host = &self.hosts[id.0];
        host.is_on() && host.life == life
    }

    fn tell(&mut self, id: HostId, happening: Happening) {
        self.witness.saw_happening(id, &happening);
        self.note(b"tell", id, format!("{happening:?}").as_bytes());
        self.hosts[id.0].told.push((self.now, happening));
    }

    fn act(&mut self, id: HostId, step: hive_core::machine::act::Step) {
        let consent = self.hosts[id.0].consent;
        let boot = self.hosts[id.0].clock.boot(self.now);
        let action = step.action;
        let receipt = if self.hosts[id.0].withdrawn.contains(&step.change) {
            Receipt {
                change: step.change,
                outcome: Outcome::Refused(Refusal::Withdrawn),
            }
        } else {
            self.hosts[id.0].machine.act(boot, step)
        };
        self.note(b"act", id, action.name().as_bytes());
        let applied = matches!(receipt.outcome, Outcome::Applied { .. });
        if applied && !consent.allows(self.now) {
            self.witness.blame(format!(
                "machine {} turned {} on although its owner had not allowed it",
                id.0,
                action.name()
            ));
        }
        self.feed(id, Input::Acted(receipt));
    }

    fn save(&mut self, id: HostId, life: u32, save: SaveId, records: Vec<Record>) {
        let honest = self.hosts[id.0].liar.is_none();
        for record in &records {
            self.witness.saw_record(record);
            if honest {
                self.witness.saw_write(id, record);
            }
            self.note(b"save", id, &record.key);
        }
        if self.refuses_to_write(id) {
            return;
        }
        let host = &mut self.hosts[id.0];
        host.disk.ask(save, records);
        host.doom.saves += 1;
        let doom = host.doom;
        let slow = self.dice.permille(20);
        // A flush takes 0.3 to 20 ms; at times a second.
        let wait = if slow {
            self.faults.add(Fault::SlowDisk);
            self.dice.between(200_000, 1_000_000)
        } else {
            self.dice.between(300, 20_000)
        };
        // One at a time: a later write is never answered before an earlier one.
        let at = self.now.after(wait).max(self.hosts[id.0].disk.busy_until);
        self.hosts[id.0].disk.busy_until = at;
        self.queue.plan(at, Event::Answer { host: id, life });
        let due = doom.at_save == Some(doom.saves) || self.dice.permille(doom.permille);
        if due && doom.deaths > 0 {
            self.hosts[id.0].doom.deaths -= 1;
            self.die_at_a_save(id);
        }
    }

    fn die_at_a_save(&mut self, id: HostId) {
        let torn = core::mem::take(&mut self.hosts[id.0].doom.torn);
        let unanswered = match self.dice.below(3) {
            _ if torn => Unanswered::Torn,
            0 => Unanswered::Forgotten,
            1 => Unanswered::Kept,
            _ => Unanswered::Some,
        };
        let death = if !torn && self.dice.permille(500) {
            self.faults.add(Fault::KillInFlush);
            Death::Kill
        } else {
            Death::PowerCut
        };
        let away_ms = self.dice.between(50, 20_000);
        self.crash(id, death, unanswered, away_ms);
    }

    fn send(&mut self, id: HostId, peer: NodeId, lane: Lane, frame: Vec<u8>) {
        self.note(b"send", id, &frame);
        let me = self.hosts[id.0].key;
        let parcels = if let Some(liar) = self.hosts[id.0].liar.as_mut() {
            liar.tamper(me, peer, frame, &mut self.faults, &mut self.attacks)
        } else {
            self.witness.saw_frame(&frame);
            self.witness.saw_sent(&self.hosts[id.0], peer, &frame);
            vec![Parcel::honest(frame)]
        };
        let Some(conn) = self.hosts[id.0].conns.get(&peer).copied() else {
            return;
        };
        for parcel in parcels {
            self.post(conn, id, lane, parcel);
        }
    }

    fn pair_send(&mut self, id: HostId, link: LinkId, frame: Vec<u8>) {
        self.note(b"pair", id, &frame);
        self.witness.saw_frame(&frame);
        let Some(conn) = self.hosts[id.0].pairs.get(&link).copied() else {
            return;
        };
        self.tapped.push((id, frame.clone()));
        self.post(conn, id, Lane::Urgent, Parcel::honest(frame));
    }

    /// Puts a frame on a stream.
    pub(crate) fn post(&mut self, conn: ConnId, from: HostId, lane: Lane, parcel: Parcel) {
        if let Some(at) = self.net.send(self.now, conn, from, lane, parcel) {
            self.queue.plan(at, Event::Arrive { conn, from, lane });
        }
    }

    fn arrive(&mut self, conn: ConnId, from: HostId, lane: Lane) {
        let ends = self.net.ends(conn);
        match self.net.arrive(self.now, conn, from, lane) {
            Arrival::Frame(parcel) => self.deliver(conn, from, parcel),
            Arrival::Later(at) => self.queue.plan(at, Event::Arrive { conn, from, lane }),
            Arrival::Broken => self.tell_of_loss(conn, ends, None),
            Arrival::Gone => {}
        }
    }

    fn deliver(&mut self, conn: ConnId, from: HostId, parcel: Parcel) {
        let Some([one, two]) = self.net.ends(conn) else {
            return;
        };
        let to = if one == from { two } else { one };
        // The key that the handshake has proven: one that the machine had before brings its last word.
        let listed = self.hosts[to.0].conns.iter().find(|(_, c)| **c == conn);
        if let Some((peer, _)) = listed {
            let peer = *peer;
            if parcel.declared > FRAME_BYTES_MAX as u64 {
                let misdeed = Misdeed::FrameTooLong;
                self.feed(to, Input::TransportRefused { peer, misdeed });
                return;
            }
            self.net.remember(conn, from, to, &parcel.bytes);
            if let Some(liar) = self.hosts[to.0].liar.as_mut() {
                liar.hear(peer, &parcel.bytes);
            }
            self.note(b"got", to, &parcel.bytes);
            self.feed(
                to,
                Input::Received {
                    peer,
                    frame: parcel.bytes,
                },
            );
            return;
        }
        let link = self.hosts[to.0].pairs.iter().find(|(_, c)| **c == conn);
        let Some((link, _)) = link else {
            return;
        };
        let link = *link;
        if parcel.declared > PAIR_FRAME_BYTES_MAX as u64 {
            self.break_off(conn, None);
            return;
        }
        self.note(b"pair got", to, &parcel.bytes);
        self.feed(
            to,
            Input::PairReceived {
                link,
                frame: parcel.bytes,
            },
        );
    }

    /// Ends a connection. The side that ended it knows; the other learns of it a little later.
    pub(crate) fn break_off(&mut self, conn: ConnId, by: Option<HostId>) {
        let ends = self.net.ends(conn);
        self.net.cut(conn);
        self.tell_of_loss(conn, ends, by);
    }

    fn tell_of_loss(&mut self, conn: ConnId, ends: Option<[HostId; 2]>, by: Option<HostId>) {
        for end in ends.into_iter().flatten() {
            if Some(end) == by {
                continue;
            }
            let life = self.hosts[end.0].life;
            let at = self
                .now
                .after(self.net.delay() + self.dice.below(2_000_000));
            self.queue.plan(
                at,
                Event::Lost {
                    host: end,
                    life,
                    conn,
                },
            );
        }
    }

    fn lost(&mut self, id: HostId, conn: ConnId) {
        let host = &mut self.hosts[id.0];
        let peer = host
            .conns
            .iter()
            .find(|(_, c)| **c == conn)
            .map(|(p, _)| *p);
        if let Some(peer) = peer {
            host.conns.remove(&peer);
            self.feed(id, Input::PeerDown { peer });
            return;
        }
        let link = host
            .pairs
            .iter()
            .find(|(_, c)| **c == conn)
            .map(|(l, _)| *l);
        if let Some(link) = link {
            host.pairs.remove(&link);
            self.feed(id, Input::PairDown { link });
        }
    }
}

impl Parcel {
    /// A frame whose header tells the truth.
    #[must_use]
    pub fn honest(bytes: Vec<u8>) -> Self {
        let declared = bytes.len() as u64;
        Self { bytes, declared }
    }
}
