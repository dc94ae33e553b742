//! A typed client of the daemon's unix-socket API: one method per command, one error enum.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hive_core::pattern::{Action, Evidence, PatternDef};
use hive_core::reply::{
    CommandError, DecisionView, DoneView, InviteView, JoinView, MembersView, Mode, NearbyView,
    PatternsView, PendingView, RecoveryKeyView, RecoveryWords, RotatedView, SharedView, StatusView,
    UndoneView, WhyView,
};
use hive_core::statement::Role;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::api::path_segment;
use crate::doctor::NetworkView;

/// A whole reply may be this long. A guess: 4,096 patterns at about 1 kB each, doubled.
const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a reply may take. A guess: commands are answered within a loop turn and one disk write.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Talks to the daemon behind one socket. Cheap to clone; each call opens its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing listens on the socket: start the daemon (exit code 3).
    #[error("the hive daemon isn't running")]
    DaemonDown {
        /// Where it was expected.
        socket: PathBuf,
    },
    /// A daemon is there and says nothing: it hangs, is stopped, or the machine is very busy (exit code 6). What was
    /// asked may still be done.
    #[error("the hive daemon does not answer")]
    Silent {
        /// Where it was asked.
        socket: PathBuf,
    },
    /// The daemon ended before its answer was whole. What was asked may have been done.
    #[error("the hive daemon ended before it answered")]
    Ended,
    /// The daemon refused; nothing was changed.
    #[error("{}", .0.what)]
    Refused(CommandError),
    /// The daemon answered something that this client does not understand.
    #[error("the daemon's answer could not be read: {0}")]
    Protocol(String),
}

impl Client {
    /// A client of the daemon behind this socket (see [`crate::default_socket`]).
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Where the daemon is expected.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One screen.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.get("/v1/status").await
    }

    /// Who belongs.
    pub async fn members(&self) -> Result<MembersView, ClientError> {
        self.get("/v1/members").await
    }

    /// Who waits for a person.
    pub async fn pending(&self) -> Result<PendingView, ClientError> {
        self.get("/v1/pending").await
    }

    /// What was learned.
    pub async fn patterns(&self) -> Result<PatternsView, ClientError> {
        self.get("/v1/patterns").await
    }

    /// The reason for one pattern.
    pub async fn why(&self, pattern: &str) -> Result<WhyView, ClientError> {
        self.get(&format!("/v1/why/{}", path_segment(pattern)))
            .await
    }

    /// Who has been seen on the network.
    pub async fn nearby(&self) -> Result<NearbyView, ClientError> {
        self.get("/v1/nearby").await
    }

    /// How the daemon stands in its network. Takes seconds.
    pub async fn network(&self) -> Result<NetworkView, ClientError> {
        self.get("/v1/network").await
    }

    /// How far a join has come.
    pub async fn join_state(&self) -> Result<JoinView, ClientError> {
        self.get("/v1/join").await
    }

    /// What the hive would do here now.
    pub async fn decision(&self) -> Result<DecisionView, ClientError> {
        self.get("/v1/decision").await
    }

    /// Opens the door for one machine.
    pub async fn invite(&self) -> Result<InviteView, ClientError> {
        self.post("/v1/invite", &json!({})).await
    }

    /// The same, with a ticket for a machine elsewhere, or for a longer time than ten minutes.
    pub async fn invite_with(
        &self,
        ticket: bool,
        seconds: Option<u64>,
    ) -> Result<InviteView, ClientError> {
        let body = json!({ "ticket": ticket, "seconds": seconds });
        self.post("/v1/invite", &body).await
    }

    /// Ends every code that is still open.
    pub async fn close_invites(&self) -> Result<DoneView, ClientError> {
        self.post("/v1/close-invites", &json!({})).await
    }

    /// Enters the hive that a code or a ticket belongs to. Poll [`Client::join_state`] for the progress.
    pub async fn join(&self, code: &str, at: Option<SocketAddr>) -> Result<JoinView, ClientError> {
        self.post("/v1/join", &json!({ "code": code, "at": at }))
            .await
    }

    /// Lets a waiting machine in, as a member or as an admin.
    pub async fn approve(&self, who: &str, role: Role) -> Result<DoneView, ClientError> {
        self.post("/v1/approve", &json!({ "who": who, "role": role }))
            .await
    }

    /// The same for a machine of another owner: `new`, or the name of a member of that owner.
    pub async fn approve_for(
        &self,
        who: &str,
        role: Role,
        owner: Option<&str>,
    ) -> Result<DoneView, ClientError> {
        let body = json!({ "who": who, "role": role, "owner": owner });
        self.post("/v1/approve", &body).await
    }

    /// Turns a waiting machine away.
    pub async fn deny(&self, who: &str) -> Result<DoneView, ClientError> {
        self.post("/v1/deny", &json!({ "who": who })).await
    }

    /// Removes a member.
    pub async fn remove(&self, who: &str, compromised: bool) -> Result<DoneView, ClientError> {
        self.post(
            "/v1/remove",
            &json!({ "who": who, "compromised": compromised }),
        )
        .await
    }

    /// Changes what a more junior member may do.
    pub async fn set_role(&self, who: &str, role: Role) -> Result<DoneView, ClientError> {
        self.post("/v1/role", &json!({ "who": who, "role": role }))
            .await
    }

    /// Takes a proven forker's data back into the views.
    pub async fn forgive(&self, who: &str) -> Result<DoneView, ClientError> {
        self.post("/v1/forgive", &json!({ "who": who })).await
    }

    /// Gives this machine's place to a new key, which the next start of the daemon uses.
    pub async fn rotate(&self) -> Result<RotatedView, ClientError> {
        self.post("/v1/rotate", &json!({})).await
    }

    /// Tells the others that this machine leaves.
    pub async fn leave(&self) -> Result<DoneView, ClientError> {
        self.post("/v1/leave", &json!({})).await
    }

    /// Founds this machine's hive anew with a recovery key, whose words are told this once.
    pub async fn recovery_key(&self) -> Result<RecoveryKeyView, ClientError> {
        self.post("/v1/recovery-key", &json!({})).await
    }

    /// Acts with the words of the recovery key.
    pub async fn recover(
        &self,
        words: &RecoveryWords,
        remove: Option<&str>,
        compromised: bool,
    ) -> Result<DoneView, ClientError> {
        let body = json!({ "words": words, "remove": remove, "compromised": compromised });
        self.post("/v1/recover", &body).await
    }

    /// Calls this machine something else.
    pub async fn label(&self, label: &str) -> Result<DoneView, ClientError> {
        self.post("/v1/label", &json!({ "label": label })).await
    }

    /// Puts the old values back; none = of everything.
    pub async fn undo(&self, pattern: Option<&str>) -> Result<UndoneView, ClientError> {
        self.post("/v1/undo", &json!({ "pattern": pattern })).await
    }

    /// Sets how much the optimizer may do.
    pub async fn tune(&self, mode: Mode) -> Result<DoneView, ClientError> {
        self.post("/v1/tune", &json!({ "mode": mode })).await
    }

    /// Allows an action that is asked about once, or takes that back.
    pub async fn allow(&self, action: Action, allowed: bool) -> Result<DoneView, ClientError> {
        let body = json!({ "action": action, "allowed": allowed });
        self.post("/v1/allow", &body).await
    }

    /// Restores everything and keeps still; none = until resumed.
    pub async fn pause(&self, seconds: Option<u64>) -> Result<UndoneView, ClientError> {
        self.post("/v1/pause", &json!({ "seconds": seconds })).await
    }

    /// Ends a pause, and the rest after an undo.
    pub async fn resume(&self) -> Result<DoneView, ClientError> {
        self.post("/v1/resume", &json!({})).await
    }

    /// Ends a pause, and leaves the rest after an undo as it is.
    pub async fn unpause(&self) -> Result<DoneView, ClientError> {
        self.post("/v1/unpause", &json!({})).await
    }

    /// Publishes a measured result.
    pub async fn share(
        &self,
        def: &PatternDef,
        evidence: &Evidence,
    ) -> Result<SharedView, ClientError> {
        self.post("/v1/share", &json!({ "def": def, "evidence": evidence }))
            .await
    }

    /// Asks the network again who is there.
    pub async fn seek(&self) -> Result<DoneView, ClientError> {
        self.post("/v1/seek", &json!({})).await
    }

    /// The daemon's own JSON of a read route such as `/v1/status`, schema field included.
    pub async fn get_json(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// The daemon's own JSON of a changing route, schema field included.
    pub async fn post_json<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Value, ClientError> {
        let body = serde_json::to_vec(body).map_err(protocol)?;
        self.call(Method::POST, path, Bytes::from(body)).await
    }

    /// Follows what happens, from now on.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let response = self.send(Method::GET, "/v1/events", Bytes::new()).await?;
        if !response.status().is_success() {
            let body = collect(response).await?;
            return Err(refusal(&body));
        }
        Ok(Events {
            body: response.into_body(),
            rest: Vec::new(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        serde_json::from_value(self.get_json(path).await?).map_err(protocol)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ClientError> {
        serde_json::from_value(self.post_json(path, body).await?).map_err(protocol)
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Value, ClientError> {
        let exchange = async {
            let response = self.send(method, path, body).await?;
            let good = response.status().is_success();
            let body = collect(response).await?;
            if good {
                serde_json::from_slice(&body).map_err(protocol)
            } else {
                Err(refusal(&body))
            }
        };
        tokio::time::timeout(REPLY_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(self.silent()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let absent = |why: io::Error| match why.kind() {
            // So many callers wait already that the kernel lets no more in.
            io::ErrorKind::WouldBlock => self.silent(),
            _ => ClientError::DaemonDown {
                socket: self.socket.clone(),
            },
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(absent)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(protocol)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "hive")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(protocol)?;
        sender.send_request(request).await.map_err(broken)
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent {
            socket: self.socket.clone(),
        }
    }
}

/// What happens on the daemon's machine, one line at a time.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    /// The next happening: `{"at_us": .., "what": "peer_up", ..}`; `None` when the daemon ends.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(protocol);
            }
            if self.rest.len() > REPLY_BYTES_MAX {
                return Err(ClientError::Protocol("a line without an end".into()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                        self.rest.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), REPLY_BYTES_MAX);
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => broken(*error),
            Err(error) => protocol(error),
        }),
    }
}

/// An exchange that was not finished: mostly because there is nobody any more to finish it.
fn broken(error: hyper::Error) -> ClientError {
    if error.is_parse() {
        protocol(error)
    } else {
        ClientError::Ended
    }
}

fn refusal(body: &[u8]) -> ClientError {
    serde_json::from_slice(body).map_or_else(protocol, ClientError::Refused)
}

fn protocol(error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}
