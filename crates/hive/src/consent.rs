//! The one question: may small, reversible settings be tried on this machine?
//!
//! It is asked once, on a terminal only. Without a terminal and without a flag nothing is changed:
//! the machine observes, and `hive status` says how to change that.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use hive_mind::reply::Mode;

use crate::args::{ConsentFlags, ModeWord};
use crate::problem::Problem;

/// The question, as people see it.
pub(crate) const QUESTION: &str = "  When this machine is busy, may Hive Mind try small, reversible \
settings\n  on your programs and keep what measurably helps? [Y/n] ";

/// Where it is noted that the question was answered: in the state folder.
const ANSWERED_FILE: &str = "consent";

/// What follows from flags, terminal and earlier answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// This mode, from a flag: set and remember it.
    Given(Mode),
    /// Ask now.
    Ask,
    /// It was answered before: leave the mode as it is.
    Answered,
    /// Nobody to ask and nothing said: observe, and ask at the next chance.
    Nobody,
}

/// Decides without asking anybody.
pub(crate) fn weigh(flags: ConsentFlags, answered: bool, terminal: bool) -> Consent {
    match (flags.mode, flags.yes) {
        (Some(word), _) => Consent::Given(word.mode()),
        (None, true) => Consent::Given(Mode::Auto),
        (None, false) if answered => Consent::Answered,
        (None, false) if terminal => Consent::Ask,
        (None, false) => Consent::Nobody,
    }
}

/// What an answer to the question means; `None` = it was not understood.
pub(crate) fn read_answer(line: &str) -> Option<Mode> {
    match line.trim().to_ascii_lowercase().as_str() {
        "" | "y" | "yes" => Some(Mode::Auto),
        "n" | "no" => Some(Mode::Observe),
        _ => None,
    }
}

/// Asks on the terminal until it is answered; the end of input means no.
pub(crate) fn ask() -> std::io::Result<Mode> {
    loop {
        print!("{QUESTION}");
        std::io::stdout().flush()?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line)? == 0 {
            println!();
            return Ok(Mode::Observe);
        }
        if let Some(mode) = read_answer(&line) {
            return Ok(mode);
        }
    }
}

/// Asks on the terminal whether something that cannot be taken back shall be done; only a plain yes counts. Where
/// nobody can answer, the problem says how a script does it.
pub(crate) fn confirmed(question: &str, unasked: Problem) -> Result<bool, Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(unasked);
    }
    let line = typed(&format!("{question} [y/N] "))?;
    let line = line.trim().to_ascii_lowercase();
    Ok(matches!(line.as_str(), "y" | "yes"))
}

/// What a person types after this.
pub(crate) fn typed(question: &str) -> Result<String, Problem> {
    print!("{question}");
    let read = |why| Problem::system("the answer could not be read", &why);
    std::io::stdout().flush().map_err(read)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(read)?;
    Ok(line)
}

/// Whether the question was answered on this machine before.
pub(crate) fn was_answered(state: &Path) -> bool {
    state.join(ANSWERED_FILE).exists()
}

/// Notes that it was answered.
pub(crate) fn note_answered(state: &Path) -> Result<(), Problem> {
    let note = state.join(ANSWERED_FILE);
    std::fs::write(&note, "answered\n")
        .map_err(|why| unnoted("the answer could not be noted", &note, &why))
}

/// What it set is lost, so it is asked again.
pub(crate) fn forget_answered(state: &Path) -> Result<(), Problem> {
    let note = state.join(ANSWERED_FILE);
    match std::fs::remove_file(&note) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(unnoted("the answer could not be forgotten", &note, &why))
        }
        _ => Ok(()),
    }
}

fn unnoted(what: &str, note: &Path, why: &std::io::Error) -> Problem {
    Problem::system(what, why)
        .known(format!("{}: {why}", note.display()))
        .try_next(format!(
            "ls -ld {}   (what it is, and whose)",
            note.display()
        ))
}

impl ModeWord {
    /// The mode that a word means.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Observe => Mode::Observe,
            Self::Suggest => Mode::Suggest,
            Self::Auto => Mode::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_and_without_a_flag_nothing_is_consented_to() {
        assert_eq!(
            weigh(ConsentFlags::default(), false, false),
            Consent::Nobody
        );
    }

    #[test]
    fn on_a_terminal_it_is_asked_once() {
        assert_eq!(weigh(ConsentFlags::default(), false, true), Consent::Ask);
        assert_eq!(
            weigh(ConsentFlags::default(), true, true),
            Consent::Answered
        );
    }

    #[test]
    fn a_flag_answers_before_the_question_and_the_mode_is_the_stronger_one() {
        let yes = ConsentFlags {
            yes: true,
            mode: None,
        };
        assert_eq!(weigh(yes, false, true), Consent::Given(Mode::Auto));
        let both = ConsentFlags {
            yes: true,
            mode: Some(ModeWord::Observe),
        };
        assert_eq!(weigh(both, true, false), Consent::Given(Mode::Observe));
    }

    #[test]
    fn the_question_fits_the_narrowest_screen() {
        assert!(QUESTION.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn only_a_clear_answer_counts() {
        assert_eq!(read_answer("y\n"), Some(Mode::Auto));
        assert_eq!(read_answer("\n"), Some(Mode::Auto));
        assert_eq!(read_answer("No\n"), Some(Mode::Observe));
        assert_eq!(read_answer("perhaps\n"), None);
    }

    #[test]
    fn a_note_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let note = folder.path().join(ANSWERED_FILE);
        std::fs::create_dir(&note).expect("made");
        for problem in [note_answered(folder.path()), forget_answered(folder.path())] {
            let problem = problem.expect_err("a folder lies there");
            let path = note.to_string_lossy();
            assert!(problem.known.contains(&*path), "{problem:?}");
            assert!(problem.try_next.contains(&*path), "{problem:?}");
        }
    }

    #[test]
    fn an_answer_is_remembered_in_the_state_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!was_answered(folder.path()));
        note_answered(folder.path()).expect("writable");
        assert!(was_answered(folder.path()));
        forget_answered(folder.path()).expect("writable");
        assert!(!was_answered(folder.path()));
        forget_answered(folder.path()).expect("there is none");
    }
}
