//! Sway's own language (`sway-ipc(7)`): the tree of windows, and the process of the one that has the keyboard.
//!
//! i3 speaks it too and does not tell processes; there the X server does.

use std::io::{Read, Write};

use serde::Deserialize;

use super::NotTold;
use crate::linux::line::Line;

const MAGIC: &[u8; 6] = b"i3-ipc";

/// `GET_TREE`.
const TREE: u32 = 4;

/// The longest tree that is read. A guess: a window takes about 1 kB, so a thousand of them.
const TREE_MAX: u32 = 1 << 20;

/// A node of the tree, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Node {
    #[serde(default)]
    focused: bool,
    /// Of windows only.
    #[serde(default)]
    pid: Option<i64>,
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(default)]
    floating_nodes: Vec<Node>,
}

/// The process of the focused window, if one is focused.
pub(super) fn focus(line: &mut Line) -> Result<Option<u32>, NotTold> {
    let mut ask = Vec::from(MAGIC);
    ask.extend(0_u32.to_ne_bytes());
    ask.extend(TREE.to_ne_bytes());
    line.write_all(&ask)?;
    let mut head = [0; 14];
    line.read_exact(&mut head)?;
    let number =
        |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, kind) = (number(6), number(10));
    if !head.starts_with(MAGIC) || kind != TREE || length > TREE_MAX {
        return Err(NotTold::Garbled);
    }
    let mut tree = vec![0; length as usize];
    line.read_exact(&mut tree)?;
    let root: Node = serde_json::from_slice(&tree).map_err(|_| NotTold::Garbled)?;
    Ok(focused(&root).and_then(|pid| u32::try_from(pid).ok()))
}

/// As deep as the reader of the tree lets it be: 128.
fn focused(node: &Node) -> Option<i64> {
    if node.focused {
        return node.pid;
    }
    let mut inside = node.nodes.iter().chain(&node.floating_nodes);
    inside.find_map(focused)
}
