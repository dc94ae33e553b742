//! A machine that waits for a person, and whose inviter went away meanwhile.

use crate::hive::Hive;
use crate::hive::outside::HiveEffect;
use crate::reply::JoinStage;
use crate::time::{Now, Span};

/// A waiting machine that lost the inviter asks again after this, then after twice as long, and so on. A guess: a
/// restart takes seconds; a machine that is off for the night is not worth a dial each time.
pub(super) const ASK_AGAIN: Span = Span::from_secs(10);

/// The pause between two such dials is doubled so often at most: to ten minutes and a bit. A guess.
const ASK_DOUBLED_MAX: u32 = 6;

impl Hive {
    /// Asks the inviter that was lost whether it still keeps the request; it may have decided meanwhile.
    pub(super) fn ask_again(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        joining.retry_at = None;
        if let Some(proved) = joining.proved.filter(|_| joining.talk.is_none()) {
            let wait = ASK_AGAIN.0 << joining.asked_again.min(ASK_DOUBLED_MAX);
            joining.asked_again = joining.asked_again.saturating_add(1);
            joining.retry_at = Some(now.boot.after(Span(wait)));
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
}
