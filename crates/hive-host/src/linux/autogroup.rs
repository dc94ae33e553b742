//! The nice of a whole session, its autogroup: written through one member, and only while that is one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::knob::{self, Tally};
use super::scan::{self, Scan};
use crate::journal::{Change, Target};

/// How often and how long to wait for the kernel's leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    waits: u32,
    step: Duration,
}

/// The kernel takes one autogroup nice per 100 ms from all users without `CAP_SYS_ADMIN` together
/// (`proc_sched_autogroup_set_nice`); these waits outlast that once.
pub(super) const APPLYING: Patience = Patience {
    waits: 3,
    step: Duration::from_millis(50),
};

/// What is on must come off, even while others write theirs: about 2 s. A guess.
pub(super) const UNDOING: Patience = Patience {
    waits: 40,
    step: Duration::from_millis(50),
};

/// What a session's autogroup has that nobody gave a nice: also a new one, whoever founds it.
const BORN_WITH: i64 = 0;

/// The process through which an autogroup is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Its process id.
    pub(super) pid: u32,
    /// When it started, in ticks since boot.
    pub(super) start: u64,
    /// The autogroup in which it must be.
    pub(super) number: u64,
}

/// Writes the nice of a member's autogroup and reads it back. `ESRCH` if it is no member, or no more.
pub(super) fn write(proc: &Path, member: Member, value: i64, patience: Patience) -> io::Result<()> {
    write_with(proc, member, value, patience, |file, value| {
        file.write_all(value.to_string().as_bytes())
    })
}

/// As [`write`], with the deed itself given, so that a test can come between.
fn write_with(
    proc: &Path,
    member: Member,
    value: i64,
    patience: Patience,
    mut deed: impl FnMut(&mut File, i64) -> io::Result<()>,
) -> io::Result<()> {
    // An open file means this very process, also when its number has gone to another.
    let path = proc.join(format!("{}/autogroup", member.pid));
    let mut file = OpenOptions::new().write(true).open(&path)?;
    let no_member = || io::Error::from_raw_os_error(libc::ESRCH);
    patience.outlast(|| {
        if !member.is_one(proc) {
            return Err(no_member());
        }
        match deed(&mut file, value) {
            // An ending process has left its autogroup for the root's, whose nice cannot be set.
            Err(_) if !member.is_one(proc) => Err(no_member()),
            result => result,
        }
    })?;
    match scan::autogroup(proc, member.pid) {
        Some((found, is)) if found == member.number && is == value => Ok(()),
        Some((found, _)) if found == member.number => Err(io::Error::from_raw_os_error(libc::EIO)),
        Some((found, is)) if is == value && value != BORN_WITH => {
            // It founded a session between the look and the deed. That one had the nice that every
            // new one is born with, and gets it back.
            let elsewhere = Member {
                number: found,
                ..member
            };
            write(proc, elsewhere, BORN_WITH, UNDOING)?;
            Err(no_member())
        }
        _ => Err(no_member()),
    }
}

/// Restores an autogroup through any living member: the one it was set through may have ended, and
/// the next may end while it is written to.
pub(super) fn restore(
    proc: &Path,
    uid: u32,
    scan: &Scan,
    change: &Change,
    target: &Target,
    tally: &mut Tally,
) {
    for stat in scan.stats.iter().filter(|stat| stat.alive()) {
        let Some((number, nice)) = scan::autogroup(proc, stat.pid) else {
            continue;
        };
        if number != target.autogroup || scan::owner(proc, stat.pid) != Some(uid) {
            continue;
        }
        if nice == target.old {
            // The intent was written and the deed not done, or it was restored through another member.
            return;
        }
        if nice != change.new {
            tally.left_alone += 1;
            return;
        }
        let member = Member {
            pid: stat.pid,
            start: stat.start,
            number,
        };
        match write(proc, member, target.old, UNDOING) {
            Err(error) if knob::ended(&error) => {}
            result => {
                tally.count(result);
                return;
            }
        }
    }
    tally.gone += 1;
}

impl Member {
    /// Whether the very process lives and is in this autogroup.
    fn is_one(self, proc: &Path) -> bool {
        scan::thread(proc, self.pid, self.pid).is_some_and(|stat| stat.start == self.start)
            && scan::autogroup(proc, self.pid).is_some_and(|(found, _)| found == self.number)
    }
}

impl Patience {
    /// Tries again as long as the kernel says "not now".
    fn outlast(self, mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        for _ in 0..self.waits {
            match attempt() {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    thread::sleep(self.step);
                }
                result => return result,
            }
        }
        attempt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    /// How many refusals are outlasted, the waiting itself left out.
    fn outlasts(patience: Patience, refusals: u32) -> bool {
        let quick = Patience {
            step: Duration::ZERO,
            ..patience
        };
        let mut left = refusals;
        let result = quick.outlast(|| {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        });
        result.is_ok()
    }

    #[test]
    fn undoing_outlasts_two_seconds_of_refusals_and_applying_one_turn() {
        assert!(outlasts(APPLYING, 3) && !outlasts(APPLYING, 4));
        assert!(outlasts(UNDOING, 40) && !outlasts(UNDOING, 41));
        assert!(UNDOING.step * UNDOING.waits >= Duration::from_secs(2));
        let mut tries = 0;
        let denied = UNDOING.outlast(|| {
            tries += 1;
            Err(io::Error::from_raw_os_error(libc::EACCES))
        });
        assert!(denied.is_err() && tries == 1);
    }

    /// A process table of one process, whose autogroup file takes what is written as its nice.
    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            let world = Self(tempfile::tempdir().expect("a folder"));
            std::fs::create_dir_all(world.0.path().join("9/task/9")).expect("made");
            let tail = "S 1 9 9 0 -1 4194304 1 0 0 0 1 1 1 1 20 0 1 0 500 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
            std::fs::write(
                world.0.path().join("9/task/9/stat"),
                format!("9 (sh) {tail}\n"),
            )
            .expect("written");
            world.is(7, 0);
            world
        }

        fn is(&self, number: u64, nice: i64) {
            let text = format!("/autogroup-{number} nice {nice}\n");
            std::fs::write(self.0.path().join("9/autogroup"), text).expect("written");
        }

        /// Writes 10 where the process is found; tells what it then is in, and all deeds.
        fn write(&self, member: Member, found: u64) -> (io::Result<()>, Option<(u64, i64)>, u32) {
            let mut deeds = 0;
            let result = write_with(self.0.path(), member, 10, APPLYING, |_, value| {
                deeds += 1;
                self.is(found, value);
                Ok(())
            });
            (result, scan::autogroup(self.0.path(), 9), deeds)
        }
    }

    const MEMBER: Member = Member {
        pid: 9,
        start: 500,
        number: 7,
    };

    #[test]
    fn no_stranger_and_no_other_session_is_written() {
        let world = World::new();
        let (result, is, deeds) = world.write(MEMBER, 7);
        assert!(result.is_ok() && is == Some((7, 10)) && deeds == 1);
        world.is(7, 0);
        for stranger in [
            Member {
                start: 501,
                ..MEMBER
            },
            Member {
                number: 8,
                ..MEMBER
            },
        ] {
            let (result, is, deeds) = world.write(stranger, 7);
            assert!(result.is_err_and(|error| knob::ended(&error)));
            assert_eq!((is, deeds), (Some((7, 0)), 0));
        }
    }

    /// In another session only once it is told. Whoever leads a session cannot found one: so it is the
    /// child of one that leads.
    const FOUNDS_A_SESSION: &str =
        "(exec sh -c 'echo $$; read x; exec setsid sh -c \"echo done; read x\"'); true";

    #[test]
    fn a_session_founded_in_between_gets_its_nice_back() {
        let proc = Path::new("/proc");
        if !crate::linux::facts::read(&crate::Roots::default())
            .0
            .rights
            .autogroup_nice
        {
            writeln!(io::stderr(), "SKIPPED: no autogroups here").expect("stderr");
            return;
        }
        // What starts these tests may have no session, and so no autogroup, of its own.
        let ours = scan::autogroup(proc, std::process::id());
        let mut child = Command::new("setsid")
            .args(["sh", "-c", FOUNDS_A_SESSION])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut input = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut hears = || lines.next().expect("a line").expect("read");
        let pid = hears().parse().expect("its number");
        let (number, _) = scan::autogroup(proc, pid).expect("in one");
        let start = scan::thread(proc, pid, pid).expect("lives").start;
        let member = Member { pid, start, number };
        let mut written = None;
        let result = write_with(proc, member, 10, APPLYING, |file, value| {
            if written.is_none() {
                writeln!(input, "now").expect("said");
                assert_eq!(hears(), "done");
            }
            let deed = file.write_all(value.to_string().as_bytes());
            written = scan::autogroup(proc, pid);
            deed
        });
        let (other, during) = written.expect("in one");
        let after = scan::autogroup(proc, pid);
        let ours_after = scan::autogroup(proc, std::process::id());
        drop(input);
        child.wait().expect("it ended with its input");
        assert!(result.is_err_and(|error| knob::ended(&error)));
        assert!(other != number && during == 10, "{other} {during}");
        assert_eq!(after, Some((other, 0)));
        assert_eq!(ours_after, ours);
    }
}
