//! A small D-Bus client: one connection, one call at a time, the few types that the user's service manager speaks.
//!
//! It follows the D-Bus specification (freedesktop.org): little-endian messages, `EXTERNAL` authentication. It takes no
//! files, exports nothing, and passes over whatever is not the answer it waits for. A peer that breaks a rule or a bound
//! ends the connection. All waiting on one connection, for however many answers, ends at one deadline.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::line::Line;

/// A longer answer is none of those that are asked for here: a number, a path, an error's text.
const BODY_MAX: u32 = 64 * 1024;

/// The same for the fields before it: names and paths of at most 255 bytes or so.
const FIELDS_MAX: u32 = 16 * 1024;

/// Messages that are no answer (signals, mostly) before the connection is given up. A guess.
const PASSED_OVER_MAX: u32 = 256;

/// Longest line of the authentication.
const LINE_MAX: usize = 1_024;

const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;

/// `NO_AUTO_START`: nobody is started only to be asked.
const NO_AUTO_START: u8 = 2;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// Nobody is there, or the connection broke.
    #[error("no connection: {0}")]
    Unavailable(#[from] io::Error),
    /// The other side said no, by this name.
    #[error("refused: {0}")]
    Refused(String),
    /// What came is not what was asked for, or breaks a rule of the protocol.
    #[error("the answer is none")]
    Garbled,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    /// Whom, where a bus lies between; `None` where the other side is at the end of the socket.
    pub(super) destination: Option<&'a str>,
    /// On which object.
    pub(super) path: &'a str,
    /// Of which interface.
    pub(super) interface: &'a str,
    /// Its name.
    pub(super) member: &'a str,
}

/// The arguments of a call, and their signature.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

/// An answer's arguments, read in order.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Bus {
    line: Line,
    serial: u32,
}

impl Bus {
    /// Connects and says who we are. `patience` is for this and all calls together.
    pub(super) fn connect(socket: &Path, uid: u32, patience: Duration) -> Result<Self, BusError> {
        Self::over(Line::connect(socket, patience)?, uid)
    }

    fn over(mut line: Line, uid: u32) -> Result<Self, BusError> {
        // The name of a user is its number in decimal, each digit told in hexadecimal: 30 to 39.
        let name: String = uid
            .to_string()
            .bytes()
            .flat_map(|digit| ['3', char::from(digit)])
            .collect();
        line.write_all(format!("\0AUTH EXTERNAL {name}\r\n").as_bytes())?;
        if !said(&mut line)?.starts_with("OK ") {
            return Err(BusError::Refused("AUTH".to_owned()));
        }
        line.write_all(b"BEGIN\r\n")?;
        Ok(Self { line, serial: 0 })
    }

    /// Takes part in the bus at the other end, as everybody there has to first.
    pub(super) fn greet(&mut self) -> Result<(), BusError> {
        let hello = Method {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        self.call(hello, &Body::default()).map(drop)
    }

    /// Reads one property of an object.
    pub(super) fn property(
        &mut self,
        destination: Option<&str>,
        object: &str,
        (interface, name): (&str, &str),
    ) -> Result<Vec<u8>, BusError> {
        let body = Body::default()
            .text(interface)
            .and_then(|body| body.text(name))
            .ok_or(BusError::Garbled)?;
        let get = Method {
            destination,
            path: object,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        self.call(get, &body)
    }

    /// Calls and waits for the answer's body.
    pub(super) fn call(&mut self, method: Method<'_>, body: &Body) -> Result<Vec<u8>, BusError> {
        self.serial += 1;
        let message = message(self.serial, method, body).ok_or(BusError::Garbled)?;
        self.line.write_all(&message)?;
        for _ in 0..PASSED_OVER_MAX {
            let (kind, fields, body) = self.receive()?;
            if fields.answers != Some(self.serial) {
                continue;
            }
            match kind {
                ANSWER => return Ok(body),
                ERROR => return Err(BusError::Refused(fields.error.unwrap_or_default())),
                _ => {}
            }
        }
        Err(BusError::Garbled)
    }

    fn receive(&mut self) -> Result<(u8, Fields, Vec<u8>), BusError> {
        let mut head = [0; 16];
        self.line.read_exact(&mut head)?;
        let number = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            u32::from_le_bytes(bytes)
        };
        let (body, fields) = (number(4), number(12));
        let plain = head[0] == b'l' && head[3] == 1;
        if !plain || body > BODY_MAX || fields > FIELDS_MAX {
            return Err(BusError::Garbled);
        }
        // The fields are filled up to a multiple of eight.
        let padded = fields.next_multiple_of(8);
        let mut rest = vec![0; (padded + body) as usize];
        self.line.read_exact(&mut rest)?;
        let body = rest.split_off(padded as usize);
        rest.truncate(fields as usize);
        let fields = Fields::read(&rest).ok_or(BusError::Garbled)?;
        Ok((head[1], fields, body))
    }
}

/// One line of the authentication, byte by byte: what follows it is not ours to take.
fn said(stream: &mut impl Read) -> Result<String, BusError> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE_MAX {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'\n' => {
                return String::from_utf8(line)
                    .map(|line| line.trim_end().to_owned())
                    .map_err(|_| BusError::Garbled);
            }
            other => line.push(other),
        }
    }
    Err(BusError::Garbled)
}

/// What the header of an answer says, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    /// The serial of the call that it answers.
    answers: Option<u32>,
    /// The name of an error.
    error: Option<String>,
}

impl Fields {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let mut fields = Self::default();
        while reader.at < bytes.len() {
            reader.align(8)?;
            let code = reader.take(1)?[0];
            match (code, reader.signature()?) {
                (4, "s") => fields.error = Some(reader.text()?.to_owned()),
                (5, "u") => fields.answers = Some(reader.u32()?),
                (_, "u") => {
                    reader.u32()?;
                }
                (_, "s" | "o") => {
                    reader.text()?;
                }
                (_, "g") => {
                    reader.signature()?;
                }
                _ => return None,
            }
        }
        Some(fields)
    }
}

/// A call as bytes; `None` if it would be too long.
fn message(serial: u32, method: Method<'_>, body: &Body) -> Option<Vec<u8>> {
    let mut fields = Body::default();
    let all = [
        (1, "o", Some(method.path)),
        (2, "s", Some(method.interface)),
        (3, "s", Some(method.member)),
        (6, "s", method.destination),
    ];
    for (code, signature, value) in all {
        if let Some(value) = value {
            fields.field(code, signature)?;
            fields.put_text(value)?;
        }
    }
    if !body.signature.is_empty() {
        fields.field(8, "g")?;
        fields.put_signature(&body.signature)?;
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).ok();
    let mut bytes = vec![b'l', CALL, NO_AUTO_START, 1];
    bytes.extend(length(&body.bytes)?.to_le_bytes());
    bytes.extend(serial.to_le_bytes());
    bytes.extend(length(&fields.bytes)?.to_le_bytes());
    bytes.extend(&fields.bytes);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(&body.bytes);
    Some(bytes)
}

impl Body {
    /// Adds a text.
    pub(super) fn text(mut self, text: &str) -> Option<Self> {
        self.signature.push('s');
        self.put_text(text)?;
        Some(self)
    }

    /// Adds a yes or no.
    pub(super) fn flag(mut self, value: bool) -> Self {
        self.signature.push('b');
        self.align(4);
        self.bytes.extend(u32::from(value).to_le_bytes());
        self
    }

    /// Adds a list of one named number: `a(sv)` with a `t`.
    pub(super) fn property(mut self, name: &str, value: u64) -> Option<Self> {
        self.signature.push_str("a(sv)");
        self.align(4);
        let length_at = self.bytes.len();
        self.bytes.extend([0; 4]);
        // The length does not count the filling before the first element.
        self.align(8);
        let start = self.bytes.len();
        self.put_text(name)?;
        self.put_signature("t")?;
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
        let length = u32::try_from(self.bytes.len() - start).ok()?;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        Some(self)
    }

    fn field(&mut self, code: u8, signature: &str) -> Option<()> {
        self.align(8);
        self.bytes.push(code);
        self.put_signature(signature)
    }

    fn put_text(&mut self, text: &str) -> Option<()> {
        self.align(4);
        let length = u32::try_from(text.len()).ok()?;
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        (!text.contains('\0')).then_some(())
    }

    fn put_signature(&mut self, signature: &str) -> Option<()> {
        self.bytes.push(u8::try_from(signature.len()).ok()?);
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
        Some(())
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

impl<'a> Reader<'a> {
    /// Reads an answer's body.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A text, or the path of an object.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let bytes = self.take(length)?;
        self.take(1).filter(|end| end == b"\0")?;
        std::str::from_utf8(bytes).ok()
    }

    /// Texts inside a variant, at most so many bytes of them as an answer may have.
    pub(super) fn variant_texts(&mut self) -> Option<Vec<&'a str>> {
        (self.signature()? == "as").then_some(())?;
        let end = usize::try_from(self.u32()?).ok()?.checked_add(self.at)?;
        let mut texts = Vec::new();
        while self.at < end {
            texts.push(self.text()?);
        }
        Some(texts)
    }

    /// Numbers and the paths of objects: `a(io)`. Only the numbers are told.
    pub(super) fn numbers_of_objects(&mut self) -> Option<Vec<i32>> {
        let length = usize::try_from(self.u32()?).ok()?;
        // The length does not count the filling before the first element.
        self.align(8)?;
        let end = length.checked_add(self.at)?;
        let mut numbers = Vec::new();
        while self.at < end {
            self.align(8)?;
            numbers.push(self.u32()?.cast_signed());
            self.text()?;
        }
        Some(numbers)
    }

    /// A 64-bit number inside a variant.
    pub(super) fn variant_u64(&mut self) -> Option<u64> {
        (self.signature()? == "t").then_some(())?;
        self.align(8)?;
        let bytes = self.take(8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// A signed 32-bit number inside a variant.
    pub(super) fn variant_i32(&mut self) -> Option<i32> {
        (self.signature()? == "i").then_some(())?;
        self.u32().map(u32::cast_signed)
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.take(1)?[0]);
        let bytes = self.take(length)?;
        self.take(1).filter(|end| end == b"\0")?;
        std::str::from_utf8(bytes).ok()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        let at = self.at.next_multiple_of(to);
        self.take(at - self.at).map(drop)
    }
}

#[cfg(test)]
#[path = "bus/tests.rs"]
mod tests;
