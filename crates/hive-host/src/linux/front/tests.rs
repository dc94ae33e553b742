//! Desktops that are threads speaking the bytes of real ones, in full and in pieces, and some that break every rule.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};

use super::*;

const HOST: &str = "this-machine";
const LONG: Duration = Duration::from_secs(20);

/// A line to a peer that reads each question of so many bytes and then says the next answer.
fn peer(talk: Vec<(usize, Vec<u8>)>) -> (Line, JoinHandle<Vec<u8>>) {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let other = thread::spawn(move || {
        let mut heard = Vec::new();
        for (length, said) in talk {
            let mut question = vec![0; length];
            if theirs.read_exact(&mut question).is_err() {
                return heard;
            }
            heard.extend(question);
            // Whoever was told nonsense may have left.
            if theirs.write_all(&said).is_err() {
                return heard;
            }
        }
        heard
    });
    (Line::over(ours, LONG), other)
}

/// What is made of one answer.
fn told(
    focus: fn(&mut Line) -> Result<Option<u32>, NotTold>,
    question: &[u8],
    said: Vec<u8>,
) -> Result<Option<u32>, NotTold> {
    let (mut line, other) = peer(vec![(question.len(), said)]);
    let result = focus(&mut line);
    drop(line);
    assert_eq!(other.join().expect("ended"), question);
    result
}

const TREE_QUESTION: &[u8] = b"i3-ipc\0\0\0\0\x04\0\0\0";

fn tree(kind: u32, length: u32, json: &[u8]) -> Vec<u8> {
    let mut said = Vec::from(*b"i3-ipc");
    said.extend(length.to_le_bytes());
    said.extend(kind.to_le_bytes());
    said.extend(json);
    said
}

fn whole_tree(json: &str) -> Vec<u8> {
    tree(
        4,
        u32::try_from(json.len()).expect("short"),
        json.as_bytes(),
    )
}

/// A tree as sway tells it, cut to the fields around those that count.
const SWAY: &str = r#"{"id":1,"type":"root","focused":false,"focus":[3],"nodes":[{"id":3,"type":"output",
  "name":"HEADLESS-1","focused":false,"nodes":[{"id":4,"type":"workspace","focused":false,"nodes":[
  {"id":7,"type":"con","name":"a","focused":false,"pid":4711,"app_id":"foot","nodes":[],"floating_nodes":[]}],
  "floating_nodes":[{"id":8,"type":"floating_con","focused":true,"pid":4712,"window":null,"nodes":[],"floating_nodes":[]}]}]}],
  "floating_nodes":[]}"#;

#[test]
fn sway_tells_the_focused_window_wherever_it_is_in_the_tree() {
    let said = |json: &str| told(sway::focus, TREE_QUESTION, whole_tree(json));
    assert_eq!(said(SWAY).expect("told"), Some(4_712));
    let tiled = SWAY.replace("\"focused\":true", "\"focused\":false");
    assert_eq!(said(&tiled).expect("told"), None);
    let tiled = tiled.replace("\"a\",\"focused\":false", "\"a\",\"focused\":true");
    assert_eq!(said(&tiled).expect("told"), Some(4_711));
    // A focused workspace has no process, and a process below 0 is none.
    let workspace = r#"{"nodes":[{"type":"workspace","focused":true,"nodes":[]}]}"#;
    assert_eq!(said(workspace).expect("told"), None);
    assert_eq!(said(r#"{"focused":true,"pid":-1}"#).expect("told"), None);
}

#[test]
fn a_sway_that_breaks_a_rule_is_not_believed() {
    let said = |said: Vec<u8>| told(sway::focus, TREE_QUESTION, said);
    let garbled = [
        ("another magic", b"i3-ipx\x02\0\0\0\x04\0\0\0{}".to_vec()),
        ("another kind", tree(1, 2, b"{}")),
        ("gigabytes", tree(4, u32::MAX, b"{}")),
        ("no object", whole_tree("nonsense")),
        ("cut short", whole_tree("{\"nodes\":[")),
        ("a number for a list", whole_tree("{\"nodes\":1}")),
        (
            "deeper than anything",
            whole_tree(&"{\"nodes\":[".repeat(10_000)),
        ),
    ];
    for (what, bytes) in garbled {
        assert!(matches!(said(bytes), Err(NotTold::Garbled)), "{what}");
    }
    // Cut anywhere, it is no answer and no panic.
    let good = whole_tree(SWAY);
    for cut in [0, 5, 13, 14, 100, good.len() - 1] {
        let result = said(good[..cut].to_vec());
        assert!(matches!(result, Err(NotTold::Unavailable(_))), "{cut}");
    }
}

#[test]
fn hyprland_tells_the_active_window() {
    let said = |said: &[u8]| told(hyprland::focus, b"j/activewindow", said.to_vec());
    let window = br#"{"address":"0x55","mapped":true,"class":"kitty","title":"~","pid":9001,"xwayland":false}"#;
    assert_eq!(said(window).expect("told"), Some(9_001));
    assert_eq!(said(b"{}").expect("told"), None);
    assert_eq!(said(br#"{"pid":-1}"#).expect("told"), None);
    for bad in [
        &b""[..],
        b"unknown request",
        b"{\"pid\":",
        b"{\"pid\":\"7\"}",
    ] {
        assert!(matches!(said(bad), Err(NotTold::Garbled)), "{bad:?}");
    }
    // It says no length, so what never ends is left at a bound; spaces before an object would be fair otherwise.
    let endless = vec![b' '; 200_000];
    assert!(matches!(said(&endless), Err(NotTold::Garbled)));
}

/// What an X server says first: its vendor of 5 bytes, two formats, one screen with this root.
fn setup(root: u32) -> Vec<u8> {
    let mut body = vec![0; 32];
    body[16] = 5;
    body[20] = 1;
    body[21] = 2;
    body.extend(b"maker\0\0\0");
    body.extend([0; 16]);
    body.extend(root.to_le_bytes());
    body.extend([0; 36]);
    let units = u16::try_from(body.len() / 4).expect("short");
    let mut said = Vec::from(*b"\x01\0\x0b\0\0\0");
    said.extend(units.to_le_bytes());
    said.extend(body);
    said
}

/// A name's number.
fn atom(serial: u16, atom: u32) -> Vec<u8> {
    let mut said = vec![1, 0];
    said.extend(serial.to_le_bytes());
    said.extend([0; 4]);
    said.extend(atom.to_le_bytes());
    said.resize(32, 0);
    said
}

/// A property of this kind with elements of so many bits.
fn property(serial: u16, kind: u32, bits: u8, value: &[u8]) -> Vec<u8> {
    let padded = value.len().next_multiple_of(4);
    let number = |value: usize| u32::try_from(value).expect("short").to_le_bytes();
    let mut said = vec![1, bits];
    said.extend(serial.to_le_bytes());
    said.extend(number(padded / 4));
    said.extend(kind.to_le_bytes());
    said.extend([0; 4]);
    said.extend(number(value.len() / usize::from((bits / 8).max(1))));
    said.resize(32, 0);
    said.extend(value);
    said.resize(32 + padded, 0);
    said
}

const SETUP_QUESTION: usize = 12;
const GET: usize = 24;

/// A server on which window 0x200007 has the keyboard, and is of process 4242 of this machine.
fn server() -> Vec<(usize, Vec<u8>)> {
    vec![
        (SETUP_QUESTION, setup(0x123)),
        (8 + 20, atom(1, 300)),
        (8 + 12, atom(2, 301)),
        (GET, property(3, 33, 32, &0x0020_0007_u32.to_le_bytes())),
        (GET, property(4, 31, 8, HOST.as_bytes())),
        (GET, property(5, 6, 32, &4_242_u32.to_le_bytes())),
    ]
}

fn asked(talk: Vec<(usize, Vec<u8>)>) -> (Result<Option<u32>, NotTold>, Vec<u8>) {
    let (line, other) = peer(talk);
    let result = x11::focus(line, None, HOST);
    (result, other.join().expect("ended"))
}

#[test]
fn an_x_server_tells_the_active_windows_process() {
    let (result, heard) = asked(server());
    assert_eq!(result.expect("told"), Some(4_242));
    let mut wanted = Vec::from(*b"l\0\x0b\0\0\0\0\0\0\0\0\0");
    wanted.extend(b"\x10\x01\x07\0\x12\0\0\0_NET_ACTIVE_WINDOW\0\0");
    wanted.extend(b"\x10\x01\x05\0\x0b\0\0\0_NET_WM_PID\0");
    wanted.extend(b"\x14\0\x06\0\x23\x01\0\0\x2c\x01\0\0\x21\0\0\0\0\0\0\0\x40\0\0\0");
    wanted.extend(b"\x14\0\x06\0\x07\0\x20\0\x24\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0");
    wanted.extend(b"\x14\0\x06\0\x07\0\x20\0\x2d\x01\0\0\x06\0\0\0\0\0\0\0\x40\0\0\0");
    assert_eq!(heard, wanted);
    // Events that come in between are passed over.
    let mut talk = server();
    let mut event = vec![34_u8; 32];
    event.append(&mut talk[3].1);
    talk[3].1 = event;
    assert_eq!(asked(talk).0.expect("told"), Some(4_242));
}

#[test]
fn a_window_that_says_nothing_certain_is_nobodys() {
    let with = |nth: usize, said: Vec<u8>| {
        let mut talk = server();
        talk[nth].1 = said;
        asked(talk).0.expect("an answer")
    };
    let error = |serial: u8| {
        let mut said = vec![0, 3, serial, 0];
        said.resize(32, 0);
        said
    };
    assert_eq!(with(1, atom(1, 0)), None, "no window manager");
    assert_eq!(with(3, property(3, 0, 0, b"")), None, "nothing active");
    assert_eq!(with(3, property(3, 33, 32, &[0; 4])), None, "none active");
    assert_eq!(with(3, property(3, 6, 32, &[1; 4])), None, "no window");
    assert_eq!(with(4, error(4)), None, "gone meanwhile");
    assert_eq!(
        with(4, property(4, 31, 8, b"elsewhere")),
        None,
        "of another host"
    );
    assert_eq!(
        with(4, property(4, 0, 0, b"")),
        None,
        "of nobody knows where"
    );
    assert_eq!(with(5, property(5, 0, 0, b"")), None, "no process");
    assert_eq!(with(5, property(5, 6, 8, b"1")), None, "no whole number");
}

#[test]
fn an_x_server_that_breaks_a_rule_is_left() {
    type Change = fn(&mut Vec<u8>);
    let with = |nth: usize, change: fn(&mut Vec<u8>)| {
        let mut talk = server();
        change(&mut talk[nth].1);
        talk.truncate(nth + 1);
        asked(talk).0
    };
    let garbled: [(&str, usize, Change); 8] = [
        ("refused", 0, |said| said[0] = 0),
        ("a setup longer than any", 0, |said| said[6..8].fill(0xff)),
        ("no screen", 0, |said| said[8 + 20] = 0),
        ("a vendor beyond the end", 0, |said| said[8 + 17] = 0xff),
        ("the answer to another question", 1, |said| said[2] = 9),
        ("an event of unknown length", 1, |said| said[0] = 35),
        ("a value of gigabytes", 3, |said| said[4..8].fill(0xff)),
        ("more elements than there are", 4, |said| said[16] = 200),
    ];
    for (what, nth, change) in garbled {
        assert!(matches!(with(nth, change), Err(NotTold::Garbled)), "{what}");
    }
    let mut talk = server();
    talk[1].1 = vec![34; 32 * 64];
    assert!(
        matches!(asked(talk).0, Err(NotTold::Garbled)),
        "only events"
    );
    for nth in 0..server().len() {
        let short = with(nth, |said| said.truncate(said.len() - 1));
        assert!(matches!(short, Err(NotTold::Unavailable(_))), "{nth}");
    }
}

#[test]
fn the_cookie_is_that_of_this_display_on_this_host() {
    let entry = |family: u16, address: &str, number: &str, name: &str, data: &[u8]| {
        let mut bytes = Vec::from(family.to_be_bytes());
        for part in [address.as_bytes(), number.as_bytes(), name.as_bytes(), data] {
            bytes.extend(u16::try_from(part.len()).expect("short").to_be_bytes());
            bytes.extend(part);
        }
        bytes
    };
    let name = "MIT-MAGIC-COOKIE-1";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cookies");
    let found = |entries: &[Vec<u8>], display: u32| {
        fs::write(&path, entries.concat()).expect("written");
        x11::cookie(&path, HOST, display)
    };
    let others = [
        entry(256, "elsewhere", "0", name, b"1"),
        entry(0, HOST, "0", name, b"2"),
        entry(256, HOST, "1", name, b"3"),
        entry(256, HOST, "0", "XDM-AUTHORIZATION-1", b"4"),
    ];
    assert_eq!(found(&others, 0), None);
    assert_eq!(found(&others, 1), Some(b"3".to_vec()));
    assert_eq!(
        found(&[entry(65_535, "", "", name, b"5")], 7),
        Some(b"5".to_vec())
    );
    let own = entry(256, HOST, "0", name, b"0123456789abcdef");
    for cut in 0..own.len() {
        assert_eq!(found(&[own[..cut].to_vec()], 0), None, "{cut}");
    }
    assert_eq!(found(&[own], 0).map(|data| data.len()), Some(16));
    // It is shown with the first request, filled up to words.
    let (line, other) = peer(vec![(12 + 20 + 8, vec![0; 8])]);
    let refused = x11::focus(line, Some(b"12345"), HOST);
    assert!(matches!(refused, Err(NotTold::Garbled)));
    let heard = other.join().expect("ended");
    assert_eq!(
        heard,
        b"l\0\x0b\0\0\0\x12\0\x05\0\0\0MIT-MAGIC-COOKIE-1\0\x0012345\0\0\0"
    );
}

#[test]
fn only_a_display_of_this_machine_is_asked() {
    assert_eq!(x11::local(":0"), Some(0));
    assert_eq!(x11::local(":12.1"), Some(12));
    assert_eq!(x11::local("unix:3"), Some(3));
    for far in ["localhost:10.0", "far:0", "", ":", ":x", "0"] {
        assert_eq!(x11::local(far), None, "{far}");
    }
}

struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("run/user/7/hypr/sig")).expect("made");
        fs::create_dir_all(folder.path().join("x")).expect("made");
        fs::create_dir_all(folder.path().join("proc/sys/kernel")).expect("made");
        let host = folder.path().join("proc/sys/kernel/hostname");
        fs::write(host, format!("{HOST}\n")).expect("written");
        Self { folder }
    }

    fn desk(&self, said: &[(&str, &str)]) -> Desk {
        let root = self.folder.path();
        let roots = Roots {
            proc: root.join("proc"),
            sys: root.join("sys"),
            run: root.join("run"),
        };
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Desk {
            displays: root.join("x"),
            ..Desk::new(&roots, 7, said.iter().map(own).collect())
        }
    }

    fn listen(&self, path: &str) -> UnixListener {
        UnixListener::bind(self.folder.path().join(path)).expect("bound")
    }

    /// Answers one caller after the other with these.
    fn serve(&self, path: &str, callers: Vec<Vec<(usize, Vec<u8>)>>) -> JoinHandle<()> {
        let listener = self.listen(path);
        thread::spawn(move || {
            for talk in callers {
                let (mut theirs, _) = listener.accept().expect("a caller");
                for (length, said) in talk {
                    let mut question = vec![0; length];
                    theirs.read_exact(&mut question).expect("asked");
                    theirs.write_all(&said).expect("said");
                }
            }
        })
    }
}

fn at(second: u64) -> Instant {
    Instant(second * 1_000_000)
}

#[test]
fn whoever_runs_is_asked_and_a_crashed_ones_socket_is_passed_over() {
    let ground = Ground::new();
    // Nobody holds this one any more.
    drop(ground.listen("run/user/7/sway-ipc.7.1.sock"));
    let one = vec![(TREE_QUESTION.len(), whole_tree(SWAY))];
    let sway = ground.serve("run/user/7/sway-ipc.7.2.sock", vec![one]);
    let mut desk = ground.desk(&[]);
    assert_eq!(desk.ask(at(1)), Some(4_712));
    sway.join().expect("ended");
    let x = ground.serve("x/X4", vec![server()]);
    let mut desk = ground.desk(&[("DISPLAY", ":4"), ("HOME", "/nowhere")]);
    // Both sockets of sway are dead now, so the X server is asked.
    assert_eq!(desk.ask(at(1)), Some(4_242));
    x.join().expect("ended");
    let window = b"{\"pid\":9001}".to_vec();
    let hyprland = ground.serve("run/user/7/hypr/sig/.socket.sock", vec![vec![(14, window)]]);
    assert_eq!(ground.desk(&[]).ask(at(1)), Some(9_001));
    hyprland.join().expect("ended");
}

#[test]
fn one_that_does_not_answer_is_left_alone_for_a_while_and_asked_again() {
    let ground = Ground::new();
    let listener = ground.listen("sway");
    listener.set_nonblocking(true).expect("set");
    let socket = ground.folder.path().join("sway");
    let mut desk = ground.desk(&[("SWAYSOCK", socket.to_str().expect("plain"))]);
    // It hangs: it takes the question and says nothing.
    assert_eq!(desk.ask(at(100)), None);
    assert!(listener.accept().is_ok(), "asked once");
    assert_eq!(desk.ask(at(130)), None);
    assert!(listener.accept().is_err(), "not asked again so soon");
    // It comes to itself.
    listener.set_nonblocking(false).expect("set");
    let other = thread::spawn(move || {
        let (mut theirs, _) = listener.accept().expect("a caller");
        let mut question = [0; TREE_QUESTION.len()];
        theirs.read_exact(&mut question).expect("asked");
        theirs.write_all(&whole_tree(SWAY)).expect("said");
    });
    assert_eq!(desk.ask(at(160)), Some(4_712));
    other.join().expect("ended");
}

#[test]
fn a_daemon_that_was_started_before_the_desktop_hears_of_it_from_the_service_manager() {
    let ground = Ground::new();
    let mut desk = ground.desk(&[]);
    assert_eq!(desk.ask(at(1)), None);
    assert_eq!(desk.word("DISPLAY"), None);
    // The manager's answer, as it stands in the words that are kept.
    let words = ["DISPLAY=:4", "PATH=/bin", "XAUTHORITY=/a=b", "EMPTY"];
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    desk.heard = chosen(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(desk.word("DISPLAY"), Some(":4"));
    assert_eq!(desk.word("XAUTHORITY"), Some("/a=b"));
    assert_eq!(desk.word("PATH"), None, "what does not matter is not kept");
    // Asked again after a minute; nobody answers, so nothing is known.
    assert_eq!(desk.ask(at(30)), None);
    assert_eq!(desk.word("DISPLAY"), Some(":4"));
    assert_eq!(desk.ask(at(70)), None);
    assert_eq!(desk.word("DISPLAY"), None);
}
