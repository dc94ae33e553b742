//! Explain: what a person reads about patterns, and why. Programs are told by their role, never by name.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::id::PatternId;
use crate::machine::act::Outcome;
use crate::machine::decide::Choice;
use crate::machine::learn::{ALPHA_SHOWN, Entry};
use crate::machine::trial::{
    MARGIN_HIGH, MARGIN_LOW, Regime, helps_at_too_high_a_cost, too_costly,
};
use crate::machine::window::real;
use crate::machine::{Machine, discovery, sequence};
use crate::pattern::{Action, Binding, Goal, PairStats, Side, Verdict, WorkloadType};
use crate::reply::words;
use crate::reply::{
    ActiveView, CommandError, DecisionView, Mode, NeedView, OtherView, PatternState, PatternView,
    PatternsView, PlaceboView, StatusView, TrialView, WhyView,
};
use crate::time::{Instant, Now};

/// 97.5 % point of the normal distribution.
const Z: f64 = 1.96;

impl Machine {
    /// All patterns, in the order in which this machine learned of them.
    #[must_use]
    pub fn patterns(&self, _now: Now) -> PatternsView {
        let all = self.ledger.in_order();
        PatternsView {
            patterns: all
                .into_iter()
                .map(|(id, entry)| self.view(id, entry))
                .collect(),
        }
    }

    /// The reason for a pattern's state.
    pub fn why(&self, now: Now, word: &str) -> Result<WhyView, CommandError> {
        let id = self.find(word)?;
        let entry = self.ledger.get(id).ok_or_else(|| self.unknown())?;
        let mut because = Vec::from([self.what(entry), self.reason(id, entry), effect(entry)]);
        because.extend(cost(entry));
        because.extend(placebo(entry));
        because.extend(self.proof(entry));
        because.extend(self.drawn(now, entry));
        because.extend(entry.refused.as_ref().map(refused));
        because.extend(self.left_to(entry.def.action));
        because.push(self.origin(id, entry));
        because.extend(back_off(entry, now));
        because.extend(self.at_rest(now));
        because.extend(self.own_rest(now));
        Ok(WhyView {
            pattern: self.view(id, entry),
            because,
            undo: match entry.state {
                PatternState::Undone => String::new(),
                _ => format!("hive undo p-{}", entry.number),
            },
        })
    }

    /// What would be done for what runs now.
    #[must_use]
    pub fn decide(&self, now: Now) -> DecisionView {
        let leave = |because: &str| DecisionView {
            because: because.to_string(),
            suggestions: self.suggestions(now),
            ..DecisionView::default()
        };
        if !self.facts.pressure {
            return leave(
                "this kernel does not tell the pressure on the processor, so nothing is tried",
            );
        }
        let keep = self.run.as_ref().map(|run| run.protected);
        let Some(contention) = self.situation.contention(&self.paces, keep, &self.facts) else {
            return leave(
                "nobody waits: there is no contention with an interactive program, nor between a job in front and one in the background",
            );
        };
        let (regime, def) = match self.choose(now, &contention) {
            Choice::Leave(why) => return leave(why.words()),
            Choice::Run(regime, def) => (regime, def),
        };
        let would = match (self.mode, self.pause.is_some(), self.rest_until.is_some()) {
            (Mode::Auto, false, false) if self.own.until().is_some() => {
                "at rest, for this daemon itself was too much; otherwise: "
            }
            (Mode::Auto, false, false) => "",
            (Mode::Auto, true, _) => "paused; otherwise: ",
            (Mode::Auto, false, true) => "at rest after an undo; otherwise: ",
            _ => "nothing is changed in this mode; in auto: ",
        };
        let step = match regime {
            Regime::Trial => "to be tried in random on/off pairs",
            Regime::Probation => "on, because another machine proved it; under test here",
            Regime::Proven => "on, because it was proven here",
        };
        DecisionView {
            pattern: self
                .ledger
                .get(def.id())
                .map(|entry| format!("p-{}", entry.number)),
            action: Some(def.action),
            suggestions: self.suggestions(now),
            because: format!(
                "{would}{step}: {} competes with {} at {:.0} % processor pressure, {}",
                contention.context.background.words(),
                contention.role.words(),
                contention.pressure * 100.0,
                contention.context.binding.words(),
            ),
        }
    }

    /// Fills in what the machine part knows of the one screen.
    pub fn fill_status(&self, now: Now, status: &mut StatusView) {
        let seconds = |micros: u64| micros / 1_000_000;
        status.mode = self.mode;
        status.paused = self.pause.is_some();
        let left = |until: Instant| until.since(now.boot).0.div_ceil(1_000_000);
        status.pause_left_s = self.pause.and_then(|pause| pause.until).map(left);
        status.rest_left_s = self.rest_until.map(left);
        status.own_rest_left_s = self.own.until().map(left);
        status.watched_s = seconds(self.observer.watched.0);
        status.busy_s = seconds(self.observer.busy.0);
        status.contended_s = seconds(self.contended.0);
        status.gain = self.gains.view();
        status.left_alone = self.left_alone(now);
        let open = |entry: &&Entry| entry.state == PatternState::Trial && entry.trial.pairs > 0;
        let entries = self.ledger.entries().map(|(_, entry)| entry);
        status.trials_open = entries.filter(open).count();
        status.limits.extend(self.limits());
        status.limits.extend(self.at_rest(now));
        status.limits.extend(self.own_rest(now));
        status.needs.extend(self.hands.stuck().map(undo_failed));
        status.needs.extend(self.asks(now));
        status.suggestions = self.suggestions(now);
        status.memory = self.memory_words();
        let Some((run, entry)) = self
            .run
            .as_ref()
            .and_then(|run| Some((run, self.ledger.get(run.id)?)))
        else {
            return;
        };
        let pattern = format!("p-{}", entry.number);
        if run.regime != Regime::Proven {
            status.trial = Some(TrialView {
                pattern: pattern.clone(),
                action: entry.def.action,
                pairs: entry.trial.pairs,
                on: self
                    .hands
                    .on()
                    .is_some_and(|on| on.action == entry.def.action),
            });
        }
        if run.regime != Regime::Trial && run.told_on {
            status.active.push(ActiveView {
                pattern,
                action: entry.def.action,
                words: String::from(entry.def.action.words()),
                state: entry.state,
            });
        }
    }

    /// Why nothing is done about the contention that there is.
    fn left_alone(&self, now: Now) -> Option<String> {
        if self.run.is_some() {
            return None;
        }
        let contention = self
            .situation
            .contention(&self.paces, None, &self.facts)
            .filter(|_| self.facts.pressure)?;
        match self.choose(now, &contention) {
            Choice::Leave(why) => Some(why.words().to_string()),
            Choice::Run(..) => None,
        }
    }

    /// Says that a person's undo keeps everything off for a while.
    fn at_rest(&self, now: Now) -> Option<String> {
        let left = self.rest_until?.0.checked_sub(now.boot.0)?;
        let left = crate::time::Span(left);
        Some(format!(
            "nothing is tried or turned on for {left} after an undo; \"hive resume\" ends that"
        ))
    }

    /// Says who else sets what an action would set.
    fn left_to(&self, action: Action) -> Option<String> {
        let mut all = self.situation.neighbours.iter();
        let claims = all.find(|neighbour| neighbour.claims(action))?;
        Some(format!("Not used now: {}.", claims.words()))
    }

    fn limits(&self) -> Vec<String> {
        let rights = self.facts.rights;
        let mut limits = Vec::new();
        limits.extend(self.situation.neighbours.iter().map(|other| other.words()));
        if self.other_acts_until.is_some() {
            limits.push(
                crate::machine::act::Refusal::NotTheActor
                    .remedy()
                    .to_string(),
            );
        }
        if !self.facts.pressure {
            limits.push("no pressure figures (PSI): nothing is tried; boot with psi=1".to_string());
        }
        if !rights.nice {
            limits.push(format!(
                "background nice and idle are not offered: {}",
                crate::machine::act::Refusal::NotReversible.remedy()
            ));
        }
        if !rights.slice {
            limits.push("finer time slices cannot be set here: they need Linux 6.12 or later, and a daemon that was started with the usual scheduling policy".to_string());
        }
        if self.facts.autogroup && !rights.autogroup_nice {
            limits.push("the weights of terminal sessions cannot be written".to_string());
        }
        limits
    }

    fn view(&self, id: PatternId, entry: &Entry) -> PatternView {
        let heard = self.advice.get(&id);
        let others = heard.map_or(&[][..], |heard| &heard.evidence[..]);
        let trial = &entry.trial;
        let is = |run: &crate::machine::run::Run| run.id == id;
        let on = self
            .hands
            .on()
            .is_some_and(|on| on.action == entry.def.action);
        PatternView {
            name: format!("p-{}", entry.number),
            id: format!("{id}"),
            action: entry.def.action,
            words: words(entry),
            role: entry.def.role,
            context: entry.def.context,
            state: entry.state,
            on: on && self.run.as_ref().is_some_and(is),
            verdict: entry.verdict,
            pairs: trial.pairs,
            wait_ratio: (trial.pairs > 0).then(|| libm::exp(trial.mean())),
            ci: ci(trial),
            background_loss: (trial.pairs > 0).then(|| entry.work.loss()),
            placebo: apart(&entry.placebo),
            holdout: apart(&entry.holdout),
            contention_s: (entry.trials > 0).then(|| real(entry.contention.0) / 1e6),
            others: others
                .iter()
                .map(|(_, label, evidence)| OtherView {
                    member: label.clone(),
                    verdict: evidence.verdict,
                    trial: evidence.trial,
                    wait_ratio: libm::exp(evidence.trial.mean()),
                })
                .collect(),
            known_at_us: entry.known_at.0,
            own: entry.own,
        }
    }

    fn what(&self, entry: &Entry) -> String {
        let state = match entry.state {
            PatternState::Heard => "heard of, not tried here",
            PatternState::Trial => "in trial, in random on/off pairs",
            PatternState::Probation => {
                "on because another machine proved it; one window in five without it shows whether it helps here"
            }
            PatternState::Proven => {
                "proven here: on while the contention lasts, off in one window of twenty to check"
            }
            PatternState::Dropped => "not used here",
            PatternState::Undone => "undone by a person; not used for a day",
        };
        let running = self
            .run
            .as_ref()
            .is_some_and(|run| run.id == entry.def.id());
        let now = match entry.state {
            PatternState::Trial | PatternState::Probation | PatternState::Proven if !running => {
                " (nothing to do now: it waits for its contention)"
            }
            _ => "",
        };
        format!("What: {}; {state}{now}.", entry.def.action.words())
    }

    fn reason(&self, id: PatternId, entry: &Entry) -> String {
        let context = entry.def.context;
        let pressure = match &self.run {
            Some(run) if run.id == id => {
                format!(
                    "; processor pressure is {:.0} % now",
                    self.situation.pressure * 100.0
                )
            }
            _ => String::new(),
        };
        // Said only where it is the reason for this action instead of the plain one.
        let only = match (context.binding, entry.def.action) {
            (Binding::Autogroup, Action::AutogroupNice) => {
                "; nice does nothing across terminal sessions, so the weight of the session is used"
            }
            (Binding::Task, Action::BackgroundWeight) => {
                "; both are applications of one desktop, so that a weight on the background's makes their control groups decide while it is on"
            }
            (Binding::Cgroup, Action::FinerSlice) => {
                "; nice does nothing across control groups, so the program's own time slice is used"
            }
            _ => "",
        };
        format!(
            "Because: {} competes with {}, {}{only}{pressure}.",
            context.background.words(),
            entry.def.role.words(),
            context.binding.words(),
        )
    }

    /// How much evidence was, or is, asked for, and why.
    fn proof(&self, entry: &Entry) -> Option<String> {
        let number = entry.asked.number;
        let tried = matches!(entry.state, PatternState::Trial | PatternState::Probation);
        if number == 0 || !(tried || entry.is_in_use()) {
            return None;
        }
        let (verb, odds) = match entry.asked.odds {
            0 => ("are", discovery::odds(self.ledger.asked_of(entry))),
            odds => ("were", odds),
        };
        Some(format!(
            "Proof: odds of {odds} to 1 against chance {verb} asked for, as it is trial {number} of this machine; so at most one in {:.0} of what is in use is there by chance.",
            1.0 / discovery::FALSE_SHARE
        ))
    }

    /// What its turn among what may be tried is drawn from. What is in use needs no turn.
    fn drawn(&self, now: Now, entry: &Entry) -> Option<String> {
        if entry.is_in_use() {
            return None;
        }
        let outlook = self.known(now).outlook(&entry.def);
        let expected = outlook.expected;
        let ends = [-Z, Z].map(|z| libm::exp(expected.mean + z * expected.spread));
        let sources = [
            (outlook.own, "of this machine"),
            (outlook.hive, "of the hive's"),
            (outlook.catalogue, "of the catalogue's"),
        ];
        let all = sources.map(|(pairs, whose)| format!("{pairs:.0} {whose}"));
        let total = outlook.own + outlook.hive + outlook.catalogue;
        let own = 100.0 * outlook.own / total.max(1.0);
        Some(format!(
            "Choice: its turn is drawn from what is known of this action: {}, with the background's loss in it, by what is worth {} pairs ({own:.0} % own); today's draw is {}.",
            words::effect(entry.def.role, libm::exp(expected.mean), Some(ends)),
            all.join(", "),
            words::effect(entry.def.role, libm::exp(outlook.draw), None),
        ))
    }

    fn origin(&self, id: PatternId, entry: &Entry) -> String {
        if !entry.shared {
            return String::from(
                "Origin: tried on this machine before it joined this hive; it counts again when that program is seen.",
            );
        }
        let first = if entry.own {
            "first tried on this machine"
        } else {
            "heard from another member"
        };
        let proven_by = self.advice.get(&id).and_then(|heard| heard.proven_by());
        proven_by.map_or_else(
            || format!("Origin: {first}."),
            |label| format!("Origin: {first}; \"{label}\" proved it there."),
        )
    }
}

fn words(entry: &Entry) -> String {
    let words = sentence(entry.def.action, entry.def.role);
    if entry.shared {
        return words;
    }
    // Else two would read alike: this one and that of a program which was seen here.
    format!("{words} (learned before joining)")
}

/// What is done, and for whom where the action's own words do not say it.
fn sentence(action: Action, role: WorkloadType) -> String {
    match action.side() {
        Side::Background => format!("{} while {} runs", action.words(), role.words()),
        Side::Protected => action.words().to_string(),
    }
}

fn effect(entry: &Entry) -> String {
    let pairs = entry.trial.pairs;
    if pairs == 0 {
        return String::from("Effect: not measured here.");
    }
    let ratio = libm::exp(entry.trial.mean());
    let words = words::effect(entry.def.role, ratio, ci(&entry.trial));
    let per = match entry.def.role.goal() {
        Goal::Wait => "per wake-up ",
        Goal::Progress => "",
    };
    let here = match (entry.verdict, entry.state) {
        (Verdict::Helps, _) => "proven here",
        (Verdict::Undecided, _) if helps_at_too_high_a_cost(entry) => {
            "a gain that costs the background too much"
        }
        (Verdict::Undecided, PatternState::Trial | PatternState::Probation) => "not decided yet",
        (verdict, _) => verdict.words(),
    };
    let range = match ci(&entry.trial) {
        Some(_) => "always-valid 95 % range",
        None => "range still open",
    };
    format!(
        "Effect: {words} {per}({range}), {}, {here}.",
        pairs_words(pairs)
    )
}

fn pairs_words(pairs: u32) -> String {
    format!("{pairs} {}", if pairs == 1 { "pair" } else { "pairs" })
}

fn cost(entry: &Entry) -> Option<String> {
    let loss = entry.work.loss() * 100.0;
    (entry.trial.pairs > 0).then(|| {
        format!(
            "Cost: the background keeps {:.0} % of its processor time{}.",
            100.0 - loss,
            if too_costly(&entry.work) && entry.verdict != Verdict::Helps {
                "; less than half, so it is not kept, however much it helps"
            } else {
                ""
            }
        )
    })
}

fn placebo(entry: &Entry) -> Option<String> {
    let placebo = apart(&entry.placebo)?;
    Some(format!(
        "Placebo: the same steps without a change gave a ratio of {:.2} ({}); below 1, only a gain beyond it counts.",
        placebo.ratio,
        pairs_words(placebo.pairs)
    ))
}

fn undo_failed(action: Action) -> NeedView {
    NeedView {
        code: String::from("undo.failed"),
        words: format!(
            "the old values could not be put back and \"{}\" may still be on; it is tried again, and stopping the daemon tries as well",
            action.words()
        ),
        fix: Vec::from([String::from("hive down")]),
    }
}

fn refused(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refusal) => format!("Not done: {}.", refusal.remedy()),
        Outcome::Unsupported => String::from("Not done: this kernel cannot do it."),
        Outcome::Failed { errno } => {
            format!("Not done: the kernel refused half-way (error {errno}); it was put back.")
        }
        Outcome::Applied { .. } | Outcome::Restored { .. } | Outcome::Advised { .. } => {
            String::from("Not done: the host's answer made no sense.")
        }
    }
}

fn back_off(entry: &Entry, now: Now) -> Option<String> {
    let left = entry.backoff_until.0.checked_sub(now.wall.0)?;
    let left = crate::time::Span::from_ms(left);
    (left.0 > 0).then(|| match entry.state {
        PatternState::Undone => format!("Used again by itself after {left}, where it fits."),
        _ => format!("Not tried again for {left}."),
    })
}

fn ci(stats: &PairStats) -> Option<[f64; 2]> {
    let range = sequence::range(stats, ALPHA_SHOWN)?;
    Some([libm::exp(range.low), libm::exp(range.high)])
}

/// Pairs apart from the trial, judged by the range alone.
fn apart(stats: &PairStats) -> Option<PlaceboView> {
    if stats.pairs == 0 {
        return None;
    }
    let ci = ci(stats);
    let verdict = match ci {
        Some([_, high]) if high < MARGIN_LOW => Verdict::Helps,
        Some([low, _]) if low > MARGIN_HIGH => Verdict::Harms,
        Some([low, high]) if low >= MARGIN_LOW && high <= MARGIN_HIGH => Verdict::NoEffect,
        _ => Verdict::Undecided,
    };
    Some(PlaceboView {
        pairs: stats.pairs,
        ratio: libm::exp(stats.mean()),
        ci,
        verdict,
    })
}
