//! What a daemon tells, as it happens, with the moment of its boot clock: for figures between machines.

use std::path::Path;
use std::sync::mpsc;

use hive_mind::Client;
use serde_json::Value;

/// One daemon's happenings so far.
pub(crate) struct Follower {
    arriving: mpsc::Receiver<Value>,
    so_far: Vec<Value>,
}

impl Follower {
    /// Follows the daemon behind a socket until it ends. The thread ends with it.
    pub(crate) fn start(socket: &Path) -> std::io::Result<Self> {
        let client = Client::new(socket);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, arriving) = mpsc::channel();
        std::thread::Builder::new()
            .name("follow".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let Ok(mut events) = client.events().await else {
                        return;
                    };
                    while let Ok(Some(event)) = events.next().await {
                        if sender.send(event).is_err() {
                            return;
                        }
                    }
                });
            })?;
        Ok(Self {
            arriving,
            so_far: Vec::new(),
        })
    }

    /// When something of this kind was told last, in microseconds of the boot clock.
    pub(crate) fn last(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Option<u64> {
        self.so_far.extend(self.arriving.try_iter());
        let found = self
            .so_far
            .iter()
            .rfind(|event| event["what"] == what && fits(event))?;
        found["at_us"].as_u64()
    }
}
