//! `hive status`: what is on, what is being tried, what needs a person, and what an idle machine did.

use hive_mind::pattern::catalogue::Tier;
use hive_mind::reply::{Mode, NeedView, PatternState, StatusView};

use crate::render::text::{WIDTH, bytes, count, span, wrap};

/// The whole screen.
pub(crate) fn screen(view: &StatusView) -> String {
    let mut out = head(view);
    out.push_str(&wrap(&watched(view), 0, 2));
    if let Some(gained) = gained(view) {
        out.push_str(&wrap(&gained, 0, 2));
    }
    if !view.active.is_empty() {
        out.push_str("\nOn now\n");
        for active in &view.active {
            let state = match active.state {
                PatternState::Probation => "on probation",
                _ => "proven here",
            };
            out.push_str(&wrap(
                &format!("{}  {} ({state})", active.pattern, active.words),
                2,
                7,
            ));
        }
    }
    if let Some(trial) = &view.trial {
        out.push_str("\nBeing tried\n");
        let pairs = count(trial.pairs as usize, "pair", "pairs");
        out.push_str(&wrap(
            &format!(
                "{}  {}, {pairs} so far",
                trial.pattern,
                trial.action.words()
            ),
            2,
            7,
        ));
    }
    if !view.needs.is_empty() {
        out.extend([format!("\nNeeds you ({})\n", view.needs.len())]);
        for need in &view.needs {
            out.push_str(&need_lines(need));
        }
    }
    let suggested = || {
        view.suggestions
            .iter()
            .filter(|it| it.tier == Tier::Suggest)
    };
    if suggested().count() > 0 {
        out.push_str("\nYou could\n");
        for it in suggested() {
            out.push_str(&wrap(&format!("{} ({})", it.words, it.try_next), 2, 4));
        }
    }
    let hints = hints(view);
    if !hints.is_empty() {
        out.push('\n');
        for hint in hints {
            out.push_str(&wrap(&hint, 0, 2));
        }
    }
    out
}

/// From how much watching on it is said that nothing is worth changing. A guess: some rounds of looking.
const LOOKED_S: u64 = 10;

/// One line that tells what watching brought: the answer to "is it doing anything?".
pub(crate) fn watched(view: &StatusView) -> String {
    let time = format!(
        "watched {}, busy {}",
        span(view.watched_s),
        span(view.busy_s)
    );
    if view.paused {
        let left = view.pause_left_s.map(span);
        let left = left.map_or_else(String::new, |left| format!(" for {left} more"));
        return format!("paused{left}: everything is as it was; {time}");
    }
    if !view.active.is_empty() {
        return format!(
            "{time}; {} on",
            count(view.active.len(), "setting", "settings")
        );
    }
    if view.trial.is_some() {
        return format!("{time}; measuring now");
    }
    match view.mode {
        Mode::Auto => {}
        Mode::Observe => return format!("{time}; in mode observe nothing is tried"),
        Mode::Suggest => return format!("{time}; in mode suggest nothing is tried, only said"),
    }
    if let Some(left) = view.rest_left_s.max(view.own_rest_left_s) {
        return format!("{time}; at rest for {} more", span(left));
    }
    if let Some(why) = &view.left_alone {
        return format!("{time}; nothing is changed: {why}");
    }
    if view.watched_s < LOOKED_S {
        return format!("{time}; just started looking");
    }
    if view.trials_open > 0 {
        let open = count(view.trials_open, "trial", "trials");
        return format!("{time}; {open} begun and not decided yet");
    }
    if view.gain.is_some() {
        return format!("{time}; nothing to change right now");
    }
    format!("{time}; nothing worth changing so far")
}

/// What was gained, from hold-outs; nothing before any proven setting was on.
fn gained(view: &StatusView) -> Option<String> {
    let gain = view.gain?;
    if gain.holdouts == 0 {
        let on = span(gain.untold_s);
        return Some(format!(
            "settings on for {on}; what they spared is not known yet (too few hold-outs)"
        ));
    }
    let best = gain.saved_s;
    let [low, high] = gain.range_s;
    let by = format!(
        "in {} with settings on, by {}",
        span(gain.on_s),
        count(gain.holdouts as usize, "hold-out pair", "hold-out pairs")
    );
    Some(if high < 0.0 {
        let (least, most) = (seconds(-high), seconds(-low));
        format!(
            "waiting grew by {} s [{least} to {most}] {by}",
            seconds(-best)
        )
    } else if low < 0.0 {
        let (low, best, high) = (seconds(low), seconds(best), seconds(high));
        format!("no waiting is known to be saved: {best} s [{low} to {high}] {by}")
    } else {
        let (low, best, high) = (seconds(low), seconds(best), seconds(high));
        format!("waiting saved {best} s [{low} to {high}] {by}")
    })
}

/// Whole seconds; nothing below zero that rounds to it.
fn seconds(exact: f64) -> String {
    // Minus zero and zero are zero.
    format!("{:.0}", exact.round() + 0.0)
}

/// The mode in a person's words.
pub(crate) fn mode_words(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe (changes nothing)",
        Mode::Suggest => "suggest (says what it would try)",
        Mode::Auto => "auto (tries, measures, keeps what helps)",
    }
}

fn head(view: &StatusView) -> String {
    let who = format!("{} ({})", view.label, view.node);
    let members = count(view.members, "member", "members");
    let online = match view.members {
        0 | 1 if view.unheard => "let in; the others are not heard yet".to_owned(),
        0 | 1 => "alone so far".to_owned(),
        _ => format!(
            "{} of {} others online",
            view.peers_online,
            view.members - 1
        ),
    };
    let patterns = count(view.patterns_shared, "pattern", "patterns");
    let mode = mode_words(view.mode);
    let first = format!("{who}   hive {}   {members}, {online}", view.hive);
    let told = match view.members {
        0 | 1 => "nobody to tell yet".to_owned(),
        _ => format!("{} of traffic", bytes(view.bytes)),
    };
    let second = format!("mode {mode}   {patterns}   {told}");
    if first.chars().count() <= WIDTH {
        format!("{first}\n{}", wrap(&second, 0, 2))
    } else {
        format!(
            "{who}\nhive {}   {members}, {online}\n{}",
            view.hive,
            wrap(&second, 0, 2)
        )
    }
}

fn need_lines(need: &NeedView) -> String {
    let fix = need.fix.join(" or ");
    let line = format!("  ! {}", need.words);
    let both = line.chars().count() + 3 + fix.chars().count();
    if fix.is_empty() {
        wrap(&format!("! {}", need.words), 2, 4)
    } else if both <= WIDTH {
        let room = WIDTH - fix.chars().count();
        format!("{line:room$}{fix}\n")
    } else {
        format!(
            "{}{fix:>WIDTH$}\n",
            wrap(&format!("! {}", need.words), 2, 4)
        )
    }
}

fn hints(view: &StatusView) -> Vec<String> {
    let mut hints = Vec::new();
    for wait in &view.waits {
        let next = wait.ready_s.map_or_else(String::new, |seconds| {
            format!("; the next in {}", span(seconds))
        });
        hints.push(format!(
            "waits to be told: {} {} ({}{next})",
            wait.count, wait.kind, wait.why
        ));
    }
    hints.extend(view.memory.clone());
    for limit in &view.limits {
        hints.push(format!("limit: {limit}"));
    }
    if view.paused {
        hints.push("go on:  hive resume".to_owned());
    } else if view.mode != Mode::Auto {
        hints.push("let it try what helps:  hive tune auto".to_owned());
    }
    if view.members <= 1 && !view.unheard {
        hints.push("add a machine:  hive invite".to_owned());
    }
    hints
}

#[cfg(test)]
mod tests {
    use hive_mind::pattern::Action;
    use hive_mind::reply::{ActiveView, GainView, TrialView};

    use super::*;

    fn quiet() -> StatusView {
        StatusView {
            node: "3f9a0c12".to_owned(),
            label: "amber otter".to_owned(),
            hive: "91ab22ff".to_owned(),
            mode: Mode::Auto,
            members: 1,
            network_health: 1.0,
            watched_s: 25_200,
            busy_s: 240,
            ..StatusView::default()
        }
    }

    #[test]
    fn a_quiet_machine_is_not_an_empty_screen() {
        assert_eq!(
            screen(&quiet()),
            "amber otter (3f9a0c12)   hive 91ab22ff   1 member, alone so far\n\
             mode auto (tries, measures, keeps what helps)   0 patterns   nobody to tell yet\n\
             watched 7 h, busy 4 min; nothing worth changing so far\n\
             \n\
             add a machine:  hive invite\n"
        );
    }

    #[test]
    fn nothing_is_judged_before_it_was_watched() {
        let view = StatusView {
            watched_s: 1,
            busy_s: 0,
            ..quiet()
        };
        assert_eq!(
            watched(&view),
            "watched 1 s, busy 0 s; just started looking"
        );
    }

    #[test]
    fn a_trial_that_waits_for_its_next_pair_is_not_nothing() {
        let view = StatusView {
            trials_open: 1,
            ..quiet()
        };
        assert_eq!(
            watched(&view),
            "watched 7 h, busy 4 min; 1 trial begun and not decided yet"
        );
    }

    #[test]
    fn a_member_that_has_reached_nobody_yet_is_not_called_alone() {
        let view = StatusView {
            unheard: true,
            ..quiet()
        };
        let screen = screen(&view);
        assert!(screen.contains("the others are not heard yet"), "{screen}");
        assert!(
            !screen.contains("alone") && !screen.contains("hive invite"),
            "{screen}"
        );
    }

    #[test]
    fn a_pause_says_how_long_it_lasts() {
        let view = StatusView {
            paused: true,
            ..quiet()
        };
        let words = "paused: everything is as it was; watched 7 h, busy 4 min";
        assert_eq!(watched(&view), words);
        let view = StatusView {
            pause_left_s: Some(1_680),
            ..view
        };
        assert!(watched(&view).starts_with("paused for 28 min more: everything"));
    }

    #[test]
    fn two_commands_are_told_apart() {
        let need = NeedView {
            code: "join.pending".to_owned(),
            words: "\"lab\" waits".to_owned(),
            fix: vec!["hive approve lab".to_owned(), "hive deny lab".to_owned()],
        };
        assert!(need_lines(&need).ends_with("hive approve lab or hive deny lab\n"));
    }

    #[test]
    fn an_observing_machine_says_how_to_change_that() {
        let view = StatusView {
            mode: Mode::Observe,
            ..quiet()
        };
        assert!(screen(&view).contains("in mode observe nothing is tried"));
        assert!(screen(&view).contains("let it try what helps:  hive tune auto"));
    }

    #[test]
    fn a_job_that_may_not_be_touched_says_why() {
        let view = StatusView {
            left_alone: Some("every offered action was set by hand".to_owned()),
            ..quiet()
        };
        assert_eq!(
            watched(&view),
            "watched 7 h, busy 4 min; nothing is changed: every offered action was set by hand"
        );
    }

    #[test]
    fn what_is_on_what_is_tried_and_what_needs_you_are_told_in_this_order() {
        let view = StatusView {
            members: 2,
            peers_online: 1,
            active: vec![ActiveView {
                pattern: "p-1".to_owned(),
                action: Action::BackgroundNice,
                words: "background at nice 11 while an interactive program runs".to_owned(),
                state: PatternState::Probation,
            }],
            trial: Some(TrialView {
                pattern: "p-2".to_owned(),
                action: Action::FinerSlice,
                pairs: 5,
                on: false,
            }),
            needs: vec![NeedView {
                code: "join.pending".to_owned(),
                words: "\"lab-07\" wants to join, 2 min".to_owned(),
                fix: vec!["hive approve lab-07".to_owned()],
            }],
            ..quiet()
        };
        assert_eq!(
            screen(&view),
            "amber otter (3f9a0c12)   hive 91ab22ff   2 members, 1 of 1 others online\n\
             mode auto (tries, measures, keeps what helps)   0 patterns   0 B of traffic\n\
             watched 7 h, busy 4 min; 1 setting on\n\
             \n\
             On now\n  \
             p-1  background at nice 11 while an interactive program runs (on probation)\n\
             \n\
             Being tried\n  \
             p-2  finer time slice for the interactive program, 5 pairs so far\n\
             \n\
             Needs you (1)\n  \
             ! \"lab-07\" wants to join, 2 min                            hive approve lab-07\n"
        );
    }

    #[test]
    fn what_is_said_of_doing_nothing_is_true_beside_a_gain_and_at_rest() {
        let quiet = StatusView {
            watched_s: 7_200,
            mode: Mode::Auto,
            ..quiet()
        };
        assert!(watched(&quiet).ends_with("; nothing worth changing so far"));
        let gain = Some(GainView::default());
        let beside = watched(&StatusView {
            gain,
            ..quiet.clone()
        });
        assert!(
            beside.ends_with("; nothing to change right now"),
            "{beside}"
        );
        let undone = watched(&StatusView {
            rest_left_s: Some(540),
            ..quiet.clone()
        });
        assert!(undone.ends_with("; at rest for 9 min more"), "{undone}");
        let own = watched(&StatusView {
            own_rest_left_s: Some(540),
            ..quiet
        });
        assert!(own.ends_with("; at rest for 9 min more"), "{own}");
    }

    #[test]
    fn a_gain_is_claimed_only_where_its_whole_range_is_one() {
        let told = |saved_s: f64, range_s: [f64; 2]| {
            let gain = Some(GainView {
                saved_s,
                range_s,
                on_s: 7_200,
                holdouts: 12,
                untold_s: 0,
            });
            gained(&StatusView { gain, ..quiet() }).expect("told")
        };
        let by = "in 2 h with settings on, by 12 hold-out pairs";
        assert_eq!(
            told(90.4, [10.0, 200.0]),
            format!("waiting saved 90 s [10 to 200] {by}")
        );
        assert_eq!(
            told(-0.2, [-5.0, 30.0]),
            format!("no waiting is known to be saved: 0 s [-5 to 30] {by}")
        );
        assert_eq!(
            told(-20.0, [-40.0, -0.3]),
            format!("waiting grew by 20 s [0 to 40] {by}")
        );
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let view = StatusView {
            label: "a label of thirty-two characters".to_owned(),
            mode: Mode::Observe,
            bytes: 123_456_789,
            patterns_shared: 1_234,
            limits: vec!["this user cannot lower a nice value again; ".repeat(4)],
            needs: vec![NeedView {
                code: "x".to_owned(),
                words: "something long ".repeat(8),
                fix: vec!["hive why p-1".to_owned(), "hive undo p-1".to_owned()],
            }],
            ..quiet()
        };
        for line in screen(&view).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
