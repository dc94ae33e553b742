//! A ticket as a picture in a terminal: two squares of the QR code in each character.

use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};

/// Light squares around the code. Source: ISO/IEC 18004 (four).
const QUIET: usize = 4;

/// Black on white whatever the terminal's own colours are: not every camera reads it the other way round.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Draws a ticket. Capital letters and digits need fewer squares than small letters, and mean the same there.
pub(crate) fn draw(ticket: &str) -> Result<String, QrError> {
    let text = ticket.to_ascii_uppercase();
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    let width = code.width();
    let colors = code.to_colors();
    let dark = |x: usize, y: usize| {
        let (x, y) = (x.wrapping_sub(QUIET), y.wrapping_sub(QUIET));
        x < width && y < width && colors[y * width + x] == Color::Dark
    };
    let side = width + 2 * QUIET;
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        out.push_str(BLACK_ON_WHITE);
        for x in 0..side {
            out.push(match (dark(x, y), dark(x, y + 1)) {
                (false, false) => ' ',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (true, true) => '\u{2588}',
            });
        }
        out.push_str(PLAIN);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::text::WIDTH;

    /// The squares of a drawing, quiet zone included.
    fn squares(drawing: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawing.lines() {
            let line = line.replace(BLACK_ON_WHITE, "").replace(PLAIN, "");
            let upper = line.chars().map(|c| matches!(c, '\u{2580}' | '\u{2588}'));
            rows.push(upper.collect());
            let lower = line.chars().map(|c| matches!(c, '\u{2584}' | '\u{2588}'));
            rows.push(lower.collect());
        }
        rows
    }

    #[test]
    fn the_longest_ticket_fits_on_a_screen_and_is_drawn_square_by_square() {
        let ticket = format!("hive1{}", "qpzry9x8gf2tvdw0s3jn54khce6mua7l".repeat(7));
        let ticket = &ticket[..203];
        let drawing = draw(ticket).expect("it fits");
        let rows = squares(&drawing);
        let code = QrCode::with_error_correction_level(ticket.to_uppercase(), EcLevel::L);
        let code = code.expect("it fits");
        assert_eq!(code.width(), 45);
        assert_eq!(rows[0].len(), 53);
        assert!(rows[0].len() <= WIDTH && drawing.lines().count() == 27);
        for (y, row) in rows.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let inside = (QUIET..QUIET + 45).contains(&x) && (QUIET..QUIET + 45).contains(&y);
                let expected = inside && code[(x - QUIET, y - QUIET)] == Color::Dark;
                assert_eq!(*dark, expected, "{x} {y}");
            }
        }
        // The three corners that a camera looks for.
        for (x, y) in [(0, 0), (38, 0), (0, 38)] {
            assert!((0..7).all(|n| rows[QUIET + y][QUIET + x + n]));
        }
    }
}
