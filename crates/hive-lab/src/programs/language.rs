//! Somebody types into a C file and a language server completes each word: the time from the key to the answer.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use serde_json::{Value, json};

use crate::{clock, work};

/// The language server.
pub const PROGRAM: &str = "clangd";

/// Somebody types this often: seven keys a second, a quick typist (a guess).
const KEY_NS: u64 = 140_000_000;

/// Longest answer that is taken: completions are some 100 kB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// Longest header of an answer.
const HEADER_MAX: u64 = 4_096;

/// Writes the file that is edited.
pub fn prepare(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let text = work::c_source(7);
    fs::write(folder.join("edited.c"), text).context("the source cannot be written")
}

/// Types for ever and writes down how long each answer took.
pub fn type_on(folder: &Path, out: &Path) -> Result<()> {
    let path = folder.join("edited.c");
    let text = fs::read_to_string(&path)?;
    let uri = format!("file://{}", path.display());
    let mut server = Server::start(folder)?;
    server.open(&uri, &text)?;
    let mut file = BufWriter::new(File::create(out)?);
    let to_boot_us = clock::boot_us().wrapping_sub(clock::monotonic_ns() / 1_000);
    let line = text.lines().count();
    let word = "work1";
    let mut due = clock::monotonic_ns() + KEY_NS;
    for turn in 0_usize.. {
        clock_nanosleep_absolute(ClockId::Monotonic, &clock::timespec(due))?;
        let typed = &word[..=turn % word.len()];
        server.change(&uri, turn, &format!("{text}\nint main(void) {{\n{typed}"))?;
        server.complete(&uri, line + 2, typed.len())?;
        let done = clock::monotonic_ns();
        let took_us = done.saturating_sub(due) / 1_000;
        writeln!(file, "{} {took_us}", (due / 1_000).wrapping_add(to_boot_us))?;
        if turn % 4 == 3 {
            file.flush()?;
        }
        due += KEY_NS * (done.saturating_sub(due) / KEY_NS + 1);
    }
    Ok(())
}

/// A language server on pipes.
struct Server {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    asked: u64,
}

impl Server {
    fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new(PROGRAM)
            .args(["--background-index=false", "--log=error"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("the language server cannot be started")?;
        let mut server = Self {
            input: child.stdin.take().context("it has an input")?,
            output: BufReader::new(child.stdout.take().context("it has an output")?),
            asked: 0,
        };
        let hello = json!({"processId": std::process::id(), "rootUri": null, "capabilities": {}});
        server.ask("initialize", &hello)?;
        server.tell("initialized", &json!({}))?;
        Ok(server)
    }

    /// Opens the file and waits until it was compiled once.
    fn open(&mut self, uri: &str, text: &str) -> Result<()> {
        let document = json!({"uri": uri, "languageId": "c", "version": 0, "text": text});
        self.tell("textDocument/didOpen", &json!({"textDocument": document}))?;
        while self.hear()?["method"] != "textDocument/publishDiagnostics" {}
        Ok(())
    }

    fn change(&mut self, uri: &str, turn: usize, text: &str) -> Result<()> {
        let document = json!({"uri": uri, "version": turn + 1});
        let changes = json!([{"text": text}]);
        let what = json!({"textDocument": document, "contentChanges": changes});
        self.tell("textDocument/didChange", &what)
    }

    fn complete(&mut self, uri: &str, line: usize, character: usize) -> Result<()> {
        let place = json!({"line": line, "character": character});
        let what = json!({"textDocument": {"uri": uri}, "position": place});
        let answer = self.ask("textDocument/completion", &what)?;
        ensure!(answer.get("error").is_none(), "no completion: {answer}");
        Ok(())
    }

    fn ask(&mut self, method: &str, what: &Value) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": what}))?;
        loop {
            let answer = self.hear()?;
            if answer["id"] == id && answer.get("method").is_none() {
                return Ok(answer);
            }
        }
    }

    fn tell(&mut self, method: &str, what: &Value) -> Result<()> {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": what}))
    }

    fn say(&mut self, message: &Value) -> Result<()> {
        let body = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(self.input.flush()?)
    }

    fn hear(&mut self) -> Result<Value> {
        read(&mut self.output)
    }
}

/// Reads one message of the base protocol: headers, an empty line, the body.
fn read(from: &mut impl BufRead) -> Result<Value> {
    let mut length = None;
    loop {
        let mut line = String::new();
        from.by_ref().take(HEADER_MAX).read_line(&mut line)?;
        if !line.ends_with('\n') {
            bail!("the language server ended, or does not speak its protocol");
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let length = length.context("a message without a length")?;
    ensure!(length <= ANSWER_MAX, "a message of {length} bytes");
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other_and_bad_ones_are_told() {
        let mut two =
            &b"Content-Length: 8\r\nOther: x\r\n\r\n{\"id\":1}content-length: 2\r\n\r\n{}"[..];
        assert_eq!(read(&mut two).expect("one")["id"], 1);
        assert_eq!(read(&mut two).expect("two"), json!({}));
        for bad in [
            &b""[..],
            b"\r\n{}",
            b"Content-Length: 99999999999\r\n\r\n",
            b"Content-Length: 9\r\n\r\n{}",
            b"Content-Length: -1\r\n\r\n{}",
            b"no end of this line",
        ] {
            let mut bad = bad;
            assert!(read(&mut bad).is_err());
        }
    }
}
