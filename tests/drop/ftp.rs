//! pyftpdlib's FTP server, in plain text and over TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::servers::{package, peers};
use crate::world::{LIMIT, World, day, lay, say, try_say, until};

pub struct Server {
    pub port: u16,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Server {
    pub async fn start(certificate: Option<&Path>) -> Option<Self> {
        let python = peers::peer("venv/bin/python")?;
        package("pyftpdlib")?;
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/python_ftp.py"))
            .arg(folder.path())
            .args(certificate)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("in time").expect("readable");
        let port = port.expect("it listens").parse().expect("a port");
        Some(Self { port, folder, _child: child })
    }

    pub fn drop(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Writes a certificate for `localhost` with its key, and returns where they lie together, and the certificate alone.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (both, alone) = (folder.join("both.pem"), folder.join("alone.pem"));
    std::fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem()).expect("written");
    std::fs::write(&alone, made.cert.pem()).expect("written");
    (both, alone)
}

async fn a_zip_is_delivered(server: &Server, scheme: &str, keys: &str) {
    let source = format!("{scheme}://longshore@localhost:{}/", server.port);
    let world = World::of_folder("");
    std::fs::write(world.path("password"), "secret\n").expect("written");
    let keys = format!("password_file = \"password\"\nafter = \"move\"\nmove_to = \"done\"\n{keys}");
    world.configure(&source, &keys);
    let checked = say(&world.config, &["check", "--connect"]).await;
    assert!(checked.contains("folder readable"), "{checked}");
    lay(&server.drop("Client ID_ 02012022.zip"), &day(1));
    let daemon = world.start();
    world.wait_finished(2).await;
    until("it is moved", || server.drop("done/Client ID_ 02012022.zip").exists()).await;
    lay(&server.drop("Client ID_ 02012022.zip"), &day(2));
    world.wait_finished(4).await;
    until("it is moved", || std::fs::read_dir(server.drop("done")).expect("a folder").count() == 2).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_on_an_ftp_server_is_delivered_and_moved_there() {
    let Some(server) = Server::start(None).await else { return };
    a_zip_is_delivered(&server, "ftp", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_on_an_ftp_server_over_tls_is_delivered_and_moved_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (both, alone) = certificate(folder.path());
    let Some(server) = Server::start(Some(&both)).await else { return };
    a_zip_is_delivered(&server, "ftps", &format!("ca_file = {:?}", alone.display().to_string())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_its_file() {
    let Some(server) = Server::start(None).await else { return };
    let world = World::of_folder("");
    std::fs::write(world.path("password"), "wrong\n").expect("written");
    world.configure(&format!("ftp://longshore@127.0.0.1:{}/", server.port), "password_file = \"password\"\n");
    let (status, said) = try_say(&world.config, &["check", "--connect"]).await;
    let file = world.path("password").display().to_string();
    let expected = ["the server does not let \"longshore\" in", &format!("look whether {file} holds its password")];
    assert!(!status.success() && expected.iter().all(|part| said.contains(part)), "{said}");
}
