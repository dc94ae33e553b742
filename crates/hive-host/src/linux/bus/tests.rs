//! The bytes, and what becomes of an answer that is none.

use super::*;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

/// No peer of these tests keeps anybody waiting.
const PATIENCE: Duration = Duration::from_secs(20);

fn method() -> Method<'static> {
    Method {
        destination: Some("a.b"),
        path: "/a",
        interface: "a.b",
        member: "Get",
    }
}

/// An answer's bytes, by the specification: kind, serial of the call, an error's name, body.
fn answer(kind: u8, answers: u32, error: Option<&str>, body: &Body) -> Vec<u8> {
    let mut fields = Body::default();
    fields.field(5, "u").expect("short");
    fields.align(4);
    fields.bytes.extend(answers.to_le_bytes());
    if let Some(error) = error {
        fields.field(4, "s").expect("short");
        fields.put_text(error).expect("short");
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_le_bytes();
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend(length(&body.bytes));
    bytes.extend(7_u32.to_le_bytes());
    bytes.extend(length(&fields.bytes));
    bytes.extend(&fields.bytes);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(&body.bytes);
    bytes
}

/// What a call ends with when the other side says this after the authentication.
fn told(said: Vec<u8>) -> Result<Vec<u8>, BusError> {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let other = thread::spawn(move || {
        let mut hello = vec![0; "\0AUTH EXTERNAL 31303030\r\n".len()];
        theirs.read_exact(&mut hello).expect("read");
        assert_eq!(hello, b"\0AUTH EXTERNAL 31303030\r\n");
        theirs.write_all(b"OK 0123456789abcdef\r\n").expect("said");
        theirs.write_all(&said).expect("said");
        let mut rest = Vec::new();
        theirs.shutdown(std::net::Shutdown::Write).expect("shut");
        // Whoever leaves with something unread resets the connection.
        if let Err(error) = theirs.read_to_end(&mut rest) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        rest
    });
    let mut bus = Bus::over(Line::over(ours, PATIENCE), 1_000).expect("let in");
    let result = bus.call(method(), &Body::default());
    drop(bus);
    let rest = other.join().expect("ended");
    assert!(rest.starts_with(b"BEGIN\r\nl\x01\x02\x01"));
    result
}

#[test]
fn a_call_is_what_the_specification_says() {
    let body = Body::default().text("x").expect("short").flag(true);
    let bytes = message(3, method(), &body).expect("short");
    let mut wanted: Vec<u8> = Vec::new();
    // Little-endian, a call, nobody is started for it, version 1; lengths of body and fields, serial.
    wanted.extend(b"l\x01\x02\x01\x0c\0\0\0\x03\0\0\0\x48\0\0\0");
    wanted.extend(b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0");
    wanted.extend(b"\x02\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
    wanted.extend(b"\x03\x01s\0\x03\0\0\0Get\0\0\0\0\0");
    wanted.extend(b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
    wanted.extend(b"\x08\x01g\0\x02sb\0");
    wanted.extend(b"\x01\0\0\0x\0\0\0\x01\0\0\0");
    assert_eq!(bytes, wanted);
}

#[test]
fn a_property_is_an_array_of_one_structure() {
    let body = Body::default().property("CPUWeight", 19).expect("short");
    assert_eq!(body.signature, "a(sv)");
    let mut wanted: Vec<u8> = Vec::new();
    // 32 bytes from the structure on, which begins at a multiple of eight.
    wanted.extend(b"\x20\0\0\0\0\0\0\0\x09\0\0\0CPUWeight\0\x01t\0\0\0\0\0\0\0\0");
    wanted.extend(b"\x13\0\0\0\0\0\0\0");
    assert_eq!(body.bytes, wanted);
    assert!(Body::default().text("a\0b").is_none());
}

#[test]
fn the_answer_is_found_among_signals_and_errors_have_names() {
    let text = Body::default().text("/unit/a").expect("short");
    let mut said = answer(4, 0, None, &text);
    said.extend(answer(ANSWER, 9, None, &Body::default()));
    said.extend(answer(ANSWER, 1, None, &text));
    let body = told(said).expect("an answer");
    assert_eq!(Reader::new(&body).text(), Some("/unit/a"));
    assert_eq!(Reader::new(&body).variant_u64(), None);
    let said = answer(ERROR, 1, Some("org.no"), &text);
    assert!(matches!(told(said), Err(BusError::Refused(name)) if name == "org.no"));
}

#[test]
fn a_peer_that_breaks_a_rule_is_left() {
    let good = answer(ANSWER, 1, None, &Body::default());
    let with = |at: usize, bytes: &[u8]| {
        let mut said = good.clone();
        said[at..at + bytes.len()].copy_from_slice(bytes);
        said
    };
    let garbled = [
        ("big-endian", with(0, b"B")),
        ("another version", with(3, b"\x02")),
        ("a body of gigabytes", with(4, &u32::MAX.to_le_bytes())),
        (
            "fields of gigabytes",
            with(12, &(FIELDS_MAX + 1).to_le_bytes()),
        ),
        ("a field of unknown shape", with(16, b"\x05\x01x\0")),
    ];
    for (what, said) in garbled {
        assert!(matches!(told(said), Err(BusError::Garbled)), "{what}");
    }
    // Cut anywhere, it is no answer and no panic.
    for cut in 0..good.len() {
        assert!(matches!(
            told(good[..cut].to_vec()),
            Err(BusError::Unavailable(_))
        ));
    }
    let nobody_answers = answer(4, 0, None, &Body::default()).repeat(PASSED_OVER_MAX as usize);
    assert!(matches!(told(nobody_answers), Err(BusError::Garbled)));
}

#[test]
fn who_has_always_something_to_say_is_left_when_the_time_is_over() {
    let is_late = |error: &BusError| matches!(error, BusError::Unavailable(why) if why.raw_os_error() == Some(libc::ETIMEDOUT));
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(b"OK 00\r\n").expect("said");
    let ready = answer(ANSWER, 1, None, &Body::default()).repeat(2);
    theirs.write_all(&ready).expect("said");
    let mut bus = Bus::over(Line::over(ours, PATIENCE), 1_000).expect("let in");
    bus.call(method(), &Body::default()).expect("answered");
    // The next answer lies there, but all of them together took too long.
    bus.line.until = Instant::now();
    let late = bus.call(method(), &Body::default());
    assert!(is_late(&late.expect_err("too late")));
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(b"OK 00\r\n").expect("said");
    let late = Bus::over(Line::over(ours, Duration::ZERO), 1_000);
    assert!(is_late(&late.expect_err("too late")));
}

#[test]
fn a_number_in_a_variant_is_read_where_it_stands() {
    let value = |bytes: &[u8]| Reader::new(bytes).variant_u64();
    assert_eq!(value(b"\x01t\0\0\0\0\0\0\x13\0\0\0\0\0\0\0"), Some(19));
    assert_eq!(value(b"\x01u\0\0\x13\0\0\0"), None);
    assert_eq!(value(b"\x01t\0\0\0\0\0\0\x13\0\0"), None);
    assert_eq!(value(b"\xff"), None);
    assert_eq!(value(b""), None);
}

#[test]
fn lists_are_read_to_their_end_and_not_beyond() {
    let texts = |bytes: &[u8]| {
        let texts = Reader::new(bytes).variant_texts();
        texts.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let two = b"\x02as\0\x11\0\0\0\x03\0\0\0A=1\0\x04\0\0\0B=22\0";
    assert_eq!(texts(two), Some(vec!["A=1".to_owned(), "B=22".to_owned()]));
    assert_eq!(texts(&two[..two.len() - 1]), None, "cut");
    assert_eq!(texts(b"\x02as\0\0\0\0\0"), Some(vec![]));
    assert_eq!(texts(b"\x02as\0\xff\xff\xff\xff"), None);
    assert_eq!(texts(b"\x01s\0\0\x01\0\0\0A\0"), None);
    let games = |bytes: &[u8]| Reader::new(bytes).numbers_of_objects();
    let mut said = Vec::from(*b"\x20\0\0\0\0\0\0\0");
    said.extend(b"\x39\x05\0\0\x03\0\0\0/ab\0\0\0\0\0");
    said.extend(b"\x3a\x05\0\0\x07\0\0\0/abcdef\0");
    said[0] = u8::try_from(said.len() - 8).expect("short");
    assert_eq!(games(&said), Some(vec![1_337, 1_338]));
    assert_eq!(games(&said[..said.len() - 1]), None);
    assert_eq!(games(b"\0\0\0\0\0\0\0\0"), Some(vec![]));
    assert_eq!(games(b""), None);
}
