//! Stops: asked for, asked for twice, and not asked for at all.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use longshore::sandbox::{BlobFault, FaultKind};
use rustix::process::Signal;

use crate::world::World;

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
    let mut world = World::new("").await;
    world.sandbox.add_blob_fault(slow()).expect("a fault");
    world.publish(1, 2_000).await;
    let daemon = world.start(&["run"]);
    world.wait("it is being delivered", |summary| summary.routes.iter().any(|route| route.claimed == 1)).await;
    let log = daemon.stop().await;
    world.assert_each_record_once();
    assert!(log.contains("delivered"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_has_its_time_and_what_is_left_is_given_back() {
    let mut world = World::new("[work]\ndrain = \"100ms\"\n").await;
    world.sandbox.add_blob_fault(slow()).expect("a fault");
    world.publish(1, 2_000).await;
    let daemon = world.start(&["run"]);
    world.wait("it is being delivered", |summary| summary.routes.iter().any(|route| route.claimed == 1)).await;
    daemon.stop().await;
    assert!(world.files().is_empty(), "nothing half done is in sight");
    let summary = world.wait("it is ready again", |summary| summary.routes.iter().any(|route| route.ready == 1)).await;
    assert_eq!(summary.notices.open, 1);

    world.sandbox.clear_blob_faults();
    let (status, log) = world.start(&["work", "--until-empty"]).end().await;
    assert!(status.success(), "{log}");
    world.assert_each_record_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_term_stops_at_once() {
    let mut world = World::new(SHORT_LEASE).await;
    world.sandbox.add_blob_fault(slow()).expect("a fault");
    world.publish(1, 2_000).await;
    let daemon = world.start(&["run"]);
    world.wait("it is being delivered", |summary| summary.routes.iter().any(|route| route.claimed == 1)).await;
    daemon.signal(Signal::TERM);
    world.wait("it has heard the first", |_| daemon.log().contains("stopping")).await;
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end().await;
    assert_eq!((status.code(), status.signal()), (Some(143), None), "{log}");

    world.sandbox.clear_blob_faults();
    let (status, log) = world.start(&["work", "--until-empty"]).end().await;
    assert!(status.success(), "{log}");
    world.assert_each_record_once();
}

/// Bodies that take some seconds.
fn slow() -> BlobFault {
    BlobFault::next(FaultKind::Slow { bytes_per_second: 40_000 }, u32::MAX)
}

/// The time limit of these tests is that of the world; this one is for what must be quick.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_daemon_stops_at_once() {
    let world = World::new("").await;
    let daemon = world.start(&["run"]);
    world.wait_alive(&daemon).await;
    let stopped = tokio::time::timeout(Duration::from_secs(15), daemon.stop()).await;
    assert!(stopped.is_ok(), "an idle daemon has nothing to drain");
}
