//! The local API: HTTP/1.1 on a unix socket, whose routes map one to one to `Command` and `Reply`.
//!
//! | route | body | success schema |
//! |---|---|---|
//! | `GET /v1/status` | – | `hive.status/1` = `StatusView` |
//! | `GET /v1/members` | – | `hive.members/1` = `MembersView` |
//! | `GET /v1/pending` | – | `hive.pending/1` = `PendingView` |
//! | `GET /v1/patterns` | – | `hive.patterns/1` = `PatternsView` |
//! | `GET /v1/why/{pattern}` | – | `hive.why/1` = `WhyView` |
//! | `GET /v1/nearby` | – | `hive.nearby/1` = `NearbyView` |
//! | `GET /v1/network` | – | `hive.network/1` = `NetworkView` |
//! | `GET /v1/join` | – | `hive.join/1` = `JoinView` |
//! | `GET /v1/decision` | – | `hive.decision/1` = `DecisionView` |
//! | `POST /v1/invite` | `{"ticket"?, "seconds"?}` | `hive.invite/1` = `InviteView` |
//! | `POST /v1/join` | `{"code", "at"?}` | `hive.join/1` |
//! | `POST /v1/close-invites` | `{}` | `hive.done/1` = `DoneView` |
//! | `POST /v1/approve` | `{"who", "role"?, "owner"?}` | `hive.done/1` |
//! | `POST /v1/deny` | `{"who"}` | `hive.done/1` |
//! | `POST /v1/remove` | `{"who", "compromised"?}` | `hive.done/1` |
//! | `POST /v1/role` | `{"who", "role": "admin"\|"member"}` | `hive.done/1` |
//! | `POST /v1/forgive` | `{"who"}` | `hive.done/1` |
//! | `POST /v1/leave` | `{}` | `hive.done/1` |
//! | `POST /v1/rotate` | `{}` | `hive.rotate/1` = `RotatedView`; the next start uses the new key |
//! | `POST /v1/recovery-key` | `{}` | `hive.recovery-key/1` = `RecoveryKeyView`, the only time its words are told |
//! | `POST /v1/recover` | `{"words", "remove"?, "compromised"?}` | `hive.done/1` |
//! | `POST /v1/label` | `{"label"}` | `hive.done/1` |
//! | `POST /v1/undo` | `{"pattern"?}` | `hive.undone/1` = `UndoneView` |
//! | `POST /v1/tune` | `{"mode": "observe"\|"suggest"\|"auto"}` | `hive.done/1` |
//! | `POST /v1/allow` | `{"action", "allowed"}` | `hive.done/1` |
//! | `POST /v1/pause` | `{"seconds"?}` | `hive.undone/1` |
//! | `POST /v1/resume`, `/v1/unpause`, `/v1/seek` | `{}` | `hive.done/1` |
//! | `POST /v1/share` | `{"def", "evidence"}` | `hive.shared/1` = `SharedView` |
//! | `GET /v1/events` | – | one JSON object a line: `{"at_us", "what", ..}` |
//! | `GET /healthz` | – | `hive.health/1`: `{"node", "port"}` |
//!
//! A success body is the view with a `schema` field in front. A refusal is `application/problem+json` with
//! the fields of `CommandError` and `title`, `status`. Callers of another user (root excepted) get 403.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use hive_core::event::Command;
use hive_core::event_log::Happening;
use hive_core::hive::ticket::Invitation;
use hive_core::pattern::{Action, Evidence, PatternDef};
use hive_core::reply::{CommandError, ErrorKind, Mode, RecoveryWords, Reply};
use hive_core::statement::Role;
use hive_core::time::Span;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::broadcast::error::RecvError;

use crate::mind::{HiveError, HiveNode};
use crate::options::StartError;

/// A request body may be this long. A guess: the longest, a share, is about 1 kB.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// One happening with the boot-clock moment (microseconds) at which the node told it.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Boot clock, microseconds.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub happening: Happening,
}

/// Makes the socket, readable by its owner only. A socket file that nobody answers on is replaced; nothing else is.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, StartError> {
    let wrong = |why| StartError::Socket {
        path: path.to_path_buf(),
        why,
    };
    if let Some(folder) = path.parent() {
        crate::key::private_folder_if_new(folder).map_err(wrong)?;
    }
    if is_abandoned(path)? {
        std::fs::remove_file(path).map_err(wrong)?;
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    // Between bind and here the peer-credential check below is what keeps others out.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    Ok(listener)
}

/// Whether an old socket lies there that nobody answers on. Nothing is changed; whatever else lies there is an error.
pub(crate) fn is_abandoned(path: &Path) -> Result<bool, StartError> {
    let wrong = |why| StartError::Socket {
        path: path.to_path_buf(),
        why,
    };
    let kind = match path.symlink_metadata() {
        Ok(about) => about.file_type(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(why) => return Err(wrong(why)),
    };
    if !kind.is_socket() {
        let found = match (kind.is_dir(), kind.is_symlink(), kind.is_file()) {
            (true, ..) => "a folder",
            (_, true, _) => "a symbolic link",
            (_, _, true) => "a file",
            _ => "a device or pipe",
        };
        return Err(StartError::NoSocket {
            path: path.to_path_buf(),
            found,
        });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        // Somebody who has no time just now is there, too.
        Err(why) if why.kind() != io::ErrorKind::WouldBlock => Err(wrong(why)),
        _ => Err(StartError::AlreadyRunning(path.to_path_buf())),
    }
}

/// Answers on the socket until the future is dropped.
pub(crate) async fn serve(listener: UnixListener, node: HiveNode) -> io::Result<()> {
    let service = router(node).into_make_service_with_connect_info::<Caller>();
    axum::serve(listener, service).await
}

/// Escapes what would end a path segment, so that a person's word stays one segment.
pub(crate) fn path_segment(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    word.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn router(node: HiveNode) -> Router {
    Router::new()
        .route("/v1/status", get(|s| ask(s, Command::Status)))
        .route("/v1/members", get(|s| ask(s, Command::Members)))
        .route("/v1/pending", get(|s| ask(s, Command::Pending)))
        .route("/v1/patterns", get(|s| ask(s, Command::Patterns)))
        .route("/v1/nearby", get(|s| ask(s, Command::Nearby)))
        .route("/v1/network", get(network))
        .route("/v1/decision", get(|s| ask(s, Command::Decide)))
        .route("/v1/why/{pattern}", get(why))
        .route(
            "/v1/join",
            get(|s| ask(s, Command::JoinState)).post(told::<JoinBody>),
        )
        .route("/v1/invite", post(told::<InviteBody>))
        .route("/v1/resume", post(|s| ask(s, Command::Resume)))
        .route("/v1/close-invites", post(|s| ask(s, Command::CloseInvites)))
        .route("/v1/unpause", post(|s| ask(s, Command::Unpause)))
        .route("/v1/seek", post(|s| ask(s, Command::Seek)))
        .route("/v1/approve", post(told::<ApproveBody>))
        .route("/v1/deny", post(told::<DenyBody>))
        .route("/v1/remove", post(told::<RemoveBody>))
        .route("/v1/role", post(told::<RoleBody>))
        .route("/v1/forgive", post(told::<ForgiveBody>))
        .route("/v1/rotate", post(rotate))
        .route("/v1/leave", post(|s| ask(s, Command::Leave)))
        .route("/v1/recovery-key", post(|s| ask(s, Command::RecoveryKey)))
        .route("/v1/recover", post(told::<RecoverBody>))
        .route("/v1/label", post(told::<LabelBody>))
        .route("/v1/undo", post(told::<UndoBody>))
        .route("/v1/tune", post(told::<TuneBody>))
        .route("/v1/allow", post(told::<AllowBody>))
        .route("/v1/pause", post(told::<PauseBody>))
        .route("/v1/share", post(told::<ShareBody>))
        .route("/v1/events", get(events))
        .route("/healthz", get(health))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(only_the_owner))
        .with_state(node)
}

/// Who called, as the kernel tells; `None` when it does not.
#[derive(Clone, Copy, Debug)]
struct Caller(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

async fn only_the_owner(request: Request, next: Next) -> Response {
    let owner = rustix::process::geteuid().as_raw();
    let caller = request.extensions().get::<ConnectInfo<Caller>>();
    match caller.and_then(|info| info.0.0) {
        Some(uid) if uid == owner || uid == 0 => next.run(request).await,
        _ => refused(&CommandError {
            code: "api.not_yours".into(),
            kind: ErrorKind::NotAllowed,
            what: "this daemon belongs to another user".into(),
            known: String::new(),
            try_next: "start your own with: hive up".into(),
        }),
    }
}

async fn ask(State(node): State<HiveNode>, command: Command) -> Response {
    answered(&node.ask(command).await)
}

async fn network(State(node): State<HiveNode>) -> Response {
    match node.network().await {
        Ok(view) => viewed("hive.network/1", &view),
        Err(HiveError::Refused(error)) => refused(&error),
        Err(HiveError::Silent(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn rotate(State(node): State<HiveNode>) -> Response {
    match node.rotate().await {
        Ok(view) => viewed("hive.rotate/1", &view),
        Err(HiveError::Refused(error)) => refused(&error),
        Err(HiveError::Silent(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn why(State(node): State<HiveNode>, UrlPath(pattern): UrlPath<String>) -> Response {
    answered(&node.ask(Command::Why { pattern }).await)
}

async fn told<B: DeserializeOwned + Into<Command>>(
    State(node): State<HiveNode>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return refused(&usage("api.body", "the body is too long"));
    };
    match serde_json::from_slice::<B>(&body) {
        Ok(body) => answered(&node.ask(body.into()).await),
        Err(error) => refused(&usage("api.body", &format!("the body is off: {error}"))),
    }
}

async fn health(State(node): State<HiveNode>) -> Response {
    json_response(
        StatusCode::OK,
        "application/json",
        &json!({ "schema": "hive.health/1", "node": node.id().short(), "port": node.port() }),
    )
}

async fn events(State(node): State<HiveNode>) -> Response {
    let (sender, body) = tokio::sync::mpsc::channel::<Result<Bytes, io::Error>>(64);
    let mut happenings = node.events();
    tokio::spawn(async move {
        loop {
            let line = tokio::select! {
                () = sender.closed() => return,
                event = happenings.recv() => match event {
                    Ok(event) => serde_json::to_vec(&event),
                    Err(RecvError::Lagged(count)) => {
                        serde_json::to_vec(&json!({ "what": "missed", "count": count }))
                    }
                    Err(RecvError::Closed) => return,
                },
            };
            let Ok(mut line) = line else { return };
            line.push(b'\n');
            if sender.send(Ok(Bytes::from(line))).await.is_err() {
                return;
            }
        }
    });
    let lines = Body::new(Lines(body));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

/// A response body that follows a channel.
struct Lines(tokio::sync::mpsc::Receiver<Result<Bytes, io::Error>>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, io::Error>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|line| line.map(hyper::body::Frame::data)))
    }
}

async fn nothing_here() -> Response {
    refused(&CommandError {
        code: "api.route".into(),
        kind: ErrorKind::NotFound,
        what: "no such route".into(),
        known: String::new(),
        try_next: String::new(),
    })
}

fn answered(reply: &Reply) -> Response {
    let schema = match reply {
        Reply::Refused(error) => return refused(error),
        Reply::Status(_) => "hive.status/1",
        Reply::Members(_) => "hive.members/1",
        Reply::Pending(_) => "hive.pending/1",
        Reply::Patterns(_) => "hive.patterns/1",
        Reply::Why(_) => "hive.why/1",
        Reply::Invite(_) => "hive.invite/1",
        Reply::Join(_) => "hive.join/1",
        Reply::Undone(_) => "hive.undone/1",
        Reply::Decision(_) => "hive.decision/1",
        Reply::Nearby(_) => "hive.nearby/1",
        Reply::Shared(_) => "hive.shared/1",
        Reply::RecoveryKey(_) => "hive.recovery-key/1",
        Reply::Rotated(_) => "hive.rotate/1",
        Reply::Done(_) => "hive.done/1",
        _ => "hive.reply/1",
    };
    viewed(schema, reply)
}

/// A view with its schema's name in front.
fn viewed<T: Serialize>(schema: &str, view: &T) -> Response {
    match serde_json::to_value(view) {
        Ok(Value::Object(fields)) => {
            let mut body = serde_json::Map::new();
            body.insert("schema".into(), schema.into());
            body.extend(fields);
            json_response(StatusCode::OK, "application/json", &Value::Object(body))
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(error: &CommandError) -> Response {
    let status = match error.kind {
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::NotAllowed => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Silent => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Limit => StatusCode::TOO_MANY_REQUESTS,
    };
    let body = json!({
        "title": error.what, "status": status.as_u16(),
        "code": error.code, "kind": error.kind, "what": error.what,
        "known": error.known, "try_next": error.try_next,
    });
    json_response(status, "application/problem+json", &body)
}

fn usage(code: &str, what: &str) -> CommandError {
    CommandError {
        code: code.into(),
        kind: ErrorKind::Usage,
        what: what.into(),
        known: String::new(),
        try_next: String::new(),
    }
}

fn json_response(status: StatusCode, kind: &'static str, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, kind)],
        body.to_string().into_bytes(),
    )
        .into_response()
}

macro_rules! body {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* } => |$body:ident| $command:expr) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name { $($(#[$meta])* $field: $type),* }

        impl From<$name> for Command {
            fn from($body: $name) -> Self {
                $command
            }
        }
    };
}

body!(InviteBody { #[serde(default)] ticket: bool, #[serde(default)] seconds: Option<u64> }
=> |body| Command::Invite(Invitation {
    ticket: body.ticket,
    seconds: body.seconds,
    places: Vec::new(),
}));
body!(JoinBody { code: String, #[serde(default)] at: Option<SocketAddr> }
    => |body| Command::Join { code: body.code, at: body.at });
body!(ApproveBody {
    who: String,
    #[serde(default)] role: Role,
    #[serde(default)] owner: Option<String>
} => |body| Command::Approve {
    who: body.who,
    role: body.role,
    owner: body.owner,
});
body!(DenyBody { who: String } => |body| Command::Deny { who: body.who });
body!(RemoveBody { who: String, #[serde(default)] compromised: bool }
    => |body| Command::Remove { who: body.who, compromised: body.compromised });
body!(RoleBody { who: String, role: Role }
    => |body| Command::SetRole { who: body.who, role: body.role });
body!(ForgiveBody { who: String } => |body| Command::Forgive { who: body.who });
body!(RecoverBody {
    words: RecoveryWords,
    #[serde(default)] remove: Option<String>,
    #[serde(default)] compromised: bool
} => |body| Command::Recover {
    words: body.words,
    remove: body.remove,
    compromised: body.compromised,
});
body!(LabelBody { label: String } => |body| Command::Label { label: body.label });
body!(UndoBody { #[serde(default)] pattern: Option<String> }
    => |body| Command::Undo { pattern: body.pattern });
body!(TuneBody { mode: Mode } => |body| Command::Tune { mode: body.mode });
body!(AllowBody { action: Action, allowed: bool }
    => |body| Command::Allow { action: body.action, allowed: body.allowed });
body!(PauseBody { #[serde(default)] seconds: Option<u64> }
    => |body| Command::Pause { span: body.seconds.map(Span::from_secs) });
body!(ShareBody { def: PatternDef, evidence: Evidence }
    => |body| Command::Share { def: body.def, evidence: body.evidence });
