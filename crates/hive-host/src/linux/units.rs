//! The units of a user's own service manager: reads and sets their processor weight, at run time only.
//!
//! Nothing is moved between control groups, and nothing but `CPUWeight` is ever set. The manager writes what it is told into
//! a file below the user's runtime folder, which ends with the log-in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::bus::{Body, Bus, BusError, Method, Reader};
use super::cgroup;
use crate::Roots;

/// What the manager tells as the weight of a unit that nobody gave one (`CGROUP_WEIGHT_INVALID`).
pub(super) const UNSET: u64 = u64::MAX;

/// What the kernel gives a group that nobody weighed (`Documentation/admin-guide/cgroup-v2.rst`).
const KERNEL_DEFAULT: u64 = 100;

/// The manager answers before it has done it: it writes the weight in its next round. A guess, some hundred rounds.
const REALIZED_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long to wait on one connection, for all answers together. A guess: the manager answers within milliseconds, and while
/// it reloads itself within a second or two.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest name of a unit (`UNIT_NAME_MAX` of systemd).
const NAME_MAX: usize = 255;

/// Where the manager is, by the names that the bus and systemd use.
const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PATH: &str = "/org/freedesktop/systemd1";

/// The manager does not have this unit (any more).
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A way to the manager.
#[derive(Debug)]
pub(super) struct Manager {
    bus: Bus,
    /// Whether a bus lies between.
    named: bool,
}

/// A weight, as far as this crate is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nobody gave it one.
    Default,
    /// It has this.
    Is(u64),
    /// There is no such unit (any more).
    NoUnit,
}

/// Where a user's manager and its files are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    runtime: PathBuf,
    sys: PathBuf,
    uid: u32,
}

impl Place {
    pub(super) fn new(roots: &Roots, uid: u32) -> Self {
        Self {
            runtime: roots.run.join(format!("user/{uid}")),
            sys: roots.sys.clone(),
            uid,
        }
    }

    /// Connects: over the user's bus, as its interface is documented for; where there is none, at the manager's own
    /// socket, which `systemctl --user` goes by.
    pub(super) fn connect(&self) -> Result<Manager, BusError> {
        match Bus::connect(&self.runtime.join("bus"), self.uid, PATIENCE) {
            Ok(mut bus) => {
                bus.greet()?;
                Ok(Manager { bus, named: true })
            }
            Err(BusError::Unavailable(_)) => {
                let socket = self.runtime.join("systemd/private");
                let bus = Bus::connect(&socket, self.uid, PATIENCE)?;
                Ok(Manager { bus, named: false })
            }
            Err(other) => Err(other),
        }
    }

    /// Whether a weight can be set and taken back: a manager that answers, and a processor controller in its hands.
    pub(super) fn is_able(&self) -> bool {
        let manager = cgroup::manager(self.uid);
        cgroup::has(&self.sys, &manager, "cgroup.controllers")
            && self
                .connect()
                .and_then(|mut manager| manager.object("app.slice"))
                .is_ok()
    }

    /// Whether the manager has ended, and with it everything it was told.
    pub(super) fn is_gone(&self) -> bool {
        !self.has_group(&cgroup::manager(self.uid)) && !self.runtime.join("systemd").exists()
    }

    /// The weight that the kernel goes by; `None` where the group has none of its own, or has ended.
    pub(super) fn kernel_weight(&self, path: &str) -> Option<u64> {
        let file = cgroup::file(&self.sys, path, "cpu.weight")?;
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    /// Waits until the kernel goes by our weight.
    pub(super) fn wait_for(&self, path: &str, weight: u64) -> io::Result<()> {
        wait_until(|| self.kernel_weight(path) == Some(weight))
    }

    /// Waits until the kernel has the default, or no weight of this group at all.
    pub(super) fn wait_for_default(&self, path: &str) -> io::Result<()> {
        wait_until(|| {
            self.kernel_weight(path)
                .is_none_or(|weight| weight == KERNEL_DEFAULT)
        })
    }

    /// The file that the manager keeps for a weight set at run time on a unit that is no transient one. It stays
    /// when the weight is taken back, and then says only that there is none.
    fn drop_in(&self, unit: &str) -> PathBuf {
        let folder = format!("systemd/user.control/{unit}.d");
        self.runtime.join(folder).join("50-CPUWeight.conf")
    }

    /// Whether somebody set this unit's weight by hand before, at run time.
    pub(super) fn was_set_by_hand(&self, unit: &str) -> bool {
        self.drop_in(unit).exists()
    }

    /// Whether a control group is there.
    pub(super) fn has_group(&self, path: &str) -> bool {
        cgroup::file(&self.sys, path, "cgroup.procs").is_some()
    }

    /// Removes the file that is left of a weight of ours: [`UNSET`] where it was taken back, or the weight itself where
    /// the unit has ended. A file that says anything else is not ours.
    pub(super) fn clear_away(&self, unit: &str, weight: u64) -> io::Result<()> {
        let file = self.drop_in(unit);
        match fs::read_to_string(&file) {
            Ok(text) if says_only(&text, weight) => remove(&file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn wait_until(is: impl Fn() -> bool) -> io::Result<()> {
    let began = Instant::now();
    while !is() {
        if began.elapsed() > REALIZED_WITHIN {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Removes a file, and its folder if that is empty then.
fn remove(file: &Path) -> io::Result<()> {
    fs::remove_file(file)?;
    match file.parent().map(fs::remove_dir) {
        Some(Err(error)) if error.raw_os_error() != Some(libc::ENOTEMPTY) => Err(error),
        _ => Ok(()),
    }
}

/// Whether a file holds this weight, a section's name and comments, and nothing else.
fn says_only(text: &str, weight: u64) -> bool {
    let setting = match weight {
        UNSET => "CPUWeight=".to_owned(),
        weight => format!("CPUWeight={weight}"),
    };
    let lines = text.lines().map(str::trim);
    let mut said = lines.filter(|line| {
        let filling = line.is_empty() || line.starts_with(['#', ';', '[']);
        !filling
    });
    said.next() == Some(setting.as_str()) && said.next().is_none()
}

impl Manager {
    /// The weight that the manager holds for a unit.
    pub(super) fn weight(&mut self, unit: &str) -> Result<Weight, BusError> {
        let object = match self.object(unit) {
            Ok(object) => object,
            Err(BusError::Refused(name)) if name == NO_SUCH_UNIT => return Ok(Weight::NoUnit),
            Err(other) => return Err(other),
        };
        let interface = interface(unit).ok_or(BusError::Garbled)?;
        for property in ["CPUWeight", "StartupCPUWeight"] {
            let weight = self.property(&object, interface, property)?;
            if weight != UNSET {
                return Ok(Weight::Is(weight));
            }
        }
        Ok(Weight::Default)
    }

    /// Sets a weight until the log-in ends; [`UNSET`] takes it back.
    pub(super) fn set_weight(&mut self, unit: &str, weight: u64) -> Result<(), BusError> {
        let runtime = true;
        let body = Body::default()
            .text(unit)
            .map(|body| body.flag(runtime))
            .and_then(|body| body.property("CPUWeight", weight))
            .ok_or(BusError::Garbled)?;
        self.call(PATH, MANAGER, "SetUnitProperties", &body)?;
        Ok(())
    }

    /// The object of a unit that the manager has loaded.
    fn object(&mut self, unit: &str) -> Result<String, BusError> {
        let body = Body::default().text(unit).ok_or(BusError::Garbled)?;
        let answer = self.call(PATH, MANAGER, "GetUnit", &body)?;
        let path = Reader::new(&answer).text().ok_or(BusError::Garbled)?;
        Ok(path.to_owned())
    }

    fn property(&mut self, object: &str, interface: &str, name: &str) -> Result<u64, BusError> {
        let destination = self.named.then_some(DESTINATION);
        let answer = self.bus.property(destination, object, (interface, name))?;
        let value = Reader::new(&answer).variant_u64();
        value.ok_or(BusError::Garbled)
    }

    fn call(
        &mut self,
        path: &str,
        interface: &str,
        member: &str,
        body: &Body,
    ) -> Result<Vec<u8>, BusError> {
        let method = Method {
            destination: self.named.then_some(DESTINATION),
            path,
            interface,
            member,
        };
        self.bus.call(method, body)
    }
}

/// What was answered, be it a no; the error is of a connection that is of no more use.
pub(super) fn answered<T>(answer: Result<T, BusError>) -> Result<io::Result<T>, BusError> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(no @ BusError::Refused(_)) => Ok(Err(no.as_io())),
        Err(broken) => Err(broken),
    }
}

impl BusError {
    /// As the kernel would say it.
    pub(super) fn as_io(&self) -> io::Error {
        let errno = match self {
            Self::Unavailable(error) if error.kind() == io::ErrorKind::WouldBlock => {
                libc::ETIMEDOUT
            }
            Self::Unavailable(error) => error.raw_os_error().unwrap_or(libc::ECONNREFUSED),
            Self::Refused(name) if name == NO_SUCH_UNIT => libc::ESRCH,
            Self::Refused(name) if name.ends_with("AccessDenied") => libc::EACCES,
            Self::Refused(_) | Self::Garbled => libc::EPROTO,
        };
        io::Error::from_raw_os_error(errno)
    }
}

/// The name of the unit at the end of a group's path, if the manager can have one of that name.
pub(super) fn name(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    (name.len() <= NAME_MAX && interface(name).is_some()).then_some(name)
}

/// The interface that holds a unit's weight.
fn interface(unit: &str) -> Option<&'static str> {
    match unit.rsplit_once('.')?.1 {
        "scope" => Some("org.freedesktop.systemd1.Scope"),
        "service" => Some("org.freedesktop.systemd1.Service"),
        "slice" => Some("org.freedesktop.systemd1.Slice"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "units/tests.rs"]
pub(in crate::linux) mod tests;
