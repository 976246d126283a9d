//! What is closed to others: files, old TLS, and every way around the checks of certificates.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::common::net::client;
use crate::common::process::{Daemon, PROGRAM};
use crate::common::vendor::World;
use crate::common::wait::in_time;
use crate::hook::Hook;

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
    let error = client().get(format!("https://localhost:{port}/?sig=canary")).send().await.expect_err("refused");
    assert!(error.is_connect(), "{error:?}");
    let told = in_time("the server is left", server).await.expect("no panic");
    // Behind the rest of our hello: an alert, protocol_version or illegal_parameter, and nothing else.
    assert!(told.ends_with(&[0x15, 3, 3, 0, 2, 2, 70]) || told.ends_with(&[0x15, 3, 3, 0, 2, 2, 47]), "{told:02x?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_speaks_tls_1_1_is_turned_away() {
    let hook = Hook::new();
    let world = World::new(&hook.feed()).await;
    hook.hold(&world, "abc");
    let daemon = world.run();
    daemon.listens(hook.address).await;
    for minor in [0, 1, 2] {
        let mut stream = TcpStream::connect(hook.address).await.expect("it listens");
        stream.write_all(&client_hello(minor)).await.expect("sent");
        let mut answer = Vec::new();
        drop(daemon.in_time("it is let go", stream.read_to_end(&mut answer)).await);
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert and no hello: {answer:02x?}");
        assert!(answer.len() < 20, "{answer:02x?}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_keeps_is_its_own_whatever_the_umask() {
    let mut world = World::new("").await;
    let sandbox: Vec<_> = files(&world);
    world.publish(2, 5).await;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", PROGRAM, "--config"]);
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
