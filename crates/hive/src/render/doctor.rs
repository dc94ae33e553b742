//! The checks of `hive doctor`, one under the other, each with what to type.

use crate::doctor::{Outcome, Report};
use crate::render::text::{count, fit, wrap};

/// Where the sentences begin: a name of 12, a word of 9.
const INDENT: usize = 21;

/// The screen.
pub(crate) fn report(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let head = format!(
            "{}{}",
            fit(finding.check, 12),
            fit(word(finding.outcome), 9)
        );
        let sentence = wrap(&finding.what, INDENT, INDENT);
        out.push_str(&head);
        out.push_str(sentence.trim_start());
        if !finding.try_next.is_empty() {
            out.push_str(&wrap(
                &format!("try: {}", finding.try_next),
                INDENT,
                INDENT + 5,
            ));
        }
    }
    let problems = report
        .findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Problem)
        .count();
    out.push('\n');
    out.push_str(&match problems {
        0 => "nothing is wrong\n".to_owned(),
        problems => count(problems, "problem needs you\n", "problems need you\n"),
    });
    out
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Note => "note",
        Outcome::Problem => "problem",
        Outcome::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;
    use crate::render::text::WIDTH;

    #[test]
    fn every_check_has_its_word_its_sentence_and_its_remedy_within_the_screen() {
        let finding = |check, outcome, what: &str, try_next: &str| Finding {
            check,
            outcome,
            what: what.to_owned(),
            try_next: try_next.to_owned(),
        };
        let screen = report(&Report {
            healthy: false,
            findings: vec![
                finding("daemon", Outcome::Ok, "it runs and answers", ""),
                finding(
                    "port",
                    Outcome::Problem,
                    "member 3f2a does not get in on UDP 4483: a firewall that stands between the two",
                    "sudo ufw allow 4483/udp",
                ),
            ],
            network: None,
        });
        assert_eq!(
            screen,
            "daemon      ok       it runs and answers\n\
             port        problem  member 3f2a does not get in on UDP 4483: a firewall that\n\
             \x20                    stands between the two\n\
             \x20                    try: sudo ufw allow 4483/udp\n\
             \n1 problem needs you\n"
        );
        assert!(screen.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
