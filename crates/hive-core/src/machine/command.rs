//! What a person may want of the machine: how much it may do, pause, undo.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::id::PatternId;
use crate::machine::learn::BACKOFF_MS;
use crate::machine::{Machine, Pause, REST_AFTER_UNDO};
use crate::reply::{CommandError, ErrorKind, Mode, PatternState, UndoneView};
use crate::time::{Now, Span, WallTime};

impl Machine {
    /// How much the optimizer may do.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Sets how much it may do; anything but `Auto` puts everything back.
    pub fn set_mode(&mut self, now: Now, mode: Mode) {
        self.mode = mode;
        self.keep_mode();
        // Whoever sets the mode says anew what they want.
        self.set_rest(now, None);
        self.yes_on_its_way |= mode == Mode::Auto;
        if mode != Mode::Auto {
            self.let_go(now);
        }
        self.turn(now);
    }

    /// Nothing that was kept waits for the disk: a yes that was said counts from now on. Tells whether there
    /// was one.
    pub fn on_durable(&mut self, now: Now) -> bool {
        let said = core::mem::take(&mut self.yes_on_its_way);
        if said {
            self.turn(now);
        }
        said
    }

    /// Puts everything back and keeps still.
    pub fn pause(&mut self, now: Now, span: Option<Span>) -> UndoneView {
        let changes = self.let_go(now);
        let until = span.map(|span| now.boot.after(span));
        self.set_pause(now, Some(Pause { until }));
        self.turn(now);
        undone(changes)
    }

    /// Ends a pause, and the rests after an undo and after a rail of this daemon's own.
    pub fn resume(&mut self, now: Now) {
        self.set_rest(now, None);
        self.own.rise();
        self.unpause(now);
    }

    /// Ends a pause. The rest after an undo outlives it, and so the end of a daemon, before which it pauses.
    pub fn unpause(&mut self, now: Now) {
        self.set_pause(now, None);
        self.yes_on_its_way = true;
        self.turn(now);
    }

    /// Puts a pattern's old values back (or everything's) and leaves it alone for a day. Where that ended
    /// something, or was about everything, nothing else is begun for [`REST_AFTER_UNDO`].
    ///
    /// Nothing is said to the hive: one person's wish for one machine is no evidence, and a mark would
    /// switch the pattern off on machines where it helps.
    pub fn undo(&mut self, now: Now, word: Option<&str>) -> Result<UndoneView, CommandError> {
        let ids: Vec<PatternId> = match word {
            Some(word) => Vec::from([self.find(word)?]),
            None => self
                .ledger
                .in_order()
                .into_iter()
                .filter(|(_, entry)| {
                    use PatternState::{Probation, Proven, Trial};
                    matches!(entry.state, Trial | Probation | Proven)
                })
                .map(|(id, _)| id)
                .collect(),
        };
        let running = self.run.as_ref().is_some_and(|run| ids.contains(&run.id));
        // What is on for no run any more, because it could not be put back yet, counts as well.
        let mine = word.is_none()
            || running
            || self
                .hands
                .held()
                .filter(|_| self.run.is_none())
                .is_some_and(|held| {
                    let of = |id: &PatternId| self.ledger.get(*id).map(|entry| entry.def.action);
                    ids.iter().any(|id| of(id) == Some(held.action))
                });
        for id in ids {
            if let Some(entry) = self.ledger.get_mut(id) {
                // What was dropped stays dropped, and no word shortens what its own trials decided.
                if entry.state != PatternState::Dropped {
                    entry.state = PatternState::Undone;
                }
                let a_day = WallTime(now.wall.0.saturating_add(BACKOFF_MS));
                entry.backoff_until = entry.backoff_until.max(a_day);
            }
            self.keep(id);
        }
        let changes = if mine { self.let_go(now) } else { 0 };
        if mine {
            self.set_rest(now, Some(now.boot.after(REST_AFTER_UNDO)));
        }
        self.turn(now);
        Ok(undone(changes))
    }

    /// Whether this machine's own numbers on a pattern exist: nobody may tell others in their place.
    #[must_use]
    pub fn has_own_trials(&self, id: PatternId) -> bool {
        let entry = self.ledger.get(id);
        entry.is_some_and(|entry| entry.trials > 0 || entry.trial.pairs > 0)
    }

    /// Ends the run and puts back what is on, or on its way on, without waiting for a receipt. Tells how
    /// many changes there are to put back.
    fn let_go(&mut self, now: Now) -> usize {
        let changes = usize::from(self.hands.held().is_some());
        if changes > 0 {
            self.put_back = (0, 0);
        }
        self.end_run();
        self.out.extend(self.hands.release(now.boot));
        changes
    }

    /// Whether old values are on their way back: a person is answered when they are.
    #[must_use]
    pub fn putting_back(&self) -> bool {
        self.hands.putting_back()
    }

    /// Completes an answer with what the host told of the undoing. Where that is not over, the change
    /// counts as failed: the person must not take it for done.
    #[must_use]
    pub fn completed(&self, view: UndoneView) -> UndoneView {
        if view.changes == 0 {
            return view;
        }
        if self.putting_back() {
            let failed = u32::try_from(view.changes).unwrap_or(u32::MAX);
            return UndoneView { failed, ..view };
        }
        let (restored, left_alone) = self.put_back;
        UndoneView {
            restored,
            left_alone,
            ..view
        }
    }

    /// Finds a pattern by what a person typed.
    pub(super) fn find(&self, word: &str) -> Result<PatternId, CommandError> {
        self.ledger.find(word).ok_or_else(|| self.unknown())
    }

    /// The answer to a word that names no pattern, or more than one.
    pub(super) fn unknown(&self) -> CommandError {
        CommandError {
            code: String::from("pattern.unknown"),
            kind: ErrorKind::NotFound,
            what: String::from("that names no pattern of this machine, or more than one"),
            known: format!("{} patterns are known", self.ledger.in_order().len()),
            try_next: String::from("hive patterns"),
        }
    }
}

/// How many values the host could restore is told by its receipt; see [`Machine::completed`].
fn undone(changes: usize) -> UndoneView {
    UndoneView {
        changes,
        ..UndoneView::default()
    }
}
