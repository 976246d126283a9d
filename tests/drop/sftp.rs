//! OpenSSH's SFTP server.

use crate::sshd::Sshd;
use crate::world::{World, day, lay, say, try_say, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_on_an_sftp_server_is_delivered_and_moved_there() {
    let Some(sshd) = Sshd::start().await else { return };
    let world = World::new(&sshd.source(sshd.port), &sshd.keys("after = \"move\"\nmove_to = \"done\""));
    let checked = say(&world.config, &["check", "--connect"]).await;
    assert!(checked.contains(&sshd.fingerprint), "{checked}");
    lay(&sshd.drop("Client ID_ 02012022.zip"), &day(1));
    let daemon = world.start();
    world.wait_finished(2).await;
    until("it is moved", || sshd.drop("done/Client ID_ 02012022.zip").exists()).await;
    // The same name with other content: a new version, and what was moved before stays.
    lay(&sshd.drop("Client ID_ 02012022.zip"), &day(2));
    world.wait_finished(4).await;
    until("it is moved", || std::fs::read_dir(sshd.drop("done")).expect("a folder").count() == 2).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_told_nothing_and_the_feed_stops() {
    let Some(sshd) = Sshd::start().await else { return };
    let wrong = sshd.keys("").replace(&sshd.fingerprint, &format!("SHA256:{}", "A".repeat(43)));
    let world = World::new(&sshd.source(sshd.port), &wrong);
    lay(&sshd.drop("day.zip"), &day(1));
    let (status, said) = try_say(&world.config, &["check", "--connect"]).await;
    assert!(!status.success() && said.contains(&sshd.fingerprint), "{said}");
    let daemon = world.start();
    let is_told =
        |summary: &longshore::inbox::ledger::Summary| format!("{:?}", summary.daemons).contains("none of `host_keys`");
    world.wait("its health says so", is_told).await;
    let status = say_any(&world, &["status"]).await;
    assert!(status.contains("host key"), "{status}");
    daemon.stop().await;
    assert_eq!(world.notices().await, []);
}

async fn say_any(world: &World, args: &[&str]) -> String {
    try_say(&world.config, args).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_known_by_a_file_as_openssh_keeps_it() {
    let Some(sshd) = Sshd::start().await else { return };
    let host = std::fs::read_to_string(sshd.path("host.pub")).expect("a key");
    let other = std::fs::read_to_string(sshd.path("other.pub")).expect("a key");
    let key = sshd.path("user").display().to_string();
    let world = World::new(&sshd.source(sshd.port), &format!("key_file = {key:?}\nknown_hosts = \"known_hosts\"\n"));
    let known = world.path("known_hosts");
    std::fs::write(&known, format!("[127.0.0.1]:{} {other}", sshd.port)).expect("written");
    let (status, said) = try_say(&world.config, &["check", "--connect"]).await;
    assert!(!status.success() && said.contains("known_hosts"), "{said}");
    std::fs::write(&known, format!("[127.0.0.1]:{} {host}", sshd.port)).expect("written");
    let said = say(&world.config, &["check", "--connect"]).await;
    assert!(said.contains("folder readable"), "{said}");
}
