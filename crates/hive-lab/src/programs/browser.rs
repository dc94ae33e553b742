//! A browser that renders an animation and times its pictures: the page notes each call of `requestAnimationFrame` and says
//! them on its console every half second.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::clock;

/// The browser.
pub const PROGRAM: &str = "chromium";

/// Nothing but the page: no sandbox (it cannot be had as root in a namespace), no graphics card, no calls home.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--window-size=1280,720",
];

/// What the page says before its numbers.
const MARK: &str = "frames:";

/// Longest line of the browser's log that is read: half a second of pictures is some 1,000 bytes.
const LINE_MAX: usize = 64 * 1024;

/// Moving, turning, half transparent shapes: a few milliseconds of drawing for each picture without a graphics card. What it
/// says: the calendar's milliseconds at a picture, and the milliseconds since the one before.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>animation</title>
<style>body{margin:0;background:#123}canvas{display:block}</style><canvas id="c" width="1280" height="720"></canvas>
<script>
const context = document.getElementById("c").getContext("2d");
let last = performance.now(), notes = [], said = last;
function picture() {
  const now = performance.now();
  notes.push((performance.timeOrigin + now).toFixed(3) + " " + (now - last).toFixed(3));
  last = now;
  context.fillStyle = "rgba(16,32,48,0.4)"; context.fillRect(0, 0, 1280, 720);
  for (let i = 0; i < 120; i++) {
    const turn = now / 900 + i * 0.7;
    context.save();
    context.translate(640 + 560 * Math.cos(turn * 0.31 + i), 360 + 300 * Math.sin(turn * 0.43 + i * 2));
    context.rotate(turn);
    context.fillStyle = "hsla(" + (i * 3) + ",80%,60%,0.5)";
    context.fillRect(-30, -30, 60, 60);
    context.restore();
  }
  if (now - said > 500) { console.log("frames:" + notes.join(",")); notes = []; said = now; }
  requestAnimationFrame(picture);
}
requestAnimationFrame(picture);
</script>"#;

/// Writes the page.
pub fn prepare(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("page.html"), PAGE).context("the page cannot be written")
}

/// Runs the browser on the page and writes its turns out, until it ends.
pub fn watch(folder: &Path, out: &Path) -> Result<()> {
    let page = folder.join("page.html");
    let mut browser = Command::new(PROGRAM)
        .args(FLAGS)
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("the browser cannot be started")?;
    let log = browser.stderr.take().context("it has an error output")?;
    let mut file = BufWriter::new(File::create(out)?);
    for line in BufReader::new(log).split(b'\n') {
        let line = line?;
        if line.len() > LINE_MAX {
            continue;
        }
        let to_boot_us = since_boot()?;
        for (wall_us, gap_us) in pictures(&String::from_utf8_lossy(&line)) {
            writeln!(file, "{} {gap_us}", wall_us.saturating_sub(to_boot_us))?;
        }
        file.flush()?;
    }
    let status = browser.wait()?;
    ensure!(status.success(), "the browser ended: {status}");
    Ok(())
}

/// What to take off the calendar to be on the boot clock, in microseconds.
fn since_boot() -> Result<u64> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    Ok(u64::try_from(wall)?.saturating_sub(clock::boot_us()))
}

/// The pictures that a line of the log tells: when, and how long after the one before, in microseconds.
fn pictures(line: &str) -> Vec<(u64, u64)> {
    let Some((_, notes)) = line.split_once(MARK) else {
        return Vec::new();
    };
    let notes = notes.split('"').next().unwrap_or_default();
    notes
        .split(',')
        .filter_map(|note| {
            let (at, gap) = note.split_once(' ')?;
            Some((micros(at)?, micros(gap)?))
        })
        .collect()
}

/// Milliseconds with three digits behind the point, as microseconds.
fn micros(word: &str) -> Option<u64> {
    let (whole, part) = word.split_once('.')?;
    let part: u64 = (part.len() == 3).then(|| part.parse().ok())??;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_pictures_among_other_things() {
        let line = r#"[1:2:1123/1.5:INFO:CONSOLE(9)] "frames:1700000000123.456 16.700,1700000000140.000 33.250", source: file:///p (9)"#;
        assert_eq!(
            pictures(line),
            [
                (1_700_000_000_123_456, 16_700),
                (1_700_000_000_140_000, 33_250)
            ]
        );
        assert!(pictures("[1:2:ERROR] nothing of that").is_empty());
        assert!(pictures("frames:1.5 2.5,x y,5 6,-1.000 2.000").is_empty());
        assert!(pictures("frames:99999999999999999999.000 1.000").is_empty());
    }
}
