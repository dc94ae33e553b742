//! A service manager made of files, behind a real socket, and what is asked of it.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use crate::linux::sys;

/// A user's manager: what it holds for a unit is the text of a file, and so is what the kernel has.
#[derive(Debug)]
pub(in crate::linux) struct Made {
    folder: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Made {
    /// One that answers, and that was handed the processor controller.
    pub(in crate::linux) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut made = Self {
            folder,
            thread: None,
        };
        let manager = cgroup::manager(sys::own_uid());
        made.write(
            &format!("sys/fs/cgroup{manager}/cgroup.controllers"),
            "cpu memory pids\n",
        );
        made.write(&format!("sys/fs/cgroup{manager}/cgroup.procs"), "");
        made.unit("app.slice", &[]);
        made.answers();
        made
    }

    pub(in crate::linux) fn roots(&self) -> Roots {
        Roots {
            sys: self.folder.path().join("sys"),
            run: self.folder.path().join("run"),
            ..Roots::default()
        }
    }

    pub(in crate::linux) fn place(&self) -> Place {
        Place::new(&self.roots(), sys::own_uid())
    }

    /// A path below `app.slice`.
    pub(in crate::linux) fn path(unit: &str) -> String {
        let manager = cgroup::manager(sys::own_uid());
        match unit {
            "app.slice" => format!("{manager}/app.slice"),
            unit => format!("{manager}/app.slice/{unit}"),
        }
    }

    /// Has a unit with these processes in it.
    pub(in crate::linux) fn unit(&self, unit: &str, pids: &[u32]) {
        let text: Vec<String> = pids.iter().map(u32::to_string).collect();
        let path = Self::path(unit);
        self.write(
            &format!("sys/fs/cgroup{path}/cgroup.procs"),
            &text.join("\n"),
        );
        self.holds(unit, "");
    }

    /// Holds this as a unit's weight; empty is none.
    pub(in crate::linux) fn holds(&self, unit: &str, weight: &str) {
        self.write(&format!("held/{unit}"), weight);
    }

    pub(in crate::linux) fn held(&self, unit: &str) -> String {
        fs::read_to_string(self.file(&format!("held/{unit}"))).unwrap_or_default()
    }

    pub(in crate::linux) fn kernel(&self, unit: &str) -> Option<u64> {
        self.place().kernel_weight(&Self::path(unit))
    }

    /// A unit ends, and its group with it.
    pub(in crate::linux) fn ends(&self, unit: &str) {
        fs::remove_file(self.file(&format!("held/{unit}"))).expect("was there");
        let group = self.file(&format!("sys/fs/cgroup{}", Self::path(unit)));
        fs::remove_dir_all(group).expect("was there");
    }

    /// From now on the kernel is never told.
    pub(in crate::linux) fn stalls(&self) {
        self.write("stalls", "");
    }

    /// From now on it answers nonsense.
    pub(in crate::linux) fn garbles(&self) {
        self.write("garbled", "");
    }

    /// How often it was asked since, and sense again from now on.
    pub(in crate::linux) fn garbled(&self) -> usize {
        let times = fs::read(self.file("garbled")).expect("it garbles").len();
        fs::remove_file(self.file("garbled")).expect("was there");
        times
    }

    /// The log-in ends: manager, runtime folder and control groups.
    pub(in crate::linux) fn log_in_ends(&mut self) {
        self.falls_silent();
        fs::remove_dir_all(self.file("run")).expect("was there");
        fs::remove_dir_all(self.file("sys")).expect("was there");
    }

    pub(in crate::linux) fn drop_in(&self, unit: &str) -> PathBuf {
        self.place().drop_in(unit)
    }

    fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        fs::write(file, text).expect("written");
    }

    fn socket(&self) -> PathBuf {
        self.file(&format!("run/user/{}/systemd/private", sys::own_uid()))
    }

    /// Begins to answer.
    pub(in crate::linux) fn answers(&mut self) {
        let socket = self.socket();
        fs::create_dir_all(socket.parent().expect("a parent")).expect("made");
        let listener = UnixListener::bind(&socket).expect("bound");
        let served = Served {
            root: self.folder.path().to_path_buf(),
            drop_ins: self.drop_in("x"),
        };
        self.thread = Some(thread::spawn(move || served.serve(&listener)));
    }

    /// Does not answer any more.
    pub(in crate::linux) fn falls_silent(&mut self) {
        self.write("quit", "");
        if let Some(thread) = self.thread.take() {
            drop(UnixStream::connect(self.socket()).expect("connected"));
            thread.join().expect("ended");
        }
        fs::remove_file(self.socket()).expect("was there");
        fs::remove_file(self.file("quit")).expect("was there");
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.falls_silent();
        }
    }
}

/// What the thread of a made manager knows.
struct Served {
    root: PathBuf,
    drop_ins: PathBuf,
}

impl Served {
    fn serve(&self, listener: &UnixListener) {
        for stream in listener.incoming() {
            if self.root.join("quit").exists() {
                return;
            }
            let mut stream = stream.expect("accepted");
            // A client that leaves ends its own connection only.
            let ended = self.talk(&mut stream);
            assert!(ended.is_err());
        }
    }

    fn talk(&self, stream: &mut UnixStream) -> io::Result<()> {
        let mut greeting = [0; 1];
        while greeting[0] != b'\n' {
            stream.read_exact(&mut greeting)?;
        }
        stream.write_all(b"OK 00\r\n")?;
        stream.read_exact(&mut [0; 7])?;
        loop {
            let mut head = [0; 16];
            stream.read_exact(&mut head)?;
            let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4"));
            let length = number(12).next_multiple_of(8) + number(4);
            let mut rest = vec![0; length as usize];
            stream.read_exact(&mut rest)?;
            let garbled = self.root.join("garbled");
            if let Ok(times) = fs::read(&garbled) {
                fs::write(&garbled, [times, vec![b'.']].concat()).expect("written");
                stream.write_all(&[b'B'; 16])?;
                continue;
            }
            stream.write_all(&self.answer(number(8), &rest))?;
        }
    }

    /// Texts of the message in order, which is all that is needed to tell calls apart.
    fn answer(&self, serial: u32, message: &[u8]) -> Vec<u8> {
        let text: String = message.iter().map(|byte| char::from(*byte)).collect();
        let unit = text
            .split('\0')
            .map(|part| part.trim_start_matches(|char: char| !char.is_ascii_alphanumeric()))
            .filter_map(|part| part.rsplit('/').next())
            .find(|part| interface(part).is_some() && !part.contains("freedesktop"))
            .expect("a unit")
            .to_owned();
        let held = self.root.join("held").join(&unit);
        let Ok(weight) = fs::read_to_string(&held) else {
            return reply(serial, 3, Some(NO_SUCH_UNIT), &[]);
        };
        if text.contains("GetUnit") {
            let path = format!("/unit/{unit}");
            let mut body = u32::try_from(path.len())
                .expect("short")
                .to_le_bytes()
                .to_vec();
            body.extend(path.bytes());
            body.push(0);
            return reply(serial, 2, None, &body);
        }
        if text.contains("SetUnitProperties") {
            let value = message.last_chunk::<8>().expect("a number");
            self.set(&unit, u64::from_le_bytes(*value));
            return reply(serial, 2, None, &[]);
        }
        let startup = text.contains("StartupCPUWeight");
        let value = weight.parse().ok().filter(|_| !startup).unwrap_or(UNSET);
        let mut body = b"\x01t\0\0\0\0\0\0".to_vec();
        body.extend(value.to_le_bytes());
        reply(serial, 2, None, &body)
    }

    fn set(&self, unit: &str, value: u64) {
        let text = if value == UNSET {
            String::new()
        } else {
            value.to_string()
        };
        fs::write(self.root.join("held").join(unit), &text).expect("written");
        let base = self
            .drop_ins
            .parent()
            .and_then(Path::parent)
            .expect("folders");
        let folder = base.join(format!("{unit}.d"));
        fs::create_dir_all(&folder).expect("made");
        let says = format!("# This is a drop-in\n[Scope]\nCPUWeight={text}\n");
        fs::write(folder.join("50-CPUWeight.conf"), says).expect("written");
        if self.root.join("stalls").exists() {
            return;
        }
        let group = format!("sys/fs/cgroup{}/cpu.weight", Made::path(unit));
        if value == UNSET {
            fs::remove_file(self.root.join(group)).expect("was there");
        } else {
            fs::write(self.root.join(group), format!("{text}\n")).expect("written");
        }
    }
}

fn reply(serial: u32, kind: u8, error: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut fields = b"\x05\x01u\0".to_vec();
    fields.extend(serial.to_le_bytes());
    if let Some(error) = error {
        fields.extend(b"\x04\x01s\0");
        fields.extend(u32::try_from(error.len()).expect("short").to_le_bytes());
        fields.extend(error.bytes());
        fields.push(0);
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_le_bytes();
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend(length(body));
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(length(&fields));
    bytes.extend(&fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

#[test]
fn a_manager_without_the_controller_or_without_an_answer_is_not_able() {
    let mut made = Made::new();
    assert!(made.place().is_able());
    let controllers = format!(
        "sys/fs/cgroup{}/cgroup.controllers",
        cgroup::manager(sys::own_uid())
    );
    made.write(&controllers, "cpuset memory pids\n");
    assert!(!made.place().is_able());
    made.write(&controllers, "cpu\n");
    made.falls_silent();
    assert!(!made.place().is_able());
    assert!(!made.place().is_gone(), "its groups are still there");
    made.answers();
    assert!(made.place().is_able());
    made.log_in_ends();
    assert!(made.place().is_gone() && !made.place().is_able());
}

#[test]
fn a_weight_is_told_apart_from_none_and_from_no_unit() {
    let made = Made::new();
    made.unit("app-a.scope", &[]);
    let mut manager = made.place().connect().expect("connected");
    let mut weight = |unit| manager.weight(unit).expect("told");
    assert_eq!(weight("app-a.scope"), Weight::Default);
    made.holds("app-a.scope", "100");
    assert_eq!(
        weight("app-a.scope"),
        Weight::Is(100),
        "set to the default is set"
    );
    assert_eq!(weight("app-b.scope"), Weight::NoUnit);
}

#[test]
fn only_a_file_that_says_our_weight_and_nothing_else_is_cleared_away() {
    let made = Made::new();
    let place = made.place();
    let file = made.drop_in("app-a.slice");
    let text = |says: &str| format!("# a comment\n# another\n[Slice]\n{says}\n");
    for (says, weight, goes) in [
        ("CPUWeight=", UNSET, true),
        ("CPUWeight=19", UNSET, false),
        ("CPUWeight=19", 19, true),
        ("CPUWeight=20", 19, false),
        ("CPUWeight=\nMemoryHigh=1G", UNSET, false),
        ("MemoryHigh=1G", UNSET, false),
        ("", UNSET, false),
    ] {
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, text(says)).expect("written");
        place.clear_away("app-a.slice", weight).expect("looked");
        assert_eq!(!file.exists(), goes, "{says}");
        assert_eq!(!file.parent().expect("a folder").exists(), goes, "{says}");
    }
    place
        .clear_away("app-none.slice", UNSET)
        .expect("nothing there");
    // Another file in the folder keeps it.
    fs::write(&file, text("CPUWeight=")).expect("written");
    let other = file.with_file_name("50-MemoryHigh.conf");
    fs::write(&other, "[Slice]\nMemoryHigh=1G\n").expect("written");
    place.clear_away("app-a.slice", UNSET).expect("cleared");
    assert!(!file.exists() && other.exists());
}

#[test]
fn only_scopes_services_and_slices_are_units() {
    assert_eq!(name("/a/app-x.scope"), Some("app-x.scope"));
    assert_eq!(name("/a/app-x@1.service"), Some("app-x@1.service"));
    assert_eq!(name("/a/tab(3)"), None);
    assert_eq!(name("/a/x.socket"), None);
    assert_eq!(name(&format!("/a/{}.scope", "x".repeat(250))), None);
}
