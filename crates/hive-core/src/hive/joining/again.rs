//! A machine that waits for a person, and whose inviter went away meanwhile.

use alloc::string::String;

use crate::hive::Hive;
use crate::hive::joining::Joining;
use crate::hive::meta;
use crate::hive::outside::HiveEffect;
use crate::hive::writer::AfterSave;
use crate::limits;
use crate::reply::JoinStage;
use crate::time::{Instant, Now, Span};
use crate::wire::PairFrame;

/// A waiting machine that lost the inviter asks again after this, then after twice as long, and so on. A guess: a
/// restart takes seconds; a machine that is off for the night is not worth a dial each time.
const ASK_AGAIN: Span = Span::from_secs(10);

/// The pause between two such dials is doubled so often at most: to ten minutes and a bit. A guess.
const ASK_DOUBLED_MAX: u32 = 6;

impl Joining {
    /// When the inviter that was lost now is asked next.
    pub(super) fn asks_again_at(&self, now: Instant) -> Instant {
        now.after(Span(ASK_AGAIN.0 << self.asked_again.min(ASK_DOUBLED_MAX)))
    }

    /// Whether it failed so lately that its invite may still be open, and a person may try it again.
    fn is_fresh(&self, now: Instant) -> bool {
        self.failed_at
            .is_some_and(|at| now.since(at) < limits::INVITE_LIFETIME)
    }
}

impl Hive {
    /// What a person who looks at the status must know of a join: nothing once it is over well.
    pub(in crate::hive) fn joiner_words(&self, now: Now) -> Option<String> {
        let view = self.join_state(now);
        match view.stage {
            JoinStage::Waiting => Some(alloc::format!(
                "this machine waits for the other one to let it in; both must show: {}",
                view.words.unwrap_or_default()
            )),
            JoinStage::Failed
                if self
                    .joining
                    .as_ref()
                    .is_some_and(|it| it.is_fresh(now.boot)) =>
            {
                let what = view.error.map(|error| error.what).unwrap_or_default();
                Some(alloc::format!("this machine could not join: {what}"))
            }
            _ => None,
        }
    }

    /// Asks the inviter that was lost whether it still keeps the request; it may have decided meanwhile.
    pub(super) fn ask_again(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        joining.retry_at = None;
        if let Some(proved) = joining.proved.filter(|_| joining.talk.is_none()) {
            joining.asked_again = joining.asked_again.saturating_add(1);
            joining.retry_at = Some(joining.asks_again_at(now.boot));
            self.outbox.push_back(HiveEffect::PairDial {
                address: proved.address,
                expect: Some(proved.inviter),
            });
        }
    }

    /// Whether an attempt to join is under way.
    pub(in crate::hive) fn joiner_is_busy(&self) -> bool {
        self.joining.as_ref().is_some_and(|joining| {
            matches!(
                joining.stage,
                JoinStage::Seeking | JoinStage::Proving | JoinStage::Waiting
            )
        })
    }

    /// What was asked for is asked for no more, and the inviter hears of it if it can.
    pub(super) fn forget_request(&mut self) {
        let Some(joining) = &self.joining else { return };
        let (talk, waited) = (joining.talk, joining.stage == JoinStage::Waiting);
        if let Some(talk) = talk {
            if waited {
                self.pair_send(talk.link, &PairFrame::TakenBack);
            }
            self.end_pairing(talk.link);
        }
        if waited {
            self.save(alloc::vec![meta::joining(None)], AfterSave::Nothing);
        }
    }
}
