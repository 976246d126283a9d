//! What `longshore check --connect` says of ways that are closed: what is wrong, and once what to do.

use std::path::Path;

use crate::ftp;
use crate::sshd::Sshd;
use crate::world::World;

/// What is said of a feed with this source and these keys holds `wrong` and `remedy`, each once.
async fn is_told(world: &World, source: &str, keys: &str, wrong: &str, remedy: &str) {
    world.configure(source, keys);
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success(), "{said}");
    for part in [wrong, remedy] {
        assert_eq!(said.matches(part).count(), 1, "{part:?} in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_that_an_sftp_server_closes_is_told_with_what_to_do() {
    let Some(sshd) = Sshd::start().await else { return };
    let world = World::of_folder("");
    let source = sshd.source(sshd.port);
    let key = |name: &str| sshd.keys("").replace("/user\"", &format!("/{name}\""));
    is_told(
        &world,
        &format!("{source}/not"),
        &sshd.keys(""),
        "there is no such folder",
        "look at the folder in `source`",
    )
    .await;
    is_told(&world, &source, &key("other"), "does not let", "`ssh-keygen -y -f ").await;
    is_told(&world, &source, &key("user.pub"), "it is no private key", "beside the one that ends in .pub").await;
    let known = |line: &str| {
        world.write("known", format!("{line}\n"));
        let user = sshd.path("user").display().to_string();
        format!("key_file = {user:?}\nknown_hosts = \"known\"\n")
    };
    let other = std::fs::read_to_string(sshd.path("other.pub")).expect("a key");
    let remedy = "ask the server's owner for its key";
    is_told(&world, &source, &known("# none"), "knows no key of 127.0.0.1, port", remedy).await;
    let line = format!("[127.0.0.1]:{} {}", sshd.port, other.trim());
    is_told(&world, &source, &known(&line), "knows it by another", remedy).await;
    let missing = known("").replace("\"known\"", "\"nowhere\"");
    is_told(&world, &source, &missing, "`feed.known_hosts` names a file", "it must be there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_that_an_ftp_server_closes_is_told_with_what_to_do() {
    let world = World::of_folder("");
    world.hold("password", "secret\n");
    let (both, alone) = ftp::certificate(world.path("").as_path());
    let Some(plain) = ftp::Server::start(None).await else { return };
    let Some(secure) = ftp::Server::start(Some(Path::new(&both))).await else { return };
    let keys = "password_file = \"password\"\n";
    let trusting = format!("{keys}ca_file = {:?}\n", alone.display().to_string());
    let of = |scheme: &str, host: &str, port: u16, folder: &str| format!("{scheme}://longshore@{host}:{port}/{folder}");
    let gone = of("ftp", "localhost", plain.port, "not");
    is_told(&world, &gone, keys, "there is no such folder", "look at the folder in `source`").await;
    let no_tls = of("ftps", "localhost", plain.port, "");
    is_told(&world, &no_tls, &trusting, "/~: TLS: the server answers 5", "the server offers no TLS").await;
    let certificate = "the server's certificate has to be made out to the host";
    let untrusted = of("ftps", "localhost", secure.port, "");
    is_told(&world, &untrusted, keys, "/~: TLS: invalid peer certificate", certificate).await;
    let must_tls = of("ftp", "localhost", secure.port, "");
    is_told(&world, &must_tls, keys, "logging in: the server answers 550", "look at `source` of the feed").await;
}
