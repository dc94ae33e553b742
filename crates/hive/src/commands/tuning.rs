//! Verbs about what is done on this machine: status, patterns, why, undo, tune, pause, resume.

use hive_mind::ClientError;
use hive_mind::pattern::catalogue::Tier;
use hive_mind::reply::{ActiveView, Mode, StatusView, TrialView, UndoneView};
use serde::Serialize;

use crate::args::{
    Format, PauseArgs, Place, Rehearsal, StatusArgs, TuneArgs, TuneWord, UndoArgs, WhyArgs,
};
use crate::commands::{bare, down, show};
use crate::consent;
use crate::left;
use crate::link::Link;
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::text::{count, span, wrap};
use crate::render::{patterns as text, status as screen};

/// One screen.
pub(super) fn status(at: &Place, args: StatusArgs) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let view = link.ask(link.client().status())?;
    let way = bare::way_of_the_moved(&view, &place::paths(at)?);
    show(args.format, "hive.status/1", &view, |view| {
        // In one piece, to be copied.
        let way = way.map_or_else(String::new, |way| format!("\n{way}\n"));
        screen::screen(view) + &way
    })?;
    Ok(if args.check && !view.needs.is_empty() {
        Exit::NeedsYou
    } else {
        Exit::Ok
    })
}

/// What was learned.
pub(super) fn patterns(at: &Place, format: Format) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let view = link.ask(link.client().patterns())?;
    let mode = link.ask(link.client().status())?.mode;
    show(format, "hive.patterns/1", &view, |view| {
        text::list(view, mode)
    })?;
    Ok(Exit::Ok)
}

/// The reason for one pattern.
pub(super) fn why(at: &Place, args: &WhyArgs) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let view = link.ask(link.client().why(&args.pattern))?;
    show(args.format, "hive.why/1", &view, text::why)?;
    Ok(Exit::Ok)
}

/// Puts old values back.
pub(super) fn undo(at: &Place, args: &UndoArgs) -> Result<Exit, Problem> {
    if args.pattern.is_none() && !args.all {
        return Err(
            Problem::new(Exit::Usage, "undo.what", "which pattern shall be undone?")
                .known("name one, such as p-1 (hive patterns lists them), or --all")
                .try_next("hive undo --all"),
        );
    }
    let link = Link::new(at)?;
    if args.rehearsal.dry_run {
        if let Some(pattern) = &args.pattern {
            // A pattern that is not there is told as the real undo would.
            link.ask(link.client().why(pattern))?;
        }
        let status = link.ask(link.client().status())?;
        let view = WouldUndo::of(&status, args.pattern.as_deref());
        show(args.format, "hive.would_undo/1", &view, WouldUndo::words)?;
        return Ok(Exit::Ok);
    }
    let view = match link.try_ask(link.client().undo(args.pattern.as_deref())) {
        Ok(view) => view,
        Err(error) => {
            let all = args.pattern.is_none();
            let left = if all {
                down::without_daemon(at, &link, &error)?
            } else {
                None
            };
            let left = left.ok_or_else(|| link.problem(error))?;
            let (exit, words) = left::told(&left, "");
            show(args.format, "hive.undone/1", &left::view(&left), |_| words)?;
            return Ok(exit);
        }
    };
    let rest = link
        .ask(link.client().status())
        .ok()
        .and_then(|it| it.rest_left_s);
    show(args.format, "hive.undone/1", &view, |view| {
        text::undone(view) + &afterwards(args.pattern.as_deref(), rest)
    })?;
    Ok(exit_of(&view))
}

/// What is not done for a time: the pattern that was named, and whatever else while the rest lasts.
fn afterwards(pattern: Option<&str>, rest_left_s: Option<u64>) -> String {
    let mut out = String::new();
    if let Some(pattern) = pattern {
        out = format!("{pattern} is neither tried nor used for a day\n");
    }
    if let Some(left) = rest_left_s {
        let words = format!(
            "nothing is tried for {} (sooner:  hive resume)\n",
            span(left)
        );
        out.push_str(&words);
    }
    out
}

/// Sets how much may be done.
pub(super) fn tune(at: &Place, args: TuneArgs) -> Result<Exit, Problem> {
    if let Some(problem) = too_much(args) {
        return Err(problem);
    }
    let mode = match args.word {
        TuneWord::Observe => Mode::Observe,
        TuneWord::Suggest => Mode::Suggest,
        TuneWord::Auto => Mode::Auto,
        TuneWord::Actions => {
            print!("{}", text::catalogue());
            return Ok(Exit::Ok);
        }
        TuneWord::Allow | TuneWord::Forbid => return allow(at, args),
    };
    let link = Link::new(at)?;
    let words = screen::mode_words(mode);
    if args.rehearsal.dry_run {
        println!("would set: {words}");
        return Ok(Exit::Ok);
    }
    link.ask(link.client().tune(mode))?;
    consent::note_answered(&place::paths(at)?.state)?;
    println!("from now on: {words}");
    Ok(Exit::Ok)
}

/// A mode is the whole machine's: who names an action beside it means something else.
fn too_much(args: TuneArgs) -> Option<Problem> {
    if matches!(args.word, TuneWord::Allow | TuneWord::Forbid) {
        return None;
    }
    let action = args.action?;
    let (word, name) = (args.word.name(), action.name());
    let next = if action.tier() == Tier::AskOnce {
        format!(
            "hive tune allow {name}   (this action), or: hive tune {word}   (the whole machine)"
        )
    } else {
        format!("hive tune {word}   (the whole machine)")
    };
    let what = format!("\"hive tune {word}\" is about all actions, and {name} is one");
    let problem = Problem::new(Exit::Usage, "tune.action", what);
    Some(problem.known("nothing was changed").try_next(next))
}

/// Allows one action that is asked about, or takes that back.
fn allow(at: &Place, args: TuneArgs) -> Result<Exit, Problem> {
    let Some(action) = args.action else {
        return Err(Problem::new(Exit::Usage, "tune.what", "which action?")
            .known("hive tune actions lists them")
            .try_next("hive tune allow cold_memory"));
    };
    let link = Link::new(at)?;
    if args.rehearsal.dry_run {
        print!("{}", text::terms(action));
        return Ok(Exit::Ok);
    }
    let done = link.ask(link.client().allow(action, args.word == TuneWord::Allow))?;
    println!("{}", done.words);
    Ok(Exit::Ok)
}

/// Puts everything back and keeps still.
pub(super) fn pause(at: &Place, args: PauseArgs) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let until = args.span.map_or_else(
        || "until:  hive resume".to_owned(),
        |seconds| format!("for {} (sooner:  hive resume)", span(seconds)),
    );
    if args.rehearsal.dry_run {
        let status = link.ask(link.client().status())?;
        print!("{}", WouldUndo::of(&status, None).words());
        println!("would keep still {until}");
        return Ok(Exit::Ok);
    }
    let view = match link.try_ask(link.client().pause(args.span)) {
        Ok(view) => view,
        Err(error) => return pause_nobody(at, &link, error),
    };
    print!("{}", text::undone(&view));
    println!("paused {until}");
    Ok(exit_of(&view))
}

/// No daemon that could keep still; what an earlier one left on is put back all the same.
fn pause_nobody(at: &Place, link: &Link, error: ClientError) -> Result<Exit, Problem> {
    let left = down::without_daemon(at, link, &error)?;
    let problem = link.problem(error);
    let Some(left) = left else {
        return Err(problem);
    };
    let (exit, words) = left::told(&left, "");
    print!("{words}");
    if exit != Exit::Ok {
        println!("  nobody keeps still now; once a daemon runs:  hive pause");
        return Ok(exit);
    }
    Err(problem.try_next("hive up, then: hive pause   (the next start is not paused)"))
}

/// Ends a pause, and the rest after an undo.
pub(super) fn resume(at: &Place, rehearsal: Rehearsal) -> Result<Exit, Problem> {
    let link = Link::new(at)?;
    let status = link.ask(link.client().status())?;
    if rehearsal.dry_run {
        println!(
            "{}",
            would_end(
                status.paused,
                status.rest_left_s.is_some(),
                status.own_rest_left_s.is_some()
            )
        );
        return Ok(Exit::Ok);
    }
    link.ask(link.client().resume())?;
    println!("watching again: {}", screen::mode_words(status.mode));
    Ok(Exit::Ok)
}

/// What a resume ends.
fn would_end(paused: bool, undone: bool, own_rail: bool) -> String {
    let all = [
        (paused, "the pause"),
        (undone, "the rest after the undo"),
        (own_rail, "the rest after this daemon itself was too much"),
    ];
    let all: Vec<&str> = all
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, it)| *it)
        .collect();
    if all.is_empty() {
        String::from("it is not paused")
    } else {
        format!("would end {}", all.join(", and "))
    }
}

/// A value that somebody else has set meanwhile is theirs and no failure; one that could not be put back is.
pub(super) fn exit_of(view: &UndoneView) -> Exit {
    if view.failed > 0 {
        Exit::Partly
    } else {
        Exit::Ok
    }
}

/// What an undo would put back now.
#[derive(Serialize)]
pub(super) struct WouldUndo<'a> {
    would_undo: Vec<&'a ActiveView>,
    /// A running trial, which would end.
    would_end: Option<&'a TrialView>,
}

impl<'a> WouldUndo<'a> {
    pub(super) fn of(status: &'a StatusView, pattern: Option<&str>) -> Self {
        let is_meant = |name: &str| pattern.is_none_or(|wanted| wanted == name);
        let active = status.active.iter();
        let would_undo: Vec<_> = active.filter(|one| is_meant(&one.pattern)).collect();
        let tells = |trial: &&TrialView| would_undo.iter().all(|it| it.pattern != trial.pattern);
        let trial = status.trial.as_ref();
        let would_end = trial.filter(|one| is_meant(&one.pattern)).filter(tells);
        Self {
            would_undo,
            would_end,
        }
    }

    /// How many settings are on now: those of a trial are on about half of the time.
    pub(super) fn settings(&self) -> usize {
        self.would_undo.len() + usize::from(self.would_end.is_some_and(|trial| trial.on))
    }

    fn words(&self) -> String {
        let affected = count(self.settings(), "setting", "settings");
        let mut out = format!("would put back {affected}\n");
        if let Some(trial) = self.would_end {
            let now = if trial.on { "on" } else { "off" };
            let words = trial.action.words();
            let words = format!(
                "{}  {words}; its trial would end, {now} at this moment",
                trial.pattern
            );
            out.push_str(&wrap(&words, 2, 7));
        }
        for active in &self.would_undo {
            out.push_str(&wrap(
                &format!("{}  {}", active.pattern, active.words),
                2,
                7,
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use hive_mind::pattern::Action;

    use super::*;

    #[test]
    fn a_rehearsed_resume_names_all_that_it_would_end() {
        assert_eq!(would_end(false, false, false), "it is not paused");
        assert_eq!(would_end(true, false, false), "would end the pause");
        assert_eq!(
            would_end(false, false, true),
            "would end the rest after this daemon itself was too much"
        );
        assert_eq!(
            would_end(true, true, false),
            "would end the pause, and the rest after the undo"
        );
    }

    #[test]
    fn a_rehearsed_undo_names_only_what_is_on() {
        assert_eq!(
            WouldUndo::of(&StatusView::default(), None).words(),
            "would put back 0 settings\n"
        );
        let view = StatusView {
            trial: Some(TrialView {
                pattern: "p-2".to_owned(),
                action: Action::BackgroundNice,
                pairs: 3,
                on: true,
            }),
            ..StatusView::default()
        };
        assert_eq!(
            WouldUndo::of(&view, None).words(),
            "would put back 1 setting\n  p-2  background at nice 11; its trial would end, on at this moment\n"
        );
        assert_eq!(WouldUndo::of(&view, Some("p-1")).settings(), 0);
    }

    #[test]
    fn an_undo_says_what_is_not_done_for_a_time() {
        assert_eq!(
            afterwards(Some("p-1"), None),
            "p-1 is neither tried nor used for a day\n"
        );
        assert_eq!(
            afterwards(None, Some(600)),
            "nothing is tried for 10 min (sooner:  hive resume)\n"
        );
        assert_eq!(afterwards(None, None), "");
    }

    #[test]
    fn a_mode_with_an_action_changes_nothing_and_says_what_to_type() {
        let args = |word, action| TuneArgs {
            word,
            action: Some(action),
            rehearsal: Rehearsal { dry_run: false },
        };
        let problem = too_much(args(TuneWord::Auto, Action::PageOut)).expect("refused");
        assert_eq!(problem.exit, Exit::Usage);
        assert!(problem.try_next.starts_with("hive tune allow page_out "));
        let problem = too_much(args(TuneWord::Observe, Action::BackgroundNice)).expect("refused");
        assert!(problem.try_next.starts_with("hive tune observe "));
        assert_eq!(too_much(args(TuneWord::Allow, Action::PageOut)), None);
    }

    #[test]
    fn only_what_could_not_be_put_back_is_a_failure() {
        let view = UndoneView {
            changes: 1,
            left_alone: 3,
            ..UndoneView::default()
        };
        assert_eq!(exit_of(&view), Exit::Ok);
        assert_eq!(exit_of(&UndoneView { failed: 1, ..view }), Exit::Partly);
    }
}
