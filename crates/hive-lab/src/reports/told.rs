//! Follows what a daemon tells on `/v1/events`.

use anyhow::Result;
use hive_mind::Client;
use serde_json::Value;
use tokio::task::JoinHandle;

/// What a daemon tells while it works, kept with its moments.
#[derive(Debug)]
pub struct Told {
    following: JoinHandle<()>,
    heard: std::sync::mpsc::Receiver<Value>,
}

impl Told {
    /// Follows a daemon from now on.
    pub async fn follow(client: &Client) -> Result<Self> {
        let mut events = client.events().await?;
        let (sender, heard) = std::sync::mpsc::channel();
        let following = tokio::spawn(async move {
            while let Ok(Some(event)) = events.next().await {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self { following, heard })
    }

    /// Stops following; everything that was told.
    pub fn end(self) -> Vec<Value> {
        self.following.abort();
        self.heard.try_iter().collect()
    }
}
