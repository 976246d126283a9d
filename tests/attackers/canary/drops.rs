//! The secrets of drops: a password on FTP and SFTP, the keys of a bucket in S3.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::echo::Echo;
use super::{assert_hidden, canary, world};
use crate::common::python::Sftp;

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
        world.hold("password", &format!("{secret}\n"));
        let daemon = world.run();
        let reached = logins.wait_for(|logins| *logins >= 1);
        drop(daemon.in_time("somebody logs in", reached).await);
        let (_, said) = world.try_say(&["check", "--connect"]).await;
        assert!(!said.contains(&secret), "{code}: {said}");
        assert_hidden(&world, daemon, &[secret], &["certificates", "password"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sftp_password_is_shown_nowhere_whatever_the_server_says_to_it() {
    for manner in ["repeat", "disconnect"] {
        let Some(server) = Sftp::start(manner).await else { return };
        let feed = format!(
            "[[feed]]\nname = \"laid\"\ntype = \"drop\"\nsource = \"sftp://user@127.0.0.1:{}/\"\n\
             password_file = \"password\"\nhost_keys = [{:?}]\npoll = \"1s\"\nspool = \"spool-laid\"\n",
            server.port, server.fingerprint
        );
        let world = world(|config| format!("{config}\n{feed}")).await;
        let secret = canary("Password");
        world.hold("password", &format!("{secret}\n"));
        let daemon = world.run();
        server.asked().await;
        daemon.says("trying again").await;
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
        world.hold("id", "AKIAEXAMPLE\n");
        world.hold("secret", &format!("{secret}\n"));
        let daemon = world.run();
        echo.asked(1, &daemon).await;
        daemon.says("trying again").await;
        let (_, said) = world.try_say(&["check", "--connect"]).await;
        // What was signed is good for this very request, for minutes; it is shown to nobody all the same.
        let mut secrets = echo.secrets();
        assert!(!secrets.is_empty(), "{path}: nothing was signed");
        secrets.push(secret);
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{path}: {said}");
        assert_hidden(&world, daemon, &secrets, &["certificates", "id", "secret"]).await;
    }
}
