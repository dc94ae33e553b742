//! A kernel of paper: threads are lines in a table, and everything that is written is written down. For the tests of the rules.

use std::collections::BTreeMap;
use std::io;

use hive_host::helper::{Advice, Knob, Thread};
use hive_host::privileged::Sight;
use rustix::io::Errno;

use crate::kernel::Kernel;

/// The policy under which no slice can be written.
const SCHED_IDLE: i64 = 5;

/// One thread of paper.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which one.
    pub thread: Thread,
    /// Real, effective and saved user.
    pub uids: [u32; 3],
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// Its values, in the order of [`Knob::ALL`].
    pub values: [i64; 5],
    /// Tells two processes with the same number and start apart.
    pub life: u64,
}

/// One deed: of which thread, which knob, from what, to what.
pub type Deed = (Thread, Knob, i64, i64);

/// The kernel of paper.
#[derive(Clone, Debug, Default)]
pub struct Paper {
    /// By thread id.
    pub lines: BTreeMap<u32, Line>,
    /// What was written.
    pub deeds: Vec<Deed>,
    /// On whose memory was advised, and how many bytes.
    pub advised: Vec<(u32, u64)>,
    /// Now, in ticks since boot.
    pub now: u64,
    /// While this is so, the kernel says no to every write.
    pub is_stubborn: bool,
    /// The same for this one thread.
    pub stubborn: Option<u32>,
}

impl Paper {
    /// Adds a thread of a process with the values of a new one.
    pub fn add(&mut self, pid: u32, tid: u32, start: u64, uid: u32) -> Thread {
        let thread = Thread { pid, tid, start };
        let line = Line {
            thread,
            uids: [uid; 3],
            kernel: false,
            values: [0, 0, 2_800_000, 0, 50_000],
            life: start,
        };
        self.lines.insert(tid, line);
        thread
    }

    /// A value of a thread, to be read or changed by the test's own hand.
    pub fn at(&mut self, tid: u32, knob: Knob) -> &mut i64 {
        let line = self.lines.get_mut(&tid).expect("it was added");
        &mut line.values[knob as usize - 1]
    }
}

impl Kernel for Paper {
    type Hold = (u32, u64);

    fn hold(&mut self, pid: u32) -> io::Result<Self::Hold> {
        let line = self.lines.get(&pid).ok_or(Errno::SRCH)?;
        Ok((pid, line.life))
    }

    fn lives(&mut self, (pid, life): &Self::Hold) -> bool {
        self.lines.get(pid).is_some_and(|line| line.life == *life)
    }

    fn look(&mut self, thread: Thread) -> Option<Sight> {
        let line = self.lines.get(&thread.tid)?;
        let [nice, policy, ..] = line.values;
        (line.thread == thread).then_some(Sight {
            uids: line.uids,
            kernel: line.kernel,
            policy: u32::try_from(policy).ok()?,
            nice: i32::try_from(nice).ok()?,
        })
    }

    fn read(&mut self, knob: Knob, tid: u32) -> io::Result<i64> {
        let line = self.lines.get(&tid).ok_or(Errno::SRCH)?;
        Ok(line.values[knob as usize - 1])
    }

    fn write(&mut self, knob: Knob, tid: u32, value: i64) -> io::Result<()> {
        if self.is_stubborn || self.stubborn == Some(tid) {
            return Err(Errno::PERM.into());
        }
        let line = self.lines.get_mut(&tid).ok_or(Errno::SRCH)?;
        if knob == Knob::Slice && line.values[Knob::Policy as usize - 1] == SCHED_IDLE {
            return Err(Errno::INVAL.into());
        }
        let was = std::mem::replace(&mut line.values[knob as usize - 1], value);
        self.deeds.push((line.thread, knob, was, value));
        Ok(())
    }

    fn advise(&mut self, _: &Self::Hold, pid: u32, _: Advice, bytes: u64) -> io::Result<u64> {
        self.advised.push((pid, bytes));
        Ok(bytes)
    }

    fn born_since(&mut self, uid: u32, ticks: u64, into: &mut Vec<Thread>) {
        let born = self.lines.values().filter(|line| line.uids[1] == uid);
        let born = born.map(|line| line.thread);
        into.extend(born.filter(|thread| thread.start >= ticks));
    }

    fn ticks(&mut self) -> u64 {
        self.now
    }

    fn settle(&mut self) {}
}
