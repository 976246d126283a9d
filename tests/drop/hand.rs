//! A drop looked at and taken from by hand, as a user does it: with the real program, beside its daemon and alone, in a folder
//! here, on OpenSSH's SFTP server, pyftpdlib's FTP server and in moto's S3.

use serde_json::{Value, json};

use crate::common::place::lay;
use crate::common::wait::{until, until_async};
use crate::ftp;
use crate::sshd::Sshd;
use crate::world::{World, day};

const ZIP: &str = "Client ID_ 02012022.zip";

async fn list(world: &World) -> Value {
    world.json(&["feed", "list", "netcore"]).await[0].take()
}

async fn fetch(world: &World, name: &str) -> Value {
    world.json(&["feed", "fetch", "netcore", name]).await
}

/// The exit code, and what was said.
async fn refused(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let (status, said) = world.try_say(args).await;
    assert!(!status.success(), "{args:?} is refused: {said}");
    (status.code(), said)
}

/// What is told of a file that lies there.
fn of<'v>(listed: &'v Value, name: &str) -> &'v Value {
    let objects = listed["objects"].as_array().expect("files");
    objects.iter().find(|file| file["path"] == name).unwrap_or_else(|| panic!("no {name} in {listed:#}"))
}

/// Looks at a place with one good file, one half file and one that is being written, and takes the good one by hand.
async fn a_place_is_looked_at_and_taken_from(world: &World, put: impl AsyncFn(&str, Vec<u8>)) {
    let half = day(2)[..100_000].to_vec();
    put(ZIP, day(1)).await;
    put("half.zip", half).await;
    put("next.zip.part", b"x".to_vec()).await;
    let listed = list(world).await;
    assert_eq!(of(&listed, "next.zip.part")["state"], "ignored");
    assert_eq!((&of(&listed, ZIP)["notices"], &of(&listed, ZIP)["bytes"]), (&json!([]), &json!(day(1).len())));
    let fetched = fetch(world, ZIP).await;
    assert_eq!((&fetched["outcome"], fetched["notices"].as_array().map(Vec::len)), (&json!("taken"), Some(2)));
    let (code, said) = refused(world, &["feed", "fetch", "netcore", ZIP]).await;
    assert!(code == Some(65) && said.contains("1 to 2") && said.contains("--again"), "{code:?} {said}");
    let (code, said) = refused(world, &["feed", "fetch", "netcore", "half.zip"]).await;
    assert!(code == Some(75) && said.contains("not complete"), "{code:?} {said}");
    let (code, said) = refused(world, &["feed", "fetch", "netcore", "nothing.zip"]).await;
    assert!(code == Some(64) && said.contains("has no file"), "{code:?} {said}");
    // The daemon delivers it, takes no second one, and tells what the half one is.
    let daemon = world.run();
    world.wait_finished(2).await;
    until_async("what is half is told", async || {
        of(&list(world).await, "half.zip")["why"].to_string().contains("directory")
    })
    .await;
    daemon.stop().await;
    world.assert_each_once([1]);
    let listed = list(world).await;
    let finished = json!([{"notice": 1, "state": "finished"}, {"notice": 2, "state": "finished"}]);
    assert_eq!((&of(&listed, ZIP)["state"], &of(&listed, ZIP)["notices"]), (&json!("taken"), &finished));
    assert_eq!(of(&listed, "half.zip")["state"], "incomplete");
    assert_eq!(world.notices().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_looked_at_and_taken_from_by_hand() {
    let world = World::of_folder("");
    a_place_is_looked_at_and_taken_from(&world, async |name, content| lay(&world.drop(name), content)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sftp_server_is_looked_at_and_taken_from_by_hand() {
    let Some(sshd) = Sshd::start().await else { return };
    let world = World::new(&sshd.source(sshd.port), &sshd.keys(""));
    a_place_is_looked_at_and_taken_from(&world, async |name, content| lay(&sshd.drop(name), content)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ftp_server_is_looked_at_and_taken_from_by_hand() {
    let Some(server) = ftp::Server::start(None).await else { return };
    let world = World::of_folder("");
    std::fs::write(world.path("password"), "secret\n").expect("written");
    let source = format!("ftp://longshore@127.0.0.1:{}/", server.port);
    world.configure(&source, "password_file = \"password\"\n");
    a_place_is_looked_at_and_taken_from(&world, async |name, content| lay(&server.drop(name), content)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_s3_is_looked_at_and_taken_from_by_hand() {
    let Some(server) = crate::servers::Server::s3().await else { return };
    let world = crate::s3::world(&server.base, "");
    a_place_is_looked_at_and_taken_from(&world, async |name, content| crate::s3::put(&server, name, content).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_taken_by_hand_beside_a_busy_daemon_are_delivered_once_and_moved() {
    const DAYS: u32 = 12;
    let world = World::of_folder("after = \"move\"\nmove_to = \"done\"");
    let name = |n: u32| format!("day {n}.zip");
    let daemon = world.run();
    for n in 0..DAYS {
        lay(&world.drop(&name(n)), day(n));
    }
    // Several at once, from the last on: the daemon begins with the first.
    let taken = futures::future::join_all((0..DAYS).rev().map(async |n| {
        let (status, said) = world.try_say(&["feed", "fetch", "netcore", &name(n)]).await;
        // Taken by hand, taken by the daemon meanwhile, or gone before it was looked at.
        assert!(status.success() || matches!(status.code(), Some(64 | 75)), "{status}: {said}");
        status.success()
    }));
    taken.await;
    world.wait_finished(u64::from(2 * DAYS)).await;
    until("all are moved", || (0..DAYS).all(|n| !world.drop(&name(n)).exists())).await;
    let log = daemon.stop().await;
    assert!(!log.contains("WARN"), "nothing is trouble: {log}");
    assert_eq!(world.notices().await.len(), 2 * DAYS as usize);
    assert!(world.notices().await.iter().all(|notice| notice.seen_count == 1));
    world.assert_each_once(0..DAYS);
    assert_eq!(std::fs::read_dir(world.drop("done")).expect("a folder").count(), DAYS as usize);
    let listed = list(&world).await;
    assert_eq!((&listed["objects"], listed["gone"].as_array().map(Vec::len)), (&json!([]), Some(10)));
    let all = world.say(&["feed", "list", "netcore", "--gone", "100"]).await;
    assert!(all.contains("taken, and there no more  12 files"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_told_with_what_to_do() {
    let Some(sshd) = Sshd::start().await else { return };
    let world = World::new(&sshd.source(sshd.port), &sshd.keys(""));
    let (code, said) = refused(&world, &["feed", "list", "other"]).await;
    assert!(code == Some(64) && said.contains("there is no feed \"other\"") && said.contains("netcore"), "{said}");
    let (code, said) = refused(&world, &["feed", "list", "netcore", "--days", "3"]).await;
    assert!(code == Some(64) && said.contains("is a drop"), "{said}");
    let empty = world.say(&["feed", "list", "netcore"]).await;
    assert_eq!(empty, "nothing lies there\n");
    let wrong = sshd.keys("").replace(&sshd.fingerprint, &format!("SHA256:{}", "A".repeat(43)));
    world.configure(&sshd.source(sshd.port), &wrong);
    let (code, said) = refused(&world, &["feed", "list", "netcore"]).await;
    assert!(code == Some(78) && said.contains(&sshd.fingerprint), "{said}");
    // A port that nobody listens on.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    world.configure(&sshd.source(nobody.port()), &sshd.keys(""));
    for args in [&["feed", "list", "netcore"][..], &["feed", "fetch", "netcore", ZIP]] {
        let (code, said) = refused(&world, args).await;
        assert!(code == Some(69) && said.contains("connecting"), "{code:?} {said}");
    }
    assert!(!world.path("spool").join("netcore/taken").exists(), "nothing was begun");
}
