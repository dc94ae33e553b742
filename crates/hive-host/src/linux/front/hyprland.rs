//! Hyprland's own language (its wiki, "IPC"): a word as the question, an object as the answer, and the connection ends.

use std::io::{Read, Write};

use serde::Deserialize;

use super::NotTold;
use crate::linux::line::Line;

/// The longest answer that is read. A guess: one window takes about 1 kB, and its title may be long.
const ANSWER_MAX: u64 = 64 * 1024;

/// A window, as far as it matters here; an empty object where none has the keyboard.
#[derive(Debug, Deserialize)]
struct Window {
    #[serde(default)]
    pid: Option<i64>,
}

/// The process of the focused window, if one is focused.
pub(super) fn focus(line: &mut Line) -> Result<Option<u32>, NotTold> {
    line.write_all(b"j/activewindow")?;
    let mut answer = Vec::new();
    line.take(ANSWER_MAX + 1).read_to_end(&mut answer)?;
    if answer.len() as u64 > ANSWER_MAX {
        return Err(NotTold::Garbled);
    }
    let window: Window = serde_json::from_slice(&answer).map_err(|_| NotTold::Garbled)?;
    Ok(window.pid.and_then(|pid| u32::try_from(pid).ok()))
}
