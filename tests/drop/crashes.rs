//! `kill -9` wherever it hurts.

use crate::common::place::lay;
use crate::proxy::Proxy;
use crate::sshd::Sshd;
use crate::world::{World, day};

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_at_any_moment_loses_nothing_and_doubles_nothing() {
    let world = World::of_folder("after = \"delete\"\n");
    for round in 0..4 {
        for n in 0..3 {
            lay(&world.drop(&format!("day {round}.{n}.zip")), day(round * 3 + n));
        }
        let daemon = world.run();
        // Between the first commit of a round and its last, all else differs from round to round.
        let heard = |summary: &longshore::inbox::ledger::Summary| {
            let counts = summary.notices;
            counts.heard + counts.open + counts.finished > u64::from(round) * 6
        };
        world.wait("more are heard", heard).await;
        daemon.kill().await;
    }
    let daemon = world.run();
    world.wait_finished(24).await;
    daemon
        .until("every file is settled", || std::fs::read_dir(world.path("drop")).expect("a folder").count() == 0)
        .await;
    // The lives before may have done it all, and a TERM before the daemon listens for one just ends it.
    daemon.says("started").await;
    daemon.stop().await;
    world.assert_each_once(0..12);
    assert_eq!(world.notices().await.len(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_between_the_commit_and_its_settling_settles_later_without_taking_again() {
    let world = World::of_folder("files = [\"*.zip\"]\nafter = \"move\"\nmove_to = \"done\"\n");
    // A file stands where the folder is to be: nothing can be moved.
    std::fs::write(world.drop("done"), b"").expect("written");
    lay(&world.drop("day.zip"), day(1));
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.says("done").await;
    daemon.kill().await;
    assert!(world.drop("day.zip").exists());
    std::fs::remove_file(world.drop("done")).expect("removed");
    let daemon = world.run();
    daemon.until("it is moved", || world.drop("done/day.zip").exists()).await;
    daemon.stop().await;
    world.assert_each_once([1]);
    assert!(world.notices().await.iter().all(|notice| notice.seen_count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_in_the_middle_of_a_copy_leaves_nothing_half() {
    let Some(sshd) = Sshd::start().await else { return };
    let proxy = Proxy::start(sshd.port);
    let world = World::new(&sshd.source(proxy.port), &sshd.keys("after = \"delete\""));
    lay(&sshd.drop("day.zip"), day(1));
    proxy.hold_after(100_000);
    let daemon = world.run();
    proxy.held().await;
    assert_eq!(world.notices().await, []);
    daemon.kill().await;
    proxy.let_go();
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.until("it is deleted", || !sshd.drop("day.zip").exists()).await;
    daemon.stop().await;
    world.assert_each_once([1]);
    let drafts = std::fs::read_dir(world.path("spool/netcore")).expect("the spool");
    assert!(
        !drafts.into_iter().any(|entry| entry.expect("an entry").file_name().to_string_lossy().starts_with("draft"))
    );
}
