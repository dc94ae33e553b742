//! Small pieces of text: wrapped lines, counted things, spans of time, percentages.

pub(crate) use hive_mind::reply::words::effect;

/// Columns of the narrowest terminal that is served.
pub(crate) const WIDTH: usize = 80;

/// Breaks words into lines of at most [`WIDTH`] columns; the first is indented by `first`, the others by `rest`.
/// A text that fits stays as it is, wide gaps included.
pub(crate) fn wrap(words: &str, first: usize, rest: usize) -> String {
    if first + words.chars().count() <= WIDTH && !words.contains('\n') {
        return format!("{:first$}{words}\n", "");
    }
    let mut out = String::new();
    let mut line = " ".repeat(first);
    let mut empty = true;
    for word in words.split_whitespace() {
        let gap = usize::from(!empty);
        if !empty && line.chars().count() + gap + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = " ".repeat(rest);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// "1 member", "2 members".
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// "40 s", "4 min", "7 h", "3 d".
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// "0 B", "212 kB", "1.4 MB".
pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..=999 => format!("{number} B"),
        1_000..=999_999 => format!("{} kB", number / 1_000),
        _ => format!("{}.{} MB", number / 1_000_000, number / 100_000 % 10),
    }
}

/// Cuts a text to a number of columns, with an ellipsis where something is missing.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return format!("{text:columns$}");
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use hive_mind::reply::words::{gets_done, waits};

    use super::*;

    #[test]
    fn a_ratio_is_told_as_less_or_more_waiting_with_its_range() {
        let cases = [
            (0.40, Some([0.35, 0.60]), "waits 60 % less [40-65 %]"),
            (1.20, Some([1.10, 1.30]), "waits 20 % more [10-30 %]"),
            (
                0.98,
                Some([0.90, 1.07]),
                "waits 2 % less [10 % less to 7 % more]",
            ),
            (
                1.00,
                Some([0.97, 1.03]),
                "waits as long as before [3 % less to 3 % more]",
            ),
            (0.40, None, "waits 60 % less"),
            (0.40, Some([0.0, f64::INFINITY]), "waits 60 % less"),
        ];
        for (ratio, ci, words) in cases {
            assert_eq!(waits(ratio, ci), words);
        }
    }

    #[test]
    fn a_ratio_of_times_is_told_as_work_per_second() {
        let cases = [
            (
                0.7634,
                Some([0.70, 0.85]),
                "gets 31 % more done per second [18-43 %]",
            ),
            (
                1.25,
                Some([1.10, 1.30]),
                "gets 20 % less done per second [9-23 %]",
            ),
            (
                1.00,
                Some([0.97, 1.04]),
                "gets as much done per second as before [4 % less to 3 % more]",
            ),
            (
                0.5,
                Some([0.0, f64::INFINITY]),
                "gets 100 % more done per second",
            ),
        ];
        for (ratio, ci, words) in cases {
            assert_eq!(gets_done(ratio, ci), words);
        }
    }

    #[test]
    fn long_texts_are_broken_between_words_and_indented() {
        let text = wrap(&"word ".repeat(40), 2, 4);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(text.starts_with("  word"));
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("    word"))
        );
        assert_eq!(text.split_whitespace().count(), 40);
    }

    #[test]
    fn spans_and_sizes_have_the_unit_a_person_would_use() {
        assert_eq!(span(40), "40 s");
        assert_eq!(span(240), "4 min");
        assert_eq!(span(25_200), "7 h");
        assert_eq!(bytes(212_400), "212 kB");
        assert_eq!(bytes(1_440_000), "1.4 MB");
    }

    #[test]
    fn texts_are_padded_or_cut_to_their_column() {
        assert_eq!(fit("desk", 6), "desk  ");
        assert_eq!(fit("velvet hammer", 8), "velvet …");
    }
}
