//! What is closed to others: files, old TLS, and every way around the checks of certificates.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use longshore::net::{HttpLimits, http_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::world::{Daemon, LIMIT, World};

/// A ClientHello as browsers sent it before TLS 1.2; `minor` is 2 for TLS 1.1.
fn client_hello(minor: u8) -> Vec<u8> {
    let suites = [0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35];
    let mut body = vec![3, minor];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, suites.len() as u8]);
    body.extend_from_slice(&suites);
    body.extend_from_slice(&[1, 0]);
    let mut hello = vec![0x16, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend_from_slice(&body);
    hello
}

/// The ServerHello of one that knows nothing newer than TLS 1.1.
fn server_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0xc0, 0x13, 0]);
    let mut hello = vec![0x16, 3, 2, 0, body.len() as u8 + 4, 2, 0, 0, body.len() as u8];
    hello.extend_from_slice(&body);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_tls_1_1_gets_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a visit");
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.expect("a record");
        stream.write_all(&server_hello()).await.expect("sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    });
    let client = http_client(None, HttpLimits::default()).expect("a client");
    let error = client.get(format!("https://localhost:{port}/?sig=canary")).send().await.expect_err("refused");
    assert!(error.is_connect(), "{error:?}");
    let told = tokio::time::timeout(LIMIT, server).await.expect("in time").expect("no panic");
    // Behind the rest of our hello: an alert, protocol_version or illegal_parameter, and nothing else.
    assert!(told.ends_with(&[0x15, 3, 3, 0, 2, 2, 70]) || told.ends_with(&[0x15, 3, 3, 0, 2, 2, 47]), "{told:02x?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_speaks_tls_1_1_is_turned_away() {
    let address = free_address();
    let feed = format!(
        "[[feed]]\nname = \"hook\"\ntype = \"webhook\"\nlisten = \"{address}\"\ncertificate_file = \"hook.pem\"\n\
         key_file = \"hook-key.pem\"\nsecret_file = \"secret\"\n"
    );
    let world = World::new(&feed).await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(world.folder().join("hook.pem"), made.cert.pem()).expect("written");
    std::fs::write(world.folder().join("hook-key.pem"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(world.folder().join("secret"), "Bearer abc\n").expect("written");
    let daemon = world.start(&["run"]);
    for minor in [0, 1, 2] {
        let mut stream = connect(address, &daemon).await;
        stream.write_all(&client_hello(minor)).await.expect("sent");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "it is let go");
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert and no hello: {answer:02x?}");
        assert!(answer.len() < 20, "{answer:02x?}");
    }
    daemon.stop().await;
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

async fn connect(address: SocketAddr, daemon: &Daemon) -> TcpStream {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let connecting = async {
        loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                return stream;
            }
            tick.tick().await;
        }
    };
    let connected = tokio::time::timeout(LIMIT, connecting).await;
    connected.unwrap_or_else(|_| panic!("it does not listen:\n{}", daemon.log()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_keeps_is_its_own_whatever_the_umask() {
    let mut world = World::new("").await;
    let sandbox: Vec<_> = files(&world);
    world.publish(2, 5).await;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_longshore"), "--config"]);
    command.arg(&world.config).arg("run").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let daemon = Daemon::start(command, world.folder());
    world.wait_finished(2).await;
    let mut looked_at = 0;
    for path in files(&world) {
        let is_ours = !sandbox.contains(&path) && !path.starts_with(world.folder().join("delivered"));
        let is_log = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"));
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        if is_ours && !is_log && !found.is_dir() {
            assert_eq!(found.mode() & 0o077, 0, "{} has the mode {:o}", path.display(), found.mode());
            looked_at += 1;
        }
    }
    assert!(looked_at >= 3, "the database and its two companions at least");
    daemon.stop().await;
}

fn files(world: &World) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![world.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

#[test]
fn no_key_of_the_configuration_turns_a_check_off() {
    let example = include_str!("../../deploy/longshore.example.toml");
    let keys = example.lines().filter_map(|line| {
        let (key, _) = line.trim_start_matches(['#', '~', ' ']).split_once(" = ")?;
        key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()).then_some(key)
    });
    let keys: Vec<&str> = keys.collect();
    assert!(keys.len() > 100, "{} keys", keys.len());
    // `plain_text` lets a drop be fetched by FTP without TLS, where there is no certificate to check.
    for word in
        ["insecure", "verify", "skip", "danger", "unsafe", "trust_all", "self_signed", "tls", "check_cert", "ciphers"]
    {
        assert!(!keys.iter().any(|key| key.contains(word)), "a key with {word:?} in it");
    }
    let bans = include_str!("../../clippy.toml");
    for call in ["tls_danger_accept_invalid_certs", "tls_danger_accept_invalid_hostnames", "ClientConfig::dangerous"] {
        assert!(bans.contains(call), "{call} is banned");
    }
}
