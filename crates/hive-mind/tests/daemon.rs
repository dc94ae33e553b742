//! The real daemon's face: its socket, who may speak to it, and what stops it from starting.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hive_mind::{
    Acting, Client, ClientError, HiveNode, Options, RunError, Running, Scope, StartError,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn options(home: &Path) -> Options {
    Options {
        state: Some(home.join("state")),
        socket: Some(home.join("hive.sock")),
        port: Some(0),
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        interfaces: vec!["lo".into()],
        scope: Scope::Tree(std::process::id()),
        act: Acting::No,
        mdns: false,
        ..Options::default()
    }
}

async fn served(home: &Path) -> (Client, tokio::task::JoinHandle<Result<(), RunError>>) {
    let options = options(home);
    let client = Client::new(home.join("hive.sock"));
    let daemon = tokio::spawn(hive_mind::daemon::run(options));
    let up = async {
        while client.get_json("/healthz").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.expect("comes up");
    (client, daemon)
}

/// A request that the client would not make.
async fn raw(socket: &Path, method: Method, path: &str, body: Vec<u8>) -> (u16, String, Value) {
    let stream = tokio::net::UnixStream::connect(socket)
        .await
        .expect("connects");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("speaks HTTP");
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "hive")
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let kind = response.headers()["content-type"]
        .to_str()
        .expect("plain")
        .to_string();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("whole");
    let body = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    (status, kind, body)
}

#[tokio::test]
async fn the_socket_is_the_owners_and_bad_requests_get_typed_errors() {
    let home = tempfile::tempdir().expect("a folder");
    let (client, daemon) = served(home.path()).await;
    let socket = home.path().join("hive.sock");
    let mode = fs::metadata(&socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let health = client.get_json("/healthz").await.expect("healthy");
    assert_eq!(health["schema"], "hive.health/1");
    assert_ne!(health["port"], 0);

    for (method, path, body, status, code) in [
        (Method::GET, "/v1/nonsense", "", 404, "api.route"),
        (Method::GET, "/v1/invite", "", 404, "api.route"),
        (Method::POST, "/v1/approve", "{", 400, "api.body"),
        (Method::POST, "/v1/approve", "{\"who\": 7}", 400, "api.body"),
        (
            Method::POST,
            "/v1/approve",
            "{\"whom\": \"x\"}",
            400,
            "api.body",
        ),
        (
            Method::POST,
            "/v1/tune",
            "{\"mode\": \"wild\"}",
            400,
            "api.body",
        ),
    ] {
        let (found, kind, error) = raw(&socket, method, path, body.into()).await;
        assert_eq!(
            (found, &error["code"]),
            (status, &Value::from(code)),
            "{path} {body}"
        );
        assert_eq!(kind, "application/problem+json");
    }
    let long = vec![b' '; 17 * 1024];
    let (status, _, error) = raw(&socket, Method::POST, "/v1/approve", long).await;
    assert_eq!((status, &error["code"]), (400, &Value::from("api.body")));

    // A second daemon neither takes the socket nor the store.
    let second = HiveNode::start(options(home.path())).await;
    assert!(
        matches!(second, Err(StartError::AlreadyRunning(_))),
        "{second:?}"
    );
    daemon.abort();
}

#[tokio::test]
async fn only_an_old_socket_that_nobody_answers_on_gives_way_to_a_new_one() {
    let home = tempfile::tempdir().expect("a folder");
    let socket = home.path().join("hive.sock");
    let place_is = |found: &str, error: RunError| {
        let words = error.to_string();
        let typed = matches!(error, RunError::Start(StartError::NoSocket { .. }));
        assert!(
            typed && words.contains(found) && words.contains("hive --socket"),
            "{words}"
        );
        assert!(
            !home.path().join("state").exists(),
            "nothing is started first"
        );
    };
    let start = || hive_mind::daemon::run(options(home.path()));

    fs::write(&socket, "precious").expect("written");
    place_is("is a file", start().await.expect_err("a file is there"));
    assert_eq!(fs::read(&socket).expect("still there"), b"precious");

    let precious = home.path().join("precious");
    fs::rename(&socket, &precious).expect("moved");
    std::os::unix::fs::symlink(&precious, &socket).expect("made");
    place_is("a symbolic link", start().await.expect_err("a link"));
    assert!(socket.is_symlink() && precious.exists(), "both are left");

    fs::remove_file(&socket).expect("there");
    fs::create_dir(&socket).expect("made");
    place_is("a folder", start().await.expect_err("a folder is there"));
    assert!(socket.is_dir());

    // Dropping a listener leaves its file, as a killed daemon does.
    fs::remove_dir(&socket).expect("empty");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("made"));
    let (client, daemon) = served(home.path()).await;
    client.status().await.expect("it took the place");
    daemon.abort();
}

#[tokio::test]
async fn a_daemon_whose_socket_is_deleted_makes_it_again_and_its_folder_knows_where() {
    let home = tempfile::tempdir().expect("a folder");
    let run = home.path().join("run");
    let socket = run.join("hive.sock");
    let state = home.path().join("state");
    let daemon = tokio::spawn(hive_mind::daemon::run(Options {
        socket: Some(socket.clone()),
        ..options(home.path())
    }));
    let answers = async |socket: &Path| {
        let client = Client::new(socket);
        let up = async {
            while client.get_json("/healthz").await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("answers");
    };
    let noted = |socket: &Path| {
        let running = Running::on(&state).expect("it runs");
        assert_eq!(running.process, std::process::id());
        assert_eq!(running.socket, socket);
    };
    answers(&socket).await;
    noted(&socket);
    let note = fs::metadata(state.join("running")).expect("there");
    assert_eq!(note.permissions().mode() & 0o777, 0o600);

    fs::remove_file(&socket).expect("there");
    answers(&socket).await;
    noted(&socket);

    // The place itself goes, as at the last log-out, and cannot be made again.
    fs::remove_dir_all(&run).expect("there");
    fs::write(&run, "in the way").expect("written");
    let spare = state.join("hive.sock");
    answers(&spare).await;
    noted(&spare);

    daemon.abort();
    assert!(daemon.await.is_err());
    assert_eq!(Running::on(&state), None, "its note is nobody's word now");
}

#[tokio::test]
async fn without_a_daemon_the_client_says_so() {
    let home = tempfile::tempdir().expect("a folder");
    let error = Client::new(home.path().join("hive.sock"))
        .status()
        .await
        .expect_err("nobody there");
    assert!(matches!(error, ClientError::DaemonDown { .. }), "{error}");
}

#[tokio::test]
async fn a_daemon_that_ends_before_it_answered_is_not_a_daemon_that_talks_nonsense() {
    let home = tempfile::tempdir().expect("a folder");
    let socket = home.path().join("hive.sock");
    let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
    let ends = async {
        for half in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"sch"] {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut question = [0; 1024];
            assert!(stream.read(&mut question).await.expect("read") > 0);
            stream.write_all(half.as_bytes()).await.expect("written");
        }
    };
    let asks = async {
        for _ in 0..2 {
            let error = Client::new(&socket).status().await.expect_err("no answer");
            assert!(matches!(error, ClientError::Ended), "{error}");
        }
    };
    tokio::join!(ends, asks);
}

/// Runs this very test program as another user against a socket whose file mode lets that user in, so that
/// only the check of the caller's credentials stands between.
#[tokio::test]
async fn another_user_is_denied() {
    if let Some(socket) = std::env::var_os("HIVE_TEST_SOCKET_OF_ANOTHER_USER") {
        let (status, _, error) = raw(Path::new(&socket), Method::GET, "/healthz", Vec::new()).await;
        assert_eq!(
            (status, &error["code"]),
            (403, &Value::from("api.not_yours"))
        );
        return;
    }
    let probe = Command::new("/bin/true").uid(65_534).gid(65_534).status();
    if probe.is_err() {
        eprintln!("SKIPPED another_user_is_denied: only root can become another user");
        return;
    }
    let home = tempfile::tempdir().expect("a folder");
    let (_client, daemon) = served(home.path()).await;
    let socket = home.path().join("hive.sock");
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("opened");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("opened");
    // The test program may lie where that user cannot read; a copy beside the socket does not.
    let program = home.path().join("program");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("opened");
    let ran = tokio::process::Command::new(&program)
        .args(["--exact", "another_user_is_denied", "--nocapture"])
        .env("HIVE_TEST_SOCKET_OF_ANOTHER_USER", &socket)
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output()
        .await
        .expect("runs");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}");
    assert!(told.contains("1 passed"), "it really ran: {told}");
    daemon.abort();
}

#[tokio::test]
async fn codes_are_closed_and_a_wanted_port_that_is_taken_is_told() {
    let home = tempfile::tempdir().expect("a folder");
    let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let wanted = taken.local_addr().expect("bound").port();
    let node = HiveNode::start(Options {
        port: Some(wanted),
        ..options(home.path())
    })
    .await
    .expect("on another port");
    assert_ne!(node.port(), wanted);
    let status = node.hive_status().await.expect("answers").view;
    let need = status.needs.iter().find(|it| it.code == "port.denied");
    let words = &need.expect("it is said").words;
    assert!(words.contains(&wanted.to_string()), "{words}");
    node.shutdown().await;

    let (client, daemon) = served(home.path()).await;
    for words in ["no code was open", "2 codes are no longer good"] {
        let done = client.close_invites().await.expect("answers");
        assert_eq!(done.words, words);
        for _ in 0..2 {
            client.invite().await.expect("the founder");
        }
    }
    daemon.abort();
}

#[tokio::test]
async fn a_wide_state_folder_and_misspelt_settings_stop_the_start() {
    let home = tempfile::tempdir().expect("a folder");
    let state = home.path().join("state");
    fs::create_dir(&state).expect("made");
    fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("widened");
    let error = HiveNode::start(options(home.path()))
        .await
        .expect_err("too wide");
    assert!(matches!(error, StartError::Key(_)), "{error}");
    assert!(error.to_string().contains("chmod 700"), "{error}");

    fs::set_permissions(&state, Permissions::from_mode(0o700)).expect("narrowed");
    let config = home.path().join("config.toml");
    fs::write(&config, "[network]\nprt = 4483\n").expect("written");
    let misspelt = Options {
        config: Some(config),
        ..options(home.path())
    };
    let error = HiveNode::start(misspelt).await.expect_err("misspelt");
    assert!(
        error.to_string().contains("did you mean `port`?"),
        "{error}"
    );

    // An address for documentation (RFC 5737), which no machine has.
    let nowhere = Options {
        bind: Some(Ipv4Addr::new(192, 0, 2, 77).into()),
        ..options(home.path())
    };
    let error = HiveNode::start(nowhere).await.expect_err("not ours");
    let words = error.to_string();
    assert!(
        words.contains("192.0.2.77") && words.contains("`bind`"),
        "{words}"
    );

    let node = HiveNode::start(options(home.path()))
        .await
        .expect("now it starts");
    let (id, port) = (node.id(), node.port());
    node.shutdown().await;
    let again = HiveNode::start(options(home.path()))
        .await
        .expect("and again");
    assert_eq!(
        (again.id(), again.port()),
        (id, port),
        "key and port are kept"
    );
    again.shutdown().await;
}
