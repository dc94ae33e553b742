//! What went wrong, told in three lines: what happened, what is known, what to type; and the exit code.

use hive_mind::reply::{CommandError, ErrorKind};

use crate::render::text::{WIDTH, wrap};

/// How the program ends. The numbers are promised to scripts (`research/experience.md` 5.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// The words were off.
    Usage = 2,
    /// The daemon could not be reached.
    DaemonDown = 3,
    /// Not allowed.
    NotAllowed = 4,
    /// No such thing.
    NotFound = 5,
    /// A peer is silent.
    Silent = 6,
    /// Something needs a person.
    NeedsYou = 7,
    /// Already so, or in conflict.
    Conflict = 8,
    /// Done in part.
    Partly = 9,
    /// Over a budget or limit.
    Limit = 10,
}

impl Exit {
    /// The kind of failure in JSON: the words of the daemon's own refusals, and three of this program's.
    fn word(self) -> &'static str {
        match self {
            Self::Ok | Self::Failed => "failed",
            Self::Usage => "usage",
            Self::DaemonDown => "daemon_down",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::Silent => "silent",
            Self::NeedsYou | Self::Partly => "partly",
            Self::Conflict => "conflict",
            Self::Limit => "limit",
        }
    }
}

/// A failure, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// Stable code.
    pub(crate) code: String,
    /// What happened.
    pub(crate) what: String,
    /// What is known; may be empty.
    pub(crate) known: String,
    /// What to type; may be empty.
    pub(crate) try_next: String,
}

impl Problem {
    /// A failure of this program's own.
    pub(crate) fn new(exit: Exit, code: &str, what: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            what: what.into(),
            known: String::new(),
            try_next: String::new(),
        }
    }

    /// Adds what is known.
    #[must_use]
    pub(crate) fn known(mut self, known: impl Into<String>) -> Self {
        self.known = known.into();
        self
    }

    /// Adds what to type.
    #[must_use]
    pub(crate) fn try_next(mut self, words: impl Into<String>) -> Self {
        self.try_next = words.into();
        self
    }

    /// Something of this machine's system failed: a file, a process, a terminal.
    pub(crate) fn system(what: &str, error: &std::io::Error) -> Self {
        Self::new(Exit::Failed, "system", what).known(error.to_string())
    }

    /// As it is printed: three lines, or JSON where JSON was asked for.
    pub(crate) fn told(&self, json: bool) -> String {
        let lines = || self.lines();
        if json {
            let view = serde_json::json!({
                "code": self.code, "kind": self.exit.word(), "what": self.what,
                "known": self.known, "try_next": self.try_next,
            });
            crate::render::json("hive.error/1", &view).unwrap_or_else(|_| lines())
        } else {
            lines()
        }
    }

    /// The three lines.
    pub(crate) fn lines(&self) -> String {
        let head = format!("error: {}", self.what);
        let code = format!("[{}]", self.code);
        let room = WIDTH.saturating_sub(code.chars().count() + 1);
        let mut out = if head.chars().count() <= room {
            format!("{head:room$} {code}\n")
        } else {
            format!("{}{code:>WIDTH$}\n", wrap(&head, 0, 7))
        };
        if !self.known.is_empty() {
            out.push_str(&wrap(&self.known, 2, 2));
        }
        if !self.try_next.is_empty() {
            out.push_str(&wrap(&format!("try: {}", self.try_next), 2, 7));
        }
        out
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let exit = match error.kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::NotAllowed => Exit::NotAllowed,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Silent => Exit::Silent,
            ErrorKind::Conflict => Exit::Conflict,
            ErrorKind::Limit => Exit::Limit,
        };
        Self {
            exit,
            code: error.code,
            what: error.what,
            known: error.known,
            try_next: error.try_next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_what_one_line_known_one_line_to_type() {
        let problem = Problem::new(
            Exit::NotFound,
            "join.unknown",
            "no machine called \"lab-7\" is waiting",
        )
        .known("waiting now: lab-07 (2 min)")
        .try_next("hive approve lab-07");
        assert_eq!(
            problem.lines(),
            "error: no machine called \"lab-7\" is waiting                       [join.unknown]\n  \
             waiting now: lab-07 (2 min)\n  \
             try: hive approve lab-07\n"
        );
    }

    #[test]
    fn no_line_of_an_error_is_wider_than_the_screen() {
        let problem = Problem::new(Exit::Failed, "some.code", "long ".repeat(30))
            .known("known ".repeat(30))
            .try_next("typed ".repeat(30));
        for line in problem.lines().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn every_kind_of_refusal_has_its_own_exit_code() {
        let cases = [
            (ErrorKind::Usage, 2),
            (ErrorKind::NotAllowed, 4),
            (ErrorKind::NotFound, 5),
            (ErrorKind::Silent, 6),
            (ErrorKind::Conflict, 8),
            (ErrorKind::Limit, 10),
        ];
        for (kind, code) in cases {
            let problem = Problem::from(CommandError {
                code: "any".to_owned(),
                kind,
                what: String::new(),
                known: String::new(),
                try_next: String::new(),
            });
            assert_eq!(problem.exit as u8, code);
        }
    }
}
