//! The user's own daemon keeps still while the demo plays: it would act on the stage's programs and learn them.

use crate::args::Place;
use crate::link::Link;

/// For how long it is paused. Longer than the demo may take, and it ends by itself where the demo was killed.
const PAUSE_S: u64 = 240;

/// A daemon that was paused; dropping it ends the pause, however the demo ends.
pub(super) struct OwnDaemon(Option<Link>);

impl OwnDaemon {
    /// Pauses the daemon of this place. One that is not there, or was paused before, is left alone; so is one
    /// that refuses, because the demo is right without it too.
    pub(super) fn hold(place: &Place) -> Self {
        let held = Link::new(place).ok().filter(|link| {
            let client = link.client();
            link.ask(client.status()).is_ok_and(|status| !status.paused)
                && link.ask(client.pause(Some(PAUSE_S))).is_ok()
        });
        Self(held)
    }

    /// Whether one is paused.
    pub(super) fn is_held(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        if let Some(link) = self.0.take()
            && let Err(why) = link.unpause()
        {
            eprintln!(
                "your own daemon did not end its pause ({}); it ends by itself within 4 minutes",
                why.what
            );
        }
    }
}
