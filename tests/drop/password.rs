//! An SFTP server that lets in by a password: asyncssh's, since OpenSSH's own looks at the machine's users.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::servers::{package, peers};
use crate::world::{LIMIT, World, day, lay, say, try_say, until};

struct Server {
    port: u16,
    fingerprint: String,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Server {
    async fn start(manner: &str) -> Option<Self> {
        let python = peers::peer("venv/bin/python")?;
        package("asyncssh")?;
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python_sftp.py"))
            .arg(folder.path())
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
        // A full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { port, fingerprint, folder, _child: child })
    }

    fn drop(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A world whose feed knows it, and logs in with this password.
    fn world(&self, password: &str) -> World {
        let world = World::of_folder("");
        std::fs::write(world.path("password"), password).expect("written");
        let keys = format!(
            "password_file = \"password\"\nhost_keys = [{:?}]\nafter = \"move\"\nmove_to = \"done\"\n",
            self.fingerprint
        );
        world.configure(&format!("sftp://longshore@127.0.0.1:{}/", self.port), &keys);
        world
    }
}

async fn a_zip_is_delivered(manner: &str) {
    let Some(server) = Server::start(manner).await else { return };
    let world = server.world("secret\n");
    let checked = say(&world.config, &["check", "--connect"]).await;
    assert!(checked.contains("folder readable") && checked.contains(&server.fingerprint), "{checked}");
    lay(&server.drop("Client ID_ 02012022.zip"), &day(1));
    let daemon = world.start();
    world.wait_finished(2).await;
    until("it is moved", || server.drop("done/Client ID_ 02012022.zip").exists()).await;
    daemon.stop().await;
    world.assert_each_once([1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_behind_a_password_is_delivered_and_moved_there() {
    a_zip_is_delivered("password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_the_password_is_answered() {
    a_zip_is_delivered("questions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_its_file_and_the_right_one_is_taken_up_without_a_restart() {
    for manner in ["password", "questions"] {
        let Some(server) = Server::start(manner).await else { return };
        let world = server.world("wrong\n");
        lay(&server.drop("day.zip"), &day(1));
        let file = world.path("password").display().to_string();
        let expected =
            ["the server does not let \"longshore\" in", &format!("look whether {file} holds what it expects")];
        let (status, said) = try_say(&world.config, &["check", "--connect"]).await;
        assert!(!status.success() && expected.iter().all(|part| said.contains(part)), "{said}");
        let daemon = world.start();
        until("the daemon says so", || expected.iter().all(|part| daemon.log().contains(part))).await;
        std::fs::write(world.path("password"), "secret\n").expect("written");
        world.wait_finished(2).await;
        daemon.stop().await;
        world.assert_each_once([1]);
    }
}
