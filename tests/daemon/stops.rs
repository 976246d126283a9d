//! Stops: asked for, asked for twice, and not asked for at all.

use std::os::unix::process::ExitStatusExt as _;

use longshore::sandbox::{BlobFault, FaultKind};
use rustix::process::Signal;

use crate::common::process::{Daemon, LIMIT};
use crate::common::vendor::World;

/// Leases that a killed daemon leaves behind run out quickly.
const SHORT_LEASE: &str = "[work]\nlease = \"5s\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_at_any_moment_loses_nothing_and_doubles_nothing() {
    let mut world = World::new(SHORT_LEASE).await;
    let rounds: u64 = 4;
    for round in 1..=rounds {
        world.publish(5, 300).await;
        let daemon = world.start(&["run"]);
        // The first commit of a further notice is the signal; what else is going on then differs from round to round.
        let heard = |summary: &longshore::inbox::ledger::Summary| {
            let counts = summary.notices;
            counts.heard + counts.open + counts.finished > (round - 1) * 5
        };
        world.wait("more are heard", heard).await;
        daemon.kill().await;
    }
    let daemon = world.start(&["run"]);
    world.wait_finished(rounds * 5).await;
    world.wait_alive(&daemon).await;
    daemon.stop().await;
    world.assert_each_record_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_what_is_in_progress_finish() {
    let (world, daemon) = in_progress("").await;
    daemon.signal(Signal::TERM);
    daemon.says("stopping").await;
    world.sandbox.clear_blob_faults();
    let (status, log) = daemon.end().await;
    assert!(status.success(), "{log}");
    world.assert_each_record_once();
    assert!(log.contains("delivered"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_has_its_time_and_what_is_left_is_given_back() {
    let (world, daemon) = in_progress("[work]\ndrain = \"100ms\"\n").await;
    daemon.stop().await;
    assert!(world.files().is_empty(), "nothing half done is in sight");
    let summary = world.wait("it is ready again", |summary| summary.routes.iter().any(|route| route.ready == 1)).await;
    assert_eq!(summary.notices.open, 1);

    // Who waits for all of it is not to take a stop for that.
    let work = world.start(&["work", "--until-empty"]);
    world.wait("it is in work again", |summary| summary.routes.iter().any(|route| route.claimed == 1)).await;
    work.signal(Signal::TERM);
    let (status, log) = work.end().await;
    assert_eq!(status.code(), Some(75), "{log}");
    assert!(log.contains("stopped before all was done: 1 delivery left; run this again"), "{log}");

    world.sandbox.clear_blob_faults();
    let (status, log) = world.start(&["work", "--until-empty"]).end().await;
    assert!(status.success(), "{log}");
    world.assert_each_record_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_term_stops_at_once() {
    let (world, daemon) = in_progress(SHORT_LEASE).await;
    daemon.signal(Signal::TERM);
    daemon.says("stopping").await;
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end().await;
    assert_eq!((status.code(), status.signal()), (Some(143), None), "{log}");

    world.sandbox.clear_blob_faults();
    let (status, log) = world.start(&["work", "--until-empty"]).end().await;
    assert!(status.success(), "{log}");
    world.assert_each_record_once();
}

/// A daemon with a delivery in progress that cannot end before the blob faults are cleared: its body stands still
/// half-way, and the daemon waits for the rest of it for longer than the test runs.
async fn in_progress(more: &str) -> (World, Daemon) {
    let mut world = World::new(&format!("{more}[fetch]\nidle_timeout = \"1h\"\n")).await;
    world.sandbox.add_blob_fault(BlobFault::next(FaultKind::Stall { after: 30_000 }, u32::MAX)).expect("a fault");
    world.publish(1, 2_000).await;
    let daemon = world.start(&["run"]);
    world.wait("it is being delivered", |summary| summary.routes.iter().any(|route| route.claimed == 1)).await;
    world.sandbox.wait_until(LIMIT, |state| state.blob_downloads == 1).await.expect("its body is asked for");
    (world, daemon)
}

/// If it waited for the time that a drain may take, the test would not see its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_daemon_stops_at_once() {
    let world = World::new("[work]\ndrain = \"1h\"\n").await;
    let daemon = world.start(&["run"]);
    world.wait_alive(&daemon).await;
    daemon.stop().await;
}
