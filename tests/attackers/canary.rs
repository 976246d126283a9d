//! Each kind of secret goes through every way to fail, and is shown nowhere: not in the journal, in what any command
//! prints, in the pages, in the database, in the process list, nor in the environment of a child.
//!
//! Each round is a daemon of its own with one kind of trouble, and ends when the trouble has been met a few times.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use longshore::inbox::ledger::Summary;
use longshore::sandbox::{AccountKey, FileSource, PublishRequest};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;

use crate::addresses::ask;
use crate::world::{Daemon, LIMIT, World};

/// A secret of `kind`, unlike any other text, which no rule could know by its form.
pub fn canary(kind: &str) -> String {
    format!("canary{kind}Zq7Xw9{}", "0123456789abcdef".repeat(2))
}

/// How often a trouble is to be met before a round ends: the first time, and once more after a wait.
const TIMES: usize = 2;

/// A server that answers in every bad way, by the path, and repeats what it was sent; it keeps the secrets it saw.
#[derive(Clone)]
pub struct Echo {
    pub base: String,
    visits: watch::Sender<usize>,
    secrets: Arc<Mutex<BTreeSet<String>>>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let echo = Self { base, visits: watch::Sender::new(0), secrets: Arc::default() };
        let router = Router::new().fallback(answer).with_state(echo.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        echo
    }

    /// Waits until it was asked `times` more often.
    pub async fn asked(&self, times: usize, daemon: &Daemon) {
        let wanted = *self.visits.borrow() + times;
        let mut visits = self.visits.subscribe();
        let reached = visits.wait_for(|visits| *visits >= wanted);
        assert!(tokio::time::timeout(LIMIT, reached).await.is_ok(), "nobody asks:\n{}", daemon.log());
    }

    pub fn secrets(&self) -> Vec<String> {
        self.secrets.lock().expect("no panic").iter().cloned().collect()
    }
}

async fn answer(State(echo): State<Echo>, request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let said: Vec<String> =
        request.headers().values().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let signatures = query.split('&').filter_map(|pair| pair.strip_prefix("sig=")).map(str::to_owned);
    let bearers = said.iter().filter_map(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let signed = said.iter().filter_map(|value| value.split_once("Signature=")).map(|(_, hash)| hash.to_owned());
    echo.secrets.lock().expect("no panic").extend(signatures.chain(bearers).chain(signed));
    let everything = format!("no: {path} {query} {}", said.join(" "));
    let status =
        path.split(['/', '-', '.']).find_map(|part| part.parse::<u16>().ok()).filter(|s| *s >= 200 && *s < 600);
    let response = Response::builder().status(status.unwrap_or(200));
    let response = if path.contains("redirect") {
        let elsewhere = format!("http://127.0.0.2:9/{}?{query}", said.join(" ").replace(' ', "/"));
        response.header("location", elsewhere).body(Body::from(everything))
    } else if path.contains("truncated") {
        // The connection breaks off before the promised end.
        let pieces = futures::stream::iter([Ok(everything), Err(std::io::Error::other("broken off"))]);
        response.header("content-length", 1_000_000).body(Body::from_stream(pieces))
    } else if path.contains("named") {
        let quoted = format!("\"{everything}\"");
        response.header("etag", &quoted).header("content-encoding", &everything).body(Body::from(everything))
    } else {
        response.body(Body::from(everything))
    };
    echo.visits.send_modify(|visits| *visits += 1);
    response.unwrap_or_else(|_| "no".into_response())
}

/// Looks for `secrets` in everything that a user, another user, or a thief of the disk could see. `own` are the files
/// that hold them on purpose.
pub async fn assert_hidden(world: &World, daemon: Daemon, secrets: &[String], own: &[&str]) {
    assert!(!secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= 20), "secrets to look for: {secrets:?}");
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for page in ["live", "ready", "health", "metrics"] {
        seen.push((format!("the page {page}"), ask(&daemon, page).await.into_bytes()));
    }
    let proc = PathBuf::from(format!("/proc/{}", daemon.id().expect("it runs")));
    for file in ["cmdline", "comm", "status"] {
        seen.push((format!("/proc/PID/{file}"), std::fs::read(proc.join(file)).expect("readable")));
    }
    let screens: [&[&str]; 10] = [
        &["status"],
        &["status", "--json"],
        &["notices"],
        &["notices", "--json"],
        &["quarantine", "list"],
        &["quarantine", "list", "--json"],
        &["show", "1"],
        &["show", "1", "--json"],
        &["check"],
        &["doctor", "--json"],
    ];
    let said = futures::future::join_all(screens.iter().map(|screen| world.try_say(screen))).await;
    seen.extend(screens.iter().zip(said).map(|(screen, (_, said))| (screen.join(" "), said.into_bytes())));
    // Before and after the end: the log of the database is written back then.
    collect(world.folder(), own, &mut seen);
    daemon.stop().await;
    collect(world.folder(), own, &mut seen);
    for (what, bytes) in &seen {
        for secret in secrets {
            let place = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            if let Some(at) = place {
                let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + secret.len() + 50)];
                panic!("{secret} is shown by {what}: {}", String::from_utf8_lossy(around));
            }
        }
    }
    assert!(seen.len() > 20, "all of this was looked at");
}

/// Every file below `folder` but those that are the vendor's or hold the secrets on purpose.
fn collect(folder: &Path, own: &[&str], seen: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if own.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, own, seen);
        } else if path.is_file()
            && let Ok(bytes) = std::fs::read(&path)
        {
            seen.push((path.display().to_string(), bytes));
        }
    }
}

/// A world that tries again soon, and whose pages can be asked.
pub async fn world(replace: impl Fn(String) -> String) -> World {
    let world = World::new("[work]\nordering = \"none\"\nretry_min = \"50ms\"\nretry_max = \"200ms\"\n").await;
    let config = std::fs::read_to_string(&world.config).expect("the configuration");
    let config = replace(config.replace("listen = \"\"", "listen = \"127.0.0.1:0\""));
    std::fs::write(&world.config, config).expect("written");
    world
}

/// Starts the daemon with `variables` in its environment.
fn start_with(world: &World, variables: &[(&str, &str)]) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("--config").arg(&world.config).arg("run").envs(variables.iter().copied());
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    Daemon::start(command, world.folder())
}

async fn publish(world: &World, uri: &str) {
    let request = PublishRequest {
        content_type: Some("application/x-jsonlines".to_owned()),
        ..PublishRequest::new(FileSource::Uri(uri.to_owned()))
    };
    world.sandbox.publish(request.blob_type("Canary")).await.expect("published");
}

pub fn hold(world: &World, file: &str, secret: &str) {
    let path = world.folder().join(file);
    std::fs::write(&path, secret).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("private");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_token_is_shown_nowhere_whatever_the_store_answers() {
    let world = world(|config| config).await;
    let echo = Echo::start().await;
    let base = format!("{}/acct", echo.base).parse().expect("an address");
    world.sandbox.hand_out_blob_store(&base, AccountKey::generate());
    for name in ["403", "500", "404", "redirect-302", "truncated", "named"] {
        publish(&world, &format!("{base}/batchtoprocess/{name}")).await;
    }
    let daemon = world.start(&["run"]);
    echo.asked(6 + TIMES, &daemon).await;
    let key = std::fs::read_dir(world.sandbox.certificates()).expect("certificates").next().expect("one").expect("one");
    let pem = std::fs::read_to_string(key.path()).expect("a certificate with its key");
    let mut secrets = echo.secrets();
    // A line from the middle of the private key.
    let private = pem.split("PRIVATE KEY-----").nth(1).expect("a key");
    secrets.extend(private.lines().map(str::to_owned).filter(|line| line.len() > 40));
    assert_hidden(&world, daemon, &secrets, &["certificates"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_shown_nowhere_whatever_the_token_service_answers() {
    for path in ["403", "500", "redirect-307", "truncated", "200", "401"] {
        let echo = Echo::start().await;
        let base = format!("{}/{path}", echo.base);
        let world = world(|config| replace_key(&config, "tenant_service", &base)).await;
        let daemon = world.start(&["run"]);
        echo.asked(1, &daemon).await;
        let secrets = echo.secrets();
        assert_hidden(&world, daemon, &secrets, &["certificates"]).await;
    }
}

/// The configuration with another value for a key that stands there.
fn replace_key(config: &str, key: &str, value: &str) -> String {
    let line = |line: &str| {
        let is_key = line.split_once(" = ").is_some_and(|(name, _)| name == key);
        if is_key { format!("{key} = {value:?}") } else { line.to_owned() }
    };
    let replaced: Vec<String> = config.lines().map(line).collect();
    assert_ne!(replaced.join("\n"), config.trim_end(), "{key} is replaced");
    replaced.join("\n")
}

/// The feed of the sandbox, with tokens from files instead.
fn with_files(config: &str) -> String {
    let other = ["tenant_service", "integration_name", "ca_file"];
    let line = |line: &str| !other.iter().any(|key| line.starts_with(key));
    let kept: Vec<&str> = config.lines().filter(|text| line(text)).collect();
    let files = "type = \"service-bus\"\nconnection_string_file = \"connection\"\nblob_urls_file = \"blobs\"\n\
                 reconnect_min = \"50ms\"\nreconnect_max = \"100ms\"";
    kept.join("\n").replacen("type = \"service-bus\"", files, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_bus_token_is_shown_nowhere_whatever_ends_the_connection() {
    // A broker that refuses it, one whose certificate nobody vouches for, one that speaks another language, and none.
    for way in ["refused", "tls", "not-amqp", "nobody"] {
        let world = world(|config| with_files(&config)).await;
        let (sas, key) = (canary("Sas"), canary("Key"));
        let echo = Echo::start().await;
        let port = |url: &str| url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let port = match way {
            "refused" => world.sandbox.broker().plain_address().map(|address| address.port()),
            "tls" => port(world.sandbox.authority().join("/").expect("an address").as_str()),
            "not-amqp" => port(&echo.base),
            _ => Some(9),
        };
        let token = format!("SharedAccessSignature sr=sb%3a%2f%2f127.0.0.1&sig={sas}&se=4000000000&skn=k");
        let plain = if way == "tls" { "" } else { ";UseDevelopmentEmulator=true" };
        let connection = format!(
            "Endpoint=sb://127.0.0.1:{};SharedAccessSignature={token};SharedAccessKey={key};EntityPath=fileexport/Subscriptions/longshore{plain}",
            port.expect("a port")
        );
        hold(&world, "connection", &connection);
        hold(&world, "blobs", &format!("https://acct.blob.core.windows.net/box?sv=1&sig={}", canary("Blob")));
        let daemon = world.start(&["run"]);
        told(&daemon, "not connected", TIMES).await;
        assert_hidden(&world, daemon, &[sas, key, canary("Blob")], &["certificates", "connection", "blobs"]).await;
    }
}

/// Whether a delivery has failed, and its error is written down.
fn is_tried(summary: &Summary) -> bool {
    summary.notices.quarantined > 0 || summary.routes.iter().any(|route| route.error.is_some())
}

/// Waits until the daemon has said `text` in its journal.
pub async fn told(daemon: &Daemon, text: &str, times: usize) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    let waiting = async {
        while daemon.log().matches(text).count() < times {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "{text:?} is not told:\n{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sinks_secret_is_shown_nowhere_whatever_the_receiver_answers() {
    for path in ["500", "403", "422", "redirect-301", "truncated", "418"] {
        let echo = Echo::start().await;
        let secret = canary("Sink");
        let sink = format!(
            "[[sink]]\nname = \"shop\"\ntype = \"http\"\nurl = \"{}/{path}\"\nbearer_file = \"bearer\"\n",
            echo.base
        );
        let mut world = world(|config| {
            format!("{}\n{sink}", config.replace("sinks = [\"files\"]", "sinks = [\"files\", \"shop\"]"))
        })
        .await;
        hold(&world, "bearer", &secret);
        world.publish(1, 2).await;
        let daemon = world.start(&["run"]);
        echo.asked(1, &daemon).await;
        world.wait("it is tried", is_tried).await;
        assert_hidden(&world, daemon, &[secret], &["certificates", "bearer"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_gets_no_secret_and_its_last_words_are_cut() {
    let script = "#!/bin/sh\nenv > \"$0.env\"\ntr '\\0' ' ' < /proc/self/cmdline >> \"$0.env\"\n\
                  echo \"Authorization: Bearer canaryChildZq7Xw90123456789abcdef sig=canaryChildZq7Xw90123456789abcdef\" >&2\nexit 1\n";
    let mut world = world(|config| {
        let sink = "[[sink]]\nname = \"script\"\ntype = \"command\"\ncommand = [\"/bin/sh\", \"FOLDER/script\"]\n";
        format!("{}\n{sink}", config.replace("sinks = [\"files\"]", "sinks = [\"script\"]"))
    })
    .await;
    let folder = world.folder().display().to_string();
    let config = std::fs::read_to_string(&world.config).expect("readable").replace("FOLDER", &folder);
    std::fs::write(&world.config, config).expect("written");
    std::fs::write(world.folder().join("script"), script).expect("written");
    world.publish(1, 2).await;
    let secret = canary("Environment");
    let daemon = start_with(&world, &[("LONGSHORE_CANARY", &secret), ("CREDENTIALS_DIRECTORY", "/nowhere")]);
    let environment = world.folder().join("script.env");
    world.wait("it is tried", is_tried).await;
    let text = std::fs::read_to_string(&environment).expect("the child ran");
    let names: BTreeSet<&str> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let ours = |name: &&str| name.starts_with("LONGSHORE_") || ["PATH", "PWD", "SHLVL", "OLDPWD", "_"].contains(name);
    assert_eq!(names.iter().filter(|name| !ours(name)).collect::<Vec<_>>(), [&""; 0], "{text}");
    let secrets = [secret, "canaryChildZq7Xw90123456789abcdef".to_owned()];
    assert_hidden(&world, daemon, &secrets, &["certificates", "script"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhooks_secret_is_shown_nowhere_whatever_is_posted() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let secret = canary("Hook");
    let feed = format!(
        "[[feed]]\nname = \"hook\"\ntype = \"webhook\"\nlisten = \"{address}\"\ncertificate_file = \"hook.pem\"\n\
         key_file = \"hook-key.pem\"\nsecret_file = \"secret\"\n"
    );
    let world = world(|config| format!("{config}\n{feed}")).await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(world.folder().join("hook.pem"), made.cert.pem()).expect("written");
    hold(&world, "hook-key.pem", &made.signing_key.serialize_pem());
    hold(&world, "secret", &format!("Bearer {secret}\n"));
    let daemon = world.start(&["run"]);
    told(&daemon, "serving health", 1).await;
    let ca = world.folder().join("hook.pem");
    let client = longshore::net::http_client(Some(&ca), longshore::net::HttpLimits::default()).expect("a client");
    let url = format!("https://localhost:{}", address.port());
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    let up = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, up).await.is_ok(), "it does not listen:\n{}", daemon.log());
    let bearer = format!("Bearer {secret}");
    // Wrong in the secret, the path, the method, the body; and right.
    for (path, authorization, body) in [
        ("/events", format!("{bearer}x"), "{}"),
        ("/events", bearer.to_uppercase(), "{}"),
        ("/elsewhere", bearer.clone(), "{}"),
        ("/events", bearer.clone(), "no json"),
        ("/events", bearer.clone(), "{\"event\":\"A\",\"eventId\":\"1\",\"payload\":{}}"),
    ] {
        let request = client.post(format!("{url}{path}")).header("Authorization", authorization).body(body);
        let answer = request.send().await.expect("an answer");
        let told = format!("{:?} {}", answer.headers().clone(), answer.text().await.expect("text"));
        assert!(!told.contains(&secret), "{told}");
    }
    let get = client.get(format!("{url}/events")).header("Authorization", &bearer).send().await.expect("an answer");
    assert!(!get.text().await.expect("text").contains(&secret));
    let key = made.signing_key.serialize_pem();
    let mut secrets: Vec<String> = key.lines().map(str::to_owned).filter(|line| line.len() > 40).collect();
    secrets.push(secret);
    assert_hidden(&world, daemon, &secrets, &["certificates", "secret", "hook-key.pem"]).await;
}

/// An FTP server that repeats the password in what it says to it.
async fn ftp(code: &'static str) -> (u16, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let logins = watch::Sender::new(0);
    let seen = logins.subscribe();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            let _ = write.write_all(b"220 here\r\n").await;
            while let Ok(Some(line)) = lines.next_line().await {
                let is_password = line.starts_with("PASS");
                let said = if is_password { format!("{code} not with {line}\r\n") } else { "331 go on\r\n".to_owned() };
                if write.write_all(said.as_bytes()).await.is_err() {
                    break;
                }
                if is_password {
                    logins.send_modify(|logins| *logins += 1);
                }
            }
        }
    });
    (port, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_shown_nowhere_whatever_the_server_says_to_it() {
    for code in ["530", "421", "500", "999"] {
        let (port, mut logins) = ftp(code).await;
        let feed = format!(
            "[[feed]]\nname = \"laid\"\ntype = \"drop\"\nsource = \"ftp://user@127.0.0.1:{port}/\"\n\
             password_file = \"password\"\npoll = \"1s\"\nspool = \"spool-laid\"\n"
        );
        let world = world(|config| format!("{config}\n{feed}")).await;
        let secret = canary("Password");
        hold(&world, "password", &format!("{secret}\n"));
        let daemon = world.start(&["run"]);
        let reached = logins.wait_for(|logins| *logins >= 1);
        assert!(tokio::time::timeout(LIMIT, reached).await.is_ok(), "nobody logs in:\n{}", daemon.log());
        let (_, said) = world.try_say(&["check", "--connect"]).await;
        assert!(!said.contains(&secret), "{code}: {said}");
        assert_hidden(&world, daemon, &[secret], &["certificates", "password"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_is_told_and_says_is_shown_nowhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = listener.local_addr().expect("bound");
    let visits = watch::Sender::new(0);
    let mut seen = visits.subscribe();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4_096];
            let count = stream.read(&mut head).await.unwrap_or_default();
            let said = String::from_utf8_lossy(&head[..count]).into_owned();
            let answer =
                format!("HTTP/1.1 407 no\r\nproxy-authenticate: Basic\r\ncontent-length: {}\r\n\r\n{said}", said.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            visits.send_modify(|visits| *visits += 1);
        }
    });
    // Loopback never goes through a proxy: an authority and a token service that are elsewhere.
    let world = world(|config| {
        let config = replace_key(&config, "authority", "https://login.canary.example/tenant");
        replace_key(&config, "tenant_service", "https://tenant.canary.example")
    })
    .await;
    let secret = canary("Proxy");
    let address = format!("http://user:{secret}@{proxy}");
    let daemon = start_with(&world, &[("HTTPS_PROXY", &address), ("NO_PROXY", "")]);
    let reached = seen.wait_for(|visits| *visits >= 1);
    assert!(tokio::time::timeout(LIMIT, reached).await.is_ok(), "nobody asks the proxy:\n{}", daemon.log());
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{secret}"));
    assert_hidden(&world, daemon, &[secret, encoded], &["certificates"]).await;
}
