//! A disk that is full, read-only, or does not keep what it is given.

use crate::common::disk::Mounted;
use crate::common::peers::leave_out;
use crate::tools::{Failing, Watched};

const DISK_BYTES: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_it_stops_hearing_says_so_and_goes_on_by_itself() {
    let Some(disk) = Mounted::tmpfs(DISK_BYTES) else { return };
    let mut watched = Watched::new(Some(disk.path()), "[work]\nretry_min = \"100ms\"\n").await;
    watched.world.publish(2, 20).await;
    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(2).await;
    watched.wait_settled(2).await;

    let filler = disk.fill();
    watched.world.publish(3, 20).await;
    watched.wait_degraded(&daemon, "no room left for the inbox").await;
    let status = watched.world.say(&["status"]).await;
    assert!(status.contains("no room left for the inbox"), "the status asks the daemon itself:\n{status}");
    let state = format!("{:?}", watched.world.sandbox.state().broker);
    assert!(state.contains("completed: 2"), "nothing is settled that is not stored: {state}");
    let listed = watched.world.say(&["notices", "--json"]).await;
    assert_eq!(listed.matches("\"finished\"").count(), 2, "what it has can be looked at: {listed}");

    std::fs::remove_file(filler).expect("room again");
    watched.world.wait_finished(5).await;
    watched.wait_settled(5).await;
    watched.wait_good(&daemon).await;
    let log = daemon.stop().await;
    assert!(log.contains("no room left for the inbox"), "{log}");
    watched.world.assert_each_record_once();
    watched.world.say(&["audit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_that_fails_settles_nothing_and_is_said() {
    failing_calls("fsync,fdatasync", "EIO", "fsync failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_settles_nothing_and_is_said() {
    failing_calls("pwrite64,ftruncate", "EROFS", "did not answer").await;
}

async fn failing_calls(calls: &str, error: &str, said: &str) {
    let mut watched = Watched::new(None, "[work]\nretry_min = \"100ms\"\n").await;
    watched.world.publish(2, 20).await;
    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(2).await;
    watched.wait_settled(2).await;

    let Some(failing) = Failing::start(&daemon, calls, error).await else {
        daemon.stop().await;
        return leave_out("strace is not installed or may not trace");
    };
    watched.world.publish(3, 20).await;
    watched.wait_degraded(&daemon, said).await;
    let state = format!("{:?}", watched.world.sandbox.state().broker);
    assert!(state.contains("completed: 2"), "nothing is settled that is not on disk: {state}");

    failing.end().await;
    watched.world.wait_finished(5).await;
    watched.wait_settled(5).await;
    watched.wait_good(&daemon).await;
    let log = daemon.stop().await;
    assert!(!log.contains("panicked"), "{log}");
    watched.world.assert_each_record_once();
    watched.world.say(&["audit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_it_does_not_start_and_says_why() {
    let Some(disk) = Mounted::tmpfs(DISK_BYTES) else { return };
    let watched = Watched::new(Some(disk.path()), "").await;
    watched.world.say(&["work", "--until-empty"]).await;
    disk.make_read_only();
    let (status, said) = watched.world.start(&["run"]).end().await;
    assert_eq!(status.code(), Some(74), "{said}");
    let path = disk.path().display().to_string();
    assert!(said.contains(&path) && said.contains("read-only"), "it names the file and the reason:\n{said}");
    assert!(!said.contains("panicked"), "{said}");
}
