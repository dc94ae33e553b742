//! `hive patterns`, `why` and `undo`: what was learned, what it is worth, and how to be rid of it.

use hive_mind::pattern::{Action, Verdict, WorkloadType};
use hive_mind::reply::{
    Mode, OtherView, PatternState, PatternView, PatternsView, UndoneView, WhyView,
};

use crate::render::text::{count, effect, wrap};

/// What there is to say while nothing was learned.
fn none(mode: Mode) -> String {
    match mode {
        Mode::Observe => {
            "nothing learned: nothing is tried in mode observe\n\
                          let it try what helps:  hive tune auto\n"
        }
        Mode::Suggest => {
            "nothing learned: nothing is tried in mode suggest\n\
                          let it try what helps:  hive tune auto\n"
        }
        Mode::Auto => {
            "nothing learned yet: patterns appear once this machine was busy while you used it\n\
             what it is doing now:  hive status\n"
        }
    }
    .to_owned()
}

/// Everything that may ever be done, with whose yes it takes.
pub(crate) fn catalogue() -> String {
    let real = Action::ALL.into_iter().filter(|it| *it != Action::Placebo);
    real.map(terms).collect()
}

/// One action, with all that a person should know of it before it is done.
pub(crate) fn terms(action: Action) -> String {
    let terms = action.terms();
    let mut out = format!("{}: {}\n", action.name(), terms.tier.words());
    for (what, words) in [
        ("does", action.words()),
        ("when", terms.when),
        ("rights", terms.rights),
        ("bound", terms.bound),
        ("cost", terms.cost),
        ("undo", terms.undo),
    ] {
        out.push_str(&wrap(&format!("{what}: {words}"), 2, 4));
    }
    out
}

/// All patterns, two lines each, on a machine in this mode.
pub(crate) fn list(view: &PatternsView, mode: Mode) -> String {
    if view.patterns.is_empty() {
        return none(mode);
    }
    let mut out = String::new();
    for pattern in &view.patterns {
        out.push_str(&wrap(&format!("{}  {}", pattern.name, pattern.words), 0, 5));
        out.push_str(&facts(pattern));
        for other in &pattern.others {
            out.push_str(&wrap(&other_words(pattern.role, other), 5, 7));
        }
    }
    out.push_str("\nthe numbers and how to undo:  hive why ");
    out.push_str(&view.patterns[0].name);
    out.push('\n');
    out
}

/// Everything about one pattern.
pub(crate) fn why(view: &WhyView) -> String {
    let pattern = &view.pattern;
    let mut out = wrap(&format!("{}  {}", pattern.name, pattern.words), 0, 5);
    out.push_str(&facts(pattern));
    for line in &view.because {
        out.push_str(&wrap(line, 5, 7));
    }
    if let Some(holdout) = &pattern.holdout {
        out.push_str(&wrap(
            &format!(
                "Still checked: {} since the verdict, {}",
                count(holdout.pairs as usize, "control pair", "control pairs"),
                effect(pattern.role, holdout.ratio, holdout.ci)
            ),
            5,
            7,
        ));
    }
    for other in &pattern.others {
        out.push_str(&wrap(&other_words(pattern.role, other), 5, 7));
    }
    if !view.undo.is_empty() {
        out.push_str(&wrap(&format!("Undo: {}", view.undo), 5, 11));
    }
    out
}

/// What an undo did.
pub(crate) fn undone(view: &UndoneView) -> String {
    let mut out = put_back(view);
    if view.failed > 0 {
        let failed = count(view.failed as usize, "change", "changes");
        out.push_str(&wrap(
            &format!(
                "{failed} could NOT be put back; the daemon tries again, and once more when it ends"
            ),
            0,
            2,
        ));
        out.push_str("  try: hive down\n");
    }
    out
}

fn put_back(view: &UndoneView) -> String {
    let none = view.restored == 0 && view.left_alone == 0;
    if none && view.failed > 0 {
        return String::new();
    }
    if view.changes == 0 {
        return "nothing was on; nothing had to be put back\n".to_owned();
    }
    let changes = count(view.changes, "change", "changes");
    if none {
        return format!("{changes} undone; the programs that carried it have ended\n");
    }
    let mut out = format!(
        "{changes} undone, {} back to the old value",
        count(
            view.restored as usize,
            "thread or session",
            "threads and sessions"
        ),
    );
    if view.left_alone > 0 {
        out.extend([format!(
            "; {} left alone, because somebody else had changed them meanwhile",
            view.left_alone
        )]);
    }
    wrap(&out, 0, 2)
}

/// Where a pattern stands, in words.
pub(crate) fn state_words(pattern: &PatternView) -> String {
    let word = match pattern.state {
        PatternState::Heard => "known, not tried here",
        PatternState::Trial => "in trial",
        PatternState::Probation => "on probation",
        PatternState::Proven => "proven here",
        PatternState::Dropped => "dropped",
        PatternState::Undone => "undone by you",
    };
    let on = matches!(
        pattern.state,
        PatternState::Probation | PatternState::Proven
    );
    match (on, pattern.on) {
        (true, true) => format!("{word}, on"),
        (true, false) => format!("{word}, off now"),
        (false, _) => word.to_owned(),
    }
}

/// The effect, in words.
pub(crate) fn effect_words(pattern: &PatternView) -> String {
    let measured = pattern.wait_ratio;
    let measured = measured.map(|ratio| effect(pattern.role, ratio, pattern.ci));
    match (pattern.verdict, measured) {
        (_, None) => "not measured here".to_owned(),
        (Verdict::NoEffect, Some(words)) => format!("no effect seen: {words}"),
        (Verdict::Undecided, Some(words)) => format!("undecided: {words}"),
        (Verdict::Helps | Verdict::Harms, Some(words)) => words,
    }
}

fn facts(pattern: &PatternView) -> String {
    let pairs = count(pattern.pairs as usize, "pair", "pairs");
    wrap(
        &format!(
            "{}; {}; {pairs}",
            state_words(pattern),
            effect_words(pattern)
        ),
        5,
        7,
    )
}

fn other_words(role: WorkloadType, other: &OtherView) -> String {
    format!(
        "on {}: {}, {}, {}",
        other.member,
        other.verdict.words(),
        effect(role, other.wait_ratio, None),
        count(other.trial.pairs as usize, "pair", "pairs")
    )
}

#[cfg(test)]
mod tests {
    use hive_mind::pattern::{Action, Binding, Context, Cores, PairStats, WorkloadType};
    use hive_mind::reply::PlaceboView;

    use super::*;

    fn helping() -> PatternView {
        PatternView {
            name: "p-1".to_owned(),
            id: "00".repeat(16),
            action: Action::BackgroundNice,
            words: "background at nice 11 while an interactive program runs".to_owned(),
            role: WorkloadType::Interactive,
            context: Context {
                binding: Binding::Task,
                cores: Cores::Few,
                eevdf_slices: true,
                background: WorkloadType::Build,
            },
            state: PatternState::Proven,
            on: true,
            verdict: Verdict::Helps,
            pairs: 8,
            wait_ratio: Some(0.4),
            ci: Some([0.35, 0.6]),
            background_loss: Some(0.07),
            placebo: None,
            holdout: None,
            contention_s: Some(21.0),
            others: Vec::new(),
            known_at_us: 1,
            own: true,
        }
    }

    fn without_effect() -> PatternView {
        PatternView {
            name: "p-2".to_owned(),
            action: Action::FinerSlice,
            words: "finer time slice for the interactive program".to_owned(),
            state: PatternState::Dropped,
            on: false,
            verdict: Verdict::NoEffect,
            pairs: 12,
            wait_ratio: Some(0.99),
            ci: Some([0.96, 1.03]),
            ..helping()
        }
    }

    #[test]
    fn patterns_are_told_with_effect_range_pairs_and_state() {
        let view = PatternsView {
            patterns: vec![helping(), without_effect()],
        };
        assert_eq!(
            list(&view, Mode::Auto),
            "p-1  background at nice 11 while an interactive program runs\n     \
             proven here, on; waits 60 % less [40-65 %]; 8 pairs\n\
             p-2  finer time slice for the interactive program\n     \
             dropped; no effect seen: waits 1 % less [4 % less to 3 % more]; 12 pairs\n\
             \n\
             the numbers and how to undo:  hive why p-1\n"
        );
    }

    #[test]
    fn no_patterns_is_said_in_words_with_the_next_command() {
        let text = list(&PatternsView::default(), Mode::Auto);
        assert!(text.contains("nothing learned yet") && text.contains("hive status"));
        for mode in [Mode::Observe, Mode::Suggest] {
            let text = list(&PatternsView::default(), mode);
            assert!(text.contains("nothing is tried in mode"), "{text}");
            assert!(text.contains("hive tune auto"), "{text}");
        }
    }

    #[test]
    fn all_names_in_json_are_of_one_style() {
        fn look(value: &serde_json::Value) {
            let plain = |word: &str| !word.contains(char::is_uppercase);
            match value {
                serde_json::Value::String(word) => assert!(plain(word), "{word}"),
                serde_json::Value::Array(list) => list.iter().for_each(look),
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        assert!(plain(name), "{name}");
                        look(value);
                    }
                }
                _ => {}
            }
        }
        for pattern in [helping(), without_effect()] {
            let value = serde_json::to_value(&pattern).expect("plain data");
            look(&value);
            assert_eq!(value["action"], pattern.action.name());
        }
    }

    #[test]
    fn why_tells_reason_numbers_controls_the_others_and_the_undo() {
        let view = WhyView {
            pattern: PatternView {
                holdout: Some(PlaceboView {
                    pairs: 4,
                    ratio: 0.42,
                    ci: None,
                    verdict: Verdict::Undecided,
                }),
                others: vec![OtherView {
                    member: "laptop".to_owned(),
                    verdict: Verdict::Helps,
                    trial: PairStats {
                        pairs: 6,
                        sum: 0,
                        squares: 0,
                    },
                    wait_ratio: 0.5,
                }],
                ..helping()
            },
            because: vec!["Cost: the background keeps 93 % of its processor time.".to_owned()],
            undo: "hive undo p-1".to_owned(),
        };
        assert_eq!(
            why(&view),
            "p-1  background at nice 11 while an interactive program runs\n     \
             proven here, on; waits 60 % less [40-65 %]; 8 pairs\n     \
             Cost: the background keeps 93 % of its processor time.\n     \
             Still checked: 4 control pairs since the verdict, waits 58 % less\n     \
             on laptop: helps, waits 50 % less, 6 pairs\n     \
             Undo: hive undo p-1\n"
        );
    }

    #[test]
    fn an_undone_pattern_names_no_undo() {
        let view = WhyView {
            pattern: PatternView {
                state: PatternState::Undone,
                ..helping()
            },
            because: Vec::new(),
            undo: String::new(),
        };
        assert!(!why(&view).contains("Undo:"), "{}", why(&view));
    }

    #[test]
    fn an_undecided_trial_is_called_undecided() {
        let view = PatternView {
            verdict: Verdict::Undecided,
            state: PatternState::Trial,
            on: false,
            wait_ratio: Some(0.8),
            ci: None,
            pairs: 3,
            ..helping()
        };
        assert_eq!(
            facts(&view),
            "     in trial; undecided: waits 20 % less; 3 pairs\n"
        );
    }

    #[test]
    fn an_undo_tells_what_it_left_alone() {
        let view = UndoneView {
            changes: 1,
            restored: 9,
            left_alone: 2,
            failed: 0,
        };
        assert_eq!(
            undone(&view),
            "1 change undone, 9 threads and sessions back to the old value; 2 left alone,\n  \
             because somebody else had changed them meanwhile\n"
        );
        assert!(undone(&UndoneView::default()).contains("nothing was on"));
    }

    #[test]
    fn an_undo_that_failed_says_so_and_what_to_type() {
        let view = UndoneView {
            changes: 1,
            failed: 1,
            ..UndoneView::default()
        };
        let text = undone(&view);
        assert!(text.contains("1 change could NOT be put back"), "{text}");
        assert!(text.ends_with("  try: hive down\n"), "{text}");
        assert!(!text.contains("undone"), "{text}");
        let in_part = undone(&UndoneView {
            restored: 3,
            ..view
        });
        assert!(in_part.contains("3 threads and sessions back"), "{in_part}");
        assert!(in_part.contains("could NOT be put back"), "{in_part}");
        for line in in_part.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
