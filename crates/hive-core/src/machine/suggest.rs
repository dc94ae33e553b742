//! Suggest: what only a person may do or allow, and what became of what was allowed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::event_log::Happening;
use crate::id::ChangeId;
use crate::machine::act::{Outcome, Receipt, Step};
use crate::machine::decide::Choice;
use crate::machine::trial::Regime;
use crate::machine::{Machine, MachineEffect};
use crate::pattern::Action;
use crate::pattern::catalogue::{DEFER_LEASE, Tier};
use crate::reply::{CommandError, ErrorKind, Mode, NeedView, SuggestionView};
use crate::time::Now;

impl Machine {
    /// A person allows an action that is asked about once, or takes that back.
    pub fn allow(
        &mut self,
        now: Now,
        action: Action,
        allowed: bool,
    ) -> Result<String, CommandError> {
        if action.tier() != Tier::AskOnce {
            return Err(needs_no_yes(action));
        }
        if allowed {
            self.allowed.insert(action);
            self.yes_on_its_way = true;
        } else {
            self.allowed.remove(&action);
        }
        self.keep_allowed();
        self.turn(now);
        let terms = action.terms();
        Ok(if allowed {
            format!(
                "allowed: {} ({}; {})",
                action.words(),
                terms.bound,
                terms.undo
            )
        } else {
            format!("not done any more: {}", action.words())
        })
    }

    /// What a person could do about what runs now, and what needs their yes.
    pub(super) fn suggestions(&self, now: Now) -> Vec<SuggestionView> {
        let mut all = Vec::new();
        if self.facts.rights.advise {
            let asked = |action: Action| !self.allowed.contains(&action);
            if let Some((action, _)) = self.memory.wish(asked) {
                all.push(SuggestionView {
                    action,
                    tier: action.tier(),
                    words: format!(
                        "memory is short, and programs sleep that hold some: {} ({}; {})",
                        action.words(),
                        action.terms().cost,
                        action.terms().undo
                    ),
                    try_next: format!("hive tune allow {}", action.name()),
                });
            }
        }
        if self.nothing_helps(now) {
            all.push(SuggestionView {
                action: Action::Defer,
                tier: Tier::Suggest,
                words: format!(
                    "nothing that may be done by itself helps while this background runs; stopped for {DEFER_LEASE} at a time it would not be in the way"
                ),
                try_next: String::from("in its terminal: Ctrl-Z, and fg when there is time"),
            });
        }
        all
    }

    /// What needs a person's yes.
    pub(super) fn asks(&self, now: Now) -> Vec<NeedView> {
        let asks = self.suggestions(now).into_iter();
        let asks = asks.filter(|it| it.tier == Tier::AskOnce && self.mode == Mode::Auto);
        asks.map(|it| NeedView {
            code: String::from("tune.allow"),
            words: it.words,
            fix: Vec::from([it.try_next]),
        })
        .collect()
    }

    /// Whether there is contention, and everything that may be tried was tried in vain.
    fn nothing_helps(&self, now: Now) -> bool {
        let contention = self.situation.contention(&self.paces, None, &self.facts);
        self.run.is_none()
            && self.facts.pressure
            && contention.is_some_and(
                |it| matches!(self.choose(now, &it), Choice::Leave(why) if why.is_for_a_person()),
            )
    }

    /// Takes a step on memory, where one is allowed and due. Not during a trial: its own cost would be in the windows.
    pub(super) fn spare_memory(&mut self, now: Now) {
        self.memory.give_up(now.boot);
        let in_trial = self
            .run
            .as_ref()
            .is_some_and(|run| run.regime != Regime::Proven);
        if !self.may_act() || in_trial || !self.facts.rights.advise {
            return;
        }
        let Some((action, job)) = self.memory.wish(|action| self.allowed.contains(&action)) else {
            return;
        };
        // 53 bits, so that every JSON reader can hold it.
        let change = ChangeId(u64::from_le_bytes(self.chance.bytes()) >> 11);
        self.memory.ask(now.boot, change, action, job);
        let targets = Vec::from([job]);
        self.out.push_back(MachineEffect::Act(Step {
            change,
            action,
            targets,
            units: Vec::new(),
        }));
    }

    /// Whether a receipt was about memory; then it is dealt with.
    pub(super) fn on_advised(&mut self, receipt: &Receipt) -> bool {
        let bytes = match receipt.outcome {
            Outcome::Advised { bytes, .. } => bytes,
            _ => 0,
        };
        let Some(action) = self.memory.on_receipt(receipt.change, bytes) else {
            return false;
        };
        if bytes > 0 {
            let told = Happening::MemoryAdvised { action, bytes };
            self.out.push_back(MachineEffect::Tell(told));
        }
        true
    }

    /// What was done about memory since the daemon started, if anything.
    pub(super) fn memory_words(&self) -> Option<String> {
        let (steps, bytes) = self.memory.taken;
        (steps > 0).then(|| {
            format!(
                "the kernel was told {steps} times which sleeping programs' memory to take first, {} MiB in all; what that gained cannot be told apart here",
                bytes >> 20
            )
        })
    }
}

fn needs_no_yes(action: Action) -> CommandError {
    let known = match action.tier() {
        _ if action == Action::Placebo => {
            "it changes nothing: each trial takes some, to know what trying alone brings"
        }
        Tier::Auto => "it is tried in pairs in mode auto, and kept only where it is proven",
        Tier::Suggest => "it is only ever suggested; a person does it",
        _ => "no figure of this machine could judge it, so only the lab does it",
    };
    CommandError {
        code: String::from("tune.no_question"),
        kind: ErrorKind::Usage,
        what: format!("\"{}\" is nothing that is asked about", action.name()),
        known: known.to_string(),
        try_next: String::from("hive tune actions"),
    }
}
