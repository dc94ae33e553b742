//! What befalls machines on purpose, and what strangers do to them.

use hive_core::event::Input;
use hive_core::hive::outside::{Beacon, Lane, Sighting};
use hive_core::statement::Label;
use hive_core::wire::PairFrame;

use super::{Death, Event, World};
use crate::attacks::Attack;
use crate::disk::{Backup, Loss, Unanswered};
use crate::faults::Fault;
use crate::net::{ConnId, HostId, Parcel};

/// How long a daemon that could not write stays away: a service manager starts it again. A guess.
const RESTART_MS: u64 = 30_000;

impl World {
    /// A machine sleeps: its timers stand still, nothing gets through to it, its boot clock runs on.
    pub fn suspend(&mut self, id: HostId, ms: u64) {
        if !self.hosts[id.0].is_awake() {
            return;
        }
        self.faults.add(Fault::Suspend);
        let until = self.now.after(ms * 1_000);
        self.hosts[id.0].asleep_until = Some(until);
        self.hosts[id.0].slept_us += ms * 1_000;
        self.net.set_asleep(id, true);
        self.note(b"sleep", id, &[]);
        self.queue.plan(until, Event::Resume(id));
    }

    /// Whether all machines are on and none sleeps.
    #[must_use]
    pub fn all_awake(&self, hosts: &[HostId]) -> bool {
        hosts.iter().all(|id| self.host(*id).is_awake())
    }

    /// From outside a machine is seen at another port, and it does not know.
    pub fn rebind(&mut self, id: HostId) {
        self.faults.add(Fault::NatRebind);
        self.readdress(id);
    }

    /// No write succeeds for so long: the daemon ends itself at each, and is started again.
    pub fn fill_disk(&mut self, id: HostId, ms: u64) {
        self.hosts[id.0].full_until = Some(self.now.after(ms * 1_000));
    }

    /// The next write fails.
    pub fn fail_write(&mut self, id: HostId) {
        self.hosts[id.0].write_fails = true;
    }

    /// The next write is the daemon's last.
    pub fn die_at_next_save(&mut self, id: HostId, torn: bool) {
        let doom = &mut self.hosts[id.0].doom;
        doom.at_save = Some(doom.saves + 1);
        doom.deaths = doom.deaths.max(1);
        doom.torn = torn;
    }

    /// The kernel ends the daemon after so many more things that it wants done.
    pub fn run_out_of_memory(&mut self, id: HostId, outputs: u64) {
        self.hosts[id.0].oom_after = Some(outputs);
    }

    /// The machine is off, and when it comes back a bit of its store has flipped.
    pub fn rot(&mut self, id: HostId) {
        self.crash(id, Death::PowerCut, Unanswered::Kept, 1_000);
        let host = &mut self.hosts[id.0];
        host.disk.rot(&mut self.dice, &mut self.faults);
    }

    /// The machine comes back with a backup on its disk.
    pub fn roll_back(&mut self, id: HostId, backup: &Backup) {
        self.crash(id, Death::PowerCut, Unanswered::Kept, 1_000);
        let host = &mut self.hosts[id.0];
        host.disk.restore(backup, &mut self.faults);
    }

    /// A machine that is off loses what it stored, but not its key.
    pub fn lose(&mut self, id: HostId, loss: Loss) {
        self.hosts[id.0].disk.lose(loss, &mut self.faults);
    }

    /// What was still to go wrong with a machine does not.
    pub fn spare(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0];
        host.full_until = None;
        host.write_fails = false;
        host.oom_after = None;
        host.doom.deaths = 0;
        host.doom.at_save = None;
    }

    /// A machine is switched off until somebody switches it on.
    pub fn switch_off(&mut self, id: HostId) {
        for conn in self.net.of(id) {
            self.break_off(conn, Some(id));
        }
        let now = self.now;
        let host = &mut self.hosts[id.0];
        host.stop(now);
        host.disk
            .crash(Unanswered::Kept, &mut self.dice, &mut self.faults);
        self.witness.restarted(id);
        self.note(b"off", id, &[]);
    }

    /// Every connection of a machine is made anew, as the shell does once a day; this machine dials.
    pub fn renew(&mut self, id: HostId, others: &[HostId]) {
        for old in self.net.of(id) {
            let Some(ends) = self.net.ends(old) else {
                continue;
            };
            let other = ends.into_iter().find(|end| *end != id);
            if let Some(other) = other.filter(|other| others.contains(other)) {
                self.net.cut(old);
                self.meet(id, other);
            }
        }
    }

    /// Switches a machine on.
    pub fn switch_on(&mut self, id: HostId) {
        self.queue.plan(self.now, Event::Start(id));
    }

    /// Shuts both ways between two machines.
    pub fn shut_both(&mut self, one: HostId, two: HostId) {
        self.net.shut(one, two);
        self.net.shut(two, one);
    }

    /// Opens both ways between two machines.
    pub fn open_both(&mut self, one: HostId, two: HostId) {
        self.net.open(one, two);
        self.net.open(two, one);
    }

    pub(super) fn resume(&mut self, id: HostId) {
        self.hosts[id.0].asleep_until = None;
        self.net.set_asleep(id, false);
        self.note(b"awake", id, &[]);
        self.feed(id, Input::NetworkChanged);
    }

    pub(super) fn readdress(&mut self, id: HostId) {
        for conn in self.net.of(id) {
            self.break_off(conn, None);
        }
        let port = self.hosts[id.0].address.port();
        let next = port.checked_add(1).unwrap_or(4_483);
        self.hosts[id.0].address.set_port(next);
    }

    /// Whether the disk does not take a write any more; then the daemon has ended itself.
    pub(super) fn refuses_to_write(&mut self, id: HostId) -> bool {
        let host = &mut self.hosts[id.0];
        let full = host.full_until.is_some_and(|until| self.now < until);
        let fails = core::mem::take(&mut host.write_fails);
        if !full && !fails {
            return false;
        }
        self.faults.add(if full {
            Fault::DiskFull
        } else {
            Fault::DiskError
        });
        self.crash(id, Death::DiskFailed, Unanswered::Some, RESTART_MS);
        true
    }

    /// Whether the kernel ends the daemon before it has done the next thing.
    pub(super) fn dies_of_hunger(&mut self, id: HostId) -> bool {
        match &mut self.hosts[id.0].oom_after {
            None => false,
            Some(0) => {
                let away_ms = self.dice.between(50, 10_000);
                self.crash(id, Death::OutOfMemory, Unanswered::Some, away_ms);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(super) fn both_awake(&self, conn: ConnId) -> bool {
        let ends = self.net.ends(conn);
        ends.is_some_and(|ends| ends.iter().all(|end| self.host(*end).is_awake()))
    }

    /// A stranger tries the handshake for members with its own key.
    pub fn shake_hands(&mut self, stranger: HostId, at: HostId) {
        self.attacks.add(Attack::UnknownKey.name());
        if self.lets_in(stranger, at) {
            let what = format!("machine {} lets in the unknown key of {}", at.0, stranger.0);
            self.witness.blame(what);
        }
    }

    /// Everybody hears an mDNS answer from the stranger's address: with a made-up tag, or with a member's.
    pub fn spoof(&mut self, stranger: HostId, hears: &[HostId], stolen: Option<HostId>) {
        let taken = stolen.and_then(|member| self.hosts[member.0].beacon);
        let attack = if taken.is_some() {
            Attack::StolenSighting
        } else {
            Attack::ForgedSighting
        };
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.dice.secret()[..8]);
        let made_up = Beacon {
            tag,
            ..Beacon::default()
        };
        let sighting = Sighting {
            beacon: taken.unwrap_or(made_up),
            address: self.hosts[stranger.0].address,
        };
        for id in hears {
            if self.hosts[id.0].is_awake() && self.net.passes(stranger, *id) {
                self.attacks.add(attack.name());
                self.feed(*id, Input::Found(sighting));
            }
        }
    }

    /// A stranger begins to pair and says nothing.
    pub fn stand_at_the_door(&mut self, stranger: HostId, at: HostId) {
        self.at_the_door(stranger, at, Attack::SilentAtTheDoor);
    }

    /// A stranger guesses the proof of a code.
    pub fn guess(&mut self, stranger: HostId, at: HostId) {
        let Some(conn) = self.at_the_door(stranger, at, Attack::GuessedProof) else {
            return;
        };
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&self.dice.secret()[..16]);
        let label = Label::new("guest").expect("a label");
        let mac = self.dice.secret();
        for frame in [PairFrame::Hello { nonce, label }, PairFrame::Proof { mac }] {
            self.post(conn, stranger, Lane::Urgent, Parcel::honest(frame.encode()));
        }
    }

    /// A conversation with a machine whose door is open; nothing comes of it where it is closed.
    fn at_the_door(&mut self, stranger: HostId, at: HostId, attack: Attack) -> Option<ConnId> {
        self.attacks.add(attack.name());
        let host = self.host(at);
        (host.pair_open && host.is_awake()).then(|| self.pair(stranger, at))
    }

    /// A stranger opens a pairing conversation and sends what is no frame.
    pub fn knock(&mut self, stranger: HostId, at: HostId) {
        let Some(conn) = self.at_the_door(stranger, at, Attack::Garbage) else {
            return;
        };
        self.faults.add(Fault::Lie);
        let mut bytes = self.dice.secret().to_vec();
        bytes.truncate(self.dice.index(33));
        let declared = if self.dice.permille(250) {
            u64::from(u32::MAX)
        } else {
            bytes.len() as u64
        };
        self.post(conn, stranger, Lane::Urgent, Parcel { bytes, declared });
    }

    /// A stranger that has recorded a pairing conversation says the joiner's part of it once more.
    pub fn replay_pairing(&mut self, stranger: HostId, at: HostId, victim: HostId) {
        let Some(conn) = self.at_the_door(stranger, at, Attack::RecordedPairing) else {
            return;
        };
        for (from, bytes) in self.tapped.clone() {
            if from == victim {
                self.faults.add(Fault::Lie);
                self.post(conn, stranger, Lane::Urgent, Parcel::honest(bytes));
            }
        }
    }

    /// Whether a machine that nobody let in gets through the handshake for members.
    #[must_use]
    pub fn lets_in(&self, stranger: HostId, at: HostId) -> bool {
        let key = self.hosts[stranger.0].key;
        self.hosts[at.0].allowed.contains(&key)
    }
}
