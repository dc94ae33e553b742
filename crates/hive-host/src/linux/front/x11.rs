//! The few requests of the X protocol (version 11) that tell whose window has the keyboard: `_NET_ACTIVE_WINDOW` of the
//! first screen and that window's `_NET_WM_PID`, where `WM_CLIENT_MACHINE` is this machine.
//!
//! A program says its process itself. One that lies, or lives among other process numbers (a sandbox), names another.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use super::NotTold;
use crate::linux::line::Line;

/// Longest answer to the first request: it names the screens and their depths, 10 kB or so.
const SETUP_MAX: usize = 128 * 1024;

/// Longest value of a property that is asked for: a host's name has 255 bytes at most.
const VALUE_MAX: usize = 256;

/// Events before the connection is given up. Nobody asked for any.
const PASSED_OVER_MAX: usize = 64;

/// Longest file of cookies that is read. A guess: one entry has about 60 bytes.
const COOKIES_MAX: u64 = 64 * 1024;

/// The way of showing oneself that every X server knows.
const COOKIE: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// Families of addresses in the file of cookies: this host by its name, and any.
const LOCAL: usize = 256;
const WILD: usize = 65_535;

/// Numbers of names that the protocol itself fixes.
const ANY: u32 = 0;
const CARDINAL: u32 = 6;
const STRING: u32 = 31;
const WINDOW: u32 = 33;
const WM_CLIENT_MACHINE: u32 = 36;

/// The number of a display on this machine: `:0`, `:0.0` or `unix:0`.
pub(super) fn local(display: &str) -> Option<u32> {
    let number = display.strip_prefix("unix").unwrap_or(display);
    let number = number.strip_prefix(':')?;
    number.split('.').next()?.parse().ok()
}

/// The cookie for a display of this host.
pub(super) fn cookie(file: &Path, host: &str, display: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(file).ok()?.take(COOKIES_MAX);
    { read }.read_to_end(&mut bytes).ok()?;
    let display = display.to_string();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (family, after) = big(rest)?;
        let [address, number, name, data];
        (address, rest) = counted(after)?;
        (number, rest) = counted(rest)?;
        (name, rest) = counted(rest)?;
        (data, rest) = counted(rest)?;
        let here = family == WILD || (family == LOCAL && address == host.as_bytes());
        let this = number.is_empty() || number == display.as_bytes();
        if here && this && name == COOKIE {
            return Some(data.to_vec());
        }
    }
    None
}

fn big(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*head)), rest))
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = big(bytes)?;
    rest.split_at_checked(length)
}

/// The process of the focused window, if one is focused and says so.
pub(super) fn focus(line: Line, cookie: Option<&[u8]>, host: &str) -> Result<Option<u32>, NotTold> {
    let (mut display, root) = Display::open(line, cookie)?;
    let active = display.atom(b"_NET_ACTIVE_WINDOW")?;
    let pid = display.atom(b"_NET_WM_PID")?;
    let (Some(active), Some(pid)) = (active, pid) else {
        // Nobody here ever said either.
        return Ok(None);
    };
    let window = display.number(root, active, WINDOW)?;
    let Some(window) = window.filter(|window| *window != 0) else {
        return Ok(None);
    };
    let machine = display.property(window, WM_CLIENT_MACHINE, ANY)?;
    let here = machine.is_some_and(|(kind, value)| kind == STRING && value == host.as_bytes());
    if !here {
        return Ok(None);
    }
    display.number(window, pid, CARDINAL)
}

/// An answer's head, and what follows it.
type Answer = ([u8; 32], Vec<u8>);

/// An open connection.
#[derive(Debug)]
struct Display {
    line: Line,
    /// Of the last request.
    serial: u16,
}

impl Display {
    /// Shows itself, and tells the root window of the first screen.
    fn open(mut line: Line, cookie: Option<&[u8]>) -> Result<(Self, u32), NotTold> {
        let name = if cookie.is_some() { COOKIE } else { b"" };
        let data = cookie.unwrap_or_default();
        let short = |bytes: &[u8]| u16::try_from(bytes.len()).map_err(|_| NotTold::Garbled);
        // Least byte first; version 11.0.
        let mut ask = Vec::from(*b"l\0\x0b\0\0\0");
        ask.extend(short(name)?.to_le_bytes());
        ask.extend(short(data)?.to_le_bytes());
        ask.extend([0; 2]);
        for bytes in [name, data] {
            ask.extend(bytes);
            ask.resize(ask.len().next_multiple_of(4), 0);
        }
        line.write_all(&ask)?;
        let mut head = [0; 8];
        line.read_exact(&mut head)?;
        let length = usize::from(u16::from_le_bytes([head[6], head[7]])) * 4;
        let let_in = head[0] == 1;
        if !let_in || length > SETUP_MAX {
            return Err(NotTold::Garbled);
        }
        let mut setup = vec![0; length];
        line.read_exact(&mut setup)?;
        let root = root(&setup).ok_or(NotTold::Garbled)?;
        Ok((Self { line, serial: 0 }, root))
    }

    /// The number of a name, if anybody ever used it.
    fn atom(&mut self, name: &[u8]) -> Result<Option<u32>, NotTold> {
        let length = u16::try_from(name.len()).map_err(|_| NotTold::Garbled)?;
        let mut body = Vec::from(length.to_le_bytes());
        body.extend([0; 2]);
        body.extend(name);
        body.resize(body.len().next_multiple_of(4), 0);
        let only_if_there = 1;
        let answer = self.call(16, only_if_there, &body)?;
        let atom = answer.and_then(|(head, _)| word(&head, 8));
        Ok(atom.filter(|atom| *atom != 0))
    }

    /// A property's kind and value; `None` where the window has none, or is gone.
    fn property(
        &mut self,
        window: u32,
        name: u32,
        kind: u32,
    ) -> Result<Option<(u32, Vec<u8>)>, NotTold> {
        let most = u32::try_from(VALUE_MAX / 4).unwrap_or(u32::MAX);
        let numbers = [window, name, kind, 0, most];
        let body: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        let Some((head, mut value)) = self.call(20, 0, &body)? else {
            return Ok(None);
        };
        let said = word(&head, 8).zip(word(&head, 16));
        let (found, units) = said.ok_or(NotTold::Garbled)?;
        let length = units as usize * usize::from(head[1] / 8);
        if length > value.len() {
            return Err(NotTold::Garbled);
        }
        value.truncate(length);
        Ok((found != ANY).then_some((found, value)))
    }

    /// A property that is one number of this kind.
    fn number(&mut self, window: u32, name: u32, kind: u32) -> Result<Option<u32>, NotTold> {
        let property = self.property(window, name, kind)?;
        Ok(property
            .filter(|(found, _)| *found == kind)
            .and_then(|(_, value)| word(&value, 0)))
    }

    /// The answer's head and what follows it; `None` where the answer is an error, as for a window that is gone.
    fn call(&mut self, opcode: u8, detail: u8, body: &[u8]) -> Result<Option<Answer>, NotTold> {
        let length = u16::try_from(1 + body.len() / 4).map_err(|_| NotTold::Garbled)?;
        let mut ask = Vec::from([opcode, detail]);
        ask.extend(length.to_le_bytes());
        ask.extend(body);
        self.line.write_all(&ask)?;
        self.serial = self.serial.wrapping_add(1);
        for _ in 0..PASSED_OVER_MAX {
            let mut head = [0; 32];
            self.line.read_exact(&mut head)?;
            let ours = u16::from_le_bytes([head[2], head[3]]) == self.serial;
            match head[0] {
                0 if ours => return Ok(None),
                1 if ours => {
                    let units = word(&head, 4).ok_or(NotTold::Garbled)? as usize;
                    if units > VALUE_MAX / 4 {
                        return Err(NotTold::Garbled);
                    }
                    let mut rest = vec![0; units * 4];
                    self.line.read_exact(&mut rest)?;
                    return Ok(Some((head, rest)));
                }
                // An answer to nobody's question, or an event of unknown length.
                0 | 1 | 35 => return Err(NotTold::Garbled),
                _ => {}
            }
        }
        Err(NotTold::Garbled)
    }
}

/// The root window of the first screen, behind the vendor's name and the formats of pictures.
fn root(setup: &[u8]) -> Option<u32> {
    let vendor = usize::from(u16::from_le_bytes([*setup.get(16)?, *setup.get(17)?]));
    let screens = *setup.get(20)?;
    let formats = usize::from(*setup.get(21)?);
    let at = 32 + vendor.next_multiple_of(4) + 8 * formats;
    (screens > 0).then(|| word(setup, at)).flatten()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
