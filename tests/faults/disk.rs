//! A disk that is full, read-only, or does not keep what it is given.

use std::os::unix::fs::FileExt as _;

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

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_with_a_log_that_was_left_behind_it_does_not_start_either_and_can_be_looked_at() {
    let Some(disk) = Mounted::tmpfs(DISK_BYTES) else { return };
    let mut watched = Watched::new(Some(disk.path()), "").await;
    watched.world.publish(2, 20).await;
    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(2).await;
    watched.wait_settled(2).await;
    daemon.kill().await;
    let log = disk.path().join("inbox.db-wal");
    assert!(std::fs::metadata(&log).is_ok_and(|log| log.len() > 0), "its log is left behind");
    disk.make_read_only();
    for command in [&["run"][..], &["listen"], &["work", "--until-empty"]] {
        let (status, said) = watched.world.start(command).end().await;
        assert_eq!(status.code(), Some(74), "{command:?}: {said}");
        let path = disk.path().display().to_string();
        assert!(said.contains(&path) && said.contains("its disk is read-only"), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let listed = watched.world.say(&["notices", "--json"]).await;
    assert_eq!(listed.matches("\"finished\"").count(), 2, "what it has can be looked at: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_which_the_disk_lost_a_page_ends_it_and_it_goes_on_when_it_is_started_again() {
    let mut watched = Watched::new(None, "[work]\nretry_min = \"100ms\"\n").await;
    watched.world.publish(2, 20).await;
    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(2).await;
    watched.wait_settled(2).await;
    let Some(failing) = Failing::start(&daemon, "fsync,fdatasync", "EIO").await else {
        daemon.stop().await;
        return leave_out("strace is not installed or may not trace");
    };
    watched.world.publish(3, 20).await;
    watched.wait_degraded(&daemon, "fsync failed").await;
    // As a kernel that gives the page up: what is read is what the disk held before.
    let log = watched.world.path("inbox.db-wal");
    let log = std::fs::File::options().write(true).open(log).expect("the log");
    let length = log.metadata().expect("its length").len();
    log.write_all_at(&[0; 4096], length - 4096).expect("overwritten");
    failing.end().await;
    let (status, said) = daemon.end().await;
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("takes nothing more until longshore is started again"), "{said}");
    assert!(said.contains("frames in its log"), "it says why:\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    let state = format!("{:?}", watched.world.sandbox.state().broker);
    assert!(state.contains("completed: 2"), "nothing is settled that is not on disk: {state}");

    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(5).await;
    watched.wait_settled(5).await;
    watched.wait_good(&daemon).await;
    daemon.stop().await;
    watched.world.assert_each_record_once();
    watched.world.say(&["audit"]).await;
}
