//! The undo, shown and checked: what the kernel tells before it, right after it, and for a while from then.

use std::time::Duration;

use hive_mind::pattern::Action;
use hive_mind::reply::PatternView;

use crate::demo::figures::Figures;
use crate::demo::play::{ACT, Actor};
use crate::demo::watch::Watch;
use crate::problem::Problem;
use crate::stage::machine::Values;

/// How long nothing may be changed after an undo. Longer than a control window of a pattern that stays on,
/// which is about 1.2 s, so that such a window is not taken for an undo.
const STAYS_OFF: Duration = Duration::from_millis(3_200);

/// Takes the pattern off while it is on, and reads in `/proc` whether every value is as it was.
pub(super) fn undo(
    watch: &Watch,
    figures: &mut Figures,
    pattern: &PatternView,
    desk: &mut Actor,
) -> Result<(), Problem> {
    let on = watch.until(watch.in_(ACT), || {
        let values = desk.values()?;
        note_unknown_slices(figures, &values);
        Ok((carrying(pattern.action, &values) > 0).then_some(values))
    })?;
    let Some(on) = on else {
        let why = "the pattern was not seen to be on when it was to be undone";
        figures.why.insert("undo_restored", why.to_owned());
        watch.say("\nThe pattern is not seen to be on now, so no undo is shown.");
        return Ok(());
    };
    watch.say(&format!(
        "\ndesk $ hive undo {}\n  before: {} of {} threads and sessions carry the new value",
        pattern.name,
        carrying(pattern.action, &on),
        on.threads
    ));
    // The answer comes when the values are back, so the first look after it counts.
    let began = std::time::Instant::now();
    let view = desk.link.ask(desk.client.undo(Some(&pattern.name)))?;
    let still_on = changed_again(watch, pattern, desk)?;
    figures.note("undo", began);
    figures.undo_restored = Some(view.failed == 0 && still_on.is_none());
    match still_on {
        None if view.failed == 0 => watch.say(&format!(
            "  after:  0, and none in the {:.0} s that followed",
            STAYS_OFF.as_secs_f64()
        )),
        None => watch.say("  after:  the daemon says that NOT everything could be put back"),
        Some(values) => watch.say(&format!(
            "  after:  {} of {}: NOT everything is as it was",
            values.changed(),
            values.threads
        )),
    }
    Ok(())
}

/// Looks from now on for a while whether any value is changed, and gives what was seen first. What another
/// pattern of this machine has on by then is its own; what the undone one had set is not.
fn changed_again(
    watch: &Watch,
    pattern: &PatternView,
    desk: &mut Actor,
) -> Result<Option<Values>, Problem> {
    watch.until(watch.in_(STAYS_OFF), || {
        let values = desk.values()?;
        if values.changed() == 0 && values.threads > 0 {
            return Ok(None);
        }
        let patterns = desk.patterns()?;
        let on = |other: &&PatternView| other.on && other.id != pattern.id;
        let others = patterns.iter().filter(on).map(|other| other.action);
        Ok((!is_others(pattern.action, &values, others)).then_some(values))
    })
}

/// Whether what is changed now is the work of other patterns' actions alone.
fn is_others(undone: Action, values: &Values, others: impl Iterator<Item = Action>) -> bool {
    let others: Vec<Action> = others.collect();
    !others.is_empty() && (others.contains(&undone) || carrying(undone, values) == 0)
}

/// Says once that this kernel does not tell slices, so that nobody takes "not seen" for "not changed".
pub(super) fn note_unknown_slices(figures: &mut Figures, values: &Values) {
    let words = "the threads' time slices (no se.slice in /proc/PID/sched): \
                 whether those are as they were is not known";
    if values.sliced.is_none() && !figures.missing.iter().any(|missing| missing == words) {
        figures.missing.push(words.to_owned());
    }
}

/// How many threads or sessions carry what an action sets.
fn carrying(action: Action, values: &Values) -> usize {
    match action {
        Action::BackgroundNice => values.niced,
        Action::AutogroupNice => values.autogroups_niced,
        Action::FinerSlice => values.sliced.unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_not_put_back_is_not_excused_by_another_pattern() {
        let values = Values {
            threads: 4,
            niced: 1,
            autogroups_niced: 1,
            ..Values::default()
        };
        let others = |actions: &[Action]| {
            is_others(Action::BackgroundNice, &values, actions.iter().copied())
        };
        assert!(!others(&[]) && !others(&[Action::AutogroupNice]));
        assert!(others(&[Action::BackgroundNice]));
        let values = Values { niced: 0, ..values };
        let others = [Action::AutogroupNice].into_iter();
        assert!(is_others(Action::BackgroundNice, &values, others));
    }

    #[test]
    fn slices_that_cannot_be_read_are_named_once_as_missing() {
        let mut figures = Figures::here();
        let told = Values {
            sliced: Some(0),
            ..Values::default()
        };
        note_unknown_slices(&mut figures, &told);
        assert!(figures.missing.is_empty());
        for _ in 0..2 {
            note_unknown_slices(&mut figures, &Values::default());
        }
        assert_eq!(figures.missing.len(), 1);
    }
}
