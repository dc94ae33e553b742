//! The seam to the machine: what the service needs of a kernel, and the one that runs.

use std::io;
use std::thread;
use std::time::Duration;

use hive_host::helper::{Advice, Knob, Thread};
use hive_host::privileged::{self, Hold, Sight};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Between two passes of a sweep: a fork under way, which no table shows yet, gets time to finish. As in the daemon's hands.
const SETTLE: Duration = Duration::from_millis(5);

/// What the service needs of a kernel. There are two: the one that runs, and one that only writes down what it is asked.
pub trait Kernel {
    /// Hold on one process: never a later one of its number.
    type Hold;

    /// Takes hold of a process.
    fn hold(&mut self, pid: u32) -> io::Result<Self::Hold>;

    /// Whether a process still runs.
    fn lives(&mut self, hold: &Self::Hold) -> bool;

    /// Looks at a thread. None: it has ended, or its number means another one.
    fn look(&mut self, thread: Thread) -> Option<Sight>;

    /// Reads a value.
    fn read(&mut self, knob: Knob, tid: u32) -> io::Result<i64>;

    /// Writes a value.
    fn write(&mut self, knob: Knob, tid: u32, value: i64) -> io::Result<()>;

    /// Advises on a process's memory; how many bytes were taken.
    fn advise(
        &mut self,
        hold: &Self::Hold,
        pid: u32,
        advice: Advice,
        bytes: u64,
    ) -> io::Result<u64>;

    /// All threads of a user that were born since.
    fn born_since(&mut self, uid: u32, ticks: u64, into: &mut Vec<Thread>);

    /// Now, in the unit of start times.
    fn ticks(&mut self) -> u64;

    /// Lets a fork under way finish.
    fn settle(&mut self);
}

/// The kernel that runs.
#[derive(Debug)]
pub struct Running {
    default_slice: Option<u64>,
}

impl Running {
    /// Finds out what it can.
    #[must_use]
    pub fn find() -> Self {
        Self {
            default_slice: privileged::default_slice(),
        }
    }
}

impl Kernel for Running {
    type Hold = Hold;

    fn hold(&mut self, pid: u32) -> io::Result<Hold> {
        Hold::on(pid)
    }

    fn lives(&mut self, hold: &Hold) -> bool {
        // A pidfd can be read once its process has ended.
        let mut ended = [PollFd::new(hold, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut ended, Some(&at_once)).is_ok_and(|ready| ready == 0)
    }

    fn look(&mut self, thread: Thread) -> Option<Sight> {
        privileged::look(thread)
    }

    fn read(&mut self, knob: Knob, tid: u32) -> io::Result<i64> {
        privileged::read(knob, tid)
    }

    fn write(&mut self, knob: Knob, tid: u32, value: i64) -> io::Result<()> {
        privileged::write(knob, tid, value, self.default_slice)
    }

    fn advise(&mut self, hold: &Hold, pid: u32, advice: Advice, bytes: u64) -> io::Result<u64> {
        hold.advise(pid, advice, bytes)
    }

    fn born_since(&mut self, uid: u32, ticks: u64, into: &mut Vec<Thread>) {
        privileged::born_since(uid, ticks, |thread| into.push(thread));
    }

    fn ticks(&mut self) -> u64 {
        privileged::ticks_now()
    }

    fn settle(&mut self) {
        thread::sleep(SETTLE);
    }
}
