//! The secrets of drops: a password on SFTP, the keys of a bucket in S3.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::canary::{Echo, assert_hidden, canary, hold, told, world};
use crate::world::LIMIT;

#[path = "../common/peers.rs"]
mod peers;

/// asyncssh's server, which says each password that it refuses to whoever listens.
struct Server {
    port: u16,
    fingerprint: String,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Server {
    async fn start(folder: &std::path::Path, manner: &str) -> Option<Self> {
        let python = peers::peer("venv/bin/python")?;
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python_sftp.py"))
            .arg(folder)
            .arg(manner)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("in time").expect("readable");
        let line = line.expect("it listens");
        let (port, fingerprint) = line.split_once(' ').expect("a port and a fingerprint");
        let (port, fingerprint) = (port.parse().expect("a port"), fingerprint.to_owned());
        Some(Self { port, fingerprint, lines, _child: child })
    }

    /// Waits until a password was shown to it.
    async fn asked(&mut self) {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await.expect("in time").expect("readable");
        assert_eq!(line.as_deref(), Some("asked"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sftp_password_is_shown_nowhere_whatever_the_server_says_to_it() {
    for manner in ["repeat", "disconnect"] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(mut server) = Server::start(folder.path(), manner).await else { return };
        let feed = format!(
            "[[feed]]\nname = \"laid\"\ntype = \"drop\"\nsource = \"sftp://user@127.0.0.1:{}/\"\n\
             password_file = \"password\"\nhost_keys = [{:?}]\npoll = \"1s\"\nspool = \"spool-laid\"\n",
            server.port, server.fingerprint
        );
        let world = world(|config| format!("{config}\n{feed}")).await;
        let secret = canary("Password");
        hold(&world, "password", &format!("{secret}\n"));
        let daemon = world.start(&["run"]);
        server.asked().await;
        told(&daemon, "trying again", 1).await;
        let (_, said) = world.try_say(&["check", "--connect"]).await;
        assert!(said.contains("source reached") && !said.contains(&secret), "{manner}: {said}");
        assert_hidden(&world, daemon, &[secret], &["certificates", "password"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buckets_keys_are_shown_nowhere_whatever_the_store_answers() {
    for path in ["200", "403", "500", "redirect-307", "truncated"] {
        let echo = Echo::start().await;
        let feed = format!(
            "[[feed]]\nname = \"laid\"\ntype = \"drop\"\nsource = \"s3://{path}/in\"\nregion = \"eu-north-1\"\n\
             path_style = true\nendpoint = \"{}\"\naccess_key_file = \"id\"\nsecret_key_file = \"secret\"\n\
             poll = \"1s\"\nspool = \"spool-laid\"\n",
            echo.base
        );
        let world = world(|config| format!("{config}\n{feed}")).await;
        let secret = canary("Secret");
        hold(&world, "id", "AKIAEXAMPLE\n");
        hold(&world, "secret", &format!("{secret}\n"));
        let daemon = world.start(&["run"]);
        echo.asked(1, &daemon).await;
        told(&daemon, "trying again", 1).await;
        let (_, said) = world.try_say(&["check", "--connect"]).await;
        // What was signed is good for this very request, for minutes; it is shown to nobody all the same.
        let mut secrets = echo.secrets();
        assert!(!secrets.is_empty(), "{path}: nothing was signed");
        secrets.push(secret);
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{path}: {said}");
        assert_hidden(&world, daemon, &secrets, &["certificates", "id", "secret"]).await;
    }
}
