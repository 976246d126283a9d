//! OpenSSH's SFTP server.

use crate::common::place::lay;
use crate::sshd::Sshd;
use crate::world::{World, day, two_days_are_delivered_and_moved};

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_on_an_sftp_server_is_delivered_and_moved_there() {
    let Some(sshd) = Sshd::start().await else { return };
    let world = World::new(&sshd.source(sshd.port), &sshd.keys("after = \"move\"\nmove_to = \"done\""));
    let checked = world.say(&["check", "--connect"]).await;
    assert!(checked.contains(&sshd.fingerprint), "{checked}");
    two_days_are_delivered_and_moved(&world, &sshd.drop("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_told_nothing_and_the_feed_stops() {
    let Some(sshd) = Sshd::start().await else { return };
    let wrong = sshd.keys("").replace(&sshd.fingerprint, &format!("SHA256:{}", "A".repeat(43)));
    let world = World::new(&sshd.source(sshd.port), &wrong);
    lay(&sshd.drop("day.zip"), day(1));
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success() && said.contains(&sshd.fingerprint), "{said}");
    let daemon = world.run();
    let is_told =
        |summary: &longshore::inbox::ledger::Summary| format!("{:?}", summary.daemons).contains("none of `host_keys`");
    world.wait("its health says so", is_told).await;
    let status = say_any(&world, &["status"]).await;
    assert!(status.contains("host key"), "{status}");
    daemon.stop().await;
    assert_eq!(world.notices().await, []);
}

async fn say_any(world: &World, args: &[&str]) -> String {
    world.try_say(args).await.1
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
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success() && said.contains("known_hosts"), "{said}");
    std::fs::write(&known, format!("[127.0.0.1]:{} {host}", sshd.port)).expect("written");
    let said = world.say(&["check", "--connect"]).await;
    assert!(said.contains("folder readable"), "{said}");
}
