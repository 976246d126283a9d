//! pyftpdlib's FTP server, in plain text and over TLS.

use std::path::{Path, PathBuf};

use crate::common::net;
use crate::common::python::Script;
use crate::world::{World, two_days_are_delivered_and_moved};

pub struct Server {
    pub port: u16,
    folder: tempfile::TempDir,
    _script: Script,
}

impl Server {
    pub async fn start(certificate: Option<&Path>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<_> = [folder.path()].into_iter().chain(certificate).map(Path::as_os_str).collect();
        let script = Script::start("python_ftp.py", "pyftpdlib", &arguments).await?;
        Some(Self { port: script.first.parse().expect("a port"), folder, _script: script })
    }

    pub fn drop(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Writes a certificate with its key, and returns where they lie together, and the certificate alone.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = net::certificate();
    let (both, alone) = (folder.join("both.pem"), folder.join("alone.pem"));
    std::fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem()).expect("written");
    std::fs::write(&alone, made.cert.pem()).expect("written");
    (both, alone)
}

async fn a_zip_is_delivered(server: &Server, scheme: &str, keys: &str) {
    let source = format!("{scheme}://longshore@localhost:{}/", server.port);
    let world = World::of_folder("");
    world.write("password", "secret\n");
    let keys = format!("password_file = \"password\"\nafter = \"move\"\nmove_to = \"done\"\n{keys}");
    world.configure(&source, &keys);
    let checked = world.say(&["check", "--connect"]).await;
    assert!(checked.contains("folder readable"), "{checked}");
    two_days_are_delivered_and_moved(&world, &server.drop("")).await;
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
    world.write("password", "wrong\n");
    world.configure(&format!("ftp://longshore@127.0.0.1:{}/", server.port), "password_file = \"password\"\n");
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    let file = world.path("password").display().to_string();
    let expected = ["the server does not let \"longshore\" in", &format!("look whether {file} holds its password")];
    assert!(!status.success() && expected.iter().all(|part| said.contains(part)), "{said}");
}
